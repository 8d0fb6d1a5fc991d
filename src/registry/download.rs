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
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::Error;
use super::client::{Ask, Client, Payload, Repeat, is_transient};
use super::endpoint::{Endpoint, Scopes, pull};
use super::runtime::{LOOK, Runtime, ended};
use crate::event::Cancel;
use crate::image::Descriptor;

/// How many pieces may wait to be read. They are at most some 100 KiB each.
const PIECES: usize = 32;

/// What the task says to the reader. The permit of a piece makes room for another when it is dropped.
pub(super) enum Message {
    Piece(Bytes, OwnedSemaphorePermit),
    /// All bytes came from this host, or from this one last.
    End(String),
    Failed(Error),
}

/// A blob on its way. Reading blocks; dropping it ends the transfer.
pub struct BlobReader {
    digest: Digest,
    size: u64,
    received: u64,
    sha256: Option<Sha256>,
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
        descriptor: &Descriptor,
        messages: Receiver<Message>,
        task: Option<AbortHandle>,
        runtime: &Arc<Runtime>,
        cancel: &Cancel,
    ) -> BlobReader {
        BlobReader {
            digest: descriptor.digest,
            size: descriptor.size,
            received: 0,
            sha256: Some(Sha256::new()),
            current: Bytes::new(),
            messages,
            task,
            _runtime: Arc::clone(runtime),
            cancel: cancel.clone(),
        }
    }

    /// The next bytes; `None` once all have come and are right.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.sha256.is_none() {
            return Ok(None);
        }
        loop {
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match self.messages.recv_timeout(LOOK) {
                Ok(Message::Piece(bytes, _room)) => {
                    if let Some(sha256) = &mut self.sha256 {
                        sha256.update(&bytes);
                    }
                    self.received += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Ok(Message::End(host)) => {
                    let actual = self.sha256.take().map(Sha256::finish);
                    return match actual {
                        Some(actual) if actual != self.digest => Err(Error::DigestMismatch { host, expected: self.digest, actual }),
                        Some(_) | None if self.received != self.size => {
                            Err(Error::SizeMismatch { host, digest: self.digest, expected: self.size, actual: self.received })
                        }
                        Some(_) | None => Ok(None),
                    };
                }
                Ok(Message::Failed(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
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
    let transfer = Transfer { client: &client, descriptor: &descriptor, messages: &messages, room: Arc::new(Semaphore::new(PIECES)) };
    let end = match transfer.run(&endpoints, &named).await {
        Ok(host) => Message::End(host),
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
}

impl Transfer<'_> {
    async fn run(&self, endpoints: &[Endpoint], named: &str) -> Result<String, Error> {
        let mut offset = 0;
        let mut failures = Vec::new();
        for (place, endpoint) in endpoints.iter().enumerate() {
            let last = place + 1 == endpoints.len();
            if !last && self.client.is_down(endpoint) {
                continue;
            }
            match self.from(endpoint, if last { Repeat::Patiently } else { Repeat::Briefly }, &mut offset).await {
                Ok(()) => return Ok(endpoint.host.clone()),
                Err(error) => {
                    self.client.note(endpoint, &error);
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
    async fn from(&self, endpoint: &Endpoint, repeat: Repeat, offset: &mut u64) -> Result<(), Error> {
        let mut breaks = 0;
        loop {
            let before = *offset;
            let error = match self.once(endpoint, repeat, offset).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            breaks = if *offset > before { 1 } else { breaks + 1 };
            // A server that gives a byte at a time would keep us for ever.
            let slow = *offset < self.descriptor.size && (*offset - before) < (64 << 10) && breaks > 1;
            if !is_transient(&error) || slow || breaks >= self.client.settings.patience.attempts {
                return Err(error);
            }
            tokio::time::sleep(self.client.settings.patience.wait(breaks, None)).await;
        }
    }

    async fn once(&self, endpoint: &Endpoint, repeat: Repeat, offset: &mut u64) -> Result<(), Error> {
        let Descriptor { digest, size, .. } = self.descriptor;
        let mut headers = HeaderMap::new();
        if *offset > 0 {
            let range = HeaderValue::try_from(format!("bytes={offset}-")).map_err(|_| ended())?;
            headers.insert(RANGE, range);
        }
        let ask = Ask {
            method: Method::GET,
            url: endpoint.url(&format!("blobs/{digest}")),
            headers,
            scopes: Scopes::from([pull(&endpoint.repository)]),
            payload: Payload::Nothing,
            repeat,
            doing: format!("pulling `{digest}` of `{}`", endpoint.repository),
        };
        let answer = self.client.send(endpoint, &ask).await?;
        let skip = match answer.response.status() {
            StatusCode::OK => *offset,
            StatusCode::PARTIAL_CONTENT if range_start(&answer.response) == Some(*offset) => 0,
            StatusCode::PARTIAL_CONTENT => {
                return Err(Error::Protocol { host: endpoint.host.clone(), doing: ask.doing, expected: "the range that was asked for" });
            }
            _ => return Err(self.client.refusal(&endpoint.host, &ask.doing, answer).await),
        };
        let mut response = answer.response;
        let mismatch = |actual| Error::SizeMismatch { host: endpoint.host.clone(), digest: *digest, expected: *size, actual };
        let start = *offset - skip;
        if let Some(length) = response.content_length()
            && start.checked_add(length) != Some(*size)
        {
            return Err(mismatch(start.saturating_add(length)));
        }
        self.pass_on(endpoint, &ask.doing, &mut response, skip, offset).await
    }

    async fn pass_on(
        &self,
        endpoint: &Endpoint,
        doing: &str,
        response: &mut Response,
        mut skip: u64,
        offset: &mut u64,
    ) -> Result<(), Error> {
        let Descriptor { digest, size, .. } = self.descriptor;
        while let Some(mut bytes) = self.client.chunk(&endpoint.host, doing, response).await? {
            let skipped = skip.min(bytes.len() as u64);
            skip -= skipped;
            // Both are lengths of what is in memory.
            bytes.advance(usize::try_from(skipped).unwrap_or(bytes.len()));
            let after = offset.saturating_add(bytes.len() as u64);
            if after > *size {
                return Err(Error::SizeMismatch { host: endpoint.host.clone(), digest: *digest, expected: *size, actual: after });
            }
            if bytes.is_empty() {
                continue;
            }
            let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| ended())?;
            *offset = after;
            if self.messages.send(Message::Piece(bytes, room)).is_err() {
                return Err(Error::Cancelled);
            }
        }
        if *offset == *size {
            Ok(())
        } else {
            Err(Error::Broken {
                host: endpoint.host.clone(),
                doing: doing.to_owned(),
                source: format!("it ended after {offset} of {size} bytes").into(),
            })
        }
    }
}

/// Where a partial answer begins.
fn range_start(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
