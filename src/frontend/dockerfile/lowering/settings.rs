//! ARG, ENV, USER, WORKDIR and SHELL: what holds from here on.

use std::collections::BTreeMap;

use super::Lowering;
use super::phrase::Phrase;
use super::stage::InProgress;
use crate::diagnostic::Span;
use crate::frontend::dockerfile::diagnostics as say;
use crate::frontend::dockerfile::instruction::{ArgPair, Pair};
use crate::frontend::dockerfile::located::Located;
use crate::frontend::dockerfile::value::{Value, plain};
use crate::frontend::dockerfile::variables::Root;
use crate::frontend::dockerfile::word;
use crate::spec::words::{is_owner, is_variable};
use crate::spec::{Absent, Change, Env, INHERITED, Operator, Piece, Reference, Referent, Setting, Spanned, Template, Verb};

impl Lowering<'_> {
    pub(super) fn arg(&mut self, stage: &mut InProgress, pairs: &[ArgPair], span: Span) {
        let mut history = Phrase::new("ARG");
        for pair in pairs {
            let name = pair.name.as_str();
            if !self.check_argument(&pair.name) {
                continue;
            }
            let (here, deep) = match &pair.default {
                Some(_) if self.arguments.is_settled(name) => {
                    let value = self.arguments.with_default(name, Value::Unset);
                    (value.clone(), Some(value))
                }
                Some(default) => {
                    let Some(both) = self.both(stage, default) else { continue };
                    let value = |template| self.arguments.with_default(name, Value::Text(template));
                    (value(both.here.value), both.deep.ok().map(value))
                }
                None => {
                    let Ok(before) = stage.variables.here(name) else {
                        let message = format!("what `{name}` was worth before this cannot be said in a spec");
                        self.report(say::cannot_express(pair.name.whole(), message));
                        continue;
                    };
                    let deep = stage.variables.deep(name).ok();
                    (self.bare(name, before), deep.map(|before| self.bare(name, before)))
                }
            };
            history = history.text(" ").text(name).template(&assigned(&here, pair.name.whole()));
            stage.variables.set_arg(name, here, deep);
        }
        stage.push(Verb::Setting(Setting::History(history.at(span))), None, span);
    }

    /// What an ARG without a default is worth: what the caller says, else what it is before the first FROM, else what it was before.
    fn bare(&self, name: &str, before: Value) -> Value {
        let asked = |referent: Referent, before: Value| match &before {
            Value::Maybe(first, _) | Value::Of(first) if *first == referent => before,
            Value::Unset | Value::Text(_) | Value::Of(_) | Value::Maybe(_, _) => Value::Maybe(referent, Box::new(before)),
        };
        match (self.global(name), self.arguments.with_default(name, Value::Unset)) {
            (Value::Maybe(referent @ Referent::Arg(_), next), _) if *next == Value::Unset => asked(referent, before),
            (global @ (Value::Of(Referent::Arg(_)) | Value::Maybe(Referent::Arg(_), _)), _) => global,
            (Value::Unset, Value::Maybe(referent, _)) => asked(referent, before),
            (Value::Unset, Value::Of(_) | Value::Unset | Value::Text(_)) => before,
            (global @ (Value::Of(_) | Value::Text(_) | Value::Maybe(_, _)), _) => self.arguments.with_default(name, global),
        }
    }

    pub(super) fn env(&mut self, stage: &mut InProgress, pairs: &[Pair], span: Span) {
        let mut env = Env::new();
        let mut history = Phrase::new("ENV");
        let mut set: BTreeMap<String, Option<Template>> = BTreeMap::new();
        for pair in pairs {
            let Some(name) = self.key(stage, &pair.name, "a variable") else { continue };
            if !is_variable(&name) {
                let message = format!("`{name}` cannot be a variable of a spec");
                self.report(
                    say::cannot_express(pair.name.whole(), message).hint("letters, digits, `_`, `-` and `.` can, a letter or `_` first"),
                );
                continue;
            }
            let Some(both) = self.both(stage, &pair.value) else { continue };
            history = history.text(&format!(" {name}=")).template(&both.here);
            env.insert(name.clone(), Spanned::new(Change::Set(both.here.value), both.here.span));
            set.insert(name, both.deep.ok());
        }
        // The pairs of one line see the values from before it.
        for (name, deep) in set {
            stage.variables.set_env(&name, deep);
        }
        if !env.is_empty() {
            stage.push(Verb::Setting(Setting::Env(env)), Some(history.at(span)), span);
        }
    }

    /// A name before `=`, in which variables are put in too.
    pub(super) fn key(&mut self, stage: &mut InProgress, name: &Located, what: &str) -> Option<String> {
        let key = self.settled(stage, name, &format!("the name of {what}"))?;
        if key.is_empty() {
            self.report(say::syntax(name.whole(), format!("the name of {what} is empty")));
            return None;
        }
        Some(key)
    }

    pub(super) fn user(&mut self, stage: &mut InProgress, user: &Located, span: Span) {
        let Some(frozen) = self.frozen(stage, user) else { return };
        if let Some(literal) = frozen.here.as_literal()
            && !is_owner(literal)
        {
            self.report(say::syntax(user.whole(), format!("`{literal}` is not a user: expected `USER` or `USER:GROUP`, names or numbers")));
            return;
        }
        let text = Spanned::new(frozen.here.clone(), frozen.span);
        let history = Phrase::new("USER").word(&text).at(span);
        stage.user = Some(frozen);
        stage.push(Verb::Setting(Setting::User(text)), Some(history), span);
    }

    pub(super) fn workdir(&mut self, stage: &mut InProgress, path: &Located, span: Span) {
        self.warn_of_shell(path);
        let Some(both) = self.both(stage, path) else { return };
        let text = both.here;
        let owner = match stage.user.clone() {
            Some(user) => self.thawed(stage, &user),
            // The user that an image brings is not known here.
            None if stage.variables.root() == Root::Image => Some(super::from::literal(INHERITED, span)),
            None => None,
        };
        let known = both.deep.ok();
        let known = known.as_ref().and_then(Template::as_literal);
        stage.workdir = known.and_then(|known| joined(stage.workdir.as_deref(), known));
        let text = match text.as_literal() {
            // An empty path stays where it is.
            Some("") => Spanned::new(Template::literal("."), text.span),
            Some(literal) if literal.starts_with('/') => {
                let clean = joined(Some("/"), literal).unwrap_or_else(|| literal.to_owned());
                if literal.split('/').any(|name| name == "..") { Spanned::new(Template::literal(clean), text.span) } else { text }
            }
            Some(_) | None => text,
        };
        let history = match &stage.workdir {
            Some(known) => Phrase::new("WORKDIR ").text(known),
            None => Phrase::new("WORKDIR").word(&text),
        };
        let at_root = stage.workdir.as_deref() == Some("/");
        let owner = owner.filter(|_| !at_root);
        stage.push(Verb::Setting(Setting::Workdir { path: text, owner }), Some(history.at(span)), span);
    }

    pub(super) fn shell(&mut self, stage: &mut InProgress, words: &[Located], span: Span) {
        let texts = words.iter().map(|word| Spanned::new(Template::literal(word.as_str()), word.whole())).collect();
        let shell: Vec<String> = words.iter().map(|word| word.as_str().to_owned()).collect();
        let history = Phrase::new(&format!("SHELL [{}]", shell.join(" "))).at(span);
        stage.shell = Some(shell);
        stage.push(Verb::Setting(Setting::Shell(texts)), Some(history), span);
    }

    /// `$(NAME)` where no shell runs.
    pub(super) fn warn_of_shell(&mut self, text: &Located) {
        let written = text.as_str();
        let Some(start) = written.find("$(") else { return };
        let Some(length) = written[start..].find(')') else { return };
        let name = &written[start + 2..start + length];
        let place = text.span(start..start + length + 1);
        let name =
            if word::literal(&vec![word::Part::Text(name.to_owned())]).is_some_and(|name| is_variable(&name)) { name } else { "NAME" };
        self.report(say::shell_in_path(place, &written[start..=start + length], name));
    }
}

/// `=VALUE` where an ARG has one, as the history says it.
fn assigned(value: &Value, span: Span) -> Template {
    let equals =
        |template: &Template| Template::new(std::iter::once(Piece::Literal("=".to_owned())).chain(template.pieces().iter().cloned()));
    match value {
        Value::Maybe(referent @ Referent::Arg(_), next) if !next.is_always_set() => {
            let word = equals(&crate::frontend::dockerfile::variables::reference(referent.clone(), span));
            let operator = Operator::Alternative { absent: Absent::Unset, word };
            let reference = Reference { referent: referent.clone(), operator: Some(operator) };
            Template::new([Piece::Reference(Spanned::new(reference, span))])
        }
        Value::Unset => Template::default(),
        Value::Text(_) | Value::Of(_) | Value::Maybe(_, _) => equals(&plain(value, span)),
    }
}

/// A path behind a directory, without `.` and `..`; `None` where that directory is not known.
pub(super) fn joined(directory: Option<&str>, path: &str) -> Option<String> {
    let directory = if path.starts_with('/') { "/" } else { directory? };
    let mut names: Vec<&str> = Vec::new();
    for name in directory.split('/').chain(path.split('/')) {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    Some(format!("/{}", names.join("/")))
}
