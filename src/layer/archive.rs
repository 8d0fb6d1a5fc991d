//! Archives of `extract` steps: a file of unknown format in, its entries and their contents out.
//!
//! Formats, told by the first bytes: tar, alone or compressed with gzip, bzip2, xz or zstd; zip. Leading slashes and `.` say nothing, `..` is
//! refused; what the entries are put over, and whether links on the way lead anywhere, is the caller's to decide.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::decode::{Decoded, Limits};
use super::names::{BadName, plain_path};
use super::reader::{EndMarker, ReadError, TarEntry, TarKind, TarReader};
use super::zip::read_zip;
use crate::event::Cancel;
use crate::tree::{Metadata, SpecialKind, TreePath, Xattrs, kept_xattrs};

/// One entry of an archive, but for its path and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveEntry {
    /// What it is.
    pub kind: ArchiveKind,
    /// As the archive says; only attributes that trees keep.
    pub metadata: Metadata,
}

/// What an entry of an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Bytes of its content, holes included.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, as written.
        target: Vec<u8>,
    },
    /// Another name of an earlier entry.
    Link {
        /// That entry's path, as the caller was given it.
        target: TreePath,
    },
    /// A device node or pipe.
    Special(SpecialKind),
}

/// An archive could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A tar archive could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A zip archive could not be read.
    #[error("the zip archive is refused")]
    Zip(#[from] zip::result::ZipError),
    /// The format is known and not supported.
    #[error("{0} archives are not supported: expected zip, or tar alone or compressed with gzip, bzip2, xz or zstd")]
    Format(&'static str),
    /// The name of an entry cannot be used.
    #[error("the archive is refused: entry `{}`", .name.escape_ascii())]
    Name {
        /// The name as written.
        name: Vec<u8>,
        /// Why.
        #[source]
        reason: BadName,
    },
    /// An entry cannot be extracted.
    #[error("the archive is refused: entry `{path}`: {reason}")]
    Entry {
        /// Its path.
        path: TreePath,
        /// Why.
        reason: &'static str,
    },
}

/// What is done with each entry: its path, what it is, and its content, which need not be read to the end.
pub type TakeEntry<'a, E> = &'a mut dyn FnMut(TreePath, ArchiveEntry, &mut dyn Read) -> Result<(), E>;

/// Reads an archive from its start, entry by entry, in the archive's order.
///
/// The first `strip_components` names of each path are taken off, also of hard links' targets; entries of which nothing remains are left
/// out, the archive's own root among them. Parents may be missing, and a path may come twice: then the later one counts.
///
/// # Errors
/// When the format is unknown, readers could understand the archive differently, it goes beyond `limits`, a name climbs out, or `cancel` is
/// raised; and whatever `take` returns. An error while `take` reads a content comes through the reader.
pub fn read_archive<E: From<ArchiveError>>(
    mut archive: File,
    strip_components: usize,
    limits: &Limits,
    cancel: &Cancel,
    take: TakeEntry<'_, E>,
) -> Result<(), E> {
    let mut first = Vec::new();
    let seen = archive.seek(SeekFrom::Start(0)).and_then(|_| (&archive).take(8).read_to_end(&mut first));
    seen.and_then(|_| archive.seek(SeekFrom::Start(0))).map_err(|error| ArchiveError::Read(error.into()))?;
    match first.as_slice() {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => read_zip(archive, strip_components, limits, cancel, take),
        [b'7', b'z', 0xbc, 0xaf, ..] => Err(ArchiveError::Format("7z").into()),
        [b'R', b'a', b'r', b'!', ..] => Err(ArchiveError::Format("rar").into()),
        [] => Err(ArchiveError::Format("empty").into()),
        _ => {
            let decoded = Decoded::new(Box::new(archive), limits, cancel).map_err(ArchiveError::Read)?;
            let mut reader = TarReader::new(decoded, EndMarker::Required, limits);
            while let Some(entry) = reader.next().map_err(ArchiveError::Read)? {
                if let Some((path, entry)) = tar_entry(entry, strip_components, limits)? {
                    take(path, entry, &mut reader)?;
                }
            }
            Ok(())
        }
    }
}

/// Whether a stream is a tar archive, alone or compressed, as far as its first entry tells. One without entries is none.
pub fn is_tar(stream: Box<dyn Read + Send + '_>, cancel: &Cancel) -> bool {
    let limits = Limits::GENEROUS;
    let first = Decoded::new(stream, &limits, cancel).and_then(|decoded| TarReader::new(decoded, EndMarker::Required, &limits).next());
    matches!(first, Ok(Some(_)))
}

fn tar_entry(tar: TarEntry, strip: usize, limits: &Limits) -> Result<Option<(TreePath, ArchiveEntry)>, ArchiveError> {
    let Some(path) = stripped(&tar.name, strip, limits)? else { return Ok(None) };
    let refuse = |reason| Err(ArchiveError::Entry { path: path.clone(), reason });
    let xattrs = match tar.kind {
        TarKind::Directory | TarKind::File => kept_xattrs(&tar.xattrs),
        TarKind::Symlink { .. } | TarKind::Link { .. } | TarKind::Special(_) => Xattrs::new(),
    };
    let mut metadata = Metadata { mode: tar.mode, uid: tar.uid, gid: tar.gid, mtime: tar.mtime, xattrs };
    let kind = match tar.kind {
        TarKind::Directory => ArchiveKind::Directory,
        TarKind::File => ArchiveKind::File { size: tar.size },
        TarKind::Symlink { target } => {
            metadata.mode = 0o777;
            ArchiveKind::Symlink { target }
        }
        TarKind::Link { target } => match stripped(&target, strip, limits)? {
            Some(target) => ArchiveKind::Link { target },
            None => return refuse("the target of the hard link is left out by `strip`"),
        },
        TarKind::Special(SpecialKind::Character { major: 0, minor: 0 }) => {
            return refuse("character device 0:0 marks removed entries in overlays");
        }
        TarKind::Special(kind) => ArchiveKind::Special(kind),
    };
    Ok(Some((path, ArchiveEntry { kind, metadata })))
}

/// The path that remains of a name; `None` when nothing does.
pub(super) fn stripped(raw: &[u8], strip: usize, limits: &Limits) -> Result<Option<TreePath>, ArchiveError> {
    let whole = plain_path(raw, limits).map_err(|reason| ArchiveError::Name { name: raw.to_vec(), reason })?;
    let mut path = TreePath::root();
    whole.names().skip(strip).for_each(|name| path.push(&name));
    Ok((!path.is_root()).then_some(path))
}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> ArchiveError {
        ArchiveError::Read(error.into())
    }
}
