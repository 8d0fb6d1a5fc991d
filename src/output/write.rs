//! Files and directories that come whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::WriteError;
use crate::event::Cancel;

/// Says which path an operation of the system failed on.
pub(super) fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, WriteError> {
    result.map_err(|source| WriteError::File { path: path.to_path_buf(), source })
}

/// Writes a file beside its place and puts it there when `fill` is done. A link to a file stays one. What is neither file nor directory, such as
/// a pipe, is written to as it is.
pub(super) fn whole(path: &Path, fill: impl FnOnce(&mut File) -> Result<(), WriteError>) -> Result<(), WriteError> {
    let place = match fs::metadata(path) {
        Ok(found) if found.is_file() => at(path, fs::canonicalize(path))?,
        Ok(found) if !found.is_dir() => return fill(&mut at(path, OpenOptions::new().write(true).open(path))?),
        Ok(_) | Err(_) => path.to_owned(),
    };
    let path = place.as_path();
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
    fn links_to_files_stay_and_pipes_are_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link, pipe) = (directory.path().join("file"), directory.path().join("link"), directory.path().join("pipe"));
        fs::write(&file, "before").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        bytes(&link, b"after").unwrap();
        assert_eq!((fs::read_link(&link).unwrap().as_path(), fs::read(&file).unwrap().as_slice()), (Path::new("file"), &b"after"[..]));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR, 0)
            .unwrap();
        let read = std::thread::scope(|scope| {
            let reader = scope.spawn(|| fs::read(&pipe));
            bytes(&pipe, b"through").unwrap();
            reader.join().unwrap()
        });
        assert_eq!(read.unwrap(), b"through");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }

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
