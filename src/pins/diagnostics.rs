//! Every message about a lock file.

use crate::diagnostic::{Code, Diagnostic, Span, nearest};

use super::VERSION;

/// The codes of this room, sorted; each has a page in `specs/diagnostics/`.
pub const CODES: &[&str] = &["lock-duplicate", "lock-invalid", "lock-syntax", "lock-unknown-key", "lock-version"];

const SYNTAX: Code = Code("lock-syntax");
const VERSION_CODE: Code = Code("lock-version");
const UNKNOWN_KEY: Code = Code("lock-unknown-key");
const INVALID: Code = Code("lock-invalid");
const DUPLICATE: Code = Code("lock-duplicate");

const REMAKE: &str = "a lock is written by `lapstrake lock`; take the last good one from version control, or delete it and lock again";

pub(super) fn syntax(span: Span, message: &str) -> Diagnostic {
    Diagnostic::error(SYNTAX, span, format!("the lock is not TOML: {}", message.trim().replace('\n', ", "))).hint(REMAKE)
}

pub(super) fn no_version(span: Span) -> Diagnostic {
    Diagnostic::error(VERSION_CODE, span, "the lock has no `version`")
        .hint(format!("this lapstrake reads `version = {VERSION}`"))
        .hint(REMAKE)
}

pub(super) fn version_is_no_number(span: Span, kind: &str) -> Diagnostic {
    Diagnostic::error(VERSION_CODE, span, format!("`version` must be a whole number, not {kind}"))
        .hint(format!("this lapstrake reads `version = {VERSION}`"))
}

pub(super) fn foreign_version(span: Span, version: &str) -> Diagnostic {
    Diagnostic::error(VERSION_CODE, span, format!("the lock has version {version}, and this lapstrake reads version {VERSION}"))
        .hint("use the lapstrake that wrote it, or a newer one")
}

pub(super) fn unknown_key(span: Span, key: &str, place: &str, known: &[&str]) -> Diagnostic {
    let diagnostic = Diagnostic::error(UNKNOWN_KEY, span, format!("`{key}` is no key of {place}"));
    match nearest(key, known.iter().copied()) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic.hint(format!("it has {}", list(known))),
    }
}

pub(super) fn missing_key(span: Span, key: &str, place: &str) -> Diagnostic {
    Diagnostic::error(INVALID, span, format!("{place} has no `{key}`")).hint(REMAKE)
}

pub(super) fn wrong_type(span: Span, key: &str, wanted: &str, found: &str) -> Diagnostic {
    Diagnostic::error(INVALID, span, format!("`{key}` must be {wanted}, not {found}"))
}

pub(super) fn wrong_value(span: Span, key: &str, reason: &str) -> Diagnostic {
    Diagnostic::error(INVALID, span, format!("`{key}` is wrong: {reason}"))
}

pub(super) fn duplicate(span: Span, earlier: Span, what: &str) -> Diagnostic {
    Diagnostic::error(DUPLICATE, span, format!("{what} is pinned twice"))
        .labelled("pinned again here")
        .also(earlier, "first pinned here")
        .hint("keep one of the two; after a merge, `lapstrake lock --upgrade` settles which is right")
}

fn list(known: &[&str]) -> String {
    known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}
