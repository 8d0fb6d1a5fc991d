//! Manifests, indexes and tags: read with their digest checked, written with the registry's word for it checked.
//!
//! Source of truth: distribution-spec 1.1, "Pulling manifests", "Pushing Manifests", "Content Discovery".

use bytes::Bytes;
use lapstrake_cache::Digest;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, LINK};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::client::{Answer, Ask, Client, Payload, Repeat};
use super::endpoint::{Endpoint, pull, push as push_scope};
use super::{Error, Resolved};
use crate::image::{Descriptor, Document, MANIFEST_LIMIT_BYTES, MediaType, Reference};

/// The types that we read, the newest first. Registries convert, or deny having it, when theirs is not among them.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// The header in which a registry says what the digest is.
const DIGEST_HEADER: &str = "docker-content-digest";

/// The header in which a registry says that it knows what a manifest speaks of.
const SUBJECT_HEADER: &str = "oci-subject";

/// How many pages of tags are read.
const PAGES: usize = 1000;

/// How many tags are kept of a repository.
const TAGS: usize = 1_000_000;

/// What a reference stands for, from the first server that has it.
pub(super) async fn resolve(client: &Client, endpoints: &[Endpoint], reference: &Reference) -> Result<Resolved, Error> {
    let named = reference.to_string();
    client.first(endpoints, &named, |endpoint, repeat| get(client, endpoint, repeat, reference)).await
}

async fn get(client: &Client, endpoint: Endpoint, repeat: Repeat, reference: &Reference) -> Result<Resolved, Error> {
    let mut ask = ask(&endpoint, Method::GET, reference, pull(&endpoint.repository), "pulling the manifest of");
    ask.repeat = repeat;
    client.whole(&endpoint, &ask, |answer| read(client, &endpoint, &ask.doing, answer, reference)).await
}

async fn read(client: &Client, endpoint: &Endpoint, doing: &str, answer: Answer, reference: &Reference) -> Result<Resolved, Error> {
    if answer.response.status() != StatusCode::OK {
        return Err(client.refusal(&endpoint.host, doing, answer).await);
    }
    let served_as = media_type(answer.response.headers());
    let said = said_digest(answer.response.headers());
    let bytes = client.body(&endpoint.host, doing, answer.response, MANIFEST_LIMIT_BYTES).await?;
    let digest = Digest::of(&bytes);
    let (host, doing) = (endpoint.host.clone(), doing.to_owned());
    if let Some(expected) = reference.digest.filter(|expected| *expected != digest) {
        return Err(Error::DigestMismatch { host, doing, expected, actual: digest });
    }
    if let Some(said) = said.filter(|said| *said != digest.to_string() && said.starts_with("sha256:")) {
        return Err(Error::ManifestDigest { host, doing, said, actual: digest });
    }
    // A registry that does not know the type calls it something general.
    let named = served_as.as_deref().filter(|media_type| MediaType::kind(media_type).is_some());
    let document = Document::parse(&bytes, named).map_err(|source| Error::Invalid { host, doing, source })?;
    let descriptor = Descriptor::new(named.unwrap_or(document.media_type()), digest, bytes.len() as u64);
    Ok(Resolved { descriptor, bytes, document })
}

/// What a tag or digest points to, going by a `HEAD` request alone.
pub(super) async fn published(client: &Client, endpoint: &Endpoint, target: &Reference) -> Result<Option<Digest>, Error> {
    // With the scope of the push that follows, so that one token serves both.
    let ask = ask(endpoint, Method::HEAD, target, push_scope(&endpoint.repository), "looking for");
    let answer = client.send(endpoint, &ask).await?;
    match answer.response.status() {
        // Without the header nothing is known, and pushing again does no harm.
        StatusCode::OK => Ok(said_digest(answer.response.headers()).and_then(|said| said.parse().ok())),
        StatusCode::NOT_FOUND => Ok(None),
        _ => Err(client.refusal(&endpoint.host, &ask.doing, answer).await),
    }
}

/// A manifest that a registry took.
pub(super) struct Put {
    /// The digest.
    pub(super) digest: Digest,
    /// Whether the registry says that it has put it among its subject's referrers.
    pub(super) subject: bool,
}

/// Puts a manifest under a tag or digest.
pub(super) async fn push(client: &Client, endpoint: &Endpoint, target: &Reference, media_type: &str, bytes: Bytes) -> Result<Put, Error> {
    let digest = Digest::of(&bytes);
    let place = Reference { digest: target.tag.is_none().then_some(digest), ..target.clone() };
    let mut ask = ask(endpoint, Method::PUT, &place, push_scope(&endpoint.repository), "pushing the manifest of");
    let (host, doing) = (endpoint.host.clone(), ask.doing.clone());
    if let Some(expected) = target.digest.filter(|expected| *expected != digest) {
        return Err(Error::ManifestDigest { host, doing, said: expected.to_string(), actual: digest });
    }
    let content_type = HeaderValue::try_from(media_type)
        .map_err(|_| Error::Settings { what: format!("`{}` is no media type", media_type.escape_debug()) })?;
    ask.headers.insert(CONTENT_TYPE, content_type);
    ask.payload = Payload::Bytes(bytes);
    let answer = client.send(endpoint, &ask).await?;
    if !answer.response.status().is_success() {
        let error = client.refusal(&endpoint.host, &ask.doing, answer).await;
        if error.is_about_missing_parts() {
            client.memory.doubt(endpoint);
        }
        return Err(error);
    }
    match said_digest(answer.response.headers()) {
        Some(said) if said.starts_with("sha256:") && said != digest.to_string() => {
            Err(Error::ManifestDigest { host, doing, said, actual: digest })
        }
        Some(_) | None => Ok(Put { digest, subject: answer.response.headers().contains_key(SUBJECT_HEADER) }),
    }
}

/// All tags of a repository, sorted.
pub(super) async fn tags(client: &Client, endpoint: &Endpoint) -> Result<Vec<String>, Error> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(default)]
        tags: Option<Vec<String>>,
    }
    let mut tags = Vec::new();
    let mut next = Some(endpoint.url("tags/list"));
    for _ in 0..PAGES {
        let Some(url) = next else { break };
        let ask = Ask::new(Method::GET, url, pull(&endpoint.repository), &format!("listing the tags of `{}`", endpoint.repository));
        let read = |answer| page::<Page>(client, endpoint, &ask, answer, "a list of tags in JSON");
        let (found, following) = client.whole(endpoint, &ask, read).await?;
        next = following;
        tags.extend(found.tags.unwrap_or_default());
        if tags.len() > TAGS {
            let limit_bytes = MANIFEST_LIMIT_BYTES;
            return Err(Error::TooLarge { host: endpoint.host.clone(), doing: ask.doing, limit_bytes });
        }
    }
    tags.sort();
    tags.dedup();
    Ok(tags)
}

/// One page of a list, and where the next is.
pub(super) async fn page<T: serde::de::DeserializeOwned>(
    client: &Client,
    endpoint: &Endpoint,
    ask: &Ask,
    answer: Answer,
    expected: &'static str,
) -> Result<(T, Option<Url>), Error> {
    if answer.response.status() != StatusCode::OK {
        return Err(client.refusal(&endpoint.host, &ask.doing, answer).await);
    }
    let next = next_page(endpoint, ask, answer.response.headers())?;
    let body = client.body(&endpoint.host, &ask.doing, answer.response, MANIFEST_LIMIT_BYTES).await?;
    let page =
        serde_json::from_slice(&body).map_err(|_| Error::Protocol { host: endpoint.host.clone(), doing: ask.doing.clone(), expected })?;
    Ok((page, next))
}

/// Where the next page is, which must be on the same server.
fn next_page(endpoint: &Endpoint, ask: &Ask, headers: &HeaderMap) -> Result<Option<Url>, Error> {
    let Some(link) = headers.get(LINK).and_then(|link| link.to_str().ok()) else { return Ok(None) };
    let Some((target, parameters)) = link.trim_start().strip_prefix('<').and_then(|link| link.split_once('>')) else { return Ok(None) };
    if !parameters.replace(['"', ' '], "").contains("rel=next") {
        return Ok(None);
    }
    let url = endpoint.led_to(&ask.url, target, &ask.doing)?;
    Ok(endpoint.owns(&url).then_some(url))
}

fn ask(endpoint: &Endpoint, method: Method, reference: &Reference, scope: String, doing: &str) -> Ask {
    let (place, named) = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => (digest.to_string(), format!("{}@{digest}", reference.name())),
        (None, Some(tag)) => (tag.clone(), format!("{}:{tag}", reference.name())),
        (None, None) => ("latest".to_owned(), reference.name()),
    };
    let url = endpoint.url(&format!("manifests/{place}"));
    let mut ask = Ask::new(method, url, scope, &format!("{doing} `{named}`"));
    if ask.method != Method::PUT {
        ask.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
    }
    ask
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    text.split(';').next().map(|media_type| media_type.trim().to_owned())
}

fn said_digest(headers: &HeaderMap) -> Option<String> {
    headers.get(DIGEST_HEADER)?.to_str().ok().map(|digest| digest.trim().to_owned())
}
