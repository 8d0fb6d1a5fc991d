//! What a step makes: files, directories, links, pipes and devices that belong to whoever the model says.
//!
//! What user 0 makes outside of set-group-id directories belongs to 0:0, as the kernel has it, and is left to the kernel.

use std::os::fd::{AsFd, OwnedFd};

use super::credentials::{Credentials, DAC_OVERRIDE, FSETID, Wish};
use super::owners::own_path;
use super::process::{AT_FDCWD, Asked};
use super::walk::{Node, Spot};
use super::{Answer, Outcome, Owner, Stop, Supervisor};
use crate::sys::{self, At, BENEATH, EEXIST, EINVAL, EISDIR, ENOENT, EPERM, Errno, Follow};
use crate::wire::SpecialNode;

const O_ACCMODE: u64 = 3;
const O_WRONLY: u64 = 1;
const O_TRUNC: u64 = 0o1000;
const O_TMPFILE_BIT: u64 = 0o20_000_000;
/// What `creat(2)` is short for.
pub const LIKE_CREAT: u64 = sys::O_CREAT | O_WRONLY | O_TRUNC;
/// All that `open(2)` knows.
const KNOWN_FLAGS: u64 = 0o37_777_703;
const S_ISGID: u16 = 0o2000;
const S_IXGRP: u16 = 0o10;
const S_ISVTX: u16 = 0o1000;

impl Supervisor {
    /// Whether the kernel's own way of making something at a path gives the right owner.
    fn is_usual(&self, asked: &Asked<'_>, directory: i32, path: &[u8]) -> bool {
        let who = &asked.who;
        if who.owner() != Owner::ROOT || !who.can(DAC_OVERRIDE) {
            return false;
        }
        let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
        let parent = match path[..end].iter().rposition(|&byte| byte == b'/') {
            Some(0) => b"/".as_slice(),
            Some(slash) => &path[..slash],
            None => b"",
        };
        // Where the supervisor cannot look the kernel finds out what is wrong.
        asked.find(directory, parent, Follow::Yes).and_then(|fd| Ok(sys::stat(fd.as_fd(), b"")?)).map_or(true, |stat| stat.mode & S_ISGID == 0)
    }

    /// Where something new is to be. Its directory can be written; nothing has the name.
    fn new_name(&self, asked: &Asked<'_>, directory: i32, path: &[u8]) -> Result<(Node, Vec<u8>), Stop> {
        let subject = asked.who.subject();
        let trimmed = match path.iter().rposition(|&byte| byte != b'/') {
            Some(last) => &path[..=last],
            None => path,
        };
        let Spot { parent, name, node } = self.walk(asked, &subject, directory, trimmed, Follow::No)?;
        let Some(parent) = parent else { return Err(EEXIST.into()) };
        if node.is_some() {
            return Err(EEXIST.into());
        }
        parent.may(&subject, Wish::CHANGE)?;
        Ok((parent, name))
    }

    /// Whom something new in a directory belongs to.
    fn owner_in(who: &Credentials, parent: &Node) -> Owner {
        let owner = who.owner();
        if parent.stat.mode & S_ISGID == 0 { owner } else { Owner { gid: parent.owner.gid, ..owner } }
    }

    /// The mode that something new that is no directory gets.
    fn mode_in(asked: &Asked<'_>, parent: &Node, mode: u64) -> Result<u16, Stop> {
        let mut mode = (mode & 0o7777 & !u64::from(asked.umask()?)) as u16;
        let special = mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP;
        if parent.stat.mode & S_ISGID != 0 && special && !asked.who.subject().is_in(parent.owner.gid) && !asked.who.can(FSETID) {
            mode &= !S_ISGID;
        }
        Ok(mode)
    }

    /// Notes the owner of what has just been made; takes it away again when that does not work.
    fn note(&mut self, parent: &Node, name: &[u8], owner: Owner, node: Option<SpecialNode>) -> Result<(), Stop> {
        let mut attempt = || -> Result<(), Errno> {
            let made = sys::open(At::Fd(parent.fd.as_fd()), name, sys::O_PATH | sys::O_NOFOLLOW, 0, BENEATH)?;
            let stat = sys::stat(made.as_fd(), b"")?;
            self.owners.made(made.as_fd(), &stat, owner, node.clone())
        };
        attempt().map_err(|errno| {
            if sys::unlink(parent.fd.as_fd(), name).is_err() {
                let _ = sys::remove_directory(parent.fd.as_fd(), name);
            }
            errno.into()
        })
    }

    /// Whether the process that asks is still the one that did: from here on files change.
    fn is_there(listener: &OwnedFd, asked: &Asked<'_>) -> Result<(), Stop> {
        if sys::still_waits(listener, asked.id) { Ok(()) } else { Err(Stop::Kernel) }
    }

    pub(super) fn open(&mut self, listener: &OwnedFd, asked: &Asked<'_>, directory: i32, path: u64, flags: u64, mode: u64) -> Outcome {
        let overrides = asked.who.can(DAC_OVERRIDE);
        let unnamed = flags & O_TMPFILE_BIT != 0;
        if (flags & sys::O_CREAT == 0 && !unnamed) || flags & sys::O_PATH != 0 {
            return if overrides { Ok(Answer::Kernel) } else { self.open_existing(asked, directory, path, flags) };
        }
        let path = asked.text(path)?;
        if unnamed {
            return self.open_unnamed(listener, asked, directory, &path, flags, mode);
        }
        let follow = if flags & (sys::O_EXCL | sys::O_NOFOLLOW) == 0 { Follow::Yes } else { Follow::No };
        let is_link = || {
            let found = asked.find(directory, &path, Follow::No).and_then(|fd| Ok(sys::stat(fd.as_fd(), b"")?));
            found.is_ok_and(|stat| stat.kind() == sys::S_IFLNK)
        };
        if self.is_usual(asked, directory, &path) && (matches!(follow, Follow::No) || !is_link()) {
            return Ok(Answer::Kernel);
        }
        let subject = asked.who.subject();
        let Spot { parent, name, node } = self.walk(asked, &subject, directory, &path, follow)?;
        if let Some(node) = node {
            if flags & sys::O_EXCL == 0 && !node.is_directory() {
                permit(asked, &node, flags)?;
            }
            return Ok(Answer::Kernel);
        }
        let Some(parent) = parent else { return Err(EISDIR.into()) };
        if path.ends_with(b"/") || flags & sys::O_DIRECTORY != 0 {
            return Ok(Answer::Kernel);
        }
        parent.may(&subject, Wish::CHANGE)?;
        let owner = Self::owner_in(&asked.who, &parent);
        let mode = Self::mode_in(asked, &parent, mode)?;
        Self::is_there(listener, asked)?;
        let flags_here = (flags & KNOWN_FLAGS & !sys::O_CLOEXEC) | sys::O_CREAT | sys::O_EXCL | sys::O_NOFOLLOW;
        match sys::open(At::Fd(parent.fd.as_fd()), &name, flags_here, u64::from(mode), sys::ANYWHERE) {
            Ok(fd) => {
                self.note(&parent, &name, owner, None)?;
                Ok(Answer::Descriptor { fd, close_on_exec: flags & sys::O_CLOEXEC != 0 })
            }
            // Another process was faster.
            Err(EEXIST) if flags & sys::O_EXCL == 0 => Ok(Answer::Kernel),
            Err(errno) => Err(errno.into()),
        }
    }

    fn open_existing(&self, asked: &Asked<'_>, directory: i32, path: u64, flags: u64) -> Outcome {
        let follow = if flags & sys::O_NOFOLLOW == 0 { Follow::Yes } else { Follow::No };
        let node = self.walk(asked, &asked.who.subject(), directory, &asked.text(path)?, follow)?.existing()?;
        // Opening a link is the kernel's to refuse, a name alone needs no permission.
        if flags & sys::O_PATH == 0 && node.stat.kind() != sys::S_IFLNK {
            permit(asked, &node, flags)?;
        }
        Ok(Answer::Kernel)
    }

    fn open_unnamed(&mut self, listener: &OwnedFd, asked: &Asked<'_>, directory: i32, path: &[u8], flags: u64, mode: u64) -> Outcome {
        let subject = asked.who.subject();
        let parent = self.walk(asked, &subject, directory, path, Follow::Yes)?.existing()?;
        let owner = Self::owner_in(&asked.who, &parent);
        if owner == Owner::ROOT {
            return Ok(Answer::Kernel);
        }
        if parent.is_directory() {
            parent.may(&subject, Wish::CHANGE)?;
        }
        let mode = Self::mode_in(asked, &parent, mode)?;
        Self::is_there(listener, asked)?;
        let flags_here = flags & KNOWN_FLAGS & !sys::O_CLOEXEC;
        let fd = sys::open(At::Fd(parent.fd.as_fd()), b"", flags_here, u64::from(mode), sys::ANYWHERE)?;
        let stat = sys::stat(fd.as_fd(), b"")?;
        self.owners.made(fd.as_fd(), &stat, owner, None)?;
        Ok(Answer::Descriptor { fd, close_on_exec: flags & sys::O_CLOEXEC != 0 })
    }

    pub(super) fn make_directory(&mut self, listener: &OwnedFd, asked: &Asked<'_>, directory: i32, path: u64, mode: u64) -> Outcome {
        let path = asked.text(path)?;
        if self.is_usual(asked, directory, &path) {
            return Ok(Answer::Kernel);
        }
        let (parent, name) = self.new_name(asked, directory, &path)?;
        let owner = Self::owner_in(&asked.who, &parent);
        // The kernel takes no more of a mode than this, and hands the set-group-id bit on by itself.
        let mode = mode & u64::from(0o777 | S_ISVTX) & !u64::from(asked.umask()?);
        Self::is_there(listener, asked)?;
        sys::make_directory(parent.fd.as_fd(), &name, mode as u32)?;
        self.note(&parent, &name, owner, None)?;
        Ok(Answer::Value(0))
    }

    pub(super) fn make_link(&mut self, listener: &OwnedFd, asked: &Asked<'_>, target: u64, directory: i32, path: u64) -> Outcome {
        let path = asked.text(path)?;
        // A record may stand under the number that the new inode gets.
        if self.owners.is_empty() && self.is_usual(asked, directory, &path) {
            return Ok(Answer::Kernel);
        }
        let target = asked.text(target)?;
        let (parent, name) = self.new_name(asked, directory, &path)?;
        if path.ends_with(b"/") {
            return Err(ENOENT.into());
        }
        let owner = Self::owner_in(&asked.who, &parent);
        Self::is_there(listener, asked)?;
        sys::make_symlink(parent.fd.as_fd(), &name, &target)?;
        self.note(&parent, &name, owner, None)?;
        Ok(Answer::Value(0))
    }

    pub(super) fn make_node(&mut self, listener: &OwnedFd, asked: &Asked<'_>, directory: i32, path: u64, mode: u64, device: u64) -> Outcome {
        let kind = (mode & u64::from(sys::S_IFMT)) as u16;
        let (major, minor) = (((device >> 8) & 0xfff) as u32, ((device & 0xff) | ((device >> 12) & 0xf_ff00)) as u32);
        let node = match kind {
            sys::S_IFCHR => Some(SpecialNode::Character { major, minor }),
            sys::S_IFBLK => Some(SpecialNode::Block { major, minor }),
            0 | sys::S_IFREG | sys::S_IFIFO | sys::S_IFSOCK => None,
            _ => return Ok(Answer::Kernel),
        };
        let path = asked.text(path)?;
        if node.is_none() && self.is_usual(asked, directory, &path) && (matches!(kind, 0 | sys::S_IFREG) || self.owners.is_empty()) {
            return Ok(Answer::Kernel);
        }
        // An overlay does not have a character device 0:0 made on it either: it would mean a removed file.
        let forbidden = matches!(node, Some(SpecialNode::Character { major: 0, minor: 0 }));
        if node.is_some() && (forbidden || !asked.who.can(super::credentials::MKNOD)) {
            return Err(EPERM.into());
        }
        let (parent, name) = self.new_name(asked, directory, &path)?;
        if path.ends_with(b"/") {
            return Err(ENOENT.into());
        }
        let owner = Self::owner_in(&asked.who, &parent);
        let mode = Self::mode_in(asked, &parent, mode)?;
        // A socket stands for a device: it cannot be opened, and no layer has one of its own.
        let placed = match (kind, &node) {
            (_, Some(_)) => sys::S_IFSOCK,
            (0, None) => sys::S_IFREG,
            (kind, None) => kind,
        };
        Self::is_there(listener, asked)?;
        sys::make_node(parent.fd.as_fd(), &name, placed, mode, 0, 0)?;
        self.note(&parent, &name, owner, node)?;
        Ok(Answer::Value(0))
    }

    /// Local sockets with a name in the file system belong to who made them.
    pub(super) fn bind(&mut self, listener: &OwnedFd, asked: &Asked<'_>) -> Outcome {
        const AF_UNIX: u16 = 1;
        const MOST_ADDRESS_BYTES: usize = 110;
        let length = usize::try_from(asked.number(2)).unwrap_or(0);
        if !(3..=MOST_ADDRESS_BYTES).contains(&length) {
            return Ok(Answer::Kernel);
        }
        let address = asked.bytes(asked.arguments[1], length)?;
        let path = address[2..].split(|&byte| byte == 0).next().unwrap_or_default();
        if u16::from_le_bytes([address[0], address[1]]) != AF_UNIX || path.is_empty() || self.is_usual(asked, AT_FDCWD, path) {
            return Ok(Answer::Kernel);
        }
        const EADDRINUSE: Errno = Errno(98);
        let (parent, name) = self.new_name(asked, AT_FDCWD, path).map_err(|stop| match stop {
            Stop::Errno(EEXIST) => EADDRINUSE.into(),
            other => other,
        })?;
        let owner = Self::owner_in(&asked.who, &parent);
        let umask = asked.umask()?;
        let socket = sys::take_descriptor(asked.process()?, asked.int(0))?;
        let mut ours = AF_UNIX.to_le_bytes().to_vec();
        ours.extend_from_slice(&own_path(&parent.fd));
        ours.push(b'/');
        ours.extend_from_slice(&name);
        if ours.len() >= MOST_ADDRESS_BYTES {
            return Err(EINVAL.into());
        }
        ours.push(0);
        Self::is_there(listener, asked)?;
        sys::umask(umask);
        let bound = sys::bind(&socket, &ours);
        sys::umask(0);
        bound?;
        self.note(&parent, &name, owner, None)?;
        Ok(Answer::Value(0))
    }
}

/// Whether a file that is there may be opened so.
fn permit(asked: &Asked<'_>, node: &Node, flags: u64) -> Result<(), Stop> {
    let mut wish = match flags & O_ACCMODE {
        0 => Wish::READ.0,
        1 => Wish::WRITE.0,
        _ => Wish::READ.0 | Wish::WRITE.0,
    };
    if flags & O_TRUNC != 0 {
        wish |= Wish::WRITE.0;
    }
    node.may(&asked.who.subject(), Wish(wish))
}
