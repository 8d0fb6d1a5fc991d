//! A template → what it will most likely say: arguments have their defaults, and what is not known is `UNKNOWN`.

use std::collections::BTreeMap;

use super::script::UNKNOWN;
use crate::spec::{Absent, Argument, Name, Operator, Piece, Referent, Spanned, Template};

/// How deep words of operators are read.
const DEEPEST: usize = 16;

pub(super) fn likely(template: &Template, args: &BTreeMap<Name, Spanned<Argument>>) -> String {
    fill(template, args, 0)
}

fn fill(template: &Template, args: &BTreeMap<Name, Spanned<Argument>>, depth: usize) -> String {
    let mut text = String::new();
    for piece in template.pieces() {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Reference(reference) => {
                let value = match &reference.referent {
                    Referent::Arg(name) => value(args.get(name)),
                    Referent::Env(_) | Referent::Platform(_, _) => Value::Unknown,
                };
                match operated(value, reference.operator.as_ref(), args, depth) {
                    Some(value) => text.push_str(&value),
                    None => text.push(UNKNOWN),
                }
            }
        }
    }
    text
}

enum Value {
    Unknown,
    Unset,
    Set(String),
}

fn value(argument: Option<&Spanned<Argument>>) -> Value {
    match argument {
        Some(argument) => match &argument.default {
            Some(default) => Value::Set(default.value.clone()),
            None if argument.optional.is_some_and(|optional| optional.value) => Value::Unset,
            None => Value::Unknown,
        },
        None => Value::Unknown,
    }
}

fn operated(value: Value, operator: Option<&Operator>, args: &BTreeMap<Name, Spanned<Argument>>, depth: usize) -> Option<String> {
    if depth > DEEPEST {
        return None;
    }
    match (value, operator) {
        (Value::Unknown, _) => None,
        (Value::Set(value), None) => Some(value),
        (Value::Unset, None) => Some(String::new()),
        (Value::Set(value), Some(Operator::Default { absent, word })) => {
            if value.is_empty() && *absent == Absent::UnsetOrEmpty {
                Some(fill(word, args, depth + 1))
            } else {
                Some(value)
            }
        }
        (Value::Unset, Some(Operator::Default { absent: _, word })) => Some(fill(word, args, depth + 1)),
        (Value::Set(value), Some(Operator::Require { .. })) => Some(value),
        (
            Value::Set(_) | Value::Unset,
            Some(
                Operator::Alternative { .. }
                | Operator::Require { .. }
                | Operator::TrimPrefix { .. }
                | Operator::TrimSuffix { .. }
                | Operator::Replace { .. },
            ),
        ) => None,
    }
}
