//! The kernel's calls, each as a safe function: checked arguments in, a value or the kernel's error number out.
//!
//! All `unsafe` of the project is in this directory. The program has one thread, so that `fork` needs no care beyond the usual.

use std::ffi::{CStr, CString, c_char, c_int, c_long};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::filter::Instruction;

/// An error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

/// What a call gives.
pub type Result<T> = std::result::Result<T, Errno>;

mod confine;
mod files;
mod mounts;
mod number;
mod socket;
mod watch;

pub use confine::*;
pub use files::*;
pub use mounts::*;
pub use socket::*;
pub use watch::*;

pub const EPERM: Errno = Errno(1);
pub const ENOENT: Errno = Errno(2);
pub const EINTR: Errno = Errno(4);
pub const EAGAIN: Errno = Errno(11);
pub const EACCES: Errno = Errno(13);
pub const EBUSY: Errno = Errno(16);
pub const EEXIST: Errno = Errno(17);
pub const EXDEV: Errno = Errno(18);
pub const ENOTDIR: Errno = Errno(20);
pub const EISDIR: Errno = Errno(21);
pub const EINVAL: Errno = Errno(22);
pub const ENOSYS: Errno = Errno(38);
pub const ENOTEMPTY: Errno = Errno(39);
pub const ELOOP: Errno = Errno(40);
pub const ENODATA: Errno = Errno(61);
pub const EPROTO: Errno = Errno(71);
pub const EOPNOTSUPP: Errno = Errno(95);
pub const ECONNRESET: Errno = Errno(104);

pub const O_RDONLY: u64 = 0;
pub const O_RDWR: u64 = 2;
pub const O_CREAT: u64 = 0o100;
pub const O_EXCL: u64 = 0o200;
pub const O_NONBLOCK: u64 = 0o4000;
#[cfg(target_arch = "aarch64")]
pub const O_DIRECTORY: u64 = 0o40_000;
#[cfg(not(target_arch = "aarch64"))]
pub const O_DIRECTORY: u64 = 0o200_000;
#[cfg(target_arch = "aarch64")]
pub const O_NOFOLLOW: u64 = 0o100_000;
#[cfg(not(target_arch = "aarch64"))]
pub const O_NOFOLLOW: u64 = 0o400_000;
pub const O_CLOEXEC: u64 = 0o2_000_000;
pub const O_PATH: u64 = 0o10_000_000;

/// Nothing in the path leaves the directory, and no link is followed.
pub const BENEATH: u64 = 0x02 | 0x04 | 0x08;
/// A path of the host, as the builder means it.
pub const ANYWHERE: u64 = 0;
/// A path of somebody else: it goes through no link of `/proc` that leads to what a process has open, or stands in. Who looks is not who
/// is meant there, and what this process has is not below its root.
pub const OF_ANOTHER: u64 = 0x02;

pub const CLONE_NEWNS: c_long = 0x0002_0000;
pub const CLONE_NEWCGROUP: c_long = 0x0200_0000;
pub const CLONE_NEWUTS: c_long = 0x0400_0000;
pub const CLONE_NEWIPC: c_long = 0x0800_0000;
pub const CLONE_NEWUSER: c_long = 0x1000_0000;
pub const CLONE_NEWPID: c_long = 0x2000_0000;
pub const CLONE_NEWNET: c_long = 0x4000_0000;

pub const ATTR_RDONLY: u64 = 1;
pub const ATTR_NOSUID: u64 = 2;
pub const ATTR_NODEV: u64 = 4;
pub const ATTR_NOEXEC: u64 = 8;

pub const S_IFMT: u16 = 0o170_000;
pub const S_IFSOCK: u16 = 0o140_000;
pub const S_IFLNK: u16 = 0o120_000;
pub const S_IFREG: u16 = 0o100_000;
pub const S_IFBLK: u16 = 0o060_000;
pub const S_IFDIR: u16 = 0o040_000;
pub const S_IFCHR: u16 = 0o020_000;
pub const S_IFIFO: u16 = 0o010_000;

const AT_FDCWD: c_long = -100;
const AT_SYMLINK_NOFOLLOW: c_long = 0x100;
const AT_REMOVEDIR: c_long = 0x200;
const AT_EMPTY_PATH: c_long = 0x1000;
const AT_RECURSIVE: c_long = 0x8000;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn fork() -> c_int;
    fn _exit(code: c_int) -> !;
}

fn errno() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(EINVAL.0))
}

/// Makes one system call.
///
/// # Safety
/// The arguments must be what the call expects; pointers among them must be valid for what the kernel does with them.
unsafe fn call(number: c_long, a: [c_long; 6]) -> Result<c_long> {
    // SAFETY: the caller vouches for the arguments; surplus ones are ignored by the kernel.
    let result = unsafe { syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) };
    if result == -1 { Err(errno()) } else { Ok(result) }
}

/// Makes a system call whose arguments are all plain numbers.
fn plain(number: c_long, a: c_long, b: c_long, c: c_long) -> Result<c_long> {
    // SAFETY: only used with calls that take no pointers.
    unsafe { call(number, [a, b, c, 0, 0, 0]) }
}

fn owned(fd: c_long) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor, so that nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

fn raw(fd: &impl AsRawFd) -> c_long {
    c_long::from(fd.as_raw_fd())
}

fn pointer<T>(value: *const T) -> c_long {
    value as c_long
}

/// A path or name for the kernel.
pub fn text(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| EINVAL)
}

/// The path by which the kernel finds an open file of this process again.
pub fn fd_path(fd: &impl AsRawFd) -> Vec<u8> {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes()
}

/// Where a path starts.
#[derive(Clone, Copy)]
pub enum At<'a> {
    /// At this directory.
    Fd(BorrowedFd<'a>),
    /// At the root: the path is absolute.
    Root,
}

impl At<'_> {
    fn raw(self) -> c_long {
        match self {
            At::Fd(fd) => raw(&fd),
            At::Root => AT_FDCWD,
        }
    }
}

pub fn exit(code: i32) -> ! {
    // SAFETY: ends the process; takes a number.
    unsafe { _exit(code) }
}

/// `None` in the child.
pub fn fork_process() -> Result<Option<i32>> {
    // SAFETY: the process has one thread, so that the child's memory is consistent.
    match unsafe { fork() } {
        -1 => Err(errno()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

pub fn unshare(flags: c_long) -> Result<()> {
    plain(number::UNSHARE, flags, 0, 0).map(drop)
}

pub fn getpid() -> i32 {
    plain(number::GETPID, 0, 0, 0).unwrap_or(0) as i32
}

pub fn getppid() -> i32 {
    plain(number::GETPPID, 0, 0, 0).unwrap_or(0) as i32
}

pub fn setsid() -> Result<()> {
    plain(number::SETSID, 0, 0, 0).map(drop)
}

pub fn umask(mask: u32) {
    let _ = plain(number::UMASK, c_long::from(mask), 0, 0);
}

pub fn kill(pid: i32) {
    const SIGKILL: c_long = 9;
    let _ = plain(number::KILL, c_long::from(pid), SIGKILL, 0);
}

/// Sends a signal to a process.
pub fn signal(pid: i32, signal: u8) {
    let _ = plain(number::KILL, c_long::from(pid), c_long::from(signal), 0);
}

/// Makes the terminal behind a descriptor that of this session.
pub fn take_terminal(fd: i32) -> Result<()> {
    const TIOCSCTTY: c_long = 0x540e;
    plain(number::IOCTL, c_long::from(fd), TIOCSCTTY, 0).map(drop)
}

/// A new terminal of this size: the end of whoever shows it, and that of programs.
pub fn open_terminal(path: &[u8], (rows, columns): (u16, u16)) -> Result<(OwnedFd, OwnedFd)> {
    const O_NOCTTY: u64 = 0o400;
    const TIOCSPTLCK: c_long = 0x4004_5431;
    const TIOCGPTPEER: c_long = 0x5441;
    const TIOCSWINSZ: c_long = 0x5414;
    let shown = open(At::Root, path, O_RDWR | O_NOCTTY, 0, ANYWHERE)?;
    let unlocked: c_int = 0;
    // SAFETY: the kernel reads a number.
    unsafe { call(number::IOCTL, [raw(&shown), TIOCSPTLCK, pointer(&raw const unlocked), 0, 0, 0]) }?;
    let size = [rows, columns, 0, 0];
    // SAFETY: the kernel reads four short numbers.
    unsafe { call(number::IOCTL, [raw(&shown), TIOCSWINSZ, pointer(size.as_ptr()), 0, 0, 0]) }?;
    let peer = plain(number::IOCTL, raw(&shown), TIOCGPTPEER, (O_RDWR | O_NOCTTY | O_CLOEXEC) as c_long)?;
    Ok((shown, owned(peer)))
}

/// Lets a process do nothing more for now.
pub fn stop(pid: i32) {
    const SIGSTOP: c_long = 19;
    let _ = plain(number::KILL, c_long::from(pid), SIGSTOP, 0);
}

/// Waits for a child, or any with -1: its id and its status.
pub fn wait(pid: i32) -> Result<(i32, i32)> {
    let mut status: c_int = 0;
    loop {
        // SAFETY: the status is written to a variable of ours; no usage is asked for.
        match unsafe { call(number::WAIT4, [c_long::from(pid), pointer(&raw mut status), 0, 0, 0, 0]) } {
            Err(EINTR) => {}
            Err(error) => return Err(error),
            Ok(pid) => return Ok((pid as i32, status)),
        }
    }
}

pub fn setresuid(uid: u32) -> Result<()> {
    plain(number::SETRESUID, c_long::from(uid), c_long::from(uid), c_long::from(uid)).map(drop)
}

pub fn setresgid(gid: u32) -> Result<()> {
    plain(number::SETRESGID, c_long::from(gid), c_long::from(gid), c_long::from(gid)).map(drop)
}

pub fn setgroups(groups: &[u32]) -> Result<()> {
    // SAFETY: the kernel reads as many numbers as the slice has.
    unsafe { call(number::SETGROUPS, [groups.len() as c_long, pointer(groups.as_ptr()), 0, 0, 0, 0]) }.map(drop)
}

fn prctl(option: c_long, value: c_long) -> Result<c_long> {
    // None of the options used here takes a pointer.
    plain(number::PRCTL, option, value, 0)
}

/// The process dies with the thread that made it.
pub fn die_with_parent() -> Result<()> {
    prctl(1, 9).map(drop)
}

pub fn getuid() -> u32 {
    plain(number::GETUID, 0, 0, 0).unwrap_or(0) as u32
}

/// The opposite of [`hide_memory`].
pub fn show_memory() -> Result<()> {
    prctl(4, 1).map(drop)
}

/// Nothing of the process can be read or traced by others of its owner.
pub fn hide_memory() -> Result<()> {
    prctl(4, 0).map(drop)
}

pub fn set_name(name: &CStr) {
    // SAFETY: the kernel reads up to sixteen bytes of a string that ends.
    let _ = unsafe { call(number::PRCTL, [15, pointer(name.as_ptr()), 0, 0, 0, 0]) };
}

/// Leaves only these capabilities to the process and all that it starts. `keep` has one bit per capability.
pub fn limit_capabilities(keep: u64) -> Result<()> {
    for capability in 0..64 {
        if keep & (1 << capability) == 0 {
            match prctl(24, capability) {
                Ok(_) => {}
                // The kernel knows no more of them.
                Err(EINVAL) => break,
                Err(error) => return Err(error),
            }
        }
    }
    // What older kernels do not know is not set.
    let _ = prctl(47, 4);
    Ok(())
}

/// Gives up all capabilities but these.
pub fn set_capabilities(keep: u64) -> Result<()> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let (low, high) = (keep as u32, (keep >> 32) as u32);
    let sets: [u32; 6] = [low, low, 0, high, high, 0];
    // SAFETY: the kernel reads a header and, for this version, two sets of three numbers.
    unsafe { call(number::CAPSET, [pointer(header.as_ptr()), pointer(sets.as_ptr()), 0, 0, 0, 0]) }.map(drop)
}

/// A program of seccomp(2) as the kernel takes it.
#[repr(C)]
struct FilterProgram {
    length: u16,
    instructions: *const Instruction,
}

fn set_filter(program: &[Instruction], flags: c_long) -> Result<c_long> {
    const SET_MODE_FILTER: c_long = 1;
    let length = u16::try_from(program.len()).map_err(|_| EINVAL)?;
    let program = FilterProgram { length, instructions: program.as_ptr() };
    // SAFETY: the kernel reads a structure and as many instructions as it says.
    unsafe { call(number::SECCOMP, [SET_MODE_FILTER, flags, pointer(&raw const program), 0, 0, 0]) }
}

/// Filters the calls of this process and of all that it starts. Needs CAP_SYS_ADMIN in the user namespace, or [`no_new_privileges`].
pub fn filter_calls(program: &[Instruction]) -> Result<()> {
    set_filter(program, 0).map(drop)
}

/// The same with a supervisor that is asked by the descriptor that comes back.
pub fn filter_calls_with_listener(program: &[Instruction]) -> Result<OwnedFd> {
    const NEW_LISTENER: c_long = 8;
    set_filter(program, NEW_LISTENER).map(owned)
}

/// No program gives this process, or those that it starts, more rights than it has.
pub fn no_new_privileges() -> Result<()> {
    prctl(38, 1).map(drop)
}

/// Leaves the caller's keys behind.
pub fn new_session_keyring() {
    const JOIN_SESSION_KEYRING: c_long = 1;
    let _ = plain(number::KEYCTL, JOIN_SESSION_KEYRING, 0, 0);
}

/// No core files: they would be part of the result. Nor anything of memory in those that a program of the system takes, which the limit is
/// nothing to.
pub fn no_core_files() {
    // Its owner is who may be looked at.
    if show_memory().is_ok() {
        let filter = open(At::Root, b"/proc/self/coredump_filter", O_RDWR | O_NONBLOCK | O_NOFOLLOW, 0, OF_ANOTHER);
        if let Ok(filter) = filter
            && is_proc(&filter) == Ok(true)
        {
            let _ = write_all(&filter, b"0");
        }
        let _ = hide_memory();
    }
    const RLIMIT_CORE: c_long = 4;
    let mut limits = [0_u64; 2];
    // SAFETY: the kernel writes two numbers.
    if unsafe { call(number::PRLIMIT64, [0, RLIMIT_CORE, 0, pointer(limits.as_mut_ptr()), 0, 0]) }.is_ok() {
        limits[0] = 0;
        // SAFETY: the kernel reads two numbers.
        let _ = unsafe { call(number::PRLIMIT64, [0, RLIMIT_CORE, pointer(limits.as_ptr()), 0, 0, 0]) };
    }
}

/// Signals as a new process has them: all default, none blocked. Not by the C library, which keeps some from being set.
pub fn default_signals() {
    for signal in 1..=64 {
        set_handler(signal, 0);
    }
    const SIG_SETMASK: c_long = 2;
    let none = 0_u64;
    // SAFETY: the kernel reads a set of eight bytes.
    let _ = unsafe { call(number::RT_SIGPROCMASK, [SIG_SETMASK, pointer(&raw const none), 0, 8, 0, 0]) };
}

/// Children are waited for.
pub fn keep_children() {
    set_handler(SIGCHLD, 0);
}

const SIGCHLD: c_long = 17;

/// A handler of 0 is the default, 1 ignores.
fn set_handler(signal: c_long, handler: u64) {
    // Handler, flags, where there is one a restorer, and mask.
    let action = [handler, 0, 0, 0];
    // SAFETY: the kernel reads a structure of at most 32 bytes with a set of eight; no function of ours is called.
    let _ = unsafe { call(number::RT_SIGACTION, [signal, pointer(action.as_ptr()), 0, 8, 0, 0]) };
}

/// Closes every descriptor from this number on.
pub fn close_from(first: u32) -> Result<()> {
    plain(number::CLOSE_RANGE, c_long::from(first), c_long::from(u32::MAX), 0).map(drop)
}

/// Makes `fd` the descriptor of this number, replacing what was there. It is closed on exec when `keep` is false.
pub fn put_at(fd: &impl AsRawFd, number: RawFd, keep: bool) -> Result<()> {
    if fd.as_raw_fd() == number {
        return Err(EINVAL);
    }
    let flags = if keep { 0 } else { O_CLOEXEC as c_long };
    plain(number::DUP3, raw(fd), c_long::from(number), flags).map(drop)
}

/// Takes a descriptor that was put at a known number.
pub fn adopt(number: RawFd) -> OwnedFd {
    owned(c_long::from(number))
}

pub fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends: [c_int; 2] = [0; 2];
    // SAFETY: the kernel writes two numbers.
    unsafe { call(number::SOCKETPAIR, [1, 1 | O_CLOEXEC as c_long, 0, pointer(ends.as_mut_ptr()), 0, 0]) }?;
    Ok((owned(c_long::from(ends[0])), owned(c_long::from(ends[1]))))
}

pub fn read(fd: &impl AsRawFd, buffer: &mut [u8]) -> Result<usize> {
    loop {
        // SAFETY: the kernel writes at most as much as the buffer has.
        match unsafe { call(number::READ, [raw(fd), pointer(buffer.as_mut_ptr()), buffer.len() as c_long, 0, 0, 0]) } {
            Err(EINTR) => {}
            Err(error) => return Err(error),
            Ok(count) => return Ok(count as usize),
        }
    }
}

pub fn write_all(fd: &impl AsRawFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        // SAFETY: the kernel reads at most as much as the slice has.
        match unsafe { call(number::WRITE, [raw(fd), pointer(bytes.as_ptr()), bytes.len() as c_long, 0, 0, 0]) } {
            Err(EINTR) => {}
            Err(error) => return Err(error),
            Ok(count) => bytes = bytes.get(count as usize..).unwrap_or_default(),
        }
    }
    Ok(())
}

pub fn change_directory(path: &[u8]) -> Result<()> {
    let path = text(path)?;
    // SAFETY: the kernel reads a string that ends.
    unsafe { call(number::CHDIR, [pointer(path.as_ptr()), 0, 0, 0, 0, 0]) }.map(drop)
}

pub fn change_directory_to(directory: BorrowedFd<'_>) -> Result<()> {
    plain(number::FCHDIR, raw(&directory), 0, 0).map(drop)
}

/// The current directory as the root of this process sees it.
pub fn current_directory() -> Result<Vec<u8>> {
    let mut buffer = vec![0_u8; 8192];
    // SAFETY: the kernel writes at most as much as the buffer has.
    let count = unsafe { call(number::GETCWD, [pointer(buffer.as_mut_ptr()), buffer.len() as c_long, 0, 0, 0, 0]) }?;
    buffer.truncate(usize::try_from(count - 1).unwrap_or(0));
    Ok(buffer)
}

pub fn set_host_name(name: &[u8]) -> Result<()> {
    let domain = b"(none)";
    // SAFETY: the kernel reads as many bytes as given.
    unsafe {
        call(number::SETHOSTNAME, [pointer(name.as_ptr()), name.len() as c_long, 0, 0, 0, 0])?;
        call(number::SETDOMAINNAME, [pointer(domain.as_ptr()), domain.len() as c_long, 0, 0, 0, 0])?;
    }
    Ok(())
}

/// Brings the loopback interface of the network namespace up.
pub fn loopback_up() -> Result<()> {
    const SIOCSIFFLAGS: c_long = 0x8914;
    const UP_AND_RUNNING: u16 = 0x41;
    let socket = owned(plain(number::SOCKET, 2, 2 | O_CLOEXEC as c_long, 0)?);
    // Name (16 bytes), then the flags; the kernel reads 40 bytes.
    let mut request = [0_u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16..18].copy_from_slice(&UP_AND_RUNNING.to_ne_bytes());
    // SAFETY: the kernel reads a structure of 40 bytes.
    unsafe { call(number::IOCTL, [raw(&socket), SIOCSIFFLAGS, pointer(request.as_ptr()), 0, 0, 0]) }.map(drop)
}

/// Becomes another program; comes back only with an error.
pub fn execute(program: &[u8], argv: &[CString], env: &[CString]) -> Errno {
    let Ok(program) = text(program) else { return EINVAL };
    let list =
        |strings: &[CString]| -> Vec<*const c_char> { strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect() };
    let (argv, env) = (list(argv), list(env));
    // SAFETY: the kernel reads a string that ends and two lists of such strings, each with a null pointer at its end.
    match unsafe { call(number::EXECVE, [pointer(program.as_ptr()), pointer(argv.as_ptr()), pointer(env.as_ptr()), 0, 0, 0]) } {
        Ok(_) => EINVAL,
        Err(error) => error,
    }
}

/// A second descriptor with at least this number.
pub fn above(fd: &impl AsRawFd, least: RawFd) -> Result<OwnedFd> {
    const DUPLICATE_CLOEXEC: c_long = 1030;
    plain(number::FCNTL, raw(fd), DUPLICATE_CLOEXEC, c_long::from(least)).map(owned)
}

/// Closes a descriptor whose owner will not run on in this process.
pub fn close_for_good(fd: &impl AsRawFd) {
    let _ = plain(number::CLOSE_RANGE, raw(fd), raw(fd), 0);
}
