//! The open store: a directory in, a value that everything else hangs on out.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::clock::{Boot, Moment};
use crate::error::{At, Error, Existing};
use crate::lease::{Lease, census};
use crate::lock::Lock;
use crate::marker;
use crate::measure::in_blocks;
use crate::settle::Unsettled;
use crate::tally::Grown;

/// A last use that is older than this is refreshed even if a live lease protects the entry already.
const USE_IS_STALE_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

const OCI_LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";
const OCI_INDEX: &str = "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}";

/// An open store. Clones share one lease; several processes, and several values in one process, may have the same
/// directory open.
///
/// What is used through an open store stays until its last clone is dropped, whoever collects. So open one per build
/// and drop it.
#[derive(Debug, Clone)]
pub struct Store(Arc<Open>);

#[derive(Debug)]
struct Open {
    directory: PathBuf,
    boot: Option<Boot>,
    lease: Lease,
    counter: AtomicU64,
    grown: Grown,
    unsettled: Unsettled,
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.grown.tell(&self.directory).is_err() {
            self.lease.leave_behind();
        }
        // What is not named is found by the next look through the store.
        let _ = self.unsettled.tell(&self.directory, self.lease.id());
    }
}

/// The fixed directories of a store.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Blobs,
    Sizes,
    Records,
    Kept,
    Mounts,
    Scratch,
    Trash,
    Leases,
    Locks,
    Unsettled,
}

impl Place {
    /// Those that an open store has. The others are made when something is put there: on a full disk a store must be had to collect.
    const ALL: [Place; 9] =
        [Place::Blobs, Place::Sizes, Place::Records, Place::Kept, Place::Mounts, Place::Scratch, Place::Trash, Place::Leases, Place::Locks];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Place::Blobs => "blobs/sha256",
            Place::Sizes => "sizes",
            Place::Records => "records",
            Place::Kept => "kept",
            Place::Mounts => "mounts",
            Place::Scratch => "scratch",
            Place::Trash => "trash",
            Place::Leases => "leases",
            Place::Locks => "locks",
            Place::Unsettled => "unsettled",
        }
    }
}

impl Store {
    /// Opens the store in a directory, and creates both where they do not exist.
    ///
    /// Scratch directories that dead processes left are moved to the trash. A damaged marker is written anew: every entry
    /// says by itself whether it can be believed.
    ///
    /// # Errors
    /// [`Error::Newer`] for the store of a newer lapstrake, [`Error::NotAStore`] for a directory with other contents, else
    /// what the system answers.
    pub fn open(directory: &Path) -> Result<Store, Error> {
        Store::open_within(directory, Boot::current())
    }

    pub(crate) fn open_within(directory: &Path, boot: Option<Boot>) -> Result<Store, Error> {
        marker::prepare(directory)?;
        let directory = fs::canonicalize(directory).at("find", directory)?;
        for place in Place::ALL {
            create_directory(&directory.join(place.name()))?;
        }
        let entries = directory.join(Place::Locks.name()).join("entries");
        let using = Lock::shared(&entries)?;
        let lease = Lease::take(&directory.join(Place::Leases.name()), &directory.join(Place::Scratch.name()))?;
        drop(using);
        let store = Store(Arc::new(Open {
            directory,
            boot,
            lease,
            counter: AtomicU64::new(0),
            grown: Grown::default(),
            unsettled: Unsettled::default(),
        }));
        store.write_if_missing("oci-layout", OCI_LAYOUT)?;
        store.write_if_missing("index.json", OCI_INDEX)?;
        store.sweep_when_idle()?;
        Ok(store)
    }

    /// The directory of the store, absolute and without symbolic links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.directory
    }

    pub(crate) fn place(&self, place: Place) -> PathBuf {
        self.0.directory.join(place.name())
    }

    pub(crate) fn boot(&self) -> Option<&Boot> {
        self.0.boot.as_ref()
    }

    pub(crate) fn grown(&self) -> &Grown {
        &self.0.grown
    }

    pub(crate) fn unsettled(&self) -> &Unsettled {
        &self.0.unsettled
    }

    pub(crate) fn lease_id(&self) -> &str {
        self.0.lease.id()
    }

    /// Held while an entry is looked up and marked: nothing is taken away or replaced meanwhile.
    pub(crate) fn using(&self) -> Result<Lock, Error> {
        Lock::shared(&self.lock_path("entries"))
    }

    /// Held while entries are taken away or replaced: nobody looks anything up meanwhile.
    pub(crate) fn taking_away(&self) -> Result<Lock, Error> {
        Lock::exclusive(&self.lock_path("entries"))
    }

    pub(crate) fn lock_path(&self, name: &str) -> PathBuf {
        self.place(Place::Locks).join(name)
    }

    /// A path in this process's scratch directory that nothing has yet.
    pub(crate) fn fresh_path(&self) -> Result<PathBuf, Error> {
        Ok(self.0.lease.scratch()?.join(self.count().to_string()))
    }

    fn count(&self) -> u64 {
        self.0.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// The moment that a use now is written down as: never before the lease, even if the clock went back.
    pub(crate) fn moment_of_use(&self) -> Moment {
        Moment::now().max(self.0.lease.start())
    }

    /// Writes down that an entry is used, once per lease and day: the file's modification time is its last use.
    pub(crate) fn mark(&self, file: &File, metadata: &Metadata, path: &Path) -> Result<(), Error> {
        let last = Moment::modified(metadata);
        let use_ = self.moment_of_use();
        if last < self.0.lease.start() || use_.since(last) > USE_IS_STALE_AFTER {
            use_.set_modified(file).at("set the time of", path)?;
        }
        Ok(())
    }

    /// Writes a small file that is there whole or not at all, where nobody marks uses or with the entries lock held
    /// exclusively. It may be lost with the power; its reader must notice that.
    pub(crate) fn write_whole(&self, path: &Path, bytes: &[u8], used: Moment) -> Result<(), Error> {
        self.write_fresh(
            path,
            |file| file.write_all(bytes),
            |file, fresh| {
                used.set_modified(file).at("set the time of", path)?;
                fs::rename(fresh, path).at("write", path)
            },
        )
    }

    /// Writes an entry that is there whole or not at all, in place of any earlier one.
    pub(crate) fn write_entry(&self, path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Error> {
        self.write_fresh(path, write, |file, fresh| self.put_in_place(file, fresh, path))
    }

    fn write_fresh(
        &self,
        path: &Path,
        write: impl FnOnce(&mut File) -> io::Result<()>,
        put: impl FnOnce(&File, &Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let fresh = self.fresh_path()?;
        let mut file = OpenOptions::new().write(true).create_new(true).open(&fresh).at("write", path)?;
        let written = write(&mut file).at("write", path).and_then(|()| put(&file, &fresh));
        if written.is_err() {
            // What stays is in the scratch directory, where nobody believes it.
            let _ = fs::remove_file(&fresh);
        }
        written
    }

    /// Gives a new file the place of an entry, used now. The uses of an earlier one there are not forgotten: who has marked it
    /// counts on finding an entry.
    pub(crate) fn put_in_place(&self, file: &File, fresh: &Path, path: &Path) -> Result<(), Error> {
        let _alone = self.taking_away()?;
        let earlier = fs::symlink_metadata(path).if_exists().at("examine", path)?;
        let used = self.moment_of_use();
        let used = earlier.as_ref().map_or(used, |earlier| used.max(Moment::modified(earlier)));
        used.set_modified(file).at("set the time of", fresh)?;
        let bytes = file.metadata().at("examine", fresh)?.len();
        fs::rename(fresh, path).at("write", path)?;
        self.grow(in_blocks(bytes), earlier.map_or(0, |earlier| in_blocks(earlier.len())));
        Ok(())
    }

    fn write_if_missing(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.path().join(name);
        match fs::metadata(&path).if_exists().at("examine", &path)? {
            Some(metadata) if metadata.len() > 0 => Ok(()),
            Some(_) | None => self.write_whole(&path, text.as_bytes(), Moment::now()),
        }
    }

    /// Renames something into the trash; `false` if it was gone already. It needs no space on the disk.
    pub(crate) fn to_trash(&self, path: &Path) -> Result<bool, Error> {
        loop {
            let bin = self.place(Place::Trash).join(format!("{}-{}", self.0.lease.id(), self.count()));
            match renameat_with(CWD, path, CWD, &bin, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(true),
                // A dead process of the same number was here.
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => return Ok(false),
                // Some file systems cannot refuse to replace.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    if fs::symlink_metadata(&bin).if_exists().at("examine", &bin)?.is_none() {
                        return Ok(fs::rename(path, &bin).if_exists().at("move to the trash", path)?.is_some());
                    }
                }
                Err(error) => return Err(error).at("move to the trash", path),
            }
        }
    }

    /// Moves the scratch directories of dead processes to the trash, unless somebody is busy with entries.
    fn sweep_when_idle(&self) -> Result<(), Error> {
        let scratches = self.place(Place::Scratch);
        let census = census(&self.place(Place::Leases))?;
        let mut is_clean = census.dead.is_empty();
        for entry in fs::read_dir(&scratches).at("list", &scratches)? {
            let name = entry.at("list", &scratches)?.file_name();
            is_clean &= census.live.iter().any(|live| name == live.as_str());
        }
        if is_clean {
            return Ok(());
        }
        match Lock::try_exclusive(&self.lock_path("entries"))? {
            Some(alone) => self.sweep(&alone),
            None => Ok(()),
        }
    }

    /// Moves the scratch directories of dead processes to the trash, and forgets their leases.
    pub(crate) fn sweep(&self, _alone: &Lock) -> Result<(), Error> {
        let leases = self.place(Place::Leases);
        let census = census(&leases)?;
        let scratches = self.place(Place::Scratch);
        for entry in fs::read_dir(&scratches).at("list", &scratches)? {
            let entry = entry.at("list", &scratches)?;
            if !census.live.iter().any(|live| entry.file_name() == live.as_str()) {
                self.to_trash(&entry.path())?;
            }
        }
        // As long as it is believed that everything is counted, the dead stay where everybody sees them.
        let dead = if census.dead.is_empty() || self.forget_tally().is_ok() { census.dead } else { Vec::new() };
        for id in dead {
            let path = leases.join(id);
            fs::remove_file(&path).if_exists().at("remove", &path)?;
        }
        Ok(())
    }

    /// What was last used at this moment or later is in use. `alone` is the entries lock, so that no lease begins meanwhile.
    pub(crate) fn in_use_since(&self, _alone: &Lock) -> Result<Moment, Error> {
        let earliest = census(&self.place(Place::Leases))?.earliest_start;
        Ok(earliest.unwrap_or(self.0.lease.start()).min(self.0.lease.start()))
    }
}

/// Creates one directory of the store where it is missing.
pub(crate) fn create_directory(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).at("create", path)
}
