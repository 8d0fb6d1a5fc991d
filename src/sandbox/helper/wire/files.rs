//! What the library asks of a file agent, and what it answers.

use super::{Bytes, Wire};

wire! {
    /// What the library asks of a file agent. Paths are relative to the directory whose descriptor comes with the request.
    enum AgentRequest {
        /// Open a directory by its absolute path; no descriptor comes with it.
        0 OpenPath {
            /// Where it is for the builder.
            path: Bytes,
        },
        /// All entries of a directory.
        1 List {
            /// The directory.
            at: Bytes,
        },
        /// One entry; the empty path is the directory itself.
        2 Stat {
            /// The entry.
            at: Bytes,
        },
        /// A regular file for reading.
        3 Open {
            /// The file.
            at: Bytes,
        },
        /// A new regular file for writing, mode 0600.
        4 Create {
            /// The file.
            at: Bytes,
        },
        /// A directory.
        5 OpenDirectory {
            /// The directory.
            at: Bytes,
        },
        /// Changes, in order, up to the first that fails.
        6 Apply {
            /// The changes.
            operations: Vec<Operation>,
        },
    }

    /// What a file agent answers.
    enum AgentReply {
        /// It is done; what was opened comes as a descriptor.
        0 Done {},
        /// The entries that were asked for.
        1 Entries {
            /// In no particular order.
            entries: Vec<ListedEntry>,
        },
        /// It did not work.
        2 Failed {
            /// The change that failed, counted from 0; 0 for everything else.
            operation: u32,
            /// The kernel's answer.
            errno: i32,
        },
    }

    /// One change to a directory's contents. Paths are relative, without `.`, `..` and empty names; links are never followed.
    enum Operation {
        /// A new directory, mode 0700.
        0 MakeDirectory {
            /// Where.
            at: Bytes,
        },
        /// A new symbolic link.
        1 MakeSymlink {
            /// Where.
            at: Bytes,
            /// What it says.
            target: Bytes,
        },
        /// A new special file, mode 0600. A character device 0:0 is a whiteout; other devices are refused by the kernel in a user namespace.
        2 MakeNode {
            /// Where.
            at: Bytes,
            /// What it is.
            node: SpecialNode,
        },
        /// A new name for a file that has one.
        3 HardLink {
            /// A name it has.
            existing: Bytes,
            /// The name it gets.
            new: Bytes,
        },
        /// Owner, mode, xattrs and time of an entry; the empty path is the directory itself.
        4 SetMetadata {
            /// The entry.
            at: Bytes,
            /// What it gets.
            metadata: EntryMetadata,
        },
        /// Marks an overlay's directory as hiding what is below it.
        5 SetOpaque {
            /// The directory.
            at: Bytes,
        },
        /// Removes an entry with all that is below it.
        6 Remove {
            /// The entry.
            at: Bytes,
        },
        /// Gives an entry another name.
        7 Rename {
            /// Its name.
            from: Bytes,
            /// Its new name. What has it already is replaced, if it is no directory.
            to: Bytes,
        },
    }

    /// Special files.
    enum SpecialNode {
        /// A named pipe.
        0 Fifo {},
        /// A character device.
        1 Character {
            /// Its major number.
            major: u32,
            /// Its minor number.
            minor: u32,
        },
        /// A block device.
        2 Block {
            /// Its major number.
            major: u32,
            /// Its minor number.
            minor: u32,
        },
    }

    /// What an entry gets.
    struct EntryMetadata {
        /// Owner, as seen in the user namespace.
        uid: u32,
        /// Group, as seen in the user namespace.
        gid: u32,
        /// The twelve bits of the mode; not used for symbolic links.
        mode: u16,
        /// Time of last change, seconds since 1970.
        mtime_seconds: i64,
        /// The nanoseconds that belong to it.
        mtime_nanoseconds: u32,
        /// Exactly these `user.*` (the overlay's own included) and `security.capability`; access control lists are taken away.
        xattrs: Vec<(Bytes, Bytes)>,
    }

    /// What an entry is.
    enum EntryKind {
        /// A directory.
        0 Directory {},
        /// A regular file.
        1 File {},
        /// A symbolic link.
        2 Symlink {
            /// What it says.
            target: Bytes,
        },
        /// A special file; the character device 0:0 is a whiteout of the overlay.
        3 Special {
            /// Which.
            node: SpecialNode,
        },
        /// A socket.
        4 Socket {},
    }

    /// One entry of a directory on disk.
    struct ListedEntry {
        /// Its name; empty for the directory itself.
        name: Bytes,
        /// What it is.
        kind: EntryKind,
        /// The twelve bits of the mode.
        mode: u16,
        /// Owner, as seen in the user namespace.
        uid: u32,
        /// Group, as seen in the user namespace.
        gid: u32,
        /// Time of last change, seconds since 1970.
        mtime_seconds: i64,
        /// The nanoseconds that belong to it.
        mtime_nanoseconds: u32,
        /// Time of last change of the inode, seconds since 1970.
        ctime_seconds: i64,
        /// The nanoseconds that belong to it.
        ctime_nanoseconds: u32,
        /// Bytes.
        size: u64,
        /// The file system it is on.
        device: u64,
        /// Its number there.
        inode: u64,
        /// How many names it has.
        links: u64,
        /// All `user.*` and `security.capability`, sorted by name; the overlay's own (`user.overlay.*`) are among them.
        xattrs: Vec<(Bytes, Bytes)>,
    }
}
