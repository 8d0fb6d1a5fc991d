//! A blob's bytes → a registry, by the cheapest way there is: it has them, another repository of it has them, or they are sent.
//!
//! Sent is in one piece, with the length told beforehand: every registry takes that, and some take nothing else.
//! Source of truth: distribution-spec 1.1, "Pushing Blobs", "Mounting a blob from another repository".

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode, Url};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::client::{Ask, Client, Payload, Repeat, is_passing, is_transient};
use super::endpoint::{Endpoint, Scopes, pull, push};
use super::runtime::{Opener, Source};
use super::{Error, Pushed};
use crate::image::Descriptor;
use std::sync::Arc;

/// How many bytes are read at a time.
const PIECE_BYTES: usize = 128 << 10;

/// How many pieces wait to be sent.
const PIECES: usize = 4;

/// A blob that is to be sent, as often as need be.
pub(super) struct Upload {
    opener: Opener,
    descriptor: Descriptor,
    pub(super) size: u64,
    sent: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<Error>>>,
}

impl Upload {
    pub(super) fn new(opener: Opener, descriptor: Descriptor, sent: Arc<AtomicU64>) -> Upload {
        Upload { opener, size: descriptor.size, descriptor, sent, failure: Arc::default() }
    }

    /// How many bytes of the current attempt have been taken.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// What was wrong with the source, if that is why sending failed.
    pub(super) fn take_failure(&self) -> Option<Error> {
        lock(&self.failure).take()
    }

    /// Opens the source and reads it on a thread of its own.
    pub(super) async fn body(&self) -> Result<reqwest::Body, Error> {
        self.sent.store(0, Ordering::Relaxed);
        let digest = self.descriptor.digest;
        let source = self.opener.open().await.map_err(|source| Error::Source { digest, source })?;
        let (sender, receiver) = mpsc::channel(PIECES);
        let (sent, failure, size) = (Arc::clone(&self.sent), Arc::clone(&self.failure), self.size);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = feed(source, size, &sender, &sent, digest) {
                *lock(&failure) = Some(error);
                // The request must not end as if all had been sent.
                let _ = sender.blocking_send(Err(io::ErrorKind::InvalidData.into()));
            }
        });
        Ok(reqwest::Body::wrap_stream(ReaderStream::with_capacity(Pipe { receiver, current: Bytes::new() }, PIECE_BYTES)))
    }
}

/// Reads exactly `size` bytes into the channel.
fn feed(
    mut source: Source,
    size: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
    sent: &AtomicU64,
    digest: lapstrake_cache::Digest,
) -> Result<(), Error> {
    let mut left = size;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = match source.read(&mut piece) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(Error::Source { digest, source }),
        };
        if read as u64 > left || (read == 0 && left > 0) {
            return Err(Error::SourceSize { digest, expected: size, longer: read > 0 });
        }
        if read == 0 {
            return Ok(());
        }
        left -= read as u64;
        if sender.blocking_send(Ok(Bytes::copy_from_slice(&piece[..read]))).is_err() {
            // Nobody sends any more: that side knows why.
            return Ok(());
        }
        sent.fetch_add(read as u64, Ordering::Relaxed);
    }
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

/// Brings a blob to a repository.
pub(super) async fn push_blob(client: &Client, endpoint: &Endpoint, mounts: &[String], upload: &Arc<Upload>) -> Result<Pushed, Error> {
    let mut failures = 0;
    loop {
        if exists(client, endpoint, upload).await? {
            // After a failure the registry may have it all the same: the answer alone was lost.
            return Ok(if failures == 0 { Pushed::Existed } else { Pushed::Uploaded });
        }
        let session = match begin(client, endpoint, if failures == 0 { mounts } else { &[] }, upload).await? {
            Session::Mounted => return Ok(Pushed::Mounted),
            Session::Open(session) => session,
        };
        let (error, again) = match finish(client, endpoint, session, upload).await {
            Ok(()) => return Ok(Pushed::Uploaded),
            Err(failed) => failed,
        };
        failures += 1;
        if !again || failures >= client.settings.patience.attempts {
            return Err(error);
        }
        tokio::time::sleep(client.settings.patience.wait(failures, None)).await;
    }
}

fn ask(endpoint: &Endpoint, method: Method, url: Url, upload: &Upload) -> Ask {
    Ask {
        method,
        url,
        headers: HeaderMap::new(),
        scopes: Scopes::from([push(&endpoint.repository)]),
        payload: Payload::Nothing,
        repeat: Repeat::Patiently,
        doing: format!("pushing `{}` to `{}`", upload.descriptor.digest, endpoint.repository),
    }
}

async fn exists(client: &Client, endpoint: &Endpoint, upload: &Upload) -> Result<bool, Error> {
    let url = endpoint.url(&format!("blobs/{}", upload.descriptor.digest));
    let ask = ask(endpoint, Method::HEAD, url, upload);
    let answer = client.send(endpoint, &ask).await?;
    match answer.response.status() {
        StatusCode::OK => Ok(true),
        StatusCode::NOT_FOUND => Ok(false),
        _ => Err(client.refusal(&endpoint.host, &ask.doing, answer).await),
    }
}

enum Session {
    Mounted,
    Open(Url),
}

/// Opens a session, unless the blob could be mounted from another repository.
async fn begin(client: &Client, endpoint: &Endpoint, mounts: &[String], upload: &Upload) -> Result<Session, Error> {
    let mut open = None;
    for from in mounts {
        let mut url = endpoint.url("blobs/uploads/");
        url.query_pairs_mut().append_pair("mount", &upload.descriptor.digest.to_string()).append_pair("from", from);
        let mut ask = ask(endpoint, Method::POST, url, upload);
        ask.scopes.insert(pull(from));
        let answer = match client.send(endpoint, &ask).await {
            Ok(answer) => answer,
            // A token server may refuse the whole token for want of access to the other repository.
            Err(Error::Unauthorized { .. } | Error::Denied { .. } | Error::Refused { .. } | Error::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        match answer.response.status() {
            StatusCode::CREATED => return Ok(Session::Mounted),
            StatusCode::ACCEPTED => open = Some(location(endpoint, &ask, &answer.response)?),
            // A mount is a wish.
            _ => {}
        }
    }
    if let Some(session) = open {
        return Ok(Session::Open(session));
    }
    let ask = ask(endpoint, Method::POST, endpoint.url("blobs/uploads/"), upload);
    let answer = client.send(endpoint, &ask).await?;
    match answer.response.status() {
        StatusCode::ACCEPTED => Ok(Session::Open(location(endpoint, &ask, &answer.response)?)),
        _ => Err(client.refusal(&endpoint.host, &ask.doing, answer).await),
    }
}

fn location(endpoint: &Endpoint, ask: &Ask, response: &reqwest::Response) -> Result<Url, Error> {
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok()).ok_or_else(|| Error::Protocol {
        host: endpoint.host.clone(),
        doing: ask.doing.clone(),
        expected: "a `Location` to upload to",
    })?;
    endpoint.led_to(&ask.url, location, &ask.doing)
}

/// Sends the bytes and ends the session. The error says whether a new session may help.
async fn finish(client: &Client, endpoint: &Endpoint, session: Url, upload: &Arc<Upload>) -> Result<(), (Error, bool)> {
    let mut url = session;
    url.query_pairs_mut().append_pair("digest", &upload.descriptor.digest.to_string());
    let mut ask = ask(endpoint, Method::PUT, url, upload);
    ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    ask.payload = Payload::Stream(Arc::clone(upload));
    ask.repeat = Repeat::Never;
    let answer = match client.send(endpoint, &ask).await {
        Ok(answer) => answer,
        Err(error) => {
            let again = is_transient(&error);
            return Err((error, again));
        }
    };
    let status = answer.response.status();
    if status.is_success() {
        return Ok(());
    }
    // 404 and 416: the session is lost, by a restart or a second server that does not know it.
    let again = is_passing(status) || matches!(status, StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE);
    Err((client.refusal(&endpoint.host, &ask.doing, answer).await, again))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that panics is done under this lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
