//! The images that were built with a store, the latest first.

use lapstrake_cache::{Digest, Fingerprint, Shelf, Store};
use serde::{Deserialize, Serialize};

use super::Failure;
use super::asked::BuiltImage;

/// What was built, by name, platform and digest.
const SHELF: Shelf = Shelf::named("images");

/// An image that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedImage {
    /// Its name in its spec.
    pub name: String,
    /// What it is for, as `os/architecture[/variant]`.
    pub platform: String,
    /// Its manifest's digest.
    pub digest: Digest,
    /// Bytes of its layers as they are stored.
    pub size: u64,
    /// The tags it was built with.
    pub tags: Vec<String>,
    /// How long ago, in seconds.
    pub age_seconds: u64,
}

/// The body of a record.
#[derive(Serialize, Deserialize)]
struct Record {
    name: String,
    platform: String,
    digest: String,
    size: u64,
    tags: Vec<String>,
}

/// Remembers an image.
pub(super) fn remember(store: &Store, built: &BuiltImage) -> Result<(), Failure> {
    let record = Record {
        name: built.image.name.clone(),
        platform: built.image.platform.to_string(),
        digest: built.sealed.manifest.digest.to_string(),
        size: built.sealed.layers.iter().map(|layer| layer.descriptor.size).sum(),
        tags: built.image.tags.iter().map(ToString::to_string).collect(),
    };
    let key = Fingerprint::of(format!("lapstrake-image/1\n{}\n{}\n{}", record.name, record.platform, record.digest).as_bytes());
    let body = serde_json::to_vec(&record)
        .map_err(|error| Failure::File { path: store.path().to_path_buf(), source: std::io::Error::other(error) })?;
    if store.record(&SHELF, &key)?.as_deref() != Some(body.as_slice()) {
        store.put_record(&SHELF, &key, &body)?;
    }
    Ok(())
}

/// The images that were built with a store, the latest first.
///
/// # Errors
/// When the store cannot be read.
pub fn list(store: &Store) -> Result<Vec<ListedImage>, Failure> {
    let mut images = Vec::new();
    for (key, age) in store.records(&SHELF)? {
        let Some(body) = store.record(&SHELF, &key)? else { continue };
        let Ok(Record { name, platform, digest, size, tags }) = serde_json::from_slice(&body) else { continue };
        let Ok(digest) = digest.parse() else { continue };
        images.push(ListedImage { name, platform, digest, size, tags, age_seconds: age.seconds });
    }
    Ok(images)
}
