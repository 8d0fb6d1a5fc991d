//! `lapstrake why`: why a step is not taken from the cache.

use lapstrake::build::{Explanation, Options, Reason};
use lapstrake::event::Silent;
use lapstrake::input::NothingStale;
use lapstrake::plan::{Plan, StageId, StepId, StepKind};

use crate::args;
use crate::commands::build::network;
use crate::exit::{Failure, print};
use crate::keys::Keys;
use crate::machine::Machine;
use crate::project::{Project, Reading};
use crate::remote::Asking;

/// More of a value than this is not shown.
const SHOWN_CHARACTERS: usize = 160;

pub(crate) fn why(machine: &Machine, arguments: &args::Why) -> Result<(), Failure> {
    let keys = Keys::read(machine, &arguments.keys)?;
    let reading = Reading { keys: Some(&keys), asking: Some(Asking::of(&arguments.pinning)), ..Reading::plain() };
    let project = Project::load(machine, &arguments.project, reading)?;
    let (store, registry, cancel) = (machine.store()?, machine.registry()?, machine.cancel());
    let outside = project.outside(&store, &registry, network(&arguments.pinning), &Silent, cancel);
    let (plan, _) = project.plan(&outside, &arguments.pinning, &NothingStale)?;
    let step = find(&plan, &arguments.step)?;
    let engine = machine.idle_engine();
    let found = engine.why(&plan, &outside, &Options::default(), step).map_err(|error| project.failed(&error))?;
    print(&tell(&found))
}

/// The step that `STAGE/NUMBER` names; `STAGE` alone is its last step that does something.
fn find(plan: &Plan, text: &str) -> Result<StepId, Failure> {
    let (name, number) = match text.rsplit_once('/') {
        Some((name, number)) => (name, Some(number)),
        None => (text, None),
    };
    let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
    let Some(index) = names.iter().position(|known| *known == name) else {
        return Err(Failure::usage(format!("no stage `{name}` is built; there are: {}", names.join(", "))));
    };
    let steps = &plan.stages[index].steps;
    let step = match number {
        None => steps.iter().rposition(|step| !matches!(step.kind, StepKind::Setting)),
        Some(number) => number.parse::<usize>().ok().and_then(|number| number.checked_sub(1)).filter(|number| *number < steps.len()),
    };
    let step = step.ok_or_else(|| {
        let mut lines = format!("the stage `{name}` has no step `{}`; it has:", number.unwrap_or("of its own"));
        for (number, step) in steps.iter().enumerate() {
            lines.push_str(&format!("\n  {name}/{} {}", number + 1, step.label));
        }
        Failure::usage(lines)
    })?;
    Ok(StepId { stage: StageId(index), step })
}

fn tell(found: &Explanation) -> String {
    let mut text = format!("{}/{} {}\n", found.stage, found.number, found.label);
    match &found.reason {
        Reason::Cached => text.push_str(&format!("is cached under the key {}\n", found.key)),
        Reason::NothingToDo => text.push_str("changes settings only, so there is nothing to do\n"),
        Reason::NeverRun => text.push_str("will run: it never ran with this store\n"),
        Reason::ResultGone => {
            text.push_str("will run: it ran with the same inputs, but its result has left the store or is older than its `refresh`\n");
        }
        Reason::Changed(changes) => {
            text.push_str("will run, since this is not as it was:\n");
            for change in changes {
                text.push_str(&format!("  {}\n", change.field));
                if change.files.is_empty() {
                    for (mark, value) in [("-", &change.before), ("+", &change.now)] {
                        if let Some(value) = value {
                            text.push_str(&format!("    {mark} {}\n", short(value)));
                        }
                    }
                }
                for file in &change.files {
                    text.push_str(&format!("    {file}\n"));
                }
            }
        }
    }
    text
}

fn short(value: &str) -> String {
    let line = value.replace('\n', "⏎");
    if line.chars().count() <= SHOWN_CHARACTERS {
        return line;
    }
    line.chars().take(SHOWN_CHARACTERS).chain(['…']).collect()
}
