//! A sealed image whose bytes may be in registries → all of them in the store.

use std::fs::File;

use lapstrake_cache::Digest;

use super::WriteError;
use crate::image::{Descriptor, Sealed};
use crate::input::{BaseLayer, Outside};
use crate::plan::ImageSource;

/// An image all of whose blobs are in the store.
pub(super) struct Gathered<'a> {
    outside: &'a Outside<'a>,
    descriptors: Vec<Descriptor>,
}

impl<'a> Gathered<'a> {
    /// Brings what is missing.
    pub(super) fn of(sealed: &Sealed, outside: &'a Outside<'a>) -> Result<Gathered<'a>, WriteError> {
        for (descriptor, bytes) in [(&sealed.config, &sealed.config_bytes), (&sealed.manifest, &sealed.manifest_bytes)] {
            if outside.store.blob(&descriptor.digest)?.is_none() {
                outside.store.put_blob(bytes)?;
            }
        }
        for layer in &sealed.layers {
            if let Some(reference) = &layer.from {
                let source = ImageSource::Registry(reference.clone());
                outside.layer(&BaseLayer { diff_id: layer.diff_id, descriptor: layer.descriptor.clone(), source })?;
            }
        }
        let mut descriptors: Vec<Descriptor> = sealed.blobs().cloned().chain([sealed.manifest.clone()]).collect();
        descriptors.sort_by_key(|descriptor| descriptor.digest);
        descriptors.dedup_by_key(|descriptor| descriptor.digest);
        Ok(Gathered { outside, descriptors })
    }

    /// Every blob of the image once: layers, config, manifest.
    pub(super) fn descriptors(&self) -> &[Descriptor] {
        &self.descriptors
    }

    /// The bytes of a blob.
    pub(super) fn open(&self, descriptor: &Descriptor) -> Result<File, WriteError> {
        self.open_digest(&descriptor.digest)
    }

    /// The bytes of a blob of the store.
    pub(super) fn open_digest(&self, digest: &Digest) -> Result<File, WriteError> {
        match self.outside.store.blob(digest)? {
            Some(blob) => Ok(blob.file),
            None => Err(WriteError::Lost { digest: *digest }),
        }
    }

    /// The handles it was gathered with.
    pub(super) fn outside(&self) -> &'a Outside<'a> {
        self.outside
    }
}
