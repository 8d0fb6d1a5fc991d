//! Finding and making places inside a root: a path as the step means it in, a descriptor out.
//!
//! Links are read and followed here, name by name, so that an absolute one starts at the step's root and `..` never leaves it. The kernel
//! follows none.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::step::Made;
use crate::sys::{self, At, BENEATH, EBUSY, EISDIR, ELOOP, ENOENT, ENOTDIR, Result, Stat};
use crate::wire::Bytes;

/// What should be at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Want {
    Directory,
    File,
}

impl Want {
    pub fn of(stat: &Stat) -> Want {
        if stat.kind() == sys::S_IFDIR { Want::Directory } else { Want::File }
    }
}

/// What is done about a place that is not there.
enum Missing<'a> {
    Refuse,
    Make(Want, &'a mut Vec<Made>),
}

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

const DIRECTORY: u64 = sys::O_PATH | sys::O_DIRECTORY | sys::O_NOFOLLOW;

/// Opens what is at `path` inside `root`, for mounting.
pub fn find(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    Ok(walk(root, path, Missing::Refuse)?.0)
}

/// Opens what is at `path` inside `root`, for mounting on it; makes what is missing and adds what it made in `root` itself to `made`.
pub fn find_or_make(root: BorrowedFd<'_>, path: &[u8], want: Want, made: &mut Vec<Made>) -> Result<OwnedFd> {
    let (place, _) = walk(root, path, Missing::Make(want, made))?;
    match (want, Want::of(&sys::stat(place.as_fd(), b"")?)) {
        (Want::Directory, Want::File) => Err(ENOTDIR),
        (Want::File, Want::Directory) => Err(EISDIR),
        (Want::Directory, Want::Directory) | (Want::File, Want::File) => Ok(place),
    }
}

/// The directory and the name in it that `path` is inside `root`, links resolved; what is missing is made as by [`find_or_make`].
pub fn name_or_make(root: BorrowedFd<'_>, path: &[u8], want: Want, made: &mut Vec<Made>) -> Result<(OwnedFd, Vec<u8>)> {
    let (_, mut walked) = walk(root, path, Missing::Make(want, made))?;
    // The root itself is in no directory of its own.
    let name = walked.pop().ok_or(EBUSY)?;
    let parent = sys::open(At::Fd(root), &walked.join(b"/".as_slice()), DIRECTORY, 0, BENEATH)?;
    Ok((parent, name))
}

fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b".")).map(<[u8]>::to_vec)
}

/// What is there, and its path without links.
fn walk(root: BorrowedFd<'_>, path: &[u8], mut missing: Missing<'_>) -> Result<(OwnedFd, Vec<Vec<u8>>)> {
    let root_device = sys::stat(root, b"")?.device();
    let at_root = || sys::open(At::Fd(root), b"", DIRECTORY, 0, BENEATH);
    let mut rest: VecDeque<Vec<u8>> = names(path).collect();
    let mut walked: Vec<Vec<u8>> = Vec::new();
    let mut here = at_root()?;
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == b".." {
            walked.pop();
            here = sys::open(At::Fd(root), &walked.join(b"/".as_slice()), DIRECTORY, 0, BENEATH)?;
            continue;
        }
        let stat = match (sys::stat(here.as_fd(), &name), &mut missing) {
            (Err(ENOENT), Missing::Make(want, made)) => {
                let want = if rest.is_empty() { *want } else { Want::Directory };
                let stat = make(here.as_fd(), &name, want)?;
                if sys::stat(here.as_fd(), b"")?.device() == root_device {
                    let path = [walked.as_slice(), std::slice::from_ref(&name)].concat().join(b"/".as_slice());
                    made.push(Made { path: Bytes(path), mode: stat.mode, uid: stat.uid, gid: stat.gid });
                }
                stat
            }
            (stat, _) => stat?,
        };
        match stat.kind() {
            sys::S_IFLNK => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(ELOOP);
                }
                let target = sys::read_link(here.as_fd(), &name)?;
                if target.starts_with(b"/") {
                    walked.clear();
                    here = at_root()?;
                }
                for name in names(&target).rev() {
                    rest.push_front(name);
                }
            }
            sys::S_IFDIR => {
                here = sys::open(At::Fd(here.as_fd()), &name, DIRECTORY, 0, BENEATH)?;
                walked.push(name);
            }
            _ if rest.is_empty() => {
                let place = sys::open(At::Fd(here.as_fd()), &name, sys::O_PATH | sys::O_NOFOLLOW, 0, BENEATH)?;
                walked.push(name);
                return Ok((place, walked));
            }
            _ => return Err(ENOTDIR),
        }
    }
    Ok((here, walked))
}

fn make(parent: BorrowedFd<'_>, name: &[u8], want: Want) -> Result<Stat> {
    match want {
        Want::Directory => sys::make_directory(parent, name, 0o755)?,
        Want::File => {
            let flags = sys::O_RDWR | sys::O_CREAT | sys::O_EXCL | sys::O_NOFOLLOW;
            sys::open(At::Fd(parent), name, flags, 0o644, BENEATH)?;
        }
    }
    sys::stat(parent, name)
}
