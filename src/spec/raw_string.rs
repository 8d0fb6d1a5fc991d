//! Where the bytes of a TOML string's value stand in the file: escapes are longer than what they stand for.

/// For each byte of the value, and for its end, the offset in `raw`, the string with its quotes; `None` where the two do not agree.
pub(super) fn offsets(raw: &str, value: &str) -> Option<Vec<usize>> {
    let (quotes, basic) = match raw.as_bytes() {
        [b'"', b'"', b'"', ..] if raw.len() >= 6 => (3, true),
        [b'\'', b'\'', b'\'', ..] if raw.len() >= 6 => (3, false),
        [b'"', ..] if raw.len() >= 2 => (1, true),
        [b'\'', ..] if raw.len() >= 2 => (1, false),
        _ => return None,
    };
    let end = raw.len() - quotes;
    let mut at = quotes;
    if quotes == 3 {
        at += if raw[at..].starts_with("\r\n") { 2 } else { usize::from(raw[at..].starts_with('\n')) };
    }
    let mut offsets = Vec::with_capacity(value.len() + 1);
    for character in value.chars() {
        // A backslash at the end of a line takes the line break and the space after it away.
        while basic && raw.get(at..end)?.starts_with('\\') && raw[at + 1..end].starts_with([' ', '\t', '\n', '\r']) {
            at += 1;
            at += raw[at..end].bytes().take_while(u8::is_ascii_whitespace).count();
        }
        offsets.extend(std::iter::repeat_n(at, character.len_utf8()));
        let here = raw.get(at..end)?;
        at += match here.as_bytes() {
            [b'\\', b'u', ..] if basic => 6,
            [b'\\', b'U', ..] if basic => 10,
            [b'\\', b'x', ..] if basic => 4,
            [b'\\', ..] if basic => 2,
            [b'\r', b'\n', ..] if character == '\n' => 2,
            _ if here.starts_with(character) => character.len_utf8(),
            _ => return None,
        };
    }
    offsets.push(at);
    (at <= end).then_some(offsets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_and_quotes_are_counted() {
        for (raw, value, find, offset) in [
            (r#""ab${""#, "ab${", "${", 3),
            (r#""\ta${""#, "\ta${", "${", 4),
            (r#""\u00e9${""#, "é${", "${", 7),
            ("'''\nx${'''", "x${", "${", 5),
            ("\"\"\"a \\\n   b${\"\"\"", "a b${", "${", 11),
            ("'\\n${'", "\\n${", "${", 3),
        ] {
            let offsets = offsets(raw, value).unwrap();
            assert_eq!(offsets[value.find(find).unwrap()], offset, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn strings_that_do_not_belong_together_are_survived(raw: String, inner in "[\\\\\"'une\r\n 0a]{0,12}", value in "[\\\\\"'une\r\n 0a]{0,8}") {
            offsets(&raw, &value);
            offsets(&format!("\"{inner}\""), &value);
            offsets(&format!("'''{inner}'''"), &value);
        }
    }
}
