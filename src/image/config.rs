//! The image config: how to run an image, and what its layers are.
//!
//! Everything that a base's config holds survives, Docker's own fields and unknown ones included. Fields stand in the order of the Go
//! structs of both specifications, which is the order in which most tools write them; unknown ones follow, sorted. As those structs do,
//! a field without a value (`null`, `""`, `[]`, `{}`, `0`, `false`) is left out, so that one meaning has one spelling.
//! Source of truth: OCI image-spec 1.1, "Image Configuration"; Docker image specification 1.3.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Platform;
use super::descriptor::null_is_default;

fn absent_text(value: &Option<String>) -> bool {
    value.as_deref().is_none_or(str::is_empty)
}

fn absent_list(value: &Option<Vec<String>>) -> bool {
    value.as_deref().is_none_or(<[String]>::is_empty)
}

fn absent_map<V>(value: &Option<BTreeMap<String, V>>) -> bool {
    value.as_ref().is_none_or(BTreeMap::is_empty)
}

fn absent_number(value: &Option<u64>) -> bool {
    value.is_none_or(|value| value == 0)
}

fn absent_flag(value: &Option<bool>) -> bool {
    value.is_none_or(|value| !value)
}

/// The whole document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "absent_text")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "absent_text")]
    pub author: Option<String>,
    /// The processor, such as `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// The operating system, such as `linux`.
    #[serde(default)]
    pub os: String,
    /// The processor's variant.
    #[serde(default, skip_serializing_if = "absent_text")]
    pub variant: Option<String>,
    /// How to run it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: Config,
    /// Its layers.
    pub rootfs: RootFs,
    /// How each layer came to be.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Fields that this version does not know, kept as they were.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

impl ImageConfig {
    /// The platform it is for, in normal form if what it says makes sense, else as it says.
    #[must_use]
    pub fn platform(&self) -> Platform {
        let variant = self.variant.clone().filter(|variant| !variant.is_empty());
        let said = Platform { os: self.os.clone(), architecture: self.architecture.clone(), variant };
        said.to_string().to_ascii_lowercase().parse().unwrap_or(said)
    }
}

/// How to run an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    /// User and group, as `user[:group]`, names or numbers.
    #[serde(default, skip_serializing_if = "absent_text")]
    pub user: Option<String>,
    /// Ports such as `8000/tcp`.
    #[serde(default, skip_serializing_if = "absent_map")]
    pub exposed_ports: Option<BTreeMap<String, Value>>,
    /// Variables as `NAME=value`, in order.
    #[serde(default, skip_serializing_if = "absent_list")]
    pub env: Option<Vec<String>>,
    /// The program and its first arguments.
    #[serde(default, skip_serializing_if = "absent_list")]
    pub entrypoint: Option<Vec<String>>,
    /// More arguments, or the program where there is no entrypoint.
    #[serde(default, skip_serializing_if = "absent_list")]
    pub cmd: Option<Vec<String>>,
    /// Paths that get a volume.
    #[serde(default, skip_serializing_if = "absent_map")]
    pub volumes: Option<BTreeMap<String, Value>>,
    /// The working directory.
    #[serde(default, skip_serializing_if = "absent_text")]
    pub working_dir: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "absent_map")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The signal that asks it to end.
    #[serde(default, skip_serializing_if = "absent_text")]
    pub stop_signal: Option<String>,
    /// Docker: how to tell whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Docker: instructions for images built on this one.
    #[serde(default, skip_serializing_if = "absent_list")]
    pub on_build: Option<Vec<String>>,
    /// Docker: the shell of later builds.
    #[serde(default, skip_serializing_if = "absent_list")]
    pub shell: Option<Vec<String>>,
    /// Fields that this version does not know, kept as they were.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// Docker's healthcheck. Times are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["CMD", …]`, `["CMD-SHELL", script]` or `["NONE"]`.
    #[serde(default, skip_serializing_if = "absent_list")]
    pub test: Option<Vec<String>>,
    /// Time between two checks.
    #[serde(default, skip_serializing_if = "absent_number")]
    pub interval: Option<u64>,
    /// Time that one check may take.
    #[serde(default, skip_serializing_if = "absent_number")]
    pub timeout: Option<u64>,
    /// Time at the start in which failures do not count.
    #[serde(default, skip_serializing_if = "absent_number")]
    pub start_period: Option<u64>,
    /// Time between checks during the start.
    #[serde(default, skip_serializing_if = "absent_number")]
    pub start_interval: Option<u64>,
    /// Failures in a row that make it unhealthy.
    #[serde(default, skip_serializing_if = "absent_number")]
    pub retries: Option<u64>,
    /// Fields that this version does not know, kept as they were.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// The layers by the digests of their uncompressed bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// From the lowest layer up, as `sha256:…`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<String>,
}

impl Default for RootFs {
    fn default() -> RootFs {
        RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// One line of how an image came to be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "absent_text")]
    pub created: Option<String>,
    /// By which step.
    #[serde(default, skip_serializing_if = "absent_text")]
    pub created_by: Option<String>,
    /// Who.
    #[serde(default, skip_serializing_if = "absent_text")]
    pub author: Option<String>,
    /// A remark.
    #[serde(default, skip_serializing_if = "absent_text")]
    pub comment: Option<String>,
    /// Whether it has no layer.
    #[serde(default, skip_serializing_if = "absent_flag")]
    pub empty_layer: Option<bool>,
    /// Fields that this version does not know, kept as they were.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}
