//! A registry in memory that is stricter than real ones and fails on command.
//!
//! Stricter: a manifest is refused before everything it names is there; digests, lengths and media types are checked; every request must
//! carry a token for exactly what it does; nothing may be sent that was not asked for (a login without a challenge, a body without need).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine;
use lapstrake_cache::Digest;
use serde_json::Value;

use super::http::{Handler, Request, Response, Server};
use super::tokens::{Issued, TokenServer};

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
    /// Changes a byte of the body.
    Flip,
    /// Sets or removes a header of the answer.
    Header(&'static str, Option<String>),
    /// Sees no `Range`.
    NoRange,
    /// Says nothing.
    Silence,
}

#[derive(Default)]
struct State {
    /// By repository and digest.
    blobs: BTreeMap<(String, String), Vec<u8>>,
    /// By repository and tag or digest.
    manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    sessions: BTreeMap<String, String>,
    seen: Vec<Request>,
    faults: Vec<(String, usize, Fault)>,
    violations: Vec<String>,
    challenged: bool,
    mounts_refused: bool,
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
        self.state().faults.push((wanted.to_owned(), times, fault));
    }

    pub(crate) fn refuse_mounts(&self) {
        self.state().mounts_refused = true;
    }

    pub(crate) fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.state().blobs.insert((repository.to_owned(), digest.to_string()), bytes.to_vec());
        digest
    }

    pub(crate) fn put_manifest(&self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) {
        let entry = (media_type.to_owned(), bytes.to_vec());
        let mut state = self.state();
        state.manifests.insert((repository.to_owned(), reference.to_owned()), entry.clone());
        state.manifests.insert((repository.to_owned(), Digest::of(bytes).to_string()), entry);
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
    fn abort(&self, head: &Request) -> Option<usize> {
        let mut state = self.state.lock().unwrap();
        let line = head.line();
        let place = state
            .faults
            .iter()
            .position(|(wanted, times, fault)| *times > 0 && line.contains(wanted.as_str()) && matches!(fault, Fault::CutRequest(_)))?;
        state.faults[place].1 -= 1;
        match state.faults[place].2 {
            Fault::CutRequest(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn handle(&self, mut request: Request) -> Response {
        let mut state = self.state.lock().unwrap();
        state.seen.push(request.clone());
        let line = request.line();
        let mut active = Vec::new();
        for (wanted, times, fault) in &mut state.faults {
            if *times > 0 && line.contains(wanted.as_str()) && !matches!(fault, Fault::CutRequest(_)) {
                *times -= 1;
                active.push(fault.clone());
            }
        }
        if active.iter().any(|fault| matches!(fault, Fault::NoRange)) {
            request.headers.remove("range");
        }
        if let Some(Fault::Answer(response)) = active.iter().find(|fault| matches!(fault, Fault::Answer(_))) {
            return response.clone();
        }
        let mut response = self.respond(&mut state, &request);
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
                Fault::Answer(_) | Fault::CutRequest(_) | Fault::NoRange => {}
            }
        }
        response
    }
}

impl Shared {
    fn respond(&self, state: &mut State, request: &Request) -> Response {
        let Some(rest) = request.path.strip_prefix("/v2/") else { return Response::error(404, "NOT_FOUND", "no such path") };
        let Some((repository, kind, last)) = split(rest) else { return Response::error(404, "NOT_FOUND", "no such path") };
        let writing = matches!(request.method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE");
        let mut needed = vec![(repository, if writing { "push" } else { "pull" })];
        if let Some(from) = request.parameter("from") {
            needed.push((from, "pull"));
        }
        if let Err(response) = self.admit(state, request, &needed) {
            return response;
        }
        if request.method != "PUT" && !request.body.is_empty() {
            state.violations.push(format!("{} with a body", request.line()));
        }
        match (request.method.as_str(), kind) {
            ("GET" | "HEAD", "blobs") => get_blob(state, request, repository, last),
            ("POST", "uploads") => begin(state, request, repository),
            ("PUT", "uploads") => finish(state, request, repository, last),
            ("GET" | "HEAD", "manifests") => get_manifest(state, request, repository, last),
            ("PUT", "manifests") => put_manifest(state, request, repository, last),
            ("GET", "tags") => tags(state, request, repository),
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
                let scope = format!("repository:{}:{}", needed[0].0, if needed[0].1 == "push" { "pull,push" } else { "pull" });
                (admitted, format!("Bearer realm=\"{realm}\",service=\"fake\",scope=\"{scope}\""))
            }
        };
        if admitted {
            return Ok(());
        }
        state.challenged = true;
        Err(Response::error(401, "UNAUTHORIZED", "who are you").with("www-authenticate", challenge))
    }
}

/// `a/b/blobs/uploads/x` → (`a/b`, `uploads`, `x`), and so on.
fn split(rest: &str) -> Option<(&str, &str, &str)> {
    for (marker, kind) in [("/blobs/uploads/", "uploads"), ("/blobs/", "blobs"), ("/manifests/", "manifests"), ("/tags/", "tags")] {
        if let Some((repository, last)) = rest.split_once(marker) {
            return Some((repository, kind, last));
        }
    }
    None
}

fn get_blob(state: &State, request: &Request, repository: &str, digest: &str) -> Response {
    let Some(bytes) = state.blobs.get(&(repository.to_owned(), digest.to_owned())) else {
        return Response::error(404, "BLOB_UNKNOWN", "no such blob");
    };
    let response = Response::new(200).with("docker-content-digest", digest).with("content-type", "application/octet-stream");
    if request.method == "HEAD" {
        return response.with("content-length", bytes.len().to_string());
    }
    match request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()) {
        Some(start) if start < bytes.len() => {
            let mut response = response.with("content-range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()));
            response.status = 206;
            response.body(&bytes[start..])
        }
        Some(_) => Response::error(416, "RANGE", "out of range"),
        None => response.body(bytes.as_slice()),
    }
}

fn begin(state: &mut State, request: &Request, repository: &str) -> Response {
    if request.header("content-length") != Some("0") {
        state.violations.push("an upload is begun without a length of 0".to_owned());
    }
    if let (Some(digest), Some(from), false) = (request.parameter("mount"), request.parameter("from"), state.mounts_refused)
        && let Some(bytes) = state.blobs.get(&(from.to_owned(), digest.to_owned())).cloned()
    {
        state.blobs.insert((repository.to_owned(), digest.to_owned()), bytes);
        return Response::new(201).with("location", format!("/v2/{repository}/blobs/{digest}")).with("docker-content-digest", digest);
    }
    let session = format!("session{}", state.sessions.len());
    state.sessions.insert(session.clone(), repository.to_owned());
    // Relative, and with a state of its own that must come back.
    Response::new(202).with("location", format!("/v2/{repository}/blobs/uploads/{session}?_state=a%2Bb%3D"))
}

fn finish(state: &mut State, request: &Request, repository: &str, session: &str) -> Response {
    if request.parameter("_state") != Some("a+b=") {
        state.violations.push("the state of an upload was lost".to_owned());
    }
    match state.sessions.get_mut(session) {
        // A session is used once.
        Some(owner) if owner == repository => *owner = String::new(),
        Some(_) | None => return Response::error(404, "BLOB_UPLOAD_UNKNOWN", "no such session"),
    }
    let digest = Digest::of(&request.body).to_string();
    if request.parameter("digest") != Some(&digest) {
        return Response::error(400, "DIGEST_INVALID", "other bytes");
    }
    if request.header("content-type") != Some("application/octet-stream") || request.header("content-length").is_none() {
        state.violations.push("an upload without type or length".to_owned());
    }
    if state.blobs.insert((repository.to_owned(), digest.clone()), request.body.clone()).is_some() {
        state.violations.push(format!("`{digest}` was sent though it is there"));
    }
    Response::new(201).with("location", format!("/v2/{repository}/blobs/{digest}")).with("docker-content-digest", digest)
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
    Response::new(201).with("location", format!("/v2/{repository}/manifests/{digest}")).with("docker-content-digest", digest)
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
