//! Lines: what began, what a command wrote, how it ended and how long it took.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lapstrake::event::{Event, EventKind, EventSink, Outcome, TaskKind};

use super::json::kind;
use crate::screen::{self, Colours};

/// What a command writes without an end of line is shown in pieces of this size, so that it is not gathered without end.
pub(super) const LONGEST_LINE_BYTES: usize = 64 << 10;

/// Writes lines, never parts of lines.
pub(crate) struct Plain(Mutex<BTreeMap<u64, Task>>);

struct Task {
    number: usize,
    what: TaskKind,
    label: String,
    begun: Instant,
    announced: bool,
    rest: Vec<u8>,
    done: u64,
}

impl Plain {
    pub(crate) fn new() -> Plain {
        Plain(Mutex::new(BTreeMap::new()))
    }
}

impl EventSink for Plain {
    fn send(&self, event: Event) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = event.task.number();
        let mut out = String::new();
        match event.kind {
            EventKind::Started { what, label } => {
                // The whole build has no line of its own.
                let number = tasks.values().filter(|task| task.what != TaskKind::Build).count() + 1;
                let label = screen::line(&label, Colours::Dropped);
                tasks.insert(id, Task { number, what, label, begun: now(), announced: false, rest: Vec::new(), done: 0 });
            }
            EventKind::Advanced { done, .. } => {
                if let Some(task) = tasks.get_mut(&id) {
                    task.done = done;
                }
            }
            EventKind::Output { bytes, .. } => {
                if let Some(task) = tasks.get_mut(&id) {
                    announce(task, &mut out);
                    task.rest.extend_from_slice(&bytes);
                    while let Some(end) = task.rest.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<u8> = task.rest.drain(..=end).collect();
                        output_line(task.number, &line, &mut out);
                    }
                    if task.rest.len() > LONGEST_LINE_BYTES {
                        output_line(task.number, &std::mem::take(&mut task.rest), &mut out);
                    }
                }
            }
            EventKind::Noted { message } => {
                let message = screen::message(&message);
                match tasks.get(&id) {
                    Some(task) if task.what != TaskKind::Build => out.push_str(&format!("#{} note: {message}\n", task.number)),
                    Some(_) | None => out.push_str(&format!("note: {message}\n")),
                }
            }
            // Of interest to programs.
            EventKind::Confined { rung: _ } => {}
            EventKind::Finished(outcome) => {
                if let Some(task) = tasks.get_mut(&id) {
                    if !task.rest.is_empty() {
                        let line = std::mem::take(&mut task.rest);
                        output_line(task.number, &line, &mut out);
                    }
                    finish(task, &outcome, &mut out);
                }
            }
        }
        if !out.is_empty() {
            let _ = std::io::stderr().lock().write_all(out.as_bytes());
        }
    }
}

fn announce(task: &mut Task, out: &mut String) {
    if !task.announced {
        task.announced = true;
        out.push_str(&format!("#{} {} {}\n", task.number, kind(task.what), task.label));
    }
}

fn output_line(number: usize, line: &[u8], out: &mut String) {
    let text = String::from_utf8_lossy(line);
    // A progress bar of the command rewrites its line; the last state is what counts in a log.
    let text = text.trim_end_matches(['\n', '\r']).rsplit('\r').next().unwrap_or_default();
    out.push_str(&format!("#{number} | {}\n", screen::line(text, Colours::Kept)));
}

fn finish(task: &mut Task, outcome: &Outcome, out: &mut String) {
    let took = seconds(task.begun.elapsed());
    let label = if task.announced { String::new() } else { format!("{} {} ", kind(task.what), task.label) };
    let size = if task.done > 0 { format!(", {}", super::bytes(task.done)) } else { String::new() };
    let line = match (task.what, outcome) {
        // The end of the whole build is told by what is printed on standard output.
        (TaskKind::Build, _) => return,
        (_, Outcome::Done) => format!("#{} {label}done in {took}{size}\n", task.number),
        (_, Outcome::Cached) => format!("#{} {label}cached\n", task.number),
        (_, Outcome::Failed) => format!("#{} {label}FAILED after {took}\n", task.number),
        (_, Outcome::Cancelled) => format!("#{} {label}cancelled\n", task.number),
    };
    out.push_str(&line);
}

pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

#[expect(clippy::disallowed_methods, reason = "whoever receives events stamps them")]
pub(super) fn now() -> Instant {
    Instant::now()
}
