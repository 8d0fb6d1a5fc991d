//! A pattern of an operator and a value → the value without what the pattern matches, or with something else in its place.
//!
//! The patterns are those of Dockerfiles: `*` is any characters but line ends, `?` is one of them, and `\` takes the meaning from `*`, `?`,
//! `\`, `}` and `/`. Where several matches begin at a place, `*` takes as little or as much as it can, the first `*` before the next.

use crate::spec::{Extent, Occurrences};

/// How many steps a match may take, so that no spec keeps a machine busy for hours.
const MOST_STEPS: usize = 1 << 26;

/// A pattern that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Token>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Character(char),
    /// `?`
    Any,
    /// `*`
    Some,
}

/// Why a pattern does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// A backslash before something that has no meaning to lose; `None` at the end.
    Escape(Option<char>),
    /// Pattern and value, or what would come of them, are too long.
    TooLong,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Pattern, Unusable> {
        let mut tokens = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            tokens.push(match character {
                '*' => Token::Some,
                '?' => Token::Any,
                '\\' => match characters.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => Token::Character(escaped),
                    other => return Err(Unusable::Escape(other)),
                },
                character => Token::Character(character),
            });
        }
        Ok(Pattern(tokens))
    }

    /// The value without what matches at its start.
    pub(super) fn trim_prefix(&self, value: &str, extent: Extent) -> Result<String, Unusable> {
        let characters: Vec<char> = value.chars().collect();
        let end = self.ends(&characters, extent)?.first().copied().flatten().unwrap_or(0);
        Ok(characters.get(end..).unwrap_or_default().iter().collect())
    }

    /// The value without what matches at its end.
    pub(super) fn trim_suffix(&self, value: &str, extent: Extent) -> Result<String, Unusable> {
        // Backwards, the end is the start, and the last star comes first.
        let backwards = Pattern(self.0.iter().rev().copied().collect());
        let characters: Vec<char> = value.chars().rev().collect();
        let end = backwards.ends(&characters, extent)?.first().copied().flatten().unwrap_or(0);
        Ok(characters.get(end..).unwrap_or_default().iter().rev().collect())
    }

    /// The value with `with` where the pattern matches; at most `most_bytes` of it.
    pub(super) fn replace(&self, value: &str, with: &str, occurrences: Occurrences, most_bytes: usize) -> Result<String, Unusable> {
        let characters: Vec<char> = value.chars().collect();
        let ends = self.ends(&characters, Extent::Longest)?;
        let mut result = String::new();
        let (mut at, mut copied) = (0, 0);
        while let Some((start, end)) = (at..ends.len()).find_map(|start| Some((start, ends.get(start).copied().flatten()?))) {
            result.extend(characters.get(copied..start).unwrap_or_default());
            // Nothing right behind a match is no match of its own.
            if end > copied || start == 0 {
                result.push_str(with);
            }
            if result.len() > most_bytes {
                return Err(Unusable::TooLong);
            }
            copied = end;
            at = end.max(start + 1);
            match occurrences {
                Occurrences::First => break,
                Occurrences::All => {}
            }
        }
        result.extend(characters.get(copied..).unwrap_or_default());
        Ok(result)
    }

    /// Where the match that begins at each place ends, if one does. Worked out from the last token to the first, each for all places.
    fn ends(&self, characters: &[char], extent: Extent) -> Result<Vec<Option<usize>>, Unusable> {
        if self.0.len().saturating_mul(characters.len()) > MOST_STEPS {
            return Err(Unusable::TooLong);
        }
        let mut ends: Vec<Option<usize>> = (0..=characters.len()).map(Some).collect();
        for token in self.0.iter().rev() {
            let behind = |place: usize| ends.get(place + 1).copied().flatten();
            let mut now: Vec<Option<usize>> = vec![None; ends.len()];
            // From the right, since a star goes on to the place behind.
            let mut more: Option<usize> = None;
            for (place, slot) in now.iter_mut().enumerate().rev() {
                let character = characters.get(place);
                *slot = match token {
                    Token::Character(wanted) => character.filter(|character| *character == wanted).and_then(|_| behind(place)),
                    Token::Any => character.filter(|character| **character != '\n').and_then(|_| behind(place)),
                    Token::Some => {
                        let enough = ends.get(place).copied().flatten();
                        let further = character.filter(|character| **character != '\n').and(more);
                        match extent {
                            Extent::Longest => further.or(enough),
                            Extent::Shortest => enough.or(further),
                        }
                    }
                };
                more = *slot;
            }
            ends = now;
        }
        Ok(ends)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn a_pattern_takes_away_what_it_matches_at_an_end() {
        use Extent::{Longest, Shortest};
        for (text, value, shortest, longest) in [
            ("f*o", "foobarfoo", "obarfoo", ""),
            ("*o", "foobar", "obar", "bar"),
            ("?", "foo", "oo", "oo"),
            ("bar", "foobar", "foobar", "foobar"),
            ("\\*", "*x", "x", "x"),
            ("*", "a\nb", "a\nb", "\nb"),
            ("", "a", "a", "a"),
        ] {
            assert_eq!(pattern(text).trim_prefix(value, Shortest).unwrap(), shortest, "#{text} of {value}");
            assert_eq!(pattern(text).trim_prefix(value, Longest).unwrap(), longest, "##{text} of {value}");
        }
        for (text, value, shortest, longest) in [
            (".*", "app.tar.gz", "app.tar", "app"),
            ("o*", "foobarfoo", "foobarfo", "f"),
            ("?a?", "xbar", "x", "x"),
            ("\\?", "ab?", "ab", "ab"),
            ("ä", "zä", "z", "z"),
        ] {
            assert_eq!(pattern(text).trim_suffix(value, Shortest).unwrap(), shortest, "%{text} of {value}");
            assert_eq!(pattern(text).trim_suffix(value, Longest).unwrap(), longest, "%%{text} of {value}");
        }
    }

    #[test]
    fn a_pattern_is_replaced_once_or_everywhere() {
        use Occurrences::{All, First};
        for (text, with, value, first, all) in [
            ("o", "0", "foo", "f0o", "f00"),
            ("a*c", "x", "abcabc", "x", "x"),
            ("/", "-", "a/b/c", "a-b/c", "a-b-c"),
            ("", "-", "ab", "-ab", "-a-b-"),
            ("*", "x", "ab", "x", "x"),
            ("x", "", "axb", "ab", "ab"),
            ("y", "z", "axb", "axb", "axb"),
        ] {
            assert_eq!(pattern(text).replace(value, with, First, 100).unwrap(), first, "/{text}/{with} of {value}");
            assert_eq!(pattern(text).replace(value, with, All, 100).unwrap(), all, "//{text}/{with} of {value}");
        }
        assert_eq!(pattern("").replace("aaaa", "0123456789", All, 30), Err(Unusable::TooLong));
    }

    #[test]
    fn a_backslash_stands_before_what_has_a_meaning() {
        assert_eq!(Pattern::parse("a\\b"), Err(Unusable::Escape(Some('b'))));
        assert_eq!(Pattern::parse("a\\"), Err(Unusable::Escape(None)));
        assert_eq!(pattern("\\/\\}"), pattern("/}"));
    }

    /// The same pattern for an engine that everybody knows.
    fn regex(tokens: &Pattern, star: &str, start: &str, end: &str) -> regex::Regex {
        let body: String = tokens
            .0
            .iter()
            .map(|token| match token {
                Token::Character(character) => regex::escape(&character.to_string()),
                Token::Any => ".".to_owned(),
                Token::Some => star.to_owned(),
            })
            .collect();
        regex::Regex::new(&format!("{start}{body}{end}")).unwrap()
    }

    proptest! {
        #[test]
        fn a_pattern_means_what_the_same_regular_expression_means(text in "[ab*?]{0,6}", value in "[abc\n]{0,10}", with in "[xa]{0,2}") {
            let pattern = pattern(&text);
            for (extent, star) in [(Extent::Shortest, ".*?"), (Extent::Longest, ".*")] {
                let prefix = regex(&pattern, star, "^", "").replace(&value, "").into_owned();
                prop_assert_eq!(pattern.trim_prefix(&value, extent).unwrap(), prefix);
                let reversed = Pattern(pattern.0.iter().rev().copied().collect());
                let backwards: String = value.chars().rev().collect();
                let suffix: String = regex(&reversed, star, "^", "").replace(&backwards, "").chars().rev().collect();
                prop_assert_eq!(pattern.trim_suffix(&value, extent).unwrap(), suffix);
            }
            let engine = regex(&pattern, ".*", "", "");
            let expected = engine.replacen(&value, 1, with.as_str()).into_owned();
            prop_assert_eq!(pattern.replace(&value, &with, Occurrences::First, 1000).unwrap(), expected);
            let expected = engine.replace_all(&value, with.as_str()).into_owned();
            prop_assert_eq!(pattern.replace(&value, &with, Occurrences::All, 1000).unwrap(), expected);
        }

        #[test]
        fn any_pattern_is_read_or_refused(text: String, value: String) {
            if let Ok(pattern) = Pattern::parse(&text) {
                let _ = (pattern.trim_prefix(&value, Extent::Longest), pattern.trim_suffix(&value, Extent::Shortest));
            }
        }
    }
}
