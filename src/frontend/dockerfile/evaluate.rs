//! Templates and values and what the caller gives, the text that comes of it: for what decides the shape of a spec and so must be known early.

use std::collections::BTreeSet;

use super::arguments::Arguments;
use super::pattern::Pattern;
use super::value::Value;
use super::word::{All, Longest};
use super::{Options, lowering::argument_of};
use crate::diagnostic::Span;
use crate::spec::{Absent, Extent, Name, Occurrences, Operator, Piece, PlatformOf, PlatformPart, Reference, Referent, Template};

/// What values are today: where no reference can say what is wanted, the arguments at hand decide.
pub(super) struct Today<'a> {
    arguments: &'a Arguments,
    options: &'a Options,
    /// The arguments that have decided something.
    pub(super) deciding: BTreeSet<Name>,
    /// Where they have, and what came of it.
    pub(super) decided: Vec<(Span, String)>,
}

impl Today<'_> {
    pub(super) const fn new<'a>(arguments: &'a Arguments, options: &'a Options) -> Today<'a> {
        Today { arguments, options, deciding: BTreeSet::new(), decided: Vec::new() }
    }

    /// The value as it is today; `None` where a base or an unknown platform has a part in it.
    pub(super) fn value(&mut self, value: &Value) -> Option<Value> {
        match value {
            Value::Unset => Some(Value::Unset),
            Value::Text(template) if of_platform(template) => None,
            Value::Text(template) => {
                let text = evaluate(template, self.arguments, self.options)?;
                self.note(template);
                Some(Value::literal(text))
            }
            Value::Of(referent) => self.referent(referent),
            Value::Maybe(referent, next) => match self.referent(referent)? {
                Value::Unset => self.value(next),
                known @ (Value::Text(_) | Value::Of(_) | Value::Maybe(_, _)) => Some(known),
            },
        }
    }

    fn referent(&mut self, referent: &Referent) -> Option<Value> {
        match referent {
            Referent::Arg(name) => {
                self.deciding.insert(name.clone());
                let text = refer(&Reference::to(referent.clone()), self.arguments, self.options);
                Some(text.map_or(Value::Unset, Value::literal))
            }
            // Each platform of a build has another.
            Referent::Env(_) | Referent::Platform(_, _) => None,
        }
    }

    /// Remembers the arguments in a template.
    pub(super) fn note(&mut self, template: &Template) {
        template.each_piece(&mut |piece| match piece {
            Piece::Reference(reference) => {
                if let Referent::Arg(name) = &reference.value.referent {
                    self.deciding.insert(name.clone());
                }
            }
            Piece::Literal(_) => {}
        });
    }
}

/// Whether a template is another for each platform that is built for.
pub(super) fn of_platform(template: &Template) -> bool {
    let mut found = false;
    template.each_piece(&mut |piece| match piece {
        Piece::Reference(reference) => {
            found |= matches!(reference.value.referent, Referent::Platform(PlatformOf::Target | PlatformOf::Stage, _))
        }
        Piece::Literal(_) => {}
    });
    found
}

/// The text, as far as arguments and platforms alone make it.
pub(super) fn evaluate(template: &Template, arguments: &Arguments, options: &Options) -> Option<String> {
    let mut text = String::new();
    for piece in template.pieces() {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Reference(reference) => text.push_str(&refer(&reference.value, arguments, options)?),
        }
    }
    Some(text)
}

fn refer(reference: &Reference, arguments: &Arguments, options: &Options) -> Option<String> {
    let value = match &reference.referent {
        Referent::Arg(name) => {
            let name = argument_of(name, options);
            options.arguments.get(name).cloned().or_else(|| arguments.default(name).map(str::to_owned))
        }
        Referent::Platform(PlatformOf::Target, part) => Some(match (options.platform.as_ref()?, part) {
            (platform, PlatformPart::Os) => platform.os.clone(),
            (platform, PlatformPart::Arch) => platform.architecture.clone(),
            (platform, PlatformPart::Variant) => platform.variant.clone().unwrap_or_default(),
        }),
        Referent::Platform(PlatformOf::Stage | PlatformOf::Builder, _) | Referent::Env(_) => return None,
    };
    let is_absent = |absent: &Absent| match (absent, &value) {
        (_, None) => true,
        (Absent::UnsetOrEmpty, Some(value)) => value.is_empty(),
        (Absent::Unset, Some(_)) => false,
    };
    match &reference.operator {
        None => value,
        Some(Operator::Default { absent, word }) if is_absent(absent) => evaluate(word, arguments, options),
        Some(Operator::Default { .. }) => value,
        Some(Operator::Alternative { absent, word: _ }) if is_absent(absent) => Some(String::new()),
        Some(Operator::Alternative { absent: _, word }) => evaluate(word, arguments, options),
        Some(Operator::Require { absent, message: _ }) => value.clone().filter(|_| !is_absent(absent)),
        Some(Operator::TrimPrefix { extent, pattern }) => pattern_of(pattern, arguments, options)?.trim_prefix(&value?, longest(*extent)),
        Some(Operator::TrimSuffix { extent, pattern }) => pattern_of(pattern, arguments, options)?.trim_suffix(&value?, longest(*extent)),
        Some(Operator::Replace { occurrences, pattern, with }) => {
            let all = if *occurrences == Occurrences::All { All::Yes } else { All::No };
            pattern_of(pattern, arguments, options)?.replace(&value?, &evaluate(with, arguments, options)?, all)
        }
    }
}

fn pattern_of(pattern: &Template, arguments: &Arguments, options: &Options) -> Option<Pattern> {
    Pattern::new(&evaluate(pattern, arguments, options)?)
}

const fn longest(extent: Extent) -> Longest {
    match extent {
        Extent::Longest => Longest::Yes,
        Extent::Shortest => Longest::No,
    }
}
