//! Steps as written: one type per verb.

use std::time::Duration;

use lapstrake_cache::Digest;

use super::words::SymbolicMode;
use super::{Env, FileSource, Name, Spanned, Template, Text};

/// One step: a table with exactly one verb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub verb: Verb,
    /// What the history of an image says of it, instead of our own words. `None` for [`Setting::History`], which is nothing else.
    pub history: Option<Text>,
}

impl Step {
    /// A step of which the history speaks in our own words.
    #[must_use]
    pub const fn of(verb: Verb) -> Step {
        Step { verb, history: None }
    }

    /// Every place where files come from: of a copy, an archive, the mounts of a command.
    pub fn file_sources_mut(&mut self) -> Vec<&mut FileSource> {
        match &mut self.verb {
            Verb::Copy(copy) => copy.from.iter_mut().map(|from| &mut from.value).collect(),
            Verb::Extract(extract) => match &mut extract.archive {
                Archive::File { path: _, from } => from.iter_mut().map(|from| &mut from.value).collect(),
                Archive::Url(_) => Vec::new(),
            },
            Verb::Run(run) => run
                .mounts
                .iter_mut()
                .filter_map(|mount| match &mut mount.value {
                    Mount::From { from, .. } => Some(&mut from.value),
                    Mount::Cache { from, .. } => from.as_mut().map(|from| &mut from.value),
                    Mount::Secret { .. } | Mount::SecretEnv { .. } | Mount::Ssh { .. } | Mount::Tmpfs { .. } => None,
                })
                .collect(),
            Verb::Write(_) | Verb::Fetch(_) | Verb::Link(_) | Verb::MakeDirectory(_) | Verb::Remove(_) | Verb::Setting(_) => Vec::new(),
        }
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// `run`: runs a command.
    Run(Run),
    /// `copy`: copies files.
    Copy(Copy),
    /// `write`: writes a file whose text stands in the spec.
    Write(Write),
    /// `fetch`: downloads a file, or a git repository.
    Fetch(Fetch),
    /// `extract`: unpacks an archive.
    Extract(Extract),
    /// `link`: makes a link.
    Link(Link),
    /// `mkdir`: makes directories.
    MakeDirectory(MakeDirectory),
    /// `remove`: removes paths.
    Remove(Remove),
    /// `env`, `workdir`, `user`, `shell` or `history` as a step of its own: changes a setting from here on, or no more than the history.
    Setting(Setting),
}

/// What a step changes that changes no file by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// `env`: adds to the environment.
    Env(Env),
    /// `workdir`: the working directory.
    Workdir {
        /// Absolute or relative to the one before.
        path: Text,
        /// `user[:group]` of the directories that are made; `None` means 0:0.
        owner: Option<Text>,
    },
    /// `user`: `user[:group]`.
    User(Text),
    /// `shell`: what a script is given to; empty means the default.
    Shell(Vec<Text>),
    /// `history`: an entry in the history of an image, without anything else.
    History(Text),
}

/// Runs a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What to run.
    pub command: Command,
    /// Variables for this step alone.
    pub env: Env,
    /// The working directory of this step alone.
    pub workdir: Option<Text>,
    /// The user of this step alone.
    pub user: Option<Text>,
    /// The shell of this step alone; empty means the default.
    pub shell: Option<Spanned<Vec<Text>>>,
    /// Whether it sees the network; `None` means [`Network::Off`].
    pub network: Option<Spanned<Network>>,
    /// What is seen during this step alone.
    pub mounts: Vec<Spanned<Mount>>,
    /// Patterns of paths to drop from the result.
    pub discard: Vec<Text>,
    /// How long it may take; more than nothing.
    pub timeout: Option<Spanned<Duration>>,
    /// How old a result may be before it is made anew.
    pub refresh: Option<Spanned<Duration>>,
}

impl Run {
    /// Runs a command, with nothing else said.
    #[must_use]
    pub fn of(command: Command) -> Run {
        Run {
            command,
            env: Env::new(),
            workdir: None,
            user: None,
            shell: None,
            network: None,
            mounts: Vec::new(),
            discard: Vec::new(),
            timeout: None,
            refresh: None,
        }
    }
}

/// What a `run` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A script for the shell: a string.
    Script(Text),
    /// A program and its arguments: an array, not empty.
    Exec(Vec<Text>),
}

/// Whether a step sees the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Loopback alone: `false`.
    Off,
    /// The builder's own network: `true`.
    Host,
}

/// Something that is seen at a place during one step and is in no layer. Its span is that of the whole table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// A directory that stays from build to build.
    Cache {
        /// Its name.
        cache: Text,
        /// Where.
        at: Text,
        /// Who may use it at a time; `None` means [`Sharing::Shared`].
        sharing: Option<Spanned<Sharing>>,
        /// Its owner, `user[:group]`. Caches of one name with other owners are other caches.
        owner: Option<Text>,
        /// Its mode. Caches of one name with other modes are other caches.
        mode: Option<Spanned<u16>>,
        /// What is in it at first; `None` means nothing.
        from: Option<Spanned<FileSource>>,
        /// Which path there; `None` means all of it. Only with `from`.
        path: Option<Text>,
        /// Whether the step may write; `None` means [`CacheAccess::Kept`].
        access: Option<Spanned<CacheAccess>>,
    },
    /// Files from elsewhere.
    From {
        /// From where.
        from: Spanned<FileSource>,
        /// Which path there; `None` means all of it.
        path: Option<Text>,
        /// Where.
        at: Text,
        /// Whether the step may write; `None` means [`Access::ReadOnly`].
        access: Option<Spanned<Access>>,
    },
    /// A secret as a file.
    Secret {
        /// Its name.
        secret: Spanned<Name>,
        /// Where; `None` means `/run/secrets/NAME`.
        at: Option<Text>,
        /// Its owner, `user[:group]`.
        owner: Option<Text>,
        /// Its mode; `None` means 0400.
        mode: Option<Spanned<u16>>,
        /// Whether the step needs it; `None` means that it does.
        required: Option<Spanned<bool>>,
    },
    /// A secret as a variable.
    SecretEnv {
        /// Its name.
        secret: Spanned<Name>,
        /// The variable.
        env: Spanned<String>,
        /// Whether the step needs it; `None` means that it does.
        required: Option<Spanned<bool>>,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// Which agent.
        ssh: Spanned<Name>,
        /// Where; `None` leaves the place to the builder, which sets `SSH_AUTH_SOCK`.
        at: Option<Text>,
        /// The socket's owner, `user[:group]`.
        owner: Option<Text>,
        /// The socket's mode; `None` means 0600.
        mode: Option<Spanned<u16>>,
        /// Whether the step needs it; `None` means that it does.
        required: Option<Spanned<bool>>,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Where.
        at: Text,
        /// Its size in bytes; more than nothing.
        size: Option<Spanned<u64>>,
    },
}

/// Who may use a cache mount at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Any number of steps: `shared`.
    Shared,
    /// Each step at a time has one of its own: `private`.
    Private,
    /// One step after another: `locked`.
    Locked,
}

/// What a step may do to a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheAccess {
    /// Read: `writable = false`.
    ReadOnly,
    /// Write, for later steps and builds: `writable = true`.
    Kept,
}

/// What a step may do to files from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read: `writable = false`.
    ReadOnly,
    /// Write, into a copy that is thrown away: `writable = true`.
    Discarded,
}

/// Copies files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Paths and patterns in the source; at least one.
    pub sources: Vec<Text>,
    /// From where; `None` means the default context.
    pub from: Option<Spanned<FileSource>>,
    /// Absolute or relative to the working directory; a trailing slash means "into".
    pub to: Text,
    /// `user[:group]`.
    pub owner: Option<Text>,
    /// What becomes of modes; `None` means the normal form.
    pub mode: Option<Spanned<ModeRule>>,
    /// Patterns of what is left out, relative to the source's root.
    pub exclude: Vec<Text>,
    /// Whether the sources' parent directories are kept below the destination; `None` means that they are not.
    pub parents: Option<Spanned<bool>>,
    /// Whether sources that are tar archives by their first bytes are unpacked; `None` means that they are not.
    pub unpack: Option<Spanned<bool>>,
    /// What becomes of line ends; `None` means [`Newlines::Keep`].
    pub newlines: Option<Spanned<Newlines>>,
    /// What happens where nothing matches any of the patterns; `None` means [`Missing::Fail`].
    pub missing: Option<Spanned<Missing>>,
}

/// What becomes of modes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModeRule {
    /// Kept: `keep`.
    Keep,
    /// Files get these bits, directories the execute bits that go with them: `0644`.
    Set(u16),
    /// Files and directories get these bits, but for parents that are made: `=0644`.
    Exactly(u16),
    /// The bits of the source are changed: `u=rwX,go=rX`.
    Symbolic(SymbolicMode),
    /// One of the above, once its references are known. Holds at least one.
    Unsettled(Template),
}

/// What becomes of line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newlines {
    /// Left alone: `keep`.
    Keep,
    /// CR LF becomes LF: `lf`.
    Lf,
}

/// Writes a file whose text stands in the spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Absolute or relative to the working directory.
    pub path: Text,
    /// The text.
    pub content: Text,
    /// `user[:group]`; `None` means 0:0.
    pub owner: Option<Text>,
    /// Permission bits; `None` means 0644.
    pub mode: Option<Spanned<u16>>,
    /// What the file is called where there is a directory at the path; `None` means that there must be none.
    pub name: Option<Text>,
}

/// Makes directories and their missing parents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MakeDirectory {
    /// Absolute or relative to the working directory; at least one.
    pub paths: Vec<Text>,
    /// `user[:group]` of the directories named.
    pub owner: Option<Text>,
    /// Permission bits of the directories named; `None` leaves those that exist alone and makes others 0755.
    pub mode: Option<Spanned<u16>>,
}

/// Makes a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where the link is, absolute or relative to the working directory.
    pub path: Text,
    /// Where it points: as written for a symbolic link; absolute or relative to the working directory for a hard one.
    pub target: Text,
    /// Which sort; `None` means [`LinkKind::Symbolic`].
    pub kind: Option<Spanned<LinkKind>>,
}

/// The sorts of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// A symbolic link: `hard = false`.
    Symbolic,
    /// A second name of a file: `hard = true`.
    Hard,
}

/// Removes paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remove {
    /// Paths and patterns, absolute or relative to the working directory; at least one.
    pub paths: Vec<Text>,
    /// What to do when nothing is there; `None` means [`Missing::Fail`].
    pub missing: Option<Spanned<Missing>>,
}

/// What to do when a path to be removed is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Fail: `fail`.
    Fail,
    /// Go on: `ignore`.
    Ignore,
}

/// Something to download. No `${env.…}` in the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// http or https.
    pub url: Text,
    /// What the bytes must be; `None` leaves that to the lock file.
    pub sha256: Option<Spanned<Digest>>,
}

/// Unpacks an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extract {
    /// Which archive.
    pub archive: Archive,
    /// The directory to unpack into, absolute or relative to the working directory.
    pub to: Text,
    /// How many leading names are dropped from each path in the archive; `None` means 0.
    pub strip: Option<Spanned<u32>>,
    /// `user[:group]`; `None` means 0:0.
    pub owner: Option<Text>,
    /// What becomes of modes; `None` means the normal form.
    pub mode: Option<Spanned<ModeRule>>,
}

/// Where an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Archive {
    /// A file.
    File {
        /// Its path.
        path: Text,
        /// From where; `None` means the default context.
        from: Option<Spanned<FileSource>>,
    },
    /// A download.
    Url(Download),
}

/// Downloads a file, or a git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// What.
    pub source: FetchSource,
    /// Absolute or relative to the working directory; a trailing slash means "into", under the last name in the address.
    pub to: Text,
    /// `user[:group]`; `None` means 0:0.
    pub owner: Option<Text>,
    /// Permission bits of a downloaded file; `None` means 0644. Not with git.
    pub mode: Option<Spanned<u16>>,
}

/// What to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchSource {
    /// One file.
    Url(Download),
    /// The files of a git repository at a commit: `git+https://…`.
    Git(Git),
}

/// A git repository and what of it. No `${env.…}` in any of its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Git {
    /// The repository, without `git+`.
    pub url: Text,
    /// A branch or a tag, or a commit in full; `None` means the commit below, else what the repository's own `HEAD` is.
    pub reference: Option<Text>,
    /// 40 or 64 lower-case hexadecimal digits; `None` leaves the commit to the lock file.
    pub commit: Option<Spanned<String>>,
    /// Which directory or file of it; `None` means all.
    pub path: Option<Text>,
    /// Whether its submodules are fetched too; `None` means that they are.
    pub submodules: Option<Spanned<bool>>,
    /// Whether there is a `.git`; `None` means that there is none. Not with `path`.
    pub keep_git: Option<Spanned<bool>>,
    /// Whether it is an error that the reference is another commit by now than `commit`; unless said, `commit` counts.
    pub check_ref: Option<Spanned<bool>>,
}
