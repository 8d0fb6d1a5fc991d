//! The nouns of OCI as values: references, descriptors, configs, manifests, indexes, platforms.
//!
//! What was pulled is kept as bytes and never written again; what we write is canonical.
//! Source of truth: OCI image-spec 1.1 and distribution-spec 1.1; Docker image manifest version 2, schema 2.

mod config;
mod descriptor;
mod manifest;
mod platform;
mod reference;

pub use config::{Config, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::{Descriptor, MediaType};
pub use manifest::{Index, Manifest};
pub use platform::{InvalidPlatform, Platform};
pub use reference::{InvalidReference, Reference};
