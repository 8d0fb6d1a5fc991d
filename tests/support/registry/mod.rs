//! Registries for tests: one that is stricter than any real one and fails on command, and the real one.

pub(crate) mod fake;
pub(crate) mod http;
pub(crate) mod manners;
pub(crate) mod real;
pub(crate) mod tokens;
mod uploads;

use std::collections::BTreeMap;

use lapstrake::image::{Config, Descriptor, ImageConfig, Manifest, MediaType, Reference, RootFs};
use lapstrake_cache::Digest;

/// A small image in memory.
pub(crate) struct Image {
    pub(crate) blobs: Vec<(Descriptor, Vec<u8>)>,
    pub(crate) manifest: Vec<u8>,
}

/// An image of one layer, which is a tar with no entries and then `padding` bytes.
pub(crate) fn image(padding: usize) -> Image {
    let mut layer = vec![0; 1024];
    layer.extend((0..padding).map(|at| u8::try_from(at * 31 % 251).unwrap_or_default()));
    let config = ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        config: Config { cmd: Some(vec!["/hello".to_owned()]), ..Config::default() },
        rootfs: RootFs { diff_ids: vec![Digest::of(&layer).to_string()], ..RootFs::default() },
        ..ImageConfig::default()
    };
    let config = config.to_bytes();
    let blobs = vec![(Descriptor::of(MediaType::OCI_LAYER, &layer), layer), (Descriptor::of(MediaType::OCI_CONFIG, &config), config)];
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MediaType::OCI_MANIFEST.to_owned()),
        config: blobs[1].0.clone(),
        layers: vec![blobs[0].0.clone()],
        annotations: BTreeMap::new(),
        extra: BTreeMap::new(),
    };
    Image { blobs, manifest: manifest.to_bytes() }
}

/// A reference at an address of this machine.
pub(crate) fn at(address: std::net::SocketAddr, name: &str) -> Reference {
    format!("{address}/{name}").parse().unwrap()
}
