//! Why a step was not taken from the cache: its pre-image beside the nearest earlier one of the same step.

use std::collections::BTreeSet;

use lapstrake_cache::{Fingerprint, Fingerprinter, Shelf, Store};

use super::Failure;
use super::execute::{PREIMAGES, SELECTIONS};
use super::preimage::{Preimage, Value};
use crate::tree::{Change, Difference};

/// The last keys of each step.
const ATTEMPTS: Shelf = Shelf::named("attempts");
/// How many keys of a step are remembered.
const REMEMBERED: usize = 8;
/// How many files that differ are named.
const NAMED_FILES: usize = 10;

/// What was found out about a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The stage.
    pub stage: String,
    /// The step, counted from 1.
    pub number: usize,
    /// For people: verb and argument.
    pub label: String,
    /// The key.
    pub key: Fingerprint,
    /// The reason.
    pub reason: Reason,
}

/// Why a step is cached or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Its result is in the store.
    Cached,
    /// It changes settings and no files, so there is nothing to do.
    NothingToDo,
    /// It never ran here.
    NeverRun,
    /// It ran with the same inputs, but its result was collected, damaged or has aged past its `refresh`.
    ResultGone,
    /// Its inputs differ from those of the nearest earlier run.
    Changed(Vec<FieldChange>),
}

/// One input that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// Which, such as `argv` or `env.PATH`.
    pub field: String,
    /// What it was; `None` where it was not there.
    pub before: Option<String>,
    /// What it is; `None` where it is not there.
    pub now: Option<String>,
    /// For files: those that differ, `+` for new, `-` for gone, `~` for changed.
    pub files: Vec<String>,
}

/// Remembers that a step was asked for with this key.
pub(super) fn remember(store: &Store, stage: &str, number: usize, key: &Fingerprint) -> Result<(), Failure> {
    let at = step_key(stage, number);
    let mut keys = attempts(store, &at)?;
    if keys.first() == Some(key) {
        return Ok(());
    }
    keys.retain(|known| known != key);
    keys.insert(0, *key);
    keys.truncate(REMEMBERED);
    let body: Vec<u8> = keys.iter().flat_map(|key| *key.as_bytes()).collect();
    Ok(store.put_record(&ATTEMPTS, &at, &body)?)
}

/// Whether no step with this place was ever asked for, in any project of this store: so that its result is hardly known.
pub(super) fn was_never_asked(store: &Store, stage: &str, number: usize) -> Result<bool, Failure> {
    Ok(attempts(store, &step_key(stage, number))?.is_empty())
}

/// Compares a pre-image with the nearest of those that the step had before.
pub(super) fn reason(store: &Store, stage: &str, number: usize, preimage: &Preimage) -> Result<Reason, Failure> {
    let key = preimage.key();
    let mut nearest: Option<Vec<FieldChange>> = None;
    for earlier in attempts(store, &step_key(stage, number))? {
        if earlier == key {
            if store.record(&PREIMAGES, &key)?.is_some() {
                return Ok(Reason::ResultGone);
            }
            continue;
        }
        let Some(earlier) = store.record(&PREIMAGES, &earlier)?.and_then(|bytes| Preimage::decode(&bytes)) else { continue };
        let changes = compare(&earlier, preimage);
        // Among equals the first is the latest.
        if nearest.as_ref().is_none_or(|nearest| changes.len() < nearest.len()) {
            nearest = Some(changes);
        }
    }
    let Some(mut changes) = nearest else { return Ok(Reason::NeverRun) };
    for change in &mut changes {
        if let (Some(before), Some(now)) = (&change.before, &change.now)
            && let (Ok(before), Ok(now)) = (before.parse(), now.parse())
        {
            change.files = files(store, &before, &now)?;
        }
    }
    Ok(Reason::Changed(changes))
}

fn step_key(stage: &str, number: usize) -> Fingerprint {
    let mut hasher = Fingerprinter::new();
    hasher.update_framed(b"lapstrake-step/1");
    hasher.update_framed(stage.as_bytes());
    hasher.update(&(number as u64).to_le_bytes());
    hasher.finish()
}

fn attempts(store: &Store, at: &Fingerprint) -> Result<Vec<Fingerprint>, Failure> {
    let body = store.record(&ATTEMPTS, at)?.unwrap_or_default();
    Ok(body.chunks_exact(32).filter_map(|bytes| Some(Fingerprint::from_bytes(bytes.try_into().ok()?))).collect())
}

fn compare(before: &Preimage, now: &Preimage) -> Vec<FieldChange> {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for (preimage, flat) in [(before, &mut old), (now, &mut new)] {
        for (name, value) in preimage.fields() {
            flatten(name, value, flat);
        }
    }
    let names: BTreeSet<&String> = old.iter().chain(&new).map(|(name, _)| name).collect();
    let find = |fields: &[(String, String)], name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    names
        .into_iter()
        .filter_map(|name| {
            let (before, now) = (find(&old, name), find(&new, name));
            (before != now).then(|| FieldChange { field: name.clone(), before, now, files: Vec::new() })
        })
        .collect()
}

fn flatten(name: &str, value: &Value, out: &mut Vec<(String, String)>) {
    match value {
        Value::Absent => {}
        Value::Bytes(bytes) => out.push((name.to_owned(), String::from_utf8_lossy(bytes).into_owned())),
        Value::Number(number) => out.push((name.to_owned(), number.to_string())),
        Value::Fingerprint(fingerprint) => out.push((name.to_owned(), fingerprint.hex())),
        Value::List(values) => {
            for (index, value) in values.iter().enumerate() {
                flatten(&format!("{name}[{index}]"), value, out);
            }
        }
        Value::Map(values) => {
            for (inner, value) in values {
                flatten(&format!("{name}.{inner}"), value, out);
            }
        }
    }
}

/// The files in which two selections differ, where both are remembered.
fn files(store: &Store, before: &Fingerprint, now: &Fingerprint) -> Result<Vec<String>, Failure> {
    let listing = |name: &Fingerprint| -> Result<Option<Difference>, Failure> {
        Ok(store.record(&SELECTIONS, name)?.and_then(|bytes| Difference::decode(&bytes).ok()))
    };
    let (Some(before), Some(now)) = (listing(before)?, listing(now)?) else { return Ok(Vec::new()) };
    let paths: BTreeSet<_> = before.entries.keys().chain(now.entries.keys()).collect();
    let mut found = Vec::new();
    for path in paths {
        let mark = match (before.entries.get(path), now.entries.get(path)) {
            (Some(before), Some(now)) if before == now => continue,
            (Some(Change::Put(_)), Some(Change::Put(_))) => '~',
            (Some(_), None) => '-',
            (_, Some(_)) => '+',
            (None, None) => continue,
        };
        if found.len() == NAMED_FILES {
            found.push("…".to_owned());
            break;
        }
        found.push(format!("{mark} {}", path.to_string().trim_start_matches('/')));
    }
    Ok(found)
}
