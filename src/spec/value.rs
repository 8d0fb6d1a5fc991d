//! One TOML value → one value of the language, or a report of what was expected and what was found.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use lapstrake_cache::Digest;
use toml::de::{DeTable, DeValue};

use super::field::Grammar;
use super::reader::Value;
use super::sink::Sink;
use super::{
    Change, Env, INHERITED, ModeRule, Name, Piece, Spanned, Template, Text, diagnostics, grammar, raw_string, template_text, toml_version,
    words,
};
use crate::diagnostic::{Diagnostic, Span};
use crate::image::Platform;

/// What a TOML value is, with its article.
pub(super) fn called(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

fn wrong_type(sink: &Sink<'_>, key: &str, expected: &str, value: &Value<'_>) -> Diagnostic {
    diagnostics::wrong_type(sink.span(value.span()), key, expected, called(value.get_ref()))
}

/// The string of a value and its place.
pub(super) fn string<'v>(sink: &mut Sink<'_>, key: &str, value: &'v Value<'_>) -> Option<(&'v str, Span)> {
    let span = sink.span(value.span());
    let diagnostic = match value.get_ref() {
        DeValue::String(text) => return Some((text, span)),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Boolean(_) => {
            let written = sink.text.get(value.span()).unwrap_or_default();
            wrong_type(sink, key, "a string", value).hint(format!("write it in quotes: `\"{written}\"`"))
        }
        DeValue::Array(_) | DeValue::Table(_) => wrong_type(sink, key, "a string", value),
    };
    sink.report(diagnostic);
    None
}

pub(super) fn array<'v, 't>(sink: &mut Sink<'_>, key: &str, expected: &str, value: &'v Value<'t>) -> Option<(&'v [Value<'t>], Span)> {
    if let DeValue::Array(array) = value.get_ref() {
        return Some((array, sink.span(value.span())));
    }
    let mut diagnostic = wrong_type(sink, key, expected, value);
    if let DeValue::String(_) = value.get_ref() {
        let written = sink.text.get(value.span()).unwrap_or_default();
        if !written.contains('\n') {
            diagnostic = diagnostic.hint(format!("write it in brackets: `[{written}]`"));
        }
    }
    sink.report(diagnostic);
    None
}

pub(super) fn table<'v, 't>(sink: &mut Sink<'_>, key: &str, value: &'v Value<'t>) -> Option<(&'v DeTable<'t>, Span)> {
    if let DeValue::Table(table) = value.get_ref() {
        return Some((table, sink.span(value.span())));
    }
    sink.report(wrong_type(sink, key, "a table", value));
    None
}

pub(super) fn boolean(sink: &mut Sink<'_>, key: &str, value: &Value<'_>) -> Option<Spanned<bool>> {
    if let DeValue::Boolean(flag) = value.get_ref() {
        return Some(Spanned::new(*flag, sink.span(value.span())));
    }
    sink.report(wrong_type(sink, key, "`true` or `false`", value));
    None
}

/// Reads references and checks what can be checked before they are known.
pub(super) fn text(sink: &mut Sink<'_>, key: &str, value: &Value<'_>, grammar: Grammar) -> Option<Text> {
    let (text, span) = string(sink, key, value)?;
    let raw_start = value.span().start;
    let raw = sink.text.get(value.span()).unwrap_or_default();
    let offsets = if text.contains("${") { raw_string::offsets(raw, text) } else { None };
    let mut found = Vec::new();
    let template = {
        let place = |range: std::ops::Range<usize>| match offsets.as_ref().map(|offsets| (offsets.get(range.start), offsets.get(range.end)))
        {
            Some((Some(start), Some(end))) => sink.span(raw_start + start..raw_start + end),
            Some(_) | None => span,
        };
        template_text::read(text, &place, &mut |diagnostic| found.push(diagnostic))
    };
    let text = Spanned::new(template, span);
    if found.is_empty() {
        grammar::check(key, &text, grammar, &mut |diagnostic| found.push(diagnostic));
    }
    found.into_iter().for_each(|diagnostic| sink.report(diagnostic));
    Some(text)
}

pub(super) fn texts(sink: &mut Sink<'_>, key: &str, value: &Value<'_>, grammar: Grammar) -> Option<Spanned<Vec<Text>>> {
    let (items, span) = array(sink, key, "an array of strings", value)?;
    Some(Spanned::new(each_text(sink, key, items, grammar), span))
}

fn each_text(sink: &mut Sink<'_>, key: &str, items: &[Value<'_>], grammar: Grammar) -> Vec<Text> {
    let each = |(place, item): (usize, &Value<'_>)| {
        // What stands for the base's has not the form of what the base has.
        let inherited = place == 0 && grammar.inherits() && item.get_ref().as_str() == Some(INHERITED);
        let grammar = if inherited { Grammar::Free } else { grammar };
        text(sink, &format!("{key}[{place}]"), item, grammar)
    };
    items.iter().enumerate().filter_map(each).collect()
}

pub(super) fn text_or_texts(sink: &mut Sink<'_>, key: &str, value: &Value<'_>, grammar: Grammar) -> Vec<Text> {
    match value.get_ref() {
        DeValue::String(_) => text(sink, key, value, grammar).into_iter().collect(),
        DeValue::Array(items) if items.is_empty() => {
            sink.report(diagnostics::empty_value(sink.span(value.span()), key, "an empty array"));
            Vec::new()
        }
        DeValue::Array(items) => each_text(sink, key, items, grammar),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
            sink.report(wrong_type(sink, key, "a string or an array of strings", value));
            Vec::new()
        }
    }
}

pub(super) fn text_or_false(sink: &mut Sink<'_>, key: &str, value: &Value<'_>, grammar: Grammar) -> Option<Spanned<Change<Template>>> {
    match value.get_ref() {
        DeValue::Boolean(false) => Some(Spanned::new(Change::Clear, sink.span(value.span()))),
        DeValue::Boolean(true) => {
            sink.report(wrong_type(sink, key, "a string, or `false` to take it away", value));
            None
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            text(sink, key, value, grammar).map(|text| text.map(Change::Set))
        }
    }
}

pub(super) fn plains(sink: &mut Sink<'_>, key: &str, value: &Value<'_>) -> Option<Spanned<Vec<Spanned<String>>>> {
    let (items, span) = array(sink, key, "an array of strings", value)?;
    let plain = |(place, item)| string(sink, &format!("{key}[{place}]"), item).map(|(text, span)| Spanned::new(text.to_owned(), span));
    Some(Spanned::new(items.iter().enumerate().filter_map(plain).collect(), span))
}

pub(super) fn name(sink: &mut Sink<'_>, key: &str, value: &Value<'_>, what: &str) -> Option<Spanned<Name>> {
    let (text, span) = string(sink, key, value)?;
    match Name::new(text) {
        Ok(name) => Some(Spanned::new(name, span)),
        Err(_) => {
            sink.report(diagnostics::bad_name(span, what, text));
            None
        }
    }
}

/// A name that stands as a key.
pub(super) fn key_name(sink: &mut Sink<'_>, key: &toml::Spanned<Cow<'_, str>>, what: &str) -> Option<Spanned<Name>> {
    let span = sink.span(key.span());
    match Name::new(key.get_ref().as_ref()) {
        Ok(name) => Some(Spanned::new(name, span)),
        Err(_) => {
            sink.report(diagnostics::bad_name(span, what, key.get_ref()));
            None
        }
    }
}

/// A string with a unit; a bare number is told how to have one.
fn with_unit<'v>(sink: &mut Sink<'_>, key: &str, value: &'v Value<'_>, unit: &str) -> Option<(&'v str, Span)> {
    if let DeValue::Integer(number) = value.get_ref() {
        sink.report(wrong_type(sink, key, "a string", value).hint(format!("write it with a unit, such as `\"{number}{unit}\"`")));
        return None;
    }
    string(sink, key, value)
}

pub(super) fn duration(sink: &mut Sink<'_>, key: &str, value: &Value<'_>) -> Option<Spanned<Duration>> {
    let (text, span) = with_unit(sink, key, value, "s")?;
    match words::parse_duration(text) {
        Ok(duration) => Some(Spanned::new(duration, span)),
        Err(why) => {
            sink.report(diagnostics::bad_duration(span, text, why));
            None
        }
    }
}

pub(super) fn size(sink: &mut Sink<'_>, key: &str, value: &Value<'_>) -> Option<Spanned<u64>> {
    let (text, span) = with_unit(sink, key, value, "MiB")?;
    match words::parse_size(text) {
        Ok(0) => sink.report(diagnostics::bad_size(span, text, "it must be more than nothing")),
        Ok(size) => return Some(Spanned::new(size, span)),
        Err(why) => sink.report(diagnostics::bad_size(span, text, why)),
    }
    None
}

/// Octal digits; a number is refused, since `755` without quotes is decimal.
fn mode_text<'v>(sink: &mut Sink<'_>, key: &str, value: &'v Value<'_>) -> Option<(&'v str, Span)> {
    if let DeValue::Integer(number) = value.get_ref() {
        let digits = number.as_str();
        let hint = words::parse_mode(digits).map_or_else(
            || "write octal digits in quotes, such as `\"0755\"`".to_owned(),
            |mode| format!("write octal digits in quotes: `\"{mode:04o}\"`"),
        );
        sink.report(wrong_type(sink, key, "a string", value).hint(hint));
        return None;
    }
    string(sink, key, value)
}

pub(super) fn mode(sink: &mut Sink<'_>, key: &str, value: &Value<'_>) -> Option<Spanned<u16>> {
    let (text, span) = mode_text(sink, key, value)?;
    let mode = words::parse_mode(text);
    if mode.is_none() {
        sink.report(diagnostics::bad_mode(span, text, false));
    }
    mode.map(|mode| Spanned::new(mode, span))
}

pub(super) fn copy_mode(sink: &mut Sink<'_>, key: &str, value: &Value<'_>) -> Option<Spanned<ModeRule>> {
    mode_text(sink, key, value)?;
    let text = text(sink, key, value, Grammar::Mode)?;
    let rule = match text.as_literal() {
        Some(literal) => words::parse_mode_rule(literal),
        None => Some(ModeRule::Unsettled(text.value)),
    };
    rule.map(|rule| Spanned::new(rule, text.span))
}

pub(super) fn number(sink: &mut Sink<'_>, key: &str, value: &Value<'_>, most: u32) -> Option<Spanned<u32>> {
    let DeValue::Integer(number) = value.get_ref() else {
        sink.report(wrong_type(sink, key, "an integer", value));
        return None;
    };
    let span = sink.span(value.span());
    match u32::from_str_radix(number.as_str(), number.radix()) {
        Ok(number) if number <= most => Some(Spanned::new(number, span)),
        Ok(_) | Err(_) => {
            sink.report(diagnostics::bad_number(span, key, 0, u64::from(most)));
            None
        }
    }
}

pub(super) fn sha256(sink: &mut Sink<'_>, key: &str, value: &Value<'_>) -> Option<Spanned<Digest>> {
    let (text, span) = string(sink, key, value)?;
    let digest = format!("sha256:{}", text.strip_prefix("sha256:").unwrap_or(text)).parse::<Digest>();
    match digest {
        Ok(digest) => Some(Spanned::new(digest, span)),
        Err(_) => {
            sink.report(diagnostics::bad_digest(span, text));
            None
        }
    }
}

pub(super) fn commit(sink: &mut Sink<'_>, key: &str, value: &Value<'_>) -> Option<Spanned<String>> {
    let (text, span) = string(sink, key, value)?;
    if matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Some(Spanned::new(text.to_owned(), span));
    }
    sink.report(diagnostics::bad_commit(span, text));
    None
}

pub(super) fn platforms(sink: &mut Sink<'_>, key: &str, value: &Value<'_>) -> Vec<Spanned<Platform>> {
    let Some((items, _)) = array(sink, key, "an array of strings", value) else { return Vec::new() };
    let mut platforms: Vec<Spanned<Platform>> = Vec::new();
    for item in items {
        let Some((text, span)) = string(sink, key, item) else { continue };
        match text.parse::<Platform>() {
            Ok(platform) => {
                if let Some(first) = platforms.iter().find(|first| first.value == platform) {
                    sink.report(diagnostics::duplicate_item(span, first.span, "the platform", &platform.to_string()));
                } else {
                    platforms.push(Spanned::new(platform, span));
                }
            }
            Err(error) => sink.report(diagnostics::bad_platform(span, &error.to_string())),
        }
    }
    platforms
}

pub(super) fn variable(sink: &mut Sink<'_>, key: &str, value: &Value<'_>) -> Option<Spanned<String>> {
    let (text, span) = string(sink, key, value)?;
    if !words::is_variable(text) {
        sink.report(diagnostics::bad_variable(span, text));
    }
    Some(Spanned::new(text.to_owned(), span))
}

pub(super) fn env(sink: &mut Sink<'_>, key: &str, value: &Value<'_>) -> Env {
    let mut env = Env::new();
    let Some((entries, _)) = table(sink, key, value) else { return env };
    for (name, value) in entries {
        if !words::is_variable(name.get_ref()) {
            sink.report(diagnostics::bad_variable(sink.span(name.span()), name.get_ref()));
        }
        if let Some(change) = text_or_false(sink, &format!("{key}.{}", name.get_ref().escape_debug()), value, Grammar::Free) {
            env.insert(name.get_ref().to_string(), change);
        }
    }
    env
}

pub(super) fn labels(sink: &mut Sink<'_>, key: &str, value: &Value<'_>) -> BTreeMap<String, Spanned<Change<Template>>> {
    let mut labels = BTreeMap::new();
    let Some((entries, _)) = table(sink, key, value) else { return labels };
    for (name, value) in entries {
        if name.get_ref().is_empty() {
            sink.report(diagnostics::empty_key(sink.span(name.span()), key));
        }
        if let Some(change) = text_or_false(sink, &format!("{key}.{}", name.get_ref().escape_debug()), value, Grammar::Free) {
            labels.insert(name.get_ref().to_string(), change);
        }
    }
    labels
}

pub(super) fn annotations(sink: &mut Sink<'_>, key: &str, value: &Value<'_>) -> BTreeMap<String, Text> {
    let mut annotations = BTreeMap::new();
    let Some((entries, _)) = table(sink, key, value) else { return annotations };
    for (name, value) in entries {
        if name.get_ref().is_empty() {
            sink.report(diagnostics::empty_key(sink.span(name.span()), key));
        }
        if let Some(text) = text(sink, &format!("{key}.{}", name.get_ref().escape_debug()), value, Grammar::Free) {
            annotations.insert(name.get_ref().to_string(), text);
        }
    }
    annotations
}

/// A date-time with its offset, in whole seconds, as seconds since 1970.
pub(super) fn epoch(sink: &mut Sink<'_>, key: &str, value: &Value<'_>) -> Option<Spanned<i64>> {
    let span = sink.span(value.span());
    let DeValue::Datetime(written) = value.get_ref() else {
        let hint = "write it without quotes, such as `epoch = 2026-01-31T00:00:00Z`";
        sink.report(wrong_type(sink, key, "a date-time", value).hint(hint));
        return None;
    };
    let why = match (&written.date, &written.time, &written.offset) {
        (Some(_), Some(_), Some(_)) if toml_version::lacks_seconds(sink.text.get(value.span()).unwrap_or_default()) => {
            sink.report(diagnostics::newer_toml(span, "a time without seconds"));
            return None;
        }
        (Some(_), Some(time), Some(_)) if time.nanosecond.is_some_and(|part| part != 0) => "times in layers are whole seconds",
        // RFC 3339 is what is left, with any leap second, which jiff reads as the second before.
        (Some(_), Some(_), Some(_)) => match written.to_string().parse::<jiff::Timestamp>() {
            Ok(time) if time.as_second() >= 0 => return Some(Spanned::new(time.as_second(), span)),
            Ok(_) => "it is before 1970",
            Err(_) => "there is no such time",
        },
        (Some(_), Some(_), None) => "it has no offset, so it is another time in every place",
        (Some(_), None, _) => "it has no time of day",
        (None, _, _) => "it has no date",
    };
    sink.report(diagnostics::bad_date(span, &written.to_string(), why));
    None
}

/// The literal text at the start of a template.
pub(super) fn leading(template: &Template) -> &str {
    match template.pieces().first() {
        Some(Piece::Literal(text)) => text,
        Some(Piece::Reference(_)) | None => "",
    }
}
