//! Control groups of a sandbox and of its steps: limits in, directories of the kernel's cgroup file systems that hold them out.
//!
//! A sandbox has one group in each hierarchy that it needs, which has the limits; each step has one below it, which tells what became of
//! that step. Only commands are in them: neither the builder nor the helper's processes above a command can be hit by a limit.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::place::{Place, Surroundings, Version};
use super::{Exhausted, Limits, Resource};
use crate::sandbox::Unusable;

/// How the names of our groups begin; the maker's process id comes next.
const PREFIX: &str = "lapstrake-";
/// How the name of a group begins that a builder moved to, so that its own can be divided.
const BUILDER: &str = "lapstrake-builder-";
/// The time over which processor time is counted.
const PERIOD_MICROSECONDS: u64 = 100_000;
/// How often a group is tried to be removed while its last processes are ending.
const REMOVALS: u32 = 250;
const BETWEEN_REMOVALS: Duration = Duration::from_millis(2);
/// How many names are tried for a group.
const NAMES: u32 = 1000;

/// The groups of one sandbox. Removed when dropped; no step may run any more.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Group {
    directories: Vec<Directory>,
    limits: Limits,
    steps: AtomicU64,
}

/// A group with limits, in one hierarchy.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    version: Version,
    resources: Vec<Resource>,
    /// Held as long as the group is used: what is not locked was left by a builder that was killed.
    _lock: File,
}

impl Group {
    /// Makes what these limits need, which may be nothing.
    pub(in crate::sandbox) fn make(limits: &Limits) -> Result<Group, Unusable> {
        let mut group = Group { directories: Vec::new(), limits: *limits, steps: AtomicU64::new(0) };
        let wanted: Vec<Resource> = Resource::ALL.into_iter().filter(|resource| limits.of(*resource).is_some()).collect();
        if wanted.is_empty() {
            return Ok(group);
        }
        let here = Surroundings::read();
        let mut places: Vec<(Place, Vec<Resource>)> = Vec::new();
        for resource in wanted {
            let place = here.place(resource).map_err(|reason| refused(&[resource], reason))?;
            match places.iter_mut().find(|(known, _)| *known == place) {
                Some((_, resources)) => resources.push(resource),
                None => places.push((place, vec![resource])),
            }
        }
        for (place, resources) in places {
            let made = Directory::make(&place, &resources, limits);
            group.directories.push(made.map_err(|Undivided { at, doing, source }| {
                refused(&resources, &format!("cannot {doing} the control group `{}`: {source}", at.display()))
            })?);
        }
        Ok(group)
    }

    /// Which kind of groups they are.
    pub(super) fn kind(&self) -> &'static str {
        self.directories.first().map_or("", |directory| directory.version.name())
    }

    /// A group for one step, below all of these.
    pub(in crate::sandbox) fn step(&self) -> io::Result<StepGroup<'_>> {
        let name = format!("step-{}", self.steps.fetch_add(1, Ordering::Relaxed));
        let mut step = StepGroup { group: Some(self), directories: Vec::new(), ways_in: Vec::new(), refused_before: self.refused() };
        for directory in &self.directories {
            let path = directory.path.join(&name);
            fs::create_dir(&path)?;
            step.directories.push(path.clone());
            step.ways_in.push(open_to_write(&path.join("cgroup.procs"))?);
        }
        Ok(step)
    }

    fn with(&self, resource: Resource) -> Option<(usize, &Directory)> {
        self.directories.iter().enumerate().find(|(_, directory)| directory.resources.contains(&resource))
    }

    /// How many processes all steps together were refused so far, where the kernel counts them here.
    fn refused(&self) -> u64 {
        self.with(Resource::Pids).and_then(|(_, directory)| count(&directory.path.join("pids.events"), "max ")).unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for directory in &self.directories {
            remove(&directory.path);
        }
    }
}

/// Why a group cannot be divided.
struct Undivided {
    at: PathBuf,
    doing: &'static str,
    source: io::Error,
}

fn doing<'a>(at: &'a Path, doing: &'static str) -> impl FnOnce(io::Error) -> Undivided + 'a {
    move |source| Undivided { at: at.to_owned(), doing, source }
}

impl Directory {
    fn make(place: &Place, resources: &[Resource], limits: &Limits) -> Result<Directory, Undivided> {
        let below = |base: &Path| Directory::below(base, place.version, resources, limits);
        match place.version {
            Version::One => below(&place.own),
            Version::Two => {
                let own = own_of(&place.own);
                let Err(first) = share_out(own, resources).and_then(|()| below(own)) else { return below(own) };
                // Where nobody but the builder is in its group, as is usual for one that was delegated, the builder can make room itself.
                if vacate(own).and_then(|()| share_out(own, resources)).is_ok() {
                    return below(own);
                }
                // The group beside it, where it may be written.
                match own.parent().filter(|_| *own != *place.top) {
                    Some(above) => share_out(above, resources).and_then(|()| below(above)).map_err(|_| first),
                    None => Err(first),
                }
            }
        }
    }

    /// A group below `base` with the limits of these.
    fn below(base: &Path, version: Version, resources: &[Resource], limits: &Limits) -> Result<Directory, Undivided> {
        remove_abandoned(base);
        // Whoever is moved must be let go by the group that is above both.
        open_to_write(&base.join("cgroup.procs")).map_err(doing(base, "move processes in"))?;
        let (path, lock) = fresh(base).map_err(doing(base, "divide"))?;
        let directory = Directory { path, version, resources: resources.to_vec(), _lock: lock };
        let set = || -> io::Result<()> {
            for resource in resources {
                set(&directory.path, version, *resource, limits.of(*resource).unwrap_or(u64::MAX))?;
            }
            if version == Version::Two {
                // So that each step has counters of its own.
                let counted: Vec<_> = resources.iter().filter(|resource| **resource != Resource::Cpu).copied().collect();
                enable(&directory.path, &counted)?;
            }
            Ok(())
        };
        match set() {
            Ok(()) => Ok(directory),
            Err(source) => {
                remove(&directory.path);
                Err(Undivided { at: base.to_owned(), doing: "set limits below", source })
            }
        }
    }
}

/// The group that the builder is in, or was in before it made room.
fn own_of(own: &Path) -> &Path {
    let is_ours = own.file_name().is_some_and(|name| name.to_string_lossy().starts_with(BUILDER));
    own.parent().filter(|_| is_ours).unwrap_or(own)
}

/// Lets groups below `base` have these controllers.
fn share_out(base: &Path, resources: &[Resource]) -> Result<(), Undivided> {
    let given = fs::read_to_string(base.join("cgroup.controllers")).map_err(doing(base, "look at"))?;
    if resources.iter().any(|resource| !given.split_ascii_whitespace().any(|name| name == resource.name())) {
        let source = io::Error::other(format!("its cgroup.controllers are `{}`", given.trim()));
        return Err(Undivided { at: base.to_owned(), doing: "limit this in", source });
    }
    enable(base, resources).map_err(doing(base, "divide"))
}

fn enable(base: &Path, resources: &[Resource]) -> io::Result<()> {
    let path = base.join("cgroup.subtree_control");
    let there = fs::read_to_string(&path)?;
    let missing: Vec<_> = resources
        .iter()
        .map(|resource| resource.name())
        .filter(|name| !there.split_ascii_whitespace().any(|known| known == *name))
        .collect();
    if missing.is_empty() { Ok(()) } else { write(&path, &missing.iter().map(|name| format!("+{name} ")).collect::<String>()) }
}

/// Moves the builder's processes into a group below their own, so that it holds none. Refused when anybody else is in it.
fn vacate(own: &Path) -> Result<(), Undivided> {
    let attempt = || -> io::Result<()> {
        let inside = processes(own)?;
        if !inside.iter().all(|pid| is_ours(*pid)) {
            return Err(ErrorKind::ResourceBusy.into());
        }
        let aside = own.join(format!("{BUILDER}{}", std::process::id()));
        fs::create_dir(&aside).or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })?;
        // One that ends meanwhile is gone from it, too.
        inside.iter().try_for_each(|pid| match write(&aside.join("cgroup.procs"), &pid.to_string()) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(()),
            other => other,
        })
    };
    attempt().map_err(doing(own, "make room in"))
}

fn processes(group: &Path) -> io::Result<Vec<u32>> {
    // A process that is not seen from here is 0.
    Ok(fs::read_to_string(group.join("cgroup.procs"))?.lines().map(|line| line.parse().unwrap_or(0)).collect())
}

/// Whether it is this process or descends from it.
fn is_ours(mut pid: u32) -> bool {
    const DEEPEST: usize = 64;
    for _ in 0..DEEPEST {
        if pid == std::process::id() {
            return true;
        }
        // Behind the name, which is in parentheses and may be anything, and the state.
        let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&stat).into_owned();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1)?.parse().ok());
        match parent {
            Some(parent) if parent > 1 => pid = parent,
            Some(_) | None => return false,
        }
    }
    false
}

/// A new directory, locked.
fn fresh(base: &Path) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut last = ErrorKind::AlreadyExists.into();
    for _ in 0..NAMES {
        let path = base.join(format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        match fs::create_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        }
        // Whoever cleans up may have been faster.
        match lock(&path) {
            Ok(lock) if path.join("cgroup.procs").exists() => return Ok((path, lock)),
            Ok(_) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn lock(path: &Path) -> io::Result<File> {
    let directory = File::open(path)?;
    rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
    Ok(directory)
}

/// Removes the groups of builders that were killed.
fn remove_abandoned(base: &Path) {
    let ours = |name: &std::ffi::OsStr| {
        let name = name.to_string_lossy();
        let numbers = |rest: &str| rest.split('-').all(|part| part.parse::<u64>().is_ok());
        name.strip_prefix(BUILDER).or_else(|| name.strip_prefix(PREFIX)).is_some_and(numbers)
    };
    for entry in fs::read_dir(base).into_iter().flatten().flatten().filter(|entry| ours(&entry.file_name())) {
        let Ok(_lock) = lock(&entry.path()) else { continue };
        for step in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(step.path());
        }
        // Refused as long as there is a process in it.
        let _ = fs::remove_dir(entry.path());
    }
}

fn set(path: &Path, version: Version, resource: Resource, limit: u64) -> io::Result<()> {
    let to = |file: &str, text: &str| write(&path.join(file), text);
    let number = limit.to_string();
    match (version, resource) {
        (Version::Two, Resource::Memory) => {
            to("memory.max", &number)?;
            // With swap it would not be memory that is limited. A kernel without it has no such file.
            let _ = to("memory.swap.max", "0");
            Ok(())
        }
        (Version::One, Resource::Memory) => {
            to("memory.limit_in_bytes", &number)?;
            let _ = to("memory.memsw.limit_in_bytes", &number);
            Ok(())
        }
        (Version::One | Version::Two, Resource::Pids) => to("pids.max", &number),
        (Version::Two, Resource::Cpu) => to("cpu.max", &format!("{} {PERIOD_MICROSECONDS}", quota(limit))),
        (Version::One, Resource::Cpu) => {
            to("cpu.cfs_period_us", &PERIOD_MICROSECONDS.to_string())?;
            to("cpu.cfs_quota_us", &quota(limit).to_string())
        }
    }
}

const fn quota(millicpus: u64) -> u64 {
    millicpus.saturating_mul(PERIOD_MICROSECONDS) / 1000
}

/// Writes to a file that is there. In one call, as the kernel takes it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    open_to_write(path)?.write_all(text.as_bytes())
}

fn open_to_write(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).open(path)
}

/// The number behind a word at the beginning of a line.
fn count(path: &Path, word: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.lines().find_map(|line| line.strip_prefix(word))?.trim().parse().ok()
}

/// Removes a group whose processes have been ended.
fn remove(path: &Path) {
    for _ in 0..REMOVALS {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                #[expect(clippy::disallowed_methods, reason = "nothing tells of the end of a group's last process")]
                std::thread::sleep(BETWEEN_REMOVALS);
            }
            // What cannot be removed is empty, and the next builder tries again.
            Ok(()) | Err(_) => return,
        }
    }
}

/// The groups of one step. Whatever is still in them is killed when this is dropped.
#[derive(Debug)]
pub(in crate::sandbox) struct StepGroup<'g> {
    /// `None` for a step without limits.
    group: Option<&'g Group>,
    /// As those of the group, in their order.
    directories: Vec<PathBuf>,
    ways_in: Vec<File>,
    refused_before: u64,
}

impl StepGroup<'_> {
    /// Limits nothing.
    pub(in crate::sandbox) const fn unlimited() -> StepGroup<'static> {
        StepGroup { group: None, directories: Vec::new(), ways_in: Vec::new(), refused_before: 0 }
    }

    /// Files to which a process writes `0` to be in it, and with it all that it starts.
    pub(in crate::sandbox) fn ways_in(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.ways_in.iter().map(|file| file.as_fd())
    }

    /// The limit that the step has run into, if it has.
    pub(in crate::sandbox) fn exhausted(&self) -> Option<Exhausted> {
        let group = self.group?;
        let here = |resource| group.with(resource).and_then(|(index, directory)| Some((self.directories.get(index)?, directory.version)));
        if let (Some((path, version)), Some(limit_bytes)) = (here(Resource::Memory), group.limits.memory_bytes) {
            let file = match version {
                Version::One => "memory.oom_control",
                Version::Two => "memory.events",
            };
            if count(&path.join(file), "oom_kill ").unwrap_or(0) > 0 {
                return Some(Exhausted::Memory { limit_bytes });
            }
        }
        let (Some((path, _)), Some(limit)) = (here(Resource::Pids), group.limits.pids) else { return None };
        // Kernels before 6.11, and those with version 1, count where the process is that was refused one; newer ones where the limit is.
        let refused = count(&path.join("pids.events"), "max ").unwrap_or(0) > 0 || group.refused() > self.refused_before;
        refused.then_some(Exhausted::Pids { limit })
    }
}

impl Drop for StepGroup<'_> {
    fn drop(&mut self) {
        for path in &self.directories {
            // There is no such file before Linux 5.14, nor in version 1. Those above the command have ended all that it left anyway.
            let _ = write(&path.join("cgroup.kill"), "1");
            remove(path);
        }
    }
}

/// Why limits cannot be had, and what to do.
fn refused(resources: &[Resource], reason: &str) -> Unusable {
    let what: Vec<_> = resources.iter().map(|resource| resource.what()).collect();
    Unusable {
        reason: format!("{} cannot be limited: {reason}", what.join(" and ")),
        remedy:
            "start the builder alone in a control group that is delegated to it (`systemd-run --user --scope -p Delegate=yes lapstrake …`, \
                 as root without `--user`), in a container with a /sys/fs/cgroup that can be written; or limit what starts the builder \
                 (`docker run --memory … --pids-limit … --cpus …`)"
                .to_owned(),
        source: None,
    }
}
