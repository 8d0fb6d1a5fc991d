//! The `run` steps of a stage, with their commands read.

use super::script::{self, Command};
use crate::diagnostic::Span;
use crate::spec::{self, INHERITED, Run, Setting, Stage, Text, Verb};

/// A `run`, and what it runs.
pub(super) struct Script<'s> {
    /// The place in the stage's steps.
    pub(super) step: usize,
    pub(super) run: &'s Run,
    /// Where the script stands.
    pub(super) span: Span,
    pub(super) commands: Vec<Command>,
}

/// What scripts are given to at some point of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shell {
    /// One whose language is read here.
    Posix,
    /// Another one, of whose scripts nothing is known.
    Other,
}

impl Shell {
    /// That of the base is taken to be the usual one.
    fn of(words: &[Text]) -> Shell {
        match words.first().map(|first| first.as_literal()) {
            None | Some(Some(INHERITED)) => Shell::Posix,
            Some(Some(program)) if script::is_shell(program) => Shell::Posix,
            Some(_) => Shell::Other,
        }
    }

    /// What it is at the end of a stage that begins with this one.
    pub(super) fn after(self, stage: &Stage) -> Shell {
        let own = stage.settings.shell.as_ref().map_or(self, |shell| Shell::of(&shell.value));
        stage.steps.iter().fold(own, |shell, step| changed(shell, &step.verb))
    }
}

fn changed(shell: Shell, verb: &Verb) -> Shell {
    match verb {
        Verb::Setting(Setting::Shell(words)) => Shell::of(words),
        Verb::Setting(Setting::Env(_) | Setting::Workdir { .. } | Setting::User(_) | Setting::History(_))
        | Verb::Run(_)
        | Verb::Copy(_)
        | Verb::Write(_)
        | Verb::Fetch(_)
        | Verb::Extract(_)
        | Verb::Link(_)
        | Verb::MakeDirectory(_)
        | Verb::Remove(_) => shell,
    }
}

/// Reads the scripts of a stage that begins with this shell.
pub(super) fn scripts(stage: &Stage, shell: Shell) -> Vec<Script<'_>> {
    let mut shell = stage.settings.shell.as_ref().map_or(shell, |own| Shell::of(&own.value));
    let mut scripts = Vec::new();
    for (place, step) in stage.steps.iter().enumerate() {
        shell = changed(shell, &step.verb);
        let Verb::Run(run) = &step.verb else { continue };
        let own = run.shell.as_ref().map_or(shell, |own| Shell::of(&own.value));
        let (span, commands) = match &run.command {
            spec::Command::Script(text) if own == Shell::Posix && !is_for_another(text) => (text.span, script::commands(&text.value)),
            spec::Command::Script(text) => (text.span, Vec::new()),
            spec::Command::Exec(words) => (step.span, script::exec(words.iter().map(|word| &word.value))),
        };
        scripts.push(Script { step: place, run, span, commands });
    }
    scripts
}

/// Whether the first line names a program that is no shell.
fn is_for_another(text: &Text) -> bool {
    let Some(crate::spec::Piece::Literal(start)) = text.pieces().first() else { return false };
    let Some(line) = start.strip_prefix("#!").and_then(|rest| rest.lines().next()) else { return false };
    let program = line.split_whitespace().find(|word| script::base_name(word) != "env" && !word.starts_with('-'));
    !program.is_some_and(script::is_shell)
}
