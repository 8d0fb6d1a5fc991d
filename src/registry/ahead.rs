//! A blob that is still being written → a registry, before anybody knows how it is called.
//!
//! A session is opened, and one request without a length follows the writer. The digest comes with the request that ends the session,
//! which is sent where the blob is pushed ([`super::upload`]). All of this only saves time: whatever goes wrong here is told to nobody, and
//! the blob is pushed as if nothing had been sent.
//! Source of truth: the distribution project's "HTTP API V2", "PATCH Blob Upload", "Stream upload", which Docker's engine pushes by;
//! distribution-spec 1.1, "Pushing a blob in chunks", for the ends of sessions.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lapstrake_cache::Digest;
use reqwest::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::body::{PIECE_BYTES, PIECES, Upload, streamed};
use super::client::{Ask, Client, Payload, Repeat};
use super::connect::Direction;
use super::endpoint::{Endpoint, push};
use super::profile::{Learnt, Profile};
use super::retry::{is_passing, is_transient};
use super::runtime::{LOOK, Runtime};
use super::upload::kept;
use super::{BlobSource, Registry, Streams};
use crate::event::Cancel;
use crate::image::Reference;

/// Where less than this is left to be sent, it is not asked whether the blob is there.
const WORTH_ASKING_BYTES: u64 = 4 << 20;

impl Registry {
    /// Begins to send a blob that is still being written to a repository. The source waits where the writer has not come to yet. `None`
    /// where the registry takes no such thing.
    ///
    /// Nothing is in the repository by that: [`Registry::push_blob`] of the blob goes on from here, once [`SentAhead::name`] has said what it is.
    #[must_use]
    pub fn send_ahead(&self, target: &Reference, source: Arc<dyn BlobSource + Send + Sync>) -> Option<SentAhead> {
        let client = Arc::clone(&self.client);
        let endpoint = Endpoint::of(&client.settings, target).ok()?;
        let profile = Profile::of(&endpoint.host, client.settings.host(&endpoint.registry), client.memory.learnt(&endpoint.registry));
        if profile.streams == Streams::Never {
            return None;
        }
        let stream = Arc::new(Stream {
            source,
            feed: Mutex::default(),
            taken: AtomicBool::new(false),
            stopped: Arc::default(),
            named: watch::Sender::new(None),
            state: watch::Sender::new(State::Opening),
        });
        let task = {
            let (client, endpoint, ending) = (Arc::clone(&client), endpoint.clone(), Ending(Arc::clone(&stream)));
            self.runtime.spawn(async move {
                let Ending(stream) = &ending;
                let endpoint = client.settle(endpoint).await;
                let end = send(&client, &endpoint, stream).await;
                stream.state.send_replace(end);
            })
        };
        Some(SentAhead { runtime: Arc::clone(&self.runtime), client, endpoint, stream, task })
    }
}

/// A blob on its way before it has a name. Dropped before it was pushed, it is given up, and the registry told so; that waits a little for
/// the registry's answer.
pub struct SentAhead {
    runtime: Arc<Runtime>,
    client: Arc<Client>,
    endpoint: Endpoint,
    stream: Arc<Stream>,
    task: Option<tokio::task::AbortHandle>,
}

impl std::fmt::Debug for SentAhead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SentAhead").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl SentAhead {
    /// The source is whole, and this is how it is called, and its size in bytes. Where the registry has it already, the rest is not sent.
    pub fn name(&self, digest: &Digest, size: u64) {
        self.stream.named.send_replace(Some((*digest, size)));
        lock(&self.client.ahead.0).insert(key(&self.endpoint, digest), Arc::clone(&self.stream));
    }
}

impl Drop for SentAhead {
    fn drop(&mut self) {
        if self.stream.taken.swap(true, Ordering::SeqCst) {
            return;
        }
        lock(&self.client.ahead.0).retain(|_, stream| !Arc::ptr_eq(stream, &self.stream));
        let (client, endpoint, stream, task) =
            (Arc::clone(&self.client), self.endpoint.clone(), Arc::clone(&self.stream), self.task.clone());
        let farewell = async move {
            // Nobody waits longer for a goodbye than for a greeting.
            let limit = client.settings.patience.connect;
            // A registry that is told in the middle of a request would make anew, at its end, what it was told to forget.
            stream.stopped.store(true, Ordering::SeqCst);
            let mut state = stream.state.subscribe();
            let _ = tokio::time::timeout(limit, state.wait_for(State::is_final)).await;
            if let Some(task) = task {
                task.abort();
            }
            let session = stream.state.borrow().session();
            if let Some(url) = session {
                let endpoint = client.settle(endpoint).await;
                // Nobody is told whether that went well: a registry forgets sessions by itself, too.
                let _ = tokio::time::timeout(limit, abandon(&client, &endpoint, url)).await;
            }
            Ok(())
        };
        let _ = self.runtime.wait(&Cancel::new(), farewell);
    }
}

/// Blobs that were sent ahead and have a name, by where they went and what they are.
#[derive(Default)]
pub(super) struct AllSentAhead(Mutex<BTreeMap<(String, String, Digest), Arc<Stream>>>);

fn key(endpoint: &Endpoint, digest: &Digest) -> (String, String, Digest) {
    (endpoint.registry.clone(), endpoint.repository.clone(), *digest)
}

/// A session to which everything was sent.
pub(super) struct Whole {
    pub(super) url: Url,
    /// Since when nothing comes any more.
    pub(super) since: Instant,
}

/// Takes over what was sent ahead of a blob that is pushed now, and waits until all of it is: the session that only has to be ended.
pub(super) async fn take_over(client: &Client, endpoint: &Endpoint, upload: &Upload) -> Option<Whole> {
    let stream = lock(&client.ahead.0).remove(&key(endpoint, &upload.descriptor.digest))?;
    if stream.taken.swap(true, Ordering::SeqCst) {
        return None;
    }
    let waiting = Waiting(&stream);
    let mut state = stream.state.subscribe();
    let end = loop {
        upload.note_sent(stream.sent());
        let now = state.borrow_and_update().clone();
        if now.is_final() {
            break now;
        }
        tokio::select! {
            changed = state.changed() => changed.ok()?,
            () = tokio::time::sleep(LOOK) => {}
        }
    };
    std::mem::forget(waiting);
    match end {
        State::Sent(url, since) if stream.sent() == upload.size() => Some(Whole { url, since }),
        State::Opening | State::Sending(_) | State::Refused(None) => None,
        // In a session that something went wrong in, more would go wrong than in one of its own.
        State::Sent(url, _) | State::Refused(Some(url)) => {
            upload.note_sent(0);
            let _ = tokio::time::timeout(client.settings.patience.connect, abandon(client, endpoint, url)).await;
            None
        }
    }
}

/// A push that waits; where it is stopped, what was sent ahead is given up by whoever began it.
struct Waiting<'a>(&'a Stream);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::SeqCst);
    }
}

/// Ends a session in which nothing is to come of what was sent.
pub(super) async fn abandon(client: &Client, endpoint: &Endpoint, url: Url) {
    let ask = ask(endpoint, Method::DELETE, url);
    // It makes no difference to anything that follows.
    let _ = client.send(endpoint, &ask).await;
}

/// What is sent ahead.
pub(super) struct Stream {
    source: Arc<dyn BlobSource + Send + Sync>,
    /// What sends it now.
    feed: Mutex<Arc<Feed>>,
    /// Whether somebody has begun to bring it to its end: a push, or who gives it up.
    taken: AtomicBool,
    /// Whether nothing more is to be sent.
    stopped: Arc<AtomicBool>,
    /// What it is, once that is known, and its size in bytes.
    named: watch::Sender<Option<(Digest, u64)>>,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone)]
enum State {
    /// There is no session yet.
    Opening,
    Sending(Url),
    /// All of it is there, since then.
    Sent(Url, Instant),
    /// Nothing is of any use. The session, where there is one.
    Refused(Option<Url>),
}

impl State {
    fn is_final(&self) -> bool {
        match self {
            State::Opening | State::Sending(_) => false,
            State::Sent(..) | State::Refused(_) => true,
        }
    }

    fn session(&self) -> Option<Url> {
        match self {
            State::Opening => None,
            State::Sending(url) | State::Sent(url, _) => Some(url.clone()),
            State::Refused(url) => url.clone(),
        }
    }
}

/// One reading of the source.
#[derive(Debug, Default)]
struct Feed {
    /// How many bytes have been taken.
    sent: AtomicU64,
    feeding: Mutex<Feeding>,
    /// Whether it ended before the source did.
    cut_short: AtomicBool,
}

/// What the thread that reads the source does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Feeding {
    /// It waits for the source.
    #[default]
    Waits,
    /// It waits for the registry to take something.
    Passes,
    Ended,
}

/// However a task ends, others see that it did.
struct Ending(Arc<Stream>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.state.send_if_modified(|state| {
            let session = match state {
                State::Opening => None,
                State::Sending(url) => Some(url.clone()),
                State::Sent(..) | State::Refused(_) => return false,
            };
            *state = State::Refused(session);
            true
        });
    }
}

impl Stream {
    fn feed(&self) -> Arc<Feed> {
        Arc::clone(&lock(&self.feed))
    }

    /// How many bytes have been taken.
    pub(super) fn sent(&self) -> u64 {
        self.feed().sent.load(Ordering::Relaxed)
    }

    /// Whether everything was given to the connection.
    pub(super) fn is_all_sent(&self) -> bool {
        *lock(&self.feed().feeding) == Feeding::Ended
    }

    /// Whether it is the source that there is nothing to send from.
    pub(super) fn waits(&self) -> bool {
        *lock(&self.feed().feeding) == Feeding::Waits
    }

    /// The body of a request that sends all of it.
    pub(super) fn body(&self) -> reqwest::Body {
        let (sender, receiver) = mpsc::channel(PIECES);
        let (source, feed, stopped) = (Arc::clone(&self.source), Arc::<Feed>::default(), Arc::clone(&self.stopped));
        *lock(&self.feed) = Arc::clone(&feed);
        tokio::task::spawn_blocking(move || {
            // The request ends all the same: nobody gives a name to what came of it.
            let is_whole = feed.pass(&*source, &sender, &stopped).unwrap_or(false);
            feed.cut_short.store(!is_whole, Ordering::SeqCst);
            *lock(&feed.feeding) = Feeding::Ended;
        });
        streamed(receiver)
    }

    /// Whether less was sent than there is.
    fn is_cut_short(&self) -> bool {
        self.feed().cut_short.load(Ordering::SeqCst)
    }
}

impl Feed {
    /// Passes a source on; whether all of it.
    fn pass(&self, source: &dyn BlobSource, sender: &mpsc::Sender<io::Result<Bytes>>, stopped: &AtomicBool) -> io::Result<bool> {
        let mut source = source.open()?;
        loop {
            *lock(&self.feeding) = Feeding::Waits;
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            source.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
            let length = piece.len() as u64;
            *lock(&self.feeding) = Feeding::Passes;
            if length == 0 {
                return Ok(true);
            }
            // Where nobody sends any more, that side knows why.
            if stopped.load(Ordering::SeqCst) || sender.blocking_send(Ok(piece.into())).is_err() {
                return Ok(false);
            }
            self.sent.fetch_add(length, Ordering::Relaxed);
        }
    }
}

fn ask(endpoint: &Endpoint, method: Method, url: Url) -> Ask {
    let doing = format!("sending a layer ahead to `{}`", endpoint.repository);
    Ask { repeat: Repeat::Never, ..Ask::new(method, url, push(&endpoint.repository), &doing) }
}

/// The address that an answer leads to; `from` where it names none, and `None` where we must not be led there.
fn led(endpoint: &Endpoint, from: &Url, response: &Response) -> Option<Url> {
    match response.headers().get(LOCATION) {
        Some(location) => endpoint.led_to(from, location.to_str().ok()?, "sending a layer ahead").ok(),
        None => Some(from.clone()),
    }
}

/// Sends what there is until its end.
async fn send(client: &Client, endpoint: &Endpoint, stream: &Arc<Stream>) -> State {
    // Nobody waits for this: blobs that are pushed go first.
    let Some(_permit) = client.connections.free_permit(&client.settings, &endpoint.registry, Direction::Up) else {
        return State::Refused(None);
    };
    let opening = ask(endpoint, Method::POST, endpoint.url("blobs/uploads/"));
    let url = match client.send(endpoint, &opening).await {
        Ok(answer) if answer.response.status() == StatusCode::ACCEPTED && answer.response.headers().contains_key(LOCATION) => {
            led(endpoint, &opening.url, &answer.response)
        }
        Ok(_) | Err(_) => None,
    };
    let Some(url) = url else { return State::Refused(None) };
    stream.state.send_replace(State::Sending(url.clone()));
    let mut sending = ask(endpoint, Method::PATCH, url.clone());
    sending.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    sending.payload = Payload::Stream(Arc::clone(stream));
    let mut answer = std::pin::pin!(client.send(endpoint, &sending));
    let answer = tokio::select! {
        answer = &mut answer => answer,
        () = is_there(client, endpoint, stream) => {
            stream.stopped.store(true, Ordering::SeqCst);
            match tokio::time::timeout(client.settings.patience.connect, answer).await {
                Ok(answer) => answer,
                Err(_) => return State::Refused(Some(url)),
            }
        }
    };
    let refuses = || client.memory.learn(&endpoint.registry, |learnt: Learnt| Learnt { no_streams: true, ..learnt });
    let answer = match answer {
        Ok(answer) => answer.response,
        Err(error) => {
            // A stream lasts as long as packing does. What cuts it, as proxies do after a time, cuts the next one too.
            if is_transient(&error) && stream.sent() > 0 {
                refuses();
            }
            return State::Refused(Some(url));
        }
    };
    match answer.status() {
        status if status.is_success() => match led(endpoint, &url, &answer) {
            None => State::Refused(Some(url)),
            // Who answers before the end has not heard all of it.
            Some(next) if !stream.is_all_sent() || stream.is_cut_short() => State::Refused(Some(next)),
            Some(next) if kept(answer.headers()).is_some_and(|kept| kept != stream.sent()) => {
                refuses();
                State::Refused(Some(next))
            }
            Some(next) => State::Sent(next, Instant::now()),
        },
        StatusCode::BAD_REQUEST
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::LENGTH_REQUIRED
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::RANGE_NOT_SATISFIABLE
        | StatusCode::NOT_IMPLEMENTED => {
            refuses();
            State::Refused(Some(url))
        }
        status if is_passing(status) => {
            refuses();
            State::Refused(Some(url))
        }
        _ => State::Refused(Some(url)),
    }
}

/// Ends when it turns out that the registry has what much of is still to be sent, and else never.
async fn is_there(client: &Client, endpoint: &Endpoint, stream: &Stream) {
    let mut named = stream.named.subscribe();
    let known = named.wait_for(Option::is_some).await.ok().and_then(|named| *named);
    if let Some((digest, size)) = known
        && size.saturating_sub(stream.sent()) > WORTH_ASKING_BYTES
        && !client.memory.is_doubted(endpoint)
    {
        let ask = ask(endpoint, Method::HEAD, endpoint.url(&format!("blobs/{digest}")));
        if client.send(endpoint, &ask).await.is_ok_and(|answer| answer.response.status() == StatusCode::OK) {
            return;
        }
    }
    std::future::pending().await
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that panics is done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
