//! A directory on disk, worked with by paths inside it: names and numbers in, metadata and open files out.
//!
//! No path of the host goes through here, no link is ever followed, and nothing outside the directory can be reached.

use std::fs::File;
use std::io;

use super::{Entry, Metadata, Name, Node, SpecialKind, TreePath, Xattrs};

/// Something could not be done to a directory on disk.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{path}`")]
pub struct DiskError {
    /// What was to be done, as a verb with its object left out: `list`, `open`, `set the owner of`.
    pub action: &'static str,
    /// To what, inside the directory.
    pub path: TreePath,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

impl DiskError {
    /// Puts together what was done, where, and what the kernel said.
    pub fn new(action: &'static str, path: &TreePath, source: impl Into<io::Error>) -> DiskError {
        DiskError { action, path: path.clone(), source: source.into() }
    }
}

/// Access to one directory on disk.
///
/// Implementations resolve each path from the directory itself, refuse links on the way and in the last name, and are safe against names
/// that become links meanwhile. All methods may be called from several threads at once.
pub trait DirectoryHandle: Send + Sync {
    /// What is in a directory, in any order. A name that vanishes meanwhile is left out.
    ///
    /// # Errors
    /// When it is no directory or cannot be read.
    fn list(&self, directory: &TreePath) -> Result<Vec<Listed>, DiskError>;

    /// Opens a regular file for reading, without waiting. Anything else that has the name is an error.
    ///
    /// # Errors
    /// When it is no regular file or cannot be read.
    fn open(&self, file: &TreePath) -> Result<File, DiskError>;

    /// What the directory itself is.
    ///
    /// # Errors
    /// When it cannot be read.
    fn root_status(&self) -> Result<Status, DiskError>;

    /// Makes a directory of mode 0700 until [`DirectoryHandle::set_metadata`]; its parent must exist.
    ///
    /// # Errors
    /// When the name is taken or it cannot be made.
    fn make_directory(&self, at: &TreePath) -> Result<(), DiskError>;

    /// Makes an empty file of mode 0600, open for writing.
    ///
    /// # Errors
    /// When the name is taken or it cannot be made.
    fn create_file(&self, at: &TreePath) -> Result<File, DiskError>;

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// When the name is taken or it cannot be made.
    fn make_symlink(&self, at: &TreePath, target: &[u8]) -> Result<(), DiskError>;

    /// Makes a device node or pipe of mode 0600.
    ///
    /// # Errors
    /// When the name is taken or it cannot be made.
    fn make_special(&self, at: &TreePath, kind: SpecialKind) -> Result<(), DiskError>;

    /// Makes a character device 0:0, by which overlay file systems mark a removed entry.
    ///
    /// # Errors
    /// When the name is taken or it cannot be made.
    fn make_whiteout(&self, at: &TreePath) -> Result<(), DiskError>;

    /// Gives a file a second name. A symbolic link gets a second name itself; its target is not looked at.
    ///
    /// # Errors
    /// When the name is taken or it cannot be made.
    fn hard_link(&self, existing: &TreePath, new: &TreePath) -> Result<(), DiskError>;

    /// Sets owner, extended attributes, mode and modification time, in this order; afterwards the entry has no `user.*`,
    /// `security.capability`, overlay's own or access control attributes but these. Of a symbolic link only owner and time are set.
    ///
    /// # Errors
    /// When the entry is not of that kind or something cannot be set.
    fn set_metadata(&self, at: &TreePath, kind: NodeKind, metadata: &Metadata) -> Result<(), DiskError>;

    /// Marks a directory as hiding all that is below it in an overlay: `user.overlay.opaque` = `y`.
    ///
    /// # Errors
    /// When it is no directory or the attribute cannot be set.
    fn set_opaque(&self, directory: &TreePath) -> Result<(), DiskError>;

    /// Removes an entry with all that is below it. What is not there is removed already.
    ///
    /// # Errors
    /// When something cannot be removed.
    fn remove(&self, at: &TreePath) -> Result<(), DiskError>;
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub status: Status,
}

/// What an entry on disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What sort.
    pub kind: ListedKind,
    /// The twelve permission bits.
    pub mode: u16,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// When it was modified.
    pub modified: DiskTime,
    /// When it was changed in any way.
    pub changed: DiskTime,
    /// Bytes in it.
    pub size: u64,
    /// The file system's number, as `st_dev` has it.
    pub device: u64,
    /// Its number in the file system.
    pub inode: u64,
    /// How many names it has.
    pub links: u64,
    /// Extended attributes as they are on disk: all `user.*` and `security.capability`. Empty for links and special files.
    pub xattrs: Xattrs,
    /// Whether it is a directory that hides all that is below it in an overlay.
    pub opaque: Opaque,
}

/// A time as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct DiskTime {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Below 1 000 000 000.
    pub nanoseconds: u32,
}

/// Whether a directory of an overlay hides what is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opaque {
    /// It hides all of it.
    Yes,
    /// It is merged with it.
    No,
}

/// The sorts of entries on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink {
        /// Where it points, as written.
        target: Vec<u8>,
    },
    /// A device node or pipe; never character device 0:0.
    Special(SpecialKind),
    /// Character device 0:0.
    Whiteout,
    /// A socket.
    Socket,
}

/// The sorts of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A device node or pipe.
    Special,
}

impl Node {
    /// What sort of node it is.
    #[must_use]
    pub const fn kind(&self) -> NodeKind {
        match self {
            Node::Directory(_) => NodeKind::Directory,
            Node::File(_) => NodeKind::File,
            Node::Symlink(_) => NodeKind::Symlink,
            Node::Special(_) => NodeKind::Special,
        }
    }
}

impl Entry {
    /// What sort of entry it is.
    #[must_use]
    pub const fn kind(&self) -> NodeKind {
        match self {
            Entry::Directory(_) => NodeKind::Directory,
            Entry::File(_) => NodeKind::File,
            Entry::Symlink(_) => NodeKind::Symlink,
            Entry::Special(_) => NodeKind::Special,
        }
    }
}
