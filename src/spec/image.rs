//! Images as written.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Name, Settings, Spanned, Template, Text};
use crate::image::Platform;

/// What stands as the first of a list for all that the base has there.
pub const INHERITED: &str = "...";

/// One image: `images.X`. What is not set is that of the stage. Lists replace the stage's, and an empty one clears it; tables add to the
/// stage's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Whose file system it has.
    pub stage: Spanned<Name>,
    /// Where to push it. No `${env.…}`.
    pub tags: Vec<Text>,
    /// What it is built for; empty means the platform of the machine that builds.
    pub platforms: Vec<Spanned<Platform>>,
    /// On top of those that the stage ends with.
    pub settings: Settings,
    /// The program and its first arguments.
    pub entrypoint: Option<Spanned<Vec<Text>>>,
    /// More arguments, or the program where there is no entrypoint.
    pub cmd: Option<Spanned<Vec<Text>>>,
    /// Ports, as `NUMBER` or `FIRST-LAST`, with `/tcp`, `/udp` or `/sctp` if need be; once references are put in, several with white space
    /// between them. With [`INHERITED`] in front they add to the base's.
    pub expose: Option<Spanned<Vec<Text>>>,
    /// Absolute paths that get a volume. With [`INHERITED`] in front they add to the base's.
    pub volumes: Option<Spanned<Vec<Text>>>,
    /// Labels; [`Change::Clear`] takes one away.
    pub labels: BTreeMap<String, Spanned<Change<Template>>>,
    /// Remarks on the manifest.
    pub annotations: BTreeMap<String, Text>,
    /// How to tell whether it is well.
    pub healthcheck: Option<Spanned<Change<Healthcheck>>>,
    /// The signal that asks it to end.
    pub stop_signal: Option<Spanned<Change<Template>>>,
    /// Who made it.
    pub author: Option<Text>,
    /// Docker's `ONBUILD` instructions for whoever builds on it, instead of the base's; taken as they are.
    pub onbuild: Option<Spanned<Vec<Spanned<String>>>>,
    /// Which family of media types; `None` means [`Format::Oci`].
    pub format: Option<Spanned<Format>>,
    /// How its own layers are stored; `None` means [`Compression::Gzip`].
    pub compression: Option<Spanned<Compression>>,
}

impl Image {
    /// An image of a stage, with nothing set.
    #[must_use]
    pub fn of(stage: Spanned<Name>) -> Image {
        Image {
            stage,
            tags: Vec::new(),
            platforms: Vec::new(),
            settings: Settings::default(),
            entrypoint: None,
            cmd: None,
            expose: None,
            volumes: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            healthcheck: None,
            stop_signal: None,
            author: None,
            onbuild: None,
            format: None,
            compression: None,
        }
    }
}

/// What becomes of a setting that may come from below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<T> {
    /// It gets this value.
    Set(T),
    /// It is taken away: `false`.
    Clear,
}

/// How to tell whether a container is well. Docker's; `format = "oci"` carries it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// What to run.
    pub test: Spanned<HealthcheckTest>,
    /// Time between two checks.
    pub interval: Option<Spanned<Duration>>,
    /// Time that one check may take.
    pub timeout: Option<Spanned<Duration>>,
    /// Time at the start in which failures do not count.
    pub start_period: Option<Spanned<Duration>>,
    /// Time between checks during the start.
    pub start_interval: Option<Spanned<Duration>>,
    /// Failures in a row that make it unhealthy.
    pub retries: Option<Spanned<u32>>,
}

/// What a healthcheck runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthcheckTest {
    /// A program and its arguments: `["CMD", …]`.
    Exec(Vec<Text>),
    /// A script for the image's shell: `["CMD-SHELL", script]`.
    Script(Text),
    /// Nothing, not even what the base has: `["NONE"]`.
    Off,
}

/// Families of media types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// OCI's: `oci`.
    Oci,
    /// Docker's, schema 2: `docker`.
    Docker,
}

/// How layers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    /// gzip: `gzip`.
    Gzip,
    /// gzip of a single member, for readers that know no more: `gzip-single`.
    GzipSingle,
    /// Zstandard: `zstd`.
    Zstd,
    /// Plain tar: `none`.
    None,
}
