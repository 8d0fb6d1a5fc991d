//! Builds a project and says what happens while it does: `cargo run --example follow_events -- DIRECTORY STORE`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use lapstrake::build::{Built, IsolationChoice, Options};
use lapstrake::diagnostic::SourceMap;
use lapstrake::event::{Event, EventKind, Outcome, TaskId};
use lapstrake::input::{GitSettings, NetworkUse, NothingStale};
use lapstrake::registry::{Anonymous, Settings};
use lapstrake::{Cancel, Engine, EventSink, Outside, Pins, Platform, Registry, Store, plan, sandbox, spec};

/// Work happens on many threads; their events go through a channel to one.
struct Events(Sender<Event>);

impl EventSink for Events {
    fn send(&self, event: Event) {
        // Nobody listens any more: nothing to be done about it.
        let _ = self.0.send(event);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(project), Some(store)) = (arguments.next(), arguments.next()) else {
        return Err("two arguments: a directory with a lapstrake.toml, and one to keep results in".into());
    };
    run(Path::new(&project), Path::new(&store), &mut std::io::stdout().lock())
}

/// Builds the project and writes a line for each event.
pub(crate) fn run(project: &Path, store: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let (events, received) = channel();
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        // The sink is dropped with the build, which ends the loop below.
        let building = scope.spawn(|| build(project, store, &Events(events), &cancel).map_err(|error| error.to_string()));
        if let Err(error) = show(&received, out) {
            // Whoever cannot listen stops the build: commands that run are killed, what is finished stays in the store.
            cancel.cancel();
            return Err(error);
        }
        let built = building.join().map_err(|_| "the build panicked")??;
        for image in &built.images {
            writeln!(out, "{} {}", image.image.name, image.sealed.manifest.digest)?;
        }
        Ok(())
    })
}

/// Tasks run side by side: labels come with their beginning, and are kept for their end.
fn show(received: &Receiver<Event>, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let mut labels: BTreeMap<TaskId, String> = BTreeMap::new();
    for Event { task, kind } in received {
        let label = labels.get(&task).cloned().unwrap_or_default();
        match kind {
            EventKind::Started { what, label } => {
                writeln!(out, "{what:?} {label}: started")?;
                labels.insert(task, format!("{what:?} {label}"));
            }
            EventKind::Advanced { done, of: Some(of) } => writeln!(out, "{label}: {done} of {of} bytes")?,
            EventKind::Advanced { done, of: None } => writeln!(out, "{label}: {done} bytes")?,
            EventKind::Output { stream: _, bytes } => writeln!(out, "{label}: | {}", String::from_utf8_lossy(&bytes).trim_end())?,
            EventKind::Noted { message } => writeln!(out, "note: {message}")?,
            EventKind::Confined { rung } => writeln!(out, "{label}: kept apart by {rung}")?,
            EventKind::Finished(Outcome::Cached) => writeln!(out, "{label}: was there already")?,
            EventKind::Finished(Outcome::Done) => writeln!(out, "{label}: done")?,
            EventKind::Finished(Outcome::Failed | Outcome::Cancelled) => writeln!(out, "{label}: came to nothing")?,
        }
    }
    Ok(())
}

fn build(project: &Path, store: &Path, events: &dyn EventSink, cancel: &Cancel) -> Result<Built, Box<dyn Error>> {
    let store = Store::open(store)?;
    let registry = Registry::new(Settings::default(), Arc::new(Anonymous))?;
    let contexts = BTreeMap::new();
    let network = NetworkUse::Allowed;
    let outside = Outside {
        store: &store,
        registry: &registry,
        git: &GitSettings::default(),
        network,
        directory: project,
        contexts: &contexts,
        events,
        cancel,
    };

    let mut sources = SourceMap::new();
    let text = std::fs::read_to_string(project.join("lapstrake.toml"))?;
    let spec = spec::parse(sources.add("lapstrake.toml", text.clone()), &text).or_rendered(&sources)?;
    let target = plan::Target::everything(Platform::builder());
    let needed = plan::requirements(&spec, &target).or_rendered(&sources)?;
    let found = outside.resolve(&needed, &Pins::new(), &NothingStale)?.found;
    let plan = plan::plan(&spec, &target, &found).or_rendered(&sources)?;

    let engine = Engine::new(IsolationChoice::Auto(sandbox::Options::default()));
    Ok(engine.build(&plan, &outside, &Options::default())?)
}
