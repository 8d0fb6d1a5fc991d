//! The texts that a spec came from in, their comments by the place that each belongs to out.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::{SourceId, SourceMap, Span};
use crate::frontend::dockerfile;
use crate::spec::Spec;

/// Comments that wait for the place that they belong to.
#[derive(Debug, Default)]
pub(super) struct Comments {
    /// What belongs to the file as a whole.
    top: Vec<String>,
    /// By source and the start of the place.
    waiting: BTreeMap<(SourceId, u32), Vec<String>>,
    /// What nothing follows.
    rest: Vec<String>,
}

impl Comments {
    /// Gathers the comments, each for the first of `places` that does not end before it.
    pub(super) fn gather(spec: &Spec, sources: &SourceMap, places: &[Span]) -> Comments {
        let mut comments = Comments::default();
        let dockerfiles: BTreeSet<SourceId> = spec.stages.values().map(|stage| stage.span.source).collect();
        let images: BTreeSet<SourceId> = spec.images.values().map(|image| image.span.source).collect();
        for source in dockerfiles.union(&images) {
            let Some(file) = sources.get(*source) else { continue };
            let found = if dockerfiles.contains(source) {
                dockerfile::comments(*source, &file.text).into_iter().map(|comment| (comment.span, comment.text)).collect()
            } else {
                above(*source, &file.text, places)
            };
            let mut own: Vec<Span> = places.iter().filter(|place| place.source == *source).copied().collect();
            own.sort();
            let first = own.first().map_or(u32::MAX, |place| place.start);
            for (span, text) in found {
                if span.end < first && stands_alone(&file.text, span, first) {
                    comments.top.push(text);
                    continue;
                }
                // What contains it, else what follows it.
                let place = own.iter().rev().find(|place| place.start <= span.start && span.end <= place.end);
                let place = place.or_else(|| own.iter().find(|place| place.start >= span.end));
                match place {
                    Some(place) => comments.waiting.entry((*source, place.start)).or_default().push(text),
                    None => comments.rest.push(text),
                }
            }
        }
        comments
    }

    /// What belongs to the whole file.
    pub(super) fn top(&mut self) -> String {
        let top = std::mem::take(&mut self.top);
        let is_blank = |text: &String| text.trim().is_empty();
        let first = top.iter().position(|text| !is_blank(text)).unwrap_or(top.len());
        let end = top.iter().rposition(|text| !is_blank(text)).map_or(first, |last| last + 1);
        written(top.get(first..end).unwrap_or_default().to_vec())
    }

    /// What belongs to a place, where that is one line of plain words: it is then the caller's to write.
    pub(super) fn only_line_at(&mut self, span: Span) -> Option<String> {
        let key = (span.source, span.start);
        let [line] = self.waiting.get(&key)?.as_slice() else { return None };
        let is_plain = line.starts_with(char::is_alphanumeric) && !line.chars().any(char::is_control);
        if is_plain { self.waiting.remove(&key)?.pop() } else { None }
    }

    /// What belongs to a place, once.
    pub(super) fn at(&mut self, span: Span) -> String {
        written(self.waiting.remove(&(span.source, span.start)).unwrap_or_default())
    }

    /// What no place has asked for.
    pub(super) fn left(&mut self) -> String {
        let waiting = std::mem::take(&mut self.waiting).into_values().flatten();
        written(waiting.chain(std::mem::take(&mut self.rest)).collect())
    }
}

fn written(comments: Vec<String>) -> String {
    // What TOML forbids in a comment goes out of it.
    let plain = |text: String| text.chars().filter(|character| !character.is_control() || *character == '\t').collect::<String>();
    comments.into_iter().map(|text| format!("# {}", plain(text)).trim_end().to_owned() + "\n").collect()
}

/// Whether a blank line stands between a comment and what begins at `first`.
fn stands_alone(text: &str, comment: Span, first: u32) -> bool {
    let between = text.get(comment.end as usize..first as usize).unwrap_or_default();
    between.lines().skip(1).any(|line| line.trim().is_empty())
}

/// Lines of YAML that are comments, directly above one of the places: a text in a block is further to the right than the key below it.
fn above(source: SourceId, text: &str, places: &[Span]) -> Vec<(Span, String)> {
    let mut found = Vec::new();
    for place in places.iter().filter(|place| place.source == source) {
        let Some(before) = text.get(..place.start as usize) else { continue };
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let indent = before.len() - line_start;
        let mut end = line_start;
        let mut lines = Vec::new();
        while end > 0 {
            let start = text.get(..end - 1).and_then(|text| text.rfind('\n')).map_or(0, |end| end + 1);
            let line = text.get(start..end).unwrap_or_default().trim_end();
            let bare = line.trim_start();
            if !bare.starts_with('#') || line.len() - bare.len() > indent {
                break;
            }
            let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
            let span = Span { source, start: offset(start), end: offset(end.saturating_sub(1)) };
            lines.push((span, bare.trim_start_matches('#').trim().to_owned()));
            end = start;
        }
        found.extend(lines.into_iter().rev());
    }
    found
}
