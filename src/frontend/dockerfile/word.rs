//! A word with its quotes, escapes and variables in, its parts out. What variables are worth is not known here.

use super::diagnostics as say;
use super::located::Located;
use crate::diagnostic::{Diagnostic, Span};

/// How deep variables can stand in the words of others.
const MOST_NESTED: usize = 8;

/// Parts in order.
pub(super) type Word = Vec<Part>;

/// A part of a word.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// These characters, quotes and escapes taken away.
    Text(String),
    /// `$NAME`, `${NAME}` or `${NAME…}`.
    Variable(Variable),
}

/// A variable.
#[derive(Debug, Clone)]
pub(super) struct Variable {
    /// Its name.
    pub(super) name: String,
    /// The whole of it.
    pub(super) span: Span,
    /// What becomes of its value.
    pub(super) form: Form,
}

/// What becomes of a value.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// Nothing.
    Plain,
    /// `-`, `:-`.
    Default(Empty, Word),
    /// `+`, `:+`.
    Alternative(Empty, Word),
    /// `?`, `:?`.
    Require(Empty, Word),
    /// `#`, `##`.
    TrimPrefix(Longest, Word),
    /// `%`, `%%`.
    TrimSuffix(Longest, Word),
    /// `/`, `//`.
    Replace(All, Word, Word),
}

/// Whether an empty value counts as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    /// It is a value.
    IsValue,
    /// It is none: the operator has a colon.
    IsNone,
}

/// Whether a pattern takes away as much as it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Longest {
    /// As little.
    No,
    /// As much.
    Yes,
}

/// Whether all matches are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum All {
    /// The first.
    No,
    /// All.
    Yes,
}

/// What quotes mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    /// They protect, and are taken away.
    Protect,
    /// They are characters like others: in here-documents.
    Stand,
}

/// Whether escapes stay in the text: they do in patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Vanish,
    Stay,
}

/// Reads a word; `None` where it was reported to be none.
pub(super) fn read(text: &Located, escape: char, quotes: Quotes, report: &mut dyn FnMut(Diagnostic)) -> Option<Word> {
    let characters = text.as_str().char_indices().collect();
    let mut reader = Reader { text, characters, at: 0, escape, quotes, depth: 0 };
    match reader.until(None, Escapes::Vanish) {
        Ok(word) => Some(word),
        Err(diagnostic) => {
            report(*diagnostic);
            None
        }
    }
}

struct Reader<'t> {
    text: &'t Located,
    characters: Vec<(usize, char)>,
    at: usize,
    escape: char,
    quotes: Quotes,
    depth: usize,
}

type Found<T> = Result<T, Box<Diagnostic>>;

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).map(|(_, character)| *character)
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += 1;
        Some(character)
    }

    fn offset(&self, at: usize) -> usize {
        self.characters.get(at).map_or(self.text.as_str().len(), |(offset, _)| *offset)
    }

    fn span(&self, from: usize) -> Span {
        self.text.span(self.offset(from)..self.offset(self.at))
    }

    fn wrong<T>(&self, from: usize, why: &str) -> Found<T> {
        Err(Box::new(say::bad_expansion(self.span(from), why)))
    }

    /// Reads to the end, or to a character that is taken too.
    fn until(&mut self, stop: Option<char>, escapes: Escapes) -> Found<Word> {
        let start = self.at;
        let mut word = Word::new();
        while let Some(character) = self.peek() {
            if Some(character) == stop {
                self.at += 1;
                return Ok(word);
            }
            match (character, self.quotes) {
                ('$', _) => self.dollar(&mut word)?,
                ('\'', Quotes::Protect) => self.single_quoted(&mut word)?,
                ('"', Quotes::Protect) => self.double_quoted(&mut word, escapes)?,
                (_, Quotes::Protect | Quotes::Stand) => {
                    self.at += 1;
                    if character != self.escape {
                        push(&mut word, character);
                        continue;
                    }
                    if escapes == Escapes::Stay {
                        push(&mut word, character);
                    }
                    if let Some(escaped) = self.next() {
                        push(&mut word, escaped);
                    }
                }
            }
        }
        match stop {
            None => Ok(word),
            Some(stop) => self.wrong(start.saturating_sub(1), &format!("a variable in braces does not end: expected `{stop}`")),
        }
    }

    fn single_quoted(&mut self, word: &mut Word) -> Found<()> {
        let start = self.at;
        self.at += 1;
        // Nothing at all is a part too: it makes a word of quotes alone.
        loop {
            match self.next() {
                None => return self.wrong(start, "a single quote is not closed: expected `'`"),
                Some('\'') => return Ok(()),
                Some(character) => push(word, character),
            }
        }
    }

    fn double_quoted(&mut self, word: &mut Word, escapes: Escapes) -> Found<()> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                None => return self.wrong(start, "a double quote is not closed: expected `\"`"),
                Some('"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some('$') => self.dollar(word)?,
                Some(character) => {
                    self.at += 1;
                    if character != self.escape {
                        push(word, character);
                        continue;
                    }
                    if escapes == Escapes::Stay {
                        push(word, character);
                    }
                    match self.peek() {
                        None => {}
                        Some(escaped) if matches!(escaped, '"' | '$') || escaped == self.escape => {
                            self.at += 1;
                            push(word, escaped);
                        }
                        // Before anything else it stands for itself.
                        Some(_) => push(word, character),
                    }
                }
            }
        }
    }

    fn dollar(&mut self, word: &mut Word) -> Found<()> {
        let start = self.at;
        self.at += 1;
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                push(word, '$');
            } else {
                word.push(Part::Variable(Variable { name, span: self.span(start), form: Form::Plain }));
            }
            return Ok(());
        }
        self.at += 1;
        match self.peek() {
            None => return self.wrong(start, "a variable in braces does not end: expected `}`"),
            Some('{' | '}' | ':') => {
                self.at += 1;
                return self.wrong(start, "expected the name of a variable after `${`");
            }
            Some(_) => {}
        }
        self.depth += 1;
        if self.depth > MOST_NESTED {
            return self.wrong(start, &format!("variables stand in each other more than {MOST_NESTED} deep"));
        }
        let name = self.name();
        let form = self.form(start)?;
        self.depth -= 1;
        word.push(Part::Variable(Variable { name, span: self.span(start), form }));
        Ok(())
    }

    fn form(&mut self, start: usize) -> Found<Form> {
        let mut empty = Empty::IsValue;
        let mut operator = self.next();
        if operator == Some(':') {
            empty = Empty::IsNone;
            operator = self.next();
            if matches!(operator, Some('/' | '}')) {
                return self.wrong(start, "expected `-`, `+` or `?` after `:`");
            }
        }
        Ok(match operator {
            Some('}') => Form::Plain,
            Some('-') => Form::Default(empty, self.until(Some('}'), Escapes::Vanish)?),
            Some('+') => Form::Alternative(empty, self.until(Some('}'), Escapes::Vanish)?),
            Some('?') => Form::Require(empty, self.until(Some('}'), Escapes::Vanish)?),
            Some('#') => Form::TrimPrefix(self.longest('#'), self.pattern(start, '}')?),
            Some('%') => Form::TrimSuffix(self.longest('%'), self.pattern(start, '}')?),
            Some('/') => {
                let all = if self.peek() == Some('/') { All::Yes } else { All::No };
                self.at += usize::from(all == All::Yes);
                Form::Replace(all, self.pattern(start, '/')?, self.until(Some('}'), Escapes::Stay)?)
            }
            Some(other) => {
                let expected = "expected `}`, `-`, `+`, `?`, `#`, `%` or `/`";
                return self.wrong(start, &format!("`{other}` means nothing after the name of a variable: {expected}"));
            }
            None => return self.wrong(start, "a variable in braces does not end: expected `}`"),
        })
    }

    fn longest(&mut self, operator: char) -> Longest {
        if self.peek() != Some(operator) {
            return Longest::No;
        }
        self.at += 1;
        Longest::Yes
    }

    /// Reads a pattern. The backslash stands only before `*`, `?` and itself; that before `}` and `/` is dropped.
    fn pattern(&mut self, start: usize, stop: char) -> Found<Word> {
        let mut word = self.until(Some(stop), Escapes::Stay)?;
        for part in &mut word {
            if let Part::Text(text) = part {
                match tidied(text) {
                    Ok(pattern) => *text = pattern,
                    Err(why) => return self.wrong(start, &why),
                }
            }
        }
        Ok(word)
    }

    /// A name: letters, digits and `_`, only digits where it begins with one, or one character that is special to a shell.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let Some(first) = self.peek() else { return name };
        if first.is_numeric() {
            while let Some(digit) = self.peek().filter(|digit| digit.is_numeric()) {
                name.push(digit);
                self.at += 1;
            }
        } else if matches!(first, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
            name.push(first);
            self.at += 1;
        } else {
            while let Some(letter) = self.peek().filter(|letter| letter.is_alphanumeric() || *letter == '_') {
                name.push(letter);
                self.at += 1;
            }
        }
        name
    }
}

fn tidied(pattern: &str) -> Result<String, String> {
    let mut tidy = String::new();
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '\\' {
            tidy.push(character);
            continue;
        }
        match characters.next() {
            Some(escaped @ ('}' | '/')) => tidy.push(escaped),
            Some(escaped @ ('*' | '?' | '\\')) => tidy.extend(['\\', escaped]),
            Some(other) => return Err(format!("`\\{other}` means nothing in a pattern: `\\` goes before `*`, `?`, `\\`, `}}` and `/`")),
            None => return Err("a pattern cannot end with `\\`".to_owned()),
        }
    }
    Ok(tidy)
}

fn push(word: &mut Word, character: char) {
    match word.last_mut() {
        Some(Part::Text(text)) => text.push(character),
        Some(Part::Variable(_)) | None => word.push(Part::Text(character.to_string())),
    }
}

/// The whole word, if there is no variable in it.
pub(super) fn literal(word: &Word) -> Option<String> {
    let mut whole = String::new();
    for part in word {
        match part {
            Part::Text(text) => whole.push_str(text),
            Part::Variable(_) => return None,
        }
    }
    Some(whole)
}

/// The names of the variables in a word, those in the words of others too.
pub(super) fn variables<'w>(word: &'w Word, visit: &mut dyn FnMut(&'w Variable)) {
    for part in word {
        let Part::Variable(variable) = part else { continue };
        visit(variable);
        match &variable.form {
            Form::Plain => {}
            Form::Default(_, word)
            | Form::Alternative(_, word)
            | Form::Require(_, word)
            | Form::TrimPrefix(_, word)
            | Form::TrimSuffix(_, word) => variables(word, visit),
            Form::Replace(_, pattern, with) => {
                variables(pattern, visit);
                variables(with, visit);
            }
        }
    }
}
