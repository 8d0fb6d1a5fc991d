//! Every message of this room: one function per code (two where the mistake has two forms). Each code has a page in `specs/diagnostics/`.

use crate::diagnostic::{Code, Diagnostic, Span, nearest};

/// The codes of this room, sorted.
pub const CODES: &[&str] = &[
    "compose-extends",
    "compose-file",
    "compose-interpolation",
    "compose-key",
    "compose-no-effect",
    "compose-not-supported",
    "compose-nothing-to-build",
    "compose-number",
    "compose-too-large",
    "compose-type",
    "compose-unset",
    "compose-unused-argument",
    "compose-value",
    "dotenv-syntax",
    "yaml-syntax",
];

pub(super) fn yaml_syntax(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code("yaml-syntax"), span, message)
}

pub(super) fn too_large(span: Span) -> Diagnostic {
    Diagnostic::error(Code("compose-too-large"), span, "aliases and merges make this file too large")
        .labelled("here it grows beyond 100000 values")
}

pub(super) fn dotenv(span: Span, message: &str) -> Diagnostic {
    Diagnostic::error(Code("dotenv-syntax"), span, message)
}

pub(super) fn bad_interpolation(span: Span, message: &str) -> Diagnostic {
    Diagnostic::error(Code("compose-interpolation"), span, message)
}

pub(super) fn unset(span: Span, name: &str) -> Diagnostic {
    Diagnostic::warning(Code("compose-unset"), span, format!("the variable `{name}` is not set, so nothing is put here"))
        .hint(format!("set it in the environment or in .env, or write a default: `${{{name}:-…}}`"))
}

pub(super) fn unknown_key<'a>(span: Span, place: &str, key: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Diagnostic {
    let diagnostic = Diagnostic::error(Code("compose-key"), span, format!("`{place}` has no key `{key}`"));
    match nearest(key, known.clone()) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => {
            let known: Vec<String> = known.into_iter().map(|key| format!("`{key}`")).collect();
            diagnostic.hint(format!("it has {}", known.join(", ")))
        }
    }
}

pub(super) fn wrong_type(span: Span, what: &str, expected: &str, found: &str) -> Diagnostic {
    Diagnostic::error(Code("compose-type"), span, format!("`{what}`: expected {expected}, found {found}"))
}

pub(super) fn bad_value(span: Span, what: &str, why: &str) -> Diagnostic {
    Diagnostic::error(Code("compose-value"), span, format!("`{what}`: {why}"))
}

pub(super) fn missing(span: Span, what: &str, key: &str) -> Diagnostic {
    Diagnostic::error(Code("compose-value"), span, format!("`{what}` has no `{key}`"))
}

pub(super) fn number(span: Span, written: &str, printed: &str) -> Diagnostic {
    Diagnostic::warning(Code("compose-number"), span, format!("`{written}` is a number here, which Docker passes on as `{printed}`"))
        .hint(format!("write `\"{written}\"` where the text is meant"))
}

pub(super) fn extends(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code("compose-extends"), span, message)
}

pub(super) fn no_file(span: Span, what: &str, path: &str) -> Diagnostic {
    Diagnostic::error(Code("compose-file"), span, format!("there is no {what} `{path}`"))
}

pub(super) fn unreadable(span: Span, path: &str, why: &str) -> Diagnostic {
    Diagnostic::error(Code("compose-file"), span, format!("cannot read `{path}`: {why}"))
}

pub(super) fn not_fetched(span: Span, what: &str, why: &str) -> Diagnostic {
    Diagnostic::error(Code("compose-file"), span, format!("`{what}` cannot be fetched: {why}"))
}

pub(super) fn not_supported(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code("compose-not-supported"), span, message)
}

pub(super) fn no_effect(span: Span, key: &str, why: &str) -> Diagnostic {
    Diagnostic::warning(Code("compose-no-effect"), span, format!("`{key}` has no effect here: {why}"))
}

pub(super) fn no_repository(span: Span, address: &str) -> Diagnostic {
    let message = format!("`{address}` is not on this machine, and is no git repository, whose address over http ends in `.git`");
    not_supported(span, message).hint("clone or download it, and name the directory")
}

/// Who may declare an argument beside the Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declarer {
    Nobody,
    Base,
}

pub(super) fn unused_argument<'a>(span: Span, name: &str, declarer: Declarer, known: impl IntoIterator<Item = &'a str>) -> Diagnostic {
    let message = match declarer {
        Declarer::Nobody => format!("the Dockerfile declares no argument `{name}`, so nothing reads this"),
        Declarer::Base => {
            format!("neither the Dockerfile nor an `ONBUILD` of its base declares an argument `{name}`, so nothing reads this")
        }
    };
    let diagnostic = Diagnostic::warning(Code("compose-unused-argument"), span, message);
    match nearest(name, known) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic,
    }
}

pub(super) fn nothing_to_build(span: Span, only_run: usize) -> Diagnostic {
    let message = if only_run == 0 { "there are no services" } else { "no service has a `build`" };
    Diagnostic::error(Code("compose-nothing-to-build"), span, message).hint("a service is built where it has `build: DIRECTORY`")
}
