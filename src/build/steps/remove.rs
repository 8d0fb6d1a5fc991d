//! Paths that go.

use super::{Edited, Origins, StepError};
use crate::plan::{Missing, Remove};
use crate::tree::{Editor, Glob, LastLink, Tree, TreePath};

/// Removes each path and all that matches each pattern, with what is below.
pub(in crate::build) fn remove(remove: &Remove, below: &Tree) -> Result<Edited, StepError> {
    let Remove { paths, missing } = remove;
    let mut editor = Editor::new(below);
    for path in paths {
        let found: Vec<TreePath> = if Glob::is_pattern(path) {
            Glob::new(path.trim_matches('/'))?.find(below)
        } else {
            let at = editor.resolve(path.as_bytes(), LastLink::Keep)?;
            editor.get(&at).map(|_| at).into_iter().collect()
        };
        if found.is_empty() && *missing == Missing::Fail {
            return Err(StepError::NothingToRemove { path: path.clone() });
        }
        if found.iter().any(TreePath::is_root) {
            return Err(StepError::RemovesRoot);
        }
        for at in found {
            editor.remove(&at);
        }
    }
    Ok(Edited { above: editor.finish(), origins: Origins::default() })
}
