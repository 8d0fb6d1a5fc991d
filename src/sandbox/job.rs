//! What is asked of a sandbox, and what it gives back.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{AgentDirectory, EntryMetadata, Exhausted, SpecialBelow};

/// One command with all that it sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Read-only directories of the root, topmost first. May be empty. Absolute paths.
    pub lowers: Vec<PathBuf>,
    /// Where changes go.
    pub upper: Upper,
    /// The program and its arguments. A program without a slash is looked for in the `PATH` of `env`, inside the root.
    pub argv: Vec<OsString>,
    /// The environment, exactly.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory inside the root; must exist there.
    pub workdir: Vec<u8>,
    /// Whom the command runs as.
    pub user: User,
    /// What is mounted into the root, in this order.
    pub mounts: Vec<Mount>,
    /// Which network is seen.
    pub network: Network,
    /// The host name that is seen.
    pub hostname: String,
    /// When the command is killed; counted from its start.
    pub time_limit: Option<Duration>,
    /// For [`Rung::SingleId`](super::Rung::SingleId), where only files and directories say themselves whom they belong to: all devices of
    /// the root and of what is mounted into it, and the links and pipes that do not belong to 0:0. Paths are those of the root.
    pub specials: Vec<SpecialBelow>,
    /// What is done when the command wants what it cannot have on its rung.
    pub beyond: Beyond,
}

/// What is done when a command, as user 0, wants what only [`Rung::SingleId`](super::Rung::SingleId) has for everybody: to make a device, to give
/// a file to an id that its namespace has not, or to become such an id. On that rung nothing has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// The kernel refuses it.
    Refused,
    /// The kernel refuses it, and [`Finished::beyond`] tells of it.
    Told,
    /// The command is ended, which is [`SandboxError::Beyond`](super::SandboxError::Beyond). Where a container watches calls already, and before
    /// Linux 5.0, it is as [`Beyond::Refused`].
    Stops,
}

/// Where a step's changes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upper {
    /// Two directories on one file system, absolute paths. The root of the step has the upper directory's own owner, mode, xattrs and time.
    OnDisk {
        /// The upper directory of the overlay.
        upper: PathBuf,
        /// The overlay's work directory; empty, for this one run.
        work: PathBuf,
    },
    /// A tmpfs, for stores on file systems that the kernel refuses below an upper directory.
    Memory {
        /// What the root of the step has.
        root: EntryMetadata,
    },
    /// A directory that is the whole root already, written in place: for a sandbox without mounts, which takes nothing else. The job
    /// has no `lowers` then and no mounted [`MountKind::Layers`]. When the command has ended it holds nothing that was put there for the job.
    InPlace {
        /// The root; nobody else uses it meanwhile. Absolute path.
        root: PathBuf,
        /// An empty directory on the same file system, which is rubbish afterwards. Absolute path.
        aside: PathBuf,
    },
}

/// Whom a command runs as, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Which network a command sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Only a loopback interface of its own.
    Off,
    /// The host's.
    Host,
}

/// One thing that is mounted into a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where: absolute; links are resolved inside the root. What is missing is made, and is in no result.
    pub at: Vec<u8>,
    /// What.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory of another root.
    Layers {
        /// That root's directories, topmost first. Absolute paths.
        lowers: Vec<PathBuf>,
        /// What the root of that root has, whatever its directories have.
        root: EntryMetadata,
        /// The part of it; links are resolved inside that root. Empty for all of it.
        subpath: Vec<u8>,
        /// Whether it can be written to.
        access: Access,
    },
    /// A directory of the host, written in place: a cache; or a socket of the host. With [`Upper::InPlace`] it is moved into the root meanwhile, so that nobody else
    /// may use it, must be on the same file system, and may also be a file.
    Directory {
        /// Which. Absolute path.
        path: PathBuf,
        /// What the command may do to it. With [`Upper::InPlace`] nothing keeps it from writing.
        access: DirectoryAccess,
    },
    /// A file or directory of the host that others use too: never with [`Upper::InPlace`].
    Shared {
        /// Which. Absolute path.
        path: PathBuf,
        /// What may be done to it.
        access: DirectoryAccess,
    },
    /// A file that exists in memory only: a secret.
    File {
        /// Its contents.
        bytes: Vec<u8>,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Mode.
        mode: u16,
    },
    /// An empty tmpfs, mode 1777.
    Tmpfs {
        /// Its limit; none is the kernel's default, half of the memory.
        size_bytes: Option<u64>,
    },
}

/// Never shows the bytes of a file: they may be a secret.
impl std::fmt::Debug for MountKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MountKind::Layers { lowers, root, subpath, access } => {
                let subpath = subpath.escape_ascii().to_string();
                let mut shown = f.debug_struct("Layers");
                shown.field("lowers", lowers).field("root", root).field("subpath", &subpath).field("access", access).finish()
            }
            MountKind::Directory { path, access } => f.debug_struct("Directory").field("path", path).field("access", access).finish(),
            MountKind::Shared { path, access } => f.debug_struct("Shared").field("path", path).field("access", access).finish(),
            MountKind::File { bytes: _, uid, gid, mode } => {
                f.debug_struct("File").field("uid", uid).field("gid", gid).field("mode", mode).finish_non_exhaustive()
            }
            MountKind::Tmpfs { size_bytes } => f.debug_struct("Tmpfs").field("size_bytes", size_bytes).finish(),
        }
    }
}

/// What a command may do to a directory of the host that is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryAccess {
    /// Read it.
    ReadOnly,
    /// Also write, in place.
    Written,
}

/// What a command may do to layers that are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read them.
    ReadOnly,
    /// Also write; what is written vanishes with the step.
    Discarded,
}

/// What is left when a command has ended. All its processes are gone.
#[derive(Debug)]
pub struct Finished {
    /// How the command itself ended.
    pub exit: Exit,
    /// The upper directory.
    pub upper: UpperHandle,
    /// Paths, without a leading slash, that did not exist in the root and were made only for mounts, parents before children. They are
    /// already removed from the upper directory again, unless the command put something of its own into them.
    pub mount_points_made: Vec<Vec<u8>>,
    /// With [`Beyond::Told`]: the first thing that it wanted and could not have, such as `to make the character device 1:3`.
    pub beyond: Option<String>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// It was ended by this signal.
    Signal(i32),
    /// It ran into its time limit and was killed.
    TimedOut,
    /// It, or another command beside it, ran into a limit of all commands, and it was killed; or it had ended by itself when that was seen.
    OverLimit(Exhausted),
}

/// The upper directory of a step that has ended.
#[derive(Debug)]
pub struct UpperHandle {
    pub(super) directory: AgentDirectory,
    pub(super) path: Option<PathBuf>,
}

impl UpperHandle {
    /// The directory, through the file agent. One in memory lives as long as this or a clone of it.
    #[must_use]
    pub const fn directory(&self) -> &AgentDirectory {
        &self.directory
    }

    /// Where it is on disk, which is the root itself for [`Upper::InPlace`]; `None` when it is in memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}
