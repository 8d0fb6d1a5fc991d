//! Templates and the values that are in force → strings.

use super::args::Arguments;
use super::diagnostics as say;
use super::settings::InForce;
use super::sink::Sink;
use crate::diagnostic::{Diagnostic, Span};
use crate::image::Platform;
use crate::spec::{Piece, PlatformOf, PlatformPart, Referent, Text};

/// How much references may bring into one string. Linux takes no longer variable or argument (`MAX_ARG_STRLEN`); more comes from variables
/// that double each other, not from people.
const MOST_FILLED_BYTES: usize = 128 << 10;

/// What references stand for at one point of a spec.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) args: &'a Arguments<'a>,
    pub(super) platform: &'a Platform,
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

impl Scope<'_> {
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

    fn fill(&self, text: &Text, becomes: Becomes, sink: &mut Sink) -> Option<String> {
        let mut filled = Some(String::new());
        let mut brought = 0_usize;
        for piece in text.pieces() {
            let value = match piece {
                Piece::Literal(literal) => Some(literal.as_str()),
                Piece::Reference(reference) if reference.operator.is_some() => {
                    sink.push(say::not_in_this_version(reference.span, "operators of references"));
                    None
                }
                Piece::Reference(reference) => match &reference.referent {
                    Referent::Arg(name) => self
                        .args
                        .get(name, reference.span, sink)
                        .filter(|value| check(value, becomes, sink, |bad| say::unsafe_argument(reference.span, name.as_str(), bad))),
                    Referent::Env(name) => self
                        .variable(name, reference.span, sink)
                        .filter(|value| check(value, becomes, sink, |bad| say::unsafe_variable(reference.span, name, bad))),
                    Referent::Platform(PlatformOf::Stage, part) => Some(match part {
                        PlatformPart::Os => self.platform.os.as_str(),
                        PlatformPart::Arch => self.platform.architecture.as_str(),
                        PlatformPart::Variant => self.platform.variant.as_deref().unwrap_or(""),
                    }),
                    Referent::Platform(PlatformOf::Target | PlatformOf::Builder, _) => {
                        sink.push(say::not_in_this_version(reference.span, "references to other platforms"));
                        None
                    }
                },
            };
            if !matches!(piece, Piece::Literal(_)) {
                brought = brought.saturating_add(value.map_or(0, str::len));
            }
            filled = filled.zip(value).map(|(mut filled, value)| {
                filled.push_str(value);
                filled
            });
        }
        let filled = filled?;
        if brought > MOST_FILLED_BYTES {
            sink.push(say::value_too_long(text.span, MOST_FILLED_BYTES));
            return None;
        }
        if becomes != Becomes::Bytes && filled.contains('\0') {
            sink.push(say::nul_character(text.span));
            return None;
        }
        Some(filled)
    }

    fn variable(&self, name: &str, span: Span, sink: &mut Sink) -> Option<&str> {
        let Some(env) = self.env else {
            sink.push(say::no_environment_here(span, name));
            return None;
        };
        let value = env.variable(name);
        if value.is_none() && !env.may_have(name) {
            sink.push(say::unset_variable(span, name, env.variables().map(|(name, _)| name)));
        }
        value
    }
}

fn check(value: &str, becomes: Becomes, sink: &mut Sink, refuse: impl FnOnce(char) -> Diagnostic) -> bool {
    let bad = match becomes {
        Becomes::Script => value.chars().find(|character| !is_plain(*character)),
        Becomes::Word | Becomes::Bytes => None,
    };
    if let Some(bad) = bad {
        sink.push(refuse(bad));
    }
    bad.is_none()
}

/// The characters that mean nothing to any shell, wherever they stand.
fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_.,:/@%+=-".contains(character)
}
