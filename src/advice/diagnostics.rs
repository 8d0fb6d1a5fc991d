//! Every message of this room. One constructor each; each code has a page in `specs/diagnostics/`.

use super::Language;
use super::packages::Manager;
use crate::diagnostic::{Code, Diagnostic, Span, nearest};

/// The codes of this room, sorted.
pub const CODES: &[&str] = &[
    "build-only-package",
    "copy-before-install",
    "misspelt-command",
    "misspelt-path",
    "package-lists-left",
    "pip-cache-left",
    "removed-too-late",
    "repaired-later",
    "secret-in-environment",
    "shell-in-path",
    "unpinned-base",
    "unpinned-repository",
    "unused-stage",
    "wrong-package-manager",
];

const BUILD_ONLY_PACKAGE: Code = Code("build-only-package");
const COPY_BEFORE_INSTALL: Code = Code("copy-before-install");
const MISSPELT_COMMAND: Code = Code("misspelt-command");
const MISSPELT_PATH: Code = Code("misspelt-path");
const PACKAGE_LISTS_LEFT: Code = Code("package-lists-left");
const PIP_CACHE_LEFT: Code = Code("pip-cache-left");
const REMOVED_TOO_LATE: Code = Code("removed-too-late");
const REPAIRED_LATER: Code = Code("repaired-later");
const SECRET_IN_ENVIRONMENT: Code = Code("secret-in-environment");
/// A code of the front end for Dockerfiles, which says the same where no base is needed to know it.
const UNDECLARED_VARIABLE: Code = Code("undeclared-variable");
const SHELL_IN_PATH: Code = Code("shell-in-path");
const UNPINNED_BASE: Code = Code("unpinned-base");
const UNPINNED_REPOSITORY: Code = Code("unpinned-repository");
const UNUSED_STAGE: Code = Code("unused-stage");
const WRONG_PACKAGE_MANAGER: Code = Code("wrong-package-manager");

/// `a`, `b` and `c`.
fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

impl Language {
    /// The same thing in either language.
    fn say<'t>(self, toml: &'t str, dockerfile: &'t str) -> &'t str {
        match self {
            Language::Toml => toml,
            Language::Dockerfile => dockerfile,
        }
    }
}

pub(super) fn build_only_packages(span: Span, packages: &[&str], images: &[&str], language: Language) -> Diagnostic {
    let (are, they) = if packages.len() == 1 { ("is", "it") } else { ("are", "them") };
    let whose = format!("{} {}", if images.len() == 1 { "image" } else { "images" }, list(images));
    Diagnostic::warning(
        BUILD_ONLY_PACKAGE,
        span,
        format!("{} {are} needed to build and not to run, and {are} in the {whose}", list(packages)),
    )
    .hint(format!(
        "install {they} in a stage of its own, and take what it made from there: {}",
        language.say("`copy` with `from = \"stage:NAME\"`, or a mount", "`COPY --from=NAME`, or `RUN --mount=type=bind,from=NAME`")
    ))
}

/// `first` is the file that names what is installed, where one does.
pub(super) fn copy_before_install(copy: Span, install: Span, command: &str, first: Option<&str>) -> Diagnostic {
    Diagnostic::warning(COPY_BEFORE_INSTALL, copy, format!("every edit of any file runs `{command}` again"))
        .labelled("everything is copied here")
        .also(install, "and this stands on it")
        .hint(match first {
            Some(file) => format!("copy `{file}` alone, install, and copy the rest afterwards"),
            None => "install first, and copy afterwards".to_owned(),
        })
}

pub(super) fn misspelt_command(span: Span, written: &str, meant: &str) -> Diagnostic {
    Diagnostic::warning(MISSPELT_COMMAND, span, format!("there is no command `{written}`")).hint(format!("did you mean `{meant}`?"))
}

pub(super) fn misspelt_path(span: Span, written: &str, meant: &str) -> Diagnostic {
    Diagnostic::warning(MISSPELT_PATH, span, format!("there is nothing at `{written}`, so the package lists stay in the layer"))
        .hint(format!("did you mean `{meant}`?"))
}

pub(super) fn package_lists_left(span: Span, manager: Manager, command: &str, language: Language) -> Diagnostic {
    let message = match manager {
        Manager::Apt => "the package lists that this loads stay in the layer".to_owned(),
        Manager::Apk | Manager::Dnf => format!("what `{command}` keeps for the next time stays in the layer"),
        Manager::Pacman | Manager::Zypper => format!("`{command}` leaves its cache in the layer"),
    };
    let diagnostic = Diagnostic::warning(PACKAGE_LISTS_LEFT, span, message);
    let mount = |at: &str| match language {
        Language::Toml => format!("`mounts = [{{ cache = \"packages\", at = \"{at}\", sharing = \"locked\" }}]`"),
        Language::Dockerfile => format!("`--mount=type=cache,target={at},sharing=locked`"),
    };
    match manager {
        Manager::Apt => diagnostic.hint(format!(
            "remove them in the same {} by `rm -rf /var/lib/apt/lists/*`, or keep them out of it by {}",
            language.say("step", "RUN"),
            mount("/var/lib/apt/lists")
        )),
        Manager::Apk => diagnostic.hint("write `apk add --no-cache`"),
        Manager::Dnf => diagnostic.hint(format!(
            "remove it in the same {} by `{command} clean all`, or keep it out of it by {}",
            language.say("step", "RUN"),
            mount("/var/cache")
        )),
        Manager::Pacman | Manager::Zypper => diagnostic.hint(format!("keep it out of the layer by {}", mount("/var/cache"))),
    }
}

pub(super) fn pip_cache_left(span: Span, language: Language) -> Diagnostic {
    Diagnostic::warning(PIP_CACHE_LEFT, span, "what `pip` downloads stays in the layer, a second time").hint(format!(
        "mount a cache, which makes the next build faster too: {}; or write `pip install --no-cache-dir`",
        language.say("`mounts = [{ cache = \"pip\", at = \"/root/.cache/pip\" }]`", "`RUN --mount=type=cache,target=/root/.cache/pip`")
    ))
}

pub(super) fn removed_too_late(span: Span, path: &str, copied: Span, language: Language) -> Diagnostic {
    Diagnostic::warning(REMOVED_TOO_LATE, span, format!("`{path}` is removed here, and stays in the image all the same"))
        .also(copied, "it is in the layer of this step")
        .hint(format!(
            "show it to the step that needs it, and to no other: {}",
            language.say(
                "`mounts = [{ from = \"stage:NAME\", path = \"…\", at = \"…\" }]`",
                "`RUN --mount=type=bind,from=NAME,source=…,target=…`"
            )
        ))
}

/// What a later step does to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repair {
    Mode,
    Owner,
    LineEnds,
}

pub(super) fn repaired_later(span: Span, path: &str, copied: Span, repair: Repair, language: Language) -> Diagnostic {
    let hint = match (repair, language) {
        (Repair::Mode, Language::Toml) => "give the mode to the `copy`: `mode = \"0755\"`",
        (Repair::Mode, Language::Dockerfile) => "give the mode to the COPY: `COPY --chmod=0755 …`",
        (Repair::Owner, Language::Toml) => "give the owner to the `copy`: `owner = \"USER:GROUP\"`",
        (Repair::Owner, Language::Dockerfile) => "give the owner to the COPY: `COPY --chown=USER:GROUP …`",
        (Repair::LineEnds, Language::Toml) => "let the `copy` do it: `newlines = \"lf\"`",
        (Repair::LineEnds, Language::Dockerfile) => "keep the file with LF line ends, or let a lapstrake.toml do it: `newlines = \"lf\"`",
    };
    let what = match repair {
        Repair::Mode => "mode",
        Repair::Owner => "owner",
        Repair::LineEnds => "line ends",
    };
    Diagnostic::warning(REPAIRED_LATER, span, format!("`{path}` is in a second layer, for nothing but its {what}"))
        .also(copied, "it is copied here")
        .hint(hint)
}

/// Where something that looks like a secret stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeper {
    Argument,
    Image,
    Step,
}

pub(super) fn secret(span: Span, name: &str, keeper: Keeper, language: Language) -> Diagnostic {
    let message = match keeper {
        Keeper::Argument => format!("`{name}` looks like a secret, and values of arguments are kept in caches and histories"),
        Keeper::Image => format!("`{name}` looks like a secret, and everyone who has the image can read it"),
        Keeper::Step => format!("`{name}` looks like a secret, and is kept in the cache with what the step made"),
    };
    let id = name.to_lowercase();
    Diagnostic::warning(SECRET_IN_ENVIRONMENT, span, message).hint(match language {
        Language::Toml => format!(
            "mount it into the step that uses it, `mounts = [{{ secret = \"{id}\" }}]`, and build with `--secret id={id},src=FILE`; what only \
             runs gets it when it is run"
        ),
        Language::Dockerfile => format!(
            "mount it into the RUN that uses it, `RUN --mount=type=secret,id={id} …`, and build with `--secret id={id},src=FILE`; what only \
             runs gets it when it is run"
        ),
    })
}

pub(super) fn shell_in_path(span: Span, written: &str, meant: Option<String>) -> Diagnostic {
    let diagnostic = Diagnostic::warning(SHELL_IN_PATH, span, format!("`{written}` is taken as it stands: no shell runs here"));
    match meant {
        Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
        None => diagnostic,
    }
}

pub(super) fn undeclared<'a>(span: Span, name: &str, base: &str, known: impl IntoIterator<Item = &'a str>) -> Diagnostic {
    let message = format!("nothing here sets `{name}`, and `{base}` does not either, so it is empty");
    let hint = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("declare it before this line, with a value or without one: `ARG {name}`"),
    };
    Diagnostic::warning(UNDECLARED_VARIABLE, span, message).hint(hint)
}

pub(super) fn unpinned_base(span: Span, reference: &str) -> Diagnostic {
    Diagnostic::warning(UNPINNED_BASE, span, format!("`{reference}` may be another image tomorrow"))
        .hint("pin it with `lapstrake lock` and keep lapstrake.lock with the sources, or write its digest behind it: `@sha256:…`")
}

pub(super) fn unpinned_repository(span: Span, reference: &str, language: Language) -> Diagnostic {
    Diagnostic::warning(UNPINNED_REPOSITORY, span, format!("`{reference}` of this repository may be another commit tomorrow")).hint(
        format!(
            "pin it with `lapstrake lock` and keep lapstrake.lock with the sources, or name the commit: {}",
            language.say("`commit = \"…\"`", "`ADD https://….git#COMMIT`")
        ),
    )
}

pub(super) fn unused_stage(span: Span, name: &str, language: Language) -> Diagnostic {
    Diagnostic::warning(UNUSED_STAGE, span, format!("nothing uses the stage `{name}`")).hint(language.say(
        "take something from it, make an image of it, or remove it",
        "remove it, or take something from it: `COPY --from=NAME`; one that is built by `--target` alone may say \
         `# check=skip=unused-stage` at the top of the file",
    ))
}

pub(super) fn wrong_package_manager(span: Span, program: &str, base: &str, family: &str, instead: Option<&str>) -> Diagnostic {
    let diagnostic = Diagnostic::warning(WRONG_PACKAGE_MANAGER, span, format!("there is no `{program}` in `{base}`, which is {family}"));
    match instead {
        Some(instead) => diagnostic.hint(format!("use `{instead}`; some packages have other names there")),
        None => diagnostic.hint("copy what you need from a stage that has one"),
    }
}
