//! The upper directory of an overlay: what a command left there in, the tree it made out; and the directory brought to normal form.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Change, Difference, DirectoryHandle, DiskError, Entry, KnownContents, ListedKind, Metadata, NodeKind, ScanError, Scanned, Tree,
    TreePath, scan,
};
use crate::event::Cancel;

/// Reads an upper directory over `below` as the merged tree: what changed has the time `epoch`, all else is as below.
///
/// Understood are whiteouts (character device 0:0), opaque directories and hard links. Overlay's own attributes are dropped. The
/// overlay must have been mounted with `redirect_dir` and `metacopy` off.
///
/// # Errors
/// When something cannot be read, has a name that means a removed file in a layer, or has its data elsewhere; when `cancel` says so.
pub fn read_upper(
    below: &Tree,
    upper: &dyn DirectoryHandle,
    epoch: i64,
    known: &dyn KnownContents,
    cancel: &Cancel,
) -> Result<Scanned, ScanError> {
    let (difference, sockets) = scan::upper(upper, known, cancel)?;
    Ok(Scanned { tree: below.apply(&difference).settled(below, epoch), sockets })
}

/// Brings an upper directory to exactly `difference`, so that it can be a read-only lower directory of another overlay: what is not in
/// the difference is removed, opaque directories become explicit whiteouts, and all metadata are the difference's.
///
/// `difference` must be what was read from this directory, possibly without some of its entries. `root` is what the merged root is: an
/// overlay shows its topmost directory's, even where nothing changed.
///
/// # Errors
/// When something cannot be changed, or an entry is not of the sort that the difference says.
pub fn normalise_upper(upper: &dyn DirectoryHandle, difference: &Difference, root: &Metadata) -> Result<(), DiskError> {
    let mut whiteouts: BTreeMap<TreePath, Vec<&TreePath>> = BTreeMap::new();
    for (path, change) in &difference.entries {
        if *change == Change::Whiteout
            && let Some(parent) = path.parent()
        {
            whiteouts.entry(parent).or_default().push(path);
        }
    }
    let mut directories: Vec<TreePath> = Vec::new();
    let mut next = vec![TreePath::root()];
    while let Some(directory) = next.pop() {
        let mut present = BTreeSet::new();
        for listed in upper.list(&directory)? {
            let path = directory.join(&listed.name);
            match (difference.entries.get(&path), &listed.status.kind) {
                (Some(Change::Put(Entry::Directory(_))), ListedKind::Directory) => next.push(path),
                (Some(Change::Put(entry @ (Entry::File(_) | Entry::Symlink(_) | Entry::Special(_)))), kind)
                    if Some(entry.kind()) == kind.node_kind() =>
                {
                    upper.set_metadata(&path, entry.kind(), entry.metadata())?;
                }
                (Some(Change::Whiteout), ListedKind::Whiteout) => {}
                (Some(Change::Put(_)), _) => {
                    let source = std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not of the sort that was read before");
                    return Err(DiskError::new("bring to normal form", &path, source));
                }
                (Some(Change::Whiteout), _) => {
                    upper.remove(&path)?;
                    upper.make_whiteout(&path)?;
                }
                (None, _) => {
                    upper.remove(&path)?;
                    continue;
                }
            }
            present.insert(listed.name);
        }
        // An opaque directory hides without whiteouts; setting its metadata takes the mark away.
        for path in whiteouts.get(&directory).into_iter().flatten() {
            if path.name().is_some_and(|name| !present.contains(&name)) {
                upper.make_whiteout(path)?;
            }
        }
        directories.push(directory);
    }
    // Backwards, since whatever is made or removed in a directory changes its time.
    directories.sort();
    for directory in directories.iter().rev() {
        let metadata = match difference.entries.get(directory) {
            Some(Change::Put(entry)) if !directory.is_root() => entry.metadata(),
            Some(Change::Put(_) | Change::Whiteout) | None => root,
        };
        upper.set_metadata(directory, NodeKind::Directory, metadata)?;
    }
    Ok(())
}

impl ListedKind {
    /// The sort of node that this is; `None` for what no tree holds.
    #[must_use]
    pub const fn node_kind(&self) -> Option<NodeKind> {
        match self {
            ListedKind::Directory => Some(NodeKind::Directory),
            ListedKind::File => Some(NodeKind::File),
            ListedKind::Symlink { .. } => Some(NodeKind::Symlink),
            ListedKind::Special(_) => Some(NodeKind::Special),
            ListedKind::Whiteout | ListedKind::Socket => None,
        }
    }
}
