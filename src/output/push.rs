//! A finished image and tags → the image in registries, under those tags.
//!
//! A tag that points to the image already costs one request. Otherwise blobs go first, several at a time, each by the cheapest way there is:
//! it is there, another repository of the registry has it, or it is sent, from this machine or straight from the registry it came from.
//! A layer need not be on this machine for any of that. The manifest goes last, so that a tag never points to half an image.
//! Source of truth: distribution-spec 1.1, "Push".

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use lapstrake_cache::Digest;

use super::at_once::at_once;
use super::bundle::{Bundle, Part, Sources, Text};
use crate::event::{Cancel, Event, EventKind, EventSink, Outcome, TaskId, TaskKind};
use crate::image::{Blobs, Reference, Sealed};
use crate::registry::{Error, Pushed, Registry};

/// An image could not be pushed.
#[derive(Debug, thiserror::Error)]
#[error("cannot push `{reference}`{}", before(.pushed))]
pub struct PushError {
    /// The tag.
    pub reference: Box<Reference>,
    /// The tags before it, which point to the image now.
    pub pushed: Vec<PushedTag>,
    /// Why.
    pub source: Box<Error>,
}

impl PushError {
    /// The blob that could not be read from where it was, or was other bytes than it should be.
    #[must_use]
    pub fn unreadable(&self) -> Option<Digest> {
        match &*self.source {
            Error::Source { digest, .. } | Error::SourceSize { digest, .. } => Some(*digest),
            Error::Unreachable { .. }
            | Error::Stalled { .. }
            | Error::Broken { .. }
            | Error::Unauthorized { .. }
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
            | Error::OtherDigest { .. }
            | Error::TooLarge { .. }
            | Error::Invalid { .. }
            | Error::Changed { .. }
            | Error::Credentials { .. }
            | Error::Sink { .. }
            | Error::FetchSink { .. }
            | Error::Nowhere { .. }
            | Error::Contended { .. }
            | Error::Settings { .. }
            | Error::Start(_)
            | Error::Cancelled => None,
        }
    }
}

/// What was moved before something failed, so that nobody has to look for it.
fn before(pushed: &[PushedTag]) -> String {
    let moved = pushed.iter().filter(|tag| tag.outcome == TagOutcome::Moved);
    let moved: Vec<String> = moved.map(|tag| format!("`{}`", tag.reference)).collect();
    if moved.is_empty() { String::new() } else { format!(" (moved before it: {})", moved.join(", ")) }
}

/// A tag that now points to the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedTag {
    /// The tag.
    pub reference: Reference,
    /// The digest of the manifest.
    pub digest: Digest,
    /// Whether it had to be moved.
    pub outcome: TagOutcome,
}

/// Whether a tag had to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagOutcome {
    /// It pointed to the image already.
    Unchanged,
    /// It was made, or pointed to something else.
    Moved,
}

/// Pushes an image to each tag, in order, with up to `transfers` blobs at a time. Blobs of layers are taken from `here`, such as the store,
/// or, where they are not, from the registry that the layer names.
///
/// # Errors
///
/// The first failure. Tags before it have been pushed; blobs that were sent stay and make the next attempt cheaper.
pub fn push(
    sealed: &Sealed,
    tags: &[Reference],
    transfers: NonZeroUsize,
    here: &dyn Blobs,
    registry: &Registry,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<Vec<PushedTag>, PushError> {
    push_bundle(&Bundle::of(sealed), tags, transfers, &Sources { here, registry, cancel }, events)
}

/// Pushes an image, or an index with all that it names, to each tag, in order, with up to `transfers` blobs at a time.
///
/// # Errors
///
/// As [`push()`].
pub fn push_bundle(
    bundle: &Bundle,
    tags: &[Reference],
    transfers: NonZeroUsize,
    sources: &Sources<'_>,
    events: &dyn EventSink,
) -> Result<Vec<PushedTag>, PushError> {
    let push = Push { bundle, transfers, sources: *sources, events };
    let actual = bundle.root.descriptor.digest;
    let mut complete = BTreeSet::new();
    let mut pushed = Vec::with_capacity(tags.len());
    // Nothing is moved where the last could not be.
    if let Some(tag) = tags.iter().find(|tag| tag.digest.is_some_and(|named| named != actual)) {
        let source = Box::new(Error::OtherDigest { target: tag.to_string(), actual });
        return Err(PushError { reference: Box::new(tag.clone()), pushed, source });
    }
    for tag in tags {
        let outcome = match reported(events, tag.to_string(), |_| push.tag(tag, &mut complete)) {
            Ok(Pushed::Existed) => TagOutcome::Unchanged,
            Ok(Pushed::Mounted | Pushed::Uploaded) => TagOutcome::Moved,
            Err(source) => return Err(PushError { reference: Box::new(tag.clone()), pushed, source: Box::new(source) }),
        };
        pushed.push(PushedTag { reference: tag.clone(), digest: actual, outcome });
    }
    Ok(pushed)
}

/// How often everything is sent anew to a registry that misses parts of a manifest.
const ATTEMPTS: u32 = 4;

pub(super) struct Push<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) transfers: NonZeroUsize,
    pub(super) sources: Sources<'a>,
    pub(super) events: &'a dyn EventSink,
}

/// A repository: registry and name.
type Repository = (String, String);

impl Push<'_> {
    /// Makes one tag point to the image. `complete` are repositories that have all that it names.
    fn tag(&self, tag: &Reference, complete: &mut BTreeSet<Repository>) -> Result<Pushed, Error> {
        let repository = (tag.registry.clone(), tag.repository.clone());
        let root = &self.bundle.root;
        if self.sources.registry.published(tag, self.sources.cancel)? == Some(root.descriptor.digest) {
            complete.insert(repository);
            return Ok(Pushed::Existed);
        }
        if !complete.contains(&repository) {
            self.parts(tag, complete)?;
            complete.insert(repository);
        }
        self.put(tag, root, || self.parts(tag, complete))?;
        Ok(Pushed::Uploaded)
    }

    /// Brings everything that the root names to a tag's repository.
    pub(super) fn parts(&self, tag: &Reference, complete: &BTreeSet<Repository>) -> Result<(), Error> {
        self.blobs(tag, complete)?;
        for text in &self.bundle.documents {
            let place = Reference { tag: None, digest: Some(text.descriptor.digest), ..tag.clone() };
            self.put(&place, text, || self.blobs(tag, complete))?;
        }
        Ok(())
    }

    /// Where the registry misses what the text names, it forgot what it said it had, or others send the same at this moment: the client no
    /// longer believes it, and `again` brings everything anew, after a pause of another length for each who sends.
    pub(super) fn put(&self, place: &Reference, text: &Text, again: impl Fn() -> Result<(), Error>) -> Result<(), Error> {
        let Sources { registry, cancel, .. } = self.sources;
        let mut attempt = 0;
        loop {
            match registry.push_manifest(place, &text.descriptor.media_type, &text.bytes, cancel) {
                Ok(_) => return Ok(()),
                Err(error) if error.is_about_missing_parts() && attempt < ATTEMPTS => {
                    if attempt > 0 {
                        registry.pause(attempt, cancel)?;
                    }
                    attempt += 1;
                    again()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Brings all blobs to a tag's repository. After a failure nothing new is begun and what is under way is stopped.
    fn blobs(&self, tag: &Reference, complete: &BTreeSet<Repository>) -> Result<(), Error> {
        let cancel = self.sources.cancel;
        let result = at_once(
            &self.bundle.blobs,
            self.transfers,
            cancel,
            |error| matches!(error, Error::Cancelled),
            |part, stop| self.blob(tag, part, complete, stop).map(drop),
        );
        if cancel.is_cancelled() { Err(Error::Cancelled) } else { result }
    }

    fn blob(&self, tag: &Reference, part: &Part, complete: &BTreeSet<Repository>, stop: &Cancel) -> Result<Pushed, Error> {
        let descriptor = &part.descriptor;
        let mut mounts: Vec<Reference> = part.from.iter().cloned().collect();
        let here = complete.iter().filter(|(registry, _)| *registry == tag.registry);
        mounts.extend(here.take(1).map(|(_, repository)| Reference { repository: repository.clone(), ..tag.clone() }));
        let sources = Sources { cancel: stop, ..self.sources };
        let source = || sources.open(part);
        reported(self.events, descriptor.digest.to_string(), |task| {
            let mut progress = |done| {
                self.events.send(Event { task, kind: EventKind::Advanced { done, of: Some(descriptor.size) } });
            };
            self.sources.registry.push_blob(tag, descriptor, &source, &mounts, &mut progress, stop)
        })
    }
}

/// Reports the beginning and the end of a task.
pub(super) fn reported(events: &dyn EventSink, label: String, work: impl FnOnce(TaskId) -> Result<Pushed, Error>) -> Result<Pushed, Error> {
    let task = TaskId::fresh();
    events.send(Event { task, kind: EventKind::Started { what: TaskKind::Push, label } });
    let result = work(task);
    let outcome = match &result {
        Ok(Pushed::Existed) => Outcome::Cached,
        Ok(Pushed::Mounted | Pushed::Uploaded) => Outcome::Done,
        Err(Error::Cancelled) => Outcome::Cancelled,
        Err(_) => Outcome::Failed,
    };
    events.send(Event { task, kind: EventKind::Finished(outcome) });
    result
}
