//! One TOML table, key by key: unknown keys, missing keys and wrong types are reported, and reading goes on.

use toml::Spanned as At;
use toml::de::{DeTable, DeValue};

use super::field::{Grammar, Kind, Need, Table};
use super::sink::Sink;
use super::{Name, Spanned, Template, Text, diagnostics, value};
use crate::diagnostic::Span;

/// A value in the text.
pub(super) type Value<'t> = At<DeValue<'t>>;

/// A TOML table that is being read as a [`Table`] of the language. Its methods take the kind again, so that what is read and what the table
/// says cannot part: debug builds compare them, and [`Fields::finish`] sees to it that every key was read.
pub(super) struct Fields<'r, 's, 't> {
    pub(super) sink: &'r mut Sink<'s>,
    table: &'static Table,
    entries: &'r DeTable<'t>,
    /// The place of the table.
    pub(super) span: Span,
    read: Vec<&'static str>,
}

impl<'r, 's, 't> Fields<'r, 's, 't> {
    /// Reports unknown keys.
    pub(super) fn new(sink: &'r mut Sink<'s>, table: &'static Table, entries: &'r DeTable<'t>, span: Span) -> Fields<'r, 's, 't> {
        Fields::with_hints(sink, table, entries, span, |_| None)
    }

    /// As [`Fields::new`], but `hint` may know what to do about an unknown key.
    pub(super) fn with_hints(
        sink: &'r mut Sink<'s>,
        table: &'static Table,
        entries: &'r DeTable<'t>,
        span: Span,
        hint: impl Fn(&str) -> Option<String>,
    ) -> Fields<'r, 's, 't> {
        for key in entries.keys().filter(|key| table.field(key.get_ref()).is_none()) {
            let diagnostic =
                diagnostics::unknown_key(sink.span(key.span()), table.called, key.get_ref(), table.keys(), hint(key.get_ref()));
            sink.report(diagnostic);
        }
        Fields { sink, table, entries, span, read: Vec::new() }
    }

    /// The value of a key; a missing one is reported if it is required.
    pub(super) fn find(&mut self, name: &'static str, kind: Kind) -> Option<&'r Value<'t>> {
        let field = self.table.field(name);
        debug_assert_eq!(field.map(|field| field.kind), Some(kind), "{}.{name}", self.table.name);
        self.read.push(name);
        let found = self.entries.get(name);
        if found.is_none() && field.is_some_and(|field| field.need == Need::Required) {
            let diagnostic = if kind == Kind::Version {
                diagnostics::missing_version(self.span)
            } else if matches!(kind, Kind::Tables(_)) {
                diagnostics::no_stages(self.span)
            } else {
                diagnostics::missing_key(self.span, self.table.called, name)
            };
            self.sink.report(diagnostic);
        }
        found
    }

    /// The place of a key, if it is there.
    pub(super) fn key_span(&self, name: &str) -> Option<Span> {
        self.entries.get_key_value(name).map(|(key, _)| self.sink.span(key.span()))
    }

    /// Ends the reading.
    pub(super) fn finish(self) {
        debug_assert_eq!(self.table.keys().find(|key| !self.read.contains(key)), None, "a key of {} is never read", self.table.name);
    }

    pub(super) fn text(&mut self, name: &'static str, grammar: Grammar) -> Option<Text> {
        let found = self.find(name, Kind::Text(grammar))?;
        value::text(self.sink, name, found, grammar)
    }

    /// As [`Fields::text`]; an empty string stands for one that is missing or wrong, which was then reported.
    pub(super) fn required_text(&mut self, name: &'static str, grammar: Grammar) -> Text {
        self.text(name, grammar).unwrap_or_else(|| Spanned::new(Template::default(), self.span))
    }

    /// `None` where the key is missing or no array.
    pub(super) fn texts(&mut self, name: &'static str, grammar: Grammar) -> Option<Spanned<Vec<Text>>> {
        let found = self.find(name, Kind::Texts(grammar))?;
        value::texts(self.sink, name, found, grammar)
    }

    /// A list that is empty where the key is missing or no array.
    pub(super) fn list(&mut self, name: &'static str, grammar: Grammar) -> Vec<Text> {
        self.texts(name, grammar).map_or_else(Vec::new, |texts| texts.value)
    }

    /// One string or an array, which must not be empty.
    pub(super) fn text_or_texts(&mut self, name: &'static str, grammar: Grammar) -> Vec<Text> {
        let Some(found) = self.find(name, Kind::TextOrTexts(grammar)) else { return Vec::new() };
        value::text_or_texts(self.sink, name, found, grammar)
    }

    pub(super) fn text_or_false(&mut self, name: &'static str, grammar: Grammar) -> Option<Spanned<super::Change<Template>>> {
        let found = self.find(name, Kind::TextOrFalse(grammar))?;
        value::text_or_false(self.sink, name, found, grammar)
    }

    pub(super) fn plain(&mut self, name: &'static str) -> Option<Spanned<String>> {
        let found = self.find(name, Kind::Plain)?;
        value::string(self.sink, name, found).map(|(text, span)| Spanned::new(text.to_owned(), span))
    }

    pub(super) fn plains(&mut self, name: &'static str) -> Option<Spanned<Vec<Spanned<String>>>> {
        let found = self.find(name, Kind::Plains)?;
        value::plains(self.sink, name, found)
    }

    pub(super) fn plain_list(&mut self, name: &'static str) -> Option<Spanned<Vec<Spanned<String>>>> {
        let found = self.find(name, Kind::PlainList)?;
        value::plains(self.sink, name, found)
    }

    pub(super) fn name(&mut self, name: &'static str, what: &'static str) -> Option<Spanned<Name>> {
        let found = self.find(name, Kind::Name(what))?;
        value::name(self.sink, name, found, what)
    }

    /// A boolean as one of two values.
    pub(super) fn flag<T>(&mut self, name: &'static str, off: T, on: T) -> Option<Spanned<T>> {
        let found = self.find(name, Kind::Flag)?;
        value::boolean(self.sink, name, found).map(|flag| flag.map(|flag| if flag { on } else { off }))
    }

    /// One of some words, as the value at the word's place.
    pub(super) fn word<T: Copy>(&mut self, name: &'static str, words: &'static [&'static str], values: &[T]) -> Option<Spanned<T>> {
        debug_assert_eq!(words.len(), values.len(), "{name}");
        let found = self.find(name, Kind::Word(words))?;
        let (text, span) = value::string(self.sink, name, found)?;
        let place = words.iter().position(|word| *word == text).and_then(|place| values.get(place));
        if place.is_none() {
            self.sink.report(diagnostics::unknown_word(span, name, text, words));
        }
        place.map(|value| Spanned::new(*value, span))
    }

    pub(super) fn duration(&mut self, name: &'static str) -> Option<Spanned<std::time::Duration>> {
        let found = self.find(name, Kind::Duration)?;
        value::duration(self.sink, name, found)
    }

    pub(super) fn mode(&mut self, name: &'static str) -> Option<Spanned<u16>> {
        let found = self.find(name, Kind::Mode)?;
        value::mode(self.sink, name, found)
    }

    pub(super) fn copy_mode(&mut self, name: &'static str) -> Option<Spanned<super::ModeRule>> {
        let found = self.find(name, Kind::CopyMode)?;
        value::copy_mode(self.sink, name, found)
    }

    pub(super) fn number(&mut self, name: &'static str, most: u32) -> Option<Spanned<u32>> {
        let found = self.find(name, Kind::Number(most))?;
        value::number(self.sink, name, found, most)
    }

    pub(super) fn env(&mut self, name: &'static str) -> super::Env {
        let Some(found) = self.find(name, Kind::Env) else { return super::Env::new() };
        value::env(self.sink, name, found)
    }
}
