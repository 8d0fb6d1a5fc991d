//! An address → the bytes behind it. No credentials are sent, whoever asks; whoever calls knows what the bytes must be and compares.
//!
//! What breaks off is gone on with: the server is asked for the rest of the same thing (`Range` with `If-Range`), or gives it anew from the
//! beginning, and then what was had must be the same again.
//! Source of truth: RFC 9110, sections 13.1.5 (`If-Range`), 14.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};

use bytes::{Buf, Bytes};
use lapstrake_cache::{Digest, Sha256};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::client::{Answer, Client, Payload};
use super::connect::Proof;
use super::endpoint::lead;
use super::error::Login;
use super::retry::{is_passing, is_transient, retry_after};
use super::runtime::{LOOK, ended};
use super::{Error, Registry};
use crate::event::Cancel;

/// How many redirects are followed.
const REDIRECTS: usize = 10;
/// How many pieces may wait to be written.
const PIECES: usize = 32;
/// More is not taken: the bytes are in the store before they can be compared.
const LIMIT_BYTES: u64 = 64 << 30;
/// How much further an attempt must come to count as progress.
const PROGRESS_BYTES: u64 = 64 << 10;

enum Message {
    Piece(Bytes, OwnedSemaphorePermit),
    End,
    Failed(Error),
}

impl Registry {
    /// Downloads what is behind an http or https address into a sink. `progress` gets the bytes done so far.
    ///
    /// # Errors
    ///
    /// When the address is none, the server does not give the bytes, or the sink fails; it has then got bytes that must not be believed.
    pub fn fetch(&self, address: &str, sink: &mut dyn Write, progress: &mut dyn FnMut(u64), cancel: &Cancel) -> Result<(), Error> {
        let bad = || Error::Settings { what: format!("`{address}` is no address: expected http:// or https://, a host and a path") };
        let url = Url::parse(address).map_err(|_| bad())?;
        let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")).ok_or_else(bad)?.to_owned();
        let (sender, receiver) = mpsc::channel();
        let client = Arc::clone(&self.client);
        let task = self.runtime.spawn(async move {
            let room = Arc::new(Semaphore::new(PIECES));
            let doing = format!("a download (`GET {}`)", url.path());
            let mut download = Download {
                client: &client,
                host,
                first: url,
                doing,
                messages: &sender,
                room,
                received: 0,
                sha256: Sha256::new(),
                tag: None,
            };
            let end = match download.run().await {
                Ok(()) => Message::End,
                Err(error) => Message::Failed(error),
            };
            // The reader may be gone.
            let _ = sender.send(end);
        });
        let mut done = 0;
        let result = loop {
            if cancel.is_cancelled() {
                break Err(Error::Cancelled);
            }
            match receiver.recv_timeout(LOOK) {
                Ok(Message::Piece(bytes, _room)) => {
                    if let Err(source) = sink.write_all(&bytes) {
                        break Err(Error::FetchSink { address: address.to_owned(), source });
                    }
                    done += bytes.len() as u64;
                    progress(done);
                }
                Ok(Message::End) => return Ok(()),
                Ok(Message::Failed(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break Err(ended()),
            }
        };
        if let Some(task) = task {
            task.abort();
        }
        result
    }
}

struct Download<'a> {
    client: &'a Client,
    host: String,
    first: Url,
    doing: String,
    messages: &'a Sender<Message>,
    room: Arc<Semaphore>,
    /// How many bytes have been passed on, and what they are.
    received: u64,
    sha256: Sha256,
    /// The strong tag of what they are the beginning of.
    tag: Option<HeaderValue>,
}

/// Where the bytes of an answer begin.
enum Begins {
    /// After those that we have.
    Where,
    /// At the first: those that we have come again.
    Anew,
}

impl Download<'_> {
    async fn run(&mut self) -> Result<(), Error> {
        let patience = self.client.settings.patience;
        let mut failures = 0;
        loop {
            let before = self.received;
            let error = match self.once(&mut failures).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            failures = if self.received > before + PROGRESS_BYTES { 1 } else { failures + 1 };
            if !is_transient(&error) || failures >= patience.attempts {
                return Err(error);
            }
            patience.pause(failures).await;
        }
    }

    async fn once(&mut self, failures: &mut u32) -> Result<(), Error> {
        let mut response = self.answered(failures).await?;
        let begins = match response.status() {
            StatusCode::PARTIAL_CONTENT if self.range_start(&response) == Some(self.received) => Begins::Where,
            StatusCode::PARTIAL_CONTENT => {
                self.tag = None;
                return Err(self.broken("it gave another range than it was asked for"));
            }
            _ => Begins::Anew,
        };
        if self.received == 0 {
            self.tag = strong_tag(response.headers());
        }
        let mut again = match begins {
            Begins::Where => None,
            Begins::Anew => Some((self.received, Sha256::new())).filter(|(left, _)| *left > 0),
        };
        let length = response.content_length();
        let start = if again.is_some() { 0 } else { self.received };
        let mut seen = start;
        while let Some(mut bytes) = self.client.chunk(&self.host, &self.doing, &mut response).await? {
            seen = seen.saturating_add(bytes.len() as u64);
            if let Some((mut left, mut sha256)) = again.take() {
                // Both are lengths of what is in memory.
                let skipped = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                sha256.update(&bytes[..skipped]);
                bytes.advance(skipped);
                left -= skipped as u64;
                if left > 0 {
                    again = Some((left, sha256));
                } else if sha256.finish() != self.passed_on() {
                    return Err(Error::Changed { host: self.host.clone(), doing: self.doing.clone() });
                }
            }
            if !bytes.is_empty() && !self.pass_on(bytes).await? {
                return Ok(());
            }
        }
        match length {
            Some(length) if start.checked_add(length) != Some(seen) => Err(self.broken("it ended before its end")),
            Some(_) | None if again.is_some() => Err(Error::Changed { host: self.host.clone(), doing: self.doing.clone() }),
            Some(_) | None => Ok(()),
        }
    }

    /// What has been passed on so far.
    fn passed_on(&self) -> Digest {
        self.sha256.clone().finish()
    }

    /// Whether there is somebody who takes the bytes.
    async fn pass_on(&mut self, bytes: Bytes) -> Result<bool, Error> {
        self.received = self.received.saturating_add(bytes.len() as u64);
        self.sha256.update(&bytes);
        if self.received > LIMIT_BYTES {
            return Err(Error::TooLarge { host: self.host.clone(), doing: self.doing.clone(), limit_bytes: LIMIT_BYTES });
        }
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else { return Err(ended()) };
        Ok(self.messages.send(Message::Piece(bytes, permit)).is_ok())
    }

    fn broken(&self, how: &str) -> Error {
        Error::Broken { host: self.host.clone(), doing: self.doing.clone(), source: how.into() }
    }

    fn range_start(&self, response: &Response) -> Option<u64> {
        let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
        range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
    }

    /// The answer with the bytes: asked for again where that may help.
    async fn answered(&self, failures: &mut u32) -> Result<Response, Error> {
        let patience = self.client.settings.patience;
        loop {
            let response = self.follow().await?;
            if response.status().is_success() {
                return Ok(response);
            }
            *failures += 1;
            let status = response.status();
            let wait = self.client.waits.after(&patience, &self.host, &self.doing, *failures, retry_after(response.headers()));
            match wait {
                Some(wait) if *failures < patience.attempts && is_passing(status) => tokio::time::sleep(wait).await,
                // A download has neither a name nor a tag to check, as what a registry lacks has.
                Some(_) | None if status == StatusCode::NOT_FOUND => {
                    let (host, doing) = (self.host.clone(), self.doing.clone());
                    return Err(Error::Refused { host, doing, status: 404, messages: Vec::new() });
                }
                Some(_) | None => {
                    let answer = Answer { response, login: Login::Nothing };
                    return Err(self.client.refusal(&self.host, &self.doing, answer).await);
                }
            }
        }
    }

    /// Along redirects that lead neither from https to http nor from afar to this machine.
    async fn follow(&self) -> Result<Response, Error> {
        let mut url = self.first.clone();
        for _ in 0..=REDIRECTS {
            // What is compared is what is sent.
            let mut request = self.client.request(Method::GET, url.clone(), Proof::Wanted)?.header(ACCEPT_ENCODING, "identity");
            if let Some(tag) = self.tag.as_ref().filter(|_| self.received > 0) {
                request = request.header(RANGE, format!("bytes={}-", self.received)).header(IF_RANGE, tag.clone());
            }
            let response = self.client.head(&self.host, &self.doing, request, &Payload::Nothing).await?;
            let location = response.headers().get(LOCATION).map(|location| String::from_utf8_lossy(location.as_bytes()).into_owned());
            let Some(location) = location.filter(|_| response.status().is_redirection()) else { return Ok(response) };
            url = lead(&url, &location, &self.host, &self.doing)?;
        }
        let (host, doing) = (self.host.clone(), self.doing.clone());
        Err(Error::Protocol { host, doing, expected: "an end to its redirects" })
    }
}

/// The tag of an answer by which its very bytes can be asked for again.
fn strong_tag(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")).cloned()
}
