//! A file whose bytes stand in the spec.

use std::sync::Arc;

use lapstrake_cache::Fingerprint;

use super::{Edited, Origin, Origins, StepError, made, parents};
use crate::build::accounts::{Accounts, Owner};
use crate::plan::Write;
use crate::tree::{Content, Editor, File, LastLink, Node, Tree};

/// Writes the file; missing parents are made.
pub(in crate::build) fn write(write: &Write, below: &Tree, accounts: &Accounts<'_>) -> Result<Edited, StepError> {
    let Write { path, content, owner, mode, name } = write;
    let owner = owner.as_deref().map_or(Ok(Owner::default()), |owner| accounts.owner(owner))?;
    let named = Content { fingerprint: Fingerprint::of(content), size: content.len() as u64 };
    let mut editor = Editor::new(below);
    let at = editor.resolve(path.as_bytes(), LastLink::Follow)?;
    let path = match (name, editor.get(&at)) {
        (Some(name), Some(Node::Directory(_))) => &format!("{}/{name}", path.trim_end_matches('/')),
        (Some(_), Some(Node::File(_) | Node::Symlink(_) | Node::Special(_)) | None) | (None, _) => path,
    };
    put_file(&mut editor, path, File { metadata: made(*mode, owner).into(), content: named })?;
    Ok(Edited { above: editor.finish(), origins: Origins::only(named.fingerprint, Origin::Bytes(Arc::from(content.as_slice()))) })
}

/// Puts one file at a path whose links are followed, and makes missing parents.
pub(in crate::build) fn put_file(editor: &mut Editor, path: &str, file: File) -> Result<(), StepError> {
    let at = editor.resolve(path.as_bytes(), LastLink::Follow)?;
    if let Some(Node::Directory(_)) = editor.get(&at) {
        return Err(StepError::InTheWay { what: "a file", path: at, there: "a directory" });
    }
    if let Some(parent) = at.parent() {
        let made = [b"/", parent.as_bytes()].concat();
        editor.make_directories(&made, &parents())?;
    }
    editor.put(&at, Node::File(file))?;
    Ok(())
}
