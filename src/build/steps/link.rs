//! Symbolic and hard links.

use super::{Edited, Origins, StepError, made, parents};
use crate::build::accounts::Owner;
use crate::plan::{Link, LinkKind};
use crate::tree::{Editor, LastLink, Node, Symlink, Tree};

/// Makes the link; missing parents are made, a file or link that has the name is replaced.
pub(in crate::build) fn link(link: &Link, below: &Tree) -> Result<Edited, StepError> {
    let Link { path, target, kind } = link;
    let mut editor = Editor::new(below);
    let at = editor.resolve(path.as_bytes(), LastLink::Keep)?;
    if let Some(Node::Directory(_)) = editor.get(&at) {
        return Err(StepError::InTheWay { what: "a link", path: at, there: "a directory" });
    }
    if let Some(parent) = at.parent() {
        editor.make_directories(&[b"/", parent.as_bytes()].concat(), &parents())?;
    }
    let mut origins = Origins::default();
    match kind {
        LinkKind::Symbolic => {
            let target = target.clone().into_bytes();
            editor.put(&at, Node::Symlink(Symlink { metadata: made(0o777, Owner::default()), target: target.into() }))?;
        }
        LinkKind::Hard => {
            let existing = editor.resolve(target.as_bytes(), LastLink::Follow)?;
            if let Some(Node::File(file)) = editor.get(&existing) {
                origins.note_link(&existing, &file.content);
            }
            editor.link(&existing, &at)?;
        }
    }
    Ok(Edited { above: editor.finish(), origins })
}
