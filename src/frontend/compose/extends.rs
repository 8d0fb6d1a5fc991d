//! A service by its name in, the service with all that it extends out.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Files;
use super::diagnostics as say;
use super::document::Document;
use super::node::{Entry, Node, Value};
use super::path;
use super::reader::{Reader, Variables};
use super::service::{self, Service};
use crate::diagnostic::{Diagnostic, Span, nearest};
use crate::spec::Spanned;

/// How many services may extend one another in a row.
const MOST_EXTENDED: usize = 32;

/// The Compose files that were read.
pub(super) struct Documents<'a> {
    pub(super) files: &'a mut dyn Files,
    pub(super) variables: &'a Variables,
    /// By path; `None` for what is missing or broken, which was said.
    others: BTreeMap<String, Option<Rc<Document>>>,
    /// What is wrong with other files.
    pub(super) found: Vec<Diagnostic>,
}

/// What a service extends.
struct Base {
    file: Option<Spanned<String>>,
    service: Spanned<String>,
}

impl<'a> Documents<'a> {
    pub(super) fn new(files: &'a mut dyn Files, variables: &'a Variables) -> Documents<'a> {
        Documents { files, variables, others: BTreeMap::new(), found: Vec::new() }
    }

    /// A service with all that it extends. What is wrong is kept in it.
    pub(super) fn service(&mut self, document: &Rc<Document>, file: &str, entry: &Entry) -> Service {
        self.extended(document, file, entry, &mut Vec::new())
    }

    /// `seen` are the services on the way here, by file and name.
    fn extended(&mut self, document: &Rc<Document>, file: &str, entry: &Entry, seen: &mut Vec<(String, String)>) -> Service {
        let mut reader = Reader { variables: self.variables, found: Vec::new() };
        let mut own = service::read(&entry.key, &entry.node, &document.directory, &mut reader);
        let Some(node) = entry.node.get("extends").filter(|node| !node.is_nothing()) else { return own };
        let base = base(&format!("services.{}.extends", entry.key), node, &mut reader);
        own.found.append(&mut reader.found);
        let Some(base) = base else { return own };
        seen.push((file.to_owned(), entry.key.clone()));
        match self.find(document, file, &base, seen) {
            Ok((document, file, found)) => {
                let below = self.extended(&document, &file, &found, seen);
                own.on(below)
            }
            Err(diagnostic) => {
                own.found.extend(diagnostic);
                own
            }
        }
    }

    /// Finds what is extended; nothing is said where the file was found broken before.
    fn find(
        &mut self,
        document: &Rc<Document>,
        file: &str,
        base: &Base,
        seen: &[(String, String)],
    ) -> Result<(Rc<Document>, String, Entry), Option<Diagnostic>> {
        let (document, file) = match &base.file {
            None => (document.clone(), file.to_owned()),
            Some(named) => {
                let path = path::join(&document.directory, named);
                let document = self.open(&path, named.span)?;
                (document, path)
            }
        };
        let place = (file, base.service.value.clone());
        if seen.contains(&place) {
            return Err(Some(say::extends(base.service.span, format!("`{}` extends itself in a circle", base.service.value))));
        }
        if seen.len() >= MOST_EXTENDED {
            return Err(Some(say::extends(base.service.span, format!("more than {MOST_EXTENDED} services extend one another in a row"))));
        }
        let Some(entry) = document.service(&base.service).cloned() else {
            let diagnostic = say::extends(base.service.span, format!("there is no service `{}` to extend", base.service.value));
            let near = nearest(&base.service, document.services.iter().map(|entry| entry.key.as_str()));
            return Err(Some(match near {
                Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                None => diagnostic,
            }));
        };
        Ok((document, place.0, entry))
    }

    fn open(&mut self, path: &str, span: Span) -> Result<Rc<Document>, Option<Diagnostic>> {
        if let Some(known) = self.others.get(path) {
            return known.clone().ok_or(None);
        }
        let (document, result) = match self.files.read(path) {
            Ok(Some((source, text))) => {
                let document =
                    Document::read(source, &text, path::parent(path), &mut |diagnostic| self.found.push(diagnostic)).map(Rc::new);
                (document.clone(), document.ok_or(None))
            }
            Ok(None) => (None, Err(Some(say::no_file(span, "file", path)))),
            Err(why) => (None, Err(Some(say::unreadable(span, path, &why)))),
        };
        self.others.insert(path.to_owned(), document);
        result
    }
}

/// `extends`: a service of this file, or a map with `service` and `file`.
fn base(what: &str, node: &Node, reader: &mut Reader<'_>) -> Option<Base> {
    let entries = match &node.value {
        Value::Scalar(_) => return reader.text(what, node).map(|service| Base { file: None, service }),
        Value::List(_) => {
            reader.wrong_type(what, "the name of a service, or a map", node);
            return None;
        }
        Value::Map(entries) => entries,
    };
    let (mut file, mut service, mut good) = (None, None, true);
    for Entry { key, key_span, node } in entries {
        let text = match key.as_str() {
            "file" => &mut file,
            "service" => &mut service,
            _ => {
                reader.report(say::unknown_key(*key_span, what, key, ["file", "service"]));
                continue;
            }
        };
        *text = reader.text(&format!("{what}.{key}"), node);
        good &= text.is_some();
    }
    if service.is_none() && good {
        reader.report(say::missing(node.span, what, "service"));
    }
    if good { service.map(|service| Base { file, service }) } else { None }
}
