//! The process that asks: its memory, its paths and its descriptors, as the supervisor reaches them.
//!
//! The supervisor is in the step's mount namespace with the step's root, and works in `/proc/self/fd` of the host's `/proc`, which it has
//! kept: a number is a descriptor of its own there, and `../../PID/cwd` the working directory of another process.

use std::rc::Rc;

use super::Stop;
use super::credentials::Credentials;
use crate::sys::{self, At, EACCES, EINVAL, EPERM, Errno, O_RDONLY, Result};

pub const AT_FDCWD: i32 = -100;
pub const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
pub const AT_EMPTY_PATH: u64 = 0x1000;

const EFAULT: Errno = Errno(14);
const ENAMETOOLONG: Errno = Errno(36);
const ESRCH: Errno = Errno(3);
/// Bytes of the longest path with the zero behind it.
const MOST_PATH_BYTES: usize = 4096;
const PAGE: u64 = 4096;

/// One call that waits for an answer.
pub struct Asked {
    pub id: u64,
    /// The calling thread, as the supervisor counts.
    pub pid: u32,
    pub arguments: [u64; 6],
    pub who: Rc<Credentials>,
}

impl Asked {
    /// An argument that is `int`.
    pub fn int(&self, index: usize) -> i32 {
        self.arguments[index] as i32
    }

    /// An argument that is `unsigned int`.
    pub fn number(&self, index: usize) -> u32 {
        self.arguments[index] as u32
    }

    /// A string of the process.
    pub fn text(&self, address: u64) -> std::result::Result<Vec<u8>, Stop> {
        if address == 0 {
            return Err(EFAULT.into());
        }
        let mut text = Vec::new();
        let mut buffer = [0_u8; PAGE as usize];
        while text.len() < MOST_PATH_BYTES {
            let at = address.checked_add(text.len() as u64).ok_or(EFAULT)?;
            // The next page may not be there.
            let room = (PAGE - at % PAGE).min((MOST_PATH_BYTES - text.len()) as u64) as usize;
            let count = match sys::read_memory(self.pid, at, &mut buffer[..room]) {
                // It has not become its program yet, or is gone.
                Err(EPERM | ESRCH) => return Err(Stop::Kernel),
                other => other?,
            };
            let read = &buffer[..count];
            if let Some(end) = read.iter().position(|&byte| byte == 0) {
                text.extend_from_slice(&read[..end]);
                return Ok(text);
            }
            text.extend_from_slice(read);
            if count < room {
                return Err(EFAULT.into());
            }
        }
        Err(ENAMETOOLONG.into())
    }

    /// Bytes of the process, exactly as many.
    pub fn bytes(&self, address: u64, count: usize) -> std::result::Result<Vec<u8>, Stop> {
        let mut buffer = vec![0; count];
        match sys::read_memory(self.pid, address, &mut buffer) {
            Ok(read) if read == count => Ok(buffer),
            Err(EPERM | ESRCH) => Err(Stop::Kernel),
            Ok(_) | Err(_) => Err(EFAULT.into()),
        }
    }

    /// Numbers of the process.
    pub fn numbers(&self, address: u64, count: usize) -> std::result::Result<Vec<u32>, Stop> {
        let bytes = self.bytes(address, count * 4)?;
        Ok(bytes.chunks_exact(4).map(|chunk| u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]])).collect())
    }

    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        sys::write_memory(self.pid, address, bytes).map_err(|_| EFAULT)
    }

    pub fn write_number(&self, address: u64, number: u32) -> Result<()> {
        self.write(address, &number.to_le_bytes())
    }

    /// Where the supervisor finds what a process means by a directory (a descriptor or `AT_FDCWD`) and a path.
    pub fn located(&self, directory: i32, path: &[u8]) -> Vec<u8> {
        if path.first() == Some(&b'/') {
            return match itself(path) {
                Some(fd) => self.descriptor(fd),
                None => path.to_vec(),
            };
        }
        let mut located = self.directory(directory);
        if !path.is_empty() {
            located.push(b'/');
            located.extend_from_slice(path);
        }
        located
    }

    /// Whether a path names a descriptor of the process itself.
    pub fn is_own_descriptor(&self, path: &[u8]) -> bool {
        itself(path).is_some()
    }

    /// The path of a directory that calls start at.
    pub fn directory(&self, directory: i32) -> Vec<u8> {
        match directory {
            AT_FDCWD => self.of_proc("cwd"),
            fd => self.descriptor(fd),
        }
    }

    /// The path of what a descriptor is open on.
    pub fn descriptor(&self, fd: i32) -> Vec<u8> {
        format!("../../{}/fd/{fd}", self.pid).into_bytes()
    }

    pub fn of_proc(&self, name: &str) -> Vec<u8> {
        format!("../../{}/{name}", self.pid).into_bytes()
    }

    /// One line of `/proc/PID/status`, without its name.
    pub fn status(&self, name: &str) -> Result<String> {
        status_of(self.pid, name)
    }

    /// What it takes away of the modes of new files.
    pub fn umask(&self) -> Result<u32> {
        u32::from_str_radix(&self.status("Umask")?, 8).map_err(|_| EINVAL)
    }

    /// Its process, where it is one thread of several.
    pub fn process(&self) -> Result<u32> {
        self.status("Tgid")?.parse().map_err(|_| EINVAL)
    }
}

/// What changes when a process becomes another program: where its stack starts, and the program.
pub fn program_of(pid: u32) -> (String, Vec<u8>) {
    const STACK_START: usize = 25;
    let stat = read_small(&format!("../../{pid}/stat")).unwrap_or_default();
    let text = String::from_utf8_lossy(&stat).into_owned();
    // The name, in parentheses, may have anything in it. The first field behind it is the third.
    let stack = text.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(STACK_START)).unwrap_or_default().to_owned();
    (stack, sys::read_link_of(format!("../../{pid}/exe").as_bytes()).unwrap_or_default())
}

/// What kind of machine a process takes this one for.
pub fn personality_of(pid: u32) -> Result<u32> {
    let text = read_small(&format!("../../{pid}/personality"))?;
    std::str::from_utf8(&text).ok().and_then(|text| u32::from_str_radix(text.trim(), 16).ok()).ok_or(EINVAL)
}

pub fn status_of(pid: u32, name: &str) -> Result<String> {
    let status = read_small(&format!("../../{pid}/status"))?;
    let text = String::from_utf8_lossy(&status);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned()).ok_or(EINVAL)
}

/// A file of a few kilobytes.
fn read_small(path: &str) -> Result<Vec<u8>> {
    let file = sys::open(At::Root, path.as_bytes(), O_RDONLY, 0, sys::ANYWHERE)?;
    let mut bytes = vec![0; 8192];
    let mut filled = 0;
    while filled < bytes.len() {
        match sys::read(&file, &mut bytes[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The descriptor of its own that a process names by a path.
fn itself(path: &[u8]) -> Option<i32> {
    let number = match path {
        b"/dev/stdin" => return Some(0),
        b"/dev/stdout" => return Some(1),
        b"/dev/stderr" => return Some(2),
        _ => [b"/proc/self/fd/".as_slice(), b"/dev/fd/", b"/proc/thread-self/fd/"].iter().find_map(|prefix| path.strip_prefix(*prefix))?,
    };
    std::str::from_utf8(number).ok()?.parse::<i32>().ok().filter(|fd| *fd >= 0)
}

/// Whether an error of the supervisor's own look at a process means that the process may not be looked at.
pub fn is_out_of_reach(error: Errno) -> bool {
    matches!(error, EPERM | EACCES | ESRCH)
}
