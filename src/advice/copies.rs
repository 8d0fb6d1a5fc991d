//! Copies: those that come before an installation which does not need them, where they go, and paths that no shell sees.

use super::diagnostics as say;
use super::layers::pip_use;
use super::packages::{Deed, Use};
use super::script::{Command, UNKNOWN, Word};
use super::stages::View;
use super::text::likely;
use super::{Advisor, Language, place};
use crate::diagnostic::{Diagnostic, Span};
use crate::spec::{Change, Copy, FileSource, Piece, Setting, Text, Verb};

pub(super) fn look(advisor: &Advisor<'_>, found: &mut Vec<Diagnostic>) {
    for view in &advisor.stages {
        before_install(advisor, view, found);
        // Dockerfiles are looked at by their front end, which knows what their quotes and escapes were.
        if advisor.facts.language == Language::Toml {
            paths(advisor, view, found);
        }
    }
}

/// Something that is installed.
struct Installation<'c> {
    /// The command in short.
    command: String,
    /// The file of the context that names what is installed; `None` where the command itself does.
    first: Option<&'c str>,
}

impl Installation<'_> {
    /// Which sort it is, so that one of the same sort before tells that somebody has thought of it.
    fn sort(&self) -> &str {
        self.command.split(' ').next().unwrap_or_default()
    }
}

/// Everything is copied, and what is installed afterwards is installed anew with every edit.
fn before_install(advisor: &Advisor<'_>, view: &View<'_>, found: &mut Vec<Diagnostic>) {
    let mut installed: Vec<String> = Vec::new();
    let mut everything: Option<Span> = None;
    for (place_of_step, step) in view.stage.steps.iter().enumerate() {
        if let Verb::Copy(copy) = &step.verb
            && everything.is_none()
            && is_everything(advisor, copy)
        {
            everything = Some(step.span);
        }
        let Some(script) = view.scripts.iter().find(|script| script.step == place_of_step) else { continue };
        for command in &script.commands {
            let Some(installation) = installation(command) else { continue };
            let sort = installation.sort().to_owned();
            if let Some(copy) = everything.filter(|_| !installed.contains(&sort)) {
                let span = command.program_word().map_or(script.span, |word| place::of(advisor.sources, script.span, word));
                found.push(say::copy_before_install(copy, span, &installation.command, installation.first));
                return;
            }
            installed.push(sort);
        }
    }
}

fn is_everything(advisor: &Advisor<'_>, copy: &Copy) -> bool {
    let of_context = match copy.from.as_ref().map(|from| &from.value) {
        None | Some(FileSource::Context(_)) => true,
        Some(FileSource::Stage(_) | FileSource::Image(_)) => false,
    };
    let whole =
        |source: &Text| matches!(likely(&source.value, &advisor.spec.args).as_str(), "." | "./" | "/" | "/." | "*" | "./*" | "**" | "");
    of_context && copy.sources.iter().any(whole)
}

/// Programs whose dependencies a file names, what installs them, and that file.
const INSTALLERS: &[(&str, &[&str], &str)] = &[
    ("npm", &["ci", "install", "i", "clean-install"], "package.json"),
    ("pnpm", &["install", "i"], "package.json"),
    ("yarn", &["install"], "package.json"),
    ("bundle", &["install"], "Gemfile"),
    ("composer", &["install"], "composer.json"),
    ("poetry", &["install"], "pyproject.toml"),
    ("pipenv", &["install", "sync"], "Pipfile"),
    ("pdm", &["install", "sync"], "pyproject.toml"),
    ("uv", &["sync"], "pyproject.toml"),
];

fn installation(command: &Command) -> Option<Installation<'_>> {
    if let Some(used) = Use::of(command) {
        return (used.deed == Deed::Install)
            .then(|| Installation { command: format!("{} {}", used.program, used.verb_text().unwrap_or("install")), first: None });
    }
    if let Some((verb @ ("install" | "wheel" | "download"), arguments)) = pip_use(command) {
        return pip_installation(verb, arguments);
    }
    let (program, arguments) = command.program()?;
    let word = arguments.iter().find(|word| !word.text.starts_with('-'))?.known()?;
    if program == "go" {
        let second = arguments.get(1).and_then(|word| word.known());
        return (word == "mod" && second == Some("download"))
            .then(|| Installation { command: "go mod download".to_owned(), first: Some("go.mod") });
    }
    let (_, _, file) = INSTALLERS.iter().find(|(name, words, _)| *name == program && words.contains(&word))?;
    Some(Installation { command: format!("{program} {word}"), first: Some(file) })
}

/// Options of `pip` whose value is the next word.
const PIP_WITH_VALUE: &[&str] = &[
    "-c",
    "-d",
    "-i",
    "-r",
    "-t",
    "-w",
    "--cache-dir",
    "--constraint",
    "--dest",
    "--extra-index-url",
    "--index-url",
    "--prefix",
    "--requirement",
    "--root",
    "--target",
    "--trusted-host",
    "--wheel-dir",
];

fn pip_installation<'c>(verb: &str, arguments: &'c [Word]) -> Option<Installation<'c>> {
    let mut first = None;
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        let text = word.text.as_str();
        if PIP_WITH_VALUE.contains(&text) {
            let value = rest.next();
            if matches!(text, "-r" | "--requirement") {
                first = first.or(value.map(|value| value.raw.as_str()));
            }
            continue;
        }
        // The project itself, or what lies beside it, needs its files.
        let local = matches!(text, "." | "-e" | "--editable" | "--no-deps" | "-f" | "--find-links" | "--no-index");
        if local || text.starts_with(['/', '.']) || text.starts_with("--find-links=") || text.ends_with(".whl") {
            return None;
        }
    }
    Some(Installation { command: format!("pip {verb}"), first })
}

/// Where a step puts something.
pub(super) struct Copied {
    /// The place in the stage's steps.
    pub(super) step: usize,
    pub(super) span: Span,
    /// Absolute paths that it may have made: the destination, and the names in it.
    paths: Vec<String>,
}

impl Copied {
    /// Whether this path is one that was copied.
    pub(super) fn is(&self, path: &str) -> bool {
        self.paths.iter().any(|own| own == path)
    }

    /// Whether removing this path removes what was copied.
    pub(super) fn is_below(&self, path: &str) -> bool {
        self.is(path) || self.paths.first().is_some_and(|own| own.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
    }
}

/// What the `copy` steps of a stage put where, as far as that is certain.
pub(super) fn copied(advisor: &Advisor<'_>, view: &View<'_>) -> Vec<Copied> {
    let args = &advisor.spec.args;
    let mut workdir: Option<String> = match &view.stage.settings.workdir {
        Some(change) => match &change.value {
            Change::Set(template) => absolute(&likely(template, args), None),
            Change::Clear => Some("/".to_owned()),
        },
        None => None,
    };
    let mut found = Vec::new();
    for (place, step) in view.stage.steps.iter().enumerate() {
        match &step.verb {
            Verb::Setting(Setting::Workdir { path, owner: _ }) => workdir = absolute(&likely(&path.value, args), workdir.as_deref()),
            Verb::Copy(copy) => {
                let to = likely(&copy.to.value, args);
                let Some(target) = absolute(&to, workdir.as_deref()) else { continue };
                let into = to.ends_with('/') || matches!(to.as_str(), "." | "./") || copy.sources.len() > 1;
                let names = copy.sources.iter().filter_map(|source| {
                    let text = likely(&source.value, args);
                    let name = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
                    (!name.is_empty() && name != "." && !name.contains(['*', '?', '[', UNKNOWN])).then_some(name)
                });
                let inside = names.map(|name| format!("{}/{name}", target.trim_end_matches('/')));
                let paths: Vec<String> = if into { inside.collect() } else { [target.clone()].into_iter().chain(inside).collect() };
                // A directory's contents go into the destination itself, and what a source is cannot be seen from here.
                let paths = if paths.is_empty() || target != "/" { [target].into_iter().chain(paths).collect() } else { paths };
                found.push(Copied { step: place, span: step.span, paths });
            }
            Verb::Setting(Setting::Env(_) | Setting::User(_) | Setting::Shell(_) | Setting::History(_))
            | Verb::Run(_)
            | Verb::Write(_)
            | Verb::Fetch(_)
            | Verb::Extract(_)
            | Verb::Link(_)
            | Verb::MakeDirectory(_)
            | Verb::Remove(_) => {}
        }
    }
    found
}

/// The path from the root; `None` where it is not certain. Without a slash at its end, but for the root itself.
fn absolute(path: &str, workdir: Option<&str>) -> Option<String> {
    if path.contains(UNKNOWN) {
        return None;
    }
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", workdir?) };
    let names: Vec<&str> = whole.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    if names.contains(&"..") { None } else { Some(format!("/{}", names.join("/"))) }
}

/// Paths in which something stands that only a shell would replace.
fn paths(advisor: &Advisor<'_>, view: &View<'_>, found: &mut Vec<Diagnostic>) {
    let workdir = view.stage.settings.workdir.iter().filter_map(|workdir| match &workdir.value {
        Change::Set(template) => Some((template, workdir.span)),
        Change::Clear => None,
    });
    let of_steps = view.stage.steps.iter().flat_map(|step| {
        let texts: Vec<&Text> = match &step.verb {
            Verb::Copy(copy) => copy.sources.iter().chain([&copy.to]).collect(),
            Verb::Write(write) => vec![&write.path],
            Verb::Fetch(fetch) => vec![&fetch.to],
            Verb::Extract(extract) => vec![&extract.to],
            Verb::Link(link) => vec![&link.path],
            Verb::MakeDirectory(made) => made.paths.iter().collect(),
            Verb::Remove(removed) => removed.paths.iter().collect(),
            Verb::Setting(Setting::Workdir { path, owner: _ }) => vec![path],
            Verb::Run(_) | Verb::Setting(Setting::Env(_) | Setting::User(_) | Setting::Shell(_) | Setting::History(_)) => Vec::new(),
        };
        texts
    });
    for (template, span) in workdir.chain(of_steps.map(|text| (&text.value, text.span))) {
        for piece in template.pieces() {
            let Piece::Literal(literal) = piece else { continue };
            let Some((written, name)) = of_shell(literal) else { continue };
            let meant = if view.variables.contains(name) {
                Some(format!("${{env.{name}}}"))
            } else {
                advisor.spec.args.keys().find(|known| known.as_str() == name).map(|known| format!("${{args.{known}}}"))
            };
            found.push(say::shell_in_path(span, written, meant));
            break;
        }
    }
}

/// `$NAME` or `$(NAME)` in a text, and the name.
fn of_shell(text: &str) -> Option<(&str, &str)> {
    let name_length = |rest: &str| {
        let bytes = rest.bytes();
        if rest.starts_with(|first: char| first.is_ascii_digit()) {
            0
        } else {
            bytes.take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
        }
    };
    text.match_indices('$').find_map(|(at, _)| {
        let rest = text.get(at + 1..)?;
        if let Some(inside) = rest.strip_prefix('(') {
            let end = inside.find(')')?;
            return Some((text.get(at..at + end + 3)?, inside.get(..end)?));
        }
        let length = name_length(rest);
        (length > 0).then(|| text.get(at..=at + length).zip(rest.get(..length)))?
    })
}
