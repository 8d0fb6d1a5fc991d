//! Every message of this room: one function per code (two where the mistake has two forms). Each code has a page in `specs/diagnostics/`.

use crate::diagnostic::{Code, Diagnostic, Span, nearest};

/// The codes of this room, sorted.
pub const CODES: &[&str] = &[
    "bad-expansion",
    "bad-flag",
    "bad-run-mount",
    "bad-stage",
    "cannot-express",
    "dockerfile-syntax",
    "fixed-stage",
    "fixed-value",
    "json-form",
    "legacy-pair",
    "shell-in-path",
    "undeclared-variable",
    "unknown-flag",
    "unknown-instruction",
    "unknown-target",
];

fn did_you_mean<'a>(diagnostic: Diagnostic, word: &str, known: impl IntoIterator<Item = &'a str>) -> Diagnostic {
    match nearest(word, known) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic,
    }
}

fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

pub(super) fn syntax(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code("dockerfile-syntax"), span, message)
}

pub(super) fn unknown_instruction(span: Span, word: &str, known: &[&str]) -> Diagnostic {
    let diagnostic = Diagnostic::error(Code("unknown-instruction"), span, format!("there is no instruction `{word}`"));
    match nearest(&word.to_uppercase(), known.iter().copied()) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic.hint("a line that goes on must end with the escape character, usually `\\`"),
    }
}

pub(super) fn unknown_flag(span: Span, keyword: &str, flag: &str, known: &[&str]) -> Diagnostic {
    let diagnostic = Diagnostic::error(Code("unknown-flag"), span, format!("{keyword} has no flag `--{flag}`"));
    if known.is_empty() {
        return diagnostic.hint(format!("{keyword} has no flags"));
    }
    match nearest(flag, known.iter().copied()) {
        Some(near) => diagnostic.hint(format!("did you mean `--{near}`?")),
        None => diagnostic.hint(format!(
            "it has {}",
            listed(known.iter().map(|flag| format!("--{flag}")).collect::<Vec<_>>().iter().map(String::as_str))
        )),
    }
}

pub(super) fn bad_flag(span: Span, flag: &str, why: &str) -> Diagnostic {
    Diagnostic::error(Code("bad-flag"), span, format!("`--{flag}` cannot be so: {why}"))
}

pub(super) fn bad_expansion(span: Span, why: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code("bad-expansion"), span, why)
}

pub(super) fn bad_mount(span: Span, why: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code("bad-run-mount"), span, why)
}

pub(super) fn unknown_mount_word<'a>(span: Span, what: &str, word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Diagnostic {
    let diagnostic = bad_mount(span, format!("a mount has no {what} `{word}`"));
    match nearest(word, known.clone()) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic.hint(format!("there are {}", listed(known))),
    }
}

pub(super) fn bad_stage(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code("bad-stage"), span, message)
}

pub(super) fn fixed_stage(span: Span, stage: &str) -> Diagnostic {
    Diagnostic::warning(Code("fixed-stage"), span, format!("an argument chooses the stage here, and this is read as `{stage}` alone"))
        .hint("a spec names its stages: for another choice, read the Dockerfile with other arguments")
}

pub(super) fn fixed_value(span: Span, what: &str, today: &str) -> Diagnostic {
    Diagnostic::warning(Code("fixed-value"), span, format!("an argument decides {what} here, which is read as `{today}` alone"))
        .hint("a spec says it once and for all: for another value, read the Dockerfile with other arguments")
}

/// A code of the language, in the words of a Dockerfile.
pub(super) fn relative_volume(span: Span, path: &str) -> Diagnostic {
    let message = format!("the volume `{path}` is not absolute, and what runs the image may refuse it");
    Diagnostic::warning(Code("relative-volume"), span, message).hint(format!("a volume is relative to nothing: write `/{path}`"))
}

/// A code of the language, in the words of a Dockerfile.
pub(super) fn unused_argument(span: Span, name: &str) -> Diagnostic {
    Diagnostic::warning(Code("unused-argument"), span, format!("nothing uses the argument `{name}`"))
        .hint(format!("write `${name}` where its value belongs, in a stage after `ARG {name}`; or remove it"))
}

pub(super) fn unknown_target<'a>(span: Span, target: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Diagnostic {
    let diagnostic = Diagnostic::error(Code("unknown-target"), span, format!("there is no stage `{target}` to build"));
    match nearest(target, known.clone()) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None if known.clone().into_iter().next().is_none() => {
            diagnostic.hint("no stage here has a name: name one by `FROM … AS NAME`, or say its number, counted from 0")
        }
        None => diagnostic.hint(format!("there are {}", listed(known))),
    }
}

pub(super) fn cannot_express(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code("cannot-express"), span, message)
}

pub(super) fn legacy_pair(span: Span, keyword: &str, name: &str) -> Diagnostic {
    Diagnostic::warning(Code("legacy-pair"), span, format!("{keyword} without `=` takes the rest of the line as one value"))
        .hint(format!("write `{keyword} {name}=\"…\"`"))
}

pub(super) fn shell_in_path(span: Span, written: &str, name: &str) -> Diagnostic {
    Diagnostic::warning(Code("shell-in-path"), span, format!("`{written}` is taken as it stands: no shell runs here"))
        .hint(format!("a variable is written `${{{name}}}`"))
}

pub(super) fn json_form(span: Span, keyword: &str) -> Diagnostic {
    Diagnostic::warning(Code("json-form"), span, format!("this is no JSON array, so {keyword} gives it to the shell as it stands"))
        .hint("JSON strings stand in double quotes, with commas between them and nothing behind the bracket")
}

pub(super) fn undeclared_global(span: Span, name: &str) -> Diagnostic {
    Diagnostic::warning(Code("undeclared-variable"), span, format!("`{name}` is declared before the first FROM, which no stage sees"))
        .hint(format!("write `ARG {name}` in this stage, before this line"))
}

pub(super) fn undeclared<'a>(span: Span, name: &str, known: impl IntoIterator<Item = &'a str>) -> Diagnostic {
    let diagnostic = Diagnostic::warning(Code("undeclared-variable"), span, format!("nothing here sets `{name}`, so it is empty"));
    did_you_mean(diagnostic, name, known)
}
