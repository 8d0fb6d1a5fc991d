//! A store → whether directories in it can say what they take away from those below; and directories that do not say it.
//!
//! An overlay refuses to have the character devices made on it by which overlays mark removed files. Where a store lies on one, kept
//! directories hold only what a layer has, and a state in which something was removed gets a directory with all that it has.

use std::sync::Arc;

use lapstrake_cache::Store;

use crate::tree::{DirectoryHandle, DiskError, Listed, Metadata, NodeKind, SpecialKind, Status, TreePath};

/// Whether the marks of overlays can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marks {
    /// As nearly everywhere.
    Possible,
    /// On an overlay.
    Impossible,
}

/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h.
const OVERLAY: i128 = 0x794c_7630;

impl Marks {
    /// For directories of this store.
    pub(super) fn of(store: &Store) -> Marks {
        match rustix::fs::statfs(store.path()) {
            Ok(found) if i128::from(found.f_type) == OVERLAY => Marks::Impossible,
            Ok(_) | Err(_) => Marks::Possible,
        }
    }
}

/// A directory in which nothing is marked.
pub(super) struct Unmarked(pub(super) Arc<dyn DirectoryHandle>);

impl DirectoryHandle for Unmarked {
    fn list(&self, directory: &TreePath) -> Result<Vec<Listed>, DiskError> {
        self.0.list(directory)
    }

    fn open(&self, file: &TreePath) -> Result<std::fs::File, DiskError> {
        self.0.open(file)
    }

    fn root_status(&self) -> Result<Status, DiskError> {
        self.0.root_status()
    }

    fn make_directory(&self, at: &TreePath) -> Result<(), DiskError> {
        self.0.make_directory(at)
    }

    fn create_file(&self, at: &TreePath) -> Result<std::fs::File, DiskError> {
        self.0.create_file(at)
    }

    fn make_symlink(&self, at: &TreePath, target: &[u8]) -> Result<(), DiskError> {
        self.0.make_symlink(at, target)
    }

    fn make_special(&self, at: &TreePath, kind: SpecialKind) -> Result<(), DiskError> {
        self.0.make_special(at, kind)
    }

    fn make_whiteout(&self, _at: &TreePath) -> Result<(), DiskError> {
        Ok(())
    }

    fn hard_link(&self, existing: &TreePath, new: &TreePath) -> Result<(), DiskError> {
        self.0.hard_link(existing, new)
    }

    fn set_metadata(&self, at: &TreePath, kind: NodeKind, metadata: &Metadata) -> Result<(), DiskError> {
        self.0.set_metadata(at, kind, metadata)
    }

    fn set_opaque(&self, _directory: &TreePath) -> Result<(), DiskError> {
        Ok(())
    }

    fn remove(&self, at: &TreePath) -> Result<(), DiskError> {
        self.0.remove(at)
    }
}
