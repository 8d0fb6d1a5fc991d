//! What is in the store: an open store in, entries with their sizes and last uses out.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use crate::clock::Moment;
use crate::digest::Digest;
use crate::error::{At, Error, Existing};
use crate::fingerprint::Fingerprint;
use crate::measure::{in_blocks, measure};
use crate::mount;
use crate::name::{self, Shelf};
use crate::store::{Place, Store};

/// The kinds of things in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Blobs, named by their SHA-256.
    Blob,
    /// Records under a key.
    Record,
    /// Kept directories: unpacked layers and the like.
    Kept,
    /// Cache mounts.
    Mount,
    /// What live processes have begun and not finished, and what dead ones left.
    Scratch,
    /// What is only waiting to be removed.
    Trash,
}

/// How many things, and how large.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Things.
    pub entries: u64,
    /// Bytes, each file rounded up to blocks of 4096.
    pub bytes: u64,
}

/// The space that a store takes, per kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blobs.
    pub blobs: Count,
    /// Records.
    pub records: Count,
    /// Kept directories.
    pub kept: Count,
    /// Cache mounts.
    pub mounts: Count,
    /// Unfinished work.
    pub scratch: Count,
    /// What is only waiting to be removed.
    pub trash: Count,
}

impl Count {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.entries = self.entries.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl Usage {
    /// The count of one kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Count {
        match kind {
            Kind::Blob => self.blobs,
            Kind::Record => self.records,
            Kind::Kept => self.kept,
            Kind::Mount => self.mounts,
            Kind::Scratch => self.scratch,
            Kind::Trash => self.trash,
        }
    }

    /// Everything together.
    #[must_use]
    pub fn total(&self) -> Count {
        let kinds = [self.blobs, self.records, self.kept, self.mounts, self.scratch, self.trash];
        kinds.iter().fold(Count::default(), |sum, count| Count {
            entries: sum.entries.saturating_add(count.entries),
            bytes: sum.bytes.saturating_add(count.bytes),
        })
    }

    pub(crate) fn of_mut(&mut self, kind: Kind) -> &mut Count {
        match kind {
            Kind::Blob => &mut self.blobs,
            Kind::Record => &mut self.records,
            Kind::Kept => &mut self.kept,
            Kind::Mount => &mut self.mounts,
            Kind::Scratch => &mut self.scratch,
            Kind::Trash => &mut self.trash,
        }
    }
}

/// Something that collection may take away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Entry {
    Blob(Digest),
    Record(Shelf, Fingerprint),
    Kept(Shelf, String),
    Mount(String),
}

impl Entry {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Entry::Blob(_) => Kind::Blob,
            Entry::Record(..) => Kind::Record,
            Entry::Kept(..) => Kind::Kept,
            Entry::Mount(_) => Kind::Mount,
        }
    }

    pub(crate) fn as_kept(&self) -> Option<(Shelf, String)> {
        match self {
            Entry::Kept(shelf, name) => Some((shelf.clone(), name.clone())),
            Entry::Blob(_) | Entry::Record(..) | Entry::Mount(_) => None,
        }
    }

    /// What is renamed to take it away.
    pub(crate) fn path(&self, store: &Store) -> PathBuf {
        match self {
            Entry::Blob(digest) => store.blob_path(digest),
            Entry::Record(shelf, key) => store.record_path(shelf, key),
            Entry::Kept(shelf, name) => store.kept_path(shelf, name),
            Entry::Mount(name) => store.place(Place::Mounts).join(name),
        }
    }

    /// When it was last used: the modification time of the file that says so. `None` if there is no such file.
    pub(crate) fn last_use(&self, store: &Store) -> Result<Option<Moment>, Error> {
        let path = match self {
            Entry::Blob(_) | Entry::Record(..) => self.path(store),
            Entry::Kept(shelf, name) => store.kept_record_path(shelf, name),
            Entry::Mount(_) => self.path(store).join(mount::LOCK),
        };
        Ok(examine(&path)?.map(|metadata| Moment::modified(&metadata)))
    }

    /// As [`Entry::last_use`] and [`Entry::bytes`], where one file tells both with one look at it.
    pub(crate) fn last_use_and_bytes(&self, store: &Store) -> Result<(Option<Moment>, u64), Error> {
        match self {
            Entry::Blob(_) | Entry::Record(..) => {
                let metadata = examine(&self.path(store))?;
                Ok(metadata.map_or((None, 0), |metadata| (Some(Moment::modified(&metadata)), in_blocks(metadata.len()))))
            }
            Entry::Kept(..) | Entry::Mount(_) => Ok((self.last_use(store)?, self.bytes(store)?)),
        }
    }

    pub(crate) fn bytes(&self, store: &Store) -> Result<u64, Error> {
        let path = self.path(store);
        match self {
            Entry::Blob(_) | Entry::Record(..) => Ok(examine(&path)?.map_or(0, |metadata| in_blocks(metadata.len()))),
            Entry::Kept(shelf, name) => match store.kept_record(shelf, name)? {
                Some(record) => Ok(record.measure.bytes),
                None => Ok(measure(&path)?.bytes),
            },
            Entry::Mount(_) => Ok(measure(&path)?.bytes),
        }
    }
}

fn examine(path: &Path) -> Result<Option<Metadata>, Error> {
    fs::symlink_metadata(path).if_exists().at("examine", path)
}

/// All entries in the order of their names, and the paths of what no store has put there.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) entries: Vec<Entry>,
    pub(crate) foreign: Vec<(Kind, PathBuf)>,
}

impl Store {
    /// The space that the store takes. Cache mounts and trash are walked; directories of other user ids that are closed to this
    /// process count as empty.
    ///
    /// # Errors
    /// Only what the system answers.
    pub fn usage(&self) -> Result<Usage, Error> {
        let mut usage = Usage::default();
        for entry in self.listing()?.entries {
            usage.of_mut(entry.kind()).add(entry.bytes(self)?);
        }
        for (kind, place) in [(Kind::Scratch, Place::Scratch), (Kind::Trash, Place::Trash)] {
            for (_, path) in list(&self.place(place))? {
                usage.of_mut(kind).add(measure(&path)?.bytes);
            }
        }
        Ok(usage)
    }

    pub(crate) fn listing(&self) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        for (name, path) in list(&self.place(Place::Blobs))? {
            match name.and_then(|hex| format!("sha256:{hex}").parse().ok()) {
                Some(digest) => listing.entries.push(Entry::Blob(digest)),
                None => listing.foreign.push((Kind::Blob, path)),
            }
        }
        for (kind, place) in [(Kind::Record, Place::Records), (Kind::Kept, Place::Kept)] {
            for (name, path) in list(&self.place(place))? {
                match name.and_then(|name| Shelf::new(&name).ok()) {
                    Some(shelf) if path.is_dir() => self.list_shelf(kind, &shelf, &mut listing)?,
                    Some(_) | None => listing.foreign.push((kind, path)),
                }
            }
        }
        for (name, path) in list(&self.place(Place::Mounts))? {
            match name {
                Some(name) if name::check(&name).is_ok() => listing.entries.push(Entry::Mount(name)),
                Some(_) | None => listing.foreign.push((Kind::Mount, path)),
            }
        }
        listing.entries.sort();
        listing.foreign.sort();
        Ok(listing)
    }

    fn list_shelf(&self, kind: Kind, shelf: &Shelf, listing: &mut Listing) -> Result<(), Error> {
        let place = if kind == Kind::Record { Place::Records } else { Place::Kept };
        for (name, path) in list(&self.place(place).join(shelf.as_str()))? {
            let entry = name.and_then(|name| match kind {
                Kind::Record => Some(Entry::Record(shelf.clone(), name.parse().ok()?)),
                Kind::Kept => name::check(&name).is_ok().then(|| Entry::Kept(shelf.clone(), name)),
                Kind::Blob | Kind::Mount | Kind::Scratch | Kind::Trash => None,
            });
            match entry {
                Some(entry) => listing.entries.push(entry),
                None => listing.foreign.push((kind, path)),
            }
        }
        Ok(())
    }
}

/// Names (where they are text) and paths of a directory's entries; nothing where it does not exist.
pub(crate) fn list(directory: &Path) -> Result<Vec<(Option<String>, PathBuf)>, Error> {
    let Some(entries) = fs::read_dir(directory).if_exists().at("list", directory)? else { return Ok(Vec::new()) };
    entries
        .map(|entry| {
            let entry = entry.at("list", directory)?;
            Ok((entry.file_name().into_string().ok(), entry.path()))
        })
        .collect()
}
