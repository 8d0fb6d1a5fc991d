//! A tree and a difference in, the tree with the difference over it out; and what remains of a change when parts of it are discarded.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Change, Difference, Directory, Editor, Entry, Links, Metadata, Name, Node, Patterns, Tree, TreePath, Xattrs};

impl Tree {
    /// The tree with a difference over it, be it one of ours or a layer that others made.
    ///
    /// For trees whose hard-link groups hold equal nodes, `below.apply(&Difference::between(&below, &above))` is `above` but for the
    /// times of unchanged entries and for links that names below have lost in `above`. Entries that break the rules of [`Difference`]
    /// do no harm: a missing ancestor is made as 0755 0:0 at time 0, and what is below something that is no directory is left out.
    #[must_use]
    pub fn apply(&self, difference: &Difference) -> Tree {
        if difference.is_empty() {
            return self.clone();
        }
        let changes = difference.entries.as_slice();
        let (own, rest) = match changes.split_first() {
            Some(((path, change), rest)) if path.is_root() => (Some(change), rest),
            Some(_) | None => (None, changes),
        };
        let root = put_directory(&TreePath::root(), own, Some(&self.root), rest, difference);
        let tree = Tree::new(root);
        let kept = self.links.retained(|path| {
            !difference.entries.contains_key(path) && tree.get(path).is_some_and(|node| !matches!(node, Node::Directory(_)))
        });
        let made = difference.links.groups().iter().map(|group| {
            let first = group.first().and_then(|path| leaf(difference, path));
            group.iter().filter(|path| first.is_some() && leaf(difference, path) == first).cloned().collect()
        });
        let links = Links::new(kept.groups().iter().cloned().chain(made));
        let links = links.retained(|path| tree.get(path).is_some());
        Tree { root: tree.root, links }
    }

    /// This tree without those changes against `below` that match a pattern: what they made is gone, what they changed is as below, what
    /// they removed is there again unless its directory is gone.
    #[must_use]
    pub fn discarding(&self, below: &Tree, patterns: &Patterns) -> Tree {
        if patterns.is_empty() {
            return self.clone();
        }
        let mut editor = Editor::new(self);
        for path in Difference::between(below, self).entries.keys().filter(|path| patterns.excluded(path)) {
            match below.get(path) {
                // Where the directory is gone, nothing can be put back into it.
                Some(node) => drop(editor.put(path, node)),
                None => drop(editor.remove(path)),
            }
        }
        editor.finish()
    }

    /// This tree as it is when it was made from `below`: unchanged entries and mere ancestors have the times below, whatever changed
    /// has the time `epoch`, and names that only lost partners have them still.
    #[must_use]
    pub fn settled(&self, below: &Tree, epoch: i64) -> Tree {
        below.apply(&Difference::between(below, self).dated(below, epoch))
    }
}

fn leaf<'a>(difference: &'a Difference, path: &TreePath) -> Option<&'a Entry> {
    match difference.entries.get(path)? {
        Change::Put(Entry::Directory(_)) | Change::Whiteout => None,
        Change::Put(entry @ (Entry::File(_) | Entry::Symlink(_) | Entry::Special(_))) => Some(entry),
    }
}

/// A directory at `path` with `changes`, which are all strictly below it and in order.
fn put_directory(
    path: &TreePath,
    own: Option<&Change>,
    below: Option<&Arc<Directory>>,
    changes: &[(TreePath, Change)],
    difference: &Difference,
) -> Arc<Directory> {
    let metadata = match (own, below) {
        (Some(Change::Put(Entry::Directory(metadata))), _) => metadata.clone(),
        (_, Some(below)) => below.metadata.clone(),
        (_, None) => Metadata { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: Xattrs::new() },
    };
    let below = below.filter(|_| !difference.opaque.contains(path));
    if let Some(below) = below
        && changes.is_empty()
        && below.metadata == metadata
    {
        return Arc::clone(below);
    }
    let mut made: Vec<(Name, Option<Node>)> = Vec::new();
    let mut rest = changes;
    while let Some((first, _)) = rest.first() {
        let Some(name) = first.below(path).and_then(|below| below.names().next()) else { break };
        let at = path.join(&name);
        // Mostly there is nothing below it, which is seen without a search.
        let group = match rest.get(1) {
            Some((next, _)) if next.starts_with(&at) => rest.partition_point(|(path, _)| path.starts_with(&at)),
            Some(_) | None => 1,
        };
        let (group, others) = rest.split_at(group);
        rest = others;
        let (own, inner) = match group.split_first() {
            Some(((first, change), inner)) if *first == at => (Some(change), inner),
            Some(_) | None => (None, group),
        };
        let node = match own {
            Some(Change::Whiteout) => None,
            Some(Change::Put(entry @ (Entry::File(_) | Entry::Symlink(_) | Entry::Special(_)))) => Some(Node::from(entry.clone())),
            None | Some(Change::Put(Entry::Directory(_))) => {
                let below = match below.and_then(|below| below.entries.get(&name)) {
                    Some(Node::Directory(directory)) => Some(directory),
                    None | Some(Node::File(_) | Node::Symlink(_) | Node::Special(_)) => None,
                };
                Some(Node::Directory(put_directory(&at, own, below, inner, difference)))
            }
        };
        made.push((name, node));
    }
    Arc::new(Directory::new(metadata, changed(below.map(|below| &below.entries), made)))
}

/// What is in a directory after changes to what was in it, which are in order.
fn changed(before: Option<&BTreeMap<Name, Node>>, changes: Vec<(Name, Option<Node>)>) -> BTreeMap<Name, Node> {
    match before {
        Some(before) if !before.is_empty() => {
            let mut entries = before.clone();
            for (name, node) in changes {
                match node {
                    Some(node) => drop(entries.insert(name, node)),
                    None => drop(entries.remove(&name)),
                }
            }
            entries
        }
        // A map of what is in order is made in one go, and as full as it can be.
        Some(_) | None => changes.into_iter().filter_map(|(name, node)| Some((name, node?))).collect(),
    }
}
