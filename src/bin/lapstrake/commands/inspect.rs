//! `lapstrake inspect`: an image's config and layers, wherever it is.

use lapstrake::image::Platform;
use lapstrake::operate::{Inspected, Opened, Place, open};
use lapstrake::registry::Registry;

use crate::args;
use crate::exit::{Failure, chain, print};
use crate::machine::Machine;

pub(crate) fn inspect(machine: &Machine, arguments: &args::Inspect) -> Result<(), Failure> {
    let platform = platform(arguments.platform.as_deref())?;
    let inspected = Inspected::new(&opened(machine, &machine.registry()?, &arguments.image, &platform)?);
    if arguments.json { print(&format!("{:#}\n", inspected.to_json())) } else { print(&inspected.to_text()) }
}

/// The platform that is asked for, else this machine's.
pub(crate) fn platform(asked: Option<&str>) -> Result<Platform, Failure> {
    match asked {
        Some(text) => text.parse().map_err(|error: lapstrake::image::InvalidPlatform| Failure::usage(error.to_string())),
        None => Ok(Platform::builder()),
    }
}

/// Reads a place as it is written on the command line.
pub(crate) fn place(text: &str) -> Result<Place, Failure> {
    text.parse().map_err(|error: lapstrake::operate::InvalidPlace| Failure::usage(error.to_string()))
}

/// Opens the image that a word on the command line names.
pub(crate) fn opened(machine: &Machine, registry: &Registry, text: &str, platform: &Platform) -> Result<Opened, Failure> {
    open(&place(text)?, platform, registry, machine.cancel()).map_err(|error| Failure::world(chain(&error)))
}
