//! Sentences for the history of an image, put together from words and templates.

use crate::diagnostic::Span;
use crate::spec::{Piece, Spanned, Template, Text};

/// A sentence.
#[derive(Debug, Clone, Default)]
pub(super) struct Phrase(Template);

impl Phrase {
    /// Begins with these characters.
    pub(super) fn new(start: &str) -> Phrase {
        Phrase(Template::literal(start))
    }

    /// Goes on with these characters.
    pub(super) fn text(mut self, text: &str) -> Phrase {
        self.0.push(Piece::Literal(text.to_owned()));
        self
    }

    /// Goes on with a template.
    pub(super) fn template(mut self, template: &Template) -> Phrase {
        template.pieces().iter().for_each(|piece| self.0.push(piece.clone()));
        self
    }

    /// Goes on with a space and a template.
    pub(super) fn word(self, template: &Template) -> Phrase {
        self.text(" ").template(template)
    }

    /// The whole sentence.
    pub(super) fn at(self, span: Span) -> Text {
        Spanned::new(self.0, span)
    }

    /// The whole sentence, where there is one: the history has no empty ones.
    pub(super) fn whole(self) -> Template {
        self.0
    }
}
