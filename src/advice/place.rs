//! A word of a script → its place in the text that the user wrote.

use super::script::Word;
use crate::diagnostic::{SourceMap, Span};

/// Where a word stands inside the place of its script; all of the place where the word is not found, as it may be written otherwise.
pub(super) fn of(sources: &SourceMap, script: Span, word: &Word) -> Span {
    find(sources, script, word).unwrap_or(script)
}

fn find(sources: &SourceMap, script: Span, word: &Word) -> Option<Span> {
    let text = sources.get(script.source)?.text.get(script.start as usize..script.end as usize)?;
    if word.raw.is_empty() {
        return None;
    }
    let mut left = word.before;
    for (at, found) in text.match_indices(word.raw.as_str()) {
        let before = text.get(..at)?;
        let after = text.get(at + found.len()..)?;
        let stands_alone = !before.chars().next_back().is_some_and(is_of_word) && !after.chars().next().is_some_and(is_of_word);
        let line = before.rsplit('\n').next().unwrap_or(before);
        if !stands_alone || line.trim_start().starts_with('#') {
            continue;
        }
        if left == 0 {
            let start = script.start + u32::try_from(at).ok()?;
            return Some(Span { start, end: start + u32::try_from(found.len()).ok()?, ..script });
        }
        left -= 1;
    }
    None
}

fn is_of_word(character: char) -> bool {
    !character.is_whitespace() && !";&|()<>\"'`[],=\\".contains(character)
}
