//! A request → its answer: with a login where one is wanted, again where that may help, along redirects where that is safe.
//!
//! Source of truth: distribution-spec 1.1; RFC 9110 for redirects.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::ahead::{AllSentAhead, Stream};
use super::body::Upload;
use super::connect::{Connections, Proof, chain, check};
use super::endpoint::{Endpoint, Scopes, Transport, authority};
use super::error::{Login, Unreachable, messages};
use super::login::{Authorization, Logins};
use super::memory::Memory;
use super::retry::{is_damage, is_passing, is_transient, retry_after};
use super::waits::Waits;
use super::{Credentials, Error, Settings};

/// How many redirects are followed.
const REDIRECTS: usize = 5;

/// The most that is read of an answer that reports an error.
const ERROR_LIMIT_BYTES: u64 = 64 << 10;

/// Everything a request needs that outlives it.
pub(super) struct Client {
    pub(super) settings: Settings,
    pub(super) credentials: Arc<dyn Credentials>,
    pub(super) connections: Connections,
    pub(super) memory: Memory,
    pub(super) waits: Waits,
    pub(super) ahead: AllSentAhead,
    logins: Logins,
    /// Mirrors that could not be reached; they are not tried again.
    down: Mutex<BTreeSet<String>>,
    /// Servers that need not show who they are, and whether they speak plain http.
    plain_hosts: Mutex<BTreeMap<String, bool>>,
}

/// One request.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) scopes: Scopes,
    pub(super) payload: Payload,
    pub(super) repeat: Repeat,
    /// For people: what this is for and by which request, as in "pulling the manifest of `a` (`GET /v2/a/manifests/latest`)".
    pub(super) doing: String,
}

/// What a request carries.
#[derive(Clone)]
pub(super) enum Payload {
    Nothing,
    Bytes(Bytes),
    /// These bytes of a blob.
    Part(Arc<Upload>, Range<u64>),
    /// A blob that is still being written.
    Stream(Arc<Stream>),
}

/// How often a request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Never: whoever sends it has more to do than to send it again.
    Never,
    /// Once if the registry has trouble and not at all when it cannot be reached: there is another to ask.
    Briefly,
    /// As often as the settings say.
    Patiently,
}

impl Ask {
    /// A request for something below a repository, without anything that most requests do without.
    pub(super) fn new(method: Method, url: Url, scope: String, doing: &str) -> Ask {
        // Addresses of uploads are the registry's own affair, and may be signed.
        let path = match url.path().split_once("/blobs/uploads/") {
            Some((before, _)) => format!("{before}/blobs/uploads/"),
            None => url.path().to_owned(),
        };
        let doing = format!("{doing} (`{method} {path}`)");
        Ask {
            method,
            url,
            headers: HeaderMap::new(),
            scopes: Scopes::from([scope]),
            payload: Payload::Nothing,
            repeat: Repeat::Patiently,
            doing,
        }
    }
}

/// An answer, and who we were when it came.
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) login: Login,
}

impl Client {
    pub(super) fn new(settings: Settings, credentials: Arc<dyn Credentials>) -> Result<Client, Error> {
        check(&settings)?;
        let memory = Memory::new(settings.memory.clone());
        Ok(Client {
            settings,
            credentials,
            connections: Connections::default(),
            memory,
            waits: Waits::default(),
            ahead: AllSentAhead::default(),
            logins: Logins::default(),
            down: Mutex::default(),
            plain_hosts: Mutex::default(),
        })
    }

    /// Begins a request.
    pub(super) fn request(&self, method: Method, url: Url, proof: Proof) -> Result<RequestBuilder, Error> {
        Ok(self.connections.of(&self.settings, &url, proof)?.request(method, url))
    }

    /// Finds out what is spoken by a server that need not show who it is; every other is as its address says.
    pub(super) async fn settle(&self, endpoint: Endpoint) -> Endpoint {
        if endpoint.transport == Transport::Settled {
            return endpoint;
        }
        let Some(plain) = endpoint.in_plain_http() else { return endpoint };
        let known = lock(&self.plain_hosts).get(&endpoint.host).copied();
        let is_plain = match known {
            Some(is_plain) => is_plain,
            None => {
                // One that speaks neither is told of as if it spoke https.
                let is_plain = !self.answers(&endpoint).await && self.answers(&plain).await;
                lock(&self.plain_hosts).insert(endpoint.host.clone(), is_plain);
                is_plain
            }
        };
        if is_plain { plain } else { endpoint }
    }

    async fn answers(&self, endpoint: &Endpoint) -> bool {
        match self.request(Method::GET, endpoint.base(), endpoint.proof) {
            Ok(request) => self.head(&endpoint.host, "finding out what it speaks", request, &Payload::Nothing).await.is_ok(),
            Err(_) => false,
        }
    }

    /// Asks servers in turn until one has it.
    pub(super) async fn first<T, F: Future<Output = Result<T, Error>>>(
        &self,
        endpoints: &[Endpoint],
        named: &str,
        mut ask: impl FnMut(Endpoint, Repeat) -> F,
    ) -> Result<T, Error> {
        let mut failures = Vec::new();
        for (place, endpoint) in endpoints.iter().enumerate() {
            let last = place + 1 == endpoints.len();
            if !last && self.is_down(endpoint) {
                continue;
            }
            let endpoint = self.settle(endpoint.clone()).await;
            match ask(endpoint.clone(), if last { Repeat::Patiently } else { Repeat::Briefly }).await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    self.note(&endpoint, &error);
                    failures.push(error);
                }
            }
        }
        match failures.pop() {
            Some(only) if failures.is_empty() => Err(only),
            Some(last) => {
                failures.push(last);
                Err(Error::Nowhere { reference: named.to_owned(), failures })
            }
            None => Err(Error::Nowhere { reference: named.to_owned(), failures }),
        }
    }

    pub(super) fn is_down(&self, endpoint: &Endpoint) -> bool {
        lock(&self.down).contains(&endpoint.host)
    }

    /// Remembers a server that cannot be reached.
    pub(super) fn note(&self, endpoint: &Endpoint, error: &Error) {
        if matches!(error, Error::Unreachable { .. }) {
            lock(&self.down).insert(endpoint.host.clone());
        }
    }

    /// Sends a request, and again where that may help. The answer may be any that sending again does not change.
    pub(super) async fn send(&self, endpoint: &Endpoint, ask: &Ask) -> Result<Answer, Error> {
        let mut failures = 0;
        let mut challenged = false;
        let mut authorization = self.logins.known(self, endpoint, &ask.scopes).await?;
        loop {
            let outcome = self.transmit(endpoint, ask, authorization.as_ref()).await;
            match outcome {
                // Whoever we were led to has no say in where our credentials go.
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && !challenged && endpoint.owns(response.url()) => {
                    challenged = true;
                    match self.logins.answer(self, endpoint, &ask.scopes, response.headers(), authorization.as_ref()).await? {
                        Some(login) => authorization = Some(login),
                        None => return Ok(answer(response, authorization.as_ref())),
                    }
                    continue;
                }
                Ok(response) => {
                    failures += 1;
                    if !is_passing(response.status()) || failures >= self.attempts(ask.repeat, None) {
                        return Ok(answer(response, authorization.as_ref()));
                    }
                    let asked = retry_after(response.headers());
                    let Some(wait) = self.waits.after(&self.settings.patience, &endpoint.host, &ask.doing, failures, asked) else {
                        return Ok(answer(response, authorization.as_ref()));
                    };
                    drop(response);
                    tokio::time::sleep(wait).await;
                }
                Err(error) => {
                    failures += 1;
                    if !is_transient(&error) || failures >= self.attempts(ask.repeat, Some(&error)) {
                        return Err(error);
                    }
                    self.settings.patience.pause(failures).await;
                }
            }
            challenged = false;
        }
    }

    /// How often a request may be sent in all, given how it failed.
    fn attempts(&self, repeat: Repeat, error: Option<&Error>) -> u32 {
        let unreachable = matches!(error, Some(Error::Unreachable { .. }));
        match repeat {
            Repeat::Never => 1,
            Repeat::Briefly if unreachable => 1,
            Repeat::Briefly => self.settings.patience.attempts.min(2),
            // A registry that is just being started is worth a second; one that is not there is worth no minute.
            Repeat::Patiently if unreachable => self.settings.patience.attempts.min(3),
            Repeat::Patiently => self.settings.patience.attempts,
        }
    }

    /// Sends a request once, along redirects. Our login goes to the endpoint's own origin and nowhere else.
    async fn transmit(&self, endpoint: &Endpoint, ask: &Ask, authorization: Option<&Authorization>) -> Result<Response, Error> {
        let mut url = ask.url.clone();
        for _ in 0..=REDIRECTS {
            let mut request = self.request(ask.method.clone(), url.clone(), endpoint.proof_of(&url))?.headers(ask.headers.clone());
            if let Some(authorization) = authorization
                && endpoint.owns(&url)
            {
                request = request.header(AUTHORIZATION, authorization.value.clone());
            }
            request = match &ask.payload {
                Payload::Nothing if matches!(ask.method, Method::POST | Method::PUT | Method::PATCH) => request.header(CONTENT_LENGTH, 0),
                Payload::Nothing => request,
                Payload::Bytes(bytes) => request.body(bytes.clone()),
                Payload::Part(upload, range) => {
                    request.header(CONTENT_LENGTH, range.end - range.start).body(upload.body(range.clone()).await?)
                }
                Payload::Stream(stream) => request.body(stream.body()),
            };
            // Who cannot be reached is whom we were led to.
            let host =
                if endpoint.owns(&url) { endpoint.host.clone() } else { format!("{} (to which {} leads)", authority(&url), endpoint.host) };
            let response = self.head(&host, &ask.doing, request, &ask.payload).await?;
            let followed = match response.status().as_u16() {
                301..=303 => ask.method == Method::GET || ask.method == Method::HEAD,
                307 | 308 => true,
                _ => false,
            };
            match response.headers().get(LOCATION) {
                Some(location) if followed => {
                    let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
                    url = endpoint.led_to(&url, &location, &ask.doing)?;
                }
                _ => return Ok(response),
            }
        }
        Err(Error::Protocol { host: endpoint.host.clone(), doing: ask.doing.clone(), expected: "an end to its redirects" })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn head(&self, host: &str, doing: &str, request: RequestBuilder, payload: &Payload) -> Result<Response, Error> {
        let patience = self.settings.patience;
        let (client, request) = request.build_split();
        let request = request.map_err(|error| failure(host, doing, error))?;
        let url = request.url().clone();
        let sent = async {
            client.execute(request).await.map_err(|error| {
                let own = match payload {
                    Payload::Part(upload, _) => upload.take_failure(),
                    Payload::Nothing | Payload::Bytes(_) | Payload::Stream(_) => None,
                };
                own.unwrap_or_else(|| self.blamed(failure(host, doing, error), &url))
            })
        };
        let silence = async {
            match payload {
                Payload::Nothing | Payload::Bytes(_) => {
                    tokio::time::sleep(patience.answer).await;
                    patience.answer
                }
                Payload::Part(upload, range) => loop {
                    let before = upload.sent();
                    let limit = if before < range.end { patience.stall } else { patience.answer };
                    tokio::time::sleep(limit).await;
                    if upload.sent() == before {
                        break limit;
                    }
                },
                Payload::Stream(stream) => loop {
                    let before = stream.sent();
                    let limit = if stream.is_all_sent() { patience.answer } else { patience.stall };
                    tokio::time::sleep(limit).await;
                    if stream.sent() == before && !stream.waits() {
                        break limit;
                    }
                },
            }
        };
        tokio::select! {
            response = sent => response,
            limit = silence => Err(Error::Stalled { host: host.to_owned(), doing: doing.to_owned(), limit }),
        }
    }

    /// Blames the proxy where it was not even reached, or did not let us through. Beyond it is only spoken TLS.
    fn blamed(&self, error: Error, url: &Url) -> Error {
        if let Error::Unreachable { host, problem, source } = error {
            let proxy = self.connections.proxy(&self.settings, url).filter(|_| problem != Unreachable::Tls);
            let host = proxy.map_or_else(|| host.clone(), |proxy| format!("{proxy} (the proxy on the way to {host})"));
            return Error::Unreachable { host, problem, source };
        }
        error
    }

    /// The next bytes of an answer; `None` at its end.
    pub(super) async fn chunk(&self, host: &str, doing: &str, response: &mut Response) -> Result<Option<Bytes>, Error> {
        let limit = self.settings.patience.stall;
        match tokio::time::timeout(limit, response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| failure(host, doing, error)),
            Err(_) => Err(Error::Stalled { host: host.to_owned(), doing: doing.to_owned(), limit }),
        }
    }

    /// The whole of a short answer.
    pub(super) async fn body(&self, host: &str, doing: &str, mut response: Response, limit_bytes: u64) -> Result<Vec<u8>, Error> {
        let too_large = || Error::TooLarge { host: host.to_owned(), doing: doing.to_owned(), limit_bytes };
        if response.content_length().is_some_and(|length| length > limit_bytes) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(host, doing, &mut response).await? {
            if (body.len() + chunk.len()) as u64 > limit_bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Sends a request and reads its answer with `read`; asks once more where the answer was damaged on its way, and as often as requests
    /// are sent where it broke off.
    pub(super) async fn whole<T, F: Future<Output = Result<T, Error>>>(
        &self,
        endpoint: &Endpoint,
        ask: &Ask,
        mut read: impl FnMut(Answer) -> F,
    ) -> Result<T, Error> {
        let mut failures = 0;
        loop {
            let error = match read(self.send(endpoint, ask).await?).await {
                Ok(read) => return Ok(read),
                Err(error) => error,
            };
            failures += 1;
            let attempts = if is_transient(&error) { self.attempts(ask.repeat, Some(&error)) } else { 2 };
            if !is_damage(&error) || failures >= attempts {
                return Err(error);
            }
            self.settings.patience.pause(failures).await;
        }
    }

    /// The error that an answer without success stands for.
    pub(super) async fn refusal(&self, host: &str, doing: &str, answer: Answer) -> Error {
        let Answer { mut response, login } = answer;
        let (status, wait) = (response.status(), retry_after(response.headers()));
        let mut body = Vec::new();
        // What cannot be read of the reason is left out: there is an error to report already.
        while let Ok(Some(chunk)) = self.chunk(host, doing, &mut response).await {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > ERROR_LIMIT_BYTES {
                break;
            }
        }
        let (host, doing, messages) = (host.to_owned(), doing.to_owned(), messages(&body));
        match status.as_u16() {
            401 => Error::Unauthorized { host, doing, login, messages },
            403 => Error::Denied { host, doing, login, messages },
            404 => Error::NotFound { host, doing, messages },
            429 => Error::TooManyRequests { host, doing, wait, messages },
            status => Error::Refused { host, doing, status, messages },
        }
    }
}

fn answer(response: Response, authorization: Option<&Authorization>) -> Answer {
    Answer { response, login: authorization.map_or(Login::Nothing, |authorization| authorization.login) }
}

/// What a failed request stands for. Its address is dropped: it may be signed.
fn failure(host: &str, doing: &str, error: reqwest::Error) -> Error {
    let error = error.without_url();
    match Unreachable::of(&error) {
        Some(problem) => Error::Unreachable { host: host.to_owned(), problem, source: chain(&error).into() },
        None => Error::Broken { host: host.to_owned(), doing: doing.to_owned(), source: chain(&error).into() },
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that panics is done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
