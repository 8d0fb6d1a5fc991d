//! How the program ends: 0 ok, 1 a step failed, 2 the spec or the command line is wrong, 3 the world, 70 our bug, 130 cancelled.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use lapstrake::build::Class;
use serde_json::json;

use crate::screen;

/// Why nothing more can be done.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What to print on standard error; complete, with as many lines as it takes.
    text: String,
    /// Whether the text has its own `error:` already.
    finished: bool,
    class: Class,
}

impl Failure {
    /// A sentence about something for which `class` is to blame.
    pub(crate) fn new(class: Class, text: impl Into<String>) -> Failure {
        Failure { text: text.into(), finished: false, class }
    }

    /// The spec or the command line is wrong.
    pub(crate) fn usage(text: impl Into<String>) -> Failure {
        Failure::new(Class::Spec, text)
    }

    /// Registry, disk, kernel.
    pub(crate) fn world(text: impl Into<String>) -> Failure {
        Failure::new(Class::World, text)
    }

    /// A picture that says everything already.
    pub(crate) fn pictured(class: Class, text: String) -> Failure {
        Failure { text, finished: true, class }
    }

    /// Stopped on request; what was under way does not matter then.
    pub(crate) fn cancelled() -> Failure {
        Failure { text: "cancelled".to_owned(), finished: true, class: Class::Cancelled }
    }

    /// The same, for which another is to blame.
    pub(crate) fn of(self, class: Class) -> Failure {
        Failure { class, ..self }
    }

    /// Who is to blame, and what there is to be said.
    pub(crate) fn into_parts(self) -> (Class, String) {
        (self.class, self.text)
    }

    /// The code as the process gives it back.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.class.exit_code())
    }
}

/// How people or programs are spoken to on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// Text.
    Plain,
    /// Text with colours.
    Coloured,
    /// Text, and nothing but failures.
    Quiet,
    /// JSON, one object a line, like the events.
    Json,
}

/// Prints a failure on standard error.
pub(crate) fn report(failure: &Failure, voice: Voice) {
    let mut err = std::io::stderr().lock();
    let text = &screen::message(failure.text.trim_end());
    let _ = match (voice, failure.finished) {
        (Voice::Json, _) => {
            let line = json!({ "version": 1, "event": "failed", "exit": failure.class.exit_code(), "message": text });
            err.write_all(format!("{line}\n").as_bytes())
        }
        (Voice::Plain | Voice::Coloured | Voice::Quiet, true) => writeln!(err, "{text}"),
        (Voice::Coloured, false) => writeln!(err, "\x1b[1;31merror\x1b[0m: {text}"),
        (Voice::Plain | Voice::Quiet, false) => writeln!(err, "error: {text}"),
    };
}

/// From here on, a panic in whatever thread is told of and ends the program with 70. Nothing is unwound: what is left in the store, and
/// processes of steps, end as if the builder had been killed; a terminal is put back as it is now.
#[expect(clippy::exit, reason = "the thread that panics may be any, and its callers are not to go on")]
pub(crate) fn at_a_panic(voice: Voice) {
    let terminal = rustix::termios::tcgetattr(std::io::stdin()).ok();
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(terminal) = &terminal {
            let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, terminal);
        }
        report(&Failure::new(Class::Bug, format!("a mistake of lapstrake, not of yours; please report it with this: {panic}")), voice);
        std::process::exit(i32::from(Class::Bug.exit_code()))
    }));
}

/// Prints something on standard error that stops nothing.
pub(crate) fn remark(text: &str, voice: Voice) {
    let text = match voice {
        Voice::Json => format!("{}\n", json!({ "version": 1, "event": "remarked", "message": text.trim_end() })),
        Voice::Plain | Voice::Coloured => screen::message(text),
        Voice::Quiet => return,
    };
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints data on standard output, as it is unless that is a terminal. A reader that went away, as `head` does, is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let text = if out.is_terminal() { Cow::Owned(screen::message(text)) } else { Cow::Borrowed(text) };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::world(format!("cannot write the output: {error}"))),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// An error and its sources on one line, without what the outer ones have already said.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PANICS: &str = "LAPSTRAKE_TEST_PANICS";

    #[test]
    #[expect(clippy::disallowed_methods, reason = "it is the program that has to end")]
    fn a_panic_in_any_thread_ends_the_program_with_70() {
        if std::env::var_os(PANICS).is_some() {
            at_a_panic(Voice::Plain);
            let _ = std::thread::spawn(|| panic!("nobody thought of this")).join();
            return;
        }
        let mut program = std::process::Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", "exit::tests::a_panic_in_any_thread_ends_the_program_with_70", "--nocapture"]).env(PANICS, "1");
        let ended = program.output().unwrap();
        assert_eq!(ended.status.code(), Some(70));
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains("error: a mistake of lapstrake") && said.contains("nobody thought of this"), "{said}");
    }
}
