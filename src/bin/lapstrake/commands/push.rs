//! `lapstrake push`: an image of a layout or archive → a registry.

use lapstrake::image::{Platform, Reference};
use lapstrake::output::{self, TagOutcome};

use crate::args;
use crate::commands::build::TRANSFERS;
use crate::commands::inspect::opened;
use crate::exit::{Failure, chain, print};
use crate::machine::Machine;
use crate::progress;

pub(crate) fn push(machine: &Machine, arguments: &args::Push) -> Result<(), Failure> {
    let to = arguments
        .to
        .iter()
        .map(|text| text.parse().map_err(|error: lapstrake::image::InvalidReference| Failure::usage(error.to_string())))
        .collect::<Result<Vec<Reference>, Failure>>()?;
    let (registry, cancel) = (machine.registry()?, machine.cancel());
    let image = opened(machine, &registry, &arguments.image, &Platform::builder())?;
    let events = progress::sink(args::Progress::Auto, &machine.surroundings);
    let tags =
        output::push(&image.image, &to, TRANSFERS, &image, &registry, &*events, cancel).map_err(|error| Failure::world(chain(&error)))?;
    let mut text = format!("{}\n", image.image.manifest.digest);
    for tag in tags {
        let word = match tag.outcome {
            TagOutcome::Unchanged => "there already",
            TagOutcome::Moved => "pushed",
        };
        text.push_str(&format!("  {} {word}\n", tag.reference));
    }
    print(&text)
}
