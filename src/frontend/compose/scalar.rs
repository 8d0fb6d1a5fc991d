//! A plain scalar in, the text that Compose makes of it out: numbers and truth values lose the way in which they were written.
//!
//! Docker reads Compose files with a YAML 1.1 reader of YAML 1.2's truth values, and prints what it read.

/// What Compose makes of a plain scalar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plain {
    /// Nothing.
    Nothing,
    /// A text, as it is written.
    Text,
    /// A number or truth value that prints as this.
    Printed(String),
}

/// Looks at a plain scalar.
pub(super) fn plain(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Nothing,
        "true" | "True" | "TRUE" => return Plain::Printed("true".to_owned()),
        "false" | "False" | "FALSE" => return Plain::Printed("false".to_owned()),
        _ => {}
    }
    match integer(text).map(|number| number.to_string()).or_else(|| float(text)) {
        Some(printed) => Plain::Printed(printed),
        None => Plain::Text,
    }
}

/// `true` or `false`.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Decimal, `0x`, `0o`, `0b`, and octal by a leading zero; `_` may stand between digits.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if !digits.bytes().next()?.is_ascii_digit() {
        return None;
    }
    let plain: String = digits.chars().filter(|character| *character != '_').collect();
    let (radix, plain) = match plain.get(..2) {
        Some("0x" | "0X") => (16, &plain[2..]),
        Some("0o" | "0O") => (8, &plain[2..]),
        Some("0b" | "0B") => (2, &plain[2..]),
        Some(start) if start.starts_with('0') => (8, &plain[1..]),
        Some(_) | None => (10, plain.as_str()),
    };
    let good = plain.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let number = if good { i128::from_str_radix(plain, radix).ok()? } else { return None };
    let number = if negative { -number } else { number };
    // What 64 bits cannot hold is a float to Docker.
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number).then_some(number)
}

/// Digits with a point, an exponent or both; printed with the fewest digits that mean the same.
fn float(text: &str) -> Option<String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let first = digits.bytes().next()?;
    let shaped = (first.is_ascii_digit() || first == b'.' && digits.len() > 1)
        && digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-' | b'_'));
    if !shaped {
        return None;
    }
    let plain: String = text.chars().filter(|character| *character != '_').collect();
    let number: f64 = plain.parse().ok()?;
    if !number.is_finite() {
        return None;
    }
    Some(print_float(number))
}

/// As Go's `%v` prints a float.
fn print_float(number: f64) -> String {
    if number == 0.0 {
        return if number.is_sign_negative() { "-0".to_owned() } else { "0".to_owned() };
    }
    let scientific = format!("{number:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..21).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_truth_values_print_as_docker_prints_them() {
        for (text, expected) in [
            ("1", "1"),
            ("-7", "-7"),
            ("010", "8"),
            ("0x1F", "31"),
            ("0b101", "5"),
            ("1_000", "1000"),
            ("3.10", "3.1"),
            ("1e3", "1000"),
            ("1e30", "1e+30"),
            ("0.00001", "1e-05"),
            (".5", "0.5"),
            ("True", "true"),
        ] {
            assert_eq!(plain(text), Plain::Printed(expected.to_owned()), "{text}");
        }
        for text in ["3.10.1", "1.2.3", "yes", "on", "v1", "1-2", "08x", "-", "+", ".", "e", "2024-01-01", "1:2", "é", "0x", "_1"] {
            assert_eq!(plain(text), Plain::Text, "{text}");
        }
        assert_eq!(plain("~"), Plain::Nothing);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_one_of_them(text in "[-+0-9xob_.eE]{0,12}|\\PC{0,6}") {
            let _ = plain(&text);
        }
    }
}
