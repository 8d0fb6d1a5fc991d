//! The root of a step: directories in, a process whose `/` is the step's root out.
//!
//! Everything is mounted on a tmpfs that lies over the host's root in a mount namespace of our own, and the host's tree is taken away at
//! the end. What every root has: `/proc`, `/sys`, a small `/dev`, `/etc/hosts`, and with network `/etc/resolv.conf`.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::agent;
use crate::confine::HostName;
use crate::mounts;
use crate::place::{self, Want};
use crate::step::{Failure, Made, Trying};
use crate::supervisor::{Owner, owners};
use crate::sys::{
    self, ANYWHERE, ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, At, BENEATH, Below, EINVAL, ENOENT, ENOSYS, EPERM, Result as Sys,
};
use crate::wire::{Bytes, EntryMetadata, Job, Ownership, Stage, UpperPlace};

/// What there is when the root is made.
pub struct Prepared {
    pub upper: OwnedFd,
    /// The mount namespace.
    pub mounts: OwnedFd,
    /// The builder's `/proc`, mounted nowhere, for whoever answers for the step's users.
    pub proc: Option<OwnedFd>,
    pub made: Vec<Made>,
    pub name: HostName,
}

/// A root while it is made.
pub struct Building {
    api: Api,
    /// A tmpfs on which everything that is needed meanwhile lies.
    base: OwnedFd,
    /// The root that the step gets.
    root: OwnedFd,
    made: Vec<Made>,
    slots: u32,
    ownership: Ownership,
}

/// The ways to mount an overlay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Api {
    /// By the newest calls, and in the older way where the kernel does not know them.
    Newest,
    /// By mount(2).
    Classic,
}

const ROOT: Stage = Stage::Root {};
const DIRECTORY: u64 = sys::O_PATH | sys::O_DIRECTORY;
const INERT: u64 = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;

/// Parts of `/proc` that tell of the host or change it: hidden. The list that container runtimes share, and what user 0 of the host may
/// read without a capability.
const HIDDEN_PROC: [&[u8]; 15] = [
    b"acpi",
    b"asound",
    b"dynamic_debug",
    b"interrupts",
    b"kcore",
    b"keys",
    b"kpagecgroup",
    b"kpagecount",
    b"kpageflags",
    b"latency_stats",
    b"sched_debug",
    b"scsi",
    b"timer_list",
    b"timer_stats",
    b"vmallocinfo",
];
/// Parts of `/proc` that change the host when written.
const READ_ONLY_PROC: [&[u8]; 5] = [b"bus", b"fs", b"irq", b"sys", b"sysrq-trigger"];
/// Parts of `/sys` that tell of the host; most are other file systems that come along where the host's own `/sys` is shown.
const HIDDEN_SYS: [&[u8]; 10] = [
    b"devices/virtual/powercap",
    b"firmware",
    b"fs/bpf",
    b"fs/cgroup",
    b"fs/fuse",
    b"fs/pstore",
    b"kernel/config",
    b"kernel/debug",
    b"kernel/security",
    b"kernel/tracing",
];
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const DEVICE_LINKS: [(&[u8], &[u8]); 5] = [
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
    (b"ptmx", b"pts/ptmx"),
];

/// Makes the root and enters it.
pub fn make(job: &Job) -> Result<Prepared, Failure> {
    let name = namespaces(job)?;
    let mounts =
        sys::open(At::Root, b"/proc/self/ns/mnt", sys::O_RDONLY, 0, ANYWHERE).trying(&ROOT, || "open its mount namespace".to_owned())?;
    let proc = match job.ownership {
        Ownership::Inodes {} => None,
        Ownership::Attributes {} => {
            Some(sys::copy_mount(At::Root, b"/proc", Below::With).trying(&ROOT, || "have /proc for its supervisor".to_owned())?)
        }
    };
    let base = base().trying(&ROOT, || "mount a tmpfs to build it on".to_owned())?;
    let api = if job.classic { Api::Classic } else { Api::Newest };
    let (upper, work) = upper(&base, &job.upper, &job.ownership)?;
    let root = overlay(api, &base, "root", &job.lowers, Some((&upper, &work)))
        .trying(&ROOT, || format!("mount an overlay of {} directories", job.lowers.len()))?;
    let mut building = Building { api, base, root, made: Vec::new(), slots: 0, ownership: job.ownership.clone() };
    self::proc(&mut building)?;
    if name == HostName::Answered {
        show_name(&mut building, &job.hostname).trying(&ROOT, || "show the host name in /proc".to_owned())?;
    }
    sys_files(&mut building, job.network).trying(&ROOT, || "mount /sys".to_owned())?;
    dev(&mut building)?;
    etc(&mut building, b"/etc/hosts", &job.hosts)?;
    if let Some(resolv) = &job.resolv {
        etc(&mut building, b"/etc/resolv.conf", resolv)?;
    }
    for (index, mount) in job.mounts.iter().enumerate() {
        mounts::mount(&mut building, mount, &Stage::Mount { index: u32::try_from(index).unwrap_or(u32::MAX) })?;
    }
    let Building { api: _, base, root, made, slots: _, ownership: _ } = building;
    enter(&root).trying(&ROOT, || "enter it".to_owned())?;
    drop(base);
    Ok(Prepared { upper, mounts, proc, made, name })
}

/// Checks that the root, now `/`, can be written: a new file, a directory renamed, a file of a lower directory removed.
pub fn try_writing() -> Result<(), Failure> {
    let attempt = || -> Sys<()> {
        let root = sys::open(At::Root, b"/", DIRECTORY, 0, ANYWHERE)?;
        sys::open(At::Fd(root.as_fd()), b"new", sys::O_RDWR | sys::O_CREAT | sys::O_EXCL, 0o600, BENEATH)?;
        sys::make_directory(root.as_fd(), b"old-name", 0o755)?;
        sys::rename(root.as_fd(), b"old-name", root.as_fd(), b"new-name", sys::Replace::Yes)?;
        match sys::unlink(root.as_fd(), b"below") {
            Err(ENOENT) => Ok(()),
            other => other,
        }
    };
    attempt().trying(&ROOT, || "write to it".to_owned())
}

fn namespaces(job: &Job) -> Result<HostName, Failure> {
    let stage = Stage::Processes {};
    let flags = sys::CLONE_NEWNS | sys::CLONE_NEWIPC | sys::CLONE_NEWUTS;
    sys::unshare(flags).trying(&stage, || "make mount, ipc and uts namespaces".to_owned())?;
    // Hides where the builder stands among the host's groups; not needed for anything.
    let _ = sys::unshare(sys::CLONE_NEWCGROUP);
    if !job.network {
        sys::unshare(sys::CLONE_NEWNET).trying(&stage, || "make a network namespace".to_owned())?;
        sys::loopback_up().trying(&stage, || "bring the loopback interface up".to_owned())?;
    }
    let name = match sys::set_host_name(&job.hostname.0) {
        // Profiles of containers forbid it even where the namespace is one's own.
        Err(EPERM | ENOSYS) => HostName::Answered,
        other => other.map(|()| HostName::Own).trying(&stage, || "set the host name".to_owned())?,
    };
    const PRIVATE_BELOW: std::ffi::c_ulong = 0x4000 | 0x4_0000;
    sys::mount_classic(None, b"/", None, PRIVATE_BELOW, b"").trying(&stage, || "separate the mounts from the host's".to_owned())?;
    Ok(name)
}

fn base() -> Sys<OwnedFd> {
    let base = tmpfs(&[(c"mode", b"0700")], ATTR_NOSUID | ATTR_NODEV)?;
    let here = sys::open(At::Root, b"/", DIRECTORY, 0, ANYWHERE)?;
    sys::attach(&base, here.as_fd())?;
    for name in [b"empty".as_slice(), b"files", b"memory"] {
        sys::make_directory(base.as_fd(), name, 0o755)?;
    }
    Ok(base)
}

/// A new tmpfs, nowhere yet.
pub fn tmpfs(options: &[(&CStr, &[u8])], attributes: u64) -> Sys<OwnedFd> {
    let tmpfs = sys::filesystem(c"tmpfs")?;
    for (key, value) in options {
        sys::set_string(&tmpfs, key, value)?;
    }
    sys::create_mount(&tmpfs, attributes)
}

fn upper(base: &OwnedFd, place: &UpperPlace, ownership: &Ownership) -> Result<(OwnedFd, OwnedFd), Failure> {
    let readable = sys::O_RDONLY | sys::O_DIRECTORY;
    match place {
        UpperPlace::OnDisk { upper, work } => {
            let open = |path: &Bytes| {
                sys::open(At::Root, &path.0, readable, 0, ANYWHERE).trying(&ROOT, || format!("open `{}`", String::from_utf8_lossy(&path.0)))
            };
            Ok((open(upper)?, open(work)?))
        }
        UpperPlace::Memory { root } => {
            memory_upper(base, b"memory", root, ownership).trying(&ROOT, || "mount a tmpfs for its changes".to_owned())
        }
        UpperPlace::InPlace { .. } => Err(EINVAL).trying(&ROOT, || "mount what has no mounts".to_owned()),
    }
}

/// An upper and a work directory on a tmpfs of their own.
fn memory_upper(base: &OwnedFd, at: &[u8], root: &EntryMetadata, ownership: &Ownership) -> Sys<(OwnedFd, OwnedFd)> {
    let readable = sys::O_RDONLY | sys::O_DIRECTORY;
    let memory = tmpfs(&[(c"mode", b"0755")], ATTR_NODEV)?;
    sys::attach(&memory, sys::open(At::Fd(base.as_fd()), at, DIRECTORY, 0, BENEATH)?.as_fd())?;
    let mut directories = [b"upper".as_slice(), b"work"].map(|name| {
        sys::make_directory(memory.as_fd(), name, 0o755)?;
        sys::open(At::Fd(memory.as_fd()), name, readable, 0, BENEATH)
    });
    let [upper, work] = &mut directories;
    let take = |slot: &mut Sys<OwnedFd>| std::mem::replace(slot, Err(ENOENT));
    let (upper, work) = (take(upper)?, take(work)?);
    agent::set_metadata(upper.as_fd(), root, ownership)?;
    Ok((upper, work))
}

/// Mounts an overlay in a slot of the base: its root.
fn overlay(api: Api, base: &OwnedFd, slot: &str, lowers: &[Bytes], upper: Option<(&OwnedFd, &OwnedFd)>) -> Sys<OwnedFd> {
    sys::make_directory(base.as_fd(), slot.as_bytes(), 0o755)?;
    let target = sys::open(At::Fd(base.as_fd()), slot.as_bytes(), DIRECTORY, 0, BENEATH)?;
    let open = |lower: &Bytes| sys::open(At::Root, &lower.0, DIRECTORY, 0, ANYWHERE);
    let empty = sys::open(At::Fd(base.as_fd()), b"empty", DIRECTORY, 0, BENEATH)?;
    // An overlay wants a lower directory; without an upper one it wants two.
    let needs_empty = lowers.len() < if upper.is_some() { 1 } else { 2 };
    let modern = || -> Sys<OwnedFd> {
        let overlay = sys::filesystem(c"overlay")?;
        for lower in lowers {
            sys::set_string(&overlay, c"lowerdir+", &sys::fd_path(&open(lower)?))?;
        }
        if needs_empty {
            sys::set_string(&overlay, c"lowerdir+", &sys::fd_path(&empty))?;
        }
        if let Some((upper, work)) = upper {
            sys::set_string(&overlay, c"upperdir", &sys::fd_path(upper))?;
            sys::set_string(&overlay, c"workdir", &sys::fd_path(work))?;
            // A step that dies with the machine is repeated: what it writes need not be on disk at any moment.
            sys::set_flag(&overlay, c"volatile")?;
        }
        sys::set_flag(&overlay, c"userxattr")?;
        // In a user namespace this is the word for off.
        sys::set_string(&overlay, c"redirect_dir", b"nofollow")?;
        sys::set_string(&overlay, c"metacopy", b"off")?;
        sys::set_string(&overlay, c"index", b"off")?;
        let mount = sys::create_mount(&overlay, 0)?;
        sys::attach(&mount, target.as_fd())?;
        Ok(mount)
    };
    if api == Api::Newest {
        match modern() {
            // Kernels before 6.7 do not take lower directories one by one.
            Err(EINVAL | ENOSYS) => {}
            other => return other,
        }
    }
    let mut opened = lowers.iter().map(open).collect::<Sys<Vec<OwnedFd>>>()?;
    if needs_empty {
        opened.push(empty);
    }
    let number = |fd: &OwnedFd| std::os::fd::AsRawFd::as_raw_fd(fd).to_string();
    let mut options = format!("lowerdir={}", opened.iter().map(number).collect::<Vec<_>>().join(":"));
    if let Some((upper, work)) = upper {
        options.push_str(&format!(",upperdir={},workdir={},volatile", number(upper), number(work)));
    }
    options.push_str(",userxattr,redirect_dir=nofollow,metacopy=off,index=off");
    // Names are numbers there, so that hundreds of them go into one page.
    sys::change_directory(b"/proc/self/fd")?;
    let mounted = sys::mount_classic(Some(c"overlay"), &sys::fd_path(&target), Some(c"overlay"), 0, options.as_bytes());
    sys::change_directory(b"/")?;
    mounted?;
    sys::open(At::Fd(base.as_fd()), slot.as_bytes(), DIRECTORY, 0, BENEATH)
}

impl Building {
    /// The place in the root where something is to be mounted.
    pub fn place(&mut self, at: &[u8], want: Want) -> Sys<OwnedFd> {
        place::find_or_make(self.root.as_fd(), at, want, &mut self.made)
    }

    fn slot(&mut self) -> String {
        self.slots += 1;
        format!("slot-{}", self.slots)
    }

    /// Another root beside this one. The root of an overlay is that of its topmost directory, which is made for it.
    pub fn read_only_overlay(&mut self, lowers: &[Bytes], root: &EntryMetadata) -> Sys<OwnedFd> {
        let topmost = self.slot();
        sys::make_directory(self.base.as_fd(), topmost.as_bytes(), 0o755)?;
        let topmost = sys::open(At::Fd(self.base.as_fd()), topmost.as_bytes(), DIRECTORY, 0, BENEATH)?;
        agent::set_metadata(topmost.as_fd(), root, &self.ownership)?;
        let lowers: Vec<Bytes> = [Bytes(sys::fd_path(&topmost))].into_iter().chain(lowers.iter().cloned()).collect();
        let slot = self.slot();
        overlay(self.api, &self.base, &slot, &lowers, None)
    }

    /// Another root beside this one, whose changes are forgotten.
    pub fn discarded_overlay(&mut self, lowers: &[Bytes], root: &EntryMetadata) -> Sys<OwnedFd> {
        let memory = self.slot();
        sys::make_directory(self.base.as_fd(), memory.as_bytes(), 0o755)?;
        let (upper, work) = memory_upper(&self.base, memory.as_bytes(), root, &self.ownership)?;
        let slot = self.slot();
        overlay(self.api, &self.base, &slot, lowers, Some((&upper, &work)))
    }

    /// A mount of a file that exists in memory only, nowhere yet.
    pub fn memory_file(&mut self, bytes: &[u8], uid: u32, gid: u32, mode: u16) -> Sys<OwnedFd> {
        let name = ["files/", &self.slot()].concat();
        let file = sys::open(At::Fd(self.base.as_fd()), name.as_bytes(), sys::O_RDWR | sys::O_CREAT | sys::O_EXCL, 0o600, BENEATH)?;
        sys::write_all(&file, bytes)?;
        match self.ownership {
            Ownership::Inodes {} => sys::change_owner(file.as_fd(), uid, gid)?,
            Ownership::Attributes {} => owners::carry(&sys::fd_path(&file), Owner { uid, gid })?,
        }
        sys::change_mode(file.as_fd(), mode)?;
        sys::copy_mount(At::Fd(self.base.as_fd()), name.as_bytes(), Below::Without)
    }

    fn hide(&self, inside: BorrowedFd<'_>, paths: &[&[u8]]) -> Sys<()> {
        for path in paths {
            let place = match sys::open(At::Fd(inside), path, sys::O_PATH | sys::O_NOFOLLOW, 0, BENEATH) {
                Err(ENOENT) => continue,
                place => place?,
            };
            match Want::of(&sys::stat(place.as_fd(), b"")?) {
                Want::Directory => {
                    let empty = sys::copy_mount(At::Fd(self.base.as_fd()), b"empty", Below::Without)?;
                    sys::attach(&empty, place.as_fd())?;
                    sys::restrict(&empty, ATTR_RDONLY | INERT, Below::Without)?;
                }
                Want::File => sys::attach(&sys::copy_mount(At::Root, b"/dev/null", Below::Without)?, place.as_fd())?,
            }
        }
        Ok(())
    }
}

fn proc(building: &mut Building) -> Result<(), Failure> {
    let place = building.place(b"/proc", Want::Directory).trying(&ROOT, || "make /proc".to_owned())?;
    let fresh = sys::filesystem(c"proc").and_then(|proc| sys::create_mount(&proc, INERT));
    // Where parts of the host's own are hidden, as in containers, the kernel refuses a new one.
    let proc = fresh.or_else(|_| sys::copy_mount(At::Root, b"/proc", Below::With)).trying(&ROOT, || "mount /proc".to_owned())?;
    let rest = || -> Sys<()> {
        sys::attach(&proc, place.as_fd())?;
        sys::restrict(&proc, INERT, Below::With)?;
        building.hide(proc.as_fd(), &HIDDEN_PROC)?;
        for path in READ_ONLY_PROC {
            let place = match sys::open(At::Fd(proc.as_fd()), path, sys::O_PATH | sys::O_NOFOLLOW, 0, BENEATH) {
                Err(ENOENT) => continue,
                place => place?,
            };
            let copy = sys::copy_mount(At::Fd(proc.as_fd()), path, Below::With)?;
            sys::attach(&copy, place.as_fd())?;
            sys::restrict(&copy, ATTR_RDONLY | INERT, Below::With)?;
        }
        Ok(())
    };
    rest().trying(&ROOT, || "protect /proc".to_owned())
}

/// Puts the host name over the namespace's own in `/proc`.
fn show_name(building: &mut Building, name: &Bytes) -> Sys<()> {
    let own = sys::open(At::Fd(building.root.as_fd()), b"proc/sys/kernel/hostname", sys::O_PATH | sys::O_NOFOLLOW, 0, BENEATH)?;
    let file = building.memory_file(&[name.0.as_slice(), b"\n"].concat(), 0, 0, 0o644)?;
    sys::attach(&file, own.as_fd())?;
    sys::restrict(&file, ATTR_RDONLY | INERT, Below::Without)
}

fn sys_files(building: &mut Building, network: bool) -> Sys<()> {
    let place = building.place(b"/sys", Want::Directory)?;
    // It shows the network devices, so that only one of the step's own network may be mounted.
    let fresh = if network { Err(EINVAL) } else { sys::filesystem(c"sysfs").and_then(|fs| sys::create_mount(&fs, ATTR_RDONLY | INERT)) };
    let Ok(mount) = fresh.or_else(|_| sys::copy_mount(At::Root, b"/sys", Below::With)) else { return Ok(()) };
    sys::attach(&mount, place.as_fd())?;
    sys::restrict(&mount, ATTR_RDONLY | INERT, Below::With)?;
    building.hide(mount.as_fd(), &HIDDEN_SYS)
}

fn dev(building: &mut Building) -> Result<(), Failure> {
    let what = |name: &str| format!("make /dev{name}");
    let place = building.place(b"/dev", Want::Directory).trying(&ROOT, || what(""))?;
    let dev = tmpfs(&[(c"mode", b"0755"), (c"size", b"65536k")], ATTR_NOSUID | ATTR_NOEXEC).trying(&ROOT, || what(""))?;
    sys::attach(&dev, place.as_fd()).trying(&ROOT, || what(""))?;
    for name in DEVICES {
        let device = || -> Sys<()> {
            let device = match sys::copy_mount(At::Root, ["/dev/", name].concat().as_bytes(), Below::Without) {
                Err(ENOENT) if name != "null" => return Ok(()),
                device => device?,
            };
            let file = sys::open(At::Fd(dev.as_fd()), name.as_bytes(), sys::O_RDWR | sys::O_CREAT | sys::O_EXCL, 0o666, BENEATH)?;
            sys::attach(&device, file.as_fd())
        };
        device().trying(&ROOT, || what(&["/", name].concat()))?;
    }
    for (name, target) in DEVICE_LINKS {
        sys::make_symlink(dev.as_fd(), name, target).trying(&ROOT, || what("/fd"))?;
    }
    let directory = |name: &[u8], mount: Sys<OwnedFd>| -> Sys<()> {
        sys::make_directory(dev.as_fd(), name, 0o755)?;
        sys::attach(&mount?, sys::open(At::Fd(dev.as_fd()), name, DIRECTORY, 0, BENEATH)?.as_fd())
    };
    directory(b"shm", tmpfs(&[(c"mode", b"1777")], INERT)).trying(&ROOT, || what("/shm"))?;
    // Programs do without these two where the kernel does not give them.
    let _ = directory(b"pts", terminals(Some(b"5")).or_else(|_| terminals(None)));
    let _ = directory(b"mqueue", sys::filesystem(c"mqueue").and_then(|fs| sys::create_mount(&fs, INERT)));
    Ok(())
}

/// Terminals of the step's own; their group is `tty` where that number is there.
fn terminals(group: Option<&[u8]>) -> Sys<OwnedFd> {
    let terminals = sys::filesystem(c"devpts")?;
    sys::set_flag(&terminals, c"newinstance")?;
    sys::set_string(&terminals, c"ptmxmode", b"0666")?;
    sys::set_string(&terminals, c"mode", b"0620")?;
    if let Some(group) = group {
        sys::set_string(&terminals, c"gid", group)?;
    }
    sys::create_mount(&terminals, ATTR_NOSUID | ATTR_NOEXEC)
}

fn etc(building: &mut Building, path: &[u8], text: &Bytes) -> Result<(), Failure> {
    let mut attempt = || -> Sys<()> {
        let file = building.memory_file(&text.0, 0, 0, 0o644)?;
        let place = building.place(path, Want::File)?;
        sys::attach(&file, place.as_fd())
    };
    attempt().trying(&ROOT, || format!("make {}", String::from_utf8_lossy(path)))
}

/// Makes the new root `/` and takes the host's tree away.
fn enter(root: &OwnedFd) -> Sys<()> {
    sys::change_directory_to(root.as_fd())?;
    sys::pivot_root_here()?;
    // The base lies over the host's root, which lies over ours.
    sys::unmount_here()?;
    sys::unmount_here()?;
    sys::change_directory(b"/")
}
