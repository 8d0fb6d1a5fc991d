//! Cache mounts: a name in, a directory out that lives long and changes, with a lock beside it. FORMAT.md, "Cache mounts".

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::clock::Moment;
use crate::directory::{Scratch, is_directory, is_taken};
use crate::error::{At, Error, Existing};
use crate::fingerprint::Fingerprint;
use crate::lock::Lock;
use crate::measure::{in_blocks, measure};
use crate::name::{self, Shelf};
use crate::record;
use crate::store::{Place, Store, create_directory};
use crate::tally::Tally;
use crate::usage::list;

pub(crate) const DATA: &str = "data";
/// The directory of a scratch directory that [`Store::begin_cache_mount`] takes.
pub const BEGINNING: &str = DATA;
pub(crate) const LOCK: &str = "lock";
/// What is in it took so much when it was last looked at.
const SIZE: &str = "size";
const SIZES: Shelf = Shelf::named("mount-sizes");

/// A directory that steps of several builds write into. What is in it is the business of the tools that use it.
///
/// It counts as in use as long as the store it came from is open.
#[derive(Debug)]
pub struct CacheMount {
    path: PathBuf,
    lock: PathBuf,
    store: Store,
}

/// What a cache mount is measured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measuring {
    /// It was used, and may have grown.
    AfterUse,
    /// All of the store is looked through.
    InALook,
}

/// What measuring a cache mount has found.
#[derive(Debug, Clone, Copy)]
struct Measured {
    began: Moment,
    /// The directory that was measured.
    which: Option<(u64, u64)>,
    bytes: u64,
}

/// A lock on a cache mount; dropped, it is released. The kernel releases it if the process dies.
#[derive(Debug)]
pub struct MountLock {
    _lock: Lock,
}

impl Store {
    /// The cache mount of a name, created empty where it does not exist, marked as used.
    ///
    /// # Errors
    /// [`Error::InvalidName`] (names that users choose are best given as their fingerprint), else what the system answers.
    pub fn cache_mount(&self, name: &str) -> Result<CacheMount, Error> {
        name::check(name)?;
        let top = self.place(Place::Mounts).join(name);
        let _using = self.using()?;
        create_directory(&top.join(DATA))?;
        self.marked_mount(&top)
    }

    /// The cache mount of a name where there is one, marked as used.
    ///
    /// # Errors
    /// [`Error::InvalidName`], else what the system answers.
    pub fn find_cache_mount(&self, name: &str) -> Result<Option<CacheMount>, Error> {
        name::check(name)?;
        let top = self.place(Place::Mounts).join(name);
        let _using = self.using()?;
        if is_directory(&top.join(DATA))? { self.marked_mount(&top).map(Some) } else { Ok(None) }
    }

    /// The cache mount of a name. Where there is none, it begins with the directory [`BEGINNING`] of `scratch`, all at once; else that goes
    /// to the trash.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::NotInside`] without such a directory, else what the system answers.
    pub fn begin_cache_mount(&self, scratch: Scratch, name: &str) -> Result<CacheMount, Error> {
        name::check(name)?;
        let inside = scratch.path();
        if !is_directory(&inside.join(DATA))? {
            return Err(Error::NotInside { inner: DATA.into(), scratch: inside.to_path_buf() });
        }
        let lock = inside.join(LOCK);
        OpenOptions::new().write(true).create(true).truncate(false).open(&lock).at("open", &lock)?;
        let mounts = self.place(Place::Mounts);
        create_directory(&mounts)?;
        let top = mounts.join(name);
        let _using = self.using()?;
        // It is never empty, so that nothing takes the place of one that is there.
        match fs::rename(inside, &top) {
            Err(error) if !is_taken(&error) => Err(error).at("keep", &top),
            Ok(()) | Err(_) => self.marked_mount(&top),
        }
    }

    /// Measures the cache mounts that were used since they were measured, and adds what they have grown by to what is known of the store.
    pub(crate) fn measure_used_mounts(&self) -> Result<(), Error> {
        for (name, top) in list(&self.place(Place::Mounts))? {
            let Some(name) = name.filter(|name| name::check(name).is_ok()) else { continue };
            let time = |file: &str| {
                let path = top.join(file);
                let metadata = fs::symlink_metadata(&path).if_exists().at("examine", &path)?;
                Ok::<_, Error>(metadata.map(|metadata| Moment::modified(&metadata)))
            };
            // Without a lock it was never used, nor finished.
            if let Some(used) = time(LOCK)?
                && time(SIZE)?.is_none_or(|measured| used >= measured || measured > Moment::now())
            {
                self.measure_mount(&name, Measuring::AfterUse)?;
            }
        }
        Ok(())
    }

    /// Measures a cache mount, writes down beside it what it took when that began, and adds to the tally what it has grown by. The
    /// answer is what it counts as. That it has become less a look alone writes down: what swings is counted once for each look.
    pub(crate) fn measure_mount(&self, name: &str, measuring: Measuring) -> Result<u64, Error> {
        let top = self.place(Place::Mounts).join(name);
        let measured = Measured { began: Moment::now(), which: identity(&top)?, bytes: measure(&top)?.bytes };
        self.note_mount_size(name, measured, measuring)
    }

    fn note_mount_size(&self, name: &str, measured: Measured, measuring: Measuring) -> Result<u64, Error> {
        let top = self.place(Place::Mounts).join(name);
        let Measured { began, which, bytes } = measured;
        // Read, written and added in one: others measure too.
        let tally = Tally::lock(self.path())?;
        if which.is_none() || identity(&top)? != which {
            // It was taken away meanwhile, and what has its name is another.
            return Ok(bytes);
        }
        let path = top.join(SIZE);
        let before = fs::read(&path).if_exists().at("read", &path)?.and_then(|bytes| record::decode(&SIZES, &size_key(name), &bytes));
        // What says it takes a block, too.
        let bytes = if before.is_none() { bytes.saturating_add(in_blocks(0)) } else { bytes };
        let is_later = before.as_ref().is_some_and(|before| before.written > began && before.written <= Moment::now());
        let known = before.and_then(|before| before.body.try_into().ok()).map_or(0, u64::from_le_bytes);
        if is_later {
            return Ok(known.max(bytes));
        }
        tally.add(bytes.saturating_sub(known))?;
        let size = match measuring {
            Measuring::AfterUse => known.max(bytes),
            Measuring::InALook => bytes,
        };
        // It may belong to somebody else, or the disk be full; then it is measured again, and counts as before if it has become less.
        let written = self.write_whole(&path, &record::encode(&SIZES, &size_key(name), began, &size.to_le_bytes()), began);
        if identity(&top).ok() != Some(which) {
            // It was taken away just now. Nobody else has written this, who would have to wait for the tally.
            let _ = fs::remove_file(&path);
        }
        Ok(if written.is_ok() { bytes } else { known.max(bytes) })
    }

    fn marked_mount(&self, top: &Path) -> Result<CacheMount, Error> {
        let (path, lock) = (top.join(DATA), top.join(LOCK));
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&lock).at("open", &lock)?;
        self.mark(&file, &file.metadata().at("examine", &lock)?, &lock)?;
        Ok(CacheMount { path, lock, store: self.clone() })
    }
}

impl Drop for CacheMount {
    /// Until now it was used: whoever measured it meanwhile has not seen all.
    fn drop(&mut self) {
        // It is in use, and so it is there.
        let _ = File::options().write(true).open(&self.lock).and_then(|lock| self.store.moment_of_use().set_modified(&lock));
    }
}

impl CacheMount {
    /// The directory, absolute. Its owner and mode may be changed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until nobody else has a lock on this mount.
    ///
    /// # Errors
    /// Only what the system answers.
    pub fn lock_exclusive(&self) -> Result<MountLock, Error> {
        Ok(MountLock { _lock: Lock::exclusive(&self.lock)? })
    }

    /// Waits until nobody else has this mount for himself.
    ///
    /// # Errors
    /// Only what the system answers.
    pub fn lock_shared(&self) -> Result<MountLock, Error> {
        Ok(MountLock { _lock: Lock::shared(&self.lock)? })
    }

    /// The lock if nobody has this mount for himself; `None` at once otherwise.
    ///
    /// # Errors
    /// Only what the system answers.
    pub fn try_lock_shared(&self) -> Result<Option<MountLock>, Error> {
        Ok(Lock::try_shared(&self.lock)?.map(|lock| MountLock { _lock: lock }))
    }

    /// The lock if nobody else has one on this mount; `None` at once otherwise.
    ///
    /// # Errors
    /// Only what the system answers.
    pub fn try_lock_exclusive(&self) -> Result<Option<MountLock>, Error> {
        Ok(Lock::try_exclusive(&self.lock)?.map(|lock| MountLock { _lock: lock }))
    }
}

/// Which directory it is; `None` where there is none.
fn identity(top: &Path) -> Result<Option<(u64, u64)>, Error> {
    let metadata = fs::symlink_metadata(top).if_exists().at("examine", top)?;
    Ok(metadata.map(|metadata| (metadata.dev(), metadata.ino())))
}

fn size_key(name: &str) -> Fingerprint {
    Fingerprint::of(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(store: &Store, text: &str) -> CacheMount {
        let scratch = store.scratch().unwrap();
        fs::create_dir(scratch.path().join(BEGINNING)).unwrap();
        fs::write(scratch.path().join(BEGINNING).join("file"), text).unwrap();
        store.begin_cache_mount(scratch, "pip").unwrap()
    }

    #[test]
    fn a_mount_begins_once() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert!(store.find_cache_mount("pip").unwrap().is_none());
        let first = begin(&store, "first");
        fs::remove_file(first.path().join("file")).unwrap();
        let second = begin(&store, "second");
        assert_eq!(second.path(), first.path());
        assert!(!second.path().join("file").exists(), "what is in it is the business of those who use it");
        assert_eq!(store.find_cache_mount("pip").unwrap().unwrap().path(), first.path());
        assert_eq!(store.cache_mount("pip").unwrap().path(), first.path());
    }

    fn opened_twice() -> (tempfile::TempDir, Store, Store) {
        let directory = tempfile::tempdir().unwrap();
        let (store, other) = (Store::open(directory.path()).unwrap(), Store::open(directory.path()).unwrap());
        (directory, store, other)
    }

    /// Uses a mount, whose file takes so much then.
    fn use_and_fill(store: &Store, bytes: u64) {
        fill(&store.cache_mount("pip").unwrap(), bytes);
    }

    /// The tally is never less than this.
    fn is_counted(store: &Store) -> bool {
        store.tally().unwrap().unwrap() >= in_entries(store)
    }

    /// What is written to a mount, in a file that takes so much.
    fn fill(mount: &CacheMount, bytes: u64) {
        File::create(mount.path().join("file")).unwrap().set_len(bytes).unwrap();
    }

    fn measured(store: &Store) -> Measured {
        let top = store.place(Place::Mounts).join("pip");
        Measured { began: Moment::now(), which: identity(&top).unwrap(), bytes: measure(&top).unwrap().bytes }
    }

    fn in_entries(store: &Store) -> u64 {
        store.usage().unwrap().mounts.bytes
    }

    #[test]
    fn a_mount_that_two_measure_at_once_counts_as_what_the_later_found() {
        let (_directory, store, other) = opened_twice();
        let mount = store.cache_mount("pip").unwrap();
        fill(&mount, 8 << 20);
        store.collect(&crate::Limits::default(), &crate::RemoveOwn).unwrap();
        fill(&mount, 0);
        let look = store.begin_look().unwrap();
        let early = measured(&store);
        fill(&mount, 4 << 20);
        drop(mount);
        other.note_mount_size("pip", measured(&other), Measuring::AfterUse).unwrap();
        let counts = store.note_mount_size("pip", early, Measuring::InALook).unwrap();
        store.end_look(&look, counts).unwrap();
        other.measure_used_mounts().unwrap();
        assert!(is_counted(&store));
    }

    #[test]
    fn what_was_measured_of_a_mount_that_went_is_not_said_of_the_next_of_its_name() {
        let (_directory, store, other) = opened_twice();
        use_and_fill(&store, 8 << 20);
        let early = measured(&other);
        store.to_trash(&store.place(Place::Mounts).join("pip")).unwrap();
        let mount = store.cache_mount("pip").unwrap();
        other.note_mount_size("pip", early, Measuring::AfterUse).unwrap();
        let look = store.begin_look().unwrap();
        store.end_look(&look, in_entries(&store)).unwrap();
        fill(&mount, 7 << 20);
        drop(mount);
        other.measure_used_mounts().unwrap();
        assert!(is_counted(&store));
    }

    #[test]
    fn a_mount_whose_lower_size_cannot_be_written_counts_as_before() {
        let (_directory, store, other) = opened_twice();
        let limits = crate::Limits::default();
        use_and_fill(&other, 8 << 20);
        store.collect(&limits, &crate::RemoveOwn).unwrap();
        use_and_fill(&other, 0);
        // As on a disk that is full: what replaces a file has nowhere to be made.
        let scratch = store.fresh_path().unwrap().parent().unwrap().to_owned();
        fs::remove_dir(&scratch).unwrap();
        File::create(&scratch).unwrap();
        assert!(store.collect(&limits, &crate::RemoveOwn).unwrap().remaining.bytes > 8 << 20);
        fs::remove_file(&scratch).unwrap();
        use_and_fill(&other, 7 << 20);
        other.measure_used_mounts().unwrap();
        assert!(is_counted(&store));
    }

    #[test]
    fn a_mount_begins_with_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let scratch = store.scratch().unwrap();
        assert!(matches!(store.begin_cache_mount(scratch, "pip"), Err(Error::NotInside { .. })));
        assert!(store.find_cache_mount("pip").unwrap().is_none());
    }
}
