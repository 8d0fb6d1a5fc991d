//! A directory on disk in, a tree with the fingerprints of all contents out.
//!
//! The result depends on the directory alone: not on the order in which it lists, nor on the number of threads.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::hash::{self, Job, Threads};
use super::ignore::Decided;
use super::{
    Change, Content, Difference, DirectoryHandle, DiskError, Entry, File, FileStamp, KnownContents, Links, Listed, ListedKind,
    MAXIMUM_DEPTH, Metadata, Opaque, Patterns, Special, Status, Symlink, Tree, TreePath, kept_xattrs,
};
use crate::event::Cancel;

/// A directory could not be read into a tree.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The directory or something in it cannot be reached.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: TreePath,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file is not as it was a moment ago.
    #[error("`{path}` was changed while it was being read; try again when nothing writes to it")]
    Changed {
        /// The file.
        path: TreePath,
    },
    /// A name that means something else in a layer.
    #[error("`{path}` cannot be in an image: in a layer, names that begin with `.wh.` stand for removed files")]
    WhiteoutName {
        /// The file.
        path: TreePath,
    },
    /// A device that means something else in an overlay.
    #[error("`{path}` is the character device 0:0, by which overlay file systems mark removed files")]
    WhiteoutDevice {
        /// The device.
        path: TreePath,
    },
    /// An overlay was mounted with options that keep data elsewhere.
    #[error("`{path}` has the overlay attribute `{attribute}`: its contents are not all here")]
    Elsewhere {
        /// The file or directory.
        path: TreePath,
        /// The attribute's name.
        attribute: &'static str,
    },
    /// Directories are in each other without end.
    #[error("`{path}` is more than {MAXIMUM_DEPTH} names deep")]
    TooDeep {
        /// The directory.
        path: TreePath,
    },
    /// Stopping was asked for.
    #[error("cancelled")]
    Cancelled,
}

/// What was found in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// All of it.
    pub tree: Tree,
    /// Sockets, which no image can hold, in order; they are not in the tree.
    pub sockets: Vec<TreePath>,
}

/// Reads a directory with owners, modes, times (whole seconds) and kept attributes as they are on disk.
///
/// # Errors
/// When something cannot be read, changes meanwhile, or is a character device 0:0; when `cancel` says so.
pub fn scan(handle: &dyn DirectoryHandle, known: &dyn KnownContents, cancel: &Cancel) -> Result<Scanned, ScanError> {
    scan_ignoring(handle, &Patterns::none(), known, cancel)
}

/// As [`scan`], without what the patterns leave out. Directories that are left out are not even listed unless something below them may
/// be taken back.
///
/// # Errors
/// As [`scan`], for what is not left out.
pub fn scan_ignoring(
    handle: &dyn DirectoryHandle,
    ignore: &Patterns,
    known: &dyn KnownContents,
    cancel: &Cancel,
) -> Result<Scanned, ScanError> {
    let read = read(handle, Manner::Plain { ignore }, Threads::Cores, known, cancel)?;
    Ok(Scanned { tree: Tree::empty(read.root).apply(&read.difference), sockets: read.sockets })
}

/// How to understand what is on disk.
#[derive(Debug, Clone, Copy)]
pub(super) enum Manner<'a> {
    /// As files.
    Plain { ignore: &'a Patterns },
    /// As the upper directory of an overlay.
    Upper,
}

/// A directory as a change: whiteouts and opaque directories only of an upper directory.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) root: Metadata,
    pub(super) difference: Difference,
    pub(super) sockets: Vec<TreePath>,
}

pub(super) fn read(
    handle: &dyn DirectoryHandle,
    manner: Manner<'_>,
    threads: Threads,
    known: &dyn KnownContents,
    cancel: &Cancel,
) -> Result<Read, ScanError> {
    let settled_before = settled_before();
    let status = handle.root_status()?;
    let mut walk = Walk { manner, found: Vec::new(), opaque: BTreeSet::new(), sockets: Vec::new(), inodes: BTreeMap::new() };
    let root = metadata(&status);
    walk.found.push((TreePath::root(), Found::Known(Change::Put(Entry::Directory(root.clone())))));
    walk.below(handle, cancel)?;
    let Walk { manner: _, found, opaque, mut sockets, inodes } = walk;
    let links = Links::new(inodes.into_values());
    let entries = with_contents(handle, found, settled_before, threads, known, cancel)?;
    sockets.sort();
    Ok(Read { root, difference: Difference { entries, links, opaque }, sockets })
}

struct Walk<'a> {
    manner: Manner<'a>,
    /// In the order of the paths.
    found: Vec<(TreePath, Found)>,
    opaque: BTreeSet<TreePath>,
    sockets: Vec<TreePath>,
    /// The names of each inode that has several.
    inodes: BTreeMap<(u64, u64), Vec<TreePath>>,
}

/// A directory that is being walked through.
struct Level {
    path: TreePath,
    decided: Decided,
    rest: std::vec::IntoIter<Listed>,
}

impl Level {
    fn open(handle: &dyn DirectoryHandle, path: TreePath, decided: Decided, cancel: &Cancel) -> Result<Level, ScanError> {
        if cancel.is_cancelled() {
            return Err(ScanError::Cancelled);
        }
        if path.names().count() >= MAXIMUM_DEPTH {
            return Err(ScanError::TooDeep { path });
        }
        let mut listed = handle.list(&path)?;
        listed.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(Level { path, decided, rest: listed.into_iter() })
    }
}

/// What was found under a name.
enum Found {
    /// All is known about it.
    Known(Change),
    /// The content is not known yet.
    File { metadata: Metadata, stamp: FileStamp },
    /// A directory that was left out: it counts only when something in it was taken back.
    IfNotEmpty(Metadata),
}

impl Walk<'_> {
    /// Walks in the order of the paths: sorting what is sorted costs nothing later.
    fn below(&mut self, handle: &dyn DirectoryHandle, cancel: &Cancel) -> Result<(), ScanError> {
        let mut levels = vec![Level::open(handle, TreePath::root(), Decided::default(), cancel)?];
        while let Some(level) = levels.last_mut() {
            let Some(listed) = level.rest.next() else {
                levels.pop();
                continue;
            };
            let path = level.path.join(&listed.name);
            let decided = level.decided;
            if let Some(decided) = self.listed(&path, listed, decided)? {
                levels.push(Level::open(handle, path, decided, cancel)?);
            }
        }
        Ok(())
    }

    /// Takes note of what is listed; what was decided of it where it is a directory to walk through.
    fn listed(&mut self, path: &TreePath, Listed { name, status }: Listed, decided: Decided) -> Result<Option<Decided>, ScanError> {
        let decided = match self.manner {
            Manner::Plain { ignore } => {
                let decided = ignore.decide(decided, path);
                if ignore.leaves_out(decided) {
                    if status.kind == ListedKind::Directory && ignore.may_take_back_below(decided, path) {
                        self.found.push((path.clone(), Found::IfNotEmpty(metadata(&status))));
                        return Ok(Some(decided));
                    }
                    return Ok(None);
                }
                decided
            }
            Manner::Upper => {
                upper_is_understood(path, &status)?;
                if name.as_bytes().starts_with(b".wh.") && status.kind != ListedKind::Whiteout {
                    return Err(ScanError::WhiteoutName { path: path.clone() });
                }
                decided
            }
        };
        let is_directory = status.kind == ListedKind::Directory;
        self.entry(path.clone(), status)?;
        Ok(is_directory.then_some(decided))
    }

    fn entry(&mut self, path: TreePath, status: Status) -> Result<(), ScanError> {
        let metadata = metadata(&status);
        let has_more_names = status.links > 1;
        let stamp = status.stamp();
        let found = match status.kind {
            ListedKind::Directory => {
                if status.opaque == Opaque::Yes && matches!(self.manner, Manner::Upper) {
                    self.opaque.insert(path.clone());
                }
                self.found.push((path, Found::Known(Change::Put(Entry::Directory(metadata)))));
                return Ok(());
            }
            ListedKind::Socket => {
                self.sockets.push(path);
                return Ok(());
            }
            ListedKind::Whiteout => {
                return match self.manner {
                    Manner::Plain { .. } => Err(ScanError::WhiteoutDevice { path }),
                    Manner::Upper => {
                        self.found.push((path, Found::Known(Change::Whiteout)));
                        Ok(())
                    }
                };
            }
            ListedKind::File => Found::File { metadata, stamp },
            ListedKind::Symlink { target } => {
                let metadata = Metadata { mode: 0o777, ..metadata };
                Found::Known(Change::Put(Entry::Symlink(Symlink { metadata, target })))
            }
            ListedKind::Special(kind) => Found::Known(Change::Put(Entry::Special(Special { metadata, kind }))),
        };
        if has_more_names {
            self.inodes.entry((stamp.device, stamp.inode)).or_default().push(path.clone());
        }
        self.found.push((path, found));
        Ok(())
    }
}

/// An upper directory must hold all of its files' data under their own names.
fn upper_is_understood(path: &TreePath, status: &Status) -> Result<(), ScanError> {
    for attribute in ["user.overlay.redirect", "user.overlay.metacopy"] {
        if status.xattrs.get(attribute.as_bytes()).is_some() {
            return Err(ScanError::Elsewhere { path: path.clone(), attribute });
        }
    }
    Ok(())
}

fn metadata(status: &Status) -> Metadata {
    Metadata {
        mode: status.mode & 0o7777,
        uid: status.uid,
        gid: status.gid,
        mtime: status.modified.seconds,
        xattrs: kept_xattrs(&status.xattrs),
    }
}

fn with_contents(
    handle: &dyn DirectoryHandle,
    found: Vec<(TreePath, Found)>,
    settled_before: i64,
    threads: Threads,
    known: &dyn KnownContents,
    cancel: &Cancel,
) -> Result<BTreeMap<TreePath, Change>, ScanError> {
    // One job per inode and state, so that a file with several names is read once.
    let mut jobs: BTreeMap<FileStamp, TreePath> = BTreeMap::new();
    let mut known_of = |(path, found): &(TreePath, Found)| -> Option<Content> {
        let Found::File { metadata: _, stamp } = found else { return None };
        let content = known.get(stamp).filter(|content| content.size == stamp.size);
        if content.is_none() {
            jobs.entry(*stamp).or_insert_with(|| path.clone());
        }
        content
    };
    let known_before: Vec<Option<Content>> = found.iter().map(&mut known_of).collect();
    let mut jobs: Vec<Job> = jobs.into_iter().map(|(stamp, path)| Job { path, stamp }).collect();
    jobs.sort_by(|one, other| one.path.cmp(&other.path));
    let mut read: BTreeMap<FileStamp, Content> = BTreeMap::new();
    for (job, content) in jobs.iter().zip(hash::contents(handle, &jobs, threads, cancel)?) {
        if job.stamp.modified.seconds < settled_before && job.stamp.changed.seconds < settled_before {
            known.put(job.stamp, content);
        }
        read.insert(job.stamp, content);
    }
    let mut entries: Vec<(TreePath, Change)> = Vec::with_capacity(found.len());
    let mut in_question = Vec::new();
    for ((path, found), known) in found.into_iter().zip(known_before) {
        match found {
            Found::Known(change) => entries.push((path, change)),
            Found::File { metadata, stamp } => {
                if let Some(content) = known.or_else(|| read.get(&stamp).copied()) {
                    entries.push((path, Change::Put(Entry::File(File { metadata, content }))));
                }
            }
            Found::IfNotEmpty(metadata) => in_question.push((path, metadata)),
        }
    }
    let mut entries: BTreeMap<TreePath, Change> = entries.into_iter().collect();
    // The deepest first: a directory may count only for one in it that counts.
    in_question.sort_by(|(one, _), (other, _)| other.cmp(one));
    for (path, metadata) in in_question {
        if entries.range(&path..).next().is_some_and(|(first, _)| first.starts_with(&path)) {
            entries.insert(path, Change::Put(Entry::Directory(metadata)));
        }
    }
    Ok(entries)
}

/// Times from this on are too young: a file could change once more without its times showing it.
#[expect(clippy::disallowed_methods, reason = "decides only whether a fingerprint is remembered, never what it is")]
fn settled_before() -> i64 {
    /// The coarsest clock of a file system, FAT's.
    const COARSEST: Duration = Duration::from_secs(2);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.saturating_sub(COARSEST).as_secs()).unwrap_or(0)
}
