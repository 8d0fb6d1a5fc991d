//! The process that asks: its memory, its paths and its descriptors, as the supervisor reaches them.
//!
//! The supervisor is in the step's mount namespace with the step's root, and works in `/proc/self/fd` of a `/proc` of the builder's that is
//! mounted nowhere: a number is a descriptor of its own there, and `../../PID/cwd` the working directory of another process. Nothing is
//! above that `/proc`. Only what a process has open or stands in is found by it; paths of the process are followed from there in a second
//! look, which goes through no such link.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use super::Stop;
use super::credentials::Credentials;
use crate::sys::{
    self, ANYWHERE, At, EACCES, EINVAL, ELOOP, EPERM, Errno, Follow, O_NOFOLLOW, O_PATH, O_RDONLY, OF_ANOTHER, Result,
};

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
pub struct Asked<'l> {
    pub listener: &'l OwnedFd,
    pub id: u64,
    /// The calling thread, as the supervisor counts.
    pub pid: u32,
    pub arguments: [u64; 6],
    pub who: Rc<Credentials>,
}

impl Asked<'_> {
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

    /// Writes to the process's memory, if the number is still its own.
    pub fn write(&self, address: u64, bytes: &[u8]) -> std::result::Result<(), Stop> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.still_waits()?;
        sys::write_memory(self.pid, address, bytes).map_err(|_| EFAULT.into())
    }

    pub fn write_number(&self, address: u64, number: u32) -> std::result::Result<(), Stop> {
        self.write(address, &number.to_le_bytes())
    }

    /// What a process means by a directory (a descriptor or `AT_FDCWD`) and a path; an empty path is the directory. The kernel finds the
    /// way, for user 0 of the step, and is left alone with paths that only the process itself can be on.
    pub fn find(&self, directory: i32, path: &[u8], follow: Follow) -> std::result::Result<OwnedFd, Stop> {
        let flags = match follow {
            Follow::Yes => O_PATH,
            Follow::No => O_PATH | O_NOFOLLOW,
        };
        if let Some(fd) = itself(path) {
            return Ok(sys::open(At::Root, &self.descriptor(fd), flags, 0, ANYWHERE)?);
        }
        let found = if path.first() == Some(&b'/') {
            sys::open(At::Root, path, flags, 0, OF_ANOTHER)
        } else {
            let start = self.start(directory)?;
            if path.is_empty() {
                return Ok(start);
            }
            sys::open(At::Fd(start.as_fd()), path, flags, 0, OF_ANOTHER)
        };
        found.map_err(|errno| match errno {
            // A link that leads elsewhere for each process, or too many links, which the kernel will say again.
            ELOOP => Stop::Kernel,
            other => other.into(),
        })
    }

    /// The directory that a path of the process starts at.
    pub fn start(&self, directory: i32) -> Result<OwnedFd> {
        sys::open(At::Root, &self.directory(directory), O_PATH, 0, ANYWHERE)
    }

    /// What a descriptor of the process is open on.
    pub fn opened(&self, fd: i32) -> Result<OwnedFd> {
        sys::open(At::Root, &self.descriptor(fd), O_PATH, 0, ANYWHERE)
    }

    /// Whether the call still waits, so that the process is the one that made it.
    pub fn still_waits(&self) -> std::result::Result<(), Stop> {
        if sys::still_waits(self.listener, self.id) { Ok(()) } else { Err(Stop::Kernel) }
    }

    /// Whether a path names a descriptor of the process itself.
    pub fn is_own_descriptor(&self, path: &[u8]) -> bool {
        itself(path).is_some()
    }

    /// The path of a directory that calls start at.
    fn directory(&self, directory: i32) -> Vec<u8> {
        match directory {
            AT_FDCWD => self.of_proc("cwd"),
            fd => self.descriptor(fd),
        }
    }

    /// The path of what a descriptor is open on.
    fn descriptor(&self, fd: i32) -> Vec<u8> {
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

/// A process and the program that it runs.
#[derive(PartialEq, Eq)]
pub struct Running {
    /// When it started, so that another process with its number is told from it.
    since: String,
    /// What changes when it becomes another program: where its stack starts, and the program.
    program: (String, Vec<u8>),
}

impl Running {
    /// What a process is now.
    pub fn of(pid: u32) -> Running {
        const STARTED: usize = 19;
        const STACK_START: usize = 25;
        let stat = read_small(&format!("../../{pid}/stat")).unwrap_or_default();
        let text = String::from_utf8_lossy(&stat);
        // The name, in parentheses, may have anything in it. The first field behind it is the third.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |index: usize| fields.get(index).copied().unwrap_or_default().to_owned();
        let program = sys::read_link_of(format!("../../{pid}/exe").as_bytes()).unwrap_or_default();
        Running { since: field(STARTED), program: (field(STACK_START), program) }
    }

    /// Whether it is the same process with another program.
    pub fn became(&self, now: &Running) -> bool {
        self.since == now.since && self.program != now.program
    }
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
