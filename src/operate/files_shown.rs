//! The layers of an image → what to print of their files and of the room that is wasted, for people and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use super::text::{bytes, short};
use super::{ReadLayers, layers::ReadLayer};
use crate::tree::{Change, Entry, Metadata, SpecialKind, TreePath};

/// How many of the files that take room in vain are listed for people.
const LISTED: usize = 10;

/// How much of the layers is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// A line for each layer.
    Layers,
    /// The files of each layer too.
    Files,
    /// The files of one layer, counted from 1.
    Layer(usize),
}

impl ReadLayers {
    /// For people.
    #[must_use]
    pub fn to_text(&self, detail: &Detail) -> String {
        let mut text = String::new();
        for (place, layer) in self.layers.iter().enumerate() {
            if let Detail::Layer(wanted) = detail
                && *wanted != place + 1
            {
                continue;
            }
            let shown = changes(layer, self.below(place));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "layer {} {}", place + 1, layer.layer.descriptor.digest);
            if let Some(by) = &layer.layer.created_by {
                let _ = writeln!(text, "  by {}", short(by, 160));
            }
            let files: u64 = shown.iter().map(|shown| shown.size).fold(0, u64::saturating_add);
            let wasted = if layer.wasted_bytes > 0 { format!(", {} of them wasted", bytes(layer.wasted_bytes)) } else { String::new() };
            let _ = writeln!(
                text,
                "  {} stored, {} entries, {} in files{wasted}",
                bytes(layer.layer.descriptor.size),
                shown.len(),
                bytes(files)
            );
            match detail {
                Detail::Layers => {}
                Detail::Files | Detail::Layer(_) => {
                    for one in &shown {
                        let _ = writeln!(
                            text,
                            "  {} {} {:>11} {:>10}  {}{}",
                            one.sign(),
                            one.mode,
                            one.owner,
                            bytes(one.size),
                            one.path,
                            one.target
                        );
                    }
                }
            }
        }
        if matches!(detail, Detail::Layer(_)) {
            return text;
        }
        let total = self.wasted_bytes();
        let _ = writeln!(text, "wasted {} in {} files that a later layer overwrites or removes", bytes(total), self.wasted.len());
        for (path, place, size) in self.wasted.iter().take(LISTED) {
            let _ = writeln!(text, "  {:>10}  {path} of layer {}", bytes(*size), place + 1);
        }
        if self.wasted.len() > LISTED {
            let _ = writeln!(text, "  and {} more", self.wasted.len() - LISTED);
        }
        text
    }

    /// For programs. Fields may be added; `version` grows when one changes its meaning.
    #[must_use]
    pub fn to_json(&self, detail: &Detail) -> Value {
        let layers = self.layers.iter().enumerate().filter(|(place, _)| match detail {
            Detail::Layers | Detail::Files => true,
            Detail::Layer(wanted) => *wanted == place + 1,
        });
        let layers: Vec<Value> = layers
            .map(|(place, layer)| {
                let shown = changes(layer, self.below(place));
                let mut value = json!({
                    "layer": place + 1,
                    "digest": layer.layer.descriptor.digest.to_string(),
                    "diffId": layer.layer.diff_id.to_string(),
                    "size": layer.layer.descriptor.size,
                    "createdBy": layer.layer.created_by,
                    "entries": shown.len(),
                    "fileBytes": shown.iter().map(|shown| shown.size).fold(0, u64::saturating_add),
                    "wastedBytes": layer.wasted_bytes,
                });
                match detail {
                    Detail::Layers => {}
                    Detail::Files | Detail::Layer(_) => value["files"] = shown.iter().map(Shown::to_json).collect(),
                }
                value
            })
            .collect();
        let wasted: Vec<Value> =
            self.wasted.iter().map(|(path, place, size)| json!({ "path": path.to_string(), "layer": place + 1, "bytes": size })).collect();
        json!({ "version": 1, "layers": layers, "wastedBytes": self.wasted_bytes(), "wasted": wasted })
    }

    /// All bytes that are wasted.
    #[must_use]
    pub fn wasted_bytes(&self) -> u64 {
        self.wasted.iter().map(|(_, _, bytes)| *bytes).fold(0, u64::saturating_add)
    }

    fn below(&self, place: usize) -> Option<&ReadLayer> {
        place.checked_sub(1).and_then(|below| self.layers.get(below))
    }
}

/// What a layer does to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Added,
    Changed,
    Removed,
}

/// One line of a layer.
struct Shown {
    path: TreePath,
    what: What,
    /// As `ls -l` writes it.
    mode: String,
    owner: String,
    size: u64,
    /// ` → TARGET` of a link.
    target: String,
}

impl Shown {
    fn sign(&self) -> char {
        match self.what {
            What::Added => '+',
            What::Changed => '~',
            What::Removed => '-',
        }
    }

    fn to_json(&self) -> Value {
        let what = match self.what {
            What::Added => "added",
            What::Changed => "changed",
            What::Removed => "removed",
        };
        json!({ "path": self.path.to_string(), "change": what, "mode": self.mode, "owner": self.owner, "size": self.size })
    }
}

/// What a layer does, without the directories that are only on the way.
fn changes(layer: &ReadLayer, below: Option<&ReadLayer>) -> Vec<Shown> {
    let mut shown = Vec::new();
    for (path, change) in &layer.difference.entries {
        let before = below.and_then(|below| below.above.get(path)).map(|node| node.entry());
        match change {
            Change::Whiteout => shown.push(Shown {
                path: path.clone(),
                what: What::Removed,
                mode: "----------".to_owned(),
                owner: String::new(),
                size: 0,
                target: String::new(),
            }),
            Change::Put(entry @ Entry::Directory(_)) if before.as_ref() == Some(entry) || (path.is_root() && before.is_none()) => {}
            Change::Put(entry) => {
                let what = if before.is_some() { What::Changed } else { What::Added };
                let metadata = entry.metadata();
                shown.push(Shown {
                    path: path.clone(),
                    what,
                    mode: mode(entry),
                    owner: format!("{}:{}", metadata.uid, metadata.gid),
                    size: size(entry),
                    target: target(entry),
                });
            }
        }
    }
    shown
}

/// How many bytes of content an entry has.
pub(super) fn size(entry: &Entry) -> u64 {
    match entry {
        Entry::File(file) => file.content.size,
        Entry::Directory(_) | Entry::Symlink(_) | Entry::Special(_) => 0,
    }
}

fn target(entry: &Entry) -> String {
    match entry {
        Entry::Symlink(link) => format!(" → {}", super::text::plain(&String::from_utf8_lossy(&link.target))),
        Entry::Directory(_) | Entry::File(_) | Entry::Special(_) => String::new(),
    }
}

/// Type and permissions as `ls -l` writes them.
pub(super) fn mode(entry: &Entry) -> String {
    let kind = match entry {
        Entry::Directory(_) => 'd',
        Entry::File(_) => '-',
        Entry::Symlink(_) => 'l',
        Entry::Special(special) => match special.kind {
            SpecialKind::Character { .. } => 'c',
            SpecialKind::Block { .. } => 'b',
            SpecialKind::Fifo => 'p',
        },
    };
    let Metadata { mode, .. } = entry.metadata();
    let mut text = String::from(kind);
    for (shift, special, set, unset) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => set,
            (false, true) => unset,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}
