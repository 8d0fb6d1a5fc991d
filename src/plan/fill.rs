//! Templates and the values that are in force → strings.

use std::borrow::Cow;

use super::args::Arguments;
use super::diagnostics as say;
use super::pattern::{Pattern, Unusable};
use super::settings::InForce;
use super::sink::Sink;
use crate::diagnostic::Span;
use crate::image::Platform;
use crate::spec::{Absent, Operator, Piece, PlatformOf, PlatformPart, Reference, Referent, Spanned, Template, Text};

/// How much references may bring into one string. Linux takes no longer variable or argument (`MAX_ARG_STRLEN`); more comes from variables
/// that double each other, not from people.
const MOST_FILLED_BYTES: usize = 128 << 10;

/// What references stand for at one point of a spec.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) args: &'a Arguments<'a>,
    /// What the stage is built for.
    pub(super) platform: &'a Platform,
    /// What the wanted image is built for.
    pub(super) target: &'a Platform,
    /// What builds.
    pub(super) builder: &'a Platform,
    /// `None` where no environment is known yet, as in the name of a base.
    pub(super) env: Option<&'a InForce>,
}

/// What a string becomes, which decides what values it may take in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Becomes {
    /// A word for the operating system, which cannot hold NUL.
    Word,
    /// A program for a shell, in which a value must not become code.
    Script,
    /// Bytes of a file.
    Bytes,
}

/// What a reference refers to turned out to be.
enum Looked<'a> {
    Value(&'a str),
    Unset,
    /// What is wrong has been said.
    Unknown,
}

impl<'a> Looked<'a> {
    /// One that counts as absent is unset.
    fn or_unset(self, absent: Absent) -> Looked<'a> {
        match (self, absent) {
            (Looked::Value(""), Absent::UnsetOrEmpty) => Looked::Unset,
            (looked, Absent::Unset | Absent::UnsetOrEmpty) => looked,
        }
    }
}

impl<'a> Scope<'a> {
    /// A path, a variable, an argument of a program.
    pub(super) fn word(&self, text: &Text, sink: &mut Sink) -> Option<String> {
        self.fill(text, Becomes::Word, sink)
    }

    /// Each of several words; `None` when any is wrong.
    pub(super) fn words(&self, texts: &[Text], sink: &mut Sink) -> Option<Vec<String>> {
        let words: Vec<Option<String>> = texts.iter().map(|text| self.word(text, sink)).collect();
        words.into_iter().collect()
    }

    /// A script: values with characters that mean something to a shell are refused.
    pub(super) fn script(&self, text: &Text, sink: &mut Sink) -> Option<String> {
        self.fill(text, Becomes::Script, sink)
    }

    /// What a file holds.
    pub(super) fn bytes(&self, text: &Text, sink: &mut Sink) -> Option<Vec<u8>> {
        self.fill(text, Becomes::Bytes, sink).map(String::into_bytes)
    }

    /// Whether a template is nothing but an optional argument that has no value.
    pub(super) fn is_left_out(&self, template: &Template) -> bool {
        match template.as_reference().map(|reference| &reference.value) {
            Some(Reference { referent: Referent::Arg(name), operator: None }) => self.args.is_left_out(name),
            Some(Reference { referent: Referent::Arg(_) | Referent::Env(_) | Referent::Platform(..), operator: _ }) | None => false,
        }
    }

    fn fill(&self, text: &Text, becomes: Becomes, sink: &mut Sink) -> Option<String> {
        let filled = self.template(&text.value, text.span, becomes, sink)?;
        if becomes != Becomes::Bytes && filled.contains('\0') {
            sink.push(say::nul_character(text.span));
            return None;
        }
        Some(filled)
    }

    /// Fills a string, or the word of an operator in one. Everything wrong in it is said.
    fn template(&self, template: &Template, span: Span, becomes: Becomes, sink: &mut Sink) -> Option<String> {
        let mut filled = Some(String::new());
        let mut brought = 0_usize;
        for piece in template.pieces() {
            let value = match piece {
                Piece::Literal(literal) => Some(Cow::Borrowed(literal.as_str())),
                Piece::Reference(reference) => {
                    let value = self.reference(reference, becomes, sink);
                    brought = brought.saturating_add(value.as_ref().map_or(0, |value| value.len()));
                    value
                }
            };
            if brought > MOST_FILLED_BYTES {
                sink.push(say::value_too_long(span, MOST_FILLED_BYTES));
                return None;
            }
            filled = filled.zip(value).map(|(mut filled, value)| {
                filled.push_str(&value);
                filled
            });
        }
        filled
    }

    /// What a reference stands for. The words of its operator are looked at only where they are needed, as in a shell.
    fn reference(&self, reference: &Spanned<Reference>, becomes: Becomes, sink: &mut Sink) -> Option<Cow<'a, str>> {
        let Spanned { value: Reference { referent, operator }, span } = reference;
        let looked = self.look(referent, *span, sink);
        match operator {
            None => {
                let value = self.set(looked, referent, *span, sink)?;
                checked(Cow::Borrowed(value), referent, *span, becomes, sink)
            }
            Some(Operator::Default { absent, word }) => match looked.or_unset(*absent) {
                Looked::Value(value) => checked(Cow::Borrowed(value), referent, *span, becomes, sink),
                Looked::Unset => self.template(word, *span, becomes, sink).map(Cow::Owned),
                Looked::Unknown => None,
            },
            Some(Operator::Alternative { absent, word }) => match looked.or_unset(*absent) {
                Looked::Value(_) => self.template(word, *span, becomes, sink).map(Cow::Owned),
                Looked::Unset => Some(Cow::Borrowed("")),
                Looked::Unknown => None,
            },
            Some(Operator::Require { absent, message }) => match looked.or_unset(*absent) {
                Looked::Value(value) => checked(Cow::Borrowed(value), referent, *span, becomes, sink),
                Looked::Unset => {
                    let message = self.template(message, *span, Becomes::Word, sink)?;
                    sink.push(say::value_required(*span, referent, &message, *absent));
                    None
                }
                Looked::Unknown => None,
            },
            Some(Operator::TrimPrefix { extent, pattern }) => {
                let value = self.set(looked, referent, *span, sink)?;
                let pattern = self.pattern(pattern, *span, sink)?;
                let trimmed = usable(pattern.trim_prefix(value, *extent), *span, sink)?;
                checked(Cow::Owned(trimmed), referent, *span, becomes, sink)
            }
            Some(Operator::TrimSuffix { extent, pattern }) => {
                let value = self.set(looked, referent, *span, sink)?;
                let pattern = self.pattern(pattern, *span, sink)?;
                let trimmed = usable(pattern.trim_suffix(value, *extent), *span, sink)?;
                checked(Cow::Owned(trimmed), referent, *span, becomes, sink)
            }
            Some(Operator::Replace { occurrences, pattern, with }) => {
                let value = self.set(looked, referent, *span, sink)?;
                let pattern = self.pattern(pattern, *span, sink)?;
                let with = self.template(with, *span, becomes, sink)?;
                let replaced = usable(pattern.replace(value, &with, *occurrences, MOST_FILLED_BYTES), *span, sink)?;
                checked(Cow::Owned(replaced), referent, *span, becomes, sink)
            }
        }
    }

    fn pattern(&self, pattern: &Template, span: Span, sink: &mut Sink) -> Option<Pattern> {
        let text = self.template(pattern, span, Becomes::Word, sink)?;
        usable(Pattern::parse(&text), span, sink)
    }

    fn look(&self, referent: &Referent, span: Span, sink: &mut Sink) -> Looked<'a> {
        match referent {
            Referent::Arg(name) => match self.args.look(name, span, sink) {
                Some(value) => value.map_or(Looked::Unset, Looked::Value),
                None => Looked::Unknown,
            },
            Referent::Env(name) => {
                let Some(env) = self.env else {
                    sink.push(say::no_environment_here(span, name));
                    return Looked::Unknown;
                };
                match env.variable(name) {
                    Some(value) => Looked::Value(value),
                    None if env.may_have(name) => Looked::Unknown,
                    None => Looked::Unset,
                }
            }
            Referent::Platform(of, part) => {
                let platform = match of {
                    PlatformOf::Stage => self.platform,
                    PlatformOf::Target => self.target,
                    PlatformOf::Builder => self.builder,
                };
                Looked::Value(match part {
                    PlatformPart::Os => platform.os.as_str(),
                    PlatformPart::Arch => platform.architecture.as_str(),
                    PlatformPart::Variant => platform.variant.as_deref().unwrap_or(""),
                })
            }
        }
    }

    /// The value, where being unset is a mistake.
    fn set(&self, looked: Looked<'a>, referent: &Referent, span: Span, sink: &mut Sink) -> Option<&'a str> {
        match looked {
            Looked::Value(value) => Some(value),
            Looked::Unknown => None,
            Looked::Unset => {
                match referent {
                    Referent::Arg(name) => sink.push(self.args.missing(name, span)),
                    Referent::Env(name) => {
                        let known = self.env.into_iter().flat_map(InForce::variables).map(|(name, _)| name);
                        sink.push(say::unset_variable(span, name, known));
                    }
                    Referent::Platform(..) => {}
                }
                None
            }
        }
    }
}

fn usable<T>(result: Result<T, Unusable>, span: Span, sink: &mut Sink) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Unusable::Escape(character)) => {
            sink.push(say::bad_pattern(span, character));
            None
        }
        Err(Unusable::TooLong) => {
            sink.push(say::value_too_long(span, MOST_FILLED_BYTES));
            None
        }
    }
}

/// The value, unless it would become code.
fn checked<'a>(value: Cow<'a, str>, referent: &Referent, span: Span, becomes: Becomes, sink: &mut Sink) -> Option<Cow<'a, str>> {
    let bad = match becomes {
        Becomes::Script => value.chars().find(|character| !is_plain(*character)),
        Becomes::Word | Becomes::Bytes => None,
    };
    let Some(bad) = bad else { return Some(value) };
    let refusal = match referent {
        Referent::Arg(name) => say::unsafe_argument(span, name.as_str(), bad),
        Referent::Env(name) => say::unsafe_variable(span, name, bad),
        // Only what an operator puts there can be anything but plain.
        Referent::Platform(of, part) => say::unsafe_argument(span, &format!("{}.{}", of.word(), part.word()), bad),
    };
    sink.push(refusal);
    None
}

/// The characters that mean nothing to any shell, wherever they stand.
fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_.,:/@%+=-".contains(character)
}
