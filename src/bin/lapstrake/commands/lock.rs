//! `lapstrake lock`: what a spec takes from outside, pinned in lapstrake.lock.

use lapstrake::event::Silent;
use lapstrake::input::{NetworkUse, NothingStale};
use lapstrake::pins::Pins;
use lapstrake::plan::{Upgrade, to_resolve};

use crate::args;
use crate::exit::{Failure, print};
use crate::machine::Machine;
use crate::project::{Project, Reading, known_layers};

pub(crate) fn lock(machine: &Machine, arguments: &args::Lock) -> Result<(), Failure> {
    let project = Project::load(machine, &arguments.project, Reading::plain())?;
    let upgrade = match arguments.upgrade.as_deref() {
        None => Upgrade::Nothing,
        Some("") => Upgrade::All,
        Some(name) => Upgrade::One(name.to_owned()),
    };
    let requirements = project.requirements()?;
    let wanted = project.settle(to_resolve(&requirements, &project.pins, &upgrade))?;
    let (store, registry, cancel) = (machine.store()?, machine.registry()?, machine.cancel());
    let outside = project.outside(&store, &registry, NetworkUse::Allowed, &Silent, cancel);
    let resolved = outside.resolve(&wanted, &Pins::new(), &NothingStale).map_err(|error| project.unresolved(&error))?;

    let mut pins = project.pins.clone();
    let mut lines = String::new();
    for (reference, platform, pin) in resolved.fresh.images() {
        let before = pins.insert_image(reference.clone(), platform.clone(), *pin);
        match before {
            None => lines.push_str(&format!("added    {reference} for {platform}: {}\n", pin.manifest)),
            Some(before) if before != *pin => {
                lines.push_str(&format!("upgraded {reference} for {platform}: {} → {}\n", before.manifest, pin.manifest));
            }
            Some(_) => lines.push_str(&format!("same     {reference} for {platform}: {}\n", pin.manifest)),
        }
    }
    for (url, digest) in resolved.fresh.urls() {
        let before = pins.insert_url(url.to_owned(), digest);
        let word = if before.is_none() { "added   " } else { "upgraded" };
        lines.push_str(&format!("{word} {url}: {digest}\n"));
    }
    pins.layers.get_or_insert(known_layers());
    let path = project.lock_file();
    if pins == project.pins {
        return print("lapstrake.lock has everything already\n");
    }
    write(&path, &pins.to_text())?;
    print(&format!("{lines}wrote {}\n", path.display()))
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
