//! Scratch directories, and those that are kept: a private directory in, an immutable one under a name out. FORMAT.md, "Kept directories".
//!
//! Nothing is synced here. A kept directory is believed within the boot that wrote it, and later only if it was settled.

use std::fs;
use std::io;
use std::mem;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::syncfs;

use crate::clock::{Boot, Moment};
use crate::error::{At, Error, Existing};
use crate::fingerprint::{Fingerprint, Fingerprinter};
use crate::measure::{Measure, Seen, measure};
use crate::name::{self, Shelf};
use crate::record::{self, Reader};
use crate::store::{Place, Store, create_directory};

/// By then the kernel has written by itself what was kept, so settling waits for little.
const SETTLE_AFTER: Duration = Duration::from_secs(5 * 60);

/// The directory that the caller sees, within one of the store's own: its owner and mode may become anything, and it can
/// still be renamed.
const INSIDE: &str = "d";
const RECORD: &str = "record";

/// A private, empty directory in the store. Dropped, it goes to the trash; if the process dies, the next one puts it there.
#[derive(Debug)]
pub struct Scratch {
    store: Store,
    wrapper: PathBuf,
    inside: PathBuf,
}

impl Scratch {
    /// The directory, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inside
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.wrapper.as_os_str().is_empty() {
            // What cannot be renamed now is swept after the lease has ended.
            let _ = self.store.to_trash(&self.wrapper);
        }
    }
}

/// What stands beside a kept directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptRecord {
    /// The kept part, relative to the scratch directory it was in.
    pub(crate) inner: PathBuf,
    pub(crate) measure: Measure,
    pub(crate) durability: Durability,
}

/// Whether a power cut can still take a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Written to disk.
    Settled,
    /// Whole as long as this boot lasts.
    Within(Boot),
}

impl Store {
    /// A fresh private directory, on the file system of the store.
    ///
    /// # Errors
    /// Only what the system answers.
    pub fn scratch(&self) -> Result<Scratch, Error> {
        let wrapper = self.fresh_path()?;
        let inside = wrapper.join(INSIDE);
        create_directory(&inside)?;
        Ok(Scratch { store: self.clone(), wrapper, inside })
    }

    /// Keeps a directory in a scratch directory (or all of it: an empty path) under a name; the rest of the scratch directory
    /// goes to the trash. The directory must not change afterwards. If the name is taken already, what is there stays, the
    /// new one goes to the trash, and the answer is the old one's path.
    ///
    /// The last component of `inner` may belong to another user id: only directories of the store are renamed.
    ///
    /// # Errors
    /// [`Error::NotInside`] if `inner` is not a directory in the scratch directory, [`Error::InvalidName`], else what the
    /// system answers.
    pub fn keep(&self, mut scratch: Scratch, inner: &Path, shelf: &Shelf, name: &str) -> Result<PathBuf, Error> {
        name::check(name)?;
        let inner = inner.strip_prefix(&scratch.inside).unwrap_or(inner).to_owned();
        let kept = scratch.inside.join(&inner);
        let is_plain = inner.components().all(|component| matches!(component, Component::Normal(_)));
        if !is_plain || !is_directory(&kept)? {
            return Err(Error::NotInside { inner, scratch: scratch.inside.clone() });
        }
        self.discard_siblings(&scratch.inside, &inner)?;
        let measure = measure(&kept)?;
        let durability = if let Some(boot) = self.boot() {
            Durability::Within(boot.clone())
        } else {
            self.sync()?;
            Durability::Settled
        };
        let record = KeptRecord { inner, measure, durability };
        let bytes = record::encode(shelf, &key_of(shelf, name), Moment::now(), &encode(&record));
        self.write_whole(&scratch.wrapper.join(RECORD), &bytes, self.moment_of_use())?;

        let shelf_path = self.place(Place::Kept).join(shelf.as_str());
        create_directory(&shelf_path)?;
        let target = shelf_path.join(name);
        loop {
            let using = self.using()?;
            match fs::rename(&scratch.wrapper, &target) {
                Ok(()) => {
                    drop(mem::take(&mut scratch.wrapper));
                    return Ok(target.join(INSIDE).join(record.inner));
                }
                Err(error) if is_taken(&error) => {}
                Err(error) => return Err(error).at("keep", &target),
            }
            drop(using);
            // Either it can be believed, or it is discarded and the name is free.
            if let Some(path) = self.kept(shelf, name)? {
                return Ok(path);
            }
        }
    }

    /// The path of a kept directory, marked as used; `None` if there is none that can be believed.
    ///
    /// # Errors
    /// [`Error::InvalidName`], else what the system answers.
    pub fn kept(&self, shelf: &Shelf, name: &str) -> Result<Option<PathBuf>, Error> {
        name::check(name)?;
        {
            let _using = self.using()?;
            let record_path = self.kept_record_path(shelf, name);
            if let Some(record) = self.kept_record(shelf, name)? {
                let path = self.kept_path(shelf, name).join(INSIDE).join(&record.inner);
                if self.is_believed(&record) && is_directory(&path)? {
                    let file = fs::File::open(&record_path).at("open", &record_path)?;
                    let metadata = file.metadata().at("examine", &record_path)?;
                    self.mark(&file, &metadata, &record_path)?;
                    return Ok(Some(path));
                }
            } else {
                let top = self.kept_path(shelf, name);
                if fs::symlink_metadata(&top).if_exists().at("examine", &top)?.is_none() {
                    return Ok(None);
                }
            }
        }
        self.discard_kept_unless(shelf, name, |_, _| Ok(true))?;
        Ok(None)
    }

    pub(crate) fn kept_path(&self, shelf: &Shelf, name: &str) -> PathBuf {
        self.place(Place::Kept).join(shelf.as_str()).join(name)
    }

    pub(crate) fn kept_record_path(&self, shelf: &Shelf, name: &str) -> PathBuf {
        self.kept_path(shelf, name).join(RECORD)
    }

    /// Takes a kept directory away unless it can be believed and `is_good` agrees; `false` if it stays or was gone.
    pub(crate) fn discard_kept_unless(
        &self,
        shelf: &Shelf,
        name: &str,
        is_good: impl FnOnce(&Path, &KeptRecord) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let _alone = self.taking_away()?;
        if let Some(record) = self.kept_record(shelf, name)?
            && self.is_believed(&record)
        {
            let path = self.kept_path(shelf, name).join(INSIDE).join(&record.inner);
            if is_directory(&path)? && is_good(&path, &record)? {
                return Ok(false);
            }
        }
        self.to_trash(&self.kept_path(shelf, name))
    }

    pub(crate) fn kept_record(&self, shelf: &Shelf, name: &str) -> Result<Option<KeptRecord>, Error> {
        let path = self.kept_record_path(shelf, name);
        let Some(bytes) = fs::read(&path).if_exists().at("read", &path)? else { return Ok(None) };
        Ok(record::decode(shelf, &key_of(shelf, name), &bytes).and_then(|record| decode(&record.body)))
    }

    pub(crate) fn is_believed(&self, record: &KeptRecord) -> bool {
        match &record.durability {
            Durability::Settled => true,
            Durability::Within(boot) => self.boot() == Some(boot),
        }
    }

    /// Makes kept directories that have been there for a while outlast this boot.
    pub(crate) fn settle(&self, kept: &[(Shelf, String)]) -> Result<(), Error> {
        let now = Moment::now();
        let mut unsettled = Vec::new();
        for (shelf, name) in kept {
            let path = self.kept_record_path(shelf, name);
            let Some(bytes) = fs::read(&path).if_exists().at("read", &path)? else { continue };
            let Some(record) = record::decode(shelf, &key_of(shelf, name), &bytes) else { continue };
            let is_due = now.since(record.written) >= SETTLE_AFTER;
            let Some(body) = decode(&record.body) else { continue };
            if is_due && body.durability != Durability::Settled && self.is_believed(&body) {
                unsettled.push((shelf, name, record.written, body));
            }
        }
        if unsettled.is_empty() {
            return Ok(());
        }
        self.sync()?;
        let _alone = self.taking_away()?;
        for (shelf, name, written, body) in unsettled {
            let path = self.kept_record_path(shelf, name);
            // Another process may have taken it away and kept a new one, which was not synced.
            if self.kept_record(shelf, name)?.as_ref() != Some(&body) {
                continue;
            }
            let used = Moment::modified(&fs::metadata(&path).at("examine", &path)?);
            let settled = KeptRecord { durability: Durability::Settled, ..body };
            let bytes = record::encode(shelf, &key_of(shelf, name), written, &encode(&settled));
            self.write_whole(&path, &bytes, used)?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        let directory = fs::File::open(self.path()).at("open", self.path())?;
        syncfs(&directory).at("sync the file system of", self.path())
    }

    /// Moves all that is not on the way to `inner` to the trash.
    fn discard_siblings(&self, top: &Path, inner: &Path) -> Result<(), Error> {
        let mut directory = top.to_owned();
        for component in inner.components() {
            let next = directory.join(component);
            for entry in fs::read_dir(&directory).at("list", &directory)? {
                let path = entry.at("list", &directory)?.path();
                if path != next {
                    match self.to_trash(&path) {
                        // It belongs to another id, and stays beside what is kept.
                        Ok(_) | Err(Error::Denied { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            directory = next;
        }
        Ok(())
    }
}

fn is_directory(path: &Path) -> Result<bool, Error> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error).at("examine", path),
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory)
}

fn key_of(shelf: &Shelf, name: &str) -> Fingerprint {
    let mut key = Fingerprinter::new();
    key.update_framed(shelf.as_str().as_bytes());
    key.update_framed(name.as_bytes());
    key.finish()
}

fn encode(record: &KeptRecord) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;

    let inner = record.inner.as_os_str().as_bytes();
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&record.measure.entries.to_le_bytes());
    bytes.extend_from_slice(&record.measure.bytes.to_le_bytes());
    bytes.push(match record.measure.seen {
        Seen::All => 0,
        Seen::Part => 1,
    });
    let boot = match &record.durability {
        Durability::Settled => "",
        Durability::Within(boot) => boot.as_str(),
    };
    // The id of a boot has at most 64 bytes.
    bytes.push(u8::try_from(boot.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(boot.as_bytes());
    bytes.extend_from_slice(inner);
    bytes
}

fn decode(bytes: &[u8]) -> Option<KeptRecord> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let mut reader = Reader(bytes);
    let entries = u64::from_le_bytes(*reader.take()?);
    let size = u64::from_le_bytes(*reader.take()?);
    let seen = match reader.take::<1>()? {
        [0] => Seen::All,
        [1] => Seen::Part,
        _ => return None,
    };
    let boot_length = reader.take::<1>()?[0];
    let boot = std::str::from_utf8(reader.slice(usize::from(boot_length))?).ok()?;
    let durability = match boot {
        "" => Durability::Settled,
        id => Durability::Within(Boot::from_text(id.to_owned())),
    };
    let inner = PathBuf::from(OsStr::from_bytes(reader.0));
    let is_plain = inner.components().all(|component| matches!(component, Component::Normal(_)));
    is_plain.then_some(KeptRecord { inner, measure: Measure { entries, bytes: size, seen }, durability })
}
