//! Finds what TOML 1.1 allows and TOML 1.0 does not, so that a spec can be read by every tool.
//!
//! Source of truth: the TOML 1.1.0 changelog: line breaks and trailing commas in inline tables, `\e` and `\xHH`, times without seconds.

use std::ops::Range;

/// Places in a text that is valid TOML 1.1, with what they hold.
pub(super) fn newer_syntax(text: &str) -> Vec<(Range<usize>, &'static str)> {
    let mut scanner = Scanner { text, at: 0, open: Vec::new(), found: Vec::new() };
    while scanner.at < text.len() {
        scanner.step();
    }
    scanner.found
}

/// Whether a date-time as written leaves its seconds out.
pub(super) fn lacks_seconds(written: &str) -> bool {
    let Some(colon) = written.find(':') else { return false };
    written[colon + 1..].get(2..3).is_none_or(|next| next != ":")
}

enum Open {
    Square,
    /// With the place of a comma after which nothing but space has come.
    Curly {
        comma: Option<usize>,
        reported: bool,
    },
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
    open: Vec<Open>,
    found: Vec<(Range<usize>, &'static str)>,
}

impl Scanner<'_> {
    fn step(&mut self) {
        let rest = &self.text[self.at..];
        let Some(character) = rest.chars().next() else { return };
        let mut length = character.len_utf8();
        match character {
            '#' => length = rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => length = self.string(rest, character),
            '[' => self.open.push(Open::Square),
            '{' => self.open.push(Open::Curly { comma: None, reported: false }),
            ']' => drop(self.open.pop()),
            '}' => {
                if let Some(Open::Curly { comma: Some(comma), .. }) = self.open.pop() {
                    self.found.push((comma..comma + 1, "a comma after the last value of an inline table"));
                }
            }
            '\n' => {
                if let Some(Open::Curly { reported, .. }) = self.open.last_mut()
                    && !std::mem::replace(reported, true)
                {
                    self.found.push((self.at..self.at + 1, "a line break in an inline table"));
                }
            }
            _ => {}
        }
        if let Some(Open::Curly { comma, .. }) = self.open.last_mut() {
            match character {
                ',' => *comma = Some(self.at),
                ' ' | '\t' | '\r' | '\n' | '#' => {}
                _ => *comma = None,
            }
        }
        self.at += length;
    }

    /// The length of a string at the start of `rest`, quotes included.
    fn string(&mut self, rest: &str, quote: char) -> usize {
        let triple = quote.to_string().repeat(3);
        let end = if rest.starts_with(&triple) { triple.as_str() } else { &triple[..1] };
        let mut at = end.len();
        while at < rest.len() {
            let here = &rest[at..];
            if let Some(after) = here.strip_prefix(end) {
                // Up to two quotes may stand right before the closing ones.
                let more = after.chars().take_while(|next| *next == quote).take(if end.len() == 3 { 2 } else { 0 }).count();
                return at + end.len() + more;
            }
            if quote == '"' && here.starts_with('\\') {
                let escaped = here[1..].chars().next();
                if let Some('e' | 'x') = escaped {
                    self.found.push((self.at + at..self.at + at + 2, "this escape"));
                }
                at += 1 + escaped.map_or(0, char::len_utf8);
            } else {
                at += here.chars().next().map_or(1, char::len_utf8);
            }
        }
        rest.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_is_new_is_found() {
        for old in [
            "a = {x = 1, y = [1,\n 2,\n], z = '''a\nb,}'''}\n[b]\n[[c.d]]\n",
            "a = \"\\\\e \\u0041\" # {\n,}\n",
            "a = '\\e'\nb = '''\\x'''\nc = \"\"\"a\"\"\"\"\"\nd = {}\n",
            "k = [{a = 1}, {b = 2},\n # x\n]\n",
        ] {
            assert_eq!(newer_syntax(old), [], "{old}");
        }
        for (new, places) in [
            ("a = {x = 1,\n y = 2}", &[11][..]),
            ("a = {x = 1, }", &[10][..]),
            ("a = {x = 1, # c\n }", &[15, 10][..]),
            ("a = \"\\e\"", &[5][..]),
            ("a = \"\"\"\n\\x41\"\"\"", &[8][..]),
        ] {
            let found: Vec<usize> = newer_syntax(new).into_iter().map(|(place, _)| place.start).collect();
            assert_eq!(found, places, "{new}");
        }
    }

    #[test]
    fn times_need_seconds() {
        assert!(lacks_seconds("1980-01-02T00:00Z"));
        assert!(lacks_seconds("00:00"));
        assert!(lacks_seconds("1980-01-02T00:00+01:00"));
        assert!(!lacks_seconds("1980-01-02T00:00:00+01:00"));
        assert!(!lacks_seconds("1980-01-02"));
    }

    proptest! {
        #[test]
        fn any_text_is_scanned(text in "[\\[\\]{}\"'\\\\ex#,\n a=]{0,30}") {
            newer_syntax(&text);
        }
    }
}
