//! How much there is below a directory: a path in, a count and a size out.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::error::{At, Error};
use crate::walk::Below;

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

/// Walks without following symbolic links. What disappears meanwhile is not counted; a path that does not exist measures zero. Names may be
/// nested deeper than a path can say.
pub(crate) fn measure(top: &Path) -> Result<Measure, Error> {
    let mut measure = Measure { entries: 0, bytes: 0, seen: Seen::All };
    let mut linked = BTreeSet::new();
    let mut waiting = vec![Below::top(top)];
    while let Some(below) = waiting.pop() {
        let stat = match below.stat() {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(Errno::ACCESS | Errno::PERM) => {
                measure.seen = Seen::Part;
                continue;
            }
            other @ Err(_) => other.at("examine", &below.path())?,
        };
        measure.entries = measure.entries.saturating_add(1);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            measure.bytes = measure.bytes.saturating_add(BLOCK_BYTES);
            match below.list(&mut waiting) {
                // It was a directory.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(Errno::ACCESS | Errno::PERM) => measure.seen = Seen::Part,
                other @ Err(_) => other.at("list", &below.path())?,
            }
        } else if stat.st_nlink < 2 || linked.insert((stat.st_dev, stat.st_ino)) {
            measure.bytes = measure.bytes.saturating_add(in_blocks(u64::try_from(stat.st_size).unwrap_or(0)));
        }
    }
    Ok(measure)
}

/// A size in bytes rounded up to whole blocks.
pub(crate) fn in_blocks(bytes: u64) -> u64 {
    bytes.max(1).div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES)
}
