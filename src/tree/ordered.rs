//! Entries in the order of their paths in, a tree out.
//!
//! A directory is made in one go when nothing more can be in it, so that its map is as full as it can be.

use std::sync::Arc;

use super::{Directory, Entry, Metadata, Name, Node, TreePath};

/// A tree of which all before a path is there.
#[derive(Debug)]
pub(super) struct Ordered {
    root: Open,
    /// The directories on the way to the last entry, each in the one before.
    open: Vec<(Name, Open)>,
}

/// A directory of which more may come.
#[derive(Debug)]
struct Open {
    metadata: Metadata,
    counts: Counts,
    entries: Vec<(Name, Node)>,
}

/// When a directory is in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    Always,
    IfNotEmpty,
}

impl Ordered {
    /// Begins with a root.
    pub(super) fn new(root: Metadata) -> Ordered {
        Ordered { root: Open { metadata: root, counts: Counts::Always, entries: Vec::new() }, open: Vec::new() }
    }

    /// Puts the next entry. Its path is behind all others that were put, and its parent was put.
    pub(super) fn put(&mut self, path: &TreePath, entry: Entry) {
        let Some(name) = path.name() else { return };
        self.close_to(path.depth() - 1);
        match entry {
            Entry::Directory(metadata) => self.open(name, metadata, Counts::Always),
            entry @ (Entry::File(_) | Entry::Symlink(_) | Entry::Special(_)) => self.last().entries.push((name, Node::from(entry))),
        }
    }

    /// As [`Ordered::put`] of a directory that is in the tree only when something in it is.
    pub(super) fn put_if_not_empty(&mut self, path: &TreePath, metadata: Metadata) {
        let Some(name) = path.name() else { return };
        self.close_to(path.depth() - 1);
        self.open(name, metadata, Counts::IfNotEmpty);
    }

    /// The root, when all was put.
    pub(super) fn finish(mut self) -> Arc<Directory> {
        self.close_to(0);
        self.root.close()
    }

    fn open(&mut self, name: Name, metadata: Metadata, counts: Counts) {
        self.open.push((name, Open { metadata, counts, entries: Vec::new() }));
    }

    fn last(&mut self) -> &mut Open {
        self.open.last_mut().map_or(&mut self.root, |(_, open)| open)
    }

    /// Makes all directories but the first so many below the root.
    fn close_to(&mut self, depth: usize) {
        while self.open.len() > depth
            && let Some((name, open)) = self.open.pop()
        {
            if open.counts == Counts::Always || !open.entries.is_empty() {
                self.last().entries.push((name, Node::Directory(open.close())));
            }
        }
    }
}

impl Open {
    fn close(self) -> Arc<Directory> {
        Arc::new(Directory::new(self.metadata, self.entries.into_iter().collect()))
    }
}
