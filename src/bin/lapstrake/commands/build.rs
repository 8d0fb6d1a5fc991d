//! `lapstrake build`: images, pushed and written where they are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lapstrake::build::{Built, BuiltImage, Engine, Fresh, Options};
use lapstrake::event::{Cancel, EventSink};
use lapstrake::input::{NetworkUse, NothingStale, Outside, Resolved, Stale};
use lapstrake::output::{self, PushError, PushedTag, Sources, TagOutcome};
use lapstrake::plan::{self, Plan, Requirement, StageId};
use lapstrake::sandbox::Rung;
use serde_json::{Value, json};

use crate::args;
use crate::debug::{Gate, Shell};
use crate::exit::{Failure, chain, print, remark};
use crate::keys::Keys;
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
    let keys = Keys::read(machine, &arguments.keys)?;
    let reading = Reading {
        tags: &arguments.tags,
        keys: Some(&keys),
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
    let cancel = machine.cancel();
    let (store, registry) = (machine.store()?, machine.registry()?);
    registry.tell(Arc::clone(&events) as Arc<dyn lapstrake::event::EventSink>);
    let outside = project.outside(&store, &registry, network(&arguments.pinning), &*events, cancel);
    let (mut plan, resolved) = project.plan(&outside, &arguments.pinning, if habits.pull { &ImagesStale } else { &NothingStale })?;
    if habits.annotate_base {
        overlay::annotate_base(&mut plan)?;
    }
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
    let engine = machine.engine(arguments.isolation, &arguments.limits)?;
    let agents = keys.agents(machine, &plan, &project.given, &project.git)?;
    let options = Options {
        on_failure,
        secrets: keys.secrets(machine, &plan, &project.given)?,
        agents: agents.sockets.clone(),
        // Whatever becomes of the build: what is not pushed of it when these options are dropped is given up.
        send_ahead: arguments.push.then(|| Arc::new(output::PushAhead::new(registry.clone())) as _),
        ..options(machine, arguments, &project, &plan, outputs.unpacked(&plan))?
    };
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
    if store.has_grown() {
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
        proxies: project.proxies.clone(),
        unpacked,
        shared: crate::caches::shared(machine, &arguments.cache_from, &arguments.cache_to)?.map(Arc::new),
        ..defaults
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
        let tags = done.map_err(|mut error| {
            error.pushed.splice(0..0, pushed.values().flatten().cloned());
            error
        })?;
        pushed.insert(name.clone(), tags);
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
        && let Err(error) = store.tidy(&limits, engine.remover())
    {
        remark(&format!("note: the store could not be tidied: {}\n", chain(&error)), machine.voice);
    }
    drop(store);
}
