//! Where the bytes are that a step puts over the tree below.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use lapstrake_cache::{Digest, Fingerprint};

use crate::tree::{Content, Directory, Node, TreePath};

/// Where the bytes of new files are.
///
/// Of a whole directory that is copied nothing is noted file by file: its files have below the target the paths that they have below the
/// source.
#[derive(Debug, Default)]
pub(in crate::build) struct Origins {
    single: BTreeMap<Fingerprint, Origin>,
    /// By where they are.
    directories: BTreeMap<TreePath, Copied>,
}

/// Where the bytes of one new file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::build) enum Origin {
    /// A file of the source, as it is.
    Source(TreePath),
    /// A file of the source with CR LF as LF.
    SourceLf(TreePath),
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// A blob of the store.
    Blob(Digest),
    /// A file of the tree below.
    Below(TreePath),
}

/// A directory of the source with all that is in it.
#[derive(Debug)]
struct Copied {
    from: TreePath,
    directory: Arc<Directory>,
}

/// Whether it is known where the files of a directory are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::build) enum Noted {
    /// All of them.
    Yes,
    /// Each is to be noted.
    No,
}

impl Origins {
    /// Those of a step that puts one file.
    pub(in crate::build) fn only(fingerprint: Fingerprint, origin: Origin) -> Origins {
        Origins { single: [(fingerprint, origin)].into(), directories: BTreeMap::new() }
    }

    /// Notes where bytes of this name are, unless that is known.
    pub(in crate::build) fn note(&mut self, fingerprint: Fingerprint, origin: Origin) {
        self.single.entry(fingerprint).or_insert(origin);
    }

    /// Notes that the files of a directory of the source are, unchanged, below a target; where another directory's are below the same
    /// target, they are not noted.
    pub(in crate::build) fn note_directory(&mut self, at: &TreePath, from: &TreePath, directory: &Arc<Directory>) -> Noted {
        match self.directories.entry(at.clone()) {
            Entry::Vacant(place) => {
                place.insert(Copied { from: from.clone(), directory: Arc::clone(directory) });
                Noted::Yes
            }
            Entry::Occupied(_) => Noted::No,
        }
    }

    /// Notes where the bytes of a file are that gets another name: neither a directory that was copied nor the tree below has that one,
    /// and the file may be replaced where it is.
    pub(in crate::build) fn note_link(&mut self, existing: &TreePath, content: &Content) {
        let origin = self.of(existing, content).unwrap_or_else(|| Origin::Below(existing.clone()));
        self.note(content.fingerprint, origin);
    }

    /// Where the bytes of a new file are.
    pub(in crate::build) fn of(&self, path: &TreePath, content: &Content) -> Option<Origin> {
        if let Some(origin) = self.single.get(&content.fingerprint) {
            return Some(origin.clone());
        }
        if self.directories.is_empty() {
            return None;
        }
        let mut at = path.parent();
        while let Some(target) = at {
            if let Some(copied) = self.directories.get(&target)
                && let Some(below) = path.below(&target)
                && let Some(Node::File(file)) = copied.directory.get(&below)
                && file.content == *content
            {
                return Some(Origin::Source(copied.from.join_path(&below)));
            }
            at = target.parent();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::arbitrary::{content, file, path, tree_of};

    #[test]
    fn a_file_of_a_copied_directory_is_where_its_bytes_are() {
        let (one, other) = (tree_of(&[("a/f", file(b"1")), ("g", file(b"2"))]).root, tree_of(&[("f", file(b"3"))]).root);
        let mut origins = Origins::default();
        assert_eq!(origins.note_directory(&path("x"), &path("s"), &one), Noted::Yes);
        assert_eq!(origins.note_directory(&path("x/a"), &path("t"), &other), Noted::Yes);
        assert_eq!(origins.note_directory(&path("x/a"), &path("u"), &other), Noted::No);
        origins.note(content(b"4").fingerprint, Origin::Source(path("single")));
        origins.note(content(b"4").fingerprint, Origin::Source(path("again")));
        let of = |at: &str, bytes: &[u8]| origins.of(&path(at), &content(bytes));
        assert_eq!(of("x/g", b"2"), Some(Origin::Source(path("s/g"))));
        assert_eq!(of("x/a/f", b"1"), Some(Origin::Source(path("s/a/f"))));
        assert_eq!(of("x/a/f", b"3"), Some(Origin::Source(path("t/f"))));
        assert_eq!(of("x/a/f", b"4"), Some(Origin::Source(path("single"))));
        assert_eq!((of("x/a/f", b"2"), of("y", b"1"), of("x", b"1")), (None, None, None));
        origins.note_link(&path("x/a/f"), &content(b"1"));
        origins.note_link(&path("old"), &content(b"5"));
        origins.note_link(&path("y"), &content(b"5"));
        let of = |at: &str, bytes: &[u8]| origins.of(&path(at), &content(bytes));
        assert_eq!(of("y", b"1"), Some(Origin::Source(path("s/a/f"))));
        assert_eq!((of("y", b"5"), of("z", b"5")), (Some(Origin::Below(path("old"))), Some(Origin::Below(path("old")))));
    }
}
