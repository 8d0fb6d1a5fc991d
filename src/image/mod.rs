//! The nouns of OCI as values: references, descriptors, configs, manifests, indexes, platforms.
//!
//! What was pulled is kept as bytes and never written again; what we write is canonical.
//! Source of truth: OCI image-spec 1.1 and distribution-spec 1.1; Docker image manifest version 2, schema 2.

mod config;
mod descriptor;
mod document;
mod format;
mod manifest;
mod pick;
mod platform;
mod reference;
mod sealed;
mod validate;

pub use config::{Config, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::{Descriptor, MediaType};
pub use document::{CONFIG_LIMIT_BYTES, Document, InvalidImage, LAYER_LIMIT, MANIFEST_LIMIT_BYTES};
pub use format::{Format, LayerEncoding, MediaKind};
pub use manifest::{Index, Manifest};
pub use pick::NoSuchPlatform;
pub use platform::{InvalidPlatform, Platform};
pub use reference::{InvalidReference, Reference};
pub use sealed::{Sealed, SealedLayer};
pub use validate::{Blobs, Violation, validate};

#[cfg(test)]
mod tests;
