//! The text of a Compose file in, its services by name out.

use std::collections::BTreeMap;

use super::diagnostics as say;
use super::node::{self, Entry, Node, Value};
use crate::diagnostic::{Diagnostic, SourceId, Span};

/// A Compose file that was read.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) root: Node,
    /// Relative to that of the file that is built.
    pub(super) directory: String,
    /// The services, in the order of the file.
    pub(super) services: Vec<Entry>,
    places: BTreeMap<String, usize>,
}

impl Document {
    /// Reads a file; `None` where it is broken or has no map of services.
    pub(super) fn read(source: SourceId, text: &str, directory: String, report: &mut dyn FnMut(Diagnostic)) -> Option<Document> {
        let root = node::read(source, text, report)?;
        let start = Span { source, start: root.span.start, end: root.span.start };
        if !root.is_nothing() && !matches!(root.value, Value::Map(_)) {
            report(say::wrong_type(root.span, "the file", "a map", root.called()));
            return None;
        }
        let services = match root.get("services").map(|node| (node, &node.value)) {
            Some((_, Value::Map(entries))) => entries.clone(),
            Some((node, Value::Scalar(_) | Value::List(_))) => {
                report(say::wrong_type(node.span, "services", "a map from names to services", node.called()));
                return None;
            }
            // They may all be in files that it includes.
            None if root.get("include").is_some() => Vec::new(),
            None => {
                report(say::nothing_to_build(start, 0));
                return None;
            }
        };
        let places = services.iter().enumerate().map(|(place, entry)| (entry.key.clone(), place)).collect();
        Some(Document { root, directory, services, places })
    }

    /// A service by its name.
    pub(super) fn service(&self, name: &str) -> Option<&Entry> {
        self.services.get(*self.places.get(name)?)
    }
}
