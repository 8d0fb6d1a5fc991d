//! The text of a `.env` file in, its variables out.
//!
//! Compose specification, "Environment variables precedence" and "`.env` file syntax".

use std::collections::BTreeMap;

use super::diagnostics as say;
use super::interpolate::{Problem, interpolate};
use crate::diagnostic::{Diagnostic, SourceId, Span};

/// Reads the variables. Those of `surroundings` are seen by `$NAME` and win over those of the file.
pub(super) fn read(
    source: SourceId,
    text: &str,
    surroundings: &BTreeMap<String, String>,
    report: &mut dyn FnMut(Diagnostic),
) -> BTreeMap<String, String> {
    let mut reader = Reader { source, text, at: 0, surroundings, found: BTreeMap::new() };
    while reader.at < text.len() {
        reader.line(report);
    }
    reader.found
}

struct Reader<'t> {
    source: SourceId,
    text: &'t str,
    at: usize,
    surroundings: &'t BTreeMap<String, String>,
    found: BTreeMap<String, String>,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn span(&self, start: usize, end: usize) -> Span {
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span { source: self.source, start: offset(start), end: offset(end) }
    }

    /// One variable; a value in quotes may go over several lines.
    fn line(&mut self, report: &mut dyn FnMut(Diagnostic)) {
        let rest = self.rest();
        let line = rest.split('\n').next().unwrap_or_default();
        let next = self.at + (line.len() + 1).min(rest.len());
        let indent = line.len() - line.trim_start().len();
        let shown = line.trim();
        if shown.is_empty() || shown.starts_with('#') {
            self.at = next;
            return;
        }
        let skipped = match shown.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])) {
            Some(rest) => shown.len() - rest.trim_start().len(),
            None => 0,
        };
        let declared = &shown[skipped..];
        let start = self.at + indent + skipped;
        let length = declared.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')).count();
        let (name, behind) = declared.split_at(length);
        let name = name.to_owned();
        let trimmed = behind.trim_start();
        if name.is_empty() || !(trimmed.is_empty() || trimmed.starts_with(['=', ':'])) {
            report(say::dotenv(self.span(start, start + declared.len()), "expected `NAME=VALUE`"));
            self.at = next;
            return;
        }
        if trimmed.is_empty() {
            // A name alone takes its value from the surroundings, where it is seen anyway.
            self.at = next;
            return;
        }
        let value_start = start + length + (behind.len() - trimmed.len()) + 1;
        let value_text = self.text.get(value_start..).unwrap_or_default();
        let blanks = value_text.len() - value_text.trim_start_matches([' ', '\t']).len();
        self.at = value_start + blanks;
        let value = match self.rest().bytes().next() {
            Some(quote @ (b'\'' | b'"')) => self.quoted(quote, report),
            Some(_) | None => {
                let line = value_text.split('\n').next().unwrap_or_default();
                let bare = without_comment(line).trim();
                let start = value_start + (line.len() - line.trim_start().len());
                let filled = self.fill(bare, Some(start), report);
                self.at = next;
                filled
            }
        };
        self.found.insert(name, value);
    }

    /// A value in quotes, and the rest of its line. In single quotes everything stands for itself.
    fn quoted(&mut self, quote: u8, report: &mut dyn FnMut(Diagnostic)) -> String {
        let start = self.at;
        let body = self.text.get(start + 1..).unwrap_or_default();
        let mut escaped = false;
        let end = body.bytes().position(|byte| {
            let ends = byte == quote && !escaped;
            escaped = byte == b'\\' && !escaped && quote == b'"';
            ends
        });
        let Some(end) = end else {
            report(say::dotenv(self.span(start, start + 1), "this quote is never closed"));
            self.at = self.text.len();
            return String::new();
        };
        let inner = &body[..end];
        let after = body.get(end + 1..).unwrap_or_default();
        let line = after.split('\n').next().unwrap_or_default();
        self.at = start + 1 + end + 1 + (line.len() + 1).min(after.len());
        let trailing = line.trim();
        if !trailing.is_empty() && !trailing.starts_with('#') {
            report(say::dotenv(self.span(start + end + 2, start + end + 2 + line.len()), "expected the end of the line after the quote"));
        }
        if quote == b'\'' {
            return inner.to_owned();
        }
        let unescaped = unescape(inner);
        let place = (unescaped == inner).then_some(start + 1);
        self.fill(&unescaped, place, report)
    }

    fn fill(&self, text: &str, place: Option<usize>, report: &mut dyn FnMut(Diagnostic)) -> String {
        let value = |name: &str| self.surroundings.get(name).or_else(|| self.found.get(name)).cloned();
        let whole = self.span(self.at, self.at);
        interpolate(text, &value, &mut |range, problem| {
            let span = place.map_or(whole, |start| self.span(start + range.start, start + range.end));
            report(match problem {
                Problem::Error(message) => say::bad_interpolation(span, &message),
                Problem::Unset(name) => say::unset(span, &name),
            });
        })
    }
}

/// A `#` after white space, or at the start, begins a comment.
fn without_comment(line: &str) -> &str {
    let mut before = b' ';
    for (at, byte) in line.bytes().enumerate() {
        if byte == b'#' && matches!(before, b' ' | b'\t') {
            return &line[..at];
        }
        before = byte;
    }
    line
}

/// `\n`, `\r`, `\t`, `\"` and `\\`; a backslash before a dollar keeps it from being one of a variable.
fn unescape(text: &str) -> String {
    let mut unescaped = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            unescaped.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => unescaped.push('\n'),
            Some('r') => unescaped.push('\r'),
            Some('t') => unescaped.push('\t'),
            Some('$') => unescaped.push_str("$$"),
            Some(other @ ('"' | '\\')) => unescaped.push(other),
            Some(other) => unescaped.extend(['\\', other]),
            None => unescaped.push('\\'),
        }
    }
    unescaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::SourceMap;

    fn of(text: &str) -> (Vec<(String, String)>, Vec<String>) {
        let mut found = Vec::new();
        let source = SourceMap::new().add(".env", text);
        let surroundings = BTreeMap::from([("OUT".to_owned(), "side".to_owned())]);
        let variables = read(source, text, &surroundings, &mut |diagnostic| found.push(diagnostic.message));
        (variables.into_iter().collect(), found)
    }

    #[test]
    fn lines_are_read_as_compose_reads_them() {
        for (text, expected) in [
            ("A=1", "1"),
            ("export A = 1 ", "1"),
            ("# c\n\nA: x", "x"),
            ("A=a b # c", "a b"),
            ("A=a#b", "a#b"),
            ("A='a$B # \\n' # c", "a$B # \\n"),
            ("A=\"a\\n\\\"b\\\" ${OUT}\"", "a\n\"b\" side"),
            ("A=\"\\$x\"", "$x"),
            ("A=\"x\ny\"\n", "x\ny"),
            ("A=$OUT/${NO:-d}", "side/d"),
            ("A=", ""),
            ("A=# c", ""),
            ("A=1\r\n", "1"),
        ] {
            assert_eq!(of(text), (vec![("A".to_owned(), expected.to_owned())], vec![]), "{text:?}");
        }
        assert_eq!(of("A=1\nB=$A$A\nOUT").0[1].1, "11");
    }

    #[test]
    fn what_is_none_is_said() {
        for text in ["=1", "A B=1", "A='x", "A=\"x\" y", "A=$1"] {
            assert_eq!(of(text).1.len(), 1, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[A=:'\"$\\\\{}# \n\r\té]{0,30}") {
            of(&text);
        }
    }
}
