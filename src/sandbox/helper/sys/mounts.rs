//! File systems and where they are mounted.

use std::ffi::{CStr, c_char, c_long, c_ulong};
use std::os::fd::{BorrowedFd, OwnedFd};

use super::*;

pub fn filesystem(kind: &CStr) -> Result<OwnedFd> {
    // SAFETY: the kernel reads a string that ends.
    unsafe { call(number::FSOPEN, [pointer(kind.as_ptr()), 1, 0, 0, 0, 0]) }.map(owned)
}

pub fn set_flag(filesystem: &OwnedFd, key: &CStr) -> Result<()> {
    // SAFETY: the kernel reads a string that ends.
    unsafe { call(number::FSCONFIG, [raw(filesystem), 0, pointer(key.as_ptr()), 0, 0, 0]) }.map(drop)
}

pub fn set_string(filesystem: &OwnedFd, key: &CStr, value: &[u8]) -> Result<()> {
    let value = text(value)?;
    // SAFETY: the kernel reads two strings that end.
    unsafe { call(number::FSCONFIG, [raw(filesystem), 1, pointer(key.as_ptr()), pointer(value.as_ptr()), 0, 0]) }.map(drop)
}

/// Makes the file system that was described, as a mount that is nowhere yet.
pub fn create_mount(filesystem: &OwnedFd, attributes: u64) -> Result<OwnedFd> {
    const CREATE: c_long = 6;
    plain(number::FSCONFIG, raw(filesystem), CREATE, 0)?;
    plain(number::FSMOUNT, raw(filesystem), 1, attributes as c_long).map(owned)
}

/// Whether mounts below come along.
#[derive(Clone, Copy)]
pub enum Below {
    With,
    Without,
}

/// A second mount of what is at a path, nowhere yet.
pub fn copy_mount(at: At<'_>, path: &[u8], below: Below) -> Result<OwnedFd> {
    const CLONE: c_long = 1;
    let path = text(path)?;
    let recursive = match below {
        Below::With => AT_RECURSIVE,
        Below::Without => 0,
    };
    let flags = CLONE | AT_EMPTY_PATH | recursive | O_CLOEXEC as c_long;
    // SAFETY: the kernel reads a string that ends.
    unsafe { call(number::OPEN_TREE, [at.raw(), pointer(path.as_ptr()), flags, 0, 0, 0]) }.map(owned)
}

/// Puts a mount on what another descriptor is open on.
pub fn attach(mount: &OwnedFd, on: BorrowedFd<'_>) -> Result<()> {
    let empty = c"";
    // SAFETY: the kernel reads two strings that end.
    unsafe { call(number::MOVE_MOUNT, [raw(mount), pointer(empty.as_ptr()), raw(&on), pointer(empty.as_ptr()), 0x04 | 0x40, 0]) }.map(drop)
}

/// Restricts a mount that is attached, and with [`Below::With`] those below it.
pub fn restrict(mount: &OwnedFd, attributes: u64, below: Below) -> Result<()> {
    let change: [u64; 4] = [attributes, 0, 0, 0];
    let recursive = match below {
        Below::With => AT_RECURSIVE,
        Below::Without => 0,
    };
    let empty = c"";
    let arguments = [raw(mount), pointer(empty.as_ptr()), AT_EMPTY_PATH | recursive, pointer(change.as_ptr()), 32, 0];
    // SAFETY: the kernel reads a string that ends and a structure of 32 bytes.
    match unsafe { call(number::MOUNT_SETATTR, arguments) } {
        // Before Linux 5.12.
        Err(ENOSYS) => {
            const REMOUNT_BIND: c_ulong = 32 | 4096;
            mount_classic(None, &fd_path(mount), None, REMOUNT_BIND | attributes as c_ulong, b"")
        }
        other => other.map(drop),
    }
}

/// The older way of mounting.
pub fn mount_classic(source: Option<&CStr>, target: &[u8], kind: Option<&CStr>, flags: c_ulong, options: &[u8]) -> Result<()> {
    let (target, options) = (text(target)?, text(options)?);
    let or_none = |text: Option<&CStr>| text.map_or(0, |text| pointer(text.as_ptr()));
    let arguments = [or_none(source), pointer(target.as_ptr()), or_none(kind), flags as c_long, pointer::<c_char>(options.as_ptr()), 0];
    // SAFETY: the kernel reads strings that end, or nothing where there is none.
    unsafe { call(number::MOUNT, arguments) }.map(drop)
}

/// Takes away what is mounted on the current directory.
pub fn unmount_here() -> Result<()> {
    const DETACH: c_long = 2;
    let here = c".";
    // SAFETY: the kernel reads a string that ends.
    unsafe { call(number::UMOUNT2, [pointer(here.as_ptr()), DETACH, 0, 0, 0, 0]) }.map(drop)
}

/// Makes the current directory the root and puts the old root over it.
pub fn pivot_root_here() -> Result<()> {
    let here = c".";
    // SAFETY: the kernel reads two strings that end.
    unsafe { call(number::PIVOT_ROOT, [pointer(here.as_ptr()), pointer(here.as_ptr()), 0, 0, 0, 0]) }.map(drop)
}
