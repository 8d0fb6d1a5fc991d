//! Files and directories that come whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::WriteError;
use crate::event::Cancel;

/// Says which path an operation of the system failed on.
pub(super) fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, WriteError> {
    result.map_err(|source| WriteError::File { path: path.to_path_buf(), source })
}

/// Writes a file beside its place and puts it there when `fill` is done.
pub(super) fn whole(path: &Path, fill: impl FnOnce(&mut File) -> Result<(), WriteError>) -> Result<(), WriteError> {
    let new = beside(path);
    let result = at(&new, File::create(&new)).and_then(|mut file| {
        fill(&mut file)?;
        at(&new, file.sync_data())?;
        at(path, fs::rename(&new, path))
    });
    if result.is_err() {
        // What could not be finished is of no use to anybody.
        let _ = fs::remove_file(&new);
    }
    result
}

/// The same for bytes in memory.
pub(super) fn bytes(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    whole(path, |file| at(path, file.write_all(bytes)))
}

/// Copies bytes until their end or until it is to stop. What the source says of itself when it fails is `unreadable`'s.
pub(super) fn copy(
    from: &mut dyn Read,
    to: &mut File,
    stop: &Cancel,
    path: &Path,
    unreadable: impl Fn(io::Error) -> WriteError,
) -> Result<(), WriteError> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        if stop.is_cancelled() {
            return Err(WriteError::Cancelled);
        }
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => at(path, to.write_all(&buffer[..read]))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if stop.is_cancelled() => return Err(WriteError::Cancelled),
            Err(error) => return Err(unreadable(error)),
        }
    }
}

/// A name in the same directory that nobody else uses.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}
