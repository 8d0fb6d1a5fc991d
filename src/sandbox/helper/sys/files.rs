//! Files: looking, making, changing, removing.

use std::ffi::c_long;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::*;

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Opens a path. An empty one is the directory itself.
pub fn open(at: At<'_>, path: &[u8], flags: u64, mode: u64, resolve: u64) -> Result<OwnedFd> {
    let path = text(if path.is_empty() { b"." } else { path })?;
    let how = OpenHow { flags: flags | O_CLOEXEC, mode, resolve };
    for _ in 0..64 {
        // SAFETY: the kernel reads a string that ends and a structure of the given size.
        match unsafe {
            call(number::OPENAT2, [at.raw(), pointer(path.as_ptr()), pointer(&raw const how), size_of::<OpenHow>() as c_long, 0, 0])
        } {
            // Something above was renamed meanwhile.
            Err(EINTR | EAGAIN) => {}
            Err(error) => return Err(error),
            Ok(fd) => return Ok(owned(fd)),
        }
    }
    Err(EAGAIN)
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
    reserved: i32,
}

/// What the kernel says of a file.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Stat {
    mask: u32,
    block_size: u32,
    attributes: u64,
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    pub mode: u16,
    pad: u16,
    pub inode: u64,
    pub size: u64,
    blocks: u64,
    attributes_mask: u64,
    access_time: Time,
    birth_time: Time,
    pub change_time: Time,
    pub modify_time: Time,
    pub rdev_major: u32,
    pub rdev_minor: u32,
    device_major: u32,
    device_minor: u32,
    spare: [u64; 14],
}

impl Stat {
    pub fn kind(&self) -> u16 {
        self.mode & S_IFMT
    }
    /// The number of its file system, as `stat(2)` has it.
    pub fn device(&self) -> u64 {
        let (major, minor) = (u64::from(self.device_major), u64::from(self.device_minor));
        (major & 0xffff_f000) << 32 | (major & 0xfff) << 8 | (minor & 0xffff_ff00) << 12 | minor & 0xff
    }
    /// The number of the mount that it was found on, where the kernel knows it.
    pub fn mount(&self) -> u64 {
        self.spare[0]
    }
    pub fn permissions(&self) -> u16 {
        self.mode & 0o7777
    }
}

/// Looks at a name without following it; an empty one is the descriptor itself.
pub fn stat(at: BorrowedFd<'_>, name: &[u8]) -> Result<Stat> {
    // What every file has, and its mount.
    const BASIC: c_long = 0x17ff;
    let name = text(name)?;
    let mut stat = Stat::default();
    let flags = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH;
    // SAFETY: the kernel reads a string that ends and writes a structure that is laid out as it wants it.
    unsafe { call(number::STATX, [raw(&at), pointer(name.as_ptr()), flags, BASIC, pointer(&raw mut stat), 0]) }?;
    Ok(stat)
}

pub fn read_link(at: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>> {
    let name = text(name)?;
    let mut buffer = vec![0; 4096];
    // SAFETY: the kernel reads a string that ends and writes at most as much as the buffer has.
    let count = unsafe {
        call(number::READLINKAT, [raw(&at), pointer(name.as_ptr()), pointer(buffer.as_mut_ptr()), buffer.len() as c_long, 0, 0])
    }?;
    buffer.truncate(count as usize);
    Ok(buffer)
}

/// What a link at a path relative to the current directory says.
pub fn read_link_of(path: &[u8]) -> Result<Vec<u8>> {
    let path = text(path)?;
    let mut buffer = vec![0; 4096];
    let arguments = [AT_FDCWD, pointer(path.as_ptr()), pointer(buffer.as_mut_ptr()), buffer.len() as c_long, 0, 0];
    // SAFETY: the kernel reads a string that ends and writes at most as much as the buffer has.
    let count = unsafe { call(number::READLINKAT, arguments) }?;
    buffer.truncate(count as usize);
    Ok(buffer)
}

/// One name in a directory.
pub struct Listed {
    pub name: Vec<u8>,
    pub is_directory: bool,
}

/// All names of a directory but `.` and `..`.
pub fn names(directory: &OwnedFd) -> Result<Vec<Listed>> {
    const DT_DIR: u8 = 4;
    // It may have been read before.
    plain(number::LSEEK, raw(directory), 0, 0)?;
    let mut listed = Vec::new();
    let mut buffer = vec![0_u64; 8192];
    loop {
        let room = buffer.len() * 8;
        // SAFETY: the kernel writes at most as much as the buffer has.
        let count = unsafe { call(number::GETDENTS64, [raw(directory), pointer(buffer.as_mut_ptr()), room as c_long, 0, 0, 0]) }? as usize;
        if count == 0 {
            return Ok(listed);
        }
        let bytes: Vec<u8> = buffer.iter().take(count.div_ceil(8)).flat_map(|word| word.to_ne_bytes()).collect();
        let mut rest = bytes.get(..count).unwrap_or_default();
        // An entry is: inode (8), offset (8), its own length (2), kind (1), name up to a zero.
        while let (Some(length), Some(&kind)) = (rest.get(16..18), rest.get(18)) {
            let length = usize::from(u16::from_ne_bytes([length[0], length[1]]));
            let Some(entry) = rest.get(19..length) else { return Err(EPROTO) };
            let name = entry.split(|&byte| byte == 0).next().unwrap_or_default();
            if name != b"." && name != b".." {
                listed.push(Listed { name: name.to_vec(), is_directory: kind == DT_DIR });
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

pub fn make_directory(at: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<()> {
    let name = text(name)?;
    // SAFETY: the kernel reads a string that ends.
    unsafe { call(number::MKDIRAT, [raw(&at), pointer(name.as_ptr()), c_long::from(mode), 0, 0, 0]) }.map(drop)
}

pub fn make_node(at: BorrowedFd<'_>, name: &[u8], kind: u16, mode: u16, major: u32, minor: u32) -> Result<()> {
    let name = text(name)?;
    let device = (c_long::from(minor) & 0xff) | ((c_long::from(major) & 0xfff) << 8) | ((c_long::from(minor) & !0xff) << 12);
    // SAFETY: the kernel reads a string that ends.
    unsafe { call(number::MKNODAT, [raw(&at), pointer(name.as_ptr()), c_long::from(kind | mode), device, 0, 0]) }.map(drop)
}

pub fn make_symlink(at: BorrowedFd<'_>, name: &[u8], target: &[u8]) -> Result<()> {
    let (name, target) = (text(name)?, text(target)?);
    // SAFETY: the kernel reads two strings that end.
    unsafe { call(number::SYMLINKAT, [pointer(target.as_ptr()), raw(&at), pointer(name.as_ptr()), 0, 0, 0]) }.map(drop)
}

pub fn link(from: BorrowedFd<'_>, existing: &[u8], to: BorrowedFd<'_>, new: &[u8]) -> Result<()> {
    let (existing, new) = (text(existing)?, text(new)?);
    // SAFETY: the kernel reads two strings that end; without flags a link is not followed.
    unsafe { call(number::LINKAT, [raw(&from), pointer(existing.as_ptr()), raw(&to), pointer(new.as_ptr()), 0, 0]) }.map(drop)
}

/// Whether a rename may replace what has the new name.
pub enum Replace {
    Yes,
    No,
}

pub fn rename(from: BorrowedFd<'_>, old: &[u8], to: BorrowedFd<'_>, new: &[u8], replace: Replace) -> Result<()> {
    let (old, new) = (text(old)?, text(new)?);
    let flags = match replace {
        Replace::Yes => 0,
        Replace::No => 1,
    };
    // SAFETY: the kernel reads two strings that end.
    unsafe { call(number::RENAMEAT2, [raw(&from), pointer(old.as_ptr()), raw(&to), pointer(new.as_ptr()), flags, 0]) }.map(drop)
}

pub fn unlink(at: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let name = text(name)?;
    // SAFETY: the kernel reads a string that ends.
    unsafe { call(number::UNLINKAT, [raw(&at), pointer(name.as_ptr()), 0, 0, 0, 0]) }.map(drop)
}

pub fn remove_directory(at: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let name = text(name)?;
    // SAFETY: the kernel reads a string that ends.
    unsafe { call(number::UNLINKAT, [raw(&at), pointer(name.as_ptr()), AT_REMOVEDIR, 0, 0, 0]) }.map(drop)
}

/// Changes the owner of what a descriptor is open on, a link included.
pub fn change_owner(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    let empty = c"";
    let arguments = [raw(&fd), pointer(empty.as_ptr()), c_long::from(uid), c_long::from(gid), AT_EMPTY_PATH, 0];
    // SAFETY: the kernel reads a string that ends.
    unsafe { call(number::FCHOWNAT, arguments) }.map(drop)
}

/// Changes the owner of a name, a link included.
pub fn change_owner_of(at: BorrowedFd<'_>, name: &[u8], uid: u32, gid: u32) -> Result<()> {
    let name = text(name)?;
    let arguments = [raw(&at), pointer(name.as_ptr()), c_long::from(uid), c_long::from(gid), AT_SYMLINK_NOFOLLOW, 0];
    // SAFETY: the kernel reads a string that ends.
    unsafe { call(number::FCHOWNAT, arguments) }.map(drop)
}

/// Changes the mode of what a descriptor is open on; no link.
pub fn change_mode(fd: BorrowedFd<'_>, mode: u16) -> Result<()> {
    // A descriptor that only names a file is not taken by `fchmod`; its path in /proc is.
    let path = text(&fd_path(&fd))?;
    // SAFETY: the kernel reads a string that ends.
    unsafe { call(number::FCHMODAT, [AT_FDCWD, pointer(path.as_ptr()), c_long::from(mode), 0, 0, 0]) }.map(drop)
}

/// Sets the time of last change of what a descriptor is open on, a link included; leaves the time of last access.
pub fn change_time(fd: BorrowedFd<'_>, seconds: i64, nanoseconds: u32) -> Result<()> {
    const UTIME_OMIT: i64 = (1 << 30) - 2;
    let times: [[i64; 2]; 2] = [[0, UTIME_OMIT], [seconds, i64::from(nanoseconds)]];
    let empty = c"";
    // SAFETY: the kernel reads a string that ends and two times.
    unsafe { call(number::UTIMENSAT, [raw(&fd), pointer(empty.as_ptr()), pointer(times.as_ptr()), AT_EMPTY_PATH, 0, 0]) }.map(drop)
}

/// Whether a link at the end of a path is followed.
#[derive(Clone, Copy)]
pub enum Follow {
    Yes,
    No,
}

/// The names of a path's xattrs.
pub fn xattr_names(path: &[u8], follow: Follow) -> Result<Vec<Vec<u8>>> {
    let path = text(path)?;
    let number = match follow {
        Follow::Yes => number::LISTXATTR,
        Follow::No => number::LLISTXATTR,
    };
    let names = sized(|buffer, length| {
        // SAFETY: the kernel reads a string that ends and writes at most `length` bytes to a buffer of that length.
        unsafe { call(number, [pointer(path.as_ptr()), buffer, length, 0, 0, 0]) }
    })?;
    Ok(names.split(|&byte| byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}

/// The value of a path's xattr; a link at its end is not followed.
pub fn xattr(path: &[u8], name: &[u8]) -> Result<Vec<u8>> {
    let (path, name) = (text(path)?, text(name)?);
    sized(|buffer, length| {
        // SAFETY: the kernel reads two strings that end and writes at most `length` bytes to a buffer of that length.
        unsafe { call(number::LGETXATTR, [pointer(path.as_ptr()), pointer(name.as_ptr()), buffer, length, 0, 0]) }
    })
}

/// Calls with a buffer that is large enough for anything of this sort.
fn sized(get: impl Fn(c_long, c_long) -> Result<c_long>) -> Result<Vec<u8>> {
    let mut small = [0_u8; 1024];
    match get(pointer(small.as_mut_ptr()), small.len() as c_long) {
        Ok(count) => return Ok(small.get(..count as usize).unwrap_or_default().to_vec()),
        Err(Errno(34)) => {}
        Err(error) => return Err(error),
    }
    let mut large = vec![0_u8; 65536];
    let count = get(pointer(large.as_mut_ptr()), large.len() as c_long)?;
    large.truncate(count as usize);
    Ok(large)
}

/// Sets an xattr; follows a link at the end of the path.
pub fn set_xattr(path: &[u8], name: &[u8], value: &[u8]) -> Result<()> {
    let (path, name) = (text(path)?, text(name)?);
    let arguments = [pointer(path.as_ptr()), pointer(name.as_ptr()), pointer(value.as_ptr()), value.len() as c_long, 0, 0];
    // SAFETY: the kernel reads two strings that end and as much as the value has.
    unsafe { call(number::SETXATTR, arguments) }.map(drop)
}

/// Removes an xattr; follows a link at the end of the path.
pub fn remove_xattr(path: &[u8], name: &[u8]) -> Result<()> {
    let (path, name) = (text(path)?, text(name)?);
    // SAFETY: the kernel reads two strings that end.
    unsafe { call(number::REMOVEXATTR, [pointer(path.as_ptr()), pointer(name.as_ptr()), 0, 0, 0, 0]) }.map(drop)
}
