//! A spec on disk and the words of the command line → what the library takes, with every message drawn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lapstrake::build::Class;
use lapstrake::cache::Store;
use lapstrake::diagnostic::{Diagnosed, Diagnostic, Severity, SourceMap};
use lapstrake::event::{Cancel, Event, EventKind, EventSink, TaskId};
use lapstrake::image::Platform;
use lapstrake::input::{NetworkUse, NothingStale, Outside, Resolved};
use lapstrake::layer::LAYER_FORMAT;
use lapstrake::pins::{Layers, Pins};
use lapstrake::plan::{self, ExtraTag, Plan, Requirement, Target, Wanted};
use lapstrake::registry::Registry;
use lapstrake::spec::{self, Spec};

use crate::args;
use crate::exit::{Failure, Voice, chain, remark};
use crate::render;

/// A spec that was read, and what is asked of it.
pub(crate) struct Project {
    /// The texts that messages point into.
    pub(crate) sources: SourceMap,
    /// The spec.
    pub(crate) spec: Spec,
    /// What is asked of it.
    pub(crate) target: Target,
    /// The directory that the spec is in.
    pub(crate) directory: PathBuf,
    /// Contexts that the caller gave, by name.
    pub(crate) contexts: BTreeMap<String, PathBuf>,
    /// What the lock says.
    pub(crate) pins: Pins,
    voice: Voice,
}

impl Project {
    /// Reads spec and lock. Warnings are printed; errors end it.
    pub(crate) fn load(arguments: &args::Project, tags: &[String], voice: Voice) -> Result<Project, Failure> {
        let path = spec_file(&arguments.spec)?;
        let text = read(&path)?;
        let mut sources = SourceMap::new();
        let id = sources.add(path.display().to_string(), text.clone());
        let spec = settle(&sources, spec::parse(id, &text), voice)?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            Some(_) | None => PathBuf::from("."),
        };
        let directory = std::path::absolute(&directory).map_err(|error| Failure::world(format!("{}: {error}", directory.display())))?;
        let lock = directory.join("lapstrake.lock");
        let pins = match std::fs::read_to_string(&lock) {
            Ok(text) => {
                let name = path.with_file_name("lapstrake.lock").display().to_string();
                let id = sources.add(name, text.clone());
                settle(&sources, Pins::parse(id, &text), voice)?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Pins::new(),
            Err(error) => return Err(Failure::world(format!("{}: {error}", lock.display()))),
        };
        let target = target(arguments, tags)?;
        let contexts = contexts(&arguments.contexts)?;
        Ok(Project { sources, spec, target, directory, contexts, pins, voice })
    }

    /// The lock's place.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.directory.join("lapstrake.lock")
    }

    /// Unwraps a value that comes with messages: warnings are printed, errors end it.
    pub(crate) fn settle<T>(&self, diagnosed: Diagnosed<T>) -> Result<T, Failure> {
        settle(&self.sources, diagnosed, self.voice)
    }

    /// What must be known of the outside.
    pub(crate) fn requirements(&self) -> Result<Vec<Requirement>, Failure> {
        self.settle(plan::requirements(&self.spec, &self.target))
    }

    /// The handles for this project.
    pub(crate) fn outside<'a>(
        &'a self,
        store: &'a Store,
        registry: &'a Registry,
        network: NetworkUse,
        events: &'a dyn EventSink,
        cancel: &'a Cancel,
    ) -> Outside<'a> {
        Outside { store, registry, network, directory: &self.directory, contexts: &self.contexts, events, cancel }
    }

    /// Finds out what the plan needs and plans. With `locked`, whatever is not in the lock is an error.
    pub(crate) fn plan(&self, outside: &Outside<'_>, pinning: &args::Pinning) -> Result<(Plan, Resolved), Failure> {
        let requirements = self.requirements()?;
        self.check_layers(outside.events, pinning)?;
        if pinning.locked {
            self.show(&plan::not_locked(&requirements, &self.pins))?;
        }
        let resolved = outside.resolve(&requirements, &self.pins, &NothingStale).map_err(|error| self.unresolved(&error))?;
        let plan = self.settle(plan::plan(&self.spec, &self.target, &resolved.found))?;
        Ok((plan, resolved))
    }

    /// A lock that another lapstrake wrote may promise bytes that this one cannot write.
    fn check_layers(&self, events: &dyn EventSink, pinning: &args::Pinning) -> Result<(), Failure> {
        let Some(Layers { format, gzip, zstd }) = self.pins.layers.filter(|layers| *layers != known_layers()) else { return Ok(()) };
        let message = format!(
            "lapstrake.lock was written for layers of format {format} with gzip/{gzip} and zstd/{zstd}, which this lapstrake does not write"
        );
        if pinning.locked {
            return Err(Failure::usage(format!("{message}; use the lapstrake that wrote it, or a newer one")));
        }
        let message = format!("{message}: digests will differ");
        events.send(Event { task: TaskId::fresh(), kind: EventKind::Noted { message } });
        Ok(())
    }

    /// A requirement that could not be met, drawn at its place in the spec.
    pub(crate) fn unresolved(&self, error: &lapstrake::input::Unresolved) -> Failure {
        let class = lapstrake::build::input_class(&error.source);
        let text =
            render::failure(&self.sources, &format!("cannot get what is {}", error.why), error.span, &chain(&*error.source), self.voice);
        Failure::pictured(class, text)
    }

    /// A build that failed, drawn at its step.
    pub(crate) fn failed(&self, error: &lapstrake::build::Error) -> Failure {
        Failure::pictured(error.failure.class(), render::build_failure(&self.sources, error, self.voice))
    }

    /// Shows messages; errors end it.
    pub(crate) fn show(&self, diagnostics: &[Diagnostic]) -> Result<(), Failure> {
        show(&self.sources, diagnostics, self.voice)
    }
}

/// How this program writes layers.
pub(crate) const fn known_layers() -> Layers {
    Layers { format: LAYER_FORMAT, gzip: 1, zstd: 1 }
}

fn settle<T>(sources: &SourceMap, diagnosed: Diagnosed<T>, voice: Voice) -> Result<T, Failure> {
    show(sources, &diagnosed.diagnostics, voice)?;
    diagnosed.value.ok_or_else(|| Failure::new(Class::Bug, "nothing came of the spec, and nothing was said about it; please report this"))
}

fn show(sources: &SourceMap, diagnostics: &[Diagnostic], voice: Voice) -> Result<(), Failure> {
    if diagnostics.is_empty() {
        return Ok(());
    }
    let text = render::diagnostics(sources, diagnostics, voice);
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(Failure::pictured(Class::Spec, text));
    }
    remark(&text, voice);
    Ok(())
}

/// The spec that a path means: a file, or `lapstrake.toml` in a directory.
fn spec_file(path: &Path) -> Result<PathBuf, Failure> {
    if path.is_dir() {
        let file = path.join("lapstrake.toml");
        if file.is_file() {
            return Ok(if path == Path::new(".") { PathBuf::from("lapstrake.toml") } else { file });
        }
        return Err(Failure::usage(format!(
            "there is no lapstrake.toml in {}; write one with `lapstrake init`, or name a spec",
            if path == Path::new(".") { "this directory".to_owned() } else { format!("`{}`", path.display()) }
        )));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    if name.starts_with("dockerfile") || name.ends_with("dockerfile") || name.ends_with(".yaml") || name.ends_with(".yml") {
        return Err(Failure::usage(format!(
            "`{}`: Dockerfiles and Compose files are not read yet; write a lapstrake.toml",
            path.display()
        )));
    }
    Ok(path.to_path_buf())
}

fn read(path: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            Failure::usage(format!("there is no `{}`", path.display()))
        } else {
            Failure::world(format!("cannot read `{}`: {error}", path.display()))
        }
    })?;
    String::from_utf8(bytes).map_err(|error| {
        Failure::usage(format!(
            "`{}` is not UTF-8 text: byte {} is no part of a character",
            path.display(),
            error.utf8_error().valid_up_to()
        ))
    })
}

fn target(arguments: &args::Project, tags: &[String]) -> Result<Target, Failure> {
    let wanted = match (&arguments.stage, arguments.images.as_slice()) {
        (Some(stage), _) => Wanted::Stage(stage.clone()),
        (None, []) => Wanted::All,
        (None, images) => Wanted::Images(images.to_vec()),
    };
    let mut args = BTreeMap::new();
    for (name, value) in &arguments.args {
        if args.insert(name.clone(), value.clone()).is_some() {
            return Err(Failure::usage(format!("`--arg {name}` is given twice")));
        }
    }
    let platforms = arguments
        .platforms
        .iter()
        .map(|platform| platform.parse().map_err(|error: lapstrake::image::InvalidPlatform| Failure::usage(error.to_string())))
        .collect::<Result<Vec<Platform>, Failure>>()?;
    Ok(Target { wanted, args, platforms, tags: tags.iter().map(|tag| ExtraTag::new(tag)).collect(), builder: Platform::builder() })
}

fn contexts(given: &[String]) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut contexts = BTreeMap::new();
    for text in given {
        let (name, path) = match text.split_once('=') {
            Some((name, path)) => (name.to_owned(), path),
            None => (String::new(), text.as_str()),
        };
        let path = std::path::absolute(path).map_err(|error| Failure::usage(format!("`--context {text}`: {error}")))?;
        if !path.is_dir() {
            return Err(Failure::usage(format!("`--context {text}`: there is no directory `{}`", path.display())));
        }
        if contexts.insert(name, path).is_some() {
            return Err(Failure::usage(format!("`--context {text}`: the context is given twice")));
        }
    }
    Ok(contexts)
}
