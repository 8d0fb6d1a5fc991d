//! The text of a lock file → pins, and everything that is wrong with it.

use std::collections::BTreeMap;
use std::ops::Range;

use lapstrake_cache::Digest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics as say;
use super::{Commit, ImagePin, Layers, Pins, VERSION};
use crate::diagnostic::{Diagnosed, Diagnostic, Severity, SourceId, Span};
use crate::image::{Platform, Reference};

type Value<'i> = Spanned<DeValue<'i>>;

pub(super) fn parse(source: SourceId, text: &str) -> Diagnosed<Pins> {
    let mut reader = Reader { source, diagnostics: Vec::new() };
    let value = reader.file(text);
    let mut diagnostics = reader.diagnostics;
    diagnostics.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| label.span));
    let value = if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) { None } else { value };
    Diagnosed { value, diagnostics }
}

struct Reader {
    source: SourceId,
    diagnostics: Vec<Diagnostic>,
}

/// One table with the words for it in messages.
struct Place<'t, 'i> {
    table: &'t DeTable<'i>,
    span: Span,
    name: &'static str,
}

impl Reader {
    fn file(&mut self, text: &str) -> Option<Pins> {
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let span = self.span(&error.span().unwrap_or(0..0));
            self.diagnostics.push(say::syntax(span, error.message()));
        }
        let root = Place { table: root.get_ref(), span: self.span(&(0..0)), name: "a lock" };
        if !self.version(&root) {
            return None;
        }
        self.only(&root, &["version", "layers", "image", "url", "git"]);
        let layers = root.table.get("layers").and_then(|value| self.table("layers", "`layers`", value)).and_then(|at| self.layers(&at));
        let mut pins = Pins { layers, ..Pins::default() };
        let mut seen = BTreeMap::new();
        for entry in self.entries(&root, "image", "an `image` entry") {
            if let Some((reference, platform, pin)) = self.image(&entry) {
                self.once(&mut seen, &entry, format!("`{reference}` for {platform}"));
                pins.insert_image(reference, platform, pin);
            }
        }
        for entry in self.entries(&root, "url", "a `url` entry") {
            if let Some((url, digest)) = self.url(&entry) {
                self.once(&mut seen, &entry, format!("`{url}`"));
                pins.insert_url(url, digest);
            }
        }
        for entry in self.entries(&root, "git", "a `git` entry") {
            if let Some((url, reference, commit)) = self.git(&entry) {
                self.once(&mut seen, &entry, format!("`{reference}` of `{url}`"));
                pins.insert_commit(url, reference, commit);
            }
        }
        Some(pins)
    }

    /// Whether the rest of the file can be judged.
    fn version(&mut self, root: &Place<'_, '_>) -> bool {
        let Some(value) = root.table.get("version") else {
            // A file that is not TOML may well have a version that could not be read.
            if self.diagnostics.is_empty() {
                self.diagnostics.push(say::no_version(root.span));
            }
            return false;
        };
        let span = self.span(&value.span());
        let Some(integer) = value.get_ref().as_integer() else {
            self.diagnostics.push(say::version_is_no_number(span, value.get_ref().type_str()));
            return false;
        };
        let good = i64::from_str_radix(integer.as_str(), integer.radix()) == Ok(VERSION);
        if !good {
            // What else is wrong with a file of another version is not for this one to say.
            self.diagnostics = vec![say::foreign_version(span, integer.as_str())];
        }
        good
    }

    fn layers(&mut self, at: &Place<'_, '_>) -> Option<Layers> {
        self.only(at, &["format", "gzip", "zstd"]);
        let format = self.required(at, "format").and_then(|value| self.number("format", value));
        let gzip = self.required(at, "gzip").and_then(|value| self.profile("gzip", value));
        let zstd = self.required(at, "zstd").and_then(|value| self.profile("zstd", value));
        Some(Layers { format: format?, gzip: gzip?, zstd: zstd? })
    }

    fn image(&mut self, at: &Place<'_, '_>) -> Option<(Reference, Platform, ImagePin)> {
        self.only(at, &["reference", "platform", "manifest", "index"]);
        let reference = self.text(at, "reference", |text| text.parse::<Reference>().map_err(|error| error.to_string()));
        let platform = self.text(at, "platform", |text| text.parse::<Platform>().map_err(|error| error.to_string()));
        let manifest = self.text(at, "manifest", |text| text.parse::<Digest>().map_err(|error| error.to_string()));
        let index = if at.table.contains_key("index") {
            Some(self.text(at, "index", |text| text.parse::<Digest>().map_err(|error| error.to_string()))?)
        } else {
            None
        };
        Some((reference?, platform?, ImagePin { manifest: manifest?, index }))
    }

    fn url(&mut self, at: &Place<'_, '_>) -> Option<(String, Digest)> {
        self.only(at, &["url", "sha256"]);
        let url = self.text(at, "url", not_empty);
        let digest = self.text(at, "sha256", |text| {
            format!("sha256:{text}").parse::<Digest>().map_err(|_| "expected 64 lower-case hexadecimal digits".to_owned())
        });
        Some((url?, digest?))
    }

    fn git(&mut self, at: &Place<'_, '_>) -> Option<(String, String, Commit)> {
        self.only(at, &["url", "reference", "commit"]);
        let url = self.text(at, "url", not_empty);
        let reference = self.text(at, "reference", not_empty);
        let commit = self.text(at, "commit", |text| {
            Commit::new(text).ok_or_else(|| "expected the full name of a commit, 40 or 64 lower-case hexadecimal digits".to_owned())
        });
        Some((url?, reference?, commit?))
    }

    fn only(&mut self, at: &Place<'_, '_>, known: &[&str]) {
        for key in at.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let span = self.span(&key.span());
            self.diagnostics.push(say::unknown_key(span, key.get_ref(), at.name, known));
        }
    }

    fn once(&mut self, seen: &mut BTreeMap<String, Span>, at: &Place<'_, '_>, what: String) {
        if let Some(earlier) = seen.get(&what) {
            self.diagnostics.push(say::duplicate(at.span, *earlier, &what));
        } else {
            seen.insert(what, at.span);
        }
    }

    fn required<'t, 'i>(&mut self, at: &Place<'t, 'i>, key: &str) -> Option<&'t Value<'i>> {
        let value = at.table.get(key);
        if value.is_none() {
            self.diagnostics.push(say::missing_key(at.span, key, at.name));
        }
        value
    }

    fn text<T>(&mut self, at: &Place<'_, '_>, key: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let value = self.required(at, key)?;
        let span = self.span(&value.span());
        let result = match value.get_ref().as_str() {
            Some(text) => read(text).map_err(|reason| say::wrong_value(span, key, &reason)),
            None => Err(say::wrong_type(span, key, "a string", value.get_ref().type_str())),
        };
        result.map_err(|diagnostic| self.diagnostics.push(diagnostic)).ok()
    }

    fn number(&mut self, key: &str, value: &Value<'_>) -> Option<u32> {
        let number =
            value.get_ref().as_integer().and_then(|integer| u32::from_str_radix(integer.as_str(), integer.radix()).ok()).filter(|n| *n > 0);
        if number.is_none() {
            let span = self.span(&value.span());
            self.diagnostics.push(say::wrong_type(span, key, "a whole number above 0", value.get_ref().type_str()));
        }
        number
    }

    fn profile(&mut self, name: &str, value: &Value<'_>) -> Option<u32> {
        let revision = value
            .get_ref()
            .as_str()
            .and_then(|text| text.strip_prefix(name)?.strip_prefix('/'))
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0'))
            .and_then(|digits| digits.parse().ok());
        if revision.is_none() {
            let span = self.span(&value.span());
            self.diagnostics.push(say::wrong_value(span, name, &format!("expected the name of a profile such as `{name}/1`")));
        }
        revision
    }

    fn table<'t, 'i>(&mut self, key: &str, name: &'static str, value: &'t Value<'i>) -> Option<Place<'t, 'i>> {
        let span = self.span(&value.span());
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.diagnostics.push(say::wrong_type(span, key, "a table", value.get_ref().type_str()));
        }
        table.map(|table| Place { table, span, name })
    }

    fn entries<'t, 'i>(&mut self, root: &Place<'t, 'i>, key: &str, name: &'static str) -> Vec<Place<'t, 'i>> {
        let Some(value) = root.table.get(key) else {
            return Vec::new();
        };
        let Some(array) = value.get_ref().as_array() else {
            let span = self.span(&value.span());
            self.diagnostics.push(say::wrong_type(span, key, "an array of tables", value.get_ref().type_str()));
            return Vec::new();
        };
        array.iter().filter_map(|value| self.table(key, name, value)).collect()
    }

    fn span(&self, range: &Range<usize>) -> Span {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span { source: self.source, start: place(range.start), end: place(range.end) }
    }
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}
