//! The file agent: requests about files below a directory in, entries and descriptors out.
//!
//! It is user 0 of the namespace, so that it may what the caller's own user may not. Each request brings the descriptor of its directory;
//! no path leaves it and no link is followed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::channel;
use crate::supervisor::Owner;
use crate::supervisor::owners::{self, Carried};
use crate::sys::{self, At, BENEATH, EACCES, EINVAL, EISDIR, ENODATA, ENOENT, EOPNOTSUPP, EPERM, EPROTO, Errno, Follow, Result};
use crate::wire::{AgentReply, AgentRequest, Bytes, EntryKind, EntryMetadata, ListedEntry, Operation, Ownership, SpecialNode};

/// Answers until the caller is gone.
pub fn serve(socket: &OwnedFd, ownership: &Ownership) {
    while let Ok(Some((request, descriptors))) = channel::receive::<AgentRequest>(socket) {
        let (reply, opened) = answer(&request, descriptors.first().map(AsFd::as_fd), ownership);
        let opened: Vec<BorrowedFd<'_>> = opened.iter().map(AsFd::as_fd).collect();
        if channel::send(socket, &reply, &opened).is_err() {
            return;
        }
    }
}

fn answer(request: &AgentRequest, directory: Option<BorrowedFd<'_>>, ownership: &Ownership) -> (AgentReply, Option<OwnedFd>) {
    let failed = |errno: Errno| (AgentReply::Failed { operation: 0, errno: errno.0 }, None);
    let opened = |fd: Result<OwnedFd>| match fd {
        Ok(fd) => (AgentReply::Done {}, Some(fd)),
        Err(errno) => failed(errno),
    };
    let entries = |entries: Result<Vec<ListedEntry>>| match entries {
        Ok(entries) => (AgentReply::Entries { entries }, None),
        Err(errno) => failed(errno),
    };
    if let AgentRequest::OpenPath { path } = request {
        return opened(sys::open(At::Root, &path.0, sys::O_PATH | sys::O_DIRECTORY, 0, sys::ANYWHERE));
    }
    let Some(directory) = directory else { return failed(EPROTO) };
    match request {
        AgentRequest::OpenPath { .. } => failed(EPROTO),
        AgentRequest::List { at } => entries(list(directory, &at.0, ownership)),
        AgentRequest::Stat { at } => entries(stat(directory, &at.0, ownership).map(|entry| vec![entry])),
        AgentRequest::Open { at } => opened(open_file(directory, &at.0)),
        AgentRequest::Create { at } => {
            let flags = sys::O_RDWR | sys::O_CREAT | sys::O_EXCL | sys::O_NOFOLLOW;
            opened(sys::open(At::Fd(directory), &at.0, flags, 0o600, BENEATH))
        }
        AgentRequest::OpenDirectory { at } => {
            opened(sys::open(At::Fd(directory), &at.0, sys::O_PATH | sys::O_DIRECTORY | sys::O_NOFOLLOW, 0, BENEATH))
        }
        AgentRequest::Apply { operations } => match apply(directory, operations, ownership) {
            Ok(()) => (AgentReply::Done {}, None),
            Err((operation, errno)) => {
                (AgentReply::Failed { operation: u32::try_from(operation).unwrap_or(u32::MAX), errno: errno.0 }, None)
            }
        },
    }
}

fn open_file(directory: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    // Looked at before it is opened: opening a pipe or a device may do something. What is opened is looked at again.
    let named = sys::open(At::Fd(directory), path, sys::O_PATH | sys::O_NOFOLLOW, 0, BENEATH)?;
    if sys::stat(named.as_fd(), b"")?.kind() != sys::S_IFREG {
        return Err(EINVAL);
    }
    let flags = sys::O_RDONLY | sys::O_NOFOLLOW | sys::O_NONBLOCK;
    let file = sys::open(At::Fd(directory), path, flags, 0, BENEATH)?;
    if sys::stat(file.as_fd(), b"")?.kind() != sys::S_IFREG {
        return Err(EINVAL);
    }
    Ok(file)
}

fn list(directory: BorrowedFd<'_>, path: &[u8], ownership: &Ownership) -> Result<Vec<ListedEntry>> {
    let directory = sys::open(At::Fd(directory), path, sys::O_RDONLY | sys::O_DIRECTORY | sys::O_NOFOLLOW, 0, BENEATH)?;
    let prefix = sys::fd_path(&directory);
    let mut entries = Vec::new();
    for name in sys::names(&directory)? {
        let mut path = prefix.clone();
        path.push(b'/');
        path.extend_from_slice(&name.name);
        match entry(directory.as_fd(), &path, name.name, ownership) {
            // It has gone meanwhile.
            Err(ENOENT) => {}
            listed => entries.push(listed?),
        }
    }
    Ok(entries)
}

fn stat(directory: BorrowedFd<'_>, path: &[u8], ownership: &Ownership) -> Result<ListedEntry> {
    if path.is_empty() {
        let itself = sys::open(At::Fd(directory), path, sys::O_PATH | sys::O_DIRECTORY, 0, BENEATH)?;
        let mut path = sys::fd_path(&itself);
        path.extend_from_slice(b"/.");
        return entry(itself.as_fd(), &path, Vec::new(), ownership);
    }
    let (parent, name) = parent(directory, path)?;
    let parent = parent.as_ref().map_or(directory, AsFd::as_fd);
    let mut path = sys::fd_path(&parent);
    path.push(b'/');
    path.extend_from_slice(name);
    entry(parent, &path, name.to_vec(), ownership)
}

/// `path` names the same for calls that take no directory.
fn entry(directory: BorrowedFd<'_>, path: &[u8], name: Vec<u8>, ownership: &Ownership) -> Result<ListedEntry> {
    let stat = sys::stat(directory, &name)?;
    let special = |node| EntryKind::Special { node };
    let kind = match stat.kind() {
        sys::S_IFDIR => EntryKind::Directory {},
        sys::S_IFREG => EntryKind::File {},
        sys::S_IFLNK => EntryKind::Symlink { target: Bytes(sys::read_link(directory, &name)?) },
        sys::S_IFIFO => special(SpecialNode::Fifo {}),
        sys::S_IFCHR => special(SpecialNode::Character { major: stat.rdev_major, minor: stat.rdev_minor }),
        sys::S_IFBLK => special(SpecialNode::Block { major: stat.rdev_major, minor: stat.rdev_minor }),
        sys::S_IFSOCK => EntryKind::Socket {},
        _ => return Err(EINVAL),
    };
    let mut xattrs = Vec::new();
    // Nothing else can have those that are looked for.
    if matches!(stat.kind(), sys::S_IFDIR | sys::S_IFREG) {
        for name in optional(sys::xattr_names(path, Follow::No))?.unwrap_or_default() {
            if is_ours(&name)
                && let Some(value) = optional(sys::xattr(path, &name))?
            {
                xattrs.push((Bytes(name), Bytes(value)));
            }
        }
        xattrs.sort();
    }
    let mut owner = Owner { uid: stat.uid, gid: stat.gid };
    if *ownership == (Ownership::Attributes {}) {
        // It is no attribute of the image.
        xattrs.retain(|(name, _)| name.0 != owners::NAME.to_bytes());
        if owners::carries(stat.kind())
            && let Carried::Owner(carried) = owners::carried(path, Follow::No)?
        {
            owner = carried;
        }
    }
    Ok(ListedEntry {
        name: Bytes(name),
        kind,
        mode: stat.permissions(),
        uid: owner.uid,
        gid: owner.gid,
        mtime_seconds: stat.modify_time.seconds,
        mtime_nanoseconds: stat.modify_time.nanoseconds,
        ctime_seconds: stat.change_time.seconds,
        ctime_nanoseconds: stat.change_time.nanoseconds,
        size: stat.size,
        device: stat.device(),
        inode: stat.inode,
        links: u64::from(stat.links),
        xattrs,
    })
}

fn is_ours(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name == b"security.capability"
}

/// What a file system without xattrs says is no xattr.
fn optional<T>(value: Result<T>) -> Result<Option<T>> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(ENODATA | EOPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The directory that a path is in and its last name; no descriptor where that is the directory itself.
fn parent<'a>(directory: BorrowedFd<'_>, path: &'a [u8]) -> Result<(Option<OwnedFd>, &'a [u8])> {
    let (above, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (Some(&path[..slash]), &path[slash + 1..]),
        None => (None, path),
    };
    if matches!(name, b"" | b"." | b"..") || above.is_some_and(<[u8]>::is_empty) {
        return Err(EINVAL);
    }
    let above = above.map(|above| sys::open(At::Fd(directory), above, sys::O_PATH | sys::O_DIRECTORY | sys::O_NOFOLLOW, 0, BENEATH));
    Ok((above.transpose()?, name))
}

fn apply(directory: BorrowedFd<'_>, operations: &[Operation], ownership: &Ownership) -> std::result::Result<(), (usize, Errno)> {
    for (index, operation) in operations.iter().enumerate() {
        change(directory, operation, ownership).map_err(|errno| (index, errno))?;
    }
    Ok(())
}

fn change(directory: BorrowedFd<'_>, operation: &Operation, ownership: &Ownership) -> Result<()> {
    let within = |path: &Bytes, act: &dyn Fn(BorrowedFd<'_>, &[u8]) -> Result<()>| {
        let (above, name) = parent(directory, &path.0)?;
        act(above.as_ref().map_or(directory, AsFd::as_fd), name)
    };
    match operation {
        Operation::MakeDirectory { at } => within(at, &|parent, name| sys::make_directory(parent, name, 0o700)),
        Operation::MakeSymlink { at, target } => within(at, &|parent, name| sys::make_symlink(parent, name, &target.0)),
        Operation::MakeNode { at, node } => within(at, &|parent, name| match node {
            SpecialNode::Fifo {} => sys::make_node(parent, name, sys::S_IFIFO, 0o600, 0, 0),
            SpecialNode::Character { .. } | SpecialNode::Block { .. } if is_shown_by_socket(node, ownership) => {
                sys::make_node(parent, name, sys::S_IFSOCK, 0o600, 0, 0)
            }
            SpecialNode::Character { major, minor } => sys::make_node(parent, name, sys::S_IFCHR, 0o600, *major, *minor),
            SpecialNode::Block { major, minor } => sys::make_node(parent, name, sys::S_IFBLK, 0o600, *major, *minor),
        }),
        Operation::HardLink { existing, new } => within(existing, &|from, old| within(new, &|to, new| sys::link(from, old, to, new))),
        Operation::SetMetadata { at, metadata } => {
            let entry = sys::open(At::Fd(directory), &at.0, sys::O_PATH | sys::O_NOFOLLOW, 0, BENEATH)?;
            set_metadata(entry.as_fd(), metadata, ownership)
        }
        Operation::SetOpaque { at } => {
            let entry = sys::open(At::Fd(directory), &at.0, sys::O_PATH | sys::O_DIRECTORY | sys::O_NOFOLLOW, 0, BENEATH)?;
            sys::set_xattr(&sys::fd_path(&entry), b"user.overlay.opaque", b"y")
        }
        Operation::Remove { at } => within(at, &remove),
        Operation::Rename { from, to } => {
            within(from, &|parent, old| within(to, &|into, new| sys::rename(parent, old, into, new, sys::Replace::Yes)))
        }
    }
}

/// Whether a device is a socket on disk. Whiteouts are what they are.
fn is_shown_by_socket(node: &SpecialNode, ownership: &Ownership) -> bool {
    *ownership == (Ownership::Attributes {}) && *node != (SpecialNode::Character { major: 0, minor: 0 })
}

/// Owner, xattrs, mode and time, in this order. Links, pipes and devices have no owner where inodes have none.
pub fn set_metadata(entry: BorrowedFd<'_>, metadata: &EntryMetadata, ownership: &Ownership) -> Result<()> {
    let kind = sys::stat(entry, b"")?.kind();
    // The owner first: changing it takes set-user-id bits and capabilities away. The mode late: it is part of an access control list.
    match ownership {
        Ownership::Inodes {} => sys::change_owner(entry, metadata.uid, metadata.gid)?,
        Ownership::Attributes {} => {}
    }
    if owners::carries(kind) {
        set_xattrs(&sys::fd_path(&entry), &metadata.xattrs)?;
        if *ownership == (Ownership::Attributes {}) {
            if metadata.xattrs.iter().any(|(name, _)| name.0 == owners::NAME.to_bytes()) {
                return Err(EPERM);
            }
            owners::carry(&sys::fd_path(&entry), Owner { uid: metadata.uid, gid: metadata.gid })?;
        }
    }
    if kind != sys::S_IFLNK {
        sys::change_mode(entry, metadata.mode)?;
    }
    sys::change_time(entry, metadata.mtime_seconds, metadata.mtime_nanoseconds)
}

/// `path` is that of a descriptor, so that following it leads nowhere else.
fn set_xattrs(path: &[u8], wanted: &[(Bytes, Bytes)]) -> Result<()> {
    if wanted.iter().any(|(name, _)| !is_ours(&name.0)) {
        return Err(EPERM);
    }
    for name in optional(sys::xattr_names(path, Follow::Yes))?.unwrap_or_default() {
        let ours = is_ours(&name) || name.starts_with(b"system.posix_acl_");
        if ours && !wanted.iter().any(|(wanted, _)| wanted.0 == name) {
            sys::remove_xattr(path, &name)?;
        }
    }
    for (name, value) in wanted {
        sys::set_xattr(path, &name.0, &value.0)?;
    }
    Ok(())
}

/// How deep directories are gone into before deeper ones are brought up, so that no depth runs out of descriptors.
const DEEPEST: usize = 64;

/// Removes whatever has the name, with all that is below it.
pub fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    match sys::unlink(parent, name) {
        Err(EISDIR | EPERM | EACCES) => {}
        other => return other,
    }
    let top = open_to_empty(parent, name)?;
    let mut moved = 0;
    loop {
        empty(&top, &top, &mut moved, 0)?;
        match sys::remove_directory(parent, name) {
            // Directories were brought up into it.
            Err(sys::ENOTEMPTY | sys::EEXIST) => {}
            other => return other,
        }
    }
}

fn open_to_empty(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    sys::open(At::Fd(parent), name, sys::O_RDONLY | sys::O_DIRECTORY | sys::O_NOFOLLOW, 0, BENEATH)
}

fn empty(directory: &OwnedFd, top: &OwnedFd, moved: &mut u64, depth: usize) -> Result<()> {
    for entry in sys::names(directory)? {
        if !entry.is_directory {
            match sys::unlink(directory.as_fd(), &entry.name) {
                // Some file systems do not tell in the listing.
                Err(EISDIR | EPERM) => {}
                other => {
                    other?;
                    continue;
                }
            }
        }
        if depth < DEEPEST {
            let below = open_to_empty(directory.as_fd(), &entry.name)?;
            empty(&below, top, moved, depth + 1)?;
        } else {
            bring_up(directory, top, &entry.name, moved)?;
            continue;
        }
        sys::remove_directory(directory.as_fd(), &entry.name)?;
    }
    Ok(())
}

fn bring_up(directory: &OwnedFd, top: &OwnedFd, name: &[u8], moved: &mut u64) -> Result<()> {
    loop {
        *moved += 1;
        let new = format!(".removed-{moved}").into_bytes();
        match sys::rename(directory.as_fd(), name, top.as_fd(), &new, sys::Replace::No) {
            Err(sys::EEXIST) => {}
            other => return other,
        }
    }
}
