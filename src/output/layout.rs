//! Images → an OCI image layout in a directory.
//!
//! Source of truth: OCI image-spec 1.1, "Image Layout".

use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::Path;

use crate::image::{Descriptor, Format, Index};

use super::at_once::at_once;
use super::bundle::{Sources, contents, sorted_index};
use super::write::{at, bytes, whole};
use super::{Named, WriteError};

/// The annotation that holds an image's name in a layout. OCI image-spec 1.1, "Pre-Defined Annotation Keys".
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The text of `oci-layout`.
pub(super) const MARKER: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";

/// Adds images to a layout, which is made if it is not there. An image of the same name is replaced; its blobs stay.
pub(super) fn write(images: &[Named], sources: &Sources<'_>, transfers: NonZeroUsize, directory: &Path) -> Result<(), WriteError> {
    let blobs = directory.join("blobs/sha256");
    at(&blobs, fs::create_dir_all(&blobs))?;
    let marker = directory.join("oci-layout");
    if !marker.exists() {
        bytes(&marker, MARKER)?;
    }
    let parts = contents(images.iter().map(|image| &image.bundle));
    at_once(
        &parts,
        transfers,
        sources.cancel,
        |error| matches!(error, WriteError::Cancelled),
        |part, stop| {
            let path = blobs.join(part.descriptor.digest.hex());
            // Blobs are written whole, so one that has the size is the one.
            if fs::metadata(&path).is_ok_and(|found| found.len() == part.descriptor.size) {
                return Ok(());
            }
            whole(&path, |file| {
                let unreadable = |source| WriteError::Blob { digest: part.descriptor.digest, source };
                let mut from = Sources { cancel: stop, ..*sources }.open(part).map_err(unreadable)?;
                super::write::copy(&mut from, file, stop, &path, unreadable)
            })
        },
    )?;
    if sources.cancel.is_cancelled() {
        return Err(WriteError::Cancelled);
    }
    // Two writers at once would lose each other's entry. The lock ends with the file.
    let lock = at(directory, File::open(directory))?;
    at(directory, rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).map_err(Into::into))?;
    // The index comes last: whoever reads it finds every blob that it names.
    let path = directory.join("index.json");
    let before = match fs::read(&path) {
        Ok(found) => Index::parse(&found, None).map_err(|source| WriteError::Index { path: path.clone(), source })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => empty(),
        Err(source) => return Err(WriteError::File { path, source }),
    };
    bytes(&path, &with(before, images).to_bytes())
}

/// The index of a layout that holds these images alone.
pub(super) fn alone(images: &[Named]) -> Index {
    with(empty(), images)
}

fn empty() -> Index {
    sorted_index(Vec::new(), Format::Oci)
}

fn with(mut index: Index, images: &[Named]) -> Index {
    let unnamed = [None];
    for image in images {
        let names: Vec<Option<&str>> = image.names.iter().map(|name| Some(name.as_str())).collect();
        for name in if names.is_empty() { &unnamed[..] } else { &names } {
            let mut entry = image.bundle.entry();
            entry.annotations.extend(name.map(|name| (REF_NAME.to_owned(), name.to_owned())));
            let is_replaced = |known: &Descriptor| known.annotations.get(REF_NAME) == entry.annotations.get(REF_NAME);
            index.manifests.retain(|known| !is_replaced(known));
            index.manifests.push(entry);
        }
    }
    index
}
