//! Directories and their missing parents.

use super::{Edited, Origins, StepError, made};
use crate::build::accounts::{Accounts, Owner};
use crate::plan::MakeDirectory;
use crate::tree::{Editor, LastLink, Metadata, Node, Tree};

/// Makes what is missing; gives owner and mode, where they are named, to the directories named, be they new or not.
pub(in crate::build) fn make_directory(make: &MakeDirectory, below: &Tree, accounts: &Accounts<'_>) -> Result<Edited, StepError> {
    let MakeDirectory { paths, owner, owner_of_new, mode } = make;
    let owner = owner.as_deref().map(|owner| accounts.owner(owner)).transpose()?;
    let new = owner_of_new.as_deref().map(|owner| accounts.owner(owner)).transpose()?.unwrap_or_default();
    let mut editor = Editor::new(below);
    for path in paths {
        let at = editor.resolve(path.as_bytes(), LastLink::Follow)?;
        let existed = editor.get(&at);
        editor.make_directories(path.as_bytes(), &made(0o755, new))?;
        let metadata = match existed {
            Some(Node::Directory(directory)) => {
                let Owner { uid, gid } = owner.unwrap_or(Owner { uid: directory.metadata.uid, gid: directory.metadata.gid });
                Metadata { mode: mode.unwrap_or(directory.metadata.mode), uid, gid, ..directory.metadata.clone() }
            }
            Some(Node::File(_) | Node::Symlink(_) | Node::Special(_)) | None => made(mode.unwrap_or(0o755), owner.unwrap_or(new)),
        };
        editor.set_metadata(&at, metadata)?;
    }
    Ok(Edited { above: editor.finish(), origins: Origins::default() })
}
