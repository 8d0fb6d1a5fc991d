//! Advisory locks on files: a path in, a guard out. The kernel releases a lock when its process dies.
//!
//! Each lock opens its file anew, because `flock(2)` belongs to the open file and not to the process: two threads of one
//! process exclude each other as two processes do.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{At, Error};

/// A lock on a file; dropped, it is released.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    pub(crate) fn shared(path: &Path) -> Result<Lock, Error> {
        Lock::wait(open(path)?, FlockOperation::LockShared, path)
    }

    pub(crate) fn exclusive(path: &Path) -> Result<Lock, Error> {
        Lock::wait(open(path)?, FlockOperation::LockExclusive, path)
    }

    pub(crate) fn try_shared(path: &Path) -> Result<Option<Lock>, Error> {
        Lock::try_shared_on(open(path)?, path)
    }

    pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Lock>, Error> {
        let file = open(path)?;
        Ok(take(&file, FlockOperation::NonBlockingLockExclusive, path)?.then_some(Lock { file }))
    }

    /// Waits for the lock on a directory or file that is open already.
    pub(crate) fn exclusive_on(file: File, path: &Path) -> Result<Lock, Error> {
        Lock::wait(file, FlockOperation::LockExclusive, path)
    }

    /// `None` where somebody holds the lock on this open file exclusively.
    pub(crate) fn try_shared_on(file: File, path: &Path) -> Result<Option<Lock>, Error> {
        Ok(take(&file, FlockOperation::NonBlockingLockShared, path)?.then_some(Lock { file }))
    }

    /// `None` where somebody holds a lock on this open file.
    pub(crate) fn try_exclusive_on(file: File, path: &Path) -> Result<Option<Lock>, Error> {
        Ok(take(&file, FlockOperation::NonBlockingLockExclusive, path)?.then_some(Lock { file }))
    }

    /// What is locked, for what is written in a lock's own file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    fn wait(file: File, operation: FlockOperation, path: &Path) -> Result<Lock, Error> {
        take(&file, operation, path)?;
        Ok(Lock { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread has just forked may have the open file for a moment longer.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).at("open the lock", path)
}

fn take(file: &File, operation: FlockOperation, path: &Path) -> Result<bool, Error> {
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error).at("lock", path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_locks_stand_together_and_an_exclusive_one_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = Lock::shared(&path).unwrap();
        let second = Lock::shared(&path).unwrap();
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop((first, second));
        let alone = Lock::try_exclusive(&path).unwrap().unwrap();
        assert!(Lock::try_shared_on(File::open(&path).unwrap(), &path).unwrap().is_none());
        drop(alone);
        assert!(Lock::try_shared_on(File::open(&path).unwrap(), &path).unwrap().is_some());
    }
}
