//! Removing trees: a path in, nothing left there. Pluggable, because directories may belong to ids that only a helper can act for.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{FileType, Mode};

use crate::walk::Below;

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
    let mut waiting = vec![Below::top(top)];
    while let Some(below) = waiting.pop() {
        if FileType::from_raw_mode(below.stat()?.st_mode) == FileType::Directory {
            below.set_mode(Mode::RWXU)?;
            below.list(&mut waiting)?;
        }
    }
    Ok(())
}
