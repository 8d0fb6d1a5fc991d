//! A spec on disk and the words of the command line → what the library takes, with every message drawn.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use lapstrake::advice::{self, Facts, Language};
use lapstrake::build::Class;
use lapstrake::cache::Store;
use lapstrake::diagnostic::{Diagnosed, Diagnostic, Severity, SourceMap};
use lapstrake::event::{Cancel, Event, EventKind, EventSink, TaskId};
use lapstrake::frontend::dockerfile::{Purpose, reworded};
use lapstrake::image::Platform;
use lapstrake::input::{GitCheckout, NetworkUse, Outside, Resolved, Stale};
use lapstrake::layer::LAYER_FORMAT;
use lapstrake::pins::{Layers, Pins};
use lapstrake::plan::{self, ArchiveSource, ExtraTag, MountKind, Plan, Requirement, StepKind, Target, TreeSource, Wanted};
use lapstrake::registry::Registry;
use lapstrake::spec::{Name, Spec};

use crate::args;
use crate::exit::{Failure, Voice, chain, remark};
use crate::keys::{self, Given, Keys};
use crate::lints::Lints;
use crate::machine::Machine;
use crate::overlay::{self, BuildContexts};
use crate::remote::{self, Asking};
use crate::source::{self, Context, Kind};
use crate::{compose, given, language, render, text};

/// The lock's name.
const LOCK: &str = "lapstrake.lock";

/// A spec that was read, and what is asked of it.
pub(crate) struct Project {
    /// The texts that messages point into.
    pub(crate) sources: SourceMap,
    /// The spec, with what the command line lays over it.
    pub(crate) spec: Spec,
    /// What is asked of it.
    pub(crate) target: Target,
    /// The directory that the spec is in.
    pub(crate) directory: PathBuf,
    /// Contexts that the caller gave, by name.
    pub(crate) contexts: BTreeMap<String, PathBuf>,
    /// What the lock says.
    pub(crate) pins: Pins,
    /// Whether all of the spec is looked at.
    pub(crate) wanted: advice::Wanted,
    /// Proxies for steps that use the network, by the names of the variables.
    pub(crate) proxies: BTreeMap<String, String>,
    /// `SOURCE_DATE_EPOCH`, where it was given as an argument of the build.
    pub(crate) source_date: Option<String>,
    /// What was found while reading and stops nothing; not shown yet where the command shows more with it.
    pub(crate) warnings: Vec<Diagnostic>,
    /// Its language.
    pub(crate) kind: Kind,
    /// How `git` is run.
    pub(crate) git: keys::Git,
    /// What a Compose file gives to builds.
    pub(crate) given: Given,
    /// Arguments that only a base may declare, with what is to be said where none does.
    pub(crate) offered: BTreeMap<Name, Diagnostic>,
    has_context: HasContext,
    lints: Lints,
    voice: Voice,
    /// Holds directories that were fetched.
    _fetched: Vec<GitCheckout>,
}

/// Whether a step may copy from the default build context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HasContext {
    Yes,
    No,
}

/// How a project is read.
pub(crate) struct Reading<'a> {
    /// More tags for what is built.
    pub(crate) tags: &'a [String],
    /// What becomes of warnings.
    pub(crate) lints: Lints,
    /// What becomes of the spec.
    pub(crate) purpose: Purpose,
    /// What the command line gives.
    pub(crate) keys: Option<&'a Keys>,
    /// What may be asked of servers of git while it is read; `None` where everything has to be on this machine.
    pub(crate) asking: Option<Asking>,
    /// Where the spec itself may be.
    pub(crate) spec: SpecPlace,
}

/// Where a spec may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpecPlace {
    /// On a server, too.
    Anywhere,
    /// On this machine.
    Here,
}

impl Reading<'_> {
    /// Without further words.
    pub(crate) fn plain() -> Reading<'static> {
        let (lints, purpose, spec) = (Lints::default(), Purpose::Build, SpecPlace::Anywhere);
        Reading { tags: &[], lints, purpose, keys: None, asking: None, spec }
    }
}

impl Project {
    /// Reads spec and lock. Warnings are printed; errors end it.
    pub(crate) fn load(machine: &Machine, arguments: &args::Project, reading: Reading<'_>) -> Result<Project, Failure> {
        let mut project = Project::read(machine, arguments, reading)?;
        let warnings = std::mem::take(&mut project.warnings);
        project.show(&warnings)?;
        Ok(project)
    }

    /// As [`Project::load`], with the warnings kept.
    pub(crate) fn read(machine: &Machine, arguments: &args::Project, reading: Reading<'_>) -> Result<Project, Failure> {
        let voice = machine.voice;
        let Reading { tags, lints, purpose, keys, asking, spec } = reading;
        let none = Keys::default();
        let keys = keys.unwrap_or(&none);
        let mut fetched = Vec::new();
        let address = arguments.spec.as_deref().and_then(Path::to_str);
        let source = match address
            .map(|text| remote::fetch(machine, text, asking.filter(|_| spec == SpecPlace::Anywhere), keys))
            .transpose()?
            .flatten()
        {
            Some(checkout) => {
                let source = source::of_repository(&checkout.path, arguments.file.as_deref())?;
                if source.directory.join(LOCK).exists() {
                    remote::inside(&checkout.path, &source.directory.join(LOCK))?;
                }
                fetched.push(checkout);
                source
            }
            None => source::read(arguments)?,
        };
        let mut sources = SourceMap::new();
        let id = sources.add(source.name.clone(), source.text.clone());
        let lints = match source.kind {
            Kind::Dockerfile => lints.with(advice::directive(&source.text)),
            Kind::Toml | Kind::Compose => lints,
        };
        let args::Docker { build_args, target, build_contexts, network } = &arguments.docker;
        let mut on_disk = Vec::new();
        for text in build_contexts {
            let context = text.split_once('=').map(|(_, place)| remote::fetch(machine, place, asking, keys)).transpose()?.flatten();
            match (context, text.split_once('=')) {
                (Some(checkout), Some((name, _))) => {
                    on_disk.push(format!("{name}={}", checkout.path.display()));
                    fetched.push(checkout);
                }
                (_, _) => on_disk.push(text.clone()),
            }
        }
        let build_contexts = BuildContexts::parse(&on_disk)?;
        let platforms = platforms(&arguments.platforms)?;
        let words = language::Words {
            target: target.as_deref(),
            arguments: given::values(&arguments.args, build_args, &machine.surroundings),
            // What a front end decides by the platform it can decide for one alone.
            platform: match platforms.as_slice() {
                [] => Some(Platform::builder()),
                [only] => Some(only.clone()),
                [_, _, ..] => None,
            },
            contexts: &build_contexts,
            images: &arguments.images,
            profiles: &arguments.profiles,
            purpose,
            machine,
            keys,
            asking,
        };
        let (parsed, beside) = language::parse(&source, id, words, &mut sources)?;
        remark(&beside.remarks(), voice);
        let errors = |sources: &SourceMap, found: Vec<Diagnostic>| match show(sources, &found, &lints, voice) {
            Ok(()) => Failure::new(Class::Bug, "nothing came of the spec, and nothing was said about it; please report this"),
            Err(failure) => failure,
        };
        let (mut spec, mut warnings) = parsed.into_result().map_err(|found| {
            let failure = errors(&sources, found);
            match beside.blame {
                Some(class) => failure.of(class),
                None => failure,
            }
        })?;
        fetched.extend(beside.fetched);
        let lock = source.directory.join(LOCK);
        let pins = match text::of_file(&lock).and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other)) {
            Ok(text) => {
                let beside =
                    source.file.as_ref().map_or_else(|| PathBuf::from("lapstrake.lock"), |file| file.with_file_name("lapstrake.lock"));
                let id = sources.add(beside.display().to_string(), text.clone());
                let (pins, further) = Pins::parse(id, &text).into_result().map_err(|found| errors(&sources, found))?;
                warnings.extend(further);
                pins
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Pins::new(),
            Err(error) => return Err(Failure::world(format!("{}: {error}", lock.display()))),
        };

        if let (Some(stage), Kind::Toml) = (target, source.kind) {
            overlay::target(&mut spec, stage)?;
        }
        match network {
            args::Network::Default | args::Network::Host => {}
            args::Network::None => overlay::cut_network(&mut spec),
        }
        let unused = build_contexts.apply(&mut spec);
        // A front end has put most of them in place already.
        for name in unused.into_iter().filter(|_| source.kind == Kind::Toml) {
            remark(&format!("note: `--build-context {name}`: no stage, image or context of the spec is called that\n"), voice);
        }
        let mut contexts = contexts(&arguments.contexts)?;
        contexts.extend(build_contexts.directories);
        let has_context = match &source.context {
            Context::Nothing if !contexts.contains_key("") => HasContext::No,
            Context::Nothing | Context::OfSpec => HasContext::Yes,
            Context::Directory(directory) => {
                contexts.entry(String::new()).or_insert_with(|| directory.clone());
                HasContext::Yes
            }
        };
        let expanded;
        let build_args = match source.kind {
            Kind::Toml | Kind::Dockerfile => build_args,
            Kind::Compose => {
                expanded = compose::expand(build_args, &spec, &machine.surroundings);
                &expanded
            }
        };
        let given = given::arguments(&spec, &arguments.args, build_args, &machine.surroundings)?;
        warnings.extend(given.warnings);
        let target = Target { offered: given.offered, ..target_of(arguments, source.kind, given.args, platforms, tags) };
        Ok(Project {
            sources,
            spec,
            target,
            directory: source.directory,
            contexts,
            pins,
            wanted: if arguments.docker.target.is_some() { advice::Wanted::Part } else { advice::Wanted::Everything },
            proxies: given.proxies,
            source_date: given.source_date,
            warnings,
            kind: source.kind,
            git: git(machine, keys, &beside.given)?,
            given: beside.given,
            offered: beside.offered,
            has_context,
            lints,
            voice,
            _fetched: fetched,
        })
    }

    /// The lock's place.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.directory.join("lapstrake.lock")
    }

    /// Unwraps a value that comes with messages: warnings are printed, errors end it.
    pub(crate) fn settle<T>(&self, diagnosed: Diagnosed<T>) -> Result<T, Failure> {
        self.show(&diagnosed.diagnostics)?;
        let nothing = || Failure::new(Class::Bug, "nothing came of the spec, and nothing was said about it; please report this");
        diagnosed.value.ok_or_else(nothing)
    }

    /// What is worth saying about the spec although it can be built.
    pub(crate) fn advice(&self) -> Vec<Diagnostic> {
        let language = match self.kind {
            Kind::Toml => Language::Toml,
            Kind::Dockerfile | Kind::Compose => Language::Dockerfile,
        };
        let pinned = self.pins.images().map(|(reference, _, _)| reference.clone()).collect();
        let commits = self.pins.commits().map(|(url, reference, _)| (url.to_owned(), reference.to_owned())).collect();
        advice::of(&self.spec, &self.sources, &Facts { language, pinned, commits, wanted: self.wanted })
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
        Outside { store, registry, git: &self.git.settings, network, directory: &self.directory, contexts: &self.contexts, events, cancel }
    }

    /// Finds out what the plan needs and plans. With `locked`, whatever is not in the lock is an error.
    pub(crate) fn plan(&self, outside: &Outside<'_>, pinning: &args::Pinning, stale: &dyn Stale) -> Result<(Plan, Resolved), Failure> {
        let requirements = self.requirements()?;
        self.check_layers(outside.events, pinning)?;
        if pinning.locked {
            self.show(&plan::not_locked(&requirements, &self.pins))?;
        }
        let mut resolved = outside.resolve(&requirements, &self.pins, stale).map_err(|error| self.unresolved(&error))?;
        // What the `ONBUILD` instructions of the bases take from outside is known only now.
        let further = self.settle(plan::further_requirements(&self.spec, &self.target, &resolved.found))?;
        if pinning.locked {
            self.show(&plan::not_locked(&further, &self.pins))?;
        }
        let more = outside.resolve(&further, &self.pins, stale).map_err(|error| self.unresolved(&error))?;
        resolved.found.images.extend(more.found.images);
        resolved.found.downloads.extend(more.found.downloads);
        resolved.found.commits.extend(more.found.commits);
        resolved.fresh.absorb(more.fresh);
        // What some service of a Compose file has is not unused because no base has it.
        let is_of_service = |name: &str| {
            let names = self.spec.args.keys().filter_map(|known| known.as_str().split_once('.'));
            self.kind == Kind::Compose && names.into_iter().any(|(_, own)| own == name)
        };
        let unclaimed = plan::unclaimed(&self.spec, &self.target, &resolved.found).into_iter().filter(|name| !is_of_service(name));
        let unused: Vec<Diagnostic> = unclaimed.map(|name| given::unused(name, &self.spec)).collect();
        self.show(&unused)?;
        let declared = plan::declared_by_bases(&self.spec, &self.target, &resolved.found);
        let unused: Vec<Diagnostic> =
            self.offered.iter().filter(|(name, _)| !declared.contains(*name)).map(|(_, said)| said.clone()).collect();
        self.show(&unused)?;
        let plan = self.settle(plan::plan(&self.spec, &self.target, &resolved.found))?;
        self.check_context(&plan)?;
        Ok((plan, resolved))
    }

    /// A spec that came from standard input alone has no build context to copy from.
    fn check_context(&self, plan: &Plan) -> Result<(), Failure> {
        if self.has_context == HasContext::Yes {
            return Ok(());
        }
        let steps = plan.stages.iter().flat_map(|stage| &stage.steps);
        let Some(span) = steps.filter(|step| sources_of(&step.kind).iter().any(|source| is_default(source))).map(|step| step.span).next()
        else {
            return Ok(());
        };
        let reason = "what comes from standard input has no build context; name its directory with `--file - DIR` or `--context DIR`";
        Err(Failure::pictured(Class::Spec, render::failure(&self.sources, "there is nothing to copy from", span, reason, self.voice)))
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
        let diagnostics: Vec<Diagnostic> = match self.kind {
            Kind::Toml => diagnostics.to_vec(),
            Kind::Dockerfile | Kind::Compose => diagnostics.iter().cloned().map(reworded).collect(),
        };
        show(&self.sources, &diagnostics, &self.lints, self.voice)
    }
}

/// How `git` is run. What a Compose file names and is not there is missed by what needs it.
fn git(machine: &Machine, keys: &Keys, given: &Given) -> Result<keys::Git, Failure> {
    match keys.git(machine, given) {
        Ok(git) => Ok(git),
        Err(_) => keys.git(machine, &Given::default()),
    }
}

/// How this program writes layers.
pub(crate) const fn known_layers() -> Layers {
    Layers { format: LAYER_FORMAT, gzip: 1, zstd: 1 }
}

fn show(sources: &SourceMap, diagnostics: &[Diagnostic], lints: &Lints, voice: Voice) -> Result<(), Failure> {
    let diagnostics = lints.apply(diagnostics);
    if diagnostics.is_empty() {
        return Ok(());
    }
    let text = render::diagnostics(sources, &diagnostics, voice);
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(Failure::pictured(Class::Spec, text));
    }
    remark(&text, voice);
    Ok(())
}

fn platforms(texts: &[String]) -> Result<Vec<Platform>, Failure> {
    let platform = |text: &String| text.parse().map_err(|error: lapstrake::image::InvalidPlatform| Failure::usage(error.to_string()));
    texts.iter().map(platform).collect()
}

fn target_of(arguments: &args::Project, kind: Kind, args: BTreeMap<String, String>, platforms: Vec<Platform>, tags: &[String]) -> Target {
    let wanted = match (&arguments.stage, arguments.images.as_slice()) {
        // Stages of a Dockerfile have one name in any case.
        (Some(stage), _) if kind == Kind::Dockerfile => Wanted::Stage(stage.to_lowercase()),
        (Some(stage), _) => Wanted::Stage(stage.clone()),
        (None, []) => Wanted::All,
        (None, images) => Wanted::Images(images.to_vec()),
    };
    let tags = tags.iter().map(|tag| ExtraTag::new(tag)).collect();
    Target { wanted, args, platforms, tags, ..Target::everything(Platform::builder()) }
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

fn is_default(source: &TreeSource) -> bool {
    match source {
        TreeSource::Context(name) => name.is_empty(),
        TreeSource::Stage(_) | TreeSource::Image(_) | TreeSource::Git(_) => false,
    }
}

/// Where a step takes files from.
fn sources_of(kind: &StepKind) -> Vec<&TreeSource> {
    match kind {
        StepKind::Copy(copy) => vec![&copy.from],
        StepKind::Extract(extract) => match &extract.from {
            ArchiveSource::File { from, path: _ } => vec![from],
            ArchiveSource::Url(_) => Vec::new(),
        },
        StepKind::Run(run) => {
            let mounted = run.mounts.iter().filter_map(|mount| match &mount.kind {
                MountKind::From { source, path: _, access: _ } => Some(source),
                MountKind::Cache { first, .. } => first.as_ref().map(|first| &first.source),
                MountKind::Secret { .. } | MountKind::Ssh { .. } | MountKind::SecretEnv { .. } | MountKind::Tmpfs { .. } => None,
            });
            mounted.collect()
        }
        StepKind::Write(_)
        | StepKind::MakeDirectory(_)
        | StepKind::Link(_)
        | StepKind::Remove(_)
        | StepKind::Fetch(_)
        | StepKind::Setting => Vec::new(),
    }
}
