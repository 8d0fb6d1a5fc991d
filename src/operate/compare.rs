//! Two images → what differs in their configs and files, and the layer that each side of it is from.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::files_shown::{mode, size};
use super::text::{bytes, plain, short};
use super::{Opened, ReadLayers};
use crate::tree::{Change, Difference, Entry, Tree, TreePath};

/// What differs between two images.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Where the two are.
    pub places: [String; 2],
    /// The digests of their manifests.
    pub digests: [String; 2],
    /// How many of the lowest layers are the same.
    pub common_layers: usize,
    /// Fields of the configs that differ, by path (`config.Env.PATH`). History and layers are not among them.
    pub config: Vec<FieldChange>,
    /// Files that differ, in order of their paths. Times do not count.
    pub files: Vec<FileChange>,
}

/// A field of a config.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    /// Such as `config.Cmd`.
    pub field: String,
    /// In the one and in the other, where it is there.
    pub values: [Option<Value>; 2],
}

/// A file.
#[derive(Debug, Clone, PartialEq)]
pub struct FileChange {
    /// Where it is.
    pub path: TreePath,
    /// In the one and in the other, where it is there.
    pub sides: [Option<FileSide>; 2],
    /// Whether its bytes, its target or its device are others.
    pub content_differs: bool,
}

/// A file in one of two images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSide {
    /// Type and permissions as `ls -l` writes them.
    pub mode: String,
    /// User and group, by number.
    pub owner: String,
    /// Bytes.
    pub size: u64,
    /// The layer, counted from 1.
    pub layer: usize,
    /// By which step that was made, where the history tells.
    pub created_by: Option<String>,
}

impl Comparison {
    /// Compares two images whose layers were read.
    #[must_use]
    pub fn new(one: (&Opened, &ReadLayers), other: (&Opened, &ReadLayers)) -> Comparison {
        let ids = |read: &ReadLayers| read.layers.iter().map(|layer| layer.layer.diff_id).collect::<Vec<_>>();
        let common_layers = ids(one.1).iter().zip(&ids(other.1)).take_while(|(one, other)| one == other).count();
        Comparison {
            places: [one.0.place.to_string(), other.0.place.to_string()],
            digests: [one.0.image.manifest.digest.to_string(), other.0.image.manifest.digest.to_string()],
            common_layers,
            config: fields(one.0, other.0),
            files: files(one.1, other.1),
        }
    }

    /// Whether neither config nor files differ.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.config.is_empty() && self.files.is_empty()
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "--- {} {}\n+++ {} {}", self.places[0], self.digests[0], self.places[1], self.digests[1]);
        let _ = writeln!(text, "{} layers in common", self.common_layers);
        for FieldChange { field, values } in &self.config {
            for (sign, value) in ["-", "+"].iter().zip(values) {
                if let Some(value) = value {
                    let _ = writeln!(text, "{sign} {}: {}", plain(field), plain(&value.to_string()));
                }
            }
        }
        for file in &self.files {
            let line = |side: &FileSide| {
                let by = side.created_by.as_deref().map_or_else(String::new, |by| format!(": {}", short(by, 60)));
                format!("{} {} {} (layer {}{by})", side.mode, side.owner, bytes(side.size), side.layer)
            };
            let _ = match &file.sides {
                [None, Some(side)] => writeln!(text, "+ {} {}", file.path, line(side)),
                [Some(side), None] => writeln!(text, "- {} {}", file.path, line(side)),
                [Some(one), Some(other)] => {
                    let what = if file.content_differs { "" } else { " (same content)" };
                    writeln!(text, "~ {}{what}\n    - {}\n    + {}", file.path, line(one), line(other))
                }
                [None, None] => Ok(()),
            };
        }
        if self.is_same() {
            text.push_str("no difference in config and files\n");
        }
        text
    }

    /// For programs. Fields may be added; `version` grows when one changes its meaning.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let side = |side: &Option<FileSide>| {
            side.as_ref().map(|side| {
                json!({ "mode": side.mode, "owner": side.owner, "size": side.size, "layer": side.layer, "createdBy": side.created_by })
            })
        };
        let config: Vec<Value> =
            self.config.iter().map(|FieldChange { field, values }| json!({ "field": field, "a": values[0], "b": values[1] })).collect();
        let files: Vec<Value> = self
            .files
            .iter()
            .map(|file| {
                let change = match &file.sides {
                    [None, _] => "added",
                    [Some(_), None] => "removed",
                    [Some(_), Some(_)] => "changed",
                };
                json!({
                    "path": file.path.to_string(), "change": change, "contentDiffers": file.content_differs,
                    "a": side(&file.sides[0]), "b": side(&file.sides[1]),
                })
            })
            .collect();
        json!({
            "version": 1,
            "a": { "place": self.places[0], "digest": self.digests[0] },
            "b": { "place": self.places[1], "digest": self.digests[1] },
            "commonLayers": self.common_layers,
            "same": self.is_same(),
            "config": config,
            "files": files,
        })
    }
}

fn fields(one: &Opened, other: &Opened) -> Vec<FieldChange> {
    let flat = |opened: &Opened| {
        let mut config: Value = serde_json::from_slice(&opened.config.to_bytes()).unwrap_or_default();
        if let Some(config) = config.as_object_mut() {
            config.remove("history");
            config.remove("rootfs");
        }
        let mut fields = BTreeMap::new();
        flatten("", &config, &mut fields);
        fields
    };
    let (one, other) = (flat(one), flat(other));
    let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differ = names.into_iter().filter(|name| one.get(*name) != other.get(*name));
    differ.map(|name| FieldChange { field: name.clone(), values: [one.get(name).cloned(), other.get(name).cloned()] }).collect()
}

/// Objects by their fields, variables by their names; other lists are one value.
fn flatten(path: &str, value: &Value, fields: &mut BTreeMap<String, Value>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        // A config that says nothing is none.
        Value::Object(map) if !map.is_empty() || path == "config" => {
            for (name, value) in map {
                flatten(&below(name), value, fields);
            }
        }
        Value::Array(list) if path == "config.Env" => {
            for variable in list.iter().filter_map(Value::as_str) {
                let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
                fields.insert(below(name), value.into());
            }
        }
        Value::Object(_) | Value::Array(_) | Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {
            fields.insert(path.to_owned(), value.clone());
        }
    }
}

fn files(one: &ReadLayers, other: &ReadLayers) -> Vec<FileChange> {
    let (below, above) = (one.tree(), other.tree());
    let mut changes = Vec::new();
    for (path, change) in Difference::between(&below, &above).entries {
        match change {
            Change::Whiteout => {
                for (path, entry) in everything(&below, &path) {
                    changes.push(FileChange { sides: [Some(side(one, &path, &entry)), None], path, content_differs: true });
                }
            }
            Change::Put(entry) => {
                let before = below.get(&path).map(|node| node.entry());
                let sides = [before.as_ref().map(|before| side(one, &path, before)), Some(side(other, &path, &entry))];
                let content_differs = before.as_ref().is_none_or(|before| !same_content(before, &entry));
                if !content_differs && before.as_ref().is_some_and(|before| same_metadata(before, &entry)) {
                    continue;
                }
                changes.push(FileChange { path, sides, content_differs });
            }
        }
    }
    changes
}

/// A path and all that is below it.
fn everything(tree: &Tree, path: &TreePath) -> Vec<(TreePath, Entry)> {
    let Some(node) = tree.get(path) else { return Vec::new() };
    let mut all = vec![(path.clone(), node.entry())];
    if let Some(below) = tree.subtree(path) {
        all.extend(below.walk().filter(|(inner, _)| !inner.is_root()).map(|(inner, node)| (path.join_path(&inner), node.entry())));
    }
    all
}

fn same_content(one: &Entry, other: &Entry) -> bool {
    match (one, other) {
        (Entry::Directory(_), Entry::Directory(_)) => true,
        (Entry::File(one), Entry::File(other)) => one.content == other.content,
        (Entry::Symlink(one), Entry::Symlink(other)) => one.target == other.target,
        (Entry::Special(one), Entry::Special(other)) => one.kind == other.kind,
        (Entry::Directory(_) | Entry::File(_) | Entry::Symlink(_) | Entry::Special(_), _) => false,
    }
}

fn same_metadata(one: &Entry, other: &Entry) -> bool {
    let (one, other) = (one.metadata(), other.metadata());
    (one.mode, one.uid, one.gid, &one.xattrs) == (other.mode, other.uid, other.gid, &other.xattrs)
}

fn side(read: &ReadLayers, path: &TreePath, entry: &Entry) -> FileSide {
    let layer = read.from.get(path).copied().unwrap_or_default();
    let metadata = entry.metadata();
    FileSide {
        mode: mode(entry),
        owner: format!("{}:{}", metadata.uid, metadata.gid),
        size: size(entry),
        layer: layer + 1,
        created_by: read.layers.get(layer).and_then(|layer| layer.layer.created_by.clone()),
    }
}
