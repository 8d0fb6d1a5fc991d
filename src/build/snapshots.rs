//! Directories of `cache` mounts ⇄ snapshots of them in shared caches: read and sent after the build, fetched where a step would begin with an empty one.
//!
//! Nothing that goes wrong with one is more than a note: the step begins with what it would have begun with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapstrake_cache::{CacheMount, Digest, Fingerprint, Fingerprinter, Scratch};
use serde::{Deserialize, Serialize};

use super::elsewhere::{Elsewhere, SaidBlob};
use super::site::Site;
use super::{Failure, Lost};
use crate::image::{Descriptor, Platform};
use crate::input::Outside;
use crate::remote::{Chunk, Desk, Found, Kind, MOST_CHUNKS, Member, Moment, PIECE_BYTES, Piece, Snapshot};
use crate::tree::{
    Change, Content, Contents, Difference, DirectoryHandle, Entry, Metadata, NoneKnown, ScanError, Tree, TreePath, checkout_tree, scan,
};

/// The media type of a snapshot.
const SNAPSHOT_TYPE: &str = "application/vnd.lapstrake.snapshot.v1+zstd";
/// The media type of a chunk.
const CHUNK_TYPE: &str = "application/vnd.lapstrake.chunk.v1+zstd";

/// The most bytes that a stored snapshot may have: it is held in memory.
const SNAPSHOT_LIMIT_BYTES: u64 = 256 << 20;

/// How well chunks are compressed.
const LEVEL: i32 = 3;

/// How many chunks are fetched at a time.
const FETCHERS: usize = 4;

/// What the record of a mount says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidMount {
    snapshot: SaidBlob,
}

/// Which cache a mount shows, on every machine alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MountName {
    /// As the spec calls it.
    pub(super) id: String,
    /// What makes it another one, hashed.
    pub(super) identity: String,
}

/// A cache that steps of this build have written to.
#[derive(Debug)]
pub(super) struct Used {
    /// Which.
    pub(super) name: MountName,
    /// Its directory.
    pub(super) mount: CacheMount,
}

impl MountName {
    /// What the key of its record is the hash of. Tools put files for one processor in their caches.
    fn preimage(&self) -> Vec<u8> {
        format!("lapstrake-shared-mount/1 {} {}", Platform::builder(), self.identity).into_bytes()
    }

    fn key(&self) -> Fingerprint {
        Fingerprint::of(&self.preimage())
    }
}

/// Why a directory is not sent.
#[derive(Debug, thiserror::Error)]
enum Unsent {
    #[error("another build is using it")]
    InUse,
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error("`{0}` is a device")]
    Device(TreePath),
    #[error("cannot read `{path}`")]
    Read { path: TreePath, source: io::Error },
    #[error("`{0}` was changed while it was being read")]
    Changed(TreePath),
    #[error("it is larger than {MOST_CHUNKS} chunks of {} MiB", PIECE_BYTES >> 20)]
    TooLarge,
    #[error(transparent)]
    Store(#[from] lapstrake_cache::Error),
    #[error(transparent)]
    Other(#[from] Box<Failure>),
    /// The shared cache has told why by itself.
    #[error("the shared cache does not take it")]
    Refused,
}

/// Puts what a shared cache has of a mount into a new directory. `None` where there is nothing, or nothing that can be had.
pub(super) fn fetched(
    site: &Site<'_>,
    name: &MountName,
    make: impl Fn(&Scratch) -> Result<Arc<dyn DirectoryHandle>, Failure>,
) -> Option<Scratch> {
    let elsewhere = site.layers.elsewhere().filter(|elsewhere| elsewhere.shared.is_read())?;
    let (desk, shared) = (elsewhere.desk(), elsewhere.shared);
    let key = name.key();
    let found: Found<SaidMount> = shared.look_up(desk, Kind::Mount, &key, &name.preimage(), None)?;
    let snapshot = read(elsewhere, desk, &found);
    let Some(snapshot) = snapshot else {
        shared.doubt(desk, found.member, &key, &format!("what it has of the cache mount `{}` cannot be read", name.id));
        return None;
    };
    match restore(site, elsewhere, found.member, &snapshot, make) {
        Ok(scratch) => {
            let files = snapshot.files.entries.len();
            desk.note(format!("the cache mount `{}` begins with {files} entries of a shared cache", name.id));
            Some(scratch)
        }
        Err(Failure::Cancelled) => None,
        Err(error) => {
            desk.warn(&format!("the cache mount `{}` begins without what a shared cache has of it", name.id), &error);
            None
        }
    }
}

fn read(elsewhere: &Elsewhere<'_>, desk: Desk<'_>, found: &Found<SaidMount>) -> Option<Snapshot> {
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
    let nothing = Tree::empty(Metadata { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() });
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
                            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
                        }
                    }
                });
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn bring_one(&self, elsewhere: &Elsewhere<'_>, member: Member, index: usize) -> Result<(), Failure> {
        let desk = elsewhere.desk();
        if desk.cancel.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        let path = self.path(index);
        let failed = |source| Failure::File { path: path.clone(), source };
        let lost = || failed(io::Error::other("a chunk of it cannot be had"));
        let chunk = self.snapshot.chunks.get(index).ok_or(Failure::Lost(Lost::Nothing))?;
        let blob = Descriptor::new(CHUNK_TYPE, chunk.digest, chunk.size);
        let stored = elsewhere.shared.bytes(desk, member, &blob, chunk.size).ok_or_else(lost)?;
        let length = usize::try_from(chunk.length()).map_err(|_| lost())?;
        let bytes = zstd::bulk::decompress(&stored, length).map_err(failed)?;
        if bytes.len() != length {
            return Err(lost());
        }
        std::fs::write(&path, bytes).map_err(failed)
    }
}

impl Contents for Fetched<'_> {
    fn open(&self, _path: &TreePath, content: &Content) -> io::Result<Box<dyn Read + Send>> {
        let mut bytes: Box<dyn Read + Send> = Box::new(io::empty());
        for piece in self.snapshot.pieces(content) {
            let (chunk, offset, length) = *self.places.get(&piece).ok_or(io::ErrorKind::NotFound)?;
            let file = File::open(self.path(chunk))?;
            bytes = Box::new(bytes.chain(Part { file, offset, rest: u64::from(length) }));
        }
        Ok(bytes)
    }
}

/// Some bytes of a file.
struct Part {
    file: File,
    offset: u64,
    rest: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.rest).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.offset)?;
        self.offset += read as u64;
        self.rest -= read as u64;
        Ok(read)
    }
}

/// Sends what is in a mount's directory to the shared caches that take such.
pub(super) fn send(site: &Site<'_>, outside: &Outside<'_>, used: &Used) {
    let Some(elsewhere) = site.layers.elsewhere() else { return };
    let desk = Desk { cancel: outside.cancel, events: outside.events };
    let targets: Vec<Member> = elsewhere.shared.mount_targets().collect();
    if targets.is_empty() {
        return;
    }
    let sent = || -> Result<(), Unsent> {
        // Others wait for it meanwhile if they want it for themselves.
        let Some(_lock) = used.mount.try_lock_shared()? else { return Err(Unsent::InUse) };
        let handle = site.workplace.open_fresh(used.mount.path()).map_err(|error| Box::new(Failure::from(error)))?;
        let files = Difference::whole(&scan(&*handle, &NoneKnown, outside.cancel)?.tree);
        if let Some((path, _)) = files.entries.iter().find(|(_, change)| !Snapshot::holds(change)) {
            return Err(Unsent::Device(path.clone()));
        }
        for target in targets {
            match (Sending { elsewhere, desk, target, name: &used.name, handle: &*handle }).send(&files) {
                Ok(()) | Err(Unsent::Refused) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(())
    };
    match sent() {
        Ok(()) => {}
        Err(_) if desk.cancel.is_cancelled() => {}
        Err(error) => desk.warn(&format!("the cache mount `{}` is not sent to the shared cache", used.name.id), &error),
    }
}

/// One directory on its way to one shared cache.
struct Sending<'a> {
    elsewhere: &'a Elsewhere<'a>,
    desk: Desk<'a>,
    target: Member,
    name: &'a MountName,
    handle: &'a dyn DirectoryHandle,
}

/// Where the bytes of a piece are.
#[derive(Clone, Copy)]
struct Origin<'f> {
    path: &'f TreePath,
    offset: u64,
    length: u32,
}

/// What files are made of.
#[derive(Default)]
struct Made<'f> {
    origins: BTreeMap<Fingerprint, Origin<'f>>,
    /// In the order of paths.
    order: Vec<Fingerprint>,
    large: BTreeMap<Content, Vec<Fingerprint>>,
}

impl<'f> Made<'f> {
    fn add(&mut self, fingerprint: Fingerprint, origin: Origin<'f>) {
        if self.origins.insert(fingerprint, origin).is_none() {
            self.order.push(fingerprint);
        }
    }
}

impl Sending<'_> {
    fn send(&self, files: &Difference) -> Result<(), Unsent> {
        let shared = self.elsewhere.shared;
        let (key, preimage) = (self.name.key(), self.name.preimage());
        let found: Option<Found<SaidMount>> = shared.known(self.desk, self.target, Kind::Mount, &key, &preimage);
        let before = found.as_ref().and_then(|found| read(self.elsewhere, self.desk, found));
        if let (Some(found), Some(before)) = (&found, &before)
            && before.files == *files
        {
            return if shared.is_fading(self.target, found.idle) { self.record(&found.body, before, found.made) } else { Ok(()) };
        }
        let Made { mut origins, order, large } = self.pieces(files, before.as_ref())?;
        let mut snapshot = Snapshot { files: files.clone(), chunks: Vec::new(), large };
        for chunk in before.map(|before| before.chunks).unwrap_or_default() {
            let wanted = chunk.pieces.iter().filter(|piece| origins.contains_key(&piece.fingerprint));
            let wanted: u64 = wanted.map(|piece| u64::from(piece.length)).sum();
            let blob = Descriptor::new(CHUNK_TYPE, chunk.digest, chunk.size);
            // What is mostly of no use any more is packed anew.
            if wanted > 0 && 2 * wanted >= chunk.length() && shared.has(self.desk, self.target, &blob) {
                for piece in &chunk.pieces {
                    origins.remove(&piece.fingerprint);
                }
                snapshot.chunks.push(chunk);
            }
        }
        let kept = snapshot.chunks.len();
        let mut sent = 0;
        let mut gathered: Vec<(Fingerprint, Origin<'_>)> = Vec::new();
        let mut length = 0;
        for (fingerprint, origin) in order.into_iter().filter_map(|fingerprint| origins.remove_entry(&fingerprint)) {
            if length + origin.length as usize > PIECE_BYTES {
                sent += self.put(&mut snapshot, std::mem::take(&mut gathered))?;
                length = 0;
            }
            length += origin.length as usize;
            gathered.push((fingerprint, origin));
        }
        sent += self.put(&mut snapshot, gathered)?;
        let stored = snapshot.encode().ok_or(Unsent::TooLarge)?;
        sent += stored.len() as u64;
        let blob = shared.put_bytes(self.desk, self.target, SNAPSHOT_TYPE, &stored).ok_or(Unsent::Refused)?;
        self.record(&SaidMount { snapshot: SaidBlob::of(&blob) }, &snapshot, Moment::ago(Duration::ZERO))?;
        let (id, count) = (&self.name.id, snapshot.chunks.len());
        self.desk.note(format!(
            "the cache mount `{id}` is in the shared cache: {count} chunks, {} of them new, {sent} bytes sent",
            count - kept
        ));
        Ok(())
    }

    /// Writes the record, which comes after all that it speaks of.
    fn record(&self, said: &SaidMount, snapshot: &Snapshot, made: Moment) -> Result<(), Unsent> {
        let (key, preimage) = (self.name.key(), self.name.preimage());
        let mut blobs: Vec<Descriptor> = said.snapshot.descriptor(SNAPSHOT_TYPE).into_iter().collect();
        let mut seen: BTreeSet<Digest> = BTreeSet::new();
        let chunks = snapshot.chunks.iter().filter(|chunk| seen.insert(chunk.digest));
        blobs.extend(chunks.map(|chunk| Descriptor::new(CHUNK_TYPE, chunk.digest, chunk.size)));
        let put = self.elsewhere.shared.put(self.desk, self.target, (Kind::Mount, &key, &preimage), made, said, &blobs);
        if put { Ok(()) } else { Err(Unsent::Refused) }
    }

    /// All pieces of all files. Large files that were there before are not read to find theirs.
    fn pieces<'f>(&self, files: &'f Difference, before: Option<&Snapshot>) -> Result<Made<'f>, Unsent> {
        let mut made = Made::default();
        for (path, change) in &files.entries {
            let Change::Put(Entry::File(file)) = change else { continue };
            let content = file.content;
            let names = match (usize::try_from(content.size), before.and_then(|before| before.large.get(&content))) {
                (Ok(0), _) => continue,
                (Ok(..=PIECE_BYTES), _) => vec![content.fingerprint],
                (_, Some(known)) => known.clone(),
                (_, None) => self.split(path, &content)?,
            };
            let mut offset = 0;
            for name in &names {
                let length = (content.size - offset).min(PIECE_BYTES as u64);
                made.add(*name, Origin { path, offset, length: u32::try_from(length).map_err(|_| Unsent::TooLarge)? });
                offset += length;
            }
            if names.len() > 1 {
                made.large.insert(content, names);
            }
        }
        Ok(made)
    }

    /// The names of a large file's pieces.
    fn split(&self, path: &TreePath, content: &Content) -> Result<Vec<Fingerprint>, Unsent> {
        let file = self.open(path)?;
        let (mut whole, mut names, mut offset) = (Fingerprinter::new(), Vec::new(), 0);
        while offset < content.size {
            let piece = read_at(&file, path, offset, (content.size - offset).min(PIECE_BYTES as u64))?;
            whole.update(&piece);
            names.push(Fingerprint::of(&piece));
            offset += piece.len() as u64;
        }
        if whole.finish() == content.fingerprint { Ok(names) } else { Err(Unsent::Changed(path.clone())) }
    }

    /// Sends pieces as a chunk, unless there are none. Gives the bytes that it has.
    fn put(&self, snapshot: &mut Snapshot, pieces: Vec<(Fingerprint, Origin<'_>)>) -> Result<u64, Unsent> {
        if pieces.is_empty() {
            return Ok(0);
        }
        if snapshot.chunks.len() >= MOST_CHUNKS {
            return Err(Unsent::TooLarge);
        }
        let mut bytes = Vec::new();
        for (fingerprint, Origin { path, offset, length }) in &pieces {
            let piece = read_at(&self.open(path)?, path, *offset, u64::from(*length))?;
            if Fingerprint::of(&piece) != *fingerprint {
                return Err(Unsent::Changed((*path).clone()));
            }
            bytes.extend_from_slice(&piece);
        }
        let stored = zstd::bulk::compress(&bytes, LEVEL).map_err(|source| Unsent::Read { path: TreePath::root(), source })?;
        let blob = self.elsewhere.shared.put_bytes(self.desk, self.target, CHUNK_TYPE, &stored).ok_or(Unsent::Refused)?;
        let pieces = pieces.iter().map(|(fingerprint, origin)| Piece { fingerprint: *fingerprint, length: origin.length }).collect();
        snapshot.chunks.push(Chunk { digest: blob.digest, size: blob.size, pieces });
        Ok(blob.size)
    }

    fn open(&self, path: &TreePath) -> Result<File, Unsent> {
        self.handle.open(path).map_err(|error| Unsent::Read { path: path.clone(), source: error.source })
    }
}

fn read_at(file: &File, path: &TreePath, offset: u64, length: u64) -> Result<Vec<u8>, Unsent> {
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| Unsent::TooLarge)?];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Unsent::Changed(path.clone())),
        Err(source) => Err(Unsent::Read { path: path.clone(), source }),
    }
}
