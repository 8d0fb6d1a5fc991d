//! What can go wrong in the store: fields in, one readable line out.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// A failure of the store. Whatever it is, nothing half-written is believed afterwards.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store was written by a newer lapstrake, whose layout this one does not know.
    #[error(
        "the store at {} has version {found}, this lapstrake understands up to version {understood}: \
         use a newer lapstrake or another directory",
        path.display()
    )]
    Newer {
        /// The directory of the store.
        path: PathBuf,
        /// The version in its marker.
        found: u64,
        /// The newest version that this crate reads and writes.
        understood: u64,
    },
    /// The directory has contents but no marker of a store, so it belongs to somebody else.
    #[error("{} is neither empty nor a store (it has no `{}`): choose an empty or a new directory", path.display(), crate::marker::NAME)]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },
    /// The file system is full, or a quota is used up.
    #[error("no space left while trying to {doing} {}: free some space on that file system", path.display())]
    Full {
        /// What was tried, as a verb ("write").
        doing: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The process may not do what it has to do.
    #[error("not allowed to {doing} {}: expected a store that belongs to the user who builds", path.display())]
    Denied {
        /// What was tried, as a verb ("write").
        doing: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Any other answer of the system.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb ("write").
        doing: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The bytes are not those that were announced; they were not kept.
    #[error("expected a blob {expected}, got bytes whose digest is {found}")]
    DigestMismatch {
        /// The announced digest.
        expected: Digest,
        /// The digest of what was written.
        found: Digest,
    },
    /// There are more or fewer bytes than were announced; they were not kept.
    #[error("expected {expected} bytes of blob {digest}, got {found}")]
    SizeMismatch {
        /// The announced digest.
        digest: Digest,
        /// The announced size in bytes.
        expected: u64,
        /// The bytes that were written.
        found: u64,
    },
    /// An earlier write to this blob failed, so its bytes are incomplete; they were not kept.
    #[error("a write to the new blob at {} had failed before it was finished: write it again from the start", path.display())]
    Incomplete {
        /// The temporary file.
        path: PathBuf,
    },
    /// A name of a shelf, of a kept directory or of a cache mount that is no plain file name.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// The part of a scratch directory that is to be kept is not a directory inside it.
    #[error("{} is not a directory inside the scratch directory {}", inner.display(), scratch.display())]
    NotInside {
        /// What was to be kept.
        inner: PathBuf,
        /// The scratch directory.
        scratch: PathBuf,
    },
}

/// The text cannot name a shelf, a kept directory or a cache mount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot name a thing in the store: expected 1 to 200 of `A-Z a-z 0-9 . _ + -`, the first a letter or digit")]
pub struct InvalidName(pub String);

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Error {
        let path = path.to_owned();
        #[expect(clippy::wildcard_enum_match_arm, reason = "the kinds of the system's errors are not ours to list")]
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { doing, path, source },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Error::Denied { doing, path, source },
            _ => Error::Io { doing, path, source },
        }
    }

    /// The same failure for an interface that speaks [`io::Error`]: the kind stays, and the text names the path.
    pub(crate) fn into_io(self) -> io::Error {
        let kind = match &self {
            Error::Full { source, .. } | Error::Denied { source, .. } | Error::Io { source, .. } => source.kind(),
            Error::Newer { .. }
            | Error::NotAStore { .. }
            | Error::DigestMismatch { .. }
            | Error::SizeMismatch { .. }
            | Error::Incomplete { .. }
            | Error::InvalidName(_)
            | Error::NotInside { .. } => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }
}

/// Says what was tried on which path when an operation of the system fails.
pub(crate) trait At<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::io(doing, path, source))
    }
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::io(doing, path, source.into()))
    }
}

/// `None` where the path does not exist.
pub(crate) trait Existing<T> {
    fn if_exists(self) -> io::Result<Option<T>>;
}

impl<T> Existing<T> for io::Result<T> {
    fn if_exists(self) -> io::Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
