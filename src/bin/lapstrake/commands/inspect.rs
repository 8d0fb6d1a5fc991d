//! `lapstrake inspect`: an image's config and layers, wherever it is.

use lapstrake::image::Platform;
use lapstrake::operate::{Inspected, Opened, Place, open};
use lapstrake::registry::Registry;

use crate::args;
use crate::exit::{Failure, chain, print};
use crate::machine::Machine;

pub(crate) fn inspect(machine: &Machine, arguments: &args::Inspect) -> Result<(), Failure> {
    let platform = match &arguments.platform {
        Some(text) => text.parse().map_err(|error: lapstrake::image::InvalidPlatform| Failure::usage(error.to_string()))?,
        None => Platform::builder(),
    };
    let inspected = Inspected::new(&opened(machine, &machine.registry()?, &arguments.image, &platform)?);
    if arguments.json { print(&format!("{:#}\n", inspected.to_json())) } else { print(&inspected.to_text()) }
}

/// Opens the image that a word on the command line names.
pub(crate) fn opened(machine: &Machine, registry: &Registry, text: &str, platform: &Platform) -> Result<Opened, Failure> {
    let place: Place = text.parse().map_err(|error: lapstrake::operate::InvalidPlace| Failure::usage(error.to_string()))?;
    open(&place, platform, registry, machine.cancel()).map_err(|error| Failure::world(chain(&error)))
}
