//! A Compose file in, it and all files that it includes out, each with its directory; and the variables of their own `.env` files.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::Files;
use super::diagnostics as say;
use super::document::Document;
use super::dotenv;
use super::node::{Entry, Node, Value};
use super::path;
use super::reader::{Reader, Variables};
use crate::diagnostic::{Diagnostic, Span};
use crate::spec::Spanned;

/// The keys of what is included.
const KEYS: [&str; 3] = ["env_file", "path", "project_directory"];

/// One entry of `include`.
struct Included {
    files: Vec<Spanned<String>>,
    project: Option<Spanned<String>>,
    env: Vec<Spanned<String>>,
}

/// The files, the first one first; what is included stands behind what includes it. A file counts once.
pub(super) fn all(
    first: &Rc<Document>,
    files: &mut dyn Files,
    variables: &mut Variables,
    found: &mut Vec<Diagnostic>,
) -> Vec<(String, Rc<Document>)> {
    let mut documents = vec![(String::new(), Rc::clone(first))];
    let mut seen = BTreeSet::new();
    let mut at = 0;
    while let Some((_, document)) = documents.get(at).cloned() {
        at += 1;
        for included in entries(&document, variables, found) {
            let Included { files: named, project, env } = included;
            for file in named {
                let place = path::join(&document.directory, &file);
                if !seen.insert(place.clone()) {
                    continue;
                }
                let directory = match &project {
                    Some(project) => path::join(&document.directory, project),
                    None => path::parent(&place),
                };
                environment(&document.directory, &directory, &env, (files, variables), found);
                match files.read(&place) {
                    Ok(Some((source, text))) => {
                        let read = Document::read(source, &text, directory, &mut |diagnostic| found.push(diagnostic));
                        documents.extend(read.map(|read| (place, Rc::new(read))));
                    }
                    Ok(None) => found.push(say::no_file(file.span, "file", &place)),
                    Err(why) => found.push(say::unreadable(file.span, &place, &why)),
                }
            }
        }
    }
    documents
}

/// The variables of what is included: of the files that are named, else of the `.env` in its directory. What is set already stays.
fn environment(
    from: &str,
    directory: &str,
    named: &[Spanned<String>],
    (files, variables): (&mut dyn Files, &mut Variables),
    found: &mut Vec<Diagnostic>,
) {
    let usual = [Spanned::new(path::join(directory, ".env"), Span::NONE)];
    let named: Vec<Spanned<String>> = named.iter().map(|file| Spanned::new(path::join(from, file), file.span)).collect();
    for file in if named.is_empty() { usual.as_slice() } else { named.as_slice() } {
        match files.read(file) {
            Ok(Some((source, text))) => {
                let read = dotenv::read(source, &text, &variables.surroundings, &mut |diagnostic| found.push(diagnostic));
                for (name, value) in read {
                    variables.file.entry(name).or_insert(value);
                }
            }
            Ok(None) if file.span == Span::NONE => {}
            Ok(None) => found.push(say::no_file(file.span, "file", file)),
            Err(why) => found.push(say::unreadable(file.span, file, &why)),
        }
    }
}

fn entries(document: &Document, variables: &Variables, found: &mut Vec<Diagnostic>) -> Vec<Included> {
    let Some(node) = document.root.get("include").filter(|include| !include.is_nothing()) else { return Vec::new() };
    let mut reader = Reader { variables, found: Vec::new() };
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        Value::Scalar(_) | Value::Map(_) => {
            reader.wrong_type("include", "a list of files", node);
            &[]
        }
    };
    let included = items.iter().filter_map(|item| entry(item, &mut reader)).collect();
    found.append(&mut reader.found);
    included
}

fn entry(node: &Node, reader: &mut Reader<'_>) -> Option<Included> {
    let Value::Map(entries) = &node.value else {
        return reader.text("include", node).map(|file| Included { files: vec![file], project: None, env: Vec::new() });
    };
    let mut included = Included { files: Vec::new(), project: None, env: Vec::new() };
    for Entry { key, key_span, node } in entries {
        let what = format!("include.{key}");
        match key.as_str() {
            "path" => included.files = reader.one_or_more(&what, node),
            "project_directory" => included.project = reader.text(&what, node),
            "env_file" => included.env = reader.one_or_more(&what, node),
            _ => reader.report(say::unknown_key(*key_span, "include", key, KEYS)),
        }
    }
    match included.files.as_slice() {
        [] => {
            reader.report(say::missing(node.span, "include", "path"));
            None
        }
        [_] => Some(included),
        [_, second, ..] => {
            let diagnostic = say::not_supported(second.span, "files that are laid over one another are not read");
            reader.report(diagnostic.hint("include each by itself"));
            None
        }
    }
}
