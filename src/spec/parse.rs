//! The whole way from a text to a spec and to everything that is wrong in it.

use std::collections::BTreeSet;

use toml::de::DeTable;

use super::sink::Sink;
use super::{OnBuild, Spec, check, diagnostics, read, toml_version};
use crate::diagnostic::{Diagnosed, Diagnostic, Severity, SourceId};

/// Reads a spec.
///
/// The value is there when the text has the form of a spec; errors about what it says, such as a stage that does not exist, may then stand
/// beside it. Diagnostics come in the order of their places, and each mistake is named once.
#[must_use]
pub fn parse(source: SourceId, text: &str) -> Diagnosed<Spec> {
    let mut sink = Sink::new(source, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().unwrap_or(0..0);
        let span = sink.span(at);
        sink.report(diagnostics::toml_syntax(span, error.message()));
    }
    let well_formed = !sink.has_errors();
    if well_formed {
        for (place, what) in toml_version::newer_syntax(text) {
            let span = sink.span(place);
            sink.report(diagnostics::newer_toml(span, what));
        }
    }
    let spec = read::spec(&mut sink, &table);
    let readable = !sink.has_errors();
    let mut found = sink.into_diagnostics();
    if well_formed {
        // The reader has said where stages are missing, and an unread part may be what would have used an argument.
        let new = |diagnostic: &Diagnostic| diagnostic.code.0 != "no-stages" && (readable || diagnostic.severity == Severity::Error);
        found.extend(check::check(&spec).into_iter().filter(new).filter(|diagnostic| !is_for_a_base(&spec, diagnostic)));
    } else {
        found = without_consequences(text, found);
    }
    found.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| (label.span.start, label.span.end)));
    found.dedup();
    Diagnosed { value: readable.then_some(spec), diagnostics: found }
}

/// Whether an argument that nothing uses may be one that the base of a stage declares: `A.NAME`, for the stages `A.…`.
fn is_for_a_base(spec: &Spec, diagnostic: &Diagnostic) -> bool {
    let span = diagnostic.labels.first().map(|label| label.span);
    let argument = spec.args.iter().find(|(_, argument)| Some(argument.span) == span).map(|(name, _)| name.as_str());
    let Some((owner, _)) = argument.filter(|_| diagnostic.code.0 == "unused-argument").and_then(|name| name.split_once('.')) else {
        return false;
    };
    spec.stages.iter().any(|(name, stage)| {
        let carries_out = stage.onbuild.as_ref().is_some_and(|onbuild| onbuild.value == OnBuild::Run);
        carries_out && name.as_str().split_once('.').is_some_and(|(of, _)| of == owner)
    })
}

/// Where the TOML itself is broken, a line has one message, and what may only be a consequence has none.
fn without_consequences(text: &str, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut lines: BTreeSet<usize> = BTreeSet::new();
    let starts: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let line_of = |diagnostic: &Diagnostic| {
        let at = diagnostic.labels.first().map_or(0, |label| label.span.start as usize);
        starts.partition_point(|start| *start <= at)
    };
    let (mut syntax, rest): (Vec<_>, Vec<_>) = found.into_iter().partition(|diagnostic| diagnostic.code.0 == "toml-syntax");
    syntax.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| label.span.start));
    syntax.retain(|diagnostic| lines.insert(line_of(diagnostic)));
    let independent = |diagnostic: &Diagnostic| {
        !matches!(diagnostic.code.0, "missing-key" | "no-stages" | "one-verb" | "one-mount-kind") && !lines.contains(&line_of(diagnostic))
    };
    syntax.extend(rest.into_iter().filter(independent));
    syntax
}
