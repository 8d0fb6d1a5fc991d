//! The marker that makes a directory a store: a directory in, one that may be used (and by whom) out. FORMAT.md, "Marker".

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::error::{At, Error, Existing};
use crate::lock::Lock;

/// The version of the layout on disk. FORMAT.md says when it rises.
pub const STORE_VERSION: u64 = 1;

pub(crate) const NAME: &str = "lapstrake-store";
const NEW: &str = "lapstrake-store.new";
const FIRST_LINE: &str = "lapstrake store";
const LONGEST_MARKER_BYTES: u64 = 4096;

#[derive(Debug, PartialEq, Eq)]
enum Marker {
    Absent,
    /// Damaged, or of a version before the first.
    Unusable,
    Version(u64),
}

/// Makes sure that the directory exists and is a store of this version.
pub(crate) fn prepare(directory: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory).at("create", directory)?;
    if usable(directory, &read(directory)?)? {
        return Ok(());
    }
    let handle = File::open(directory).at("open", directory)?;
    let _alone = Lock::exclusive_on(handle, directory)?;
    let marker = read(directory)?;
    if usable(directory, &marker)? {
        return Ok(());
    }
    if marker == Marker::Absent && !is_vacant(directory)? {
        return Err(Error::NotAStore { path: directory.to_owned() });
    }
    write(directory)
}

fn usable(directory: &Path, marker: &Marker) -> Result<bool, Error> {
    match *marker {
        Marker::Absent | Marker::Unusable => Ok(false),
        Marker::Version(found) if found > STORE_VERSION => {
            Err(Error::Newer { path: directory.to_owned(), found, understood: STORE_VERSION })
        }
        Marker::Version(found) => Ok(found == STORE_VERSION),
    }
}

fn read(directory: &Path) -> Result<Marker, Error> {
    let path = directory.join(NAME);
    let Some(file) = File::open(&path).if_exists().at("open", &path)? else { return Ok(Marker::Absent) };
    let mut bytes = Vec::new();
    file.take(LONGEST_MARKER_BYTES).read_to_end(&mut bytes).at("read", &path)?;
    Ok(parse(&bytes))
}

/// Lines after the second are left to later versions.
fn parse(bytes: &[u8]) -> Marker {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    if lines.next() != Some(FIRST_LINE.as_bytes()) {
        return Marker::Unusable;
    }
    let version = lines.next().and_then(|line| line.strip_prefix(b"version "));
    let digits = version.and_then(|digits| std::str::from_utf8(digits).ok());
    match digits.and_then(|digits| digits.parse::<u64>().ok()) {
        Some(version) => Marker::Version(version),
        None => Marker::Unusable,
    }
}

/// The marker is the first thing in a store, so a directory that holds anything else but no marker is somebody else's.
fn is_vacant(directory: &Path) -> Result<bool, Error> {
    for entry in fs::read_dir(directory).at("list", directory)? {
        let name = entry.at("list", directory)?.file_name();
        if name != OsStr::new(NEW) && name != OsStr::new("lost+found") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Synced, with its directory: the rest of the store may reach the disk first only once the marker is there.
fn write(directory: &Path) -> Result<(), Error> {
    let new = directory.join(NEW);
    let path = directory.join(NAME);
    let written = (|| -> io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(format!("{FIRST_LINE}\nversion {STORE_VERSION}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(directory)?.sync_all()
    })();
    written.at("write", &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_or_unusable() {
        let cases: [(&[u8], Marker); 9] = [
            (b"lapstrake store\nversion 1\n", Marker::Version(1)),
            (b"lapstrake store\nversion 7\nmore = of it\n", Marker::Version(7)),
            (b"lapstrake store\nversion 0\n", Marker::Version(0)),
            (b"", Marker::Unusable),
            (b"\0\0\0\0", Marker::Unusable),
            (b"lapstrake store\n", Marker::Unusable),
            (b"lapstrake store\nversion \n", Marker::Unusable),
            (b"lapstrake store\nversion \xff\n", Marker::Unusable),
            (b"lapstrake stor", Marker::Unusable),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse(bytes), expected, "{}", bytes.escape_ascii());
        }
    }
}
