//! What the library asks of the process above a step, and what it answers.

use super::{Bytes, EntryMetadata, Ownership, SpecialNode, Wire};

/// The host name of a step that only tries, which it expects to be told.
pub const PROBE_NAME: &[u8] = b"probe";

wire! {
    /// One command with all that it sees. Paths of the host are absolute.
    struct Job {
        /// Read-only directories, topmost first.
        lowers: Vec<Bytes>,
        /// Where changes go.
        upper: UpperPlace,
        /// Mounted in this order.
        mounts: Vec<MountAt>,
        /// Whether the host's network is seen.
        network: bool,
        /// The rows and columns of the terminal that it gets; none for what comes as descriptors.
        terminal: Option<(u32, u32)>,
        /// The host name inside.
        hostname: Bytes,
        /// The text of `/etc/hosts`.
        hosts: Bytes,
        /// Whether overlays are mounted in the older way only.
        classic: bool,
        /// The text of `/etc/resolv.conf`; none without network.
        resolv: Option<Bytes>,
        /// What is run.
        command: CommandLine,
        /// Where it stands whom the root's files belong to.
        ownership: Ownership,
        /// With [`Ownership::Attributes`]: what the root has that belongs to other users and cannot say so on disk, and all devices.
        specials: Vec<SpecialBelow>,
        /// How many of the descriptors, the last, are ways into control groups: the command is in them.
        groups: u32,
        /// What is done when the command wants what it cannot have.
        beyond: Beyond,
    }

    /// What is done when a command wants a device, or an id that its namespace has not.
    enum Beyond {
        /// The kernel refuses it.
        0 Refused {},
        /// The kernel refuses it, and that is told at the command's end.
        1 Told {},
        /// The command is ended.
        2 Stops {},
    }

    /// A link, pipe or device of a root.
    struct SpecialBelow {
        /// Where, relative to the root, without links.
        path: Bytes,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// The device that a socket stands for.
        node: Option<SpecialNode>,
    }

    /// A link, pipe or device of an upper directory.
    struct SpecialOwner {
        /// Its number there.
        inode: u64,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// The device that a socket stands for.
        node: Option<SpecialNode>,
    }

    /// The command itself.
    enum CommandLine {
        /// Nothing: only tries whether the root can be mounted and written.
        0 Probe {},
        /// A program.
        1 Program {
            /// Program and arguments.
            argv: Vec<Bytes>,
            /// `NAME=value`, exactly these.
            env: Vec<Bytes>,
            /// Directories in which a program without a slash is looked for.
            search: Vec<Bytes>,
            /// Working directory inside.
            workdir: Bytes,
            /// User.
            uid: u32,
            /// Group.
            gid: u32,
            /// Supplementary groups.
            groups: Vec<u32>,
        },
    }

    /// Where changes go.
    enum UpperPlace {
        /// Two directories on one file system.
        0 OnDisk {
            /// The upper directory of the overlay.
            upper: Bytes,
            /// Its work directory.
            work: Bytes,
        },
        /// A tmpfs of the step.
        1 Memory {
            /// What the root has.
            root: EntryMetadata,
        },
        /// Nowhere else: a directory that is the whole root, without any mount.
        2 InPlace {
            /// The root.
            root: Bytes,
            /// An empty directory on the same file system, for what has to give way meanwhile.
            aside: Bytes,
        },
    }

    /// One mount.
    struct MountAt {
        /// Where in the root; links are resolved inside it.
        at: Bytes,
        /// What.
        kind: MountWhat,
    }

    /// What is mounted.
    enum MountWhat {
        /// A part of another root.
        0 Layers {
            /// Read-only directories, topmost first.
            lowers: Vec<Bytes>,
            /// What its root has.
            root: EntryMetadata,
            /// The part; links are resolved inside that root.
            subpath: Bytes,
            /// Whether it can be written; what is written is discarded.
            discarded: bool,
        },
        /// A directory of the host, written in place, or a socket. In a root without mounts it is moved there for the time of the step; there it may
        /// also be a file.
        1 Directory {
            /// Which.
            path: Bytes,
            /// Whether it cannot be written, where there are mounts.
            read_only: bool,
        },
        /// A file or directory of the host, which others use too.
        4 Shared {
            /// Which.
            path: Bytes,
            /// Whether it may only be read.
            read_only: bool,
        },
        /// A file that exists in memory only.
        2 File {
            /// Its contents.
            bytes: Bytes,
            /// Owner.
            uid: u32,
            /// Group.
            gid: u32,
            /// Mode.
            mode: u16,
        },
        /// An empty tmpfs, mode 1777.
        3 Tmpfs {
            /// Its limit; none is the kernel's default.
            size_bytes: Option<u64>,
        },
    }

    /// What a step says, in this order: `Started`, then `Ended`; or `Failed` or `Beyond` instead of either.
    enum StepReply {
        /// The command runs. The upper directory comes as a descriptor, then the end of its terminal, each where there is one.
        0 Started {},
        /// Every process of the command has ended.
        1 Ended {
            /// How, as `wait(2)` has it; none when it was stopped from outside.
            status: Option<i32>,
            /// Mount points that were made for this run only.
            made: Vec<Bytes>,
            /// With [`Ownership::Attributes`]: whom what is in the upper directory belongs to, where it cannot say so itself.
            specials: Vec<SpecialOwner>,
            /// With [`Beyond::Told`]: the first thing that it wanted and could not have.
            beyond: Option<Bytes>,
        },
        /// With [`Beyond::Stops`]: the command was ended, with every process of it, since it wanted this.
        3 Beyond {
            /// For people.
            wanted: Bytes,
        },
        /// There was no command.
        2 Failed {
            /// Where it failed.
            stage: Stage,
            /// What was tried, for people.
            what: Bytes,
            /// The kernel's answer.
            errno: i32,
            /// First bytes of the program, where it was found but not started.
            head: Bytes,
        },
    }

    /// The parts of starting a command.
    enum Stage {
        /// Namespaces and processes.
        0 Processes {},
        /// The root and what every root has.
        1 Root {},
        /// One mount of the job.
        2 Mount {
            /// Its place among the job's mounts.
            index: u32,
        },
        /// The working directory.
        3 Workdir {},
        /// User and groups.
        4 User {},
        /// The program was not found.
        5 Lookup {},
        /// The program was found and not started.
        6 Exec {},
        /// The command has ended, and has done to something in a root without mounts what a mount would have refused.
        7 Left {
            /// Where it was put.
            at: Bytes,
        },
    }
}
