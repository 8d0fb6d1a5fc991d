//! A repository of a registry as a shared cache.
//!
//! A record is a small artifact manifest under a tag that is its name; its text is an annotation, and the blobs that it speaks of are the
//! manifest's layers, so that the registry keeps them as long as the record. Looking a record up is one request.
//! Source of truth: OCI image-spec 1.1, "Image Manifest", "Guidelines for Artifact Usage"; distribution-spec 1.1.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use super::{RecordName, RemoteCache, RemoteError};
use crate::event::Cancel;
use crate::image::{Descriptor, Document, LAYER_LIMIT, Manifest, MediaType, Reference};
use crate::registry::{BlobSource, Error, Registry};

/// What the manifest of a record is.
const ARTIFACT_TYPE: &str = "application/vnd.lapstrake.record.v1";
/// The annotation that is the record.
const RECORD: &str = "vnd.lapstrake.record";
/// A config of nothing. Image-spec 1.1, "Guidance for an Empty Descriptor".
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";
/// How long a request that moves little may take.
const SHORT: Duration = Duration::from_secs(30);
/// Slower than this, a blob is not worth waiting for.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 << 10;
/// How long listing what is there may take.
const LISTING: Duration = Duration::from_secs(300);
/// The most bytes of a blob that are asked for at a time.
const PART_LIMIT_BYTES: u64 = 64 << 20;

/// How often a record is put again whose blobs a registry said it has and then denies.
const DENIALS: u32 = 4;

/// A repository that keeps records and blobs.
#[derive(Debug)]
pub struct Repository {
    registry: Registry,
    reference: Reference,
    /// Whether the config of nothing is there.
    has_empty: OnceLock<()>,
}

impl Repository {
    /// The repository of a reference; its tag is of no account. `registry` is better impatient: a cache that does not answer is worth
    /// less than what it spares.
    #[must_use]
    pub fn new(registry: Registry, reference: Reference) -> Repository {
        Repository { registry, reference: Reference { tag: None, digest: None, ..reference }, has_empty: OnceLock::new() }
    }

    fn tagged(&self, name: &RecordName) -> Reference {
        Reference { tag: Some(name.as_str().to_owned()), ..self.reference.clone() }
    }

    /// A record's text, and the digest of its manifest.
    fn manifest(&self, name: &RecordName, cancel: &Cancel) -> Result<Option<(String, Descriptor)>, RemoteError> {
        // A mirror may have an older record of the name, or none yet.
        let current = within(SHORT, cancel, |cancel| self.registry.current(&self.tagged(name), cancel))?;
        let Some(resolved) = current else { return Ok(None) };
        let damaged = || RemoteError::Damaged { what: format!("`{}` is no record", name.as_str()) };
        match resolved.document {
            Document::Manifest(mut manifest) => {
                let record = manifest.annotations.remove(RECORD).ok_or_else(damaged)?;
                Ok(Some((record, resolved.descriptor)))
            }
            Document::Index(_) => Err(damaged()),
        }
    }
}

impl RemoteCache for Repository {
    fn name(&self) -> String {
        self.reference.name()
    }

    fn record(&self, name: &RecordName, cancel: &Cancel) -> Result<Option<String>, RemoteError> {
        Ok(self.manifest(name, cancel)?.map(|(record, _)| record))
    }

    fn put_record(&self, name: &RecordName, record: &str, blobs: &[Descriptor], cancel: &Cancel) -> Result<(), RemoteError> {
        let empty = Descriptor::of(EMPTY_TYPE, EMPTY);
        if self.has_empty.get().is_none() {
            self.put_blob(&empty, &|| Ok(Box::new(EMPTY) as Box<dyn io::Read + Send>), cancel)?;
            let _ = self.has_empty.set(());
        }
        // Some registries want a layer.
        let mut layers = if blobs.is_empty() { vec![empty.clone()] } else { blobs.to_vec() };
        layers.truncate(LAYER_LIMIT);
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(MediaType::OCI_MANIFEST.to_owned()),
            config: empty,
            layers,
            annotations: [(RECORD.to_owned(), record.to_owned())].into(),
            extra: [("artifactType".to_owned(), Value::from(ARTIFACT_TYPE))].into(),
        };
        let bytes = manifest.to_bytes();
        if bytes.len() as u64 > crate::image::MANIFEST_LIMIT_BYTES {
            let what = format!("the record `{}` is larger than registries take", name.as_str());
            return Err(RemoteError::Damaged { what });
        }
        let mut denied = 0;
        loop {
            let put =
                within(SHORT, cancel, |cancel| self.registry.push_manifest(&self.tagged(name), MediaType::OCI_MANIFEST, &bytes, cancel));
            match put {
                Ok(_) => return Ok(()),
                // While somebody else sends the same blob, some registries deny for a moment that they have it.
                Err(RemoteError::Registry(error)) if error.is_about_missing_parts() && denied < DENIALS => {
                    denied += 1;
                    self.registry.pause(denied, cancel)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn has(&self, blob: &Descriptor, cancel: &Cancel) -> Result<bool, RemoteError> {
        within(SHORT, cancel, |cancel| self.registry.has_blob(&self.reference, blob, cancel))
    }

    fn part(&self, blob: &Descriptor, range: Range<u64>, cancel: &Cancel) -> Result<Vec<u8>, RemoteError> {
        within(SHORT, cancel, |cancel| self.registry.blob_part(&self.reference, blob, range, PART_LIMIT_BYTES, cancel))
    }

    fn fetch(&self, blob: &Descriptor, sink: &mut dyn Write, cancel: &Cancel) -> Result<(), RemoteError> {
        within(long(blob), cancel, |cancel| self.registry.blob(&self.reference, blob, sink, &mut |_| {}, cancel))
    }

    fn put_blob(&self, blob: &Descriptor, source: &dyn BlobSource, cancel: &Cancel) -> Result<(), RemoteError> {
        within(long(blob), cancel, |cancel| self.registry.push_blob(&self.reference, blob, source, &[], &mut |_| {}, cancel))?;
        Ok(())
    }

    fn repository(&self) -> Option<&Reference> {
        Some(&self.reference)
    }

    fn names(&self, cancel: &Cancel) -> Result<Vec<RecordName>, RemoteError> {
        match within(LISTING, cancel, |cancel| self.registry.tags(&self.reference, cancel)) {
            Ok(tags) => Ok(tags.iter().filter_map(|tag| RecordName::told(tag)).collect()),
            Err(RemoteError::Registry(error)) if is_missing(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn remove(&self, name: &RecordName, record: &str, cancel: &Cancel) -> Result<(), RemoteError> {
        match self.manifest(name, cancel)? {
            Some((found, descriptor)) if found == record => {
                let target = Reference { tag: None, digest: Some(descriptor.digest), ..self.reference.clone() };
                match within(SHORT, cancel, |cancel| self.registry.delete_manifest(&target, cancel)) {
                    // Somebody else has removed it.
                    Err(RemoteError::Registry(error)) if is_missing(&error) => Ok(()),
                    removed => removed,
                }
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// How long the bytes of a blob may take.
fn long(blob: &Descriptor) -> Duration {
    SHORT + Duration::from_secs(blob.size / SLOWEST_BYTES_PER_SECOND)
}

/// Whether nobody has it, as against nobody answering.
fn is_missing(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. }) || matches!(error, Error::Nowhere { failures, .. } if failures.iter().all(is_missing))
}

/// Does something for no longer than so long: what it waits for is cancelled then.
fn within<T>(limit: Duration, cancel: &Cancel, work: impl FnOnce(&Cancel) -> Result<T, Error>) -> Result<T, RemoteError> {
    let own = cancel.child();
    let (done, wait) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let clock = own.clone();
        let late = scope.spawn(move || match wait.recv_timeout(limit) {
            Err(mpsc::RecvTimeoutError::Timeout) => {
                clock.cancel();
                true
            }
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => false,
        });
        let result = work(&own);
        drop(done);
        let late = late.join().unwrap_or(false);
        match result {
            Err(Error::Cancelled) if late && !cancel.is_cancelled() => Err(RemoteError::Late { limit }),
            result => result.map_err(RemoteError::Registry),
        }
    })
}
