//! Finding what a path means for a user who may not go everywhere: a path in, what is there and whether it can be reached out.
//!
//! Names are gone through one by one, and each directory is asked whether it may be searched. In `/proc` the kernel finds the way alone:
//! what is there depends on who looks.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use super::credentials::{Owner, Subject, Wish};
use super::process::Asked;
use super::{Stop, Supervisor};
use crate::sys::{self, At, EACCES, ELOOP, ENOENT, ENOTDIR, Follow, Stat};

/// Something that was found.
pub struct Node {
    pub fd: OwnedFd,
    pub stat: Stat,
    pub owner: Owner,
}

/// What a path means.
pub struct Spot {
    /// The directory that the last name is in; none where the path ends in no name.
    pub parent: Option<Node>,
    /// The last name, which is no link where links are followed.
    pub name: Vec<u8>,
    /// What has the name.
    pub node: Option<Node>,
}

impl Spot {
    /// What must be there.
    pub fn existing(self) -> Result<Node, Stop> {
        self.node.ok_or(Stop::Errno(ENOENT))
    }
}

const MOST_LINKS: usize = 40;

impl Node {
    pub fn may(&self, subject: &Subject<'_>, wish: Wish) -> Result<(), Stop> {
        if subject.may(self.owner, self.stat.mode, wish) { Ok(()) } else { Err(EACCES.into()) }
    }

    pub fn is_directory(&self) -> bool {
        self.stat.kind() == sys::S_IFDIR
    }
}

impl Supervisor {
    /// What is open, with whom it belongs to.
    pub fn node(&self, fd: OwnedFd) -> Result<Node, Stop> {
        let stat = sys::stat(fd.as_fd(), b"")?;
        let owner = self.owners.of(fd.as_fd(), &stat)?;
        Ok(Node { fd, stat, owner })
    }

    /// What a process means by a path that user 0 of the step may go ([`Asked::find`]). In `/proc` it is the kernel's to say: what is there
    /// depends on who looks.
    pub fn found(&self, asked: &Asked<'_>, directory: i32, path: &[u8], follow: Follow) -> Result<Node, Stop> {
        let node = self.node(asked.find(directory, path, follow)?)?;
        if self.is_in_proc(&node)? { Err(Stop::Kernel) } else { Ok(node) }
    }

    /// Whether something is in `/proc`, wherever that is mounted.
    fn is_in_proc(&self, node: &Node) -> Result<bool, Stop> {
        let device = node.stat.device();
        if let Some(known) = self.procs.borrow().get(&device) {
            return Ok(*known);
        }
        let is_proc = sys::is_proc(&node.fd)?;
        self.procs.borrow_mut().insert(device, is_proc);
        Ok(is_proc)
    }

    /// Goes through a path as a process means it, as `subject`.
    pub fn walk(&self, asked: &Asked<'_>, subject: &Subject<'_>, directory: i32, path: &[u8], last: Follow) -> Result<Spot, Stop> {
        if path.is_empty() {
            return Err(ENOENT.into());
        }
        let at_root = || self.node(sys::open(At::Root, b"/", sys::O_PATH, 0, sys::ANYWHERE)?);
        let mut here = match path.first() {
            Some(b'/') => at_root()?,
            _ => self.node(asked.start(directory)?)?,
        };
        let mut must_be_directory = path.ends_with(b"/") || path.ends_with(b"/.");
        let mut rest: VecDeque<Vec<u8>> = names(path).collect();
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if !here.is_directory() {
                return Err(ENOTDIR.into());
            }
            if self.is_in_proc(&here)? {
                return Err(Stop::Kernel);
            }
            here.may(subject, Wish::SEARCH)?;
            if name == b".." {
                here = self.node(sys::open(At::Fd(here.fd.as_fd()), b"..", sys::O_PATH, 0, sys::ANYWHERE)?)?;
                continue;
            }
            let found = match sys::open(At::Fd(here.fd.as_fd()), &name, sys::O_PATH | sys::O_NOFOLLOW, 0, sys::ANYWHERE) {
                Err(ENOENT) if rest.is_empty() => return Ok(Spot { parent: Some(here), name, node: None }),
                found => self.node(found?)?,
            };
            let is_last = rest.is_empty();
            let follow = !is_last || must_be_directory || matches!(last, Follow::Yes);
            if found.stat.kind() == sys::S_IFLNK && follow {
                links += 1;
                if links > MOST_LINKS {
                    return Err(ELOOP.into());
                }
                let target = sys::read_link(found.fd.as_fd(), b"")?;
                if target.first() == Some(&b'/') {
                    here = at_root()?;
                }
                must_be_directory |= is_last && target.ends_with(b"/");
                for name in names(&target).rev() {
                    rest.push_front(name);
                }
                continue;
            }
            if is_last {
                if must_be_directory && !found.is_directory() {
                    return Err(ENOTDIR.into());
                }
                return Ok(Spot { parent: Some(here), name, node: Some(found) });
            }
            here = found;
        }
        Ok(Spot { parent: None, name: Vec::new(), node: Some(here) })
    }
}

fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b".")).map(<[u8]>::to_vec)
}
