//! Removing trees: a path in, nothing left there. Pluggable, because directories may belong to ids that only a helper can act for.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Removes a file, or a directory with all that is below, without following symbolic links.
pub trait RemoveTree {
    /// Removes what is at the path; nothing being there is success.
    ///
    /// # Errors
    /// What the system answers. The store reports it and goes on.
    fn remove_tree(&self, path: &Path) -> io::Result<()>;
}

/// Removes what belongs to the calling user, read-only directories included.
#[derive(Debug, Clone, Copy)]
pub struct RemoveOwn;

impl RemoveTree for RemoveOwn {
    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        let removed = remove(path);
        match removed {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                make_writable(path)?;
                remove(path)
            }
            Ok(()) | Err(_) => removed,
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(()) | Err(_) => removed,
    }
}

/// Entries cannot be removed from a directory without the bits to write and search it.
fn make_writable(top: &Path) -> io::Result<()> {
    let mut waiting = vec![top.to_owned()];
    while let Some(directory) = waiting.pop() {
        if !fs::symlink_metadata(&directory)?.is_dir() {
            continue;
        }
        fs::set_permissions(&directory, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Ok(())
}
