//! A blob's source → the bodies of the requests that send it, part by part.
//!
//! A source is read on a thread of its own and only forwards; the part after one that was sent goes on with the same source, any other
//! opens it anew.

use std::io::{self, Read};
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::Error;
use super::runtime::{Opener, Source};
use crate::image::Descriptor;

/// How many bytes are read at a time.
pub(super) const PIECE_BYTES: usize = 128 << 10;

/// How many pieces wait to be sent.
pub(super) const PIECES: usize = 4;

/// A blob that is to be sent, as often as need be.
pub(super) struct Upload {
    opener: Opener,
    pub(super) descriptor: Descriptor,
    shared: Arc<Shared>,
}

struct Shared {
    /// How far the bytes have been taken that are being sent.
    sent: Arc<AtomicU64>,
    failure: Mutex<Option<Error>>,
    open: Mutex<Option<Reading>>,
}

/// An open source and how far it was read.
struct Reading {
    source: Source,
    position: u64,
}

impl Upload {
    pub(super) fn new(opener: Opener, descriptor: Descriptor, sent: Arc<AtomicU64>) -> Upload {
        let shared = Arc::new(Shared { sent, failure: Mutex::default(), open: Mutex::default() });
        Upload { opener, descriptor, shared }
    }

    pub(super) fn size(&self) -> u64 {
        self.descriptor.size
    }

    /// How far the bytes of the current part have been taken, from the first byte of the blob.
    pub(super) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// So many bytes of it were taken by others.
    pub(super) fn note_sent(&self, bytes: u64) {
        self.shared.sent.store(bytes, Ordering::Relaxed);
    }

    /// What was wrong with the source, if that is why sending failed.
    pub(super) fn take_failure(&self) -> Option<Error> {
        lock(&self.shared.failure).take()
    }

    /// The bytes of a part, which must not be empty unless the blob is.
    pub(super) async fn body(&self, part: Range<u64>) -> Result<reqwest::Body, Error> {
        self.shared.sent.store(part.start, Ordering::Relaxed);
        let digest = self.descriptor.digest;
        let held = lock(&self.shared.open).take().filter(|reading| reading.position == part.start);
        let reading = match held {
            Some(reading) => reading,
            None => {
                let source = self.opener.open(part.start).await.map_err(|source| Error::Source { digest, source })?;
                Reading { source, position: part.start }
            }
        };
        let (sender, receiver) = mpsc::channel(PIECES);
        let (shared, descriptor) = (Arc::clone(&self.shared), self.descriptor.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = feed(reading, part, &descriptor, &sender, &shared) {
                *lock(&shared.failure) = Some(error);
                // The request must not end as if all had been sent.
                let _ = sender.blocking_send(Err(io::ErrorKind::InvalidData.into()));
            }
        });
        Ok(streamed(receiver))
    }
}

/// The body that pieces are, as they come.
pub(super) fn streamed(receiver: mpsc::Receiver<io::Result<Bytes>>) -> reqwest::Body {
    reqwest::Body::wrap_stream(ReaderStream::with_capacity(Pipe { receiver, current: Bytes::new() }, PIECE_BYTES))
}

/// Reads a part into the channel; leaves the source to the next part where there is one.
fn feed(
    mut reading: Reading,
    part: Range<u64>,
    blob: &Descriptor,
    sender: &mpsc::Sender<io::Result<Bytes>>,
    shared: &Shared,
) -> Result<(), Error> {
    let mut piece = vec![0; PIECE_BYTES];
    let wrong = |longer| Error::SourceSize { digest: blob.digest, expected: blob.size, longer };
    let mut read = |reading: &mut Reading, limit: usize| -> Result<Bytes, Error> {
        loop {
            match reading.source.read(&mut piece[..limit.min(PIECE_BYTES)]) {
                Ok(read) => {
                    reading.position += read as u64;
                    return Ok(Bytes::copy_from_slice(&piece[..read]));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Source { digest: blob.digest, source }),
            }
        }
    };
    while reading.position < part.end {
        let left = usize::try_from(part.end - reading.position).unwrap_or(PIECE_BYTES);
        let bytes = read(&mut reading, left)?;
        if bytes.is_empty() {
            return Err(wrong(false));
        }
        // The end is known before the last piece is passed on, so that a source that is too long is never sent as if it were whole.
        let last = reading.position == blob.size;
        if last && !read(&mut reading, 1)?.is_empty() {
            return Err(wrong(true));
        }
        let length = bytes.len() as u64;
        if reading.position == part.end {
            // Before the last piece is passed on, after which the next part may be asked for at once.
            *lock(&shared.open) = (part.end < blob.size).then_some(reading);
            if sender.blocking_send(Ok(bytes)).is_ok() {
                shared.sent.fetch_add(length, Ordering::Relaxed);
            }
            return Ok(());
        }
        if sender.blocking_send(Ok(bytes)).is_err() {
            // Nobody sends any more: that side knows why.
            return Ok(());
        }
        shared.sent.fetch_add(length, Ordering::Relaxed);
    }
    if blob.size == 0 && !read(&mut reading, 1)?.is_empty() {
        return Err(wrong(true));
    }
    Ok(())
}

/// The receiving end as something that can be read.
struct Pipe {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match ready!(self.receiver.poll_recv(context)) {
                Some(piece) => self.current = piece?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current.split_to(taken));
        Poll::Ready(Ok(()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that panics is done under this lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
