//! How much there is below a directory: a path in, a count and a size out.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{At, Error, Existing};

/// What each file or directory is counted as at least, since file systems give out blocks.
const BLOCK_BYTES: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measure {
    /// Files, directories and all else, the top included.
    pub(crate) entries: u64,
    /// Sizes, each rounded up to whole blocks. A file of several names counts once.
    pub(crate) bytes: u64,
    pub(crate) seen: Seen,
}

/// Whether the walk could look everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    All,
    /// A directory belongs to another id and was closed to this process.
    Part,
}

/// Walks without following symbolic links. What disappears meanwhile is not counted; a path that does not exist measures zero.
pub(crate) fn measure(top: &Path) -> Result<Measure, Error> {
    let mut measure = Measure { entries: 0, bytes: 0, seen: Seen::All };
    let mut linked = BTreeSet::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = match fs::symlink_metadata(&path).if_exists() {
            Ok(Some(metadata)) => metadata,
            Ok(None) => continue,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                measure.seen = Seen::Part;
                continue;
            }
            Err(error) => return Err(error).at("examine", &path),
        };
        measure.entries = measure.entries.saturating_add(1);
        if metadata.is_dir() {
            measure.bytes = measure.bytes.saturating_add(BLOCK_BYTES);
            match fs::read_dir(&path).if_exists() {
                Ok(Some(entries)) => {
                    for entry in entries {
                        waiting.push(entry.at("list", &path)?.path());
                    }
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => measure.seen = Seen::Part,
                Err(error) => return Err(error).at("list", &path),
            }
        } else if metadata.nlink() < 2 || linked.insert((metadata.dev(), metadata.ino())) {
            measure.bytes = measure.bytes.saturating_add(in_blocks(metadata.len()));
        }
    }
    Ok(measure)
}

/// A size in bytes rounded up to whole blocks.
pub(crate) fn in_blocks(bytes: u64) -> u64 {
    bytes.max(1).div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES)
}
