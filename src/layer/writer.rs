//! A difference and the bytes of its files in; a layer blob, its digest and its diff id out.
//!
//! One thread builds the tar stream and hashes it, others compress its blocks, the caller's own writes them in order and hashes the blob.
//! The queues between them are bounded, so that memory depends on the number of threads and not on any file.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use lapstrake_cache::{Digest, Fingerprint, Fingerprinter, Sha256};

use super::blocks::Rule;
use super::header::{END, padding};
use super::profile::{Effort, Encoder, EncoderFailed, Frame, Profile};
use super::sequence::{Record, Untarrable, records};
use crate::event::Cancel;
use crate::tree::{Content, Contents, Difference, Tree, TreePath};

/// A layer that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// SHA-256 of the tar stream: the identity of the layer.
    pub diff_id: Digest,
    /// SHA-256 of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Bytes of the tar stream.
    pub uncompressed_size: u64,
}

/// A layer could not be written. What came into the sink until then is to be thrown away.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The bytes of a file could not be read.
    #[error("cannot read the content of `{path}`")]
    Contents {
        /// Which file.
        path: TreePath,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bytes of a file are no longer those that its fingerprint names.
    #[error("`{path}` was changed while it was being packed; try again when nothing writes to it")]
    ContentChanged {
        /// Which file.
        path: TreePath,
    },
    /// An entry has no place in a layer.
    #[error("`{path}` cannot be in a layer")]
    Untarrable {
        /// Which entry.
        path: TreePath,
        /// Why.
        #[source]
        source: Untarrable,
    },
    /// The encoder gave up.
    #[error(transparent)]
    Encoder(#[from] EncoderFailed),
    /// The blob could not be written.
    #[error("cannot write the layer")]
    Sink(#[source] io::Error),
    /// A thread could not be started.
    #[error("cannot start a thread to pack the layer")]
    Thread(#[source] io::Error),
    /// Stopping was asked for.
    #[error("packing the layer was cancelled")]
    Cancelled,
}

/// Writes a difference as a layer blob.
///
/// The bytes are a function of `difference` and `profile` alone; `threads` is how many blocks are compressed at once. Contents are
/// compared with their fingerprints as they are read.
///
/// # Errors
/// When a content cannot be read or is another than its fingerprint says, an entry has no place in a tar, the sink fails or `cancel` is
/// raised.
pub fn pack(
    difference: &Difference,
    contents: &dyn Contents,
    profile: Profile,
    threads: NonZeroUsize,
    sink: &mut dyn Write,
    cancel: &Cancel,
) -> Result<Packed, PackError> {
    pack_reusing(difference, contents, profile, threads, &NoBlocks, sink, cancel)
}

/// As [`pack`]: what `known` has of the blocks is not compressed again.
///
/// # Errors
/// As [`pack`].
pub fn pack_reusing(
    difference: &Difference,
    contents: &dyn Contents,
    profile: Profile,
    threads: NonZeroUsize,
    known: &dyn KnownBlocks,
    sink: &mut dyn Write,
    cancel: &Cancel,
) -> Result<Packed, PackError> {
    if let Some(path) = difference.opaque.first() {
        return Err(PackError::Untarrable { path: path.clone(), source: Untarrable::Opaque });
    }
    let encoders = encoders(difference, profile, threads)?;
    let pool = Pool::default();
    // Twice as many as are compressed at a time: those that are done wait for their turn, and others are compressed meanwhile.
    let (blocks, in_order) = sync_channel::<Receiver<Compressed>>(2 * encoders.len().max(1));
    let (jobs, waiting) = sync_channel::<Job>(encoders.len());
    let waiting = Mutex::new(waiting);
    let compresses = if encoders.is_empty() { Compresses::No } else { Compresses::Yes(jobs) };

    thread::scope(|scope| {
        for encoder in encoders {
            thread::Builder::new().spawn_scoped(scope, || compress_blocks(encoder, known, &waiting, &pool)).map_err(PackError::Thread)?;
        }
        let queue = Queue { blocks, compresses, pool: &pool };
        let stream = thread::Builder::new()
            .spawn_scoped(scope, move || Stream::new(profile, queue, cancel).run(difference, contents))
            .map_err(PackError::Thread)?;

        let written = write_in_order(in_order, profile, known, sink, &pool, cancel);
        let stream = match stream.join() {
            Ok(stream) => stream,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // When the writer stopped first, the stream only saw that its queue was closed.
        let (blob_digest, size) = written?;
        let (diff_id, uncompressed_size) = stream?;
        Ok(Packed { diff_id, digest: blob_digest.unwrap_or(diff_id), size, uncompressed_size })
    })
}

/// Writes a whole tree as a plain tar stream, by the same rules as a layer: the root file system of an image.
///
/// # Errors
/// As [`pack`].
pub fn pack_tree(tree: &Tree, contents: &dyn Contents, sink: &mut dyn Write, cancel: &Cancel) -> Result<Packed, PackError> {
    pack(&Difference::whole(tree), contents, Profile::Plain, NonZeroUsize::MIN, sink, cancel)
}

/// As many encoders as are asked for and of use.
fn encoders(difference: &Difference, profile: Profile, threads: NonZeroUsize) -> Result<Vec<Encoder>, EncoderFailed> {
    let bytes: u64 = records(difference).map(|record| record.content_bytes().saturating_add(512)).fold(0, u64::saturating_add);
    let useful = usize::try_from(bytes / profile.rule().target).unwrap_or(usize::MAX).saturating_add(1);
    let mut encoders = Vec::new();
    for _ in 0..threads.get().min(useful) {
        encoders.extend(profile.encoder()?);
    }
    Ok(encoders)
}

/// One block on its way to be compressed, and where the result goes.
struct Job {
    block: Vec<u8>,
    result: SyncSender<Compressed>,
}

type Compressed = Result<Ready, EncoderFailed>;

/// Bytes of the blob, in their turn.
struct Ready {
    bytes: Vec<u8>,
    /// The block that they are, where they are one that was compressed.
    block: Option<KnownBlock>,
}

/// A compressed block of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownBlock {
    /// The name of its bytes before they were compressed.
    pub plain: Fingerprint,
    /// The name of its bytes in the blob.
    pub compressed: Fingerprint,
    /// Its bytes in the blob.
    pub size: u64,
}

/// Remembers compressed blocks of one profile, so that those which an edit leaves as they were are not compressed again.
pub trait KnownBlocks: Sync {
    /// Replaces what is in `out` by the compressed block whose bytes have this name, if it is known and can be had whole.
    fn get(&self, plain: &Fingerprint, out: &mut Vec<u8>) -> Option<KnownBlock>;

    /// The next block of the blob that is being written that was compressed, and where in the blob it begins.
    fn put(&self, start: u64, block: KnownBlock);
}

/// Knows no block and remembers none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBlocks;

impl KnownBlocks for NoBlocks {
    fn get(&self, _plain: &Fingerprint, _out: &mut Vec<u8>) -> Option<KnownBlock> {
        None
    }

    fn put(&self, _start: u64, _block: KnownBlock) {}
}

/// Buffers that are used again.
#[derive(Default)]
struct Pool(Mutex<Vec<Vec<u8>>>);

impl Pool {
    fn take(&self) -> Vec<u8> {
        self.0.lock().ok().and_then(|mut buffers| buffers.pop()).unwrap_or_default()
    }

    fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        if let Ok(mut buffers) = self.0.lock() {
            buffers.push(buffer);
        }
    }
}

fn compress_blocks(mut encoder: Encoder, known: &dyn KnownBlocks, waiting: &Mutex<Receiver<Job>>, pool: &Pool) {
    loop {
        let job = match waiting.lock() {
            Ok(waiting) => waiting.recv(),
            Err(_) => return,
        };
        let Ok(Job { block, result }) = job else { return };
        let compressed = compress_block(&mut encoder, known, &block, pool.take());
        pool.give(block);
        // Nobody waits for it when the writer has stopped.
        let _ = result.send(compressed);
    }
}

fn compress_block(encoder: &mut Encoder, known: &dyn KnownBlocks, block: &[u8], mut out: Vec<u8>) -> Compressed {
    let effort = encoder.effort(block)?;
    let block = match effort {
        Effort::None => {
            encoder.compress(block, effort, &mut out)?;
            None
        }
        Effort::Full => {
            let plain = Fingerprint::of(block);
            let found = known.get(&plain, &mut out);
            if found.is_none() {
                encoder.compress(block, effort, &mut out)?;
            }
            Some(found.unwrap_or_else(|| KnownBlock { plain, compressed: Fingerprint::of(&out), size: out.len() as u64 }))
        }
    };
    Ok(Ready { bytes: out, block })
}

fn write_in_order(
    in_order: Receiver<Receiver<Compressed>>,
    profile: Profile,
    known: &dyn KnownBlocks,
    sink: &mut dyn Write,
    pool: &Pool,
    cancel: &Cancel,
) -> Result<(Option<Digest>, u64), PackError> {
    let mut hasher = (profile != Profile::Plain).then(Sha256::new);
    let mut size = 0;
    for block in in_order {
        if cancel.is_cancelled() {
            return Err(PackError::Cancelled);
        }
        // A block without a result belongs to a thread that panicked; the scope passes that on.
        let Ok(block) = block.recv() else { continue };
        let Ready { bytes, block } = block?;
        if let Some(hasher) = &mut hasher {
            hasher.update(&bytes);
        }
        sink.write_all(&bytes).map_err(PackError::Sink)?;
        if let Some(block) = block {
            known.put(size, block);
        }
        size += bytes.len() as u64;
        pool.give(bytes);
    }
    Ok((hasher.map(Sha256::finish), size))
}

/// Whether blocks are compressed before they are written.
enum Compresses {
    Yes(SyncSender<Job>),
    No,
}

/// The way of a block out of the stream.
struct Queue<'a> {
    blocks: SyncSender<Receiver<Compressed>>,
    compresses: Compresses,
    pool: &'a Pool,
}

/// The writer has stopped and will say why.
struct WriterStopped;

impl Queue<'_> {
    fn push(&self, block: Vec<u8>) -> Result<(), WriterStopped> {
        let (result, place) = sync_channel(1);
        self.blocks.send(place).map_err(|_| WriterStopped)?;
        match &self.compresses {
            Compresses::Yes(jobs) => jobs.send(Job { block, result }).map_err(|_| WriterStopped),
            Compresses::No => result.send(Ok(Ready { bytes: block, block: None })).map_err(|_| WriterStopped),
        }
    }

    /// As [`Queue::push`], for what is written as it is.
    fn push_made(&self, bytes: Vec<u8>) -> Result<(), WriterStopped> {
        let (result, place) = sync_channel(1);
        self.blocks.send(place).map_err(|_| WriterStopped)?;
        result.send(Ok(Ready { bytes, block: None })).map_err(|_| WriterStopped)
    }
}

/// The tar stream while it is made.
struct Stream<'a> {
    rule: Rule,
    queue: Queue<'a>,
    cancel: &'a Cancel,
    frame: Option<Frame>,
    block: Vec<u8>,
    hasher: Sha256,
    written: u64,
}

impl<'a> Stream<'a> {
    fn new(profile: Profile, queue: Queue<'a>, cancel: &'a Cancel) -> Stream<'a> {
        Stream { rule: profile.rule(), frame: profile.frame(), block: queue.pool.take(), queue, cancel, hasher: Sha256::new(), written: 0 }
    }

    fn run(mut self, difference: &Difference, contents: &dyn Contents) -> Result<(Digest, u64), PackError> {
        let mut header = Vec::new();
        if self.frame.is_some() {
            self.queue.push_made(Frame::HEADER.to_vec()).map_err(|WriterStopped| PackError::Cancelled)?;
        }
        for record in records(difference) {
            let untarrable = |source: Untarrable| PackError::Untarrable { path: record.path.clone(), source };
            let name = record.tar_name().map_err(untarrable)?;
            header.clear();
            record.append_header(&name, &mut header).map_err(|error| untarrable(error.into()))?;
            let place = self.rule.place(&name, header.len() as u64, record.content_bytes(), self.block.len() as u64);
            if place.begins {
                self.end_block()?;
            }
            self.block.extend_from_slice(&header);
            self.copy_content(&record, place.cuts, contents)?;
            if place.ends {
                self.end_block()?;
            }
        }
        self.block.extend_from_slice(&END);
        self.end_block()?;
        if let Some(frame) = self.frame {
            self.queue.push_made(frame.finish(self.written)).map_err(|WriterStopped| PackError::Cancelled)?;
        }
        Ok((self.hasher.finish(), self.written))
    }

    /// Hands the block on. That the writer has stopped shows as cancellation, which the writer's own reason replaces.
    fn end_block(&mut self) -> Result<(), PackError> {
        if self.cancel.is_cancelled() {
            return Err(PackError::Cancelled);
        }
        if self.block.is_empty() {
            return Ok(());
        }
        self.hasher.update(&self.block);
        if let Some(frame) = &mut self.frame {
            frame.update(&self.block);
        }
        self.written += self.block.len() as u64;
        let block = std::mem::replace(&mut self.block, self.queue.pool.take());
        self.queue.push(block).map_err(|WriterStopped| PackError::Cancelled)
    }

    fn copy_content(&mut self, record: &Record<'_>, cuts: bool, contents: &dyn Contents) -> Result<(), PackError> {
        let Some(Content { fingerprint, size }) = record.content() else { return Ok(()) };
        if size == 0 {
            return Ok(());
        }
        let path = record.path;
        let unreadable = |source| PackError::Contents { path: path.clone(), source };
        let changed = || PackError::ContentChanged { path: path.clone() };
        let mut content = contents.open(path, &Content { fingerprint, size }).map_err(unreadable)?;
        let mut hasher = Fingerprinter::new();
        let mut remaining = size;
        while remaining > 0 {
            let part = if cuts { remaining.min(self.rule.cut) } else { remaining };
            let start = self.block.len();
            let read = (&mut content).take(part).read_to_end(&mut self.block).map_err(unreadable)?;
            if read as u64 != part {
                return Err(changed());
            }
            hasher.update(&self.block[start..]);
            remaining -= part;
            if cuts && remaining > 0 {
                self.end_block()?;
            }
        }
        if hasher.finish() != fingerprint || content.read(&mut [0]).map_err(unreadable)? != 0 {
            return Err(changed());
        }
        self.block.resize(self.block.len() + padding(size), 0);
        Ok(())
    }
}
