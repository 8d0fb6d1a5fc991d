//! What may stand on the command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Builds OCI images from a declarative TOML spec, without a daemon and without root.
#[derive(Debug, Parser)]
#[command(name = "lapstrake", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build images, and push or write them
    Build(Build),
    /// Check a spec without building anything
    Check(Project),
    /// Show what a build would do, in order
    Plan(Plan),
    /// Pin what a spec takes from outside in lapstrake.lock
    Lock(Lock),
    /// Say why a step was not taken from the cache
    Why(Why),
    /// Push an image from an OCI layout or archive to a registry
    Push(Push),
    /// Show an image's config and layers
    Inspect(Inspect),
    /// List the images that were built
    Ls(Ls),
    /// Look after the store
    #[command(subcommand)]
    Cache(Cache),
    /// Show what this machine allows, and what to do about the rest
    Doctor(Doctor),
    /// Write a spec to begin with
    Init(Init),
    /// Explain a diagnostic by its code
    Explain(Explain),
    /// Print the JSON Schema of specs, for editors
    Schema,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Which spec, and what is put in.
#[derive(Debug, Args)]
pub(crate) struct Project {
    /// The spec: a file, or a directory that holds lapstrake.toml
    #[arg(value_name = "SPEC", default_value = ".")]
    pub(crate) spec: PathBuf,
    /// Build this image only; may be given again
    #[arg(long = "image", value_name = "NAME")]
    pub(crate) images: Vec<String>,
    /// Build this stage and no image
    #[arg(long, value_name = "NAME", conflicts_with = "images")]
    pub(crate) stage: Option<String>,
    /// Set an argument of the spec
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) args: Vec<(String, String)>,
    /// Build for this platform instead of those in the spec
    #[arg(long = "platform", value_name = "OS/ARCH")]
    pub(crate) platforms: Vec<String>,
    /// Use this directory as a build context
    #[arg(long = "context", value_name = "[NAME=]DIR")]
    pub(crate) contexts: Vec<String>,
}

/// How outside inputs are found.
#[derive(Debug, Args)]
pub(crate) struct Pinning {
    /// Fail if anything from outside is not in lapstrake.lock
    #[arg(long)]
    pub(crate) locked: bool,
    /// Use no network, except for steps
    #[arg(long)]
    pub(crate) offline: bool,
}

/// `lapstrake build`
#[derive(Debug, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) project: Project,
    #[command(flatten)]
    pub(crate) pinning: Pinning,
    /// Tag the image; IMAGE= is needed where several are built
    #[arg(long = "tag", short = 't', value_name = "[IMAGE=]REF")]
    pub(crate) tags: Vec<String>,
    /// Push every tag
    #[arg(long)]
    pub(crate) push: bool,
    /// Write the image: oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE[:REF], rootfs:DIR or rootfs-tar:FILE
    #[arg(long = "output", short = 'o', value_name = "[IMAGE=]KIND:PATH")]
    pub(crate) outputs: Vec<String>,
    /// Give a secret to the steps that mount it
    #[arg(long = "secret", value_name = "id=NAME[,src=FILE|,env=VAR]")]
    pub(crate) secrets: Vec<String>,
    /// Run every step, or those of one stage, whatever the cache holds
    #[arg(long, value_name = "STAGE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) no_cache: Vec<String>,
    /// How steps are kept apart from this machine
    #[arg(long, value_enum, default_value_t = Isolation::Auto)]
    pub(crate) isolation: Isolation,
    /// The time of creation in the image's config: RFC 3339 or seconds since 1970
    #[arg(long, value_name = "TIME")]
    pub(crate) created: Option<String>,
    /// How many steps run at a time, and how many threads pack a layer
    #[arg(long, short = 'j', value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    pub(crate) progress: Progress,
    /// Write digests and tags of what was built as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
}

/// The ways to keep steps apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isolation {
    /// The best that this machine allows
    Auto,
    /// A user namespace with a range of ids
    Userns,
    /// No steps that run commands
    None,
}

/// The ways to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// Live on a terminal, plain elsewhere
    Auto,
    /// Lines
    Plain,
    /// One JSON object a line
    Json,
}

/// `lapstrake plan`
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) project: Project,
    #[command(flatten)]
    pub(crate) pinning: Pinning,
}

/// `lapstrake lock`
#[derive(Debug, Args)]
pub(crate) struct Lock {
    #[command(flatten)]
    pub(crate) project: Project,
    /// Find everything anew, or only this reference or URL
    #[arg(long, value_name = "REF", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) upgrade: Option<String>,
}

/// `lapstrake why`
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The step: STAGE or STAGE/NUMBER, counted from 1
    #[arg(value_name = "STEP")]
    pub(crate) step: String,
    #[command(flatten)]
    pub(crate) project: Project,
    #[command(flatten)]
    pub(crate) pinning: Pinning,
}

/// `lapstrake push`
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// What to push: oci:DIR[:TAG] or oci-archive:FILE
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Where to push it; may be given again
    #[arg(value_name = "REF", required = true)]
    pub(crate) to: Vec<String>,
}

/// `lapstrake inspect`
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A reference in a registry, oci:DIR[:TAG] or oci-archive:FILE
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Pick this platform of an index
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `lapstrake ls`
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `lapstrake cache …`
#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// Show how much the store holds
    Du {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove what was not used for longest
    Prune {
        /// Remove until the store has at most this size, such as 10GiB; 0 removes everything that is not in use
        #[arg(long, value_name = "SIZE")]
        max_size: Option<String>,
        /// Remove what was not used for this long, such as 30d
        #[arg(long, value_name = "AGE")]
        older_than: Option<String>,
    },
    /// Read everything again, and set aside what is damaged
    Verify,
}

/// `lapstrake doctor`
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `lapstrake init`
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Which spec to begin with; without a name they are listed
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Where to write it
    #[arg(long, short = 'o', value_name = "FILE", default_value = "lapstrake.toml")]
    pub(crate) output: PathBuf,
}

/// `lapstrake explain`
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The code, as printed in brackets; without a code they are listed
    #[arg(value_name = "CODE")]
    pub(crate) code: Option<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected NAME=VALUE".to_owned()),
    }
}
