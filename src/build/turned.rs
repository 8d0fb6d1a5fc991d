//! Steps that wanted what only a model of users, owners and devices has ⇄ a note in the store, so that the next build begins there. What was
//! unpacked for one rung is of no use to another, but for what was packed: without the note an unchanged build would do everything twice.

use std::os::unix::ffi::OsStrExt;

use lapstrake_cache::{Fingerprint, Fingerprinter, Shelf};

use super::FailedStep;
use crate::input::Outside;
use crate::plan::{Plan, StepKind};

/// What steps wanted, by project, stage and what the step is called.
const SHELF: Shelf = Shelf::named("beyond");

fn key(outside: &Outside<'_>, stage: &str, label: &str) -> Fingerprint {
    let mut hasher = Fingerprinter::new();
    hasher.update_framed(b"lapstrake-beyond/1");
    for part in [outside.directory.as_os_str().as_bytes(), stage.as_bytes(), label.as_bytes()] {
        hasher.update_framed(part);
    }
    hasher.finish()
}

/// Notes what a step wanted. Without the note the next build turns once more.
pub(super) fn note(outside: &Outside<'_>, step: &FailedStep, wanted: &str) {
    let _ = outside.store.put_record(&SHELF, &key(outside, &step.stage, &step.label), wanted.as_bytes());
}

/// Whether a step of the plan has wanted such a thing: its stage, and what.
pub(super) fn noted(outside: &Outside<'_>, plan: &Plan) -> Option<(String, String)> {
    plan.stages.iter().find_map(|stage| {
        let steps = stage.steps.iter().filter(|step| !matches!(step.kind, StepKind::Setting));
        let mut wanted = steps.filter_map(|step| outside.store.record(&SHELF, &key(outside, &stage.name, &step.label)).ok().flatten());
        wanted.next().map(|wanted| (stage.name.clone(), String::from_utf8_lossy(&wanted).into_owned()))
    })
}
