//! One user namespace and the steps that run in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::limits::{Group, StepGroup};
use super::owners::Owners;
use super::{
    AgentError, Bytes, Console, EntryMetadata, FileAgent, Finished, IdMapping, Job, Limits, Operation, SandboxError, Signals, Unusable,
    run, wire,
};
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
    fn run(&self, job: &Job, output: &mut dyn FnMut(Stream, &[u8]), cancel: &Cancel) -> Result<Finished, SandboxError> {
        self.attach(job, Console::Captured(output), &Signals::new(), cancel)
    }

    /// As [`Sandbox::run`], with something to read or a terminal, and with signals that are passed on.
    ///
    /// # Errors
    /// As [`Sandbox::run`].
    fn attach(&self, job: &Job, console: Console<'_>, signals: &Signals, cancel: &Cancel) -> Result<Finished, SandboxError>;
}

/// A usual combination of ids, root and cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// A user namespace with a range of ids, an overlay, and all namespaces.
    UserNamespace,
    /// The same with one id, and a supervisor that knows of the others.
    SingleId,
    /// Root without any namespace, as in an unprivileged container: another root in a private directory.
    Chroot,
}

impl Rung {
    /// All, the best first.
    pub const ALL: [Rung; 3] = [Rung::UserNamespace, Rung::SingleId, Rung::Chroot];
    /// Those that are taken where none is asked for, the best first.
    pub const AUTOMATIC: [Rung; 3] = Rung::ALL;

    /// Its name on the command line and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Rung::UserNamespace => "userns",
            Rung::SingleId => "single-id",
            Rung::Chroot => "chroot",
        }
    }

    /// The rung that has this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Rung> {
        Rung::ALL.into_iter().find(|rung| rung.name() == name)
    }

    /// Whether others may be given what a command made on it: it did not see more than the spec says, and was kept apart. That it may have
    /// seen less is conceded in SECURITY.md.
    #[must_use]
    pub const fn is_shareable(self) -> bool {
        match self {
            Rung::UserNamespace | Rung::SingleId | Rung::Chroot => true,
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
    /// Nowhere: there are no overlays, and roots are private directories ([`Upper::InPlace`](super::Upper::InPlace)).
    InPlace,
}

/// Where the helper process is started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// From memory.
    FromMemory,
    /// From memory; where the system refuses that, from a file that is put into this directory.
    FromMemoryOr {
        /// An absolute path of a directory that exists.
        path: PathBuf,
    },
    /// From a file that is put into this directory.
    FromDirectory {
        /// An absolute path of a directory that exists.
        path: PathBuf,
    },
}

/// The kernel's ways to mount an overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountApi {
    /// By the newest calls, and in the older way where the kernel does not know them.
    Newest,
    /// By mount(2) only, which takes all directories in one string.
    Classic,
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
    /// How overlays are mounted.
    pub mount_api: MountApi,
    /// Where the helper is started from.
    pub start: Start,
    /// What all commands together may use.
    pub limits: Limits,
    /// Where the directories of steps will be, if that is known: an absolute path of a directory that can be written, or is not there
    /// yet. A rung that cannot keep there what a step changes, nor in memory, does not work.
    pub directories: Option<PathBuf>,
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
            mount_api: MountApi::Newest,
            start: Start::FromMemory,
            limits: Limits::default(),
            directories: None,
        }
    }
}

impl Options {
    fn directories_there(&self) -> Option<&Path> {
        self.directories.as_deref().filter(|path| path.is_dir())
    }
}

/// A rung that was tried, for `doctor`.
#[derive(Debug)]
pub struct Probe {
    /// Which.
    pub rung: Rung,
    /// What it gave: a note, or what is missing and what to do.
    pub outcome: Result<String, Unusable>,
}

/// User namespaces with the same ids, or none on [`Rung::Chroot`], with a file agent; opened once per process. Steps may run in it from
/// several threads at once: each is in a user namespace in which no other is meanwhile.
#[derive(Debug)]
pub struct Isolation {
    rung: Rung,
    owners: Owners,
    agent: FileAgent,
    resolv: PathBuf,
    mount_api: MountApi,
    group: Group,
}

impl Isolation {
    /// Makes the namespace and tries an empty step in it. On [`Rung::Chroot`] that needs a directory: [`Isolation::upper_kind`] tries it.
    ///
    /// # Errors
    /// When the machine does not let it; says what to do.
    pub fn open(rung: Rung, options: &Options) -> Result<Isolation, Unusable> {
        let isolation = Isolation::start(rung, options)?;
        match rung {
            Rung::UserNamespace | Rung::SingleId => match (isolation.probe(Vec::new(), memory()), options.directories_there()) {
                (Ok(()), _) => {}
                // A disk may keep what memory does not.
                (Err(error), Some(directories)) if keeps_too_little(&error) => isolation.upper_kind(directories).map(drop)?,
                (Err(error), None) if keeps_too_little(&error) => {}
                (Err(error), _) => return Err(no_step(&error)),
            },
            Rung::Chroot => {}
        }
        Ok(isolation)
    }

    fn start(rung: Rung, options: &Options) -> Result<Isolation, Unusable> {
        let group = Group::make(&options.limits)?;
        let owners = Owners::start(rung, options)?;
        let agent = FileAgent::new(Arc::clone(owners.first()));
        Ok(Isolation { rung, owners, agent, resolv: options.resolv.clone(), mount_api: options.mount_api, group })
    }

    /// On which rung it is.
    #[must_use]
    pub const fn rung(&self) -> Rung {
        self.rung
    }

    /// Which ids steps have.
    #[must_use]
    pub const fn mapping(&self) -> &IdMapping {
        self.owners.mapping()
    }

    /// Reads and writes files whose owners only the namespace knows.
    #[must_use]
    pub const fn agent(&self) -> &FileAgent {
        &self.agent
    }

    /// Where steps whose directories are below `store` can have their upper directory, found out by mounting one. `store` is an absolute
    /// path of a directory that can be written; nothing stays in it.
    ///
    /// # Errors
    /// When neither place works.
    pub fn upper_kind(&self, store: &Path) -> Result<UpperKind, Unusable> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!(".probe-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let at = |inner: &str| Bytes(format!("{name}{inner}").into_bytes());
        let unwritable = |error: AgentError| Unusable {
            reason: format!("the sandbox cannot write to `{}`", store.display()),
            remedy: "put the store where its owner may write".to_owned(),
            source: Some(error.into_io()),
        };
        let directory = self.agent.directory(store).map_err(unwritable)?;
        let make: Vec<Operation> =
            ["", "/lower", "/upper", "/work", "/aside"].map(|inner| Operation::MakeDirectory { at: at(inner) }).into();
        directory.apply(&make).map_err(unwritable)?;
        let path = |inner: &str| Bytes(store.join(format!("{name}/{inner}")).into_os_string().into_encoded_bytes());
        let kind = directory.create_file(&at("/lower/below").0).map_err(unwritable).and_then(|_| {
            if self.rung == Rung::Chroot {
                let in_place = wire::UpperPlace::InPlace { root: path("upper"), aside: path("aside") };
                return self.probe(Vec::new(), in_place).map(|()| UpperKind::InPlace).map_err(|error| no_other_root(&error));
            }
            let on_disk = wire::UpperPlace::OnDisk { upper: path("upper"), work: path("work") };
            match self.probe(vec![path("lower")], on_disk) {
                Ok(()) => Ok(UpperKind::OnDisk),
                Err(first) => match self.probe(vec![path("lower")], memory()) {
                    Ok(()) => Ok(UpperKind::Memory),
                    Err(second) if keeps_too_little(&second) => Err(no_place(&first)),
                    Err(_) => Err(no_step(&first)),
                },
            }
        });
        directory.apply(&[Operation::Remove { at: at("") }]).map_err(unwritable)?;
        kind
    }

    /// Tries each rung with `store` as the place of its directories, the best first.
    #[must_use]
    pub fn doctor(options: &Options, store: &Path) -> Vec<Probe> {
        Rung::ALL.iter().map(|rung| Probe { rung: *rung, outcome: Isolation::try_rung(*rung, options, store) }).collect()
    }

    fn try_rung(rung: Rung, options: &Options, store: &Path) -> Result<String, Unusable> {
        let isolation = Isolation::open(rung, options)?;
        let upper = isolation.upper_kind(store)?;
        let ids = isolation.mapping().count();
        let missing = if ids < 65536 { "; images use ids up to 65535, so that some files of theirs cannot be owned" } else { "" };
        let how = match upper {
            UpperKind::OnDisk => "a step's changes lie in the store",
            UpperKind::Memory => "a step's changes lie in memory, since the store's file system cannot hold them",
            UpperKind::InPlace => "each stage has a copy of its root in the store; steps have no namespaces of their own",
        };
        Ok(match rung {
            Rung::UserNamespace => format!("{ids} ids ({}){missing}; {how}", isolation.mapping().name()),
            Rung::SingleId => format!("one id, with a supervisor that knows of the others; {how}"),
            Rung::Chroot => how.to_owned(),
        })
    }

    fn probe(&self, lowers: Vec<Bytes>, upper: wire::UpperPlace) -> Result<(), SandboxError> {
        let job = wire::Job {
            lowers,
            upper,
            mounts: Vec::new(),
            network: false,
            terminal: None,
            hostname: Bytes(wire::PROBE_NAME.to_vec()),
            hosts: Bytes::default(),
            classic: self.mount_api == MountApi::Classic,
            resolv: None,
            command: wire::CommandLine::Probe {},
            ownership: self.rung.ownership(),
            specials: Vec::new(),
            groups: 0,
            beyond: wire::Beyond::Refused {},
        };
        let nothing = run::Told { rung: self.rung, at: &|_| Vec::new(), program: String::new(), searched: String::new(), uid: 0, gid: 0 };
        let mut nowhere = |_: Stream, _: &[u8]| {};
        let group = StepGroup::unlimited();
        let (signals, cancel) = (Signals::new(), Cancel::new());
        let attached = run::Attached { console: Console::Captured(&mut nowhere), signals: &signals, cancel: &cancel, group: &group };
        run::run(self.owners.first(), &job, None, &nothing, attached).map(drop)
    }
}

impl Rung {
    /// Where it stands whom files belong to.
    pub(super) const fn ownership(self) -> wire::Ownership {
        match self {
            Rung::UserNamespace | Rung::Chroot => wire::Ownership::Inodes {},
            Rung::SingleId => wire::Ownership::Attributes {},
        }
    }
}

/// A place in memory for changes that nobody will look at.
fn memory() -> wire::UpperPlace {
    let root = EntryMetadata { uid: 0, gid: 0, mode: 0o755, mtime_seconds: 0, mtime_nanoseconds: 0, xattrs: Vec::new() };
    wire::UpperPlace::Memory { root }
}

/// Whether an overlay was mounted over a directory that cannot keep all of a step's changes: directories that are renamed or made anew have
/// an attribute in the `user` namespace, which file systems may lack; a tmpfs does before Linux 6.6.
fn keeps_too_little(error: &SandboxError) -> bool {
    matches!(error, SandboxError::Root { source, .. } if source.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()))
}

/// Why the store is no place for a step's changes, and what to do.
fn no_place(error: &SandboxError) -> Unusable {
    let remedy = "put the store on a disk with extended attributes (ext4, xfs, btrfs) by LAPSTRAKE_HOME; a tmpfs has those that are needed \
                  from Linux 6.6 on, an overlay has none";
    Unusable { reason: format!("the store cannot keep what a step changes: {}", chain(error)), remedy: remedy.to_owned(), source: None }
}

/// Why a step cannot be made, and what to do.
fn no_step(error: &SandboxError) -> Unusable {
    let restricted = std::fs::read_to_string("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").is_ok_and(|text| text.trim() == "1");
    let remedy = if restricted {
        "AppArmor takes the rights away in user namespaces: set sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give the builder a \
         profile with `userns,`"
    } else {
        "a kernel from 5.11 with overlay in user namespaces is needed; in a container it must be allowed to mount"
    };
    Unusable { reason: chain(error), remedy: remedy.to_owned(), source: None }
}

/// Why a step cannot have another root, and what to do.
fn no_other_root(error: &SandboxError) -> Unusable {
    let remedy = "as root in a container: allow chroot(2), device nodes and the capabilities of Docker's default (CHOWN, DAC_OVERRIDE, FOWNER, \
                  FSETID, MKNOD, SETGID, SETUID, SETPCAP, SETFCAP, SYS_CHROOT), put the store where devices may be used (no `nodev`), and \
                  show it /proc";
    Unusable { reason: chain(error), remedy: remedy.to_owned(), source: None }
}

fn chain(error: &SandboxError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl Sandbox for Isolation {
    fn check(&self) -> Result<Rung, Unusable> {
        Ok(self.rung)
    }

    fn attach(&self, job: &Job, console: Console<'_>, signals: &Signals, cancel: &Cancel) -> Result<Finished, SandboxError> {
        let host = run::Host { resolv: &self.resolv, mount_api: self.mount_api, rung: self.rung };
        let lease = self.owners.take(cancel)?;
        let what = "make a control group for the step".to_owned();
        let group = self.group.step().map_err(|source| SandboxError::Processes { what, source })?;
        run::run_job(lease.owner(), &self.agent, &host, job, run::Attached { console, signals, cancel, group: &group })
    }
}
