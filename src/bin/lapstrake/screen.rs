//! Text that others wrote → text that a terminal shows and does not obey.
//!
//! Sequences are those of ECMA-48, section 5.4, and xterm's ctlseqs. Only colours pass, and only where they are wanted.

use std::iter::Peekable;
use std::str::Chars;

/// What becomes of colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colours {
    /// They stay, and end where the line ends.
    Kept,
    /// They go.
    Dropped,
}

/// One line that a command wrote, or a name in a line of ours.
pub(crate) fn line(text: &str, colours: Colours) -> String {
    let mut out = harmless(text, colours);
    if out.contains('\x1b') && !out.ends_with(RESET) {
        out.push_str(RESET);
    }
    out
}

/// A message of ours in which names of others may stand: its lines and its colours stay.
pub(crate) fn message(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| match line.strip_suffix('\n') {
            Some(line) => harmless(line, Colours::Kept) + "\n",
            None => harmless(line, Colours::Kept),
        })
        .collect()
}

const RESET: &str = "\x1b[0m";

fn harmless(text: &str, colours: Colours) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\t' => out.push('\t'),
            '\x1b' => {
                if let (Some(colour), Colours::Kept) = (sequence(&mut characters), colours) {
                    out.push_str(&format!("\x1b[{colour}m"));
                }
            }
            character if character.is_control() || turns_text(character) => out.extend(character.escape_unicode()),
            character => out.push(character),
        }
    }
    out
}

/// Passes over what follows an escape character; gives the parameters of a colour.
fn sequence(characters: &mut Peekable<Chars<'_>>) -> Option<String> {
    match characters.next() {
        Some('[') => {
            let mut parameters = String::new();
            // A sequence that is none ends where something else begins.
            while let Some(character) = characters.next_if(|character| matches!(character, '\x20'..='\x7e')) {
                match character {
                    'm' if parameters.chars().all(|each| each.is_ascii_digit() || each == ';') => {
                        // 8 is text that nobody sees.
                        return parameters.split(';').all(|number| number.trim_start_matches('0') != "8").then_some(parameters);
                    }
                    '\x40'..='\x7e' => return None,
                    parameter => parameters.push(parameter),
                }
            }
            None
        }
        // Titles, clipboards, links, pictures: text up to an end of its own.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(character) = characters.next() {
                if character == '\x07' || (character == '\x1b' && characters.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
            None
        }
        Some(_) | None => None,
    }
}

/// Makes text appear in another order than it has. Unicode 16, "Bidirectional Character Types".
fn turns_text(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_nothing_but_text_and_colours() {
        for (text, kept, dropped) in [
            ("plain \u{e4}\ttext", "plain \u{e4}\ttext", "plain \u{e4}\ttext"),
            ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b[31mred", "\x1b[31mred\x1b[0m", "red"),
            ("a\x1b[2J\x1b[1;1Hb", "ab", "ab"),
            ("a\x1b[8mhidden\x1b[1;08mb", "ahiddenb", "ahiddenb"),
            ("\x1b]0;title\x07a\x1b]52;c;Y2F0\x1b\\b", "ab", "ab"),
            ("\x1bP+q544e\x1b\\a\x1bcb\x1b", "ab", "ab"),
            ("a\x1b[31\u{e4}m", "a\u{e4}m", "a\u{e4}m"),
            ("a\x1b]never ends", "a", "a"),
            ("\x07\x08\x7f\u{9b}2J\r", "\\u{7}\\u{8}\\u{7f}\\u{9b}2J\\u{d}", "\\u{7}\\u{8}\\u{7f}\\u{9b}2J\\u{d}"),
            ("a\u{202e}b\u{2066}", "a\\u{202e}b\\u{2066}", "a\\u{202e}b\\u{2066}"),
        ] {
            assert_eq!(line(text, Colours::Kept), kept, "{text:?}");
            assert_eq!(line(text, Colours::Dropped), dropped, "{text:?}");
        }
        assert_eq!(message("a\x1b[2J\n\x1b[31mb\x1b[0m\nc"), "a\n\x1b[31mb\x1b[0m\nc");
    }
}
