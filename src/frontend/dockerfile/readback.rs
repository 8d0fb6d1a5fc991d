//! A spec that was made here, read again from its TOML: what the language refuses is said at the instruction that it came from.

use super::diagnostics as say;
use crate::diagnostic::{Diagnostic, Severity, SourceId, Span};
use crate::spec::{self, Spec};

/// Everything that the language refuses in a spec.
pub(super) fn refused(made: &Spec) -> Vec<Diagnostic> {
    let toml = spec::to_toml(made);
    let read = spec::parse(SourceId::NONE, &toml);
    let wrong = read.diagnostics.into_iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    wrong
        .map(|diagnostic| {
            let at = diagnostic.labels.first().map_or(0, |label| label.span.start as usize);
            // Its hints are about the TOML.
            say::cannot_express(place(made, &toml, at), format!("a spec cannot say this: {}", diagnostic.message))
        })
        .collect()
}

/// Where in the Dockerfile that came from which stands at an offset of the TOML.
fn place(made: &Spec, toml: &str, at: usize) -> Span {
    let before = toml.get(..at).unwrap_or(toml);
    let Some(header) = before.lines().rev().find(|line| line.starts_with('[')) else { return Span::NONE };
    for (name, stage) in &made.stages {
        let steps = [format!("[[stages.{name}.steps]]"), format!("[[stages.\"{name}\".steps]]")];
        if steps.iter().any(|steps| steps == header) {
            let index = before.lines().filter(|line| *line == header).count().saturating_sub(1);
            return stage.steps.get(index).map_or(stage.span, |step| step.span);
        }
        if [format!("[stages.{name}]"), format!("[stages.\"{name}\"]")].iter().any(|known| known == header) {
            return stage.from.span;
        }
    }
    made.images.values().next().map_or(Span::NONE, |image| image.span)
}
