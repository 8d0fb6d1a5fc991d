//! Base images: a place and a platform in; a verified manifest, config and list of layers out; layers' bytes when they are asked for.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use lapstrake_cache::{Blob, Digest};

use super::{Error, Outside, pinned, regular, remembered};
use crate::event::{Outcome, TaskKind};
use crate::image::{
    CONFIG_LIMIT_BYTES, Descriptor, Document, ImageConfig, Index, InvalidImage, MANIFEST_LIMIT_BYTES, Manifest, NoSuchPlatform, Platform,
    Reference,
};
use crate::plan::{BaseImage, ImageSource};
use crate::tree::FileStamp;

/// The annotation that holds an image's tag in a layout. OCI image-spec 1.1, "Pre-Defined Annotation Keys".
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A base image whose documents are at hand.
#[derive(Debug, Clone, PartialEq)]
pub struct Base {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its config.
    pub config: ImageConfig,
    /// Its layers, lowest first.
    pub layers: Vec<BaseLayer>,
}

/// A layer of a base image; its bytes may be elsewhere still.
#[derive(Debug, Clone, PartialEq)]
pub struct BaseLayer {
    /// The digest of its uncompressed bytes.
    pub diff_id: Digest,
    /// Its blob, as the base's manifest describes it.
    pub descriptor: Descriptor,
    /// Where the blob is.
    pub source: ImageSource,
}

/// An image that was found behind a name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FoundBase {
    /// The index, where the name stands for one.
    pub(super) index: Option<Digest>,
    /// The platform's manifest.
    pub(super) manifest: Digest,
    /// Its config.
    pub(super) config: ImageConfig,
}

impl Outside<'_> {
    /// Finds the image for a platform behind a name, as it is now.
    pub(super) fn find_base(&self, source: &ImageSource, platform: &Platform) -> Result<FoundBase, Error> {
        match source {
            ImageSource::Registry(reference) => self.find_in_registry(reference, platform),
            ImageSource::Layout { path, tag } => self.find_in_layout(source, &self.directory.join(path), tag.as_deref(), platform),
            ImageSource::Tar { path } => {
                let manifest = self.archive_digest(path)?;
                let Platform { os, architecture, variant } = platform.clone();
                Ok(FoundBase { index: None, manifest, config: ImageConfig { os, architecture, variant, ..ImageConfig::default() } })
            }
        }
    }

    /// The documents of a base that was found before. They come from the store where it has them.
    ///
    /// # Errors
    /// When they cannot be had or contradict each other.
    pub fn open_base(&self, image: &BaseImage) -> Result<Base, Error> {
        let bytes = self.document(&image.source, &image.digest)?;
        let name = image.source.to_string();
        let manifest =
            Manifest::parse(&bytes, None).map_err(|source| Error::Image { what: format!("the manifest of `{name}`"), source })?;
        let config = self.config(&image.source, &manifest)?;
        let diff_ids = config.diff_ids_for(&manifest).map_err(|source| Error::Image { what: format!("`{name}`"), source })?;
        let layers = diff_ids
            .into_iter()
            .zip(&manifest.layers)
            .map(|(diff_id, descriptor)| BaseLayer { diff_id, descriptor: descriptor.clone(), source: image.source.clone() })
            .collect();
        Ok(Base { manifest, config, layers })
    }

    /// The blob of a layer, fetched into the store where it is not there yet.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn layer(&self, layer: &BaseLayer) -> Result<Blob, Error> {
        if let Some(blob) = self.store.blob(&layer.descriptor.digest)? {
            return Ok(blob);
        }
        self.fetch(&layer.source, &layer.descriptor)?;
        self.store.blob(&layer.descriptor.digest)?.ok_or_else(|| Error::Contradiction {
            image: layer.source.to_string(),
            reason: format!("the blob {} vanished from the store while it was in use", layer.descriptor.digest),
        })
    }

    fn find_in_registry(&self, reference: &Reference, platform: &Platform) -> Result<FoundBase, Error> {
        self.need_network(|| format!("what `{reference}` stands for"))?;
        let found = self.task(TaskKind::Resolve, reference.to_string(), |_| {
            self.registry.resolve(reference, self.cancel).map(|found| (found, Outcome::Done))
        })?;
        self.store.put_blob(&found.bytes)?;
        let source = ImageSource::Registry(reference.clone());
        self.pick(&source, &found.bytes, Some(&found.descriptor.media_type), found.descriptor.digest, platform)
    }

    fn find_in_layout(&self, source: &ImageSource, path: &Path, tag: Option<&str>, platform: &Platform) -> Result<FoundBase, Error> {
        if !path.join("index.json").exists() {
            let reason = "there is no image layout here: expected a directory with `index.json`".to_owned();
            return Err(Error::Layout { path: path.to_path_buf(), reason });
        }
        let bytes = read_small(&path.join("index.json"))?;
        let index =
            Index::parse(&bytes, None).map_err(|source| Error::Image { what: format!("{}", path.join("index.json").display()), source })?;
        let named: Vec<&Descriptor> = index
            .manifests
            .iter()
            .filter(|descriptor| tag.is_none() || descriptor.annotations.get(REF_NAME).map(String::as_str) == tag)
            .collect();
        let fail = |reason: String| Error::Layout { path: path.to_path_buf(), reason };
        let descriptor = match named.as_slice() {
            [one] => *one,
            [] => {
                return Err(fail(format!("the layout has no image {}", tag.map_or(String::new(), |tag| format!("with the tag `{tag}`")))));
            }
            [..] => pick_of(&named, platform).map_err(|_| {
                let tags: Vec<&str> = index.manifests.iter().filter_map(|one| one.annotations.get(REF_NAME)).map(String::as_str).collect();
                fail(format!("the layout has {} images; name one of its tags: {}", named.len(), tags.join(", ")))
            })?,
        };
        let bytes = self.document(source, &descriptor.digest)?;
        self.pick(source, &bytes, Some(&descriptor.media_type), descriptor.digest, platform)
    }

    /// Goes from a manifest or index to the platform's manifest and its config.
    fn pick(
        &self,
        source: &ImageSource,
        bytes: &[u8],
        served_as: Option<&str>,
        digest: Digest,
        platform: &Platform,
    ) -> Result<FoundBase, Error> {
        let wrong = |error| Error::Image { what: format!("`{source}`"), source: error };
        match Document::parse(bytes, served_as).map_err(wrong)? {
            Document::Manifest(manifest) => {
                let config = self.config(source, &manifest)?;
                match other_platform(&config, platform) {
                    Some(source_error) => Err(Error::NoPlatform { image: source.to_string(), source: source_error }),
                    None => Ok(FoundBase { index: None, manifest: digest, config }),
                }
            }
            Document::Index(index) => {
                let picked = index.pick(platform).map_err(|error| Error::NoPlatform { image: source.to_string(), source: error })?;
                let bytes = self.document(source, &picked.digest)?;
                let manifest = Manifest::parse(&bytes, Some(&picked.media_type)).map_err(wrong)?;
                let config = self.config(source, &manifest)?;
                Ok(FoundBase { index: Some(digest), manifest: picked.digest, config })
            }
        }
    }

    fn config(&self, source: &ImageSource, manifest: &Manifest) -> Result<ImageConfig, Error> {
        let bytes = match self.stored(&manifest.config.digest)? {
            Some(bytes) => bytes,
            None => {
                let size_bytes = manifest.config.size;
                if size_bytes > CONFIG_LIMIT_BYTES {
                    let error = InvalidImage::TooLarge { document: "the config", size_bytes, limit_bytes: CONFIG_LIMIT_BYTES };
                    return Err(Error::Image { what: format!("the config of `{source}`"), source: error });
                }
                self.fetch(source, &manifest.config)?;
                self.stored(&manifest.config.digest)?.unwrap_or_default()
            }
        };
        ImageConfig::parse(&bytes).map_err(|error| Error::Image { what: format!("the config of `{source}`"), source: error })
    }

    /// The bytes of a manifest or index with this digest.
    fn document(&self, source: &ImageSource, digest: &Digest) -> Result<Vec<u8>, Error> {
        if let Some(bytes) = self.stored(digest)? {
            return Ok(bytes);
        }
        let bytes = match source {
            ImageSource::Registry(reference) => {
                self.need_network(|| format!("the manifest {digest} of `{reference}`"))?;
                self.registry.resolve(&pinned(reference, *digest), self.cancel)?.bytes
            }
            ImageSource::Layout { path, .. } => read_small(&blob_path(&self.directory.join(path), digest))?,
            ImageSource::Tar { .. } => Vec::new(),
        };
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(Error::Contradiction { image: source.to_string(), reason: format!("expected the document {digest}, got {found}") });
        }
        self.store.put_blob(&bytes)?;
        Ok(bytes)
    }

    fn stored(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let Some(blob) = self.store.blob(digest)? else { return Ok(None) };
        let mut bytes = Vec::new();
        blob.file
            .take(MANIFEST_LIMIT_BYTES * 2)
            .read_to_end(&mut bytes)
            .map_err(|source| Error::File { path: self.store.path().to_path_buf(), source })?;
        // Documents are small and decide what everything else is: they are hashed each time they are believed.
        if Digest::of(&bytes) == *digest {
            return Ok(Some(bytes));
        }
        // Out of the way, so that it is fetched again.
        self.store.check_blob(digest)?;
        Ok(None)
    }

    /// Brings a blob into the store, verified.
    fn fetch(&self, source: &ImageSource, descriptor: &Descriptor) -> Result<(), Error> {
        match source {
            ImageSource::Registry(reference) => {
                self.need_network(|| format!("the blob {} of `{reference}`", descriptor.digest))?;
                let label = format!("{} {}", reference.name(), short(&descriptor.digest));
                self.task(TaskKind::Pull, label, |task| {
                    let mut progress = |done| self.advanced(task, done, Some(descriptor.size));
                    let mut open = || self.store.new_hashed_blob().map_err(std::io::Error::other);
                    let sink = self.registry.blob_into(reference, descriptor, &mut open, &mut progress, self.cancel)?;
                    // The client has compared every byte with the digest on its way.
                    sink.finish_as(descriptor.digest)?;
                    Ok(((), Outcome::Done))
                })
            }
            ImageSource::Layout { path, .. } => {
                let path = blob_path(&self.directory.join(path), &descriptor.digest);
                let wrong = |source| Error::File { path: path.clone(), source };
                // One byte more than there should be is enough to know.
                let mut file = open(&path)?.take(descriptor.size.saturating_add(1));
                let mut sink = self.store.new_blob()?;
                std::io::copy(&mut file, &mut sink).map_err(wrong)?;
                sink.finish_expecting(&descriptor.digest, Some(descriptor.size))?;
                Ok(())
            }
            ImageSource::Tar { path } => Err(Error::Contradiction { image: path.clone(), reason: "an archive has no blobs".to_owned() }),
        }
    }

    /// The SHA-256 of an archive, hashed again only when the file was changed.
    fn archive_digest(&self, path: &str) -> Result<Digest, Error> {
        let path = self.directory.join(path);
        let wrong = |source| Error::File { path: path.clone(), source };
        let mut file = open(&path)?;
        let stamp = FileStamp::of(&file).map_err(wrong)?;
        if let Some(digest) = remembered::digest(self.store, &stamp)? {
            return Ok(digest);
        }
        self.task(TaskKind::Scan, path.display().to_string(), |_| {
            let mut hasher = lapstrake_cache::Sha256::new();
            let mut buffer = vec![0; 1 << 20];
            loop {
                if self.cancel.is_cancelled() {
                    return Err(Error::Cancelled);
                }
                match file.read(&mut buffer).map_err(wrong)? {
                    0 => break,
                    count => hasher.update(buffer.get(..count).unwrap_or_default()),
                }
            }
            let digest = hasher.finish();
            if FileStamp::of(&file).map_err(wrong)? == stamp {
                remembered::remember_digest(self.store, &stamp, &digest)?;
            }
            Ok((digest, Outcome::Done))
        })
    }
}

/// The one of several manifests of a layout that is for a platform.
fn pick_of<'d>(named: &[&'d Descriptor], platform: &Platform) -> Result<&'d Descriptor, Option<NoSuchPlatform>> {
    let manifests: Vec<Descriptor> = named.iter().map(|descriptor| (*descriptor).clone()).collect();
    let some = Index { schema_version: 2, media_type: None, manifests, annotations: BTreeMap::new(), extra: BTreeMap::new() };
    let digest = some.pick(platform).map_err(Some)?.digest;
    named.iter().copied().find(|descriptor| descriptor.digest == digest).ok_or(None)
}

/// What is wrong with an image that was not chosen from an index, and says itself that it is for something else. Old ones say nothing.
fn other_platform(config: &ImageConfig, wanted: &Platform) -> Option<NoSuchPlatform> {
    let ImageConfig { os, architecture, variant, .. } = config;
    let differs = |found: &str, wanted: &str| !found.is_empty() && found != wanted;
    let found = Platform { os: os.clone(), architecture: architecture.clone(), variant: variant.clone() };
    (differs(os, &wanted.os) || differs(architecture, &wanted.architecture))
        .then(|| NoSuchPlatform { wanted: wanted.clone(), available: vec![found] })
}

fn open(path: &Path) -> Result<std::fs::File, Error> {
    regular::open(path).map_err(|source| Error::File { path: path.to_path_buf(), source })
}

fn read_small(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    open(path)?
        .take(MANIFEST_LIMIT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::File { path: path.to_path_buf(), source })?;
    Ok(bytes)
}

fn blob_path(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join("blobs/sha256").join(digest.hex())
}

fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}
