//! What a variable is worth, as a template; and what becomes of it by the forms of `${…}`.

use super::diagnostics as say;
use super::evaluate::Today;
use super::pattern::Pattern;
use super::word::{All, Empty, Form, Part, Variable, Word};
use crate::diagnostic::{Diagnostic, Span};
use crate::spec::{Absent, Extent, Occurrences, Operator, Piece, Reference, Referent, Spanned, Template};

/// How many pieces and characters a value may have, so that values that double again and again stay small.
const MOST_WEIGHT: usize = 1 << 16;

/// What a variable is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// It is not set.
    Unset,
    /// This.
    Text(Template),
    /// What this refers to, which always is set.
    Of(Referent),
    /// What this refers to where that is set, else something else.
    Maybe(Referent, Box<Value>),
}

/// Why a value cannot be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Inexpressible {
    /// For this reason.
    Because(String),
    /// It is a mistake of the file.
    Wrong(String),
}

type Expressed<T> = Result<T, Inexpressible>;

impl Value {
    /// A value that is known.
    pub(super) fn literal(text: impl Into<String>) -> Value {
        Value::Text(Template::literal(text))
    }

    /// Whether it is set whatever the caller and the base say.
    pub(super) fn is_always_set(&self) -> bool {
        match self {
            Value::Unset => false,
            Value::Text(_) | Value::Of(_) => true,
            Value::Maybe(_, next) => next.is_always_set(),
        }
    }

    /// The names of the variables of the environment that it refers to.
    pub(super) fn each_env(&self, visit: &mut dyn FnMut(&str)) {
        match self {
            Value::Unset => {}
            Value::Text(template) => each_env(template, visit),
            Value::Of(referent) => env_of(referent, visit),
            Value::Maybe(referent, next) => {
                env_of(referent, visit);
                next.each_env(visit);
            }
        }
    }
}

/// The names of the variables of the environment that a template refers to.
pub(super) fn each_env(template: &Template, visit: &mut dyn FnMut(&str)) {
    template.each_piece(&mut |piece| match piece {
        Piece::Literal(_) => {}
        Piece::Reference(reference) => env_of(&reference.value.referent, visit),
    });
}

fn env_of(referent: &Referent, visit: &mut dyn FnMut(&str)) {
    match referent {
        Referent::Env(name) => visit(name),
        Referent::Arg(_) | Referent::Platform(_, _) => {}
    }
}

/// Puts the values of its variables into a word.
pub(super) fn expand(
    word: &Word,
    lookup: &mut dyn FnMut(&Variable) -> Expressed<Value>,
    today: &mut Today<'_>,
) -> Result<Template, Box<Diagnostic>> {
    let mut whole = Template::default();
    for part in word {
        match part {
            Part::Text(text) => whole.push(Piece::Literal(text.clone())),
            Part::Variable(variable) => {
                let value = lookup(variable).map_err(|why| said(variable, why))?;
                let template = form(variable, &value, lookup, today)?;
                template.pieces().iter().for_each(|piece| whole.push(piece.clone()));
            }
        }
    }
    Ok(whole)
}

fn said(variable: &Variable, why: Inexpressible) -> Box<Diagnostic> {
    Box::new(match why {
        Inexpressible::Wrong(why) => say::bad_expansion(variable.span, why),
        Inexpressible::Because(why) => {
            let message = format!("`{}` cannot be said in a spec here: {why}", variable.name);
            say::cannot_express(variable.span, message)
        }
    })
}

fn form(
    variable: &Variable,
    value: &Value,
    lookup: &mut dyn FnMut(&Variable) -> Expressed<Value>,
    today: &mut Today<'_>,
) -> Result<Template, Box<Diagnostic>> {
    let span = variable.span;
    let mut expressed = formed(variable, value, lookup, today)?;
    if let Err(Inexpressible::Because(_)) = &expressed
        && let Some(known) = today.value(&without_base(value))
    {
        expressed = formed(variable, &known, lookup, today)?;
        if let Ok(template) = &expressed {
            today.decided.push((span, template.as_literal().unwrap_or_default().to_owned()));
        }
    }
    let template = expressed.map_err(|why| said(variable, why))?;
    if weight(&template) > MOST_WEIGHT || depth(&template) > Template::MOST_NESTED {
        return Err(said(variable, Inexpressible::Because("its value is too long".to_owned())));
    }
    Ok(template)
}

fn formed(
    variable: &Variable,
    value: &Value,
    lookup: &mut dyn FnMut(&Variable) -> Expressed<Value>,
    today: &mut Today<'_>,
) -> Result<Expressed<Template>, Box<Diagnostic>> {
    let span = variable.span;
    Ok(match &variable.form {
        Form::Plain => Ok(plain(value, span)),
        Form::Default(empty, word) => or_else(value, *empty, &expand(word, lookup, today)?, span),
        Form::Alternative(empty, word) => instead(value, *empty, &expand(word, lookup, today)?, span),
        Form::Require(empty, word) => required(variable, value, *empty, &expand(word, lookup, today)?, span),
        Form::TrimPrefix(longest, pattern) => {
            let extent = if *longest == super::word::Longest::Yes { Extent::Longest } else { Extent::Shortest };
            let pattern = expand(pattern, lookup, today)?;
            let known = |text: &str, pattern: &Pattern| pattern.trim_prefix(text, *longest);
            changed(value, &Operator::TrimPrefix { extent, pattern }, &known, span)
        }
        Form::TrimSuffix(longest, pattern) => {
            let extent = if *longest == super::word::Longest::Yes { Extent::Longest } else { Extent::Shortest };
            let pattern = expand(pattern, lookup, today)?;
            let known = |text: &str, pattern: &Pattern| pattern.trim_suffix(text, *longest);
            changed(value, &Operator::TrimSuffix { extent, pattern }, &known, span)
        }
        Form::Replace(all, pattern, with) => {
            let occurrences = if *all == All::Yes { Occurrences::All } else { Occurrences::First };
            let (pattern, with) = (expand(pattern, lookup, today)?, expand(with, lookup, today)?);
            let known = |text: &str, pattern: &Pattern| pattern.replace(text, with.as_literal()?, *all);
            changed(value, &Operator::Replace { occurrences, pattern, with: with.clone() }, &known, span)
        }
    })
}

fn weight(template: &Template) -> usize {
    let mut weight = 0usize;
    template.each_piece(&mut |piece| {
        weight = weight.saturating_add(match piece {
            Piece::Literal(text) => text.len(),
            Piece::Reference(_) => 16,
        });
    });
    weight
}

fn depth(template: &Template) -> usize {
    let mut deepest = 0;
    for piece in template.pieces() {
        match piece {
            Piece::Literal(_) => {}
            Piece::Reference(reference) => {
                let inside = reference.value.operator.iter().flat_map(Operator::templates).map(depth).max().unwrap_or(0);
                deepest = deepest.max(inside + 1);
            }
        }
    }
    deepest
}

fn refer(referent: &Referent, operator: Option<Operator>, span: Span) -> Template {
    Template::new([Piece::Reference(Spanned::new(Reference { referent: referent.clone(), operator }, span))])
}

fn joined(first: &Template, second: &Template) -> Template {
    Template::new(first.pieces().iter().chain(second.pieces()).cloned())
}

/// The value itself; nothing where it is not set.
pub(super) fn plain(value: &Value, span: Span) -> Template {
    match value {
        Value::Unset => Template::default(),
        Value::Text(text) => text.clone(),
        Value::Of(referent) => refer(referent, None, span),
        Value::Maybe(referent, next) => refer(referent, Some(Operator::Default { absent: Absent::Unset, word: plain(next, span) }), span),
    }
}

/// Whether a template is more than nothing whatever it refers to, if that can be told.
fn is_empty(template: &Template) -> Option<bool> {
    if template.pieces().is_empty() {
        return Some(true);
    }
    let certain = template.pieces().iter().any(|piece| matches!(piece, Piece::Literal(_)));
    certain.then_some(false)
}

/// `-` and `:-`.
fn or_else(value: &Value, empty: Empty, word: &Template, span: Span) -> Expressed<Template> {
    Ok(match (value, empty) {
        (Value::Unset, _) => word.clone(),
        (Value::Text(text), Empty::IsValue) => text.clone(),
        (Value::Text(text), Empty::IsNone) => match is_empty(text) {
            Some(true) => word.clone(),
            Some(false) => text.clone(),
            None => return first_of(text, word, span),
        },
        (Value::Of(referent), Empty::IsValue) => refer(referent, None, span),
        (Value::Of(referent), Empty::IsNone) => {
            refer(referent, Some(Operator::Default { absent: Absent::UnsetOrEmpty, word: word.clone() }), span)
        }
        (Value::Maybe(referent, next), Empty::IsValue) => {
            let word = or_else(next, empty, word, span)?;
            refer(referent, Some(Operator::Default { absent: Absent::Unset, word }), span)
        }
        (Value::Maybe(referent, next), Empty::IsNone) => {
            let behind = or_else(next, empty, word, span)?;
            otherwise(referent, behind, word.clone(), span)
        }
    })
}

/// The referent where it is more than nothing; `behind` where it is not set, `empty` where it is empty.
fn otherwise(referent: &Referent, behind: Template, empty: Template, span: Span) -> Template {
    let word = if behind == empty {
        behind
    } else {
        // Where it is set and empty, the first reference is nothing and the second is the word; where it is not set, the other way round.
        let unset = refer(referent, Some(Operator::Default { absent: Absent::Unset, word: behind }), span);
        let set = refer(referent, Some(Operator::Alternative { absent: Absent::Unset, word: empty }), span);
        joined(&unset, &set)
    };
    refer(referent, Some(Operator::Default { absent: Absent::UnsetOrEmpty, word }), span)
}

/// `:-` on a text that may be nothing: only what is one reference can be asked.
fn first_of(text: &Template, word: &Template, span: Span) -> Expressed<Template> {
    match text.as_reference().map(|reference| &reference.value) {
        Some(Reference { referent, operator: None }) => {
            Ok(refer(referent, Some(Operator::Default { absent: Absent::UnsetOrEmpty, word: word.clone() }), span))
        }
        Some(Reference { referent, operator: Some(Operator::Default { absent: Absent::Unset, word: behind }) })
            if is_empty(behind).is_some() =>
        {
            let behind = if is_empty(behind) == Some(true) { word.clone() } else { behind.clone() };
            Ok(otherwise(referent, behind, word.clone(), span))
        }
        Some(Reference { referent: _, operator: Some(_) }) | None => Err(composite()),
    }
}

fn composite() -> Inexpressible {
    Inexpressible::Because("its value is put together from others, and no operator can be used on the whole".to_owned())
}

fn several_defaults() -> Inexpressible {
    Inexpressible::Because("its default is not the same everywhere, or holds a variable; give it one default in each ARG".to_owned())
}

/// A value without what the base's environment may say before an argument is asked or where nobody gave one: no operator but `-` and `?` can
/// ask two at once.
fn without_base(value: &Value) -> Value {
    match value {
        Value::Maybe(Referent::Env(_), next) if **next != Value::Unset => without_base(next),
        Value::Maybe(argument @ Referent::Arg(_), next) => {
            let next = match next.as_ref() {
                Value::Maybe(Referent::Env(_), behind) if **behind == Value::Unset => Value::Unset,
                Value::Unset | Value::Text(_) | Value::Of(_) | Value::Maybe(_, _) => without_base(next),
            };
            Value::Maybe(argument.clone(), Box::new(next))
        }
        Value::Unset | Value::Text(_) | Value::Of(_) | Value::Maybe(_, _) => value.clone(),
    }
}

/// `+` and `:+`.
fn instead(value: &Value, empty: Empty, word: &Template, span: Span) -> Expressed<Template> {
    let value = without_base(value);
    let alternative = |referent: &Referent| {
        let absent = if empty == Empty::IsNone { Absent::UnsetOrEmpty } else { Absent::Unset };
        refer(referent, Some(Operator::Alternative { absent, word: word.clone() }), span)
    };
    Ok(match (&value, empty) {
        (Value::Unset, _) => Template::default(),
        (value, Empty::IsValue) if value.is_always_set() => word.clone(),
        (Value::Text(text), _) => match is_empty(text) {
            Some(true) => Template::default(),
            Some(false) => word.clone(),
            None => match text.as_reference().map(|reference| &reference.value) {
                Some(Reference { referent, operator: None }) => alternative(referent),
                Some(Reference { referent: _, operator: Some(_) }) | None => return Err(composite()),
            },
        },
        (Value::Of(referent), _) => alternative(referent),
        (Value::Maybe(referent, next), _) => match next.as_ref() {
            Value::Unset => alternative(referent),
            Value::Text(text) if is_empty(text) == Some(true) => alternative(referent),
            Value::Text(_) | Value::Of(_) | Value::Maybe(_, _) => return Err(several_defaults()),
        },
    })
}

/// `?` and `:?`.
fn required(variable: &Variable, value: &Value, empty: Empty, message: &Template, span: Span) -> Expressed<Template> {
    let fails = |referent: &Referent| {
        let absent = if empty == Empty::IsNone { Absent::UnsetOrEmpty } else { Absent::Unset };
        refer(referent, Some(Operator::Require { absent, message: message.clone() }), span)
    };
    let wrong = |usual: &str| {
        let message = message.as_literal().filter(|message| !message.is_empty()).unwrap_or(usual);
        Err(Inexpressible::Wrong(format!("`{}` is needed: {message}", variable.name)))
    };
    Ok(match (value, empty) {
        (Value::Unset, _) => return wrong("it is not set"),
        (Value::Text(text), Empty::IsValue) => text.clone(),
        (Value::Text(text), Empty::IsNone) => match is_empty(text) {
            Some(true) => return wrong("it is empty"),
            Some(false) => text.clone(),
            None => match text.as_reference().map(|reference| &reference.value) {
                Some(Reference { referent, operator: None }) => fails(referent),
                Some(Reference { referent: _, operator: Some(_) }) | None => return Err(composite()),
            },
        },
        (Value::Of(referent), Empty::IsValue) => refer(referent, None, span),
        (Value::Of(referent), Empty::IsNone) => fails(referent),
        (Value::Maybe(referent, next), _) if **next == Value::Unset => fails(referent),
        (Value::Maybe(referent, next), Empty::IsValue) => {
            let word = required(variable, next, empty, message, span)?;
            refer(referent, Some(Operator::Default { absent: Absent::Unset, word }), span)
        }
        (Value::Maybe(referent, next), Empty::IsNone) => {
            let behind = required(variable, next, empty, message, span)?;
            otherwise(referent, behind, fails(referent), span)
        }
    })
}

/// `#`, `%` and `/`: `known` does it on a text that is known.
fn changed(value: &Value, operator: &Operator, known: &dyn Fn(&str, &Pattern) -> Option<String>, span: Span) -> Expressed<Template> {
    let value = without_base(value);
    match &value {
        Value::Unset => Ok(Template::default()),
        Value::Of(_) | Value::Maybe(_, _) => refer_changed(&value, operator, span),
        Value::Text(text) => match (text.as_literal(), known_pattern(operator)) {
            (Some(literal), Some(pattern)) => known(literal, &pattern).map(Template::literal).ok_or_else(composite),
            (None, Some(pattern)) => distributed(text, operator, &pattern, known).ok_or_else(composite),
            (_, None) => Err(composite()),
        },
    }
}

fn refer_changed(value: &Value, operator: &Operator, span: Span) -> Expressed<Template> {
    match value {
        Value::Of(referent) => Ok(refer(referent, Some(operator.clone()), span)),
        Value::Maybe(referent, next) if **next == Value::Unset => {
            let word = refer(referent, Some(operator.clone()), span);
            Ok(refer(referent, Some(Operator::Alternative { absent: Absent::Unset, word }), span))
        }
        Value::Maybe(_, _) => Err(several_defaults()),
        Value::Unset | Value::Text(_) => Err(composite()),
    }
}

fn known_pattern(operator: &Operator) -> Option<Pattern> {
    match operator {
        Operator::TrimPrefix { extent: _, pattern }
        | Operator::TrimSuffix { extent: _, pattern }
        | Operator::Replace { occurrences: _, pattern, with: _ } => Pattern::new(pattern.as_literal()?),
        Operator::Default { .. } | Operator::Alternative { .. } | Operator::Require { .. } => None,
    }
}

/// All of one character replaced, piece by piece: the one change that does not care where pieces meet.
fn distributed(
    text: &Template,
    operator: &Operator,
    pattern: &Pattern,
    known: &dyn Fn(&str, &Pattern) -> Option<String>,
) -> Option<Template> {
    pattern.as_character()?;
    match operator {
        Operator::Replace { occurrences: Occurrences::All, pattern: _, with: _ } => {}
        Operator::Replace { occurrences: Occurrences::First, pattern: _, with: _ }
        | Operator::TrimPrefix { .. }
        | Operator::TrimSuffix { .. }
        | Operator::Default { .. }
        | Operator::Alternative { .. }
        | Operator::Require { .. } => return None,
    }
    let mut whole = Template::default();
    for piece in text.pieces() {
        whole.push(match piece {
            Piece::Literal(literal) => Piece::Literal(known(literal, pattern)?),
            Piece::Reference(reference) => {
                let changed = match &reference.value.operator {
                    None => operator.clone(),
                    Some(Operator::Alternative { absent, word }) => {
                        Operator::Alternative { absent: *absent, word: distributed(word, operator, pattern, known)? }
                    }
                    Some(
                        Operator::Default { .. }
                        | Operator::Require { .. }
                        | Operator::TrimPrefix { .. }
                        | Operator::TrimSuffix { .. }
                        | Operator::Replace { .. },
                    ) => return None,
                };
                let reference = reference.clone().map(|reference| Reference { referent: reference.referent, operator: Some(changed) });
                Piece::Reference(reference)
            }
        });
    }
    Some(whole)
}
