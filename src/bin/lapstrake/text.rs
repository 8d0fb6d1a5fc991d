//! A path in; the text that people wrote there out. What never ends is no such text.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// More than any spec, lock or list of variables has.
const LIMIT_BYTES: u64 = 16 << 20;

/// A file that the caller names: it may be a pipe.
pub(crate) fn of_any(path: &Path) -> io::Result<Vec<u8>> {
    all(File::open(path)?)
}

/// A file that is found beside others or named by them: a regular one, so that nobody is waited for.
pub(crate) fn of_file(path: &Path) -> io::Result<Vec<u8>> {
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(io::Error::other("it is no regular file"));
    }
    all(file)
}

fn all(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LIMIT_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(io::Error::other(format!("it has more than {LIMIT_BYTES} bytes")));
    }
    Ok(bytes)
}
