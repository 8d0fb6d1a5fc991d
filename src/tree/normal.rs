//! The normal form of files from a build context: a tree as it lies on somebody's disk in, the same for everybody out.

use std::sync::Arc;

use super::{Directory, File, Metadata, Node, NodeKind, Sharing, Special, Symlink, Tree, Xattrs};

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
        let root = self.root.with_metadata(&mut Sharing::default(), &|kind, metadata| {
            let mode = match kind {
                NodeKind::Directory => modes.of_directory(metadata.mode),
                NodeKind::File => modes.of_file(metadata.mode),
                NodeKind::Symlink => 0o777,
                NodeKind::Special => modes.of_special(metadata.mode),
            };
            Metadata { mode, uid: 0, gid: 0, mtime: epoch, xattrs: Xattrs::new() }
        });
        Tree::new(root.unwrap_or_else(|| Arc::clone(&self.root)))
    }
}

impl Directory {
    /// The directory, and all below it, with the metadata that `change` makes of each node's; `None` where they are the same. What stays
    /// as it is is shared.
    pub fn with_metadata(&self, sharing: &mut Sharing, change: &impl Fn(NodeKind, &Metadata) -> Metadata) -> Option<Arc<Directory>> {
        let metadata = change(NodeKind::Directory, &self.metadata);
        // A loop, since closures would each take a part of the stack on every level.
        let mut changed: Vec<Option<Node>> = Vec::with_capacity(self.entries.len());
        for node in self.entries.values() {
            changed.push(node.with_metadata(sharing, change));
        }
        if metadata == self.metadata && changed.iter().all(Option::is_none) {
            return None;
        }
        let entries = self.entries.iter().zip(changed);
        let entries = entries.map(|((name, node), changed)| (name.clone(), changed.unwrap_or_else(|| node.clone()))).collect();
        Some(Arc::new(Directory::new(metadata, entries)))
    }
}

impl Node {
    /// As [`Directory::with_metadata`].
    pub fn with_metadata(&self, sharing: &mut Sharing, change: &impl Fn(NodeKind, &Metadata) -> Metadata) -> Option<Node> {
        if let Node::Directory(directory) = self {
            return directory.with_metadata(sharing, change).map(Node::Directory);
        }
        let metadata = change(self.kind(), self.metadata());
        (metadata != *self.metadata()).then(|| match self {
            Node::Directory(directory) => Node::Directory(Arc::clone(directory)),
            Node::File(file) => Node::File(File { metadata: sharing.share(metadata), content: file.content }),
            Node::Symlink(symlink) => Node::Symlink(Symlink { metadata, target: symlink.target.clone() }),
            Node::Special(special) => Node::Special(Special { metadata, kind: special.kind }),
        })
    }
}
