//! An untrusted layer in, its difference and diff id out; and, in the same pass, the layer as a directory that an overlay can lie on.
//!
//! Source of truth: OCI image-spec 1.1, "Image Layer Filesystem Changeset", and `specs/layers.md`, section "Reading". Names are resolved
//! as data, against what this layer has written so far, before a disk is touched; so there is no link on disk to be followed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use lapstrake_cache::{Digest, Fingerprinter};

use super::decode::{Decoded, Encoding, Limits};
use super::hashed::Hashed;
use super::names::{BadName, Meaning, meaning, plain_path};
use super::reader::{EndMarker, ReadError, TarEntry, TarKind, TarReader};
use crate::event::Cancel;
use crate::tree::{
    Change, Content, Difference, DirectoryHandle, DiskError, Entry, File, InvalidDifference, Links, Metadata, Name, Node, NodeKind,
    Sharing, Special, SpecialKind, Symlink, Tree, TreePath, Xattrs, kept_xattrs,
};

/// A layer that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// What it changes, parents that it leaves out included.
    pub difference: Difference,
    /// SHA-256 of its tar stream, to be compared with what the image's config says.
    pub diff_id: Digest,
    /// Whether a parent was left out, so that the difference depends on the tree below.
    pub implicit_parents: bool,
}

/// A layer could not be read. What is in the directory until then is to be thrown away.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It is no archive that can be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Layers are compressed with gzip, zstd or not at all.
    #[error("the layer is compressed with xz, which layers never are")]
    Encoding,
    /// The name of an entry cannot be used.
    #[error("the layer is refused: entry `{}`", .name.escape_ascii())]
    Name {
        /// The name as written.
        name: Vec<u8>,
        /// Why.
        #[source]
        reason: BadName,
    },
    /// An entry cannot be in an image.
    #[error("the layer is refused: entry `{path}`: {reason}")]
    Entry {
        /// Where it would be.
        path: TreePath,
        /// Why.
        reason: Refusal,
    },
    /// A value in it is beyond what a tree can hold.
    #[error("the layer is refused")]
    Value(#[from] InvalidDifference),
    /// The directory could not be written.
    #[error("cannot unpack the layer")]
    Disk(#[from] DiskError),
}

/// Why an entry cannot be in an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Overlay file systems use it for removed entries.
    #[error("character device 0:0 marks removed entries in overlays")]
    OverlayWhiteout,
    /// The root is always a directory.
    #[error("the root must be a directory")]
    RootNoDirectory,
    /// A file where a directory is needed.
    #[error("`{0}` is no directory")]
    ParentNoDirectory(TreePath),
    /// Links that go round.
    #[error("there are too many symbolic links on the way")]
    TooManyLinks,
    /// Nothing there to link to. Docker's overlay driver does not look into lower layers either.
    #[error("the target of the hard link, `{0}`, is not in this layer before it")]
    LinkTargetMissing(TreePath),
    /// The target cannot be used.
    #[error("the target of the hard link, `{}`, is no path inside the layer", .0.escape_ascii())]
    LinkTargetName(Vec<u8>),
    /// Directories have one name.
    #[error("the target of the hard link, `{0}`, is a directory")]
    LinkToDirectory(TreePath),
    /// Only a file can mean removal.
    #[error("a whiteout must be a regular file")]
    WhiteoutNoFile,
}

/// Reads a layer: gzip, zstd or plain, as its first bytes tell.
///
/// Parents that the layer leaves out have the metadata that they have in `below`, where they are directories, else 0755 0:0 at time 0.
/// With `into`, which must be an empty directory, the layer is written there in the same pass as an overlay's lower directory: character
/// device 0:0 for what is removed, `user.overlay.opaque` where nothing of below remains, times and owners as in the layer.
///
/// # Errors
/// When the stream is no tar that all readers understand alike, goes beyond `limits`, names anything outside the root, or holds something
/// that no image can; when `into` cannot be written; when `cancel` is raised.
pub fn unpack(
    blob: Box<dyn Read + Send + '_>,
    below: &Tree,
    into: Option<&dyn DirectoryHandle>,
    limits: &Limits,
    cancel: &Cancel,
) -> Result<Unpacked, UnpackError> {
    read(blob, into, limits, cancel)?.finish(below, into)
}

/// A layer of which all was read, and not said yet what lies below it: layers can be read beside each other, and are finished in order.
#[derive(Debug)]
pub struct Unfinished {
    diff_id: Digest,
    entries: BTreeMap<TreePath, Entry>,
    whiteouts: BTreeSet<TreePath>,
    opaque: BTreeSet<TreePath>,
    implied: BTreeSet<TreePath>,
    groups: Vec<Group>,
}

/// The first part of [`unpack`], which needs nothing of what is below.
///
/// # Errors
/// As [`unpack`].
pub fn read(
    blob: Box<dyn Read + Send + '_>,
    into: Option<&dyn DirectoryHandle>,
    limits: &Limits,
    cancel: &Cancel,
) -> Result<Unfinished, UnpackError> {
    let decoded = Decoded::new(blob, limits, cancel)?;
    match decoded.encoding() {
        Encoding::Gzip | Encoding::Zstd | Encoding::Plain => {}
        Encoding::Xz | Encoding::Bzip2 => return Err(UnpackError::Encoding),
    }
    let mut reader = TarReader::new(Hashed::new(decoded), EndMarker::Optional, limits);
    let mut layer = Layer::new(into);
    while let Some(entry) = reader.next()? {
        layer.add(entry, &mut reader, limits)?;
    }
    let Layer { into: _, entries, whiteouts, opaque, implied, implied_bytes: _, groups, group_of: _, sharing: _, buffer: _ } = layer;
    Ok(Unfinished { diff_id: reader.into_source().into_digest(), entries, whiteouts, opaque, implied, groups })
}

/// The layer as far as it was read.
struct Layer<'a> {
    into: Option<&'a dyn DirectoryHandle>,
    entries: BTreeMap<TreePath, Entry>,
    whiteouts: BTreeSet<TreePath>,
    opaque: BTreeSet<TreePath>,
    /// Directories that were needed and not said, the root among them until it is said. What they are is known at the end.
    implied: BTreeSet<TreePath>,
    /// Bytes of their paths. A single name can ask for hundreds of them.
    implied_bytes: u64,
    /// Hard-link groups by number, and the number of each path that is in one.
    groups: Vec<Group>,
    group_of: BTreeMap<TreePath, usize>,
    sharing: Sharing,
    buffer: Vec<u8>,
}

/// Names of one file. What the file is stands here; under its names it may stand as it was before a later link.
#[derive(Debug)]
struct Group {
    members: BTreeSet<TreePath>,
    entry: Entry,
}

/// As many as the kernel follows.
const LINKS_FOLLOWED: usize = 40;
const BUFFER_BYTES: usize = 128 << 10;

impl<'a> Layer<'a> {
    fn new(into: Option<&'a dyn DirectoryHandle>) -> Layer<'a> {
        Layer {
            into,
            entries: BTreeMap::from([(TreePath::root(), Entry::Directory(UNSAID))]),
            whiteouts: BTreeSet::new(),
            opaque: BTreeSet::new(),
            implied: BTreeSet::from([TreePath::root()]),
            implied_bytes: 0,
            groups: Vec::new(),
            group_of: BTreeMap::new(),
            sharing: Sharing::default(),
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    fn add(&mut self, entry: TarEntry, content: &mut impl Read, limits: &Limits) -> Result<(), UnpackError> {
        let bad_name = |reason| UnpackError::Name { name: entry.name.clone(), reason };
        let whiteout_is_file = |at: &TreePath| match entry.kind {
            TarKind::File | TarKind::Link { .. } => Ok(()),
            TarKind::Directory | TarKind::Symlink { .. } | TarKind::Special(_) => refuse(at, Refusal::WhiteoutNoFile),
        };
        match meaning(&entry.name, limits).map_err(bad_name)? {
            Meaning::Bookkeeping => Ok(()),
            Meaning::Opaque { directory } => {
                whiteout_is_file(&directory)?;
                let directory = self.directory(&directory, limits)?;
                self.opaque.insert(directory);
                Ok(())
            }
            Meaning::Whiteout { parent, name } => {
                whiteout_is_file(&parent.join(&name))?;
                let path = self.directory(&parent, limits)?.join(&name);
                self.whiteouts.insert(path);
                Ok(())
            }
            Meaning::Entry { name: None, .. } => match entry.kind {
                TarKind::Directory => {
                    self.say_directory(TreePath::root(), &entry);
                    Ok(())
                }
                TarKind::File | TarKind::Link { .. } | TarKind::Symlink { .. } | TarKind::Special(_) => {
                    refuse(&TreePath::root(), Refusal::RootNoDirectory)
                }
            },
            Meaning::Entry { parent, name: Some(name) } => {
                let path = self.directory(&parent, limits)?.join(&name);
                if path.depth() > limits.path_names || path.as_bytes().len() > limits.path_bytes {
                    return Err(bad_name(BadName::TooLong));
                }
                self.put(path, entry, content, limits)
            }
        }
    }

    /// The directory that a path leads to through links of this layer; directories that are missing are made.
    fn directory(&mut self, path: &TreePath, limits: &Limits) -> Result<TreePath, UnpackError> {
        // Above a directory of this layer are only directories.
        if let Some(Entry::Directory(_)) = self.entries.get(path) {
            return Ok(path.clone());
        }
        let mut walk = Walk::new(path);
        while let Some(next) = walk.step(&self.entries) {
            match next.map_err(|reason| UnpackError::Entry { path: path.clone(), reason })? {
                Step::Directory => {}
                Step::Missing(at) => {
                    self.implied_bytes = self.implied_bytes.saturating_add(at.as_bytes().len() as u64);
                    if self.implied_bytes > limits.total_metadata_bytes {
                        return Err(ReadError::TooMuchMetadata { limit: limits.total_metadata_bytes }.into());
                    }
                    if self.entries.len() as u64 > limits.entries {
                        return Err(ReadError::TooManyEntries { limit: limits.entries }.into());
                    }
                    if let Some(into) = self.into {
                        into.make_directory(&at)?;
                    }
                    self.entries.insert(at.clone(), Entry::Directory(UNSAID));
                    self.implied.insert(at);
                }
                Step::NoDirectory(at) => return refuse(path, Refusal::ParentNoDirectory(at)),
            }
        }
        Ok(walk.at)
    }

    fn say_directory(&mut self, path: TreePath, tar: &TarEntry) {
        let metadata = Metadata { mode: tar.mode, uid: tar.uid, gid: tar.gid, mtime: tar.mtime, xattrs: kept_xattrs(&tar.xattrs) };
        self.implied.remove(&path);
        self.entries.insert(path, Entry::Directory(metadata));
    }

    fn put(&mut self, path: TreePath, tar: TarEntry, content: &mut impl Read, limits: &Limits) -> Result<(), UnpackError> {
        let merges = tar.kind == TarKind::Directory && matches!(self.entries.get(&path), Some(Entry::Directory(_)));
        if !merges {
            self.remove(&path)?;
        }
        let metadata = Metadata { mode: tar.mode, uid: tar.uid, gid: tar.gid, mtime: tar.mtime, xattrs: Xattrs::new() };
        let into = self.into;
        let entry = match tar.kind {
            TarKind::Directory => {
                if let (Some(into), false) = (into, merges) {
                    into.make_directory(&path)?;
                }
                // Metadata is set when nothing more comes into the directory.
                self.say_directory(path, &tar);
                return Ok(());
            }
            TarKind::Link { ref target } => return self.link(path, target, &metadata, limits),
            TarKind::File => {
                let content = self.copy_content(&path, content)?;
                let metadata = self.sharing.share(Metadata { xattrs: kept_xattrs(&tar.xattrs), ..metadata });
                Entry::File(File { metadata, content })
            }
            TarKind::Symlink { target } => {
                if let Some(into) = into {
                    into.make_symlink(&path, &target)?;
                }
                Entry::Symlink(Symlink { metadata: Metadata { mode: 0o777, ..metadata }, target: target.into() })
            }
            TarKind::Special(SpecialKind::Character { major: 0, minor: 0 }) => return refuse(&path, Refusal::OverlayWhiteout),
            TarKind::Special(kind) => {
                if let Some(into) = into {
                    into.make_special(&path, kind)?;
                }
                Entry::Special(Special { metadata, kind })
            }
        };
        if let Some(into) = into {
            into.set_metadata(&path, entry.kind(), entry.metadata())?;
        }
        self.entries.insert(path, entry);
        Ok(())
    }

    /// Gives an entry of this layer another name. As with Docker, what the link's header says of owner, mode and time is said of the file.
    fn link(&mut self, path: TreePath, target: &[u8], said: &Metadata, limits: &Limits) -> Result<(), UnpackError> {
        let Ok(named) = plain_path(target, limits) else {
            return refuse(&path, Refusal::LinkTargetName(target.to_vec()));
        };
        let missing = |at: TreePath| UnpackError::Entry { path: path.clone(), reason: Refusal::LinkTargetMissing(at) };
        let (Some(parent), Some(name)) = (named.parent(), named.name()) else {
            return refuse(&path, Refusal::LinkToDirectory(named));
        };
        let mut walk = Walk::new(&parent);
        while let Some(next) = walk.step(&self.entries) {
            match next.map_err(|reason| UnpackError::Entry { path: path.clone(), reason })? {
                Step::Directory => {}
                Step::Missing(_) | Step::NoDirectory(_) => return Err(missing(named)),
            }
        }
        let target = walk.at.join(&name);
        let number = match (self.entries.get(&target), self.group_of.get(&target)) {
            (None, _) => return Err(missing(named)),
            (Some(Entry::Directory(_)), _) => return refuse(&path, Refusal::LinkToDirectory(named)),
            (Some(Entry::File(_) | Entry::Symlink(_) | Entry::Special(_)), Some(&number)) => number,
            (Some(entry @ (Entry::File(_) | Entry::Symlink(_) | Entry::Special(_))), None) => {
                self.groups.push(Group { members: BTreeSet::from([target.clone()]), entry: entry.clone() });
                self.groups.len() - 1
            }
        };
        self.group_of.insert(target.clone(), number);
        self.group_of.insert(path.clone(), number);
        let Some(Group { members, entry }) = self.groups.get_mut(number) else { return Err(missing(named)) };
        members.insert(path.clone());
        let mode = if entry.kind() == NodeKind::Symlink { 0o777 } else { said.mode };
        let metadata = entry.metadata_mut();
        let was = metadata.clone();
        *metadata = Metadata { mode, uid: said.uid, gid: said.gid, mtime: said.mtime, xattrs: std::mem::take(&mut metadata.xattrs) };
        let changed = was != *metadata;
        if let Some(into) = self.into {
            into.hard_link(&target, &path)?;
            if changed {
                into.set_metadata(&path, entry.kind(), entry.metadata())?;
            }
        }
        self.entries.insert(path, entry.clone());
        Ok(())
    }

    /// Takes away what this layer has put at a path, with all that is below it.
    fn remove(&mut self, path: &TreePath) -> Result<(), UnpackError> {
        if !self.entries.contains_key(path) {
            return Ok(());
        }
        if let Some(into) = self.into {
            into.remove(path)?;
        }
        let gone: Vec<TreePath> = self.entries.range(path..).map(|(at, _)| at).take_while(|at| at.starts_with(path)).cloned().collect();
        for at in gone {
            self.entries.remove(&at);
            self.opaque.remove(&at);
            self.implied.remove(&at);
            if let Some(group) = self.group_of.remove(&at).and_then(|number| self.groups.get_mut(number)) {
                group.members.remove(&at);
            }
        }
        // A whiteout of the path itself is about lower layers and remains.
        let gone: Vec<TreePath> =
            self.whiteouts.range(path..).take_while(|at| at.starts_with(path)).filter(|at| *at != path).cloned().collect();
        for at in gone {
            self.whiteouts.remove(&at);
        }
        Ok(())
    }

    fn copy_content(&mut self, path: &TreePath, content: &mut impl Read) -> Result<Content, UnpackError> {
        let mut file = self.into.map(|into| into.create_file(path)).transpose()?;
        let mut hasher = Fingerprinter::new();
        let mut size = 0;
        loop {
            let count = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ReadError::from(error).into()),
            };
            let bytes = self.buffer.get(..count).unwrap_or_default();
            hasher.update(bytes);
            size += bytes.len() as u64;
            if let Some(file) = &mut file {
                file.write_all(bytes).map_err(|source| DiskError::new("write", path, source))?;
            }
        }
        Ok(Content { fingerprint: hasher.finish(), size })
    }
}

impl Unfinished {
    /// SHA-256 of its tar stream.
    #[must_use]
    pub const fn diff_id(&self) -> Digest {
        self.diff_id
    }

    /// Whether a parent was left out, so that the difference depends on the tree below.
    #[must_use]
    pub fn implicit_parents(&self) -> bool {
        !self.implied.is_empty() || self.opaque.contains(&TreePath::root())
    }

    /// The layer over `below`. `into` is what [`read`] was given.
    ///
    /// # Errors
    /// When it is not consistent, or `into` cannot be written.
    pub fn finish(mut self, below: &Tree, into: Option<&dyn DirectoryHandle>) -> Result<Unpacked, UnpackError> {
        let diff_id = self.diff_id;
        let implicit_parents = self.implicit_parents();
        self.hide_root(below);
        if self.entries.len() == 1 && self.whiteouts.is_empty() && self.implied.contains(&TreePath::root()) {
            return Ok(Unpacked { difference: Difference::default(), diff_id, implicit_parents });
        }
        // What is gone from below and here again shows nothing of below.
        let again = self.whiteouts.iter().filter(|path| matches!(self.entries.get(*path), Some(Entry::Directory(_)))).cloned();
        self.opaque.extend(again);
        let implied: Vec<(TreePath, Metadata)> = self.implied.iter().map(|path| (path.clone(), self.metadata_below(below, path))).collect();
        self.entries.extend(implied.into_iter().map(|(path, metadata)| (path, Entry::Directory(metadata))));
        for Group { members, entry } in &self.groups {
            self.entries.extend(members.iter().map(|member| (member.clone(), entry.clone())));
        }

        let gone: Vec<TreePath> = self.whiteouts.into_iter().filter(|path| !self.entries.contains_key(path)).collect();
        if let Some(into) = into {
            for path in &gone {
                into.make_whiteout(path)?;
            }
        }
        let made = self.entries.into_iter().map(|(path, entry)| (path, Change::Put(entry)));
        let entries = made.chain(gone.into_iter().map(|path| (path, Change::Whiteout))).collect();
        let links = Links::new(self.groups.into_iter().map(|group| group.members.into_iter().collect()));
        let difference = Difference { entries, links, opaque: self.opaque };
        difference.check()?;
        if let Some(into) = into {
            // What is inside comes first: it would change the directory's time.
            for (path, change) in difference.entries.iter().rev() {
                if let Change::Put(Entry::Directory(metadata)) = change {
                    into.set_metadata(path, NodeKind::Directory, metadata)?;
                    if difference.opaque.contains(path) {
                        into.set_opaque(path)?;
                    }
                }
            }
        }
        Ok(Unpacked { difference, diff_id, implicit_parents })
    }

    /// What a directory has that the layer needs and does not say: what it has below, where it still shows.
    fn metadata_below(&self, below: &Tree, path: &TreePath) -> Metadata {
        let mut above = Some(path.clone());
        while let Some(at) = above {
            above = at.parent();
            if self.whiteouts.contains(&at) || above.as_ref().is_some_and(|parent| self.opaque.contains(parent)) {
                return UNSAID;
            }
        }
        match below.get(path) {
            Some(Node::Directory(directory)) => directory.metadata.clone(),
            None | Some(Node::File(_) | Node::Symlink(_) | Node::Special(_)) => UNSAID,
        }
    }

    /// Says one by one what an opaque root says at once: overlays do not look for the mark on their roots.
    fn hide_root(&mut self, below: &Tree) {
        if self.opaque.remove(&TreePath::root()) {
            // Where this layer has the name too, that makes its directory opaque.
            self.whiteouts.extend(below.root.entries.keys().map(|name| TreePath::root().join(name)));
        }
    }
}

/// A directory of which nothing is known.
const UNSAID: Metadata = Metadata { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: Xattrs::new() };

fn refuse<T>(path: &TreePath, reason: Refusal) -> Result<T, UnpackError> {
    Err(UnpackError::Entry { path: path.clone(), reason })
}

/// A walk down a path through what a layer has written so far. Links are followed inside the root: `/` and too many `..` lead to it.
struct Walk {
    at: TreePath,
    /// The names still to go, the next one last.
    ahead: Vec<Vec<u8>>,
    links: usize,
}

enum Step {
    /// It went to a directory.
    Directory,
    /// It went to where nothing is.
    Missing(TreePath),
    /// Something that is no directory is in the way.
    NoDirectory(TreePath),
}

impl Walk {
    fn new(path: &TreePath) -> Walk {
        let mut ahead: Vec<Vec<u8>> = path.names().map(|name| name.as_bytes().to_vec()).collect();
        ahead.reverse();
        Walk { at: TreePath::root(), ahead, links: 0 }
    }

    fn step(&mut self, entries: &BTreeMap<TreePath, Entry>) -> Option<Result<Step, Refusal>> {
        let name = self.ahead.pop()?;
        match name.as_slice() {
            b"" | b"." => return Some(Ok(Step::Directory)),
            b".." => {
                self.at = self.at.parent().unwrap_or_default();
                return Some(Ok(Step::Directory));
            }
            _ => {}
        }
        // Names in a link's target need not be names of a file system.
        let Ok(name) = Name::new(&name) else { return Some(Ok(Step::NoDirectory(self.at.clone()))) };
        let next = self.at.join(&name);
        Some(Ok(match entries.get(&next) {
            Some(Entry::Directory(_)) => {
                self.at = next;
                Step::Directory
            }
            None => {
                self.at = next.clone();
                Step::Missing(next)
            }
            Some(Entry::File(_) | Entry::Special(_)) => Step::NoDirectory(next),
            Some(Entry::Symlink(symlink)) => {
                self.links += 1;
                if self.links > LINKS_FOLLOWED {
                    return Some(Err(Refusal::TooManyLinks));
                }
                if symlink.target.starts_with(b"/") {
                    self.at = TreePath::root();
                }
                self.ahead.extend(symlink.target.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec));
                Step::Directory
            }
        }))
    }
}
