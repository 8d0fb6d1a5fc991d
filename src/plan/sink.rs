//! Diagnostics as they come → diagnostics in order of their places, each once.

use crate::diagnostic::{Diagnosed, Diagnostic, Severity};

/// Gathers what is wrong, so that everything is said at once.
#[derive(Debug, Default)]
pub(super) struct Sink(Vec<Diagnostic>);

impl Sink {
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// The value of a result; its error is taken in.
    pub(super) fn take<T>(&mut self, result: Result<T, Diagnostic>) -> Option<T> {
        result.map_err(|diagnostic| self.push(diagnostic)).ok()
    }

    /// The value, unless an error was taken in.
    pub(super) fn finish<T>(self, value: Option<T>) -> Diagnosed<T> {
        let mut diagnostics = self.0;
        diagnostics.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| label.span));
        // A stage that is built for two platforms, and an argument that is missed in two places, would say the same twice.
        let mut seen = std::collections::BTreeSet::new();
        diagnostics.retain(|Diagnostic { severity: _, code, message, labels, hints: _ }| {
            seen.insert((*code, message.clone(), labels.first().map(|label| label.span)))
        });
        let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
        Diagnosed { value: if failed { None } else { value }, diagnostics }
    }
}
