//! Docker's patterns in variables (`*`, `?`, `\`) on texts that are known here: what is trimmed and what is replaced.

use super::word::{All, Longest};

/// The longest text and pattern that are worked out here; longer ones are left to the plan, or refused.
const MOST_CHARACTERS: usize = 2048;

enum Token {
    Any,
    One,
    Is(char),
}

/// A pattern, read.
pub(super) struct Pattern(Vec<Token>);

impl Pattern {
    pub(super) fn new(text: &str) -> Option<Pattern> {
        let mut tokens = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            tokens.push(match character {
                '*' => Token::Any,
                '?' => Token::One,
                '\\' => Token::Is(characters.next().unwrap_or('\\')),
                character => Token::Is(character),
            });
        }
        (tokens.len() <= MOST_CHARACTERS).then_some(Pattern(tokens))
    }

    /// The one character that it stands for, if it is nothing else.
    pub(super) fn as_character(&self) -> Option<char> {
        match self.0.as_slice() {
            [Token::Is(character)] => Some(*character),
            _ => None,
        }
    }

    /// Which lengths at the start of a text match, as one flag per length.
    fn lengths(&self, text: &[char]) -> Vec<bool> {
        let mut reached = vec![false; text.len() + 1];
        reached[0] = true;
        for token in &self.0 {
            match token {
                Token::Any => {
                    let mut open = false;
                    for here in &mut reached {
                        open |= *here;
                        *here = open;
                    }
                }
                Token::One | Token::Is(_) => {
                    for at in (0..text.len()).rev() {
                        let fits = match token {
                            Token::Is(character) => text[at] == *character,
                            Token::One | Token::Any => true,
                        };
                        reached[at + 1] = reached[at] && fits;
                    }
                    reached[0] = false;
                }
            }
        }
        reached
    }

    /// A text without what matches at its start.
    pub(super) fn trim_prefix(&self, text: &str, longest: Longest) -> Option<String> {
        let characters = known(text)?;
        let lengths = self.lengths(&characters);
        let length = match longest {
            Longest::No => lengths.iter().position(|matches| *matches),
            Longest::Yes => lengths.iter().rposition(|matches| *matches),
        };
        Some(characters[length.unwrap_or(0)..].iter().collect())
    }

    /// A text without what matches at its end.
    pub(super) fn trim_suffix(&self, text: &str, longest: Longest) -> Option<String> {
        let characters = known(text)?;
        let ends = |start: &usize| self.lengths(&characters[*start..]).last().copied().unwrap_or(false);
        let start = match longest {
            Longest::No => (0..=characters.len()).rev().find(ends),
            Longest::Yes => (0..=characters.len()).find(ends),
        };
        Some(characters[..start.unwrap_or(characters.len())].iter().collect())
    }

    /// A text with something else where the pattern matches; `None` too where it matches nothing at all, which means another thing in each shell.
    pub(super) fn replace(&self, text: &str, with: &str, all: All) -> Option<String> {
        let characters = known(text)?;
        let mut replaced = String::new();
        let mut at = 0;
        let mut done = false;
        while at < characters.len() {
            let length = if done { None } else { self.lengths(&characters[at..]).iter().rposition(|matches| *matches) };
            match length {
                Some(0) => return None,
                Some(length) => {
                    replaced.push_str(with);
                    at += length;
                    done = all == All::No;
                }
                None => {
                    replaced.push(characters[at]);
                    at += 1;
                }
            }
        }
        Some(replaced)
    }
}

fn known(text: &str) -> Option<Vec<char>> {
    let characters: Vec<char> = text.chars().collect();
    (characters.len() <= MOST_CHARACTERS).then_some(characters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_little_or_as_much_as_they_are_asked_to() {
        let pattern = |text: &str| Pattern::new(text).unwrap();
        let prefix = |text: &str, value: &str, longest| pattern(text).trim_prefix(value, longest).unwrap();
        let suffix = |text: &str, value: &str, longest| pattern(text).trim_suffix(value, longest).unwrap();
        assert_eq!(prefix("*/", "a/b/c", Longest::No), "b/c");
        assert_eq!(prefix("*/", "a/b/c", Longest::Yes), "c");
        assert_eq!(prefix("x", "a/b/c", Longest::Yes), "a/b/c");
        assert_eq!(prefix("?\\*", "a*b", Longest::No), "b");
        assert_eq!(suffix("/*", "a/b/c", Longest::No), "a/b");
        assert_eq!(suffix("/*", "a/b/c", Longest::Yes), "a");
        assert_eq!(suffix(".*", "1.2.3", Longest::No), "1.2");
        assert_eq!(suffix("é", "caffé", Longest::No), "caff");
        assert_eq!(pattern("/").replace("a/b/c", "-", All::Yes).unwrap(), "a-b-c");
        assert_eq!(pattern("/").replace("a/b/c", "-", All::No).unwrap(), "a-b/c");
        assert_eq!(pattern("b*").replace("abc", "-", All::Yes).unwrap(), "a-");
        assert_eq!(pattern("").replace("abc", "-", All::Yes), None);
    }
}
