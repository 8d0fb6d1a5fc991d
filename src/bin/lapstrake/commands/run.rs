//! `lapstrake run`: a command in an image or stage, to see whether it works.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lapstrake::build::{self, Engine, Invocation, Options, Root, Volume};
use lapstrake::diagnostic::nearest;
use lapstrake::event::Stream;
use lapstrake::image::{Config, Platform};
use lapstrake::input::{NetworkUse, NothingStale, Outside};
use lapstrake::sandbox::{Console, DirectoryAccess, Exit, SandboxError, Signals};

use super::build::network;
use super::inspect::opened;
use crate::args;
use crate::exit::{Failure, chain, report};
use crate::keys::{Git, Keys};
use crate::machine::Machine;
use crate::progress;
use crate::project::{Project, Reading};
use crate::source;
use crate::terminal::{self, Screen};

/// lapstrake itself failed.
const OURS: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// What is added to the number of a signal that ended the command.
const BY_SIGNAL: u8 = 128;
const KILL: u8 = 9;

/// Why there is no code of the command, and the code there is instead.
struct Ended(Failure, u8);

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Ended {
        Ended(failure, OURS)
    }
}

pub(crate) fn run(machine: &Machine, arguments: &args::Run) -> ExitCode {
    match attempt(machine, arguments) {
        Ok(code) => ExitCode::from(code),
        Err(Ended(failure, code)) => {
            let (failure, code) = if machine.is_cancelled() { (Failure::cancelled(), 130) } else { (failure, code) };
            report(&failure, machine.voice);
            ExitCode::from(code)
        }
    }
}

/// Builds or finds what is run in, and runs the command: its code.
fn attempt(machine: &Machine, arguments: &args::Run) -> Result<u8, Ended> {
    let events = progress::sink(arguments.progress, &machine.surroundings);
    let (store, registry) = (machine.store()?, machine.registry()?);
    registry.tell(Arc::clone(&events));
    let engine = machine.engine(arguments.isolation, &arguments.limits)?;
    let network = network(&arguments.pinning);
    let keys = Keys::read(machine, &args::Keys { secrets: arguments.secrets.clone(), ssh: Vec::new() })?;
    if let Some(project) = project(machine, arguments, &keys)? {
        let outside = project.outside(&store, &registry, network, &*events, machine.cancel());
        let (plan, _) = project.plan(&outside, &arguments.pinning, &NothingStale)?;
        let [image] = plan.images.as_slice() else {
            return Err(Failure::usage(format!("`{}` is for several platforms; pick one with `--platform`", arguments.what)).into());
        };
        let options = Options {
            secrets: keys.secrets(machine, &plan, &project.given)?,
            proxies: project.proxies.clone(),
            unpacked: BTreeSet::from([image.stage]),
            ..Options::default()
        };
        let built = engine.build(&plan, &outside, &options).map_err(|error| project.failed(&error))?;
        let stage = built.stages.get(image.stage.0).ok_or_else(|| Failure::world("the build has lost its stage; run it again"))?;
        let start = Start { machine, arguments, engine: &engine, outside: &outside };
        return start.run(&Root::Stage { plan: &plan, stage }, &image.config);
    }
    let platform = match &arguments.platform {
        Some(text) => text.parse().map_err(|error: lapstrake::image::InvalidPlatform| Failure::usage(error.to_string()))?,
        None => Platform::builder(),
    };
    let is_local = ["oci:", "oci-archive:", "docker-archive:"].iter().any(|kind| arguments.what.starts_with(kind));
    if !is_local && network == NetworkUse::Refused {
        return Err(Failure::usage(format!("`{}` is in a registry, and `--offline` refuses the network", arguments.what)).into());
    }
    let opened = opened(machine, &registry, &arguments.what, &platform)?;
    let place = opened.place.to_string();
    let (contexts, git) = (BTreeMap::new(), Git::plain(machine)?.settings);
    let outside = Outside {
        store: &store,
        registry: &registry,
        git: &git,
        network,
        directory: Path::new("."),
        contexts: &contexts,
        events: &*events,
        cancel: machine.cancel(),
    };
    let start = Start { machine, arguments, engine: &engine, outside: &outside };
    start.run(&Root::Image { image: &opened.image, blobs: &opened, place: &place }, &opened.config.config)
}

/// The spec, with the one image that is wanted of it; `None` where something else is meant.
fn project(machine: &Machine, arguments: &args::Run, keys: &Keys) -> Result<Option<Project>, Failure> {
    let (name, stage_alone) = match arguments.what.strip_prefix("stage:") {
        Some(name) => (name, true),
        None => (arguments.what.as_str(), false),
    };
    let is_name = !name.contains(['/', ':', '@', '.']);
    if !stage_alone && (!is_name || (arguments.file.is_none() && !source::is_here())) {
        return Ok(None);
    }
    let read = |images: Vec<String>, target: Option<String>| {
        let docker = args::Docker { build_args: Vec::new(), target, build_contexts: Vec::new(), network: args::Network::Default };
        let words = args::Project {
            spec: None,
            file: arguments.file.clone(),
            images,
            profiles: Vec::new(),
            stage: None,
            args: arguments.args.clone(),
            platforms: arguments.platform.iter().cloned().collect(),
            contexts: arguments.contexts.clone(),
            docker,
        };
        Project::read(machine, &words, Reading { keys: Some(keys), ..Reading::plain() })
    };
    let all = read(Vec::new(), None)?;
    let images: Vec<&str> = all.spec.images.keys().map(lapstrake::spec::Name::as_str).collect();
    let stages: Vec<&str> = all.spec.stages.keys().map(lapstrake::spec::Name::as_str).collect();
    if !stage_alone && images.contains(&name) {
        return read(vec![name.to_owned()], None).map(Some);
    }
    if stages.contains(&name) {
        return read(Vec::new(), Some(name.to_owned())).map(Some);
    }
    let near = nearest(name, images.iter().chain(&stages).copied());
    let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    let images = if images.is_empty() { String::new() } else { format!("the images {}, ", images.join(", ")) };
    Err(Failure::usage(format!(
        "the spec has no image or stage `{name}`: there are {images}the stages {}{near} An image of a registry is named in full: docker.io/library/{name}",
        stages.join(", ")
    )))
}

/// What is the same for everything that can be run in.
struct Start<'a> {
    machine: &'a Machine,
    arguments: &'a args::Run,
    engine: &'a Engine,
    outside: &'a Outside<'a>,
}

impl Start<'_> {
    fn run(&self, root: &Root<'_>, config: &Config) -> Result<u8, Ended> {
        let mut invocation = self.invocation(config)?;
        if invocation.argv.is_empty() {
            return Err(Failure::usage(format!("`{}` names no command; write one behind it", self.arguments.what)).into());
        }
        let signals = Signals::new();
        let asked = self.machine.pass_signals_on(&signals, Duration::from_secs(self.arguments.stop_timeout));
        let options = Options::default();
        let execute = |invocation: &Invocation, console: Console<'_>| {
            self.engine.execute(root, invocation, self.outside, &options, console, &signals)
        };
        let mut output = |stream: Stream, bytes: &[u8]| {
            // Whoever does not read any more misses it.
            let _ = match stream {
                Stream::Out => std::io::stdout().write_all(bytes).and_then(|()| std::io::stdout().flush()),
                Stream::Err => std::io::stderr().write_all(bytes),
            };
        };
        let came = if Screen::Out.is_there() {
            let terminal = self.machine.surroundings.variable("TERM").map_or("xterm".into(), |name| name.to_string_lossy().into_owned());
            invocation.env.entry("TERM".to_owned()).or_insert(terminal);
            terminal::lend(Screen::Out, |console| execute(&invocation, console))
        } else if self.arguments.interactive {
            let input = standard_input().map_err(|error| Failure::world(format!("cannot pass standard input on: {error}")))?;
            execute(&invocation, Console::Fed { input, output: &mut output })
        } else {
            execute(&invocation, Console::Captured(&mut output))
        };
        match came {
            Ok(Exit::Code(code)) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
            Ok(Exit::Signal(number)) => Ok(u8::try_from(number).map_or(u8::MAX, |number| number.saturating_add(BY_SIGNAL))),
            Ok(Exit::TimedOut) => Ok(OURS),
            Ok(Exit::OverLimit(exhausted)) => {
                Err(Ended(Failure::new(build::Class::Step, build::Exit::OverLimit(exhausted).to_string()), BY_SIGNAL + KILL))
            }
            Err(error) => match (asked.load(Ordering::SeqCst), &*error.failure) {
                (number @ 1.., build::Failure::Sandbox(SandboxError::Cancelled) | build::Failure::Cancelled) => Ok(BY_SIGNAL + number),
                (_, failure) => Err(Ended(Failure::new(failure.class(), chain(&error)), code_of(failure))),
            },
        }
    }

    /// What the image says, and what the command line says on top.
    fn invocation(&self, config: &Config) -> Result<Invocation, Failure> {
        let arguments = self.arguments;
        let entrypoint: Option<Vec<String>> =
            arguments.entrypoint.as_ref().map(|program| if program.is_empty() { Vec::new() } else { vec![program.clone()] });
        let mut invocation = Invocation::of(config, entrypoint.as_deref(), &arguments.command);
        for text in &arguments.env {
            match text.split_once('=') {
                Some(("", _)) => return Err(Failure::usage(format!("`--env {text}`: expected NAME=VALUE or NAME"))),
                Some((name, value)) => {
                    invocation.env.insert(name.to_owned(), value.to_owned());
                }
                None => {
                    let value = self.machine.surroundings.variable(text).map(|value| value.to_string_lossy().into_owned());
                    invocation.env.extend(value.map(|value| (text.clone(), value)));
                }
            }
        }
        if let Some(user) = &arguments.user {
            invocation.user.clone_from(user);
        }
        if let Some(workdir) = &arguments.workdir {
            if !workdir.starts_with('/') {
                return Err(Failure::usage(format!("`--workdir {workdir}`: expected an absolute path")));
            }
            invocation.workdir.clone_from(workdir);
        }
        invocation.network = match arguments.network {
            args::RunNetwork::Host => lapstrake::plan::Network::Host,
            args::RunNetwork::None => lapstrake::plan::Network::Off,
        };
        invocation.volumes = arguments.volumes.iter().map(|text| volume(text)).collect::<Result<_, Failure>>()?;
        if !invocation.volumes.is_empty() && arguments.isolation == args::Isolation::Chroot {
            return Err(Failure::usage("`--volume` needs mounts, and the rung `chroot` has none"));
        }
        Ok(invocation)
    }
}

/// `HOST:AT[:ro]`
fn volume(text: &str) -> Result<Volume, Failure> {
    let wrong = |reason: &str| Failure::usage(format!("`--volume {text}`: {reason}; expected HOST:AT or HOST:AT:ro"));
    let mut parts = text.split(':');
    let (Some(host), Some(at), access, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(wrong("it does not have two or three parts"));
    };
    let access = match access {
        None | Some("rw") => DirectoryAccess::Written,
        Some("ro") => DirectoryAccess::ReadOnly,
        Some(_) => return Err(wrong("the third part is `ro` or `rw`")),
    };
    if !at.starts_with('/') {
        return Err(wrong("the second part is an absolute path"));
    }
    let host = std::fs::canonicalize(host).map_err(|error| wrong(&format!("`{host}`: {error}")))?;
    Ok(Volume { host, at: at.to_owned(), access })
}

/// A pipe into which our standard input is copied, so that the command gets nothing of ours.
fn standard_input() -> std::io::Result<OwnedFd> {
    let (read, mut write) = std::io::pipe()?;
    // It may wait for input for ever, and ends with the process.
    let copying = std::thread::Builder::new().name("input".to_owned()).spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            if write.write_all(buffer.get(..count).unwrap_or_default()).is_err() {
                return;
            }
        }
    })?;
    drop(copying);
    Ok(read.into())
}

fn code_of(failure: &build::Failure) -> u8 {
    use SandboxError::{Format, Interpreter, NotFound, Permission};
    if matches!(failure, build::Failure::Sandbox(NotFound { .. } | Interpreter { .. })) {
        NOT_FOUND
    } else if matches!(failure, build::Failure::Sandbox(Permission { .. } | Format { .. })) {
        NOT_EXECUTABLE
    } else {
        OURS
    }
}
