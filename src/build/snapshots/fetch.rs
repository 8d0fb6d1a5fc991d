//! A shared cache's snapshot of a mount → a directory with its files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use lapstrake_cache::{Fingerprint, Scratch};

use super::{CHUNK_TYPE, MountName, SNAPSHOT_LIMIT_BYTES, SNAPSHOT_TYPE, SaidMount, lock};
use crate::build::elsewhere::Elsewhere;
use crate::build::site::Site;
use crate::build::{Failure, Lost};
use crate::image::Descriptor;
use crate::remote::{Desk, Found, Kind, Member, Snapshot};
use crate::tree::{Change, Content, Contents, DirectoryHandle, Entry, Metadata, Tree, TreePath, Xattrs, checkout_tree};

/// How many chunks are fetched at a time.
const FETCHERS: usize = 4;

/// Puts what a shared cache has of a mount into a new directory. `None` where there is nothing, or nothing that can be had.
pub(in crate::build) fn fetched(
    site: &Site<'_>,
    name: &MountName,
    make: impl Fn(&Scratch) -> Result<Arc<dyn DirectoryHandle>, Failure>,
) -> Result<Option<Scratch>, Failure> {
    let Some(elsewhere) = site.layers.elsewhere().filter(|elsewhere| elsewhere.shared.is_read()) else { return Ok(None) };
    let (desk, shared, key) = (elsewhere.desk(), elsewhere.shared, name.key());
    let found: Option<Found<SaidMount>> = shared.look_up(desk, Kind::Mount, &key, &name.preimage(), None);
    let Some(found) = found else { return Ok(None) };
    let restored = match read(elsewhere, desk, &found) {
        Some(snapshot) => restore(site, elsewhere, found.member, &snapshot, make).map(|scratch| (scratch, snapshot.files.entries.len())),
        None => Err(Failure::Lost(Lost::Nothing)),
    };
    if desk.cancel.is_cancelled() {
        return Err(Failure::Cancelled);
    }
    match restored {
        Ok((scratch, count)) => {
            desk.note(format!("the cache mount `{}` begins with {count} entries of a shared cache", name.id));
            Ok(Some(scratch))
        }
        Err(error) => {
            let what = format!("the cache mount `{}` begins without what a shared cache has of it", name.id);
            if !shared.is_in_use(found.member) {
                // It may be whole: others shall find it.
                site.mounts.withhold(name);
                desk.note(format!("warning: {what}, and is not sent there"));
            } else if matches!(error, Failure::Lost(_)) {
                shared.doubt(desk, found.member, &key, &format!("{what}: a part of it is not there, or damaged"));
            } else {
                desk.warn(&what, &error);
            }
            Ok(None)
        }
    }
}

/// What a record speaks of; `None` where it cannot be had, or is no snapshot.
pub(super) fn read(elsewhere: &Elsewhere<'_>, desk: Desk<'_>, found: &Found<SaidMount>) -> Option<Snapshot> {
    let blob = found.body.snapshot.descriptor(SNAPSHOT_TYPE)?;
    Snapshot::read(&elsewhere.shared.bytes(desk, found.member, &blob, SNAPSHOT_LIMIT_BYTES)?)
}

fn restore(
    site: &Site<'_>,
    elsewhere: &Elsewhere<'_>,
    member: Member,
    snapshot: &Snapshot,
    make: impl Fn(&Scratch) -> Result<Arc<dyn DirectoryHandle>, Failure>,
) -> Result<Scratch, Failure> {
    let store = site.outside.store;
    let chunks = Fetched { directory: store.scratch()?, snapshot, places: snapshot.places() };
    chunks.bring(elsewhere, member)?;
    let scratch = store.scratch()?;
    let into = make(&scratch)?;
    let nothing = Tree::empty(Metadata { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: Xattrs::new() });
    checkout_tree(&nothing.apply(&snapshot.files), &chunks, &*into, site.outside.cancel)?;
    Ok(scratch)
}

/// Chunks that were fetched, expanded, each in a file.
struct Fetched<'a> {
    directory: Scratch,
    snapshot: &'a Snapshot,
    places: BTreeMap<Fingerprint, (usize, u64, u32)>,
}

impl Fetched<'_> {
    fn path(&self, chunk: usize) -> PathBuf {
        self.directory.path().join(chunk.to_string())
    }

    /// Fetches all chunks of which a piece is wanted.
    fn bring(&self, elsewhere: &Elsewhere<'_>, member: Member) -> Result<(), Failure> {
        let mut wanted: BTreeSet<usize> = BTreeSet::new();
        for change in self.snapshot.files.entries.values() {
            let Change::Put(Entry::File(file)) = change else { continue };
            wanted.extend(self.snapshot.pieces(&file.content).iter().filter_map(|piece| self.places.get(piece)).map(|place| place.0));
        }
        let wanted: Vec<usize> = wanted.into_iter().collect();
        let (next, is_whole, failed) = (AtomicUsize::new(0), AtomicBool::new(true), Mutex::new(None));
        std::thread::scope(|scope| {
            for _ in 0..FETCHERS {
                scope.spawn(|| {
                    while is_whole.load(Ordering::SeqCst)
                        && let Some(index) = wanted.get(next.fetch_add(1, Ordering::SeqCst))
                    {
                        if let Err(failure) = self.bring_one(elsewhere, member, *index) {
                            is_whole.store(false, Ordering::SeqCst);
                            lock(&failed).get_or_insert(failure);
                        }
                    }
                });
            }
        });
        match lock(&failed).take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn bring_one(&self, elsewhere: &Elsewhere<'_>, member: Member, index: usize) -> Result<(), Failure> {
        let desk = elsewhere.desk();
        if desk.cancel.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        let lost = || Failure::Lost(Lost::Nothing);
        let chunk = self.snapshot.chunks.get(index).ok_or_else(lost)?;
        let blob = Descriptor::new(CHUNK_TYPE, chunk.digest, chunk.size);
        let stored = elsewhere.shared.bytes(desk, member, &blob, chunk.size).ok_or_else(lost)?;
        let length = usize::try_from(chunk.length()).map_err(|_| lost())?;
        let bytes = zstd::bulk::decompress(&stored, length).map_err(|_| lost())?;
        if bytes.len() != length {
            return Err(lost());
        }
        let path = self.path(index);
        std::fs::write(&path, bytes).map_err(|source| Failure::File { path, source })
    }
}

impl Contents for Fetched<'_> {
    fn open(&self, _path: &TreePath, content: &Content) -> io::Result<Box<dyn Read + Send>> {
        let place = |piece: &Fingerprint| {
            let (chunk, offset, length) = *self.places.get(piece).ok_or(io::ErrorKind::NotFound)?;
            Ok(Part { path: self.path(chunk), offset, rest: u64::from(length) })
        };
        let parts = self.snapshot.pieces(content).iter().map(place).collect::<io::Result<Vec<Part>>>()?;
        Ok(Box::new(Parts { parts: parts.into_iter(), now: None }))
    }
}

/// Some bytes of a chunk.
struct Part {
    path: PathBuf,
    offset: u64,
    rest: u64,
}

/// Parts one behind the other, of which one file is open at a time.
struct Parts {
    parts: std::vec::IntoIter<Part>,
    now: Option<(File, Part)>,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some((file, part)) = &mut self.now
                && part.rest > 0
            {
                let most = usize::try_from(part.rest).unwrap_or(usize::MAX).min(buffer.len());
                let read = file.read_at(buffer.get_mut(..most).unwrap_or_default(), part.offset)?;
                part.offset += read as u64;
                part.rest -= read as u64;
                return Ok(read);
            }
            let Some(part) = self.parts.next() else { return Ok(0) };
            self.now = Some((File::open(&part.path)?, part));
        }
    }
}
