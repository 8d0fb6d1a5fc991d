//! `lapstrake check`: every mistake in a spec, without building anything.

use crate::args;
use crate::exit::{Failure, print};
use crate::machine::Machine;
use crate::project::Project;

pub(crate) fn check(machine: &Machine, arguments: &args::Project) -> Result<(), Failure> {
    let project = Project::load(arguments, &[], machine.voice)?;
    project.requirements()?;
    let (stages, images) = (project.spec.stages.len(), project.spec.images.len());
    print(&format!("the spec is sound: {}, {}\n", count(stages, "stage"), count(images, "image")))
}

fn count(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
