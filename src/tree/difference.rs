//! The change between two trees: a tree below and a tree above in, entries and whiteouts out.
//!
//! What is written is a function of the two trees alone, never of how the change was found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Changes, Directory, Entry, Links, Metadata, Node, Sharing, Tree, TreePath};

/// What happened to one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is this now. A directory over a directory is merged with it; anything else replaces what was there.
    Put(Entry),
    /// It is gone, with all that was below it.
    Whiteout,
}

/// The change between two trees; the value of a layer.
///
/// Holds: every ancestor of a path in `entries` is there too, as a directory, the root included; nothing is below a whiteout or
/// anything that is no directory; the names of each group in `links` are entries, equal and no directories; each path in `opaque` is a
/// directory in `entries`. [`Difference::check`] tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// What changed, and the ancestors of it with their full metadata.
    pub entries: Changes,
    /// Which of the entries are one file.
    pub links: Links,
    /// Directories of which nothing that was below remains. Only in layers that others made.
    pub opaque: BTreeSet<TreePath>,
}

impl Difference {
    /// What has to be written over `below` to have `above`.
    ///
    /// Entries equal in all but times are unchanged; directories that are only there as ancestors have the metadata below, times
    /// included. Names that have become one file are all entries, whether anything else of them changed or not; a name that lost its
    /// partners has not changed by that. Whiteouts are explicit: the result has no opaque directory.
    #[must_use]
    pub fn between(below: &Tree, above: &Tree) -> Difference {
        let mut comparison = Comparison { entries: Vec::new(), gained: gained_links(&below.links, &above.links) };
        comparison.directory(TreePath::root(), Some(&below.root), &above.root);
        let entries: Changes = comparison.entries.into_iter().collect();
        // Members of a group are equal in each tree, so that either all of them are entries or none is.
        let links = above.links.groups().iter().filter(|group| group.iter().all(|path| entries.contains_key(path))).cloned();
        Difference { links: Links::new(links), entries, opaque: BTreeSet::new() }
    }

    /// A whole tree as a change of nothing.
    #[must_use]
    pub fn whole(tree: &Tree) -> Difference {
        let entries = tree.walk().map(|(path, node)| (path, Change::Put(node.entry()))).collect();
        Difference { entries, links: tree.links.clone(), opaque: BTreeSet::new() }
    }

    /// Whether there is no change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Gives every changed entry the time `epoch`; directories that are there only as ancestors keep the time they have in `below`.
    #[must_use]
    pub fn dated(mut self, below: &Tree, epoch: i64) -> Difference {
        let mut sharing = Sharing::default();
        for (path, change) in self.entries.iter_mut() {
            let Change::Put(entry) = change else { continue };
            if entry.metadata().mtime == epoch {
                continue;
            }
            match entry {
                Entry::File(file) => file.metadata = sharing.share(Metadata { mtime: epoch, ..(*file.metadata).clone() }),
                Entry::Directory(above) => match below.get(path) {
                    Some(Node::Directory(below)) if same_but_times(above, &below.metadata) => {}
                    Some(Node::Directory(_) | Node::File(_) | Node::Symlink(_) | Node::Special(_)) | None => above.mtime = epoch,
                },
                Entry::Symlink(symlink) => symlink.metadata.mtime = epoch,
                Entry::Special(special) => special.metadata.mtime = epoch,
            }
        }
        self
    }

    /// The first name that stands for a removed file in a layer (`.wh.*`) and so cannot be put into one.
    #[must_use]
    pub fn reserved_name(&self) -> Option<&TreePath> {
        let reserved = |path: &TreePath| path.name().is_some_and(|name| name.as_bytes().starts_with(b".wh."));
        self.entries.iter().find(|(path, change)| **change != Change::Whiteout && reserved(path)).map(|(path, _)| path)
    }
}

struct Comparison {
    /// In order of their paths.
    entries: Vec<(TreePath, Change)>,
    gained: BTreeSet<TreePath>,
}

impl Comparison {
    /// Writes what differs in and below a directory; the directory itself is written too when there is anything.
    fn directory(&mut self, path: TreePath, below: Option<&Arc<Directory>>, above: &Arc<Directory>) {
        let place = self.entries.len();
        let own = match below {
            Some(below) => {
                if (Arc::ptr_eq(below, above) || below == above) && !self.gained_at_or_below(&path) {
                    return;
                }
                if same_but_times(&below.metadata, &above.metadata) { Own::Same(&below.metadata) } else { Own::Changed }
            }
            None => Own::Changed,
        };
        let metadata = match own {
            Own::Changed => &above.metadata,
            Own::Same(metadata) => metadata,
        };
        self.put(path.clone(), Entry::Directory(metadata.clone()));
        let mut gone = below.iter().flat_map(|below| below.entries.keys()).filter(|name| !above.entries.contains_key(*name)).peekable();
        for (name, node) in &above.entries {
            while let Some(gone) = gone.next_if(|gone| *gone < name) {
                self.gone(path.join(gone));
            }
            let at = path.join(name);
            let old = below.and_then(|below| below.entries.get(name));
            match (node, old) {
                (Node::Directory(directory), Some(Node::Directory(old))) => self.directory(at, Some(old), directory),
                (Node::Directory(directory), None | Some(Node::File(_) | Node::Symlink(_) | Node::Special(_))) => {
                    self.directory(at, None, directory);
                }
                (Node::File(_) | Node::Symlink(_) | Node::Special(_), old) => {
                    if !old.is_some_and(|old| same_leaf(old, node)) || self.gained.contains(&at) {
                        self.put(at, node.entry());
                    }
                }
            }
        }
        for gone in gone {
            self.gone(path.join(gone));
        }
        if let Own::Same(_) = own
            && self.entries.len() == place + 1
        {
            self.entries.truncate(place);
        }
    }

    fn put(&mut self, path: TreePath, entry: Entry) {
        self.entries.push((path, Change::Put(entry)));
    }

    fn gone(&mut self, path: TreePath) {
        self.entries.push((path, Change::Whiteout));
    }

    fn gained_at_or_below(&self, path: &TreePath) -> bool {
        self.gained.range(path..).next().is_some_and(|gained| gained.starts_with(path))
    }
}

/// What became of a directory itself.
#[derive(Clone, Copy)]
enum Own<'a> {
    Same(&'a Metadata),
    Changed,
}

/// The names that have a partner above which they do not have below.
fn gained_links(below: &Links, above: &Links) -> BTreeSet<TreePath> {
    let mut group_below = BTreeMap::new();
    for (number, group) in below.groups().iter().enumerate() {
        group_below.extend(group.iter().map(|path| (path, number)));
    }
    let mut gained = BTreeSet::new();
    for group in above.groups() {
        let first = group.first().and_then(|path| group_below.get(path));
        if first.is_none() || group.iter().any(|path| group_below.get(path) != first) {
            gained.extend(group.iter().cloned());
        }
    }
    gained
}

/// Whether metadata are equal when times are left aside.
pub(super) fn same_but_times(one: &Metadata, other: &Metadata) -> bool {
    let Metadata { mode, uid, gid, mtime: _, xattrs } = one;
    *mode == other.mode && *uid == other.uid && *gid == other.gid && *xattrs == other.xattrs
}

/// Whether nodes that are no directories are equal when times are left aside.
fn same_leaf(one: &Node, other: &Node) -> bool {
    match (one, other) {
        (Node::File(one), Node::File(other)) => one.content == other.content && same_but_times(&one.metadata, &other.metadata),
        (Node::Symlink(one), Node::Symlink(other)) => one.target == other.target && same_but_times(&one.metadata, &other.metadata),
        (Node::Special(one), Node::Special(other)) => one.kind == other.kind && same_but_times(&one.metadata, &other.metadata),
        (Node::Directory(_) | Node::File(_) | Node::Symlink(_) | Node::Special(_), _) => false,
    }
}
