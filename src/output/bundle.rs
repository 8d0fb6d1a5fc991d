//! A finished image, or an index of several → one root document and everything that it names, ready to be pushed or written.
//!
//! Source of truth: OCI image-spec 1.1, "Image Index".

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use lapstrake_cache::{Digest, Sha256};
use serde_json::{Map, Value};

use crate::event::Cancel;
use crate::image::{Blobs, Descriptor, Format, Index, MediaKind, MediaType, Platform, Reference, Sealed};
use crate::registry::Registry;

/// A manifest or index as bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A blob that a manifest names.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// The bytes, where they are in memory.
    pub bytes: Option<Vec<u8>>,
    /// A repository that has it; asked where no other place has.
    pub from: Option<Reference>,
}

impl Part {
    /// Whether it may be passed on: some layers must be fetched from where their vendor has them.
    #[must_use]
    pub fn is_passed_on(&self) -> bool {
        !matches!(MediaType::kind(&self.descriptor.media_type), Some(MediaKind::ForeignLayer(_)))
    }
}

/// One root document and everything that it names.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// What a tag will point to.
    pub root: Text,
    /// What the root is for, where it is one image and that is known.
    pub platform: Option<Platform>,
    /// The manifests and indexes that the root names, each after what it names itself.
    pub documents: Vec<Text>,
    /// Configs and layers, each once. What must not be passed on is not among them.
    pub blobs: Vec<Part>,
}

impl Bundle {
    /// One image.
    #[must_use]
    pub fn of(sealed: &Sealed) -> Bundle {
        let root = Text { descriptor: sealed.manifest.clone(), bytes: sealed.manifest_bytes.clone() };
        let mut bundle = Bundle { root, platform: Some(sealed.platform.clone()), documents: Vec::new(), blobs: Vec::new() };
        bundle.add_blobs(sealed);
        bundle
    }

    /// An index of images for several platforms. Its entries are sorted by platform, so that it does not matter who made which when.
    #[must_use]
    pub fn of_platforms(images: &[&Sealed]) -> Bundle {
        let is_docker = |sealed: &&Sealed| MediaType::format(&sealed.manifest.media_type) == Some(Format::Docker);
        let format = if images.iter().all(is_docker) { Format::Docker } else { Format::Oci };
        let index = sorted_index(images.iter().map(|sealed| entry(&sealed.manifest, &sealed.platform)).collect(), format);
        let bytes = index.to_bytes();
        let root = Text { descriptor: Descriptor::of(index.media_type(), &bytes), bytes };
        let mut bundle = Bundle { root, platform: None, documents: Vec::new(), blobs: Vec::new() };
        for sealed in images {
            bundle.documents.push(Text { descriptor: sealed.manifest.clone(), bytes: sealed.manifest_bytes.clone() });
            bundle.add_blobs(sealed);
        }
        bundle
    }

    fn add_blobs(&mut self, sealed: &Sealed) {
        for layer in &sealed.layers {
            self.add(Part { descriptor: layer.descriptor.clone(), bytes: None, from: layer.from.clone() });
        }
        self.add(Part { descriptor: sealed.config.clone(), bytes: Some(sealed.config_bytes.clone()), from: None });
    }

    /// Adds a blob, unless it is there already or is a layer that must not be passed on.
    fn add(&mut self, part: Part) {
        if part.is_passed_on() && self.blobs.iter().all(|known| known.descriptor.digest != part.descriptor.digest) {
            self.blobs.push(part);
        }
    }

    /// Every document, the root last.
    pub fn texts(&self) -> impl Iterator<Item = &Text> {
        self.documents.iter().chain([&self.root])
    }

    /// The root as it stands in an index: with its platform, where it is one image.
    #[must_use]
    pub fn entry(&self) -> Descriptor {
        match &self.platform {
            Some(platform) => entry(&self.root.descriptor, platform),
            None => self.root.descriptor.clone(),
        }
    }
}

/// A manifest as it stands in an index.
pub(super) fn entry(manifest: &Descriptor, platform: &Platform) -> Descriptor {
    let mut shown = Map::new();
    shown.insert("architecture".to_owned(), platform.architecture.clone().into());
    shown.insert("os".to_owned(), platform.os.clone().into());
    if let Some(variant) = &platform.variant {
        shown.insert("variant".to_owned(), variant.clone().into());
    }
    Descriptor { platform: Some(Value::Object(shown)), ..manifest.clone() }
}

/// An index whose images stand in the order of their platforms; what is none stays behind them, in its order.
pub(super) fn sorted_index(mut manifests: Vec<Descriptor>, format: Format) -> Index {
    let name =
        |descriptor: &Descriptor| descriptor.platform().map(|platform| platform.to_string()).filter(|name| !name.starts_with("unknown"));
    manifests.sort_by_key(|descriptor| (name(descriptor).is_none(), name(descriptor)));
    let media_type = MediaType::name(MediaKind::Index, format).unwrap_or(MediaType::OCI_INDEX);
    Index { schema_version: 2, media_type: Some(media_type.to_owned()), manifests, annotations: BTreeMap::new(), extra: BTreeMap::new() }
}

/// Where the bytes of blobs are: on this machine, else in registries.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// On this machine.
    pub here: &'a dyn Blobs,
    /// The client for registries that parts name.
    pub registry: &'a Registry,
    /// The wish to stop.
    pub cancel: &'a Cancel,
}

impl Sources<'_> {
    /// Opens a blob. Its end is only reached if the bytes are right.
    ///
    /// # Errors
    ///
    /// When it is nowhere.
    pub fn open(&self, part: &Part) -> io::Result<Box<dyn Read + Send>> {
        if let Some(bytes) = &part.bytes {
            return Ok(Box::new(io::Cursor::new(bytes.clone())));
        }
        match (self.here.open(&part.descriptor.digest)?, &part.from) {
            (Some(bytes), _) => Ok(Box::new(Verified::new(bytes, &part.descriptor))),
            (None, Some(from)) => {
                let reader = self.registry.open_blob(from, &part.descriptor, self.cancel).map_err(io::Error::other)?;
                Ok(Box::new(reader))
            }
            (None, None) => Err(io::Error::new(io::ErrorKind::NotFound, "it is neither here nor in a registry")),
        }
    }
}

/// Bytes whose end is only reached if they are what they are called.
struct Verified {
    inner: Box<dyn Read + Send>,
    expected: Digest,
    left: u64,
    sha256: Sha256,
    state: State,
}

/// How far it is.
#[derive(Clone)]
enum State {
    Reading,
    Right,
    /// It is something else, and stays so, however often it is asked.
    Wrong(String),
}

impl Verified {
    fn new(inner: Box<dyn Read + Send>, descriptor: &Descriptor) -> Verified {
        Verified { inner, expected: descriptor.digest, left: descriptor.size, sha256: Sha256::new(), state: State::Reading }
    }
}

impl Verified {
    /// Counts what was read of it, 0 bytes for the end.
    fn seen(&self, bytes: &[u8]) -> State {
        if bytes.len() as u64 > self.left {
            return State::Wrong("too many".to_owned());
        }
        if !bytes.is_empty() {
            return State::Reading;
        }
        if self.left > 0 {
            return State::Wrong("too few".to_owned());
        }
        let actual = self.sha256.clone().finish();
        if actual == self.expected { State::Right } else { State::Wrong(format!("they have the digest `{actual}`")) }
    }
}

impl Read for Verified {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut read = 0;
        if matches!(self.state, State::Reading) {
            read = self.inner.read(buffer)?;
            self.state = self.seen(&buffer[..read]);
        }
        match &self.state {
            State::Reading => {
                self.sha256.update(&buffer[..read]);
                self.left -= read as u64;
                Ok(read)
            }
            State::Right => Ok(0),
            State::Wrong(what) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has other bytes than it should: {what}"))),
        }
    }
}

/// Every blob and document of several bundles by its digest, each once.
pub(super) fn contents<'b>(bundles: impl Iterator<Item = &'b Bundle>) -> Vec<Part> {
    let mut seen = BTreeSet::new();
    let mut all: Vec<Part> = Vec::new();
    for bundle in bundles {
        let texts = bundle.texts().map(|text| Part { descriptor: text.descriptor.clone(), bytes: Some(text.bytes.clone()), from: None });
        all.extend(bundle.blobs.iter().cloned().chain(texts).filter(|part| seen.insert(part.descriptor.digest)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_has_no_end_however_often_it_is_read() {
        for (bytes, named) in [(&b"abc"[..], &b"abd"[..]), (b"ab", b"abd"), (b"abcd", b"abc")] {
            let descriptor = Descriptor::of(MediaType::OCI_LAYER, named);
            let mut verified = Verified::new(Box::new(io::Cursor::new(bytes.to_vec())), &descriptor);
            assert_eq!(verified.read_to_end(&mut Vec::new()).unwrap_err().kind(), io::ErrorKind::InvalidData);
            for _ in 0..3 {
                assert_eq!(verified.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::InvalidData);
            }
        }
        let descriptor = Descriptor::of(MediaType::OCI_LAYER, b"abc");
        let mut verified = Verified::new(Box::new(io::Cursor::new(b"abc".to_vec())), &descriptor);
        assert_eq!(verified.read_to_end(&mut Vec::new()).unwrap(), 3);
        assert_eq!(verified.read(&mut [0; 8]).unwrap(), 0);
    }
}
