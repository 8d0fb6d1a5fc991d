//! Patterns for paths: a pattern in, whether a path matches out.
//!
//! The language is that of Go's `filepath.Match` with `**` as Docker's ignore files have it: `*` and `?` stay within a name, `[a-z]` and
//! `[^a-z]` are one character, `\` takes away the next character's meaning, `**` is any number of directories.

use super::{Node, Tree, TreePath};

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
    /// The bytes that every match begins with.
    prefix: Vec<u8>,
    /// The bytes that every match ends with.
    suffix: Vec<u8>,
}

/// A pattern that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a pattern: {reason}")]
pub struct InvalidPattern {
    /// As given.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A character of a path, or a byte that is no part of one.
type Unit = u32;

const SLASH: Unit = b'/' as Unit;
/// Bytes that are no part of a character are numbered above all characters.
const FIRST_STRAY_BYTE: Unit = 0x11_0000;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// This character.
    Unit(Unit),
    /// Any character but the slash.
    AnyUnit,
    /// One character among (or outside of) some ranges.
    Class { sense: Sense, ranges: Vec<(Unit, Unit)> },
    /// Any characters but the slash.
    Star,
    /// Nothing, or anything that ends with a slash.
    Directories,
    /// Anything.
    Everything,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sense {
    Among,
    Outside,
}

impl Glob {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// When a `[` is not closed or empty, a range has no end, or a `\` ends the pattern.
    pub fn new(pattern: &str) -> Result<Glob, InvalidPattern> {
        let invalid = |reason| InvalidPattern { pattern: pattern.to_owned(), reason };
        let mut tokens = Vec::new();
        let mut rest = pattern.chars().peekable();
        while let Some(unit) = rest.next() {
            tokens.push(match unit {
                '*' if rest.next_if_eq(&'*').is_some() => {
                    // A slash after two stars is part of them.
                    rest.next_if_eq(&'/');
                    if rest.peek().is_none() { Token::Everything } else { Token::Directories }
                }
                '*' => Token::Star,
                '?' => Token::AnyUnit,
                '\\' => Token::Unit(rest.next().ok_or_else(|| invalid("a `\\` stands at its end"))?.into()),
                '[' => class(&mut rest).map_err(invalid)?,
                unit => Token::Unit(unit.into()),
            });
        }
        tokens.dedup_by(|one, other| one == other && matches!(one, Token::Star | Token::Directories | Token::Everything));
        let prefix = literal(tokens.iter().map_while(character));
        let mut suffix: Vec<char> = tokens.iter().rev().map_while(character).collect();
        suffix.reverse();
        Ok(Glob { prefix, suffix: literal(suffix.into_iter()), tokens })
    }

    /// Whether a pattern stands for more than itself.
    #[must_use]
    pub fn is_pattern(text: &str) -> bool {
        text.contains(['*', '?', '[', '\\'])
    }

    /// Whether the whole path matches.
    #[must_use]
    pub fn matches(&self, path: &TreePath) -> bool {
        let bytes = path.as_bytes();
        if !bytes.starts_with(&self.prefix) || !bytes.ends_with(&self.suffix) {
            return false;
        }
        let mut states = States::start(&self.tokens);
        for unit in units(bytes) {
            states.step(&self.tokens, unit);
        }
        states.accepting()
    }

    /// Whether something below the directory could match.
    #[must_use]
    pub fn may_match_below(&self, directory: &TreePath) -> bool {
        let mut states = States::start(&self.tokens);
        for unit in units(directory.as_bytes()) {
            states.step(&self.tokens, unit);
        }
        if !directory.is_root() {
            states.step(&self.tokens, SLASH);
        }
        states.could_go_on()
    }

    /// Every path in the tree that matches, in order; links are not followed.
    #[must_use]
    pub fn find(&self, tree: &Tree) -> Vec<TreePath> {
        let mut found = Vec::new();
        let mut next = vec![(TreePath::root(), Node::Directory(std::sync::Arc::clone(&tree.root)))];
        while let Some((path, node)) = next.pop() {
            if !path.is_root() && self.matches(&path) {
                found.push(path.clone());
            }
            if let Node::Directory(directory) = node
                && self.may_match_below(&path)
            {
                next.extend(directory.entries.iter().rev().map(|(name, node)| (path.join(name), node.clone())));
            }
        }
        found
    }
}

fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, &'static str> {
    let sense = if rest.next_if_eq(&'^').is_some() { Sense::Outside } else { Sense::Among };
    let mut ranges = Vec::new();
    while ranges.is_empty() || rest.next_if_eq(&']').is_none() {
        let low = class_unit(rest)?;
        let high = if rest.next_if_eq(&'-').is_some() { class_unit(rest)? } else { low };
        ranges.push((low, high));
    }
    Ok(Token::Class { sense, ranges })
}

fn class_unit(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Unit, &'static str> {
    match rest.next() {
        None => Err("a `[` is not closed"),
        Some('-' | ']') => Err("a `[` has no characters, or a range in it has only one end"),
        Some('\\') => rest.next().map(Unit::from).ok_or("a `[` is not closed"),
        Some(unit) => Ok(unit.into()),
    }
}

fn character(token: &Token) -> Option<char> {
    match token {
        Token::Unit(unit) => char::from_u32(*unit),
        Token::AnyUnit | Token::Class { .. } | Token::Star | Token::Directories | Token::Everything => None,
    }
}

fn literal(characters: impl Iterator<Item = char>) -> Vec<u8> {
    characters.collect::<String>().into_bytes()
}

/// The characters of a path; each byte that is no part of one stands alone.
fn units(bytes: &[u8]) -> impl Iterator<Item = Unit> {
    bytes.utf8_chunks().flat_map(|chunk| {
        chunk.valid().chars().map(Unit::from).chain(chunk.invalid().iter().map(|byte| FIRST_STRAY_BYTE + Unit::from(*byte)))
    })
}

/// How far into the pattern one can be after some characters: every place at once, so that no pattern takes more than its length times
/// the path's.
struct States {
    /// Before the token.
    at: Vec<bool>,
    /// In the middle of a [`Token::Directories`].
    inside: Vec<bool>,
}

impl States {
    fn start(tokens: &[Token]) -> States {
        let mut states = States { at: vec![false; tokens.len() + 1], inside: vec![false; tokens.len() + 1] };
        if let Some(first) = states.at.first_mut() {
            *first = true;
        }
        states.skip_empty(tokens);
        states
    }

    /// Goes on past tokens that may stand for nothing.
    fn skip_empty(&mut self, tokens: &[Token]) {
        for (place, token) in tokens.iter().enumerate() {
            if self.at[place] && matches!(token, Token::Star | Token::Directories | Token::Everything) {
                self.at[place + 1] = true;
            }
        }
    }

    fn step(&mut self, tokens: &[Token], unit: Unit) {
        if let Some(last) = self.at.last_mut() {
            *last = false;
        }
        // From the end, so that a place is read before it is written.
        for (place, token) in tokens.iter().enumerate().rev() {
            let (at, inside) = (self.at[place], self.inside[place]);
            let (stays, goes) = match token {
                Token::Unit(wanted) => (false, at && *wanted == unit),
                Token::AnyUnit => (false, at && unit != SLASH),
                Token::Class { sense, ranges } => {
                    let among = ranges.iter().any(|(low, high)| (*low..=*high).contains(&unit));
                    (false, at && unit != SLASH && (among == (*sense == Sense::Among)))
                }
                Token::Star => (at && unit != SLASH, false),
                Token::Everything => (at, false),
                Token::Directories => {
                    self.inside[place] = at || inside;
                    (false, (at || inside) && unit == SLASH)
                }
            };
            self.at[place] = stays;
            self.at[place + 1] |= goes;
        }
        self.skip_empty(tokens);
    }

    fn accepting(&self) -> bool {
        self.at.last().copied().unwrap_or(false)
    }

    fn could_go_on(&self) -> bool {
        let tokens = self.at.len() - 1;
        self.at.iter().take(tokens).chain(&self.inside).any(|alive| *alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Glob::new(pattern).unwrap().matches(&TreePath::new(path.as_bytes()).unwrap())
    }

    #[test]
    fn patterns_match_what_the_reference_says() {
        let table: &[(&str, &str, bool)] = &[
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("a?b", "a/b", false),
            ("a*b", "a/b", false),
            (r"[\]a]", "]", true),
            (r"[\-]", "-", true),
            (r"[x\-]", "x", true),
            (r"[x\-]", "z", false),
            (r"[\-x]", "a", false),
            ("**", "dir/file", true),
            ("**/", "dir/file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("dir/**", "dir", false),
            ("**/dir", "dir", true),
            ("**/dir2/*", "dir/dir2/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir2/file", true),
            ("**file", "dir/file", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/**/*.txt", "dir/dir/file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("**/*.txt", "file.txt", true),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "axb", false),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("a.b.c", "a.bbc", false),
            ("abc/**", "abcd", false),
            ("**/.git", "x.git", false),
            ("f(oo|bar)+$", "f(oo|bar)+$", true),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(matches(pattern, path), *expected, "{pattern} against {path}");
        }
    }

    #[test]
    fn broken_patterns_are_refused() {
        for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "a[", "[a-b-c]", "[", "[^", "[^bc", r"a\", r"[a-\"] {
            assert!(Glob::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn bytes_that_are_no_character_count_as_one() {
        let path = TreePath::new(b"a\xffb").unwrap();
        assert!(Glob::new("a?b").unwrap().matches(&path));
        assert!(Glob::new("a[^x]b").unwrap().matches(&path));
        assert!(!Glob::new("a??b").unwrap().matches(&path));
    }

    #[test]
    fn a_directory_is_entered_only_where_a_match_may_be() {
        let below =
            |pattern: &str, directory: &str| Glob::new(pattern).unwrap().may_match_below(&TreePath::new(directory.as_bytes()).unwrap());
        assert!(below("a/b/c", ""));
        assert!(below("a/b/c", "a/b"));
        assert!(!below("a/b/c", "a/b/c"));
        assert!(!below("a/b/c", "b"));
        assert!(below("a*/c", "abc"));
        assert!(!below("a*", "abc"));
        assert!(below("**/c", "x/y"));
        assert!(below("x/**", "x/y"));
        assert!(!below("x/**", "y"));
    }

    #[test]
    fn hostile_patterns_take_no_more_than_length_times_length() {
        let pattern = "**/".repeat(200) + &"*a".repeat(200) + "b";
        assert!(!matches(&pattern, &"a".repeat(200)));
    }
}
