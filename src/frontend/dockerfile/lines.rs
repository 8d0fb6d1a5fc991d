//! The text of a Dockerfile in, its logical lines out: directives read, comments set aside, continuations joined, here-documents attached.

use super::diagnostics as say;
use super::heredoc::{self, Heredoc};
use super::located::Located;
use crate::diagnostic::{Diagnostic, SourceId, Span};

/// A Dockerfile as lines.
#[derive(Debug)]
pub(super) struct Lines {
    /// What escapes, and what joins lines.
    pub(super) escape: char,
    /// In order; none is empty.
    pub(super) lines: Vec<Line>,
    /// In order.
    pub(super) comments: Vec<Comment>,
}

/// A logical line.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// What it says, in one piece.
    pub(super) text: Located,
    /// In the order in which they were announced.
    pub(super) heredocs: Vec<Heredoc>,
}

/// A comment, for those who carry it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// What stands behind the `#` and a blank.
    pub text: String,
    /// The whole comment, from `#` to the end of the line.
    pub span: Span,
}

/// A physical line: what it holds without its end, and where it begins.
#[derive(Clone, Copy)]
struct Physical<'t> {
    text: &'t str,
    start: usize,
}

/// The physical lines still to be read.
struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Option<Physical<'t>> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let start = self.at;
        self.at += length;
        Some(Physical { text: &rest[..length], start })
    }
}

/// Reads a Dockerfile.
pub(super) fn read(source: SourceId, text: &str, report: &mut dyn FnMut(Diagnostic)) -> Lines {
    let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut reader = Reader { text, at: start };
    let mut directives = Directives { source, escape: '\\', seen: Vec::new(), done: false };
    let mut lines = Lines { escape: '\\', lines: Vec::new(), comments: Vec::new() };
    while let Some(physical) = reader.next() {
        let line = unended(physical);
        let indent = line.text.len() - line.text.trim_start().len();
        let line = Physical { text: &line.text[indent..], start: line.start + indent };
        if line.text.starts_with('#') {
            if !directives.read(line, report) {
                lines.comments.push(comment(source, line));
            }
            continue;
        }
        directives.done = true;
        let (content, mut goes_on) = continued(line.text, directives.escape);
        if content.is_empty() && !goes_on {
            continue;
        }
        let mut joined = Located::new(source);
        joined.push(content, line.start);
        while goes_on {
            let Some(physical) = reader.next() else { break };
            let line = unended(physical);
            if line.text.trim_start().starts_with('#') {
                let indent = line.text.len() - line.text.trim_start().len();
                lines.comments.push(comment(source, Physical { text: &line.text[indent..], start: line.start + indent }));
                continue;
            }
            if line.text.trim().is_empty() {
                continue;
            }
            let (content, more) = continued(line.text, directives.escape);
            joined.push(content, line.start);
            goes_on = more;
        }
        let text = joined.trimmed();
        if text.is_empty() {
            continue;
        }
        let heredocs = heredocs(&text, &mut reader, source, report);
        lines.lines.push(Line { text, heredocs });
    }
    lines.escape = directives.escape;
    lines
}

fn unended(line: Physical<'_>) -> Physical<'_> {
    Physical { text: line.text.trim_end_matches(['\r', '\n']), start: line.start }
}

fn comment(source: SourceId, line: Physical<'_>) -> Comment {
    let mut located = Located::new(source);
    located.push(line.text, line.start);
    let text = line.text.trim_start_matches('#').trim_end();
    // What is further to the right than the usual blank is so on purpose.
    Comment { text: text.strip_prefix([' ', '\t']).unwrap_or(text).to_owned(), span: located.whole() }
}

/// What a line says, and whether it goes on in the next: it ends with one escape character, which blanks may follow.
fn continued(line: &str, escape: char) -> (&str, bool) {
    let bare = line.trim_end_matches([' ', '\t']);
    match bare.strip_suffix(escape) {
        Some(content) if !content.ends_with(escape) => (content, true),
        Some(_) | None => (line, false),
    }
}

/// Reads the bodies of the here-documents that a line announces.
fn heredocs(text: &Located, reader: &mut Reader<'_>, source: SourceId, report: &mut dyn FnMut(Diagnostic)) -> Vec<Heredoc> {
    let mut found = heredoc::announced(text);
    for heredoc in &mut found {
        let mut body = Located::new(source);
        let mut ended = false;
        while let Some(line) = reader.next() {
            let bare = unended(line).text;
            let bare = if heredoc.strips_tabs { bare.trim_start_matches('\t') } else { bare };
            if bare == heredoc.name {
                ended = true;
                break;
            }
            body.push(line.text, line.start);
        }
        if !ended {
            let message = format!("the here-document `{}` does not end: expected a line that is `{}`", heredoc.name, heredoc.name);
            report(say::syntax(heredoc.span, message));
        }
        heredoc.body = body;
    }
    found
}

/// `# KEY = VALUE` at the very top.
struct Directives {
    source: SourceId,
    escape: char,
    seen: Vec<String>,
    done: bool,
}

impl Directives {
    /// Reads a comment as a directive; tells whether it is one.
    fn read(&mut self, line: Physical<'_>, report: &mut dyn FnMut(Diagnostic)) -> bool {
        if self.done {
            return false;
        }
        let Some((key, value)) = directive(line.text) else {
            self.done = true;
            return false;
        };
        let key = key.to_ascii_lowercase();
        if !matches!(key.as_str(), "escape" | "syntax" | "check") {
            self.done = true;
            return false;
        }
        let mut place = Located::new(self.source);
        place.push(line.text, line.start);
        if self.seen.contains(&key) {
            report(say::syntax(place.whole(), format!("the directive `{key}` can stand once")));
            return true;
        }
        if key == "escape" {
            match value {
                "\\" => self.escape = '\\',
                "`" => self.escape = '`',
                other => {
                    report(say::syntax(place.whole(), format!("`{other}` cannot be the escape character: expected `\\` or a backtick")));
                }
            }
        }
        self.seen.push(key);
        true
    }
}

/// The key and the value of what looks like a directive.
fn directive(comment: &str) -> Option<(&str, &str)> {
    let (key, value) = comment.strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let word = key.starts_with(|first: char| first.is_ascii_alphabetic()) && key.chars().all(|character| character.is_ascii_alphanumeric());
    (word && !value.is_empty()).then_some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::SourceMap;

    fn read_all(text: &str) -> (Lines, Vec<String>) {
        let mut found = Vec::new();
        let lines = read(SourceMap::new().add("Dockerfile", text), text, &mut |diagnostic| found.push(diagnostic.message));
        (lines, found)
    }

    fn texts(text: &str) -> Vec<String> {
        let (lines, found) = read_all(text);
        assert_eq!(found, Vec::<String>::new());
        lines.lines.iter().map(|line| line.text.as_str().to_owned()).collect()
    }

    #[test]
    fn lines_are_joined_over_comments_and_blank_lines() {
        assert_eq!(texts("\u{feff}RUN a && \\\n  # c\n\n  b \\ \n\tc\n\nRUN d\\\\\n"), ["RUN a &&   b \tc", "RUN d\\\\"]);
        assert_eq!(texts("RUN a \\\r\n  b\r\n"), ["RUN a   b"]);
        assert_eq!(texts("RUN a \\"), ["RUN a"]);
        assert_eq!(texts("  \\\nRUN a"), ["RUN a"]);
        assert_eq!(texts("RUN a \\\n b"), ["RUN a  b"]);
    }

    #[test]
    fn directives_stand_at_the_top_once() {
        assert_eq!(texts("# escape=`\nRUN a `\n b\\\n"), ["RUN a  b\\"]);
        assert_eq!(texts("# a comment\n# escape=`\nRUN a \\\n b"), ["RUN a  b"]);
        assert_eq!(read_all("# syntax=docker/dockerfile:1\n# CHECK = skip=all\nRUN a").0.comments, []);
        assert_eq!(read_all("# escape=x\nRUN a").1.len(), 1);
        assert_eq!(read_all("#syntax=a\n#syntax=b\nRUN a").1, ["the directive `syntax` can stand once"]);
    }

    #[test]
    fn a_body_belongs_to_the_line_that_announces_it() {
        let (lines, found) = read_all("COPY <<A <<-\"B\" /x\nRUN $a\nA\n\tb\r\n\tB\nRUN c\n");
        assert_eq!(found, Vec::<String>::new());
        let docs = &lines.lines[0].heredocs;
        assert_eq!((docs[0].name.as_str(), docs[0].expands, docs[0].text().as_str()), ("A", true, "RUN $a\n"));
        assert_eq!((docs[1].name.as_str(), docs[1].expands, docs[1].text().as_str()), ("B", false, "b\r\n"));
        assert_eq!(lines.lines[1].text.as_str(), "RUN c");
        assert_eq!(read_all("RUN <<E\na\n").1, ["the here-document `E` does not end: expected a line that is `E`"]);
    }

    #[test]
    fn only_some_instructions_have_here_documents() {
        assert_eq!(texts("CMD cat <<E\nRUN [\"a\", \"<<E\"]\nONBUILD RUN <<E\nx\nE\nLABEL a=<<E\n").len(), 4);
    }
}
