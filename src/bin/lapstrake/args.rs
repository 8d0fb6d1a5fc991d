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
    /// Where the logins to registries are: a file of Podman's form, before all others
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) authfile: Option<PathBuf>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build images, and push or write them
    Build(Box<Build>),
    /// Run a command in an image or stage, and throw its changes away
    Run(Box<Run>),
    /// Check a spec without building anything, and give advice
    Check(Check),
    /// Show what a build would do, in order
    Plan(Plan),
    /// Write a lapstrake.toml from a Dockerfile or a Compose file
    Convert(Box<Convert>),
    /// Pin what a spec takes from outside in lapstrake.lock
    Lock(Lock),
    /// Say why a step was not taken from the cache
    Why(Why),
    /// Fetch an image from a registry into the store, or write it
    Pull(Pull),
    /// Push an image from an OCI layout or archive to a registry
    Push(Push),
    /// Copy an image, byte for byte, between registries, OCI layouts and archives
    Copy(Copy),
    /// Put an image's own layers onto another base, where they would be the same there
    Rebase(Rebase),
    /// Show an image's config and layers
    Inspect(Inspect),
    /// Show the files of an image's layers, and the room that is wasted
    Tree(Tree),
    /// Show how two images differ in config and files, and in which layers
    Diff(Diff),
    /// Log in to a registry, for Docker and Podman too
    Login(Login),
    /// Forget a login
    Logout(Logout),
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
    /// What to build: a file, a directory, or - for standard input
    ///
    /// In a directory, lapstrake.toml is taken, else Dockerfile or Containerfile. For a Dockerfile the directory is the build context;
    /// for a file that is named alone, the directory that it is in. What comes from standard input has no build context, unless --file -
    /// stands beside a directory.
    #[arg(value_name = "SPEC")]
    pub(crate) spec: Option<PathBuf>,
    /// The spec or Dockerfile; SPEC is then the directory of the build context
    ///
    /// Relative to the current directory, as with Docker. - reads it from standard input. Beside a Dockerfile, a file of its name with
    /// .dockerignore behind it is used in place of the context's own. With a lapstrake.toml and no SPEC, the spec names its contexts.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Build this image only; may be given again
    #[arg(long = "image", value_name = "NAME")]
    pub(crate) images: Vec<String>,
    /// Build the services of a Compose file that have this profile, too; may be given again
    #[arg(long = "profile", value_name = "NAME")]
    pub(crate) profiles: Vec<String>,
    /// Build this stage and no image
    #[arg(long, value_name = "NAME", conflicts_with = "images")]
    pub(crate) stage: Option<String>,
    /// Set an argument of the spec; one that it does not declare is an error
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) args: Vec<(String, String)>,
    /// Build for these platforms instead of those in the spec; images for several make an index
    #[arg(long = "platform", value_name = "OS/ARCH", value_delimiter = ',')]
    pub(crate) platforms: Vec<String>,
    /// Use this directory as a build context
    #[arg(long = "context", value_name = "[NAME=]DIR")]
    pub(crate) contexts: Vec<String>,
    #[command(flatten)]
    pub(crate) docker: Docker,
}

/// What people know from Docker. All of it works with every kind of spec.
#[derive(Debug, Args)]
#[command(next_help_heading = "As with Docker")]
pub(crate) struct Docker {
    /// Set an argument; without =VALUE it has the value of the variable, where that is set
    ///
    /// As --arg, but one that nothing declares is a warning, as with Docker. HTTP_PROXY and its kin need not be declared: steps that use
    /// the network see them, and they are in no cache key and no image.
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) build_args: Vec<String>,
    /// Build the image of this stage
    ///
    /// For a Dockerfile, with what its instructions up to there say. For a lapstrake.toml, an image of this stage instead of those in the
    /// spec, with what the stage says.
    #[arg(long, value_name = "STAGE", conflicts_with_all = ["images", "stage"])]
    pub(crate) target: Option<String>,
    /// Put a directory or an image in place of a stage, image or context of this name
    ///
    /// A directory, docker-image://REF, oci-layout://DIR[:TAG] or the address of a git repository, which are what FROM and --from of a Dockerfile find under the name; in
    /// a lapstrake.toml, stage:NAME, image:NAME and context:NAME.
    #[arg(long = "build-context", value_name = "NAME=SOURCE")]
    pub(crate) build_contexts: Vec<String>,
    /// none: no step sees the network, whatever the spec says
    ///
    /// default and host change nothing: RUN of a Dockerfile sees this machine's network, and `run` of a lapstrake.toml when it says so.
    #[arg(long, value_enum, default_value_t = Network::Default)]
    pub(crate) network: Network,
}

/// What steps see of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Network {
    /// What the spec says
    Default,
    /// What the spec says
    Host,
    /// Nothing
    None,
}

/// Which warnings count.
#[derive(Debug, Default, Args)]
pub(crate) struct Lints {
    /// Fail on every warning (warnings), or on those of a code; may be given again
    #[arg(long, value_name = "warnings|CODE")]
    pub(crate) deny: Vec<String>,
    /// Do not show the warnings of a code; may be given again
    ///
    /// A Dockerfile can say so itself: a comment `# check=skip=CODE,CODE` at its top, in which Docker's names for its checks count too.
    #[arg(long, value_name = "CODE")]
    pub(crate) allow: Vec<String>,
}

/// What opens doors.
#[derive(Debug, Default, Args)]
pub(crate) struct Keys {
    /// Give a secret to the steps that mount it
    ///
    /// Without src or env, the variable of that name, else the file of that name. GIT_AUTH_TOKEN and GIT_AUTH_HEADER, alone or with a dot and
    /// a host behind them, are shown to servers of git, over https.
    #[arg(long = "secret", value_name = "id=NAME[,src=FILE|,env=VAR]")]
    pub(crate) secrets: Vec<String>,
    /// Let the steps that mount it use an SSH agent; that called default serves git, too
    ///
    /// Without a place, the agent in SSH_AUTH_SOCK. Files with private keys are given to an agent that ends with the build.
    #[arg(long, value_name = "ID[=SOCKET|KEY[,KEY]]")]
    pub(crate) ssh: Vec<String>,
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

/// What commands may use, all of them together.
#[derive(Debug, Default, Args)]
pub(crate) struct Limits {
    /// How much memory all steps together may use: 512m, 2g, 1536MiB; 0 for no limit
    ///
    /// A step that runs into it fails and says so. Where no control group can be made, nothing is run; `lapstrake doctor` says why. The
    /// same for --pids and --cpus, and for what stands in config.toml, which counts where these are not given.
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// How many processes and threads all steps together may have; 0 for no limit
    #[arg(long, value_name = "N")]
    pub(crate) pids: Option<u64>,
    /// How many processors all steps together may use, such as 1.5; 0 for no limit
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<f64>,
}

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
    /// How many steps run at a time, and how many threads pack a layer
    #[arg(long, short = 'j', value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    pub(crate) progress: Progress,
    /// Look results up in this repository of a registry before anything is pulled or run; may be given again
    ///
    /// Whatever is wrong with it is a warning. type=registry,ref=REPOSITORY works too.
    #[arg(long = "cache-from", value_name = "REPOSITORY")]
    pub(crate) cache_from: Vec<String>,
    /// Leave results in this repository of a registry, as steps end; may be given again
    ///
    /// With max-age, some of the records that nobody wrote or used for so long are removed. Who can write there can choose what is
    /// built by everybody who reads, unless records are signed: `cache.sign` and `cache.trust` in config.toml.
    #[arg(long = "cache-to", value_name = "REPOSITORY[,max-age=AGE]")]
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
                  SIGINT, SIGTERM and SIGQUIT are passed on to the command; what is left of it a second later is killed."
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

/// The ways to keep steps apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isolation {
    /// The best that this machine allows
    Auto,
    /// A user namespace with a range of ids
    Userns,
    /// A user namespace with the caller's id alone; users and owners are a model
    SingleId,
    /// Root in an unprivileged container: no namespaces, a private copy of each root
    Chroot,
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
    /// Live on a terminal, whatever the environment says
    Tty,
    /// One JSON object a line
    #[value(alias = "rawjson")]
    Json,
    /// Errors alone
    #[value(alias = "none")]
    Quiet,
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

/// Which images of an index.
#[derive(Debug, Args)]
pub(crate) struct Selected {
    /// Take the image for this platform alone, and not the whole index
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Take the whole index with the images for all platforms, which is what happens anyway
    #[arg(long, conflicts_with = "platform")]
    pub(crate) all: bool,
}

/// `lapstrake pull`
#[derive(Debug, Args)]
#[command(after_help = "Without -o, the layers are kept in lapstrake's own store, where a build finds them.")]
pub(crate) struct Pull {
    /// The image
    #[arg(value_name = "REF")]
    pub(crate) image: String,
    /// Write it: oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF]; may be given again
    #[arg(long = "output", short = 'o', value_name = "KIND:PATH")]
    pub(crate) outputs: Vec<String>,
    #[command(flatten)]
    pub(crate) selected: Selected,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `lapstrake push`
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// What to push: oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF]
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Where to push it; may be given again
    #[arg(value_name = "REF", required = true)]
    pub(crate) to: Vec<String>,
    #[command(flatten)]
    pub(crate) selected: Selected,
    /// Add it to the index that each tag points to, beside the images for other platforms
    #[arg(long)]
    pub(crate) merge: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `lapstrake copy`
#[derive(Debug, Args)]
#[command(after_help = "A place is REF, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF].")]
pub(crate) struct Copy {
    /// What to copy
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
    /// Where to
    #[arg(value_name = "TO")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) selected: Selected,
    /// Add it to the index that the tag points to, beside the images for other platforms
    #[arg(long)]
    pub(crate) merge: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `lapstrake rebase`
#[derive(Debug, Args)]
#[command(after_help = "A place is REF, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF].")]
pub(crate) struct Rebase {
    /// The image, a place
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The new base, a place
    #[arg(long, value_name = "BASE")]
    pub(crate) onto: String,
    /// The base that it was made from, a place; else what its annotations say
    #[arg(long, value_name = "BASE")]
    pub(crate) from: Option<String>,
    /// Where the result goes, a place; without it, it is only seen whether it works
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: Option<String>,
    /// Add it to the index that the tag points to, beside the images for other platforms
    #[arg(long, requires = "to")]
    pub(crate) merge: bool,
    /// Do not ask whether this step above the base depends on it; counted from 1 (may be repeated)
    #[arg(long, value_name = "STEP")]
    pub(crate) assume_independent: Vec<usize>,
    /// Pick this platform of an index
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
}

/// `lapstrake tree`
#[derive(Debug, Args)]
pub(crate) struct Tree {
    /// A reference in a registry, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF]
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Pick this platform of an index
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Show a line for each layer, and no files
    #[arg(long, conflicts_with = "layer")]
    pub(crate) summary: bool,
    /// Show this layer alone, counted from 1 at the bottom
    #[arg(long, value_name = "N")]
    pub(crate) layer: Option<NonZeroUsize>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `lapstrake diff`
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The one image, a place as for tree
    #[arg(value_name = "IMAGE")]
    pub(crate) one: String,
    /// The other
    #[arg(value_name = "OTHER")]
    pub(crate) other: String,
    /// Pick this platform of an index
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// End with code 1 if they differ
    #[arg(long)]
    pub(crate) exit_code: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `lapstrake login`
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The registry, or a part of it
    #[arg(value_name = "HOST[/PATH]", default_value = "docker.io")]
    pub(crate) account: String,
    /// The user; asked for on a terminal
    #[arg(long, short = 'u', value_name = "NAME", conflicts_with = "identity_token_stdin")]
    pub(crate) username: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    pub(crate) password_stdin: bool,
    /// Read an identity token from standard input
    #[arg(long, conflicts_with = "password_stdin")]
    pub(crate) identity_token_stdin: bool,
    /// Keep it without asking the registry whether it is right
    #[arg(long)]
    pub(crate) no_check: bool,
}

/// `lapstrake logout`
#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// The registry, or a part of it
    #[arg(value_name = "HOST[/PATH]", default_value = "docker.io")]
    pub(crate) account: String,
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
        /// Remove from this repository of a registry, to which results were written, instead of the store
        #[arg(value_name = "REPOSITORY", requires = "older_than", conflicts_with = "max_size")]
        repository: Option<String>,
        /// Remove until the store has at most this size, such as 10GiB; 0 removes everything that is not in use
        #[arg(long, value_name = "SIZE")]
        max_size: Option<String>,
        /// Remove what was not used for this long, such as 30d
        #[arg(long, value_name = "AGE")]
        older_than: Option<String>,
    },
    /// Read everything again, and set aside what is damaged
    Verify,
    /// Print the key whose signatures count where results are signed as on this machine, for `cache.trust`
    Key,
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
