//! Pieces of a source in, one text out, each byte of which knows where it stood.

use std::ops::Range;

use crate::diagnostic::{SourceId, Span};

/// A text put together from pieces of a source.
#[derive(Debug, Clone)]
pub(super) struct Located {
    text: String,
    places: Places,
}

#[derive(Debug, Clone)]
enum Places {
    /// Runs of bytes that stand side by side in the source.
    Runs { source: SourceId, runs: Vec<Run> },
    /// All of it stands for one place.
    One(Span),
}

/// A run of bytes: where it begins in the text, and where in the source.
#[derive(Debug, Clone, Copy)]
struct Run {
    at: usize,
    from: usize,
}

impl Located {
    /// No text yet.
    pub(super) const fn new(source: SourceId) -> Located {
        Located { text: String::new(), places: Places::Runs { source, runs: Vec::new() } }
    }

    /// A text that stands for one place as a whole.
    pub(super) fn fixed(text: impl Into<String>, span: Span) -> Located {
        Located { text: text.into(), places: Places::One(span) }
    }

    /// Adds a piece that stands at `from` in the source.
    pub(super) fn push(&mut self, piece: &str, from: usize) {
        if piece.is_empty() {
            return;
        }
        if let Places::Runs { source: _, runs } = &mut self.places {
            let at = self.text.len();
            let follows = runs.last().is_some_and(|run| run.from + (at - run.at) == from);
            if !follows {
                runs.push(Run { at, from });
            }
        }
        self.text.push_str(piece);
    }

    /// Adds a part of another text of the same source.
    pub(super) fn push_part(&mut self, other: &Located, range: Range<usize>) {
        let part = other.slice(range);
        match part.places {
            Places::Runs { source: _, runs } => {
                for (place, run) in runs.iter().enumerate() {
                    let end = runs.get(place + 1).map_or(part.text.len(), |next| next.at);
                    self.push(&part.text[run.at..end], run.from);
                }
            }
            Places::One(_) => self.text.push_str(&part.text),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The place of all of it.
    pub(super) fn whole(&self) -> Span {
        self.span(0..self.text.len())
    }

    /// The place of a range of it.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        match &self.places {
            Places::One(span) => *span,
            Places::Runs { source, runs } => {
                let start = place(runs, range.start);
                let end = if range.end > range.start { place(runs, range.end - 1) + 1 } else { start };
                let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
                Span { source: *source, start: offset(start), end: offset(end.max(start)) }
            }
        }
    }

    /// A range of it. The ends must lie between characters.
    pub(super) fn slice(&self, range: Range<usize>) -> Located {
        let text = self.text[range.clone()].to_owned();
        let places = match &self.places {
            Places::One(span) => Places::One(*span),
            Places::Runs { source, runs } => {
                let mut kept = Vec::new();
                for (place, run) in runs.iter().enumerate() {
                    let end = runs.get(place + 1).map_or(self.text.len(), |next| next.at);
                    let (start, end) = (run.at.max(range.start), end.min(range.end));
                    if start < end {
                        kept.push(Run { at: start - range.start, from: run.from + (start - run.at) });
                    }
                }
                if kept.is_empty() && !runs.is_empty() {
                    kept.push(Run { at: 0, from: self::place(runs, range.start) });
                }
                Places::Runs { source: *source, runs: kept }
            }
        };
        Located { text, places }
    }

    /// Without white space around it.
    pub(super) fn trimmed(&self) -> Located {
        let start = self.text.len() - self.text.trim_start().len();
        let end = self.text.trim_end().len().max(start);
        self.slice(start..end)
    }
}

/// Where a byte stands in the source; what lies behind the end stands behind the last byte.
fn place(runs: &[Run], at: usize) -> usize {
    let index = runs.partition_point(|run| run.at <= at).saturating_sub(1);
    runs.get(index).map_or(0, |run| run.from + at.saturating_sub(run.at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::SourceMap;

    #[test]
    fn every_part_knows_where_it_stood() {
        let source = SourceMap::new().add("Dockerfile", "");
        let mut text = Located::new(source);
        text.push("RUN a ", 10);
        text.push("&& b", 20);
        let span = |range| {
            let span = text.span(range);
            (span.start, span.end)
        };
        assert_eq!(span(4..5), (14, 15));
        assert_eq!(span(4..10), (14, 24));
        assert_eq!(span(9..10), (23, 24));
        assert_eq!(span(10..10), (24, 24));
        let part = text.slice(4..10);
        assert_eq!((part.as_str(), part.whole()), ("a && b", text.span(4..10)));
        assert_eq!(part.slice(5..6).whole(), text.span(9..10));
        assert_eq!(text.slice(3..8).trimmed().as_str(), "a &&");
    }
}
