//! Strings with a grammar of their own: durations, sizes, modes, ports, signals, owners; read and written.

use std::time::Duration;

use super::ModeRule;
pub use super::symbolic_mode::{Directory, SymbolicMode};

/// Units of durations in nanoseconds, from the largest down.
const DURATION_UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Units of sizes in bytes.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Reads `1h30m` and the like: whole numbers with units, largest unit first, each at most once.
///
/// # Errors
/// What is wrong, as a fragment of a sentence.
pub fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    let mut rest = text;
    let mut units = DURATION_UNITS.iter();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err("it is empty");
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        if number.is_empty() {
            return Err("expected a whole number");
        }
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        if unit.is_empty() {
            return Err("a number needs a unit: `d`, `h`, `m`, `s`, `ms`, `us` or `ns`");
        }
        if !DURATION_UNITS.iter().any(|(name, _)| *name == unit) {
            return Err("the units are `d`, `h`, `m`, `s`, `ms`, `us` and `ns`");
        }
        let Some((_, nanoseconds)) = units.find(|(name, _)| *name == unit) else {
            return Err("each unit can stand once, the largest first");
        };
        let sum = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*nanoseconds)).and_then(|part| total.checked_add(part));
        match sum {
            // Docker keeps durations as signed nanoseconds.
            Some(sum) if i64::try_from(sum).is_ok() => total = sum,
            Some(_) | None => return Err("it is longer than 292 years"),
        }
        rest = after;
    }
    Ok(Duration::from_nanos(total))
}

/// Writes a duration as [`parse_duration`] reads it; one of more than 292 years as the longest there is.
#[must_use]
pub fn write_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs());
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, nanoseconds) in DURATION_UNITS {
        let count = left / nanoseconds;
        left %= nanoseconds;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    text
}

/// Reads `64MiB` and the like: a whole number and a unit.
///
/// # Errors
/// What is wrong, as a fragment of a sentence.
pub fn parse_size(text: &str) -> Result<u64, &'static str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err("expected a whole number and a unit, such as `64MiB`");
    }
    let Some((_, bytes)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err("the units are `B`, `KiB`, `MiB`, `GiB`, `TiB`, `kB`, `MB`, `GB` and `TB`");
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(*bytes)).ok_or("it is more than 64 bits can count")
}

/// Writes a size as [`parse_size`] reads it, in the largest power of 1024 that divides it.
#[must_use]
pub fn write_size(bytes: u64) -> String {
    let (unit, size) =
        SIZE_UNITS[..5].iter().rev().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size)).unwrap_or(&SIZE_UNITS[0]);
    format!("{}{unit}", bytes / size)
}

/// Reads three or four octal digits.
#[must_use]
pub fn parse_mode(text: &str) -> Option<u16> {
    let good = (3..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    if good { u16::from_str_radix(text, 8).ok() } else { None }
}

/// Reads what becomes of modes: `keep`, octal digits, those behind `=`, or a symbolic mode.
#[must_use]
pub fn parse_mode_rule(text: &str) -> Option<ModeRule> {
    if text == "keep" {
        return Some(ModeRule::Keep);
    }
    match text.strip_prefix('=').and_then(parse_mode) {
        Some(bits) => Some(ModeRule::Exactly(bits)),
        None => parse_mode(text).map(ModeRule::Set).or_else(|| SymbolicMode::parse(text).map(ModeRule::Symbolic)),
    }
}

/// Writes a rule as [`parse_mode_rule`] reads it; one with references has none but its template.
#[must_use]
pub fn write_mode_rule(rule: &ModeRule) -> Option<String> {
    match rule {
        ModeRule::Keep => Some("keep".to_owned()),
        ModeRule::Set(bits) => Some(format!("{bits:04o}")),
        ModeRule::Exactly(bits) => Some(format!("={bits:04o}")),
        ModeRule::Symbolic(changes) => Some(changes.to_string()),
        ModeRule::Unsettled(_) => None,
    }
}

/// The ports of an entry: `NUMBER`, `FIRST-LAST`, each with `/tcp`, `/udp` or `/sctp` if need be; in order, each with its protocol. `None`
/// where the text is none.
#[must_use]
pub fn parse_ports(text: &str) -> Option<Vec<String>> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        if digits { text.parse::<u16>().ok() } else { None }
    };
    let (first, last) = match numbers.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(numbers)?, number(numbers)?),
    };
    let good = first <= last && matches!(protocol, "tcp" | "udp" | "sctp");
    good.then(|| (first..=last).map(|number| format!("{number}/{protocol}")).collect())
}

/// Whether this is a signal: a name such as `SIGTERM` or `SIGRTMIN+3`, or a number from 1 to 64.
#[must_use]
pub fn is_signal(text: &str) -> bool {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
    let name = text.strip_prefix("SIG").is_some_and(|name| {
        name.bytes().next().is_some_and(|byte| byte.is_ascii_uppercase())
            && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-'))
    });
    number || name
}

/// Whether this is `USER` or `USER:GROUP`, names or numbers.
#[must_use]
pub fn is_owner(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.contains(|character: char| character.is_whitespace() || character.is_control() || matches!(character, ':' | '/'))
    };
    match text.split_once(':') {
        Some((user, group)) => part(user) && part(group),
        None => part(text),
    }
}

/// Whether this can be the name of an environment variable: letters, digits, `_`, `.` and `-`, of which the first is a letter or `_`.
#[must_use]
pub fn is_variable(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_have_units_from_the_largest_down() {
        for (text, seconds) in [("10m", 600), ("7d", 604_800), ("1h30m", 5400), ("0s", 0), ("1d2h3m4s", 93_784)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "10", "m", "30m1h", "1m1m", "1.5s", "1w", " 1s", "1s ", "-1s", "300000d", "99999999999999999999s", "1µs"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_one_unit() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("1kB"), Ok(1000));
        for bad in ["", "64", "64m", "64 MiB", "MiB", "99999999999TiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_ports_signals_and_owners_are_told_from_what_is_none() {
        assert_eq!(parse_mode("0755"), Some(0o755));
        assert_eq!(parse_mode("4755"), Some(0o4755));
        for bad in ["", "7", "0o755", "0888", "10755", "rwx"] {
            assert_eq!(parse_mode(bad), None, "{bad}");
        }
        for (text, good) in [
            ("80", vec!["80/tcp"]),
            ("53/udp", vec!["53/udp"]),
            ("8000-8002/sctp", vec!["8000/sctp", "8001/sctp", "8002/sctp"]),
            ("7-7", vec!["7/tcp"]),
        ] {
            assert_eq!(parse_ports(text).unwrap(), good, "{text}");
        }
        for bad in ["", "0", "080", "65536", "80/TCP", "8001-8000", "1-", "-1", "1-2-3", "80 81"] {
            assert_eq!(parse_ports(bad), None, "{bad}");
        }
        for (text, good) in [
            ("SIGTERM", true),
            ("SIGRTMIN+3", true),
            ("15", true),
            ("TERM", false),
            ("SIG", false),
            ("65", false),
            ("", false),
            ("0", false),
        ] {
            assert_eq!(is_signal(text), good, "{text}");
        }
        for (text, good) in [("app", true), ("1000:1000", true), ("a:", false), ("", false), ("a b", false), ("a:b:c", false)] {
            assert_eq!(is_owner(text), good, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(nanoseconds in 0..=i64::MAX.unsigned_abs(), bytes: u64) {
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse_duration(&write_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&write_size(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = (parse_duration(&text), parse_size(&text), parse_mode(&text), parse_ports(&text), parse_mode_rule(&text), is_signal(&text), is_owner(&text));
        }
    }
}
