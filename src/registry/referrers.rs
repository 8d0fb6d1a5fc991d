//! A manifest's digest ⇄ the artifacts that speak of it: signatures, lists of contents, attestations.
//!
//! A registry that knows referrers keeps the list itself; for one that does not, it stands under a tag made of the digest.
//! Source of truth: distribution-spec 1.1, "Listing Referrers", "Pushing Manifests with Subject", "Referrers Tag Schema"; image-spec 1.1,
//! "Guidelines for Artifact Usage".

use std::collections::BTreeMap;
use std::sync::Arc;

use lapstrake_cache::Digest;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::client::{Answer, Ask, Client, Repeat};
use super::endpoint::{Endpoint, pull};
use super::manifests::Pages;
use super::{Error, Registry, Resolved, Wish, manifests};
use crate::event::Cancel;
use crate::image::{Descriptor, Document, Index, Manifest, MediaType, Reference};

/// The most bytes of all pages of referrers.
const REFERRERS_LIMIT_BYTES: u64 = 16 << 20;

impl Registry {
    /// The artifacts of a repository that speak of a manifest or index, of one type or, without a type, of all. Empty also where the
    /// subject is not there.
    ///
    /// # Errors
    ///
    /// When the registry does not say.
    pub fn referrers(
        &self,
        repository: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Vec<Descriptor>, Error> {
        let endpoint = Endpoint::of(&self.client.settings, repository)?;
        let (client, asked, wanted) = (Arc::clone(&self.client), *subject, artifact_type.map(str::to_owned));
        let listed = self.runtime.wait(cancel, async move {
            let endpoint = client.settle(endpoint).await;
            list(&client, &endpoint, &asked, wanted.as_deref()).await
        })?;
        let mut found = match listed {
            Some(found) => found,
            None => match self.current(&tagged(repository, subject), cancel)? {
                Some(Resolved { document: Document::Index(index), .. }) => index.manifests,
                Some(Resolved { document: Document::Manifest(_), .. }) | None => Vec::new(),
            },
        };
        // A registry need not filter.
        found.retain(|descriptor| artifact_type.is_none_or(|wanted| artifact_type_of(descriptor) == Some(wanted)));
        let mut seen = std::collections::BTreeSet::new();
        found.retain(|descriptor| seen.insert(descriptor.digest));
        Ok(found)
    }

    /// Puts a manifest with a `subject` into a repository, under its own digest, and sees to it that it is among the subject's referrers.
    /// Its config and layers must be there; its subject need not be.
    ///
    /// # Errors
    ///
    /// When the bytes are no manifest with a subject, or the registry does not take them.
    pub fn push_referrer(&self, repository: &Reference, bytes: &[u8], cancel: &Cancel) -> Result<Digest, Error> {
        let invalid = |what: &str| Error::Settings { what: format!("the artifact to be pushed to `{}` {what}", repository.name()) };
        let manifest = Manifest::parse(bytes, None).map_err(|error| invalid(&format!("is no manifest: {error}")))?;
        let subject = manifest.extra.get("subject").cloned().ok_or_else(|| invalid("has no `subject`"))?;
        let subject: Descriptor =
            serde_json::from_value(subject).map_err(|error| invalid(&format!("has a `subject` that is none: {error}")))?;
        let target = Reference { tag: None, digest: Some(Digest::of(bytes)), ..repository.clone() };
        let pushed = self.put_manifest(&target, manifest.media_type(), bytes, Repeat::Patiently, cancel)?;
        if pushed.subject {
            return Ok(pushed.digest);
        }
        let entry = entry(&manifest, bytes);
        self.change_tag(&tagged(repository, &subject.digest), &mut |current| Ok(with(current, &entry)), cancel)?;
        Ok(pushed.digest)
    }
}

/// What the list of a registry without referrers should be, with one more entry in it.
fn with(current: Option<&Resolved>, entry: &Descriptor) -> Wish {
    let mut index = match current.map(|current| &current.document) {
        Some(Document::Index(index)) if index.manifests.iter().any(|known| known.digest == entry.digest) => return Wish::Keep,
        Some(Document::Index(index)) => index.clone(),
        // An image that somebody gave such a name is no list.
        Some(Document::Manifest(_)) | None => Index {
            schema_version: 2,
            media_type: Some(MediaType::OCI_INDEX.to_owned()),
            manifests: Vec::new(),
            annotations: BTreeMap::new(),
            extra: BTreeMap::new(),
        },
    };
    index.manifests.push(entry.clone());
    Wish::Put { media_type: index.media_type().to_owned(), bytes: index.to_bytes() }
}

/// An artifact as it stands in a list of referrers: with its type and remarks.
fn entry(manifest: &Manifest, bytes: &[u8]) -> Descriptor {
    let own = manifest.extra.get("artifactType").and_then(Value::as_str).filter(|own| !own.is_empty());
    let artifact_type = own.unwrap_or(&manifest.config.media_type).to_owned();
    let mut entry = Descriptor::of(manifest.media_type(), bytes);
    entry.annotations = manifest.annotations.clone();
    entry.extra.insert("artifactType".to_owned(), artifact_type.into());
    entry
}

fn artifact_type_of(descriptor: &Descriptor) -> Option<&str> {
    descriptor.extra.get("artifactType").and_then(Value::as_str)
}

/// Where the list stands in a registry that knows no referrers.
fn tagged(repository: &Reference, subject: &Digest) -> Reference {
    Reference { tag: Some(format!("sha256-{}", subject.hex())), digest: None, ..repository.clone() }
}

/// The list as the registry keeps it; `None` where it keeps none.
async fn list(client: &Client, endpoint: &Endpoint, subject: &Digest, wanted: Option<&str>) -> Result<Option<Vec<Descriptor>>, Error> {
    let mut first = endpoint.url(&format!("referrers/{subject}"));
    if let Some(wanted) = wanted {
        first.query_pairs_mut().append_pair("artifactType", wanted);
    }
    let mut found: Option<Vec<Descriptor>> = None;
    let mut pages = Pages::new(first, REFERRERS_LIMIT_BYTES);
    while let Some(url) = pages.next() {
        let doing = format!("listing what speaks of `{}@{subject}`", endpoint.repository);
        let ask = Ask::new(Method::GET, url, pull(&endpoint.repository), &doing);
        let read = |answer: Answer| async {
            match answer.response.status() {
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(None),
                _ => manifests::page::<Index>(client, endpoint, &ask, answer, "an image index").await.map(Some),
            }
        };
        // One that knows referrers and has lost a page gives no answer.
        let Some(page) = client.whole(endpoint, &ask, read).await? else { break };
        let page = pages.turn(endpoint, &ask, page)?;
        found.get_or_insert_default().extend(page.manifests);
    }
    Ok(found)
}
