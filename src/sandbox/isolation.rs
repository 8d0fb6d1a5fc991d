//! One user namespace and the steps that run in it.

use std::path::{Path, PathBuf};

use super::{FileAgent, Finished, IdMapping, Job, SandboxError, Unusable};
use crate::event::{Cancel, Stream};

/// Runs commands. The seam for other engines.
pub trait Sandbox: Send + Sync {
    /// Whether commands can be run here, and how.
    ///
    /// # Errors
    /// When they cannot; says what to do.
    fn check(&self) -> Result<Rung, Unusable>;

    /// Runs one command to its end. `output` is called on the calling thread with what the command writes, as it comes. When this returns,
    /// every process of the command is gone, whatever the outcome.
    ///
    /// # Errors
    /// When the command could not be started, or `cancel` asked to stop. A command that fails or runs into its time limit is no error.
    fn run(&self, job: &Job, output: &mut dyn FnMut(Stream, &[u8]), cancel: &Cancel) -> Result<Finished, SandboxError>;
}

/// A usual combination of ids, root and cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// A user namespace with a range of ids, an overlay, and all namespaces.
    UserNamespace,
}

impl Rung {
    /// Its name on the command line and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Rung::UserNamespace => "userns",
        }
    }
}

/// Where the kernel lets the upper directory of an overlay be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpperKind {
    /// In the store.
    OnDisk,
    /// Only on a tmpfs.
    Memory,
}

/// What an [`Isolation`] needs to know of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The user database, for the caller's name.
    pub passwd: PathBuf,
    /// Ranges of user ids.
    pub subuid: PathBuf,
    /// Ranges of group ids.
    pub subgid: PathBuf,
    /// Where the programs `newuidmap` and `newgidmap` may be.
    pub programs: Vec<PathBuf>,
    /// The resolver's settings, which a step with network sees.
    pub resolv: PathBuf,
    /// Where the helper is put as a file when the kernel does not start it from memory.
    pub executable_directory: Option<PathBuf>,
}

impl Default for Options {
    /// The usual places.
    fn default() -> Options {
        Options {
            passwd: PathBuf::from("/etc/passwd"),
            subuid: PathBuf::from("/etc/subuid"),
            subgid: PathBuf::from("/etc/subgid"),
            programs: ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin"].map(PathBuf::from).to_vec(),
            resolv: PathBuf::from("/etc/resolv.conf"),
            executable_directory: None,
        }
    }
}

/// One thing that was tried, for `doctor`.
#[derive(Debug)]
pub struct Probe {
    /// What was tried.
    pub name: &'static str,
    /// What it gave: a note, or what is missing and what to do.
    pub outcome: Result<String, Unusable>,
}

/// One user namespace with its file agent, opened once per process. Steps may run in it from several threads at once.
#[derive(Debug)]
pub struct Isolation {
    agent: FileAgent,
    mapping: IdMapping,
}

impl Isolation {
    /// Makes the namespace by doing so.
    ///
    /// # Errors
    /// When the machine does not let it; says what to do.
    pub fn open(_options: Options) -> Result<Isolation, Unusable> {
        Err(not_yet())
    }

    /// Which ids the namespace has.
    #[must_use]
    pub const fn mapping(&self) -> &IdMapping {
        &self.mapping
    }

    /// Reads and writes files whose owners only the namespace knows.
    #[must_use]
    pub const fn agent(&self) -> &FileAgent {
        &self.agent
    }

    /// Where steps whose directories are below `store` can have their upper directory, found out by mounting one.
    ///
    /// # Errors
    /// When neither place works.
    pub fn upper_kind(&self, _store: &Path) -> Result<UpperKind, Unusable> {
        Err(not_yet())
    }

    /// Tries each part that a step needs, with `store` as the place of its directories.
    #[must_use]
    pub fn doctor(_options: Options, _store: &Path) -> Vec<Probe> {
        vec![Probe { name: "user namespace", outcome: Err(not_yet()) }]
    }
}

impl Sandbox for Isolation {
    fn check(&self) -> Result<Rung, Unusable> {
        Ok(Rung::UserNamespace)
    }

    fn run(&self, _job: &Job, _output: &mut dyn FnMut(Stream, &[u8]), _cancel: &Cancel) -> Result<Finished, SandboxError> {
        Err(not_yet().into())
    }
}

fn not_yet() -> Unusable {
    Unusable { reason: "the sandbox has no helper".to_owned(), remedy: "use a later build".to_owned(), source: None }
}
