//! Packing as an action: a difference, a compression profile and the layer format revision → a blob.
//!
//! A fix in a header raises the format and so is never hidden by an old blob.

use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;

use lapstrake_cache::{Blob, Digest, Fingerprint, Fingerprinter, Shelf, Store};

use super::Failure;
use super::ahead::{Ahead, Followed};
use super::blocks::{Blocks, Lineage};
use crate::event::{Outcome, TaskKind};
use crate::input::Outside;
use crate::layer::{self, Profile};
use crate::tree::{Contents, Difference};

/// Blobs of differences by the key below.
const SHELF: Shelf = Shelf::named("packed");

/// A difference as a blob of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed {
    /// The digest of the uncompressed bytes.
    pub(super) diff_id: Digest,
    /// The digest of the blob.
    pub(super) digest: Digest,
    /// The blob's bytes.
    pub(super) size: u64,
}

fn key(difference: &Fingerprint, profile: Profile) -> Fingerprint {
    let mut hasher = Fingerprinter::new();
    hasher.update_framed(b"lapstrake-pack/2");
    hasher.update(difference.as_bytes());
    hasher.update_framed(profile.name().as_bytes());
    hasher.update(&layer::LAYER_FORMAT.to_le_bytes());
    hasher.finish()
}

/// The blob of a difference in a profile, if the store has it.
pub(super) fn find(store: &Store, difference: &Fingerprint, profile: Profile) -> Result<Option<Packed>, Failure> {
    let Some(body) = store.record(&SHELF, &key(difference, profile))? else { return Ok(None) };
    let Some(packed) = decode(&body) else { return Ok(None) };
    Ok(store.blob(&packed.digest)?.filter(|blob| blob.size == packed.size).map(|_| packed))
}

/// The digests that blobs of a difference have, whether the store has them still or not.
pub(super) fn digests(store: &Store, difference: &Fingerprint) -> Result<Vec<Digest>, Failure> {
    let bodies = Profile::ALL.into_iter().map(|profile| Ok(store.record(&SHELF, &key(difference, profile))?));
    let bodies = bodies.collect::<Result<Vec<_>, Failure>>()?;
    Ok(bodies.into_iter().flatten().filter_map(|body| decode(&body)).map(|packed| packed.digest).collect())
}

/// Any blob of a difference.
pub(super) fn find_blob(store: &Store, difference: &Fingerprint) -> Result<Option<Blob>, Failure> {
    for profile in Profile::ALL {
        if let Some(packed) = find(store, difference, profile)? {
            return Ok(store.blob(&packed.digest)?);
        }
    }
    Ok(None)
}

/// How a difference is packed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packing<'a> {
    /// For people.
    pub(super) label: &'a str,
    /// What the layer is, whatever is in it.
    pub(super) lineage: &'a [&'a str],
    /// The difference's name.
    pub(super) difference: &'a Fingerprint,
    pub(super) profile: Profile,
    /// How many blocks are compressed at a time.
    pub(super) threads: NonZeroUsize,
    /// Where it goes while it is written.
    pub(super) ahead: Ahead<'a>,
}

/// Writes the blob of a difference into the store. Blocks that the last blob of its lineage has are taken from there.
pub(super) fn pack(
    outside: &Outside<'_>,
    packing: Packing<'_>,
    difference: &Difference,
    contents: &dyn Contents,
) -> Result<Packed, Failure> {
    let Packing { label, lineage, difference: name, profile, threads, ahead } = packing;
    outside.task(TaskKind::Pack, label.to_owned(), |task| {
        let project = outside.directory.as_os_str().as_bytes();
        let lineage = Lineage::new(profile, std::iter::once(project).chain(lineage.iter().map(|word| word.as_bytes())));
        let blocks = Blocks::open(outside.store, lineage);
        let mut sink = Followed::new(outside.store.new_hashed_blob()?, ahead);
        let made = layer::pack_reusing(difference, contents, profile, threads, &blocks, &mut sink, outside.cancel)?;
        sink.finish_as(&made.digest)?;
        blocks.keep(outside.store, &made.digest);
        let packed = Packed { diff_id: made.diff_id, digest: made.digest, size: made.size };
        outside.store.put_record(&SHELF, &key(name, profile), &encode(&packed))?;
        outside.advanced(task, made.size, None);
        Ok((packed, Outcome::Done))
    })
}

fn encode(packed: &Packed) -> Vec<u8> {
    let Packed { diff_id, digest, size } = packed;
    [diff_id.as_bytes().as_slice(), digest.as_bytes(), &size.to_le_bytes()].concat()
}

fn decode(bytes: &[u8]) -> Option<Packed> {
    let (diff_id, rest) = bytes.split_first_chunk::<32>()?;
    let (digest, rest) = rest.split_first_chunk::<32>()?;
    let size = u64::from_le_bytes(rest.try_into().ok()?);
    Some(Packed { diff_id: Digest::from_bytes(*diff_id), digest: Digest::from_bytes(*digest), size })
}
