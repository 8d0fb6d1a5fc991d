//! A directory on disk in, a tree with the fingerprints of all contents out.
//!
//! The result depends on the directory alone: not on the order in which it lists, nor on the number of threads.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::contents::Settled;
use super::hash::{self, Threads};
use super::ignore::Decided;
use super::ordered::Ordered;
use super::{
    Change, Content, Difference, DirectoryHandle, DiskError, Entry, File, FileStamp, KnownContents, Links, Listed, ListedKind,
    MAXIMUM_DEPTH, Metadata, Opaque, Patterns, Sharing, Special, Status, Symlink, Tree, TreePath, Xattrs, kept_xattrs,
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
    plain(handle, &Patterns::none(), Kept::All, Effort::USUAL, known, cancel)
}

/// Reads a build context without what the patterns leave out. Directories that are left out are not even listed unless something below
/// them may be taken back.
///
/// Of owners, times, attributes and hard links a context's files have none: 0:0, 0, and each a file of its own. Their modes are as on disk.
/// Each file that is read is read in the state in which it was listed; what is changed after it was read is not seen, nor that two files are
/// of different times. With [`Unread`](super::Unread) contents none is.
///
/// # Errors
/// As [`scan`], for what is not left out.
pub fn scan_context(
    handle: &dyn DirectoryHandle,
    ignore: &Patterns,
    known: &dyn KnownContents,
    cancel: &Cancel,
) -> Result<Scanned, ScanError> {
    plain(handle, ignore, Kept::Modes, Effort::USUAL, known, cancel)
}

/// Reads a directory as files.
pub(super) fn plain(
    handle: &dyn DirectoryHandle,
    ignore: &Patterns,
    kept: Kept,
    effort: Effort,
    known: &dyn KnownContents,
    cancel: &Cancel,
) -> Result<Scanned, ScanError> {
    let mut tree = Ordered::new(kept.metadata(&handle.root_status()?));
    let reading = Reading { handle, effort, known, cancel, settled: Settled::now(), several: BTreeMap::new() };
    let walked = Walk::new(Manner::Plain { ignore, kept }, reading).run(|path, found| match found {
        Found::Entry(entry) => tree.put(&path, entry),
        Found::IfNotEmpty(metadata) => tree.put_if_not_empty(&path, metadata),
        Found::Whiteout => {}
    })?;
    Ok(Scanned { tree: Tree { root: tree.finish(), links: walked.links }, sockets: walked.sockets })
}

/// An upper directory as a change, and its sockets.
pub(super) fn upper(
    handle: &dyn DirectoryHandle,
    known: &dyn KnownContents,
    cancel: &Cancel,
) -> Result<(Difference, Vec<TreePath>), ScanError> {
    let root = Kept::All.metadata(&handle.root_status()?);
    let mut entries = vec![(TreePath::root(), Change::Put(Entry::Directory(root)))];
    let reading = Reading { handle, effort: Effort::USUAL, known, cancel, settled: Settled::now(), several: BTreeMap::new() };
    let walked = Walk::new(Manner::Upper, reading).run(|path, found| match found {
        Found::Entry(entry) => entries.push((path, Change::Put(entry))),
        Found::Whiteout => entries.push((path, Change::Whiteout)),
        Found::IfNotEmpty(_) => {}
    })?;
    let difference = Difference { entries: entries.into_iter().collect(), links: walked.links, opaque: walked.opaque };
    Ok((difference, walked.sockets))
}

/// How much is done at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    pub(super) threads: Threads,
    /// So many entries are taken note of before contents are read. All cores wait for the last file of them, so they are many; and they
    /// take some twenty MiB.
    pub(super) entries_at_a_time: usize,
}

impl Effort {
    pub(super) const USUAL: Effort = Effort { threads: Threads::Cores, entries_at_a_time: 1 << 16 };
}

/// How to understand what is on disk.
#[derive(Debug, Clone, Copy)]
enum Manner<'a> {
    /// As files.
    Plain { ignore: &'a Patterns, kept: Kept },
    /// As the upper directory of an overlay.
    Upper,
}

/// What of the metadata on disk counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// All of it.
    All,
    /// Modes alone.
    Modes,
}

impl Kept {
    fn metadata(self, status: &Status) -> Metadata {
        let mode = status.mode & 0o7777;
        match self {
            Kept::All => {
                Metadata { mode, uid: status.uid, gid: status.gid, mtime: status.modified.seconds, xattrs: kept_xattrs(&status.xattrs) }
            }
            Kept::Modes => Metadata { mode, uid: 0, gid: 0, mtime: 0, xattrs: Xattrs::new() },
        }
    }
}

/// What was found under a name.
enum Found {
    Entry(Entry),
    /// A directory that was left out: it counts only when something in it was taken back.
    IfNotEmpty(Metadata),
    /// It is removed. Only in upper directories.
    Whiteout,
}

/// What was found besides entries.
struct Walked {
    /// None where modes alone count.
    links: Links,
    opaque: BTreeSet<TreePath>,
    /// In order.
    sockets: Vec<TreePath>,
}

/// Entries whose contents may still have to be read.
enum Listing {
    Done(Found),
    File { metadata: Arc<Metadata>, stamp: FileStamp, names: Names },
}

/// How many names a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    One,
    Several,
}

/// A walk through a directory, which reads the contents of what it found from time to time.
struct Walk<'a> {
    manner: Manner<'a>,
    reading: Reading<'a>,
    /// What was found since, in the order of the paths.
    listings: Vec<(TreePath, Listing)>,
    sharing: Sharing,
    opaque: BTreeSet<TreePath>,
    sockets: Vec<TreePath>,
    /// The state and the names of each inode that has several.
    inodes: BTreeMap<(u64, u64), (FileStamp, Vec<TreePath>)>,
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
        if path.depth() >= MAXIMUM_DEPTH {
            return Err(ScanError::TooDeep { path });
        }
        let mut listed = handle.list(&path)?;
        listed.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(Level { path, decided, rest: listed.into_iter() })
    }
}

impl<'a> Walk<'a> {
    fn new(manner: Manner<'a>, reading: Reading<'a>) -> Walk<'a> {
        Walk {
            manner,
            reading,
            listings: Vec::new(),
            sharing: Sharing::default(),
            opaque: BTreeSet::new(),
            sockets: Vec::new(),
            inodes: BTreeMap::new(),
        }
    }

    /// Gives everything below the root in the order of the paths.
    fn run(mut self, mut give: impl FnMut(TreePath, Found)) -> Result<Walked, ScanError> {
        let (handle, cancel) = (self.reading.handle, self.reading.cancel);
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
            if self.listings.len() >= self.reading.effort.entries_at_a_time {
                self.reading.read(std::mem::take(&mut self.listings), &mut give)?;
            }
        }
        let Walk { manner: _, mut reading, listings, sharing: _, opaque, mut sockets, inodes } = self;
        reading.read(listings, &mut give)?;
        sockets.sort();
        Ok(Walked { links: Links::new(inodes.into_values().map(|(_, paths)| paths)), opaque, sockets })
    }

    /// Takes note of what is listed; what was decided of it where it is a directory to walk through.
    fn listed(&mut self, path: &TreePath, Listed { name, status }: Listed, decided: Decided) -> Result<Option<Decided>, ScanError> {
        let (decided, kept) = match self.manner {
            Manner::Plain { ignore, kept } => {
                let decided = ignore.decide(decided, path);
                if ignore.leaves_out(decided) {
                    if status.kind == ListedKind::Directory && ignore.may_change_below(decided, path) {
                        self.listings.push((path.clone(), Listing::Done(Found::IfNotEmpty(kept.metadata(&status)))));
                        return Ok(Some(decided));
                    }
                    return Ok(None);
                }
                (decided, kept)
            }
            Manner::Upper => {
                upper_is_understood(path, &status)?;
                if name.as_bytes().starts_with(b".wh.") && status.kind != ListedKind::Whiteout {
                    return Err(ScanError::WhiteoutName { path: path.clone() });
                }
                (decided, Kept::All)
            }
        };
        let is_directory = status.kind == ListedKind::Directory;
        self.entry(path.clone(), status, kept)?;
        Ok(is_directory.then_some(decided))
    }

    fn entry(&mut self, path: TreePath, status: Status, kept: Kept) -> Result<(), ScanError> {
        let metadata = kept.metadata(&status);
        let names = if status.links > 1 { Names::Several } else { Names::One };
        let stamp = status.stamp();
        let listing = match status.kind {
            ListedKind::Directory => {
                if status.opaque == Opaque::Yes && matches!(self.manner, Manner::Upper) {
                    self.opaque.insert(path.clone());
                }
                self.listings.push((path, Listing::Done(Found::Entry(Entry::Directory(metadata)))));
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
                        self.listings.push((path, Listing::Done(Found::Whiteout)));
                        Ok(())
                    }
                };
            }
            ListedKind::File => Listing::File { metadata: self.sharing.share(metadata), stamp, names },
            ListedKind::Symlink { target } => {
                let metadata = Metadata { mode: 0o777, ..metadata };
                Listing::Done(Found::Entry(Entry::Symlink(Symlink { metadata, target: target.into() })))
            }
            ListedKind::Special(kind) => Listing::Done(Found::Entry(Entry::Special(Special { metadata, kind }))),
        };
        if names == Names::Several && kept == Kept::All {
            // Names of one file are equal in a tree.
            let (first, paths) = self.inodes.entry((stamp.device, stamp.inode)).or_insert_with(|| (stamp, Vec::new()));
            if *first != stamp {
                return Err(ScanError::Changed { path });
            }
            paths.push(path.clone());
        }
        self.listings.push((path, listing));
        Ok(())
    }
}

/// Puts contents to what was listed.
struct Reading<'a> {
    handle: &'a dyn DirectoryHandle,
    effort: Effort,
    known: &'a dyn KnownContents,
    cancel: &'a Cancel,
    settled: Settled,
    /// Files with several names that were read: each is read once.
    several: BTreeMap<FileStamp, Content>,
}

impl Reading<'_> {
    /// Gives entries with their contents, in their order.
    fn read(&mut self, listings: Vec<(TreePath, Listing)>, give: &mut impl FnMut(TreePath, Found)) -> Result<(), ScanError> {
        let mut known = BTreeMap::new();
        let mut numbers = Vec::new();
        let mut jobs = Vec::new();
        let mut asked = BTreeSet::new();
        for (number, (path, listing)) in listings.iter().enumerate() {
            let Listing::File { metadata: _, stamp, names } = listing else { continue };
            if let Some(content) = self.known.get(stamp).filter(|content| content.size == stamp.size) {
                known.insert(number, content);
            } else if *names == Names::One || (!self.several.contains_key(stamp) && asked.insert(*stamp)) {
                numbers.push(number);
                jobs.push((path.clone(), Content::unread(stamp)));
            }
        }
        for (number, (stamp, content)) in numbers.into_iter().zip(hash::contents(self.handle, &jobs, self.effort.threads, self.cancel)?) {
            if self.settled.shows_changes_of(&stamp) {
                self.known.put(stamp, content);
            }
            if asked.contains(&stamp) {
                self.several.insert(stamp, content);
            }
            known.insert(number, content);
        }
        for (number, (path, listing)) in listings.into_iter().enumerate() {
            match listing {
                Listing::Done(found) => give(path, found),
                Listing::File { metadata, stamp, names: _ } => {
                    if let Some(content) = known.get(&number).or_else(|| self.several.get(&stamp)).copied() {
                        give(path, Found::Entry(Entry::File(File { metadata, content })));
                    }
                }
            }
        }
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
