//! An opened image → what to print about it, for people and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Opened;
use super::text::{bytes, plain};
use crate::image::{Descriptor, History, ImageConfig, Platform};
use lapstrake_cache::Digest;

/// What there is to know about an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    /// Where it is, as in [`super::Place`].
    pub place: String,
    /// What the name stands for: the index where there is one, else the manifest.
    pub named: Descriptor,
    /// The manifest.
    pub manifest: Descriptor,
    /// What it is for.
    pub platform: Platform,
    /// What the index offers: platforms and the digests of their manifests. Empty without an index.
    pub offered: Vec<(Platform, Digest)>,
    /// From the lowest up.
    pub layers: Vec<InspectedLayer>,
    /// The config.
    pub config: ImageConfig,
}

/// What there is to know about a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct InspectedLayer {
    /// The blob.
    pub descriptor: Descriptor,
    /// The digest of its uncompressed bytes.
    pub diff_id: Digest,
    /// By which step it was made, where the history tells.
    pub created_by: Option<String>,
}

impl Inspected {
    /// Collects what there is to know.
    #[must_use]
    pub fn new(opened: &Opened) -> Inspected {
        let makers = makers(&opened.config.history, opened.image.layers.len());
        let layers = opened.image.layers.iter().enumerate().map(|(place, layer)| InspectedLayer {
            descriptor: layer.descriptor.clone(),
            diff_id: layer.diff_id,
            created_by: makers.get(place).cloned().flatten(),
        });
        Inspected {
            place: opened.place.to_string(),
            named: opened.named.clone(),
            manifest: opened.image.manifest.clone(),
            platform: opened.image.platform.clone(),
            offered: opened.offered.clone(),
            layers: layers.collect(),
            config: opened.config.clone(),
        }
    }

    /// The bytes of all layers as they are stored.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.descriptor.size))
    }

    /// For programs. Fields may be added; `version` grows when one changes its meaning.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "version": 1,
            "place": self.place,
            "digest": self.named.digest.to_string(),
            "mediaType": self.named.media_type,
            "platform": self.platform.to_string(),
            "platforms": self.offered.iter()
                .map(|(platform, digest)| json!({"platform": platform.to_string(), "digest": digest.to_string()}))
                .collect::<Vec<_>>(),
            "manifest": {"digest": self.manifest.digest.to_string(), "mediaType": self.manifest.media_type, "size": self.manifest.size},
            "layers": self.layers.iter().map(|layer| json!({
                "digest": layer.descriptor.digest.to_string(),
                "mediaType": layer.descriptor.media_type,
                "size": layer.descriptor.size,
                "diffId": layer.diff_id.to_string(),
                "createdBy": layer.created_by,
            })).collect::<Vec<_>>(),
            "size": self.size_bytes(),
            "config": serde_json::from_slice::<Value>(&self.config.to_bytes()).unwrap_or_default(),
        })
    }

    /// For people: one fact a line, then the layers. Control characters that the image holds are escaped.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut lines = Lines(String::new());
        lines.fact("Image", &self.place);
        lines.fact("Digest", &self.named.digest.to_string());
        lines.fact("Platform", &self.platform.to_string());
        lines.list("Offered", self.offered.iter().map(|(platform, digest)| format!("{platform} {digest}")));
        lines.fact("Created", self.config.created.as_deref().unwrap_or_default());
        lines.fact("Author", self.config.author.as_deref().unwrap_or_default());
        lines.fact("Size", &format!("{} in {} layers", bytes(self.size_bytes()), self.layers.len()));
        let config = &self.config.config;
        lines.fact("User", config.user.as_deref().unwrap_or_default());
        lines.fact("Workdir", config.working_dir.as_deref().unwrap_or_default());
        lines.command("Entrypoint", config.entrypoint.as_deref());
        lines.command("Cmd", config.cmd.as_deref());
        lines.command("Shell", config.shell.as_deref());
        lines.list("Env", config.env.iter().flatten().cloned());
        lines.list("Ports", config.exposed_ports.iter().flatten().map(|(port, _)| port.clone()));
        lines.list("Volumes", config.volumes.iter().flatten().map(|(path, _)| path.clone()));
        lines.list("Labels", config.labels.iter().flatten().map(|(name, value)| format!("{name}={value}")));
        lines.command("Healthcheck", config.healthcheck.as_ref().and_then(|check| check.test.as_deref()));
        lines.fact("Stop signal", config.stop_signal.as_deref().unwrap_or_default());
        lines.list("On build", config.on_build.iter().flatten().cloned());
        lines.list(
            "Layers",
            self.layers.iter().map(|layer| {
                let Descriptor { digest, size, .. } = &layer.descriptor;
                format!("{digest} {:>10}  {}", bytes(*size), layer.created_by.as_deref().unwrap_or_default())
            }),
        );
        lines.0
    }
}

/// Which line of the history made which layer; nothing where the two do not fit.
pub(super) fn makers(history: &[History], layers: usize) -> Vec<Option<String>> {
    let lines: Vec<&History> = history.iter().filter(|line| line.empty_layer != Some(true)).collect();
    if lines.len() == layers { lines.into_iter().map(|line| line.created_by.clone()).collect() } else { Vec::new() }
}

struct Lines(String);

impl Lines {
    fn fact(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.list(name, std::iter::once(value.to_owned()));
        }
    }

    fn command(&mut self, name: &str, words: Option<&[String]>) {
        if let Some(words) = words.filter(|words| !words.is_empty()) {
            self.fact(name, &json!(words).to_string());
        }
    }

    /// The name before the first line, and room under it before the others.
    fn list(&mut self, mut name: &str, values: impl Iterator<Item = String>) {
        for value in values {
            let value = plain(value.trim_end());
            // Writing to a string cannot fail.
            let _ = writeln!(self.0, "{name:<12} {value}");
            name = "";
        }
    }
}
