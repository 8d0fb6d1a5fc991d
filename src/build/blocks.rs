//! The compressed blocks of the blob that a step's layer was last: what was packed here before in, what need not be compressed again out.
//!
//! Where blocks end is decided by names and sizes (`specs/layers.md`, "Blocks"), so an edit leaves nearly all of them as they were.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use lapstrake_cache::{Digest, Fingerprint, Fingerprinter, Shelf, Store};

use crate::layer::{KnownBlock, KnownBlocks, Profile};

/// By the key below: the digest of a blob, and those of its blocks that were compressed, in order.
const SHELF: Shelf = Shelf::named("blocks");

/// What a layer is, whatever is in it: the same step of the same project has the same one after an edit. Two that share one only compress
/// more than they need to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lineage(Fingerprint);

impl Lineage {
    /// The lineage of a layer in a profile, told by words.
    pub(super) fn new<'a>(profile: Profile, words: impl IntoIterator<Item = &'a [u8]>) -> Lineage {
        let mut hasher = Fingerprinter::new();
        hasher.update_framed(b"lapstrake-blocks/1");
        hasher.update_framed(profile.name().as_bytes());
        for word in words {
            hasher.update_framed(word);
        }
        Lineage(hasher.finish())
    }
}

/// The blocks of the blob before, and those of the one that is written now.
pub(super) struct Blocks {
    lineage: Lineage,
    before: Option<Before>,
    now: Mutex<Vec<(u64, KnownBlock)>>,
}

struct Before {
    blob: File,
    /// By the name of the plain bytes: where it lies, and what it is.
    blocks: BTreeMap<Fingerprint, (u64, KnownBlock)>,
}

impl Blocks {
    /// What is known of a lineage. What cannot be read is not known: then all is compressed.
    pub(super) fn open(store: &Store, lineage: Lineage) -> Blocks {
        Blocks { lineage, before: Before::find(store, lineage), now: Mutex::default() }
    }

    /// Remembers the blocks of the blob that was written, for the next one of the lineage. Where that fails, more is compressed next time.
    pub(super) fn keep(self, store: &Store, digest: &Digest) {
        let blocks = self.now.into_inner().unwrap_or_default();
        // One block is compressed again sooner than it is found.
        if blocks.len() > 1 {
            let _ = store.put_record(&SHELF, &self.lineage.0, &encode(digest, &blocks));
        }
    }
}

impl Before {
    fn find(store: &Store, lineage: Lineage) -> Option<Before> {
        let (digest, blocks) = decode(&store.record(&SHELF, &lineage.0).ok()??)?;
        let blob = store.blob(&digest).ok()??;
        let within = |(start, block): &(u64, KnownBlock)| start.checked_add(block.size).is_some_and(|end| end <= blob.size);
        let blocks = blocks.into_iter().filter(within).map(|(start, block)| (block.plain, (start, block))).collect();
        Some(Before { blob: blob.file, blocks })
    }
}

impl KnownBlocks for Blocks {
    fn get(&self, plain: &Fingerprint, out: &mut Vec<u8>) -> Option<KnownBlock> {
        let Before { blob, blocks } = self.before.as_ref()?;
        let (start, block) = blocks.get(plain)?;
        out.resize(usize::try_from(block.size).ok()?, 0);
        blob.read_exact_at(out, *start).ok()?;
        // A blob that the disk has damaged must not pass its damage on.
        (Fingerprint::of(out) == block.compressed).then_some(*block)
    }

    fn put(&self, start: u64, block: KnownBlock) {
        if let Ok(mut now) = self.now.lock() {
            now.push((start, block));
        }
    }
}

fn encode(digest: &Digest, blocks: &[(u64, KnownBlock)]) -> Vec<u8> {
    let mut bytes = digest.as_bytes().to_vec();
    for (start, KnownBlock { plain, compressed, size }) in blocks {
        bytes.extend_from_slice(&start.to_le_bytes());
        bytes.extend_from_slice(plain.as_bytes());
        bytes.extend_from_slice(compressed.as_bytes());
        bytes.extend_from_slice(&size.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<(Digest, Vec<(u64, KnownBlock)>)> {
    let (digest, mut rest) = bytes.split_first_chunk::<32>()?;
    let mut blocks = Vec::new();
    while !rest.is_empty() {
        let (start, after) = rest.split_first_chunk::<8>()?;
        let (plain, after) = after.split_first_chunk::<32>()?;
        let (compressed, after) = after.split_first_chunk::<32>()?;
        let (size, after) = after.split_first_chunk::<8>()?;
        let block = KnownBlock {
            plain: Fingerprint::from_bytes(*plain),
            compressed: Fingerprint::from_bytes(*compressed),
            size: u64::from_le_bytes(*size),
        };
        blocks.push((u64::from_le_bytes(*start), block));
        rest = after;
    }
    Some((Digest::from_bytes(*digest), blocks))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::event::Cancel;
    use crate::layer::{pack, pack_reusing};
    use crate::tree::{Difference, DirectoryContents, LocalDirectory, NoneKnown, scan};

    const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

    /// Counts the blocks that were found.
    struct Counted<'a>(&'a Blocks, Mutex<(usize, usize)>);

    impl KnownBlocks for Counted<'_> {
        fn get(&self, plain: &Fingerprint, out: &mut Vec<u8>) -> Option<KnownBlock> {
            let found = self.0.get(plain, out);
            let mut counts = self.1.lock().unwrap();
            counts.0 += usize::from(found.is_some());
            counts.1 += 1;
            found
        }

        fn put(&self, start: u64, block: KnownBlock) {
            self.0.put(start, block);
        }
    }

    /// Packs a directory into the store as the next of its lineage: the digest, the blocks that were found, all blocks. The bytes are
    /// those of a packing that knows nothing.
    fn packed(store: &Store, directory: &Path, profile: Profile) -> (Digest, usize, usize) {
        let handle = LocalDirectory::open(directory).unwrap();
        let difference = Difference::whole(&scan(&handle, &NoneKnown, &Cancel::new()).unwrap().tree);
        let contents = DirectoryContents(&handle);
        let blocks = Blocks::open(store, Lineage::new(profile, [b"layer".as_slice()]));
        let counted = Counted(&blocks, Mutex::default());
        let mut bytes = Vec::new();
        let made = pack_reusing(&difference, &contents, profile, TWO, &counted, &mut bytes, &Cancel::new()).unwrap();
        let (found, all) = counted.1.into_inner().unwrap();
        let mut anew = Vec::new();
        assert_eq!(pack(&difference, &contents, profile, TWO, &mut anew, &Cancel::new()).unwrap(), made);
        assert!(bytes == anew, "{profile}");
        store.put_blob(&bytes).unwrap();
        blocks.keep(store, &made.digest);
        (made.digest, found, all)
    }

    fn files(directory: &Path) {
        let mut state = 7_u64;
        for number in 0..60 {
            let content: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                b"abcdefgh"[(state >> 61) as usize]
            })
            .take(200_000)
            .collect();
            std::fs::write(directory.join(format!("file-{number}")), content).unwrap();
        }
    }

    #[test]
    fn an_edit_leaves_nearly_all_blocks_to_be_found() {
        for profile in [Profile::Gzip1, Profile::GzipSingle1, Profile::Zstd1] {
            let place = tempfile::tempdir().unwrap();
            let (store, data) = (Store::open(&place.path().join("store")).unwrap(), place.path().join("data"));
            std::fs::create_dir(&data).unwrap();
            files(&data);
            let (_, found, all) = packed(&store, &data, profile);
            assert!(found == 0 && all > 3, "{profile}: {found} of {all}");
            std::fs::write(data.join("file-30"), "another").unwrap();
            let (_, found, all) = packed(&store, &data, profile);
            assert!(found > 0 && found >= all - 2, "{profile}: {found} of {all}");
        }
    }

    #[test]
    fn what_does_not_compress_is_stored_anew_and_the_rest_is_found() {
        let place = tempfile::tempdir().unwrap();
        let (store, data) = (Store::open(&place.path().join("store")).unwrap(), place.path().join("data"));
        std::fs::create_dir(&data).unwrap();
        files(&data);
        let (_, _, text) = packed(&store, &data, Profile::Gzip1);
        let mut state = 3_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(5 << 20)
        .collect();
        // It comes first, so that it is where it was not before in the blob.
        std::fs::write(data.join("a-noise"), noise).unwrap();
        let (_, found, asked) = packed(&store, &data, Profile::Gzip1);
        assert!(asked < text + 5 && found >= text - 1, "{found} of {asked}, {text} of them text");
        let (_, found, asked) = packed(&store, &data, Profile::Gzip1);
        assert_eq!(found, asked);
    }

    #[test]
    fn a_damaged_or_missing_blob_is_never_believed() {
        let place = tempfile::tempdir().unwrap();
        let (store, data) = (Store::open(&place.path().join("store")).unwrap(), place.path().join("data"));
        std::fs::create_dir(&data).unwrap();
        files(&data);
        let (digest, _, all) = packed(&store, &data, Profile::Gzip1);
        let blob = place.path().join("store/blobs/sha256").join(digest.hex());
        std::fs::set_permissions(&blob, PermissionsExt::from_mode(0o644)).unwrap();
        let mut bytes = std::fs::read(&blob).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&blob, bytes).unwrap();
        // What `packed` compares shows that the damage stays where it is.
        assert_eq!(packed(&store, &data, Profile::Gzip1), (digest, all - 1, all));
        std::fs::remove_file(&blob).unwrap();
        assert_eq!(packed(&store, &data, Profile::Gzip1), (digest, 0, all));
    }

    #[test]
    fn what_is_no_list_of_blocks_is_none() {
        let block = KnownBlock { plain: Fingerprint::of(b"a"), compressed: Fingerprint::of(b"b"), size: 7 };
        let bytes = encode(&Digest::of(b"blob"), &[(3, block)]);
        assert_eq!(decode(&bytes), Some((Digest::of(b"blob"), vec![(3, block)])));
        for length in (0..bytes.len()).filter(|length| *length != 32) {
            assert_eq!(decode(&bytes[..length]), None, "{length}");
        }
    }
}
