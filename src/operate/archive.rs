//! A tar archive → where in it each file is. Contents are passed over, not read.
//!
//! Source of truth: POSIX pax interchange format.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use tar_core::parse::{Limits, ParseEvent, Parser};

/// The most files that an archive of images may have.
const FILES: usize = 100_000;

/// How many bytes the headers of one file may have together.
const HEADERS_BYTES: usize = 4 << 20;

const BLOCK_BYTES: usize = 512;

/// Place and length of each file's content, by name without `./`.
pub(super) fn index(path: &Path) -> io::Result<BTreeMap<String, (u64, u64)>> {
    let mut file = BufReader::new(File::open(path)?);
    let mut parser = Parser::new(Limits::default());
    let mut files = BTreeMap::new();
    let mut headers = Vec::new();
    let mut position: u64 = 0;
    let damaged = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    loop {
        let (consumed, entry) = match parser.parse(&headers).map_err(|error| damaged(format!("it is no tar archive: {error}")))? {
            ParseEvent::NeedData { .. } => {
                let mut block = [0; BLOCK_BYTES];
                if headers.len() > HEADERS_BYTES {
                    return Err(damaged("a file in it has too long a name".to_owned()));
                }
                match read_block(&mut file, &mut block)? {
                    0 => return Err(damaged("it ends in the middle".to_owned())),
                    read => headers.extend_from_slice(&block[..read]),
                }
                position += BLOCK_BYTES as u64;
                continue;
            }
            ParseEvent::GlobalExtensions { consumed, .. } => (consumed, None),
            ParseEvent::Entry { consumed, entry } | ParseEvent::SparseEntry { consumed, entry, .. } => {
                let name = String::from_utf8_lossy(&entry.path);
                let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
                let kind = match entry.link_target_lossy() {
                    Some(target) if entry.is_symlink() => Kind::Link(target.into_owned()),
                    Some(_) | None if entry.is_file() => Kind::File,
                    Some(_) | None => Kind::Other,
                };
                (consumed, Some((name, kind, entry.size, entry.padded_size())))
            }
            ParseEvent::End { .. } => return Ok(files),
        };
        headers.drain(..consumed.min(headers.len()));
        if let Some((name, kind, size, padded)) = entry {
            if !headers.is_empty() || files.len() >= FILES {
                return Err(damaged("it is no archive of images".to_owned()));
            }
            match kind {
                Kind::File => {
                    files.insert(name, (position, size));
                }
                // `docker save` links a layer that two images share.
                Kind::Link(target) => {
                    if let Some(found) = files.get(&beside(&name, &target)).copied() {
                        files.insert(name, found);
                    }
                }
                Kind::Other => {}
            }
            position = position.checked_add(padded).ok_or_else(|| damaged("a file in it has too many bytes".to_owned()))?;
            file.seek(SeekFrom::Start(position))?;
        }
    }
}

enum Kind {
    File,
    Link(String),
    Other,
}

/// The name that a link's target has in the archive.
fn beside(link: &str, target: &str) -> String {
    let mut names: Vec<&str> = link.split('/').collect();
    names.pop();
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    names.join("/")
}

/// Opens one file of an archive.
pub(super) fn open(path: &Path, (position, size): (u64, u64)) -> io::Result<io::Take<File>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(position))?;
    Ok(file.take(size))
}

fn read_block(file: &mut impl Read, block: &mut [u8; BLOCK_BYTES]) -> io::Result<usize> {
    let mut read = 0;
    while read < BLOCK_BYTES {
        match file.read(&mut block[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if read == 0 || read == BLOCK_BYTES { Ok(read) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
