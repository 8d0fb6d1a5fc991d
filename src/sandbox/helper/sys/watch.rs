//! Other processes: what they ask of the kernel, their memory, limits and descriptors.

use std::ffi::c_long;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::*;

/// `struct seccomp_notif` of linux/seccomp.h: a call that waits for an answer.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Notification {
    pub id: u64,
    /// The thread that called, as this process counts them.
    pub pid: u32,
    flags: u32,
    pub number: i32,
    /// As the kernel's audit names it.
    pub architecture: u32,
    instruction: u64,
    pub arguments: [u64; 6],
}

#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

#[repr(C)]
struct AddDescriptor {
    id: u64,
    flags: u32,
    source: u32,
    target: u32,
    target_flags: u32,
}

const RECEIVE: c_long = 0xc050_2100;
const SEND: c_long = 0xc018_2101;
const IS_VALID: c_long = 0x4008_2102;
const ADD_DESCRIPTOR: c_long = 0x4018_2103;
const SET_FLAGS: c_long = 0x4008_2104;

/// The next call that waits.
pub fn next_notification(listener: &OwnedFd) -> Result<Notification> {
    let mut notification = Notification::default();
    // SAFETY: the kernel writes a structure that is laid out as it wants it, and wants it zeroed.
    unsafe { call(number::IOCTL, [raw(listener), RECEIVE, pointer(&raw mut notification), 0, 0, 0]) }?;
    Ok(notification)
}

/// Lets the kernel do the call.
pub fn answer_go_on(listener: &OwnedFd, id: u64) -> Result<()> {
    const CONTINUE: u32 = 1;
    respond(listener, &Response { id, value: 0, error: 0, flags: CONTINUE })
}

/// The call gives this value, or fails so.
pub fn answer(listener: &OwnedFd, id: u64, result: Result<i64>) -> Result<()> {
    match result {
        Ok(value) => respond(listener, &Response { id, value, error: 0, flags: 0 }),
        Err(error) => respond(listener, &Response { id, value: 0, error: -error.0, flags: 0 }),
    }
}

fn respond(listener: &OwnedFd, response: &Response) -> Result<()> {
    // SAFETY: the kernel reads a structure that is laid out as it wants it.
    unsafe { call(number::IOCTL, [raw(listener), SEND, pointer(response), 0, 0, 0]) }.map(drop)
}

/// The call gives a descriptor of what this one is open on.
pub fn answer_with_descriptor(listener: &OwnedFd, id: u64, fd: &OwnedFd, close_on_exec: bool) -> Result<()> {
    const AND_SEND: u32 = 2;
    let source = u32::try_from(fd.as_raw_fd()).map_err(|_| EINVAL)?;
    let target_flags = if close_on_exec { O_CLOEXEC as u32 } else { 0 };
    let request = AddDescriptor { id, flags: AND_SEND, source, target: 0, target_flags };
    // SAFETY: the kernel reads a structure that is laid out as it wants it.
    unsafe { call(number::IOCTL, [raw(listener), ADD_DESCRIPTOR, pointer(&raw const request), 0, 0, 0]) }.map(drop)
}

/// Whether the call still waits, so that its process is the one that it was.
pub fn still_waits(listener: &OwnedFd, id: u64) -> bool {
    // SAFETY: the kernel reads a number.
    unsafe { call(number::IOCTL, [raw(listener), IS_VALID, pointer(&raw const id), 0, 0, 0]) }.is_ok()
}

/// Asks for both ends to be served by one processor, which is faster. Kernels before 6.6 do not know it.
pub fn answer_on_same_processor(listener: &OwnedFd) {
    const SYNC_WAKE_UP: c_long = 1;
    let _ = plain(number::IOCTL, raw(listener), SET_FLAGS, SYNC_WAKE_UP);
}

/// Like `filter_calls_with_listener`, and signals other than deadly ones wait until the answer is there: calls are not done twice.
/// Needs Linux 5.19.
pub fn filter_calls_with_patient_listener(program: &[crate::filter::Instruction]) -> Result<OwnedFd> {
    const NEW_LISTENER: c_long = 8;
    const WAIT_KILLABLE: c_long = 32;
    set_filter(program, NEW_LISTENER | WAIT_KILLABLE).map(owned)
}

/// Reads memory of another process: how much could be read.
pub fn read_memory(pid: u32, address: u64, buffer: &mut [u8]) -> Result<usize> {
    let here: [u64; 2] = [pointer(buffer.as_mut_ptr()) as u64, buffer.len() as u64];
    let there: [u64; 2] = [address, buffer.len() as u64];
    let arguments = [c_long::from(pid), pointer(here.as_ptr()), 1, pointer(there.as_ptr()), 1, 0];
    // SAFETY: the kernel writes at most as much as the buffer has; addresses of the other process are checked by it.
    unsafe { call(number::PROCESS_VM_READV, arguments) }.map(|count| count as usize)
}

/// Writes memory of another process: all or an error.
pub fn write_memory(pid: u32, address: u64, bytes: &[u8]) -> Result<()> {
    const EFAULT: Errno = Errno(14);
    let here: [u64; 2] = [pointer(bytes.as_ptr()) as u64, bytes.len() as u64];
    let there: [u64; 2] = [address, bytes.len() as u64];
    let arguments = [c_long::from(pid), pointer(here.as_ptr()), 1, pointer(there.as_ptr()), 1, 0];
    // SAFETY: the kernel reads as much as the slice has; addresses of the other process are checked by it.
    let count = unsafe { call(number::PROCESS_VM_WRITEV, arguments) }?;
    if count as usize == bytes.len() { Ok(()) } else { Err(EFAULT) }
}

/// The limit that carries a process's identity. The kernel has not used it since 2.4.25; a child has its parent's.
pub const RLIMIT_LOCKS: u32 = 10;

/// The soft and the hard limit of a process; 0 is this one.
pub fn limit_of(pid: u32, limit: u32) -> Result<[u64; 2]> {
    let mut limits = [0_u64; 2];
    // SAFETY: the kernel writes two numbers.
    unsafe { call(number::PRLIMIT64, [c_long::from(pid), c_long::from(limit), 0, pointer(limits.as_mut_ptr()), 0, 0]) }?;
    Ok(limits)
}

pub fn set_limit_of(pid: u32, limit: u32, limits: [u64; 2]) -> Result<()> {
    // SAFETY: the kernel reads two numbers.
    unsafe { call(number::PRLIMIT64, [c_long::from(pid), c_long::from(limit), pointer(limits.as_ptr()), 0, 0, 0]) }.map(drop)
}

/// Goes into the mount namespace of a descriptor; root and working directory become its root.
pub fn enter_mounts(namespace: &OwnedFd) -> Result<()> {
    plain(number::SETNS, raw(namespace), CLONE_NEWNS, 0).map(drop)
}

pub fn change_root(path: &[u8]) -> Result<()> {
    let path = text(path)?;
    // SAFETY: the kernel reads a string that ends.
    unsafe { call(number::CHROOT, [pointer(path.as_ptr()), 0, 0, 0, 0, 0]) }.map(drop)
}

/// A descriptor of another process, taken over. `pid` is of its first thread.
pub fn take_descriptor(pid: u32, fd: i32) -> Result<OwnedFd> {
    let process = owned(plain(number::PIDFD_OPEN, c_long::from(pid), 0, 0)?);
    plain(number::PIDFD_GETFD, raw(&process), c_long::from(fd), 0).map(owned)
}

/// The other end of a local socket: process (as this one counts them), user and group.
pub fn peer(socket: &OwnedFd) -> Result<[u32; 3]> {
    const SOL_SOCKET: c_long = 1;
    const SO_PEERCRED: c_long = 17;
    let mut peer = [0_u32; 3];
    let mut length = 12_u32;
    let arguments = [raw(socket), SOL_SOCKET, SO_PEERCRED, pointer(peer.as_mut_ptr()), pointer(&raw mut length), 0];
    // SAFETY: the kernel writes at most twelve bytes and the length.
    unsafe { call(number::GETSOCKOPT, arguments) }?;
    Ok(peer)
}

/// Gives a socket an address, which is laid out as the kernel takes it.
pub fn bind(socket: &OwnedFd, address: &[u8]) -> Result<()> {
    // SAFETY: the kernel reads as much as the slice has.
    unsafe { call(number::BIND, [raw(socket), pointer(address.as_ptr()), address.len() as c_long, 0, 0, 0]) }.map(drop)
}

/// Entries of a directory from where it stands, as `getdents64(2)` gives them.
pub fn directory_entries(directory: &OwnedFd, room: usize) -> Result<Vec<u8>> {
    let mut buffer = vec![0_u64; room.div_ceil(8)];
    // SAFETY: the kernel writes at most as much as the buffer has.
    let count = unsafe { call(number::GETDENTS64, [raw(directory), pointer(buffer.as_mut_ptr()), room as c_long, 0, 0, 0]) }?;
    let mut bytes: Vec<u8> = buffer.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.truncate(count as usize);
    Ok(bytes)
}

/// Bytes of the structure that `stat(2)` fills.
pub const STAT_BYTES: usize = 144;

/// What `stat(2)` says of a path relative to the current directory, as it says it.
pub fn raw_stat(at: BorrowedFd<'_>) -> Result<[u8; STAT_BYTES]> {
    let mut stat = [0_u8; STAT_BYTES];
    let empty = c"";
    let arguments = [raw(&at), pointer(empty.as_ptr()), pointer(stat.as_mut_ptr()), AT_EMPTY_PATH, 0, 0];
    // SAFETY: the kernel reads a string that ends and writes a structure of at most as many bytes as there are.
    unsafe { call(number::NEWFSTATAT, arguments) }?;
    Ok(stat)
}

/// Bytes of the structure that `statx(2)` fills.
pub const STATX_BYTES: usize = 256;

/// What `statx(2)` says of what is open, as it says it.
pub fn raw_statx(at: BorrowedFd<'_>, flags: u32, mask: u32) -> Result<[u8; STATX_BYTES]> {
    let mut stat = [0_u64; STATX_BYTES / 8];
    let empty = c"";
    let flags = c_long::from(flags) | AT_EMPTY_PATH;
    let arguments = [raw(&at), pointer(empty.as_ptr()), flags, c_long::from(mask), pointer(stat.as_mut_ptr()), 0];
    // SAFETY: the kernel reads a string that ends and writes a structure of as many bytes as there are.
    unsafe { call(number::STATX, arguments) }?;
    let mut bytes = [0; STATX_BYTES];
    for (place, word) in bytes.chunks_exact_mut(8).zip(stat) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    Ok(bytes)
}

/// Whether something open is in a file system of processes.
pub fn is_proc(fd: &OwnedFd) -> Result<bool> {
    const PROC: i64 = 0x9fa0;
    // The first number of `struct statfs` is its kind.
    let mut stat = [0_i64; 32];
    // SAFETY: the kernel writes a structure of 120 bytes.
    unsafe { call(number::FSTATFS, [raw(fd), pointer(stat.as_mut_ptr()), 0, 0, 0, 0]) }?;
    Ok(stat[0] == PROC)
}

/// Changes the mode of what is at a path; follows a link at its end.
pub fn change_mode_of(path: &[u8], mode: u16) -> Result<()> {
    let path = text(path)?;
    // SAFETY: the kernel reads a string that ends.
    unsafe { call(number::FCHMODAT, [AT_FDCWD, pointer(path.as_ptr()), c_long::from(mode), 0, 0, 0]) }.map(drop)
}

/// The first bytes of a path's xattr, or how it has none; for values that are short.
pub fn short_xattr(path: &[u8], name: &std::ffi::CStr, follow: Follow, buffer: &mut [u8]) -> Result<usize> {
    let path = text(path)?;
    let number = match follow {
        Follow::Yes => number::GETXATTR,
        Follow::No => number::LGETXATTR,
    };
    let arguments = [pointer(path.as_ptr()), pointer(name.as_ptr()), pointer(buffer.as_mut_ptr()), buffer.len() as c_long, 0, 0];
    // SAFETY: the kernel reads two strings that end and writes at most as much as the buffer has.
    unsafe { call(number, arguments) }.map(|count| count as usize)
}

/// What there is to be had from something that is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Nothing yet.
    No,
    /// Something, or the end of a stream.
    Readable,
    /// Nothing any more: what would write to it is gone. Reading may wait for ever.
    Over,
}

/// Waits until there is something to be said of one: what of each.
pub fn wait_any(fds: &[&OwnedFd]) -> Result<Vec<Ready>> {
    #[repr(C)]
    struct PollFd {
        fd: c_int,
        events: i16,
        revents: i16,
    }
    const POLLIN: i16 = 1;
    let mut polled: Vec<PollFd> = fds.iter().map(|fd| PollFd { fd: fd.as_raw_fd(), events: POLLIN, revents: 0 }).collect();
    loop {
        // SAFETY: the kernel reads and writes as many entries as there are; no time and no signal mask are given.
        match unsafe { call(number::PPOLL, [pointer(polled.as_mut_ptr()), polled.len() as c_long, 0, 0, 0, 0]) } {
            Err(EINTR) => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    let ready = |entry: &PollFd| match entry.revents {
        0 => Ready::No,
        said if said & POLLIN != 0 => Ready::Readable,
        _ => Ready::Over,
    };
    Ok(polled.iter().map(ready).collect())
}

/// As many open descriptors as are to be had.
pub fn raise_descriptors() {
    const RLIMIT_NOFILE: u32 = 7;
    if let Ok([_, hard]) = limit_of(0, RLIMIT_NOFILE) {
        let _ = set_limit_of(0, RLIMIT_NOFILE, [hard, hard]);
    }
}
