//! Diagnostics → plain text, the same everywhere: for pipes, logs and tests. Terminals get pictures from the command line.

use std::fmt::Write;

use super::{Diagnostic, Label, Severity, SourceMap};

/// One block per diagnostic: `error[code]: message`, then ` --> file:line:column` per place, then hints, then an empty line.
///
/// A label's text follows its place. Lines and columns count from 1, columns in characters. Places outside the map are left out.
#[must_use]
pub fn render_plain(map: &SourceMap, diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        let severity = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{severity}[{}]: {}", diagnostic.code.0, diagnostic.message);
        for label in &diagnostic.labels {
            text.push_str(&place(map, label).unwrap_or_default());
        }
        for hint in &diagnostic.hints {
            let _ = writeln!(text, "  hint: {hint}");
        }
        text.push('\n');
    }
    text
}

fn place(map: &SourceMap, label: &Label) -> Option<String> {
    let file = map.get(label.span.source)?;
    let (line, column) = map.position(label.span.source, label.span.start)?;
    let remark = if label.text.is_empty() { String::new() } else { format!(": {}", label.text) };
    Some(format!(" --> {}:{line}:{column}{remark}\n", file.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Code, Span};

    #[test]
    fn places_count_from_one_in_characters_and_nowhere_is_left_out() {
        let mut map = SourceMap::new();
        let source = map.add("a.toml", "é = 1\nüx = 2\n");
        let at = |start| Span { source, start, end: start + 1 };
        let diagnostics = [
            Diagnostic::error(Code("some-code"), at(9), "no `x`").also(at(0), "first here").hint("do that"),
            Diagnostic::warning(Code("other"), Span::NONE, "odd"),
        ];
        let expected = "error[some-code]: no `x`\n --> a.toml:2:2\n --> a.toml:1:1: first here\n  hint: do that\n\nwarning[other]: odd\n\n";
        assert_eq!(render_plain(&map, &diagnostics), expected);
    }
}
