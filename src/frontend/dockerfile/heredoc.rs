//! Here-documents: which a line announces, and what they hold.

use super::located::Located;
use super::split::{self, Json};
use crate::diagnostic::Span;

/// A here-document.
#[derive(Debug, Clone)]
pub(super) struct Heredoc {
    /// The word that ends it, without quotes.
    pub(super) name: String,
    /// Whether variables in it are put in: no part of its word was quoted.
    pub(super) expands: bool,
    /// Whether tabs at the start of its lines are dropped: `<<-`.
    pub(super) strips_tabs: bool,
    /// Where it is announced.
    pub(super) span: Span,
    /// Its lines as they stand, with their ends.
    pub(super) body: Located,
}

impl Heredoc {
    /// What it holds.
    pub(super) fn text(&self) -> Located {
        if !self.strips_tabs {
            return self.body.clone();
        }
        let text = self.body.as_str();
        let mut stripped = self.body.slice(0..0);
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let tabs = line.len() - line.trim_start_matches('\t').len();
            stripped.push_part(&self.body, at + tabs..at + line.len());
            at += line.len();
        }
        stripped
    }
}

/// The here-documents that a logical line announces; their bodies are still to be read.
pub(super) fn announced(line: &Located) -> Vec<Heredoc> {
    if !line.as_str().contains("<<") {
        return Vec::new();
    }
    let mut split = split::split(line);
    if split.keyword.as_str().eq_ignore_ascii_case("onbuild") {
        split = split::split(&split.rest);
    }
    let takes_any = ["run", "copy", "add"].iter().any(|keyword| split.keyword.as_str().eq_ignore_ascii_case(keyword));
    if !takes_any || !matches!(split::json(&split.rest), Json::None) {
        return Vec::new();
    }
    words(line).into_iter().filter_map(|(start, end)| parse(&line.slice(start..end))).collect()
}

/// Where the words of a line are, as a shell sees them. A quote that does not end takes the rest, as nothing more can be told.
fn words(line: &Located) -> Vec<(usize, usize)> {
    let text = line.as_str();
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if quote.is_none() && character.is_whitespace() {
            words.extend(start.take().map(|start| (start, at)));
            continue;
        }
        start.get_or_insert(at);
        match (quote, character) {
            (None, '\\') | (Some('"'), '\\') => {
                characters.next();
            }
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), character) if open == character => quote = None,
            // White space between `<<` and the word that ends the document belongs to it.
            (None, '<') if text[..at].ends_with('<') => {
                while characters.peek().is_some_and(|(_, next)| split::is_blank(*next)) {
                    characters.next();
                }
            }
            (None | Some(_), _) => {}
        }
    }
    if quote.is_none() {
        words.extend(start.map(|start| (start, text.len())));
    }
    words
}

/// Reads `<<WORD`, `<<-WORD` and the like, with digits before it.
pub(super) fn parse(word: &Located) -> Option<Heredoc> {
    let text = word.as_str().trim_start_matches(|character: char| character.is_ascii_digit()).strip_prefix("<<")?;
    let (strips_tabs, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let (name, quoted) = unquoted(rest)?;
    (!name.is_empty()).then(|| Heredoc { name, expands: !quoted, strips_tabs, span: word.whole(), body: word.slice(0..0) })
}

/// A word without its quotes and escapes, and whether it had quotes; `None` where a quote does not end or white space is outside of them.
fn unquoted(word: &str) -> Option<(String, bool)> {
    let mut name = String::new();
    let mut quote = None;
    let mut quoted = false;
    let mut characters = word.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, '\'' | '"') => {
                quote = Some(character);
                quoted = true;
            }
            (Some(open), character) if open == character => quote = None,
            (None, '\\') => name.extend(characters.next()),
            (Some('"'), '\\') => match characters.peek() {
                Some('"' | '$' | '\\') => name.extend(characters.next()),
                Some(_) | None => name.push('\\'),
            },
            (None, character) if character.is_whitespace() => return None,
            (None | Some(_), character) => name.push(character),
        }
    }
    quote.is_none().then_some((name, quoted))
}
