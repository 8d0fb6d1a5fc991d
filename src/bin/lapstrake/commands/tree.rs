//! `lapstrake tree` and `diff`: the files of images, layer by layer.

use lapstrake::build::Class;
use lapstrake::image::Platform;
use lapstrake::operate::{Comparison, Detail, Opened, ReadLayers, read_layers};

use crate::args;
use crate::commands::inspect::{opened, platform};
use crate::exit::{Failure, chain, print};
use crate::machine::Machine;

pub(crate) fn tree(machine: &Machine, arguments: &args::Tree) -> Result<(), Failure> {
    let (_, layers) = read(machine, &arguments.image, &platform(arguments.platform.as_deref())?)?;
    let detail = match (arguments.layer, arguments.summary) {
        (Some(layer), _) if layer.get() > layers.layers.len() => {
            return Err(Failure::usage(format!("`--layer {layer}`: `{}` has {} layers", arguments.image, layers.layers.len())));
        }
        (Some(layer), _) => Detail::Layer(layer.get()),
        (None, true) => Detail::Layers,
        (None, false) => Detail::Files,
    };
    if arguments.json { print(&format!("{:#}\n", layers.to_json(&detail))) } else { print(&layers.to_text(&detail)) }
}

pub(crate) fn diff(machine: &Machine, arguments: &args::Diff) -> Result<(), Failure> {
    let platform = platform(arguments.platform.as_deref())?;
    let one = read(machine, &arguments.one, &platform)?;
    let other = read(machine, &arguments.other, &platform)?;
    let comparison = Comparison::new((&one.0, &one.1), (&other.0, &other.1));
    if arguments.json {
        print(&format!("{:#}\n", comparison.to_json()))?
    } else {
        print(&comparison.to_text())?
    }
    if arguments.exit_code && !comparison.is_same() {
        return Err(Failure::new(Class::Step, "the images differ"));
    }
    Ok(())
}

fn read(machine: &Machine, image: &str, platform: &Platform) -> Result<(Opened, ReadLayers), Failure> {
    let registry = machine.registry()?;
    let opened = opened(machine, &registry, image, platform)?;
    let layers = read_layers(&opened, &registry, machine.cancel()).map_err(|error| Failure::world(chain(&error)))?;
    Ok((opened, layers))
}
