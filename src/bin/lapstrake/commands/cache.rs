//! `lapstrake cache`: how much the store holds, and keeping it small and sound.

use std::time::Duration;

use lapstrake::cache::{Kind, Limits};
use serde_json::json;

use crate::args;
use crate::exit::{Failure, chain, print};
use crate::machine::Machine;
use crate::progress::bytes;
use crate::settings::size;

/// The kinds of things in the store, with the words people know them by.
const KINDS: [(Kind, &str, &str); 6] = [
    (Kind::Blob, "blobs", "layers, configs, manifests, downloads"),
    (Kind::Record, "records", "what steps came to, and why"),
    (Kind::Kept, "directories", "unpacked layers"),
    (Kind::Mount, "cache mounts", "what `cache` mounts hold"),
    (Kind::Scratch, "scratch", "of builds that go on"),
    (Kind::Trash, "trash", "removed, not yet deleted"),
];

pub(crate) fn cache(machine: &Machine, arguments: &args::Cache) -> Result<(), Failure> {
    match arguments {
        args::Cache::Du { json } => du(machine, *json),
        args::Cache::Prune { repository: Some(repository), max_size: _, older_than } => {
            prune_shared(machine, repository, older_than.as_deref().unwrap_or_default())
        }
        args::Cache::Prune { repository: None, max_size, older_than } => prune(machine, max_size.as_deref(), older_than.as_deref()),
        args::Cache::Verify => verify(machine),
        args::Cache::Key => print(&format!("{}\n", crate::caches::signing_key(machine)?.public())),
    }
}

fn du(machine: &Machine, as_json: bool) -> Result<(), Failure> {
    let store = machine.store()?;
    let usage = store.usage().map_err(|error| Failure::world(chain(&error)))?;
    let total = usage.total();
    if as_json {
        let mut kinds = serde_json::Map::new();
        for (kind, word, _) in KINDS {
            let count = usage.of(kind);
            kinds.insert(word.replace(' ', "_"), json!({ "entries": count.entries, "bytes": count.bytes }));
        }
        let document = json!({ "version": 1, "store": store.path(), "kinds": kinds, "bytes": total.bytes });
        return print(&format!("{document:#}\n"));
    }
    let mut text = format!("{}\n", store.path().display());
    for (kind, word, what) in KINDS {
        let count = usage.of(kind);
        text.push_str(&format!("{word:>14} {:>12} {:>8}  {what}\n", bytes(count.bytes), count.entries));
    }
    text.push_str(&format!("{:>14} {:>12}\n", "in all", bytes(total.bytes)));
    print(&text)
}

fn prune(machine: &Machine, max_size: Option<&str>, older_than: Option<&str>) -> Result<(), Failure> {
    let given = |what: &str, reason: &str| Failure::usage(format!("`{what}`: {reason}"));
    let bytes_limit = max_size.map(|text| size(text).map_err(|reason| given("--max-size", reason))).transpose()?;
    let unused_for =
        older_than.map(|text| lapstrake::spec::words::parse_duration(text).map_err(|reason| given("--older-than", reason))).transpose()?;
    let limits = match (bytes_limit, unused_for) {
        (None, None) => machine.limits()?,
        (bytes, unused_for) => Limits { bytes, unused_for: unused_for.map(|age: Duration| age) },
    };
    let store = machine.store()?;
    let engine = machine.idle_engine();
    let collected = store.collect(&limits, engine.remover()).map_err(|error| Failure::world(chain(&error)))?;
    let removed = collected.removed.total();
    print(&format!("removed {} ({} entries), {} remain\n", bytes(removed.bytes), removed.entries, bytes(collected.remaining.bytes)))?;
    match collected.failures.as_slice() {
        [] => Ok(()),
        failures => {
            let lines: Vec<String> = failures.iter().map(|one| format!("{}: {}", one.path.display(), one.source)).collect();
            Err(Failure::world(format!("not everything could be removed:\n{}", lines.join("\n"))))
        }
    }
}

/// Removes old records of a shared cache.
fn prune_shared(machine: &Machine, repository: &str, older_than: &str) -> Result<(), Failure> {
    let age = lapstrake::spec::words::parse_duration(older_than)
        .map_err(|reason| Failure::usage(format!("`--older-than {older_than}`: {reason}")))?;
    let cache = crate::caches::repository(machine, "cache prune", repository)?;
    let pruned = lapstrake::remote::prune(&cache, age, machine.cancel()).map_err(|error| Failure::world(chain(&error)))?;
    print(&format!("removed {} records, {} remain\n", pruned.removed, pruned.kept))
}

fn verify(machine: &Machine) -> Result<(), Failure> {
    let store = machine.store()?;
    let problems = store.verify().map_err(|error| Failure::world(chain(&error)))?;
    if problems.is_empty() {
        return print("the store is sound\n");
    }
    let lines: Vec<String> = problems.iter().map(|problem| format!("{}: {}", problem.path.display(), problem.damage)).collect();
    Err(Failure::world(format!(
        "{} damaged; each was set aside and will be made again when it is needed:\n{}",
        if problems.len() == 1 { "1 thing is".to_owned() } else { format!("{} things are", problems.len()) },
        lines.join("\n")
    )))
}
