//! `lapstrake doctor`: what this machine allows, and what to do about the rest.

use lapstrake::sandbox::Isolation;
use serde_json::json;

use crate::args;
use crate::exit::{Failure, print};
use crate::machine::Machine;

pub(crate) fn doctor(machine: &Machine, arguments: &args::Doctor) -> Result<(), Failure> {
    let store = machine.store()?;
    let probes = Isolation::doctor(&machine.sandbox_options(), store.path());
    let sound = probes.iter().all(|probe| probe.outcome.is_ok());
    if arguments.json {
        let list: Vec<_> = probes
            .iter()
            .map(|probe| match &probe.outcome {
                Ok(note) => json!({ "name": probe.name, "works": true, "note": note }),
                Err(error) => json!({ "name": probe.name, "works": false, "reason": error.reason, "remedy": error.remedy }),
            })
            .collect();
        let document = json!({ "version": 1, "store": store.path(), "userns": sound, "probes": list });
        return print(&format!("{document:#}\n"));
    }
    let mut text = format!("store            {}\n", store.path().display());
    for probe in &probes {
        match &probe.outcome {
            Ok(note) => text.push_str(&format!("{:<16} ok: {note}\n", probe.name)),
            Err(error) => {
                text.push_str(&format!("{:<16} missing: {}\n{:<16} remedy: {}\n", probe.name, error.reason, "", error.remedy));
            }
        }
    }
    text.push_str(if sound {
        "specs with `run` steps can be built here (--isolation userns)\n"
    } else {
        "specs without `run` steps can be built here; `run` needs what is missing above\n"
    });
    print(&text)
}
