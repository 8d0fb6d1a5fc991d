//! Manifests, indexes and tags: read with their digest checked, written with the registry's word for it checked.
//!
//! Source of truth: distribution-spec 1.1, "Pulling manifests", "Pushing Manifests", "Content Discovery".

use std::collections::BTreeSet;

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

/// The most bytes of all pages of tags.
const TAGS_LIMIT_BYTES: u64 = 64 << 20;

/// What a page counts for at least.
const LEAST_PAGE_BYTES: u64 = 8 << 10;

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

/// What a registry says of a tag or digest without giving the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// There is nothing.
    Nothing,
    /// There is something, and the registry does not say what: the header that would is one that it SHOULD send.
    Something,
    /// There is this.
    This(Digest),
}

/// Where something is pushed to: a tag, where there is one, whatever digest stands beside it.
pub(super) fn place_of(target: &Reference) -> Reference {
    Reference { digest: target.digest.filter(|_| target.tag.is_none()), ..target.clone() }
}

/// What a tag or digest points to, going by a `HEAD` request alone.
pub(super) async fn published(client: &Client, endpoint: &Endpoint, target: &Reference) -> Result<Published, Error> {
    // With the scope of the push that follows, so that one token serves both.
    let ask = ask(endpoint, Method::HEAD, &place_of(target), push_scope(&endpoint.repository), "looking for");
    let answer = client.send(endpoint, &ask).await?;
    match answer.response.status() {
        StatusCode::OK => {
            let said = said_digest(answer.response.headers()).and_then(|said| said.parse().ok());
            Ok(said.map_or(Published::Something, Published::This))
        }
        StatusCode::NOT_FOUND => Ok(Published::Nothing),
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
pub(super) async fn push(
    client: &Client,
    endpoint: &Endpoint,
    target: &Reference,
    media_type: &str,
    bytes: Bytes,
    repeat: Repeat,
) -> Result<Put, Error> {
    let digest = Digest::of(&bytes);
    fits(target, &digest)?;
    let place = Reference { digest: target.tag.is_none().then_some(digest), ..target.clone() };
    let mut ask = ask(endpoint, Method::PUT, &place, push_scope(&endpoint.repository), "pushing the manifest of");
    ask.repeat = repeat;
    let (host, doing) = (endpoint.host.clone(), ask.doing.clone());
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

/// Refuses to push something to a place that is named by the digest of something else.
pub(super) fn fits(target: &Reference, digest: &Digest) -> Result<(), Error> {
    match target.digest {
        Some(expected) if expected != *digest => Err(Error::OtherDigest { target: target.to_string(), actual: *digest }),
        Some(_) | None => Ok(()),
    }
}

/// All tags of a repository, sorted. What is no tag is left out.
pub(super) async fn tags(client: &Client, endpoint: &Endpoint) -> Result<Vec<String>, Error> {
    #[derive(Deserialize)]
    struct Listed {
        #[serde(default)]
        tags: Option<Vec<String>>,
    }
    let mut tags = BTreeSet::new();
    let mut pages = Pages::new(endpoint.url("tags/list"), TAGS_LIMIT_BYTES);
    while let Some(url) = pages.next() {
        let ask = Ask::new(Method::GET, url, pull(&endpoint.repository), &format!("listing the tags of `{}`", endpoint.repository));
        let read = |answer| page::<Listed>(client, endpoint, &ask, answer, "a list of tags in JSON");
        let page = client.whole(endpoint, &ask, read).await?;
        let listed = pages.turn(endpoint, &ask, page)?;
        tags.extend(listed.tags.unwrap_or_default().into_iter().filter(|tag| is_tag(tag)));
    }
    Ok(tags.into_iter().collect())
}

/// Whether a text is a tag: distribution-spec 1.1, "Pulling manifests".
fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let first = text.bytes().next().is_some_and(is_word);
    first && text.len() <= 128 && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

/// A list that comes in pages: where the next is, and how much may still come.
pub(super) struct Pages {
    next: Option<Url>,
    seen: BTreeSet<Url>,
    left_bytes: u64,
    limit_bytes: u64,
}

/// One page of a list.
pub(super) struct Page<T> {
    value: T,
    bytes: u64,
    next: Option<Url>,
}

impl Pages {
    pub(super) fn new(first: Url, limit_bytes: u64) -> Pages {
        Pages { next: Some(first), seen: BTreeSet::new(), left_bytes: limit_bytes, limit_bytes }
    }

    /// The address of the next page; `None` after the last.
    pub(super) fn next(&mut self) -> Option<Url> {
        let next = self.next.take()?;
        self.seen.insert(next.clone());
        Some(next)
    }

    /// Takes a page: what is on it.
    pub(super) fn turn<T>(&mut self, endpoint: &Endpoint, ask: &Ask, page: Page<T>) -> Result<T, Error> {
        let (host, doing) = (endpoint.host.clone(), ask.doing.clone());
        // An empty page has a few bytes, too, so there is an end to them.
        let Some(left) = self.left_bytes.checked_sub(page.bytes.max(LEAST_PAGE_BYTES)) else {
            return Err(Error::TooLarge { host, doing, limit_bytes: self.limit_bytes });
        };
        if page.next.as_ref().is_some_and(|next| self.seen.contains(next)) {
            return Err(Error::Protocol { host, doing, expected: "an end to the pages of its list" });
        }
        (self.left_bytes, self.next) = (left, page.next);
        Ok(page.value)
    }
}

/// One page of a list, and where the next is.
pub(super) async fn page<T: serde::de::DeserializeOwned>(
    client: &Client,
    endpoint: &Endpoint,
    ask: &Ask,
    answer: Answer,
    expected: &'static str,
) -> Result<Page<T>, Error> {
    if answer.response.status() != StatusCode::OK {
        return Err(client.refusal(&endpoint.host, &ask.doing, answer).await);
    }
    let next = next_page(endpoint, ask, answer.response.headers())?;
    let body = client.body(&endpoint.host, &ask.doing, answer.response, MANIFEST_LIMIT_BYTES).await?;
    let value =
        serde_json::from_slice(&body).map_err(|_| Error::Protocol { host: endpoint.host.clone(), doing: ask.doing.clone(), expected })?;
    Ok(Page { value, bytes: body.len() as u64, next })
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
