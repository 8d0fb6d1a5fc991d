//! What may stand behind the verbs that read a spec.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Isolation, Keys, Limits, Lints, Pinning, Progress, Project, pair};

/// `lapstrake build`
#[derive(Debug, Args)]
#[command(after_help = "Without --push and -o, the image stays in lapstrake's own store, as base and cache of the next build.\n\
                  `lapstrake build -f Dockerfile -t NAME --build-arg K=V --target S DIR` means what it means to Docker.")]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) project: Project,
    #[command(flatten)]
    pub(crate) pinning: Pinning,
    #[command(flatten)]
    pub(crate) lints: Lints,
    #[command(flatten)]
    pub(crate) habits: Habits,
    /// Tag the image; IMAGE= is needed where several are built
    #[arg(long = "tag", short = 't', value_name = "[IMAGE=]REF")]
    pub(crate) tags: Vec<String>,
    /// Push every tag
    #[arg(long)]
    pub(crate) push: bool,
    /// Push to the indexes that the tags point to, beside the images for other platforms that are there
    #[arg(long, requires = "push")]
    pub(crate) merge: bool,
    /// Give the image to an engine of this machine, under its tags; may be given again
    #[arg(long, value_enum, value_name = "ENGINE", num_args = 0..=1, require_equals = true, default_missing_value = "docker")]
    pub(crate) load: Vec<Loader>,
    /// Write the image: oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE[:REF], rootfs:DIR or rootfs-tar:FILE
    ///
    /// Docker's words work too: type=oci|docker|local|tar,dest=PATH.
    #[arg(long = "output", short = 'o', value_name = "[IMAGE=]KIND:PATH")]
    pub(crate) outputs: Vec<String>,
    #[command(flatten)]
    pub(crate) keys: Keys,
    /// Run every step, or those of one stage, whatever the cache holds
    #[arg(long, value_name = "STAGE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) no_cache: Vec<String>,
    /// How steps are kept apart from this machine
    #[arg(long, value_enum, default_value_t = Isolation::Auto)]
    pub(crate) isolation: Isolation,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// Open a shell in the root of a step that fails, as the step left it
    ///
    /// With the step's environment, working directory, user and mounts, its secrets included. The build fails afterwards as it would have.
    /// Needs a terminal.
    #[arg(long)]
    pub(crate) shell_on_failure: bool,
    /// The time of creation in the image's config: RFC 3339 or seconds since 1970
    #[arg(long, value_name = "TIME")]
    pub(crate) created: Option<String>,
    /// How many steps run at a time, how many threads pack a layer, and how many layers of a base (four at most) are unpacked at a time
    #[arg(long, short = 'j', value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    pub(crate) progress: Progress,
    /// Look results up in this repository of a registry before anything is pulled or run; may be given again
    ///
    /// Whatever is wrong with it is a warning. type=registry,ref=REPOSITORY works too. With mounts=true, `cache` mounts that would begin empty
    /// begin with what is there; that stays on this machine for all builds.
    #[arg(long = "cache-from", value_name = "REPOSITORY[,mounts=true]")]
    pub(crate) cache_from: Vec<String>,
    /// Leave results in this repository of a registry, as steps end; may be given again
    ///
    /// With max-age, some of the records that nobody wrote or used for so long are removed. Who can write there can choose what is
    /// built by everybody who reads, unless records are signed: `cache.sign` and `cache.trust` in config.toml. With mounts=true, what is in
    /// the directories of `cache` mounts goes there too, in the end, so that another machine's begin with it.
    #[arg(long = "cache-to", value_name = "REPOSITORY[,max-age=AGE][,mounts=true]")]
    pub(crate) cache_to: Vec<String>,
    /// Write digests and tags of what was built as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
}

/// The engines that images are given to, each by its own command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Loader {
    /// docker load
    Docker,
    /// podman load
    Podman,
    /// ctr images import
    Containerd,
}

/// What people know from `docker build` alone.
#[derive(Debug, Args)]
#[command(next_help_heading = "As with Docker")]
pub(crate) struct Habits {
    /// Look up base images anew, whatever lapstrake.lock says of them
    #[arg(long, conflicts_with_all = ["locked", "offline"])]
    pub(crate) pull: bool,
    /// Run the steps of this stage, whatever the cache holds; the same as --no-cache=STAGE
    #[arg(long = "no-cache-filter", value_name = "STAGE", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,
    /// Add a label to the image, to each where several are built
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) labels: Vec<(String, String)>,
    /// Add an annotation to the image's manifest
    #[arg(long = "annotation", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) annotations: Vec<(String, String)>,
    /// Write into each manifest which image it was made from, by name and digest (`org.opencontainers.image.base.*`)
    #[arg(long)]
    pub(crate) annotate_base: bool,
    /// Write the image's id, which is the digest of its config, to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Print the image's id and nothing else but errors
    #[arg(long, short, conflicts_with = "progress")]
    pub(crate) quiet: bool,
    /// false: no provenance is written, which is so anyway
    #[arg(long, value_name = "false", hide = true, value_parser = ["false"])]
    pub(crate) provenance: Option<String>,
    /// false: no list of contents is written, which is so anyway
    #[arg(long, value_name = "false", hide = true, value_parser = ["false"])]
    pub(crate) sbom: Option<String>,
}

/// `lapstrake check`
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) project: Project,
    #[command(flatten)]
    pub(crate) keys: Keys,
    #[command(flatten)]
    pub(crate) lints: Lints,
}

/// `lapstrake convert`
#[derive(Debug, Args)]
pub(crate) struct Convert {
    #[command(flatten)]
    pub(crate) project: Project,
    /// Keep every layer as it is, byte for byte: no idioms, and the history of the Dockerfile
    #[arg(long)]
    pub(crate) exact: bool,
    /// Where to write it, instead of standard output
    #[arg(long, short = 'o', value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// `lapstrake run`
#[derive(Debug, Args)]
#[command(
    after_help = "The exit code is the command's; 128 and the number of the signal that ended it. 125 means that lapstrake itself failed,\n\
                  126 that the command may not be executed, 127 that there is none of the name, 2 that the command line is wrong.\n\
                  SIGINT, SIGTERM and SIGQUIT are passed on to the command; what is left of it after\n\
                  --stop-timeout is killed."
)]
pub(crate) struct Run {
    /// An image or stage of the spec, or a finished image: a reference, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE
    ///
    /// A name without `/`, `:`, `@` and `.` is an image or stage of the spec, where there is one; stage:NAME is a stage in any case. It is
    /// built first.
    #[arg(value_name = "IMAGE|STAGE")]
    pub(crate) what: String,
    /// What to run instead of the image's own command; arguments of its entrypoint, where it has one
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
    /// The spec or Dockerfile, where it is not the one in this directory
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Set an argument of the spec
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) args: Vec<(String, String)>,
    /// Use this directory as a build context
    #[arg(long = "context", value_name = "[NAME=]DIR")]
    pub(crate) contexts: Vec<String>,
    /// Give a secret to the steps that mount it; the command does not see it
    #[arg(long = "secret", value_name = "id=NAME[,src=FILE|,env=VAR]")]
    pub(crate) secrets: Vec<String>,
    /// Pick this platform
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    #[command(flatten)]
    pub(crate) pinning: Pinning,
    /// Set a variable; without =VALUE it has the value that it has here
    #[arg(long = "env", short = 'e', value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Run as this user of the image, instead of the one that it names
    #[arg(long, short, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Run in this directory
    #[arg(long, short, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Run this program instead of the image's entrypoint; its `cmd` is left out then
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// What it sees of the network: this machine's, so that its ports can be reached, or loopback alone
    #[arg(long, value_enum, default_value_t = RunNetwork::Host)]
    pub(crate) network: RunNetwork,
    /// Share a file or directory of this machine; it is written in place unless :ro stands behind it
    #[arg(long = "volume", short = 'v', value_name = "HOST:AT[:ro]")]
    pub(crate) volumes: Vec<String>,
    /// Pass standard input on, also where it is no terminal
    #[arg(long, short)]
    pub(crate) interactive: bool,
    /// How long it has to end after the first signal that asks it to; the second ends it at once
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) stop_timeout: u64,
    /// How it is kept apart from this machine
    #[arg(long, value_enum, default_value_t = Isolation::Auto)]
    pub(crate) isolation: Isolation,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// How the progress of the build before it is shown
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    pub(crate) progress: Progress,
}

/// What a command sees of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunNetwork {
    /// This machine's
    Host,
    /// Loopback alone
    None,
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
    #[command(flatten)]
    pub(crate) keys: Keys,
}

/// `lapstrake lock`
#[derive(Debug, Args)]
pub(crate) struct Lock {
    #[command(flatten)]
    pub(crate) project: Project,
    /// Find everything anew, or only this reference or URL
    #[arg(long, value_name = "REF", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) upgrade: Option<String>,
    #[command(flatten)]
    pub(crate) keys: Keys,
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
    #[command(flatten)]
    pub(crate) keys: Keys,
}
