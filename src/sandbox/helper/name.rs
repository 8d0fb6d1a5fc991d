//! The host name where there is none of the step's own: calls of `uname(2)` that wait in, answers out.
//!
//! A container may keep programs from naming even a uts namespace of their own, and without namespaces there is nothing to name. The
//! calls that ask for the name then wait for the process above the step, which asks the kernel what it would say, and writes that with
//! another name. It writes to the memory of the process that asks, by a descriptor of that memory, so that it never writes to another's.

use std::os::fd::{AsFd, OwnedFd};

use crate::calls::{self, Architecture};
use crate::filter::{self, Action, ENOSYS, Instruction, Otherwise, Rule};
use crate::sys::{self, At, EINVAL, EPERM, Result};

/// The name that the kernel gives to the domain of a machine that has none.
const NO_DOMAIN: &[u8] = b"(none)";

/// The calls that give the host name. The older ones of 32-bit machines are not there; programs use the newest.
pub fn rules() -> [Rule<'static>; 3] {
    [
        Rule::always(calls::UNAME, Action::Notify),
        Rule::always(calls::OLDUNAME, Action::Errno(ENOSYS)),
        Rule::always(calls::OLDOLDUNAME, Action::Errno(ENOSYS)),
    ]
}

/// The filter by which they come. `None` where no filters are made for the architecture.
pub fn program() -> Option<Vec<Instruction>> {
    let otherwise = Otherwise { known: Action::Allow, newer: Action::Allow, foreign: Action::Allow };
    if Architecture::HERE.is_empty() { None } else { filter::program(Architecture::HERE, &rules(), otherwise) }
}

/// What a process is told that asks for the name: `personality` is its own, which changes the rest.
pub fn told(name: &[u8], personality: u32) -> Result<[u8; sys::UNAME_BYTES]> {
    let mut told = sys::uname_as(personality)?;
    let field = sys::UNAME_BYTES / 6;
    for (index, text) in [(1, name), (5, NO_DOMAIN)] {
        let place = told.get_mut(index * field..(index + 1) * field).ok_or(EINVAL)?;
        if text.len() >= field {
            return Err(EINVAL);
        }
        place.fill(0);
        place[..text.len()].copy_from_slice(text);
    }
    Ok(told)
}

/// Answers a call for the name. A process whose memory is out of reach gets no name rather than another.
pub fn answer(listener: &OwnedFd, notification: &sys::Notification, name: &[u8]) {
    let answer = answered(listener, notification, name).map(|()| 0).map_err(|_| EPERM);
    // What fails here is a process that is gone.
    let _ = sys::answer(listener, notification.id, answer);
}

fn answered(listener: &OwnedFd, notification: &sys::Notification, name: &[u8]) -> Result<()> {
    let (memory, personality) = look_at(notification.pid, |process| {
        let open = |name: &[u8], flags| sys::open(At::Fd(process.as_fd()), name, flags, 0, sys::BENEATH);
        let mut text = [0; 16];
        let count = sys::read(&open(b"personality", sys::O_RDONLY)?, &mut text)?;
        let personality = std::str::from_utf8(&text[..count]).ok().and_then(|text| u32::from_str_radix(text.trim(), 16).ok());
        Ok((open(b"mem", sys::O_RDWR)?, personality.ok_or(EINVAL)?))
    })?;
    let told = told(name, personality)?;
    // The number may have been another process's when it was opened.
    if !sys::still_waits(listener, notification.id) {
        return Err(EPERM);
    }
    sys::write_at(&memory, notification.arguments[0], &told)
}

/// Looks at a process by its directory in `/proc`.
pub fn look_at<T>(pid: u32, look: impl Fn(&OwnedFd) -> Result<T>) -> Result<T> {
    let process = sys::open(At::Root, format!("/proc/{pid}").as_bytes(), sys::O_PATH | sys::O_DIRECTORY, 0, sys::ANYWHERE)?;
    // Whoever may trace everybody may look; everybody else has to be the process's own user for it.
    look(&process).or_else(|_| {
        let owner = sys::stat(process.as_fd(), b"")?;
        sys::as_files_of(owner.uid, owner.gid, || look(&process))
    })
}
