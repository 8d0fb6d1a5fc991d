//! What is wrong with something the user wrote: a message with a code, places and hints; and the texts that the places are in.

mod pages;
mod render;
mod source_map;

pub use pages::{codes, page};
pub use render::render_plain;
pub use source_map::{SourceFile, SourceId, SourceMap};

/// A range of bytes in a text of the [`SourceMap`]; `end` is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Which text.
    pub source: SourceId,
    /// The first byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

impl Span {
    /// No place: for values that were made by a program and not read from a text.
    pub const NONE: Span = Span { source: SourceId::NONE, start: 0, end: 0 };
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing can be built from this.
    Error,
    /// It works, but is probably not what was meant.
    Warning,
}

/// A stable word for one sort of mistake, such as `unknown-stage`. Each has a page in `specs/diagnostics/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code(pub &'static str);

/// A place, and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// A short remark printed at the place; may be empty.
    pub text: String,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Which sort it is.
    pub code: Code,
    /// What is wrong: one lower-case sentence without a full stop, values in backticks. The constructors escape control characters.
    pub message: String,
    /// The places; the first is the place of the mistake.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub hints: Vec<String>,
}

impl Diagnostic {
    /// An error at a place.
    #[must_use]
    pub fn error(code: Code, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code,
            message: printable(message.into()),
            labels: vec![Label { span, text: String::new() }],
            hints: Vec::new(),
        }
    }

    /// A warning at a place.
    #[must_use]
    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, span, message) }
    }

    /// Says something at the place of the mistake.
    #[must_use]
    pub fn labelled(mut self, text: impl Into<String>) -> Diagnostic {
        if let Some(label) = self.labels.first_mut() {
            label.text = printable(text.into());
        }
        self
    }

    /// Points at a second place.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { span, text: printable(text.into()) });
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Diagnostic {
        self.hints.push(printable(text.into()));
        self
    }
}

/// Escapes what would end the line, drive a terminal or turn the direction of reading: what the user wrote is quoted in messages.
fn printable(text: String) -> String {
    let odd = |character: char| {
        character.is_control() || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(odd) {
        return text;
    }
    text.chars().map(|character| if odd(character) { character.escape_default().to_string() } else { character.to_string() }).collect()
}

/// A value with everything worth saying about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosed<T> {
    /// `None` only if an error is among the diagnostics.
    pub value: Option<T>,
    /// In order of their places.
    pub diagnostics: Vec<Diagnostic>,
}

impl<T> Diagnosed<T> {
    /// Whether an error is among the diagnostics.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The value with the warnings, or everything that was said where an error is among it.
    ///
    /// # Errors
    /// There is an error among the diagnostics, or no value.
    pub fn into_result(self) -> Result<(T, Vec<Diagnostic>), Vec<Diagnostic>> {
        let failed = self.has_errors();
        match self.value {
            Some(value) if !failed => Ok((value, self.diagnostics)),
            Some(_) | None => Err(self.diagnostics),
        }
    }

    /// The value; warnings are dropped.
    ///
    /// # Errors
    /// When there are errors: all messages as [`render_plain`] writes them.
    pub fn or_rendered(self, map: &SourceMap) -> Result<T, String> {
        self.into_result().map(|(value, _)| value).map_err(|diagnostics| render_plain(map, &diagnostics))
    }
}

/// The nearest of `known` to `word`, if it is near enough to be what was meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()) / 3 + 1 && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_cannot_drive_a_terminal() {
        let odd = "a\u{1b}[2J\n\u{202e}é";
        let diagnostic = Diagnostic::error(Code("some-code"), Span::NONE, odd).labelled(odd).also(Span::NONE, odd).hint(odd);
        let quoted = "a\\u{1b}[2J\\n\\u{202e}é";
        assert_eq!(diagnostic.message, quoted);
        assert_eq!(diagnostic.hints, [quoted]);
        assert!(diagnostic.labels.iter().all(|label| label.text == quoted));
    }

    #[test]
    fn only_a_near_word_is_what_was_meant() {
        assert_eq!(nearest("form", ["from", "to"]), Some("from"));
        assert_eq!(nearest("xyz", ["from", "to"]), None);
        assert_eq!(nearest("", ["a"]), None);
    }
}
