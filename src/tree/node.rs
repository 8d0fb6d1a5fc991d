//! The nodes of a tree.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use lapstrake_cache::{Fingerprint, Fingerprinter};

use super::{Name, TreePath, Xattrs};

/// What every node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The twelve permission bits: `0o7777` at most.
    pub mode: u16,
    /// The owner's number as seen inside the image.
    pub uid: u32,
    /// The group's number as seen inside the image.
    pub gid: u32,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub mtime: i64,
    /// Kept extended attributes: `security.capability` in its version 2 form and `user.*` without those of overlay file systems.
    pub xattrs: Xattrs,
}

/// Metadata that files share: of files that are made one after another, those that have the same get one of it.
#[derive(Debug, Default)]
pub struct Sharing {
    /// What was given last is the last.
    recent: Vec<Arc<Metadata>>,
}

impl Sharing {
    /// How many are looked through: a directory's files have one mode or two, and a few times.
    const RECENT: usize = 8;

    /// The metadata of one more file.
    pub fn share(&mut self, metadata: Metadata) -> Arc<Metadata> {
        let shared = match self.recent.iter().rposition(|recent| **recent == metadata) {
            Some(place) => self.recent.remove(place),
            None => {
                if self.recent.len() == Self::RECENT {
                    self.recent.remove(0);
                }
                Arc::new(metadata)
            }
        };
        self.recent.push(Arc::clone(&shared));
        shared
    }
}

/// A file's bytes by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Content {
    /// BLAKE3 of the bytes.
    pub fingerprint: Fingerprint,
    /// How many they are.
    pub size: u64,
}

/// A regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its metadata. Most entries of a tree are files, and most files have what others have: see [`Sharing`].
    pub metadata: Arc<Metadata>,
    /// Its bytes.
    pub content: Content,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symlink {
    /// Its metadata; the mode is always `0o777`.
    pub metadata: Metadata,
    /// Where it points, as written.
    pub target: Box<[u8]>,
}

/// A device node or pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Special {
    /// Its metadata.
    pub metadata: Metadata,
    /// Which kind.
    pub kind: SpecialKind,
}

/// The special files that an image can hold. Sockets are not among them: tar has no type for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialKind {
    /// A character device. Number 0:0 does not occur: overlay file systems use it for removed entries.
    Character {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// A directory and all that is in it.
#[derive(Debug, Clone)]
pub struct Directory {
    /// Its metadata.
    pub metadata: Metadata,
    /// What is in it, in order of the names' bytes.
    pub entries: BTreeMap<Name, Node>,
    /// Computed when first asked for; a directory is not changed once it is in an [`Arc`].
    pub(super) fingerprint: OnceLock<Fingerprint>,
}

/// One node with what is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory(Arc<Directory>),
    /// A regular file.
    File(File),
    /// A symbolic link.
    Symlink(Symlink),
    /// A device node or pipe.
    Special(Special),
}

/// One node alone: a directory without what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Directory(Metadata),
    /// A regular file.
    File(File),
    /// A symbolic link.
    Symlink(Symlink),
    /// A device node or pipe.
    Special(Special),
}

/// Which names are one file: groups of at least two paths, sorted, in order of their first path; no path is in two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links(pub(super) Arc<Vec<Vec<TreePath>>>);

/// A whole file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The root directory.
    pub root: Arc<Directory>,
    /// The hard links.
    pub links: Links,
}

impl Directory {
    /// A directory with these entries.
    #[must_use]
    pub fn new(metadata: Metadata, entries: BTreeMap<Name, Node>) -> Directory {
        Directory { metadata, entries, fingerprint: OnceLock::new() }
    }

    /// Names everything in and below the directory, times included, hard links left aside.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        *self.fingerprint.get_or_init(|| {
            let mut hasher = Fingerprinter::new();
            hasher.update_framed(b"lapstrake-directory/1");
            hash_metadata(&mut hasher, &self.metadata);
            for (name, node) in &self.entries {
                hasher.update_framed(name.as_bytes());
                match node {
                    Node::Directory(directory) => {
                        hasher.update_framed(b"directory");
                        hasher.update(directory.fingerprint().as_bytes());
                    }
                    Node::File(File { metadata, content: Content { fingerprint, size } }) => {
                        hasher.update_framed(b"file");
                        hash_metadata(&mut hasher, metadata);
                        hasher.update(fingerprint.as_bytes());
                        hasher.update(&size.to_le_bytes());
                    }
                    Node::Symlink(Symlink { metadata, target }) => {
                        hasher.update_framed(b"symlink");
                        hash_metadata(&mut hasher, metadata);
                        hasher.update_framed(target);
                    }
                    Node::Special(Special { metadata, kind }) => {
                        let (name, major, minor): (&[u8], _, _) = match *kind {
                            SpecialKind::Character { major, minor } => (b"character", major, minor),
                            SpecialKind::Block { major, minor } => (b"block", major, minor),
                            SpecialKind::Fifo => (b"fifo", 0, 0),
                        };
                        hasher.update_framed(name);
                        hash_metadata(&mut hasher, metadata);
                        hasher.update(&major.to_le_bytes());
                        hasher.update(&minor.to_le_bytes());
                    }
                }
            }
            hasher.finish()
        })
    }
}

fn hash_metadata(hasher: &mut Fingerprinter, metadata: &Metadata) {
    let Metadata { mode, uid, gid, mtime, xattrs } = metadata;
    hasher.update(&mode.to_le_bytes());
    hasher.update(&uid.to_le_bytes());
    hasher.update(&gid.to_le_bytes());
    hasher.update(&mtime.to_le_bytes());
    hasher.update(&(xattrs.len() as u64).to_le_bytes());
    for (name, value) in xattrs {
        hasher.update_framed(name);
        hasher.update_framed(value);
    }
}

impl PartialEq for Directory {
    fn eq(&self, other: &Directory) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl Eq for Directory {}

impl Node {
    /// The node's own metadata.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        match self {
            Node::Directory(directory) => &directory.metadata,
            Node::File(file) => &file.metadata,
            Node::Symlink(symlink) => &symlink.metadata,
            Node::Special(special) => &special.metadata,
        }
    }

    /// The node without what is below it.
    #[must_use]
    pub fn entry(&self) -> Entry {
        match self {
            Node::Directory(directory) => Entry::Directory(directory.metadata.clone()),
            Node::File(file) => Entry::File(file.clone()),
            Node::Symlink(symlink) => Entry::Symlink(symlink.clone()),
            Node::Special(special) => Entry::Special(special.clone()),
        }
    }
}

impl Entry {
    /// The entry's metadata.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        match self {
            Entry::Directory(metadata) => metadata,
            Entry::File(file) => &file.metadata,
            Entry::Symlink(symlink) => &symlink.metadata,
            Entry::Special(special) => &special.metadata,
        }
    }
}

impl Links {
    /// The groups.
    #[must_use]
    pub fn groups(&self) -> &[Vec<TreePath>] {
        &self.0
    }
}
