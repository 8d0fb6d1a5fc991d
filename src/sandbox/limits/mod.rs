//! What commands may use of the machine: numbers in, control groups that hold every command of a sandbox to them out.
//!
//! The kernel's admin-guide, "Control Group v2" and "Control Groups version 1", is the source of truth. A limit that is asked for is held
//! or refused, never forgotten. No limit is in a key: so a command that ran into one has failed, whatever it made of that.

mod group;
mod place;

pub(super) use group::{Group, StepGroup};

use super::Unusable;

/// What all commands of one sandbox may use together. Nothing is limited by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Memory with the page cache and what lies on a tmpfs, in bytes; swap is not to be had beside it.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Processor time, in thousandths of one processor.
    pub millicpus: Option<u64>,
}

impl Limits {
    /// Whether they can be had here, found out by making the control groups.
    ///
    /// # Errors
    /// When one of them cannot; says what an administrator could allow.
    pub fn check(&self) -> Result<(), Unusable> {
        Group::make(self).map(drop)
    }

    /// Tries each limit, for `doctor`.
    #[must_use]
    pub fn doctor() -> Vec<LimitProbe> {
        let tried =
            |resource: Resource| LimitProbe { resource, outcome: Group::make(&resource.barely_limited()).map(|group| group.kind()) };
        Resource::ALL.into_iter().map(tried).collect()
    }

    const fn of(&self, resource: Resource) -> Option<u64> {
        match resource {
            Resource::Memory => self.memory_bytes,
            Resource::Pids => self.pids,
            Resource::Cpu => self.millicpus,
        }
    }
}

/// What can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Memory.
    Memory,
    /// Processes and threads.
    Pids,
    /// Processor time.
    Cpu,
}

impl Resource {
    /// All.
    pub const ALL: [Resource; 3] = [Resource::Memory, Resource::Pids, Resource::Cpu];

    /// The name of the kernel's controller.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Resource::Memory => "memory",
            Resource::Pids => "pids",
            Resource::Cpu => "cpu",
        }
    }

    /// For people.
    const fn what(self) -> &'static str {
        match self {
            Resource::Memory => "memory",
            Resource::Pids => "the number of processes",
            Resource::Cpu => "processor time",
        }
    }

    /// A limit that nothing runs into.
    const fn barely_limited(self) -> Limits {
        const NONE: Limits = Limits { memory_bytes: None, pids: None, millicpus: None };
        match self {
            Resource::Memory => Limits { memory_bytes: Some(1 << 40), ..NONE },
            Resource::Pids => Limits { pids: Some(1 << 15), ..NONE },
            Resource::Cpu => Limits { millicpus: Some(1_000_000), ..NONE },
        }
    }
}

/// A limit that was tried.
#[derive(Debug)]
pub struct LimitProbe {
    /// Which.
    pub resource: Resource,
    /// Which kind of control groups it is held by, or what is missing and what to do.
    pub outcome: Result<&'static str, Unusable>,
}

/// A limit that a command ran into, which ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// The kernel killed one of its processes, since the memory of all commands together was used up.
    Memory {
        /// The limit.
        limit_bytes: u64,
    },
    /// The kernel refused it a process or thread.
    Pids {
        /// The limit.
        limit: u64,
    },
}

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MEBIBYTE: u64 = 1 << 20;
        match self {
            Exhausted::Memory { limit_bytes } if limit_bytes.is_multiple_of(MEBIBYTE) => {
                write!(f, "out of memory: all commands together may use {} MiB", limit_bytes / MEBIBYTE)
            }
            Exhausted::Memory { limit_bytes } => write!(f, "out of memory: all commands together may use {limit_bytes} bytes"),
            Exhausted::Pids { limit } => write!(f, "out of processes: all commands together may have {limit}, threads among them"),
        }
    }
}
