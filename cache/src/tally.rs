//! How much the store holds, without looking through it: what the last look found, and what was put in since. FORMAT.md, "Tidying".
//!
//! It only grows between two looks: what becomes less is found by the next, so that nothing is ever taken off twice.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{At, Error};
use crate::fingerprint::Fingerprint;
use crate::lock::Lock;
use crate::name::Shelf;
use crate::record;
use crate::store::{Place, Store};

/// A look that is older than this is repeated, whatever was added to it since.
const LOOK_IS_STALE_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// With so much that others do not know of, a process tells it before its end.
const TOLD_AT_LATEST_BYTES: u64 = 64 << 20;

const TALLY: Shelf = Shelf::named("tally");

/// What this open store has put in.
#[derive(Debug, Default)]
pub(crate) struct Grown {
    untold: AtomicU64,
    has_grown: AtomicBool,
}

impl Grown {
    /// Counts bytes; the answer is how many were not told yet.
    fn by(&self, bytes: u64) -> u64 {
        self.has_grown.store(true, Ordering::Relaxed);
        let add = |untold: u64| Some(untold.saturating_add(bytes));
        self.untold.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).unwrap_or_else(|untold| untold).saturating_add(bytes)
    }

    /// Adds it to what is known of the store in that directory.
    pub(crate) fn tell(&self, directory: &Path) -> Result<(), Error> {
        let bytes = self.untold.swap(0, Ordering::Relaxed);
        if bytes == 0 {
            return Ok(());
        }
        Tally::lock(directory).and_then(|tally| tally.add(bytes)).inspect_err(|_| {
            self.by(bytes);
        })
    }
}

/// What is known, with the lock under which it changes. No other lock is waited for while it is held.
pub(crate) struct Tally {
    path: PathBuf,
    lock: Lock,
}

/// What a look through all of the store found, and what was added since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    bytes: u64,
    /// When the look began; long ago where none has ended yet.
    looked: Moment,
}

impl Tally {
    pub(crate) fn lock(directory: &Path) -> Result<Tally, Error> {
        let path = directory.join(Place::Locks.name()).join(TALLY.as_str());
        let lock = Lock::exclusive(&path)?;
        Ok(Tally { path, lock })
    }

    /// `None` where nobody has looked, or what was written is torn.
    fn known(&self) -> Result<Option<Known>, Error> {
        let length = self.lock.file().metadata().at("examine", &self.path)?.len();
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default().min(1 << 10)];
        match self.lock.file().read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error).at("read", &self.path),
            Ok(()) | Err(_) => {}
        }
        let Some(record) = record::decode(&TALLY, &key(), &bytes) else { return Ok(None) };
        Ok(record.body.try_into().ok().map(|bytes| Known { bytes: u64::from_le_bytes(bytes), looked: record.written }))
    }

    /// In place: what the power or a full disk tears is not believed. Where nothing can be written nothing is known, rather than too little.
    fn write(&self, known: Known) -> Result<(), Error> {
        let bytes = record::encode(&TALLY, &key(), known.looked, &known.bytes.to_le_bytes());
        let file = self.lock.file();
        match file.write_all_at(&bytes, 0).and_then(|()| file.set_len(bytes.len() as u64)) {
            Ok(()) => Ok(()),
            Err(_) => self.forget(),
        }
    }

    fn forget(&self) -> Result<(), Error> {
        self.lock.file().set_len(0).at("write", &self.path)
    }

    pub(crate) fn add(&self, bytes: u64) -> Result<(), Error> {
        match self.known()? {
            Some(known) if bytes > 0 => self.write(Known { bytes: known.bytes.saturating_add(bytes), ..known }),
            Some(_) | None => Ok(()),
        }
    }
}

/// A look through the store that has begun.
#[derive(Debug)]
pub(crate) struct Look {
    began: Moment,
    /// What was known then.
    bytes: u64,
}

impl Store {
    /// Whether anything was put in through this open store or its clones.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.grown().has_grown.load(Ordering::Relaxed)
    }

    /// Counts an entry of so many bytes in place of one of so many.
    pub(crate) fn grow(&self, bytes: u64, instead_of: u64) {
        if self.grown().by(bytes.saturating_sub(instead_of)) >= TOLD_AT_LATEST_BYTES {
            // What cannot be told is told later.
            let _ = self.tell_growth();
        }
    }

    /// Tells what this open store has put in so far.
    pub(crate) fn tell_growth(&self) -> Result<(), Error> {
        self.grown().tell(self.path())
    }

    /// The bytes of all entries together, or more; `None` where one has to look.
    pub(crate) fn tally(&self) -> Result<Option<u64>, Error> {
        let known = Tally::lock(self.path())?.known()?;
        let now = Moment::now();
        let is_fresh = |known: &Known| known.looked <= now && now.since(known.looked) <= LOOK_IS_STALE_AFTER;
        Ok(known.filter(is_fresh).map(|known| known.bytes))
    }

    /// From here on, what is put in is counted for the look that begins. One that does not come to its end has changed nothing.
    pub(crate) fn begin_look(&self) -> Result<Look, Error> {
        let tally = Tally::lock(self.path())?;
        let began = Moment::now();
        let bytes = if let Some(known) = tally.known()? {
            known.bytes
        } else {
            tally.write(Known { bytes: 0, looked: Moment::from_nanoseconds(0) })?;
            0
        };
        Ok(Look { began, bytes })
    }

    /// Writes down what was found. What was told meanwhile may be in it already and is added nevertheless: it is never too little.
    pub(crate) fn end_look(&self, look: &Look, found: u64) -> Result<(), Error> {
        let tally = Tally::lock(self.path())?;
        // Somebody died meanwhile who had not told what he put in.
        let Some(known) = tally.known()? else { return Ok(()) };
        let meanwhile = known.bytes.saturating_sub(look.bytes);
        tally.write(Known { bytes: found.saturating_add(meanwhile), looked: look.began })
    }

    /// Somebody died who has not told what he put in: one has to look.
    pub(crate) fn forget_tally(&self) -> Result<(), Error> {
        Tally::lock(self.path())?.forget()
    }
}

fn key() -> Fingerprint {
    Fingerprint::of(TALLY.as_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_believed_for_a_day_and_one_of_a_time_to_come_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let now = Moment::now().nanoseconds();
        let day = 24 * 60 * 60 * 1_000_000_000;
        for (looked, is_believed) in [(now, true), (now - day + day / 24, true), (now - day - 1, false), (now + day / 24, false)] {
            let known = Known { bytes: 5, looked: Moment::from_nanoseconds(looked) };
            Tally::lock(store.path()).unwrap().write(known).unwrap();
            assert_eq!(store.tally().unwrap(), is_believed.then_some(5), "{looked}");
        }
    }

    #[test]
    fn what_is_put_in_during_a_look_is_added_to_what_it_finds() {
        let directory = tempfile::tempdir().unwrap();
        let (store, other) = (Store::open(directory.path()).unwrap(), Store::open(directory.path()).unwrap());
        for _ in 0..2 {
            let look = store.begin_look().unwrap();
            other.put_blob(b"plank").unwrap();
            other.put_blob(b"strake").unwrap();
            other.tell_growth().unwrap();
            store.end_look(&look, 1 << 20).unwrap();
            assert_eq!(store.tally().unwrap(), Some((1 << 20) + 2 * 4096));
            store.collect(&crate::Limits { bytes: Some(0), unused_for: None }, &crate::RemoveOwn).unwrap();
            for entry in std::fs::read_dir(store.path().join("blobs/sha256")).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
        let look = store.begin_look().unwrap();
        store.forget_tally().unwrap();
        store.end_look(&look, 1 << 20).unwrap();
        assert_eq!(store.tally().unwrap(), None, "somebody died meanwhile");
    }
}
