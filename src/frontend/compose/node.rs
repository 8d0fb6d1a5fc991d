//! YAML text in, a tree of values with their places out: anchors, aliases and merges carried out, within bounds.
//!
//! YAML 1.2, <https://yaml.org/spec/1.2.2/>; merges as in <https://yaml.org/type/merge.html>, which Compose has taken over.

use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError};

use super::diagnostics as say;
use crate::diagnostic::{Diagnostic, SourceId, Span};

/// How many values aliases and merges may add: far more than people write, and little memory.
const MOST_REPEATED: usize = 100_000;

/// How deep lists and maps may nest.
const MOST_NESTED: usize = 64;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: Value,
}

/// What YAML can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A text, and whether quotes say that it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) style: Style,
    /// How many bytes after the start of its place the text stands, where it stands there byte for byte.
    pub(super) offset: Option<u32>,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Without quotes: it may be a number, a truth value or nothing.
    Plain,
    /// Quoted, or a block: a text.
    Text,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) node: Node,
}

impl Node {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node),
            Value::Scalar(_) | Value::List(_) => None,
        }
    }

    /// Whether it is YAML's nothing: no text at all, `~` or `null`.
    pub(super) fn is_nothing(&self) -> bool {
        match &self.value {
            Value::Scalar(scalar) => scalar.style == Style::Plain && matches!(scalar.text.as_str(), "" | "~" | "null" | "Null" | "NULL"),
            Value::List(_) | Value::Map(_) => false,
        }
    }

    /// What messages call it.
    pub(super) fn called(&self) -> &'static str {
        match &self.value {
            _ if self.is_nothing() => "nothing",
            Value::Scalar(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// How many values it consists of.
    fn size(&self) -> usize {
        match &self.value {
            Value::Scalar(_) => 1,
            Value::List(items) => items.iter().map(Node::size).fold(1, usize::saturating_add),
            Value::Map(entries) => entries.iter().map(|entry| entry.node.size()).fold(1, usize::saturating_add),
        }
    }
}

/// Reads the one document of a text; `None` where it is broken. An empty text is nothing.
pub(super) fn read(source: SourceId, text: &str, report: &mut dyn FnMut(Diagnostic)) -> Option<Node> {
    let mut options = Options::default();
    options.emit_unresolved_aliases = true;
    options.flow_nesting_limit = MOST_NESTED;
    options.block_nesting_limit = MOST_NESTED;
    let parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder { source, text, open: Vec::new(), root: None, anchors: BTreeMap::new(), repeated: 0, broken: false, report };
    for event in parser {
        match event {
            Ok((event, place)) => {
                builder.event(event, place.byte_range());
                if builder.repeated > MOST_REPEATED {
                    return None;
                }
            }
            Err(error) => {
                builder.syntax(&error);
                return None;
            }
        }
    }
    let Builder { root, broken, .. } = builder;
    let nothing = || Node { span: Span { source, start: 0, end: 0 }, value: plain("") };
    if broken { None } else { Some(root.unwrap_or_else(nothing)) }
}

fn plain(text: &str) -> Value {
    Value::Scalar(Scalar { text: text.to_owned(), style: Style::Plain, offset: None })
}

/// A list or map that has begun and not ended.
struct Open {
    start: Span,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, keys: BTreeMap<String, Span>, key: Option<Node>, merges: Vec<Node> },
}

struct Builder<'t, 'r> {
    source: SourceId,
    text: &'t str,
    open: Vec<Open>,
    root: Option<Node>,
    anchors: BTreeMap<usize, Node>,
    repeated: usize,
    broken: bool,
    report: &'r mut dyn FnMut(Diagnostic),
}

impl Builder<'_, '_> {
    fn span(&self, range: Option<std::ops::Range<usize>>) -> Span {
        let offset = |at: usize| u32::try_from(at.min(self.text.len())).unwrap_or(u32::MAX);
        let range = range.unwrap_or(0..0);
        Span { source: self.source, start: offset(range.start), end: offset(range.end.max(range.start)) }
    }

    fn wrong(&mut self, diagnostic: Diagnostic) {
        self.broken = true;
        (self.report)(diagnostic);
    }

    fn syntax(&mut self, error: &ScanError) {
        let at = error.marker().byte_offset().unwrap_or(self.text.len());
        let span = self.span(Some(at..at));
        let line = self.text.get(..at).unwrap_or_default().rsplit('\n').next().unwrap_or_default();
        let rest = self.text.get(at..).unwrap_or_default();
        let is_tab = line.trim().is_empty() && (line.contains('\t') || rest.starts_with('\t'));
        let message = match error.info() {
            _ if is_tab => "this line is indented by a tab: YAML knows spaces alone".to_owned(),
            info if info.is_empty() => "nothing of YAML looks like this".to_owned(),
            info => info,
        };
        self.wrong(say::yaml_syntax(span, message));
    }

    fn event(&mut self, event: Event<'_>, range: Option<std::ops::Range<usize>>) {
        let span = self.span(range);
        match event {
            Event::DocumentStart(_, _) if self.root.is_some() => {
                self.wrong(say::yaml_syntax(span, "a second document begins here").hint("keep each document in a file of its own"));
            }
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_, _) | Event::DocumentEnd | Event::Anchor(_, _) => {}
            Event::Alias(id) => {
                // An alias of something that has not ended yet stands inside it.
                let Some(node) = self.anchors.get(&id).cloned() else {
                    self.wrong(say::yaml_syntax(span, "an alias stands inside what it refers to"));
                    return;
                };
                if self.may_repeat(&node, span) {
                    self.put(node);
                }
            }
            Event::UnresolvedAlias(name) => {
                self.wrong(say::yaml_syntax(span, format!("there is no anchor `&{name}` before this alias")));
                self.put(Node { span, value: plain("") });
            }
            Event::Scalar(text, style, anchor, _) => {
                let offset = self.offset(span, &text, style);
                let style = if style == ScalarStyle::Plain { Style::Plain } else { Style::Text };
                let node = Node { span, value: Value::Scalar(Scalar { text: text.into_owned(), style, offset }) };
                self.anchor(anchor, &node);
                self.put(node);
            }
            Event::SequenceStart(_, anchor, _) => self.open.push(Open { start: span, anchor, kind: OpenKind::List(Vec::new()) }),
            Event::MappingStart(_, anchor, _) => {
                let kind = OpenKind::Map { entries: Vec::new(), keys: BTreeMap::new(), key: None, merges: Vec::new() };
                self.open.push(Open { start: span, anchor, kind });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            _ => {}
        }
    }

    /// Where the bytes of a scalar's text begin, if they stand in the source as they are.
    fn offset(&self, span: Span, text: &str, style: ScalarStyle) -> Option<u32> {
        let skipped: u32 = match style {
            ScalarStyle::Plain => 0,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => 1,
            ScalarStyle::Literal | ScalarStyle::Folded => return None,
        };
        let start = (span.start as usize).checked_add(skipped as usize)?;
        let written = self.text.get(start..start.checked_add(text.len())?)?;
        (written == text).then_some(skipped)
    }

    /// Counts what an alias or a merge adds.
    fn may_repeat(&mut self, node: &Node, span: Span) -> bool {
        self.repeated = self.repeated.saturating_add(node.size());
        if self.repeated > MOST_REPEATED {
            self.wrong(say::too_large(span));
            return false;
        }
        true
    }

    fn anchor(&mut self, anchor: usize, node: &Node) {
        if anchor != 0 && self.may_repeat(node, node.span) {
            self.anchors.insert(anchor, node.clone());
        }
    }

    fn close(&mut self, end: Span) {
        let Some(open) = self.open.pop() else { return };
        let span = Span { end: end.end.max(open.start.end), ..open.start };
        let value = match open.kind {
            OpenKind::List(items) => Value::List(items),
            OpenKind::Map { mut entries, keys, key: _, merges } => {
                let mut keys: BTreeSet<String> = keys.into_keys().collect();
                for merge in merges {
                    self.merge(&mut entries, &mut keys, merge);
                }
                Value::Map(entries)
            }
        };
        let node = Node { span, value };
        self.anchor(open.anchor, &node);
        self.put(node);
    }

    /// `<<`: a map, or a list of maps of which the earlier ones count. Keys that are there already stay.
    fn merge(&mut self, entries: &mut Vec<Entry>, keys: &mut BTreeSet<String>, merge: Node) {
        let Node { span, value } = merge;
        match value {
            Value::Map(more) => {
                for entry in more {
                    if keys.insert(entry.key.clone()) {
                        entries.push(entry);
                    }
                }
            }
            Value::List(items) if items.iter().all(|item| matches!(item.value, Value::Map(_))) => {
                items.into_iter().for_each(|item| self.merge(entries, keys, item));
            }
            Value::List(_) | Value::Scalar(_) => {
                self.wrong(say::yaml_syntax(span, "expected a map, or a list of maps, to be merged by `<<`"));
            }
        }
    }

    /// Puts a value where the next one is expected.
    fn put(&mut self, node: Node) {
        let Some(open) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return;
        };
        match &mut open.kind {
            OpenKind::List(items) => items.push(node),
            OpenKind::Map { entries, keys, key, merges } => {
                let Some(key) = key.take() else {
                    *key = Some(node);
                    return;
                };
                let Value::Scalar(scalar) = key.value else {
                    self.wrong(say::yaml_syntax(key.span, "expected a text as the key"));
                    return;
                };
                if scalar.text == "<<" && scalar.style == Style::Plain {
                    merges.push(node);
                } else if let Some(first) = keys.get(&scalar.text) {
                    let diagnostic = say::yaml_syntax(key.span, format!("the key `{}` stands here a second time", scalar.text))
                        .also(*first, "the first time");
                    self.wrong(diagnostic);
                } else {
                    keys.insert(scalar.text.clone(), key.span);
                    entries.push(Entry { key: scalar.text, key_span: key.span, node });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::SourceMap;

    fn of(text: &str) -> (Option<Node>, Vec<String>) {
        let mut found = Vec::new();
        let source = SourceMap::new().add("compose.yaml", text);
        let node = read(source, text, &mut |diagnostic| found.push(diagnostic.message));
        (node, found)
    }

    /// As compact JSON-like text.
    fn shown(node: &Node) -> String {
        match &node.value {
            Value::Scalar(scalar) => format!("{}{}", scalar.text, if scalar.style == Style::Text { "'" } else { "" }),
            Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(",")),
            Value::Map(entries) => {
                format!("{{{}}}", entries.iter().map(|entry| format!("{}:{}", entry.key, shown(&entry.node))).collect::<Vec<_>>().join(","))
            }
        }
    }

    fn good(text: &str) -> String {
        let (node, found) = of(text);
        assert_eq!(found, Vec::<String>::new(), "{text}");
        shown(&node.unwrap())
    }

    #[test]
    fn aliases_and_merges_are_carried_out_and_own_keys_win() {
        assert_eq!(good("a: &x {k: 1, l: 2}\nb: *x\nc: {<<: *x, l: 3}"), "{a:{k:1,l:2},b:{k:1,l:2},c:{l:3,k:1}}");
        assert_eq!(good("a: &a {k: 1}\nb: &b {k: 2, m: 3}\nc:\n  <<: [*a, *b]"), "{a:{k:1},b:{k:2,m:3},c:{k:1,m:3}}");
        assert_eq!(good("a: &x '1'\nb: [*x, \"<<\"]\n\"<<\": c"), "{a:1',b:[1',<<'],<<:c}");
        assert_eq!(good(""), "");
        assert_eq!(good("a: |\n  b\n  c\n"), "{a:b\nc\n'}");
    }

    #[test]
    fn what_is_broken_is_said_with_its_place() {
        for (text, message) in [
            ("a: *b", "there is no anchor `&b` before this alias"),
            ("a: 1\na: 2", "the key `a` stands here a second time"),
            ("a: 1\n--- \nb: 2", "a second document begins here"),
            ("a: &x [*x]", "an alias stands inside what it refers to"),
            ("? [a]\n: b", "expected a text as the key"),
            ("<<: 1", "expected a map, or a list of maps, to be merged by `<<`"),
        ] {
            let (node, found) = of(text);
            assert_eq!((node, found), (None, vec![message.to_owned()]), "{text}");
        }
        assert_eq!(of("a: [1").1.len(), 1);
    }

    #[test]
    fn bombs_are_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..30 {
            let before = level - 1;
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 10].join(", ")));
        }
        assert_eq!(of(&bomb).1, ["aliases and merges make this file too large"]);
        assert!(of(&"[".repeat(100_000)).0.is_none());
        assert!(of(&"- ".repeat(100_000)).0.is_none());
        assert!(of(&"{a: ".repeat(100_000)).0.is_none());
    }

    #[test]
    fn a_text_that_stands_as_it_is_has_exact_places() {
        let text = "a: \"${X}\"\nb: 'it''s'\nc: d\n";
        let node = of(text).0.unwrap();
        let scalar = |key: &str| match &node.get(key).unwrap().value {
            Value::Scalar(scalar) => scalar.offset,
            Value::List(_) | Value::Map(_) => None,
        };
        assert_eq!((scalar("a"), scalar("b"), scalar("c")), (Some(1), None, Some(0)));
    }
}
