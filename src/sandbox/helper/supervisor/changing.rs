//! Changes to what is there: owners, which only the model has; modes, names, sizes and times, which the kernel changes once the model
//! permits it.

use std::os::fd::{AsFd, OwnedFd};

use super::credentials::{CHOWN, DAC_OVERRIDE, FOWNER, FSETID, Subject, Wish};
use super::looking::kernel_if_out_of_reach;
use super::owners::own_path;
use super::process::{AT_EMPTY_PATH, AT_FDCWD, Asked};
use super::walk::{Node, Spot};
use super::{Answer, Outcome, Owner, Stop, Supervisor};
use crate::sys::{self, EPERM, Follow};

const S_ISVTX: u16 = 0o1000;
const S_ISUID: u16 = 0o4000;
const S_ISGID: u16 = 0o2000;
const S_IXGRP: u16 = 0o10;
/// `AT_SYMLINK_FOLLOW` of `linkat(2)`.
const FOLLOW: u64 = 0x400;
/// `RENAME_EXCHANGE` and `RENAME_WHITEOUT` of `renameat2(2)`.
const EXCHANGE: u64 = 2;
const WHITEOUT: u64 = 4;

impl Supervisor {
    /// What a call is about that takes a directory, a path that may be missing, and flags.
    fn target(&self, asked: &Asked<'_>, directory: i32, path: Option<u64>, flags: u64) -> Result<Node, Stop> {
        let path = match path {
            None => return asked.opened(directory).map_err(Stop::from).and_then(|fd| self.node(fd)).map_err(kernel_if_out_of_reach),
            Some(0) if flags & AT_EMPTY_PATH != 0 => Vec::new(),
            Some(address) => asked.text(address)?,
        };
        if path.is_empty() {
            return if flags & AT_EMPTY_PATH == 0 { Err(sys::ENOENT.into()) } else { self.found(asked, directory, b"", Follow::Yes) };
        }
        if asked.who.can(DAC_OVERRIDE) || asked.is_own_descriptor(&path) {
            return self.found(asked, directory, &path, Self::follow(flags));
        }
        self.walk(asked, &asked.who.subject(), directory, &path, Self::follow(flags))?.existing()
    }

    pub(super) fn change_owner(
        &mut self,
        listener: &OwnedFd,
        asked: &Asked<'_>,
        directory: i32,
        path: Option<u64>,
        (uid, gid): (u64, u64),
        flags: u64,
    ) -> Outcome {
        let (uid, gid) = (uid as u32, gid as u32);
        let as_is = u32::MAX;
        let node = self.target(asked, directory, path, flags)?;
        let subject = asked.who.subject();
        let is_owner = subject.uid == node.owner.uid;
        let may_give = uid == as_is || asked.who.can(CHOWN) || (is_owner && uid == node.owner.uid);
        let may_group = gid == as_is || asked.who.can(CHOWN) || (is_owner && (subject.is_in(gid) || gid == node.owner.gid));
        if !may_give || !may_group {
            return Err(EPERM.into());
        }
        if !sys::still_waits(listener, asked.id) {
            return Err(Stop::Kernel);
        }
        let to_kernel = |id: u32| if id == as_is { as_is } else { 0 };
        // With it the kernel does all that goes with a new owner: it takes bits and capabilities away, and refuses where nothing can be
        // written.
        sys::change_owner(node.fd.as_fd(), to_kernel(uid), to_kernel(gid))?;
        if uid == as_is && gid == as_is {
            return Ok(Answer::Value(0));
        }
        let or = |new: u32, old: u32| if new == as_is { old } else { new };
        let owner = Owner { uid: or(uid, node.owner.uid), gid: or(gid, node.owner.gid) };
        self.owners.set(node.fd.as_fd(), &node.stat, owner)?;
        Ok(Answer::Value(0))
    }

    pub(super) fn change_mode(&self, asked: &Asked<'_>, directory: i32, path: Option<u64>, mode: u64, flags: u64) -> Outcome {
        if asked.who.can(FOWNER) && asked.who.can(FSETID) && asked.who.can(DAC_OVERRIDE) {
            return Ok(Answer::Kernel);
        }
        let node = self.target(asked, directory, path, flags)?;
        let subject = asked.who.subject();
        if !subject.owns(node.owner) {
            return Err(EPERM.into());
        }
        let mode = mode as u16 & 0o7777;
        if mode & S_ISGID != 0 && !subject.is_in(node.owner.gid) && !asked.who.can(FSETID) {
            asked.still_waits()?;
            sys::change_mode_of(&own_path(&node.fd), mode & !S_ISGID)?;
            return Ok(Answer::Value(0));
        }
        Ok(Answer::Kernel)
    }

    pub(super) fn truncate(&self, asked: &Asked<'_>) -> Outcome {
        if asked.who.can(DAC_OVERRIDE) {
            return Ok(Answer::Kernel);
        }
        let node = self.target(asked, AT_FDCWD, Some(asked.arguments[0]), 0)?;
        node.may(&asked.who.subject(), Wish::WRITE)?;
        Ok(Answer::Kernel)
    }

    /// `times` is the address of the new times; without one they are those of the moment, for which writing is enough.
    pub(super) fn set_times(&self, asked: &Asked<'_>, directory: i32, path: u64, times: u64, flags: u64) -> Outcome {
        if asked.who.can(FOWNER) && asked.who.can(DAC_OVERRIDE) {
            return Ok(Answer::Kernel);
        }
        let path = (path != 0).then_some(path);
        let node = self.target(asked, directory, path, flags)?;
        let subject = asked.who.subject();
        if subject.owns(node.owner) {
            return Ok(Answer::Kernel);
        }
        if times != 0 {
            return Err(EPERM.into());
        }
        node.may(&subject, Wish::WRITE)?;
        Ok(Answer::Kernel)
    }

    pub(super) fn remove(&self, asked: &Asked<'_>, directory: i32, path: u64) -> Outcome {
        if asked.who.can(DAC_OVERRIDE) && asked.who.can(FOWNER) {
            return Ok(Answer::Kernel);
        }
        let subject = asked.who.subject();
        let Spot { parent, name: _, node } = self.walk(asked, &subject, directory, trimmed(&asked.text(path)?), Follow::No)?;
        may_remove(&subject, parent.as_ref(), node.as_ref())?;
        Ok(Answer::Kernel)
    }

    pub(super) fn rename(&self, asked: &Asked<'_>, from: (i32, u64), to: (i32, u64), flags: u64) -> Outcome {
        if flags & WHITEOUT != 0 {
            // What it leaves would be a removed file to an overlay.
            return Err(sys::EINVAL.into());
        }
        if asked.who.can(DAC_OVERRIDE) && asked.who.can(FOWNER) {
            return Ok(Answer::Kernel);
        }
        let subject = asked.who.subject();
        let find = |(directory, path): (i32, u64)| self.walk(asked, &subject, directory, trimmed(&asked.text(path)?), Follow::No);
        let (from, to) = (find(from)?, find(to)?);
        may_remove(&subject, from.parent.as_ref(), from.node.as_ref())?;
        match (&to.parent, &to.node) {
            (parent, Some(node)) => may_remove(&subject, parent.as_ref(), Some(node))?,
            (Some(parent), None) => parent.may(&subject, Wish::CHANGE)?,
            (None, None) => {}
        }
        let same_parent = match (&from.parent, &to.parent) {
            (Some(from), Some(to)) => (from.stat.device(), from.stat.inode) == (to.stat.device(), to.stat.inode),
            _ => true,
        };
        let exchanged = to.node.iter().filter(|_| flags & EXCHANGE != 0);
        for moved in from.node.iter().chain(exchanged) {
            // Its `..` changes.
            if moved.is_directory() && !same_parent {
                moved.may(&subject, Wish::WRITE)?;
            }
        }
        Ok(Answer::Kernel)
    }

    pub(super) fn hard_link(&self, asked: &Asked<'_>, from: (i32, u64), to: (i32, u64), flags: u64) -> Outcome {
        if asked.who.can(DAC_OVERRIDE) && asked.who.can(FOWNER) {
            return Ok(Answer::Kernel);
        }
        let subject = asked.who.subject();
        let path = asked.text(from.1)?;
        let node = if path.is_empty() && flags & AT_EMPTY_PATH != 0 {
            self.found(asked, from.0, b"", Follow::Yes)?
        } else if asked.is_own_descriptor(&path) {
            self.found(asked, from.0, &path, Follow::Yes)?
        } else {
            let follow = if flags & FOLLOW == 0 { Follow::No } else { Follow::Yes };
            self.walk(asked, &subject, from.0, &path, follow)?.existing()?
        };
        // As with `fs.protected_hardlinks`: of others' files only those that could be written anyway.
        let harmless = node.stat.kind() == sys::S_IFREG
            && node.stat.mode & S_ISUID == 0
            && node.stat.mode & (S_ISGID | S_IXGRP) != S_ISGID | S_IXGRP
            && subject.may(node.owner, node.stat.mode, Wish(Wish::READ.0 | Wish::WRITE.0));
        if !subject.owns(node.owner) && !harmless {
            return Err(EPERM.into());
        }
        let spot = self.walk(asked, &subject, to.0, trimmed(&asked.text(to.1)?), Follow::No)?;
        if let (Some(parent), None) = (&spot.parent, &spot.node) {
            parent.may(&subject, Wish::CHANGE)?;
        }
        Ok(Answer::Kernel)
    }
}

/// Whether a name may be taken away. What is missing is the kernel's to say.
fn may_remove(subject: &Subject<'_>, parent: Option<&Node>, node: Option<&Node>) -> Result<(), Stop> {
    let (Some(parent), Some(node)) = (parent, node) else { return Ok(()) };
    parent.may(subject, Wish::CHANGE)?;
    let sticky = parent.stat.mode & S_ISVTX != 0;
    if sticky && !subject.owns(node.owner) && !subject.owns(parent.owner) {
        return Err(EPERM.into());
    }
    Ok(())
}

/// Without slashes at the end, so that a link there is not followed.
fn trimmed(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|&byte| byte != b'/') {
        Some(last) => &path[..=last],
        None => path,
    }
}
