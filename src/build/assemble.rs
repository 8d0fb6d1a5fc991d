//! The end of a stage → a sealed image: its layers packed, its config and manifest as canonical bytes.
//!
//! Source of truth: OCI image-spec 1.1, "Image Configuration" and "Image Manifest"; Docker image manifest version 2, schema 2.

use std::collections::BTreeMap;

use lapstrake_cache::{Digest, Fingerprint};

use super::execute::Came;
use super::packed::{Packed, Packing};
use super::site::Site;
use super::state::{LayerName, State};
use super::wanted::{ForImage, profile};
use super::{Failure, elsewhere, packed};
use crate::image::{
    Descriptor, History, ImageConfig, LayerEncoding, Manifest, MediaKind, MediaType, Reference, RootFs, Sealed, SealedLayer,
};
use crate::layer::Profile;
use crate::plan::{Compression, Image, ImageSource, Step};
use crate::tree::DirectoryContents;

/// How a stage came to its end.
#[derive(Debug, Clone, Default)]
pub(super) struct Ended {
    /// Its file system.
    pub(super) state: State,
    /// The history of its layers, lowest first.
    pub(super) history: Vec<History>,
}

/// One line of history for a step, without its time.
pub(super) fn history(step: &Step, came: &Came) -> History {
    History {
        created_by: Some(step.history.clone()),
        comment: Some("lapstrake".to_owned()),
        empty_layer: came.layer.is_none().then_some(true),
        ..History::default()
    }
}

/// The history of a base that is an archive.
pub(super) fn imported(path: &str) -> Vec<History> {
    vec![History { created_by: Some(format!("from tar:{path}")), comment: Some("lapstrake".to_owned()), ..History::default() }]
}

/// Packs what is not packed yet and seals the image. `created` is RFC 3339.
pub(super) fn seal(site: &Site<'_>, image: &Image, ended: &Ended, created: &str) -> Result<Sealed, Failure> {
    let mut layers = Vec::new();
    for count in 1..=ended.state.layers().len() {
        layers.push(layer(site, image, &ended.state.prefix(count))?);
    }
    let mut history = ended.history.clone();
    for line in &mut history {
        // Lines of the base have their own time already.
        if line.comment.as_deref() == Some("lapstrake") && line.created.is_none() {
            line.created = Some(created.to_owned());
        }
    }
    let config = ImageConfig {
        created: Some(created.to_owned()),
        author: image.author.clone(),
        architecture: image.platform.architecture.clone(),
        os: image.platform.os.clone(),
        variant: image.platform.variant.clone(),
        config: image.config.clone(),
        rootfs: RootFs { diff_ids: layers.iter().map(|layer| layer.diff_id.to_string()).collect(), ..RootFs::default() },
        history,
        extra: image.config_extra.clone(),
    };
    let config_bytes = config.to_bytes();
    let config = described(name(MediaKind::Config, image)?, &config_bytes);
    let manifest_type = name(MediaKind::Manifest, image)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(manifest_type.to_owned()),
        config: config.clone(),
        layers: layers.iter().map(|layer| layer.descriptor.clone()).collect(),
        annotations: image.annotations.clone(),
        extra: BTreeMap::new(),
    };
    let manifest_bytes = manifest.to_bytes();
    site.outside.store.put_blob(&config_bytes)?;
    site.outside.store.put_blob(&manifest_bytes)?;
    Ok(Sealed {
        platform: image.platform.clone(),
        manifest: described(manifest_type, &manifest_bytes),
        manifest_bytes,
        config,
        config_bytes,
        layers,
    })
}

fn layer(site: &Site<'_>, image: &Image, state: &State) -> Result<SealedLayer, Failure> {
    match state.layers().last() {
        Some(LayerName::Foreign(diff_id)) => {
            let base = site.layers.base_layer(diff_id)?;
            let from = match &base.source {
                ImageSource::Registry(reference) => Some(reference.clone()),
                ImageSource::Layout { .. } | ImageSource::Tar { .. } => {
                    // What lies in a directory may be gone tomorrow: its bytes come into the store with the image.
                    site.outside.layer(&base)?;
                    None
                }
            };
            let media_type = MediaType::translated(&base.descriptor.media_type, image.format)
                .ok_or_else(|| Failure::Format { image: image.name.clone(), what: base.descriptor.media_type.clone() })?;
            // Annotations and addresses of the base's manifest speak of that manifest's layer and are not taken over.
            let descriptor = plain(media_type, base.descriptor.digest, base.descriptor.size);
            Ok(SealedLayer { descriptor, diff_id: *diff_id, from })
        }
        Some(LayerName::Own(fingerprint)) => {
            let profile = profile(image.compression);
            let (packed, from) = own_layer(site, image, state, fingerprint, profile)?;
            let media_type = name(MediaKind::Layer(encoding(profile)), image)?;
            Ok(SealedLayer { descriptor: plain(media_type, packed.digest, packed.size), diff_id: packed.diff_id, from })
        }
        None => Err(Failure::Lost(super::Lost::Nothing)),
    }
}

/// The blob of a layer that a step made, and the repository of a shared cache that has it too: from there it need not pass through here.
fn own_layer(
    site: &Site<'_>,
    image: &Image,
    state: &State,
    fingerprint: &Fingerprint,
    profile: Profile,
) -> Result<(Packed, Option<Reference>), Failure> {
    let elsewhere = site.layers.elsewhere();
    let told = elsewhere.and_then(|elsewhere| {
        let known = elsewhere.own_layer(fingerprint)?;
        let packed = known.packed(profile)?;
        Some((elsewhere, known, packed))
    });
    if let Some(packed) = packed::find(site.outside.store, fingerprint, profile)? {
        let same = told.filter(|(_, _, told)| *told == packed);
        let from = same.and_then(|(elsewhere, known, _)| elsewhere.shared.repository(known.member).cloned());
        return Ok((packed, from));
    }
    if let Some((elsewhere, known, packed)) = told
        && let Some(home) = elsewhere.home(&known, &elsewhere::layer_descriptor(profile, &packed))
    {
        return Ok((packed, Some(home.clone())));
    }
    Ok((pack(site, (&image.name, &image.tags), state, fingerprint, profile)?, None))
}

/// Packs the layer that ends a state as soon as its step is done, for the image that will have it; unless it is packed already.
pub(super) fn pack_early(site: &Site<'_>, image: &ForImage, state: &State) -> Result<(), Failure> {
    let ForImage { name, profile, tags } = image;
    if let Some(LayerName::Own(fingerprint)) = state.layers().last()
        && packed::find(site.outside.store, fingerprint, *profile)?.is_none()
    {
        pack(site, (name, tags), state, fingerprint, *profile)?;
    }
    Ok(())
}

/// Packs the layer that ends a state from its directory, for the image with this name and these tags.
fn pack(
    site: &Site<'_>,
    (image, tags): (&str, &[Reference]),
    state: &State,
    fingerprint: &Fingerprint,
    profile: Profile,
) -> Result<Packed, Failure> {
    let directory = site.layers.open_directory(state)?;
    let difference = site.layers.difference(state)?;
    let label = format!("{image} {}", &fingerprint.hex()[..12]);
    let place = state.layers().len().to_string();
    let packing = Packing {
        label: &label,
        lineage: &[image, &place],
        difference: fingerprint,
        profile,
        threads: site.threads,
        ahead: site.ahead(tags),
    };
    packed::pack(site.outside, packing, &difference, &DirectoryContents(&*directory))
}

fn encoding(profile: Profile) -> LayerEncoding {
    match profile {
        Profile::Gzip1 | Profile::GzipSingle1 => LayerEncoding::Gzip,
        Profile::Zstd1 => LayerEncoding::Zstd,
        Profile::Plain => LayerEncoding::Plain,
    }
}

/// The name of a kind of blob in the image's family.
fn name(kind: MediaKind, image: &Image) -> Result<&'static str, Failure> {
    let Image { format, compression, .. } = image;
    MediaType::name(kind, *format).ok_or_else(|| Failure::Format {
        image: image.name.clone(),
        what: match compression {
            Compression::Zstd => "a Zstandard layer".to_owned(),
            Compression::Gzip | Compression::GzipSingle | Compression::None => format!("{kind:?}"),
        },
    })
}

fn described(media_type: &str, bytes: &[u8]) -> Descriptor {
    plain(media_type, Digest::of(bytes), bytes.len() as u64)
}

fn plain(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor { media_type: media_type.to_owned(), digest, size, platform: None, annotations: BTreeMap::new(), extra: BTreeMap::new() }
}
