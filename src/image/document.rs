//! Bytes from outside → manifests, indexes and configs; and those → canonical bytes.
//!
//! Reading refuses what two readers could take for two things: a document with both `layers` and `manifests`, a media type that is not
//! what the document looks like, a known field's name in other letters (Go's reader would take it for the field).
//! Writing is compact JSON: fields in the order of the Go structs, maps sorted, unknown fields kept and sorted after the known ones, no
//! escapes but those that JSON demands (Go also escapes `<`, `>`, `&`; readers do not care, and canonical JSON has none of it).
//! Source of truth: OCI image-spec 1.1, "Image Manifest", "Image Index", "Considerations", section "Canonicalization";
//! CVE-2021-41190 for the first rule.

use lapstrake_cache::{Digest, InvalidDigest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Descriptor, ImageConfig, Index, Manifest, MediaKind, MediaType};

/// The most bytes that a manifest or index may have. Distribution-spec 1.1, "Pushing Manifests", wants registries to take this much.
pub const MANIFEST_LIMIT_BYTES: u64 = 4 << 20;

/// The most bytes that a config may have.
pub const CONFIG_LIMIT_BYTES: u64 = 8 << 20;

/// The most layers that an image may have. Overlay file systems take fewer.
pub const LAYER_LIMIT: usize = 1024;

/// Bytes that are no image document.
#[derive(Debug, thiserror::Error)]
pub enum InvalidImage {
    /// Too long to be read.
    #[error("{document} has {size_bytes} bytes, more than the {limit_bytes} that one may have")]
    TooLarge {
        /// Which document.
        document: &'static str,
        /// How long it is.
        size_bytes: u64,
        /// How long it may be.
        limit_bytes: u64,
    },
    /// Not JSON, or without a field it must have, or with a value it cannot have (a negative size, a digest that is none).
    #[error("{document} cannot be read")]
    Json {
        /// Which document.
        document: &'static str,
        /// What the reader said.
        source: serde_json::Error,
    },
    /// A version that is not read, such as Docker's schema 1.
    #[error("{document} has `schemaVersion` {found}: only 2 is read; push the image again with a tool of this decade")]
    SchemaVersion {
        /// Which document.
        document: &'static str,
        /// The version.
        found: u64,
    },
    /// Could be taken for a manifest and for an index.
    #[error("the document has both `{first}` and `{second}`, so two readers could take it for two different images")]
    Ambiguous {
        /// A field of one kind.
        first: &'static str,
        /// A field of the other kind.
        second: String,
    },
    /// The media type is not that of the document.
    #[error("the document looks like {document}, but is called `{media_type}`")]
    MediaType {
        /// What it looks like.
        document: &'static str,
        /// What it is called, by itself or by whoever served it.
        media_type: String,
    },
    /// Neither a manifest nor an index.
    #[error("the document has neither `layers` nor `manifests`: it is no image")]
    Neither,
    /// Too many layers.
    #[error("the image has {layers} layers, more than the {LAYER_LIMIT} that are read")]
    TooManyLayers {
        /// How many.
        layers: usize,
    },
    /// A size that no reader in Go could hold.
    #[error("`{digest}` is said to have {size} bytes, which cannot be")]
    Size {
        /// Of which blob.
        digest: Digest,
        /// The size.
        size: u64,
    },
    /// A diff id that is no digest.
    #[error("the config has a diff id that is no digest")]
    DiffId(#[from] InvalidDigest),
    /// Manifest and config do not speak of the same layers.
    #[error("the manifest has {layers} layers and the config {diff_ids} diff ids: they do not belong together")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the config.
        diff_ids: usize,
    },
    /// The root file system is of a kind that is not known.
    #[error("the config's `rootfs.type` is `{0}`: only `layers` is known")]
    RootFs(String),
}

/// What can stand behind a name in a registry.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several.
    Index(Index),
}

impl Document {
    /// Reads a manifest or an index. `served_as` is the media type it was served as or is referred to with, where there is one.
    ///
    /// # Errors
    ///
    /// When the bytes are neither, or could be both.
    pub fn parse(bytes: &[u8], served_as: Option<&str>) -> Result<Document, InvalidImage> {
        limit("the manifest", bytes, MANIFEST_LIMIT_BYTES)?;
        let value: Value = serde_json::from_slice(bytes).map_err(|source| InvalidImage::Json { document: "the manifest", source })?;
        let has = |field: &str| value.get(field).is_some();
        if has("manifests") {
            return Index::parse(bytes, served_as).map(Document::Index);
        }
        match value.get("schemaVersion").and_then(Value::as_u64) {
            Some(found) if found != 2 => return Err(InvalidImage::SchemaVersion { document: "the manifest", found }),
            Some(_) | None => {}
        }
        if has("layers") || has("config") { Manifest::parse(bytes, served_as).map(Document::Manifest) } else { Err(InvalidImage::Neither) }
    }

    /// The media type to serve it as: its own, or OCI's where it has none.
    #[must_use]
    pub fn media_type(&self) -> &str {
        match self {
            Document::Manifest(manifest) => manifest.media_type(),
            Document::Index(index) => index.media_type(),
        }
    }
}

impl Manifest {
    /// Reads a manifest. `served_as` is the media type it was served as or is referred to with, where there is one.
    ///
    /// # Errors
    ///
    /// When the bytes are no manifest, or something else as well.
    pub fn parse(bytes: &[u8], served_as: Option<&str>) -> Result<Manifest, InvalidImage> {
        let document = "the manifest";
        let manifest: Manifest = read(document, bytes, MANIFEST_LIMIT_BYTES)?;
        version(document, manifest.schema_version)?;
        unambiguous(
            &manifest.extra,
            "layers",
            &["schemaVersion", "mediaType", "config", "layers", "manifests", "fsLayers", "annotations"],
        )?;
        named(document, MediaKind::Manifest, manifest.media_type.as_deref(), served_as)?;
        if manifest.layers.len() > LAYER_LIMIT {
            return Err(InvalidImage::TooManyLayers { layers: manifest.layers.len() });
        }
        sizes(std::iter::once(&manifest.config).chain(&manifest.layers))?;
        Ok(manifest)
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        write(self)
    }

    /// The media type to serve it as: its own, or OCI's where it has none.
    #[must_use]
    pub fn media_type(&self) -> &str {
        self.media_type.as_deref().unwrap_or(MediaType::OCI_MANIFEST)
    }
}

impl Index {
    /// Reads an index or manifest list. `served_as` is the media type it was served as or is referred to with, where there is one.
    ///
    /// # Errors
    ///
    /// When the bytes are no index, or something else as well.
    pub fn parse(bytes: &[u8], served_as: Option<&str>) -> Result<Index, InvalidImage> {
        let document = "the index";
        let index: Index = read(document, bytes, MANIFEST_LIMIT_BYTES)?;
        version(document, index.schema_version)?;
        unambiguous(
            &index.extra,
            "manifests",
            &["schemaVersion", "mediaType", "config", "layers", "manifests", "fsLayers", "annotations"],
        )?;
        named(document, MediaKind::Index, index.media_type.as_deref(), served_as)?;
        sizes(&index.manifests)?;
        Ok(index)
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        write(self)
    }

    /// The media type to serve it as: its own, or OCI's where it has none.
    #[must_use]
    pub fn media_type(&self) -> &str {
        self.media_type.as_deref().unwrap_or(MediaType::OCI_INDEX)
    }
}

impl ImageConfig {
    /// Reads a config.
    ///
    /// # Errors
    ///
    /// When the bytes are no config.
    pub fn parse(bytes: &[u8]) -> Result<ImageConfig, InvalidImage> {
        let config: ImageConfig = read("the config", bytes, CONFIG_LIMIT_BYTES)?;
        if config.rootfs.kind != "layers" {
            return Err(InvalidImage::RootFs(config.rootfs.kind));
        }
        config.diff_ids()?;
        Ok(config)
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        write(self)
    }

    /// The digests of the layers' uncompressed bytes, from the lowest up.
    ///
    /// # Errors
    ///
    /// When one is no digest.
    pub fn diff_ids(&self) -> Result<Vec<Digest>, InvalidImage> {
        self.rootfs.diff_ids.iter().map(|diff_id| diff_id.parse().map_err(InvalidImage::DiffId)).collect()
    }

    /// Checks that the config speaks of as many layers as the manifest has, and returns their diff ids.
    ///
    /// # Errors
    ///
    /// When it does not. The history is not asked: many images that others made have one that does not fit.
    pub fn diff_ids_for(&self, manifest: &Manifest) -> Result<Vec<Digest>, InvalidImage> {
        let diff_ids = self.diff_ids()?;
        if diff_ids.len() != manifest.layers.len() {
            return Err(InvalidImage::LayerCount { layers: manifest.layers.len(), diff_ids: diff_ids.len() });
        }
        Ok(diff_ids)
    }
}

fn limit(document: &'static str, bytes: &[u8], limit_bytes: u64) -> Result<(), InvalidImage> {
    let size_bytes = bytes.len() as u64;
    if size_bytes > limit_bytes { Err(InvalidImage::TooLarge { document, size_bytes, limit_bytes }) } else { Ok(()) }
}

fn read<T: DeserializeOwned>(document: &'static str, bytes: &[u8], limit_bytes: u64) -> Result<T, InvalidImage> {
    limit(document, bytes, limit_bytes)?;
    serde_json::from_slice(bytes).map_err(|source| InvalidImage::Json { document, source })
}

#[expect(clippy::expect_used, reason = "these types have no map with other keys than strings, which is all that can fail")]
fn write<T: Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("plain data is JSON")
}

fn version(document: &'static str, found: u32) -> Result<(), InvalidImage> {
    if found == 2 { Ok(()) } else { Err(InvalidImage::SchemaVersion { document, found: u64::from(found) }) }
}

fn unambiguous(extra: &std::collections::BTreeMap<String, Value>, first: &'static str, reserved: &[&str]) -> Result<(), InvalidImage> {
    match extra.keys().find(|field| reserved.iter().any(|reserved| reserved.eq_ignore_ascii_case(field))) {
        // The config of an index would be ambiguous too, so every reserved name is.
        Some(second) => Err(InvalidImage::Ambiguous { first, second: second.clone() }),
        None => Ok(()),
    }
}

/// Names that are of another kind are refused; names of neither family are carried (artifacts have their own).
fn named(document: &'static str, kind: MediaKind, own: Option<&str>, served_as: Option<&str>) -> Result<(), InvalidImage> {
    let wrong = |media_type: &str| InvalidImage::MediaType { document, media_type: media_type.to_owned() };
    for media_type in [own, served_as].into_iter().flatten() {
        if MediaType::kind(media_type).is_some_and(|named| named != kind) {
            return Err(wrong(media_type));
        }
    }
    match (own, served_as) {
        (Some(own), Some(served_as)) if own != served_as && MediaType::kind(served_as).is_some() => Err(wrong(served_as)),
        _ => Ok(()),
    }
}

fn sizes<'a>(descriptors: impl IntoIterator<Item = &'a Descriptor>) -> Result<(), InvalidImage> {
    for descriptor in descriptors {
        if i64::try_from(descriptor.size).is_err() {
            return Err(InvalidImage::Size { digest: descriptor.digest, size: descriptor.size });
        }
    }
    Ok(())
}
