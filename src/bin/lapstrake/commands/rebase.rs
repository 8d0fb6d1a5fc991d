//! `lapstrake rebase`: an image's own layers on another base.

use lapstrake::build::Class;
use lapstrake::operate::{self, Place, RebaseError, Rebased, open};
use lapstrake::output::{Bundle, Named, PushedTag, Sources, Target, merge_bundle, push_bundle, write_images};
use lapstrake::registry::Registry;

use crate::args;
use crate::commands::build::TRANSFERS;
use crate::commands::inspect::{opened, place, platform};
use crate::exit::{Failure, chain, print, remark};
use crate::machine::Machine;
use crate::progress;

pub(crate) fn rebase(machine: &Machine, arguments: &args::Rebase) -> Result<(), Failure> {
    let to = arguments.to.as_deref().map(place).transpose()?;
    if let Some(to) = to.as_ref().filter(|to| arguments.merge && !matches!(to, Place::Registry(_))) {
        return Err(Failure::usage(format!("`--merge` adds to an index in a registry, and `{to}` is none")));
    }
    let registry = machine.registry()?;
    let image = opened(machine, &registry, &arguments.image, &platform(arguments.platform.as_deref())?)?;
    let on = |place: &Place| open(place, &image.image.platform, &registry, machine.cancel()).map_err(|error| Failure::world(chain(&error)));
    let old = match &arguments.from {
        Some(text) => on(&place(text)?)?,
        None => on(&operate::base_of(&image).map_err(|error| failure(&error))?)?,
    };
    let new = on(&place(&arguments.onto)?)?;
    let assumed = arguments.assume_independent.iter().copied().collect();
    let rebased = operate::rebase(&image, &old, &new, &assumed, &registry, machine.cancel()).map_err(|error| failure(&error))?;
    for name in &rebased.contested {
        let note = format!("note: the image and the new base have both changed the setting `{name}`: the image's stays\n");
        remark(&note, machine.voice);
    }
    let mut text = format!("{}\n", rebased.image.manifest.digest);
    match to {
        None => text.push_str("  nothing is written without --to\n"),
        Some(to) => {
            let pushed = deliver(machine, &registry, &rebased, &to, arguments.merge)?;
            let word = if pushed.is_empty() { "written" } else { "pushed" };
            text.push_str(&format!("  {to} {word}\n"));
        }
    }
    print(&text)
}

fn deliver(machine: &Machine, registry: &Registry, rebased: &Rebased<'_>, to: &Place, merge: bool) -> Result<Vec<PushedTag>, Failure> {
    let events = progress::sink(args::Progress::Auto, &machine.surroundings);
    let sources = Sources { here: rebased, registry, cancel: machine.cancel() };
    let bundle = Bundle::of(&rebased.image);
    let (target, name) = match to {
        Place::Registry(reference) => {
            let tags = std::slice::from_ref(reference);
            let pushed = match merge {
                true => merge_bundle(&bundle, tags, TRANSFERS, &sources, &*events),
                false => push_bundle(&bundle, tags, TRANSFERS, &sources, &*events),
            };
            return pushed.map_err(|error| Failure::world(chain(&error)));
        }
        Place::Layout { path, name } => (Target::Layout { path: path.clone(), tag: name.clone() }, name),
        Place::OciArchive { path, name } => (Target::OciArchive { path: path.clone(), tag: name.clone() }, name),
        Place::DockerArchive { path, name } => (Target::DockerArchive { path: path.clone(), reference: name.clone() }, name),
    };
    let named = Named { bundle, names: name.clone().into_iter().collect() };
    write_images(&[named], &target, &sources, &machine.store()?, TRANSFERS).map_err(|error| Failure::world(chain(&error)))?;
    Ok(Vec::new())
}

fn failure(error: &RebaseError) -> Failure {
    match error {
        RebaseError::Leaning { steps, .. } => {
            let numbers: Vec<String> = steps.iter().map(|step| format!("--assume-independent {}", step.number)).collect();
            let text = chain(error);
            let numbers = numbers.join(" ");
            Failure::new(Class::Step, format!("{text}\nbuild it on the new base; or, where you know that nothing changes, pass {numbers}"))
        }
        RebaseError::NoBase { .. }
        | RebaseError::OtherBase { .. }
        | RebaseError::Platform { .. }
        | RebaseError::NoStep { .. }
        | RebaseError::Format { .. } => Failure::usage(chain(error)),
        RebaseError::Open(_) | RebaseError::Layers(_) => Failure::world(chain(error)),
    }
}
