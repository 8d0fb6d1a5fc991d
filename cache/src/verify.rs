//! Verification: an open store in, everything that is not what it says out; it is taken away and is a miss from then on.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::blob::hash;
use crate::digest::Digest;
use crate::error::{At, Error, Existing};
use crate::fingerprint::Fingerprint;
use crate::measure::{Seen, measure};
use crate::name::Shelf;
use crate::record::{self, Standing};
use crate::store::{Place, Store};
use crate::usage::{Entry, Kind, list};

/// A thing in the store that was not what it says. It is in the trash now.
#[derive(Debug)]
pub struct Problem {
    /// What it claimed to be.
    pub kind: Kind,
    /// Where it was.
    pub path: PathBuf,
    /// What is wrong with it.
    pub damage: Damage,
}

/// What can be wrong with a thing in the store.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// A blob whose bytes have another digest than its name says.
    #[error("expected bytes of digest {expected}, found {found}")]
    Contents {
        /// The digest in its name.
        expected: Digest,
        /// The digest of its bytes.
        found: Digest,
    },
    /// A record that fails its checksum, or belongs to another key.
    #[error("expected a whole record of its key")]
    Record,
    /// A kept directory that has more or less in it than when it was kept.
    #[error("expected {expected_entries} entries of {expected_bytes} bytes, found {found_entries} of {found_bytes}")]
    Measure {
        /// Entries when it was kept, its top included.
        expected_entries: u64,
        /// Bytes when it was kept, in blocks of 4096.
        expected_bytes: u64,
        /// Entries now.
        found_entries: u64,
        /// Bytes now.
        found_bytes: u64,
    },
    /// A kept directory whose record or contents are missing.
    #[error("expected a kept directory with its record")]
    Kept,
    /// Something that no store has put there.
    #[error("expected nothing of this name")]
    Foreign,
    /// The system cannot read it.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
}

impl Store {
    /// Hashes every blob, checks every record and measures every kept directory. What is wrong is moved to the trash, so that
    /// it is a miss, and reported in the order of names. Contents of cache mounts are the business of the tools that use them.
    ///
    /// A kept directory that a power cut may have damaged is taken away without a report, since it is not believed anyway.
    ///
    /// # Errors
    /// Only what the system answers where more than one entry is concerned.
    pub fn verify(&self) -> Result<Vec<Problem>, Error> {
        let listing = self.listing()?;
        let mut problems = Vec::new();
        for entry in listing.entries {
            let damage = match &entry {
                Entry::Blob(digest) => self.verify_blob(digest)?,
                Entry::Record(shelf, key) => self.verify_record(shelf, key)?,
                Entry::Kept(shelf, name) => self.verify_kept(shelf, name)?,
                Entry::Mount(_) => None,
            };
            problems.extend(damage.map(|damage| Problem { kind: entry.kind(), path: entry.path(self), damage }));
        }
        for (kind, path) in listing.foreign {
            if self.to_trash(&path)? {
                problems.push(Problem { kind, path, damage: Damage::Foreign });
            }
        }
        self.forget_sizes_of_no_blob()?;
        Ok(problems)
    }

    /// Hashes one blob in full, for whoever found its bytes to be others than they should be. A damaged one is moved to the trash;
    /// `false` if the store does not have the blob, or not any more.
    ///
    /// # Errors
    /// Only what the system answers.
    pub fn check_blob(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.verify_blob(digest)?.is_none() && self.blob(digest)?.is_some())
    }

    fn verify_blob(&self, digest: &Digest) -> Result<Option<Damage>, Error> {
        let path = self.blob_path(digest);
        let Some(metadata) = fs::symlink_metadata(&path).if_exists().at("examine", &path)? else { return Ok(None) };
        let damage = if metadata.is_file() {
            match File::open(&path).and_then(|mut file| hash(&mut file)).if_exists() {
                Ok(None) => return Ok(None),
                Ok(Some(found)) if found == *digest => {
                    self.repair_size(digest, metadata.len())?;
                    return Ok(None);
                }
                Ok(Some(found)) => Damage::Contents { expected: *digest, found },
                Err(error) => Damage::Unreadable(error),
            }
        } else {
            Damage::Foreign
        };
        Ok(self.discard_blob(digest, &metadata)?.then_some(damage))
    }

    fn verify_record(&self, shelf: &Shelf, key: &Fingerprint) -> Result<Option<Damage>, Error> {
        let path = self.record_path(shelf, key);
        let judge = || match read_file(&path).if_exists() {
            Ok(None) => None,
            Ok(Some(bytes)) => match record::standing(shelf, key, &bytes) {
                // What another lapstrake wrote is a miss here, and good there.
                Standing::Whole | Standing::OtherFormat => None,
                Standing::Damaged => Some(Damage::Record),
            },
            Err(error) => Some(Damage::Unreadable(error)),
        };
        if judge().is_none() {
            return Ok(None);
        }
        let _alone = self.taking_away()?;
        // Judged again, because it may have been put anew.
        let Some(damage) = judge() else { return Ok(None) };
        Ok(self.to_trash(&path)?.then_some(damage))
    }

    fn verify_kept(&self, shelf: &Shelf, name: &str) -> Result<Option<Damage>, Error> {
        let path = self.kept_path(shelf, name);
        let Some(record) = self.kept_record(shelf, name)? else {
            let is_there = fs::symlink_metadata(&path).if_exists().at("examine", &path)?.is_some();
            let is_gone = is_there && self.discard_kept_unless(shelf, name, |_, _| Ok(true))?;
            return Ok(is_gone.then_some(Damage::Kept));
        };
        if !self.is_believed(&record) {
            self.discard_kept_unless(shelf, name, |_, _| Ok(true))?;
            return Ok(None);
        }
        let mut damage = Damage::Kept;
        let is_gone = self.discard_kept_unless(shelf, name, |inner, record| {
            let found = measure(inner)?;
            let is_comparable = found.seen == Seen::All && record.measure.seen == Seen::All;
            damage = Damage::Measure {
                expected_entries: record.measure.entries,
                expected_bytes: record.measure.bytes,
                found_entries: found.entries,
                found_bytes: found.bytes,
            };
            Ok(!is_comparable || found == record.measure)
        })?;
        Ok(is_gone.then_some(damage))
    }

    /// A crash between taking a blob away and forgetting its size leaves the size.
    fn forget_sizes_of_no_blob(&self) -> Result<(), Error> {
        for (name, path) in list(&self.place(Place::Sizes))? {
            let digest = name.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
            let _alone = self.taking_away()?;
            let is_needed = match &digest {
                Some(digest) => self.blob_path(digest).is_file(),
                None => false,
            };
            if !is_needed {
                self.to_trash(&path)?;
            }
        }
        Ok(())
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if fs::symlink_metadata(path)?.is_file() { fs::read(path) } else { Ok(Vec::new()) }
}
