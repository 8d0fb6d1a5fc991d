//! An image, the base that it was made from, and another base → the image on that base, its own layers byte for byte, where it can be
//! shown that they would come to the same there.
//!
//! Source of truth: `specs/rebasing.md`; OCI image-spec 1.1, "Image Configuration" and "Image Manifest".

use std::collections::BTreeSet;
use std::io::{self, Read};

use lapstrake_cache::Digest;
use serde_json::{Map, Value};

use super::proof::leans;
use super::{LayersError, OpenError, Opened, Place, read_layers};
use crate::event::Cancel;
use crate::image::{
    Blobs, Config, Descriptor, Document, Format, History, ImageConfig, InvalidImage, MediaType, Platform, Reference, RootFs, Sealed,
    SealedLayer,
};
use crate::registry::Registry;
use crate::tree::{Metadata, Tree, Xattrs};

/// The annotation with the name of the base. OCI image-spec 1.1, "Pre-Defined Annotation Keys".
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// The annotation with the digest of the base's manifest.
pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// An image could not be put onto another base.
#[derive(Debug, thiserror::Error)]
pub enum RebaseError {
    /// Its documents cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A layer cannot be read.
    #[error(transparent)]
    Layers(#[from] LayersError),
    /// Nothing says from which base it was made.
    #[error("`{image}` does not say which image it was made from; name it by `--from`")]
    NoBase {
        /// The image.
        image: String,
    },
    /// It was made from another image.
    #[error("`{image}` was not made from `{base}`: {difference}")]
    OtherBase {
        /// The image.
        image: String,
        /// What was said to be its base.
        base: String,
        /// In what they differ.
        difference: String,
    },
    /// A number that no step has.
    #[error("`--assume-independent {number}`: `{image}` has {steps} steps above its base")]
    NoStep {
        /// The number.
        number: usize,
        /// The image.
        image: String,
        /// How many there are.
        steps: usize,
    },
    /// The bases and the image are for several platforms.
    #[error("`{image}` is for {of_image}, and `{base}` is for {of_base}")]
    Platform {
        /// The image.
        image: String,
        /// The platform of the image.
        of_image: Box<Platform>,
        /// The base.
        base: String,
        /// The platform of the base.
        of_base: Box<Platform>,
    },
    /// A layer of the base has no name in the image's format.
    #[error("the layers of `{base}` cannot be in `{image}`: its format has no name for `{media_type}`")]
    Format {
        /// The image.
        image: String,
        /// The new base.
        base: String,
        /// What has no name.
        media_type: String,
    },
    /// Some of its steps may come to something else on the new base.
    #[error("it cannot be shown that `{image}` would be the same on `{base}`:{}", listed(.steps))]
    Leaning {
        /// The image.
        image: String,
        /// The new base.
        base: String,
        /// The steps, from the first.
        steps: Vec<LeaningStep>,
    },
}

/// A step that may depend on what the new base has otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaningStep {
    /// Its number among those above the base, from 1.
    pub number: usize,
    /// What the history says of it.
    pub text: String,
    /// What it may depend on.
    pub why: String,
}

fn listed(steps: &[LeaningStep]) -> String {
    let line = |LeaningStep { number, text, why }: &LeaningStep| {
        let text: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(120).collect();
        format!("\n  step {number}, `{text}`: {why}")
    };
    steps.iter().map(line).collect()
}

/// An image on another base.
#[derive(Debug)]
pub struct Rebased<'o> {
    /// The image.
    pub image: Sealed,
    /// Settings that both the image and the new base have changed: the image's are in it.
    pub contested: Vec<String>,
    places: [&'o Opened; 2],
}

impl Blobs for Rebased<'_> {
    fn open(&self, digest: &Digest) -> io::Result<Option<Box<dyn Read + Send>>> {
        for place in self.places {
            if let Some(found) = Blobs::open(place, digest)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Where the base of an image is, by the image's own annotations.
///
/// # Errors
/// When they do not say.
pub fn base_of(image: &Opened) -> Result<Place, RebaseError> {
    let annotations = manifest_of(image)?.annotations;
    let reference = annotations.get(BASE_NAME).zip(annotations.get(BASE_DIGEST)).and_then(|(name, digest)| {
        let named: Reference = name.parse().ok()?;
        Some(Reference { digest: Some(digest.parse().ok()?), ..named })
    });
    reference.map(Place::Registry).ok_or_else(|| RebaseError::NoBase { image: image.place.to_string() })
}

fn manifest_of(image: &Opened) -> Result<crate::image::Manifest, RebaseError> {
    let place = || image.place.to_string();
    let document = Document::parse(&image.image.manifest_bytes, Some(&image.image.manifest.media_type));
    match document.map_err(|source| OpenError::Invalid { place: place(), source })? {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => Err(OpenError::Nested { place: place() }.into()),
    }
}

/// Puts an image that was made from `old` onto `new`. Steps above the base are numbered from 1; `assumed` ones are not asked about.
///
/// # Errors
/// When it was not made from that base, a layer cannot be read, or a step may come to something else on the new base.
pub fn rebase<'o>(
    image: &'o Opened,
    old: &Opened,
    new: &'o Opened,
    assumed: &BTreeSet<usize>,
    registry: &Registry,
    cancel: &Cancel,
) -> Result<Rebased<'o>, RebaseError> {
    for base in [old, new] {
        let (of_image, of_base) = (&image.image.platform, &base.image.platform);
        if (&of_image.os, &of_image.architecture) != (&of_base.os, &of_base.architecture) {
            let (image, base) = (image.place.to_string(), base.place.to_string());
            return Err(RebaseError::Platform { image, of_image: Box::new(of_image.clone()), base, of_base: Box::new(of_base.clone()) });
        }
    }
    let own = own_history(image, old)?;
    if let Some(number) = assumed.iter().find(|number| **number == 0 || **number > own.len()) {
        return Err(RebaseError::NoStep { number: *number, image: image.place.to_string(), steps: own.len() });
    }
    prove(image, old, new, own, assumed, registry, cancel)?;
    let mut contested = Vec::new();
    let config = ImageConfig {
        config: merged(&old.config.config, &new.config.config, &image.config.config, &mut contested)
            .map_err(|source| OpenError::Invalid { place: image.place.to_string(), source })?,
        history: new.config.history.iter().chain(own).cloned().collect(),
        rootfs: RootFs::default(),
        ..image.config.clone()
    };
    let image = seal(image, old.image.layers.len(), new, config)?;
    Ok(Rebased { contested, ..image })
}

/// The history of what is above the base.
fn own_history<'i>(image: &'i Opened, old: &Opened) -> Result<&'i [History], RebaseError> {
    let other = |difference: String| RebaseError::OtherBase { image: image.place.to_string(), base: old.place.to_string(), difference };
    let (layers, base) = (&image.image.layers, &old.image.layers);
    let differs = base.iter().zip(layers).position(|(base, layer)| base.diff_id != layer.diff_id);
    if let Some(place) = differs {
        return Err(other(format!("layer {} is another", place + 1)));
    }
    if base.len() > layers.len() {
        return Err(other(format!("it has {} layers, and the base {}", layers.len(), base.len())));
    }
    let same = |one: &History, other: &History| one.created_by == other.created_by && one.empty_layer == other.empty_layer;
    let (history, before) = (&image.config.history, &old.config.history);
    match history.split_at_checked(before.len()) {
        Some((lower, own)) if lower.iter().zip(before).all(|(one, other)| same(one, other)) => {
            let count = own.iter().filter(|line| line.empty_layer != Some(true)).count();
            match count == layers.len() - base.len() {
                true => Ok(own),
                false => Err(other(format!("{} layers are above it, and its history tells of {count}", layers.len() - base.len()))),
            }
        }
        Some(_) | None => Err(other("its history is another".to_owned())),
    }
}

/// Goes through the steps, over the old base and the new one.
fn prove(
    image: &Opened,
    old: &Opened,
    new: &Opened,
    own: &[History],
    assumed: &BTreeSet<usize>,
    registry: &Registry,
    cancel: &Cancel,
) -> Result<(), RebaseError> {
    let read = read_layers(image, registry, cancel)?;
    let (lower, upper) = read.layers.split_at(old.image.layers.len().min(read.layers.len()));
    let nothing = || Tree::empty(Metadata { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: Xattrs::new() });
    let mut below = lower.last().map_or_else(nothing, |layer| layer.above.clone());
    let mut other = read_layers(new, registry, cancel)?.tree();
    let mut upper = upper.iter();
    let mut steps = Vec::new();
    for (number, line) in (1..).zip(own) {
        let made = if line.empty_layer == Some(true) { None } else { upper.next().map(|layer| &layer.difference) };
        if !assumed.contains(&number)
            && let Some(why) = leans(line, made, &below, &other)
        {
            steps.push(LeaningStep { number, text: line.created_by.clone().unwrap_or_default(), why });
        }
        if let Some(made) = made {
            (below, other) = (below.apply(made), other.apply(made));
        }
    }
    match steps.is_empty() {
        true => Ok(()),
        false => Err(RebaseError::Leaning { image: image.place.to_string(), base: new.place.to_string(), steps }),
    }
}

/// The image with the new base's layers in place of the lowest `below`, in its own format.
fn seal<'o>(image: &'o Opened, below: usize, new: &'o Opened, config: ImageConfig) -> Result<Rebased<'o>, RebaseError> {
    let mut manifest = manifest_of(image)?;
    let format = MediaType::format(&image.image.manifest.media_type).unwrap_or(Format::Oci);
    let mut layers = Vec::new();
    for layer in &new.image.layers {
        let Descriptor { media_type, digest, size, .. } = &layer.descriptor;
        let translated = MediaType::translated(media_type, format).ok_or_else(|| RebaseError::Format {
            image: image.place.to_string(),
            base: new.place.to_string(),
            media_type: media_type.clone(),
        })?;
        layers.push(SealedLayer { descriptor: Descriptor::new(translated, *digest, *size), ..layer.clone() });
    }
    layers.extend(image.image.layers.iter().skip(below).cloned());
    let diff_ids = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    let config_bytes = ImageConfig { rootfs: RootFs { diff_ids, ..RootFs::default() }, ..config }.to_bytes();
    manifest.config = Descriptor::of(&manifest.config.media_type, &config_bytes);
    manifest.layers = layers.iter().map(|layer| layer.descriptor.clone()).collect();
    if manifest.annotations.contains_key(BASE_DIGEST) {
        manifest.annotations.insert(BASE_DIGEST.to_owned(), new.image.manifest.digest.to_string());
    }
    if manifest.annotations.contains_key(BASE_NAME) {
        match &new.place {
            Place::Registry(reference) => {
                let name = Reference { digest: None, ..reference.clone() }.to_string();
                manifest.annotations.insert(BASE_NAME.to_owned(), name);
            }
            Place::Layout { .. } | Place::OciArchive { .. } | Place::DockerArchive { .. } => {
                manifest.annotations.remove(BASE_NAME);
            }
        }
    }
    let manifest_bytes = manifest.to_bytes();
    let sealed = Sealed {
        platform: image.image.platform.clone(),
        manifest: Descriptor::of(&image.image.manifest.media_type, &manifest_bytes),
        manifest_bytes,
        config: manifest.config,
        config_bytes,
        layers,
    };
    Ok(Rebased { image: sealed, contested: Vec::new(), places: [image, new] })
}

/// Settings: what the image has as the old base had it is as the new base has it; all else is the image's.
fn merged(old: &Config, new: &Config, own: &Config, contested: &mut Vec<String>) -> Result<Config, InvalidImage> {
    let json = |source| InvalidImage::Json { document: "the config", source };
    let fields = |config: &Config| -> Result<Map<String, Value>, InvalidImage> {
        match serde_json::to_value(config).map_err(json)? {
            Value::Object(fields) => Ok(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Ok(Map::new()),
        }
    };
    let (mut old, mut new, mut own) = (fields(old)?, fields(new)?, fields(own)?);
    let env = [&mut old, &mut new, &mut own].map(|fields| variables(fields.remove("Env")));
    let mut result = Map::new();
    let names: BTreeSet<String> = [&old, &new, &own].into_iter().flat_map(|fields| fields.keys().cloned()).collect();
    for name in names {
        let values = [&old, &new, &own].map(|fields| fields.get(&name));
        let chosen = match values.map(|value| value.map_or(Some(Map::new()), |value| value.as_object().cloned())) {
            [Some(old), Some(new), Some(own)] if name != "Healthcheck" => {
                let mut chosen = Map::new();
                let names: BTreeSet<&String> = [&old, &new, &own].into_iter().flat_map(Map::keys).collect();
                for inner in names {
                    let values = [old.get(inner), new.get(inner), own.get(inner)];
                    chosen.extend(choose(values, &format!("{name} {inner}"), contested).map(|value| (inner.clone(), value.clone())));
                }
                (!chosen.is_empty()).then_some(Value::Object(chosen))
            }
            _ => choose(values, &name, contested).cloned(),
        };
        result.extend(chosen.map(|value| (name, value)));
    }
    let [old, new, own] = env;
    let value =
        |variables: &[(String, String)], name: &str| variables.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.clone());
    let mut chosen = Vec::new();
    // As when it is built there: the base's variables in their order, and then its own.
    let mut seen = BTreeSet::new();
    for (name, _) in new.iter().chain(&own).filter(|(name, _)| seen.insert(name.clone())) {
        let [old, new, own] = [value(&old, name), value(&new, name), value(&own, name)];
        let value = choose([old.as_ref(), new.as_ref(), own.as_ref()], &format!("Env {name}"), contested);
        chosen.extend(value.map(|value| Value::from(format!("{name}={value}"))));
    }
    if !chosen.is_empty() {
        result.insert("Env".to_owned(), Value::Array(chosen));
    }
    serde_json::from_value(Value::Object(result)).map_err(json)
}

fn choose<'v, T: PartialEq>([old, new, own]: [Option<&'v T>; 3], name: &str, contested: &mut Vec<String>) -> Option<&'v T> {
    if own == old {
        return new;
    }
    if new != old && new != own {
        contested.push(name.to_owned());
    }
    own
}

fn variables(env: Option<Value>) -> Vec<(String, String)> {
    let list = match env {
        Some(Value::Array(list)) => list,
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) | None => Vec::new(),
    };
    let pair = |value: &Value| {
        value.as_str().map(|text| text.split_once('=').unwrap_or((text, ""))).map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    list.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_the_new_bases_where_the_image_left_the_old_ones() {
        let config = |env: &[&str], user: &str, labels: &[(&str, &str)], cmd: &[&str]| Config {
            env: Some(env.iter().map(|text| (*text).to_owned()).collect()),
            user: Some(user.to_owned()),
            labels: Some(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()),
            cmd: Some(cmd.iter().map(|text| (*text).to_owned()).collect()),
            ..Config::default()
        };
        let old = config(&["PATH=/bin", "VERSION=1", "GONE=1", "DROPPED=1"], "", &[("of", "old"), ("mine", "1")], &["sh"]);
        let new = config(&["PATH=/usr/bin:/bin", "VERSION=2", "DROPPED=1", "MORE=1"], "", &[("of", "new"), ("mine", "1")], &["bash"]);
        let own = config(&["PATH=/app:/bin", "VERSION=1", "GONE=1", "APP=1"], "app", &[("of", "old"), ("mine", "2")], &["sh"]);
        let mut contested = Vec::new();
        let merged = merged(&old, &new, &own, &mut contested).unwrap();
        let expected = config(&["PATH=/app:/bin", "VERSION=2", "MORE=1", "APP=1"], "app", &[("of", "new"), ("mine", "2")], &["bash"]);
        assert_eq!(merged, expected);
        assert_eq!(contested, ["Env PATH"]);
    }
}
