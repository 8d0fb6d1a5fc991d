//! Files whose owners only a user namespace knows: paths below an opened directory in, entries and descriptors out.
//!
//! Every path is relative, its links are never followed, and it cannot leave its directory (`openat2` with `RESOLVE_BENEATH` and
//! `RESOLVE_NO_SYMLINKS`). Ids are those inside the namespace.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use super::AgentError;
use super::wire::{ListedEntry, Operation};

/// The file agent of a user namespace. Clones are the same agent; threads share it.
#[derive(Debug, Clone)]
pub struct FileAgent {}

/// A directory opened through the file agent.
#[derive(Debug, Clone)]
pub struct AgentDirectory {
    #[expect(dead_code, reason = "the connection comes with the helper")]
    agent: FileAgent,
    #[expect(dead_code, reason = "the connection comes with the helper")]
    directory: Arc<OwnedFd>,
}

impl FileAgent {
    /// Opens a directory of the host by its absolute path.
    ///
    /// # Errors
    /// When the namespace's root cannot.
    pub fn directory(&self, _path: &Path) -> Result<AgentDirectory, AgentError> {
        Err(lost())
    }

    /// Removes a file or directory of the host with all that is below it; absolute path. What is not there is an error.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove(&self, _path: &Path) -> Result<(), AgentError> {
        Err(lost())
    }
}

impl AgentDirectory {
    /// All entries of a directory, in no particular order; the empty path is this one.
    ///
    /// # Errors
    /// When it is no directory or cannot be read.
    pub fn list(&self, _directory: &[u8]) -> Result<Vec<ListedEntry>, AgentError> {
        Err(lost())
    }

    /// One entry; the empty path is this directory.
    ///
    /// # Errors
    /// When it is not there.
    pub fn stat(&self, _at: &[u8]) -> Result<ListedEntry, AgentError> {
        Err(lost())
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// When it is not there or no regular file.
    pub fn open(&self, _file: &[u8]) -> Result<File, AgentError> {
        Err(lost())
    }

    /// Makes a regular file, mode 0600, open for reading and writing.
    ///
    /// # Errors
    /// When there is something already.
    pub fn create_file(&self, _at: &[u8]) -> Result<File, AgentError> {
        Err(lost())
    }

    /// Opens a directory below this one.
    ///
    /// # Errors
    /// When it is not there or no directory.
    pub fn subdirectory(&self, _at: &[u8]) -> Result<AgentDirectory, AgentError> {
        Err(lost())
    }

    /// Makes changes in order, many in one go; stops at the first that fails.
    ///
    /// # Errors
    /// The first change that failed.
    pub fn apply(&self, _operations: &[Operation]) -> Result<(), AgentError> {
        Err(lost())
    }
}

fn lost() -> AgentError {
    AgentError::Lost { source: io::Error::from(io::ErrorKind::NotConnected) }
}
