//! A [`Spec`] that came from a Dockerfile or Compose file in, a `lapstrake.toml` worth keeping out: comments carried over, stages in their
//! order, and, unless it is to be exact, said the way that people would write it.
//!
//! Idioms are put in where they provably make the same file system and config, and nowhere else.

mod arrange;
mod comments;
mod files;
mod idiom;
mod layout;
mod local;
mod modes;
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

/// What is asked about the files of contexts. A context is called by its name, `None` is the default one; paths are relative to it.
pub trait Contexts {
    /// The bytes of a regular file; `None` where there is none, or it cannot be read.
    fn read(&self, context: Option<&Name>, path: &str) -> Option<Vec<u8>>;

    /// Whether what is there, with all below it, has the modes of normal form: 0644 or 0755 for files, 0755 for directories. `false`
    /// where nothing is there, or that cannot be told.
    fn is_normal(&self, context: Option<&Name>, path: &str) -> bool;
}

/// Contexts of which nothing is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unknown;

impl Contexts for Unknown {
    fn read(&self, _context: Option<&Name>, _path: &str) -> Option<Vec<u8>> {
        None
    }

    fn is_normal(&self, _context: Option<&Name>, _path: &str) -> bool {
        false
    }
}

/// Writes a spec. `sources` has the texts that its places point into, of which the comments are carried over.
#[must_use]
pub fn to_toml(spec: &Spec, sources: &SourceMap, manner: Manner, contexts: &dyn Contexts) -> String {
    match manner {
        Manner::Exact => arrange::arrange(spec, sources, manner),
        Manner::Idiomatic => arrange::arrange(&idiom::idiomatic(spec, contexts), sources, manner),
    }
}
