//! A live view for terminals: a line a task that goes on, the last lines of what its command writes, finished tasks above.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lapstrake::event::{Event, EventKind, EventSink, Outcome, TaskKind};

use super::json::kind;
use super::plain::{LONGEST_LINE_BYTES, now, seconds};
use crate::screen::{self, Colours};

/// How many characters of a line are shown.
const LONGEST_SHOWN: usize = 200;
/// How many lines of output stand below a running step.
const TAIL: usize = 4;

/// Draws on standard error.
pub(crate) struct Live {
    screen: MultiProgress,
    colour: bool,
    tasks: Mutex<BTreeMap<u64, Task>>,
}

struct Task {
    what: TaskKind,
    label: String,
    begun: Instant,
    bar: ProgressBar,
    tail: VecDeque<String>,
    rest: Vec<u8>,
    done: u64,
    of: Option<u64>,
}

impl Live {
    pub(crate) fn new(colour: bool) -> Live {
        Live { screen: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(12)), colour, tasks: Mutex::new(BTreeMap::new()) }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn show(&self, task: &Task) {
        let mut text = format!("{} {}", self.paint("36", kind(task.what)), task.label);
        if task.done > 0 {
            text.push_str(&format!(" {}", super::bytes(task.done)));
            if let Some(of) = task.of {
                text.push_str(&format!(" of {}", super::bytes(of)));
            }
        }
        for line in &task.tail {
            text.push_str("\n    ");
            text.push_str(&self.paint("2", line));
        }
        task.bar.set_message(text);
    }

    fn finish(&self, task: &Task, outcome: &Outcome) {
        task.bar.finish_and_clear();
        self.screen.remove(&task.bar);
        let took = seconds(task.begun.elapsed());
        let (mark, remark) = match outcome {
            Outcome::Done => (self.paint("32", "✓"), took),
            Outcome::Cached => (self.paint("34", "="), "cached".to_owned()),
            Outcome::Failed => (self.paint("31", "✗"), format!("failed after {took}")),
            Outcome::Cancelled => (self.paint("33", "-"), "cancelled".to_owned()),
        };
        // Short work on inputs is shown while it goes on and not kept on the screen.
        let passing =
            matches!(task.what, TaskKind::Build | TaskKind::Scan | TaskKind::Resolve) && matches!(outcome, Outcome::Done | Outcome::Cached);
        if !passing {
            let line = format!("{mark} {} {} {}", kind(task.what), task.label, self.paint("2", &remark));
            let _ = self.screen.println(line);
        }
    }
}

impl EventSink for Live {
    fn send(&self, event: Event) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let id = event.task.number();
        match event.kind {
            EventKind::Started { what: TaskKind::Build, .. } => {}
            EventKind::Started { what, label } => {
                let bar = self.screen.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                    bar.set_style(style);
                }
                bar.enable_steady_tick(Duration::from_millis(120));
                let label = screen::line(&label, Colours::Dropped);
                let task = Task { what, label, begun: now(), bar, tail: VecDeque::new(), rest: Vec::new(), done: 0, of: None };
                self.show(&task);
                tasks.insert(id, task);
            }
            EventKind::Advanced { done, of } => {
                if let Some(task) = tasks.get_mut(&id) {
                    (task.done, task.of) = (done, of);
                    self.show(task);
                }
            }
            EventKind::Output { bytes, .. } => {
                if let Some(task) = tasks.get_mut(&id) {
                    task.rest.extend_from_slice(&bytes);
                    while let Some(end) = task.rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
                        let line: Vec<u8> = task.rest.drain(..=end).collect();
                        let line = tidy(&line);
                        if !line.is_empty() {
                            task.tail.push_back(line);
                        }
                        if task.tail.len() > TAIL {
                            task.tail.pop_front();
                        }
                    }
                    if task.rest.len() > LONGEST_LINE_BYTES {
                        task.rest.clear();
                    }
                    self.show(task);
                }
            }
            EventKind::Noted { message } => {
                let _ = self.screen.println(format!("{} {}", self.paint("33", "note:"), screen::message(&message)));
            }
            EventKind::Confined { rung: _ } => {}
            EventKind::Finished(outcome) => {
                if let Some(task) = tasks.remove(&id) {
                    self.finish(&task, &outcome);
                }
            }
        }
    }
}

/// A line without what would move the cursor or colour the rest of the screen.
fn tidy(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = screen::line(text.trim_end_matches(['\n', '\r']), Colours::Dropped);
    text.replace('\t', "    ").chars().take(LONGEST_SHOWN).collect()
}
