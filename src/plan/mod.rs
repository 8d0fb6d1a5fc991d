//! Spec and pins → what is to be done, in order.
//!
//! Pure: no I/O, no clock, no environment. A plan holds no templates and no names that could still turn out to be wrong: arguments are
//! put in, stages are numbers, bases are digests. What no wanted image needs is not in it.

mod args;
mod diagnostics;
mod fill;
mod git;
mod label;
mod lower;
mod mounts;
mod needs;
mod on_build;
mod outside;
mod path;
mod pattern;
mod render;
mod select;
mod settings;
mod sink;
mod steps;
mod target;
#[cfg(test)]
mod tests;
mod uses;
mod wish;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use lapstrake_cache::Digest;

use crate::diagnostic::Span;
pub use crate::image::Format;
use crate::image::{Config, Platform, Reference};
pub use crate::spec::words::{Directory as SymbolicDirectory, SymbolicMode};

pub use diagnostics::CODES;
pub use git::{Git, GitDirectory, Moving, Submodules, invalid_address, invalid_reference};
pub use lower::{declared_by_bases, further_requirements, plan, requirements, unclaimed};
pub use needs::{NeededSecret, Taking};
pub use outside::{Standing, Upgrade, not_locked, to_resolve};
pub use target::{ExtraTag, Found, FoundImage, Outside, Requirement, Target, Wanted};

/// Everything to be done. All of its stages are needed: by a wanted image, or because they were asked for; a single stage that was asked
/// for is the last one.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The time of everything that we make, in seconds since 1970-01-01T00:00:00Z.
    pub epoch: i64,
    /// In an order in which each needs only earlier ones.
    pub stages: Vec<Stage>,
    /// What was asked for, in order of names; an image for several platforms stands here once for each, side by side. Empty when a single
    /// stage was asked for.
    pub images: Vec<Image>,
    /// Where the contexts are that are read, as far as the spec says so; the empty name is the default one.
    pub context_places: BTreeMap<String, Context>,
}

/// What a spec says of a build context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// Its directory, relative to the spec's. `None` leaves it to the caller, and for the default one means the spec's own.
    pub path: Option<String>,
    /// Its ignore file, relative to the spec's directory. `None` means the one that lies in it.
    pub ignore: Option<String>,
}

/// Names a stage of a [`Plan`] by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageId(pub usize);

/// Names a step of a [`Plan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId {
    /// The stage.
    pub stage: StageId,
    /// The place in [`Stage::steps`].
    pub step: usize,
}

/// One stage for one platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// As in the spec.
    pub name: String,
    /// What it is built for.
    pub platform: Platform,
    /// What it starts from.
    pub base: Base,
    /// Where the spec says what it starts from.
    pub base_span: Span,
    /// In order.
    pub steps: Vec<Step>,
}

/// What a stage starts from.
#[derive(Debug, Clone, PartialEq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage of the plan.
    Stage(StageId),
    /// An image, already found.
    Image(BaseImage),
}

/// An image that was found: where, and which.
#[derive(Debug, Clone, PartialEq)]
pub struct BaseImage {
    /// Where its bytes are.
    pub source: ImageSource,
    /// The platform's own manifest (never an index). For [`ImageSource::Tar`] the digest of the archive.
    pub digest: Digest,
}

/// The places an image can come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageSource {
    /// A registry.
    Registry(Reference),
    /// An OCI image layout in a directory, with a tag where it holds several images. The path is relative to the spec's directory.
    Layout {
        /// The directory.
        path: String,
        /// The tag.
        tag: Option<String>,
    },
    /// A tar archive of a root file system, which becomes one layer. The path is relative to the spec's directory.
    Tar {
        /// The archive.
        path: String,
    },
}

/// As people name it: the reference in full, `oci:PATH[:TAG]` or `tar:PATH`.
impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageSource::Registry(reference) => write!(f, "{reference}"),
            ImageSource::Layout { path, tag: None } => write!(f, "oci:{path}"),
            ImageSource::Layout { path, tag: Some(tag) } => write!(f, "oci:{path}:{tag}"),
            ImageSource::Tar { path } => write!(f, "tar:{path}"),
        }
    }
}

/// One step, all of its words settled.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Where it stands in the spec.
    pub span: Span,
    /// For people: verb and argument on one line, such as `copy requirements/ → /src`.
    pub label: String,
    /// `created_by` in the image's history.
    pub history: String,
    /// What it does.
    pub kind: StepKind,
}

/// What a step can do. Steps that only change settings have been folded into the steps after them and are
/// [`StepKind::Setting`] here, so that the history tells of them. A `workdir`, of a stage or as a step, is [`StepKind::MakeDirectory`]: the
/// directory is there for the next step and in the image, belongs to 0:0 whoever the user is, and is left alone where it exists. The
/// `workdir` of one `run` or of an image makes nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum StepKind {
    /// Runs a command.
    Run(Run),
    /// Copies files.
    Copy(Copy),
    /// Writes a file whose bytes stand in the spec.
    Write(Write),
    /// Makes directories.
    MakeDirectory(MakeDirectory),
    /// Makes a link.
    Link(Link),
    /// Removes paths.
    Remove(Remove),
    /// Unpacks an archive.
    Extract(Extract),
    /// Downloads a file.
    Fetch(Fetch),
    /// Changes no file.
    Setting,
}

/// Runs a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The program and its arguments; a script already stands behind its shell.
    pub argv: Vec<String>,
    /// Every variable that the image's environment and the step itself declare, the step's own over the image's. `PATH`, `HOME` and
    /// `SOURCE_DATE_EPOCH` are added by the build where they are missing.
    pub env: BTreeMap<String, String>,
    /// Absolute.
    pub workdir: String,
    /// `user[:group]`, names or numbers; empty means 0:0.
    pub user: String,
    /// Whether it sees the network.
    pub network: Network,
    /// In order of their places.
    pub mounts: Vec<Mount>,
    /// Patterns of paths to drop from the result.
    pub discard: Vec<String>,
    /// How long it may take. Not in the key.
    pub timeout: Option<Duration>,
    /// How old a result may be before it is made anew.
    pub refresh: Option<Duration>,
}

/// Whether a step sees the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Loopback alone.
    Off,
    /// The builder's own network.
    Host,
}

/// Something that is seen at a place during one step and is in no layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Mount {
    /// Where, absolute in the step's root.
    pub at: String,
    /// Where the spec says so.
    pub span: Span,
    /// What.
    pub kind: MountKind,
}

/// What can be mounted.
#[derive(Debug, Clone, PartialEq)]
pub enum MountKind {
    /// A directory that stays from build to build.
    Cache {
        /// Its name in the store.
        id: String,
        /// Who may use it at a time.
        sharing: Sharing,
        /// Its owner.
        owner: Option<String>,
        /// Its mode.
        mode: Option<u16>,
        /// What is in it when it is made; nothing if this says nothing.
        first: Option<FirstContents>,
        /// Whether the step may write.
        access: CacheAccess,
    },
    /// Files from elsewhere.
    From {
        /// From where.
        source: TreeSource,
        /// Which path there, relative to its root; empty means all of it.
        path: String,
        /// Whether the step may write; what it writes is lost.
        access: Access,
    },
    /// A secret as a file.
    Secret {
        /// Its name.
        id: String,
        /// Its owner.
        owner: Option<String>,
        /// Its mode.
        mode: u16,
        /// Whether the build fails without it.
        required: bool,
    },
    /// A secret as a variable; [`Mount::at`] is then the variable's name.
    SecretEnv {
        /// Its name.
        id: String,
        /// Whether the build fails without it.
        required: bool,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// Its name.
        id: String,
        /// The socket's owner; `None` means the user of the step.
        owner: Option<String>,
        /// Its mode.
        mode: u16,
        /// Whether the build fails without it.
        required: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Its size in bytes.
        size: Option<u64>,
    },
}

/// Who may use a cache mount at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Any number of steps.
    Shared,
    /// Each step at a time has one of its own.
    Private,
    /// One step after another.
    Locked,
}

/// What a cache begins with.
#[derive(Debug, Clone, PartialEq)]
pub struct FirstContents {
    /// From where.
    pub source: TreeSource,
    /// Which directory there, relative to its root; empty means all of it.
    pub path: String,
}

/// What a step may do to a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheAccess {
    /// Read.
    ReadOnly,
    /// Write.
    Kept,
}

/// What a step may do to a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read.
    ReadOnly,
    /// Write, into a copy that is thrown away.
    Discarded,
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq)]
pub enum TreeSource {
    /// A build context by its name; the empty name is the default one.
    Context(String),
    /// The end of an earlier stage of the plan.
    Stage(StageId),
    /// An image.
    Image(BaseImage),
    /// A git repository.
    Git(Git),
}

/// Copies files.
#[derive(Debug, Clone, PartialEq)]
pub struct Copy {
    /// From where.
    pub from: TreeSource,
    /// Paths and patterns in the source, as the user wrote them.
    pub sources: Vec<String>,
    /// Absolute; a trailing slash is kept and means "into".
    pub to: String,
    /// `user[:group]`, names or numbers.
    pub owner: Option<String>,
    /// What becomes of the modes.
    pub mode: ModeRule,
    /// Patterns of what is left out, relative to the source's root.
    pub exclude: Vec<String>,
    /// Whether the sources' parent directories are kept below the destination.
    pub parents: bool,
    /// Whether sources that are tar archives are unpacked into the destination.
    pub unpack: bool,
    /// What becomes of line ends.
    pub newlines: Newlines,
    /// What happens where there are patterns alone and none matches anything.
    pub missing: Missing,
}

/// What becomes of modes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModeRule {
    /// From a context: 0644 or 0755 by the execute bit, directories 0755. From elsewhere: kept.
    Normal,
    /// Kept.
    Keep,
    /// Files get these bits, directories the execute bits that go with them.
    Set(u16),
    /// Files and directories that are copied get these bits; parents that are made do not.
    Exactly(u16),
    /// What is there is changed so.
    Symbolic(SymbolicMode),
}

/// What becomes of line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newlines {
    /// Left alone.
    Keep,
    /// CR LF becomes LF.
    Lf,
}

/// Writes a file whose bytes stand in the spec.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Absolute.
    pub path: String,
    /// The bytes.
    pub content: Vec<u8>,
    /// `user[:group]`.
    pub owner: Option<String>,
    /// Permission bits.
    pub mode: u16,
    /// What the file is called where there is a directory at the path.
    pub name: Option<String>,
}

/// Makes directories and their missing parents.
#[derive(Debug, Clone, PartialEq)]
pub struct MakeDirectory {
    /// Absolute.
    pub paths: Vec<String>,
    /// `user[:group]` for the directories named, be they new or not; not for parents.
    pub owner: Option<String>,
    /// `user[:group]` for all that are made, parents too, and for none that exists. Instead of `owner`.
    pub owner_of_new: Option<String>,
    /// Permission bits of the directories named; `None` leaves those that exist alone and makes others 0755.
    pub mode: Option<u16>,
}

/// Makes a link.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Where the link is; absolute.
    pub path: String,
    /// Where it points: as written for a symbolic link, absolute for a hard one.
    pub target: String,
    /// Which sort.
    pub kind: LinkKind,
}

/// The sorts of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// A symbolic link.
    Symbolic,
    /// A second name of a file.
    Hard,
}

/// Removes paths.
#[derive(Debug, Clone, PartialEq)]
pub struct Remove {
    /// Absolute paths and patterns.
    pub paths: Vec<String>,
    /// What to do when nothing is there.
    pub missing: Missing,
}

/// What to do when a path to be removed is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Fail.
    Fail,
    /// Go on.
    Ignore,
}

/// Unpacks an archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Extract {
    /// From where.
    pub from: ArchiveSource,
    /// Absolute directory.
    pub to: String,
    /// How many leading names are dropped from each path in the archive.
    pub strip: u32,
    /// `user[:group]`; `None` means 0:0.
    pub owner: Option<String>,
    /// What becomes of the modes.
    pub mode: ModeRule,
}

/// Where an archive comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum ArchiveSource {
    /// A file in a tree.
    File {
        /// Which tree.
        from: TreeSource,
        /// The path there.
        path: String,
    },
    /// A download.
    Url(Download),
}

/// Something to download, by name and digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// http or https.
    pub url: String,
    /// What the bytes must be.
    pub digest: Digest,
}

/// Downloads a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetch {
    /// What.
    pub download: Download,
    /// Absolute; a trailing slash means "into", under the last name in the URL.
    pub to: String,
    /// `user[:group]`.
    pub owner: Option<String>,
    /// Permission bits.
    pub mode: u16,
}

/// One wanted image for one platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// As in the spec.
    pub name: String,
    /// Where it stands in the spec.
    pub span: Span,
    /// Whose file system it has.
    pub stage: StageId,
    /// What it is built for.
    pub platform: Platform,
    /// How to run it: the base's config, the stage's settings and the image's own on top.
    pub config: Config,
    /// Who made it.
    pub author: Option<String>,
    /// Top-level fields of the base's config that this version does not know.
    pub config_extra: BTreeMap<String, serde_json::Value>,
    /// Remarks on the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Where to push it.
    pub tags: Vec<Reference>,
    /// Which family of media types.
    pub format: Format,
    /// How its own layers are stored.
    pub compression: Compression,
}

/// How layers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    /// The newest gzip profile, or the one that the lock names.
    Gzip,
    /// gzip of a single member.
    GzipSingle,
    /// The newest Zstandard profile, or the one that the lock names.
    Zstd,
    /// Plain tar.
    None,
}
