//! What happened, as a stream; and the wish to stop.
//!
//! Events carry no time: whoever receives them stamps them. Rules that hold over every build:
//! each [`EventKind::Started`] has exactly one [`EventKind::Finished`]; nothing of a task comes after its end; `done` never falls;
//! a cached step has no output.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Takes events. Must not block for long and cannot fail.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn send(&self, event: Event);
}

/// Forgets every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl EventSink for Silent {
    fn send(&self, _event: Event) {}
}

/// Names one task among those of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskId(u64);

impl TaskId {
    /// A name that no other task of this process has.
    #[must_use]
    pub fn fresh() -> TaskId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        TaskId(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number, for machine-readable logs.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// Something happened to a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The task it happened to.
    pub task: TaskId,
    /// What happened.
    pub kind: EventKind,
}

/// What can happen to a task.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// It began.
    Started {
        /// What sort of work it is.
        what: TaskKind,
        /// For people: the step as they wrote it, the blob's digest, the reference.
        label: String,
    },
    /// It came further.
    Advanced {
        /// Bytes done so far.
        done: u64,
        /// Bytes in all, where known.
        of: Option<u64>,
    },
    /// A command wrote.
    Output {
        /// Where it wrote to.
        stream: Stream,
        /// What it wrote, not cut at lines.
        bytes: Vec<u8>,
    },
    /// Something the user should know that stops nothing.
    Noted {
        /// A sentence.
        message: String,
    },
    /// Its command, or for the whole build all of them, are kept apart from the machine in this way. Of a cached step: when it ran.
    Confined {
        /// The name of the rung.
        rung: String,
    },
    /// It ended.
    Finished(Outcome),
}

/// The sorts of work that are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskKind {
    /// The whole build.
    Build,
    /// Finding out what a name outside stands for today.
    Resolve,
    /// Reading a build context.
    Scan,
    /// Downloading a blob.
    Pull,
    /// Unpacking a layer.
    Unpack,
    /// One step of a stage.
    Step,
    /// Writing a layer blob.
    Pack,
    /// Uploading a blob or manifest.
    Push,
    /// Writing an image or file system to a local place.
    Write,
}

/// The two streams of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The work was done.
    Done,
    /// The result was there already.
    Cached,
    /// It failed; the error is returned by the verb that was called.
    Failed,
    /// It was stopped by [`Cancel`].
    Cancelled,
}

/// A wish to stop, shared between whoever wishes and everything that works.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    own: Arc<AtomicBool>,
    parents: Arc<Vec<Arc<AtomicBool>>>,
}

impl Cancel {
    /// Not cancelled.
    #[must_use]
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// A wish of its own that also stops when this one does, but not the other way round.
    #[must_use]
    pub fn child(&self) -> Cancel {
        let parents = self.parents.iter().chain([&self.own]).map(Arc::clone).collect();
        Cancel { own: Arc::default(), parents: Arc::new(parents) }
    }

    /// Asks everything that holds a clone or a child to stop soon.
    pub fn cancel(&self) {
        self.own.store(true, Ordering::SeqCst);
    }

    /// Whether stopping was asked for.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.own.load(Ordering::SeqCst) || self.parents.iter().any(|parent| parent.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_stops_with_its_parent_and_not_the_other_way_round() {
        let parent = Cancel::new();
        let (first, second) = (parent.child(), parent.child().child());
        first.cancel();
        assert!(first.is_cancelled() && !second.is_cancelled() && !parent.is_cancelled());
        parent.cancel();
        assert!(second.is_cancelled());
    }
}
