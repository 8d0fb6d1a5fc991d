//! Words as Go reads and writes them, which is how they stand in Dockerfiles and in histories: durations, quoted lists.

use std::fmt::Write;

/// Nanoseconds by unit.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads `1m30s`, `1.5h`, `0` and the like: nanoseconds.
pub(super) fn duration(text: &str) -> Option<u64> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, after) = rest.split_at(number);
        let unit = after.find(|character: char| character.is_ascii_digit() || character == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let (_, nanoseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(*nanoseconds)?)?;
        let mut scale = *nanoseconds;
        for digit in fraction.bytes() {
            if !digit.is_ascii_digit() {
                return None;
            }
            scale /= 10;
            total = total.checked_add(u64::from(digit - b'0').checked_mul(scale)?)?;
        }
        rest = after;
    }
    i64::try_from(total).is_ok().then_some(total)
}

/// Writes nanoseconds as Go prints a duration.
pub(super) fn write_duration(nanoseconds: u64) -> String {
    let fraction = |value: u64, unit: u64, digits: usize| {
        let part = format!("{:0digits$}", value % unit);
        let part = part.trim_end_matches('0');
        if part.is_empty() { format!("{}", value / unit) } else { format!("{}.{part}", value / unit) }
    };
    match nanoseconds {
        0 => "0s".to_owned(),
        1..=999 => format!("{nanoseconds}ns"),
        1_000..=999_999 => format!("{}µs", fraction(nanoseconds, 1_000, 3)),
        1_000_000..=999_999_999 => format!("{}ms", fraction(nanoseconds, 1_000_000, 6)),
        _ => {
            let (hours, minutes) = (nanoseconds / 3_600_000_000_000, nanoseconds / 60_000_000_000);
            let seconds = fraction(nanoseconds % 60_000_000_000, 1_000_000_000, 9);
            match (hours, minutes) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{}m{seconds}s", minutes % 60),
            }
        }
    }
}

/// Writes a list as Go prints one with `%q`.
pub(super) fn quoted<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(quote).collect();
    format!("[{}]", words.join(" "))
}

fn quote(word: &str) -> String {
    let mut text = String::from("\"");
    for character in word.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{7}' => text.push_str("\\a"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{b}' => text.push_str("\\v"),
            control if control < ' ' || control == '\u{7f}' => {
                // Writing to a string cannot fail.
                let _ = write!(text, "\\x{:02x}", u32::from(control));
            }
            odd if odd.is_control() => {
                let _ = write!(text, "\\u{:04x}", u32::from(odd));
            }
            character => text.push(character),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (text, written) in [
            ("30s", "30s"),
            ("1m30s", "1m30s"),
            ("1.5h", "1h30m0s"),
            ("90m", "1h30m0s"),
            ("500ms", "500ms"),
            ("0", "0s"),
            (".5s", "500ms"),
            ("1500us", "1.5ms"),
        ] {
            assert_eq!(duration(text).map(write_duration).as_deref(), Some(written), "{text}");
        }
        for bad in ["", "1", "s", "-1s", "1x", "1..5s", "99999999999h", ".s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn lists_are_quoted_as_go_does() {
        assert_eq!(quoted(["a b", "\"\\\n\u{1}é"]), r#"["a b" "\"\\\n\x01é"]"#);
    }
}
