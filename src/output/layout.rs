//! A sealed image → an OCI image layout in a directory.
//!
//! Source of truth: OCI image-spec 1.1, "Image Layout".

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::image::{Descriptor, Index, MediaType, Sealed};

use super::WriteError;
use super::blobs::Gathered;
use super::write::{at, bytes, whole};

/// The annotation that holds an image's name in a layout. OCI image-spec 1.1, "Pre-Defined Annotation Keys".
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The text of `oci-layout`.
pub(super) const MARKER: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";

/// Adds the image to a layout, which is made if it is not there. An image of the same name is replaced; its blobs stay.
pub(super) fn write(sealed: &Sealed, gathered: &Gathered<'_>, directory: &Path, tag: Option<&str>) -> Result<(), WriteError> {
    let blobs = directory.join("blobs/sha256");
    at(&blobs, fs::create_dir_all(&blobs))?;
    let marker = directory.join("oci-layout");
    if !marker.exists() {
        bytes(&marker, MARKER)?;
    }
    for descriptor in gathered.descriptors() {
        let path = blobs.join(descriptor.digest.hex());
        // Blobs are written whole, so one that has the size is the one.
        if fs::metadata(&path).is_ok_and(|found| found.len() == descriptor.size) {
            continue;
        }
        whole(&path, |file| {
            let mut from = gathered.open(descriptor)?;
            at(&path, std::io::copy(&mut from, file)).map(drop)
        })?;
    }
    // The index comes last: whoever reads it finds every blob that it names.
    let path = directory.join("index.json");
    let before = match fs::read(&path) {
        Ok(found) => Index::parse(&found, None).map_err(|source| WriteError::Index { path: path.clone(), source })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => empty(),
        Err(source) => return Err(WriteError::File { path, source }),
    };
    bytes(&path, &with(before, entry(sealed, tag)).to_bytes())
}

/// The index of a layout that holds this image alone.
pub(super) fn alone(sealed: &Sealed, tag: Option<&str>) -> Index {
    with(empty(), entry(sealed, tag))
}

fn empty() -> Index {
    Index {
        schema_version: 2,
        media_type: Some(MediaType::OCI_INDEX.to_owned()),
        manifests: Vec::new(),
        annotations: BTreeMap::new(),
        extra: BTreeMap::new(),
    }
}

fn entry(sealed: &Sealed, tag: Option<&str>) -> Descriptor {
    let platform = &sealed.platform;
    let mut shown = serde_json::Map::new();
    shown.insert("architecture".to_owned(), platform.architecture.clone().into());
    shown.insert("os".to_owned(), platform.os.clone().into());
    if let Some(variant) = &platform.variant {
        shown.insert("variant".to_owned(), variant.clone().into());
    }
    let annotations = tag.map(|tag| (REF_NAME.to_owned(), tag.to_owned())).into_iter().collect();
    Descriptor { platform: Some(shown.into()), annotations, ..sealed.manifest.clone() }
}

fn with(mut index: Index, entry: Descriptor) -> Index {
    index.manifests.retain(|known| known.annotations.get(REF_NAME) != entry.annotations.get(REF_NAME));
    index.manifests.push(entry);
    index
}
