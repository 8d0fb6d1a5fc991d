//! Words with variables → texts of the spec, at one place of a stage.

use std::collections::BTreeSet;

use super::Lowering;
use super::stage::{Frozen, InProgress};
use crate::diagnostic::{Diagnostic, Span};
use crate::frontend::dockerfile::evaluate::{Today, of_platform};
use crate::frontend::dockerfile::located::Located;
use crate::frontend::dockerfile::value::{self, Inexpressible, Value};
use crate::frontend::dockerfile::variables::Root;
use crate::frontend::dockerfile::word::{self, Form, Quotes, Variable, Word};
use crate::frontend::dockerfile::{Purpose, diagnostics as say};
use crate::spec::{Name, Spanned, Template, Text};

/// A text in terms of the environment here, and in terms of the one that the stage's root has.
pub(super) struct Both {
    pub(super) here: Text,
    pub(super) deep: Result<Template, Box<Diagnostic>>,
}

impl Lowering<'_> {
    /// Expands before the first FROM and in it.
    pub(super) fn in_globals(&mut self, text: &Located) -> Option<Template> {
        let word = self.word(text)?;
        let mut today = Today::new(&self.arguments, self.options);
        let expanded = value::expand(&word, &mut |variable| Ok(self.global(&variable.name)), &mut today);
        let Today { deciding, decided, .. } = today;
        self.was_decided(deciding, decided);
        self.good(expanded)
    }

    /// Expands in terms of the environment here.
    pub(super) fn text(&mut self, stage: &mut InProgress, text: &Located) -> Option<Text> {
        let word = self.word(text)?;
        self.expand(stage, &word).map(|template| Spanned::new(template, text.whole()))
    }

    /// Expands the body of a here-document, in which quotes stand for themselves.
    pub(super) fn body(&mut self, stage: &mut InProgress, text: &Located) -> Option<Text> {
        let word = word::read(text, '\\', Quotes::Stand, &mut |diagnostic| self.diagnostics.push(diagnostic))?;
        self.expand(stage, &word).map(|template| Spanned::new(template, text.whole()))
    }

    /// Expands both ways.
    pub(super) fn both(&mut self, stage: &mut InProgress, text: &Located) -> Option<Both> {
        let word = self.word(text)?;
        let here = self.expand(stage, &word)?;
        let mut today = Today::new(&self.arguments, self.options);
        let deep = value::expand(&word, &mut |variable| stage.variables.deep(&variable.name), &mut today);
        let Today { deciding, .. } = today;
        // What was decided is said of the text in terms of the environment here.
        self.was_decided(deciding, Vec::new());
        Some(Both { here: Spanned::new(here, text.whole()), deep })
    }

    /// Expands to a text that must be known without the environment of any image.
    pub(super) fn outside(&mut self, stage: &mut InProgress, text: &Located) -> Option<Text> {
        let both = self.both(stage, text)?;
        let template = self.good(both.deep)?;
        let mut env = None;
        value::each_env(&template, &mut |name| {
            env.get_or_insert_with(|| name.to_owned());
        });
        if let Some(name) = env {
            let message = format!("what comes from outside cannot depend on `{name}`, which the base image may set");
            self.report(say::cannot_express(text.whole(), message).hint(format!("declare it: `ARG {name}`")));
            return None;
        }
        Some(Spanned::new(template, text.whole()))
    }

    /// Expands to a text in which nothing is left to be put in: what arguments decide there is as they are now.
    pub(super) fn settled(&mut self, stage: &mut InProgress, text: &Located, what: &str) -> Option<String> {
        let both = self.both(stage, text)?;
        let template = self.good(both.deep)?;
        if let Some(literal) = template.as_literal() {
            return Some(literal.to_owned());
        }
        // Each platform of a build has another.
        let today = if of_platform(&template) { None } else { self.decided(&template) };
        let Some(today) = today else {
            let mut base = None;
            value::each_env(&template, &mut |name| {
                base.get_or_insert_with(|| name.to_owned());
            });
            let on = base.map_or_else(|| "the platform".to_owned(), |name| format!("`{name}`, which the base image may set"));
            self.report(say::cannot_express(text.whole(), format!("{what} cannot depend on {on}")));
            return None;
        };
        if self.options.purpose == Purpose::Convert {
            self.report(say::fixed_value(text.whole(), what, &today));
        }
        Some(today)
    }

    /// A text that must say the same later.
    pub(super) fn frozen(&mut self, stage: &mut InProgress, text: &Located) -> Option<Frozen> {
        let both = self.both(stage, text)?;
        Some(Frozen { here: both.here.value, deep: both.deep.ok(), span: text.whole(), at: stage.variables.now() })
    }

    /// What a frozen text is in terms of the environment here.
    pub(super) fn thawed(&mut self, stage: &InProgress, frozen: &Frozen) -> Option<Text> {
        if stage.variables.is_unchanged(&frozen.here, frozen.at) {
            return Some(Spanned::new(frozen.here.clone(), frozen.span));
        }
        match &frozen.deep {
            Some(deep) if stage.variables.is_of_root(deep) => Some(Spanned::new(deep.clone(), frozen.span)),
            Some(_) | None => {
                let message = "this was made from a variable of the base image that has been changed since";
                self.report(say::cannot_express(frozen.span, message));
                None
            }
        }
    }

    fn word(&mut self, text: &Located) -> Option<Word> {
        word::read(text, self.escape, Quotes::Protect, &mut |diagnostic| self.diagnostics.push(diagnostic))
    }

    fn good(&mut self, expanded: Result<Template, Box<Diagnostic>>) -> Option<Template> {
        match expanded {
            Ok(template) => Some(template),
            Err(diagnostic) => {
                self.report(*diagnostic);
                None
            }
        }
    }

    fn expand(&mut self, stage: &mut InProgress, word: &Word) -> Option<Template> {
        self.warn_of_undeclared(stage, word);
        let mut today = Today::new(&self.arguments, self.options);
        let mut look = |variable: &Variable| -> Result<Value, Inexpressible> { stage.variables.here(&variable.name) };
        let expanded = value::expand(word, &mut look, &mut today);
        let Today { deciding, decided, .. } = today;
        self.was_decided(deciding, decided);
        self.good(expanded)
    }

    /// Remembers which arguments have decided what no reference can say, and says so where the spec outlives them.
    fn was_decided(&mut self, deciding: BTreeSet<Name>, decided: Vec<(Span, String)>) {
        self.deciding.extend(deciding);
        if self.options.purpose == Purpose::Convert {
            for (span, today) in decided {
                self.report(say::fixed_value(span, "this", &today));
            }
        }
    }

    /// Says which variables are certainly nothing, where that cannot have been meant.
    fn warn_of_undeclared(&mut self, stage: &mut InProgress, word: &Word) {
        let mut unknown = Vec::new();
        word::variables(word, &mut |variable| {
            let asked = matches!(variable.form, Form::Default(_, _) | Form::Alternative(_, _) | Form::Require(_, _));
            if !asked && !stage.variables.knows(&variable.name) && crate::spec::words::is_variable(&variable.name) {
                unknown.push((variable.name.clone(), variable.span));
            }
        });
        for (name, span) in unknown {
            let global = self.globals.contains_key(&name) || crate::frontend::dockerfile::arguments::predefined(&name, "").is_some();
            let diagnostic = if global {
                say::undeclared_global(span, &name)
            } else if stage.variables.root() == Root::Scratch {
                say::undeclared(span, &name, stage.variables.names())
            } else {
                continue;
            };
            if stage.warned.insert(name) {
                self.report(diagnostic);
            }
        }
    }
}
