//! A shell script on one line in, the same on several lines out.
//!
//! A Dockerfile's continued lines are joined before anything is made of them, and leave several blanks in a row. A backslash at the end of
//! a line, which shells take away together with the line's end (POSIX.1-2017, Shell Command Language, 2.2.1), puts the lines back.

use super::script::and_list;

/// The script with a line for each command of a chain, and with lines broken where they were; `None` where it stays on one line.
pub(super) fn lines(script: &str) -> Option<String> {
    let text = match and_list(script) {
        Some(commands) => {
            let commands: Vec<String> = commands.into_iter().map(|command| broken(command).unwrap_or_else(|| command.to_owned())).collect();
            commands.join(" &&\n")
        }
        None => broken(script)?,
    };
    // At its end a backslash says itself, and before the end of a line nothing.
    (text.contains('\n') && !script.contains('\n') && !text.ends_with('\\')).then(|| text + "\n")
}

/// Breaks the line at every row of blanks that are not quoted. `None` where it cannot be told what is quoted, or there are comments or
/// here-documents, in which a backslash says something else.
fn broken(script: &str) -> Option<String> {
    let mut written = String::new();
    let mut rest = script.trim();
    let mut is_word_start = true;
    while let Some(character) = rest.chars().next() {
        let length = match character {
            ' ' | '\t' => {
                let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
                written.push_str(if blanks == 1 { " " } else { " \\\n    " });
                rest = &rest[blanks..];
                is_word_start = true;
                continue;
            }
            '\n' | '\r' | '`' => return None,
            '#' if is_word_start => return None,
            '<' if rest.starts_with("<<") => return None,
            '$' if rest.starts_with("$'") || rest.starts_with("$\"") => return None,
            '\\' => 1 + rest[1..].chars().next()?.len_utf8(),
            '\'' => 2 + rest[1..].find('\'')?,
            '"' => 2 + quoted(&rest[1..])?,
            other => other.len_utf8(),
        };
        written.push_str(rest.get(..length)?);
        rest = rest.get(length..)?;
        is_word_start = matches!(character, ';' | '&' | '|' | '(' | ')' | '<' | '>');
    }
    Some(written)
}

/// The length of what stands between double quotes, up to the closing one.
fn quoted(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' if depth == 0 => return Some(at),
            // Quotes inside of a substitution have a level of their own.
            '"' | '\'' | '`' if depth > 0 => return None,
            '`' => return None,
            '\\' => drop(characters.next()),
            '$' if text[at + 1..].starts_with(['(', '{']) => depth += 1,
            ')' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_where_they_were_and_between_commands() {
        for (script, expected) in [
            ("a    b c   d", "a \\\n    b c \\\n    d\n"),
            ("a b && c   'x   y' && d", "a b &&\nc \\\n    'x   y' &&\nd\n"),
            ("set -e;   a \"$(n)   x\";   b | c", "set -e; \\\n    a \"$(n)   x\"; \\\n    b | c\n"),
            ("a \\    b", "a \\  \\\n    b\n"),
            ("a\t\tb#c", "a \\\n    b#c\n"),
        ] {
            assert_eq!(lines(script).as_deref(), Some(expected), "{script}");
        }
        for script in [
            "a",
            "a 'b   c'",
            "a; b",
            "a   b # c",
            "(a   b)#c",
            "cat <<E   x",
            "a   `b`",
            "a   \"$(b \"c   d\")\"",
            "a   \"b",
            "a   $'b'",
            "a\nb   c",
            "a   b \\",
            "\\ &&\\",
        ] {
            assert_eq!(lines(script), None, "{script}");
        }
    }

    proptest::proptest! {
        /// Taking the broken lines away leaves the words as they were.
        #[test]
        fn what_is_broken_can_be_joined_again(script in "[ab &|;()'\"\\\\$#{}]{0,24}") {
            let Some(lines) = lines(&script) else { return Ok(()) };
            // Blanks around `&&` say nothing.
            let bare = |text: &str| {
                let words = text.replace("\\\n", "").split_whitespace().collect::<Vec<_>>().join(" ");
                words.replace(" &&", "&&").replace("&& ", "&&")
            };
            proptest::prop_assert_eq!(bare(&lines), bare(&script));
        }
    }
}
