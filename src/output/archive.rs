//! Images → one tar archive: an OCI layout, or what `docker load` reads.
//!
//! The archive's bytes depend on the images and their names alone.
//! Source of truth: OCI image-spec 1.1, "Image Layout"; Docker image specification 1.3, "Combined Image JSON + Filesystem Changeset Format".

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use lapstrake_cache::{Digest, Store};
use serde_json::json;

use super::bundle::{Part, Sources, contents};
use super::write::whole;
use super::{Named, WriteError, layout};
use crate::image::{CONFIG_LIMIT_BYTES, Document, ImageConfig, InvalidImage, Reference};
use crate::layer::{self, Limits};
use crate::tree::TreePath;

/// Writes the layout as an archive. Blobs go straight into it.
pub(super) fn write_oci(images: &[Named], sources: &Sources<'_>, path: &Path) -> Result<(), WriteError> {
    let mut members = Members::default();
    for part in contents(images.iter().map(|image| &image.bundle)) {
        members.add(&format!("blobs/sha256/{}", part.descriptor.digest.hex()), part.descriptor.size, Member::Part(Box::new(part)))?;
    }
    members.bytes("oci-layout", layout::MARKER.to_vec())?;
    members.bytes("index.json", layout::alone(images).to_bytes())?;
    members.write(sources, None, path)
}

/// Writes what `docker load` reads: configs, layers that are not compressed, and the list of them. Layers are expanded in the store.
pub(super) fn write_docker(images: &[Named], sources: &Sources<'_>, scratch: &Store, path: &Path) -> Result<(), WriteError> {
    let mut members = Members::default();
    let mut list = Vec::new();
    for Named { bundle, names } in images {
        let invalid = |source| WriteError::Image { digest: bundle.root.descriptor.digest, source };
        let manifest = match Document::parse(&bundle.root.bytes, Some(&bundle.root.descriptor.media_type)).map_err(invalid)? {
            Document::Manifest(manifest) => manifest,
            Document::Index(_) => {
                let target = format!("docker-archive:{}", path.display());
                return Err(WriteError::Mismatch { target, takes: "one platform of an image, and this is an index of several" });
            }
        };
        let part = |digest: &Digest| bundle.blobs.iter().find(|part| part.descriptor.digest == *digest);
        let config = part(&manifest.config.digest).ok_or(WriteError::Lost { digest: manifest.config.digest })?;
        let config_bytes = small(sources, config)?;
        let diff_ids = ImageConfig::parse(&config_bytes).and_then(|config| config.diff_ids_for(&manifest)).map_err(invalid)?;
        let names = names.iter().map(|name| Ok(familiar(&name.parse()?))).collect::<Result<Vec<_>, WriteError>>()?;
        let config_name = format!("{}.json", manifest.config.digest.hex());
        members.bytes(&config_name, config_bytes)?;
        let mut layers = Vec::new();
        for (descriptor, diff_id) in manifest.layers.iter().zip(diff_ids) {
            let name = format!("{}.tar", diff_id.hex());
            let layer = part(&descriptor.digest).ok_or(WriteError::Lost { digest: descriptor.digest })?;
            let size = expand(sources, scratch, layer, &diff_id)?;
            members.add(&name, size, Member::Stored(diff_id))?;
            layers.push(name);
        }
        list.push(json!({ "Config": config_name, "RepoTags": names, "Layers": layers }));
    }
    members.bytes("manifest.json", json!(list).to_string().into_bytes())?;
    members.write(sources, Some(scratch), path)
}

/// The name as Docker shows it: without its own registry.
fn familiar(reference: &Reference) -> String {
    let text = reference.to_string();
    let text = text.strip_prefix("docker.io/").unwrap_or(&text);
    text.strip_prefix("library/").unwrap_or(text).to_owned()
}

fn small(sources: &Sources<'_>, part: &Part) -> Result<Vec<u8>, WriteError> {
    let (digest, size_bytes) = (part.descriptor.digest, part.descriptor.size);
    if size_bytes > CONFIG_LIMIT_BYTES {
        let source = InvalidImage::TooLarge { document: "the config", size_bytes, limit_bytes: CONFIG_LIMIT_BYTES };
        return Err(WriteError::Image { digest, source });
    }
    let mut bytes = Vec::new();
    let read = sources.open(part).and_then(|mut from| from.read_to_end(&mut bytes));
    read.map_err(|source| WriteError::Blob { digest, source })?;
    Ok(bytes)
}

/// Puts the uncompressed bytes of a layer into the store, under their own digest. How many they are comes back.
fn expand(sources: &Sources<'_>, scratch: &Store, layer: &Part, diff_id: &Digest) -> Result<u64, WriteError> {
    if let Some(found) = scratch.blob(diff_id)? {
        return Ok(found.size);
    }
    let unreadable = |source| WriteError::Blob { digest: layer.descriptor.digest, source };
    let mut plain = layer::expand(sources.open(layer).map_err(unreadable)?, &Limits::GENEROUS, sources.cancel)?;
    let mut sink = scratch.new_blob()?;
    io::copy(&mut plain, &mut sink).map_err(unreadable)?;
    Ok(sink.finish_expecting(diff_id, None)?.size)
}

/// The members of an archive by their names.
#[derive(Default)]
struct Members {
    sizes: BTreeMap<TreePath, u64>,
    members: BTreeMap<TreePath, Member>,
}

enum Member {
    Bytes(Vec<u8>),
    Part(Box<Part>),
    Stored(Digest),
}

impl Members {
    fn bytes(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), WriteError> {
        self.add(name, bytes.len() as u64, Member::Bytes(bytes))
    }

    fn add(&mut self, name: &str, size: u64, member: Member) -> Result<(), WriteError> {
        let path = TreePath::new(name.as_bytes())?;
        self.sizes.insert(path.clone(), size);
        self.members.insert(path, member);
        Ok(())
    }

    fn write(&self, sources: &Sources<'_>, scratch: Option<&Store>, path: &Path) -> Result<(), WriteError> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let mut open = |name: &TreePath| -> io::Result<Box<dyn Read + Send>> {
            match self.members.get(name) {
                Some(Member::Bytes(bytes)) => Ok(Box::new(io::Cursor::new(bytes.clone()))),
                Some(Member::Part(part)) => sources.open(part),
                Some(Member::Stored(digest)) => {
                    let blob = scratch.ok_or_else(missing)?.blob(digest).map_err(io::Error::other)?;
                    Ok(Box::new(blob.ok_or_else(missing)?.file))
                }
                None => Err(missing()),
            }
        };
        whole(path, |file| {
            let mut buffered = io::BufWriter::with_capacity(1 << 20, file);
            layer::pack_files(&self.sizes, &mut open, &mut buffered, sources.cancel)?;
            super::write::at(path, io::Write::flush(&mut buffered))
        })
    }
}
