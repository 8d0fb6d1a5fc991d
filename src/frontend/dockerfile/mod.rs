//! A Dockerfile in, a [`Spec`] out, with the places of the Dockerfile in it; or everything that is wrong with the file.
//!
//! Pure: no I/O, no clock, no environment. What a Dockerfile means is what BuildKit makes of it. Build arguments stay references, what a
//! base image brings stays a reference too, and what no spec can say is a diagnostic. Source of truth: `specs/from-dockerfile.md`.

mod arguments;
mod diagnostics;
mod evaluate;
mod flags;
mod go;
mod heredoc;
mod instruction;
mod lines;
mod located;
mod lowering;
mod pattern;
mod readback;
mod split;
mod triggers;
mod value;
mod variables;
mod word;
mod wording;

use std::collections::{BTreeMap, BTreeSet};

pub use arguments::PROXY_ARGUMENTS;
pub use diagnostics::CODES;
pub use lines::Comment;
pub use triggers::{SeenArgument, Triggers, triggers};
pub use wording::reworded;

use crate::diagnostic::{Diagnosed, Diagnostic, Severity, SourceId};
use crate::image::Platform;
use crate::spec::{self, Name, Spec};

/// What is not in the file.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which stage the image is made of, by name or number; `None` means the last.
    pub target: Option<String>,
    /// What the image is called in the spec; `None` means `image`.
    pub image: Option<Name>,
    /// What stands before the names of stages and arguments, with a dot between, so that several files can be put into one spec.
    pub prefix: Option<Name>,
    /// The context that files come from when nothing else is said; `None` means the default one.
    pub context: Option<Name>,
    /// What the caller puts in place of images and stages of these names, which are lower-case.
    pub contexts: BTreeMap<String, NamedContext>,
    /// The arguments that the caller gives. They stay references; their values count only where one decides which stage is meant.
    pub arguments: BTreeMap<String, String>,
    /// What is built for. It stays a reference; it counts only where it decides which stage is meant.
    pub platform: Option<Platform>,
    /// What becomes of the spec.
    pub purpose: Purpose,
}

/// What becomes of a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// It is built with these very arguments.
    #[default]
    Build,
    /// It is kept for builds with others. What arguments decide once and for all is a warning then, and those that decide nothing else are left out.
    Convert,
}

/// What stands in place of an image or a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// The files of a context of the spec.
    Files(Name),
    /// Another image.
    Image(String),
}

/// Reads a Dockerfile. The spec has one image.
#[must_use]
pub fn parse(source: SourceId, text: &str, options: &Options) -> Diagnosed<Spec> {
    let mut diagnostics = Vec::new();
    let lines = lines::read(source, text, &mut |diagnostic| diagnostics.push(diagnostic));
    let lowered = lowering::lower(source, text, &lines, options, &mut diagnostics);
    let (mut spec, deciding) = lowered.map_or((None, BTreeSet::new()), |(spec, deciding)| (Some(spec), deciding));
    if let Some(spec) = &mut spec
        && !diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    {
        for found in spec::check(spec) {
            match found.code.0 {
                "unused-argument" => diagnostics.extend(unused_argument(spec, &found, &deciding, options)),
                _ => diagnostics.push(found),
            }
        }
        if !diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            diagnostics.extend(readback::refused(spec));
        }
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| (label.span.source, label.span.start)));
    let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    Diagnosed { value: spec.filter(|_| !failed), diagnostics }
}

/// What is to be said of an argument that no text of the spec uses: nothing if it has decided something already.
fn unused_argument(spec: &mut Spec, found: &Diagnostic, deciding: &BTreeSet<Name>, options: &Options) -> Option<Diagnostic> {
    let span = found.labels.first()?.span;
    let (name, _) = spec.args.iter().find(|(_, argument)| argument.span == span)?;
    let name = name.clone();
    if !deciding.contains(&name) {
        return Some(diagnostics::unused_argument(span, lowering::argument_of(&name, options)));
    }
    if options.purpose == Purpose::Convert {
        spec.args.remove(&name);
    }
    None
}

/// The comments of a Dockerfile in order, directives left out: for those who carry them over.
#[must_use]
pub fn comments(source: SourceId, text: &str) -> Vec<Comment> {
    lines::read(source, text, &mut |_| {}).comments
}

#[cfg(test)]
mod tests;
