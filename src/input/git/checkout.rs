//! The files of a repository at a commit → a directory of this machine, to be read as a build context.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use lapstrake_cache::Scratch;

use super::files::Stoppable;
use super::{GitError, GitFiles};
use crate::input::{Error, Outside};
use crate::plan::Git;
use crate::tree::{Contents as _, Directory, LastLink, Node, TreePath};

/// A directory with the files of a repository. It is there as long as this is.
#[derive(Debug)]
pub struct GitCheckout {
    /// Where; absolute.
    pub path: PathBuf,
    /// Holds the directory.
    _scratch: Scratch,
}

impl Outside<'_> {
    /// Fetches a repository and writes a directory of it out. `path` is that directory in the repository; all of it when it is empty.
    ///
    /// # Errors
    /// When it cannot be had, or there is no such directory in it.
    pub fn git_checkout(&self, git: &Git, path: &str) -> Result<GitCheckout, Error> {
        let files = self.git_files(git)?;
        let nowhere = || GitError::NoDirectory { url: git.url.clone(), commit: git.commit.as_str().to_owned(), path: path.to_owned() };
        let at = files.tree.resolve(path.as_bytes(), LastLink::Follow).map_err(|_| nowhere())?;
        let Some(Node::Directory(directory)) = files.tree.get(&at) else { return Err(nowhere().into()) };
        let scratch = self.store.scratch()?;
        let root = scratch.path().join("checkout");
        let written = Writing { files: &files, outside: self }.directory(&directory, &at, &root);
        match written {
            Ok(()) => Ok(GitCheckout { path: root, _scratch: scratch }),
            Err(_) if self.cancel.is_cancelled() => Err(Error::Cancelled),
            Err((path, source)) => Err(GitError::File { path, source }.into()),
        }
    }
}

struct Writing<'w> {
    files: &'w GitFiles,
    outside: &'w Outside<'w>,
}

impl Writing<'_> {
    /// Nothing is written through a link: every directory is made before what is in it, where nothing was.
    fn directory(&self, directory: &Directory, at: &TreePath, to: &Path) -> Result<(), (PathBuf, io::Error)> {
        DirBuilder::new().mode(0o755).create(to).map_err(|source| (to.to_path_buf(), source))?;
        for (name, node) in &directory.entries {
            let target = to.join(std::ffi::OsStr::from_bytes(name.as_bytes()));
            if self.outside.cancel.is_cancelled() {
                return Err((target, io::ErrorKind::Interrupted.into()));
            }
            let wrong = |source| (target.clone(), source);
            match node {
                Node::Directory(inner) => self.directory(inner, &at.join(name), &target)?,
                Node::File(file) => {
                    let mut options = OpenOptions::new();
                    options.write(true).create_new(true).mode(u32::from(file.metadata.mode));
                    let from = self.files.open(&at.join(name), &file.content).map_err(wrong)?;
                    let mut bytes = Stoppable { from, cancel: self.outside.cancel };
                    options.open(&target).and_then(|mut to| io::copy(&mut bytes, &mut to)).map_err(wrong)?;
                }
                Node::Symlink(link) => symlink(std::ffi::OsStr::from_bytes(&link.target), &target).map_err(wrong)?,
                Node::Special(_) => {}
            }
        }
        Ok(())
    }
}
