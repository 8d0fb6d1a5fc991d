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
