//! A mount's directory → a snapshot of it in shared caches.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use lapstrake_cache::{Digest, Fingerprint, Fingerprinter};

use super::fetch::read;
use super::{CHUNK_TYPE, MountName, SNAPSHOT_LIMIT_BYTES, SNAPSHOT_TYPE, SaidMount, Used};
use crate::build::Failure;
use crate::build::elsewhere::{Elsewhere, SaidBlob};
use crate::build::site::Site;
use crate::image::Descriptor;
use crate::input::Outside;
use crate::remote::{Chunk, Desk, Found, Kind, MOST_CHUNKS, Member, Moment, PIECE_BYTES, Piece, Snapshot};
use crate::tree::{Change, Content, Difference, DirectoryHandle, Entry, NoneKnown, ScanError, TreePath, scan};

/// How well chunks are compressed.
const LEVEL: i32 = 3;

/// How many small chunks of an earlier snapshot are taken over; from then on they are packed together.
const SMALL_CHUNKS: usize = 8;

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
    #[error("it has more than {} GiB, or too many files: empty it, or give parts of it ids of their own", (MOST_CHUNKS * PIECE_BYTES) >> 30)]
    TooLarge,
    #[error("cancelled")]
    Cancelled,
    #[error(transparent)]
    Store(#[from] lapstrake_cache::Error),
    #[error(transparent)]
    Other(#[from] Box<Failure>),
    /// The shared cache has told why by itself.
    #[error("the shared cache does not take it")]
    Refused,
}

/// Sends what is in a mount's directory to the shared caches that take such.
pub(in crate::build) fn send(site: &Site<'_>, outside: &Outside<'_>, used: &Used) {
    let Some(elsewhere) = site.layers.elsewhere() else { return };
    let desk = Desk { cancel: outside.cancel, events: outside.events };
    let targets: Vec<Member> = elsewhere.shared.mount_targets().collect();
    if targets.is_empty() {
        return;
    }
    let sent = || -> Result<(), Unsent> {
        let handle = site.workplace.open_fresh(used.mount.path()).map_err(|error| Box::new(Failure::from(error)))?;
        let files = {
            // Nobody waits for it while it is sent: what is changed meanwhile is noticed, file by file.
            let Some(_lock) = used.mount.try_lock_shared()? else { return Err(Unsent::InUse) };
            Difference::whole(&scan(&*handle, &NoneKnown, outside.cancel)?.tree)
        };
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

/// What went to a shared cache.
#[derive(Default)]
struct Sent {
    chunks: usize,
    bytes: u64,
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
        // Of one that turned out to be damaged nothing is taken over.
        let before = found.as_ref().filter(|_| !shared.is_doubted(&key)).and_then(|found| read(self.elsewhere, self.desk, found));
        if let (Some(found), Some(before)) = (&found, &before)
            && before.files == *files
        {
            return if shared.is_fading(self.target, found.idle) { self.record(&found.body, before, found.made) } else { Ok(()) };
        }
        let made = match self.pieces(files, before.as_ref()) {
            // What the earlier snapshot says of large files may be wrong.
            Err(Unsent::TooLarge) => self.pieces(files, None)?,
            made => made?,
        };
        let (snapshot, sent) = match self.packed(files, &made, before.map(|before| before.chunks).unwrap_or_default()) {
            Err(Unsent::TooLarge) => self.packed(files, &made, Vec::new())?,
            packed => packed?,
        };
        let stored = snapshot.encode().filter(|stored| stored.len() as u64 <= SNAPSHOT_LIMIT_BYTES).ok_or(Unsent::TooLarge)?;
        let blob = shared.put_bytes(self.desk, self.target, SNAPSHOT_TYPE, &stored).ok_or(Unsent::Refused)?;
        self.record(&SaidMount { snapshot: SaidBlob::of(&blob) }, &snapshot, Moment::ago(Duration::ZERO))?;
        let (id, count, bytes) = (&self.name.id, snapshot.chunks.len(), sent.bytes + stored.len() as u64);
        self.desk.note(format!(
            "the cache mount `{id}` is in the shared cache: {count} chunks, {} of them new, {bytes} bytes sent",
            sent.chunks
        ));
        Ok(())
    }

    /// All files in chunks, which are there: those of `earlier` that are of use still, and new ones.
    fn packed(&self, files: &Difference, made: &Made<'_>, earlier: Vec<Chunk>) -> Result<(Snapshot, Sent), Unsent> {
        let mut wanting: BTreeMap<Fingerprint, Origin<'_>> = made.origins.clone();
        let mut snapshot = Snapshot { files: files.clone(), chunks: Vec::new(), large: made.large.clone() };
        let mut small = 0;
        for chunk in earlier {
            let wanted = chunk.pieces.iter().filter(|piece| wanting.contains_key(&piece.fingerprint));
            let wanted: u64 = wanted.map(|piece| u64::from(piece.length)).sum();
            let is_small = chunk.length() < PIECE_BYTES as u64 / 2;
            // What is mostly of no use any more is packed anew, and so are small ones before they become many.
            if wanted == 0 || 2 * wanted < chunk.length() || (is_small && small >= SMALL_CHUNKS) {
                continue;
            }
            let blob = Descriptor::new(CHUNK_TYPE, chunk.digest, chunk.size);
            if self.elsewhere.shared.knows(self.desk, self.target, &blob) == Some(true) {
                small += usize::from(is_small);
                for piece in &chunk.pieces {
                    wanting.remove(&piece.fingerprint);
                }
                snapshot.chunks.push(chunk);
            }
        }
        let bytes: u64 = wanting.values().map(|origin| u64::from(origin.length)).sum();
        if bytes > PIECE_BYTES as u64 {
            self.desk.note(format!(
                "the cache mount `{}` is sent to the shared cache: {} MiB before compression",
                self.name.id,
                bytes >> 20
            ));
        }
        let mut sent = Sent::default();
        let mut gathered: Vec<(Fingerprint, Origin<'_>)> = Vec::new();
        let mut length = 0;
        for (fingerprint, origin) in made.order.iter().filter_map(|fingerprint| wanting.remove_entry(fingerprint)) {
            if length + origin.length as usize > PIECE_BYTES {
                self.put(&mut snapshot, std::mem::take(&mut gathered), &mut sent)?;
                length = 0;
            }
            length += origin.length as usize;
            gathered.push((fingerprint, origin));
        }
        self.put(&mut snapshot, gathered, &mut sent)?;
        Ok((snapshot, sent))
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
            if self.desk.cancel.is_cancelled() {
                return Err(Unsent::Cancelled);
            }
            let piece = read_at(&file, path, offset, (content.size - offset).min(PIECE_BYTES as u64))?;
            whole.update(&piece);
            names.push(Fingerprint::of(&piece));
            offset += piece.len() as u64;
        }
        if whole.finish() == content.fingerprint { Ok(names) } else { Err(Unsent::Changed(path.clone())) }
    }

    /// Sends pieces as a chunk, unless there are none.
    fn put(&self, snapshot: &mut Snapshot, pieces: Vec<(Fingerprint, Origin<'_>)>, sent: &mut Sent) -> Result<(), Unsent> {
        if pieces.is_empty() {
            return Ok(());
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
        sent.chunks += 1;
        sent.bytes += blob.size;
        Ok(())
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
