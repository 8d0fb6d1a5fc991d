//! Collection: limits in, the least recently used entries gone, what happened out. FORMAT.md, "Collection".

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Moment;
use crate::error::Error;
use crate::lock::Lock;
use crate::mount::Measuring;
use crate::name::Shelf;
use crate::remove::RemoveTree;
use crate::store::{Place, Store};
use crate::usage::{Count, Entry, Usage, list};

/// So many entries are taken away before builds may look something up again.
const ENTRIES_PER_BREATH: usize = 64;

/// What a store may hold after a collection, apart from what is in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all entries together; `None` for any number.
    pub bytes: Option<u64>,
    /// The longest time since the last use; `None` for any.
    pub unused_for: Option<Duration>,
}

/// What a collection did.
#[derive(Debug, Default)]
pub struct Collected {
    /// What was taken away. Misses from now on, even where a removal failed.
    pub removed: Usage,
    /// What stayed, whether in use or within the limits.
    pub remaining: Count,
    /// What the limits would have taken away, were it not in use; a part of `remaining`.
    pub in_use: Count,
    /// What could not be removed; it stays in the trash for the next time.
    pub failures: Vec<NotRemoved>,
}

/// A path in the trash that could not be removed, or an entry that could not be moved there.
#[derive(Debug)]
pub struct NotRemoved {
    /// Where it is.
    pub path: PathBuf,
    /// Why it is still there.
    pub source: io::Error,
}

/// How much more than needed is taken away.
#[derive(Debug, Clone, Copy)]
enum Room {
    None,
    ATenth,
}

impl Room {
    fn within(self, limits: &Limits, bytes: u64) -> Limits {
        let most = match (self, limits.bytes) {
            (Room::ATenth, Some(most)) if bytes > most => Some(most.saturating_sub(most / 10)),
            (Room::None | Room::ATenth, most) => most,
        };
        Limits { bytes: most, ..*limits }
    }
}

struct Candidate {
    last_use: Moment,
    bytes: u64,
    entry: Entry,
}

impl Store {
    /// Takes away what has not been used for too long, then the least recently used until the rest is within the bound, and
    /// empties the trash. What an open store of a live process has used (this one included) stays.
    ///
    /// Waits for a collection that another process has under way, but does not help it to empty the trash.
    ///
    /// # Errors
    /// Only what the system answers where the store itself is concerned; a failing removal is in [`Collected::failures`].
    pub fn collect(&self, limits: &Limits, remover: &dyn RemoveTree) -> Result<Collected, Error> {
        let one_at_a_time = Lock::exclusive(&self.lock_path("collect"))?;
        self.look_through(one_at_a_time, limits, Room::None, remover)
    }

    /// What a build does at its end. As [`Store::collect`], but looks through the store only where it may be over the bound: as long as
    /// what the last look found, and what was put in since, are below it, this costs nothing that grows with the store, and the answer
    /// is `None`. Where it is over, a tenth more than needed is taken away, so that there is room for the next builds.
    ///
    /// # Errors
    /// As [`Store::collect`].
    pub fn tidy(&self, limits: &Limits, remover: &dyn RemoveTree) -> Result<Option<Collected>, Error> {
        if self.may_be_over(limits) {
            let one_at_a_time = Lock::exclusive(&self.lock_path("collect"))?;
            // Who had the lock may have done it.
            if self.may_be_over(limits) {
                return self.look_through(one_at_a_time, limits, Room::ATenth, remover).map(Some);
            }
        }
        // What cannot be removed stays there for the next time.
        self.empty_trash(remover)?;
        // Last, because it needs space on the disk.
        let _ = self.tell_unsettled();
        let _ = self.settle_what_is_due();
        Ok(None)
    }

    /// Ages are not known without a look. Where it fails to be found out how much there is, one looks, too: a full disk may be why.
    fn may_be_over(&self, limits: &Limits) -> bool {
        if limits.unused_for.is_some() {
            return true;
        }
        // Without a bound one still looks now and then, for what somebody who died has kept.
        let most = limits.bytes.unwrap_or(u64::MAX);
        let tally = self.tell_growth().and_then(|()| self.measure_used_mounts()).and_then(|()| self.tally());
        tally.map_or(true, |tally| tally.is_none_or(|bytes| bytes > most))
    }

    fn look_through(&self, one_at_a_time: Lock, limits: &Limits, room: Room, remover: &dyn RemoveTree) -> Result<Collected, Error> {
        let mut collected = Collected::default();
        self.sweep(&self.taking_away()?)?;
        // What it needs for itself must not keep it from making room.
        let _ = self.tell_growth();
        // What they have grown by is told before the look begins, in which it is found.
        let _ = self.measure_used_mounts();
        let look = self.begin_look();
        let notes = self.notes_that_are_due().unwrap_or_default();
        let kept = self.take_away(limits, room, &mut collected)?;
        if let Ok(look) = look {
            let _ = self.end_look(&look, collected.remaining.bytes);
        }
        drop(one_at_a_time);
        collected.failures.extend(self.empty_trash(remover)?);
        // Last, because it needs space on the disk. What could not be settled is only believed for less long.
        let _ = self.settle(&kept, &notes);
        Ok(collected)
    }

    /// Deletes what waits for it, unless somebody else does already: with it what killed processes have left, once an open has found the
    /// store idle.
    ///
    /// # Errors
    /// Only what the system answers where the store itself is concerned; failing removals are given back.
    pub fn empty_trash(&self, remover: &dyn RemoveTree) -> Result<Vec<NotRemoved>, Error> {
        let mut failures = Vec::new();
        if let Some(_one_at_a_time) = Lock::try_exclusive(&self.lock_path("trash"))? {
            for (_, path) in list(&self.place(Place::Trash))? {
                if let Err(source) = remover.remove_tree(&path) {
                    failures.push(NotRemoved { path, source });
                }
            }
        }
        Ok(failures)
    }

    /// The answer is all kept directories, whether they have stayed or not.
    fn take_away(&self, limits: &Limits, room: Room, collected: &mut Collected) -> Result<Vec<(Shelf, String)>, Error> {
        let mut candidates = self.candidates()?;
        let kept = candidates.iter().filter_map(|candidate| candidate.entry.as_kept()).collect();
        candidates.sort_by(|a, b| (a.last_use, &a.entry).cmp(&(b.last_use, &b.entry)));
        for candidate in &candidates {
            collected.remaining.add(candidate.bytes);
        }
        let limits = &room.within(limits, collected.remaining.bytes);
        let now = Moment::now();
        for breath in candidates.chunks(ENTRIES_PER_BREATH) {
            if breath.first().is_none_or(|first| !is_over(limits, now, first.last_use, &collected.remaining)) {
                break;
            }
            let alone = self.taking_away()?;
            let in_use_since = self.in_use_since(&alone)?;
            for Candidate { last_use, bytes, entry } in breath {
                if !is_over(limits, now, *last_use, &collected.remaining) {
                    return Ok(kept);
                }
                // Read again: it may have been used since it was listed.
                let last_use = entry.last_use(self)?;
                if last_use.is_some_and(|last_use| last_use >= in_use_since) {
                    collected.in_use.add(*bytes);
                    continue;
                }
                match self.take_one_away(entry) {
                    Ok(()) => {
                        collected.removed.of_mut(entry.kind()).add(*bytes);
                        collected.remaining.entries = collected.remaining.entries.saturating_sub(1);
                        collected.remaining.bytes = collected.remaining.bytes.saturating_sub(*bytes);
                    }
                    Err(error) => {
                        collected.failures.push(NotRemoved { path: entry.path(self), source: error.into_io() });
                    }
                }
            }
        }
        Ok(kept)
    }

    /// All entries that can be believed; kept directories that cannot are thrown away.
    fn candidates(&self) -> Result<Vec<Candidate>, Error> {
        let mut candidates = Vec::new();
        for entry in self.listing()?.entries {
            if let Entry::Kept(shelf, name) = &entry
                && self.discard_kept_unless(shelf, name, |_, _| Ok(true))?
            {
                continue;
            }
            let (last_use, bytes) = match &entry {
                Entry::Mount(name) => {
                    let last_use = entry.last_use(self)?;
                    // What cannot be written down is no hindrance.
                    (last_use, self.measure_mount(name, Measuring::InALook).or_else(|_| entry.bytes(self))?)
                }
                Entry::Blob(_) | Entry::Record(..) | Entry::Kept(..) => entry.last_use_and_bytes(self)?,
            };
            // Without the file that tells it, the last use was long ago.
            let last_use = last_use.unwrap_or(Moment::from_nanoseconds(0));
            candidates.push(Candidate { last_use, bytes, entry });
        }
        Ok(candidates)
    }

    fn take_one_away(&self, entry: &Entry) -> Result<(), Error> {
        self.to_trash(&entry.path(self))?;
        if let Entry::Blob(digest) = entry {
            self.forget_size(digest)?;
        }
        Ok(())
    }
}

/// Whether the least recently used entry has to go.
fn is_over(limits: &Limits, now: Moment, last_use: Moment, remaining: &Count) -> bool {
    limits.unused_for.is_some_and(|longest| now.since(last_use) > longest) || limits.bytes.is_some_and(|most| remaining.bytes > most)
}
