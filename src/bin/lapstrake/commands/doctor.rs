//! `lapstrake doctor`: what this machine allows, and what to do about the rest.

use lapstrake::sandbox::{Isolation, Limits, Resource, Rung};
use serde_json::json;

use crate::args;
use crate::exit::{Failure, print};
use crate::machine::Machine;

pub(crate) fn doctor(machine: &Machine, arguments: &args::Doctor) -> Result<(), Failure> {
    let store = machine.store()?;
    let probes = Isolation::doctor(&machine.sandbox_options(), store.path());
    let best = probes.iter().find(|probe| probe.outcome.is_ok() && Rung::AUTOMATIC.contains(&probe.rung)).map(|probe| probe.rung.name());
    let limits = Limits::doctor();
    if arguments.json {
        let list: Vec<_> = probes
            .iter()
            .map(|probe| match &probe.outcome {
                Ok(note) => json!({ "name": probe.rung.name(), "works": true, "note": note }),
                Err(error) => json!({ "name": probe.rung.name(), "works": false, "reason": error.reason, "remedy": error.remedy }),
            })
            .collect();
        let limits: Vec<_> = limits
            .iter()
            .map(|probe| match &probe.outcome {
                Ok(kind) => json!({ "name": probe.resource.name(), "works": true, "note": kind }),
                Err(error) => json!({ "name": probe.resource.name(), "works": false, "reason": error.reason, "remedy": error.remedy }),
            })
            .collect();
        let document = json!({ "version": 1, "store": store.path(), "best": best, "rungs": list, "limits": limits });
        return print(&format!("{document:#}\n"));
    }
    let mut text = format!("store      {}\n", store.path().display());
    for probe in &probes {
        let name = probe.rung.name();
        match &probe.outcome {
            Ok(note) => text.push_str(&format!("{name:<10} works: {note}\n")),
            Err(error) => text.push_str(&format!("{name:<10} does not work: {}\n{:<10} remedy: {}\n", error.reason, "", error.remedy)),
        }
    }
    text.push_str("none       works: specs without `run` steps\n");
    text.push_str(&match best {
        Some(rung) => format!("`run` steps are run with `--isolation {rung}`, the best that works\n"),
        None => "`run` steps cannot be run here; any one of the remedies above is enough\n".to_owned(),
    });
    for probe in &limits {
        let name = flag(probe.resource);
        match &probe.outcome {
            Ok(kind) => text.push_str(&format!("{name:<10} works: {kind}\n")),
            Err(error) => text.push_str(&format!("{name:<10} is refused: {}\n{:<10} remedy: {}\n", error.reason, "", error.remedy)),
        }
    }
    print(&text)
}

/// The option that sets a limit.
const fn flag(resource: Resource) -> &'static str {
    match resource {
        Resource::Memory => "--memory",
        Resource::Pids => "--pids",
        Resource::Cpu => "--cpus",
    }
}
