//! Settling: what was kept is written to disk, once it has been there for a while, and outlasts the boot. FORMAT.md, "Kept directories"
//! and "Tidying".
//!
//! In go the names that each process leaves of what it has kept, so that nobody looks through all of the store for them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Moment;
use crate::directory::{Durability, KeptRecord, decode, encode, key_of};
use crate::error::{At, Error, Existing};
use crate::fingerprint::Fingerprint;
use crate::name::{self, Shelf};
use crate::record::{self, Reader};
use crate::store::{Place, Store, create_directory};
use crate::usage::list;

/// By then the kernel has written by itself what was kept, so settling waits for little.
const SETTLE_AFTER: Duration = Duration::from_secs(5 * 60);

const UNSETTLED: Shelf = Shelf::named("unsettled");

/// What this open store has kept, and has not written down yet.
#[derive(Debug, Default)]
pub(crate) struct Unsettled(Mutex<BTreeSet<(Shelf, String)>>);

impl Unsettled {
    pub(crate) fn add(&self, shelf: &Shelf, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((shelf.clone(), name.to_owned()));
    }

    /// Leaves the names for whoever tidies the store after a while. One that is lost is found by the next look through all of it.
    pub(crate) fn tell(&self, directory: &Path, lease: &str) -> Result<(), Error> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_empty() {
            return Ok(());
        }
        let now = Moment::now();
        let place = directory.join(Place::Unsettled.name());
        create_directory(&place)?;
        let path = place.join(format!("{}-{lease}", now.nanoseconds()));
        let mut body = Vec::new();
        for name in kept.iter().flat_map(|(shelf, name)| [shelf.as_str(), name]) {
            // Names have at most 200 bytes.
            body.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            body.extend_from_slice(name.as_bytes());
        }
        fs::write(&path, record::encode(&UNSETTLED, &key(), now, &body)).at("write", &path)?;
        kept.clear();
        Ok(())
    }
}

/// Names that a process has left, long enough ago.
pub(crate) struct Note(PathBuf);

impl Note {
    /// What is damaged names nothing.
    fn names(&self) -> Vec<(Shelf, String)> {
        let record = fs::read(&self.0).ok().and_then(|bytes| record::decode(&UNSETTLED, &key(), &bytes));
        let Some(record) = record else { return Vec::new() };
        let mut reader = Reader(&record.body);
        let mut next = || {
            let [length] = *reader.take::<1>()?;
            std::str::from_utf8(reader.slice(usize::from(length))?).ok()
        };
        let mut names = Vec::new();
        while let (Some(shelf), Some(name)) = (next(), next()) {
            if let Ok(shelf) = Shelf::new(shelf)
                && name::check(name).is_ok()
            {
                names.push((shelf, name.to_owned()));
            }
        }
        names
    }
}

impl Store {
    /// Leaves the names of what this open store has kept so far.
    pub(crate) fn tell_unsettled(&self) -> Result<(), Error> {
        self.unsettled().tell(self.path(), self.lease_id())
    }

    /// Settles what processes have left the names of, where that is long enough ago.
    pub(crate) fn settle_what_is_due(&self) -> Result<(), Error> {
        let due = self.notes_that_are_due()?;
        let kept: Vec<_> = due.iter().flat_map(Note::names).collect();
        self.settle(&kept, &due)
    }

    /// The notes of all who have left one so long ago that what they name is due. What is no note, or of a time to come, is among them, so that it
    /// goes.
    pub(crate) fn notes_that_are_due(&self) -> Result<Vec<Note>, Error> {
        Ok(self.notes()?.0)
    }

    /// Those that are due, and those that are not.
    fn notes(&self) -> Result<(Vec<Note>, Vec<Note>), Error> {
        let now = Moment::now();
        let is_due = |name: Option<&str>| {
            let left =
                name.and_then(|name| name.split_once('-')?.0.parse().ok()).map_or(Moment::from_nanoseconds(0), Moment::from_nanoseconds);
            left > now || now.since(left) >= SETTLE_AFTER
        };
        let (due, others): (Vec<_>, Vec<_>) =
            list(&self.place(Place::Unsettled))?.into_iter().partition(|(name, _)| is_due(name.as_deref()));
        let notes = |listed: Vec<(Option<String>, PathBuf)>| listed.into_iter().map(|(_, path)| Note(path)).collect();
        Ok((notes(due), notes(others)))
    }

    /// Makes kept directories that have been there for a while outlast this boot, and takes the notes away that name some of them. Those that
    /// have not been there for long are left the names of once more.
    pub(crate) fn settle(&self, kept: &[(Shelf, String)], notes: &[Note]) -> Result<(), Error> {
        let now = Moment::now();
        let (mut unsettled, mut young) = (Vec::new(), Vec::new());
        for one in kept {
            let (shelf, name) = one;
            let path = self.kept_record_path(shelf, name);
            let Some(bytes) = fs::read(&path).if_exists().at("read", &path)? else { continue };
            let Some(record) = record::decode(shelf, &key_of(shelf, name), &bytes) else { continue };
            let Some(body) = decode(&record.body) else { continue };
            if body.durability == Durability::Settled || !self.is_believed(&body) {
                continue;
            }
            if now.since(record.written) >= SETTLE_AFTER {
                unsettled.push((shelf, name, record.written, body));
            } else {
                young.push(one);
            }
        }
        if !unsettled.is_empty() {
            self.settle_these(unsettled)?;
        }
        if !young.is_empty() {
            let named: BTreeSet<(Shelf, String)> = self.notes()?.1.iter().flat_map(Note::names).collect();
            for (shelf, name) in young.into_iter().filter(|young| !named.contains(young)) {
                self.unsettled().add(shelf, name);
            }
            self.tell_unsettled()?;
        }
        for Note(path) in notes {
            // One that cannot be removed names what is settled by then.
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    fn settle_these(&self, unsettled: Vec<(&Shelf, &String, Moment, KeptRecord)>) -> Result<(), Error> {
        self.sync()?;
        let _alone = self.taking_away()?;
        for (shelf, name, written, body) in unsettled {
            let path = self.kept_record_path(shelf, name);
            // Another process may have taken it away and kept a new one, which was not synced.
            if self.kept_record(shelf, name)?.as_ref() != Some(&body) {
                continue;
            }
            let used = Moment::modified(&fs::metadata(&path).at("examine", &path)?);
            let settled = KeptRecord { durability: Durability::Settled, ..body };
            let bytes = record::encode(shelf, &key_of(shelf, name), written, &encode(&settled));
            self.write_whole(&path, &bytes, used)?;
        }
        Ok(())
    }
}

fn key() -> Fingerprint {
    Fingerprint::of(UNSETTLED.as_str().as_bytes())
}
