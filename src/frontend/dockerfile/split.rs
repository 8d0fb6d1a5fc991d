//! One logical line in, its keyword, flags and arguments out; and the ways in which arguments are split.

use super::located::Located;

/// What separates words: Docker's set, which knows no Unicode spaces and no line ends.
pub(super) const fn is_blank(character: char) -> bool {
    matches!(character, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// A line in its parts.
#[derive(Debug, Clone)]
pub(super) struct Split {
    /// As it was written.
    pub(super) keyword: Located,
    /// In order.
    pub(super) flags: Vec<Flag>,
    /// Everything behind the flags, trimmed.
    pub(super) rest: Located,
}

/// `--NAME` or `--NAME=VALUE`, quotes taken away.
#[derive(Debug, Clone)]
pub(super) struct Flag {
    /// Without the dashes.
    pub(super) name: String,
    /// What stands behind the first `=`.
    pub(super) value: Option<Located>,
    /// The whole word.
    pub(super) whole: Located,
}

/// Splits a line. Keyword and rest may be empty.
pub(super) fn split(line: &Located) -> Split {
    let line = line.trimmed();
    let text = line.as_str();
    let end = text.find(is_blank).unwrap_or(text.len());
    let keyword = line.slice(0..end);
    let after = text[end..].find(|character| !is_blank(character)).map_or(text.len(), |skip| end + skip);
    let (flags, rest) = flags(&line.slice(after..text.len()));
    Split { keyword, flags, rest }
}

/// Takes flags from the front. `--` alone ends them. Backslashes and quotes protect white space, whatever the escape character is.
fn flags(rest: &Located) -> (Vec<Flag>, Located) {
    let text = rest.as_str();
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        at = skip_spaces(text, at);
        if !text[at..].starts_with("--") {
            return (flags, rest.slice(at..text.len()).trimmed());
        }
        let start = at;
        let (word, end) = flag_word(rest, start);
        at = end;
        if word.as_str() == "--" {
            return (flags, rest.slice(at..text.len()).trimmed());
        }
        let equals = word.as_str().find('=');
        let name_end = equals.unwrap_or(word.as_str().len());
        flags.push(Flag {
            name: word.as_str().get(2..name_end).unwrap_or_default().to_owned(),
            value: equals.map(|equals| word.slice(equals + 1..word.as_str().len())),
            whole: rest.slice(start..end),
        });
    }
}

fn skip_spaces(text: &str, at: usize) -> usize {
    at + text[at..].find(|character: char| !character.is_whitespace()).unwrap_or(text.len() - at)
}

fn flag_word(rest: &Located, start: usize) -> (Located, usize) {
    let text = rest.as_str();
    let mut word = rest.slice(start..start);
    let mut quote = None;
    let mut characters = text[start..].char_indices().map(|(at, character)| (start + at, character));
    let mut end = text.len();
    while let Some((at, character)) = characters.next() {
        let keep = match (quote, character) {
            (None, character) if character.is_whitespace() => {
                end = at;
                break;
            }
            (None, '\'' | '"') => {
                quote = Some(character);
                None
            }
            (Some(open), character) if open == character => {
                quote = None;
                None
            }
            (_, '\\') => characters.next(),
            (_, character) => Some((at, character)),
        };
        if let Some((at, character)) = keep {
            word.push_part(rest, at..at + character.len_utf8());
        }
    }
    (word, end)
}

/// Words between white space; quotes mean nothing here.
pub(super) fn blanks(rest: &Located) -> Vec<Located> {
    let text = rest.as_str();
    let mut words = Vec::new();
    let mut start = None;
    for (at, character) in text.char_indices() {
        match (start, is_blank(character)) {
            (None, false) => start = Some(at),
            (Some(from), true) => {
                words.push(rest.slice(from..at));
                start = None;
            }
            (None, true) | (Some(_), false) => {}
        }
    }
    words.extend(start.map(|from| rest.slice(from..text.len())));
    words
}

/// Words as a shell would split them, with their quotes and escapes left in.
pub(super) fn shell_words(rest: &Located, escape: char) -> Vec<Located> {
    let text = rest.as_str();
    let mut words: Vec<Located> = Vec::new();
    let mut word: Option<Located> = None;
    let mut quote = None;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if quote.is_none() && character.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_with(|| rest.slice(at..at));
        let mut end = at + character.len_utf8();
        if character == escape && quote != Some('\'') {
            match characters.next() {
                Some((next, escaped)) => end = next + escaped.len_utf8(),
                // An escape at the very end stands for nothing.
                None => break,
            }
        } else if quote == Some(character) {
            quote = None;
        } else if quote.is_none() && matches!(character, '\'' | '"') {
            quote = Some(character);
        }
        word.push_part(rest, at..end);
    }
    words.extend(word.filter(|word| !word.is_empty()));
    words
}

/// What a JSON form is.
#[derive(Debug, Clone)]
pub(super) enum Json {
    /// An array of strings.
    Strings(Vec<Located>),
    /// An array with something else in it.
    NotStrings,
    /// No array: the shell form is meant.
    None,
}

/// Reads the JSON form.
pub(super) fn json(rest: &Located) -> Json {
    let text = rest.as_str();
    if !text.starts_with('[') {
        return Json::None;
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Json::None };
    let mut places = string_places(text).into_iter();
    let mut strings = Vec::new();
    for value in values {
        let serde_json::Value::String(string) = value else { return Json::NotStrings };
        let place = places.next().unwrap_or(0..text.len());
        let raw = text.get(place.start + 1..place.end.saturating_sub(1)).unwrap_or_default();
        strings.push(if raw == string { rest.slice(place.start + 1..place.end - 1) } else { Located::fixed(string, rest.span(place)) });
    }
    Json::Strings(strings)
}

/// Where the strings of a JSON array of strings stand, quotes included.
fn string_places(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut places = Vec::new();
    let mut open = None;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match (open, byte) {
            (None, b'"') => open = Some(at),
            (Some(start), b'"') => {
                places.push(start..at + 1);
                open = None;
            }
            (Some(_), b'\\') => {
                bytes.next();
            }
            (None | Some(_), _) => {}
        }
    }
    places
}

/// Whether a shell form looks as if the JSON form had been meant.
pub(super) fn looks_like_json(text: &str) -> bool {
    let inside = text.strip_prefix('[').map(str::trim_start);
    let quoted = inside.is_some_and(|inside| inside.starts_with(['"', '\'', '\u{201c}', '\u{2018}']));
    quoted && text.trim_end().ends_with(']') && text.contains(',')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::SourceMap;

    fn located(text: &str) -> Located {
        let mut located = Located::new(SourceMap::new().add("Dockerfile", text));
        located.push(text, 0);
        located
    }

    fn texts(words: &[Located]) -> Vec<&str> {
        words.iter().map(Located::as_str).collect()
    }

    #[test]
    fn flags_end_at_the_first_word_without_dashes() {
        let line = split(&located("COPY  --from=a --chown='x y':z --link -- --b c "));
        assert_eq!(line.keyword.as_str(), "COPY");
        let flags: Vec<_> = line.flags.iter().map(|flag| (flag.name.as_str(), flag.value.as_ref().map(Located::as_str))).collect();
        assert_eq!(flags, [("from", Some("a")), ("chown", Some("x y:z")), ("link", None)]);
        assert_eq!(line.flags[1].whole.as_str(), "--chown='x y':z");
        assert_eq!(line.rest.as_str(), "--b c");
    }

    #[test]
    fn a_shell_word_keeps_its_quotes() {
        assert_eq!(texts(&shell_words(&located(r#"a="b c" d=e\ f g='h\' i"#), '\\')), [r#"a="b c""#, r"d=e\ f", r"g='h\'", "i"]);
        assert_eq!(texts(&shell_words(&located("a=b\\"), '\\')), ["a=b"]);
        assert_eq!(texts(&blanks(&located("a \"b c\""))), ["a", "\"b", "c\""]);
    }

    #[test]
    fn the_json_form_is_an_array_of_strings_and_nothing_behind() {
        let Json::Strings(strings) = json(&located(r#"["a", "b\n", "ü"]"#)) else { panic!() };
        assert_eq!(texts(&strings), ["a", "b\n", "ü"]);
        assert_eq!(strings[2].whole().start, 14);
        assert!(matches!(json(&located(r#"["a", 1]"#)), Json::NotStrings));
        assert!(matches!(json(&located(r#"["a"] b"#)), Json::None));
        assert!(matches!(json(&located("['a']")), Json::None));
        assert!(looks_like_json("['a', 'b']") && !looks_like_json("[ -f x ] && echo \"a,b\""));
    }
}
