//! A blob's bytes → a registry, by the cheapest way there is: it has them, another repository of it has them, or they are sent.
//!
//! Sent is in one piece, with the length told beforehand: every registry takes that, and some take nothing else. When that breaks off, the
//! registry is asked how much it kept, and the rest goes in chunks, of which a further break costs one at most. Where a blob was half
//! sent to is remembered, in this process and for the next.
//! Source of truth: distribution-spec 1.1, "Pushing blobs", "Pushing a blob in chunks", "Mounting a blob from another repository".

use std::ops::Range;
use std::sync::Arc;

use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use super::ahead::{self, Whole};
use super::body::Upload;
use super::client::{Ask, Client, Payload, Repeat};
use super::connect::Direction;
use super::endpoint::{Endpoint, pull, push};
use super::memory::Claim;
use super::profile::{Learnt, Profile};
use super::retry::{is_passing, is_transient};
use super::{Chunks, Error, Mounts, Pushed, Uploads};

/// Blobs below this are not worth remembering where they were half sent to.
const MEMORABLE_BYTES: u64 = 1 << 20;

/// How much further an attempt must come to count as progress.
const PROGRESS_BYTES: u64 = 64 << 10;

/// The header in which a registry says how small chunks may be.
const CHUNK_MIN_LENGTH: &str = "oci-chunk-min-length";

/// Brings a blob to a repository.
pub(super) async fn push_blob(client: &Client, endpoint: &Endpoint, mounts: &[String], upload: &Arc<Upload>) -> Result<Pushed, Error> {
    // Before it counts as one of those that are on their way, as it does already.
    let ahead = ahead::take_over(client, endpoint, upload).await;
    let _permit = client.connections.permit(&client.settings, &endpoint.registry, Direction::Up).await?;
    let claim = (upload.size() >= MEMORABLE_BYTES).then(|| client.memory.claim(endpoint, &upload.descriptor.digest));
    let mut push = Push { client, endpoint, upload, claim, chunk_min: 0 };
    let result = push.run(mounts, ahead).await;
    // What cannot be sent on would only be asked about in vain.
    let done = match &result {
        Ok(_) => true,
        Err(error) => !is_transient(error) && !matches!(error, Error::Cancelled),
    };
    if let Some(claim) = push.claim.as_mut().filter(|_| done) {
        claim.forget();
    }
    result
}

struct Push<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
    upload: &'a Arc<Upload>,
    claim: Option<Claim>,
    /// The least that the registry takes as a chunk.
    chunk_min: u64,
}

/// An upload session, and how much the registry has of the blob.
struct Session {
    url: Url,
    offset: u64,
    /// Whether it was begun by an earlier attempt, so that what it holds may be wrong.
    resumed: bool,
}

enum Begun {
    Mounted,
    /// It was sent with the request that would have opened a session.
    Sent,
    Open(Session),
}

/// Why a blob was not taken, and what may help.
struct Failed {
    error: Box<Error>,
    then: Then,
    /// How much the registry was known to have.
    reached: u64,
}

enum Then {
    GiveUp,
    /// Another session.
    Anew,
    /// The same session, where it stands.
    Resume(Url),
}

impl Push<'_> {
    async fn run(&mut self, mounts: &[String], ahead: Option<Whole>) -> Result<Pushed, Error> {
        let mut left = self.claim.as_mut().and_then(Claim::left);
        let was_sent = ahead.is_some();
        if let Some(whole) = ahead {
            match self.end(whole).await {
                Ok(()) => return Ok(Pushed::Uploaded),
                Err(url) => left = url.or(left),
            }
        }
        let mut failures = 0;
        let mut reached = 0;
        let mut first = true;
        loop {
            if !self.client.memory.is_doubted(self.endpoint) && self.exists().await? {
                // After a failure the registry may have it all the same: the answer alone was lost.
                return Ok(if first && !was_sent { Pushed::Existed } else { Pushed::Uploaded });
            }
            let failed = match self.attempt(left.take(), if first { mounts } else { &[] }).await {
                Ok(pushed) => return Ok(pushed),
                Err(failed) => failed,
            };
            first = false;
            let step = PROGRESS_BYTES.min(self.upload.size() / 128);
            failures = if failed.reached > reached.max(1) + step { 1 } else { failures + 1 };
            reached = reached.max(failed.reached);
            if failures >= self.client.settings.patience.attempts {
                return Err(*failed.error);
            }
            left = match failed.then {
                Then::GiveUp => return Err(*failed.error),
                Then::Anew => {
                    self.forget();
                    None
                }
                Then::Resume(url) => Some(url),
            };
            self.client.settings.patience.pause(failures).await;
        }
    }

    /// Ends a session to which everything was sent ahead. Where that fails, everything goes on as if it had not been, in that session where it is of
    /// use.
    async fn end(&mut self, Whole { url, since }: Whole) -> Result<(), Option<Url>> {
        self.remember(&url);
        let has_waited = since.elapsed() > self.client.settings.patience.stall;
        let session = Session { url: url.clone(), offset: self.upload.size(), resumed: true };
        let Err(failed) = self.chunks(session, 1).await else { return Ok(()) };
        match failed.then {
            Then::Resume(url) => Err(Some(url)),
            Then::Anew | Then::GiveUp => {
                // A session may be lost and a login end; what is refused as it is will be refused again, unless it had waited for steps of the
                // build for so long that the registry had given it up.
                if matches!(*failed.error, Error::Refused { .. }) && !has_waited {
                    self.learn(|learnt| Learnt { no_streams: true, ..learnt });
                }
                self.forget();
                ahead::abandon(self.client, self.endpoint, url).await;
                Err(None)
            }
        }
    }

    async fn attempt(&mut self, left: Option<Url>, mounts: &[String]) -> Result<Pushed, Failed> {
        let resumed = match left {
            Some(url) => self.status(url).await?,
            None => None,
        };
        let session = match resumed {
            Some(session) => session,
            None => match self.begin(mounts).await? {
                Begun::Mounted => return Ok(Pushed::Mounted),
                Begun::Sent => return Ok(Pushed::Uploaded),
                Begun::Open(session) => session,
            },
        };
        self.remember(&session.url);
        let profile = self.profile();
        let in_chunks = profile.uploads == Uploads::Chunked || session.offset > 0;
        match profile.chunks {
            Chunks::Of { bytes } if in_chunks => self.chunks(session, bytes).await?,
            // A session is only taken up again where chunks are taken.
            Chunks::Of { .. } | Chunks::Refused => self.whole(session).await?,
        }
        Ok(Pushed::Uploaded)
    }

    fn profile(&self) -> Profile {
        Profile::of(
            &self.endpoint.host,
            self.client.settings.host(&self.endpoint.registry),
            self.client.memory.learnt(&self.endpoint.registry),
        )
    }

    fn learn(&self, change: impl FnOnce(Learnt) -> Learnt) {
        self.client.memory.learn(&self.endpoint.registry, change);
    }

    fn remember(&mut self, url: &Url) {
        if let Some(claim) = &mut self.claim {
            claim.remember(url);
        }
    }

    fn forget(&mut self) {
        if let Some(claim) = &mut self.claim {
            claim.forget();
        }
    }

    fn ask(&self, method: Method, url: Url) -> Ask {
        let doing = format!("pushing `{}` to `{}`", self.upload.descriptor.digest, self.endpoint.repository);
        Ask::new(method, url, push(&self.endpoint.repository), &doing)
    }

    /// A request that carries bytes of the blob.
    fn ask_with(&self, method: Method, url: Url, part: Range<u64>) -> Ask {
        let mut ask = self.ask(method, url);
        ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        ask.payload = Payload::Part(Arc::clone(self.upload), part);
        ask.repeat = Repeat::Never;
        ask
    }

    fn failed(&self, error: Error, then: Then, reached: u64) -> Failed {
        Failed { error: Box::new(error), then, reached }
    }

    fn protocol(&self, expected: &'static str) -> Error {
        let doing = self.ask(Method::PATCH, self.endpoint.url("blobs/uploads/")).doing;
        Error::Protocol { host: self.endpoint.host.clone(), doing, expected }
    }

    async fn exists(&self) -> Result<bool, Error> {
        let ask = self.ask(Method::HEAD, self.endpoint.url(&format!("blobs/{}", self.upload.descriptor.digest)));
        let answer = self.client.send(self.endpoint, &ask).await?;
        match answer.response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.client.refusal(&self.endpoint.host, &ask.doing, answer).await),
        }
    }

    /// Opens a session, unless the blob could be mounted from another repository or goes with the request itself.
    async fn begin(&mut self, mounts: &[String]) -> Result<Begun, Failed> {
        let profile = self.profile();
        let wishes: Vec<Option<&str>> = match profile.mounts {
            Mounts::Never => Vec::new(),
            Mounts::Anywhere if mounts.is_empty() => vec![None],
            Mounts::From | Mounts::Anywhere => mounts.iter().map(|from| Some(from.as_str())).collect(),
        };
        let mut open = None;
        for from in wishes {
            match self.mount(from).await? {
                Some(Begun::Open(session)) => open = Some(session),
                Some(begun) => return Ok(begun),
                None => {}
            }
        }
        if let Some(session) = open {
            return Ok(Begun::Open(session));
        }
        let mut url = self.endpoint.url("blobs/uploads/");
        let single = profile.uploads == Uploads::SinglePost;
        let ask = if single {
            url.query_pairs_mut().append_pair("digest", &self.upload.descriptor.digest.to_string());
            self.ask_with(Method::POST, url, 0..self.upload.size())
        } else {
            self.ask(Method::POST, url)
        };
        let answer = match self.client.send(self.endpoint, &ask).await {
            Ok(answer) => answer,
            Err(error) => {
                let then = if is_transient(&error) { Then::Anew } else { Then::GiveUp };
                return Err(self.failed(error, then, 0));
            }
        };
        match answer.response.status() {
            StatusCode::CREATED if single => Ok(Begun::Sent),
            StatusCode::ACCEPTED => self.opened(&ask, &answer.response).map(Begun::Open),
            status => {
                let then = if is_passing(status) { Then::Anew } else { Then::GiveUp };
                Err(self.failed(self.client.refusal(&self.endpoint.host, &ask.doing, answer).await, then, 0))
            }
        }
    }

    /// Wishes for a mount. `None` where that came to nothing.
    async fn mount(&mut self, from: Option<&str>) -> Result<Option<Begun>, Failed> {
        let mut url = self.endpoint.url("blobs/uploads/");
        url.query_pairs_mut().append_pair("mount", &self.upload.descriptor.digest.to_string());
        if let Some(from) = from {
            url.query_pairs_mut().append_pair("from", from);
        }
        let mut ask = self.ask(Method::POST, url);
        ask.scopes.extend(from.map(pull));
        let answer = match self.client.send(self.endpoint, &ask).await {
            Ok(answer) => answer,
            // A token server may refuse the whole token for want of access to the other repository.
            Err(Error::Unauthorized { .. } | Error::Denied { .. } | Error::Refused { .. } | Error::NotFound { .. }) => return Ok(None),
            Err(error) => {
                let then = if is_transient(&error) { Then::Anew } else { Then::GiveUp };
                return Err(self.failed(error, then, 0));
            }
        };
        match answer.response.status() {
            StatusCode::CREATED => Ok(Some(Begun::Mounted)),
            StatusCode::ACCEPTED => self.opened(&ask, &answer.response).map(|session| Some(Begun::Open(session))),
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                self.learn(|learnt| Learnt { no_mounts: true, ..learnt });
                Ok(None)
            }
            // A mount is a wish.
            _ => Ok(None),
        }
    }

    /// The session that an answer opens.
    fn opened(&mut self, ask: &Ask, response: &Response) -> Result<Session, Failed> {
        self.chunk_min = length(response.headers(), CHUNK_MIN_LENGTH).unwrap_or(0);
        match self.location(&ask.url, response) {
            Ok(Some(url)) => Ok(Session { url, offset: 0, resumed: false }),
            Ok(None) => Err(self.failed(self.protocol("a `Location` to upload to"), Then::Anew, 0)),
            Err(error) => Err(self.failed(error, Then::GiveUp, 0)),
        }
    }

    fn location(&self, from: &Url, response: &Response) -> Result<Option<Url>, Error> {
        let Some(location) = response.headers().get(LOCATION).and_then(|location| location.to_str().ok()) else { return Ok(None) };
        let doing = self.ask(Method::POST, self.endpoint.url("blobs/uploads/")).doing;
        self.endpoint.led_to(from, location, &doing).map(Some)
    }

    /// Asks how much a session has. `None` where it is lost, or has nothing that is worth going on with.
    async fn status(&mut self, url: Url) -> Result<Option<Session>, Failed> {
        let chunk = match self.profile().chunks {
            Chunks::Of { bytes } => bytes,
            Chunks::Refused => return Ok(None),
        };
        let ask = self.ask(Method::GET, url);
        let answer = match self.client.send(self.endpoint, &ask).await {
            Ok(answer) => answer,
            Err(error) => {
                let then = if is_transient(&error) { Then::Resume(ask.url) } else { Then::Anew };
                return Err(self.failed(error, then, 0));
            }
        };
        if !answer.response.status().is_success() {
            return Ok(None);
        }
        let Ok(location) = self.location(&ask.url, &answer.response) else { return Ok(None) };
        let url = location.unwrap_or(ask.url);
        match kept(answer.response.headers()) {
            Some(offset) if offset > 0 && offset <= self.upload.size() => Ok(Some(Session { url, offset, resumed: true })),
            // Nothing is kept of requests that break, so that they should be small.
            Some(0) if self.upload.sent() > chunk => {
                self.learn(|learnt| Learnt { chunked: true, ..learnt });
                Ok(None)
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Sends all bytes in the request that ends the session.
    async fn whole(&mut self, session: Session) -> Result<(), Failed> {
        let size = self.upload.size();
        let ask = self.ask_with(Method::PUT, self.ending(&session.url), 0..size);
        let answer = match self.client.send(self.endpoint, &ask).await {
            Ok(answer) => answer,
            Err(error) => {
                let then = if is_transient(&error) { Then::Resume(session.url) } else { Then::GiveUp };
                return Err(self.failed(error, then, 0));
            }
        };
        let status = answer.response.status();
        if status.is_success() {
            return Ok(());
        }
        let then = match status {
            StatusCode::PAYLOAD_TOO_LARGE => match self.profile().chunks {
                Chunks::Of { bytes } => {
                    let bytes = bytes.min(size / 2).max(1);
                    self.learn(|learnt| Learnt { chunked: true, chunk_bytes: Some(bytes), ..learnt });
                    Then::Anew
                }
                Chunks::Refused => Then::GiveUp,
            },
            // The session is lost, by a restart or a second server that does not know it.
            StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE => Then::Anew,
            status if is_passing(status) => Then::Resume(session.url),
            _ => Then::GiveUp,
        };
        Err(self.failed(self.client.refusal(&self.endpoint.host, &ask.doing, answer).await, then, 0))
    }

    /// Sends what is missing in chunks, and ends the session.
    async fn chunks(&mut self, mut session: Session, bytes: u64) -> Result<(), Failed> {
        let size = self.upload.size();
        while session.offset < size {
            let end = session.offset.saturating_add(bytes.max(self.chunk_min)).min(size);
            self.chunk(&mut session, end).await?;
        }
        let mut ask = self.ask(Method::PUT, self.ending(&session.url));
        ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        ask.repeat = Repeat::Never;
        let answer = match self.client.send(self.endpoint, &ask).await {
            Ok(answer) => answer,
            Err(error) => {
                let then = if is_transient(&error) { Then::Resume(session.url) } else { Then::GiveUp };
                return Err(self.failed(error, then, size));
            }
        };
        let status = answer.response.status();
        if status.is_success() {
            return Ok(());
        }
        let then = match status {
            StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE => Then::Anew,
            // What an earlier attempt left there may have been something else.
            StatusCode::BAD_REQUEST if session.resumed => Then::Anew,
            status if is_passing(status) => Then::Resume(session.url),
            _ => Then::GiveUp,
        };
        Err(self.failed(self.client.refusal(&self.endpoint.host, &ask.doing, answer).await, then, size))
    }

    /// Sends one chunk and believes the registry about how much of it it took.
    async fn chunk(&mut self, session: &mut Session, end: u64) -> Result<(), Failed> {
        let start = session.offset;
        let mut ask = self.ask_with(Method::PATCH, session.url.clone(), start..end);
        // Not as RFC 9110 has it: without unit and size.
        let range = HeaderValue::try_from(format!("{start}-{}", end - 1));
        ask.headers.extend(range.into_iter().map(|range| (CONTENT_RANGE, range)));
        let answer = match self.client.send(self.endpoint, &ask).await {
            Ok(answer) => answer,
            Err(error) => {
                let then = if is_transient(&error) { Then::Resume(session.url.clone()) } else { Then::GiveUp };
                return Err(self.failed(error, then, start));
            }
        };
        let status = answer.response.status();
        if status.is_success() {
            match self.location(&ask.url, &answer.response) {
                Ok(Some(url)) => session.url = url,
                Ok(None) => {}
                Err(error) => return Err(self.failed(error, Then::GiveUp, start)),
            }
            let reported = kept(answer.response.headers()).unwrap_or(end);
            if reported <= start || reported > end {
                // It forgets what it takes, or counts otherwise than it should: chunks are nothing for it.
                self.learn(Learnt::without_chunks);
                let error = self.protocol("a `Range` that grows by what was sent");
                return Err(self.failed(error, Then::Anew, start));
            }
            session.offset = reported;
            self.remember(&session.url);
            return Ok(());
        }
        let then = match status {
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PAYLOAD_TOO_LARGE => {
                let elsewhere = kept(answer.response.headers()).is_some_and(|kept| kept != start);
                if !elsewhere && let Some(smaller) = self.client.memory.learnt(&self.endpoint.registry).smaller(end - start) {
                    self.learn(|_| smaller);
                }
                if start > 0 { Then::Resume(session.url.clone()) } else { Then::Anew }
            }
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                self.learn(Learnt::without_chunks);
                Then::Anew
            }
            StatusCode::NOT_FOUND => Then::Anew,
            status if is_passing(status) => Then::Resume(session.url.clone()),
            _ if session.resumed => Then::Anew,
            _ => Then::GiveUp,
        };
        Err(self.failed(self.client.refusal(&self.endpoint.host, &ask.doing, answer).await, then, start))
    }

    /// Where a session ends.
    fn ending(&self, session: &Url) -> Url {
        let mut url = session.clone();
        url.query_pairs_mut().append_pair("digest", &self.upload.descriptor.digest.to_string());
        url
    }
}

/// How many bytes a registry says it has: `0-N`, inclusive, with or without a unit. `0-0` is what it says of none at all, and is taken for
/// that: one byte more or less is not worth the doubt.
pub(super) fn kept(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(RANGE)?.to_str().ok()?.trim();
    let last: u64 = range.strip_prefix("bytes=").unwrap_or(range).strip_prefix("0-")?.parse().ok()?;
    if last == 0 { Some(0) } else { last.checked_add(1) }
}

fn length(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_registries_write_them() {
        for (range, expected) in [
            ("0-99", Some(100)),
            ("bytes=0-99", Some(100)),
            (" 0-1 ", Some(2)),
            ("0-0", Some(0)),
            ("0--1", None),
            ("1-99", None),
            ("99", None),
            ("0-18446744073709551615", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_str(range).unwrap())]);
            assert_eq!(kept(&headers), expected, "{range}");
        }
        assert_eq!(kept(&HeaderMap::new()), None);
    }
}
