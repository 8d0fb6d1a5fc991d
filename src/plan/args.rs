//! The arguments of a spec and what the caller gave → the value of each.

use std::collections::BTreeMap;

use super::diagnostics as say;
use super::sink::Sink;
use super::target::Target;
use crate::diagnostic::{Diagnostic, Span};
use crate::spec::{Argument, Name, Spanned, Spec};

/// Every argument of a spec.
pub(super) struct Arguments<'s> {
    values: BTreeMap<&'s str, Value>,
}

/// One argument: its value, or where the one stands that the caller should have given.
struct Value {
    text: Option<String>,
    optional: bool,
    declared: Span,
}

impl<'s> Arguments<'s> {
    /// Settles each argument. What is wrong with the caller's has no place in any text.
    pub(super) fn resolve(spec: &'s Spec, target: &Target, sink: &mut Sink) -> Arguments<'s> {
        let given = &target.args;
        for name in given.keys().filter(|name| !spec.args.contains_key(name.as_str())) {
            sink.push(say::unknown_argument(name, spec.args.keys().map(Name::as_str)));
        }
        let values = spec.args.iter().map(|(name, argument)| (name.as_str(), settle(name, argument, target, sink))).collect();
        Arguments { values }
    }

    /// The value of an argument that is used at a place, if it has one; the outer `None` is one that was never declared.
    pub(super) fn look(&self, name: &Name, used: Span, sink: &mut Sink) -> Option<Option<&str>> {
        let Some(value) = self.values.get(name.as_str()) else {
            sink.push(say::undeclared_argument(used, name.as_str(), self.values.keys().copied()));
            return None;
        };
        Some(value.text.as_deref())
    }

    /// What is said of an argument without a value where it is used. Before that it is not missed.
    pub(super) fn missing(&self, name: &Name, used: Span) -> Diagnostic {
        match self.values.get(name.as_str()) {
            Some(Value { declared, optional: true, .. }) => say::left_out_argument(*declared, name.as_str(), used),
            Some(Value { declared, .. }) => say::missing_argument(*declared, name.as_str(), used),
            None => say::missing_argument(used, name.as_str(), used),
        }
    }

    /// Whether an argument is optional and has no value.
    pub(super) fn is_left_out(&self, name: &Name) -> bool {
        self.values.get(name.as_str()).is_some_and(|value| value.optional && value.text.is_none())
    }
}

fn settle(name: &Name, argument: &Spanned<Argument>, target: &Target, sink: &mut Sink) -> Value {
    let given = |name: &Name| target.args.get(name.as_str()).or_else(|| target.offered.get(name.as_str()));
    let Argument { default, optional, choices, help: _ } = &argument.value;
    let text = given(name).cloned().or_else(|| default.as_ref().map(|default| default.value.clone()));
    if let Some(text) = &text
        && !choices.is_empty()
        && !choices.iter().any(|choice| choice.value == *text)
    {
        let span = if given(name).is_some() { Span::NONE } else { default.as_ref().map_or(argument.span, |default| default.span) };
        sink.push(say::not_a_choice(span, argument.span, name.as_str(), text, choices.iter().map(|choice| choice.value.as_str())));
    }
    let optional = optional.as_ref().is_some_and(|optional| optional.value);
    Value { text, optional, declared: argument.span }
}
