//! Settings as they are in force at one point of a stage; and what stages, images and steps change in them.
//!
//! They live in an image config, so that all that a base brought goes on to the images made from it.
//! `shell` is Docker's `Shell` field: the one that a base was made with holds for the stages on it, as it does in Docker, and an empty
//! list gives the default back. Docker image specification 1.3, "Image JSON Field Descriptions".

use std::collections::BTreeSet;

use super::diagnostics as say;
use super::fill::Scope;
use super::path;
use super::sink::Sink;
use crate::diagnostic::Span;
use crate::image::Config;
use crate::spec::words::{is_owner, is_variable};
use crate::spec::{Change, Env, INHERITED, Settings, Spanned, Template, Text};

/// What scripts are given to unless something else is said: a failing line fails the step.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-ec"];

/// What Docker gives scripts to unless something else is said.
const DOCKER_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// The settings at one point.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct InForce {
    /// The config that an image of this point would have.
    pub(super) config: Config,
    doubt: Doubt,
}

/// What could not be settled before, so that its absence is worth no message.
#[derive(Debug, Clone, Default, PartialEq)]
struct Doubt {
    /// Nothing is known of the base.
    base: bool,
    /// Variables whose values were wrong.
    variables: BTreeSet<String>,
}

/// A working directory that is not known, deep enough that no honest path climbs out of it.
const UNKNOWN_WORKDIR: &str = "/?/?/?/?/?/?/?/?/?/?/?/?/?/?/?/?";

impl InForce {
    /// The settings that a base brings.
    pub(super) fn of_base(config: &Config) -> InForce {
        InForce { config: config.clone(), doubt: Doubt::default() }
    }

    /// The settings of a base of which nothing is known.
    pub(super) fn unknown() -> InForce {
        InForce {
            config: Config { working_dir: Some(UNKNOWN_WORKDIR.to_owned()), ..Config::default() },
            doubt: Doubt { base: true, variables: BTreeSet::new() },
        }
    }

    /// The variables in order, each once, with the value that counts. A base can have some without a name, which no command can be given.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let env = self.config.env.as_deref().unwrap_or_default();
        env.iter().map(|variable| variable.split_once('=').unwrap_or((variable, ""))).filter(|(name, _)| !name.is_empty())
    }

    /// One variable.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables().filter(|(known, _)| *known == name).last().map(|(_, value)| value)
    }

    /// Whether a variable might be set, had what went before been settled.
    pub(super) fn may_have(&self, name: &str) -> bool {
        self.doubt.base || self.doubt.variables.contains(name)
    }

    /// Sets a variable at its old place, or at the end.
    fn set_variable(&mut self, name: &str, value: &str) {
        let mut new = Some(format!("{name}={value}"));
        let mut env = self.config.env.take().unwrap_or_default();
        env.retain_mut(|variable| {
            if !is_named(variable, name) {
                return true;
            }
            // A base may have a variable twice: it is then left once.
            new.take().map(|new| *variable = new).is_some()
        });
        env.extend(new);
        self.config.env = Some(env);
    }

    fn clear_variable(&mut self, name: &str) {
        if let Some(env) = &mut self.config.env {
            env.retain(|variable| !is_named(variable, name));
        }
        self.config.env.take_if(|env| env.is_empty());
    }

    /// The working directory; absolute.
    pub(super) fn workdir(&self) -> String {
        path::from_config(self.config.working_dir.as_deref().unwrap_or(""))
    }

    /// The user; empty where none is set.
    pub(super) fn user(&self) -> &str {
        self.config.user.as_deref().unwrap_or("")
    }

    /// What scripts are given to.
    pub(super) fn shell(&self) -> Vec<String> {
        match self.config.shell.as_deref() {
            None | Some([]) => DEFAULT_SHELL.map(str::to_owned).to_vec(),
            Some(shell) => shell.to_vec(),
        }
    }

    /// Changes variables. Every value sees the environment from before, whatever the order of the names.
    pub(super) fn change_env(&mut self, env: &Env, scope: Scope<'_>, sink: &mut Sink) {
        let before = self.clone();
        let scope = Scope { env: Some(&before), ..scope };
        for (name, change) in env {
            if is_left_out(change, scope) {
                continue;
            }
            match filled_variable(name, change, scope, sink) {
                Some(Change::Set(value)) => self.set_variable(name, &value),
                Some(Change::Clear) => self.clear_variable(name),
                None => {
                    self.clear_variable(name);
                    self.doubt.variables.insert(name.clone());
                }
            }
        }
    }

    /// Changes the working directory. Gives it back where one was set.
    pub(super) fn change_workdir(&mut self, text: &Text, scope: Scope<'_>, sink: &mut Sink) -> Option<String> {
        let workdir = self.joined(text, scope, sink);
        self.config.working_dir = Some(workdir.clone().unwrap_or_else(|| UNKNOWN_WORKDIR.to_owned()));
        workdir
    }

    /// A working directory on top of the one in force.
    pub(super) fn joined(&self, text: &Text, scope: Scope<'_>, sink: &mut Sink) -> Option<String> {
        let filled = Scope { env: Some(self), ..scope }.word(text, sink)?;
        sink.take(path::absolute(&self.workdir(), &filled).map_err(|bad| say::bad_path(text.span, &filled, bad)))
    }

    /// Changes the user.
    pub(super) fn change_user(&mut self, text: &Text, scope: Scope<'_>, sink: &mut Sink) {
        if let Some(user) = owner(text, Scope { env: Some(self), ..scope }, sink) {
            self.config.user = Some(user);
        }
    }

    /// Words of which the first may stand for the shell in force as Docker has it: what a base or a setting says, else `/bin/sh -c`.
    pub(super) fn behind_shell(&self, words: &[Text], scope: Scope<'_>, sink: &mut Sink) -> Option<Vec<String>> {
        let (shell, words) = match words.split_first() {
            Some((first, rest)) if first.as_literal() == Some(INHERITED) => match self.config.shell.as_deref() {
                None | Some([]) => (DOCKER_SHELL.map(str::to_owned).to_vec(), rest),
                Some(shell) => (shell.to_vec(), rest),
            },
            Some(_) | None => (Vec::new(), words),
        };
        let words = (Scope { env: Some(self), ..scope }).words(words, sink)?;
        Some(shell.into_iter().chain(words).collect())
    }

    /// Changes the shell; nothing in it means the default.
    pub(super) fn change_shell(&mut self, shell: &[Text], scope: Scope<'_>, sink: &mut Sink) {
        if let Some(shell) = self.behind_shell(shell, scope, sink) {
            self.config.shell = (!shell.is_empty()).then_some(shell);
        }
    }

    /// Changes everything that a stage or image says: variables first, which the others then see.
    /// Gives the working directory back where one was set, with its place.
    pub(super) fn change(&mut self, settings: &Settings, scope: Scope<'_>, sink: &mut Sink) -> Option<(String, Span)> {
        let Settings { env, workdir, user, shell } = settings;
        self.change_env(env, scope, sink);
        let made = match workdir {
            None => None,
            Some(Spanned { value: Change::Clear, .. }) => {
                self.config.working_dir = None;
                None
            }
            Some(Spanned { value: Change::Set(template), span }) => {
                self.change_workdir(&text(template, *span), scope, sink).map(|workdir| (workdir, *span))
            }
        };
        match user {
            None => {}
            Some(Spanned { value: Change::Clear, .. }) => self.config.user = None,
            Some(Spanned { value: Change::Set(template), span }) => self.change_user(&text(template, *span), scope, sink),
        }
        if let Some(shell) = shell {
            self.change_shell(shell, scope, sink);
        }
        made
    }
}

/// Whether a variable's value is an optional argument that nobody gave one.
fn is_left_out(change: &Change<Template>, scope: Scope<'_>) -> bool {
    match change {
        Change::Set(template) => scope.is_left_out(template),
        Change::Clear => false,
    }
}

/// A variable's new value.
pub(super) fn filled_variable(name: &str, change: &Spanned<Change<Template>>, scope: Scope<'_>, sink: &mut Sink) -> Option<Change<String>> {
    if !is_variable(name) {
        sink.push(say::invalid_variable_name(change.span, name));
        return None;
    }
    match &change.value {
        Change::Clear => Some(Change::Clear),
        Change::Set(template) => scope.word(&text(template, change.span), sink).map(Change::Set),
    }
}

/// `user[:group]`, names or numbers.
pub(super) fn owner(text: &Text, scope: Scope<'_>, sink: &mut Sink) -> Option<String> {
    let owner = scope.word(text, sink)?;
    // The number -1 means "leave alone" to the kernel.
    let fits = |part: &str| !part.bytes().all(|byte| byte.is_ascii_digit()) || part.parse::<u32>().is_ok_and(|number| number != u32::MAX);
    if is_owner(&owner) && owner.split(':').all(fits) {
        Some(owner)
    } else {
        sink.push(say::invalid_owner(text.span, &owner));
        None
    }
}

pub(super) fn text(template: &Template, span: Span) -> Text {
    Spanned::new(template.clone(), span)
}

fn is_named(variable: &str, name: &str) -> bool {
    variable.split_once('=').map_or(variable, |(known, _)| known) == name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(env: &[&str]) -> InForce {
        let env = Some(env.iter().map(|variable| (*variable).to_owned()).collect());
        InForce::of_base(&Config { env, ..Config::default() })
    }

    #[test]
    fn a_variable_keeps_its_place_and_is_left_once() {
        let mut settings = with(&["A=1", "PATH=/bin", "A=2", "EMPTY"]);
        assert_eq!(settings.variable("A"), Some("2"));
        assert_eq!(settings.variable("EMPTY"), Some(""));
        settings.set_variable("A", "3=4");
        settings.set_variable("B", "");
        assert_eq!(settings, with(&["A=3=4", "PATH=/bin", "EMPTY", "B="]));
        settings.clear_variable("EMPTY");
        settings.clear_variable("AB");
        assert_eq!(settings, with(&["A=3=4", "PATH=/bin", "B="]));
    }

    #[test]
    fn the_last_variable_that_goes_takes_the_list_along() {
        let mut settings = with(&["A=1"]);
        settings.clear_variable("A");
        assert_eq!(settings, InForce::default());
    }
}
