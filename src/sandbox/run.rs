//! One step from the library's side: a job in, output as it comes and the exit out.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::limits::{Exhausted, StepGroup};
use super::owner::Owner;
use super::wire::{self, Bytes, OwnerRequest, Stage, StepReply};
use super::{
    Access, Beyond, Console, DirectoryAccess, Exit, FileAgent, Finished, Job, MountApi, MountKind, Network, Output, Rung, SandboxError,
    Signals, Upper, UpperHandle,
};
use crate::event::{Cancel, Stream};

/// How long a wish to stop may go unnoticed.
const NOTICE_CANCEL_WITHIN: Duration = Duration::from_millis(20);
/// How long a limit that was run into may go unnoticed.
const NOTICE_LIMIT_WITHIN: Duration = NOTICE_CANCEL_WITHIN;
/// How much output is handed on at once.
const OUTPUT_BYTES: usize = 64 * 1024;
/// Where programs are looked for when the environment has no `PATH`.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The kernel's limit for a host name.
const HOST_NAME_BYTES: usize = 64;

/// What a step takes from the host.
pub(super) struct Host<'a> {
    pub(super) resolv: &'a Path,
    pub(super) mount_api: MountApi,
    pub(super) rung: Rung,
}

/// What a command is attached to from outside.
pub(super) struct Attached<'a, 'o> {
    pub(super) console: Console<'o>,
    pub(super) signals: &'a Signals,
    pub(super) cancel: &'a Cancel,
    /// What holds it to the limits of all commands.
    pub(super) group: &'a StepGroup<'a>,
}

/// What errors say about a job.
pub(super) struct Told<'a> {
    pub(super) rung: Rung,
    /// Where a mount is, by its index.
    pub(super) at: &'a dyn Fn(u32) -> Vec<u8>,
    pub(super) program: String,
    pub(super) searched: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// How a step ended, for the library.
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) made: Vec<Vec<u8>>,
    /// The upper directory, where the step has it.
    pub(super) upper: Option<OwnedFd>,
    /// What in it does not say itself whom it belongs to.
    pub(super) specials: Vec<wire::SpecialOwner>,
    /// What the command wanted and could not have.
    pub(super) beyond: Option<String>,
}

/// Runs a job.
pub(super) fn run_job(
    owner: &Owner,
    agent: &FileAgent,
    host: &Host<'_>,
    job: &Job,
    attached: Attached<'_, '_>,
) -> Result<Finished, SandboxError> {
    let search = search_path(&job.env);
    let mut sent = to_wire(job, host, &search)?;
    sent.groups = u32::try_from(attached.group.ways_in().count()).unwrap_or(u32::MAX);
    sent.terminal = match &attached.console {
        Console::Terminal { size: (rows, columns), opened: _ } => Some((u32::from(*rows), u32::from(*columns))),
        Console::Captured(_) | Console::Fed { .. } => None,
    };
    let program = job.argv.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
    let searched = if program.contains('/') { String::new() } else { search };
    let at =
        |index: u32| usize::try_from(index).ok().and_then(|index| job.mounts.get(index)).map(|mount| mount.at.clone()).unwrap_or_default();
    let told = Told { rung: host.rung, at: &at, program, searched, uid: job.user.uid, gid: job.user.gid };
    let ended = run(owner, &sent, job.time_limit, &told, attached)?;
    let lost = |source| SandboxError::Lost { doing: "gave its result", source };
    let (directory, path) = match &job.upper {
        Upper::OnDisk { upper, work: _ } => (agent.directory(upper).map_err(|error| lost(error.into_io()))?, Some(upper.clone())),
        Upper::InPlace { root, aside: _ } => (agent.directory(root).map_err(|error| lost(error.into_io()))?, Some(root.clone())),
        Upper::Memory { .. } => (agent.opened(ended.upper.ok_or_else(|| lost(io::ErrorKind::InvalidData.into()))?), None),
    };
    let directory = directory.with_specials(ended.specials);
    Ok(Finished { exit: ended.exit, upper: UpperHandle { directory, path }, mount_points_made: ended.made, beyond: ended.beyond })
}

/// Why a step was told to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopped {
    Cancelled,
    TimedOut,
    OverLimit(Exhausted),
}

/// Runs a job that the helper understands.
#[expect(clippy::disallowed_methods, reason = "a time limit needs a clock; no result depends on it otherwise")]
pub(super) fn run(
    owner: &Owner,
    job: &wire::Job,
    time_limit: Option<Duration>,
    told: &Told<'_>,
    Attached { console, signals, cancel, group }: Attached<'_, '_>,
) -> Result<Ended, SandboxError> {
    if cancel.is_cancelled() {
        return Err(SandboxError::Cancelled);
    }
    let cannot = |what: &str| {
        let what = what.to_owned();
        move |source: io::Error| SandboxError::Processes { what, source }
    };
    let mut nowhere = |_: Stream, _: &[u8]| {};
    let (output, input, mut terminal): (Output<'_>, _, _) = match console {
        Console::Captured(output) => (output, None, None),
        Console::Fed { input, output } => (output, Some(input), None),
        Console::Terminal { size: _, opened } => (&mut nowhere, None, Some(opened)),
    };
    let (out, out_end) = pipe().map_err(cannot("make a pipe"))?;
    let (err, err_end) = pipe().map_err(cannot("make a pipe"))?;
    let lost = |doing: &'static str| move |source| SandboxError::Lost { doing, source };
    let step = owner.process(&OwnerRequest::Step {}).map_err(lost("started a process"))?;
    let mut descriptors = vec![out_end.as_fd(), err_end.as_fd()];
    descriptors.extend(input.as_ref().map(std::os::fd::AsFd::as_fd));
    descriptors.extend(group.ways_in());
    step.send(job, &descriptors).map_err(lost("received a job"))?;
    drop((out_end, err_end, input));

    let mut streams = [(Stream::Out, Some(out)), (Stream::Err, Some(err))];
    let mut buffer = vec![0; OUTPUT_BYTES];
    let mut upper = None;
    let mut started = false;
    let mut deadline: Option<Instant> = None;
    let mut stopped: Option<Stopped> = None;
    let mut look = Instant::now();
    loop {
        let now = Instant::now();
        if stopped.is_none() {
            if cancel.is_cancelled() {
                stopped = Some(Stopped::Cancelled);
            } else if deadline.is_some_and(|deadline| now >= deadline) {
                stopped = Some(Stopped::TimedOut);
            } else if now >= look {
                look = now + NOTICE_LIMIT_WITHIN;
                stopped = group.exhausted().map(Stopped::OverLimit);
            }
            if stopped.is_some() {
                step.stop();
            }
            // Before it has started there is nobody to have them.
            while let Some(number) = started.then(|| signals.take()).flatten() {
                step.signal(number);
            }
        }
        // A step that was told to stop has no time left, and takes some to do it.
        let remaining = match (deadline, stopped) {
            (Some(deadline), None) => deadline.saturating_duration_since(now),
            (Some(_) | None, Some(_)) | (None, None) => NOTICE_CANCEL_WITHIN,
        };
        let readable = {
            let mut polled = vec![PollFd::from_borrowed_fd(step.as_fd(), PollFlags::IN)];
            for (_, pipe) in &streams {
                polled.extend(pipe.as_ref().map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)));
            }
            wait(&mut polled, remaining.min(NOTICE_CANCEL_WITHIN)).map_err(lost("waited"))?;
            !polled.first().is_none_or(|step| step.revents().is_empty())
        };
        for (stream, pipe) in &mut streams {
            // Reading never waits.
            if let Some(open) = pipe
                && read_some(open, &mut buffer, |bytes| output(*stream, bytes)) == More::No
            {
                *pipe = None;
            }
        }
        if !readable {
            continue;
        }
        let (reply, mut descriptors) = step.receive().map_err(lost("ran a step"))?;
        match reply {
            StepReply::Started {} => {
                started = true;
                if let Some(opened) = terminal.take() {
                    opened(descriptors.pop().ok_or_else(|| lost("opened a terminal")(io::ErrorKind::InvalidData.into()))?);
                }
                upper = descriptors.into_iter().next();
                deadline = time_limit.and_then(|limit| Instant::now().checked_add(limit));
            }
            StepReply::Ended { status, made, specials, beyond } => {
                read_rest(&mut streams, &mut buffer, output);
                // What ended by itself may have made of it what it liked.
                let stopped = stopped.or_else(|| group.exhausted().map(Stopped::OverLimit));
                let exit = match (status, stopped) {
                    (Some(_) | None, Some(Stopped::Cancelled)) => return Err(SandboxError::Cancelled),
                    (Some(_) | None, Some(Stopped::OverLimit(exhausted))) => Exit::OverLimit(exhausted),
                    (Some(status), Some(Stopped::TimedOut) | None) => exit_of(status),
                    (None, Some(Stopped::TimedOut)) => Exit::TimedOut,
                    (None, None) => return Err(lost("ran a step")(io::Error::other("process 1 of the step was killed from outside"))),
                };
                let (made, beyond) = (made.into_iter().map(|path| path.0).collect(), beyond.map(|wanted| shown(&wanted)));
                return Ok(Ended { exit, made, upper, specials, beyond });
            }
            StepReply::Beyond { wanted } => {
                read_rest(&mut streams, &mut buffer, output);
                return Err(match stopped {
                    Some(Stopped::Cancelled) => SandboxError::Cancelled,
                    Some(Stopped::TimedOut | Stopped::OverLimit(_)) | None => {
                        SandboxError::Beyond { rung: told.rung, wanted: shown(&wanted) }
                    }
                });
            }
            StepReply::Failed { stage, what, errno, head } => return Err(failure(job, told, &stage, &what.0, errno, &head.0)),
        }
    }
}

fn shown(text: &Bytes) -> String {
    String::from_utf8_lossy(&text.0).into_owned()
}

/// Reads what is still there of writers that are gone.
fn read_rest(streams: &mut [(Stream, Option<OwnedFd>)], buffer: &mut [u8], output: Output<'_>) {
    for (stream, pipe) in streams {
        while pipe.as_ref().is_some_and(|pipe| read_some(pipe, buffer, |bytes| output(*stream, bytes)) == More::Yes) {}
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK)?;
    Ok((read, write))
}

fn wait(polled: &mut [PollFd<'_>], at_most: Duration) -> io::Result<()> {
    let limit = Timespec { tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(at_most.subsec_nanos()) };
    match rustix::event::poll(polled, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[derive(PartialEq, Eq)]
enum More {
    /// Something was read; there may be more.
    Yes,
    /// There is nothing now.
    Later,
    /// The other end is closed.
    No,
}

fn read_some(pipe: &OwnedFd, buffer: &mut [u8], mut take: impl FnMut(&[u8])) -> More {
    match rustix::io::read(pipe, &mut *buffer) {
        Ok(0) => More::No,
        Ok(count) => {
            take(buffer.get(..count).unwrap_or_default());
            More::Yes
        }
        Err(error) if error == rustix::io::Errno::AGAIN || error == rustix::io::Errno::INTR => More::Later,
        Err(_) => More::No,
    }
}

fn exit_of(status: i32) -> Exit {
    // The layout of wait(2).
    let signal = status & 0x7f;
    if signal == 0 { Exit::Code((status >> 8) & 0xff) } else { Exit::Signal(signal) }
}

fn search_path(env: &[(OsString, OsString)]) -> String {
    let path = env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.to_string_lossy().into_owned());
    path.unwrap_or_else(|| USUAL_PATH.to_owned())
}

fn to_wire(job: &Job, host: &Host<'_>, search: &str) -> Result<wire::Job, SandboxError> {
    let invalid = |reason: String| Err(SandboxError::InvalidJob { reason });
    if job.argv.first().is_none_or(|program| program.is_empty()) {
        return invalid("there is no program".to_owned());
    }
    let name_is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if job.hostname.is_empty() || job.hostname.len() > HOST_NAME_BYTES || !job.hostname.bytes().all(name_is_fine) {
        return invalid(format!("`{}` is no host name", job.hostname.escape_debug()));
    }
    if !job.workdir.starts_with(b"/") {
        return invalid(format!("the working directory `{}` is not absolute", String::from_utf8_lossy(&job.workdir)));
    }
    let mut env = Vec::new();
    for (name, value) in &job.env {
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            return invalid(format!("`{}` is no name of an environment variable", name.to_string_lossy()));
        }
        env.push(Bytes([name.as_bytes(), b"=", value.as_bytes()].concat()));
    }
    let mut mounts = Vec::new();
    for mount in &job.mounts {
        if !mount.at.starts_with(b"/") {
            return invalid(format!("the mount point `{}` is not absolute", String::from_utf8_lossy(&mount.at)));
        }
        let kind = match &mount.kind {
            MountKind::Layers { lowers, root, subpath, access } => wire::MountWhat::Layers {
                lowers: paths(lowers)?,
                root: root.clone(),
                subpath: Bytes(subpath.clone()),
                discarded: match access {
                    Access::ReadOnly => false,
                    Access::Discarded => true,
                },
            },
            MountKind::Directory { path: directory, access } => {
                wire::MountWhat::Directory { path: path(directory)?, read_only: *access == DirectoryAccess::ReadOnly }
            }
            MountKind::Shared { path: shared, access } => {
                wire::MountWhat::Shared { path: path(shared)?, read_only: *access == DirectoryAccess::ReadOnly }
            }
            MountKind::File { bytes, uid, gid, mode } => {
                wire::MountWhat::File { bytes: Bytes(bytes.clone()), uid: *uid, gid: *gid, mode: *mode & 0o7777 }
            }
            MountKind::Tmpfs { size_bytes } => wire::MountWhat::Tmpfs { size_bytes: *size_bytes },
        };
        mounts.push(wire::MountAt { at: Bytes(mount.at.clone()), kind });
    }
    let upper = match &job.upper {
        Upper::OnDisk { upper, work } => wire::UpperPlace::OnDisk { upper: path(upper)?, work: path(work)? },
        Upper::Memory { root } => wire::UpperPlace::Memory { root: root.clone() },
        Upper::InPlace { root, aside } => wire::UpperPlace::InPlace { root: path(root)?, aside: path(aside)? },
    };
    let in_place = matches!(job.upper, Upper::InPlace { .. });
    if in_place != (host.rung == Rung::Chroot) {
        return invalid(format!("a root of this sort cannot be had on the rung `{}`", host.rung.name()));
    }
    if in_place
        && (!job.lowers.is_empty()
            || job.mounts.iter().any(|mount| matches!(mount.kind, MountKind::Layers { .. } | MountKind::Shared { .. })))
    {
        return invalid("without mounts there are no merged directories, and none that are shared with the host".to_owned());
    }
    let network = match job.network {
        Network::Off => false,
        Network::Host => true,
    };
    let command = wire::CommandLine::Program {
        argv: job.argv.iter().map(|argument| Bytes(argument.as_bytes().to_vec())).collect(),
        env,
        search: search.split(':').map(|directory| Bytes(if directory.is_empty() { b".".to_vec() } else { directory.into() })).collect(),
        workdir: Bytes(job.workdir.clone()),
        uid: job.user.uid,
        gid: job.user.gid,
        groups: job.user.groups.clone(),
    };
    let sent = wire::Job {
        lowers: paths(&job.lowers)?,
        upper,
        mounts,
        network,
        terminal: None,
        hostname: Bytes(job.hostname.clone().into_bytes()),
        hosts: Bytes(format!("127.0.0.1\tlocalhost {0}\n::1\tlocalhost {0}\n", job.hostname).into_bytes()),
        classic: host.mount_api == MountApi::Classic,
        // A host without one resolves by itself, and so does the step.
        resolv: network.then(|| Bytes(std::fs::read(host.resolv).unwrap_or_default())),
        command,
        ownership: host.rung.ownership(),
        specials: job.specials.clone(),
        groups: 0,
        beyond: match job.beyond {
            Beyond::Refused => wire::Beyond::Refused {},
            Beyond::Told => wire::Beyond::Told {},
            Beyond::Stops => wire::Beyond::Stops {},
        },
    };
    if has_nul(job) {
        return invalid("an argument, a variable or a path has a NUL byte in it".to_owned());
    }
    Ok(sent)
}

fn has_nul(job: &Job) -> bool {
    let nul = |bytes: &[u8]| bytes.contains(&0);
    job.argv.iter().any(|argument| nul(argument.as_bytes()))
        || job.env.iter().any(|(name, value)| nul(name.as_bytes()) || nul(value.as_bytes()))
        || nul(&job.workdir)
        || job.mounts.iter().any(|mount| {
            nul(&mount.at)
                || match &mount.kind {
                    MountKind::Layers { subpath, .. } => nul(subpath),
                    MountKind::Directory { .. } | MountKind::Shared { .. } | MountKind::File { .. } | MountKind::Tmpfs { .. } => false,
                }
        })
}

fn path(path: &Path) -> Result<Bytes, SandboxError> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.starts_with(b"/") && !bytes.contains(&0) {
        Ok(Bytes(bytes.to_vec()))
    } else {
        Err(SandboxError::InvalidJob { reason: format!("the path `{}` is not absolute", path.display()) })
    }
}

fn paths(paths: &[PathBuf]) -> Result<Vec<Bytes>, SandboxError> {
    paths.iter().map(|one| path(one)).collect()
}

/// What went wrong, as an error that says so.
fn failure(job: &wire::Job, told: &Told<'_>, stage: &Stage, what: &[u8], errno: i32, head: &[u8]) -> SandboxError {
    let what = String::from_utf8_lossy(what).into_owned();
    let source = io::Error::from_raw_os_error(errno);
    let program = told.program.clone();
    match stage {
        Stage::Processes {} => SandboxError::Processes { what, source },
        Stage::Root {} => SandboxError::Root { what, source },
        Stage::Mount { index } => SandboxError::Mount { at: (told.at)(*index), what, source },
        Stage::Workdir {} => {
            let path = match &job.command {
                wire::CommandLine::Program { workdir, .. } => workdir.0.clone(),
                wire::CommandLine::Probe {} => Vec::new(),
            };
            SandboxError::Workdir { path, source }
        }
        // What no namespace has is an invalid argument to the kernel.
        Stage::User {} if source.kind() == io::ErrorKind::InvalidInput && told.rung != Rung::SingleId => SandboxError::Beyond {
            rung: told.rung,
            wanted: format!("to be the user {} with the group {} and all others of his", told.uid, told.gid),
        },
        Stage::User {} => SandboxError::User { uid: told.uid, gid: told.gid, what, source },
        Stage::Left { at } => SandboxError::Left { at: at.0.clone(), what },
        Stage::Lookup {} => SandboxError::NotFound { program, searched: told.searched.clone() },
        Stage::Exec {} => match rustix::io::Errno::from_raw_os_error(errno) {
            rustix::io::Errno::ACCESS => SandboxError::Permission { program },
            rustix::io::Errno::NOEXEC => SandboxError::Format { program },
            rustix::io::Errno::NOENT => match interpreter(head) {
                Some((interpreter, hint)) => SandboxError::Interpreter { program, interpreter, hint },
                None => SandboxError::Start { program, source },
            },
            _ => SandboxError::Start { program, source },
        },
    }
}

/// What a program whose first bytes are given needs to start.
fn interpreter(head: &[u8]) -> Option<(String, &'static str)> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let hint = if line.ends_with(b"\r") { "; the file has the line ends of Windows" } else { "" };
        let line = line.trim_ascii();
        let interpreter = line.split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
        return Some((String::from_utf8_lossy(interpreter).into_owned(), hint));
    }
    if head.starts_with(b"\x7fELF") {
        // The name of the dynamic loader stands near the beginning.
        let start = head.windows(4).position(|window| window == b"/lib")?;
        let name = head.get(start..)?.split(|&byte| byte == 0).next()?;
        return Some((String::from_utf8_lossy(name).into_owned(), ""));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_named_and_windows_line_ends_are_seen() {
        let case = |head: &[u8]| interpreter(head).map(|(name, hint)| (name, !hint.is_empty()));
        assert_eq!(case(b"#!/bin/bash -e\necho"), Some(("/bin/bash".to_owned(), false)));
        assert_eq!(case(b"#! /bin/sh\r\necho"), Some(("/bin/sh".to_owned(), true)));
        assert_eq!(case(b"\x7fELF....../lib64/ld-linux-x86-64.so.2\0rest"), Some(("/lib64/ld-linux-x86-64.so.2".to_owned(), false)));
        assert_eq!(case(b"\x7fELF"), None);
        assert_eq!(case(b""), None);
    }

    #[test]
    fn statuses_are_read_as_the_kernel_writes_them() {
        assert_eq!(exit_of(0x0300), Exit::Code(3));
        assert_eq!(exit_of(0), Exit::Code(0));
        assert_eq!(exit_of(9), Exit::Signal(9));
        assert_eq!(exit_of(0x80 | 11), Exit::Signal(11));
    }
}
