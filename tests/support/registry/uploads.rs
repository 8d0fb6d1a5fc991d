//! The uploads of the registry in memory: sessions, chunks, and what becomes of those that break.

use lapstrake_cache::Digest;

use super::fake::State;
use super::http::{Request, Response};
use super::manners::{ChunkManners, Keeping, MountManners, StreamManners};

/// An upload that is not ended.
#[derive(Debug, Clone)]
pub(super) struct Session {
    repository: String,
    bytes: Vec<u8>,
    /// How often it was answered with a new address. Only the last counts.
    step: usize,
}

fn name_of(request: &Request) -> Option<&str> {
    request.path.split_once("/blobs/uploads/").map(|(_, name)| name).filter(|name| !name.is_empty())
}

fn is_streamed(request: &Request) -> bool {
    request.header("transfer-encoding") == Some("chunked")
}

/// The length of a body; the largest there is where it is not told.
fn length(request: &Request) -> usize {
    if is_streamed(request) {
        return usize::MAX;
    }
    request.header("content-length").map_or(0, |length| length.parse().unwrap())
}

/// After how many bytes of its body a request is cut.
pub(super) fn cut(state: &mut State, request: &Request) -> Option<usize> {
    if !request.path.contains("/blobs/uploads/") || length(request) == 0 {
        return None;
    }
    let up = usize::try_from(state.traffic.up).unwrap();
    let every = state.manners.cut_up_every.map(|every| (up / every + 1) * every);
    let at = every.or(state.manners.cut_up_once)?;
    let limit = at.checked_sub(up)?;
    if limit >= length(request) {
        return None;
    }
    state.manners.cut_up_once = None;
    state.traffic.cuts += 1;
    Some(limit)
}

/// A request of which only a part came.
pub(super) fn broken(state: &mut State, request: &Request) {
    let Some(name) = name_of(request) else { return };
    state.traffic.up += request.body.len() as u64;
    match state.manners.keeping {
        Keeping::Bytes => {
            if let Some(session) = state.sessions.get_mut(name) {
                session.bytes.extend_from_slice(&request.body);
            }
        }
        Keeping::Requests => {}
        Keeping::Nothing => drop(state.sessions.remove(name)),
    }
}

pub(super) fn begin(state: &mut State, request: &Request, repository: &str) -> Response {
    let (digest, mount) = (request.parameter("digest"), request.parameter("mount"));
    if digest.is_none() && request.header("content-length") != Some("0") {
        state.violations.push("an upload is begun without a length of 0".to_owned());
    }
    if let Some(digest) = mount {
        let from = request.parameter("from");
        match state.manners.mounts {
            MountManners::Refused => return Response::error(405, "UNSUPPORTED", "no mounts"),
            MountManners::Ignored => {}
            MountManners::Taken | MountManners::TakenFromAnywhere => {
                let anywhere = state.manners.mounts == MountManners::TakenFromAnywhere && from.is_none();
                let found = state.blobs.iter().find(|((owner, name), _)| name == digest && (anywhere || Some(owner.as_str()) == from));
                if let Some(bytes) = found.map(|(_, bytes)| bytes.clone()) {
                    state.blobs.insert((repository.to_owned(), digest.to_owned()), bytes);
                    let location = format!("/v2/{repository}/blobs/{digest}");
                    return Response::new(201).with("location", location).with("docker-content-digest", digest);
                }
            }
        }
    }
    if let Some(digest) = digest
        && state.manners.single_post
    {
        state.traffic.up += request.body.len() as u64;
        return put(state, request, repository, digest, request.body.clone());
    }
    state.begun += 1;
    let name = format!("session{}", state.begun);
    state.sessions.insert(name.clone(), Session { repository: repository.to_owned(), bytes: Vec::new(), step: 0 });
    answer(state, 202, &name)
}

/// An answer with the address that counts from now on, relative and with a state of its own that must come back.
fn answer(state: &State, status: u16, name: &str) -> Response {
    let session = &state.sessions[name];
    let location = format!("/v2/{}/blobs/uploads/{name}?_state=a%2Bb%3D&step={}", session.repository, session.step);
    let response = Response::new(status).with("location", location).with("range", format!("0-{}", session.bytes.len().saturating_sub(1)));
    match state.manners.chunk_min {
        Some(least) => response.with("oci-chunk-min-length", least.to_string()),
        None => response,
    }
}

pub(super) fn status(state: &State, repository: &str, name: &str) -> Response {
    match state.sessions.get(name) {
        Some(session) if session.repository == repository => answer(state, 204, name),
        Some(_) | None => Response::error(404, "BLOB_UPLOAD_UNKNOWN", "no such session"),
    }
}

/// What is wrong with a request that carries bytes.
fn check(state: &mut State, request: &Request, repository: &str, name: &str) -> Result<(), Response> {
    if request.parameter("_state") != Some("a+b=") {
        state.violations.push("the state of an upload was lost".to_owned());
    }
    if request.header("content-type") != Some("application/octet-stream")
        || (request.header("content-length").is_none() && !is_streamed(request))
    {
        state.violations.push("an upload without type or length".to_owned());
    }
    match state.sessions.get(name) {
        Some(session) if session.repository == repository => {
            if request.parameter("step") != Some(&session.step.to_string()) {
                state.violations.push("an old address of an upload was used".to_owned());
            }
        }
        Some(_) | None => return Err(Response::error(404, "BLOB_UPLOAD_UNKNOWN", "no such session")),
    }
    state.traffic.up += request.body.len() as u64;
    if state.manners.largest_body.is_some_and(|largest| request.body.len() > largest) {
        return Err(Response::new(413).body("<html>"));
    }
    Ok(())
}

pub(super) fn chunk(state: &mut State, request: &Request, repository: &str, name: &str) -> Response {
    if let Err(response) = check(state, request, repository, name) {
        return response;
    }
    let manners = state.manners.chunks;
    let had = state.sessions[name].bytes.len();
    let range = request.header("content-range").and_then(|range| range.split_once('-'));
    let range = range.and_then(|(start, end)| Some((start.parse::<usize>().ok()?, end.parse::<usize>().ok()?)));
    let taken = match manners {
        ChunkManners::Refused => return Response::error(405, "UNSUPPORTED", "no chunks"),
        ChunkManners::UpTo(most) if request.body.len() > most => {
            return Response::error(416, "REQUESTED_RANGE_NOT_SATISFIABLE", "the chunk is too large");
        }
        ChunkManners::FirstOnly if had > 0 => 0,
        ChunkManners::Partly(most) => most.min(request.body.len()),
        ChunkManners::FirstOnly | ChunkManners::UpTo(_) | ChunkManners::Taken => request.body.len(),
    };
    if is_streamed(request) {
        if state.manners.streams == StreamManners::Refused {
            return Response::error(411, "SIZE_INVALID", "a length is wanted");
        }
        if range.is_some() || had > 0 {
            state.violations.push("a stream that is no beginning".to_owned());
        }
    } else if range != Some((had, had + request.body.len() - 1)) {
        return answer(state, 416, name);
    }
    if state.manners.chunk_min.is_some_and(|least| request.body.len() < least) && state.sessions.contains_key(name) {
        // Only the last may be smaller, which shows when the next comes.
        state.manners.chunks = ChunkManners::FirstOnly;
    }
    if let Some(session) = state.sessions.get_mut(name) {
        session.bytes.extend_from_slice(&request.body[..taken]);
        session.step += 1;
    }
    answer(state, 202, name)
}

pub(super) fn finish(state: &mut State, request: &Request, repository: &str, name: &str) -> Response {
    if let Err(response) = check(state, request, repository, name) {
        return response;
    }
    let Some(mut session) = state.sessions.remove(name) else { return Response::new(404) };
    if !session.bytes.is_empty() && !request.body.is_empty() {
        state.violations.push("what is there was not asked about".to_owned());
    }
    session.bytes.extend_from_slice(&request.body);
    put(state, request, repository, request.parameter("digest").unwrap_or_default(), session.bytes)
}

fn put(state: &mut State, _request: &Request, repository: &str, expected: &str, bytes: Vec<u8>) -> Response {
    let digest = Digest::of(&bytes).to_string();
    if expected != digest {
        return Response::error(400, "DIGEST_INVALID", "other bytes");
    }
    if state.blobs.insert((repository.to_owned(), digest.clone()), bytes).is_some() {
        state.violations.push(format!("`{digest}` was sent though it is there"));
    }
    Response::new(201).with("location", format!("/v2/{repository}/blobs/{digest}")).with("docker-content-digest", digest)
}
