//! `lapstrake build`: images, pushed and written where they are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use lapstrake::build::{Built, BuiltImage, Engine, Fresh, Options, Secrets};
use lapstrake::event::{Cancel, EventSink};
use lapstrake::frontend::compose::SecretSource;
use lapstrake::input::{NetworkUse, NothingStale, Outside, Resolved, Stale};
use lapstrake::output::{self, PushError, PushedTag, Sources, TagOutcome};
use lapstrake::plan::{self, Plan, Requirement, StageId};
use lapstrake::sandbox::Rung;
use serde_json::{Value, json};

use crate::args;
use crate::debug::{Gate, Shell};
use crate::exit::{Failure, chain, print, remark};
use crate::lints::Lints;
use crate::machine::Machine;
use crate::outputs::{Outputs, Written, bundle};
use crate::project::{Project, Reading};
use crate::remote::Asking;
use crate::{load, overlay, progress};

/// How many blobs are on their way at a time.
pub(crate) const TRANSFERS: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(3);

pub(crate) fn build(machine: &Machine, arguments: &args::Build) -> Result<(), Failure> {
    let habits = &arguments.habits;
    let reading = Reading {
        tags: &arguments.tags,
        lints: Lints::new(&arguments.lints)?,
        asking: Some(Asking::of(&arguments.pinning)),
        ..Reading::plain()
    };
    let mut project = Project::load(machine, &arguments.project, reading)?;
    overlay::label(&mut project.spec, &habits.labels);
    overlay::annotate(&mut project.spec, &habits.annotations)?;
    let shown = match (habits.quiet, arguments.progress) {
        (true, _) => args::Progress::Quiet,
        // What is drawn anew all the time and a shell cannot share a terminal.
        (false, args::Progress::Auto | args::Progress::Tty) if arguments.shell_on_failure => args::Progress::Plain,
        (false, progress) => progress,
    };
    let gate = Arc::new(Gate::new(progress::sink(shown, &machine.surroundings)));
    let events = Arc::clone(&gate);
    let on_failure = match arguments.shell_on_failure {
        true => Some(Shell::on_failure(gate, machine.surroundings.variable("TERM").map(ToOwned::to_owned))?),
        false => None,
    };
    // The agent that steps may use as `default` serves git too.
    project.git.agent = agents(machine, &arguments.ssh)?.remove("default");
    let cancel = machine.cancel();
    let (store, registry) = (machine.store()?, machine.registry()?);
    let outside = project.outside(&store, &registry, network(&arguments.pinning), &*events, cancel);
    let (plan, resolved) = project.plan(&outside, &arguments.pinning, if habits.pull { &ImagesStale } else { &NothingStale })?;
    note_fresh(&*events, &resolved);
    if let Some(path) = &habits.iidfile
        && plan.images.len() != 1
    {
        let reason =
            if plan.images.is_empty() { "no image is built, only a stage" } else { "several images are built; name one by `--image`" };
        return Err(Failure::usage(format!("`--iidfile {}`: {reason}", path.display())));
    }

    if arguments.push {
        check_push(&outside, &plan)?;
    }
    let outputs = Outputs::parse(&arguments.outputs, &plan)?;
    if !arguments.load.is_empty() {
        load::check(&plan)?;
    }
    let engine = machine.engine(arguments.isolation)?;
    let options = Options { on_failure, ..options(machine, arguments, &project, &plan, outputs.unpacked(&plan))? };
    let mut attempts = 0;
    let (built, written, pushed) = loop {
        let built = engine.build(&plan, &outside, &options).map_err(|error| project.failed(&error))?;
        let written = outputs.write(&engine, &plan, &outside, &options, &built)?;
        for loader in &arguments.load {
            load::load(machine, *loader, &built, &outside)?;
        }
        if !arguments.push {
            break (built, written, Pushed::new());
        }
        attempts += 1;
        match push(&outside, &built, arguments.merge, cancel) {
            Ok(pushed) => break (built, written, pushed),
            Err(error) if attempts < ATTEMPTS && is_damaged(&outside, &error)? => {}
            Err(error) => return Err(Failure::world(chain(&error))),
        }
    };
    if let Some(path) = &arguments.metadata_file {
        let text = format!("{:#}\n", metadata(&engine, &built, &pushed, &written));
        std::fs::write(path, text).map_err(|error| Failure::world(format!("cannot write `{}`: {error}", path.display())))?;
    }
    if let (Some(path), Some(one)) = (&habits.iidfile, built.images.first()) {
        let id = one.sealed.config.digest.to_string();
        std::fs::write(path, id).map_err(|error| Failure::world(format!("cannot write `{}`: {error}", path.display())))?;
    }
    print(&if habits.quiet || arguments.progress == args::Progress::Quiet { ids(&built) } else { summary(&built, &pushed, &written) })?;
    // An unchanged build has put nothing into the store, and looking through all of it would take longer than the build.
    if built.stages.iter().any(|stage| stage.steps.iter().any(|step| !step.cached)) {
        tidy(machine, &engine, store);
    }
    Ok(())
}

/// Whether the network may be used.
pub(crate) fn network(pinning: &args::Pinning) -> NetworkUse {
    if pinning.offline { NetworkUse::Refused } else { NetworkUse::Allowed }
}

fn note_fresh(events: &dyn EventSink, resolved: &Resolved) {
    use lapstrake::event::{Event, EventKind, TaskId};
    let note = |message: String| events.send(Event { task: TaskId::fresh(), kind: EventKind::Noted { message } });
    for (reference, platform, pin) in resolved.fresh.images() {
        note(format!("`{reference}` for {platform} is {} today; pin it with `lapstrake lock`", pin.manifest));
    }
    for (url, digest) in resolved.fresh.urls() {
        note(format!("`{url}` is {digest} today; pin it with `lapstrake lock`"));
    }
    for (url, reference, commit) in resolved.fresh.commits() {
        note(format!("`{reference}` of `{url}` is {} today; pin it with `lapstrake lock`", commit.as_str()));
    }
}

/// `--pull`: tags may have moved since they were pinned.
struct ImagesStale;

impl Stale for ImagesStale {
    fn is_stale(&self, requirement: &Requirement) -> bool {
        match &requirement.outside {
            plan::Outside::Image { .. } => true,
            plan::Outside::Download { .. } | plan::Outside::Commit { .. } => false,
        }
    }
}

fn options(
    machine: &Machine,
    arguments: &args::Build,
    project: &Project,
    plan: &Plan,
    unpacked: BTreeSet<StageId>,
) -> Result<Options, Failure> {
    let defaults = Options::default();
    let names: Vec<&String> = arguments.no_cache.iter().chain(&arguments.habits.no_cache_filter).collect();
    let fresh = if arguments.no_cache.iter().any(String::is_empty) {
        Fresh::Everything
    } else if names.is_empty() {
        Fresh::Nothing
    } else {
        if let Some(name) = names.iter().find(|name| !plan.stages.iter().any(|stage| stage.name == ***name)) {
            return Err(Failure::usage(format!("`--no-cache={name}`: no such stage is built")));
        }
        Fresh::Stages(names.into_iter().cloned().collect())
    };
    let created = match (&arguments.created, &project.source_date, machine.surroundings.variable("SOURCE_DATE_EPOCH")) {
        (Some(text), _, _) => Some(time("--created", text)?),
        (None, Some(text), _) => Some(time("--build-arg SOURCE_DATE_EPOCH", text)?),
        (None, None, Some(text)) => Some(time("SOURCE_DATE_EPOCH", &text.to_string_lossy())?),
        (None, None, None) => None,
    };
    Ok(Options {
        created,
        jobs: arguments.jobs.unwrap_or(defaults.jobs),
        fresh,
        secrets: with_compose(machine, project, plan, &arguments.secrets)?,
        agents: agents(machine, &arguments.ssh)?,
        proxies: project.proxies.clone(),
        unpacked,
        on_failure: None,
        shared: crate::caches::shared(machine, &arguments.cache_from, &arguments.cache_to)?.map(Arc::new),
    })
}

/// RFC 3339 or seconds since 1970.
fn time(what: &str, text: &str) -> Result<i64, Failure> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(seconds);
    }
    text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second).map_err(|_| {
        Failure::usage(format!("`{what}`: `{text}` is no time: expected RFC 3339, such as 2026-01-31T12:00:00Z, or seconds since 1970"))
    })
}

/// `ID[=SOCKET]`; without a place, the agent in `SSH_AUTH_SOCK`.
pub(crate) fn agents(machine: &Machine, given: &[String]) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut agents = BTreeMap::new();
    for text in given {
        let wrong = |reason: &str| Failure::usage(format!("`--ssh {text}`: {reason}"));
        let (id, socket) = match text.split_once('=') {
            Some((id, socket)) => (id, PathBuf::from(socket)),
            None => {
                let variable = machine.surroundings.variable("SSH_AUTH_SOCK");
                (
                    text.as_str(),
                    PathBuf::from(variable.ok_or_else(|| wrong("SSH_AUTH_SOCK is not set; start an agent, or name its socket"))?),
                )
            }
        };
        let socket = std::path::absolute(&socket).map_err(|error| wrong(&error.to_string()))?;
        let kind = std::fs::metadata(&socket).map_err(|error| wrong(&format!("`{}`: {error}", socket.display())))?.file_type();
        if !std::os::unix::fs::FileTypeExt::is_socket(&kind) {
            return Err(wrong(&format!("`{}` is no socket; keys are forwarded by an agent alone: `ssh-add` them", socket.display())));
        }
        agents.insert(id.to_owned(), socket);
    }
    Ok(agents)
}

/// `id=NAME[,src=FILE|,env=VAR]`; without a place, the variable or file of that name.
pub(crate) fn secrets(machine: &Machine, given: &[String]) -> Result<Secrets, Failure> {
    let mut secrets = Secrets::new();
    for text in given {
        let wrong =
            |reason: &str| Failure::usage(format!("`--secret {text}`: {reason}; expected id=NAME,src=FILE or id=NAME,env=VARIABLE"));
        let (mut id, mut file, mut variable, mut kind) = (None, None, None, "file");
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("id", value)) if !value.is_empty() => id = Some(value),
                Some(("src" | "source", value)) => file = Some(value),
                Some(("env", value)) => variable = Some(value),
                Some(("type", word @ ("file" | "env"))) => kind = word,
                Some((key, _)) => return Err(wrong(&format!("`{key}` is not known"))),
                None => return Err(wrong(&format!("`{part}` has no `=`"))),
            }
        }
        let id = id.ok_or_else(|| wrong("it has no `id`"))?;
        if kind == "env" && variable.is_none() {
            variable = file.take();
        }
        let value = match (file, variable) {
            (Some(_), Some(_)) => return Err(wrong("it has two places")),
            (Some(file), None) => of_file(id, file)?,
            (None, Some(name)) => of_variable(machine, id, name)?,
            (None, None) if machine.surroundings.variable(id).is_none() && std::path::Path::new(id).is_file() => of_file(id, id)?,
            (None, None) => of_variable(machine, id, id)?,
        };
        secrets.insert(id, value);
    }
    Ok(secrets)
}

/// Those of the command line, and those of a Compose file that the plan needs and the command line does not give.
fn with_compose(machine: &Machine, project: &Project, plan: &Plan, given: &[String]) -> Result<Secrets, Failure> {
    let mut secrets = secrets(machine, given)?;
    let needed = plan.secrets();
    for (id, source) in &project.secrets {
        let is_given = given.iter().any(|text| text.split(',').any(|part| part.strip_prefix("id=") == Some(id)));
        if is_given || !needed.contains_key(id.as_str()) {
            continue;
        }
        let value = match source {
            SecretSource::File(file) => of_file(id, file)?,
            SecretSource::Variable(name) => of_variable(machine, id, name)?,
        };
        secrets.insert(id, value);
    }
    Ok(secrets)
}

fn of_file(id: &str, file: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| Failure::usage(format!("the secret `{id}`: cannot read `{file}`: {error}")))
}

fn of_variable(machine: &Machine, id: &str, name: &str) -> Result<Vec<u8>, Failure> {
    use std::os::unix::ffi::OsStrExt;
    match machine.surroundings.variable(name) {
        Some(value) => Ok(value.as_bytes().to_vec()),
        None => Err(Failure::usage(format!("the secret `{id}`: the variable `{name}` is not set, or empty"))),
    }
}

/// What each image's tags point to now, by the image's name.
type Pushed = BTreeMap<String, Vec<PushedTag>>;

/// Whether there is something to push and a place for it, before any work is done for it.
fn check_push(outside: &Outside<'_>, plan: &Plan) -> Result<(), Failure> {
    if plan.images.is_empty() {
        return Err(Failure::usage("`--push`: no image is built, only a stage"));
    }
    for image in &plan.images {
        if image.tags.is_empty() {
            return Err(Failure::usage(format!(
                "`--push`: the image `{0}` has no tags; write `tags` in `[images.{0}]` or pass `--tag`",
                image.name
            )));
        }
    }
    if outside.network == NetworkUse::Refused {
        return Err(Failure::usage("`--push` needs the network, and `--offline` refuses it"));
    }
    Ok(())
}

/// How often a build is pushed of which blobs turned out to be damaged on the way.
const ATTEMPTS: u32 = 8;

/// Whether what could not be read is a blob that is damaged in the store. It is taken away then, so that it is made or fetched again.
fn is_damaged(outside: &Outside<'_>, error: &PushError) -> Result<bool, Failure> {
    let Some(digest) = error.unreadable() else { return Ok(false) };
    let unusable = |error| Failure::world(chain(&error));
    let was_there = outside.store.blob(&digest).map_err(unusable)?.is_some();
    let is_damaged = was_there && !outside.store.check_blob(&digest).map_err(unusable)?;
    if is_damaged {
        use lapstrake::event::{Event, EventKind, TaskId};
        let message = format!("warning: the blob {digest} was damaged in the store and is made again");
        outside.events.send(Event { task: TaskId::fresh(), kind: EventKind::Noted { message } });
    }
    Ok(is_damaged)
}

fn push(outside: &Outside<'_>, built: &Built, merge: bool, cancel: &Cancel) -> Result<Pushed, PushError> {
    let sources = Sources { here: outside.store, registry: outside.registry, cancel };
    let mut pushed = Pushed::new();
    for one in &built.images {
        let name = &one.image.name;
        let Some(bundle) = bundle(built, name).filter(|_| !pushed.contains_key(name)) else { continue };
        let tags = &one.image.tags;
        let done = if merge {
            output::merge_bundle(&bundle, tags, TRANSFERS, &sources, outside.events)
        } else {
            output::push_bundle(&bundle, tags, TRANSFERS, &sources, outside.events)
        };
        pushed.insert(name.clone(), done?);
    }
    Ok(pushed)
}

/// The images that are one under their tags, in the order of their names.
fn by_name(built: &Built) -> Vec<Vec<&BuiltImage>> {
    let mut groups: Vec<Vec<&BuiltImage>> = Vec::new();
    for one in &built.images {
        match groups.iter_mut().find(|group| group.first().is_some_and(|first| first.image.name == one.image.name)) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

/// What was built, for programs. `version` is raised when a field changes its meaning.
fn metadata(engine: &Engine, built: &Built, pushed: &Pushed, written: &[Written]) -> Value {
    let images: Vec<Value> = built
        .images
        .iter()
        .map(|one| {
            let tags = pushed.get(&one.image.name).map(Vec::as_slice).unwrap_or_default();
            json!({
                "name": one.image.name,
                "platform": one.image.platform.to_string(),
                "digest": one.sealed.manifest.digest.to_string(),
                "media_type": one.sealed.manifest.media_type,
                "size": one.sealed.manifest.size,
                "config": one.sealed.config.digest.to_string(),
                "layers": one.sealed.layers.iter().map(|layer| json!({
                    "digest": layer.descriptor.digest.to_string(),
                    "diff_id": layer.diff_id.to_string(),
                    "size": layer.descriptor.size,
                    "media_type": layer.descriptor.media_type,
                })).collect::<Vec<_>>(),
                "tags": one.image.tags.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "pushed": tags.iter().map(|tag| tag.reference.to_string()).collect::<Vec<_>>(),
            })
        })
        .collect();
    let stages: Vec<Value> = built
        .stages
        .iter()
        .map(|stage| {
            let steps: Vec<Value> = stage
                .steps
                .iter()
                .map(|step| json!({ "label": step.label, "cached": step.cached, "rung": step.rung, "shareable": step.shareable }))
                .collect();
            json!({ "name": stage.name, "steps": steps })
        })
        .collect();
    let outputs: Vec<Value> = written
        .iter()
        .map(|one| json!({ "name": one.name, "target": one.target, "digest": one.digest.map(|digest| digest.to_string()) }))
        .collect();
    let indexes: Vec<Value> = by_name(built)
        .iter()
        .filter(|group| group.len() > 1)
        .filter_map(|group| {
            let name = &group.first()?.image.name;
            let root = bundle(built, name)?.root.descriptor;
            let platforms: Vec<String> = group.iter().map(|one| one.image.platform.to_string()).collect();
            Some(json!({ "name": name, "digest": root.digest.to_string(), "media_type": root.media_type, "platforms": platforms }))
        })
        .collect();
    json!({ "version": 1, "rung": engine.rung().map(Rung::name), "images": images, "indexes": indexes, "stages": stages, "outputs": outputs })
}

/// What `docker` calls the id of an image, each on a line.
fn ids(built: &Built) -> String {
    built.images.iter().map(|one| format!("{}\n", one.sealed.config.digest)).collect()
}

fn summary(built: &Built, pushed: &Pushed, written: &[Written]) -> String {
    let mut text = String::new();
    for group in by_name(built) {
        let Some(one) = group.first() else { continue };
        let Some(root) = bundle(built, &one.image.name).map(|bundle| bundle.root.descriptor.digest) else { continue };
        text.push_str(&format!("{} {root}\n", one.image.name));
        for one in group.iter().filter(|_| group.len() > 1) {
            text.push_str(&format!("  {} {}\n", one.image.platform, one.sealed.manifest.digest));
        }
        for tag in pushed.get(&one.image.name).map(Vec::as_slice).unwrap_or_default() {
            let word = match tag.outcome {
                TagOutcome::Unchanged => "there already",
                TagOutcome::Moved => "pushed",
            };
            let index = if tag.digest == root { String::new() } else { format!(" in {}", tag.digest) };
            text.push_str(&format!("  {} {word}{index}\n", tag.reference));
        }
    }
    for one in written {
        text.push_str(&format!("  {} written\n", one.target));
    }
    if built.images.is_empty() && written.is_empty() {
        let names: Vec<&str> = built.stages.iter().map(|stage| stage.name.as_str()).collect();
        text.push_str(&format!("built {}\n", names.join(", ")));
    }
    text
}

/// Keeps the store within its bounds. That it cannot be tidied is no failure of the build.
fn tidy(machine: &Machine, engine: &Engine, store: lapstrake::cache::Store) {
    if let Ok(limits) = machine.limits()
        && let Err(error) = store.collect(&limits, engine.remover())
    {
        remark(&format!("note: the store could not be tidied: {}\n", chain(&error)), machine.voice);
    }
    drop(store);
}
