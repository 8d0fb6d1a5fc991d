//! What a step sees of files: owners and devices as the model has them, and the supervisor's own attribute not at all.

use std::os::fd::{AsFd, OwnedFd};

use super::credentials::{DAC_OVERRIDE, SETFCAP, Wish};
use super::owners::{self, Carried, carries, own_path};
use super::process::{AT_EMPTY_PATH, AT_FDCWD, Asked, is_out_of_reach};
use super::{Answer, Outcome, Owner, Stop, Supervisor};
use crate::sys::{self, ENODATA, EOPNOTSUPP, EPERM, Errno, Follow};
use crate::wire::SpecialNode;

const ERANGE: Errno = Errno(34);
const AT_EACCESS: u64 = 0x200;

/// Where `struct stat` has what the model changes: mode, user, group, device.
#[cfg(target_arch = "x86_64")]
const STAT: [usize; 4] = [24, 28, 32, 40];
#[cfg(not(target_arch = "x86_64"))]
const STAT: [usize; 4] = [16, 24, 28, 32];
/// How much of it the kernel writes.
#[cfg(target_arch = "x86_64")]
const STAT_WRITTEN: usize = 144;
#[cfg(not(target_arch = "x86_64"))]
const STAT_WRITTEN: usize = 128;

/// What a step is to see of a file instead of what is there.
struct Seen {
    owner: Owner,
    node: Option<SpecialNode>,
}

impl Seen {
    /// Kind bits of the mode, and the device's numbers.
    fn device(&self) -> Option<(u16, u32, u32)> {
        match self.node {
            Some(SpecialNode::Character { major, minor }) => Some((sys::S_IFCHR, major, minor)),
            Some(SpecialNode::Block { major, minor }) => Some((sys::S_IFBLK, major, minor)),
            Some(SpecialNode::Fifo {}) | None => None,
        }
    }

    fn in_stat(&self, stat: &mut [u8; sys::STAT_BYTES]) {
        let mut put = |at: usize, value: u32| stat[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put(STAT[1], self.owner.uid);
        put(STAT[2], self.owner.gid);
        if let Some((kind, major, minor)) = self.device() {
            put(STAT[3], (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12));
            let mode = u16::from_le_bytes([stat[STAT[0]], stat[STAT[0] + 1]]) & !sys::S_IFMT | kind;
            stat[STAT[0]..STAT[0] + 2].copy_from_slice(&mode.to_le_bytes());
        }
    }

    fn in_statx(&self, stat: &mut [u8; sys::STATX_BYTES]) {
        let mut put = |at: usize, value: u32| stat[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put(20, self.owner.uid);
        put(24, self.owner.gid);
        if let Some((kind, major, minor)) = self.device() {
            put(128, major);
            put(132, minor);
            let mode = u16::from_le_bytes([stat[28], stat[29]]) & !sys::S_IFMT | kind;
            stat[28..30].copy_from_slice(&mode.to_le_bytes());
        }
    }
}

impl Supervisor {
    /// What is to be seen of what is open; `None` when that is what is there.
    fn seen(&self, fd: OwnedFd) -> Result<Option<(OwnedFd, Seen)>, Stop> {
        let carried = match owners::carried(&own_path(&fd), Follow::Yes) {
            Ok(Carried::Owner(owner)) => return Ok(Some((fd, Seen { owner, node: None }))),
            Ok(Carried::Nothing | Carried::Unable) if self.owners.is_empty() => return Ok(None),
            Ok(carried @ (Carried::Nothing | Carried::Unable)) => carried,
            Err(_) => return Err(Stop::Kernel),
        };
        let stat = sys::stat(fd.as_fd(), b"")?;
        let record = self.owners.record(&stat).filter(|_| !carries(stat.kind()) || matches!(carried, Carried::Unable));
        Ok(record.map(|record| (record.owner, record.node.clone())).map(|(owner, node)| (fd, Seen { owner, node })))
    }

    /// What a call is about, once it is known that the process may go there.
    fn reached(&self, asked: &Asked<'_>, directory: i32, path: &[u8], follow: Follow) -> Result<OwnedFd, Stop> {
        if path.is_empty() || asked.who.can(DAC_OVERRIDE) || asked.is_own_descriptor(path) {
            // The kernel knows better what is wrong with the path, or sees what only the process itself may see.
            return asked.find(directory, path, follow).map_err(|_| Stop::Kernel);
        }
        Ok(self.walk(asked, &asked.who.subject(), directory, path, follow)?.existing()?.fd)
    }

    fn look_for_stat(&self, asked: &Asked<'_>, directory: i32, address: u64, flags: u64) -> Result<Option<(OwnedFd, Seen)>, Stop> {
        // With AT_EMPTY_PATH newer kernels take no path at all for an empty one.
        let path = if address == 0 && flags & AT_EMPTY_PATH != 0 { Vec::new() } else { asked.text(address)? };
        if path.is_empty() && (flags & AT_EMPTY_PATH == 0) {
            return Err(Stop::Kernel);
        }
        if path.is_empty() && directory != AT_FDCWD {
            return self.seen(asked.opened(directory).map_err(|_| Stop::Kernel)?);
        }
        self.seen(self.reached(asked, directory, &path, Self::follow(flags))?)
    }

    pub(super) fn stat(&self, asked: &Asked<'_>, directory: i32, path: u64, buffer: u64, flags: u64) -> Outcome {
        match self.look_for_stat(asked, directory, path, flags)? {
            Some((fd, seen)) => write_stat(asked, &fd, &seen, buffer),
            None => Ok(Answer::Kernel),
        }
    }

    pub(super) fn stat_open(&self, asked: &Asked<'_>, fd: i32, buffer: u64) -> Outcome {
        match self.seen(asked.opened(fd).map_err(|_| Stop::Kernel)?)? {
            Some((fd, seen)) => write_stat(asked, &fd, &seen, buffer),
            None => Ok(Answer::Kernel),
        }
    }

    pub(super) fn stat_extended(&self, asked: &Asked<'_>) -> Outcome {
        let (flags, mask, buffer) = (asked.arguments[2], asked.number(3), asked.arguments[4]);
        let Some((fd, seen)) = self.look_for_stat(asked, asked.int(0), asked.arguments[1], flags)? else { return Ok(Answer::Kernel) };
        // What is left of the flags says how fresh the answer must be.
        let kept = u32::try_from(flags & 0x6000).unwrap_or(0);
        let mut stat = sys::raw_statx(fd.as_fd(), kept, mask)?;
        seen.in_statx(&mut stat);
        asked.write(buffer, &stat)?;
        Ok(Answer::Value(0))
    }

    pub(super) fn access(&self, asked: &Asked<'_>, directory: i32, path: u64, mode: u64, flags: u64) -> Outcome {
        let subject = if flags & AT_EACCESS == 0 { asked.who.real_subject() } else { asked.who.subject() };
        if subject.capabilities & DAC_OVERRIDE != 0 || mode & !7 != 0 {
            return Ok(Answer::Kernel);
        }
        let path = asked.text(path)?;
        let node = if path.is_empty() && flags & AT_EMPTY_PATH != 0 {
            self.found(asked, directory, b"", Follow::Yes)?
        } else {
            self.walk(asked, &subject, directory, &path, Self::follow(flags))?.existing()?
        };
        node.may(&subject, Wish(mode as u16))?;
        // A read-only file system is the kernel's to say.
        Ok(Answer::Kernel)
    }

    pub(super) fn change_directory(&self, asked: &Asked<'_>) -> Outcome {
        if asked.who.can(DAC_OVERRIDE) {
            return Ok(Answer::Kernel);
        }
        let subject = asked.who.subject();
        let node = self.walk(asked, &subject, AT_FDCWD, &asked.text(asked.arguments[0])?, Follow::Yes)?.existing()?;
        if node.is_directory() {
            node.may(&subject, Wish::SEARCH)?;
        }
        Ok(Answer::Kernel)
    }

    /// The names of a directory with what they are, where devices are about.
    pub(super) fn list_directory(&self, listener: &OwnedFd, asked: &Asked<'_>) -> Outcome {
        const MOST_BYTES: usize = 1 << 17;
        const KIND_AT: usize = 18;
        const SOCKET: u8 = 12;
        const CHARACTER: u8 = 2;
        const BLOCK: u8 = 6;
        if !self.owners.has_devices() {
            return Ok(Answer::Kernel);
        }
        let room = usize::try_from(asked.number(2)).unwrap_or(0).min(MOST_BYTES);
        let directory = sys::take_descriptor(asked.process()?, asked.int(0)).map_err(|errno| kernel_if_out_of_reach(errno.into()))?;
        if !sys::still_waits(listener, asked.id) {
            return Err(Stop::Kernel);
        }
        // From here on the position has moved: the listing must reach the process.
        let mut listing = sys::directory_entries(&directory, room)?;
        let mut at = 0;
        while let Some(head) = listing.get(at..at + KIND_AT + 1) {
            let inode = u64::from_le_bytes([head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7]]);
            let length = usize::from(u16::from_le_bytes([head[16], head[17]]));
            if head[KIND_AT] == SOCKET {
                listing[at + KIND_AT] = match self.owners.device(inode) {
                    Some(SpecialNode::Character { .. }) => CHARACTER,
                    Some(SpecialNode::Block { .. }) => BLOCK,
                    Some(SpecialNode::Fifo {}) | None => SOCKET,
                };
            }
            at += length.max(1);
        }
        asked.write(asked.arguments[1], &listing)?;
        Ok(Answer::Value(listing.len() as i64))
    }

    /// What the calls about attributes are about; without a rule for links it is a descriptor.
    fn of_attributes(&self, asked: &Asked<'_>, follow: Option<Follow>) -> Result<OwnedFd, Stop> {
        match follow {
            None => asked.opened(asked.int(0)).map_err(|_| Stop::Kernel),
            Some(follow) => self.reached(asked, AT_FDCWD, &asked.text(asked.arguments[0])?, follow),
        }
    }

    /// Names of attributes, ours left out.
    pub(super) fn list_attributes(&self, asked: &Asked<'_>, follow: Option<Follow>) -> Outcome {
        let held = self.of_attributes(asked, follow)?;
        let path = own_path(&held);
        match owners::carried(&path, Follow::Yes) {
            Ok(Carried::Owner(_)) => {}
            Ok(Carried::Nothing | Carried::Unable) | Err(_) => return Ok(Answer::Kernel),
        }
        let names = sys::xattr_names(&path, Follow::Yes)?;
        let mut list = Vec::new();
        for name in names.iter().filter(|name| name.as_slice() != owners::NAME.to_bytes()) {
            list.extend_from_slice(name);
            list.push(0);
        }
        let (buffer, size) = (asked.arguments[1], asked.arguments[2]);
        if size == 0 {
            return Ok(Answer::Value(list.len() as i64));
        }
        if size < list.len() as u64 {
            return Err(ERANGE.into());
        }
        asked.write(buffer, &list)?;
        Ok(Answer::Value(list.len() as i64))
    }

    /// One attribute: ours is not there.
    pub(super) fn attribute(&self, asked: &Asked<'_>) -> Outcome {
        if asked.text(asked.arguments[1])? == owners::NAME.to_bytes() {
            return Err(ENODATA.into());
        }
        Ok(Answer::Kernel)
    }

    /// Setting or removing an attribute.
    pub(super) fn change_attribute(&self, asked: &Asked<'_>, follow: Option<Follow>) -> Outcome {
        let name = asked.text(asked.arguments[1])?;
        if name == owners::NAME.to_bytes() {
            return Err(EOPNOTSUPP.into());
        }
        if name == b"security.capability" {
            return if asked.who.can(SETFCAP) { Ok(Answer::Kernel) } else { Err(EPERM.into()) };
        }
        if asked.who.can(DAC_OVERRIDE) {
            return Ok(Answer::Kernel);
        }
        let node = self.node(self.of_attributes(asked, follow)?).map_err(kernel_if_out_of_reach)?;
        let subject = asked.who.subject();
        if name.starts_with(b"system.posix_acl_") {
            return if subject.owns(node.owner) { Ok(Answer::Kernel) } else { Err(EPERM.into()) };
        }
        node.may(&subject, Wish::WRITE)?;
        Ok(Answer::Kernel)
    }
}

fn write_stat(asked: &Asked<'_>, fd: &OwnedFd, seen: &Seen, buffer: u64) -> Outcome {
    let mut stat = sys::raw_stat(fd.as_fd())?;
    seen.in_stat(&mut stat);
    asked.write(buffer, &stat[..STAT_WRITTEN])?;
    Ok(Answer::Value(0))
}

/// What the supervisor may not see is the process's own business with the kernel.
pub fn kernel_if_out_of_reach(stop: Stop) -> Stop {
    match stop {
        Stop::Errno(errno) if is_out_of_reach(errno) => Stop::Kernel,
        other => other,
    }
}
