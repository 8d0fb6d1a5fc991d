//! `lapstrake lock`: what a spec takes from outside, pinned in lapstrake.lock.

use lapstrake::event::Silent;
use lapstrake::input::{NetworkUse, NothingStale, Stale};
use lapstrake::pins::Pins;
use lapstrake::plan::{Requirement, Upgrade, further_requirements, to_resolve};
use lapstrake::spec::{OnBuild, Spec};

use crate::args;
use crate::exit::{Failure, print};
use crate::keys::Keys;
use crate::machine::Machine;
use crate::project::{Project, Reading, SpecPlace, known_layers};
use crate::remote::Asking;

pub(crate) fn lock(machine: &Machine, arguments: &args::Lock) -> Result<(), Failure> {
    let keys = Keys::read(machine, &arguments.keys)?;
    let reading = Reading { keys: Some(&keys), asking: Some(Asking::ANYTHING), spec: SpecPlace::Here, ..Reading::plain() };
    let project = Project::load(machine, &arguments.project, reading)?;
    let upgrade = match arguments.upgrade.as_deref() {
        None => Upgrade::Nothing,
        Some("") => Upgrade::All,
        Some(name) => Upgrade::One(name.to_owned()),
    };
    let mut requirements = project.requirements()?;
    let (store, registry, cancel) = (machine.store()?, machine.registry()?, machine.cancel());
    let outside = project.outside(&store, &registry, NetworkUse::Allowed, &Silent, cancel);
    let mut fresh = Pins::new();
    if carries_out_on_build(&project.spec) {
        // What the `ONBUILD` instructions of the bases take from outside is known once the bases are.
        let known = outside.resolve(&requirements, &project.pins, &Upgraded(&upgrade)).map_err(|error| project.unresolved(&error))?;
        requirements.extend(project.settle(further_requirements(&project.spec, &project.target, &known.found))?);
        fresh = known.fresh;
    }
    let wanted = project.settle(to_resolve(&requirements, &project.pins, &upgrade))?;
    let resolved = outside.resolve(&wanted, &fresh, &NothingStale).map_err(|error| project.unresolved(&error))?;
    fresh.absorb(resolved.fresh);

    let mut pins = project.pins.clone();
    let mut lines = String::new();
    for (reference, platform, pin) in fresh.images() {
        let before = pins.insert_image(reference.clone(), platform.clone(), *pin);
        match before {
            None => lines.push_str(&format!("added    {reference} for {platform}: {}\n", pin.manifest)),
            Some(before) if before != *pin => {
                lines.push_str(&format!("upgraded {reference} for {platform}: {} → {}\n", before.manifest, pin.manifest));
            }
            Some(_) => lines.push_str(&format!("same     {reference} for {platform}: {}\n", pin.manifest)),
        }
    }
    for (url, digest) in fresh.urls() {
        let before = pins.insert_url(url.to_owned(), digest);
        let word = if before.is_none() { "added   " } else { "upgraded" };
        lines.push_str(&format!("{word} {url}: {digest}\n"));
    }
    for (url, reference, commit) in fresh.commits() {
        let name = commit.as_str();
        match pins.insert_commit(url.to_owned(), reference.to_owned(), commit.clone()) {
            None => lines.push_str(&format!("added    {url} {reference}: {name}\n")),
            Some(before) if before != *commit => {
                lines.push_str(&format!("upgraded {url} {reference}: {} → {name}\n", before.as_str()));
            }
            Some(_) => lines.push_str(&format!("same     {url} {reference}: {name}\n")),
        }
    }
    pins.layers.get_or_insert(known_layers());
    let path = project.lock_file();
    if pins == project.pins {
        return print("lapstrake.lock has everything already\n");
    }
    write(&path, &pins.to_text())?;
    print(&format!("{lines}wrote {}\n", path.display()))
}

/// What is to be upgraded is asked for though the lock has it.
struct Upgraded<'u>(&'u Upgrade);

impl Stale for Upgraded<'_> {
    fn is_stale(&self, requirement: &Requirement) -> bool {
        self.0.asks_for(requirement)
    }
}

fn carries_out_on_build(spec: &Spec) -> bool {
    spec.stages.values().any(|stage| stage.value.onbuild.as_ref().is_some_and(|onbuild| onbuild.value == OnBuild::Run))
}

/// Writes a file whole or not at all.
fn write(path: &std::path::Path, text: &str) -> Result<(), Failure> {
    let new = path.with_extension("lock.new");
    let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&new);
        Failure::world(format!("cannot write `{}`: {error}", path.display()))
    })
}
