//! Strings with references in them: `${args.NAME}`, `${env.NAME}`, `${platform.PART}`.

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
    /// The value of an argument; the place is that of the whole reference.
    Arg(Spanned<Name>),
    /// A variable of the stage's environment at this point.
    Env(Spanned<String>),
    /// A part of the platform that is built for.
    Platform(Spanned<PlatformPart>),
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

impl PlatformPart {
    /// All of them, in the order of the reference.
    pub const ALL: [PlatformPart; 3] = [PlatformPart::Os, PlatformPart::Arch, PlatformPart::Variant];

    /// The word after `platform.`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            PlatformPart::Os => "os",
            PlatformPart::Arch => "arch",
            PlatformPart::Variant => "variant",
        }
    }
}

impl Template {
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
}
