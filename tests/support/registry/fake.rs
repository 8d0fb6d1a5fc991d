//! A registry in memory that is stricter than real ones and fails on command.
//!
//! Stricter: a manifest is refused before everything it names is there; digests, lengths and media types are checked; every request must
//! carry a token for exactly what it does; nothing may be sent that was not asked for (a login without a challenge, a body without need).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use base64::Engine;
use lapstrake_cache::Digest;
use serde_json::Value;

use super::http::{Abort, Handler, Request, Response, Server};
use super::manners::{Manners, Traffic};
use super::tokens::{Issued, TokenServer};
use super::uploads::{self, Session};

/// Who may come in.
#[derive(Clone)]
pub(crate) enum Door {
    Open,
    Basic { user: String, password: String },
    Token { realm: String, issued: Arc<Issued> },
}

/// What to do instead of what is right, or to what is right.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Answers this.
    Answer(Response),
    /// Closes the connection after so many bytes of the answer's body.
    Cut(usize),
    /// Closes the connection after so many bytes of the request's body.
    CutRequest(usize),
    /// Answers this after so many bytes of the request's body.
    AnswerAfter(usize, Response),
    /// Changes a byte of the body.
    Flip,
    /// Sets or removes a header of the answer.
    Header(&'static str, Option<String>),
    /// Sees no `Range`.
    NoRange,
    /// Says nothing.
    Silence,
    /// Does what was asked and closes the connection without a word.
    Closed,
    /// Says nothing more after so many bytes of the body.
    Stall(usize),
    /// Sends the body in pieces of so many bytes, slowly.
    Drip(usize),
    /// Cuts the body short, with a length to match.
    Truncate(usize),
    /// Takes its time before anything is done.
    Slow(Duration),
    /// Another request that this is planned for, and that comes later, is done first; this one so long after it, and before anything that
    /// comes later still.
    Overtaken(Duration),
    /// Somebody else puts this manifest under this repository and tag, before anything is done.
    Meanwhile { repository: String, tag: String, media_type: String, bytes: Vec<u8> },
}

/// A request that waits for another to be done before it.
struct Waiting {
    number: usize,
    line: String,
    request: Request,
    after: Duration,
    due: Option<Instant>,
    done: Option<Response>,
}

/// A fault for some of the requests to come.
struct Planned {
    wanted: String,
    /// How many are left alone first.
    spared: usize,
    times: usize,
    fault: Fault,
}

impl Planned {
    /// Whether it is for this request; counts it.
    fn strikes(&mut self, line: &str) -> bool {
        if self.times == 0 || !line.contains(&self.wanted) {
            return false;
        }
        let spared = self.spared > 0;
        *(if spared { &mut self.spared } else { &mut self.times }) -= 1;
        !spared
    }
}

#[derive(Default)]
pub(super) struct State {
    /// By repository and digest.
    pub(super) blobs: BTreeMap<(String, String), Vec<u8>>,
    /// By repository and tag or digest.
    pub(super) manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    pub(super) sessions: BTreeMap<String, Session>,
    /// How many sessions there have been.
    pub(super) begun: usize,
    seen: Vec<Request>,
    faults: Vec<Planned>,
    waiting: Vec<Waiting>,
    overtaken: usize,
    pub(super) violations: Vec<String>,
    challenged: bool,
    pub(super) manners: Manners,
    pub(super) traffic: Traffic,
}

struct Shared {
    door: Door,
    state: Mutex<State>,
}

/// The registry.
pub(crate) struct FakeRegistry {
    server: Server,
    shared: Arc<Shared>,
}

/// The value of an `Authorization` header.
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

impl FakeRegistry {
    pub(crate) fn start(door: Door) -> FakeRegistry {
        let shared = Arc::new(Shared { door, state: Mutex::default() });
        FakeRegistry { server: Server::start(Arc::clone(&shared) as Arc<dyn Handler>), shared }
    }

    pub(crate) fn open() -> FakeRegistry {
        FakeRegistry::start(Door::Open)
    }

    pub(crate) fn behind(tokens: &TokenServer) -> FakeRegistry {
        FakeRegistry::start(Door::Token { realm: tokens.realm(), issued: tokens.issued() })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// For the next `times` requests whose `METHOD /path` contains `wanted`.
    pub(crate) fn fault(&self, wanted: &str, times: usize, fault: Fault) {
        self.later(wanted, 0, times, fault);
    }

    /// The same, after so many that are left alone.
    pub(crate) fn later(&self, wanted: &str, spared: usize, times: usize, fault: Fault) {
        self.state().faults.push(Planned { wanted: wanted.to_owned(), spared, times, fault });
    }

    /// Changes how it behaves.
    pub(crate) fn behave(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.state().manners);
    }

    /// What went through it.
    pub(crate) fn traffic(&self) -> Traffic {
        self.state().traffic
    }

    /// Forgets all upload sessions.
    pub(crate) fn lose_sessions(&self) {
        self.state().sessions.clear();
    }

    /// How many uploads are open.
    pub(crate) fn open_sessions(&self) -> usize {
        self.state().sessions.len()
    }

    pub(crate) fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.state().blobs.insert((repository.to_owned(), digest.to_string()), bytes.to_vec());
        digest
    }

    pub(crate) fn put_manifest(&self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) {
        put(&mut self.state(), repository, reference, media_type, bytes);
    }

    pub(crate) fn blob(&self, repository: &str, digest: &Digest) -> Option<Vec<u8>> {
        self.state().blobs.get(&(repository.to_owned(), digest.to_string())).cloned()
    }

    pub(crate) fn manifest(&self, repository: &str, reference: &str) -> Option<Vec<u8>> {
        self.state().manifests.get(&(repository.to_owned(), reference.to_owned())).map(|(_, bytes)| bytes.clone())
    }

    /// What was asked so far, as `METHOD /path`.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.state().seen.iter().map(Request::line).collect()
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.state().seen.clone()
    }

    pub(crate) fn forget(&self) {
        self.state().seen.clear();
    }

    /// Fails the test if anything was done that no client should do.
    pub(crate) fn assert_well_treated(&self) {
        assert_eq!(self.state().violations, Vec::<String>::new());
    }
}

impl Handler for Shared {
    fn abort(&self, head: &Request) -> Option<Abort> {
        let mut state = self.state.lock().unwrap();
        let line = head.line();
        if let Some(after) = uploads::cut(&mut state, head) {
            return Some(Abort { after, answer: None });
        }
        for planned in &mut state.faults {
            match planned.fault.clone() {
                Fault::CutRequest(after) if planned.strikes(&line) => return Some(Abort { after, answer: None }),
                Fault::AnswerAfter(after, answer) if planned.strikes(&line) => return Some(Abort { after, answer: Some(answer) }),
                _ => {}
            }
        }
        None
    }

    fn arrived(&self, head: &Request, bytes: usize) {
        if head.path.contains("/blobs/uploads/") {
            self.state.lock().unwrap().traffic.arrived += bytes as u64;
        }
    }

    fn aborted(&self, request: Request) {
        let mut state = self.state.lock().unwrap();
        state.seen.push(request.clone());
        uploads::broken(&mut state, &request);
    }

    fn handle(&self, mut request: Request) -> Response {
        let line = request.line();
        let mut state = self.state.lock().unwrap();
        self.catch_up(&mut state);
        state.seen.push(request.clone());
        let mut active = Vec::new();
        for planned in &mut state.faults {
            if !matches!(planned.fault, Fault::CutRequest(_) | Fault::AnswerAfter(..)) && planned.strikes(&line) {
                active.push(planned.fault.clone());
            }
        }
        if active.iter().any(|fault| matches!(fault, Fault::NoRange)) {
            request.headers.remove("range");
        }
        for fault in &active {
            match fault {
                Fault::Slow(time) => {
                    drop(state);
                    std::thread::sleep(*time);
                    state = self.state.lock().unwrap();
                }
                Fault::Overtaken(after) => return self.overtaken(state, request, *after),
                Fault::Meanwhile { repository, tag, media_type, bytes } => put(&mut state, repository, tag, media_type, bytes),
                Fault::Answer(_)
                | Fault::Cut(_)
                | Fault::CutRequest(_)
                | Fault::AnswerAfter(..)
                | Fault::Flip
                | Fault::Header(..)
                | Fault::NoRange
                | Fault::Silence
                | Fault::Closed
                | Fault::Stall(_)
                | Fault::Drip(_)
                | Fault::Truncate(_) => {}
            }
        }
        if let Some(Fault::Answer(response)) = active.iter().find(|fault| matches!(fault, Fault::Answer(_))) {
            return response.clone();
        }
        let mut response = self.respond(&mut state, &request);
        for waiting in state.waiting.iter_mut().filter(|waiting| waiting.line == line && waiting.due.is_none()) {
            waiting.due = Instant::now().checked_add(waiting.after);
        }
        self.catch_up(&mut state);
        for fault in active {
            match fault {
                Fault::Cut(bytes) => response.cut_after = Some(bytes),
                Fault::Flip => {
                    if let Some(byte) = response.body.first_mut() {
                        *byte ^= 1;
                    }
                }
                Fault::Header(name, Some(value)) => {
                    response.headers.insert(name.to_owned(), value);
                }
                Fault::Header(name, None) => {
                    response.headers.remove(name);
                }
                Fault::Silence => response.silent = true,
                Fault::Closed => response.closed = true,
                Fault::Stall(bytes) => response.stall_after = Some(bytes),
                Fault::Drip(bytes) => response.drip = Some(bytes),
                Fault::Truncate(bytes) => {
                    response.body.truncate(bytes);
                    response.headers.remove("content-length");
                }
                Fault::Answer(_)
                | Fault::CutRequest(_)
                | Fault::AnswerAfter(..)
                | Fault::NoRange
                | Fault::Slow(_)
                | Fault::Overtaken(_)
                | Fault::Meanwhile { .. } => {}
            }
        }
        response
    }
}

impl Shared {
    /// Does what was overtaken and is due. Nothing that comes in is done before it, so nothing depends on when a thread wakes up.
    fn catch_up(&self, state: &mut State) {
        let now = Instant::now();
        for mut waiting in std::mem::take(&mut state.waiting) {
            if waiting.done.is_none() && waiting.due.is_some_and(|due| due <= now) {
                waiting.done = Some(self.respond(state, &waiting.request));
            }
            state.waiting.push(waiting);
        }
    }

    /// Waits until another was done before it, and so long, and does it.
    fn overtaken<'s>(&'s self, mut state: MutexGuard<'s, State>, request: Request, after: Duration) -> Response {
        state.overtaken += 1;
        let number = state.overtaken;
        state.waiting.push(Waiting { number, line: request.line(), request, after, due: None, done: None });
        loop {
            drop(state);
            std::thread::sleep(Duration::from_millis(2));
            state = self.state.lock().unwrap();
            self.catch_up(&mut state);
            let place = state.waiting.iter().position(|waiting| waiting.number == number && waiting.done.is_some());
            if let Some(response) = place.and_then(|place| state.waiting.remove(place).done) {
                return response;
            }
        }
    }

    fn respond(&self, state: &mut State, request: &Request) -> Response {
        let Some(rest) = request.path.strip_prefix("/v2/") else { return Response::error(404, "NOT_FOUND", "no such path") };
        if rest.is_empty() {
            return match self.admit(state, request, &[]) {
                Ok(()) => Response::new(200).body("{}"),
                Err(response) => response,
            };
        }
        let Some((repository, kind, last)) = split(rest) else { return Response::error(404, "NOT_FOUND", "no such path") };
        let writing = matches!(request.method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE");
        let mut needed = vec![(repository, if writing { "push" } else { "pull" })];
        if let Some(from) = request.parameter("from") {
            needed.push((from, "pull"));
        }
        if let Err(response) = self.admit(state, request, &needed) {
            return response;
        }
        let may_carry = matches!(request.method.as_str(), "PUT" | "PATCH") || request.parameter("digest").is_some();
        if !may_carry && !request.body.is_empty() {
            state.violations.push(format!("{} with a body", request.line()));
        }
        match (request.method.as_str(), kind) {
            ("GET" | "HEAD", "blobs") => get_blob(state, request, repository, last),
            ("DELETE", "blobs") => delete(state.blobs.remove(&(repository.to_owned(), last.to_owned())).is_some()),
            ("POST", "uploads") => uploads::begin(state, request, repository),
            ("PATCH", "uploads") => uploads::chunk(state, request, repository, last),
            ("DELETE", "uploads") => delete(state.sessions.remove(last).is_some()),
            ("GET", "uploads") => uploads::status(state, repository, last),
            ("PUT", "uploads") => uploads::finish(state, request, repository, last),
            ("GET" | "HEAD", "manifests") => get_manifest(state, request, repository, last),
            ("PUT", "manifests") => put_manifest(state, request, repository, last),
            ("DELETE", "manifests") => delete(state.manifests.remove(&(repository.to_owned(), last.to_owned())).is_some()),
            ("GET", "tags") => tags(state, request, repository),
            ("GET", "referrers") if state.manners.referrers => referrers(state, request, repository, last),
            (_, "referrers") => Response::error(404, "NOT_FOUND", "no such path"),
            _ => Response::error(405, "UNSUPPORTED", "not here"),
        }
    }

    fn admit(&self, state: &mut State, request: &Request, needed: &[(&str, &str)]) -> Result<(), Response> {
        let given = request.header("authorization");
        if given.is_some() && !state.challenged {
            state.violations.push(format!("{} with a login that nobody asked for", request.line()));
        }
        let (admitted, challenge) = match &self.door {
            Door::Open => (given.is_none(), "Basic realm=\"open\"".to_owned()),
            Door::Basic { user, password } => (given == Some(&basic(user, password)), "Basic realm=\"fake, \\\"registry\\\"\"".to_owned()),
            Door::Token { realm, issued } => {
                let token = given.and_then(|given| given.strip_prefix("Bearer "));
                let admitted =
                    token.is_some_and(|token| needed.iter().all(|(repository, action)| issued.allows(token, repository, action)));
                let scope = needed.first().map_or_else(String::new, |(repository, action)| {
                    format!(",scope=\"repository:{repository}:{}\"", if *action == "push" { "pull,push" } else { "pull" })
                });
                (admitted && token.is_some_and(|token| issued.knows(token)), format!("Bearer realm=\"{realm}\",service=\"fake\"{scope}"))
            }
        };
        if admitted {
            return Ok(());
        }
        state.challenged = true;
        Err(Response::error(401, "UNAUTHORIZED", "who are you").with("www-authenticate", challenge))
    }
}

fn put(state: &mut State, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) {
    let entry = (media_type.to_owned(), bytes.to_vec());
    state.manifests.insert((repository.to_owned(), reference.to_owned()), entry.clone());
    state.manifests.insert((repository.to_owned(), Digest::of(bytes).to_string()), entry);
}

/// `a/b/blobs/uploads/x` → (`a/b`, `uploads`, `x`), and so on.
fn split(rest: &str) -> Option<(&str, &str, &str)> {
    for (marker, kind) in [
        ("/blobs/uploads/", "uploads"),
        ("/blobs/", "blobs"),
        ("/manifests/", "manifests"),
        ("/tags/", "tags"),
        ("/referrers/", "referrers"),
    ] {
        if let Some((repository, last)) = rest.split_once(marker) {
            return Some((repository, kind, last));
        }
    }
    None
}

fn get_blob(state: &mut State, request: &Request, repository: &str, digest: &str) -> Response {
    let Some(bytes) = state.blobs.get(&(repository.to_owned(), digest.to_owned())) else {
        return Response::error(404, "BLOB_UNKNOWN", "no such blob");
    };
    let response = Response::new(200).with("docker-content-digest", digest).with("content-type", "application/octet-stream");
    let response = response.with("etag", format!("\"{digest}\""));
    if request.method == "HEAD" {
        return response.with("content-length", bytes.len().to_string());
    }
    let start = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let mut response = match start {
        Some(start) if start < bytes.len() => {
            let mut response = response.with("content-range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()));
            response.status = 206;
            response.body(&bytes[start..])
        }
        Some(_) => return Response::error(416, "RANGE", "out of range"),
        None => response.body(bytes.as_slice()),
    };
    if let Some(step) = state.manners.cut_down_every.filter(|step| *step < response.body.len()) {
        response.cut_after = Some(step);
    }
    state.traffic.down += response.cut_after.unwrap_or(response.body.len()) as u64;
    response
}

fn delete(was_there: bool) -> Response {
    if was_there { Response::new(202) } else { Response::error(404, "NOT_FOUND", "nothing to delete") }
}

/// One referrer a page.
fn referrers(state: &State, request: &Request, repository: &str, subject: &str) -> Response {
    let wanted = request.parameter("artifactType");
    let found = state.manifests.iter().filter(|((owner, name), _)| owner == repository && name.contains(':'));
    let found = found.filter_map(|((_, digest), (media_type, bytes))| {
        let document: Value = serde_json::from_slice(bytes).ok()?;
        let kind = document["artifactType"].as_str().or(document["config"]["mediaType"].as_str()).unwrap_or_default().to_owned();
        let is_wanted = document["subject"]["digest"] == subject && wanted.is_none_or(|wanted| wanted == kind);
        is_wanted.then(|| serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len(), "artifactType": kind}))
    });
    let at: usize = request.parameter("at").map_or(0, |at| at.parse().unwrap());
    let mut rest = found.skip(at);
    let page: Vec<Value> = rest.by_ref().take(1).collect();
    let body = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": page});
    let mut response = Response::new(200).with("content-type", "application/vnd.oci.image.index.v1+json").body(body.to_string());
    if wanted.is_some() {
        response = response.with("oci-filters-applied", "artifactType");
    }
    if rest.next().is_some() {
        let filter = wanted.map_or_else(String::new, |wanted| format!("&artifactType={wanted}"));
        response = response.with("link", format!("</v2/{repository}/referrers/{subject}?at={}{filter}>; rel=\"next\"", at + 1));
    }
    response
}

fn get_manifest(state: &State, request: &Request, repository: &str, reference: &str) -> Response {
    let Some((media_type, bytes)) = state.manifests.get(&(repository.to_owned(), reference.to_owned())) else {
        return Response::error(404, "MANIFEST_UNKNOWN", "no such manifest");
    };
    let accepted = request.header("accept").unwrap_or_default();
    if !accepted.split(',').any(|accepted| accepted.trim() == media_type) {
        return Response::error(404, "MANIFEST_UNKNOWN", "not in a type that is accepted");
    }
    let response = Response::new(200).with("content-type", media_type).with("docker-content-digest", Digest::of(bytes).to_string());
    if request.method == "HEAD" { response.with("content-length", bytes.len().to_string()) } else { response.body(bytes.as_slice()) }
}

fn put_manifest(state: &mut State, request: &Request, repository: &str, reference: &str) -> Response {
    let document: Value = serde_json::from_slice(&request.body).unwrap();
    let media_type = request.header("content-type").unwrap_or_default().to_owned();
    if document["mediaType"] != Value::Null && document["mediaType"] != media_type.as_str() {
        return Response::error(400, "MANIFEST_INVALID", "another type");
    }
    let list = |field: &str| document[field].as_array().cloned().unwrap_or_default();
    let has = |map: &BTreeSet<&String>, each: &Value| map.iter().any(|digest| each["digest"] == digest.as_str());
    let blobs: BTreeSet<&String> = state.blobs.keys().filter(|(owner, _)| owner == repository).map(|(_, digest)| digest).collect();
    let manifests: BTreeSet<&String> = state.manifests.keys().filter(|(owner, _)| owner == repository).map(|(_, name)| name).collect();
    let config = (!document["config"].is_null()).then(|| document["config"].clone());
    if !list("layers").iter().chain(&config).all(|each| has(&blobs, each)) || !list("manifests").iter().all(|each| has(&manifests, each)) {
        return Response::error(400, "MANIFEST_BLOB_UNKNOWN", "something it names is not there");
    }
    let digest = Digest::of(&request.body).to_string();
    if reference.contains(':') && reference != digest {
        return Response::error(400, "DIGEST_INVALID", "other bytes");
    }
    let entry = (media_type, request.body.clone());
    state.manifests.insert((repository.to_owned(), digest.clone()), entry.clone());
    state.manifests.insert((repository.to_owned(), reference.to_owned()), entry);
    let response =
        Response::new(201).with("location", format!("/v2/{repository}/manifests/{digest}")).with("docker-content-digest", digest);
    match document["subject"]["digest"].as_str() {
        Some(subject) if state.manners.referrers => response.with("oci-subject", subject),
        Some(_) | None => response,
    }
}

/// Two tags a page.
fn tags(state: &State, request: &Request, repository: &str) -> Response {
    let names = state.manifests.keys().filter(|(owner, name)| owner == repository && !name.contains(':')).map(|(_, name)| name);
    let after = request.parameter("last").unwrap_or_default();
    let mut rest = names.filter(|name| name.as_str() > after);
    let page: Vec<&String> = rest.by_ref().take(2).collect();
    let response =
        Response::new(200).with("content-type", "application/json").body(serde_json::json!({"name": repository, "tags": page}).to_string());
    match (rest.next(), page.last()) {
        (Some(_), Some(last)) => response.with("link", format!("</v2/{repository}/tags/list?last={last}>; rel=\"next\"")),
        _ => response,
    }
}
