//! `--load`: built images → an engine of this machine, by its own command for archives.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use lapstrake::build::Built;
use lapstrake::input::Outside;
use lapstrake::output::{Bundle, Named, Sources, Target, write_images};
use lapstrake::plan::Plan;

use crate::args::Loader;
use crate::commands::build::TRANSFERS;
use crate::exit::{Failure, chain, remark};
use crate::machine::Machine;

/// The most characters that are shown of what an engine says.
const SAID_CHARACTERS: usize = 2000;

/// Whether there is an image to be loaded, before any work is done for it.
pub(crate) fn check(plan: &Plan) -> Result<(), Failure> {
    if plan.images.is_empty() {
        return Err(Failure::usage("`--load`: no image is built, only a stage"));
    }
    let mut names = BTreeSet::new();
    match plan.images.iter().find(|image| !names.insert(&image.name)) {
        Some(image) => Err(Failure::usage(format!(
            "`--load`: `{}` is built for several platforms, and an engine has one: choose it with `--platform`",
            image.name
        ))),
        None => Ok(()),
    }
}

/// Gives all images to an engine, in one archive.
pub(crate) fn load(machine: &Machine, loader: Loader, built: &Built, outside: &Outside<'_>) -> Result<(), Failure> {
    let (program, arguments): (&str, &[&str]) = match loader {
        Loader::Docker => ("docker", &["load", "--input"]),
        Loader::Podman => ("podman", &["load", "--input"]),
        Loader::Containerd => ("ctr", &["images", "import"]),
    };
    let world = |error: &dyn std::error::Error| Failure::world(format!("`--load`: {}", chain(error)));
    let scratch = outside.store.scratch().map_err(|error| world(&error))?;
    let path = scratch.path().join("images.tar");
    let images: Vec<Named> = built
        .images
        .iter()
        .map(|one| {
            let names: Vec<String> = one.image.tags.iter().map(ToString::to_string).collect();
            let names = if names.is_empty() { vec![format!("{}:latest", one.image.name)] } else { names };
            Named { bundle: Bundle::of(&one.sealed), names }
        })
        .collect();
    let target = Target::DockerArchive { path: path.clone(), reference: None };
    let sources = Sources { here: outside.store, registry: outside.registry, cancel: outside.cancel };
    write_images(&images, &target, &sources, outside.store, TRANSFERS).map_err(|error| world(&error))?;
    run(machine, program, arguments, &path)
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that hands images to engines")]
fn run(machine: &Machine, program: &str, arguments: &[&str], archive: &std::path::Path) -> Result<(), Failure> {
    let shown = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).arg(archive).stdin(Stdio::null()).output().map_err(|error| {
        let hint = if error.kind() == std::io::ErrorKind::NotFound {
            ": is it installed? `-o docker-archive:FILE` writes what it would load"
        } else {
            ""
        };
        Failure::world(format!("`--load`: cannot run `{shown}`: {error}{hint}"))
    })?;
    let said = |bytes: &[u8]| -> String {
        let text = String::from_utf8_lossy(bytes);
        text.trim().chars().filter(|character| !character.is_control() || *character == '\n').take(SAID_CHARACTERS).collect()
    };
    if !output.status.success() {
        return Err(Failure::world(format!("`--load`: `{shown}` failed ({}): {}", output.status, said(&output.stderr))));
    }
    let text = said(&output.stdout);
    if !text.is_empty() {
        remark(&format!("{text}\n"), machine.voice);
    }
    Ok(())
}
