//! Records: small bytes under a key, in and out all or nothing. FORMAT.md, "Records".
//!
//! A record is not synced. One that the power took half of fails its checksum and reads as a miss.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::PathBuf;

use crate::clock::Moment;
use crate::error::{At, Error, Existing};
use crate::fingerprint::{Fingerprint, Fingerprinter};
use crate::name::Shelf;
use crate::store::{Place, Store, create_directory};

const MAGIC: &[u8; 8] = b"lapsrec\n";
const RECORD_FORMAT: u32 = 1;
const CHECKSUM_BYTES: usize = 32;
/// A body as large as this is written with what is around it at once; a larger one is not copied for that.
const WRITTEN_AT_ONCE: usize = 256 << 10;
/// Magic, format and time: what tells the age without reading the rest.
const PREFIX_BYTES: usize = 20;

/// How long ago a record was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    /// Whole seconds; 0 too where the clock went back since.
    pub seconds: u64,
}

/// A record that passed every check.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) written: Moment,
    pub(crate) body: Vec<u8>,
}

impl Store {
    /// The body of a record, marked as used. A record that is missing, damaged, of another format or of another key is `None`.
    ///
    /// # Errors
    /// Only what the system answers.
    pub fn record(&self, shelf: &Shelf, key: &Fingerprint) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.read_record(shelf, key)?.map(|record| record.body))
    }

    /// Whether there is something under the key, which may still be no record that can be read. It is not marked as used.
    ///
    /// # Errors
    /// Only what the system answers.
    pub fn has_record(&self, shelf: &Shelf, key: &Fingerprint) -> Result<bool, Error> {
        let path = self.record_path(shelf, key);
        Ok(fs::symlink_metadata(&path).if_exists().at("examine", &path)?.is_some())
    }

    /// As [`Store::record`], with the time since the record was put.
    ///
    /// # Errors
    /// Only what the system answers.
    pub fn record_and_age(&self, shelf: &Shelf, key: &Fingerprint) -> Result<Option<(Vec<u8>, Age)>, Error> {
        let now = Moment::now();
        Ok(self.read_record(shelf, key)?.map(|record| (record.body, Age::between(record.written, now))))
    }

    /// Puts a record in place of any earlier one of the same key: readers see the old or the new one, never a mixture.
    ///
    /// # Errors
    /// Only what the system answers; the earlier record then stays.
    pub fn put_record(&self, shelf: &Shelf, key: &Fingerprint, body: &[u8]) -> Result<(), Error> {
        if body.len() > WRITTEN_AT_ONCE {
            return self.put_record_with(shelf, key, body.len() as u64, |out| out.write_all(body));
        }
        self.create_shelf(shelf)?;
        let bytes = encode(shelf, key, Moment::now(), body);
        self.write_entry(&self.record_path(shelf, key), |file| file.write_all(&bytes))
    }

    /// As [`Store::put_record`], for a body that need not be in memory: `write` writes it, exactly `length` bytes.
    ///
    /// # Errors
    /// What the system or `write` answers, and when `write` writes another number of bytes; the earlier record then stays.
    pub fn put_record_with(
        &self,
        shelf: &Shelf,
        key: &Fingerprint,
        length: u64,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Error> {
        self.create_shelf(shelf)?;
        let header = header(shelf, key, Moment::now(), length);
        self.write_entry(&self.record_path(shelf, key), |file| {
            file.write_all(&header)?;
            let mut hasher = Fingerprinter::new();
            hasher.update(&header);
            let mut body = Body { file, hasher, left: length, failed: false };
            write(&mut body)?;
            let Body { file, hasher, left, failed } = body;
            match left {
                _ if failed => Err(io::Error::other("a part of a record could not be written")),
                0 => file.write_all(hasher.finish().as_bytes()),
                left => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a record has {left} bytes less than it was to have"))),
            }
        })
    }

    fn create_shelf(&self, shelf: &Shelf) -> Result<(), Error> {
        create_directory(&self.place(Place::Records).join(shelf.as_str()))
    }

    /// The keys of a shelf, those put last first, with the time since. Nothing is marked as used, and only the first bytes of
    /// each record are read: one whose rest is damaged is listed, and is then a miss.
    ///
    /// # Errors
    /// Only what the system answers.
    pub fn records(&self, shelf: &Shelf) -> Result<Vec<(Fingerprint, Age)>, Error> {
        let shelf_path = self.place(Place::Records).join(shelf.as_str());
        let Some(entries) = fs::read_dir(&shelf_path).if_exists().at("list", &shelf_path)? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.at("list", &shelf_path)?;
            let Some(key) = entry.file_name().to_str().and_then(|name| name.parse::<Fingerprint>().ok()) else {
                continue;
            };
            let path = entry.path();
            let Some(file) = File::open(&path).if_exists().at("open", &path)? else { continue };
            let mut prefix = Vec::with_capacity(PREFIX_BYTES);
            file.take(PREFIX_BYTES as u64).read_to_end(&mut prefix).at("read", &path)?;
            if let Some(written) = decode_prefix(&mut Reader(&prefix)) {
                found.push((written, key));
            }
        }
        found.sort_by(|a, b| b.cmp(a));
        let now = Moment::now();
        Ok(found.into_iter().map(|(written, key)| (key, Age::between(written, now))).collect())
    }

    fn read_record(&self, shelf: &Shelf, key: &Fingerprint) -> Result<Option<Record>, Error> {
        let path = self.record_path(shelf, key);
        let Some(mut file) = File::open(&path).if_exists().at("open", &path)? else { return Ok(None) };
        let metadata = file.metadata().at("examine", &path)?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).at("read", &path)?;
        let Some((written, body)) = read(shelf, key, &bytes) else { return Ok(None) };
        self.mark(&file, &metadata, &path)?;
        // What is around the body is taken away: there is no second one in memory.
        bytes.truncate(body.end);
        bytes.drain(..body.start);
        Ok(Some(Record { written, body: bytes }))
    }

    pub(crate) fn record_path(&self, shelf: &Shelf, key: &Fingerprint) -> PathBuf {
        self.place(Place::Records).join(shelf.as_str()).join(key.hex())
    }
}

impl Age {
    fn between(written: Moment, now: Moment) -> Age {
        Age { seconds: now.since(written).as_secs() }
    }
}

pub(crate) fn encode(shelf: &Shelf, key: &Fingerprint, written: Moment, body: &[u8]) -> Vec<u8> {
    let mut bytes = header(shelf, key, written, body.len() as u64);
    bytes.extend_from_slice(body);
    let checksum = Fingerprint::of(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

/// What is before the body.
fn header(shelf: &Shelf, key: &Fingerprint, written: Moment, body_length: u64) -> Vec<u8> {
    let name = shelf.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + name.len() + 80);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&RECORD_FORMAT.to_le_bytes());
    bytes.extend_from_slice(&written.nanoseconds().to_le_bytes());
    // A shelf's name has at most 200 bytes.
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(key.as_bytes());
    // The signature, which format 1 leaves empty.
    bytes.extend_from_slice(&0_u16.to_le_bytes());
    bytes.extend_from_slice(&body_length.to_le_bytes());
    bytes
}

/// The body of a record on its way into a file.
struct Body<'f> {
    file: &'f mut File,
    hasher: Fingerprinter,
    left: u64,
    /// Whether a write failed: what is in the file then is not known, whatever is written after it.
    failed: bool,
}

impl Write for Body<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let failed_before = std::mem::replace(&mut self.failed, true);
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a record has more bytes than it was to have"));
        };
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.left = left;
        self.failed = failed_before;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `None` unless every byte is as [`encode`] would have written it for this shelf and key.
pub(crate) fn decode(shelf: &Shelf, key: &Fingerprint, bytes: &[u8]) -> Option<Record> {
    let (written, body) = read(shelf, key, bytes)?;
    Some(Record { written, body: bytes.get(body)?.to_owned() })
}

/// As [`decode`]: the time, and where the body is.
fn read(shelf: &Shelf, key: &Fingerprint, bytes: &[u8]) -> Option<(Moment, Range<usize>)> {
    let (content, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    if Fingerprint::of(content).as_bytes() != checksum {
        return None;
    }
    let mut reader = Reader(content);
    let written = decode_prefix(&mut reader)?;
    let name_length = reader.take::<1>()?[0];
    let name = reader.slice(usize::from(name_length))?;
    let found_key = reader.take::<32>()?;
    let signature_length = u16::from_le_bytes(*reader.take()?);
    let body_length = u64::from_le_bytes(*reader.take()?);
    let body = reader.0.len();
    let is_ours = name == shelf.as_str().as_bytes() && found_key == key.as_bytes();
    let is_whole = signature_length == 0 && body_length == body as u64;
    (is_ours && is_whole).then(|| (written, content.len() - body..content.len()))
}

/// What a record's bytes are worth to this version.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Whole,
    /// Of a format that this version does not read.
    OtherFormat,
    Damaged,
}

pub(crate) fn standing(shelf: &Shelf, key: &Fingerprint, bytes: &[u8]) -> Standing {
    if decode(shelf, key, bytes).is_some() {
        return Standing::Whole;
    }
    let mut reader = Reader(bytes);
    let format = reader.take().filter(|magic| *magic == MAGIC).and_then(|_| reader.take());
    match format.map(|format| u32::from_le_bytes(*format)) {
        Some(format) if format > RECORD_FORMAT => Standing::OtherFormat,
        Some(_) | None => Standing::Damaged,
    }
}

fn decode_prefix(reader: &mut Reader<'_>) -> Option<Moment> {
    let is_known = reader.take()? == MAGIC && u32::from_le_bytes(*reader.take()?) == RECORD_FORMAT;
    let written = u64::from_le_bytes(*reader.take()?);
    is_known.then_some(Moment::from_nanoseconds(written))
}

/// Takes fields from the front of untrusted bytes.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(first)
    }

    pub(crate) fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const SHELF: Shelf = Shelf::named("actions");

    fn any_key() -> impl Strategy<Value = Fingerprint> {
        any::<[u8; 32]>().prop_map(Fingerprint::from_bytes)
    }

    proptest! {
        #[test]
        fn a_record_survives_its_bytes(key in any_key(), written: u64, body in vec(any::<u8>(), 0..300)) {
            let written = Moment::from_nanoseconds(written);
            let bytes = encode(&SHELF, &key, written, &body);
            prop_assert_eq!(decode(&SHELF, &key, &bytes), Some(Record { written, body }));
        }

        #[test]
        fn a_record_that_is_put_is_had_however_large(body in vec(any::<u8>(), 0..300), large: bool) {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::open(directory.path()).unwrap();
            let body = if large { body.iter().copied().chain([0]).cycle().take(WRITTEN_AT_ONCE + body.len()).collect() } else { body };
            let key = Fingerprint::of(b"key");
            store.put_record(&SHELF, &key, &body).unwrap();
            prop_assert_eq!(store.record(&SHELF, &key).unwrap(), Some(body.clone()));
            let by_parts = |length: usize| store.put_record_with(&SHELF, &key, length as u64, |out| body.chunks(100).try_for_each(|part| out.write_all(part)));
            prop_assert!(by_parts(body.len() + 1).is_err());
            prop_assert!(body.is_empty() || by_parts(body.len() - 1).is_err());
            let refused = store.put_record_with(&SHELF, &key, body.len() as u64, |out| {
                out.write_all(&body)?;
                Err(io::Error::other("refused"))
            });
            prop_assert!(refused.is_err());
            let gone_on = store.put_record_with(&SHELF, &key, 1, |out| {
                let _ = out.write_all(b"too long");
                out.write_all(b"1")
            });
            prop_assert!(gone_on.is_err());
            prop_assert_eq!(store.record(&SHELF, &key).unwrap(), Some(body.clone()), "what cannot be put takes nothing away");
            let length = body.len();
            let other: Vec<u8> = body.iter().rev().copied().collect();
            store.put_record_with(&SHELF, &key, length as u64, |out| out.write_all(&other)).unwrap();
            prop_assert_eq!(store.record(&SHELF, &key).unwrap(), Some(other));
        }

        #[test]
        fn any_bytes_are_a_record_or_none(key in any_key(), bytes in vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(decode(&SHELF, &key, &bytes), None);
        }

        /// A right checksum behind any content gets the parser past the first check.
        #[test]
        fn any_content_with_a_right_checksum_is_a_record_or_none(
            key in any_key(),
            start in 0_usize..12,
            mut content in vec(any::<u8>(), 0..300),
        ) {
            let good = encode(&SHELF, &key, Moment::from_nanoseconds(1), b"");
            content.splice(..0, good.iter().copied().take(start));
            let sum = Fingerprint::of(&content);
            content.extend_from_slice(sum.as_bytes());
            prop_assert_eq!(decode(&SHELF, &key, &content), None);
        }

        #[test]
        fn a_changed_bit_makes_a_miss(key in any_key(), body in vec(any::<u8>(), 0..100), at: prop::sample::Index, bit in 0..8_u32) {
            let mut bytes = encode(&SHELF, &key, Moment::from_nanoseconds(1), &body);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert_eq!(decode(&SHELF, &key, &bytes), None);
        }

        #[test]
        fn a_cut_or_zeroed_tail_makes_a_miss(key in any_key(), body in vec(any::<u8>(), 0..100), at: prop::sample::Index) {
            let bytes = encode(&SHELF, &key, Moment::from_nanoseconds(1), &body);
            let at = at.index(bytes.len());
            let mut zeroed = bytes.clone();
            zeroed[at..].fill(0);
            prop_assert_eq!(decode(&SHELF, &key, &bytes[..at]), None);
            prop_assert!(zeroed == bytes || decode(&SHELF, &key, &zeroed).is_none());
        }

        #[test]
        fn the_record_of_another_key_or_shelf_is_a_miss(key in any_key(), other in any_key()) {
            prop_assume!(key != other);
            let bytes = encode(&SHELF, &key, Moment::from_nanoseconds(1), b"body");
            prop_assert_eq!(decode(&SHELF, &other, &bytes), None);
            prop_assert_eq!(decode(&Shelf::named("packed"), &key, &bytes), None);
        }
    }

    /// Changes a record of format 1 and gives it the right checksum again.
    fn resealed(key: &Fingerprint, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = encode(&SHELF, key, Moment::from_nanoseconds(1), b"body");
        bytes.truncate(bytes.len() - CHECKSUM_BYTES);
        change(&mut bytes);
        let sum = Fingerprint::of(&bytes);
        bytes.extend_from_slice(sum.as_bytes());
        bytes
    }

    #[test]
    fn a_record_of_a_later_format_is_a_miss_but_no_damage() {
        let key = Fingerprint::of(b"key");
        let later = resealed(&key, |bytes| bytes[MAGIC.len()] = 2);
        assert_eq!(decode(&SHELF, &key, &later), None);
        assert_eq!(standing(&SHELF, &key, &later), Standing::OtherFormat);
        assert_eq!(standing(&SHELF, &key, &later[1..]), Standing::Damaged);
    }

    #[test]
    fn a_signature_and_a_wrong_length_are_not_of_format_1() {
        let key = Fingerprint::of(b"key");
        let signature_at = PREFIX_BYTES + 1 + SHELF.as_str().len() + 32;
        assert!(decode(&SHELF, &key, &resealed(&key, |_| {})).is_some());
        let signed = resealed(&key, |bytes| {
            bytes[signature_at] = 1;
            bytes.insert(signature_at + 2, b's');
        });
        assert_eq!(standing(&SHELF, &key, &signed), Standing::Damaged);
        let longer = resealed(&key, |bytes| bytes.push(0));
        assert_eq!(standing(&SHELF, &key, &longer), Standing::Damaged);
    }

    /// FORMAT.md, "Records": these bytes may change only with the format's number.
    #[test]
    fn the_bytes_of_format_1_are_pinned() {
        let key = Fingerprint::from_bytes([7; 32]);
        let bytes = encode(&SHELF, &key, Moment::from_nanoseconds(0x0102), b"body");
        let mut expected = b"lapsrec\n\x01\0\0\0\x02\x01\0\0\0\0\0\0\x07actions".to_vec();
        expected.extend_from_slice(&[7; 32]);
        expected.extend_from_slice(b"\0\0\x04\0\0\0\0\0\0\0body");
        let sum = Fingerprint::of(&expected);
        expected.extend_from_slice(sum.as_bytes());
        assert_eq!(bytes, expected);
    }
}
