//! Contents of files that did not change since they were read last: kept in one record of the store per directory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use lapstrake_cache::{Fingerprint, Shelf, Store};

use crate::tree::{Content, DiskTime, FileStamp, KnownContents};

/// Where the records are.
const SHELF: Shelf = Shelf::named("known-contents");
/// First bytes of a record.
const FORMAT: &[u8] = b"lapstrake-known/1\n";
/// Bytes of one entry: the stamp and the content.
const ENTRY: usize = 8 + 8 + 8 + 12 + 12 + 32 + 8;

/// Contents by stamp. Only what was asked for since [`Remembered::load`] is kept by [`Remembered::save`], so files that are gone are
/// forgotten.
pub(super) struct Remembered<'a> {
    store: &'a Store,
    key: Fingerprint,
    before: BTreeMap<FileStamp, Content>,
    now: Mutex<BTreeMap<FileStamp, Content>>,
}

impl<'a> Remembered<'a> {
    /// Reads what is remembered of a directory. A record that cannot be read is forgotten.
    pub(super) fn load(store: &'a Store, directory: &Path) -> Remembered<'a> {
        let key = Fingerprint::of(directory.as_os_str().as_encoded_bytes());
        let before = store.record(&SHELF, &key).ok().flatten().and_then(|bytes| decode(&bytes)).unwrap_or_default();
        Remembered { store, key, before, now: Mutex::default() }
    }

    /// Writes what was asked for, if it is not what was read. That it cannot be written costs time in the next build and no more.
    pub(super) fn save(self) {
        let now = self.now.into_inner().unwrap_or_else(PoisonError::into_inner);
        if now != self.before {
            let _ = self.store.put_record(&SHELF, &self.key, &encode(&now));
        }
    }
}

impl KnownContents for Remembered<'_> {
    fn get(&self, stamp: &FileStamp) -> Option<Content> {
        let content = *self.before.get(stamp)?;
        self.put(*stamp, content);
        Some(content)
    }

    fn put(&self, stamp: FileStamp, content: Content) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).insert(stamp, content);
    }
}

fn encode(known: &BTreeMap<FileStamp, Content>) -> Vec<u8> {
    let mut out = Vec::with_capacity(FORMAT.len() + known.len() * ENTRY);
    out.extend_from_slice(FORMAT);
    for (FileStamp { device, inode, size, modified, changed }, content) in known {
        for number in [device, inode, size] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for DiskTime { seconds, nanoseconds } in [modified, changed] {
            out.extend_from_slice(&seconds.to_le_bytes());
            out.extend_from_slice(&nanoseconds.to_le_bytes());
        }
        out.extend_from_slice(content.fingerprint.as_bytes());
        out.extend_from_slice(&content.size.to_le_bytes());
    }
    out
}

fn decode(bytes: &[u8]) -> Option<BTreeMap<FileStamp, Content>> {
    let entries = bytes.strip_prefix(FORMAT)?;
    if entries.len() % ENTRY != 0 {
        return None;
    }
    let mut known = BTreeMap::new();
    for entry in entries.chunks_exact(ENTRY) {
        let number = |at: usize| Some(u64::from_le_bytes(entry.get(at..at + 8)?.try_into().ok()?));
        let time = |at: usize| {
            let seconds = i64::from_le_bytes(entry.get(at..at + 8)?.try_into().ok()?);
            Some(DiskTime { seconds, nanoseconds: u32::from_le_bytes(entry.get(at + 8..at + 12)?.try_into().ok()?) })
        };
        let stamp = FileStamp { device: number(0)?, inode: number(8)?, size: number(16)?, modified: time(24)?, changed: time(36)? };
        let fingerprint = Fingerprint::from_bytes(entry.get(48..80)?.try_into().ok()?);
        known.insert(stamp, Content { fingerprint, size: number(80)? });
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_survives_its_bytes_and_damage_is_refused() {
        let time = |seconds| DiskTime { seconds, nanoseconds: 7 };
        let stamp = FileStamp { device: 1, inode: 2, size: 3, modified: time(-4), changed: time(5) };
        let known: BTreeMap<_, _> = [(stamp, Content { fingerprint: Fingerprint::of(b"x"), size: 3 })].into();
        let bytes = encode(&known);
        assert_eq!(decode(&bytes), Some(known));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(b"other"), None);
    }
}
