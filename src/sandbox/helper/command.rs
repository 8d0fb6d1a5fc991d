//! The command of a step: what it is and as whom in, a process out.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use crate::calls::Architecture;
use crate::channel;
use crate::filter::{self, Otherwise};
use crate::profile;
use crate::step::{Failure, Trying};
use crate::sys::{self, At, EACCES, EINVAL, ENOENT, ENOTDIR, Errno};
use crate::wire::{Bytes, CommandLine, Stage};

/// What a step may do as user 0: what other builders give by default. Bits are those of capability(7).
const CAPABILITIES: u64 = 1 // CHOWN
    | 1 << 1 // DAC_OVERRIDE
    | 1 << 3 // FOWNER
    | 1 << 4 // FSETID
    | 1 << 5 // KILL
    | 1 << 6 // SETGID
    | 1 << 7 // SETUID
    | 1 << 8 // SETPCAP
    | 1 << 10 // NET_BIND_SERVICE
    | 1 << 13 // NET_RAW
    | 1 << 18 // SYS_CHROOT
    | 1 << 27 // MKNOD
    | 1 << 29 // AUDIT_WRITE
    | 1 << 31; // SETFCAP

/// How much of a program that did not start is looked at.
const HEAD_BYTES: usize = 1024;

wire! {
    /// Why a program did not start, from its process to the init.
    struct NotStarted {
        /// Where it failed.
        stage: Stage,
        /// What was tried.
        what: Bytes,
        /// The kernel's answer.
        errno: i32,
        /// First bytes of the program.
        head: Bytes,
    }
}

use crate::wire::Wire;

/// Starts the command and waits until it runs: its process id.
pub fn start(command: &CommandLine, out: &OwnedFd, err: &OwnedFd) -> Result<i32, Failure> {
    let stage = Stage::Processes {};
    // It closes when the program has started.
    let (ours, theirs) = sys::socket_pair().trying(&stage, || "make a socket".to_owned())?;
    match sys::fork_process().trying(&stage, || "make a process".to_owned())? {
        None => {
            drop(ours);
            let failure = become_command(command, out, err, &theirs);
            let reply = NotStarted {
                stage: failure.stage,
                what: Bytes(failure.what.into_bytes()),
                errno: failure.errno.0,
                head: Bytes(failure.head),
            };
            let _ = channel::send(&sys::adopt(REPORT), &reply, &[]);
            sys::exit(127);
        }
        Some(pid) => {
            drop(theirs);
            match channel::receive::<NotStarted>(&ours) {
                Ok(None) => Ok(pid),
                Ok(Some((NotStarted { stage, what, errno, head }, _))) => {
                    Err(Failure { stage, what: String::from_utf8_lossy(&what.0).into_owned(), errno: Errno(errno), head: head.0 })
                }
                Err(errno) => Err(errno).trying(&stage, || "hear of the command".to_owned()),
            }
        }
    }
}

/// Where the process that becomes the command keeps its way to the init.
const REPORT: i32 = 3;

fn become_command(command: &CommandLine, out: &OwnedFd, err: &OwnedFd, report: &OwnedFd) -> Failure {
    let outcome = prepare(command, out, err, report).and_then(|()| execute(command));
    match outcome {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

enum Never {}

/// Everything up to the program itself. After it only descriptors 0 to 3 are open.
fn prepare(command: &CommandLine, out: &OwnedFd, err: &OwnedFd, report: &OwnedFd) -> Result<(), Failure> {
    let CommandLine::Program { workdir, uid, gid, groups, .. } = command else {
        return Err(EINVAL).trying(&Stage::Processes {}, || "run nothing".to_owned());
    };
    descriptors(out, err, report).trying(&Stage::Processes {}, || "arrange descriptors".to_owned())?;
    sys::setsid().trying(&Stage::Processes {}, || "start a session".to_owned())?;
    sys::default_signals();
    sys::umask(0o022);
    sys::no_core_files();
    sys::new_session_keyring();

    let inside = |workdir: &[u8]| {
        sys::change_directory(workdir)?;
        // A directory outside the root has no name in it.
        if sys::current_directory()?.starts_with(b"/") { Ok(()) } else { Err(ENOENT) }
    };
    inside(&workdir.0).trying(&Stage::Workdir {}, || "enter it".to_owned())?;

    let user = Stage::User {};
    sys::limit_capabilities(CAPABILITIES).trying(&user, || "limit capabilities".to_owned())?;
    // While the process may still do it without giving up set-user-id programs.
    filter().trying(&Stage::Processes {}, || "filter system calls".to_owned())?;
    sys::setgroups(groups).trying(&user, || "set supplementary groups".to_owned())?;
    sys::setresgid(*gid).trying(&user, || "set the group".to_owned())?;
    sys::setresuid(*uid).trying(&user, || "set the user".to_owned())?;
    // Another user has lost them already.
    sys::set_capabilities(if *uid == 0 { CAPABILITIES } else { 0 }).trying(&user, || "give up capabilities".to_owned())
}

fn filter() -> sys::Result<()> {
    if Architecture::HERE.is_empty() {
        return Ok(());
    }
    let program = filter::program(Architecture::HERE, &profile::rules(), Otherwise::ALLOWED).ok_or(EINVAL)?;
    sys::filter_calls(&program)
}

fn descriptors(out: &OwnedFd, err: &OwnedFd, report: &OwnedFd) -> sys::Result<()> {
    // First out of the way of the numbers that are about to be taken.
    let (out, err, report) = (sys::above(out, 10)?, sys::above(err, 10)?, sys::above(report, 10)?);
    let nothing = sys::above(&sys::open(At::Root, b"/dev/null", sys::O_RDONLY, 0, sys::ANYWHERE)?, 10)?;
    sys::put_at(&nothing, 0, true)?;
    sys::put_at(&out, 1, true)?;
    sys::put_at(&err, 2, true)?;
    sys::put_at(&report, REPORT, false)?;
    // The values above must not be closed twice.
    for fd in [out, err, report, nothing] {
        let _ = std::os::fd::IntoRawFd::into_raw_fd(fd);
    }
    sys::close_from(4)
}

fn execute(command: &CommandLine) -> Result<Never, Failure> {
    let CommandLine::Program { argv, env, search, .. } = command else {
        return Err(EINVAL).trying(&Stage::Processes {}, || "run nothing".to_owned());
    };
    let texts = |strings: &[Bytes]| strings.iter().map(|string| sys::text(&string.0)).collect::<sys::Result<Vec<CString>>>();
    let arguments = texts(argv).trying(&Stage::Exec {}, || "pass the arguments".to_owned())?;
    let environment = texts(env).trying(&Stage::Exec {}, || "pass the environment".to_owned())?;
    let program = argv.first().map(|program| program.0.as_slice()).unwrap_or_default();
    let candidates: Vec<Vec<u8>> = if program.contains(&b'/') {
        vec![program.to_vec()]
    } else {
        search.iter().map(|directory| [directory.0.as_slice(), b"/", program].concat()).collect()
    };
    let mut refused = None;
    for candidate in candidates {
        let errno = sys::execute(&candidate, &arguments, &environment);
        let exists = sys::open(At::Root, &candidate, sys::O_PATH, 0, sys::ANYWHERE).is_ok();
        match errno {
            ENOENT | ENOTDIR if !exists => {}
            // Another directory may have one that can be executed.
            EACCES => refused = Some(EACCES),
            errno => {
                let head = head(&candidate).unwrap_or_default();
                return Err(Failure { stage: Stage::Exec {}, what: "start it".to_owned(), errno, head });
            }
        }
    }
    match refused {
        Some(errno) => Err(errno).trying(&Stage::Exec {}, || "start it".to_owned()),
        None => Err(ENOENT).trying(&Stage::Lookup {}, || "find it".to_owned()),
    }
}

fn head(program: &[u8]) -> sys::Result<Vec<u8>> {
    let file = sys::open(At::Root, program, sys::O_RDONLY | sys::O_NONBLOCK, 0, sys::ANYWHERE)?;
    let mut head = vec![0; HEAD_BYTES];
    let count = sys::read(&file, &mut head)?;
    head.truncate(count);
    Ok(head)
}
