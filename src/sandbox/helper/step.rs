//! One step with namespaces of its own: a job on a socket in; that it started and how it ended out.
//!
//! Two processes of ours are above the command. The *supervisor* stays outside the step's namespaces, speaks with the library, kills on
//! its word or on its end, and cleans up. The *init* is process 1 of the step: it makes the root, starts the command and reaps. Whoever
//! of library, owner and supervisor dies, those below die too; when the init dies the kernel kills all that is left in the step.

use std::os::fd::{AsFd, OwnedFd};

use crate::command::Streams;
use crate::confine::{HostName, Within};
use crate::supervisor::Supervisor;
use crate::sys::{self, At, BENEATH, Child, Errno, Ready};
use crate::wire::{Beyond, Bytes, CommandLine, Job, Ownership, Stage, StepReply, UpperPlace, Wire};
use crate::{beyond, channel, chroot, command, root};

wire! {
    /// What process 1 tells the supervisor, in this order; nothing after `Exited` or `Failed`.
    enum InitReply {
        /// The root is made; the upper directory and the mount namespace come as descriptors, then a `/proc` where users are a model, and
        /// the end of a terminal where there is one.
        0 Prepared {
            /// Mount points that were not there, parents first.
            made: Vec<Made>,
            /// Whether the host name is not the namespace's own, so that calls that ask for it must be answered.
            answered: bool,
        },
        /// Calls of the command wait for answers by the descriptor that comes with it.
        4 Listening {},
        /// The command runs.
        1 Running {},
        /// The command has ended with this status of `wait(2)`.
        2 Exited {
            /// The status.
            status: i32,
        },
        /// There is no command.
        3 Failed {
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

    /// A directory or file that was made for a mount, with what it was given, to tell whether it was changed.
    struct Made {
        /// Where, relative to the root, without links.
        path: Bytes,
        /// Its mode with the kind.
        mode: u16,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    }
}

/// Why there is no command.
#[derive(Debug)]
pub struct Failure {
    pub stage: Stage,
    pub what: String,
    pub errno: Errno,
    pub head: Vec<u8>,
}

/// Says what was tried when it did not work.
pub trait Trying<T> {
    fn trying(self, stage: &Stage, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> Trying<T> for sys::Result<T> {
    fn trying(self, stage: &Stage, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|errno| Failure { stage: stage.clone(), what: what(), errno, head: Vec::new() })
    }
}

impl Failure {
    pub fn to_reply(&self) -> StepReply {
        StepReply::Failed {
            stage: self.stage.clone(),
            what: Bytes(self.what.clone().into_bytes()),
            errno: self.errno.0,
            head: Bytes(self.head.clone()),
        }
    }

    pub fn to_init_reply(&self) -> InitReply {
        InitReply::Failed {
            stage: self.stage.clone(),
            what: Bytes(self.what.clone().into_bytes()),
            errno: self.errno.0,
            head: Bytes(self.head.clone()),
        }
    }
}

const PROCESSES: Stage = Stage::Processes {};

/// The supervisor, from the job to its end.
pub fn run(library: OwnedFd) {
    let Ok(Some((job, descriptors))) = channel::receive::<Job>(&library) else { return };
    let mut descriptors = descriptors;
    let groups = descriptors.split_off(descriptors.len().saturating_sub(job.groups as usize));
    let mut descriptors = descriptors.into_iter();
    let (Some(out), Some(err)) = (descriptors.next(), descriptors.next()) else { return };
    let streams = Streams { out, err, input: descriptors.next(), terminal: false, groups };
    let reply = match &job.upper {
        UpperPlace::InPlace { root, aside } => Some(chroot::run(&job, (&root.0, &aside.0), &library, streams)),
        UpperPlace::OnDisk { .. } | UpperPlace::Memory { .. } => match start(&job, &library, streams) {
            Ok((init, pid)) => supervise(&job, &library, &init, pid),
            Err(failure) => Some(failure.to_reply()),
        },
    };
    if let Some(reply) = reply {
        let _ = channel::send(&library, &reply, &[]);
    }
}

/// Starts the init: the socket to it and its process id.
fn start(job: &Job, library: &OwnedFd, streams: Streams) -> Result<(OwnedFd, i32), Failure> {
    let (ours, theirs) = sys::socket_pair().trying(&PROCESSES, || "make a socket".to_owned())?;
    sys::unshare(sys::CLONE_NEWPID).trying(&PROCESSES, || "make a pid namespace".to_owned())?;
    match sys::fork_process().trying(&PROCESSES, || "make a process".to_owned())? {
        Some(pid) => {
            // The init waits for this, so that it never runs without a supervisor.
            let _ = channel::send(&ours, &0_u8, &[]);
            Ok((ours, pid))
        }
        None => {
            drop(ours);
            // The supervisor's descriptor is the supervisor's alone: its end tells the library that the step is over.
            sys::close_for_good(library);
            be_init(job, &theirs, streams);
            sys::exit(0);
        }
    }
}

/// Waits for the end of the init or of the library; gives what the library is told last.
fn supervise(job: &Job, library: &OwnedFd, init: &OwnedFd, pid: i32) -> Option<StepReply> {
    let mut upper = None;
    let mut terminal: Option<OwnedFd> = None;
    let mut mount_points = Vec::new();
    let mut ended = None;
    let mut failed = None;
    let mut model = None;
    let mut wanted: Option<String> = None;
    let mut listener: Option<OwnedFd> = None;
    loop {
        let mut ends = vec![library, init];
        ends.extend(&listener);
        let Ok(ready) = sys::wait_any(&ends) else { break };
        let (from_library, from_init) = (ready[0] != Ready::No, ready[1] != Ready::No);
        if from_init {
            match channel::receive::<InitReply>(init) {
                Ok(Some((InitReply::Prepared { made, answered }, descriptors))) => {
                    mount_points = made;
                    let mut descriptors = descriptors.into_iter();
                    upper = descriptors.next();
                    let mounts = descriptors.next();
                    let watched = match job.ownership {
                        Ownership::Inodes {} => Ok(None),
                        Ownership::Attributes {} => match (mounts, descriptors.next()) {
                            (Some(mounts), Some(proc)) => watch(job, answered, (&mounts, proc)).map(Some),
                            (Some(_) | None, Some(_) | None) => break,
                        },
                    };
                    terminal = descriptors.next();
                    match watched {
                        Ok(supervisor) => model = supervisor,
                        Err(failure) => {
                            failed = Some(failure.to_reply());
                            break;
                        }
                    }
                }
                Ok(Some((InitReply::Listening {}, descriptors))) => {
                    listener = descriptors.into_iter().next();
                    if let Some(listener) = &listener {
                        sys::answer_on_same_processor(listener);
                    }
                }
                Ok(Some((InitReply::Running {}, _))) => {
                    let ends: Vec<_> = upper.iter().chain(&terminal).map(AsFd::as_fd).collect();
                    if channel::send(library, &StepReply::Started {}, &ends).is_err() {
                        break;
                    }
                    terminal = None;
                }
                Ok(Some((InitReply::Exited { status }, _))) => {
                    ended = Some(status);
                    break;
                }
                Ok(Some((InitReply::Failed { stage, what, errno, head }, _))) => {
                    failed = Some(StepReply::Failed { stage, what, errno, head });
                    break;
                }
                Ok(None) | Err(_) => break,
            }
        } else if from_library {
            match orders(library) {
                Some(signals) => signals.iter().for_each(|signal| {
                    let _ = channel::send(init, signal, &[]);
                }),
                None => break,
            }
        } else if let Some(waiting) = &listener {
            match (ready.get(2), &mut model) {
                (Some(Ready::Readable), Some(model)) => model.serve(waiting),
                (Some(Ready::Readable), None) => {
                    let then = if job.beyond == (Beyond::Stops {}) { beyond::Then::Waits } else { beyond::Then::GoesOn };
                    if let Some(first) = beyond::serve(waiting, &job.hostname.0, then) {
                        wanted.get_or_insert(first);
                        if then == beyond::Then::Waits {
                            break;
                        }
                    }
                }
                // The last process that could ask is gone. Before Linux 6.11 asking for its next call would wait for ever.
                (Some(Ready::Over), _) => listener = None,
                (Some(Ready::No) | None, _) => {}
            }
        }
    }
    sys::kill(pid);
    // The init is gone only after every process of its namespace.
    let _ = sys::wait(pid);
    let made = mount_points.iter().map(|made| made.path.clone()).collect();
    if let Some(upper) = &upper {
        for made in mount_points.iter().rev() {
            // What was changed, or is in use, stays.
            let _ = remove_untouched(upper, made);
        }
    }
    let specials = match (&model, &upper) {
        (Some(model), Some(upper)) => model.report(upper),
        _ => Vec::new(),
    };
    let wanted = wanted.map(|wanted| Bytes(wanted.into_bytes()));
    Some(match (failed, wanted, &job.beyond) {
        (Some(failed), _, _) => failed,
        (None, Some(wanted), Beyond::Stops {}) => StepReply::Beyond { wanted },
        (None, beyond, Beyond::Refused {} | Beyond::Told {} | Beyond::Stops {}) => StepReply::Ended { status: ended, made, specials, beyond },
    })
}

/// What the library has to say to a command: signals for it, or `None` to stop. Its end means that, too.
pub fn orders(library: &OwnedFd) -> Option<Vec<u8>> {
    let mut said = [0; 16];
    match sys::read(library, &mut said) {
        Ok(count) if count > 0 && !said[..count].contains(&0) => Some(said[..count].to_vec()),
        Ok(_) | Err(_) => None,
    }
}

/// The supervisor of a step whose users and owners are a model.
fn watch(job: &Job, answered: bool, (mounts, proc): (&OwnedFd, OwnedFd)) -> Result<Supervisor, Failure> {
    let first = match &job.command {
        CommandLine::Probe {} => command::first(0, 0, &[]),
        CommandLine::Program { uid, gid, groups, .. } => command::first(*uid, *gid, groups),
    };
    let host_name = answered.then_some(job.hostname.0.as_slice());
    Supervisor::enter((mounts, proc), first, host_name, &job.specials).trying(&PROCESSES, || "watch over the step's users".to_owned())
}

/// Removes a mount point from the upper directory if it is as it was made.
pub fn remove_untouched(upper: &OwnedFd, made: &Made) -> sys::Result<()> {
    let path = made.path.0.as_slice();
    let (above, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"".as_slice(), path),
    };
    // The command may have put a link anywhere: none is followed.
    let parent = sys::open(At::Fd(upper.as_fd()), above, sys::O_PATH | sys::O_DIRECTORY, 0, BENEATH)?;
    let stat = sys::stat(parent.as_fd(), name)?;
    if stat.mode != made.mode || stat.uid != made.uid || stat.gid != made.gid {
        return Ok(());
    }
    if stat.kind() == sys::S_IFDIR {
        // Refused when there is something in it.
        sys::remove_directory(parent.as_fd(), name)
    } else if stat.size == 0 {
        sys::unlink(parent.as_fd(), name)
    } else {
        Ok(())
    }
}

/// Process 1 of the step.
fn be_init(job: &Job, supervisor: &OwnedFd, streams: Streams) {
    if sys::die_with_parent().is_err() || !matches!(channel::receive::<u8>(supervisor), Ok(Some(_))) {
        return;
    }
    let report = |failure: &Failure| {
        let _ = channel::send(supervisor, &failure.to_init_reply(), &[]);
    };
    let prepared = match root::make(job) {
        Ok(prepared) => prepared,
        Err(failure) => return report(&failure),
    };
    let (streams, terminal) = match streams.or_terminal(job, b"/dev/ptmx") {
        Ok(both) => both,
        Err(failure) => return report(&failure),
    };
    let mut descriptors = vec![prepared.upper.as_fd(), prepared.mounts.as_fd()];
    descriptors.extend(prepared.proc.as_ref().map(AsFd::as_fd));
    descriptors.extend(terminal.as_ref().map(AsFd::as_fd));
    if channel::send(supervisor, &InitReply::Prepared { made: prepared.made, answered: prepared.name == HostName::Answered }, &descriptors).is_err() {
        return;
    }
    drop((prepared.upper, prepared.mounts, prepared.proc, terminal));
    let listening = |listener: OwnedFd| {
        let _ = channel::send(supervisor, &InitReply::Listening {}, &[listener.as_fd()]);
    };
    match &job.command {
        CommandLine::Probe {} => match root::try_writing().and_then(|()| command::try_watching(&job.ownership, (prepared.name, &job.hostname.0), listening)) {
            Ok(()) => {
                let _ = channel::send(supervisor, &InitReply::Running {}, &[]);
                let _ = channel::send(supervisor, &InitReply::Exited { status: 0 }, &[]);
            }
            Err(failure) => report(&failure),
        },
        CommandLine::Program { .. } => {
            let Ok(ends) = sys::child_ends() else { return };
            let within = Within::Namespaces { ownership: &job.ownership, name: prepared.name };
            let pid = match command::start((&job.command, &job.beyond), &within, &streams, listening) {
                Ok(pid) => pid,
                Err(failure) => return report(&failure),
            };
            drop(streams);
            if channel::send(supervisor, &InitReply::Running {}, &[]).is_err() {
                return;
            }
            // Orphans become children of process 1; only the command's own end matters.
            while let Ok((ordered, ended)) = sys::wait_readable(supervisor, &ends) {
                if ended {
                    let _ = sys::read(&ends, &mut [0; 128]);
                    while let Ok(Child::Ended(child, status)) = sys::look_for_ended() {
                        if child == pid {
                            let _ = channel::send(supervisor, &InitReply::Exited { status }, &[]);
                            return;
                        }
                    }
                }
                if ordered {
                    match channel::receive::<u8>(supervisor) {
                        Ok(Some((signal, _))) => sys::signal(pid, signal),
                        Ok(None) | Err(_) => return,
                    }
                }
            }
        }
    }
}
