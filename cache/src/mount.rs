//! Cache mounts: a name in, a directory out that lives long and changes, with a lock beside it. FORMAT.md, "Cache mounts".

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use crate::error::{At, Error};
use crate::lock::Lock;
use crate::name;
use crate::store::{Place, Store, create_directory};

pub(crate) const DATA: &str = "data";
pub(crate) const LOCK: &str = "lock";

/// A directory that steps of several builds write into. What is in it is the business of the tools that use it.
///
/// It counts as in use as long as the store it came from is open.
#[derive(Debug)]
pub struct CacheMount {
    path: PathBuf,
    lock: PathBuf,
    _store: Store,
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
        let (path, lock) = (top.join(DATA), top.join(LOCK));
        let _using = self.using()?;
        create_directory(&path)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&lock).at("open", &lock)?;
        self.mark(&file, &file.metadata().at("examine", &lock)?, &lock)?;
        Ok(CacheMount { path, lock, _store: self.clone() })
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
