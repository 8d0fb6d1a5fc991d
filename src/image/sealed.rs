//! A finished image: its documents exist as bytes, and those bytes are the truth.

use lapstrake_cache::Digest;

use super::{Descriptor, Platform, Reference};

/// A finished image. The blobs of its layers are in the store, or in the registry that a layer names.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed {
    /// What it is for.
    pub platform: Platform,
    /// The manifest: media type, digest and size.
    pub manifest: Descriptor,
    /// The manifest's bytes.
    pub manifest_bytes: Vec<u8>,
    /// The config's bytes; the manifest describes them.
    pub config: Descriptor,
    /// The config's bytes.
    pub config_bytes: Vec<u8>,
    /// The layers, lowest first, as the manifest describes them.
    pub layers: Vec<SealedLayer>,
}

/// A layer of a finished image.
#[derive(Debug, Clone, PartialEq)]
pub struct SealedLayer {
    /// The blob.
    pub descriptor: Descriptor,
    /// The digest of its uncompressed bytes.
    pub diff_id: Digest,
    /// For a layer of a base: the image it came with, whose registry has the blob.
    pub from: Option<Reference>,
}

impl Sealed {
    /// Every blob that the manifest describes: the config, then the layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(self.layers.iter().map(|layer| &layer.descriptor))
    }
}
