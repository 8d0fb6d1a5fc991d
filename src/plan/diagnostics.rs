//! Every message of this room. One constructor each; each code has a page in `specs/diagnostics/`.

use super::path::BadPath;
use super::{Format, ImageSource};
use crate::diagnostic::{Code, Diagnostic, Span, nearest};
use crate::image::{InvalidPlatform, InvalidReference, Platform};
use crate::spec::{Absent, Referent};

/// The codes of this room, sorted.
pub const CODES: &[&str] = &[
    "bad-git-reference",
    "bad-image-reference",
    "bad-mode",
    "bad-owner",
    "bad-path",
    "bad-pattern",
    "bad-platform",
    "bad-port",
    "bad-signal",
    "bad-tag",
    "bad-url",
    "bad-variable",
    "base-onbuild",
    "base-platform",
    "duplicate-mount",
    "duplicate-tag",
    "foreign-platform-not-supported",
    "format-cannot-express",
    "missing-argument",
    "not-a-choice",
    "not-in-this-version",
    "not-locked",
    "nothing-to-upgrade",
    "nul-character",
    "path-climbs-out",
    "reference-not-here",
    "several-platforms-not-supported",
    "stage-cycle",
    "unknown-argument",
    "unknown-image",
    "unknown-stage",
    "unresolved-input",
    "unsafe-in-script",
    "unset-variable",
    "value-required",
    "value-too-long",
];

const BAD_IMAGE_REFERENCE: Code = Code("bad-image-reference");
const BAD_MODE: Code = Code("bad-mode");
const BAD_OWNER: Code = Code("bad-owner");
const BAD_PATH: Code = Code("bad-path");
const BAD_PATTERN: Code = Code("bad-pattern");
const BAD_PLATFORM: Code = Code("bad-platform");
const BAD_PORT: Code = Code("bad-port");
const BAD_SIGNAL: Code = Code("bad-signal");
const BAD_TAG: Code = Code("bad-tag");
const BAD_URL: Code = Code("bad-url");
const BAD_VARIABLE: Code = Code("bad-variable");
const BASE_ON_BUILD: Code = Code("base-onbuild");
const BASE_PLATFORM: Code = Code("base-platform");
const DUPLICATE_MOUNT: Code = Code("duplicate-mount");
const DUPLICATE_TAG: Code = Code("duplicate-tag");
const FOREIGN_PLATFORM: Code = Code("foreign-platform-not-supported");
const FORMAT_CANNOT_EXPRESS: Code = Code("format-cannot-express");
const BAD_GIT_REFERENCE: Code = Code("bad-git-reference");
const MISSING_ARGUMENT: Code = Code("missing-argument");
const NOTHING_TO_UPGRADE: Code = Code("nothing-to-upgrade");
const NOT_A_CHOICE: Code = Code("not-a-choice");
const NOT_LOCKED: Code = Code("not-locked");
const NOT_IN_THIS_VERSION: Code = Code("not-in-this-version");
const NUL_CHARACTER: Code = Code("nul-character");
const PATH_CLIMBS_OUT: Code = Code("path-climbs-out");
const REFERENCE_NOT_HERE: Code = Code("reference-not-here");
const SEVERAL_PLATFORMS: Code = Code("several-platforms-not-supported");
const STAGE_CYCLE: Code = Code("stage-cycle");
const UNKNOWN_ARGUMENT: Code = Code("unknown-argument");
const UNKNOWN_IMAGE: Code = Code("unknown-image");
const UNKNOWN_STAGE: Code = Code("unknown-stage");
const UNRESOLVED: Code = Code("unresolved-input");
const UNSAFE_IN_SCRIPT: Code = Code("unsafe-in-script");
const UNSET_VARIABLE: Code = Code("unset-variable");
const VALUE_REQUIRED: Code = Code("value-required");
const VALUE_TOO_LONG: Code = Code("value-too-long");

pub(super) fn unknown_argument<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Diagnostic {
    let known: Vec<&str> = known.collect();
    let diagnostic = Diagnostic::error(UNKNOWN_ARGUMENT, Span::NONE, format!("the spec has no argument `{name}`"));
    suggest(diagnostic, name, &known, "its arguments are")
}

pub(super) fn undeclared_argument<'a>(span: Span, name: &str, known: impl Iterator<Item = &'a str>) -> Diagnostic {
    let known: Vec<&str> = known.collect();
    let diagnostic = Diagnostic::error(UNKNOWN_ARGUMENT, span, format!("no argument `{name}` stands in `[args]`"));
    suggest(diagnostic, name, &known, "the arguments are")
}

pub(super) fn missing_argument(declared: Span, name: &str, used: Span) -> Diagnostic {
    Diagnostic::error(MISSING_ARGUMENT, declared, format!("argument `{name}` has no default and was given no value"))
        .labelled("declared here")
        .also(used, "used here")
        .hint(format!("say `--arg {name}=VALUE`, or give it a `default`"))
}

pub(super) fn left_out_argument(declared: Span, name: &str, used: Span) -> Diagnostic {
    Diagnostic::error(MISSING_ARGUMENT, used, format!("the optional argument `{name}` has no value, and one is needed here"))
        .also(declared, "declared here")
        .hint(format!("say what stands for it: `${{args.{name}:-VALUE}}`; only as the whole value of a variable it can be left out"))
}

/// What `?` says, or the usual words where it says nothing.
pub(super) fn value_required(span: Span, referent: &Referent, message: &str, absent: Absent) -> Diagnostic {
    let what = match referent {
        Referent::Arg(name) => format!("argument `{name}`"),
        Referent::Env(name) => format!("variable `{name}`"),
        Referent::Platform(of, part) => format!("`{}.{}`", of.word(), part.word()),
    };
    let message = match (message, absent) {
        ("", Absent::Unset) => "it must be set",
        ("", Absent::UnsetOrEmpty) => "it must be set and not be empty",
        (message, Absent::Unset | Absent::UnsetOrEmpty) => message,
    };
    Diagnostic::error(VALUE_REQUIRED, span, format!("{what}: {message}"))
}

pub(super) fn bad_pattern(span: Span, character: Option<char>) -> Diagnostic {
    let what = character.map_or_else(|| "nothing".to_owned(), shown);
    Diagnostic::error(BAD_PATTERN, span, format!("in the pattern of this reference, a backslash stands before {what}"))
        .hint("it can stand before `*`, `?` and `\\`; as one of these itself it is written twice, and twice again inside a reference")
}

pub(super) fn invalid_platform(span: Span, error: &InvalidPlatform) -> Diagnostic {
    Diagnostic::error(BAD_PLATFORM, span, error.to_string()).hint("such as `linux/amd64`")
}

pub(super) fn not_a_choice<'a>(span: Span, declared: Span, name: &str, value: &str, choices: impl Iterator<Item = &'a str>) -> Diagnostic {
    let choices: Vec<&str> = choices.collect();
    let diagnostic = Diagnostic::error(NOT_A_CHOICE, span, format!("argument `{name}` cannot be `{value}`"));
    suggest(diagnostic, value, &choices, "its choices are").also(declared, "declared here")
}

pub(super) fn unsafe_argument(span: Span, name: &str, bad: char) -> Diagnostic {
    Diagnostic::error(
        UNSAFE_IN_SCRIPT,
        span,
        format!("the value of argument `{name}` has {} in it, which a shell may take for code", shown(bad)),
    )
    .hint(format!("pass it by `env`: `env = {{ NAME = \"${{args.{name}}}\" }}` beside the script, and `\"$NAME\"` in it"))
    .hint("in a script, values may have letters, digits and `_ . , : / @ % + = -`")
}

pub(super) fn unsafe_variable(span: Span, name: &str, bad: char) -> Diagnostic {
    Diagnostic::error(
        UNSAFE_IN_SCRIPT,
        span,
        format!("the value of variable `{name}` has {} in it, which a shell may take for code", shown(bad)),
    )
    .hint(format!("the script has it in its environment: write `\"${name}\"`"))
    .hint("in a script, values may have letters, digits and `_ . , : / @ % + = -`")
}

pub(super) fn no_environment_here(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error(
        REFERENCE_NOT_HERE,
        span,
        format!("`${{env.{name}}}` means nothing here: the environment of an image is not known yet"),
    )
    .hint("use an argument: `${args.NAME}`")
}

pub(super) fn unset_variable<'a>(span: Span, name: &str, known: impl Iterator<Item = &'a str>) -> Diagnostic {
    let known: Vec<&str> = known.collect();
    let diagnostic = Diagnostic::error(UNSET_VARIABLE, span, format!("the image's environment has no variable `{name}` at this point"));
    suggest(diagnostic, name, &known, "it has")
}

pub(super) fn value_too_long(span: Span, bytes: usize) -> Diagnostic {
    Diagnostic::error(VALUE_TOO_LONG, span, format!("the references in this stand for more than {bytes} bytes"))
        .hint("large texts belong in a file that is copied")
}

pub(super) fn nul_character(span: Span) -> Diagnostic {
    Diagnostic::error(NUL_CHARACTER, span, "there is a NUL character in this, which no path, variable or argument of a program can hold")
}

pub(super) fn invalid_variable_name(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error(BAD_VARIABLE, span, format!("`{}` is no name of a variable", name.escape_debug()))
        .hint("a variable's name has letters, digits, `_`, `.` and `-`, and begins with a letter or `_`")
}

pub(super) fn invalid_mode(span: Span, mode: &str) -> Diagnostic {
    Diagnostic::error(BAD_MODE, span, format!("`{}` is no mode", mode.escape_debug()))
        .hint("write octal digits such as `0755` or `=0755`, changes such as `u=rwX,go=rX`, or `keep`")
}

pub(super) fn invalid_owner(span: Span, owner: &str) -> Diagnostic {
    Diagnostic::error(BAD_OWNER, span, format!("`{}` is neither `user` nor `user:group`", owner.escape_debug()))
        .hint("user and group are names without white space, or numbers from 0 to 4294967294")
}

pub(super) fn bad_path(span: Span, path: &str, bad: BadPath) -> Diagnostic {
    let path = path.escape_debug();
    let code = if bad == BadPath::ClimbsOut { PATH_CLIMBS_OUT } else { BAD_PATH };
    let (message, hint) = match bad {
        BadPath::Empty => ("the path is empty".to_owned(), "`.` is the working directory, `/` the root"),
        BadPath::ClimbsOut => {
            (format!("`{path}` climbs out of where it must stay"), "nothing above a context or above `/` can be reached; do without `..`")
        }
        BadPath::LongName => (format!("a name in `{path}` has more than 255 bytes"), "file systems hold no longer names"),
        BadPath::Reserved => {
            (format!("a name in `{path}` begins with `.wh.`"), "in a layer such names mean that something was removed; use another")
        }
        BadPath::Root => (format!("`{path}` is the root itself"), "name something below it"),
        BadPath::Slash => (format!("`{path}` names a directory where a file is meant"), "give the file's own name"),
    };
    Diagnostic::error(code, span, message).hint(hint)
}

pub(super) fn unknown_stage<'a>(span: Span, name: &str, known: impl Iterator<Item = &'a str>) -> Diagnostic {
    let known: Vec<&str> = known.collect();
    suggest(Diagnostic::error(UNKNOWN_STAGE, span, format!("there is no stage `{name}`")), name, &known, "the stages are")
}

pub(super) fn unknown_image<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Diagnostic {
    let known: Vec<&str> = known.collect();
    suggest(Diagnostic::error(UNKNOWN_IMAGE, Span::NONE, format!("the spec has no image `{name}`")), name, &known, "its images are")
}

pub(super) fn cycle(span: Span, names: &[&str], places: &[Span]) -> Diagnostic {
    let circle = names.iter().chain(names.first()).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" needs ");
    let mut diagnostic = Diagnostic::error(STAGE_CYCLE, span, format!("a stage cannot need itself: {circle}"));
    diagnostic = diagnostic.labelled(format!("needs `{}`, which needs this stage", names.first().unwrap_or(&"")));
    for (place, name) in places.iter().zip(names.iter().skip(1)) {
        diagnostic = diagnostic.also(*place, format!("needs `{name}`"));
    }
    diagnostic.hint("a stage can only use what is finished before it begins")
}

pub(super) fn several_platforms(span: Span, what: &str) -> Diagnostic {
    Diagnostic::error(
        SEVERAL_PLATFORMS,
        span,
        format!("{what} is wanted for several platforms, and only images are built for several at once"),
    )
    .hint("choose one with `--platform OS/ARCH`")
}

pub(super) fn foreign_run(span: Span, stage: &str, platform: &Platform, builder: &Platform) -> Diagnostic {
    Diagnostic::error(
        FOREIGN_PLATFORM,
        span,
        format!("stage `{stage}` is built for {platform}, and this machine runs commands for {builder} alone"),
    )
    .labelled("this cannot run here")
    .hint("stages without `run` can be built for any platform")
    .hint("a stage that makes files for every platform may say `platform = \"builder\"`")
}

pub(super) fn invalid_repository(span: Span, url: &str, reason: &str) -> Diagnostic {
    Diagnostic::error(BAD_URL, span, format!("`{}` is no repository that can be fetched: {reason}", url.escape_debug()))
}

pub(super) fn invalid_git_reference(span: Span, reference: &str, reason: &str) -> Diagnostic {
    Diagnostic::error(BAD_GIT_REFERENCE, span, format!("`{}` names nothing in a repository: {reason}", reference.escape_debug()))
        .hint("a branch, a tag, a full reference such as `refs/tags/v1`, or a commit in full is expected")
}

pub(super) fn not_in_this_version(span: Span, what: &str) -> Diagnostic {
    Diagnostic::error(NOT_IN_THIS_VERSION, span, format!("this version cannot carry out {what}, though the language has it"))
}

pub(super) fn invalid_reference(span: Span, error: &InvalidReference) -> Diagnostic {
    Diagnostic::error(BAD_IMAGE_REFERENCE, span, error.to_string()).hint("such as `docker.io/library/python:3.11-slim-bookworm`")
}

pub(super) fn invalid_url(span: Span, url: &str, reason: &str) -> Diagnostic {
    Diagnostic::error(BAD_URL, span, format!("`{}` cannot be downloaded: {reason}", url.escape_debug()))
}

pub(super) fn no_file_name(span: Span, url: &str) -> Diagnostic {
    Diagnostic::error(BAD_URL, span, format!("`{url}` ends in no name that the file could have"))
        .hint("give the file's own name in `to`, without a slash at the end")
}

pub(super) fn unresolved_image(span: Span, source: &ImageSource, platform: &Platform) -> Diagnostic {
    Diagnostic::error(UNRESOLVED, span, format!("it is not known what `{source}` is for {platform}"))
}

pub(super) fn unresolved_download(span: Span, url: &str) -> Diagnostic {
    Diagnostic::error(UNRESOLVED, span, format!("the digest of `{url}` is not known"))
        .hint("give its `sha256`, or pin it with `lapstrake lock`")
}

pub(super) fn unresolved_commit(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error(UNRESOLVED, span, format!("the commit of `{name}` is not known"))
        .hint("give its `commit`, or pin it with `lapstrake lock`")
}

pub(super) fn not_locked(span: Span, name: &str, platform: Option<&Platform>, why: &str) -> Diagnostic {
    let on = platform.map_or_else(String::new, |platform| format!(" for {platform}"));
    Diagnostic::error(NOT_LOCKED, span, format!("the lock does not pin `{name}`{on}"))
        .labelled(why)
        .hint("`lapstrake lock` with the same arguments adds it")
}

pub(super) fn nothing_to_upgrade(name: &str, known: &[String]) -> Diagnostic {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let diagnostic = Diagnostic::error(NOTHING_TO_UPGRADE, Span::NONE, format!("nothing that needs a pin is called `{name}`"));
    suggest(diagnostic, name, &known, "what needs a pin is")
}

pub(super) fn tag_for_which_image<'a>(tag: &str, wanted: impl Iterator<Item = &'a str>) -> Diagnostic {
    let wanted: Vec<&str> = wanted.collect();
    let diagnostic = Diagnostic::error(BAD_TAG, Span::NONE, format!("the tag `{tag}` does not say which image it is for"));
    if wanted.is_empty() {
        diagnostic.hint("only images have tags, and none is built")
    } else {
        diagnostic.hint(format!("write `--tag IMAGE={tag}`; images built are {}", list(&wanted)))
    }
}

pub(super) fn tag_for_unknown_image<'a>(image: &str, wanted: impl Iterator<Item = &'a str>) -> Diagnostic {
    let wanted: Vec<&str> = wanted.collect();
    let diagnostic = Diagnostic::error(BAD_TAG, Span::NONE, format!("a tag is for image `{image}`, which is not built"));
    suggest(diagnostic, image, &wanted, "images built are")
}

pub(super) fn invalid_tag(span: Span, error: &InvalidReference) -> Diagnostic {
    Diagnostic::error(BAD_IMAGE_REFERENCE, span, error.to_string()).hint("such as `registry.example.com/team/web:1.0`")
}

pub(super) fn tag_with_digest(span: Span, tag: &str) -> Diagnostic {
    Diagnostic::error(BAD_TAG, span, format!("`{tag}` names a digest, which is not known before the image is made"))
        .hint("leave out what follows `@`")
}

pub(super) fn duplicate_tag(span: Span, tag: &str, image: &str, other: &str, other_span: Span) -> Diagnostic {
    Diagnostic::error(DUPLICATE_TAG, span, format!("images `{other}` and `{image}` have the same tag `{tag}`"))
        .also(other_span, format!("the tag of `{other}`"))
        .hint("whichever were pushed last would win; give each image its own")
}

pub(super) fn base_platform(span: Span, base: &str, has: &str, wanted: &Platform) -> Diagnostic {
    Diagnostic::error(BASE_PLATFORM, span, format!("{base} is for {has}, and {wanted} is wanted"))
        .hint("choose another base, or another `--platform`")
}

pub(super) fn base_on_build(span: Span, base: &str) -> Diagnostic {
    Diagnostic::warning(BASE_ON_BUILD, span, format!("`{base}` has `ONBUILD` instructions, which are not carried out"))
        .hint("they stay in the config of what is built on it; say `onbuild = \"run\"`, or write what they do as steps")
}

pub(super) fn on_build_differs(span: Span, stage: &str) -> Diagnostic {
    let what = format!("`ONBUILD` instructions that differ from platform to platform, as those of the base of stage `{stage}` do");
    not_in_this_version(span, &what)
}

pub(super) fn mount_at_root(span: Span) -> Diagnostic {
    Diagnostic::error(BAD_PATH, span, "a mount at the root would hide everything else").hint("mount it at a directory of its own")
}

pub(super) fn duplicate_mount(span: Span, earlier: Span, at: &str) -> Diagnostic {
    Diagnostic::error(DUPLICATE_MOUNT, span, format!("two mounts of this step are at `{at}`")).also(earlier, "the other one")
}

pub(super) fn invalid_port(span: Span, port: &str) -> Diagnostic {
    Diagnostic::error(BAD_PORT, span, format!("`{}` is no port", port.escape_debug()))
        .hint("write a number from 1 to 65535, with `/tcp`, `/udp` or `/sctp` where it is not TCP")
}

pub(super) fn invalid_signal(span: Span, signal: &str) -> Diagnostic {
    Diagnostic::error(BAD_SIGNAL, span, format!("`{}` is no signal", signal.escape_debug()))
        .hint("write a name such as `SIGTERM`, or a number from 1 to 64")
}

pub(super) fn format_cannot_express(span: Span, format: Format, what: &str, hint: &str) -> Diagnostic {
    let name = match format {
        Format::Oci => "oci",
        Format::Docker => "docker",
    };
    Diagnostic::error(FORMAT_CANNOT_EXPRESS, span, format!("`format = \"{name}\"` has no {what}")).hint(hint)
}

fn suggest(diagnostic: Diagnostic, word: &str, known: &[&str], otherwise: &str) -> Diagnostic {
    match nearest(word, known.iter().copied()) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None if known.is_empty() => diagnostic,
        None => diagnostic.hint(format!("{otherwise} {}", list(known))),
    }
}

/// Up to a dozen names.
fn list(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if let Some(more) = names.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

fn shown(character: char) -> String {
    match character {
        ' ' => "a space".to_owned(),
        '\n' => "a line end".to_owned(),
        '`' => "a backtick".to_owned(),
        other => format!("`{}`", other.escape_debug()),
    }
}
