//! What is asked for, what must be known of the outside before it can be planned, and what was found there.

use std::collections::BTreeMap;

use lapstrake_cache::Digest;

use super::{ImageSource, Moving};
use crate::diagnostic::Span;
use crate::image::{ImageConfig, Platform};
use crate::pins::Commit;

/// What a caller asks of a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which images, or which stage.
    pub wanted: Wanted,
    /// Values of arguments by name.
    pub args: BTreeMap<String, String>,
    /// Values for arguments that the spec or a base's `ONBUILD` may declare; where nothing does, they say nothing.
    pub offered: BTreeMap<String, String>,
    /// Instead of the images' own platforms, where there are any.
    pub platforms: Vec<Platform>,
    /// More tags, on top of those in the spec.
    pub tags: Vec<ExtraTag>,
    /// The platform of the machine that builds, usually [`Platform::builder`].
    pub builder: Platform,
}

/// The wanted part of a spec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Wanted {
    /// Every image; every stage where the spec has no images.
    #[default]
    All,
    /// The images of these names.
    Images(Vec<String>),
    /// One stage, without an image.
    Stage(String),
}

/// A tag given by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraTag {
    /// Which image gets it; `None` where only one is built.
    pub image: Option<String>,
    /// The image name as the caller wrote it. Checked by the plan.
    pub reference: String,
}

impl ExtraTag {
    /// Reads `[IMAGE=]REF`.
    #[must_use]
    pub fn new(text: &str) -> ExtraTag {
        match text.split_once('=') {
            Some((image, reference)) => ExtraTag { image: Some(image.to_owned()), reference: reference.to_owned() },
            None => ExtraTag { image: None, reference: text.to_owned() },
        }
    }
}

impl Target {
    /// Everything in the spec, with default arguments, built on a machine of this platform.
    #[must_use]
    pub fn everything(builder: Platform) -> Target {
        Target { wanted: Wanted::All, args: BTreeMap::new(), offered: BTreeMap::new(), platforms: Vec::new(), tags: Vec::new(), builder }
    }
}

/// Something outside that must be known before planning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// What.
    pub outside: Outside,
    /// Where the spec names it first.
    pub span: Span,
    /// What it is for, such as "the base of stage `python`".
    pub why: String,
}

/// The sorts of outside inputs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outside {
    /// An image for one platform: its manifest's digest and its config must be found.
    Image {
        /// Where it is.
        source: ImageSource,
        /// For which platform.
        platform: Platform,
    },
    /// A download.
    Download {
        /// http or https.
        url: String,
        /// The digest where the spec gives it. Where it does not, the lock or the download itself must.
        sha256: Option<Digest>,
    },
    /// A commit of a git repository.
    Commit {
        /// The repository.
        url: String,
        /// A branch, a tag, a full reference, a commit in full, or `HEAD`.
        reference: String,
        /// The commit where the spec gives it. Where it does not, the lock or the repository must.
        commit: Option<Commit>,
        /// Whether the reference may be another commit by now than the one that the spec gives.
        moving: Moving,
    },
}

/// What was found outside.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// Images by source and platform.
    pub images: BTreeMap<(ImageSource, Platform), FoundImage>,
    /// Digests of the downloads for which the spec gives none.
    pub downloads: BTreeMap<String, Digest>,
    /// Commits by repository and reference, for which the spec gives none.
    pub commits: BTreeMap<(String, String), Commit>,
}

/// What was found out about an image for one platform.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundImage {
    /// The platform's own manifest; for [`ImageSource::Tar`] the digest of the archive.
    pub digest: Digest,
    /// Its config; for [`ImageSource::Tar`] one that says nothing but the platform.
    pub config: ImageConfig,
}
