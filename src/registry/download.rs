//! A descriptor → its bytes, checked while they pass.
//!
//! A broken transfer goes on where it stopped, with another server if there is one. No byte past the promised size is passed on, and the
//! end is only reported as such when the digest is right.
//! Source of truth: distribution-spec 1.1, "Pulling blobs".

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};

use bytes::{Buf, Bytes};
use lapstrake_cache::{Digest, Sha256};
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::Error;
use super::client::{Ask, Client, Repeat};
use super::connect::Direction;
use super::endpoint::{Endpoint, pull};
use super::retry::{is_damage, is_transient};
use super::runtime::{LOOK, Runtime, ended};
use crate::event::Cancel;
use crate::image::Descriptor;

/// How many pieces may wait to be read. They are at most some 100 KiB each.
const PIECES: usize = 32;

/// How much further an attempt must come to count as progress: a server that gives a byte at a time would keep us for ever.
const PROGRESS_BYTES: u64 = 64 << 10;

/// What the task says to the reader. The permit of a piece makes room for another when it is dropped.
pub(super) enum Message {
    Piece(Bytes, OwnedSemaphorePermit),
    /// All bytes came, from these hosts.
    End(Vec<String>),
    Failed(Error),
}

/// A blob on its way. Reading blocks; dropping it ends the transfer.
pub struct BlobReader {
    client: Arc<Client>,
    /// What is downloaded, for people.
    doing: String,
    digest: Digest,
    size: u64,
    received: u64,
    sha256: Sha256,
    /// What became of it, once all has come.
    ended: Option<End>,
    current: Bytes,
    messages: Receiver<Message>,
    task: Option<AbortHandle>,
    /// Keeps the threads alive that the bytes come from.
    _runtime: Arc<Runtime>,
    cancel: Cancel,
}

impl std::fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobReader").field("digest", &self.digest).field("received", &self.received).finish_non_exhaustive()
    }
}

impl BlobReader {
    pub(super) fn new(
        client: &Arc<Client>,
        named: &str,
        descriptor: &Descriptor,
        messages: Receiver<Message>,
        task: Option<AbortHandle>,
        runtime: &Arc<Runtime>,
        cancel: &Cancel,
    ) -> BlobReader {
        BlobReader {
            client: Arc::clone(client),
            doing: format!("pulling `{named}`"),
            digest: descriptor.digest,
            size: descriptor.size,
            received: 0,
            sha256: Sha256::new(),
            ended: None,
            current: Bytes::new(),
            messages,
            task,
            _runtime: Arc::clone(runtime),
            cancel: cancel.clone(),
        }
    }

    /// The next bytes; `None` once all have come and are right. What is wrong stays wrong, however often it is asked.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(end) = &self.ended {
            return self.told(end);
        }
        loop {
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match self.messages.recv_timeout(LOOK) {
                Ok(Message::Piece(bytes, _room)) => {
                    self.sha256.update(&bytes);
                    self.received += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Ok(Message::End(hosts)) => {
                    let end = self.end(hosts);
                    self.ended = Some(end.clone());
                    return self.told(&end);
                }
                Ok(Message::Failed(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
            }
        }
    }
}

/// What became of a blob that came.
#[derive(Clone)]
enum End {
    Right,
    /// It has other bytes; these hosts gave them.
    OtherBytes(Vec<String>, Digest),
    /// It has another size.
    OtherSize(Vec<String>),
}

impl BlobReader {
    /// Compares what came with what should have come.
    fn end(&self, hosts: Vec<String>) -> End {
        let actual = self.sha256.clone().finish();
        if actual != self.digest {
            for host in &hosts {
                self.client.memory.note_damage(host, &self.digest);
            }
            return End::OtherBytes(hosts, actual);
        }
        if self.received == self.size { End::Right } else { End::OtherSize(hosts) }
    }

    fn told(&self, end: &End) -> Result<Option<Bytes>, Error> {
        let named = |hosts: &[String]| (hosts.join("` and `"), self.doing.clone());
        match end {
            End::Right => Ok(None),
            End::OtherBytes(hosts, actual) => {
                let (host, doing) = named(hosts);
                Err(Error::DigestMismatch { host, doing, expected: self.digest, actual: *actual })
            }
            End::OtherSize(hosts) => {
                let (host, doing) = named(hosts);
                Err(Error::SizeMismatch { host, doing, digest: self.digest, expected: self.size, actual: self.received })
            }
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !buffer.is_empty() {
            match self.next().map_err(io::Error::other)? {
                Some(bytes) => self.current = bytes,
                None => return Ok(0),
            }
        }
        let taken = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}

impl Drop for BlobReader {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Downloads a blob into a channel.
pub(super) async fn download(
    client: Arc<Client>,
    endpoints: Vec<Endpoint>,
    named: String,
    descriptor: Descriptor,
    messages: Sender<Message>,
) {
    let room = Arc::new(Semaphore::new(PIECES));
    let mut transfer = Transfer { client: &client, descriptor: &descriptor, messages: &messages, room, offset: 0, permit: None };
    let end = match transfer.run(&endpoints, &named).await {
        Ok(hosts) => Message::End(hosts),
        Err(error) => Message::Failed(error),
    };
    // The reader may be gone.
    let _ = messages.send(end);
}

struct Transfer<'a> {
    client: &'a Client,
    descriptor: &'a Descriptor,
    messages: &'a Sender<Message>,
    room: Arc<Semaphore>,
    /// How many bytes have been passed on.
    offset: u64,
    /// Of the host that is being downloaded from. Whoever waits to be read gives it back: else those who are to be read first could wait
    /// for those who are read last.
    permit: Option<OwnedSemaphorePermit>,
}

/// Whether a server is asked for the part of a blob that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ranges {
    Asked,
    /// It gave another part than it was asked for: what we have is skipped.
    Skipped,
}

impl Transfer<'_> {
    /// Gives the hosts that the bytes came from.
    async fn run(&mut self, endpoints: &[Endpoint], named: &str) -> Result<Vec<String>, Error> {
        let mut failures = Vec::new();
        let mut hosts = Vec::new();
        for (place, endpoint) in endpoints.iter().enumerate() {
            let last = place + 1 == endpoints.len();
            if !last && (self.client.is_down(endpoint) || self.client.memory.is_damaged(&endpoint.host, &self.descriptor.digest)) {
                continue;
            }
            let endpoint = self.client.settle(endpoint.clone()).await;
            let before = self.offset;
            self.permit = Some(self.client.connections.permit(&self.client.settings, &endpoint.registry, Direction::Down).await?);
            let result = self.from(&endpoint, if last { Repeat::Patiently } else { Repeat::Briefly }).await;
            self.permit = None;
            if self.offset > before || result.is_ok() {
                hosts.push(endpoint.host.clone());
            }
            match result {
                Ok(()) => return Ok(hosts),
                Err(error) => {
                    self.client.note(&endpoint, &error);
                    failures.push(error);
                }
            }
        }
        match failures.pop() {
            Some(only) if failures.is_empty() => Err(only),
            last => {
                failures.extend(last);
                Err(Error::Nowhere { reference: named.to_owned(), failures })
            }
        }
    }

    /// Takes what is missing from one server, as long as each break comes after some progress or is one of few.
    async fn from(&mut self, endpoint: &Endpoint, repeat: Repeat) -> Result<(), Error> {
        let mut breaks = 0;
        let mut damages = 0;
        let mut ranges = Ranges::Asked;
        let step = PROGRESS_BYTES.min(self.descriptor.size / 128);
        loop {
            let before = self.offset;
            let error = match self.once(endpoint, repeat, ranges).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            breaks = if self.offset > before + step { 1 } else { breaks + 1 };
            if !is_transient(&error) {
                // It may have been damaged on its way; the bytes that were passed on are compared in the end.
                damages += 1;
                ranges = Ranges::Skipped;
            }
            if !(is_transient(&error) || is_damage(&error)) || damages > 1 || breaks >= self.client.settings.patience.attempts {
                return Err(error);
            }
            self.client.settings.patience.pause(breaks).await;
        }
    }

    async fn once(&mut self, endpoint: &Endpoint, repeat: Repeat, ranges: Ranges) -> Result<(), Error> {
        let Descriptor { digest, size, .. } = self.descriptor;
        let doing = format!("pulling `{digest}` of `{}`", endpoint.repository);
        let mut ask = Ask::new(Method::GET, endpoint.url(&format!("blobs/{digest}")), pull(&endpoint.repository), &doing);
        ask.repeat = repeat;
        let asked = self.offset > 0 && ranges == Ranges::Asked;
        if asked {
            let range = HeaderValue::try_from(format!("bytes={}-", self.offset)).map_err(|_| ended())?;
            ask.headers.insert(RANGE, range);
        }
        let answer = self.client.send(endpoint, &ask).await?;
        let host = endpoint.host.clone();
        let skip = match answer.response.status() {
            StatusCode::OK => self.offset,
            StatusCode::PARTIAL_CONTENT if asked && range_start(&answer.response) == Some(self.offset) => 0,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                return Err(Error::Protocol { host, doing: ask.doing, expected: "the range that was asked for" });
            }
            _ => return Err(self.client.refusal(&endpoint.host, &ask.doing, answer).await),
        };
        let mut response = answer.response;
        let start = self.offset - skip;
        if let Some(length) = response.content_length()
            && start.checked_add(length) != Some(*size)
        {
            let actual = start.saturating_add(length);
            return Err(Error::SizeMismatch { host, doing: ask.doing, digest: *digest, expected: *size, actual });
        }
        self.pass_on(&endpoint.host, &ask.doing, &mut response, skip).await
    }

    async fn pass_on(&mut self, host: &str, doing: &str, response: &mut Response, mut skip: u64) -> Result<(), Error> {
        let Descriptor { digest, size, .. } = self.descriptor;
        while let Some(mut bytes) = self.client.chunk(host, doing, response).await? {
            let skipped = skip.min(bytes.len() as u64);
            skip -= skipped;
            // Both are lengths of what is in memory.
            bytes.advance(usize::try_from(skipped).unwrap_or(bytes.len()));
            let after = self.offset.saturating_add(bytes.len() as u64);
            if after > *size {
                let (host, doing) = (host.to_owned(), doing.to_owned());
                return Err(Error::SizeMismatch { host, doing, digest: *digest, expected: *size, actual: after });
            }
            if bytes.is_empty() {
                continue;
            }
            let room = match Arc::clone(&self.room).try_acquire_owned() {
                Ok(room) => room,
                Err(_) => {
                    self.permit = None;
                    Arc::clone(&self.room).acquire_owned().await.map_err(|_| ended())?
                }
            };
            self.offset = after;
            if self.messages.send(Message::Piece(bytes, room)).is_err() {
                return Err(Error::Cancelled);
            }
        }
        if self.offset == *size {
            Ok(())
        } else {
            Err(Error::Broken {
                host: host.to_owned(),
                doing: doing.to_owned(),
                source: format!("it ended after {} of {size} bytes", self.offset).into(),
            })
        }
    }
}

/// Where a partial answer begins.
fn range_start(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
