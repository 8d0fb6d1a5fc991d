//! A finished image and tags → the image in registries, under those tags.
//!
//! A tag that points to the image already costs one request. Otherwise blobs go first, several at a time, each by the cheapest way there is:
//! it is there, another repository of the registry has it, or it is sent, from this machine or straight from the registry it came from.
//! A layer need not be on this machine for any of that. The manifest goes last, so that a tag never points to half an image.
//! Source of truth: distribution-spec 1.1, "Push".

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use lapstrake_cache::Digest;

use crate::event::{Cancel, Event, EventKind, EventSink, Outcome, TaskId, TaskKind};
use crate::image::{Blobs, Descriptor, MediaKind, MediaType, Reference, Sealed};
use crate::registry::{Error, Pushed, Registry};

/// An image could not be pushed.
#[derive(Debug, thiserror::Error)]
#[error("cannot push `{reference}`")]
pub struct PushError {
    /// The tag.
    pub reference: Reference,
    /// Why.
    pub source: Box<Error>,
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
    let push = Push { sealed, transfers, here, registry, events, cancel };
    let mut complete = BTreeSet::new();
    let mut pushed = Vec::with_capacity(tags.len());
    for tag in tags {
        let outcome = reported(events, tag.to_string(), |_| push.tag(tag, &mut complete))
            .map_err(|source| PushError { reference: tag.clone(), source: Box::new(source) })?;
        let outcome = if outcome == Pushed::Existed { TagOutcome::Unchanged } else { TagOutcome::Moved };
        pushed.push(PushedTag { reference: tag.clone(), digest: sealed.manifest.digest, outcome });
    }
    Ok(pushed)
}

struct Push<'a> {
    sealed: &'a Sealed,
    transfers: NonZeroUsize,
    here: &'a dyn Blobs,
    registry: &'a Registry,
    events: &'a dyn EventSink,
    cancel: &'a Cancel,
}

/// A blob to be pushed.
struct Blob<'a> {
    descriptor: &'a Descriptor,
    bytes: Bytes<'a>,
}

/// Where a blob's bytes are.
enum Bytes<'a> {
    Memory(&'a [u8]),
    /// On this machine, or in the registry that the reference names.
    Here(Option<&'a Reference>),
}

/// A repository: registry and name.
type Repository = (String, String);

impl Push<'_> {
    /// Makes one tag point to the image. `complete` are repositories that have all of its blobs.
    fn tag(&self, tag: &Reference, complete: &mut BTreeSet<Repository>) -> Result<Pushed, Error> {
        let repository = (tag.registry.clone(), tag.repository.clone());
        if self.registry.published(tag, self.cancel)? == Some(self.sealed.manifest.digest) {
            complete.insert(repository);
            return Ok(Pushed::Existed);
        }
        if !complete.contains(&repository) {
            self.blobs(tag, complete)?;
            complete.insert(repository);
        }
        match self.manifest(tag) {
            // The registry forgot what it said it had: the client no longer believes it, and sends everything.
            Err(error) if error.is_about_missing_parts() => {
                self.blobs(tag, complete)?;
                self.manifest(tag)?;
            }
            result => drop(result?),
        }
        Ok(Pushed::Uploaded)
    }

    fn manifest(&self, tag: &Reference) -> Result<Digest, Error> {
        self.registry.push_manifest(tag, &self.sealed.manifest.media_type, &self.sealed.manifest_bytes, self.cancel)
    }

    /// Brings all blobs to a tag's repository. After a failure nothing new is begun and what is under way is stopped.
    fn blobs(&self, tag: &Reference, complete: &BTreeSet<Repository>) -> Result<(), Error> {
        let blobs = self.wanted();
        let next = AtomicUsize::new(0);
        let stop = self.cancel.child();
        let failures: Mutex<BTreeMap<usize, Error>> = Mutex::default();
        thread::scope(|scope| {
            for _ in 0..self.transfers.get().min(blobs.len()) {
                let (blobs, next, stop, failures) = (&blobs, &next, &stop, &failures);
                scope.spawn(move || {
                    while let Some((place, blob)) = take(blobs, next).filter(|_| !stop.is_cancelled()) {
                        if let Err(error) = self.blob(tag, blob, complete, stop) {
                            stop.cancel();
                            failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(place, error);
                        }
                    }
                });
            }
        });
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let failures = failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Others may only have been stopped by the one that failed.
        match failures.into_values().min_by_key(|error| matches!(error, Error::Cancelled)) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Every blob once. Layers that must not be passed on are not: the manifest says where else to get them.
    fn wanted(&self) -> Vec<Blob<'_>> {
        let config = Blob { descriptor: &self.sealed.config, bytes: Bytes::Memory(&self.sealed.config_bytes) };
        let layers = self.sealed.layers.iter();
        let layers = layers.map(|layer| Blob { descriptor: &layer.descriptor, bytes: Bytes::Here(layer.from.as_ref()) });
        let mut seen = BTreeSet::new();
        layers
            .chain(std::iter::once(config))
            .filter(|blob| !matches!(MediaType::kind(&blob.descriptor.media_type), Some(MediaKind::ForeignLayer(_))))
            .filter(|blob| seen.insert(blob.descriptor.digest))
            .collect()
    }

    fn blob(&self, tag: &Reference, blob: &Blob<'_>, complete: &BTreeSet<Repository>, stop: &Cancel) -> Result<Pushed, Error> {
        let descriptor = blob.descriptor;
        let mut mounts: Vec<Reference> = Vec::new();
        if let Bytes::Here(Some(from)) = blob.bytes {
            mounts.push(from.clone());
        }
        let here = complete.iter().filter(|(registry, _)| *registry == tag.registry);
        mounts.extend(here.take(1).map(|(_, repository)| Reference { repository: repository.clone(), ..tag.clone() }));
        let source = || self.open(blob, stop);
        reported(self.events, descriptor.digest.to_string(), |task| {
            let mut progress = |done| {
                self.events.send(Event { task, kind: EventKind::Advanced { done, of: Some(descriptor.size) } });
            };
            self.registry.push_blob(tag, descriptor, &source, &mounts, &mut progress, stop)
        })
    }

    fn open(&self, blob: &Blob<'_>, stop: &Cancel) -> io::Result<Box<dyn Read + Send>> {
        let digest = blob.descriptor.digest;
        match &blob.bytes {
            Bytes::Memory(bytes) => Ok(Box::new(io::Cursor::new(bytes.to_vec()))),
            Bytes::Here(from) => match (self.here.open(&digest)?, from) {
                (Some(bytes), _) => Ok(bytes),
                (None, Some(from)) => Ok(Box::new(self.registry.open_blob(from, blob.descriptor, stop).map_err(io::Error::other)?)),
                (None, None) => Err(io::Error::new(io::ErrorKind::NotFound, "it is neither here nor in a registry")),
            },
        }
    }
}

fn take<'a, T>(all: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    Some((place, all.get(place)?))
}

/// Reports the beginning and the end of a task.
fn reported(events: &dyn EventSink, label: String, work: impl FnOnce(TaskId) -> Result<Pushed, Error>) -> Result<Pushed, Error> {
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
