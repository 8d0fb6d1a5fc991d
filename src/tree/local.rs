//! A directory that the process itself may use: a path of the host in, once; a [`DirectoryHandle`] out.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{self as sys, AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, StatxFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::xattr::Inode;
use super::{
    DirectoryHandle, DiskError, DiskTime, Listed, ListedKind, Metadata, Name, NodeKind, Opaque, SpecialKind, Status, TreePath, Xattrs,
};

/// How many parents of recently used paths stay open; several threads work side by side.
const OPEN_PARENTS: usize = 16;
/// Longest target of a link, and then some.
const TARGET_CAPACITY: usize = 256;

/// A directory of the host, opened once; everything after that is relative to the open directory.
#[derive(Debug)]
pub struct LocalDirectory {
    root: OwnedFd,
    xattrs: XattrReading,
    /// Whether the kernel (or a filter before it) has refused `openat2`, so that each name is opened on its own.
    one_by_one: AtomicBool,
    /// The most recently used last.
    parents: Mutex<VecDeque<(TreePath, Arc<OwnedFd>)>>,
}

/// Whether listing a directory reads extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum XattrReading {
    Read,
    Ignored,
}

impl LocalDirectory {
    /// Opens a directory. Links in the path are followed: it is the owner's.
    ///
    /// # Errors
    /// When it is no directory or cannot be opened.
    pub fn open(path: &Path) -> io::Result<LocalDirectory> {
        Ok(LocalDirectory::new(sys::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Takes a directory that is open already.
    #[must_use]
    pub fn new(root: OwnedFd) -> LocalDirectory {
        LocalDirectory {
            root,
            xattrs: XattrReading::Read,
            one_by_one: AtomicBool::new(false),
            parents: Mutex::new(VecDeque::with_capacity(OPEN_PARENTS)),
        }
    }

    /// Lists no extended attributes: a build context's are dropped in any case, and reading them costs a system call per file.
    #[must_use]
    pub fn ignoring_xattrs(mut self) -> LocalDirectory {
        self.xattrs = XattrReading::Ignored;
        self
    }

    /// As where the kernel refuses `openat2`.
    #[cfg(test)]
    pub(super) fn resolve_one_by_one(&mut self, one_by_one: bool) {
        self.one_by_one = AtomicBool::new(one_by_one);
    }

    /// Opens a path below the directory, never through a link.
    fn open_below(&self, path: &TreePath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if path.is_root() {
            return sys::openat(&self.root, c".", flags, Mode::empty());
        }
        if !self.one_by_one.load(Ordering::Relaxed) {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match sys::openat2(&self.root, path.as_bytes(), flags, Mode::empty(), resolve) {
                Err(Errno::NOSYS | Errno::PERM) => self.one_by_one.store(true, Ordering::Relaxed),
                // Longer than one call may have it, or a rename got in between.
                Err(Errno::NAMETOOLONG | Errno::AGAIN) => {}
                result => return result,
            }
        }
        let mut directory: Option<OwnedFd> = None;
        let mut names = path.names().peekable();
        while let Some(name) = names.next() {
            let flags = match names.peek() {
                Some(_) => OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
                None => flags,
            };
            let from = directory.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            directory = Some(sys::openat(from, name.as_bytes(), flags, Mode::empty())?);
        }
        directory.ok_or(Errno::NOENT)
    }

    /// The open parent of a path and its last name; of the root, the root itself and no name.
    fn parent(&self, path: &TreePath) -> Result<(Arc<OwnedFd>, Name), Errno> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return Err(Errno::INVAL) };
        {
            let mut parents = self.parents.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = parents.iter().rposition(|(open, _)| *open == parent)
                && let Some((open, descriptor)) = parents.remove(place)
            {
                let found = Arc::clone(&descriptor);
                parents.push_back((open, descriptor));
                return Ok((found, name));
            }
        }
        let descriptor = Arc::new(self.open_below(&parent, OFlags::PATH | OFlags::DIRECTORY)?);
        let mut parents = self.parents.lock().unwrap_or_else(PoisonError::into_inner);
        if parents.len() >= OPEN_PARENTS {
            parents.pop_front();
        }
        parents.push_back((parent, Arc::clone(&descriptor)));
        Ok((descriptor, name))
    }

    fn forget_parents(&self, at: &TreePath) {
        self.parents.lock().unwrap_or_else(PoisonError::into_inner).retain(|(open, _)| !open.starts_with(at));
    }

    fn status(&self, directory: BorrowedFd<'_>, name: &CStr, buffer: &mut Vec<u8>) -> Result<Option<Status>, Errno> {
        let (flags, wanted) = (AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
        let found = match sys::statx(directory, name, flags, wanted) {
            Ok(found) => found,
            // It went away after its directory was read.
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (major, minor) = (found.stx_rdev_major, found.stx_rdev_minor);
        let kind = match FileType::from_raw_mode(found.stx_mode.into()) {
            FileType::Directory => ListedKind::Directory,
            FileType::RegularFile => ListedKind::File,
            FileType::Symlink => match sys::readlinkat(directory, name, Vec::with_capacity(TARGET_CAPACITY)) {
                Ok(target) => ListedKind::Symlink { target: target.into_bytes() },
                // It went away, or is something else now and will be seen the next time.
                Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
                Err(error) => return Err(error),
            },
            FileType::CharacterDevice if (major, minor) == (0, 0) => ListedKind::Whiteout,
            FileType::CharacterDevice => ListedKind::Special(SpecialKind::Character { major, minor }),
            FileType::BlockDevice => ListedKind::Special(SpecialKind::Block { major, minor }),
            FileType::Fifo => ListedKind::Special(SpecialKind::Fifo),
            FileType::Socket => ListedKind::Socket,
            FileType::Unknown => return Err(Errno::OPNOTSUPP),
        };
        let (xattrs, opaque) = match (&kind, self.xattrs) {
            (ListedKind::Directory | ListedKind::File, XattrReading::Read) => match read_xattrs(directory, name, buffer) {
                Err(Errno::NOENT) => return Ok(None),
                found => found?,
            },
            (ListedKind::Symlink { .. } | ListedKind::Special(_) | ListedKind::Whiteout | ListedKind::Socket, _)
            | (_, XattrReading::Ignored) => (Xattrs::new(), Opaque::No),
        };
        Ok(Some(Status {
            kind,
            mode: found.stx_mode & 0o7777,
            uid: found.stx_uid,
            gid: found.stx_gid,
            modified: DiskTime { seconds: found.stx_mtime.tv_sec, nanoseconds: found.stx_mtime.tv_nsec },
            changed: DiskTime { seconds: found.stx_ctime.tv_sec, nanoseconds: found.stx_ctime.tv_nsec },
            size: found.stx_size,
            device: sys::makedev(found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            links: found.stx_nlink.into(),
            xattrs,
            opaque,
        }))
    }

    fn try_list(&self, directory: &TreePath) -> Result<Vec<Listed>, Errno> {
        let open = self.open_below(directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut listed = Vec::new();
        let mut buffer = Vec::new();
        for entry in sys::Dir::read_from(&open)? {
            let entry = entry?;
            let Ok(name) = Name::new(entry.file_name().to_bytes()) else { continue };
            if let Some(status) = self.status(open.as_fd(), entry.file_name(), &mut buffer)? {
                listed.push(Listed { name, status });
            }
        }
        Ok(listed)
    }

    fn try_set_metadata(&self, at: &TreePath, kind: NodeKind, metadata: &Metadata) -> Result<(), Errno> {
        let (parent, name) = if at.is_root() {
            (None, None)
        } else {
            let (parent, name) = self.parent(at)?;
            (Some(parent), Some(name))
        };
        let parent = parent.as_deref().map_or(self.root.as_fd(), AsFd::as_fd);
        let name = name.as_ref().map_or(&b"."[..], Name::as_bytes);
        let times = times(metadata.mtime);
        let owner = (Some(Uid::from_raw(metadata.uid)), Some(Gid::from_raw(metadata.gid)));
        let open = |flags| sys::openat(parent, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        let (expected, opened) = match kind {
            NodeKind::Symlink => {
                sys::chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
                return sys::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW);
            }
            // Opening a device would do something.
            NodeKind::Special => (None, Err(Errno::ACCESS)),
            NodeKind::Directory => (Some(FileType::Directory), open(OFlags::RDONLY | OFlags::DIRECTORY)),
            NodeKind::File => (Some(FileType::RegularFile), open(OFlags::RDONLY | OFlags::NONBLOCK)),
        };
        let (descriptor, located) = match opened {
            Ok(descriptor) => (descriptor, None),
            // What may not be opened can still be pointed at.
            Err(Errno::ACCESS) => {
                let descriptor = open(OFlags::PATH)?;
                let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
                (descriptor, Some(path))
            }
            Err(error) => return Err(error),
        };
        let found = sys::statx(&descriptor, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        let found_type = FileType::from_raw_mode(found.stx_mode.into());
        match expected {
            Some(expected) if found_type != expected => return Err(Errno::INVAL),
            None if matches!(found_type, FileType::Directory | FileType::RegularFile | FileType::Symlink) => return Err(Errno::INVAL),
            Some(_) | None => {}
        }
        if (found.stx_uid, found.stx_gid) != (metadata.uid, metadata.gid) {
            sys::chownat(&descriptor, c"", owner.0, owner.1, AtFlags::EMPTY_PATH)?;
        }
        let inode = located.as_deref().map_or(Inode::Open(descriptor.as_fd()), Inode::Located);
        if expected.is_some() {
            inode.replace(&metadata.xattrs)?;
        }
        let mode = Mode::from_raw_mode(metadata.mode.into());
        match located {
            None => {
                sys::fchmod(&descriptor, mode)?;
                sys::futimens(&descriptor, &times)
            }
            Some(path) => {
                sys::chmodat(CWD, path.as_str(), mode, AtFlags::empty())?;
                sys::utimensat(CWD, path.as_str(), &times, AtFlags::empty())
            }
        }
    }

    fn try_remove(&self, at: &TreePath) -> Result<(), Errno> {
        let (parent, name) = match self.parent(at) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            found => found?,
        };
        match sys::unlinkat(&*parent, name.as_bytes(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
        let mut next = vec![(at.clone(), Visit::Empty)];
        while let Some((path, visit)) = next.pop() {
            match visit {
                Visit::Empty => {
                    let open = self.open_to_empty(&path)?;
                    next.push((path.clone(), Visit::Remove));
                    for entry in sys::Dir::read_from(&open)? {
                        let entry = entry?;
                        let Ok(name) = Name::new(entry.file_name().to_bytes()) else { continue };
                        match sys::unlinkat(&open, name.as_bytes(), AtFlags::empty()) {
                            Ok(()) | Err(Errno::NOENT) => {}
                            Err(Errno::ISDIR | Errno::PERM) => next.push((path.join(&name), Visit::Empty)),
                            Err(error) => return Err(error),
                        }
                    }
                }
                Visit::Remove => {
                    self.forget_parents(&path);
                    let (parent, name) = self.parent(&path)?;
                    match sys::unlinkat(&*parent, name.as_bytes(), AtFlags::REMOVEDIR) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(())
    }

    /// Opens a directory that is to be emptied, and takes the right to do so where it is missing.
    fn open_to_empty(&self, path: &TreePath) -> Result<OwnedFd, Errno> {
        let pointed = self.open_below(path, OFlags::PATH | OFlags::DIRECTORY)?;
        let found = sys::statx(&pointed, c"", AtFlags::EMPTY_PATH, StatxFlags::MODE)?;
        if found.stx_mode & 0o700 != 0o700 {
            let path = format!("/proc/self/fd/{}", pointed.as_raw_fd());
            sys::chmodat(CWD, path.as_str(), Mode::RWXU, AtFlags::empty())?;
        }
        sys::openat(&pointed, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }
}

impl AsFd for LocalDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// What is still to be done to a directory that is being removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    Empty,
    Remove,
}

fn read_xattrs(directory: BorrowedFd<'_>, name: &CStr, buffer: &mut Vec<u8>) -> Result<(Xattrs, Opaque), Errno> {
    if name.is_empty() {
        return Inode::Open(directory).read(buffer);
    }
    if let Ok(text) = name.to_str() {
        let path = format!("/proc/self/fd/{}/{text}", directory.as_raw_fd());
        match Inode::Named(&path).read(buffer) {
            // It went away, or there is no /proc.
            Err(Errno::NOENT | Errno::ACCESS | Errno::PERM | Errno::NAMETOOLONG) => {}
            found => return found,
        }
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = sys::openat(directory, name, flags, Mode::empty())?;
    Inode::Open(open.as_fd()).read(buffer)
}

fn times(seconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

impl DirectoryHandle for LocalDirectory {
    fn list(&self, directory: &TreePath) -> Result<Vec<Listed>, DiskError> {
        self.try_list(directory).map_err(|error| DiskError::new("list", directory, error))
    }

    fn open(&self, file: &TreePath) -> Result<File, DiskError> {
        let open = || {
            let (parent, name) = self.parent(file)?;
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = sys::openat(&*parent, name.as_bytes(), flags, Mode::empty())?;
            let found = sys::statx(&opened, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE)?;
            match FileType::from_raw_mode(found.stx_mode.into()) {
                FileType::RegularFile => Ok(File::from(opened)),
                FileType::Directory
                | FileType::Symlink
                | FileType::CharacterDevice
                | FileType::BlockDevice
                | FileType::Fifo
                | FileType::Socket
                | FileType::Unknown => Err(Errno::INVAL),
            }
        };
        open().map_err(|error: Errno| DiskError::new("open", file, error))
    }

    fn root_status(&self) -> Result<Status, DiskError> {
        let root = TreePath::root();
        let status = self.status(self.root.as_fd(), c"", &mut Vec::new());
        let status = status.and_then(|status| status.ok_or(Errno::NOENT));
        status.map_err(|error| DiskError::new("examine", &root, error))
    }

    fn make_directory(&self, at: &TreePath) -> Result<(), DiskError> {
        let make = || {
            let (parent, name) = self.parent(at)?;
            sys::mkdirat(&*parent, name.as_bytes(), Mode::RWXU)
        };
        make().map_err(|error| DiskError::new("make the directory", at, error))
    }

    fn create_file(&self, at: &TreePath) -> Result<File, DiskError> {
        let create = || {
            let (parent, name) = self.parent(at)?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            sys::openat(&*parent, name.as_bytes(), flags, Mode::RUSR | Mode::WUSR).map(File::from)
        };
        create().map_err(|error| DiskError::new("create", at, error))
    }

    fn make_symlink(&self, at: &TreePath, target: &[u8]) -> Result<(), DiskError> {
        let make = || {
            let (parent, name) = self.parent(at)?;
            sys::symlinkat(target, &*parent, name.as_bytes())
        };
        make().map_err(|error| DiskError::new("make the symbolic link", at, error))
    }

    fn make_special(&self, at: &TreePath, kind: SpecialKind) -> Result<(), DiskError> {
        let (file_type, major, minor) = match kind {
            SpecialKind::Character { major, minor } => (FileType::CharacterDevice, major, minor),
            SpecialKind::Block { major, minor } => (FileType::BlockDevice, major, minor),
            SpecialKind::Fifo => (FileType::Fifo, 0, 0),
        };
        let make = || {
            let (parent, name) = self.parent(at)?;
            sys::mknodat(&*parent, name.as_bytes(), file_type, Mode::RUSR | Mode::WUSR, sys::makedev(major, minor))
        };
        make().map_err(|error| DiskError::new("make the special file", at, error))
    }

    fn make_whiteout(&self, at: &TreePath) -> Result<(), DiskError> {
        self.make_special(at, SpecialKind::Character { major: 0, minor: 0 })
    }

    fn hard_link(&self, existing: &TreePath, new: &TreePath) -> Result<(), DiskError> {
        let link = || {
            let (old_parent, old_name) = self.parent(existing)?;
            let (parent, name) = self.parent(new)?;
            sys::linkat(&*old_parent, old_name.as_bytes(), &*parent, name.as_bytes(), AtFlags::empty())
        };
        link().map_err(|error| DiskError::new("make the hard link", new, error))
    }

    fn set_metadata(&self, at: &TreePath, kind: NodeKind, metadata: &Metadata) -> Result<(), DiskError> {
        self.try_set_metadata(at, kind, metadata).map_err(|error| DiskError::new("set the metadata of", at, error))
    }

    fn set_opaque(&self, directory: &TreePath) -> Result<(), DiskError> {
        let set = || {
            let open = self.open_below(directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
            Inode::Open(open.as_fd()).set(b"user.overlay.opaque", b"y")
        };
        set().map_err(|error| DiskError::new("mark as opaque", directory, error))
    }

    fn remove(&self, at: &TreePath) -> Result<(), DiskError> {
        if !at.is_root() {
            self.forget_parents(at);
        }
        self.try_remove(at).map_err(|error| DiskError::new("remove", at, error))
    }
}
