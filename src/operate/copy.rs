//! An image or index at one place → the same bytes at another.
//!
//! Documents and blobs are not changed, nothing is unpacked, and what goes from one registry to another does not touch the disk. The only
//! exception is what `docker load` reads, which has layers that are not compressed and no manifest.

use std::num::NonZeroUsize;

use lapstrake_cache::{Digest, Store};

use super::gather::{Gathered, gather, unique};
use super::{OpenError, Place};
use crate::event::{Cancel, EventSink};
use crate::image::{Platform, Reference};
use crate::output::{Named, PushError, PushedTag, Sources, Target, WriteError, merge_bundle, push_bundle, write_images};
use crate::registry::Registry;

/// Which of an index's images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All of them, and the index itself.
    Whole,
    /// The one for this platform alone.
    Platform(Platform),
}

/// What becomes of what a tag points to already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// The tag is moved.
    Replaced,
    /// Images of an index for other platforms stay in it.
    Kept,
}

/// An image could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There are several, and one place for one.
    #[error("`{place}` holds several images, and `{to}` is one: say which, by {place}:NAME; there is {}", list(.names))]
    Several {
        /// Where they are.
        place: String,
        /// Where one of them was to go.
        to: String,
        /// What they are called.
        names: Vec<String>,
    },
    /// It could not be pushed.
    #[error(transparent)]
    Push(Box<PushError>),
    /// It could not be written.
    #[error(transparent)]
    Write(Box<WriteError>),
}

impl From<PushError> for CopyError {
    fn from(error: PushError) -> CopyError {
        CopyError::Push(Box::new(error))
    }
}

impl From<WriteError> for CopyError {
    fn from(error: WriteError) -> CopyError {
        CopyError::Write(Box::new(error))
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none that has a name".to_owned()
    } else {
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }
}

/// The handles of a copy.
#[derive(Clone, Copy)]
pub struct Hands<'a> {
    /// The client for registries.
    pub registry: &'a Registry,
    /// Where layers are expanded for `docker load`.
    pub scratch: &'a Store,
    /// How many blobs are on their way at a time.
    pub transfers: NonZeroUsize,
    /// Who is told what happens.
    pub events: &'a dyn EventSink,
    /// The wish to stop.
    pub cancel: &'a Cancel,
}

/// Something that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The digest of the image or index.
    pub digest: Digest,
    /// The tags in registries that now point to it.
    pub pushed: Vec<PushedTag>,
}

/// Copies what a place holds to another. A name of the target is the copy's; a target without one keeps the names that there are.
///
/// # Errors
///
/// When it is not there, is not what it claims to be, or cannot be written. No tag and no name points to half of it then.
pub fn copy(from: &Place, to: &Place, selection: &Selection, others: Others, hands: &Hands<'_>) -> Result<Vec<Copied>, CopyError> {
    copy_gathered(from, &gather(from, selection, hands.registry, hands.cancel)?, to, others, hands)
}

/// Copies what a place holds to each of several others, in order. It is looked up once: all get the same, whatever is pushed meanwhile.
///
/// # Errors
///
/// As [`copy`]; the places before the one that failed have it.
pub fn copy_to_all(from: &Place, to: &[Place], selection: &Selection, others: Others, hands: &Hands<'_>) -> Result<Vec<Copied>, CopyError> {
    let gathered = gather(from, selection, hands.registry, hands.cancel)?;
    let mut copied = Vec::new();
    for to in to {
        copied = copy_gathered(from, &gathered, to, others, hands)?;
    }
    Ok(copied)
}

fn copy_gathered(from: &Place, gathered: &Gathered, to: &Place, others: Others, hands: &Hands<'_>) -> Result<Vec<Copied>, CopyError> {
    match to {
        Place::Registry(reference) => Ok(vec![push_one(from, gathered, std::slice::from_ref(reference), others, hands)?]),
        Place::Layout { path, name } => write(from, to, gathered, Target::Layout { path: path.clone(), tag: name.clone() }, hands),
        Place::OciArchive { path, name } => write(from, to, gathered, Target::OciArchive { path: path.clone(), tag: name.clone() }, hands),
        Place::DockerArchive { path, name } => {
            let target = Target::DockerArchive { path: path.clone(), reference: name.clone() };
            write(from, to, gathered, target, hands)
        }
    }
}

/// Pushes what a place holds to each of some tags.
///
/// # Errors
///
/// As [`copy`].
pub fn push_from(from: &Place, tags: &[Reference], selection: &Selection, others: Others, hands: &Hands<'_>) -> Result<Copied, CopyError> {
    push_one(from, &gather(from, selection, hands.registry, hands.cancel)?, tags, others, hands)
}

fn push_one(from: &Place, gathered: &Gathered, tags: &[Reference], others: Others, hands: &Hands<'_>) -> Result<Copied, CopyError> {
    let [Named { bundle, names: _ }] = gathered.images.as_slice() else {
        return Err(several(from, tags.first().map_or_else(String::new, Reference::to_string), gathered));
    };
    let sources = Sources { here: gathered, registry: hands.registry, cancel: hands.cancel };
    let pushed = match others {
        Others::Replaced => push_bundle(bundle, tags, hands.transfers, &sources, hands.events)?,
        Others::Kept => merge_bundle(bundle, tags, hands.transfers, &sources, hands.events)?,
    };
    Ok(Copied { digest: bundle.root.descriptor.digest, pushed })
}

fn write(from: &Place, to: &Place, gathered: &Gathered, target: Target, hands: &Hands<'_>) -> Result<Vec<Copied>, CopyError> {
    let mut images = gathered.images.clone();
    let from_registry = matches!(from, Place::Registry(_));
    let into_layout = matches!(target, Target::Layout { .. } | Target::OciArchive { .. });
    match (target.name(), images.as_mut_slice()) {
        (Some(name), [only]) => only.names = vec![name.to_owned()],
        (Some(_), _) => return Err(several(from, to.to_string(), gathered)),
        // What a registry calls it is no name in a layout unless somebody says so.
        (None, [only]) if from_registry && into_layout => only.names.clear(),
        (None, _) => {}
    }
    if !unique(&images) || (images.len() > 1 && images.iter().filter(|image| image.names.is_empty()).count() > 1) {
        return Err(several(from, to.to_string(), gathered));
    }
    let sources = Sources { here: gathered, registry: hands.registry, cancel: hands.cancel };
    write_images(&images, &target, &sources, hands.scratch, hands.transfers)?;
    Ok(images.iter().map(|image| Copied { digest: image.bundle.root.descriptor.digest, pushed: Vec::new() }).collect())
}

fn several(from: &Place, to: String, gathered: &Gathered) -> CopyError {
    let names = gathered.images.iter().flat_map(|image| image.names.clone()).collect();
    CopyError::Several { place: from.to_string(), to, names }
}
