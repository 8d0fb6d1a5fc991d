//! Whole trees: looking paths up, walking, taking a part, naming; and hard-link groups in their canonical form.

use std::collections::BTreeMap;
use std::sync::Arc;

use lapstrake_cache::{Fingerprint, Fingerprinter};

use super::{Directory, Entry, Links, Metadata, Node, Tree, TreePath};

/// How many names a path in a tree may have. Deeper trees are refused where they would enter, so that walking them needs no more than
/// an ordinary stack.
pub const MAXIMUM_DEPTH: usize = 1000;

impl Tree {
    /// A root directory with nothing in it.
    #[must_use]
    pub fn empty(root: Metadata) -> Tree {
        Tree { root: Arc::new(Directory::new(root, BTreeMap::new())), links: Links::default() }
    }

    /// A tree without hard links.
    #[must_use]
    pub fn new(root: Arc<Directory>) -> Tree {
        Tree { root, links: Links::default() }
    }

    /// What has this path; links are not followed. Cheap: what is below a directory is shared.
    #[must_use]
    pub fn get(&self, path: &TreePath) -> Option<Node> {
        find(&self.root, path)
    }

    /// The part below a directory as a tree of its own, with those hard links that are within; `None` when there is no such directory.
    #[must_use]
    pub fn subtree(&self, path: &TreePath) -> Option<Tree> {
        match self.get(path)? {
            Node::Directory(root) => Some(Tree { root, links: self.links.below(path) }),
            Node::File(_) | Node::Symlink(_) | Node::Special(_) => None,
        }
    }

    /// Names the whole tree: everything in it, times and hard links included.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hasher = Fingerprinter::new();
        hasher.update_framed(b"lapstrake-tree/1");
        hasher.update(self.root.fingerprint().as_bytes());
        hasher.update(&(self.links.groups().len() as u64).to_le_bytes());
        for group in self.links.groups() {
            hasher.update(&(group.len() as u64).to_le_bytes());
            for path in group {
                hasher.update_framed(path.as_bytes());
            }
        }
        hasher.finish()
    }

    /// Everything in the tree in order of paths, the root first.
    #[must_use]
    pub fn walk(&self) -> Walk {
        Node::Directory(Arc::clone(&self.root)).walk(TreePath::root())
    }
}

impl Node {
    /// The node, which is at a path, and everything below it in order of paths.
    pub(super) fn walk(self, at: TreePath) -> Walk {
        Walk { next: vec![(at, self)] }
    }
}

impl Directory {
    /// What has this path below the directory; links are not followed. `None` for the directory itself.
    #[must_use]
    pub fn get(&self, path: &TreePath) -> Option<&Node> {
        let mut directory = self;
        let mut found: Option<&Node> = None;
        for name in path.names() {
            if let Some(node) = found {
                directory = match node {
                    Node::Directory(directory) => directory,
                    Node::File(_) | Node::Symlink(_) | Node::Special(_) => return None,
                };
            }
            found = Some(directory.entries.get(&name)?);
        }
        found
    }
}

/// What has this path below a directory.
pub(super) fn find(root: &Arc<Directory>, path: &TreePath) -> Option<Node> {
    match path.is_root() {
        true => Some(Node::Directory(Arc::clone(root))),
        false => root.get(path).cloned(),
    }
}

/// Everything in a tree in order of paths.
#[derive(Debug)]
pub struct Walk {
    /// The last is the next one.
    next: Vec<(TreePath, Node)>,
}

impl Iterator for Walk {
    type Item = (TreePath, Node);

    fn next(&mut self) -> Option<(TreePath, Node)> {
        let (path, node) = self.next.pop()?;
        if let Node::Directory(directory) = &node {
            self.next.extend(directory.entries.iter().rev().map(|(name, node)| (path.join(name), node.clone())));
        }
        Some((path, node))
    }
}

impl Links {
    /// Brings groups to canonical form: sorted, without groups of one; groups that share a path become one.
    #[must_use]
    pub fn new(groups: impl IntoIterator<Item = Vec<TreePath>>) -> Links {
        let mut merged: Vec<Vec<TreePath>> = Vec::new();
        let mut group_of: BTreeMap<TreePath, usize> = BTreeMap::new();
        for group in groups {
            let number = merged.len();
            let mut members = Vec::new();
            for path in group {
                match group_of.get(&path) {
                    Some(&other) if other == number => {}
                    Some(&other) => {
                        let taken = merged.get_mut(other).map(std::mem::take).unwrap_or_default();
                        group_of.extend(taken.iter().map(|path| (path.clone(), number)));
                        members.extend(taken);
                    }
                    None => {
                        group_of.insert(path.clone(), number);
                        members.push(path);
                    }
                }
            }
            merged.push(members);
        }
        merged.retain(|group| group.len() > 1);
        for group in &mut merged {
            group.sort();
        }
        merged.sort();
        Links(Arc::new(merged))
    }

    /// Whether no two names are one file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The groups within a directory, with paths relative to it.
    #[must_use]
    pub fn below(&self, directory: &TreePath) -> Links {
        if directory.is_root() {
            return self.clone();
        }
        Links::new(self.0.iter().map(|group| group.iter().filter_map(|path| path.below(directory)).collect()))
    }

    /// The groups with paths as they are when the tree is put into a directory.
    #[must_use]
    pub fn moved_to(&self, directory: &TreePath) -> Links {
        Links(Arc::new(self.0.iter().map(|group| group.iter().map(|path| directory.join_path(path)).collect()).collect()))
    }

    /// The groups, each without the names that do not pass.
    #[must_use]
    pub fn retained(&self, mut keep: impl FnMut(&TreePath) -> bool) -> Links {
        Links::new(self.0.iter().map(|group| group.iter().filter(|path| keep(path)).cloned().collect()))
    }
}

impl Entry {
    /// The entry's metadata, to be changed.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        match self {
            Entry::Directory(metadata) => metadata,
            Entry::File(file) => Arc::make_mut(&mut file.metadata),
            Entry::Symlink(symlink) => &mut symlink.metadata,
            Entry::Special(special) => &mut special.metadata,
        }
    }
}

impl From<Entry> for Node {
    /// A directory becomes an empty one.
    fn from(entry: Entry) -> Node {
        match entry {
            Entry::Directory(metadata) => Node::Directory(Arc::new(Directory::new(metadata, BTreeMap::new()))),
            Entry::File(file) => Node::File(file),
            Entry::Symlink(symlink) => Node::Symlink(symlink),
            Entry::Special(special) => Node::Special(special),
        }
    }
}
