//! Every message of this room: one function per code (two where the mistake has two forms). Each code has a page in `specs/diagnostics/`.

use crate::diagnostic::{Code, Diagnostic, Span, nearest};

/// The codes of this room, sorted.
pub const CODES: &[&str] = &[
    "bad-commit",
    "bad-date",
    "bad-digest",
    "bad-duration",
    "bad-healthcheck",
    "bad-image-reference",
    "bad-mode",
    "bad-name",
    "bad-number",
    "bad-owner",
    "bad-path",
    "bad-platform",
    "bad-port",
    "bad-reference",
    "bad-signal",
    "bad-size",
    "bad-source",
    "bad-url",
    "bad-variable",
    "bare-stage-name",
    "default-not-a-choice",
    "duplicate-item",
    "duplicate-mount",
    "duplicate-tag",
    "empty-value",
    "key-does-not-fit",
    "missing-key",
    "newer-toml",
    "no-stages",
    "nul-character",
    "one-mount-kind",
    "one-verb",
    "path-climbs-out",
    "reference-not-here",
    "relative-volume",
    "stage-cycle",
    "toml-syntax",
    "unknown-argument",
    "unknown-key",
    "unknown-stage",
    "unknown-word",
    "unsupported-version",
    "unused-argument",
    "wrong-type",
];

/// `a`, `b` or `c`.
pub(super) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>, last: &str) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}

fn did_you_mean<'a>(diagnostic: Diagnostic, word: &str, known: impl IntoIterator<Item = &'a str>) -> Diagnostic {
    match nearest(word, known) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic,
    }
}

fn error(code: Code, span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(code, span, message)
}

pub(super) fn toml_syntax(span: Span, message: &str) -> Diagnostic {
    error(Code("toml-syntax"), span, format!("this is not TOML: {message}"))
}

pub(super) fn newer_toml(span: Span, what: &str) -> Diagnostic {
    error(Code("newer-toml"), span, format!("{what} came with TOML 1.1; a spec is TOML 1.0, so that every tool can read it"))
}

pub(super) fn unsupported_version(span: Span, found: &str) -> Diagnostic {
    error(Code("unsupported-version"), span, format!("version {found} of the language is not known"))
        .hint("this program reads version 1: write `spec = 1`, or use a newer lapstrake")
}

pub(super) fn missing_key(span: Span, table: &str, key: &str) -> Diagnostic {
    error(Code("missing-key"), span, format!("{table} needs the key `{key}`"))
}

pub(super) fn missing_version(span: Span) -> Diagnostic {
    missing_key(span, "a spec", "spec").hint("write `spec = 1` in the first line")
}

pub(super) fn unknown_key<'a>(
    span: Span,
    table: &str,
    key: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
    hint: Option<String>,
) -> Diagnostic {
    let diagnostic = error(Code("unknown-key"), span, format!("{table} has no key `{}`", key.escape_debug()));
    match (hint, nearest(key, known.clone())) {
        (Some(hint), _) => diagnostic.hint(hint),
        (None, Some(near)) => diagnostic.hint(format!("did you mean `{near}`?")),
        (None, None) => diagnostic.hint(format!("it can have {}", one_of(known, "and"))),
    }
}

pub(super) fn wrong_type(span: Span, key: &str, expected: &str, found: &str) -> Diagnostic {
    error(Code("wrong-type"), span, format!("`{key}` must be {expected}, but this is {found}"))
}

pub(super) fn unknown_word(span: Span, key: &str, found: &str, words: &[&str]) -> Diagnostic {
    let diagnostic =
        error(Code("unknown-word"), span, format!("`{key}` cannot be `{found}`: expected {}", one_of(words.iter().copied(), "or")));
    did_you_mean(diagnostic, found, words.iter().copied())
}

pub(super) fn bad_name(span: Span, what: &str, found: &str) -> Diagnostic {
    error(Code("bad-name"), span, format!("`{}` cannot be the name of {what}", found.escape_debug()))
        .hint("a name has letters, digits, `_`, `-` and `.`, begins with a letter, a digit or `_`, and is at most 128 characters long")
}

pub(super) fn bad_reference(span: Span, found: &str, why: &str) -> Diagnostic {
    error(Code("bad-reference"), span, format!("`{}` is not a reference: {why}", found.escape_debug()))
}

pub(super) fn reference_not_here(span: Span, reference: &str, why: &str) -> Diagnostic {
    error(Code("reference-not-here"), span, format!("`{reference}` cannot be used here: {why}"))
}

pub(super) fn unknown_argument<'a>(span: Span, name: &str, known: impl IntoIterator<Item = &'a str>) -> Diagnostic {
    let diagnostic = error(Code("unknown-argument"), span, format!("there is no argument `{name}`"));
    match nearest(name, known) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic.hint(format!("declare it: `{name} = \"…\"` below `[args]`")),
    }
}

pub(super) fn unused_argument(span: Span, name: &str) -> Diagnostic {
    Diagnostic::warning(Code("unused-argument"), span, format!("nothing uses the argument `{name}`"))
        .hint(format!("write `${{args.{name}}}` where its value belongs, or remove it"))
}

pub(super) fn unknown_stage<'a>(span: Span, name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Diagnostic {
    let diagnostic = error(Code("unknown-stage"), span, format!("there is no stage `{name}`"));
    match nearest(name, known.clone()) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None if known.clone().into_iter().next().is_none() => diagnostic,
        None => diagnostic.hint(format!("there are {}", one_of(known, "and"))),
    }
}

pub(super) fn no_stages(span: Span) -> Diagnostic {
    error(Code("no-stages"), span, "a spec needs at least one stage").hint("begin with `[stages.app]` and `from = \"…\"`")
}

pub(super) fn stage_cycle(span: Span, around: &[&str]) -> Diagnostic {
    let path = around.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" needs ");
    error(Code("stage-cycle"), span, format!("a stage cannot need itself: {path}"))
}

pub(super) fn no_verb(span: Span, verbs: &[&str]) -> Diagnostic {
    error(Code("one-verb"), span, format!("a step needs a verb: one of {}", one_of(verbs.iter().copied(), "or")))
}

pub(super) fn two_verbs(span: Span, first: &str, first_span: Span, second: &str) -> Diagnostic {
    error(Code("one-verb"), span, format!("a step has exactly one verb, but this one has `{first}` and `{second}`"))
        .also(first_span, "the first verb")
        .hint("make two steps of it; they run in the order in which they stand")
}

pub(super) fn no_mount_kind(span: Span, kinds: &[&str]) -> Diagnostic {
    error(Code("one-mount-kind"), span, format!("a mount needs exactly one of {}", one_of(kinds.iter().copied(), "or")))
}

pub(super) fn two_mount_kinds(span: Span, first: &str, first_span: Span, second: &str) -> Diagnostic {
    error(Code("one-mount-kind"), span, format!("a mount is of one kind, but this one has `{first}` and `{second}`"))
        .also(first_span, "the first kind")
        .hint("make two mounts of it")
}

pub(super) fn key_does_not_fit(span: Span, key: &str, why: &str) -> Diagnostic {
    error(Code("key-does-not-fit"), span, format!("`{key}` does not fit here: {why}"))
}

pub(super) fn bad_source(span: Span, found: &str, expected: &str) -> Diagnostic {
    error(Code("bad-source"), span, format!("`{found}` is not a source of files: expected {expected}"))
}

pub(super) fn bare_stage_name(span: Span, name: &str) -> Diagnostic {
    Diagnostic::warning(Code("bare-stage-name"), span, format!("`{name}` is read as an image, but there is also a stage of that name"))
        .hint(format!("write `stage:{name}` for the stage, or `image:{name}` for the image"))
}

pub(super) fn bad_image_reference(span: Span, message: &str) -> Diagnostic {
    error(Code("bad-image-reference"), span, message)
}

pub(super) fn bad_url(span: Span, found: &str, why: &str) -> Diagnostic {
    error(Code("bad-url"), span, format!("`{found}` is not an address to fetch from: {why}"))
}

pub(super) fn bad_digest(span: Span, found: &str) -> Diagnostic {
    let diagnostic =
        error(Code("bad-digest"), span, format!("`{found}` is not a SHA-256 digest: expected 64 lower-case hexadecimal digits"));
    if found.len() == 64 && found.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return diagnostic.hint(format!("in lower case it is `{}`", found.to_ascii_lowercase()));
    }
    diagnostic.hint("`sha256sum FILE` prints it; without the key, `lapstrake lock` records the digest in lapstrake.lock")
}

pub(super) fn bad_commit(span: Span, found: &str) -> Diagnostic {
    error(Code("bad-commit"), span, format!("`{found}` is not a commit: expected 40 or 64 lower-case hexadecimal digits"))
        .hint("branches and tags move; `git rev-parse NAME` prints the commit")
}

pub(super) fn bad_mode(span: Span, found: &str, keep: bool) -> Diagnostic {
    let also = if keep { ", the same behind `=`, changes such as `u=rwX,go=rX`, or `keep`" } else { "" };
    error(Code("bad-mode"), span, format!("`{found}` is not a mode: expected three or four octal digits such as `0755`{also}"))
}

pub(super) fn bad_duration(span: Span, found: &str, why: &str) -> Diagnostic {
    error(Code("bad-duration"), span, format!("`{found}` is not a duration: {why}"))
        .hint("a duration is numbers with units, largest first, such as `30s`, `10m`, `1h30m` or `7d`")
}

pub(super) fn bad_size(span: Span, found: &str, why: &str) -> Diagnostic {
    error(Code("bad-size"), span, format!("`{found}` is not a size: {why}"))
}

pub(super) fn bad_number(span: Span, key: &str, least: u64, most: u64) -> Diagnostic {
    error(Code("bad-number"), span, format!("`{key}` must be from {least} to {most}"))
}

pub(super) fn bad_port(span: Span, found: &str) -> Diagnostic {
    error(
        Code("bad-port"),
        span,
        format!(
            "`{found}` is not a port: expected a number from 1 to 65535 or a range such as `7000-7005`, with `/tcp`, `/udp` or `/sctp` if need be"
        ),
    )
}

pub(super) fn bad_signal(span: Span, found: &str) -> Diagnostic {
    error(Code("bad-signal"), span, format!("`{found}` is not a signal: expected a name such as `SIGTERM` or a number from 1 to 64"))
}

pub(super) fn bad_owner(span: Span, found: &str) -> Diagnostic {
    error(Code("bad-owner"), span, format!("`{found}` is not an owner: expected `USER` or `USER:GROUP`, names or numbers"))
}

pub(super) fn bad_date(span: Span, found: &str, why: &str) -> Diagnostic {
    error(Code("bad-date"), span, format!("`{found}` cannot be the epoch: {why}"))
        .hint("write a date-time with its offset, in whole seconds and without quotes, such as `2026-01-31T00:00:00Z`")
}

pub(super) fn bad_platform(span: Span, message: &str) -> Diagnostic {
    error(Code("bad-platform"), span, message)
}

pub(super) fn bad_stage_platform(span: Span, found: &str, message: &str) -> Diagnostic {
    did_you_mean(
        error(Code("bad-platform"), span, format!("`platform` is `target`, `builder` or a platform: {message}")),
        found,
        ["target", "builder"],
    )
}

pub(super) fn bad_path(span: Span, found: &str, why: &str) -> Diagnostic {
    error(Code("bad-path"), span, format!("`{found}` cannot be used here: {why}"))
}

pub(super) fn relative_volume(span: Span, found: &str) -> Diagnostic {
    Diagnostic::warning(
        Code("relative-volume"),
        span,
        format!("the volume `{found}` is not absolute, and what runs the image may refuse it"),
    )
    .hint(format!("write `/{found}`"))
}

pub(super) fn path_climbs_out(span: Span, found: &str, root: &str) -> Diagnostic {
    error(Code("path-climbs-out"), span, format!("`{found}` climbs out of {root}"))
}

pub(super) fn bad_variable(span: Span, found: &str) -> Diagnostic {
    error(Code("bad-variable"), span, format!("`{}` cannot be the name of a variable", found.escape_debug()))
        .hint("a variable's name has letters, digits, `_`, `.` and `-`, and begins with a letter or `_`")
}

pub(super) fn bad_healthcheck(span: Span, why: &str) -> Diagnostic {
    error(Code("bad-healthcheck"), span, format!("`test` must begin with `CMD`, `CMD-SHELL` or `NONE`: {why}"))
        .hint("such as `[\"CMD\", \"/healthy\"]` or `[\"CMD-SHELL\", \"curl -f http://localhost/\"]`")
}

pub(super) fn empty_value(span: Span, key: &str, what: &str) -> Diagnostic {
    error(Code("empty-value"), span, format!("`{key}` must not be {what}"))
}

pub(super) fn empty_key(span: Span, table: &str) -> Diagnostic {
    error(Code("empty-value"), span, format!("a key of `{table}` must not be empty"))
}

pub(super) fn nul_character(span: Span, key: &str) -> Diagnostic {
    error(Code("nul-character"), span, format!("`{key}` holds a NUL character, which no path, argument or variable can"))
}

pub(super) fn duplicate_mount(span: Span, first: Span, place: &str) -> Diagnostic {
    error(Code("duplicate-mount"), span, format!("two mounts of this step are at `{place}`")).also(first, "the first one")
}

pub(super) fn duplicate_item(span: Span, first: Span, what: &str, item: &str) -> Diagnostic {
    error(Code("duplicate-item"), span, format!("{what} `{item}` stands here twice")).also(first, "the first time")
}

pub(super) fn duplicate_tag(span: Span, first: Span, tag: &str) -> Diagnostic {
    error(Code("duplicate-tag"), span, format!("`{tag}` is the tag of two images, or twice of one")).also(first, "the first time")
}

pub(super) fn default_not_a_choice(span: Span, default: &str, choices: &[&str]) -> Diagnostic {
    let diagnostic = error(
        Code("default-not-a-choice"),
        span,
        format!("the default `{default}` is not among the choices {}", one_of(choices.iter().copied(), "and")),
    );
    did_you_mean(diagnostic, default, choices.iter().copied())
}
