//! A [`Spec`] that came from a Dockerfile or Compose file in, a `lapstrake.toml` worth keeping out: comments carried over, stages in their
//! order, and, unless it is to be exact, said the way that people would write it.
//!
//! Idioms are put in where they provably make the same file system and config, and nowhere else.

mod arrange;
mod comments;
mod idiom;
mod repair;
mod script;

use crate::diagnostic::SourceMap;
use crate::spec::{Name, Spec};

/// How a spec is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As people would write it: the same file system and config.
    Idiomatic,
    /// As the front end made it, with the history: the same layers, byte for byte.
    Exact,
}

/// The bytes of a file of a context, by the context's name (`None` is the default one) and a path in it; `None` where there is no such
/// file, or it cannot be read.
pub type ContextFile<'c> = dyn Fn(Option<&Name>, &str) -> Option<Vec<u8>> + 'c;

/// Writes a spec. `sources` has the texts that its places point into, of which the comments are carried over.
#[must_use]
pub fn to_toml(spec: &Spec, sources: &SourceMap, manner: Manner, file: &ContextFile<'_>) -> String {
    match manner {
        Manner::Exact => arrange::arrange(spec, sources),
        Manner::Idiomatic => arrange::arrange(&idiom::idiomatic(spec, file), sources),
    }
}
