//! What may stand on the command line.

mod images;
mod specs;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use images::{Copy, Diff, Inspect, Login, Logout, Ls, Pull, Push, Rebase, Selected, Tree};
pub(crate) use specs::{Build, Check, Convert, Loader, Lock, Plan, Run, RunNetwork, Why};

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
