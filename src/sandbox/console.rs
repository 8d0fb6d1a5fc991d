//! What a command reads from and writes to, and the signals that are passed on to it.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::Stream;

/// Takes what a command writes, as it comes.
pub type Output<'o> = &'o mut dyn FnMut(Stream, &[u8]);

/// What a command reads from and writes to.
pub enum Console<'o> {
    /// It has nothing to read; what it writes is handed on, on the calling thread.
    Captured(Output<'o>),
    /// It reads from this descriptor; what it writes is handed on, on the calling thread.
    Fed {
        /// What it reads from. It sees this very descriptor: a pipe, best of all.
        input: OwnedFd,
        /// What takes its output.
        output: Output<'o>,
    },
    /// It has a terminal of its own, from which it reads and to which it writes.
    Terminal {
        /// Rows and columns at first.
        size: (u16, u16),
        /// Is given the end of whoever shows it, on the calling thread, when the command has started. Reading from it fails when all
        /// processes have ended.
        opened: Box<dyn FnOnce(OwnedFd) + 'o>,
    },
}

/// Signals on their way to a command; clones are the same. A command gets them itself, and not what it has started.
#[derive(Debug, Clone, Default)]
pub struct Signals(Arc<Mutex<VecDeque<u8>>>);

impl Signals {
    /// None yet.
    #[must_use]
    pub fn new() -> Signals {
        Signals::default()
    }

    /// Passes on a signal by its number, soon. What is no signal, 1 to 64, is passed over.
    pub fn send(&self, number: u8) {
        if (1..=64).contains(&number) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(number);
        }
    }

    /// The oldest that is left.
    pub(super) fn take(&self) -> Option<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
