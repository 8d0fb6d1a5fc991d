//! `lapstrake plan`: what a build would do, in order.

use lapstrake::event::Silent;
use lapstrake::input::NothingStale;

use crate::args;
use crate::commands::build::network;
use crate::exit::{Failure, print};
use crate::keys::Keys;
use crate::machine::Machine;
use crate::project::{Project, Reading};
use crate::remote::Asking;

pub(crate) fn plan(machine: &Machine, arguments: &args::Plan) -> Result<(), Failure> {
    let keys = Keys::read(machine, &arguments.keys)?;
    let reading = Reading { keys: Some(&keys), asking: Some(Asking::of(&arguments.pinning)), ..Reading::plain() };
    let project = Project::load(machine, &arguments.project, reading)?;
    let (store, registry, cancel) = (machine.store()?, machine.registry()?, machine.cancel());
    let outside = project.outside(&store, &registry, network(&arguments.pinning), &Silent, cancel);
    let (plan, _) = project.plan(&outside, &arguments.pinning, &NothingStale)?;
    if arguments.json { print(&format!("{:#}\n", plan.to_json())) } else { print(&plan.to_text()) }
}
