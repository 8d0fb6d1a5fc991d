//! All ARGs of a file in, the arguments of the spec out: which have a default that holds everywhere, and which are worth something else in
//! each place.

use std::collections::{BTreeMap, BTreeSet};

use super::instruction::{ArgPair, Instruction, Kind};
use super::value::Value;
use super::word;
use crate::diagnostic::Span;
use crate::spec::{Absent, Argument, Name, Operator, Piece, PlatformOf, PlatformPart, Reference, Referent, Spanned, Template};

/// The build arguments that Docker takes without an ARG; a RUN sees them, and they are in no key.
pub const PROXY_ARGUMENTS: [&str; 10] =
    ["ALL_PROXY", "FTP_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "all_proxy", "ftp_proxy", "http_proxy", "https_proxy", "no_proxy"];

/// What the spec calls arguments.
#[derive(Debug, Default)]
pub(super) enum Naming {
    /// As they are called.
    #[default]
    Own,
    /// With this in front, and a dot.
    Prefixed(Name),
    /// With this in front where that makes one of these names, else as they are called.
    PrefixedAmong(String, BTreeSet<Name>),
}

/// The arguments of a file.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    naming: Naming,
    shapes: BTreeMap<String, Shape>,
}

/// What an argument is worth when nobody gives it.
#[derive(Debug, Clone)]
enum Shape {
    /// The same wherever it is declared.
    Default(String, Span),
    /// It depends on the place.
    Optional(Span),
}

/// What was seen of one name.
#[derive(Default)]
struct Seen {
    span: Option<Span>,
    literals: BTreeSet<String>,
    dynamic: bool,
    bare_global: bool,
    bare_in_stage: bool,
    global_default: bool,
}

impl Arguments {
    /// Looks at every ARG, those in ONBUILD too.
    pub(super) fn gather<'i>(
        globals: impl IntoIterator<Item = &'i ArgPair>,
        stages: impl IntoIterator<Item = &'i Instruction>,
        escape: char,
        naming: Naming,
    ) -> Arguments {
        let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
        for pair in globals {
            see(&mut seen, pair, escape, Scope::Global);
        }
        for instruction in stages {
            let kind = if let Kind::OnBuild(trigger) = &instruction.kind { &trigger.instruction.kind } else { &instruction.kind };
            if let Kind::Arg(pairs) = kind {
                pairs.iter().for_each(|pair| see(&mut seen, pair, escape, Scope::Stage));
            }
        }
        let mut shapes = BTreeMap::new();
        for (name, seen) in seen {
            let span = seen.span.unwrap_or(Span::NONE);
            let mut literals = seen.literals.iter();
            let shape = match (literals.next(), literals.next()) {
                (Some(only), None) if !seen.dynamic && !seen.bare_global && (!seen.bare_in_stage || seen.global_default) => {
                    Shape::Default(only.clone(), span)
                }
                (None, _) if !seen.dynamic && !seen.bare_global && predefined(&name, "").is_some() => continue,
                (_, _) => Shape::Optional(span),
            };
            shapes.insert(name, shape);
        }
        Arguments { naming, shapes }
    }

    /// The name that the spec has for an argument; `None` where it can have none.
    pub(super) fn name(&self, name: &str) -> Option<Name> {
        match &self.naming {
            Naming::Own => Name::new(name).ok(),
            Naming::Prefixed(prefix) => Name::new(format!("{prefix}.{name}")).ok(),
            Naming::PrefixedAmong(prefix, names) => {
                let full = Name::new(format!("{prefix}.{name}")).ok().filter(|full| names.contains(full));
                full.or_else(|| Name::new(name).ok())
            }
        }
    }

    fn referent(&self, name: &str) -> Option<Referent> {
        self.name(name).map(Referent::Arg)
    }

    /// What an argument is worth where a default stands behind it.
    pub(super) fn with_default(&self, name: &str, default: Value) -> Value {
        match (self.referent(name), self.shapes.get(name)) {
            (Some(referent), Some(Shape::Default(_, _))) => Value::Of(referent),
            (Some(referent), Some(Shape::Optional(_))) => Value::Maybe(referent, Box::new(default)),
            (Some(_), None) | (None, _) => default,
        }
    }

    /// Whether it is worth the same everywhere.
    pub(super) fn is_settled(&self, name: &str) -> bool {
        matches!(self.shapes.get(name), Some(Shape::Default(_, _)))
    }

    /// The default that it has everywhere.
    pub(super) fn default(&self, name: &str) -> Option<&str> {
        match self.shapes.get(name) {
            Some(Shape::Default(text, _)) => Some(text),
            Some(Shape::Optional(_)) | None => None,
        }
    }

    /// As the spec declares them.
    pub(super) fn declared(&self) -> BTreeMap<Name, Spanned<Argument>> {
        let mut declared = BTreeMap::new();
        for (name, shape) in &self.shapes {
            let Some(name) = self.name(name) else { continue };
            let (argument, span) = match shape {
                Shape::Default(text, span) => (Argument { default: Some(Spanned::new(text.clone(), *span)), ..Argument::default() }, *span),
                Shape::Optional(span) => (Argument { optional: Some(Spanned::new(true, *span)), ..Argument::default() }, *span),
            };
            declared.insert(name, Spanned::new(argument, span));
        }
        declared
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Global,
    Stage,
}

fn see(seen: &mut BTreeMap<String, Seen>, pair: &ArgPair, escape: char, scope: Scope) {
    let seen = seen.entry(pair.name.as_str().to_owned()).or_default();
    seen.span.get_or_insert(pair.name.whole());
    match &pair.default {
        None => match scope {
            Scope::Global => seen.bare_global = true,
            Scope::Stage => seen.bare_in_stage = true,
        },
        Some(text) => {
            // What is wrong with it is said where it is carried out.
            let word = word::read(text, escape, word::Quotes::Protect, &mut |_| {});
            match word.and_then(|word| word::literal(&word)) {
                Some(literal) => {
                    seen.literals.insert(literal);
                }
                None => seen.dynamic = true,
            }
            seen.global_default |= scope == Scope::Global;
        }
    }
}

fn part(of: PlatformOf, part: PlatformPart) -> Piece {
    Piece::Reference(Spanned::made(Reference::to(Referent::Platform(of, part))))
}

/// `os/architecture[/variant]`.
pub(super) fn whole_platform(of: PlatformOf) -> Template {
    let slash = || Piece::Literal("/".to_owned());
    let variant = Operator::Alternative { absent: Absent::UnsetOrEmpty, word: Template::new([slash(), part(of, PlatformPart::Variant)]) };
    let variant = Reference { referent: Referent::Platform(of, PlatformPart::Variant), operator: Some(variant) };
    Template::new([part(of, PlatformPart::Os), slash(), part(of, PlatformPart::Arch), Piece::Reference(Spanned::made(variant))])
}

/// What an ARG without a default is worth that Docker knows by itself.
pub(super) fn predefined(name: &str, target: &str) -> Option<Value> {
    let (of, rest) = match (name.strip_prefix("TARGET"), name.strip_prefix("BUILD")) {
        (Some(rest), _) => (PlatformOf::Target, rest),
        (None, Some(rest)) => (PlatformOf::Builder, rest),
        (None, None) => return None,
    };
    match rest {
        "PLATFORM" => Some(Value::Text(whole_platform(of))),
        "OS" => Some(Value::Of(Referent::Platform(of, PlatformPart::Os))),
        "ARCH" => Some(Value::Of(Referent::Platform(of, PlatformPart::Arch))),
        "VARIANT" => Some(Value::Of(Referent::Platform(of, PlatformPart::Variant))),
        "OSVERSION" => Some(Value::literal("")),
        "STAGE" if of == PlatformOf::Target => Some(Value::literal(target)),
        _ => None,
    }
}
