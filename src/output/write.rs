//! Files and directories that come whole or not at all.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
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
    let (new, mut file) = beside(path)?;
    let result = fill(&mut file).and_then(|()| {
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

/// How often another name is tried.
const NAMES: u32 = 100;

/// A new file in the same directory, which nobody else has: process ids are no names, as containers that share a directory all begin with 1.
fn beside(path: &Path) -> Result<(PathBuf, File), WriteError> {
    let mut taken = io::Error::from(io::ErrorKind::AlreadyExists);
    for _ in 0..NAMES {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        // What std seeds its hash tables with: another one each time.
        name.push(format!(".{:016x}.new", RandomState::new().hash_one(0_u8)));
        let new = path.with_file_name(name);
        match File::create_new(&new) {
            Ok(file) => return Ok((new, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken = error,
            Err(source) => return Err(WriteError::File { path: new, source }),
        }
    }
    Err(WriteError::File { path: path.to_owned(), source: taken })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn several_that_write_one_file_at_once_each_write_it_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.tar");
        let all_began = Barrier::new(4);
        std::thread::scope(|scope| {
            for letter in [b'a', b'b', b'c', b'd'] {
                let (path, all_began) = (&path, &all_began);
                scope.spawn(move || {
                    whole(path, |file| {
                        at(path, file.write_all(&[letter; 1000]))?;
                        all_began.wait();
                        at(path, file.write_all(&vec![letter; 1000 * usize::from(letter - b'a' + 1)]))
                    })
                    .unwrap();
                });
            }
        });
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        assert_eq!(bytes.len(), 1000 * (usize::from(bytes[0] - b'a') + 2));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
