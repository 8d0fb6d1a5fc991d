//! A step's words → one text for people and for the history of an image.
//!
//! Holds what the spec says and the values of arguments, which are no secrets; never the bytes of a file, a variable of one `run`, or what
//! follows `?` in an address.

use super::ImageSource;
use crate::spec::{FileSource, Name};

/// Longer labels are cut: they stand in one line of a terminal.
const LONGEST_LABEL_CHARACTERS: usize = 120;

/// The text on one line, without characters that a terminal would obey, cut where it is long.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::new();
    let mut count = 0;
    for word in text.split_whitespace() {
        let space = if line.is_empty() { None } else { Some(' ') };
        for character in space.into_iter().chain(word.chars()) {
            if count == LONGEST_LABEL_CHARACTERS {
                line.push('…');
                return line;
            }
            count += 1;
            if character.is_control() {
                line.extend(character.escape_unicode());
            } else {
                line.push(character);
            }
        }
    }
    line
}

/// `verb what → where`, and from where unless that is the default context.
pub(super) fn moved(verb: &str, what: &[String], to: &str, from: Option<&FileSource>, image: Option<&ImageSource>) -> String {
    let from = match (from, image) {
        (_, Some(image)) => format!(" from {image}"),
        (Some(FileSource::Stage(name)), None) => format!(" from stage:{}", name.value),
        (Some(FileSource::Context(Some(name))), None) => format!(" from context:{}", name.value),
        (None | Some(FileSource::Context(None) | FileSource::Image(_)), None) => String::new(),
    };
    format!("{verb} {} → {to}{from}", words(what))
}

/// Words with spaces between them; those that hold spaces or nothing in quotes.
pub(super) fn words<W: AsRef<str>>(words: &[W]) -> String {
    let shown = |word: &W| {
        let word = word.as_ref();
        let plain = !word.is_empty() && !word.chars().any(|character| character.is_whitespace() || matches!(character, '"' | '\''));
        if plain { word.to_owned() } else { format!("{word:?}") }
    };
    words.iter().map(shown).collect::<Vec<_>>().join(" ")
}

/// An address without what follows `?` and `#`, which may hold a key to it.
pub(super) fn address(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

/// The last name in an address, if it can be a file's.
pub(super) fn file_name(url: &str) -> Option<&str> {
    let (_, rest) = address(url).split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    path.rsplit('/').next().filter(|name| !matches!(*name, "" | "." | ".."))
}

/// Where a secret is seen when nothing else is said.
pub(super) fn secret_path(name: &Name) -> String {
    format!("/run/secrets/{name}")
}

/// Where an agent is seen when nothing else is said.
pub(super) fn agent_path(name: &Name) -> String {
    format!("/run/lapstrake/agent-{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_line_that_no_terminal_obeys() {
        assert_eq!(one_line("run a\n\tb \u{1b}[2J c"), "run a b \\u{1b}[2J c");
        assert_eq!(one_line(&"ä".repeat(500)).chars().count(), LONGEST_LABEL_CHARACTERS + 1);
    }

    #[test]
    fn words_that_would_run_together_are_quoted() {
        assert_eq!(words(&["sh", "-c", "a b", ""]), r#"sh -c "a b" """#);
    }

    #[test]
    fn keys_in_an_address_are_not_shown() {
        assert_eq!(address("https://h/a.tar?token=x#y"), "https://h/a.tar");
        assert_eq!(file_name("https://h/a.tar?x=/b"), Some("a.tar"));
        for none in ["https://h", "https://h/", "https://h/a/?x", "https://h/.."] {
            assert_eq!(file_name(none), None, "{none}");
        }
    }
}
