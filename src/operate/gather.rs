//! A place and a choice of platforms → every document behind its names, and the blobs that they name; no blob is read but configs.
//!
//! Source of truth: OCI image-spec 1.1, "Image Index", "Image Layout"; distribution-spec 1.1, "Pulling manifests".

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use lapstrake_cache::Digest;

use super::files::Files;
use super::open::{NAME, NESTED, OpenError, pick, saved, small};
use super::{Place, Selection};
use crate::event::Cancel;
use crate::image::{
    Blobs, CONFIG_LIMIT_BYTES, Descriptor, Document, ImageConfig, Index, MANIFEST_LIMIT_BYTES, Manifest, MediaKind, MediaType, Reference,
};
use crate::output::{Bundle, Named, Part, Text};
use crate::registry::Registry;

/// The most documents that are read behind one name, and the most bytes of them.
const DOCUMENTS: usize = 4096;
const DOCUMENT_BYTES: u64 = 64 << 20;

/// The most blobs that they may name.
const BLOBS: usize = 100_000;

/// What was found at a place. The blobs of a layout or archive can be read through [`Blobs`]; those of a registry are where each part says.
#[derive(Debug)]
pub struct Gathered {
    /// Each image or index with its names there.
    pub images: Vec<Named>,
    files: Option<Files>,
}

impl Blobs for Gathered {
    fn open(&self, digest: &Digest) -> io::Result<Option<Box<dyn Read + Send>>> {
        match &self.files {
            Some(files) => Blobs::open(files, digest),
            None => Ok(None),
        }
    }
}

/// Finds what a place holds: the image that its name says, else, in a layout or archive, all of them.
///
/// # Errors
///
/// When there is none, or it is not what it claims to be.
pub fn gather(place: &Place, selection: &Selection, registry: &Registry, cancel: &Cancel) -> Result<Gathered, OpenError> {
    match place {
        Place::Registry(reference) => {
            let resolved = registry.resolve(reference, cancel).map_err(Box::new)?;
            let from = Origin::Registry { reference, registry, cancel };
            let text = Text { descriptor: resolved.descriptor, bytes: resolved.bytes };
            let bundle = Walk { place, from: &from, selection, cancel }.bundle(text)?;
            let names = vec![Reference { digest: None, ..reference.clone() }.to_string()];
            Ok(Gathered { images: vec![Named { bundle, names }], files: None })
        }
        Place::Layout { path, name } => layout(place, Files::directory(path), name.as_deref(), selection, cancel),
        Place::OciArchive { path, name } => layout(place, Files::archive(path)?, name.as_deref(), selection, cancel),
        Place::DockerArchive { path, name } => docker_archive(place, Files::archive(path)?, name.as_deref(), selection, cancel),
    }
}

fn layout(place: &Place, files: Files, name: Option<&str>, selection: &Selection, cancel: &Cancel) -> Result<Gathered, OpenError> {
    let invalid = |source| OpenError::Invalid { place: place.to_string(), source };
    let index = Index::parse(&files.read("index.json", MANIFEST_LIMIT_BYTES)?, None).map_err(invalid)?;
    let wanted = |entry: &&Descriptor| name.is_none_or(|name| entry.annotations.get(NAME).is_some_and(|own| own == name));
    let mut entries: Vec<&Descriptor> = index.manifests.iter().filter(wanted).collect();
    // Several platforms of one image stand side by side.
    if let (Selection::Platform(platform), [_, _, ..]) = (selection, entries.as_slice())
        && entries.iter().all(|entry| entry.platform().is_some() && entry.annotations.get(NAME) == entries[0].annotations.get(NAME))
    {
        let several = Index { manifests: entries.iter().map(|entry| (*entry).clone()).collect(), ..index.clone() };
        let digest = pick(place, &several, platform)?.digest;
        entries.retain(|entry| entry.digest == digest);
    }
    if entries.is_empty() {
        let available = index.manifests.iter().filter_map(|entry| entry.annotations.get(NAME).cloned()).collect();
        return Err(OpenError::Which { place: place.to_string(), available });
    }
    let from = Origin::Files(&files);
    let mut images: Vec<Named> = Vec::new();
    for entry in entries {
        let own = entry.annotations.get(NAME);
        match images.iter_mut().find(|known| known.bundle.root.descriptor.digest == entry.digest && own.is_some()) {
            Some(known) => known.names.extend(own.cloned()),
            None => {
                let walk = Walk { place, from: &from, selection, cancel };
                let text = walk.read(&Descriptor::new(&entry.media_type, entry.digest, entry.size))?;
                images.push(Named { bundle: walk.bundle(text)?, names: own.cloned().into_iter().collect() });
            }
        }
    }
    Ok(Gathered { images, files: Some(files) })
}

fn docker_archive(
    place: &Place,
    mut files: Files,
    name: Option<&str>,
    selection: &Selection,
    cancel: &Cancel,
) -> Result<Gathered, OpenError> {
    let mut images = Vec::new();
    for image in saved(place, &mut files, name)? {
        let bytes = image.manifest.to_bytes();
        let text = Text { descriptor: Descriptor::of(MediaType::DOCKER_MANIFEST, &bytes), bytes };
        // The name that was asked for is the one that counts.
        let names = name.map_or(image.names, |name| vec![name.to_owned()]);
        let bundle = Walk { place, from: &Origin::Files(&files), selection, cancel }.bundle(text)?;
        images.push(Named { bundle, names });
    }
    Ok(Gathered { images, files: Some(files) })
}

/// Where documents are read from.
enum Origin<'a> {
    Registry { reference: &'a Reference, registry: &'a Registry, cancel: &'a Cancel },
    Files(&'a Files),
}

struct Walk<'a> {
    place: &'a Place,
    from: &'a Origin<'a>,
    selection: &'a Selection,
    cancel: &'a Cancel,
}

/// What was found on a walk so far.
struct Found {
    bundle: Bundle,
    documents: BTreeSet<Digest>,
    blobs: BTreeSet<Digest>,
    document_bytes: u64,
}

impl Walk<'_> {
    fn invalid(&self, source: crate::image::InvalidImage) -> OpenError {
        OpenError::Invalid { place: self.place.to_string(), source }
    }

    /// Reads a document and checks it.
    fn read(&self, descriptor: &Descriptor) -> Result<Text, OpenError> {
        small(self.place, descriptor, MANIFEST_LIMIT_BYTES, "the manifest")?;
        let bytes = match self.from {
            Origin::Registry { reference, registry, cancel } => registry.manifest(reference, descriptor, cancel).map_err(Box::new)?.bytes,
            Origin::Files(files) => files.blob(descriptor)?,
        };
        Ok(Text { descriptor: Descriptor::new(&descriptor.media_type, descriptor.digest, descriptor.size), bytes })
    }

    fn document(&self, text: &Text) -> Result<Document, OpenError> {
        Document::parse(&text.bytes, Some(&text.descriptor.media_type)).map_err(|source| self.invalid(source))
    }

    /// Everything behind a document; where one platform is wanted, behind the manifest for it.
    fn bundle(&self, mut root: Text) -> Result<Bundle, OpenError> {
        if let Selection::Platform(platform) = self.selection {
            for _ in 0..NESTED {
                let Document::Index(index) = self.document(&root)? else { break };
                root = self.read(pick(self.place, &index, platform)?)?;
            }
        }
        let document = self.document(&root)?;
        let bundle = Bundle { root: root.clone(), platform: None, documents: Vec::new(), blobs: Vec::new() };
        let mut found = Found { bundle, documents: BTreeSet::new(), blobs: BTreeSet::new(), document_bytes: 0 };
        match document {
            Document::Manifest(manifest) => {
                found.bundle.platform = self.platform(&manifest)?;
                self.add(&root, &manifest, &mut found)?;
            }
            Document::Index(index) => self.below(&index, NESTED, &mut found)?,
        }
        Ok(found.bundle)
    }

    /// Adds what an index names, the deepest first.
    fn below(&self, index: &Index, depth: usize, found: &mut Found) -> Result<(), OpenError> {
        for descriptor in &index.manifests {
            if found.documents.contains(&descriptor.digest) {
                continue;
            }
            if self.cancel.is_cancelled() {
                return Err(OpenError::Cancelled);
            }
            if depth == 0 {
                return Err(OpenError::Nested { place: self.place.to_string() });
            }
            if found.documents.len() >= DOCUMENTS {
                return Err(self.too_much("manifests", DOCUMENTS as u64));
            }
            found.document_bytes = found.document_bytes.saturating_add(descriptor.size);
            if found.document_bytes > DOCUMENT_BYTES {
                return Err(self.too_much("bytes of manifests", DOCUMENT_BYTES));
            }
            let text = self.read(descriptor)?;
            match self.document(&text)? {
                Document::Manifest(manifest) => self.add(&text, &manifest, found)?,
                Document::Index(index) => self.below(&index, depth - 1, found)?,
            }
            found.documents.insert(descriptor.digest);
            found.bundle.documents.push(text);
        }
        Ok(())
    }

    fn too_much(&self, what: &'static str, limit: u64) -> OpenError {
        OpenError::TooMuch { place: self.place.to_string(), what, limit }
    }

    fn add(&self, text: &Text, manifest: &Manifest, found: &mut Found) -> Result<(), OpenError> {
        let from = match self.from {
            Origin::Registry { reference, .. } => Some(Reference { digest: Some(text.descriptor.digest), ..(*reference).clone() }),
            Origin::Files(_) => None,
        };
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            let plain = Descriptor::new(&descriptor.media_type, descriptor.digest, descriptor.size);
            let part = Part { descriptor: plain, bytes: None, from: from.clone() };
            if part.is_passed_on() && found.blobs.insert(descriptor.digest) {
                found.bundle.blobs.push(part);
            }
            if found.blobs.len() > BLOBS {
                return Err(self.too_much("blobs", BLOBS as u64));
            }
        }
        Ok(())
    }

    /// What an image is for; `None` for artifacts that are no images.
    fn platform(&self, manifest: &Manifest) -> Result<Option<crate::image::Platform>, OpenError> {
        let config = &manifest.config;
        if MediaType::kind(&config.media_type) != Some(MediaKind::Config) {
            return Ok(None);
        }
        small(self.place, config, CONFIG_LIMIT_BYTES, "the config")?;
        let bytes = match self.from {
            Origin::Registry { reference, registry, cancel } => {
                registry.blob_into(reference, config, &mut || Ok(Vec::new()), &mut |_| {}, cancel).map_err(Box::new)?
            }
            Origin::Files(files) => files.blob(config)?,
        };
        Ok(Some(ImageConfig::parse(&bytes).map_err(|source| self.invalid(source))?.platform()))
    }
}

/// Names by which something is called in a layout, from references: a layout's names are tags.
pub(super) fn unique(images: &[Named]) -> bool {
    let mut seen: BTreeMap<&str, Digest> = BTreeMap::new();
    let names = images.iter().flat_map(|image| image.names.iter().map(|name| (name.as_str(), image.bundle.root.descriptor.digest)));
    names.into_iter().all(|(name, digest)| *seen.entry(name).or_insert(digest) == digest)
}
