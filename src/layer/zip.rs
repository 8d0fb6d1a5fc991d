//! A zip archive in, its entries out.
//!
//! Source of truth: APPNOTE.TXT 6.3 and the Unix convention for the upper half of the external attributes. An archive whose central directory
//! and local headers do not say the same is refused, and so are names that stand twice, entries that overlap, and encrypted ones.

use std::fs::File;
use std::io::{self, BufReader, Read};

use zip::{ExtraField, ZipArchive};

use super::archive::{ArchiveEntry, ArchiveError, ArchiveKind, TakeEntry, stripped};
use super::decode::Limits;
use super::reader::ReadError;
use crate::event::Cancel;
use crate::tree::{Metadata, Xattrs};

pub(super) fn read_zip<E: From<ArchiveError>>(
    archive: File,
    strip: usize,
    limits: &Limits,
    cancel: &Cancel,
    take: TakeEntry<'_, E>,
) -> Result<(), E> {
    let compressed = archive.metadata().map_err(ArchiveError::from)?.len();
    let mut zip = ZipArchive::new(BufReader::new(archive)).map_err(ArchiveError::Zip)?;
    if zip.len() as u64 > limits.entries {
        return Err(ArchiveError::Read(ReadError::TooManyEntries { limit: limits.entries }).into());
    }
    zip.validate_header_consistency().map_err(ArchiveError::Zip)?;
    let mut budget = Budget::new(compressed, limits, cancel);
    for index in 0..zip.len() {
        let file = zip.by_index(index).map_err(ArchiveError::Zip)?;
        let name = file.name().map_err(ArchiveError::Zip)?.into_owned().into_bytes();
        let Some(path) = stripped(&name, strip, limits)? else { continue };
        let refuse = |reason| Err(ArchiveError::Entry { path: path.clone(), reason });
        let stated =
            file.extra_data_fields().find_map(|field| if let ExtraField::ExtendedTimestamp(time) = field { time.mod_time() } else { None });
        let mode = file.unix_mode();
        let kind = mode.unwrap_or(0) & 0o170_000;
        let permissions = |usual: u16| mode.map_or(usual, |mode| u16::try_from(mode & 0o7777).unwrap_or(usual));
        let metadata = |mode| Metadata { mode, uid: 0, gid: 0, mtime: stated.map_or(0, i64::from), xattrs: Xattrs::new() };
        let size = file.size();
        let is_directory = name.ends_with(b"/");
        let mut content = Limited { file, budget: &mut budget };
        let entry = match kind {
            0o040_000 | 0 if is_directory => ArchiveEntry { kind: ArchiveKind::Directory, metadata: metadata(permissions(0o755)) },
            _ if is_directory => refuse("its name says that it is a directory and its mode that it is none")?,
            0o100_000 | 0 => ArchiveEntry { kind: ArchiveKind::File { size }, metadata: metadata(permissions(0o644)) },
            0o120_000 => {
                let mut target = Vec::new();
                (&mut content).take(4096).read_to_end(&mut target).map_err(ArchiveError::from)?;
                if target.is_empty() || target.len() > 4095 || target.contains(&0) {
                    refuse("the link points nowhere, has a NUL byte in it, or is too long")?;
                }
                ArchiveEntry { kind: ArchiveKind::Symlink { target }, metadata: metadata(0o777) }
            }
            _ => refuse("a zip holds files, directories and symbolic links only")?,
        };
        take(path, entry, &mut content)?;
    }
    Ok(())
}

/// What may still be decompressed.
struct Budget<'a> {
    expanded: u64,
    compressed: u64,
    limits: &'a Limits,
    cancel: &'a Cancel,
}

impl<'a> Budget<'a> {
    fn new(compressed: u64, limits: &'a Limits, cancel: &'a Cancel) -> Budget<'a> {
        Budget { expanded: 0, compressed, limits, cancel }
    }

    fn spend(&mut self, bytes: u64) -> Result<(), ReadError> {
        let Limits { expanded_bytes, ratio, ratio_free_bytes, .. } = *self.limits;
        self.expanded = self.expanded.saturating_add(bytes);
        if self.cancel.is_cancelled() {
            Err(ReadError::Cancelled)
        } else if self.expanded > expanded_bytes {
            Err(ReadError::TooManyBytes { limit: expanded_bytes })
        } else if self.expanded > ratio_free_bytes.max(self.compressed.saturating_mul(ratio)) {
            Err(ReadError::Ratio { limit: ratio })
        } else {
            Ok(())
        }
    }
}

/// The content of one entry, counted.
struct Limited<'a, 'b, R> {
    file: R,
    budget: &'a mut Budget<'b>,
}

impl<R: Read> Read for Limited<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.budget.spend(count as u64).map_err(io::Error::other)?;
        Ok(count)
    }
}
