//! Differences as canonical bytes and back. One difference has one encoding; anything else is refused.
//!
//! All numbers have the little end first. The bytes are: the magic; the number of entries (u32) and each entry in order of paths; the
//! number of opaque directories (u32) and their paths in order; the number of link groups (u32), each with the number of its paths
//! (u32) and the paths in order. A path, target, attribute name or value is its length (u32) and its bytes. An entry is its path, a
//! byte for the sort (see [`Sort`]) and what the sort needs: metadata are mode (u16), uid, gid (u32), time (i64), the number of
//! attributes (u32) and these in order of names; then a file has 32 bytes of fingerprint and its size (u64), a link its target, a
//! device its two numbers (u32).

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{self, Write};

use lapstrake_cache::{Fingerprint, Fingerprinter};

use super::{
    Change, Content, Difference, Entry, File, InvalidPath, Links, MAXIMUM_DEPTH, Metadata, Sharing, Special, SpecialKind, Symlink,
    TreePath, Xattrs,
};

const MAGIC: &[u8] = b"lapstrake difference 1\n";

/// Bytes that are encoded at a time, or a little more.
const PART: usize = 64 << 10;

/// The kernel's limit for the name of an extended attribute.
const MAXIMUM_XATTR_NAME: usize = 255;
/// The kernel's limit for the value of an extended attribute.
const MAXIMUM_XATTR_VALUE: usize = 65536;
/// The kernel's limit for where a link points, its end mark left aside.
const MAXIMUM_TARGET: usize = 4095;

/// The bytes are no difference, or a difference breaks the rules of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDifference {
    /// Not the format that this version writes.
    #[error("these bytes are no difference of format 1")]
    Magic,
    /// The bytes end too early.
    #[error("the difference ends too early")]
    Short,
    /// There are bytes after the end.
    #[error("there are bytes after the end of the difference")]
    Long,
    /// Something stands in it twice or not in order.
    #[error("`{path}` stands twice or out of order")]
    Order {
        /// Where.
        path: TreePath,
    },
    /// A path is none.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// Something about one path is wrong.
    #[error("`{path}`: {reason}")]
    Entry {
        /// Which path.
        path: TreePath,
        /// What is wrong.
        reason: &'static str,
    },
}

/// The byte that tells sorts of changes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Sort {
    Whiteout = 0,
    Directory = 1,
    File = 2,
    Symlink = 3,
    Character = 4,
    Block = 5,
    Fifo = 6,
}

impl Sort {
    const ALL: [Sort; 7] = [Sort::Whiteout, Sort::Directory, Sort::File, Sort::Symlink, Sort::Character, Sort::Block, Sort::Fifo];
}

impl Difference {
    /// The canonical bytes: equal differences have equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.encode_parts(&mut |part| {
            out.extend_from_slice(part);
            Ok::<(), Infallible>(())
        }) {
            Ok(()) => out,
            Err(never) => match never {},
        }
    }

    /// Writes the canonical bytes a part at a time.
    ///
    /// # Errors
    /// What `out` answers.
    pub fn encode_to(&self, out: &mut dyn Write) -> io::Result<()> {
        self.encode_parts(&mut |part| out.write_all(part))
    }

    /// The fingerprint of the canonical bytes, and how many they are.
    #[must_use]
    pub fn named(&self) -> (Fingerprint, u64) {
        let (mut hasher, mut length) = (Fingerprinter::new(), 0);
        match self.encode_parts(&mut |part| {
            hasher.update(part);
            length += part.len() as u64;
            Ok::<(), Infallible>(())
        }) {
            Ok(()) => (hasher.finish(), length),
            Err(never) => match never {},
        }
    }

    /// The fingerprint of the canonical bytes.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.named().0
    }

    /// Gives the canonical bytes part by part.
    fn encode_parts<E>(&self, give: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let Difference { entries, links, opaque } = self;
        let mut out = MAGIC.to_vec();
        put_count(&mut out, entries.len());
        for (path, change) in entries {
            put_bytes(&mut out, path.as_bytes());
            match change {
                Change::Whiteout => out.push(Sort::Whiteout as u8),
                Change::Put(entry) => put_entry(&mut out, entry),
            }
            give_part(&mut out, give)?;
        }
        put_count(&mut out, opaque.len());
        for path in opaque {
            put_bytes(&mut out, path.as_bytes());
            give_part(&mut out, give)?;
        }
        put_count(&mut out, links.groups().len());
        for group in links.groups() {
            put_count(&mut out, group.len());
            for path in group {
                put_bytes(&mut out, path.as_bytes());
            }
            give_part(&mut out, give)?;
        }
        give(&out)
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// When they are not exactly what [`Difference::encode`] writes for some difference that keeps the rules.
    pub fn decode(bytes: &[u8]) -> Result<Difference, InvalidDifference> {
        let mut input = Input { rest: bytes.strip_prefix(MAGIC).ok_or(InvalidDifference::Magic)?, sharing: Sharing::default() };
        let mut entries: Vec<(TreePath, Change)> = Vec::new();
        for _ in 0..input.u32()? {
            let path = input.path()?;
            if entries.last().is_some_and(|(last, _)| *last >= path) {
                return Err(InvalidDifference::Order { path });
            }
            let change = input.change(&path)?;
            entries.push((path, change));
        }
        let mut opaque = BTreeSet::new();
        for _ in 0..input.u32()? {
            let path = input.path()?;
            if opaque.last().is_some_and(|last| *last >= path) {
                return Err(InvalidDifference::Order { path });
            }
            opaque.insert(path);
        }
        let links = input.links()?;
        if !input.rest.is_empty() {
            return Err(InvalidDifference::Long);
        }
        let difference = Difference { entries: entries.into_iter().collect(), links, opaque };
        difference.check()?;
        Ok(difference)
    }

    /// Whether the rules of [`Difference`] hold and every value is within its limits.
    ///
    /// # Errors
    /// For the first path that breaks one.
    pub fn check(&self) -> Result<(), InvalidDifference> {
        let wrong = |path: &TreePath, reason| Err(InvalidDifference::Entry { path: path.clone(), reason });
        for (path, change) in &self.entries {
            if path.depth() > MAXIMUM_DEPTH {
                return wrong(path, "there are too many names in the path");
            }
            if let Some(parent) = path.parent()
                && !matches!(self.entries.get(&parent), Some(Change::Put(Entry::Directory(_))))
            {
                return wrong(path, "its parent is no directory of the difference");
            }
            match change {
                Change::Whiteout | Change::Put(Entry::File(_) | Entry::Symlink(_) | Entry::Special(_)) if path.is_root() => {
                    return wrong(path, "the root is a directory");
                }
                Change::Whiteout => {}
                Change::Put(entry) => {
                    if let Some(reason) = wrong_entry(entry) {
                        return wrong(path, reason);
                    }
                }
            }
        }
        for path in &self.opaque {
            if !matches!(self.entries.get(path), Some(Change::Put(Entry::Directory(_)))) {
                return wrong(path, "only a directory can be opaque");
            }
        }
        for group in self.links.groups() {
            let Some((first, others)) = group.split_first() else { continue };
            match self.entries.get(first) {
                Some(Change::Put(Entry::File(_) | Entry::Symlink(_) | Entry::Special(_))) => {}
                None | Some(Change::Whiteout | Change::Put(Entry::Directory(_))) => {
                    return wrong(first, "a hard link is no file of the difference");
                }
            }
            if let Some(other) = others.iter().find(|other| self.entries.get(other) != self.entries.get(first)) {
                return wrong(other, "hard links differ");
            }
        }
        Ok(())
    }
}

/// Gives what there is, when it is as much as is encoded at a time.
fn give_part<E>(out: &mut Vec<u8>, give: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    if out.len() >= PART {
        give(out)?;
        out.clear();
    }
    Ok(())
}

fn wrong_entry(entry: &Entry) -> Option<&'static str> {
    let Metadata { mode, uid: _, gid: _, mtime: _, xattrs } = entry.metadata();
    if *mode > 0o7777 {
        return Some("a mode has twelve bits");
    }
    if xattrs
        .iter()
        .any(|(name, value)| name.is_empty() || name.len() > MAXIMUM_XATTR_NAME || name.contains(&0) || value.len() > MAXIMUM_XATTR_VALUE)
    {
        return Some("an extended attribute has no name, a NUL byte in its name, or is too long");
    }
    match entry {
        Entry::Symlink(Symlink { metadata, target }) => {
            if metadata.mode != 0o777 {
                Some("the mode of a symbolic link is 0777")
            } else if target.is_empty() || target.len() > MAXIMUM_TARGET || target.contains(&0) {
                Some("a symbolic link points nowhere, has a NUL byte in it, or is too long")
            } else {
                None
            }
        }
        Entry::Special(Special { kind: SpecialKind::Character { major: 0, minor: 0 }, .. }) => {
            Some("character device 0:0 marks removed entries and is none itself")
        }
        Entry::Directory(_) | Entry::File(_) | Entry::Special(_) => None,
    }
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    let sort = match entry {
        Entry::Directory(_) => Sort::Directory,
        Entry::File(_) => Sort::File,
        Entry::Symlink(_) => Sort::Symlink,
        Entry::Special(Special { kind, .. }) => match kind {
            SpecialKind::Character { .. } => Sort::Character,
            SpecialKind::Block { .. } => Sort::Block,
            SpecialKind::Fifo => Sort::Fifo,
        },
    };
    out.push(sort as u8);
    let Metadata { mode, uid, gid, mtime, xattrs } = entry.metadata();
    out.extend_from_slice(&mode.to_le_bytes());
    out.extend_from_slice(&uid.to_le_bytes());
    out.extend_from_slice(&gid.to_le_bytes());
    out.extend_from_slice(&mtime.to_le_bytes());
    put_count(out, xattrs.len());
    for (name, value) in xattrs {
        put_bytes(out, name);
        put_bytes(out, value);
    }
    match entry {
        Entry::Directory(_) | Entry::Special(Special { kind: SpecialKind::Fifo, .. }) => {}
        Entry::File(File { metadata: _, content: Content { fingerprint, size } }) => {
            out.extend_from_slice(fingerprint.as_bytes());
            out.extend_from_slice(&size.to_le_bytes());
        }
        Entry::Symlink(Symlink { metadata: _, target }) => put_bytes(out, target),
        Entry::Special(Special { kind: SpecialKind::Character { major, minor } | SpecialKind::Block { major, minor }, .. }) => {
            out.extend_from_slice(&major.to_le_bytes());
            out.extend_from_slice(&minor.to_le_bytes());
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// No tree in memory has 2³² of anything; were there one, its bytes would not decode.
fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// What is still to be read.
struct Input<'a> {
    rest: &'a [u8],
    sharing: Sharing,
}

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidDifference> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(InvalidDifference::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, InvalidDifference> {
        self.array().map(u32::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], InvalidDifference> {
        let length = usize::try_from(self.u32()?).map_err(|_| InvalidDifference::Short)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(InvalidDifference::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn path(&mut self) -> Result<TreePath, InvalidDifference> {
        Ok(TreePath::new(self.bytes()?)?)
    }

    fn change(&mut self, path: &TreePath) -> Result<Change, InvalidDifference> {
        let [byte] = self.array()?;
        let Some(sort) = Sort::ALL.into_iter().find(|sort| *sort as u8 == byte) else {
            return Err(InvalidDifference::Entry { path: path.clone(), reason: "there is no such sort of entry" });
        };
        if sort == Sort::Whiteout {
            return Ok(Change::Whiteout);
        }
        let metadata = self.metadata(path)?;
        Ok(Change::Put(match sort {
            Sort::Whiteout => return Ok(Change::Whiteout),
            Sort::Directory => Entry::Directory(metadata),
            Sort::File => {
                let fingerprint = Fingerprint::from_bytes(self.array()?);
                Entry::File(File {
                    metadata: self.sharing.share(metadata),
                    content: Content { fingerprint, size: u64::from_le_bytes(self.array()?) },
                })
            }
            Sort::Symlink => Entry::Symlink(Symlink { metadata, target: self.bytes()?.into() }),
            Sort::Character => {
                Entry::Special(Special { metadata, kind: SpecialKind::Character { major: self.u32()?, minor: self.u32()? } })
            }
            Sort::Block => Entry::Special(Special { metadata, kind: SpecialKind::Block { major: self.u32()?, minor: self.u32()? } }),
            Sort::Fifo => Entry::Special(Special { metadata, kind: SpecialKind::Fifo }),
        }))
    }

    fn metadata(&mut self, path: &TreePath) -> Result<Metadata, InvalidDifference> {
        let mode = u16::from_le_bytes(self.array()?);
        let (uid, gid) = (self.u32()?, self.u32()?);
        let mtime = i64::from_le_bytes(self.array()?);
        let mut xattrs = Xattrs::new();
        for _ in 0..self.u32()? {
            let name = self.bytes()?;
            if xattrs.last().is_some_and(|(last, _)| last.as_slice() >= name) {
                return Err(InvalidDifference::Order { path: path.clone() });
            }
            let value = self.bytes()?;
            xattrs.insert(name.to_vec(), value.to_vec());
        }
        Ok(Metadata { mode, uid, gid, mtime, xattrs })
    }

    fn links(&mut self) -> Result<Links, InvalidDifference> {
        let mut groups: Vec<Vec<TreePath>> = Vec::new();
        let mut seen = BTreeSet::new();
        for _ in 0..self.u32()? {
            let mut group: Vec<TreePath> = Vec::new();
            for _ in 0..self.u32()? {
                let path = self.path()?;
                if group.last().is_some_and(|last| *last >= path) || !seen.insert(path.clone()) {
                    return Err(InvalidDifference::Order { path });
                }
                group.push(path);
            }
            match group.as_slice() {
                [] => return Err(InvalidDifference::Entry { path: TreePath::root(), reason: "a group of hard links is empty" }),
                [path] => return Err(InvalidDifference::Entry { path: path.clone(), reason: "a group of hard links has one name" }),
                [first, ..] if groups.last().and_then(|last| last.first()).is_some_and(|last| last >= first) => {
                    return Err(InvalidDifference::Order { path: first.clone() });
                }
                [..] => groups.push(group),
            }
        }
        Ok(Links::new(groups))
    }
}
