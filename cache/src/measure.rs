//! How much there is below a directory: a path in, a count and a size out.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use crate::error::{At, Error};

/// What each file or directory is counted as at least, since file systems give out blocks.
const BLOCK_BYTES: u64 = 4096;

/// From a directory with a longer path on, paths begin there: the kernel takes less than 4096 bytes, and a name has at most 255.
const LONG_PATH_BYTES: usize = 2048;

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
    let mut waiting = vec![Below { anchor: None, path: top.to_owned() }];
    while let Some(below) = waiting.pop() {
        let (directory, path) = below.at();
        let stat = match statat(directory, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(Errno::ACCESS) => {
                measure.seen = Seen::Part;
                continue;
            }
            Err(error) => return Err(io::Error::from(error)).at("examine", path),
        };
        measure.entries = measure.entries.saturating_add(1);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            measure.bytes = measure.bytes.saturating_add(BLOCK_BYTES);
            match below.list(&mut waiting) {
                Ok(()) => {}
                // It was a directory.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(Errno::ACCESS) => measure.seen = Seen::Part,
                Err(error) => return Err(io::Error::from(error)).at("list", path),
            }
        } else if stat.st_nlink < 2 || linked.insert((stat.st_dev, stat.st_ino)) {
            measure.bytes = measure.bytes.saturating_add(in_blocks(u64::try_from(stat.st_size).unwrap_or(0)));
        }
    }
    Ok(measure)
}

/// A path below a directory that is held open; without one from the root.
struct Below {
    anchor: Option<Rc<OwnedFd>>,
    path: PathBuf,
}

impl Below {
    fn at(&self) -> (BorrowedFd<'_>, &Path) {
        (self.anchor.as_ref().map_or(CWD, |anchor| anchor.as_fd()), &self.path)
    }

    /// Adds all that is in this directory.
    fn list(&self, waiting: &mut Vec<Below>) -> rustix::io::Result<()> {
        let (directory, path) = self.at();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(directory, path, flags, Mode::empty())?;
        let (entries, anchor, path) = if path.as_os_str().len() > LONG_PATH_BYTES {
            (Dir::read_from(&opened)?, Some(Rc::new(opened)), Path::new(""))
        } else {
            (Dir::new(opened)?, self.anchor.clone(), path)
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                waiting.push(Below { anchor: anchor.clone(), path: path.join(OsStr::from_bytes(name)) });
            }
        }
        Ok(())
    }
}

/// A size in bytes rounded up to whole blocks.
pub(crate) fn in_blocks(bytes: u64) -> u64 {
    bytes.max(1).div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES)
}
