//! A command that wants what it cannot have where it runs, and could have where users and owners are a model: its calls in, what it wanted out.
//!
//! What that is stands in [`crate::wanted`]. The host name is answered by the same descriptor, as a process can have only one.

use std::os::fd::{AsFd as _, OwnedFd};

use crate::calls::Architecture;
use crate::confine::HostName;
use crate::filter::{self, Action, Instruction, Otherwise, Rule};
use crate::sys::{self, At};
use crate::{name, wanted};

/// The filter by which such calls come, and those for the host name where it is answered. `None` where no filters are made for the
/// architecture.
pub fn program(host_name: HostName) -> Option<Vec<Instruction>> {
    let wanting = wanted::wanting(last_id(b"/proc/self/uid_map"), last_id(b"/proc/self/gid_map"));
    let mut rules: Vec<Rule<'_>> = wanted::rules(&wanting).collect();
    match host_name {
        HostName::Own => {}
        HostName::Answered => rules.extend(name::rules()),
    }
    let otherwise = Otherwise { known: Action::Allow, newer: Action::Allow, foreign: Action::Allow };
    if Architecture::HERE.is_empty() { None } else { filter::program(Architecture::HERE, &rules, otherwise) }
}

/// The last id of those that this process's namespace has from 0 on; where that cannot be read, it is taken to have all.
fn last_id(path: &[u8]) -> u32 {
    let mut text = [0; 4096];
    let read = sys::open(At::Root, path, sys::O_RDONLY, 0, sys::ANYWHERE).and_then(|file| sys::read(&file, &mut text));
    let Ok(count) = read else { return wanted::LAST_OF_ALL };
    wanted::last_of(&String::from_utf8_lossy(&text[..count]))
}

/// Whether a process may do such things at all: to everybody but user 0 they are refused everywhere.
fn is_user_0(pid: u32) -> bool {
    let mut text = [0; 2048];
    let path = format!("/proc/{pid}/status");
    let read = sys::open(At::Root, path.as_bytes(), sys::O_RDONLY, 0, sys::ANYWHERE).and_then(|file| sys::read(&file, &mut text));
    // A process that is gone wants nothing.
    let Ok(count) = read else { return false };
    let text = String::from_utf8_lossy(&text[..count]);
    // The last of four is the one that counts for files.
    text.lines().find_map(|line| line.strip_prefix("Uid:")).and_then(|ids| ids.split_ascii_whitespace().next_back()) == Some("0")
}

/// The first group of a list that the process's namespace has not. Where the list cannot be read, the kernel alone looks at it.
fn far_group(pid: u32, (address, count): (u64, usize)) -> Option<u32> {
    let last = last_id(format!("/proc/{pid}/gid_map").as_bytes());
    let memory = name::look_at(pid, |process| sys::open(At::Fd(process.as_fd()), b"mem", sys::O_RDONLY, 0, sys::BENEATH)).ok()?;
    let mut list = vec![0_u8; 4 * count];
    sys::read_at(&memory, address, &mut list).ok()?;
    list.chunks_exact(4).map(|id| u32::from_ne_bytes([id[0], id[1], id[2], id[3]])).find(|id| *id > last)
}

/// What is done about what a command cannot have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The kernel refuses it.
    GoesOn,
    /// Nothing: the command is about to end, and the call waits until then.
    Waits,
}

/// Deals with the next call: what the command wanted and cannot have, where it is one.
pub fn serve(listener: &OwnedFd, host_name: &[u8], then: Then) -> Option<String> {
    let notification = sys::next_notification(listener).ok()?;
    let call = (notification.architecture, notification.number, notification.arguments);
    let wanted = if let Some(list) = wanted::list_of_groups(call.0, call.1, call.2) {
        far_group(notification.pid, list).map(|group| format!("to be in the group {group}"))
    } else if let Some(wanted) = wanted::wanted(call.0, call.1, call.2) {
        Some(wanted)
    } else {
        name::answer(listener, &notification, host_name);
        return None;
    };
    // A number that is somebody else's by now says nothing of who asked.
    let wanted = wanted.filter(|_| is_user_0(notification.pid) && sys::still_waits(listener, notification.id));
    if wanted.is_none() || then == Then::GoesOn {
        // Before Linux 5.5 the kernel cannot go on by itself. What fails then is a process that is gone.
        let _ = sys::answer_go_on(listener, notification.id).or_else(|_| sys::answer(listener, notification.id, Err(sys::EPERM)));
    }
    wanted
}
