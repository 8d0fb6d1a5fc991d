//! Template ⇄ string: the grammar of references.
//!
//! `${WORD.NAME}` is a reference, and an operator may stand behind the name. In front of `{`, two dollars write one; so `$${` writes `${`.
//! Everything else stands for itself, so that the variables of a shell, which have no dot, need no escape. In the words of operators a
//! backslash takes its meaning from what would have one. `specs/README.md`, "References".

use std::ops::Range;

use super::{
    Absent, Extent, Name, Occurrences, Operator, Piece, PlatformOf, PlatformPart, Reference, Referent, Spanned, Template, diagnostics,
    words,
};
use crate::diagnostic::{Diagnostic, Span, nearest};

/// The words before the dot.
const GROUPS: [&str; 5] = ["args", "env", "platform", "target", "builder"];

/// What a backslash takes the meaning from, in the word of an operator.
const ESCAPED: [char; 6] = ['}', '/', '\\', '$', '#', '%'];

/// Reads a string; `place` turns a range of its bytes into a place in the file.
pub(super) fn read(text: &str, place: &dyn Fn(Range<usize>) -> Span, report: &mut dyn FnMut(Diagnostic)) -> Template {
    let mut template = Template::default();
    let mut reader = Reader { text, at: 0, place };
    while reader.at < text.len() {
        let start = reader.at;
        if let Err(wrong) = reader.pieces(&mut template, Ends::Text, 0) {
            // The outermost reference is what is wrong; reading goes on behind it.
            let start = wrong.outermost.unwrap_or(start);
            let length = text[start..].find(['}', '\n']).unwrap_or(text.len() - start);
            let closed = text[start + length..].starts_with('}');
            reader.at = start + length + usize::from(closed);
            let whole = &text[start..reader.at];
            let mut diagnostic = diagnostics::bad_reference(place(start..reader.at), whole, &wrong.why);
            if closed && wrong.kind == Kind::UnknownGroup {
                diagnostic = diagnostic.hint(format!("write `${whole}` if these very characters are meant"));
            }
            report(diagnostic);
        }
    }
    template
}

/// What ends a run of pieces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// The end of the string.
    Text,
    /// A `}`: the word of an operator.
    Brace,
    /// A `/`: the pattern of a replacement.
    Slash,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    UnknownGroup,
    Other,
}

/// Why something is no reference, and where the outermost reference around it begins.
struct Wrong {
    why: String,
    kind: Kind,
    outermost: Option<usize>,
}

fn wrong(why: impl Into<String>) -> Wrong {
    Wrong { why: why.into(), kind: Kind::Other, outermost: None }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    place: &'t dyn Fn(Range<usize>) -> Span,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Takes what is next if it is this.
    fn takes(&mut self, what: &str) -> bool {
        let found = self.rest().starts_with(what);
        if found {
            self.at += what.len();
        }
        found
    }

    /// Takes what is next as long as it is of these characters.
    fn takes_while(&mut self, of: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.find(|character| !of(character)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Reads up to what ends it, which is left.
    fn pieces(&mut self, template: &mut Template, ends: Ends, depth: usize) -> Result<(), Wrong> {
        loop {
            let special = |character| match ends {
                Ends::Text => character == '$',
                Ends::Brace | Ends::Slash => matches!(character, '$' | '\\' | '}' | '/'),
            };
            let literal = self.takes_while(|character| !special(character));
            template.push(Piece::Literal(literal.to_owned()));
            let Some(character) = self.rest().chars().next() else {
                return match ends {
                    Ends::Text => Ok(()),
                    Ends::Brace | Ends::Slash => Err(wrong("it has no `}`")),
                };
            };
            match (character, ends) {
                ('}', Ends::Slash) => return Err(wrong("a `/` and a replacement, which may be empty, must follow the pattern")),
                ('}', Ends::Brace) | ('/', Ends::Slash) => return Ok(()),
                ('\\', _) => {
                    self.at += 1;
                    let escaped = self.rest().chars().next().filter(|next| ESCAPED.contains(next));
                    self.at += usize::from(escaped.is_some());
                    template.push(Piece::Literal(escaped.unwrap_or('\\').to_string()));
                }
                ('$', _) => self.dollars(template, ends, depth)?,
                (other, _) => {
                    self.at += other.len_utf8();
                    template.push(Piece::Literal(other.to_string()));
                }
            }
        }
    }

    /// Reads dollars, and the reference that the last may begin.
    fn dollars(&mut self, template: &mut Template, ends: Ends, depth: usize) -> Result<(), Wrong> {
        let start = self.at;
        let dollars = self.takes_while(|character| character == '$').len();
        if !self.rest().starts_with('{') {
            template.push(Piece::Literal("$".repeat(dollars)));
            return Ok(());
        }
        template.push(Piece::Literal("$".repeat(dollars / 2)));
        let brace = self.at;
        self.at += 1;
        if dollars.is_multiple_of(2) {
            template.push(Piece::Literal("{".to_owned()));
            return Ok(());
        }
        let Some(group) = group(self.rest()) else {
            if ends != Ends::Text {
                return Err(wrong("in the word of an operator, `${` that begins no reference is written `\\${`"));
            }
            template.push(Piece::Literal("${".to_owned()));
            return Ok(());
        };
        let outermost = start + dollars - 1;
        self.at = brace + 1 + group.len() + 1;
        let reference = self.reference(group, depth).map_err(|wrong| Wrong { outermost: Some(outermost), ..wrong })?;
        let span = (self.place)(outermost..self.at);
        template.push(Piece::Reference(Spanned::new(reference, span)));
        Ok(())
    }

    /// Reads a reference behind its first dot.
    fn reference(&mut self, group: &str, depth: usize) -> Result<Reference, Wrong> {
        if !GROUPS.contains(&group) {
            let near = nearest(group, GROUPS).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let why = format!("there are {}{near}", diagnostics::one_of(GROUPS, "and"));
            return Err(Wrong { why, kind: Kind::UnknownGroup, outermost: None });
        }
        if depth == Template::MOST_NESTED {
            return Err(wrong(format!("references cannot stand in each other more than {} deep", Template::MOST_NESTED)));
        }
        let start = self.at;
        let referent = self.referent(group)?;
        // The dash is part of a bare name.
        let quoted = self.text[start..].starts_with('\'');
        let operator = if self.rest().starts_with('}') { None } else { Some(self.operator(quoted, depth)?) };
        if !self.takes("}") {
            return Err(wrong("it has no `}`"));
        }
        Ok(Reference { referent, operator })
    }

    fn referent(&mut self, group: &str) -> Result<Referent, Wrong> {
        let platform = PlatformOf::ALL.into_iter().find(|of| of.word() == group);
        if let Some(of) = platform {
            let word = self.takes_while(|character| character.is_ascii_alphanumeric() || character == '_');
            return match PlatformPart::ALL.into_iter().find(|part| part.word() == word) {
                Some(part) => Ok(Referent::Platform(of, part)),
                None => Err(self.unclosed_or(format!("there are `{group}.os`, `{group}.arch` and `{group}.variant`"))),
            };
        }
        let name = if self.takes("'") {
            let name = self.takes_while(|character| character != '\'' && character != '\n');
            if !self.takes("'") {
                return Err(wrong("its name has no `'` at the end"));
            }
            name
        } else {
            self.takes_while(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.'))
        };
        match group {
            "args" => match Name::new(name) {
                Ok(name) => Ok(Referent::Arg(name)),
                Err(_) => Err(self.unclosed_or("an argument's name has letters, digits, `_`, `-` and `.`")),
            },
            _ if words::is_variable(name) => Ok(Referent::Env(name.to_owned())),
            _ => Err(self.unclosed_or("a variable's name has letters, digits, `_`, `.` and `-`")),
        }
    }

    /// What is wrong, unless it is that the line ends before the reference does.
    fn unclosed_or(&self, why: impl Into<String>) -> Wrong {
        let rest = self.rest();
        let line = rest.split('\n').next().unwrap_or(rest);
        if line.contains('}') { wrong(why) } else { wrong("it has no `}`") }
    }

    fn operator(&mut self, quoted: bool, depth: usize) -> Result<Operator, Wrong> {
        let absent = if self.takes(":") { Absent::UnsetOrEmpty } else { Absent::Unset };
        let word = |reader: &mut Reader<'t>, ends| {
            let mut word = Template::default();
            reader.pieces(&mut word, ends, depth + 1).map(|()| word)
        };
        if self.takes("-") {
            return Ok(Operator::Default { absent, word: word(self, Ends::Brace)? });
        }
        if self.takes("+") {
            return Ok(Operator::Alternative { absent, word: word(self, Ends::Brace)? });
        }
        if self.takes("?") {
            return Ok(Operator::Require { absent, message: word(self, Ends::Brace)? });
        }
        if absent == Absent::UnsetOrEmpty {
            return Err(self.unclosed_or("`-`, `+` or `?` must follow the colon"));
        }
        for (once, twice) in [("#", "##"), ("%", "%%")] {
            let extent = if self.takes(twice) {
                Extent::Longest
            } else if self.takes(once) {
                Extent::Shortest
            } else {
                continue;
            };
            let pattern = word(self, Ends::Brace)?;
            return Ok(if once == "#" { Operator::TrimPrefix { extent, pattern } } else { Operator::TrimSuffix { extent, pattern } });
        }
        let occurrences = if self.takes("//") {
            Occurrences::All
        } else if self.takes("/") {
            Occurrences::First
        } else if quoted {
            return Err(self.unclosed_or("behind the name, `}` or an operator is expected"));
        } else {
            return Err(self.unclosed_or("a name has letters, digits, `_`, `-` and `.`; behind it, `}` or an operator is expected"));
        };
        let pattern = word(self, Ends::Slash)?;
        self.at += 1;
        let with = word(self, Ends::Brace)?;
        Ok(Operator::Replace { occurrences, pattern, with })
    }
}

/// The word before a dot at the start of `text`. What has none is no reference of ours.
fn group(text: &str) -> Option<&str> {
    let length = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    (starts && text[length..].starts_with('.')).then(|| &text[..length])
}

/// Writes a string as [`read`] reads it.
pub(super) fn write(template: &Template) -> String {
    let mut text = String::new();
    let mut pieces = template.pieces().iter().peekable();
    while let Some(piece) = pieces.next() {
        match piece {
            Piece::Literal(literal) => {
                let reference_follows = pieces.peek().is_some();
                write_literal(&mut text, literal, reference_follows);
            }
            Piece::Reference(reference) => write_reference(&mut text, &reference.value),
        }
    }
    text
}

fn write_literal(text: &mut String, literal: &str, reference_follows: bool) {
    let mut rest = literal;
    while let Some(start) = rest.find('$') {
        text.push_str(&rest[..start]);
        let dollars = rest[start..].bytes().take_while(|byte| *byte == b'$').count();
        let after = &rest[start + dollars..];
        let doubled = match after.strip_prefix('{') {
            Some(inner) => dollars > 1 || group(inner).is_some(),
            None => after.is_empty() && reference_follows,
        };
        text.push_str(&"$".repeat(if doubled { dollars * 2 } else { dollars }));
        rest = after;
    }
    text.push_str(rest);
}

fn write_reference(text: &mut String, reference: &Reference) {
    let Reference { referent, operator } = reference;
    text.push_str("${");
    // A dash behind a bare name would be part of it.
    let quote = match operator {
        Some(Operator::Default { absent: Absent::Unset, .. }) => "'",
        Some(_) | None => "",
    };
    match referent {
        Referent::Arg(name) => text.push_str(&format!("args.{quote}{name}{quote}")),
        Referent::Env(name) => text.push_str(&format!("env.{quote}{name}{quote}")),
        Referent::Platform(of, part) => text.push_str(&format!("{}.{}", of.word(), part.word())),
    }
    if let Some(operator) = operator {
        let sign = sign(operator);
        text.push_str(sign);
        match operator {
            Operator::Replace { occurrences: _, pattern, with } => {
                write_word(text, pattern, None, &['/']);
                text.push('/');
                write_word(text, with, None, &[]);
            }
            Operator::TrimPrefix { extent: _, pattern } => write_word(text, pattern, Some('#'), &[]),
            Operator::TrimSuffix { extent: _, pattern } => write_word(text, pattern, Some('%'), &[]),
            Operator::Default { absent: _, word } | Operator::Alternative { absent: _, word } => write_word(text, word, None, &[]),
            Operator::Require { absent: _, message } => write_word(text, message, None, &[]),
        }
    }
    text.push('}');
}

/// What stands before the first word of an operator.
fn sign(operator: &Operator) -> &'static str {
    match operator {
        Operator::Default { absent: Absent::Unset, .. } => "-",
        Operator::Default { absent: Absent::UnsetOrEmpty, .. } => ":-",
        Operator::Alternative { absent: Absent::Unset, .. } => "+",
        Operator::Alternative { absent: Absent::UnsetOrEmpty, .. } => ":+",
        Operator::Require { absent: Absent::Unset, .. } => "?",
        Operator::Require { absent: Absent::UnsetOrEmpty, .. } => ":?",
        Operator::TrimPrefix { extent: Extent::Shortest, .. } => "#",
        Operator::TrimPrefix { extent: Extent::Longest, .. } => "##",
        Operator::TrimSuffix { extent: Extent::Shortest, .. } => "%",
        Operator::TrimSuffix { extent: Extent::Longest, .. } => "%%",
        Operator::Replace { occurrences: Occurrences::First, .. } => "/",
        Operator::Replace { occurrences: Occurrences::All, .. } => "//",
    }
}

/// Writes the word of an operator. Besides what always has one, these characters get a backslash: one at the start, that would be taken for
/// a second sign, and those that would end the word.
fn write_word(text: &mut String, word: &Template, at_start: Option<char>, ends: &[char]) {
    for (place, piece) in word.pieces().iter().enumerate() {
        match piece {
            Piece::Reference(reference) => write_reference(text, &reference.value),
            Piece::Literal(literal) => {
                for (at, character) in literal.char_indices() {
                    let first = place == 0 && at == 0 && at_start == Some(character);
                    if first || matches!(character, '}' | '\\' | '$') || ends.contains(&character) {
                        text.push('\\');
                    }
                    text.push(character);
                }
            }
        }
    }
}

/// What a reference looks like in a spec.
pub(super) fn reference(reference: &Spanned<Reference>) -> String {
    let mut text = String::new();
    write_reference(&mut text, &reference.value);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_clean(text: &str) -> Template {
        let mut diagnostics = Vec::new();
        let template = read(text, &|_| Span::NONE, &mut |diagnostic| diagnostics.push(diagnostic));
        assert_eq!(diagnostics, [], "{text}");
        template
    }

    fn to(referent: Referent) -> Piece {
        with(referent, None)
    }

    fn with(referent: Referent, operator: Option<Operator>) -> Piece {
        Piece::Reference(Spanned::made(Reference { referent, operator }))
    }

    fn named(name: &str) -> Referent {
        Referent::Arg(Name::new(name).unwrap())
    }

    fn arg(name: &str) -> Piece {
        to(named(name))
    }

    fn literal(text: &str) -> Piece {
        Piece::Literal(text.to_owned())
    }

    #[test]
    fn only_a_word_with_a_dot_is_a_reference() {
        for same in ["", "$", "$$", "${HOME}", "$HOME", "${x:-a.b}", "${x%.tar}", "${", "${}", "${.x}", "a}b", "$(pwd)", "${1.x}"] {
            assert_eq!(read_clean(same), Template::literal(same));
        }
        assert_eq!(read_clean("a${args.b}c"), Template::new([literal("a"), arg("b"), literal("c")]));
        assert_eq!(read_clean("${platform.arch}"), Template::new([to(Referent::Platform(PlatformOf::Stage, PlatformPart::Arch))]));
        assert_eq!(read_clean("${builder.os}"), Template::new([to(Referent::Platform(PlatformOf::Builder, PlatformPart::Os))]));
    }

    #[test]
    fn two_dollars_before_a_brace_write_one() {
        assert_eq!(read_clean("$${args.b}"), Template::literal("${args.b}"));
        assert_eq!(read_clean("$${HOME}"), Template::literal("${HOME}"));
        assert_eq!(read_clean("$$${args.b}"), Template::new([literal("$"), arg("b")]));
        assert_eq!(read_clean("$$$${args.b}"), Template::literal("$${args.b}"));
        assert_eq!(read_clean("$$ $$x"), Template::literal("$$ $$x"));
    }

    #[test]
    fn what_looks_like_a_reference_and_is_none_is_refused() {
        for bad in ["${args.}", "${args.a b}", "${args.a", "${arg.a}", "${env.}", "${platform.cpu}", "${args.a\n}", "${env.1}"] {
            let mut count = 0;
            read(bad, &|_| Span::NONE, &mut |_| count += 1);
            assert_eq!(count, 1, "{bad}");
        }
    }

    fn default(name: &str, absent: Absent, word: impl IntoIterator<Item = Piece>) -> Template {
        Template::new([with(named(name), Some(Operator::Default { absent, word: Template::new(word) }))])
    }

    #[test]
    fn an_operator_stands_behind_the_name() {
        use Absent::{Unset, UnsetOrEmpty};
        let trim = |extent, pattern: &str| {
            let pattern = Template::literal(pattern);
            Template::new([with(Referent::Env("A".to_owned()), Some(Operator::TrimPrefix { extent, pattern }))])
        };
        let replace = |occurrences, pattern: &str, word: &str| {
            let (pattern, word) = (Template::literal(pattern), Template::literal(word));
            Template::new([with(named("a"), Some(Operator::Replace { occurrences, pattern, with: word }))])
        };
        for (text, template) in [
            ("${args.a:-b c}", default("a", UnsetOrEmpty, [literal("b c")])),
            ("${args.'a'-b}", default("a", Unset, [literal("b")])),
            ("${args.'a-b'-}", default("a-b", Unset, [])),
            (
                "${args.a:-${args.'b'-c}d}",
                default("a", UnsetOrEmpty, [default("b", Unset, [literal("c")]).pieces()[0].clone(), literal("d")]),
            ),
            ("${args.a:-\\}\\$\\\\/\\x$HOME}", default("a", UnsetOrEmpty, [literal("}$\\/\\x$HOME")])),
            ("${env.A#*/}", trim(Extent::Shortest, "*/")),
            ("${env.A##*}", trim(Extent::Longest, "*")),
            ("${env.A#\\#}", trim(Extent::Shortest, "#")),
            ("${args.a/x/y/z}", replace(Occurrences::First, "x", "y/z")),
            ("${args.a//\\//}", replace(Occurrences::All, "/", "")),
        ] {
            assert_eq!(read_clean(text), template, "{text}");
            assert_eq!(read_clean(&write(&template)), template, "{text}");
        }
        // A dash belongs to a bare name.
        assert_eq!(read_clean("${args.a-b}"), Template::new([arg("a-b")]));
    }

    #[test]
    fn an_operator_that_is_not_whole_is_refused() {
        for bad in [
            "${args.a:}",
            "${args.a:x}",
            "${args.a^}",
            "${args.a/x}",
            "${args.a:-b",
            "${args.'a}",
            "${args.a:-${HOME}}",
            "${platform.os-${arg.a}}",
        ] {
            let mut count = 0;
            read(bad, &|_| Span::NONE, &mut |_| count += 1);
            assert_eq!(count, 1, "{bad}");
        }
    }

    #[test]
    fn references_nest_as_deep_as_is_said_and_no_deeper() {
        let nested = |depth: usize| format!("{}x{}", "${args.a:-".repeat(depth), "}".repeat(depth));
        read_clean(&nested(Template::MOST_NESTED));
        for depth in [Template::MOST_NESTED + 1, 100_000] {
            let mut count = 0;
            read(&nested(depth), &|_| Span::NONE, &mut |_| count += 1);
            assert!(count > 0);
        }
    }

    fn literals() -> impl Strategy<Value = Piece> {
        prop_oneof!["[${}a.rgs:/#%\\\\-]{0,8}".prop_map(Piece::Literal), any::<String>().prop_map(Piece::Literal)]
    }

    fn references(word: BoxedStrategy<Template>) -> impl Strategy<Value = Piece> {
        let part = prop::sample::select(PlatformPart::ALL.to_vec());
        let referent = prop_oneof![
            "[a-z_][a-z0-9._-]{0,5}".prop_map(|name| named(&name)),
            "[A-Z_][A-Z0-9._-]{0,5}".prop_map(Referent::Env),
            (prop::sample::select(PlatformOf::ALL.to_vec()), part).prop_map(|(of, part)| Referent::Platform(of, part)),
        ];
        let absent = || prop::sample::select(vec![Absent::Unset, Absent::UnsetOrEmpty]);
        let extent = || prop::sample::select(vec![Extent::Shortest, Extent::Longest]);
        let occurrences = prop::sample::select(vec![Occurrences::First, Occurrences::All]);
        let operator = prop_oneof![
            (absent(), word.clone()).prop_map(|(absent, word)| Operator::Default { absent, word }),
            (absent(), word.clone()).prop_map(|(absent, word)| Operator::Alternative { absent, word }),
            (absent(), word.clone()).prop_map(|(absent, message)| Operator::Require { absent, message }),
            (extent(), word.clone()).prop_map(|(extent, pattern)| Operator::TrimPrefix { extent, pattern }),
            (extent(), word.clone()).prop_map(|(extent, pattern)| Operator::TrimSuffix { extent, pattern }),
            (occurrences, word.clone(), word).prop_map(|(occurrences, pattern, with)| {
                let occurrences = if pattern.pieces().is_empty() { Occurrences::All } else { occurrences };
                Operator::Replace { occurrences, pattern, with }
            }),
        ];
        (referent, prop::option::of(operator)).prop_map(|(referent, operator)| with(referent, operator))
    }

    fn templates() -> BoxedStrategy<Template> {
        let plain = prop::collection::vec(literals(), 0..3).prop_map(Template::new);
        plain
            .prop_recursive(4, 24, 4, |inner| {
                prop::collection::vec(prop_oneof![literals(), references(inner.boxed())], 0..5).prop_map(Template::new).boxed()
            })
            .boxed()
    }

    proptest! {
        #[test]
        fn every_template_has_a_spelling(template in templates()) {
            prop_assert_eq!(read_clean(&write(&template)), template);
        }

        #[test]
        fn any_text_is_read_without_panic(text in "[${}.args env\n:/#%\\\\'?+-]{0,24}") {
            read(&text, &|_| Span::NONE, &mut |_| {});
        }
    }
}
