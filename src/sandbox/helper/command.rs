//! The command of a step: what it is and as whom in, a process out.

use std::ffi::CString;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};

use crate::confine::{self, CAPABILITIES, HostName, Within};
use crate::{beyond, channel, name};
use crate::step::{Failure, Trying};
use crate::supervisor::{self, Credentials};
use crate::sys::{self, At, EACCES, ENOENT, ENOTDIR, Errno};
use crate::wire::{Beyond, Bytes, CommandLine, Job, Ownership, PROBE_NAME, Stage};

/// How much of a program that did not start is looked at.
const HEAD_BYTES: usize = 1024;

wire! {
    /// What the process that becomes a program tells the init.
    enum Starting {
        /// Its calls wait for answers by the descriptor that comes with it.
        0 Listening {},
        /// Why the program did not start.
        1 NotStarted {
            /// Where it failed.
            stage: Stage,
            /// What was tried.
            what: Bytes,
            /// The kernel's answer.
            errno: i32,
            /// First bytes of the program.
            head: Bytes,
        },
    }
}

use crate::wire::Wire;

/// What a command reads from and writes to, and by which it is limited.
pub struct Streams {
    /// Nothing to read, where there is none.
    pub input: Option<OwnedFd>,
    pub out: OwnedFd,
    pub err: OwnedFd,
    /// Whether the input is a terminal for the command's session.
    pub terminal: bool,
    /// Ways into control groups.
    pub groups: Vec<OwnedFd>,
}

impl Streams {
    /// A terminal that is made by the file at `path`, for a job that wants one: with its other end. Else these as they are.
    pub fn or_terminal(self, job: &Job, path: &[u8]) -> Result<(Streams, Option<OwnedFd>), Failure> {
        let Some((rows, columns)) = job.terminal else { return Ok((self, None)) };
        let short = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        let open = || {
            let (shown, programs) = sys::open_terminal(path, (short(rows), short(columns)))?;
            if let CommandLine::Program { uid, gid, .. } = &job.command {
                // So that its user can open it anew. Where ids are a model it cannot be given away, nor need it be.
                let _ = sys::change_owner(programs.as_fd(), *uid, *gid);
            }
            let [input, out] = [sys::above(&programs, 3)?, sys::above(&programs, 3)?];
            Ok((Streams { input: Some(input), out, err: programs, terminal: true, groups: self.groups }, Some(shown)))
        };
        open().trying(&Stage::Processes {}, || "open a terminal".to_owned())
    }
}

/// Who a command is that runs as this user, where that is a model.
pub fn first(uid: u32, gid: u32, groups: &[u32]) -> Credentials {
    Credentials::of_step(uid, gid, groups, CAPABILITIES)
}

/// Starts the command and waits until it runs: its process id. `listening` gets the descriptor by which its calls wait for answers.
pub fn start(
    (command, beyond): (&CommandLine, &Beyond),
    within: &Within<'_>,
    streams: &Streams,
    listening: impl FnOnce(OwnedFd),
) -> Result<i32, Failure> {
    let stage = Stage::Processes {};
    // It closes when the program has started.
    let (ours, theirs) = sys::socket_pair().trying(&stage, || "make a socket".to_owned())?;
    match sys::fork_process().trying(&stage, || "make a process".to_owned())? {
        None => {
            drop(ours);
            let failure = become_command((command, beyond), within, streams, &theirs);
            let reply = Starting::NotStarted {
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
            let mut listening = Some(listening);
            loop {
                return match channel::receive::<Starting>(&ours) {
                    Ok(None) => Ok(pid),
                    Ok(Some((Starting::Listening {}, descriptors))) => {
                        if let (Some(listening), Some(listener)) = (listening.take(), descriptors.into_iter().next()) {
                            listening(listener);
                        }
                        continue;
                    }
                    Ok(Some((Starting::NotStarted { stage, what, errno, head }, _))) => {
                        Err(Failure { stage, what: String::from_utf8_lossy(&what.0).into_owned(), errno: Errno(errno), head: head.0 })
                    }
                    Err(errno) => Err(errno).trying(&stage, || "hear of the command".to_owned()),
                };
            }
        }
    }
}

/// Where the process that becomes the command keeps its way to the init.
const REPORT: i32 = 3;

fn become_command((command, beyond): (&CommandLine, &Beyond), within: &Within<'_>, streams: &Streams, report: &OwnedFd) -> Failure {
    let outcome = prepare((command, beyond), within, streams, report).and_then(|()| execute(command));
    match outcome {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

enum Never {}

/// Everything up to the program itself. After it only descriptors 0 to 3 are open.
fn prepare(
    (command, beyond): (&CommandLine, &Beyond),
    within: &Within<'_>,
    streams: &Streams,
    report: &OwnedFd,
) -> Result<(), Failure> {
    let nowhere = Bytes(b"/".to_vec());
    let (workdir, uid, gid, groups) = match command {
        CommandLine::Program { workdir, uid, gid, groups, .. } => (workdir, *uid, *gid, groups.as_slice()),
        CommandLine::Probe {} => (&nowhere, 0, 0, [].as_slice()),
    };
    // Before the root is one without /proc.
    sys::no_core_files();
    enter(&streams.groups, within).trying(&Stage::Processes {}, || "enter the control group of the step's limits".to_owned())?;
    if let Within::Root(chroot) = within {
        sys::change_root_to(chroot.root.as_fd()).trying(&Stage::Root {}, || "change the root".to_owned())?;
    }
    descriptors(streams, report).trying(&Stage::Processes {}, || "arrange descriptors".to_owned())?;
    sys::setsid().trying(&Stage::Processes {}, || "start a session".to_owned())?;
    if streams.terminal {
        sys::take_terminal(0).trying(&Stage::Processes {}, || "take the terminal".to_owned())?;
    }
    sys::default_signals();
    sys::umask(0o022);
    sys::new_session_keyring();

    let inside = |workdir: &[u8]| {
        sys::change_directory(workdir)?;
        // A directory outside the root has no name in it.
        if sys::current_directory()?.starts_with(b"/") { Ok(()) } else { Err(ENOENT) }
    };
    inside(&workdir.0).trying(&Stage::Workdir {}, || "enter it".to_owned())?;

    let user = Stage::User {};
    let capabilities = confine::confine(within)?;
    match within {
        Within::Namespaces { ownership: Ownership::Attributes {}, name: _ } => {
            // To the kernel it is user 0 from here on, whoever it is to the model.
            listen(For::Model).trying(&Stage::Processes {}, || "have its calls watched (this needs Linux 5.19)".to_owned())?;
            return sys::set_capabilities(capabilities).trying(&user, || "give up capabilities".to_owned());
        }
        Within::Namespaces { ownership: Ownership::Inodes {}, name: HostName::Answered } | Within::Root(_) => {
            let reason = match beyond {
                Beyond::Refused {} => For::HostName,
                Beyond::Told {} | Beyond::Stops {} => For::Beyond(HostName::Answered),
            };
            listen(reason).trying(&Stage::Processes {}, || "have a host name (this needs Linux 5.0)".to_owned())?;
        }
        Within::Namespaces { ownership: Ownership::Inodes {}, name: HostName::Own } => match beyond {
            Beyond::Refused {} => {}
            // In a container whose own calls are watched this cannot be had: then the kernel's refusal is all.
            Beyond::Told {} | Beyond::Stops {} => drop(listen(For::Beyond(HostName::Own))),
        },
    }
    sys::setgroups(groups).trying(&user, || "set supplementary groups".to_owned())?;
    sys::setresgid(gid).trying(&user, || "set the group".to_owned())?;
    sys::setresuid(uid).trying(&user, || "set the user".to_owned())?;
    // Another user has lost them already.
    sys::set_capabilities(if uid == 0 { capabilities } else { 0 }).trying(&user, || "give up capabilities".to_owned())
}

/// Puts this process into control groups, and with it all that it starts.
fn enter(groups: &[OwnedFd], within: &Within<'_>) -> sys::Result<()> {
    for group in groups {
        sys::write_all(group, b"0")?;
    }
    match within {
        // It sees them as the top of all.
        Within::Namespaces { .. } if !groups.is_empty() => sys::unshare(sys::CLONE_NEWCGROUP).or(Ok(())),
        Within::Namespaces { .. } | Within::Root(_) => Ok(()),
    }
}

/// Checks that a process is told the host name, where it has to ask, and can be made another user's, and a file, where that is a model:
/// `/new` is there for it.
pub fn try_watching(ownership: &Ownership, (source, host_name): (HostName, &[u8]), listening: impl FnOnce(OwnedFd)) -> Result<(), Failure> {
    const SOME_ID: u32 = 7;
    let reason = match (ownership, source) {
        (Ownership::Inodes {}, HostName::Own) => return Ok(()),
        (Ownership::Inodes {}, HostName::Answered) => For::HostName,
        (Ownership::Attributes {}, HostName::Own | HostName::Answered) => For::Model,
    };
    let stage = Stage::Processes {};
    let (ours, theirs) = sys::socket_pair().trying(&stage, || "make a socket".to_owned())?;
    let attempt = || -> sys::Result<bool> {
        let file = sys::open(At::Root, b"/", sys::O_PATH | sys::O_DIRECTORY, 0, sys::ANYWHERE)?;
        let file = sys::above(&file, 10)?;
        sys::show_memory()?;
        if std::os::fd::AsRawFd::as_raw_fd(&theirs) != REPORT {
            sys::put_at(&theirs, REPORT, false)?;
        }
        listen(reason)?;
        if !is_called(host_name) {
            return Ok(false);
        }
        if reason == For::HostName {
            return Ok(true);
        }
        sys::change_owner_of(file.as_fd(), b"new", SOME_ID, SOME_ID)?;
        let stat = sys::stat(file.as_fd(), b"new")?;
        sys::setresuid(SOME_ID)?;
        Ok((stat.uid, stat.gid, sys::getuid()) == (SOME_ID, SOME_ID, SOME_ID))
    };
    match sys::fork_process().trying(&stage, || "make a process".to_owned())? {
        None => {
            let (errno, code) = match attempt() {
                Ok(true) => (0, 0),
                Ok(false) => (sys::EPROTO.0, 1),
                Err(errno) => (errno.0, 1),
            };
            let reply = Starting::NotStarted { stage, what: Bytes::default(), errno, head: Bytes::default() };
            let _ = channel::send(&sys::adopt(REPORT), &reply, &[]);
            sys::exit(code);
        }
        Some(pid) => {
            drop(theirs);
            let mut listening = Some(listening);
            let errno = loop {
                match channel::receive::<Starting>(&ours).trying(&stage, || "hear of a process".to_owned())? {
                    Some((Starting::Listening {}, descriptors)) => {
                        if let (Some(listening), Some(listener)) = (listening.take(), descriptors.into_iter().next()) {
                            listening(listener);
                        }
                    }
                    Some((Starting::NotStarted { errno, .. }, _)) => break errno,
                    None => break sys::ECONNRESET.0,
                }
            };
            let _ = sys::wait(pid);
            match errno {
                0 => Ok(()),
                errno => Err(Errno(errno)).trying(&stage, || match reason {
                    For::HostName | For::Beyond(_) => "be told a host name".to_owned(),
                    For::Model => "have users and owners in a model (this needs Linux 5.19)".to_owned(),
                }),
            }
        }
    }
}

/// Whether this process is told this host name.
fn is_called(host_name: &[u8]) -> bool {
    let told = sys::uname_as(0).unwrap_or([0; sys::UNAME_BYTES]);
    told[sys::UNAME_BYTES / 6..].split(|&byte| byte == 0).next() == Some(host_name)
}

/// Why calls of a command wait for answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    /// For its host name.
    HostName,
    /// For what it cannot have, and for its host name where that is not the namespace's.
    Beyond(HostName),
    /// For all that the model of users and owners answers, the host name among it.
    Model,
}

/// Makes the calls of this process wait for answers, and hands the way to them on.
fn listen(reason: For) -> sys::Result<()> {
    let listener = match reason {
        For::HostName => sys::filter_calls_with_listener(&name::program().ok_or(sys::ENOSYS)?)?,
        For::Beyond(name) => sys::filter_calls_with_listener(&beyond::program(name).ok_or(sys::ENOSYS)?)?,
        For::Model => {
            let program = supervisor::program().ok_or(sys::ENOSYS)?;
            supervisor::become_first()?;
            sys::filter_calls_with_patient_listener(&program)?
        }
    };
    let report = sys::adopt(REPORT);
    let sent = channel::send(&report, &Starting::Listening {}, &[listener.as_fd()]);
    let _ = report.into_raw_fd();
    sent
}

fn descriptors(streams: &Streams, report: &OwnedFd) -> sys::Result<()> {
    // First out of the way of the numbers that are about to be taken.
    let (out, err, report) = (sys::above(&streams.out, 10)?, sys::above(&streams.err, 10)?, sys::above(report, 10)?);
    let input = match &streams.input {
        Some(input) => sys::above(input, 10)?,
        None => sys::above(&sys::open(At::Root, b"/dev/null", sys::O_RDONLY, 0, sys::ANYWHERE)?, 10)?,
    };
    sys::put_at(&input, 0, true)?;
    sys::put_at(&out, 1, true)?;
    sys::put_at(&err, 2, true)?;
    sys::put_at(&report, REPORT, false)?;
    // The values above must not be closed twice.
    for fd in [out, err, report, input] {
        let _ = std::os::fd::IntoRawFd::into_raw_fd(fd);
    }
    sys::close_from(4)
}

fn execute(command: &CommandLine) -> Result<Never, Failure> {
    let CommandLine::Program { argv, env, search, .. } = command else { sys::exit(probe()) };
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

/// In place of a program: whether the process can use a device, is told its host name, and cannot change its root again.
fn probe() -> i32 {
    // As it is for a program; who is asked for the name looks at it.
    let shown = sys::show_memory();
    let null = sys::open(At::Root, b"/dev/null", sys::O_RDWR, 0, sys::ANYWHERE).and_then(|null| sys::write_all(&null, b"x"));
    let root = sys::open(At::Root, b"/", sys::O_PATH | sys::O_DIRECTORY, 0, sys::ANYWHERE);
    let free = root.is_ok_and(|root| sys::change_root_to(root.as_fd()).is_ok());
    i32::from(null.is_err() || shown.is_err() || free || !is_called(PROBE_NAME))
}

fn head(program: &[u8]) -> sys::Result<Vec<u8>> {
    let file = sys::open(At::Root, program, sys::O_RDONLY | sys::O_NONBLOCK, 0, sys::ANYWHERE)?;
    let mut head = vec![0; HEAD_BYTES];
    let count = sys::read(&file, &mut head)?;
    head.truncate(count);
    Ok(head)
}
