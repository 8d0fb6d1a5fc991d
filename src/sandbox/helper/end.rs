//! The end of processes that have no pid namespace: whoever descends from this process in, none left out.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use crate::sys::{self, At, Child, Result};

/// How long to wait between looks.
const BETWEEN_LOOKS_MILLISECONDS: i64 = 1;

/// Whether everything that this process may signal is the step's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It is: one call ends all at once, those that fork included.
    StepOnly,
    /// There are others: the step's are found by their parents.
    Others,
}

/// How often processes are looked for where `/proc` cannot be read.
const MOST_BLIND_LOOKS: u32 = 10_000;

/// Ends all that descends from this process, which must adopt orphans, and waits until nothing is left. Fails where nothing tells which
/// processes those are.
pub fn end_all(reach: Reach) -> Result<()> {
    let mut blind_looks = 0;
    loop {
        match reach {
            Reach::StepOnly => sys::kill_all_in_reach(),
            Reach::Others => {
                // First stopped, so that what forks does so no more, then ended.
                match descendants() {
                    Ok(descendants) => {
                        descendants.iter().for_each(|pid| sys::stop(*pid));
                        descendants.iter().for_each(|pid| sys::kill(*pid));
                    }
                    Err(errno) => {
                        blind_looks += 1;
                        if blind_looks > MOST_BLIND_LOOKS {
                            return Err(errno);
                        }
                    }
                }
            }
        }
        loop {
            match sys::look_for_ended() {
                Ok(Child::Ended(..)) => {}
                Ok(Child::Running) => break,
                Ok(Child::None) | Err(_) => return Ok(()),
            }
        }
        sys::pause_milliseconds(BETWEEN_LOOKS_MILLISECONDS);
    }
}

/// All processes below this one.
fn descendants() -> Result<Vec<i32>> {
    let proc = sys::open(At::Root, b"/proc", sys::O_RDONLY | sys::O_DIRECTORY, 0, sys::ANYWHERE)?;
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in sys::names(&proc)? {
        let Some(pid) = std::str::from_utf8(&entry.name).ok().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let path = [entry.name.as_slice(), b"/stat"].concat();
        let Ok(file) = sys::open(At::Fd(proc.as_fd()), &path, sys::O_RDONLY, 0, sys::ANYWHERE) else { continue };
        let mut buffer = [0; 512];
        let Ok(count) = sys::read(&file, &mut buffer) else { continue };
        if let Some(parent) = parent(&buffer[..count]) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![sys::getpid()];
    while let Some(pid) = next.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        found.extend(&below);
        next.extend(below);
    }
    Ok(found)
}

/// The parent in a line of `/proc/PID/stat`: behind the name, which is in parentheses and may be anything, and the state.
fn parent(stat: &[u8]) -> Option<i32> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    std::str::from_utf8(stat.get(end + 1..)?).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}
