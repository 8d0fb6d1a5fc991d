//! Walking a directory: a path in, what is at it and below it out, without following links, however deep names are nested.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Stat, chmodat, openat, statat};

/// From a directory with a longer path on, paths begin there: the kernel takes less than 4096 bytes, and a name has at most 255.
const LONG_PATH_BYTES: usize = 2048;

/// Something that a walk has come to.
pub(crate) struct Below {
    anchor: Option<Rc<Anchor>>,
    /// From the anchor on, where there is one.
    path: PathBuf,
}

/// A directory that is held open.
struct Anchor {
    directory: OwnedFd,
    path: PathBuf,
}

impl Below {
    /// Where a walk begins.
    pub(crate) fn top(path: &Path) -> Below {
        Below { anchor: None, path: path.to_owned() }
    }

    /// All of its path, for messages.
    pub(crate) fn path(&self) -> PathBuf {
        self.anchor.as_ref().map_or_else(|| self.path.clone(), |anchor| anchor.path.join(&self.path))
    }

    fn directory(&self) -> BorrowedFd<'_> {
        self.anchor.as_ref().map_or(CWD, |anchor| anchor.directory.as_fd())
    }

    /// What it is; of a link, the link.
    pub(crate) fn stat(&self) -> rustix::io::Result<Stat> {
        statat(self.directory(), &self.path, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Sets the mode of what is no link.
    pub(crate) fn set_mode(&self, mode: Mode) -> rustix::io::Result<()> {
        chmodat(self.directory(), &self.path, mode, AtFlags::empty())
    }

    /// Adds all that is in this directory.
    pub(crate) fn list(&self, waiting: &mut Vec<Below>) -> rustix::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(self.directory(), &self.path, flags, Mode::empty())?;
        let (entries, anchor, path) = if self.path.as_os_str().len() > LONG_PATH_BYTES {
            (Dir::read_from(&directory)?, Some(Rc::new(Anchor { directory, path: self.path() })), Path::new(""))
        } else {
            (Dir::new(directory)?, self.anchor.clone(), self.path.as_path())
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
