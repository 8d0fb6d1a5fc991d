//! Nodes in, texts with variables filled in out; what is not of the expected form is reported.

use std::collections::BTreeMap;

use super::diagnostics as say;
use super::interpolate::{Problem, interpolate};
use super::node::{Entry, Node, Scalar, Style, Value};
use super::scalar::{self, Plain};
use crate::diagnostic::{Diagnostic, Span};
use crate::spec::Spanned;

/// Variables by name.
#[derive(Debug, Default)]
pub(super) struct Variables {
    /// The caller's; these win.
    pub(super) surroundings: BTreeMap<String, String>,
    /// Those of `.env`.
    pub(super) file: BTreeMap<String, String>,
}

impl Variables {
    pub(super) fn get(&self, name: &str) -> Option<&String> {
        self.surroundings.get(name).or_else(|| self.file.get(name))
    }
}

/// Names with values; `None` is a name alone.
pub(super) type Pairs = BTreeMap<String, Pair>;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) span: Span,
    pub(super) value: Option<String>,
}

/// Reads nodes and keeps what is wrong with them.
pub(super) struct Reader<'v> {
    pub(super) variables: &'v Variables,
    pub(super) found: Vec<Diagnostic>,
}

impl Reader<'_> {
    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// Reports that a value is not of the expected form.
    pub(super) fn wrong_type(&mut self, what: &str, expected: &str, node: &Node) {
        self.report(say::wrong_type(node.span, what, expected, node.called()));
    }

    /// The entries of a map; nothing counts as an empty one.
    pub(super) fn map<'n>(&mut self, what: &str, node: &'n Node) -> &'n [Entry] {
        match &node.value {
            Value::Map(entries) => entries,
            Value::Scalar(_) if node.is_nothing() => &[],
            Value::Scalar(_) | Value::List(_) => {
                self.wrong_type(what, "a map", node);
                &[]
            }
        }
    }

    /// A text that is there.
    pub(super) fn text(&mut self, what: &str, node: &Node) -> Option<Spanned<String>> {
        match self.maybe_text(what, node) {
            Some(Some(text)) => Some(Spanned::new(text, node.span)),
            Some(None) => {
                self.wrong_type(what, "a text", node);
                None
            }
            None => None,
        }
    }

    /// A text, or nothing. The outer `None` was reported.
    #[expect(clippy::option_option, reason = "nothing to report and nothing written are two things")]
    fn maybe_text(&mut self, what: &str, node: &Node) -> Option<Option<String>> {
        let Value::Scalar(scalar) = &node.value else {
            self.wrong_type(what, "a text", node);
            return None;
        };
        if scalar.style == Style::Text {
            return self.filled(scalar, node.span).map(Some);
        }
        match scalar::plain(&scalar.text) {
            Plain::Nothing => Some(None),
            Plain::Text => self.filled(scalar, node.span).map(Some),
            Plain::Printed(printed) => {
                if printed != scalar.text && scalar::truth(&scalar.text).is_none() {
                    self.report(say::number(node.span, &scalar.text, &printed));
                }
                Some(Some(printed))
            }
        }
    }

    /// The text with its variables; `None` where that cannot be, which is reported.
    fn filled(&mut self, scalar: &Scalar, span: Span) -> Option<String> {
        let Reader { variables, found } = self;
        let mut good = true;
        let filled = interpolate(&scalar.text, &|name| variables.get(name).cloned(), &mut |range, problem| {
            let place = |offset: u32| {
                let at = |byte: usize| u32::try_from(byte).ok().and_then(|byte| span.start.checked_add(offset)?.checked_add(byte));
                Some(Span { start: at(range.start)?, end: at(range.end)?, ..span })
            };
            let place = scalar.offset.and_then(place).unwrap_or(span);
            found.push(match problem {
                Problem::Error(message) => {
                    good = false;
                    say::bad_interpolation(place, &message)
                }
                Problem::Unset(name) => say::unset(place, &name),
            });
        });
        good.then_some(filled)
    }

    /// A list of texts; nothing counts as an empty one.
    pub(super) fn texts(&mut self, what: &str, node: &Node) -> Vec<Spanned<String>> {
        match &node.value {
            Value::List(items) => items.iter().filter_map(|item| self.text(what, item)).collect(),
            Value::Scalar(_) if node.is_nothing() => Vec::new(),
            Value::Scalar(_) | Value::Map(_) => {
                self.wrong_type(what, "a list of texts", node);
                Vec::new()
            }
        }
    }

    /// A list of texts, or one of them alone.
    pub(super) fn one_or_more(&mut self, what: &str, node: &Node) -> Vec<Spanned<String>> {
        match &node.value {
            Value::Scalar(_) if !node.is_nothing() => self.text(what, node).into_iter().collect(),
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => self.texts(what, node),
        }
    }

    /// A map from names to texts, or a list of `NAME=VALUE` and `NAME`.
    pub(super) fn pairs(&mut self, what: &str, node: &Node) -> Pairs {
        let mut pairs = Pairs::new();
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    let what = format!("{what}.{}", entry.key);
                    if let Some(value) = self.maybe_text(&what, &entry.node) {
                        let span = if value.is_some() { entry.node.span } else { entry.key_span };
                        pairs.insert(entry.key.clone(), Pair { span, value });
                    }
                }
            }
            Value::List(items) => {
                for item in items {
                    let Some(text) = self.text(what, item) else { continue };
                    let (name, value) = match text.value.split_once('=') {
                        Some((name, value)) => (name, Some(value.to_owned())),
                        None => (text.as_str(), None),
                    };
                    pairs.insert(name.to_owned(), Pair { span: text.span, value });
                }
            }
            Value::Scalar(_) if node.is_nothing() => {}
            Value::Scalar(_) => self.wrong_type(what, "a map, or a list of `NAME=VALUE`", node),
        }
        pairs
    }

    /// `true` or `false`, with or without quotes.
    pub(super) fn truth(&mut self, what: &str, node: &Node) -> Option<bool> {
        let text = self.text(what, node)?;
        let truth = scalar::truth(&text);
        if truth.is_none() {
            self.report(say::wrong_type(node.span, what, "`true` or `false`", "a text"));
        }
        truth
    }
}
