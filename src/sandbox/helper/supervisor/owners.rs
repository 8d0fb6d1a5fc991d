//! Whom files belong to where the kernel knows one owner only: an open file in, the owner that the step gave it out.
//!
//! Regular files and directories carry their owner with them as an attribute, so that it goes with them over renaming, linking and
//! copying up, and vanishes with them. What can carry none (links, pipes, devices) stands in a table by inode. An inode in the table that
//! came from below is held open, so that its number stays its own for as long as the step runs; every other was made by the supervisor,
//! as is each that could get its number after it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::credentials::Owner;
use crate::sys::{self, At, BENEATH, ENODATA, EOPNOTSUPP, Follow, Result, Stat};
use crate::wire::{SpecialBelow, SpecialNode, SpecialOwner};

/// The attribute that holds an owner. It is hidden from steps and in no tree.
pub const NAME: &std::ffi::CStr = c"user.lapstrake.owner";

/// What is in the attribute: user and group, little endian.
pub fn encode(owner: Owner) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&owner.uid.to_le_bytes());
    bytes[4..].copy_from_slice(&owner.gid.to_le_bytes());
    bytes
}

/// What the attribute says; `None` when it is none of ours.
pub fn decode(bytes: &[u8]) -> Option<Owner> {
    let (uid, gid) = bytes.split_at_checked(4)?;
    Some(Owner { uid: u32::from_le_bytes(uid.try_into().ok()?), gid: u32::from_le_bytes(gid.try_into().ok()?) })
}

/// What a file carries with it.
pub enum Carried {
    Owner(Owner),
    /// It is user 0's.
    Nothing,
    /// It cannot carry any.
    Unable,
}

/// Looks at what is at a path.
pub fn carried(path: &[u8], follow: Follow) -> Result<Carried> {
    let mut value = [0; 8];
    match sys::short_xattr(path, NAME, follow, &mut value) {
        Ok(8) => Ok(decode(&value).map_or(Carried::Nothing, Carried::Owner)),
        Ok(_) | Err(ENODATA) => Ok(Carried::Nothing),
        Err(EOPNOTSUPP) => Ok(Carried::Unable),
        Err(error) => Err(error),
    }
}

/// Gives an owner to carry to what is at a path, which follows links.
pub fn carry(path: &[u8], owner: Owner) -> Result<()> {
    if owner == Owner::ROOT {
        return match sys::remove_xattr(path, NAME.to_bytes()) {
            Err(ENODATA | EOPNOTSUPP) => Ok(()),
            other => other,
        };
    }
    sys::set_xattr(path, NAME.to_bytes(), &encode(owner))
}

/// Whether files of this kind (`S_IF*`) can carry an attribute.
pub fn carries(kind: u16) -> bool {
    matches!(kind, sys::S_IFREG | sys::S_IFDIR)
}

/// What the table knows of an inode.
#[derive(Debug)]
pub struct Record {
    pub owner: Owner,
    /// The device that a socket stands for.
    pub node: Option<SpecialNode>,
    origin: Origin,
    mount: u64,
}

#[derive(Debug)]
enum Origin {
    /// It was there before the step; held open.
    Below(OwnedFd),
    /// The step made it. A device is held open.
    Made { _held: Option<OwnedFd> },
}

/// The table.
#[derive(Default)]
pub struct Owners {
    records: BTreeMap<(u64, u64), Record>,
    /// Devices alone, by inode: a listing tells no more.
    devices: BTreeMap<u64, SpecialNode>,
}

/// The name of an open file in the directory that the supervisor works in, `/proc/self/fd`.
pub fn own_path(fd: &impl AsRawFd) -> Vec<u8> {
    fd.as_raw_fd().to_string().into_bytes()
}

impl Owners {
    /// Learns what the tree below has that can carry no owner. Paths are those of the root, which is the process's own.
    pub fn seed(&mut self, below: &[SpecialBelow]) -> Result<()> {
        if below.is_empty() {
            return Ok(());
        }
        let root = sys::open(At::Root, b"/", sys::O_PATH | sys::O_DIRECTORY, 0, sys::ANYWHERE)?;
        for SpecialBelow { path, uid, gid, node } in below {
            let held = match sys::open(At::Fd(root.as_fd()), &path.0, sys::O_PATH | sys::O_NOFOLLOW, 0, BENEATH) {
                Ok(held) => held,
                // Something is mounted over it.
                Err(sys::ENOENT | sys::ENOTDIR | sys::ELOOP) => continue,
                Err(error) => return Err(error),
            };
            let stat = sys::stat(held.as_fd(), b"")?;
            let is_it = match node {
                Some(_) => stat.kind() == sys::S_IFSOCK,
                None => matches!(stat.kind(), sys::S_IFLNK | sys::S_IFIFO),
            };
            if !is_it {
                continue;
            }
            let record =
                Record { owner: Owner { uid: *uid, gid: *gid }, node: node.clone(), origin: Origin::Below(held), mount: stat.mount() };
            if let Some(node) = node {
                self.devices.insert(stat.inode, node.clone());
            }
            self.records.insert((stat.device(), stat.inode), record);
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The device that stands under a number, on whatever file system.
    pub fn device(&self, inode: u64) -> Option<&SpecialNode> {
        self.devices.get(&inode)
    }

    pub fn has_devices(&self) -> bool {
        !self.devices.is_empty()
    }

    /// What stands there of an inode.
    pub fn record(&self, stat: &Stat) -> Option<&Record> {
        self.records.get(&(stat.device(), stat.inode))
    }

    /// Whom an open file belongs to.
    pub fn of(&self, fd: BorrowedFd<'_>, stat: &Stat) -> Result<Owner> {
        let as_it_is = Owner { uid: stat.uid, gid: stat.gid };
        if carries(stat.kind()) {
            match carried(&own_path(&fd), Follow::Yes)? {
                Carried::Owner(owner) => return Ok(owner),
                Carried::Nothing => return Ok(as_it_is),
                Carried::Unable => {}
            }
        }
        Ok(self.record(stat).map_or(as_it_is, |record| record.owner))
    }

    /// Gives an open file an owner.
    pub fn set(&mut self, fd: BorrowedFd<'_>, stat: &Stat, owner: Owner) -> Result<()> {
        if carries(stat.kind()) {
            match carry(&own_path(&fd), owner) {
                Err(EOPNOTSUPP) => {}
                other => return other,
            }
        }
        let key = (stat.device(), stat.inode);
        if let Some(record) = self.records.get_mut(&key) {
            record.owner = owner;
            return Ok(());
        }
        if owner == Owner::ROOT {
            return Ok(());
        }
        let held = sys::above(&fd, 10)?;
        self.records.insert(key, Record { owner, node: None, origin: Origin::Below(held), mount: stat.mount() });
        Ok(())
    }

    /// Notes what the supervisor has just made. The stale record of an inode that had its number before goes.
    pub fn made(&mut self, fd: BorrowedFd<'_>, stat: &Stat, owner: Owner, node: Option<SpecialNode>) -> Result<()> {
        if carries(stat.kind()) {
            if owner == Owner::ROOT {
                return Ok(());
            }
            return self.set(fd, stat, owner);
        }
        let key = (stat.device(), stat.inode);
        if owner == Owner::ROOT && node.is_none() {
            self.records.remove(&key);
            return Ok(());
        }
        let held = node.is_some().then(|| sys::above(&fd, 10)).transpose()?;
        if let Some(node) = &node {
            self.devices.insert(stat.inode, node.clone());
        }
        self.records.insert(key, Record { owner, node, origin: Origin::Made { _held: held }, mount: stat.mount() });
        Ok(())
    }

    /// All that is in an upper directory, by its inodes there. `root_mount` is the mount that the directory is the upper one of.
    pub fn report(&self, upper: &OwnedFd, root_mount: u64) -> Vec<SpecialOwner> {
        let mut report = Vec::new();
        for ((_, inode), record) in &self.records {
            if record.mount != root_mount {
                continue;
            }
            let inode = match &record.origin {
                Origin::Made { _held: _ } => *inode,
                Origin::Below(held) => match copied_up(held, upper) {
                    Ok(inode) => inode,
                    // It is still below, or gone.
                    Err(_) => continue,
                },
            };
            report.push(SpecialOwner { inode, uid: record.owner.uid, gid: record.owner.gid, node: record.node.clone() });
        }
        report
    }
}

/// The inode in the upper directory of what is open in the root.
fn copied_up(held: &OwnedFd, upper: &OwnedFd) -> Result<u64> {
    let path = sys::read_link_of(&own_path(held))?;
    let inside = path.strip_prefix(b"/").ok_or(sys::ENOENT)?;
    let there = sys::open(At::Fd(upper.as_fd()), inside, sys::O_PATH | sys::O_NOFOLLOW, 0, BENEATH)?;
    let (below, above) = (sys::stat(held.as_fd(), b"")?, sys::stat(there.as_fd(), b"")?);
    // Another file may have got the name of one that is gone.
    if below.kind() == above.kind() && below.links > 0 { Ok(above.inode) } else { Err(sys::ENOENT) }
}
