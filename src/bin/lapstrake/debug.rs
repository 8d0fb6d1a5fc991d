//! `--shell-on-failure`: a shell in the root of the step that failed, before it is thrown away.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lapstrake::build::{FailedRoot, LookAtFailure, OnFailure};
use lapstrake::event::{Event, EventKind, EventSink};
use lapstrake::sandbox::Signals;

use crate::exit::{Failure, chain};
use crate::screen;
use crate::terminal::{self, Screen};

/// How much of what other steps write meanwhile is kept.
const MOST_HELD_BYTES: usize = 1 << 20;

/// Opens the shell.
pub(crate) struct Shell {
    gate: Arc<Gate>,
    opened: AtomicBool,
    terminal: OsString,
}

impl Shell {
    /// `terminal` is what `TERM` says of this one. Fails where there is none.
    pub(crate) fn on_failure(gate: Arc<Gate>, terminal: Option<OsString>) -> Result<OnFailure, Failure> {
        if !Screen::Err.is_there() {
            return Err(Failure::usage("`--shell-on-failure` needs a terminal: standard input and standard error must be one"));
        }
        let terminal = terminal.unwrap_or_else(|| "xterm".into());
        Ok(OnFailure::new(Arc::new(Shell { gate, opened: AtomicBool::new(false), terminal })))
    }
}

impl LookAtFailure for Shell {
    fn look(&self, failed: &FailedRoot<'_>) {
        // One failure ends the build; a second one beside it does not get the terminal, too.
        if self.opened.swap(true, Ordering::SeqCst) {
            return;
        }
        self.gate.hold();
        let argv: Vec<_> = failed.argv().iter().map(|word| word.to_string_lossy().into_owned()).collect();
        say(&format!("\nthe step `{}` failed: {}\n  command  {argv:?}\n", failed.label(), chain(failed.failure())));
        match failed.shell() {
            None => say("its root has no shell (none of /bin/bash, /bin/ash, /bin/sh, /busybox/sh)\n"),
            Some(shell) => {
                let (user, group) = failed.user();
                say(&format!(
                    "  shell    {shell} in the root of the step, as the step left it: user {user}:{group}, in {}, with its environment and mounts\n                       leave    `exit` or Ctrl-D; the build fails then, and what is changed here is thrown away\n\n",
                    failed.workdir()
                ));
                let env = [("TERM", self.terminal.clone())];
                match terminal::lend(Screen::Err, |console| failed.run(&[shell], &env, console, &Signals::new())) {
                    Ok(_) => say("\n"),
                    Err(error) => say(&format!("the shell cannot be opened: {}\n", chain(&*error))),
                }
            }
        }
        let lost = self.gate.release();
        if lost > 0 {
            say(&format!("({lost} bytes that other steps wrote meanwhile were not kept)\n"));
        }
    }
}

fn say(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().lock().write_all(screen::message(text).as_bytes());
}

/// Events on their way to where they are shown, which can be held back.
pub(crate) struct Gate {
    behind: Arc<dyn EventSink>,
    held: Mutex<Option<Held>>,
}

#[derive(Default)]
struct Held {
    events: Vec<Event>,
    output_bytes: usize,
    lost_bytes: usize,
}

impl Gate {
    pub(crate) fn new(behind: Arc<dyn EventSink>) -> Gate {
        Gate { behind, held: Mutex::default() }
    }

    fn hold(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
    }

    /// Lets all pass again; how many bytes of output were too many to be kept.
    fn release(&self) -> usize {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        held.events.into_iter().for_each(|event| self.behind.send(event));
        held.lost_bytes
    }
}

impl EventSink for Gate {
    fn send(&self, event: Event) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = &mut *held else { return self.behind.send(event) };
        if let EventKind::Output { stream: _, bytes } = &event.kind {
            if held.output_bytes + bytes.len() > MOST_HELD_BYTES {
                held.lost_bytes += bytes.len();
                return;
            }
            held.output_bytes += bytes.len();
        }
        held.events.push(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapstrake::event::Stream;

    #[derive(Default)]
    struct Seen(Mutex<usize>);

    impl EventSink for Seen {
        fn send(&self, event: Event) {
            if let EventKind::Output { stream: _, bytes } = &event.kind {
                *self.0.lock().unwrap() += bytes.len();
            }
        }
    }

    #[test]
    fn what_is_written_while_a_shell_is_open_is_shown_afterwards_or_counted() {
        let seen = Arc::new(Seen::default());
        let gate = Gate::new(Arc::clone(&seen) as Arc<dyn EventSink>);
        let half = MOST_HELD_BYTES / 2;
        let write = || {
            gate.send(Event {
                task: lapstrake::event::TaskId::fresh(),
                kind: EventKind::Output { stream: Stream::Out, bytes: vec![b'x'; half] },
            })
        };
        gate.hold();
        (0..3).for_each(|_| write());
        assert_eq!(*seen.0.lock().unwrap(), 0);
        assert_eq!(gate.release(), half);
        assert_eq!(*seen.0.lock().unwrap(), 2 * half);
        write();
        assert_eq!(*seen.0.lock().unwrap(), 3 * half);
    }
}
