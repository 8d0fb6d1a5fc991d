//! The end of a stage → its file system, in a directory or as a tar archive.

use std::fs;
use std::path::Path;

use super::WriteError;
use super::write::{at, whole};
use crate::build::Engine;
use crate::event::Cancel;
use crate::layer;
use crate::tree::{Contents, Tree, checkout_tree};

/// Writes a file system into a directory that is empty or not there. Owners are those of the image where the engine's hands can give them.
pub(super) fn write_directory(
    engine: &Engine,
    tree: &Tree,
    contents: &dyn Contents,
    path: &Path,
    cancel: &Cancel,
) -> Result<(), WriteError> {
    at(path, fs::create_dir_all(path))?;
    if at(path, fs::read_dir(path))?.next().is_some() {
        return Err(WriteError::NotEmpty { path: path.to_path_buf() });
    }
    let path = at(path, path.canonicalize())?;
    let into = engine.open_directory(&path)?;
    checkout_tree(tree, contents, &*into, cancel)?;
    Ok(())
}

/// Writes a file system as a tar archive.
pub(super) fn write_archive(tree: &Tree, contents: &dyn Contents, path: &Path, cancel: &Cancel) -> Result<(), WriteError> {
    whole(path, |file| {
        layer::pack_tree(tree, contents, file, cancel)?;
        Ok(())
    })
}
