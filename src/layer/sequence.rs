//! A difference in, its tar entries in their one order out.
//!
//! Source of truth: `specs/layers.md`, section "Entries", and OCI image-spec 1.1 "Image Layer Filesystem Changeset" for whiteouts.

use std::collections::BTreeMap;

use super::header::{Header, Kind, Unwritable};
use crate::tree::{Change, Content, Difference, Entry, SpecialKind, TreePath, Xattrs};

/// What the name of a whiteout begins with.
pub(super) const WHITEOUT_PREFIX: &[u8] = b".wh.";

/// An entry cannot stand in a layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untarrable {
    /// The name would be read as a whiteout.
    #[error("names that begin with `.wh.` mean removal in a layer: rename or remove it")]
    ReservedName,
    /// Layers are written with explicit whiteouts only.
    #[error("a directory is opaque, which is read but never written")]
    Opaque,
    /// A tar header cannot say it.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
}

/// One tar entry to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    /// The path that it is about; of a whiteout, the one that is removed.
    pub(super) path: &'a TreePath,
    /// What it says about it.
    pub(super) what: What<'a>,
}

/// What a tar entry says.
#[derive(Debug, Clone, Copy)]
pub(super) enum What<'a> {
    /// The path is this.
    Put(&'a Entry),
    /// The path is another name of that earlier one.
    Link { entry: &'a Entry, target: &'a TreePath },
    /// The path is gone.
    Whiteout,
}

/// The entries in order of their paths; of each hard-link group the first is the file and the others are links to it.
pub(super) fn records(difference: &Difference) -> impl Iterator<Item = Record<'_>> {
    let Difference { entries, links, opaque: _ } = difference;
    let mut targets = BTreeMap::new();
    for group in links.groups() {
        if let [first, others @ ..] = group.as_slice() {
            targets.extend(others.iter().map(|path| (path, first)));
        }
    }
    entries.iter().map(move |(path, change)| {
        let what = match change {
            Change::Put(entry) => targets.get(path).map_or(What::Put(entry), |target| What::Link { entry, target }),
            Change::Whiteout => What::Whiteout,
        };
        Record { path, what }
    })
}

impl Record<'_> {
    /// The name as it stands in the tar.
    pub(super) fn tar_name(&self) -> Result<Vec<u8>, Untarrable> {
        let mut name = self.path.as_bytes().to_vec();
        let start = name.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        if name[start..].starts_with(WHITEOUT_PREFIX) {
            return Err(Untarrable::ReservedName);
        }
        match self.what {
            What::Put(Entry::Directory(_)) if name.is_empty() => name.extend_from_slice(b"./"),
            What::Put(Entry::Directory(_)) => name.push(b'/'),
            What::Put(Entry::File(_) | Entry::Symlink(_) | Entry::Special(_)) | What::Link { .. } => {}
            What::Whiteout => {
                name.splice(start..start, WHITEOUT_PREFIX.iter().copied());
            }
        }
        Ok(name)
    }

    /// The content that follows the header.
    pub(super) fn content(&self) -> Option<Content> {
        match self.what {
            What::Put(Entry::File(file)) => Some(file.content),
            What::Put(Entry::Directory(_) | Entry::Symlink(_) | Entry::Special(_)) | What::Link { .. } | What::Whiteout => None,
        }
    }

    /// How many bytes of content follow the header, padding left out.
    pub(super) fn content_bytes(&self) -> u64 {
        self.content().map_or(0, |content| content.size)
    }

    /// Appends the entry's header blocks, under the name that [`Record::tar_name`] gave.
    pub(super) fn append_header(&self, name: &[u8], out: &mut Vec<u8>) -> Result<(), Unwritable> {
        let none = Xattrs::new();
        let (entry, kind) = match self.what {
            What::Whiteout => {
                let whiteout = Header { name, kind: Kind::File { size: 0 }, mode: 0o644, uid: 0, gid: 0, mtime: 0, xattrs: &none };
                return whiteout.append_to(out);
            }
            What::Link { entry, target } => (entry, Kind::Link { target: target.as_bytes() }),
            What::Put(entry) => {
                let kind = match entry {
                    Entry::Directory(_) => Kind::Directory,
                    Entry::File(file) => Kind::File { size: file.content.size },
                    Entry::Symlink(symlink) => Kind::Symlink { target: &symlink.target },
                    Entry::Special(special) => match special.kind {
                        SpecialKind::Character { major, minor } => Kind::Character { major, minor },
                        SpecialKind::Block { major, minor } => Kind::Block { major, minor },
                        SpecialKind::Fifo => Kind::Fifo,
                    },
                };
                (entry, kind)
            }
        };
        let metadata = entry.metadata();
        // The attributes are the file's, and the file's own entry has them.
        let xattrs = if matches!(kind, Kind::Link { .. }) { &none } else { &metadata.xattrs };
        Header { name, kind, mode: metadata.mode, uid: metadata.uid, gid: metadata.gid, mtime: metadata.mtime, xattrs }.append_to(out)
    }
}
