//! An image and a way to open its blobs → every claim that does not hold.
//!
//! Nothing is believed: digests, sizes and diff ids are computed anew, counts compared.
//! Source of truth: OCI image-spec 1.1, "Content Descriptors", "Image Manifest", "Image Configuration".

use std::fmt;
use std::io::{self, Read};

use lapstrake_cache::{Digest, Sha256, Store};

use super::document::CONFIG_LIMIT_BYTES;
use super::{Descriptor, ImageConfig, InvalidImage, LayerEncoding, Manifest, MediaKind, MediaType};

/// A place that has blobs.
pub trait Blobs: Sync {
    /// Opens a blob at its first byte; `None` where it is not here.
    ///
    /// # Errors
    ///
    /// When it is here and cannot be read.
    fn open(&self, digest: &Digest) -> io::Result<Option<Box<dyn Read + Send>>>;
}

impl Blobs for Store {
    fn open(&self, digest: &Digest) -> io::Result<Option<Box<dyn Read + Send>>> {
        let blob = self.blob(digest).map_err(io::Error::other)?;
        Ok(blob.map(|blob| Box::new(blob.file) as Box<dyn Read + Send>))
    }
}

fn open(blobs: &dyn Blobs, digest: &Digest) -> io::Result<Box<dyn Read + Send>> {
    blobs.open(digest)?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it is not here"))
}

/// Something that an image claims and that is not so.
#[derive(Debug)]
pub enum Violation {
    /// A document cannot be read.
    Invalid(InvalidImage),
    /// A blob cannot be read, or not be decompressed.
    Unreadable {
        /// Which.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// A blob has another digest.
    Digest {
        /// What is claimed.
        claimed: Digest,
        /// What it is.
        actual: Digest,
    },
    /// A blob has another size.
    Size {
        /// Which.
        digest: Digest,
        /// What is claimed.
        claimed: u64,
        /// What it is.
        actual: u64,
    },
    /// A layer has another diff id.
    DiffId {
        /// Which layer, counted from the lowest.
        layer: usize,
        /// What is claimed.
        claimed: Digest,
        /// What it is.
        actual: Digest,
    },
    /// The history tells of another number of layers.
    History {
        /// Lines of the history that have a layer.
        lines: usize,
        /// Layers.
        layers: usize,
    },
    /// A layer's media type is none of a layer.
    LayerType {
        /// Which layer, counted from the lowest.
        layer: usize,
        /// Its media type.
        media_type: String,
    },
    /// The config's media type is none of a config.
    ConfigType(String),
    /// Descriptors of both families in one manifest.
    MixedFormats,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Invalid(error) => write!(f, "{error}"),
            Violation::Unreadable { digest, source } => write!(f, "`{digest}` cannot be read: {source}"),
            Violation::Digest { claimed, actual } => write!(f, "`{claimed}` has the digest `{actual}`"),
            Violation::Size { digest, claimed, actual } => write!(f, "`{digest}` has {actual} bytes instead of {claimed}"),
            Violation::DiffId { layer, claimed, actual } => {
                write!(f, "layer {layer} has the diff id `{actual}` instead of `{claimed}`")
            }
            Violation::History { lines, layers } => write!(f, "the history tells of {lines} layers, and there are {layers}"),
            Violation::LayerType { layer, media_type } => write!(f, "layer {layer} is called `{media_type}`, which names no layer"),
            Violation::ConfigType(media_type) => write!(f, "the config is called `{media_type}`, which names no config"),
            Violation::MixedFormats => write!(f, "the manifest mixes media types of OCI and Docker"),
        }
    }
}

/// Recomputes every claim of an image and returns those that do not hold. `manifest` points to the image's manifest, not to an index.
pub fn validate(manifest: &Descriptor, blobs: &dyn Blobs) -> Vec<Violation> {
    let mut violations = Vec::new();
    let Some(bytes) = small(manifest, super::document::MANIFEST_LIMIT_BYTES, blobs, &mut violations) else { return violations };
    let manifest = match Manifest::parse(&bytes, Some(&manifest.media_type)) {
        Ok(manifest) => manifest,
        Err(error) => {
            violations.push(Violation::Invalid(error));
            return violations;
        }
    };
    let format = MediaType::format(manifest.media_type());
    if std::iter::once(&manifest.config).chain(&manifest.layers).any(|each| MediaType::format(&each.media_type) != format) {
        violations.push(Violation::MixedFormats);
    }
    if MediaType::kind(&manifest.config.media_type) != Some(MediaKind::Config) {
        violations.push(Violation::ConfigType(manifest.config.media_type.clone()));
    }
    let mut diff_ids = Vec::new();
    if let Some(bytes) = small(&manifest.config, CONFIG_LIMIT_BYTES, blobs, &mut violations) {
        match ImageConfig::parse(&bytes).and_then(|config| Ok((config.diff_ids_for(&manifest)?, config))) {
            Ok((found, config)) => {
                diff_ids = found;
                let lines = config.history.iter().filter(|line| line.empty_layer != Some(true)).count();
                if !config.history.is_empty() && lines != manifest.layers.len() {
                    violations.push(Violation::History { lines, layers: manifest.layers.len() });
                }
            }
            Err(error) => violations.push(Violation::Invalid(error)),
        }
    }
    for (layer, descriptor) in manifest.layers.iter().enumerate() {
        validate_layer(layer, descriptor, diff_ids.get(layer), blobs, &mut violations);
    }
    violations
}

fn validate_layer(layer: usize, descriptor: &Descriptor, diff_id: Option<&Digest>, blobs: &dyn Blobs, violations: &mut Vec<Violation>) {
    let encoding = match MediaType::kind(&descriptor.media_type) {
        Some(MediaKind::Layer(encoding)) => encoding,
        // What must not be passed on need not be there.
        Some(MediaKind::ForeignLayer(_)) => return,
        Some(MediaKind::Manifest | MediaKind::Index | MediaKind::Config) | None => {
            violations.push(Violation::LayerType { layer, media_type: descriptor.media_type.clone() });
            return;
        }
    };
    let blob = match open(blobs, &descriptor.digest) {
        Ok(blob) => blob,
        Err(source) => return violations.push(Violation::Unreadable { digest: descriptor.digest, source }),
    };
    let mut blob = Hashed { inner: blob, sha256: Sha256::new(), size: 0 };
    match hash_decoded(&mut blob, encoding) {
        Ok(actual) => {
            if let Some(claimed) = diff_id.filter(|claimed| **claimed != actual) {
                violations.push(Violation::DiffId { layer, claimed: *claimed, actual });
            }
        }
        Err(source) => violations.push(Violation::Unreadable { digest: descriptor.digest, source }),
    }
    match io::copy(&mut blob, &mut io::sink()) {
        Ok(_) => compare(descriptor, blob.sha256.finish(), blob.size, violations),
        Err(source) => violations.push(Violation::Unreadable { digest: descriptor.digest, source }),
    }
}

fn hash_decoded(blob: &mut dyn Read, encoding: LayerEncoding) -> io::Result<Digest> {
    let mut tar: Box<dyn Read + '_> = match encoding {
        LayerEncoding::Plain => Box::new(blob),
        LayerEncoding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(blob)),
        LayerEncoding::Zstd => Box::new(zstd::Decoder::new(blob)?),
    };
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        match tar.read(&mut buffer) {
            Ok(0) => return Ok(sha256.finish()),
            Ok(read) => sha256.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads a small blob; `None` where it could not be read or has other bytes than it should.
fn small(descriptor: &Descriptor, limit_bytes: u64, blobs: &dyn Blobs, violations: &mut Vec<Violation>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open(blobs, &descriptor.digest).and_then(|blob| blob.take(limit_bytes + 1).read_to_end(&mut bytes));
    if let Err(source) = read {
        violations.push(Violation::Unreadable { digest: descriptor.digest, source });
        return None;
    }
    let before = violations.len();
    compare(descriptor, Digest::of(&bytes), bytes.len() as u64, violations);
    (violations.len() == before).then_some(bytes)
}

fn compare(descriptor: &Descriptor, digest: Digest, size: u64, violations: &mut Vec<Violation>) {
    if size != descriptor.size {
        violations.push(Violation::Size { digest: descriptor.digest, claimed: descriptor.size, actual: size });
    }
    if digest != descriptor.digest {
        violations.push(Violation::Digest { claimed: descriptor.digest, actual: digest });
    }
}

/// Hashes and counts what passes.
struct Hashed {
    inner: Box<dyn Read + Send>,
    sha256: Sha256,
    size: u64,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sha256.update(&buffer[..read]);
        self.size += read as u64;
        Ok(read)
    }
}
