//! A place and a platform → the image there: its documents read and checked, its layers known but not read.
//!
//! Source of truth: OCI image-spec 1.1, "Image Layout"; for `docker save` archives the Docker image specification 1.2, "Combined Image
//! JSON + Filesystem Changeset Format".

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;

use lapstrake_cache::Digest;
use serde::Deserialize;

use super::Place;
use super::files::Files;
use crate::event::Cancel;
use crate::image::{
    Blobs, CONFIG_LIMIT_BYTES, Descriptor, Document, ImageConfig, Index, InvalidImage, MANIFEST_LIMIT_BYTES, Manifest, MediaType,
    NoSuchPlatform, Platform, Reference, Sealed, SealedLayer,
};
use crate::registry::Registry;

/// The annotation that holds an image's name in a layout.
pub(super) const NAME: &str = "org.opencontainers.image.ref.name";

/// How often an index may point to another.
pub(super) const NESTED: usize = 4;

/// An image could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] Box<crate::registry::Error>),
    /// A file or directory cannot be read.
    #[error("cannot read `{}` in `{}`", .name, path.display())]
    Unreadable {
        /// The layout or archive.
        path: PathBuf,
        /// What in it.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A document is none.
    #[error("what `{place}` has cannot be used")]
    Invalid {
        /// Where.
        place: String,
        /// What is wrong with it.
        source: InvalidImage,
    },
    /// A blob is not what it is called.
    #[error("`{name}` in `{}` has other bytes than `{digest}` should have: it is damaged", path.display())]
    Damaged {
        /// The layout or archive.
        path: PathBuf,
        /// What in it.
        name: String,
        /// What it should have.
        digest: Digest,
    },
    /// No image for the platform.
    #[error("`{place}` does not fit")]
    Platform {
        /// Where.
        place: String,
        /// What there is.
        source: Box<NoSuchPlatform>,
    },
    /// No image of the name, or several and no name.
    #[error("`{place}` does not say which image: there is {}", names(.available))]
    Which {
        /// Where.
        place: String,
        /// The names there are.
        available: Vec<String>,
    },
    /// An image or index of more than anybody makes.
    #[error("`{place}` has more than {limit} {what}, which nothing honest needs")]
    TooMuch {
        /// Where.
        place: String,
        /// Of what.
        what: &'static str,
        /// How many are taken.
        limit: u64,
    },
    /// [`crate::event::Cancel`] was used.
    #[error("cancelled")]
    Cancelled,
    /// Indexes that point to each other without end.
    #[error("`{place}` is an index of indexes of indexes without end")]
    Nested {
        /// Where.
        place: String,
    },
}

fn names(available: &[String]) -> String {
    if available.is_empty() {
        return "none that has a name".to_owned();
    }
    available.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// An image that was opened. Its blobs, but for those in a registry, can be read through [`Blobs`].
#[derive(Debug)]
pub struct Opened {
    /// Where it is.
    pub place: Place,
    /// What the name stands for: the index where there is one, else the manifest.
    pub named: Descriptor,
    /// What the index offers: platforms and the digests of their manifests. Empty without an index.
    pub offered: Vec<(Platform, Digest)>,
    /// The image for the platform.
    pub image: Sealed,
    /// Its config.
    pub config: ImageConfig,
    files: Option<Files>,
}

impl Blobs for Opened {
    fn open(&self, digest: &Digest) -> io::Result<Option<Box<dyn Read + Send>>> {
        match &self.files {
            Some(files) => Blobs::open(files, digest),
            None => Ok(None),
        }
    }
}

/// Opens the image of a place for a platform.
///
/// # Errors
///
/// When there is none, or it is not what it claims to be. Layers are not read.
pub fn open(place: &Place, platform: &Platform, registry: &Registry, cancel: &Cancel) -> Result<Opened, OpenError> {
    match place {
        Place::Registry(reference) => from_registry(place, reference, platform, registry, cancel),
        Place::Layout { path, name } => from_layout(place, Files::directory(path), name.as_deref(), platform),
        Place::OciArchive { path, name } => from_layout(place, Files::archive(path)?, name.as_deref(), platform),
        Place::DockerArchive { path, name } => from_docker_archive(place, Files::archive(path)?, name.as_deref()),
    }
}

/// A manifest that was found, and what was passed on the way.
struct Found {
    /// What the name stands for.
    named: Descriptor,
    offered: Vec<(Platform, Digest)>,
    descriptor: Descriptor,
    bytes: Vec<u8>,
    manifest: Manifest,
}

/// The end of reading: an image of a manifest and its config.
fn opened(place: &Place, found: Found, config_bytes: Vec<u8>, files: Option<Files>) -> Result<Opened, OpenError> {
    let Found { named, offered, descriptor, bytes, manifest } = found;
    let invalid = |source| OpenError::Invalid { place: place.to_string(), source };
    let config = ImageConfig::parse(&config_bytes).map_err(invalid)?;
    let diff_ids = config.diff_ids_for(&manifest).map_err(invalid)?;
    let from = match place {
        Place::Registry(reference) => Some(Reference { digest: Some(descriptor.digest), ..reference.clone() }),
        Place::Layout { .. } | Place::OciArchive { .. } | Place::DockerArchive { .. } => None,
    };
    let layers = manifest.layers.into_iter().zip(diff_ids);
    let layers = layers.map(|(descriptor, diff_id)| SealedLayer { descriptor, diff_id, from: from.clone() }).collect();
    let image =
        Sealed { platform: config.platform(), manifest: descriptor, manifest_bytes: bytes, config: manifest.config, config_bytes, layers };
    Ok(Opened { place: place.clone(), named, offered, image, config, files })
}

fn offered(index: &Index) -> Vec<(Platform, Digest)> {
    let offered = index.manifests.iter().filter_map(|descriptor| Some((descriptor.platform()?, descriptor.digest)));
    offered.filter(|(platform, _)| platform.os != "unknown").collect()
}

pub(super) fn pick<'a>(place: &Place, index: &'a Index, platform: &Platform) -> Result<&'a Descriptor, OpenError> {
    index.pick(platform).map_err(|source| OpenError::Platform { place: place.to_string(), source: Box::new(source) })
}

/// The bytes of a document, and what they say.
type Text = (Vec<u8>, Document);

/// Follows indexes, by a way to read the document of a descriptor, until there is a manifest.
fn follow(
    place: &Place,
    platform: &Platform,
    named: Descriptor,
    (mut bytes, mut document): Text,
    read: &dyn Fn(&Descriptor) -> Result<Text, OpenError>,
) -> Result<Found, OpenError> {
    let mut offers = Vec::new();
    let mut descriptor = named.clone();
    for _ in 0..NESTED {
        match document {
            Document::Manifest(manifest) => return Ok(Found { named, offered: offers, descriptor, bytes, manifest }),
            Document::Index(index) => {
                offers.extend(offered(&index));
                // The platform and annotations belong to the entry of the index, not to the image.
                let picked = pick(place, &index, platform)?;
                descriptor = Descriptor::new(&picked.media_type, picked.digest, picked.size);
                (bytes, document) = read(&descriptor)?;
            }
        }
    }
    Err(OpenError::Nested { place: place.to_string() })
}

fn from_registry(
    place: &Place,
    reference: &Reference,
    platform: &Platform,
    registry: &Registry,
    cancel: &Cancel,
) -> Result<Opened, OpenError> {
    let resolved = registry.resolve(reference, cancel).map_err(Box::new)?;
    let found = follow(place, platform, resolved.descriptor, (resolved.bytes, resolved.document), &|descriptor| {
        small(place, descriptor, MANIFEST_LIMIT_BYTES, "the manifest")?;
        let resolved = registry.manifest(reference, descriptor, cancel).map_err(Box::new)?;
        Ok((resolved.bytes, resolved.document))
    })?;
    let config = &found.manifest.config;
    small(place, config, CONFIG_LIMIT_BYTES, "the config")?;
    let config_bytes = registry.blob_into(reference, config, &mut || Ok(Vec::new()), &mut |_| {}, cancel).map_err(Box::new)?;
    opened(place, found, config_bytes, None)
}

pub(super) fn small(place: &Place, descriptor: &Descriptor, limit_bytes: u64, document: &'static str) -> Result<(), OpenError> {
    if descriptor.size <= limit_bytes {
        return Ok(());
    }
    let source = InvalidImage::TooLarge { document, size_bytes: descriptor.size, limit_bytes };
    Err(OpenError::Invalid { place: place.to_string(), source })
}

fn from_layout(place: &Place, files: Files, name: Option<&str>, platform: &Platform) -> Result<Opened, OpenError> {
    let invalid = |source| OpenError::Invalid { place: place.to_string(), source };
    let bytes = files.read("index.json", MANIFEST_LIMIT_BYTES)?;
    let index = Index::parse(&bytes, None).map_err(invalid)?;
    let named: Vec<&Descriptor> = match name {
        Some(name) => index.manifests.iter().filter(|descriptor| descriptor.annotations.get(NAME).is_some_and(|it| it == name)).collect(),
        None => index.manifests.iter().collect(),
    };
    let which = || {
        let available = index.manifests.iter().filter_map(|descriptor| descriptor.annotations.get(NAME).cloned()).collect();
        OpenError::Which { place: place.to_string(), available }
    };
    let named = match named.as_slice() {
        [only] => *only,
        // Several platforms of one image stand side by side.
        [_, _, ..] if named.iter().all(|descriptor| descriptor.platform().is_some()) => {
            let several = Index { manifests: named.iter().map(|descriptor| (*descriptor).clone()).collect(), ..index.clone() };
            let digest = pick(place, &several, platform)?.digest;
            index.manifests.iter().find(|descriptor| descriptor.digest == digest).ok_or_else(which)?
        }
        _ => return Err(which()),
    };
    let read = |descriptor: &Descriptor| -> Result<Text, OpenError> {
        small(place, descriptor, MANIFEST_LIMIT_BYTES, "the manifest")?;
        let bytes = files.blob(descriptor)?;
        let document = Document::parse(&bytes, Some(&descriptor.media_type)).map_err(invalid)?;
        Ok((bytes, document))
    };
    let named = Descriptor::new(&named.media_type, named.digest, named.size);
    let first = read(&named)?;
    let found = follow(place, platform, named, first, &read)?;
    small(place, &found.manifest.config, CONFIG_LIMIT_BYTES, "the config")?;
    let config_bytes = files.blob(&found.manifest.config)?;
    opened(place, found, config_bytes, Some(files))
}

/// The manifest is not in such an archive; it is made as a registry would be given it.
fn from_docker_archive(place: &Place, mut files: Files, name: Option<&str>) -> Result<Opened, OpenError> {
    let mut images = saved(place, &mut files, name)?;
    let available = images.iter().flat_map(|image| image.names.clone()).collect();
    let (Some(SavedImage { manifest, config_bytes, names: _ }), true) = (images.pop(), images.is_empty()) else {
        return Err(OpenError::Which { place: place.to_string(), available });
    };
    let bytes = manifest.to_bytes();
    let named = Descriptor::of(MediaType::DOCKER_MANIFEST, &bytes);
    let found = Found { named: named.clone(), offered: Vec::new(), descriptor: named, bytes, manifest };
    opened(place, found, config_bytes, Some(files))
}

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

/// An image of a `docker save` archive, with the manifest that it has elsewhere.
pub(super) struct SavedImage {
    pub(super) manifest: Manifest,
    pub(super) config_bytes: Vec<u8>,
    pub(super) names: Vec<String>,
}

/// The images of a `docker save` archive: those of a name, or all.
pub(super) fn saved(place: &Place, files: &mut Files, name: Option<&str>) -> Result<Vec<SavedImage>, OpenError> {
    let invalid = |source| OpenError::Invalid { place: place.to_string(), source };
    let bytes = files.read("manifest.json", MANIFEST_LIMIT_BYTES)?;
    let saved: Vec<Saved> =
        serde_json::from_slice(&bytes).map_err(|source| invalid(InvalidImage::Json { document: "`manifest.json`", source }))?;
    let full = |name: &str| name.parse::<Reference>().ok();
    let called = |saved: &Saved, name: &str| {
        saved.repo_tags.iter().flatten().any(|tag| tag == name || (full(tag).is_some() && full(tag) == full(name)))
    };
    let matching: Vec<&Saved> = saved.iter().filter(|saved| name.is_none_or(|name| called(saved, name))).collect();
    if matching.is_empty() {
        let available = saved.iter().flat_map(|saved| saved.repo_tags.iter().flatten().cloned()).collect();
        return Err(OpenError::Which { place: place.to_string(), available });
    }
    matching.into_iter().map(|saved| saved_image(place, files, saved)).collect()
}

fn saved_image(place: &Place, files: &mut Files, saved: &Saved) -> Result<SavedImage, OpenError> {
    let invalid = |source| OpenError::Invalid { place: place.to_string(), source };
    let config_bytes = files.read(&saved.config, CONFIG_LIMIT_BYTES)?;
    let config = ImageConfig::parse(&config_bytes).map_err(invalid)?;
    let diff_ids = config.diff_ids().map_err(invalid)?;
    if diff_ids.len() != saved.layers.len() {
        return Err(invalid(InvalidImage::LayerCount { layers: saved.layers.len(), diff_ids: diff_ids.len() }));
    }
    let mut layers = Vec::new();
    for (name, diff_id) in saved.layers.iter().zip(diff_ids) {
        let layer = files.layer(name, diff_id)?;
        files.names.insert(layer.digest, name.clone());
        layers.push(layer);
    }
    let config = Descriptor::of(MediaType::DOCKER_CONFIG, &config_bytes);
    files.names.insert(config.digest, saved.config.clone());
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MediaType::DOCKER_MANIFEST.to_owned()),
        config,
        layers,
        annotations: BTreeMap::new(),
        extra: BTreeMap::new(),
    };
    Ok(SavedImage { manifest, config_bytes, names: saved.repo_tags.clone().unwrap_or_default() })
}
