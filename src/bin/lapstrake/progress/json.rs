//! One JSON object a line, `version = 1`, for programs.

use std::io::Write;
use std::time::Instant;

use lapstrake::event::{Event, EventKind, EventSink, Outcome, Stream, TaskKind};
use serde_json::json;

/// Writes events as they come.
pub(crate) struct Json {
    started: Instant,
}

impl Json {
    #[expect(clippy::disallowed_methods, reason = "whoever receives events stamps them")]
    pub(crate) fn new() -> Json {
        Json { started: Instant::now() }
    }
}

impl EventSink for Json {
    fn send(&self, event: Event) {
        let mut line = match event.kind {
            EventKind::Started { what, label } => json!({ "event": "started", "what": kind(what), "label": label }),
            EventKind::Advanced { done, of } => json!({ "event": "advanced", "done": done, "of": of }),
            EventKind::Output { stream, bytes } => json!({
                "event": "output",
                "stream": match stream { Stream::Out => "stdout", Stream::Err => "stderr" },
                "text": String::from_utf8_lossy(&bytes),
            }),
            EventKind::Noted { message } => json!({ "event": "noted", "message": message }),
            EventKind::Confined { rung } => json!({ "event": "confined", "rung": rung }),
            EventKind::Finished(outcome) => json!({ "event": "finished", "outcome": word(&outcome) }),
        };
        line["version"] = json!(1);
        line["task"] = json!(event.task.number());
        line["milliseconds"] = json!(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX));
        // A reader that went away is no reason to stop building.
        let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
    }
}

pub(crate) fn kind(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Build => "build",
        TaskKind::Resolve => "resolve",
        TaskKind::Scan => "scan",
        TaskKind::Pull => "pull",
        TaskKind::Unpack => "unpack",
        TaskKind::Step => "step",
        TaskKind::Pack => "pack",
        TaskKind::Push => "push",
        TaskKind::Write => "write",
    }
}

pub(crate) fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Cached => "cached",
        Outcome::Failed => "failed",
        Outcome::Cancelled => "cancelled",
    }
}
