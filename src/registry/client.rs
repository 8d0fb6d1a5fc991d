//! A request → its answer: with a login where one is wanted, again where that may help, along redirects where that is safe.
//!
//! Source of truth: distribution-spec 1.1; RFC 9110 for redirects and `Retry-After`.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Method, RequestBuilder, Response, StatusCode, Url};

use super::endpoint::{Endpoint, Scopes};
use super::error::{Login, Unreachable, messages};
use super::login::{Authorization, Logins};
use super::upload::Upload;
use super::{Credentials, Error, Settings};

/// How many redirects are followed.
const REDIRECTS: usize = 5;

/// The most that is read of an answer that reports an error.
const ERROR_LIMIT_BYTES: u64 = 64 << 10;

/// Everything a request needs that outlives it.
pub(super) struct Client {
    pub(super) settings: Settings,
    pub(super) credentials: Arc<dyn Credentials>,
    /// Knows no certificates.
    plain: reqwest::Client,
    /// Made when https is first spoken: reading the system's certificates takes longer than an unchanged build should.
    secure: OnceLock<reqwest::Client>,
    logins: Logins,
    /// Mirrors that could not be reached; they are not tried again.
    down: Mutex<BTreeSet<String>>,
}

/// One request.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) scopes: Scopes,
    pub(super) payload: Payload,
    pub(super) repeat: Repeat,
    /// For people: what this is for, as in "pulling the manifest of `a`".
    pub(super) doing: String,
}

/// What a request carries.
#[derive(Clone)]
pub(super) enum Payload {
    Nothing,
    Bytes(Bytes),
    Stream(Arc<Upload>),
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

/// An answer, and who we were when it came.
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) login: Login,
}

impl Client {
    pub(super) fn new(settings: Settings, credentials: Arc<dyn Credentials>) -> Result<Client, Error> {
        settings.certificates.own()?;
        let plain = build(&settings, Vec::new())?;
        Ok(Client { settings, credentials, plain, secure: OnceLock::new(), logins: Logins::default(), down: Mutex::default() })
    }

    /// Begins a request.
    pub(super) fn request(&self, method: Method, url: Url) -> Result<RequestBuilder, Error> {
        if url.scheme() == "http" {
            return Ok(self.plain.request(method, url));
        }
        if let Some(secure) = self.secure.get() {
            return Ok(secure.request(method, url));
        }
        // Two that make it at once make the same.
        let secure = build(&self.settings, self.settings.certificates.load()?)?;
        Ok(self.secure.get_or_init(|| secure).request(method, url))
    }

    /// Asks servers in turn until one has it.
    pub(super) async fn first<'a, T, F: Future<Output = Result<T, Error>>>(
        &self,
        endpoints: &'a [Endpoint],
        named: &str,
        mut ask: impl FnMut(&'a Endpoint, Repeat) -> F,
    ) -> Result<T, Error> {
        let mut failures = Vec::new();
        for (place, endpoint) in endpoints.iter().enumerate() {
            let last = place + 1 == endpoints.len();
            if !last && self.is_down(endpoint) {
                continue;
            }
            match ask(endpoint, if last { Repeat::Patiently } else { Repeat::Briefly }).await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    self.note(endpoint, &error);
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
        self.down.lock().unwrap_or_else(PoisonError::into_inner).contains(&endpoint.host)
    }

    /// Remembers a server that cannot be reached.
    pub(super) fn note(&self, endpoint: &Endpoint, error: &Error) {
        if matches!(error, Error::Unreachable { .. }) {
            self.down.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint.host.clone());
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
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && !challenged => {
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
                    drop(response);
                    tokio::time::sleep(self.settings.patience.wait(failures, asked)).await;
                }
                Err(error) => {
                    failures += 1;
                    if !is_transient(&error) || failures >= self.attempts(ask.repeat, Some(&error)) {
                        return Err(error);
                    }
                    tokio::time::sleep(self.settings.patience.wait(failures, None)).await;
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
            let mut request = self.request(ask.method.clone(), url.clone())?.headers(ask.headers.clone());
            if let Some(authorization) = authorization
                && endpoint.owns(&url)
            {
                request = request.header(AUTHORIZATION, authorization.value.clone());
            }
            request = match &ask.payload {
                Payload::Nothing if ask.method == Method::POST => request.header(CONTENT_LENGTH, 0),
                Payload::Nothing => request,
                Payload::Bytes(bytes) => request.body(bytes.clone()),
                Payload::Stream(upload) => request.header(CONTENT_LENGTH, upload.size).body(upload.body().await?),
            };
            let response = self.head(&endpoint.host, &ask.doing, request, &ask.payload).await?;
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
        let sent = async {
            request.send().await.map_err(|error| {
                let own = match payload {
                    Payload::Stream(upload) => upload.take_failure(),
                    Payload::Nothing | Payload::Bytes(_) => None,
                };
                own.unwrap_or_else(|| failure(host, doing, error))
            })
        };
        let silence = async {
            match payload {
                Payload::Nothing | Payload::Bytes(_) => {
                    tokio::time::sleep(patience.answer).await;
                    patience.answer
                }
                Payload::Stream(upload) => loop {
                    let before = upload.sent();
                    let limit = if before < upload.size { patience.stall } else { patience.answer };
                    tokio::time::sleep(limit).await;
                    if upload.sent() == before {
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

    /// The error that an answer without success stands for.
    pub(super) async fn refusal(&self, host: &str, doing: &str, answer: Answer) -> Error {
        let Answer { mut response, login } = answer;
        let status = response.status();
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
            429 => Error::TooManyRequests { host, doing, messages },
            status => Error::Refused { host, doing, status, messages },
        }
    }
}

fn build(settings: &Settings, certificates: Vec<Certificate>) -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .user_agent(&settings.user_agent)
        .tls_certs_only(certificates)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(settings.patience.connect)
        .build()
        .map_err(|error| Error::Settings { what: format!("the settings for registries cannot be used: {}", chain(&error)) })
}

fn answer(response: Response, authorization: Option<&Authorization>) -> Answer {
    Answer { response, login: authorization.map_or(Login::Nothing, |authorization| authorization.login) }
}

/// Statuses that may be others a moment later.
pub(super) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Errors that may not come again.
pub(super) fn is_transient(error: &Error) -> bool {
    match error {
        Error::Unreachable { problem, .. } => *problem != Unreachable::Tls,
        Error::Broken { .. } | Error::Stalled { .. } => true,
        Error::Unauthorized { .. }
        | Error::Denied { .. }
        | Error::NotFound { .. }
        | Error::TooManyRequests { .. }
        | Error::Refused { .. }
        | Error::Protocol { .. }
        | Error::UntrustedRealm { .. }
        | Error::UnsafeRedirect { .. }
        | Error::DigestMismatch { .. }
        | Error::SizeMismatch { .. }
        | Error::ManifestDigest { .. }
        | Error::TooLarge { .. }
        | Error::Invalid { .. }
        | Error::Credentials { .. }
        | Error::Source { .. }
        | Error::SourceSize { .. }
        | Error::Sink { .. }
        | Error::FetchSink { .. }
        | Error::Nowhere { .. }
        | Error::Settings { .. }
        | Error::Start(_)
        | Error::Cancelled => false,
    }
}

/// How long a registry wants us to wait. A date is not read: that takes a clock, and ours may differ.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// What a failed request stands for. Its address is dropped: it may be signed.
fn failure(host: &str, doing: &str, error: reqwest::Error) -> Error {
    let error = error.without_url();
    match Unreachable::of(&error) {
        Some(problem) => Error::Unreachable { host: host.to_owned(), problem, source: chain(&error).into() },
        None => Error::Broken { host: host.to_owned(), doing: doing.to_owned(), source: chain(&error).into() },
    }
}

/// An error and those below it on one line, each once.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        below = error.source();
    }
    text
}
