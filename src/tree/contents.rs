//! Where the bytes of files are, and which of them are known without reading: path and content in, bytes or fingerprints out.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Content, DirectoryHandle, DiskTime, Status, TreePath};

/// Where the bytes of a tree's files are.
///
/// What is read need not be trusted: whoever reads compares it with the content's fingerprint and size.
pub trait Contents: Send + Sync {
    /// Opens the bytes of one file. Names of one hard-link group have the same content; any of their paths may be asked for.
    ///
    /// # Errors
    /// When the bytes are not there or cannot be read.
    fn open(&self, path: &TreePath, content: &Content) -> io::Result<Box<dyn Read + Send>>;

    /// The same as a file of its own, where the bytes are one: its blocks may be shared then instead of copied.
    ///
    /// # Errors
    /// As [`Contents::open`].
    fn file(&self, _path: &TreePath, _content: &Content) -> io::Result<Option<File>> {
        Ok(None)
    }
}

/// The bytes of a tree that lies in a directory under the same paths.
#[derive(Clone, Copy)]
pub struct DirectoryContents<'a>(pub &'a dyn DirectoryHandle);

impl Contents for DirectoryContents<'_> {
    fn open(&self, path: &TreePath, _content: &Content) -> io::Result<Box<dyn Read + Send>> {
        self.0.open(path).map(|file| Box::new(file) as Box<dyn Read + Send>).map_err(|error| io::Error::new(error.source.kind(), error))
    }

    fn file(&self, path: &TreePath, _content: &Content) -> io::Result<Option<File>> {
        self.0.open(path).map(Some).map_err(|error| io::Error::new(error.source.kind(), error))
    }
}

/// What tells a file on disk from every other state of it and of any other: when all of this is the same, so are the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileStamp {
    /// The file system's number.
    pub device: u64,
    /// The file's number in it.
    pub inode: u64,
    /// Bytes in it.
    pub size: u64,
    /// When its bytes were last changed; anybody can set this.
    pub modified: DiskTime,
    /// When anything of it was last changed; nobody can set this.
    pub changed: DiskTime,
}

impl Status {
    /// What tells this state of the file from others.
    #[must_use]
    pub const fn stamp(&self) -> FileStamp {
        FileStamp { device: self.device, inode: self.inode, size: self.size, modified: self.modified, changed: self.changed }
    }
}

impl FileStamp {
    /// The state of an open file.
    ///
    /// # Errors
    /// When the kernel does not tell it.
    pub fn of(file: &File) -> io::Result<FileStamp> {
        let found = file.metadata()?;
        let time = |seconds, nanoseconds| DiskTime { seconds, nanoseconds: u32::try_from(nanoseconds).unwrap_or(0) };
        Ok(FileStamp {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: time(found.mtime(), found.mtime_nsec()),
            changed: time(found.ctime(), found.ctime_nsec()),
        })
    }

    /// Appends the numbers of the state in the order of its fields, the little end first: 64 bits each, of nanoseconds 32.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        let FileStamp { device, inode, size, modified, changed } = self;
        for number in [device, inode, size] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for DiskTime { seconds, nanoseconds } in [modified, changed] {
            out.extend_from_slice(&seconds.to_le_bytes());
            out.extend_from_slice(&nanoseconds.to_le_bytes());
        }
    }
}

/// Which states are old enough to be remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled {
    before: i64,
}

impl Settled {
    /// Those that are old enough now.
    #[expect(clippy::disallowed_methods, reason = "decides only whether a fingerprint is remembered, never what it is")]
    pub(crate) fn now() -> Settled {
        /// The coarsest clock of a file system, FAT's.
        const COARSEST: Duration = Duration::from_secs(2);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Settled { before: i64::try_from(now.saturating_sub(COARSEST).as_secs()).unwrap_or(0) }
    }

    /// All of them.
    #[cfg(test)]
    pub(super) const ALL: Settled = Settled { before: i64::MAX };

    /// Whether a file's times would show that it was changed after this state; a younger one could change once more without.
    pub(crate) const fn shows_changes_of(self, stamp: &FileStamp) -> bool {
        stamp.modified.seconds < self.before && stamp.changed.seconds < self.before
    }
}

/// Remembers the contents of files, so that what did not change is not read again.
pub trait KnownContents: Sync {
    /// The content of the file in this state, where it is known.
    fn get(&self, stamp: &FileStamp) -> Option<Content>;

    /// Remembers the content of the file in this state. Called only for states that are old enough for the file system's clock to show
    /// a later change.
    fn put(&self, stamp: FileStamp, content: Content);
}

/// Knows nothing and remembers nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoneKnown;

impl KnownContents for NoneKnown {
    fn get(&self, _stamp: &FileStamp) -> Option<Content> {
        None
    }

    fn put(&self, _stamp: FileStamp, _content: Content) {}
}
