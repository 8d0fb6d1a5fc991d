//! One step without namespaces: a job whose root is a directory in, how it ended out.
//!
//! Two processes of ours are above the command. The *keeper* puts everything in its place, speaks with the library and takes all back; it
//! outlives the owner, so that nothing stays behind when the library is killed. The *ender* starts the command, adopts what it leaves
//! behind and ends it. Both are beyond the reach of the command's signals where the kernel can do that.

use std::os::fd::{AsFd, OwnedFd};

use crate::command::{self, Streams};
use crate::confine::{Chroot, Signals, Within};
use crate::end::{self, Reach};
use crate::in_place::{self, InPlace};
use crate::profile::Network;
use crate::step::{Failure, InitReply, Trying, orders};
use crate::sys::{self, Child, Ready};
use crate::wire::{Beyond, Bytes, CommandLine, Job, Stage, StepReply};
use crate::{beyond, channel};

const PROCESSES: Stage = Stage::Processes {};

/// The keeper, from the job to its end.
pub fn run(job: &Job, (root, aside): (&[u8], &[u8]), library: &OwnedFd, streams: Streams) -> StepReply {
    match kept(job, (root, aside), library, streams) {
        Ok(reply) => reply,
        Err(failure) => failure.to_reply(),
    }
}

fn kept(job: &Job, (root, aside): (&[u8], &[u8]), library: &OwnedFd, streams: Streams) -> Result<StepReply, Failure> {
    sys::live_without_parent().trying(&PROCESSES, || "outlive its parent".to_owned())?;
    sys::adopt_orphans().trying(&PROCESSES, || "adopt what the step leaves behind".to_owned())?;
    let (streams, terminal) = streams.or_terminal(job, b"/dev/ptmx")?;
    let in_place = in_place::make(job, root, aside)?;
    let ended = ended(job, &in_place, library, (streams, terminal));
    // Whatever happened to the ender, nothing runs on.
    let nothing_left = end::end_all(Reach::Others);
    let made = in_place.take_back();
    nothing_left.trying(&PROCESSES, || "find in /proc what the step left behind, to end it".to_owned())?;
    let (last, wanted) = ended?;
    let beyond = wanted.map(|wanted| Bytes(wanted.into_bytes()));
    let status = match (last, &beyond, &job.beyond) {
        (InitReply::Failed { stage, what, errno, head }, _, _) => return Ok(StepReply::Failed { stage, what, errno, head }),
        (_, Some(wanted), Beyond::Stops {}) => return Ok(StepReply::Beyond { wanted: wanted.clone() }),
        (InitReply::Exited { status }, _, _) => Some(status),
        (InitReply::Prepared { .. } | InitReply::Listening {} | InitReply::Running {}, _, _) => None,
    };
    let made = made?.into_iter().map(|made| made.path).collect();
    Ok(StepReply::Ended { status, made, specials: Vec::new(), beyond })
}

/// Runs the ender to its end; what it said last, and the first thing that the command wanted and could not have.
fn ended(
    job: &Job,
    in_place: &InPlace,
    library: &OwnedFd,
    (streams, terminal): (Streams, Option<OwnedFd>),
) -> Result<(InitReply, Option<String>), Failure> {
    let (ours, theirs) = sys::socket_pair().trying(&PROCESSES, || "make a socket".to_owned())?;
    let keeper = sys::getpid();
    let Some(ender) = sys::fork_process().trying(&PROCESSES, || "make a process".to_owned())? else {
        drop((ours, terminal));
        sys::close_for_good(library);
        let said = be_ender(job, in_place, keeper, &theirs, streams).unwrap_or_else(|failure| failure.to_init_reply());
        let _ = channel::send(&theirs, &said, &[]);
        sys::exit(0);
    };
    drop((theirs, streams));
    let mut last = InitReply::Running {};
    let mut told = false;
    let mut wanted: Option<String> = None;
    let mut listener: Option<OwnedFd> = None;
    loop {
        let mut ends = vec![if told { &ours } else { library }, &ours];
        ends.extend(&listener);
        let Ok(ready) = sys::wait_any(&ends) else { break };
        let (from_library, from_ender) = (ready[0] != Ready::No, ready[1] != Ready::No);
        if from_ender {
            match channel::receive::<InitReply>(&ours) {
                Ok(Some((InitReply::Running {}, _))) => {
                    // Its end is noticed the next time.
                    let terminal: Vec<_> = terminal.iter().map(AsFd::as_fd).collect();
                    let _ = channel::send(library, &StepReply::Started {}, &terminal);
                }
                Ok(Some((InitReply::Listening {}, descriptors))) => listener = descriptors.into_iter().next(),
                Ok(Some((said, _))) => {
                    last = said;
                    break;
                }
                Ok(None) | Err(_) => break,
            }
        } else if from_library && !told {
            let signals = orders(library);
            told = signals.is_none();
            for signal in signals.unwrap_or(vec![0]) {
                let _ = channel::send(&ours, &signal, &[]);
            }
        } else if let Some(waiting) = &listener {
            match ready.get(2) {
                Some(Ready::Readable) => {
                    let then = if job.beyond == (Beyond::Stops {}) { beyond::Then::Waits } else { beyond::Then::GoesOn };
                    if let Some(first) = beyond::serve(waiting, &job.hostname.0, then) {
                        wanted.get_or_insert(first);
                        if then == beyond::Then::Waits && !told {
                            told = true;
                            let _ = channel::send(&ours, &0_u8, &[]);
                        }
                    }
                }
                // The last process that could ask is gone. Before Linux 6.11 asking for its next call would wait for ever.
                Some(Ready::Over) => listener = None,
                Some(Ready::No) | None => {}
            }
        }
    }
    drop(ours);
    let _ = sys::wait(ender);
    let last = if told && !matches!(last, InitReply::Failed { .. }) { InitReply::Running {} } else { last };
    Ok((last, wanted))
}

/// The ender: what it says last.
fn be_ender(job: &Job, in_place: &InPlace, keeper: i32, told: &OwnedFd, streams: Streams) -> Result<InitReply, Failure> {
    sys::die_with_parent().trying(&PROCESSES, || "end with its parent".to_owned())?;
    if sys::getppid() != keeper {
        sys::exit(1);
    }
    sys::adopt_orphans().trying(&PROCESSES, || "adopt what the step leaves behind".to_owned())?;
    let ends = sys::child_ends().trying(&PROCESSES, || "hear of ends".to_owned())?;
    // The command is in a scope below this one, so that it reaches nobody here, and everybody here is reached from here.
    let scoped = sys::can_scope_signals() && {
        // Where it is refused, the rights that the builder has may be missing for it.
        sys::scope_signals().is_ok() || sys::no_new_privileges().and_then(|()| sys::scope_signals()).is_ok()
    };
    // Nobody else may be hit when all are ended at once: looked at, not believed.
    let scoped = scoped && !sys::can_signal(keeper);
    let (signals, reach) = if scoped { (Signals::Scoped, Reach::StepOnly) } else { (Signals::Open, Reach::Others) };
    let network = if job.network { Network::Hosts } else { Network::Refused };
    let within = Within::Root(Chroot { root: &in_place.root, network, signals });
    let listening = |listener: OwnedFd| {
        let _ = channel::send(told, &InitReply::Listening {}, &[listener.as_fd()]);
    };
    let command = command::start((&job.command, &job.beyond), &within, &streams, listening);
    drop(streams);
    let outcome = command.and_then(|command| wait_for(command, job, told, &ends));
    let nothing_left = end::end_all(reach);
    let said = outcome?;
    nothing_left.trying(&PROCESSES, || "find in /proc what the step left behind, to end it".to_owned())?;
    Ok(said)
}

fn wait_for(command: i32, job: &Job, told: &OwnedFd, ends: &OwnedFd) -> Result<InitReply, Failure> {
    channel::send(told, &InitReply::Running {}, &[]).trying(&PROCESSES, || "say that it runs".to_owned())?;
    loop {
        let (stop, ended) = sys::wait_readable(told, ends).trying(&PROCESSES, || "wait".to_owned())?;
        if ended {
            let _ = sys::read(ends, &mut [0; 128]);
            while let Ok(Child::Ended(pid, status)) = sys::look_for_ended() {
                if pid == command {
                    return match (&job.command, status) {
                        (CommandLine::Probe {}, 0) | (CommandLine::Program { .. }, _) => Ok(InitReply::Exited { status }),
                        (CommandLine::Probe {}, _) => Ok(InitReply::Failed {
                            stage: Stage::Root {},
                            what: Bytes(b"use /dev/null in another root, be told its host name there, or be kept in it".to_vec()),
                            errno: sys::EPERM.0,
                            head: Bytes::default(),
                        }),
                    };
                }
            }
        } else if stop {
            match channel::receive::<u8>(told) {
                Ok(Some((signal, _))) if signal != 0 => sys::signal(command, signal),
                Ok(_) | Err(_) => return Ok(InitReply::Running {}),
            }
        }
    }
}
