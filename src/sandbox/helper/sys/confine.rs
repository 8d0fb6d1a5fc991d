//! What confines processes without namespaces: another root, Landlock, and finding and ending all of them.

use std::ffi::{c_int, c_long};
use std::os::fd::{BorrowedFd, OwnedFd};

use super::*;
use crate::calls::{self, Architecture, Call};

/// The number of a call here.
fn number_of(call: Call) -> Result<c_long> {
    let here = Architecture::HERE.first().ok_or(ENOSYS)?;
    call.number(*here).map(c_long::from).ok_or(ENOSYS)
}

/// Makes a directory the root of this process, and its working directory.
pub fn change_root_to(directory: BorrowedFd<'_>) -> Result<()> {
    change_directory_to(directory)?;
    let here = c".";
    // SAFETY: the kernel reads a string that ends.
    unsafe { call(number_of(calls::CHROOT)?, [pointer(here.as_ptr()), 0, 0, 0, 0, 0]) }?;
    change_directory(b"/")
}

/// Processes below this one whose parent ends become children of this one.
pub fn adopt_orphans() -> Result<()> {
    prctl(36, 1).map(drop)
}

/// Outlives the process that made it.
pub fn live_without_parent() -> Result<()> {
    prctl(1, 0).map(drop)
}

/// The capabilities that this process may use; one bit per capability.
pub fn capabilities() -> Result<u64> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut sets = [0_u32; 6];
    // SAFETY: the kernel reads a header and, for this version, writes two sets of three numbers.
    unsafe { call(number_of(calls::CAPGET)?, [pointer(header.as_ptr()), pointer(sets.as_mut_ptr()), 0, 0, 0, 0]) }?;
    Ok(u64::from(sets[0]) | u64::from(sets[3]) << 32)
}

/// Whether processes can be kept from signalling those outside, and from their abstract sockets (Landlock's sixth version, Linux 6.12).
pub fn can_scope_signals() -> bool {
    const VERSION: c_long = 1;
    const SCOPES_FROM: c_long = 6;
    // SAFETY: without a structure the kernel only tells its version.
    let version = number_of(calls::LANDLOCK_CREATE_RULESET).and_then(|number| unsafe { call(number, [0, 0, VERSION, 0, 0, 0]) });
    version.is_ok_and(|version| version >= SCOPES_FROM)
}

/// From now on this process, and all that it starts, signals and reaches by abstract sockets only its like. Needs CAP_SYS_ADMIN or
/// [`no_new_privileges`].
pub fn scope_signals() -> Result<()> {
    const ABSTRACT_SOCKETS: u64 = 1;
    const SIGNALS: u64 = 2;
    // Handled file accesses, handled network accesses, scopes.
    let ruleset: [u64; 3] = [0, 0, ABSTRACT_SOCKETS | SIGNALS];
    // SAFETY: the kernel reads a structure of the given size.
    let ruleset =
        owned(unsafe { call(number_of(calls::LANDLOCK_CREATE_RULESET)?, [pointer(ruleset.as_ptr()), 24, 0, 0, 0, 0]) }?);
    plain(number_of(calls::LANDLOCK_RESTRICT_SELF)?, raw(&ruleset), 0, 0).map(drop)
}

/// Whether this process may signal another one.
pub fn can_signal(pid: i32) -> bool {
    plain(number::KILL, c_long::from(pid), 0, 0).is_ok()
}

/// Ends every process that this one may signal, but itself.
pub fn kill_all_in_reach() {
    kill(-1);
}

/// A descriptor that is readable when a child has ended. The signal is blocked from now on.
pub fn child_ends() -> Result<OwnedFd> {
    const SIG_BLOCK: c_long = 0;
    let set: u64 = 1 << (SIGCHLD - 1);
    // SAFETY: the kernel reads a set of eight bytes.
    unsafe { call(number::RT_SIGPROCMASK, [SIG_BLOCK, pointer(&raw const set), 0, 8, 0, 0]) }?;
    let flags = O_CLOEXEC as c_long | O_NONBLOCK as c_long;
    // SAFETY: the kernel reads a set of eight bytes.
    unsafe { call(number_of(calls::SIGNALFD4)?, [-1, pointer(&raw const set), 8, flags, 0, 0]) }.map(owned)
}

/// What there is to be said of children.
pub enum Child {
    /// One has ended: its id and its status.
    Ended(i32, i32),
    /// There are some, and none has ended.
    Running,
    /// There are none.
    None,
}

/// What `uname(2)` fills: six texts of the same length, each with zeros behind it.
pub const UNAME_BYTES: usize = 6 * 65;

/// What `uname(2)` says to a process of this personality.
pub fn uname_as(personality: u32) -> Result<[u8; UNAME_BYTES]> {
    // Those of 32-bit machines and of Linux 2.6, which are all that change the answer.
    const ABOUT_NAMES: u32 = 0x0002_0008;
    let become_one = |personality: c_long| plain(number_of(calls::PERSONALITY)?, personality, 0, 0);
    let mut told = [0_u8; UNAME_BYTES];
    let own = match personality & ABOUT_NAMES {
        0 => None,
        other => Some(become_one(c_long::from(other))?),
    };
    // SAFETY: the kernel writes as many bytes as there are.
    let asked = unsafe { call(number_of(calls::UNAME)?, [pointer(told.as_mut_ptr()), 0, 0, 0, 0, 0]) };
    if let Some(own) = own {
        become_one(own)?;
    }
    asked.map(|_| told)
}

/// Does something with the access to files that a user has who has no rights, and then has its own again. That its parent's end is its own,
/// and that nobody looks at its memory, would be forgotten by the kernel over that, and is put right again.
pub fn as_files_of<T>(uid: u32, gid: u32, what: impl FnOnce() -> Result<T>) -> Result<T> {
    const QUESTION: c_long = -1;
    const GET_PARENT_END: c_long = 2;
    const SET_PARENT_END: c_long = 1;
    const GET_SHOWN: c_long = 3;
    let mut at_parent_end: c_int = 0;
    // SAFETY: the kernel writes a number.
    unsafe { call(number::PRCTL, [GET_PARENT_END, pointer(&raw mut at_parent_end), 0, 0, 0, 0]) }?;
    let shown = prctl(GET_SHOWN, 0)? == 1;
    let group = plain(number_of(calls::SETFSGID)?, c_long::from(gid), 0, 0)?;
    let user = plain(number_of(calls::SETFSUID)?, c_long::from(uid), 0, 0)?;
    let outcome = what();
    plain(number_of(calls::SETFSUID)?, user, 0, 0)?;
    plain(number_of(calls::SETFSGID)?, group, 0, 0)?;
    if plain(number_of(calls::SETFSUID)?, QUESTION, 0, 0)? != user {
        // It must never go on as somebody else.
        exit(1);
    }
    prctl(SET_PARENT_END, c_long::from(at_parent_end))?;
    if shown { show_memory()? } else { hide_memory()? }
    outcome
}

/// Writes at a place of a file: all or an error.
pub fn write_at(file: &OwnedFd, at: u64, bytes: &[u8]) -> Result<()> {
    const EFAULT: Errno = Errno(14);
    let arguments = [raw(file), pointer(bytes.as_ptr()), bytes.len() as c_long, at as c_long, 0, 0];
    // SAFETY: the kernel reads as much as the slice has.
    let count = unsafe { call(number_of(calls::PWRITE64)?, arguments) }?;
    if count as usize == bytes.len() { Ok(()) } else { Err(EFAULT) }
}

/// Reads at a place of a file: all or an error.
pub fn read_at(file: &OwnedFd, at: u64, buffer: &mut [u8]) -> Result<()> {
    const EFAULT: Errno = Errno(14);
    let arguments = [raw(file), pointer(buffer.as_mut_ptr()), buffer.len() as c_long, at as c_long, 0, 0];
    // SAFETY: the kernel writes at most as much as the buffer has.
    let count = unsafe { call(number_of(calls::PREAD64)?, arguments) }?;
    if count as usize == buffer.len() { Ok(()) } else { Err(EFAULT) }
}

/// Looks for a child that has ended, without waiting.
pub fn look_for_ended() -> Result<Child> {
    const NO_HANG: c_long = 1;
    let mut status: c_int = 0;
    // SAFETY: the status is written to a variable of ours; no usage is asked for.
    match unsafe { call(number::WAIT4, [-1, pointer(&raw mut status), NO_HANG, 0, 0, 0]) } {
        Err(Errno(10)) => Ok(Child::None),
        Err(EINTR) | Ok(0) => Ok(Child::Running),
        Err(error) => Err(error),
        Ok(pid) => Ok(Child::Ended(pid as i32, status)),
    }
}

/// Waits a little.
pub fn pause_milliseconds(milliseconds: i64) {
    let time: [i64; 2] = [0, milliseconds.clamp(0, 999) * 1_000_000];
    // SAFETY: the kernel reads a time; there are no descriptors and no signal mask.
    let _ = unsafe { call(number::PPOLL, [0, 0, pointer(time.as_ptr()), 0, 0, 0]) };
}

/// Leaves nothing in a file.
pub fn truncate(file: &OwnedFd) -> Result<()> {
    plain(number_of(calls::FTRUNCATE)?, raw(file), 0, 0).map(drop)
}
