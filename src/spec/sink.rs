//! Where mistakes are gathered while a text is read.

use std::ops::Range;

use crate::diagnostic::{Diagnostic, Severity, SourceId, Span};

/// A text and what is wrong with it so far.
pub(super) struct Sink<'t> {
    source: SourceId,
    /// The whole text.
    pub(super) text: &'t str,
    diagnostics: Vec<Diagnostic>,
}

impl<'t> Sink<'t> {
    pub(super) fn new(source: SourceId, text: &'t str) -> Sink<'t> {
        Sink { source, text, diagnostics: Vec::new() }
    }

    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// The place of a range of bytes. Offsets above 4 GiB become the largest that a place can hold.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span { source: self.source, start: offset(range.start), end: offset(range.end) }
    }

    /// Whether anything was found that makes the text unreadable.
    pub(super) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }
}
