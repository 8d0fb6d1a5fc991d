//! A text with `$NAME` and `${NAME…}` in, the text with values in their places out.
//!
//! Compose specification, "Interpolation": `${NAME}`, `:-` `-` `:?` `?` `:+` `+` with words that may nest, and `$$` for a dollar.

use std::ops::Range;

/// How deep words may nest in one another.
const MOST_NESTED: usize = 16;

/// What is to be said of a place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// The text cannot be filled in.
    Error(String),
    /// Nothing has a value for this name; nothing was put there.
    Unset(String),
}

/// Fills in a text. `report` gets ranges of bytes of it.
pub(super) fn interpolate(text: &str, value: &dyn Fn(&str) -> Option<String>, report: &mut dyn FnMut(Range<usize>, Problem)) -> String {
    fill(text, 0, MOST_NESTED, value, report)
}

fn fill(
    text: &str,
    base: usize,
    depth: usize,
    value: &dyn Fn(&str) -> Option<String>,
    report: &mut dyn FnMut(Range<usize>, Problem),
) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        filled.push_str(&rest[..dollar]);
        let start = base + (text.len() - rest.len()) + dollar;
        let after = &rest[dollar + 1..];
        rest = if let Some(tail) = after.strip_prefix('$') {
            filled.push('$');
            tail
        } else if let Some(inner) = after.strip_prefix('{') {
            let Some(end) = closing(inner) else {
                report(start..start + 2, Problem::Error("`${` has no `}`".to_owned()));
                return filled;
            };
            let place = start..start + end + 3;
            filled.push_str(&braced(&inner[..end], place, depth, value, report));
            &inner[end + 1..]
        } else {
            let length = name_length(after);
            if length == 0 {
                let message = "a `$` that is none of a variable is written `$$`".to_owned();
                report(start..start + 1, Problem::Error(message));
            } else {
                filled.push_str(&known(&after[..length], start..start + 1 + length, value, report));
            }
            &after[length..]
        };
    }
    filled.push_str(rest);
    filled
}

/// Where the brace of `${` closes, past those of others inside it.
fn closing(inner: &str) -> Option<usize> {
    let mut open = 0_usize;
    let bytes = inner.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes.get(at - 1) == Some(&b'$') => open += 1,
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

fn name_length(text: &str) -> usize {
    match text.bytes().next() {
        Some(first) if first.is_ascii_alphabetic() || first == b'_' => {
            text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
        }
        Some(_) | None => 0,
    }
}

fn known(name: &str, place: Range<usize>, value: &dyn Fn(&str) -> Option<String>, report: &mut dyn FnMut(Range<usize>, Problem)) -> String {
    value(name).unwrap_or_else(|| {
        report(place, Problem::Unset(name.to_owned()));
        String::new()
    })
}

/// What stands between the braces.
fn braced(
    inner: &str,
    place: Range<usize>,
    depth: usize,
    value: &dyn Fn(&str) -> Option<String>,
    report: &mut dyn FnMut(Range<usize>, Problem),
) -> String {
    let (name, operator) = inner.split_at(name_length(inner));
    if name.is_empty() {
        report(place, Problem::Error("expected the name of a variable after `${`".to_owned()));
        return String::new();
    }
    if operator.is_empty() {
        return known(name, place, value, report);
    }
    let (also_empty, sign) = match operator.strip_prefix(':') {
        Some(sign) => (true, sign),
        None => (false, operator),
    };
    let found = value(name);
    let has_value = found.as_ref().is_some_and(|found| !(also_empty && found.is_empty()));
    let word = sign.get(1..).unwrap_or_default();
    let filled = |report: &mut dyn FnMut(Range<usize>, Problem)| {
        if depth == 0 {
            report(place.clone(), Problem::Error("variables are nested too deep".to_owned()));
            return String::new();
        }
        fill(word, place.end.saturating_sub(1 + word.len()), depth - 1, value, report)
    };
    match sign.as_bytes().first() {
        Some(b'-') if has_value => found.unwrap_or_default(),
        Some(b'-') => filled(report),
        Some(b'+') if has_value => filled(report),
        Some(b'+') => String::new(),
        Some(b'?') if has_value => found.unwrap_or_default(),
        Some(b'?') => {
            let message = filled(report);
            let why = if message.is_empty() { String::new() } else { format!(": {message}") };
            report(place, Problem::Error(format!("the variable `{name}` must be set{why}")));
            String::new()
        }
        Some(_) | None => {
            let message = format!("after `{name}` expected `}}` or one of `:-`, `-`, `:?`, `?`, `:+` and `+`");
            report(place, Problem::Error(message));
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (String, Vec<(Range<usize>, Problem)>) {
        let mut found = Vec::new();
        let value = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            "DOLLAR" => Some("$A".to_owned()),
            _ => None,
        };
        let filled = interpolate(text, &value, &mut |place, problem| found.push((place, problem)));
        (filled, found)
    }

    #[test]
    fn forms_mean_what_compose_says() {
        for (text, expected) in [
            ("$A ${A}x$A_", "1 1x"),
            ("$$A $${A}", "$A ${A}"),
            ("${EMPTY-d}|${EMPTY:-d}|${X-d}|${X:-d}|${A:-d}", "|d|d|d|1"),
            ("${A+y}|${X+y}|${EMPTY+y}|${EMPTY:+y}", "y||y|"),
            ("${X:-${Y:-${A}}}", "1"),
            ("${X:-a}b}", "ab}"),
            ("${A:?no}${EMPTY?no}", "1"),
            ("$DOLLAR", "$A"),
            ("${X:-}", ""),
            ("${X:-$$}", "$"),
            ("é${A}é", "é1é"),
        ] {
            let (filled, found) = of(text);
            assert_eq!(filled, expected, "{text}");
            assert!(found.iter().all(|(_, problem)| matches!(problem, Problem::Unset(_))), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_said_at_its_place() {
        for (text, range) in [
            ("a$", 1..2),
            ("$1", 0..1),
            ("${", 0..2),
            ("${}", 0..3),
            ("x${A!}", 1..6),
            ("${A:}", 0..5),
            ("${X:?}", 0..6),
            ("${X?it ${Z-is}}", 0..15),
            ("${X:-${1}}", 5..9),
        ] {
            let (_, found) = of(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!(found[0].0, range, "{text}");
            assert!(matches!(found[0].1, Problem::Error(_)), "{text}");
        }
        assert_eq!(of("$B").1, [(0..2, Problem::Unset("B".to_owned()))]);
        assert_eq!(of(&"${X:-".repeat(100_000)).1.len(), 1);
        let deep = format!("{}{}", "${X:-".repeat(1000), "}".repeat(1000));
        assert!(matches!(of(&deep).1.as_slice(), [(_, Problem::Error(_))]));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_filled_in_or_refused(text in "[${}AX:?+a-é]{0,24}") {
            let (_, found) = of(&text);
            for (range, _) in found {
                proptest::prop_assert!(text.get(range.clone()).is_some(), "{:?} of {:?}", range, text);
            }
        }
    }
}
