//! Strings with references in them: `${args.NAME}`, `${env.NAME}`, `${platform.PART}`, with operators where need be.

use super::{Name, Spanned};

/// A string that may hold references, with the place of the whole string.
pub type Text = Spanned<Template>;

/// A string that may hold references, in pieces. No literal piece is empty, and no two literal pieces stand side by side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// A part of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These characters.
    Literal(String),
    /// What this stands for; the place is that of the whole reference.
    Reference(Spanned<Reference>),
}

/// Something that stands for a value: `${…}`. References in the words of operators nest at most [`Template::MOST_NESTED`] deep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Whose value.
    pub referent: Referent,
    /// What becomes of the value; `None` leaves it as it is.
    pub operator: Option<Operator>,
}

/// What a reference refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Referent {
    /// The value of an argument.
    Arg(Name),
    /// A variable of the stage's environment at this point.
    Env(String),
    /// A part of a platform; always there.
    Platform(PlatformOf, PlatformPart),
}

/// The platforms that a spec can speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlatformOf {
    /// The one that the stage is built for: `${platform.…}`.
    Stage,
    /// The one that the wanted image is built for: `${target.…}`.
    Target,
    /// The one of the machine that builds: `${builder.…}`.
    Builder,
}

/// A part of a platform's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlatformPart {
    /// Such as `linux`.
    Os,
    /// Such as `amd64`.
    Arch,
    /// Such as `v7`; nothing where the platform has none.
    Variant,
}

/// What becomes of the value of a reference, as in a shell. Words and patterns are looked at only where they are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// `-WORD`, `:-WORD`: the word where there is no value.
    Default {
        /// What counts as none.
        absent: Absent,
        /// What is put there.
        word: Template,
    },
    /// `+WORD`, `:+WORD`: the word where there is a value, else nothing.
    Alternative {
        /// What counts as none.
        absent: Absent,
        /// What is put there.
        word: Template,
    },
    /// `?MESSAGE`, `:?MESSAGE`: a mistake where there is no value.
    Require {
        /// What counts as none.
        absent: Absent,
        /// What is said; empty for the usual message.
        message: Template,
    },
    /// `#PATTERN`, `##PATTERN`: without what the pattern matches at the start.
    TrimPrefix {
        /// How much.
        extent: Extent,
        /// Docker's: `*`, `?`, and `\` before either or before itself.
        pattern: Template,
    },
    /// `%PATTERN`, `%%PATTERN`: without what the pattern matches at the end.
    TrimSuffix {
        /// How much.
        extent: Extent,
        /// As in [`Operator::TrimPrefix`].
        pattern: Template,
    },
    /// `/PATTERN/WORD`, `//PATTERN/WORD`: with the word where the pattern matches, as much as it can.
    Replace {
        /// Which matches.
        occurrences: Occurrences,
        /// As in [`Operator::TrimPrefix`]; not empty where only the first match counts, since that could not be told from the other form.
        pattern: Template,
        /// What is put there.
        with: Template,
    },
}

/// What counts as having no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Not being set.
    Unset,
    /// Not being set, and being empty: a colon before the operator.
    UnsetOrEmpty,
}

/// How much a pattern takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// As little as it can.
    Shortest,
    /// As much as it can: the operator's character twice.
    Longest,
}

/// Which matches of a pattern are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occurrences {
    /// The first.
    First,
    /// All: the operator's character twice.
    All,
}

impl PlatformOf {
    /// All of them, in the order of the reference.
    pub const ALL: [PlatformOf; 3] = [PlatformOf::Stage, PlatformOf::Target, PlatformOf::Builder];

    /// The word before the dot.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            PlatformOf::Stage => "platform",
            PlatformOf::Target => "target",
            PlatformOf::Builder => "builder",
        }
    }
}

impl PlatformPart {
    /// All of them, in the order of the reference.
    pub const ALL: [PlatformPart; 3] = [PlatformPart::Os, PlatformPart::Arch, PlatformPart::Variant];

    /// The word after the dot.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            PlatformPart::Os => "os",
            PlatformPart::Arch => "arch",
            PlatformPart::Variant => "variant",
        }
    }
}

impl Reference {
    /// The value as it is.
    #[must_use]
    pub const fn to(referent: Referent) -> Reference {
        Reference { referent, operator: None }
    }
}

impl Operator {
    /// Its words and patterns, in the order in which they are written.
    #[must_use]
    pub fn templates(&self) -> Vec<&Template> {
        match self {
            Operator::Default { absent: _, word } | Operator::Alternative { absent: _, word } => vec![word],
            Operator::Require { absent: _, message } => vec![message],
            Operator::TrimPrefix { extent: _, pattern } | Operator::TrimSuffix { extent: _, pattern } => vec![pattern],
            Operator::Replace { occurrences: _, pattern, with } => vec![pattern, with],
        }
    }
}

impl Template {
    /// How deep references can stand in the words of others.
    pub const MOST_NESTED: usize = 16;

    /// Puts pieces together; literal ones that stand side by side become one, empty ones none.
    #[must_use]
    pub fn new(pieces: impl IntoIterator<Item = Piece>) -> Template {
        let mut template = Template::default();
        for piece in pieces {
            template.push(piece);
        }
        template
    }

    /// A string without references.
    #[must_use]
    pub fn literal(text: impl Into<String>) -> Template {
        Template::new([Piece::Literal(text.into())])
    }

    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Piece) {
        match (self.pieces.last_mut(), piece) {
            (_, Piece::Literal(text)) if text.is_empty() => {}
            (Some(Piece::Literal(before)), Piece::Literal(text)) => before.push_str(&text),
            (_, piece) => self.pieces.push(piece),
        }
    }

    /// The pieces in order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The whole string, if it holds no reference.
    #[must_use]
    pub fn as_literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The one reference that the string is, if it is nothing else.
    #[must_use]
    pub fn as_reference(&self) -> Option<&Spanned<Reference>> {
        match self.pieces.as_slice() {
            [Piece::Reference(reference)] => Some(reference),
            _ => None,
        }
    }

    /// Every piece, those in the words of operators too, each reference before what stands in it.
    pub fn each_piece<'t>(&'t self, visit: &mut dyn FnMut(&'t Piece)) {
        for piece in &self.pieces {
            visit(piece);
            match piece {
                Piece::Literal(_) => {}
                Piece::Reference(reference) => {
                    for template in reference.value.operator.iter().flat_map(Operator::templates) {
                        template.each_piece(visit);
                    }
                }
            }
        }
    }
}
