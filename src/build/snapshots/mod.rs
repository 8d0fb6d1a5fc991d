//! Directories of `cache` mounts ⇄ snapshots of them in shared caches: read and sent after the build, fetched where a step would begin with an empty one.
//!
//! Nothing that goes wrong with one is more than a note: the step begins with what it would have begun with.

mod fetch;
mod send;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lapstrake_cache::{CacheMount, Fingerprint};
use serde::{Deserialize, Serialize};

use super::elsewhere::SaidBlob;
use super::once::Once;
use crate::image::Platform;

pub(super) use fetch::fetched;
pub(super) use send::send;

/// The media type of a snapshot.
const SNAPSHOT_TYPE: &str = "application/vnd.lapstrake.snapshot.v1+zstd";
/// The media type of a chunk.
const CHUNK_TYPE: &str = "application/vnd.lapstrake.chunk.v1+zstd";

/// The most bytes that a stored snapshot may have: it is held in memory.
const SNAPSHOT_LIMIT_BYTES: u64 = 256 << 20;

/// What the record of a mount says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidMount {
    snapshot: SaidBlob,
}

/// Which cache a mount shows, on every machine alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MountName {
    /// As the spec calls it.
    pub(super) id: String,
    /// What makes it another one, hashed.
    pub(super) identity: String,
}

/// A cache that steps of this build have written to.
#[derive(Debug)]
pub(super) struct Used {
    /// Which.
    pub(super) name: MountName,
    /// Its directory.
    pub(super) mount: CacheMount,
}

/// What one build knows of its caches.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// Those that were looked for in shared caches: each once, however many steps want it.
    pub(super) looked_for: Once<MountName, ()>,
    used: Mutex<BTreeMap<MountName, Used>>,
    /// Those that a shared cache has, and could not be asked for. What was begun instead must not take their place there.
    withheld: Mutex<BTreeSet<MountName>>,
}

impl MountName {
    /// What the key of its record is the hash of. Tools put files for one processor in their caches.
    fn preimage(&self) -> Vec<u8> {
        format!("lapstrake-shared-mount/1 {} {}", Platform::builder(), self.identity).into_bytes()
    }

    fn key(&self) -> Fingerprint {
        Fingerprint::of(&self.preimage())
    }
}

impl Mounts {
    /// Takes a cache that a step has written to. Later steps may do so too, so it is sent in the end.
    pub(super) fn used(&self, used: Used) {
        if !lock(&self.withheld).contains(&used.name) {
            lock(&self.used).entry(used.name.clone()).or_insert(used);
        }
    }

    /// What was used, once.
    pub(super) fn take_used(&self) -> impl Iterator<Item = Used> + use<> {
        std::mem::take(&mut *lock(&self.used)).into_values()
    }

    fn withhold(&self, name: &MountName) {
        lock(&self.withheld).insert(name.clone());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
