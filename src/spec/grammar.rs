//! What can be said of a string before its references are known.

use super::field::Grammar;
use super::{Piece, PlatformOf, Referent, Text, diagnostics, template_text, words};
use crate::diagnostic::Diagnostic;
use crate::image::{Platform, Reference};

/// Checks the text of a key. What depends on a reference is left to the plan.
pub(super) fn check(key: &str, text: &Text, grammar: Grammar, report: &mut dyn FnMut(Diagnostic)) {
    text.each_piece(&mut |piece| match piece {
        Piece::Literal(literal) => {
            if grammar != Grammar::Content && literal.contains('\0') {
                report(diagnostics::nul_character(text.span, key));
            }
        }
        Piece::Reference(reference) => match &reference.value.referent {
            Referent::Env(_) if !grammar.knows_env() => {
                let why = "what comes from outside must be known before any stage has an environment";
                report(diagnostics::reference_not_here(reference.span, &template_text::reference(reference), why));
            }
            Referent::Platform(PlatformOf::Stage, _) if grammar == Grammar::StagePlatform => {
                let why = "it would be the platform of the very stage whose platform this says";
                report(diagnostics::reference_not_here(reference.span, &template_text::reference(reference), why));
            }
            Referent::Arg(_) | Referent::Env(_) | Referent::Platform(..) => {}
        },
    });
    match text.as_literal() {
        Some("") if !matches!(grammar, Grammar::Free | Grammar::Content) => report(diagnostics::empty_value(text.span, key, "empty")),
        Some(literal) => check_literal(text, literal, grammar, report),
        None => {}
    }
    if matches!(grammar, Grammar::Url | Grammar::Fetch) {
        check_url(text, grammar, report);
    }
}

fn check_literal(text: &Text, literal: &str, grammar: Grammar, report: &mut dyn FnMut(Diagnostic)) {
    match grammar {
        Grammar::Destination => {
            if literal.starts_with('/') && climbs(literal) {
                report(diagnostics::path_climbs_out(text.span, literal, "the image's root"));
            }
        }
        Grammar::Volume => {
            if !literal.starts_with('/') {
                report(diagnostics::relative_volume(text.span, literal));
            } else if climbs(literal) {
                report(diagnostics::path_climbs_out(text.span, literal, "the image's root"));
            }
        }
        Grammar::SourcePath => {
            if climbs(literal) {
                report(diagnostics::path_climbs_out(text.span, literal, "its source"));
            }
        }
        Grammar::Owner => {
            if !words::is_owner(literal) {
                report(diagnostics::bad_owner(text.span, literal));
            }
        }
        Grammar::Port => {
            if words::parse_ports(literal).is_none() {
                report(diagnostics::bad_port(text.span, literal));
            }
        }
        Grammar::Signal => {
            if !words::is_signal(literal) {
                let mut diagnostic = diagnostics::bad_signal(text.span, literal);
                let full = format!("SIG{}", literal.to_ascii_uppercase().trim_start_matches("SIG"));
                if words::is_signal(&full) {
                    diagnostic = diagnostic.hint(format!("did you mean `{full}`?"));
                }
                report(diagnostic);
            }
        }
        Grammar::Tag => match literal.parse::<Reference>() {
            Ok(reference) if reference.digest.is_some() => {
                let message = format!("`{literal}` cannot be pushed to: a digest names what is already there");
                report(diagnostics::bad_image_reference(text.span, &message));
            }
            Ok(_) => {}
            Err(error) => report(diagnostics::bad_image_reference(text.span, &error.to_string())),
        },
        Grammar::StagePlatform => {
            if !matches!(literal, "target" | "builder")
                && let Err(error) = literal.parse::<Platform>()
            {
                report(diagnostics::bad_stage_platform(text.span, literal, &error.to_string()));
            }
        }
        Grammar::Mode => {
            if words::parse_mode_rule(literal).is_none() {
                report(diagnostics::bad_mode(text.span, literal, true));
            }
        }
        Grammar::Free
        | Grammar::Content
        | Grammar::Pattern
        | Grammar::Archive
        | Grammar::Url
        | Grammar::Fetch
        | Grammar::Base
        | Grammar::Source
        | Grammar::Outside => {}
    }
}

/// Whether a path goes above where it starts.
pub(super) fn climbs(path: &str) -> bool {
    let mut depth: usize = 0;
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}

/// The scheme and what follows it must be written out, so that what is fetched, and how, can be told from the text.
fn check_url(text: &Text, grammar: Grammar, report: &mut dyn FnMut(Diagnostic)) {
    let written = template_text::write(text);
    if written.is_empty() {
        return;
    }
    let leading = super::value::leading(text);
    let git = grammar == Grammar::Fetch && leading.starts_with("git+");
    let (schemes, expected): (&[&str], _) = match (grammar == Grammar::Fetch, git) {
        (_, true) => (
            &["git+https://", "git+http://", "git+ssh://", "git+git://", "git+file://"],
            "it must begin with `git+https://`, `git+http://`, `git+ssh://`, `git+git://` or `git+file://`",
        ),
        (true, false) => (&["https://", "http://"], "it must begin with `https://`, `http://` or `git+https://`"),
        (false, false) => (&["https://", "http://"], "it must begin with `https://` or `http://`"),
    };
    let Some((scheme, rest)) = schemes.iter().find_map(|scheme| leading.strip_prefix(scheme).map(|rest| (*scheme, rest))) else {
        report(diagnostics::bad_url(text.span, &written, expected));
        return;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (login, host) = host.rsplit_once('@').map_or((None, host), |(login, host)| (Some(login), host));
    let secret = login.is_some_and(|login| scheme != "git+ssh://" || login.contains(':'));
    if scheme == "git+file://" {
        let unknown = rest.is_empty() && text.pieces().len() > 1;
        if !unknown && !rest.starts_with('/') {
            report(diagnostics::bad_url(text.span, &written, "the path of a repository on this machine is absolute"));
            return;
        }
    } else if host.is_empty() && (text.pieces().len() == 1 || rest.starts_with(['/', '?', '#'])) {
        report(diagnostics::bad_url(text.span, &written, "it names no host"));
        return;
    } else if secret {
        report(diagnostics::bad_url(text.span, "…", "a spec must hold no user name or password"));
        return;
    }
    let words_apart = text.pieces().iter().any(|piece| match piece {
        Piece::Literal(literal) => literal.contains(|character: char| character.is_whitespace() || character.is_control()),
        // Only what a word becomes can be held against the address.
        Piece::Reference(_) => false,
    });
    if words_apart {
        report(diagnostics::bad_url(text.span, &written.escape_debug().to_string(), "it must hold no space"));
    }
}
