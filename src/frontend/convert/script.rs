//! A shell script in, its commands out where it is nothing but commands with `&&` between them.
//!
//! POSIX.1-2017, Shell Command Language, section 2: the part of it in which nothing depends on `-e`.

/// The commands of a script, as written, if each failing one ends it whatever the shell's options are: a single and-list of simple
/// commands, without substitution that runs more than one command. `None` for every other script.
pub(super) fn and_list(script: &str) -> Option<Vec<&str>> {
    let mut commands = Vec::new();
    let (mut start, mut at) = (0, 0);
    let bytes = script.as_bytes();
    let mut quote = None;
    while let Some(byte) = bytes.get(at) {
        let next = bytes.get(at + 1);
        match (quote, byte) {
            (Some(b'\''), b'\'') | (Some(b'"'), b'"') => quote = None,
            (Some(b'\''), _) => {}
            (_, b'\\') => at += 1,
            (_, b'`' | b'\n' | b'\r') => return None,
            (_, b'$') if next == Some(&b'(') => return None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(*byte),
            (None, b'&') if next == Some(&b'&') => {
                commands.push(script.get(start..at)?.trim());
                start = at + 2;
                at += 1;
            }
            // `>&` and `&>` are redirections; a single `&` would leave a command behind.
            (None, b'&') if at > 0 && matches!(bytes.get(at - 1), Some(b'>' | b'<')) => {}
            (None, b'&' | b';' | b'|' | b'(' | b')' | b'#') => return None,
            (None, b'<') if next == Some(&b'<') => return None,
            (None, _) => {}
        }
        at += 1;
    }
    if quote.is_some() {
        return None;
    }
    commands.push(script.get(start..)?.trim());
    commands.iter().all(|command| is_simple(command)).then_some(commands)
}

/// Whether this begins as a simple command does: no reserved word, no function.
fn is_simple(command: &str) -> bool {
    let first = command.split_whitespace().next().unwrap_or("");
    let reserved = [
        "!", "{", "}", "case", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in", "select", "set", "then", "time",
        "until", "while", "trap", "eval", "exec", ".", "source", "[[", "]]", "coproc",
    ];
    !first.is_empty() && !reserved.contains(&first)
}

/// The words of a command that says each of them plainly: no variables, no patterns, no redirections.
pub(super) fn plain_words(command: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '\'' => break,
                        other => word.push(other),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '"' => break,
                        '$' | '`' => return None,
                        '\\' => match characters.next()? {
                            escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        other => word.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(characters.next()?),
            '$' | '`' | '*' | '?' | '[' | ']' | '{' | '}' | '~' | '<' | '>' | '|' | '&' | ';' | '(' | ')' | '#' | '!' | '\n' | '\r' => {
                return None;
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_chains_are_taken_apart() {
        assert_eq!(and_list("a b &&   c 'x && y' && X=1 d \"$E\" 2>&1"), Some(vec!["a b", "c 'x && y'", "X=1 d \"$E\" 2>&1"]));
        assert_eq!(and_list("make"), Some(vec!["make"]));
        for other in [
            "a; b",
            "a | b",
            "a || b",
            "a &",
            "(a)",
            "a $(b)",
            "a `b`",
            "if a",
            "! a",
            "a && ",
            "a\nb",
            "a # b",
            "a '",
            "cat <<E",
            "set +e",
            "",
            "{ a",
            "a && if b",
        ] {
            assert_eq!(and_list(other), None, "{other}");
        }
    }

    #[test]
    fn words_are_plain_or_none() {
        let words = |text: &str| plain_words(text).map(|words| words.join("|"));
        assert_eq!(words(r"sed -i 's/\r$//g' /start").as_deref(), Some(r"sed|-i|s/\r$//g|/start"));
        assert_eq!(words(r#"a "b\"c" d\ e"#).as_deref(), Some(r#"a|b"c|d e"#));
        for other in ["a $b", "a *", "a > b", "a 'b", "a \"$b\"", "a \\"] {
            assert_eq!(words(other), None, "{other}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_script_is_taken_apart_or_left(text in "[a &|;$()'\"\\\\`#<>!\né]{0,16}") {
            let _ = (and_list(&text), plain_words(&text));
        }
    }
}
