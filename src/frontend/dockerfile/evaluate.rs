//! A template and what the caller gives, the text that comes of it: for what decides the shape of a spec and so must be known early.

use super::arguments::Arguments;
use super::{Options, lowering::argument_of};
use crate::spec::{Absent, Operator, Piece, PlatformOf, PlatformPart, Reference, Referent, Template};

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
        Some(Operator::TrimPrefix { .. } | Operator::TrimSuffix { .. } | Operator::Replace { .. }) => None,
    }
}
