//! The normal form of files from a build context: a tree as it lies on somebody's disk in, the same for everybody out.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Directory, File, Metadata, Node, Special, Symlink, Tree, Xattrs};

/// What becomes of modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modes {
    /// Files 0755 where their owner may execute them and 0644 where not, as git has it, so that no umask matters; directories 0755,
    /// special files 0644.
    ByExecuteBit,
    /// As they are.
    Keep,
    /// Files and special files get these bits, directories [`directory_mode`] of them.
    Set(u16),
}

impl Modes {
    /// The mode of a file that has `mode`.
    #[must_use]
    pub const fn of_file(self, mode: u16) -> u16 {
        match self {
            Modes::ByExecuteBit if mode & 0o100 == 0 => 0o644,
            Modes::ByExecuteBit => 0o755,
            Modes::Keep => mode,
            Modes::Set(mode) => mode & 0o7777,
        }
    }

    /// The mode of a directory that has `mode`.
    #[must_use]
    pub const fn of_directory(self, mode: u16) -> u16 {
        match self {
            Modes::ByExecuteBit => 0o755,
            Modes::Keep => mode,
            Modes::Set(mode) => directory_mode(mode),
        }
    }

    /// The mode of a device or pipe that has `mode`.
    #[must_use]
    pub const fn of_special(self, mode: u16) -> u16 {
        match self {
            Modes::ByExecuteBit => 0o644,
            Modes::Keep | Modes::Set(_) => self.of_file(mode),
        }
    }
}

/// A file's mode as a directory's: who may read may enter, and bits that mean something for programs are left out.
#[must_use]
pub const fn directory_mode(mode: u16) -> u16 {
    (mode & 0o777) | ((mode & 0o444) >> 2)
}

impl Tree {
    /// The normal form of a build context: owner 0:0, `epoch` as time, no extended attributes, modes as told. Hard links become files
    /// of their own: whether a checkout has any depends on how it came to the disk.
    #[must_use]
    pub fn normalised(&self, modes: Modes, epoch: i64) -> Tree {
        Tree::new(directory(&self.root, modes, epoch))
    }
}

fn directory(from: &Directory, modes: Modes, epoch: i64) -> Arc<Directory> {
    let metadata = |mode| Metadata { mode, uid: 0, gid: 0, mtime: epoch, xattrs: Xattrs::new() };
    let entries: BTreeMap<_, _> = from
        .entries
        .iter()
        .map(|(name, node)| {
            let node = match node {
                Node::Directory(from) => Node::Directory(directory(from, modes, epoch)),
                Node::File(file) => Node::File(File { metadata: metadata(modes.of_file(file.metadata.mode)), content: file.content }),
                Node::Symlink(link) => Node::Symlink(Symlink { metadata: metadata(0o777), target: link.target.clone() }),
                Node::Special(special) => {
                    Node::Special(Special { metadata: metadata(modes.of_special(special.metadata.mode)), kind: special.kind })
                }
            };
            (name.clone(), node)
        })
        .collect();
    Arc::new(Directory::new(metadata(modes.of_directory(from.metadata.mode)), entries))
}
