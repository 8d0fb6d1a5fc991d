//! What was in a directory ⇄ one blob that says which pieces of which chunks its files are made of.
//!
//! Files of up to [`PIECE_BYTES`] are one piece, larger ones several of that length and the rest. Pieces lie in chunks, one behind the other, each
//! chunk compressed by itself. A snapshot that follows another takes its chunks over, so that what has not changed is not sent again.
//! Source of truth: `cache/FORMAT.md`, "Shared caches".

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use lapstrake_cache::{Digest, Fingerprint};

use super::frame::{count, frame, take, unframe};
use crate::tree::{Change, Content, Difference, Entry, Special, SpecialKind, TreePath};

/// How many bytes of a file are a piece, and how many bytes of pieces a chunk has at most.
pub const PIECE_BYTES: usize = 8 << 20;

/// How many chunks a snapshot has at most: all are named in one manifest.
pub const MOST_CHUNKS: usize = 900;

/// How many bytes all files of a snapshot have at most.
const MOST_BYTES: u64 = 64 << 30;

/// How well a snapshot is compressed.
const LEVEL: i32 = 3;

/// The most bytes that a snapshot has when it is expanded.
const LIMIT_BYTES: u64 = 1 << 30;

/// The most bytes that a stored chunk has: what does not get smaller becomes a little larger.
const CHUNK_LIMIT_BYTES: u64 = PIECE_BYTES as u64 + (64 << 10);

/// Files and where their bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// All that was in the directory, which is its root.
    pub files: Difference,
    /// The chunks.
    pub chunks: Vec<Chunk>,
    /// What files are made of that are more than one piece.
    pub large: BTreeMap<Content, Vec<Fingerprint>>,
}

/// Bytes that are stored together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The digest of the blob: its pieces one behind the other, compressed with Zstandard.
    pub digest: Digest,
    /// How many bytes the blob has.
    pub size: u64,
    /// What is in it.
    pub pieces: Vec<Piece>,
}

/// Bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Their BLAKE3.
    pub fingerprint: Fingerprint,
    /// How many they are; never more than [`PIECE_BYTES`].
    pub length: u32,
}

impl Chunk {
    /// How many bytes its pieces have.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.pieces.iter().map(|piece| u64::from(piece.length)).sum()
    }
}

impl Snapshot {
    /// Whether a snapshot can hold this: all but whiteouts and device nodes.
    #[must_use]
    pub fn holds(change: &Change) -> bool {
        match change {
            Change::Put(Entry::Special(Special { kind, .. })) => match kind {
                SpecialKind::Fifo => true,
                SpecialKind::Character { .. } | SpecialKind::Block { .. } => false,
            },
            Change::Put(Entry::Directory(_) | Entry::File(_) | Entry::Symlink(_)) => true,
            Change::Whiteout => false,
        }
    }

    /// The snapshot as it is stored; `None` for one that breaks the rules or is too large.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        self.check()?;
        let Snapshot { files, chunks, large } = self;
        let mut out = Vec::new();
        frame(&mut out, &files.encode())?;
        count(&mut out, chunks.len())?;
        for Chunk { digest, size, pieces } in chunks {
            out.extend_from_slice(digest.as_bytes());
            out.extend_from_slice(&size.to_le_bytes());
            count(&mut out, pieces.len())?;
            for Piece { fingerprint, length } in pieces {
                out.extend_from_slice(fingerprint.as_bytes());
                out.extend_from_slice(&length.to_le_bytes());
            }
        }
        count(&mut out, large.len())?;
        for (Content { fingerprint, size }, pieces) in large {
            out.extend_from_slice(fingerprint.as_bytes());
            out.extend_from_slice(&size.to_le_bytes());
            count(&mut out, pieces.len())?;
            pieces.iter().for_each(|piece| out.extend_from_slice(piece.as_bytes()));
        }
        if out.len() as u64 > LIMIT_BYTES {
            return None;
        }
        zstd::bulk::compress(&out, LEVEL).ok()
    }

    /// Reads a stored snapshot; `None` for what is none.
    #[must_use]
    pub fn read(stored: &[u8]) -> Option<Snapshot> {
        // Memory grows with what is there, whatever it says of itself.
        let mut bytes = Vec::new();
        zstd::stream::read::Decoder::new(stored).ok()?.take(LIMIT_BYTES + 1).read_to_end(&mut bytes).ok()?;
        if bytes.len() as u64 > LIMIT_BYTES {
            return None;
        }
        let mut rest = bytes.as_slice();
        let files = Difference::decode(unframe(&mut rest)?).ok()?;
        let mut chunks = Vec::new();
        let count = u32::from_le_bytes(take(&mut rest)?);
        if count as usize > MOST_CHUNKS {
            return None;
        }
        for _ in 0..count {
            let digest = Digest::from_bytes(take(&mut rest)?);
            let size = u64::from_le_bytes(take(&mut rest)?);
            let mut pieces = Vec::new();
            for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
                let fingerprint = Fingerprint::from_bytes(take(&mut rest)?);
                pieces.push(Piece { fingerprint, length: u32::from_le_bytes(take(&mut rest)?) });
            }
            chunks.push(Chunk { digest, size, pieces });
        }
        let mut large = BTreeMap::new();
        for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
            let content = Content { fingerprint: Fingerprint::from_bytes(take(&mut rest)?), size: u64::from_le_bytes(take(&mut rest)?) };
            let mut pieces = Vec::new();
            for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
                pieces.push(Fingerprint::from_bytes(take(&mut rest)?));
            }
            large.insert(content, pieces);
        }
        let snapshot = Snapshot { files, chunks, large };
        snapshot.check()?;
        rest.is_empty().then_some(snapshot)
    }

    /// Where each piece is: its chunk, and its first byte among those of that.
    #[must_use]
    pub fn places(&self) -> BTreeMap<Fingerprint, (usize, u64, u32)> {
        let mut places = BTreeMap::new();
        for (index, chunk) in self.chunks.iter().enumerate() {
            let mut offset = 0;
            for Piece { fingerprint, length } in &chunk.pieces {
                places.entry(*fingerprint).or_insert((index, offset, *length));
                offset += u64::from(*length);
            }
        }
        places
    }

    /// The pieces of a content, in order; none for one without bytes.
    #[must_use]
    pub fn pieces<'a>(&'a self, content: &'a Content) -> &'a [Fingerprint] {
        match (content.size, self.large.get(content)) {
            (0, _) => &[],
            (_, Some(pieces)) => pieces,
            (_, None) => std::slice::from_ref(&content.fingerprint),
        }
    }

    /// A whole directory, whose files all have their pieces, in chunks of a bounded size.
    fn check(&self) -> Option<()> {
        let Snapshot { files, chunks, large } = self;
        files.check().ok()?;
        let is_whole = files.entries.keys().next().is_some_and(TreePath::is_root) && files.opaque.is_empty();
        let is_bounded = |chunk: &Chunk| {
            let has_bytes = chunk.pieces.iter().all(|piece| piece.length > 0);
            has_bytes && chunk.length() <= PIECE_BYTES as u64 && chunk.size <= CHUNK_LIMIT_BYTES
        };
        if !is_whole || chunks.len() > MOST_CHUNKS || !chunks.iter().all(is_bounded) || !files.entries.values().all(Snapshot::holds) {
            return None;
        }
        let mut bytes = 0_u64;
        let mut contents = BTreeSet::new();
        for change in files.entries.values() {
            let Change::Put(Entry::File(file)) = change else { continue };
            bytes = bytes.checked_add(file.content.size).filter(|bytes| *bytes <= MOST_BYTES)?;
            contents.insert(file.content);
        }
        if !large.keys().all(|content| contents.contains(content)) {
            return None;
        }
        let places = self.places();
        contents.iter().all(|content| self.is_made_of(content, &places)).then_some(())
    }

    /// Whether a content has the pieces that one of its size is cut into.
    fn is_made_of(&self, content: &Content, places: &BTreeMap<Fingerprint, (usize, u64, u32)>) -> bool {
        let pieces = self.pieces(content);
        let is_large = content.size > PIECE_BYTES as u64;
        if is_large != self.large.contains_key(content) || pieces.len() as u64 != content.size.div_ceil(PIECE_BYTES as u64) {
            return false;
        }
        let mut rest = content.size;
        pieces.iter().all(|piece| {
            let wanted = rest.min(PIECE_BYTES as u64);
            rest -= wanted;
            places.get(piece).is_some_and(|(_, _, length)| u64::from(*length) == wanted)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tree::arbitrary::{file, plain, tree, tree_of};
    use crate::tree::{Metadata, Node, Tree};

    /// A snapshot whose files have a piece each, so many in a chunk.
    fn snapshot(tree: &Tree, in_a_chunk: usize) -> Snapshot {
        let files = Difference::whole(tree);
        let mut pieces = BTreeMap::new();
        for change in files.entries.values() {
            if let Change::Put(Entry::File(file)) = change
                && file.content.size > 0
            {
                pieces.insert(file.content.fingerprint, u32::try_from(file.content.size).unwrap());
            }
        }
        let pieces: Vec<Piece> = pieces.into_iter().map(|(fingerprint, length)| Piece { fingerprint, length }).collect();
        let chunk = |pieces: &[Piece]| Chunk { digest: Digest::of(b"chunk"), size: 7, pieces: pieces.to_vec() };
        Snapshot { files, chunks: pieces.chunks(in_a_chunk).map(chunk).collect(), large: BTreeMap::new() }
    }

    fn is_good(tree: &Tree) -> bool {
        Difference::whole(tree).entries.values().all(Snapshot::holds)
    }

    proptest! {
        #[test]
        fn a_snapshot_is_read_as_it_was_written(tree in tree(), in_a_chunk in 1_usize..4) {
            let snapshot = snapshot(&tree, in_a_chunk);
            match snapshot.encode() {
                Some(stored) => prop_assert_eq!(Snapshot::read(&stored), Some(snapshot)),
                None => prop_assert!(!is_good(&tree)),
            }
        }

        #[test]
        fn changed_bytes_are_another_good_snapshot_or_none(tree in tree(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            prop_assume!(is_good(&tree));
            let stored = snapshot(&tree, 2).encode().unwrap();
            let mut bytes = zstd::bulk::decompress(&stored, 1 << 20).unwrap();
            *at.get_mut(&mut bytes) = byte;
            for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                if let Some(read) = Snapshot::read(&zstd::bulk::compress(bytes, LEVEL).unwrap()) {
                    prop_assert!(read.encode().is_some());
                }
            }
        }
    }

    #[test]
    fn files_without_their_bytes_devices_and_what_is_too_large_make_no_snapshot() {
        let good = snapshot(&tree_of(&[("a", file(b"some bytes")), ("b", file(b"others"))]), 1);
        assert!(good.encode().is_some());
        let mut lacking = good.clone();
        lacking.chunks.pop();
        assert_eq!(lacking.encode(), None);
        let mut long = good.clone();
        long.chunks[0].pieces[0].length = u32::try_from(PIECE_BYTES).unwrap() + 1;
        assert_eq!(long.encode(), None);
        let mut stored = good.clone();
        stored.chunks[0].size = u64::MAX;
        assert_eq!(stored.encode(), None);
        let mut many = good.clone();
        many.chunks = vec![many.chunks[0].clone(); MOST_CHUNKS + 1];
        assert_eq!(many.encode(), None);
        for kind in [SpecialKind::Character { major: 1, minor: 3 }, SpecialKind::Block { major: 8, minor: 0 }] {
            let device = Node::Special(Special { metadata: plain(0o600), kind });
            assert_eq!(snapshot(&tree_of(&[("node", device)]), 1).encode(), None);
        }
        let part = Difference { entries: good.files.entries.clone().into_iter().skip(1).collect(), ..good.files.clone() };
        assert_eq!(Snapshot { files: part, ..good }.encode(), None);
        assert!(snapshot(&Tree::empty(Metadata { mode: 0o700, ..plain(0o755) }), 1).encode().is_some());
        assert_eq!(Snapshot::read(b"no snapshot"), None);
    }
}
