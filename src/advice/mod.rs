//! A spec, from any front end → advice: what works and is probably not what was meant, each with its place and what to do about it.
//!
//! Pure. Warnings alone, of which none changes what is built. Scripts are read as a shell reads them, and where something is not certain
//! nothing is said: advice that is wrong once is not read again.

mod base;
mod commands;
mod copies;
mod diagnostics;
mod directive;
mod layers;
mod packages;
mod place;
mod runs;
mod script;
mod secrets;
mod stages;
#[cfg(test)]
mod tests;
mod text;
mod variables;

use std::collections::BTreeSet;

pub use diagnostics::CODES;
pub use directive::{Directive, directive};

use crate::diagnostic::{Diagnostic, SourceMap, Span};
use crate::image::Reference;
use crate::spec::Spec;

/// What is known beside the spec.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What the spec was written in, which decides how hints are worded.
    pub language: Language,
    /// Images that the lock pins.
    pub pinned: BTreeSet<Reference>,
    /// Branches and tags that the lock pins: addresses of repositories, and names in them, `HEAD` where a spec says none.
    pub commits: BTreeSet<(String, String)>,
    /// Whether stages are there for others than those who build now.
    pub wanted: Wanted,
}

/// What a spec was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// A lapstrake.toml.
    Toml,
    /// A Dockerfile, alone or named by a Compose file.
    Dockerfile,
}

/// What of a spec is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All of it, so that a stage which nothing uses is worth a word.
    Everything,
    /// A part that the caller chose: what the rest is for is not known.
    Part,
}

/// Everything worth saying about a spec, in the order of the places.
#[must_use]
pub fn of(spec: &Spec, sources: &SourceMap, facts: &Facts) -> Vec<Diagnostic> {
    let advisor = Advisor { spec, sources, facts, stages: stages::views(spec) };
    let mut found = Vec::new();
    secrets::look(&advisor, &mut found);
    stages::look(&advisor, &mut found);
    variables::look(&advisor, &mut found);
    copies::look(&advisor, &mut found);
    commands::look(&advisor, &mut found);
    layers::look(&advisor, &mut found);
    let place = |diagnostic: &Diagnostic| diagnostic.labels.first().map(|label| (label.span, diagnostic.code));
    // What a program put into the spec has no place, and nobody wrote it.
    found.retain(|diagnostic| diagnostic.labels.first().is_some_and(|label| label.span != Span::NONE));
    found.sort_by_key(place);
    found.dedup();
    found
}

/// What every rule is given.
struct Advisor<'s> {
    spec: &'s Spec,
    sources: &'s SourceMap,
    facts: &'s Facts,
    stages: Vec<stages::View<'s>>,
}
