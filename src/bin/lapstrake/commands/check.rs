//! `lapstrake check`: every mistake in a spec, and advice, without building anything.

use lapstrake::plan;

use crate::args;
use crate::exit::{Failure, print};
use crate::keys::Keys;
use crate::lints::Lints;
use crate::machine::Machine;
use crate::project::{Project, Reading};
use crate::remote::Asking;
use crate::source::Kind;

pub(crate) fn check(machine: &Machine, arguments: &args::Check) -> Result<(), Failure> {
    let keys = Keys::read(machine, &arguments.keys)?;
    let lints = Lints::new(&arguments.lints)?;
    let reading = Reading { lints, keys: Some(&keys), asking: Some(Asking::ANYTHING), ..Reading::plain() };
    let mut project = Project::read(machine, &arguments.project, reading)?;
    let mut found = std::mem::take(&mut project.warnings);
    found.extend(plan::requirements(&project.spec, &project.target).diagnostics);
    found.extend(project.advice());
    found.extend(project.offered.values().cloned());
    found.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| label.span));
    project.show(&found)?;
    let (stages, images) = (project.spec.stages.len(), project.spec.images.len());
    let what = match project.kind {
        Kind::Toml => "spec",
        Kind::Dockerfile => "Dockerfile",
        Kind::Compose => "Compose file",
    };
    print(&format!("the {what} is sound: {}, {}\n", count(stages, "stage"), count(images, "image")))
}

fn count(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
