//! Any bytes: a layer whose difference keeps its rules and survives being packed and read again, or an error.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::num::NonZeroUsize;

use lapstrake::event::Cancel;
use lapstrake::layer::{Limits, Profile, pack, unpack};
use lapstrake::tree::{Change, Content, Contents, Difference, Entry, Metadata, Tree, TreePath, Xattrs};

/// Files are zeros of the stated length: only names and sizes are of interest, and fingerprints are set to match.
struct Zeros;

impl Contents for Zeros {
    fn open(&self, _path: &TreePath, content: &Content) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(io::repeat(0).take(content.size)))
    }
}

pub(crate) fn check(bytes: &[u8]) {
    let limits = Limits { expanded_bytes: 1 << 22, entries: 1000, ..Limits::GENEROUS };
    let below = Tree::empty(Metadata { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: Xattrs::new() });
    let read = |bytes: Vec<u8>| unpack(Box::new(Cursor::new(bytes)), &below, None, &limits, &Cancel::new());
    let Ok(unpacked) = read(bytes.to_vec()) else { return };
    assert!(unpacked.difference.check().is_ok());
    let mut difference = unpacked.difference;
    difference.opaque.clear();
    let mut of_size = BTreeMap::new();
    for (_, change) in difference.entries.iter_mut() {
        if let Change::Put(Entry::File(file)) = change {
            let size = file.content.size;
            file.content.fingerprint =
                *of_size.entry(size).or_insert_with(|| lapstrake::cache::Fingerprint::of(&vec![0; usize::try_from(size).unwrap_or(0)]));
        }
    }
    let mut stream = Vec::new();
    // Attributes may have names that no tar can hold.
    if pack(&difference, &Zeros, Profile::Plain, NonZeroUsize::MIN, &mut stream, &Cancel::new()).is_ok() {
        let again: Result<Difference, _> = read(stream).map(|unpacked| unpacked.difference);
        assert_eq!(again.ok().as_ref(), Some(&difference), "what was written is read");
    }
}
