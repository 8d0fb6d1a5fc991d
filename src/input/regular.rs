//! A path in; a file that reading comes to an end of out: no pipe that nobody writes to, no device that never ends.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self as sys, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// What a text that people write is never longer than.
const TEXT_LIMIT_BYTES: u64 = 4 << 20;

/// Opening a pipe must not wait for a writer, nor a terminal become ours.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens a regular file. Links are followed: the path is the caller's.
pub(super) fn open(path: &Path) -> io::Result<File> {
    regular(sys::openat(CWD, path, FLAGS, Mode::empty())?)
}

/// Opens a regular file of a directory. Links are followed as far as they stay inside.
pub(super) fn open_below(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    let resolve = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
    let opened = match sys::openat2(directory, name, FLAGS, Mode::empty(), resolve) {
        // Without the call no link is followed at all.
        Err(Errno::NOSYS | Errno::PERM) => sys::openat(directory, name, FLAGS | OFlags::NOFOLLOW, Mode::empty()),
        opened => opened,
    };
    match opened {
        Err(Errno::XDEV | Errno::LOOP) => Err(io::Error::other("it is a link that leads out of the context")),
        opened => regular(opened?),
    }
}

/// All of a text of reasonable length.
pub(super) fn text(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(TEXT_LIMIT_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > TEXT_LIMIT_BYTES {
        return Err(io::Error::other(format!("it has more than {TEXT_LIMIT_BYTES} bytes")));
    }
    Ok(text)
}

fn regular(opened: OwnedFd) -> io::Result<File> {
    let file = File::from(opened);
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    // As the kernel says it of a directory that is read.
    Err(if kind.is_dir() { Errno::ISDIR.into() } else { io::Error::other("it is no regular file") })
}
