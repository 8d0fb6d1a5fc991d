//! Builds OCI images from a declarative TOML spec, without a daemon and without root.

pub mod build;
pub mod diagnostic;
pub mod event;
pub mod image;
pub mod input;
pub mod layer;
pub mod operate;
pub mod output;
pub mod pins;
pub mod plan;
pub mod registry;
pub mod sandbox;
pub mod spec;
pub mod tree;

/// Digests and bytes on disk.
pub use lapstrake_cache as cache;
