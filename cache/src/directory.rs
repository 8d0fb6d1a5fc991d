//! Scratch directories, and those that are kept: a private directory in, an immutable one under a name out. FORMAT.md, "Kept directories".
//!
//! Nothing is synced here. A kept directory is believed within the boot that wrote it, and later only if it was settled.

use std::fs;
use std::io;
use std::mem;
use std::path::{Component, Path, PathBuf};

use rustix::fs::syncfs;

use crate::clock::{Boot, Moment};
use crate::error::{At, Error, Existing};
use crate::fingerprint::{Fingerprint, Fingerprinter};
use crate::measure::{Measure, Seen, measure};
use crate::name::{self, Shelf};
use crate::record::{self, Reader};
use crate::store::{Place, Store, create_directory};

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
                    self.grow(record.measure.bytes, 0);
                    if record.durability != Durability::Settled {
                        self.unsettled().add(shelf, name);
                    }
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

    pub(crate) fn sync(&self) -> Result<(), Error> {
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

pub(crate) fn is_directory(path: &Path) -> Result<bool, Error> {
    let metadata = fs::symlink_metadata(path).if_exists().at("examine", path)?;
    Ok(metadata.is_some_and(|metadata| metadata.is_dir()))
}

pub(crate) fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory)
}

pub(crate) fn key_of(shelf: &Shelf, name: &str) -> Fingerprint {
    let mut key = Fingerprinter::new();
    key.update_framed(shelf.as_str().as_bytes());
    key.update_framed(name.as_bytes());
    key.finish()
}

pub(crate) fn encode(record: &KeptRecord) -> Vec<u8> {
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

pub(crate) fn decode(bytes: &[u8]) -> Option<KeptRecord> {
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

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};
    use std::time::SystemTime;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::collect::Limits;
    use crate::remove::RemoveOwn;

    const SHELF: Shelf = Shelf::named("upper");

    fn open_within(directory: &Path, boot: Option<&str>) -> Store {
        Store::open_within(directory, boot.map(|id| Boot::from_text(id.to_owned()))).unwrap()
    }

    fn keep_one(store: &Store, name: &str) -> PathBuf {
        let scratch = store.scratch().unwrap();
        fs::create_dir(scratch.path().join("upper")).unwrap();
        fs::write(scratch.path().join("upper/file"), "plank").unwrap();
        store.keep(scratch, Path::new("upper"), &SHELF, name).unwrap()
    }

    /// As if it had been kept so long ago that it is due to be settled.
    fn keep_one_long_ago(store: &Store, name: &str) {
        keep_one(store, name);
        age(store, name);
    }

    fn age(store: &Store, name: &str) {
        let path = store.kept_record_path(&SHELF, name);
        let record = store.kept_record(&SHELF, name).unwrap().unwrap();
        let bytes = record::encode(&SHELF, &key_of(&SHELF, name), Moment::from_nanoseconds(1), &encode(&record));
        store.write_whole(&path, &bytes, Moment::from_nanoseconds(5_000_000_000)).unwrap();
    }

    #[test]
    fn what_was_not_synced_is_believed_within_its_boot_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = keep_one(&open_within(directory.path(), Some("one")), "a");
        assert_eq!(open_within(directory.path(), Some("one")).kept(&SHELF, "a").unwrap(), Some(path.clone()));
        assert_eq!(open_within(directory.path(), Some("two")).kept(&SHELF, "a").unwrap(), None);
        assert!(!path.exists());
    }

    #[test]
    fn a_kernel_that_does_not_tell_its_boot_has_everything_synced_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = keep_one(&open_within(directory.path(), None), "a");
        assert_eq!(open_within(directory.path(), Some("two")).kept(&SHELF, "a").unwrap(), Some(path));
    }

    #[test]
    fn what_a_boot_has_settled_outlasts_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = open_within(directory.path(), Some("one"));
        keep_one_long_ago(&store, "old");
        keep_one(&store, "new");
        store.collect(&Limits::default(), &RemoveOwn).unwrap();
        let used = fs::metadata(store.kept_record_path(&SHELF, "old")).unwrap();
        assert_eq!(Moment::modified(&used), Moment::from_nanoseconds(5_000_000_000), "settling is no use");
        drop(store);
        let store = open_within(directory.path(), Some("two"));
        assert!(store.kept(&SHELF, "old").unwrap().is_some());
        assert_eq!(store.kept(&SHELF, "new").unwrap(), None);
    }

    #[test]
    fn what_processes_have_left_the_names_of_is_settled_without_a_look() {
        let directory = tempfile::tempdir().unwrap();
        let notes = directory.path().join("unsettled");
        let bound = Limits { bytes: Some(u64::MAX), unused_for: None };
        let store = open_within(directory.path(), Some("one"));
        store.tidy(&bound, &RemoveOwn).unwrap();
        keep_one_long_ago(&store, "old");
        keep_one(&store, "new");
        drop(store);
        let note = fs::read_dir(&notes).unwrap().next().unwrap().unwrap();
        fs::write(notes.join("1-torn"), "no note").unwrap();
        let tidy = || open_within(directory.path(), Some("one")).tidy(&bound, &RemoveOwn).unwrap();
        assert!(tidy().is_none());
        assert_eq!(fs::read_dir(&notes).unwrap().count(), 1, "what is torn is gone, what is new is not due");
        assert!(is_settled(directory.path(), "old").is_none_or(|settled| !settled));

        fs::rename(note.path(), notes.join("1-2-3")).unwrap();
        assert!(tidy().is_none());
        assert_eq!(is_settled(directory.path(), "old"), Some(true));
        assert_eq!(is_settled(directory.path(), "new"), Some(false), "its record is too young, whenever the note was left");
        assert_eq!(fs::read_dir(&notes).unwrap().count(), 1, "and so it has another note");
    }

    #[test]
    fn what_a_killed_process_has_kept_is_settled_after_the_next_look() {
        let directory = tempfile::tempdir().unwrap();
        let notes = directory.path().join("unsettled");
        let store = open_within(directory.path(), Some("one"));
        keep_one(&store, "young");
        drop(store);
        fs::remove_dir_all(&notes).unwrap();
        open_within(directory.path(), Some("one")).collect(&Limits::default(), &RemoveOwn).unwrap();
        assert_eq!(is_settled(directory.path(), "young"), Some(false));

        // Five minutes later: what was kept and the note are older, and nobody looks any more.
        let store = open_within(directory.path(), Some("one"));
        age(&store, "young");
        let left: Vec<_> = fs::read_dir(&notes).unwrap().map(|note| note.unwrap().path()).collect();
        assert_eq!(left.len(), 1);
        fs::rename(&left[0], notes.join("1-2-3")).unwrap();
        assert!(store.tidy(&Limits::default(), &RemoveOwn).unwrap().is_none());
        assert_eq!(is_settled(directory.path(), "young"), Some(true));
    }

    #[test]
    fn what_is_no_note_or_of_a_time_to_come_goes() {
        let directory = tempfile::tempdir().unwrap();
        let store = open_within(directory.path(), Some("one"));
        let notes = directory.path().join("unsettled");
        for name in ["note", "x-1-2", "18446744073709551615-1-2", "1-1-2"] {
            fs::create_dir_all(&notes).unwrap();
            fs::write(notes.join(name), "no note").unwrap();
        }
        store.tidy(&Limits::default(), &RemoveOwn).unwrap();
        assert_eq!(fs::read_dir(&notes).unwrap().count(), 0);
    }

    fn is_settled(directory: &Path, name: &str) -> Option<bool> {
        let store = open_within(directory, Some("one"));
        Some(store.kept_record(&SHELF, name).unwrap()?.durability == Durability::Settled)
    }

    #[test]
    fn a_new_one_takes_the_place_of_one_that_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        keep_one(&open_within(directory.path(), Some("one")), "a");
        let store = open_within(directory.path(), Some("two"));
        let path = keep_one(&store, "a");
        assert_eq!(store.kept(&SHELF, "a").unwrap(), Some(path));
    }

    #[test]
    fn verification_is_silent_about_what_only_lost_its_boot() {
        let directory = tempfile::tempdir().unwrap();
        keep_one(&open_within(directory.path(), Some("one")), "a");
        let store = open_within(directory.path(), Some("two"));
        assert!(store.verify().unwrap().is_empty());
        assert!(!store.kept_path(&SHELF, "a").exists());
    }

    #[test]
    fn a_use_is_written_down_once_per_lease_and_day() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        keep_one(&store, "a");
        let path = store.kept_record_path(&SHELF, "a");
        let last_use = || fs::metadata(&path).unwrap().modified().unwrap();
        let first = last_use();
        store.kept(&SHELF, "a").unwrap();
        assert_eq!(last_use(), first);
        let long_ago = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
        File::options().write(true).open(&path).unwrap().set_times(long_ago).unwrap();
        store.kept(&SHELF, "a").unwrap();
        assert!(last_use() >= first);
    }

    proptest! {
        #[test]
        fn a_kept_record_survives_its_bytes(
            inner in "([a-z]{1,5}(/[a-z]{1,5})?)?",
            numbers: (u64, u64),
            is_part: bool,
            boot in proptest::option::of("[0-9a-f-]{1,64}"),
        ) {
            let record = KeptRecord {
                inner: PathBuf::from(inner),
                measure: Measure {
                    entries: numbers.0,
                    bytes: numbers.1,
                    seen: if is_part { Seen::Part } else { Seen::All },
                },
                durability: boot.map_or(Durability::Settled, |id| Durability::Within(Boot::from_text(id))),
            };
            prop_assert_eq!(decode(&encode(&record)), Some(record));
        }

        #[test]
        fn no_bytes_name_a_place_outside(bytes in vec(any::<u8>(), 0..120)) {
            if let Some(record) = decode(&bytes) {
                prop_assert!(record.inner.components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }

    #[test]
    fn a_kept_record_that_climbs_out_is_refused() {
        for inner in ["..", "../x", "/etc", "a/../../x"] {
            let record = KeptRecord {
                inner: PathBuf::from(inner),
                measure: Measure { entries: 1, bytes: 1, seen: Seen::All },
                durability: Durability::Settled,
            };
            assert_eq!(decode(&encode(&record)), None, "{inner}");
        }
    }
}
