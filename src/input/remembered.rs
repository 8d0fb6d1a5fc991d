//! Contents of files that did not change since they were read last: kept in the store, in one record for each directory, and one for each
//! archive.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use lapstrake_cache::{Digest, Fingerprint, Shelf, Store};

use crate::tree::{Content, DiskTime, FileStamp, KnownContents, Settled};

/// Where the records are.
const SHELF: Shelf = Shelf::named("known-contents");
/// First bytes of a record.
const FORMAT: &[u8] = b"lapstrake-known/1\n";
/// Bytes of one entry: the stamp and the content.
const ENTRY: usize = 8 + 8 + 8 + 12 + 12 + 32 + 8;
/// Entries that are written at a time.
const WRITTEN_AT_A_TIME: usize = 1024;

/// Contents by stamp. Only what was asked for since [`Remembered::load`] is kept by [`Remembered::save`], so files that are gone are
/// forgotten.
pub(super) struct Remembered<'a> {
    store: &'a Store,
    key: Fingerprint,
    /// In order, with whether it was asked for.
    before: Vec<(FileStamp, Content, AtomicBool)>,
    new: Mutex<Vec<(FileStamp, Content)>>,
}

impl<'a> Remembered<'a> {
    /// Reads what is remembered of a directory. A record that cannot be read is forgotten.
    pub(super) fn load(store: &'a Store, directory: &Path) -> Remembered<'a> {
        let key = Fingerprint::of(directory.as_os_str().as_encoded_bytes());
        let known = store.record(&SHELF, &key).ok().flatten().and_then(|bytes| decode(&bytes)).unwrap_or_default();
        let before = known.into_iter().map(|(stamp, content)| (stamp, content, AtomicBool::new(false))).collect();
        Remembered { store, key, before, new: Mutex::default() }
    }

    /// Writes what was asked for, if it is not what was read. That it cannot be written costs time in the next build and no more.
    pub(super) fn save(self) {
        let mut now = self.new.into_inner().unwrap_or_else(PoisonError::into_inner);
        if now.is_empty() && self.before.iter().all(|(_, _, asked)| asked.load(Ordering::Relaxed)) {
            return;
        }
        let kept = self.before.into_iter().filter(|(_, _, asked)| asked.load(Ordering::Relaxed));
        now.extend(kept.map(|(stamp, content, _)| (stamp, content)));
        now.sort_unstable_by_key(|(stamp, _)| *stamp);
        now.dedup_by_key(|(stamp, _)| *stamp);
        let length = FORMAT.len() + now.len() * ENTRY;
        let _ = self.store.put_record_with(&SHELF, &self.key, length as u64, |out| encode(&now, out));
    }
}

impl KnownContents for Remembered<'_> {
    fn get(&self, stamp: &FileStamp) -> Option<Content> {
        let place = self.before.binary_search_by(|(known, _, _)| known.cmp(stamp)).ok()?;
        let (_, content, asked) = self.before.get(place)?;
        asked.store(true, Ordering::Relaxed);
        Some(*content)
    }

    fn put(&self, stamp: FileStamp, content: Content) {
        self.new.lock().unwrap_or_else(PoisonError::into_inner).push((stamp, content));
    }
}

/// Writes what is known, in order.
fn encode(known: &[(FileStamp, Content)], out: &mut dyn Write) -> io::Result<()> {
    let mut bytes = FORMAT.to_vec();
    for some in known.chunks(WRITTEN_AT_A_TIME) {
        for (stamp, content) in some {
            stamp.append_to(&mut bytes);
            bytes.extend_from_slice(content.fingerprint.as_bytes());
            bytes.extend_from_slice(&content.size.to_le_bytes());
        }
        out.write_all(&bytes)?;
        bytes.clear();
    }
    out.write_all(&bytes)
}

/// What is known, in order.
fn decode(bytes: &[u8]) -> Option<Vec<(FileStamp, Content)>> {
    let entries = bytes.strip_prefix(FORMAT)?;
    if entries.len() % ENTRY != 0 {
        return None;
    }
    let mut known = Vec::with_capacity(entries.len() / ENTRY);
    for entry in entries.chunks_exact(ENTRY) {
        let number = |at: usize| Some(u64::from_le_bytes(entry.get(at..at + 8)?.try_into().ok()?));
        let time = |at: usize| {
            let seconds = i64::from_le_bytes(entry.get(at..at + 8)?.try_into().ok()?);
            Some(DiskTime { seconds, nanoseconds: u32::from_le_bytes(entry.get(at + 8..at + 12)?.try_into().ok()?) })
        };
        let stamp = FileStamp { device: number(0)?, inode: number(8)?, size: number(16)?, modified: time(24)?, changed: time(36)? };
        let fingerprint = Fingerprint::from_bytes(entry.get(48..80)?.try_into().ok()?);
        known.push((stamp, Content { fingerprint, size: number(80)? }));
    }
    known.is_sorted_by(|(one, _), (other, _)| one < other).then_some(known)
}

/// Digests of single files, by stamp.
const DIGESTS: Shelf = Shelf::named("known-digests");

/// The digest of a file in this state, where it is known.
pub(super) fn digest(store: &Store, stamp: &FileStamp) -> Result<Option<Digest>, lapstrake_cache::Error> {
    let body = store.record(&DIGESTS, &stamp_key(stamp))?;
    Ok(body.and_then(|body| Some(Digest::from_bytes(body.try_into().ok()?))))
}

/// Remembers the digest of a file in this state, if its times would show a later change.
pub(super) fn remember_digest(store: &Store, stamp: &FileStamp, digest: &Digest) -> Result<(), lapstrake_cache::Error> {
    match Settled::now().shows_changes_of(stamp) {
        true => store.put_record(&DIGESTS, &stamp_key(stamp), digest.as_bytes()),
        false => Ok(()),
    }
}

fn stamp_key(stamp: &FileStamp) -> Fingerprint {
    let mut bytes = b"lapstrake-known-digest/1\n".to_vec();
    stamp.append_to(&mut bytes);
    Fingerprint::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_survives_its_bytes_and_damage_is_refused() {
        let time = |seconds| DiskTime { seconds, nanoseconds: 7 };
        let stamp = |inode| FileStamp { device: 1, inode, size: 3, modified: time(-4), changed: time(5) };
        let content = Content { fingerprint: Fingerprint::of(b"x"), size: 3 };
        let known = [(stamp(1), content), (stamp(2), content)];
        let mut bytes = Vec::new();
        encode(&known, &mut bytes).unwrap();
        assert_eq!(bytes.len(), FORMAT.len() + 2 * ENTRY);
        assert_eq!(decode(&bytes), Some(known.to_vec()));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        let (format, entries) = bytes.split_at(FORMAT.len());
        let (one, other) = entries.split_at(ENTRY);
        assert_eq!(decode(&[format, other, one].concat()), None, "what is not in order would not be found");
        assert_eq!(decode(b"other"), None);
    }
}
