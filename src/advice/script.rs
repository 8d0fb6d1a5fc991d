//! A shell script → its simple commands, with the words that are certain.
//!
//! Reads what POSIX calls tokens (XCU 2.2 to 2.10): quotes, escapes, comments, here-documents, expansions, lists, pipes and compound
//! commands. It runs nothing and expands nothing: what only the shell knows is [`UNKNOWN`] in a word.

use std::collections::BTreeMap;

use crate::spec::{Piece, Template};

/// Stands in a word for what only the shell, or the caller, knows. No script can hold it.
pub(super) const UNKNOWN: char = '\0';

/// How deep scripts in scripts are read.
const DEEPEST: usize = 8;

/// One simple command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    /// Variables set for it, or for the script where it has no words.
    pub(super) assignments: Vec<(String, String)>,
    /// The program and its arguments, without redirections.
    pub(super) words: Vec<Word>,
}

/// One word after quotes are taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// Its characters.
    pub(super) text: String,
    /// The word as it stands in the script.
    pub(super) raw: String,
    /// How many equal words stand before it.
    pub(super) before: usize,
}

impl Word {
    /// The text, if all of it is certain.
    pub(super) fn known(&self) -> Option<&str> {
        (!self.text.contains(UNKNOWN)).then_some(self.text.as_str())
    }
}

/// Programs that run the command which follows them.
const PREFIXES: &[&str] = &["sudo", "env", "exec", "command", "time", "nohup", "eatmydata", "nice", "ionice", "builtin"];

/// Shells, which read a script behind `-c`.
const SHELLS: &[&str] = &["sh", "bash", "ash", "dash", "ksh", "zsh"];

/// Whether a program reads the language of this module.
pub(super) fn is_shell(program: &str) -> bool {
    SHELLS.contains(&base_name(program))
}

/// The last part of a path.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl Command {
    /// The program and what follows it, past `sudo`, `env` and the like; by the last part of its path. `None` where it is not certain.
    pub(super) fn program(&self) -> Option<(&str, &[Word])> {
        let mut rest = self.words.as_slice();
        loop {
            let (first, following) = rest.split_first()?;
            let name = base_name(first.known()?);
            if !PREFIXES.contains(&name) {
                return Some((name, following));
            }
            // `command -v NAME` asks whether there is one.
            if name == "command" && following.first().is_some_and(|flag| matches!(flag.text.as_str(), "-v" | "-V")) {
                return Some((name, following));
            }
            let skipped = following.iter().take_while(|word| word.text.starts_with('-') || is_assignment(&word.text)).count();
            rest = following.get(skipped..).unwrap_or_default();
        }
    }

    /// The word that names the program.
    pub(super) fn program_word(&self) -> Option<&Word> {
        let (_, following) = self.program()?;
        self.words.get(self.words.len().checked_sub(following.len() + 1)?)
    }
}

/// Every simple command of a script, in the order of the text; those in `$(…)` and behind `sh -c` too.
pub(super) fn commands(script: &Template) -> Vec<Command> {
    let mut text = String::new();
    for piece in script.pieces() {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Reference(_) => text.push(UNKNOWN),
        }
    }
    of_text(&text, 0)
}

/// The commands of a program with its arguments: itself, and what a shell among them is given.
pub(super) fn exec<'t>(words: impl IntoIterator<Item = &'t Template>) -> Vec<Command> {
    let words = words.into_iter().map(|template| {
        let pieces = template.pieces().iter().map(|piece| match piece {
            Piece::Literal(literal) => literal.clone(),
            Piece::Reference(_) => UNKNOWN.to_string(),
        });
        let text: String = pieces.collect();
        Word { raw: text.clone(), text, before: 0 }
    });
    with_inner(Command { assignments: Vec::new(), words: words.collect() }, 0)
}

fn of_text(text: &str, depth: usize) -> Vec<Command> {
    if depth > DEEPEST {
        return Vec::new();
    }
    let mut reader = Reader {
        text,
        at: 0,
        depth,
        found: Vec::new(),
        open: Vec::new(),
        state: State::default(),
        documents: Vec::new(),
        pattern: false,
        met: BTreeMap::new(),
    };
    reader.read();
    reader.found
}

/// A command, and the commands of the script that it gives to a shell.
fn with_inner(command: Command, depth: usize) -> Vec<Command> {
    let inner = match command.program() {
        Some((program, arguments)) if SHELLS.contains(&program) => {
            let place =
                arguments.iter().position(|word| word.text.starts_with('-') && !word.text.starts_with("--") && word.text.ends_with('c'));
            place.and_then(|place| arguments.get(place + 1)).map(|word| of_text(&word.text, depth + 1)).unwrap_or_default()
        }
        Some(_) | None => Vec::new(),
    };
    [command].into_iter().chain(inner).collect()
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| is_name(name))
}

/// What is being gathered.
#[derive(Default)]
struct State {
    assignments: Vec<(String, String)>,
    words: Vec<Word>,
    /// The next word is the target of a redirection.
    redirected: bool,
    /// The words are not a command: those of `for`, the subject of `case`.
    not_a_command: bool,
}

/// What was opened and not closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Parenthesis,
    Case,
}

/// What is skipped over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Parentheses,
    Braces,
    Quotes,
    Backticks,
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    found: Vec<Command>,
    open: Vec<Open>,
    state: State,
    /// Here-documents whose bodies begin at the next line: the word that ends them, and whether tabs before it do not count.
    documents: Vec<(String, bool)>,
    /// A pattern of `case` is read.
    pattern: bool,
    /// How often each word was met.
    met: BTreeMap<String, usize>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn starts_with(&self, what: &str) -> bool {
        self.text.get(self.at..).is_some_and(|rest| rest.starts_with(what))
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn read(&mut self) {
        while let Some(next) = self.peek() {
            match next {
                '\n' => {
                    self.at += 1;
                    self.end();
                    self.skip_documents();
                }
                ' ' | '\t' | '\r' => self.at += 1,
                '\\' if self.starts_with("\\\n") => self.at += 2,
                '\\' if self.starts_with("\\\r\n") => self.at += 3,
                '#' => self.skip_line(),
                ';' => {
                    self.at += 1;
                    self.end();
                    if matches!(self.peek(), Some(';' | '&')) && self.open.last() == Some(&Open::Case) {
                        self.at += 1;
                        self.pattern = true;
                    }
                }
                '&' if self.starts_with("&>") => {
                    self.at += if self.starts_with("&>>") { 3 } else { 2 };
                    self.state.redirected = true;
                }
                '|' if self.pattern => self.at += 1,
                '&' | '|' => {
                    self.at += 1;
                    self.end();
                }
                '<' | '>' => self.redirection(),
                '(' => {
                    self.at += 1;
                    if self.pattern {
                        // Before a pattern of `case` it says nothing.
                    } else if self.state.words.is_empty() {
                        self.end();
                        self.open.push(Open::Parenthesis);
                    } else {
                        // The name of a function.
                        self.state = State { not_a_command: true, ..State::default() };
                        self.open.push(Open::Parenthesis);
                    }
                }
                ')' => {
                    self.at += 1;
                    if self.open.last() == Some(&Open::Parenthesis) {
                        self.open.pop();
                        self.end();
                    } else {
                        // What stands before it was a pattern of `case`.
                        self.pattern = false;
                        self.state = State::default();
                    }
                }
                _ => self.word(),
            }
        }
        self.end();
    }

    fn skip_line(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.find('\n').unwrap_or(rest.len());
    }

    fn skip_documents(&mut self) {
        for (end, tabs) in std::mem::take(&mut self.documents) {
            while self.at < self.text.len() {
                let start = self.at;
                self.skip_line();
                let line = self.text.get(start..self.at).unwrap_or_default();
                self.at = (self.at + 1).min(self.text.len());
                let line = line.strip_suffix('\r').unwrap_or(line);
                if (if tabs { line.trim_start_matches('\t') } else { line }) == end {
                    break;
                }
            }
        }
    }

    fn redirection(&mut self) {
        // `2>`: the number before it is no argument.
        if let Some(last) = self.state.words.last()
            && last.raw.bytes().all(|byte| byte.is_ascii_digit())
            && self.text.get(..self.at).is_some_and(|before| before.ends_with(last.raw.as_str()))
        {
            self.state.words.pop();
        }
        if self.starts_with("<<") && !self.starts_with("<<<") {
            let tabs = self.starts_with("<<-");
            self.at += if tabs { 3 } else { 2 };
            while matches!(self.peek(), Some(' ' | '\t')) {
                self.at += 1;
            }
            let end = self.raw_word().0;
            self.documents.push((end, tabs));
            return;
        }
        while matches!(self.peek(), Some('<' | '>' | '&' | '|')) {
            self.at += 1;
        }
        if self.peek() == Some('(') {
            // A process substitution: an argument, of which nothing is known.
            self.at += 1;
            self.substitution(Inside::Parentheses);
            self.push(Word { text: UNKNOWN.to_string(), raw: String::new(), before: 0 });
            return;
        }
        self.state.redirected = true;
    }

    fn word(&mut self) {
        let start = self.at;
        let (text, quoted) = self.raw_word();
        let raw = self.text.get(start..self.at).unwrap_or_default().to_owned();
        if self.at == start {
            self.at += self.peek().map_or(1, char::len_utf8);
            return;
        }
        let met = self.met.entry(raw.clone()).or_default();
        let before = *met;
        *met += 1;
        if self.state.redirected {
            self.state.redirected = false;
            return;
        }
        if self.pattern && text != "esac" {
            return;
        }
        let at_start = self.state.words.is_empty() && self.state.assignments.is_empty() && !self.state.not_a_command;
        if at_start && !quoted && self.keyword(&text) {
            return;
        }
        if self.state.not_a_command && text == "in" && self.open.last() == Some(&Open::Case) {
            self.state = State::default();
            self.pattern = true;
            return;
        }
        if self.state.words.is_empty() && is_assignment(&text) {
            if let Some((name, value)) = text.split_once('=') {
                self.state.assignments.push((name.to_owned(), value.to_owned()));
            }
            return;
        }
        self.push(Word { text, raw, before });
    }

    fn push(&mut self, word: Word) {
        if !self.state.not_a_command {
            self.state.words.push(word);
        }
    }

    /// Reserved words, where a command begins.
    fn keyword(&mut self, text: &str) -> bool {
        match text {
            "if" | "then" | "elif" | "else" | "fi" | "while" | "until" | "do" | "done" | "{" | "}" | "!" => {}
            "for" | "select" | "function" | "[[" => self.state.not_a_command = true,
            "case" => {
                self.state.not_a_command = true;
                self.open.push(Open::Case);
            }
            "esac" => {
                self.pattern = false;
                if self.open.last() == Some(&Open::Case) {
                    self.open.pop();
                }
            }
            _ => return false,
        }
        true
    }

    fn end(&mut self) {
        let State { assignments, words, redirected: _, not_a_command } = std::mem::take(&mut self.state);
        if not_a_command && self.open.last() == Some(&Open::Case) && words.is_empty() && assignments.is_empty() {
            // `case x` and `in` may stand on lines of their own.
            self.state.not_a_command = true;
            return;
        }
        if !not_a_command && (!words.is_empty() || !assignments.is_empty()) {
            self.found.extend(with_inner(Command { assignments, words }, self.depth));
        }
    }

    /// The word that begins here, with its quotes taken off, and whether it had any.
    fn raw_word(&mut self) -> (String, bool) {
        let mut text = String::new();
        let mut quoted = false;
        while let Some(next) = self.peek() {
            match next {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                '\\' => {
                    self.at += 1;
                    match self.take() {
                        Some('\n') => {}
                        Some('\r') if self.peek() == Some('\n') => self.at += 1,
                        Some(escaped) => {
                            quoted = true;
                            text.push(escaped);
                        }
                        None => text.push('\\'),
                    }
                }
                '\'' => {
                    self.at += 1;
                    quoted = true;
                    self.until_quote(&mut text);
                }
                '"' => {
                    self.at += 1;
                    quoted = true;
                    self.double_quoted(&mut text);
                }
                '$' => self.expansion(&mut text),
                '`' => {
                    self.at += 1;
                    self.substitution(Inside::Backticks);
                    text.push(UNKNOWN);
                }
                other => {
                    self.at += other.len_utf8();
                    text.push(other);
                }
            }
        }
        (text, quoted)
    }

    fn until_quote(&mut self, text: &mut String) {
        while let Some(next) = self.take() {
            if next == '\'' {
                return;
            }
            text.push(next);
        }
    }

    fn double_quoted(&mut self, text: &mut String) {
        while let Some(next) = self.peek() {
            match next {
                '"' => {
                    self.at += 1;
                    return;
                }
                '\\' => {
                    self.at += 1;
                    match self.take() {
                        Some('\n') => {}
                        Some(escaped @ ('$' | '`' | '"' | '\\')) => text.push(escaped),
                        Some(other) => text.extend(['\\', other]),
                        None => text.push('\\'),
                    }
                }
                '$' => self.expansion(text),
                '`' => {
                    self.at += 1;
                    self.substitution(Inside::Backticks);
                    text.push(UNKNOWN);
                }
                other => {
                    self.at += other.len_utf8();
                    text.push(other);
                }
            }
        }
    }

    /// What begins with `$`.
    fn expansion(&mut self, text: &mut String) {
        self.at += 1;
        match self.peek() {
            Some('(') if self.starts_with("((") => {
                self.at += 2;
                self.skip(&[Inside::Parentheses, Inside::Parentheses]);
                text.push(UNKNOWN);
            }
            Some('(') => {
                self.at += 1;
                self.substitution(Inside::Parentheses);
                text.push(UNKNOWN);
            }
            Some('{') => {
                self.at += 1;
                self.skip(&[Inside::Braces]);
                text.push(UNKNOWN);
            }
            Some('\'') => {
                self.at += 1;
                // Escapes inside are not read: what comes of them is not certain.
                self.ansi_quoted();
                text.push(UNKNOWN);
            }
            Some('"') => {}
            Some(first) if first.is_ascii_alphabetic() || first == '_' => {
                while self.peek().is_some_and(|next| next.is_ascii_alphanumeric() || next == '_') {
                    self.at += 1;
                }
                text.push(UNKNOWN);
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!' | '0'..='9') => {
                self.at += 1;
                text.push(UNKNOWN);
            }
            Some(_) | None => text.push('$'),
        }
    }

    fn ansi_quoted(&mut self) {
        while let Some(next) = self.take() {
            match next {
                '\'' => return,
                '\\' => drop(self.take()),
                _ => {}
            }
        }
    }

    /// Skips to where this is closed, past all that is opened inside. Keeps its own stack, since what is nested may be deeper than the
    /// program's.
    fn skip(&mut self, inside: &[Inside]) {
        let mut stack = inside.to_vec();
        while let Some(top) = stack.last().copied() {
            let Some(next) = self.take() else { return };
            match (top, next) {
                (_, '\\') => drop(self.take()),
                (Inside::Parentheses, ')') | (Inside::Braces, '}') | (Inside::Quotes, '"') | (Inside::Backticks, '`') => drop(stack.pop()),
                (Inside::Backticks, _) => {}
                (_, '`') => stack.push(Inside::Backticks),
                (Inside::Parentheses, '(') => stack.push(Inside::Parentheses),
                (_, '$') if self.peek() == Some('{') => {
                    self.at += 1;
                    stack.push(Inside::Braces);
                }
                (Inside::Quotes | Inside::Braces, '$') if self.peek() == Some('(') => {
                    self.at += 1;
                    stack.push(Inside::Parentheses);
                }
                (Inside::Parentheses | Inside::Braces, '"') => stack.push(Inside::Quotes),
                (Inside::Parentheses, '\'') => self.until_quote(&mut String::new()),
                (_, _) => {}
            }
        }
    }

    /// Reads the commands of a substitution up to what closes it.
    fn substitution(&mut self, inside: Inside) {
        let start = self.at;
        self.skip(&[inside]);
        let inner = self.text.get(start..self.at).unwrap_or_default();
        let inner = inner.strip_suffix([')', '`']).unwrap_or(inner);
        let found = of_text(inner, self.depth + 1);
        self.found.extend(found);
    }
}

#[cfg(test)]
mod tests;
