//! Roots for a sandbox without mounts: a state in, a directory that holds all of it out; and the same directory again for the next state.
//!
//! A private root shares no file with the store, with another root or with another name in itself: writing to one name of a hard link from
//! below changes that name alone. It goes on from step to step of a stage, and belongs to one step at
//! a time: whoever takes it has it alone. What a command changed is found by comparison with its tree. A file counts as unchanged when
//! nothing of it has changed, the time of change of its inode included, which nobody can set; all others are read.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use lapstrake_cache::Scratch;

use super::site::Site;
use super::state::{LayerName, State};
use super::{Failure, Lost};
use crate::event::Cancel;
use crate::tree::{
    Content, Contents, Difference, DirectoryHandle, DiskError, DiskTime, FileStamp, KnownContents, LastLink, Links, Listed, ListedKind,
    LocalDirectory, Metadata, Node, NodeKind, Scanned, SpecialKind, Status, Tree, TreePath, Xattrs, checkout_difference, checkout_tree,
    scan,
};

/// How long to wait until the clock of a file system may have moved on.
const CLOCK_STEP: Duration = Duration::from_millis(1);
/// What a clock is behind that has been set back. File systems count in seconds at the coarsest.
const SET_BACK_SECONDS: i64 = 1;

/// The private roots of one build that no step has at the moment.
#[derive(Default)]
pub(super) struct PrivateRoots {
    free: Mutex<Vec<PrivateRoot>>,
    cleared: OnceLock<()>,
}

/// A directory that holds exactly a state.
pub(super) struct PrivateRoot {
    state: State,
    scratch: Scratch,
    /// All that is in it, as it was when it held exactly the state.
    stamps: Stamps,
    /// How many steps have had it.
    steps: u32,
}

/// What every path of a directory is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Stamps(BTreeMap<TreePath, FileStamp>);

impl PrivateRoots {
    /// A root that holds `below`: one that holds it, or part of it, is taken on; else one is made.
    pub(super) fn take(&self, site: &Site<'_>, below: &State) -> Result<PrivateRoot, Failure> {
        // Roots of builds that were killed may have secrets in them, which have no other place without mounts. What cannot be deleted now
        // is deleted by the next collection.
        self.cleared.get_or_init(|| drop(site.outside.store.empty_trash(site.workplace)));
        let found = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = |root: &PrivateRoot| {
                let own = below.layers().get(root.state.layers().len()..).unwrap_or_default();
                below.layers().starts_with(root.state.layers()) && own.iter().all(|layer| matches!(layer, LayerName::Own(_)))
            };
            let best = (0..free.len()).filter(|index| free.get(*index).is_some_and(fits));
            let best = best.max_by_key(|index| free.get(*index).map(|root| root.state.layers().len()));
            best.map(|index| free.swap_remove(index))
        };
        let mut root = match found {
            Some(root) => root,
            None => PrivateRoot::make(site, below)?,
        };
        root.advance(site, below)?;
        root.steps += 1;
        root.stamps.let_the_clock_move_on(&root.scratch.path().join("clock"), site.outside.cancel)?;
        Ok(root)
    }

    /// Gives a root back for later steps.
    pub(super) fn give_back(&self, root: PrivateRoot) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(root);
    }
}

impl PrivateRoot {
    fn make(site: &Site<'_>, state: &State) -> Result<PrivateRoot, Failure> {
        let scratch = site.outside.store.scratch()?;
        let mut root = PrivateRoot { state: state.clone(), scratch, stamps: Stamps::default(), steps: 0 };
        let path = root.path();
        std::fs::create_dir(&path).map_err(|source| Failure::File { path, source })?;
        let handle = root.open()?;
        let tree = Tree { links: Links::default(), ..(*site.layers.tree(state)?).clone() };
        checkout_tree(&tree, &site.layers.contents(state), &handle, site.outside.cancel)?;
        root.stamps = Stamps::of(&handle)?;
        Ok(root)
    }

    /// The root itself.
    pub(super) fn path(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    /// A directory beside it, for this step.
    pub(super) fn beside(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.scratch.path().join(format!("{name}-{}", self.steps));
        std::fs::create_dir(&path).map_err(|source| Failure::File { path: path.clone(), source })?;
        Ok(path)
    }

    /// Opened anew: a command may have moved anything.
    pub(super) fn open(&self) -> Result<LocalDirectory, Failure> {
        let path = self.path();
        LocalDirectory::open(&path).map_err(|source| Failure::File { path, source })
    }

    /// Puts the layers that are missing to `state` over what is there.
    fn advance(&mut self, site: &Site<'_>, state: &State) -> Result<(), Failure> {
        let (from, to) = (self.state.layers().len(), state.layers().len());
        if from == to {
            return Ok(());
        }
        let handle = self.open()?;
        for count in from + 1..=to {
            let next = state.prefix(count);
            let contents = site.layers.contents(&next);
            let difference = Difference { links: Links::default(), ..(*site.layers.difference(&next)?).clone() };
            checkout_difference(&difference, &contents, &Over(&handle), site.outside.cancel)?;
        }
        self.state = state.clone();
        self.stamps = Stamps::of(&handle)?;
        Ok(())
    }

    /// What is in it now, as a tree with the times that are on disk. `tree` is that of the state it held.
    pub(super) fn scan(&self, site: &Site<'_>, tree: &Tree, handle: &LocalDirectory) -> Result<Scanned, Failure> {
        let content = |(path, stamp): (&TreePath, &FileStamp)| match tree.get(path) {
            Some(Node::File(file)) => Some((*stamp, file.content)),
            Some(Node::Directory(_) | Node::Symlink(_) | Node::Special(_)) | None => None,
        };
        let known = Unchanged(self.stamps.0.iter().filter_map(content).collect());
        Ok(scan(handle, &known, site.outside.cancel)?)
    }

    /// Brings it to exactly `above`, which is what was found in it in normal form, as the state `state`; gives it back for later steps. A root
    /// that takes more than metadata and removals for that is given up.
    pub(super) fn settle(mut self, site: &Site<'_>, found: &Tree, above: &Tree, state: State) -> Result<(), Failure> {
        let handle = self.open()?;
        if self.bring_to(&handle, found, above)? {
            self.stamps = Stamps::of(&handle)?;
            self.state = state;
            site.roots.give_back(self);
        }
        Ok(())
    }

    fn bring_to(&self, handle: &LocalDirectory, found: &Tree, above: &Tree) -> Result<bool, Failure> {
        let mut wanted: BTreeMap<TreePath, Node> = above.walk().collect();
        let mut directories = vec![TreePath::root()];
        let mut next = vec![TreePath::root()];
        while let Some(directory) = next.pop() {
            for Listed { name, status } in handle.list(&directory)? {
                let path = directory.join(&name);
                let Some(node) = wanted.remove(&path) else {
                    handle.remove(&path)?;
                    continue;
                };
                if status.kind.node_kind() != Some(node.kind()) {
                    return Ok(false);
                }
                let is_touched = self.stamps.0.get(&path) != Some(&status.stamp());
                match &node {
                    Node::Directory(_) => {
                        next.push(path.clone());
                        directories.push(path);
                        continue;
                    }
                    Node::File(file) => match found.get(&path) {
                        Some(Node::File(as_found)) if as_found.content == file.content => {}
                        Some(_) | None => return Ok(false),
                    },
                    Node::Symlink(symlink) => {
                        if (ListedKind::Symlink { target: symlink.target.to_vec() }) != status.kind {
                            return Ok(false);
                        }
                    }
                    Node::Special(special) => {
                        if ListedKind::Special(special.kind) != status.kind {
                            return Ok(false);
                        }
                    }
                }
                if status.links > 1 {
                    // Another name of it may be here, or outside in a cache that it was linked from.
                    make_alone(handle, &path, &node).map_err(|source| DiskError::new("copy", &path, source))?;
                }
                if is_touched || status.links > 1 {
                    handle.set_metadata(&path, node.kind(), node.metadata())?;
                }
            }
        }
        // The root itself is never listed.
        wanted.remove(&TreePath::root());
        // Backwards, since whatever is removed from a directory changes its time.
        directories.sort();
        for path in directories.iter().rev() {
            if let Some(Node::Directory(directory)) = above.get(path) {
                handle.set_metadata(path, NodeKind::Directory, &directory.metadata)?;
            }
        }
        Ok(wanted.is_empty())
    }
}

/// Gives a name a file of its own.
fn make_alone(handle: &LocalDirectory, path: &TreePath, node: &Node) -> io::Result<()> {
    let disk = |error: DiskError| error.source;
    match node {
        Node::Directory(_) => {}
        Node::File(_) => {
            let mut from = handle.open(path).map_err(disk)?;
            handle.remove(path).map_err(disk)?;
            io::copy(&mut from, &mut handle.create_file(path).map_err(disk)?)?;
        }
        Node::Symlink(symlink) => {
            handle.remove(path).map_err(disk)?;
            handle.make_symlink(path, &symlink.target).map_err(disk)?;
        }
        Node::Special(special) => {
            handle.remove(path).map_err(disk)?;
            handle.make_special(path, special.kind).map_err(disk)?;
        }
    }
    Ok(())
}

impl Stamps {
    fn of(handle: &dyn DirectoryHandle) -> Result<Stamps, DiskError> {
        let mut stamps = BTreeMap::new();
        let mut next = vec![TreePath::root()];
        while let Some(directory) = next.pop() {
            for listed in handle.list(&directory)? {
                let path = directory.join(&listed.name);
                if listed.status.kind == ListedKind::Directory {
                    next.push(path.clone());
                }
                stamps.insert(path, listed.status.stamp());
            }
        }
        Ok(Stamps(stamps))
    }

    /// Waits until a change made from now on has another time than everything that is there, as a file that is written at `path` tells. Where
    /// the clock has been set back since, that may be long, and nothing counts as unchanged instead.
    fn let_the_clock_move_on(&mut self, path: &Path, cancel: &Cancel) -> Result<(), Failure> {
        let Some(newest) = self.0.values().map(|stamp| stamp.changed).max() else { return Ok(()) };
        let failed = |source| Failure::File { path: path.to_path_buf(), source };
        loop {
            std::fs::write(path, b"x").map_err(failed)?;
            let metadata = std::fs::metadata(path).map_err(failed)?;
            let nanoseconds = u32::try_from(std::os::unix::fs::MetadataExt::ctime_nsec(&metadata)).unwrap_or(0);
            let now = DiskTime { seconds: std::os::unix::fs::MetadataExt::ctime(&metadata), nanoseconds };
            if now > newest {
                return Ok(());
            }
            if newest.seconds.saturating_sub(now.seconds) > SET_BACK_SECONDS {
                self.0.clear();
                return Ok(());
            }
            if cancel.is_cancelled() {
                return Err(Failure::Cancelled);
            }
            #[expect(clippy::disallowed_methods, reason = "nothing tells of the clock of a file system")]
            std::thread::sleep(CLOCK_STEP);
        }
    }
}

/// The contents of files of which nothing has changed.
struct Unchanged(BTreeMap<FileStamp, Content>);

impl KnownContents for Unchanged {
    fn get(&self, stamp: &FileStamp) -> Option<Content> {
        self.0.get(stamp).copied()
    }

    fn put(&self, _stamp: FileStamp, _content: Content) {}
}

/// A part of a state that a step sees, as a directory of its own.
pub(super) struct Part {
    /// The file or directory.
    pub(super) path: PathBuf,
    top: PathBuf,
    stamps: Stamps,
}

impl Part {
    /// Makes the part of `state` that `path` means into an empty directory.
    pub(super) fn make(site: &Site<'_>, state: &State, path: &str, into: PathBuf) -> Result<Part, Failure> {
        let tree = site.layers.tree(state)?;
        let at = tree.resolve(path.as_bytes(), LastLink::Follow).map_err(super::steps::StepError::from)?;
        let name = crate::tree::Name::new(b"part").map_err(|_| Failure::Lost(Lost::Nothing))?;
        let node = match tree.get(&at).ok_or(Failure::Lost(Lost::Nothing))? {
            Node::Directory(_) => Node::Directory(Arc::clone(&tree.subtree(&at).unwrap_or_else(|| (*tree).clone()).root)),
            other @ (Node::File(_) | Node::Symlink(_) | Node::Special(_)) => other,
        };
        let metadata = Metadata { mode: 0o700, uid: 0, gid: 0, mtime: 0, xattrs: Xattrs::new() };
        let top = crate::tree::Directory::new(metadata, [(name.clone(), node)].into());
        let shown = TreePath::root().join(&name);
        let part = Tree::new(Arc::new(top));
        let handle = LocalDirectory::open(&into).map_err(|source| Failure::File { path: into.clone(), source })?;
        let contents = Moved { contents: &site.layers.contents(state), from: at, to: shown };
        checkout_tree(&part, &contents, &handle, site.outside.cancel)?;
        let stamps = Stamps::of(&handle)?;
        Ok(Part { path: into.join("part"), top: into, stamps })
    }

    /// A directory that is there already.
    pub(super) fn of(path: &Path) -> Result<Part, Failure> {
        let handle = LocalDirectory::open(path).map_err(|source| Failure::File { path: path.to_path_buf(), source })?;
        Ok(Part { path: path.to_path_buf(), top: path.to_path_buf(), stamps: Stamps::of(&handle)? })
    }

    /// The first path below it that is not as it was made, where there is one.
    pub(super) fn first_change(&self) -> Result<Option<TreePath>, Failure> {
        let handle = LocalDirectory::open(&self.top).map_err(|source| Failure::File { path: self.top.clone(), source })?;
        // The part itself has been moved there and back, which is a change of its inode.
        let settled = |mut stamps: Stamps| {
            stamps.0.iter_mut().filter(|(path, _)| path.depth() == 1).for_each(|(_, stamp)| stamp.changed = DiskTime::default());
            stamps
        };
        let (before, now) = (settled(self.stamps.clone()).0, settled(Stamps::of(&handle)?).0);
        let other = now.iter().filter(|(path, stamp)| before.get(path) != Some(stamp)).map(|(path, _)| path);
        let mut changed: Vec<&TreePath> = other.chain(before.keys().filter(|path| !now.contains_key(path))).collect();
        changed.sort_unstable();
        // A directory, which comes right before what is in it, changes with what is put there.
        let innermost = changed
            .iter()
            .zip(changed.iter().skip(1).map(Some).chain([None]))
            .find(|(path, next)| next.is_none_or(|next| next.below(path).is_none()));
        let below =
            |path: &TreePath| path.names().skip(usize::from(self.path != self.top)).fold(TreePath::root(), |at, name| at.join(&name));
        Ok(innermost.map(|(path, _)| below(path)))
    }
}

/// The bytes of a state's files under other paths.
pub(super) struct Moved<'a> {
    /// The bytes where they are.
    pub(super) contents: &'a dyn Contents,
    /// What is looked for,
    pub(super) from: TreePath,
    /// and where it is said to be.
    pub(super) to: TreePath,
}

impl Moved<'_> {
    fn place(&self, path: &TreePath) -> TreePath {
        path.below(&self.to).map_or_else(|| self.from.clone(), |rest| self.from.join_path(&rest))
    }
}

impl Contents for Moved<'_> {
    fn open(&self, path: &TreePath, content: &Content) -> io::Result<Box<dyn Read + Send>> {
        self.contents.open(&self.place(path), content)
    }

    fn file(&self, path: &TreePath, content: &Content) -> io::Result<Option<std::fs::File>> {
        self.contents.file(&self.place(path), content)
    }
}

/// A directory whose entries are replaced by what is made under their names.
struct Over<'a>(&'a LocalDirectory);

impl DirectoryHandle for Over<'_> {
    fn list(&self, directory: &TreePath) -> Result<Vec<Listed>, DiskError> {
        self.0.list(directory)
    }

    fn open(&self, file: &TreePath) -> Result<std::fs::File, DiskError> {
        self.0.open(file)
    }

    fn root_status(&self) -> Result<Status, DiskError> {
        self.0.root_status()
    }

    fn make_directory(&self, at: &TreePath) -> Result<(), DiskError> {
        match self.0.make_directory(at) {
            // A directory over a directory is merged with it.
            Err(_) if self.0.list(at).is_ok() => Ok(()),
            Err(error) if error.source.kind() == io::ErrorKind::AlreadyExists => {
                self.0.remove(at)?;
                self.0.make_directory(at)
            }
            other => other,
        }
    }

    fn create_file(&self, at: &TreePath) -> Result<std::fs::File, DiskError> {
        self.0.remove(at)?;
        self.0.create_file(at)
    }

    fn make_symlink(&self, at: &TreePath, target: &[u8]) -> Result<(), DiskError> {
        self.0.remove(at)?;
        self.0.make_symlink(at, target)
    }

    fn make_special(&self, at: &TreePath, kind: SpecialKind) -> Result<(), DiskError> {
        self.0.remove(at)?;
        self.0.make_special(at, kind)
    }

    fn make_whiteout(&self, at: &TreePath) -> Result<(), DiskError> {
        self.0.remove(at)
    }

    fn hard_link(&self, existing: &TreePath, new: &TreePath) -> Result<(), DiskError> {
        self.0.remove(new)?;
        self.0.hard_link(existing, new)
    }

    fn set_metadata(&self, at: &TreePath, kind: NodeKind, metadata: &Metadata) -> Result<(), DiskError> {
        self.0.set_metadata(at, kind, metadata)
    }

    fn set_opaque(&self, _directory: &TreePath) -> Result<(), DiskError> {
        // Differences of our own have none, and only they are put over something.
        Ok(())
    }

    fn remove(&self, at: &TreePath) -> Result<(), DiskError> {
        self.0.remove(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with one file, which was last changed so many seconds from now.
    fn changed(directory: &Path, seconds_from_now: i64) -> (TreePath, Stamps) {
        std::fs::write(directory.join("file"), "x").unwrap();
        let mut stamps = Stamps::of(&LocalDirectory::open(directory).unwrap()).unwrap();
        let path = stamps.0.keys().next().unwrap().clone();
        stamps.0.values_mut().for_each(|stamp| stamp.changed.seconds += seconds_from_now);
        (path, stamps)
    }

    #[test]
    fn a_clock_that_was_set_back_is_not_waited_for_and_nothing_counts_as_unchanged_then() {
        let directory = tempfile::tempdir().unwrap();
        let (_, mut stamps) = changed(directory.path(), 3600);
        stamps.let_the_clock_move_on(&directory.path().join("clock"), &Cancel::new()).unwrap();
        assert_eq!(stamps, Stamps::default());
    }

    #[test]
    fn a_clock_that_goes_is_waited_for_and_what_is_unchanged_counts_as_that() {
        let directory = tempfile::tempdir().unwrap();
        let (path, mut stamps) = changed(directory.path(), 0);
        let before = stamps.clone();
        stamps.let_the_clock_move_on(&directory.path().join("clock"), &Cancel::new()).unwrap();
        assert_eq!(stamps, before);
        std::fs::write(directory.path().join("file"), "y").unwrap();
        let after = Stamps::of(&LocalDirectory::open(directory.path()).unwrap()).unwrap();
        assert_ne!(after.0.get(&path), before.0.get(&path));
    }

    #[test]
    fn a_wait_for_the_clock_can_be_cancelled() {
        let directory = tempfile::tempdir().unwrap();
        let cancel = Cancel::new();
        cancel.cancel();
        // The clock may be there already on a machine that is slow.
        let mut results = (0..100).map(|_| changed(directory.path(), 1).1.let_the_clock_move_on(&directory.path().join("clock"), &cancel));
        assert!(results.any(|result| matches!(result, Err(Failure::Cancelled))));
    }
}
