//! Messages between the library and its helper: values in, bytes out, and back.
//!
//! Compiled into both. A message is a frame: a header of eight bytes (length of the body and number of descriptors, little endian), to which
//! the descriptors are attached, then the body. Integers are little endian, byte strings and lists have a length of four bytes in front.
//! Both ends are always of the same build, so there is no version.

/// The largest body of a frame that is believed; larger ones are a broken connection.
pub const LARGEST_BODY_BYTES: usize = 1 << 30;
/// The most descriptors that go with one frame.
pub const MOST_DESCRIPTORS: usize = 3;
/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 8;

/// A value that goes over the wire.
pub trait Wire: Sized {
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes the value off the front; `None` when the bytes are not one.
    fn take(from: &mut &[u8]) -> Option<Self>;
}

/// The body of a frame for a value.
pub fn encode<T: Wire>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.put(&mut out);
    out
}

/// The value of a frame's body; `None` when it is not exactly one.
pub fn decode<T: Wire>(mut body: &[u8]) -> Option<T> {
    let value = T::take(&mut body)?;
    body.is_empty().then_some(value)
}

/// The header of a frame.
pub fn header(body_bytes: u32, descriptors: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&body_bytes.to_le_bytes());
    header[4..].copy_from_slice(&descriptors.to_le_bytes());
    header
}

/// The length of the body and the number of descriptors that a header announces; `None` when they are beyond belief.
pub fn parse_header(header: [u8; HEADER_BYTES]) -> Option<(usize, usize)> {
    let mut header = header.as_slice();
    let body = usize::try_from(u32::take(&mut header)?).ok()?;
    let descriptors = usize::try_from(u32::take(&mut header)?).ok()?;
    (body <= LARGEST_BODY_BYTES && descriptors <= MOST_DESCRIPTORS).then_some((body, descriptors))
}

fn take_bytes<'a>(from: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(taken)
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    // A frame is never larger than `LARGEST_BODY_BYTES`: the sender refuses it before the length could be cut.
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(from: &mut &[u8]) -> Option<Self> {
                let bytes = take_bytes(from, size_of::<$type>())?;
                Some(<$type>::from_le_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, i32, i64);

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        match u8::take(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

/// A string of bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes(pub Vec<u8>);

impl Wire for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.0.len(), out);
        out.extend_from_slice(&self.0);
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        let length = usize::try_from(u32::take(from)?).ok()?;
        Some(Bytes(take_bytes(from, length)?.to_vec()))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        for item in self {
            item.put(out);
        }
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        let count = u32::take(from)?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(T::take(from)?);
        }
        Some(items)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.put(out);
            }
        }
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        match u8::take(from)? {
            0 => Some(None),
            1 => Some(Some(T::take(from)?)),
            _ => None,
        }
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        Some((A::take(from)?, B::take(from)?))
    }
}

/// Declares structs and enums together with their form on the wire: fields in order; for an enum its variant's number in front.
macro_rules! wire {
    () => {};
    ($(#[$meta:meta])* struct $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty),* $(,)? } $($rest:tt)*) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type),* }
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let $name { $($field),* } = self;
                $($field.put(out);)*
            }
            fn take(from: &mut &[u8]) -> Option<Self> {
                Some($name { $($field: <$type as Wire>::take(from)?),* })
            }
        }
        wire! { $($rest)* }
    };
    ($(#[$meta:meta])* enum $name:ident {
        $($(#[$vmeta:meta])* $number:literal $variant:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty),* $(,)? }),* $(,)?
    } $($rest:tt)*) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vmeta])* $variant { $($(#[$fmeta])* $field: $type),* }),* }
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $($name::$variant { $($field),* } => {
                        out.push($number);
                        $($field.put(out);)*
                    })*
                }
            }
            fn take(from: &mut &[u8]) -> Option<Self> {
                Some(match u8::take(from)? {
                    $($number => $name::$variant { $($field: <$type as Wire>::take(from)?),* },)*
                    _ => return None,
                })
            }
        }
        wire! { $($rest)* }
    };
}

// ---- The owner of the user namespace ----

wire! {
    /// What the library asks of the owner of the user namespace.
    enum OwnerRequest {
        /// Begin, with these ids. Comes first.
        0 Begin {
            /// Whose ids.
            ids: Ids,
        },
        /// The id maps are written: become their 0:0.
        1 Mapped {
            /// Where files have their owners.
            ownership: Ownership,
        },
        /// Serve file operations on the socket that comes with it, in a process of its own.
        2 Agent {},
        /// Run one job on the socket that comes with it, in a process of its own.
        3 Step {},
    }

    /// Whose ids the owner and its steps have.
    enum Ids {
        /// Those of a user namespace that is made for it.
        0 Namespace {},
        /// The caller's, who is root.
        1 Callers {},
    }

    /// Where it stands whom files belong to.
    enum Ownership {
        /// In their inodes.
        0 Inodes {},
        /// In an attribute of theirs, or in a table: the namespace has one id, 0. Devices are sockets on disk.
        1 Attributes {},
    }

    /// What the owner says while it starts; afterwards it says nothing.
    enum OwnerReply {
        /// The user namespace is there and waits for its id maps.
        0 Unmapped {},
        /// The owner is 0:0 and takes requests.
        1 Ready {},
        /// It came to nothing.
        2 Failed {
            /// What was tried.
            what: Bytes,
            /// The kernel's answer.
            errno: i32,
        },
    }
}

// ---- The file agent ----

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

// ---- Steps ----

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

    /// What a step says, in this order: `Started`, then `Ended`; or `Failed` instead of either.
    enum StepReply {
        /// The command runs. The upper directory comes as a descriptor.
        0 Started {},
        /// Every process of the command has ended.
        1 Ended {
            /// How, as `wait(2)` has it; none when it was stopped from outside.
            status: Option<i32>,
            /// Mount points that were made for this run only.
            made: Vec<Bytes>,
            /// With [`Ownership::Attributes`]: whom what is in the upper directory belongs to, where it cannot say so itself.
            specials: Vec<SpecialOwner>,
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
