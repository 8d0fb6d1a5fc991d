//! Template ⇄ string: the grammar of references.
//!
//! `${WORD.NAME}` is a reference. In front of `{`, two dollars write one; so `$${` writes `${`. Everything else stands for itself, so that
//! the variables of a shell, which have no dot, need no escape. `specs/README.md`, "References".

use std::ops::Range;

use super::{Name, Piece, PlatformPart, Spanned, Template, diagnostics, words};
use crate::diagnostic::{Diagnostic, Span};

/// The words before the dot.
const GROUPS: [&str; 3] = ["args", "env", "platform"];

/// Reads a string; `place` turns a range of its bytes into a place in the file.
pub(super) fn read(text: &str, place: &dyn Fn(Range<usize>) -> Span, report: &mut dyn FnMut(Diagnostic)) -> Template {
    let mut template = Template::default();
    let mut at = 0;
    while let Some(found) = text[at..].find('$') {
        let start = at + found;
        template.push(Piece::Literal(text[at..start].to_owned()));
        let dollars = text[start..].bytes().take_while(|byte| *byte == b'$').count();
        let brace = start + dollars;
        if !text[brace..].starts_with('{') {
            template.push(Piece::Literal("$".repeat(dollars)));
            at = brace;
            continue;
        }
        template.push(Piece::Literal("$".repeat(dollars / 2)));
        if dollars % 2 == 0 {
            template.push(Piece::Literal("{".to_owned()));
            at = brace + 1;
            continue;
        }
        let Some(group) = group(&text[brace + 1..]) else {
            template.push(Piece::Literal("${".to_owned()));
            at = brace + 1;
            continue;
        };
        let name_start = brace + 1 + group.len() + 1;
        let name_end = text[name_start..].find(['}', '\n']).map_or(text.len(), |length| name_start + length);
        let closed = text[name_end..].starts_with('}');
        at = if closed { name_end + 1 } else { name_end };
        let span = place(brace - 1..at);
        match piece(group, &text[name_start..name_end], closed, span) {
            Ok(piece) => template.push(piece),
            Err(why) => {
                let whole = &text[brace - 1..at];
                let mut diagnostic = diagnostics::bad_reference(span, whole, &why);
                if closed && !GROUPS.contains(&group) {
                    diagnostic = diagnostic.hint(format!("write `${whole}` if these very characters are meant"));
                }
                report(diagnostic);
            }
        }
    }
    template.push(Piece::Literal(text[at..].to_owned()));
    template
}

/// The word before a dot at the start of `text`. What has none is no reference of ours.
fn group(text: &str) -> Option<&str> {
    let length = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    (starts && text[length..].starts_with('.')).then(|| &text[..length])
}

fn piece(group: &str, name: &str, closed: bool, span: Span) -> Result<Piece, String> {
    if !GROUPS.contains(&group) {
        let near = crate::diagnostic::nearest(group, GROUPS).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        return Err(format!("there are `args`, `env` and `platform`{near}"));
    }
    if !closed {
        return Err("it has no `}`".to_owned());
    }
    match group {
        "args" => match Name::new(name) {
            Ok(name) => Ok(Piece::Arg(Spanned::new(name, span))),
            Err(_) => Err("an argument's name has letters, digits, `_`, `-` and `.`".to_owned()),
        },
        "env" if words::is_variable(name) => Ok(Piece::Env(Spanned::new(name.to_owned(), span))),
        "env" => Err("a variable's name has letters, digits, `_`, `.` and `-`".to_owned()),
        _ => match PlatformPart::ALL.into_iter().find(|part| part.word() == name) {
            Some(part) => Ok(Piece::Platform(Spanned::new(part, span))),
            None => Err("there are `platform.os`, `platform.arch` and `platform.variant`".to_owned()),
        },
    }
}

/// Writes a string as [`read`] reads it.
pub(super) fn write(template: &Template) -> String {
    let mut text = String::new();
    let mut pieces = template.pieces().iter().peekable();
    while let Some(piece) = pieces.next() {
        match piece {
            Piece::Literal(literal) => {
                let reference_follows = pieces.peek().is_some();
                write_literal(&mut text, literal, reference_follows);
            }
            Piece::Arg(name) => text.push_str(&format!("${{args.{}}}", name.value)),
            Piece::Env(name) => text.push_str(&format!("${{env.{}}}", name.value)),
            Piece::Platform(part) => text.push_str(&format!("${{platform.{}}}", part.word())),
        }
    }
    text
}

fn write_literal(text: &mut String, literal: &str, reference_follows: bool) {
    let mut rest = literal;
    while let Some(start) = rest.find('$') {
        text.push_str(&rest[..start]);
        let dollars = rest[start..].bytes().take_while(|byte| *byte == b'$').count();
        let after = &rest[start + dollars..];
        let doubled = match after.strip_prefix('{') {
            Some(inner) => dollars > 1 || group(inner).is_some(),
            None => after.is_empty() && reference_follows,
        };
        text.push_str(&"$".repeat(if doubled { dollars * 2 } else { dollars }));
        rest = after;
    }
    text.push_str(rest);
}

/// What a reference looks like in a spec.
pub(super) fn reference(piece: &Piece) -> String {
    write(&Template::new([piece.clone()]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_clean(text: &str) -> Template {
        let mut diagnostics = Vec::new();
        let template = read(text, &|_| Span::NONE, &mut |diagnostic| diagnostics.push(diagnostic));
        assert_eq!(diagnostics, [], "{text}");
        template
    }

    fn arg(name: &str) -> Piece {
        Piece::Arg(Spanned::made(Name::new(name).unwrap()))
    }

    fn literal(text: &str) -> Piece {
        Piece::Literal(text.to_owned())
    }

    #[test]
    fn only_a_word_with_a_dot_is_a_reference() {
        for same in ["", "$", "$$", "${HOME}", "$HOME", "${x:-a.b}", "${x%.tar}", "${", "${}", "${.x}", "a}b", "$(pwd)", "${1.x}"] {
            assert_eq!(read_clean(same), Template::literal(same));
        }
        assert_eq!(read_clean("a${args.b}c"), Template::new([literal("a"), arg("b"), literal("c")]));
        assert_eq!(read_clean("${platform.arch}"), Template::new([Piece::Platform(Spanned::made(PlatformPart::Arch))]));
    }

    #[test]
    fn two_dollars_before_a_brace_write_one() {
        assert_eq!(read_clean("$${args.b}"), Template::literal("${args.b}"));
        assert_eq!(read_clean("$${HOME}"), Template::literal("${HOME}"));
        assert_eq!(read_clean("$$${args.b}"), Template::new([literal("$"), arg("b")]));
        assert_eq!(read_clean("$$$${args.b}"), Template::literal("$${args.b}"));
        assert_eq!(read_clean("$$ $$x"), Template::literal("$$ $$x"));
    }

    #[test]
    fn what_looks_like_a_reference_and_is_none_is_refused() {
        for bad in ["${args.}", "${args.a b}", "${args.a", "${arg.a}", "${env.}", "${platform.cpu}", "${args.a\n}", "${env.1}"] {
            let mut count = 0;
            read(bad, &|_| Span::NONE, &mut |_| count += 1);
            assert_eq!(count, 1, "{bad}");
        }
    }

    fn pieces() -> impl Strategy<Value = Vec<Piece>> {
        let piece = prop_oneof![
            "[${}a.rgs]{0,8}".prop_map(Piece::Literal),
            any::<String>().prop_map(Piece::Literal),
            "[a-z_][a-z0-9._-]{0,5}".prop_map(|name| arg(&name)),
            "[A-Z_][A-Z0-9._-]{0,5}".prop_map(|name| Piece::Env(Spanned::made(name))),
            prop::sample::select(PlatformPart::ALL.to_vec()).prop_map(|part| Piece::Platform(Spanned::made(part))),
        ];
        prop::collection::vec(piece, 0..6)
    }

    proptest! {
        #[test]
        fn every_template_has_a_spelling(pieces in pieces()) {
            let template = Template::new(pieces);
            prop_assert_eq!(read_clean(&write(&template)), template);
        }

        #[test]
        fn any_text_is_read_without_panic(text in "[${}.args env\n]{0,20}") {
            read(&text, &|_| Span::NONE, &mut |_| {});
        }
    }
}
