//! Trees and differences in, directories on disk out.

use std::io::{self, Read, Write};

use lapstrake_cache::Fingerprinter;

use super::hash::{self, Threads};
use super::{Change, Content, Contents, Difference, DirectoryHandle, DiskError, Entry, File, NodeKind, Tree, TreePath};
use crate::event::Cancel;

/// Something could not be written out.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// The directory or something in it cannot be made.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The bytes of a file cannot be had.
    #[error("cannot read the contents of `{path}`")]
    Read {
        /// The file.
        path: TreePath,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The bytes of a file cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: TreePath,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The bytes of a file are others than its fingerprint and size say.
    #[error("`{path}` was changed while it was being used; try again when nothing writes to it")]
    OtherContent {
        /// The file.
        path: TreePath,
    },
    /// Stopping was asked for.
    #[error("cancelled")]
    Cancelled,
}

/// Writes a difference into an empty directory, so that it can be a lower directory of an overlay: whiteouts as character devices 0:0,
/// opaque directories by their mark. The directory itself gets the root's metadata, unless the difference is empty and has no root.
///
/// # Errors
/// When something cannot be made or read, or contents are not what their fingerprints say; when `cancel` says so. What was written
/// until then stays.
pub fn checkout_difference(
    difference: &Difference,
    contents: &dyn Contents,
    into: &dyn DirectoryHandle,
    cancel: &Cancel,
) -> Result<(), CheckoutError> {
    let mut plan = Plan::default();
    let mut linked = std::collections::BTreeMap::new();
    for group in difference.links.groups() {
        if let Some((first, others)) = group.split_first() {
            linked.extend(others.iter().map(|path| (path, first)));
        }
    }
    for (path, change) in &difference.entries {
        if cancel.is_cancelled() {
            return Err(CheckoutError::Cancelled);
        }
        let entry = match change {
            Change::Whiteout => {
                into.make_whiteout(path)?;
                continue;
            }
            Change::Put(entry) => entry,
        };
        if let Some(first) = linked.get(path) {
            plan.links.push((first, path));
            continue;
        }
        match entry {
            Entry::Directory(_) => {
                if !path.is_root() {
                    into.make_directory(path)?;
                }
                plan.directories.push((path, entry));
            }
            Entry::File(file) => plan.files.push((path, file)),
            Entry::Symlink(symlink) => {
                into.make_symlink(path, &symlink.target)?;
                into.set_metadata(path, NodeKind::Symlink, &symlink.metadata)?;
            }
            Entry::Special(special) => {
                into.make_special(path, special.kind)?;
                into.set_metadata(path, NodeKind::Special, &special.metadata)?;
            }
        }
    }
    let bytes = plan.files.iter().fold(0_u64, |sum, (_, file)| sum.saturating_add(file.content.size));
    let order: Vec<usize> = (0..plan.files.len()).collect();
    let threads = Threads::Cores.number(plan.files.len(), bytes);
    hash::in_parallel(&plan.files, &order, threads, |(path, file), buffer| copy(path, file, contents, into, buffer, cancel))?;
    for (existing, new) in plan.links {
        into.hard_link(existing, new)?;
    }
    // Backwards, since whatever is made in a directory changes its time.
    for (path, entry) in plan.directories.into_iter().rev() {
        into.set_metadata(path, NodeKind::Directory, entry.metadata())?;
        if difference.opaque.contains(path) {
            into.set_opaque(path)?;
        }
    }
    Ok(())
}

/// Writes a tree into an empty directory.
///
/// # Errors
/// As [`checkout_difference`].
pub fn checkout_tree(tree: &Tree, contents: &dyn Contents, into: &dyn DirectoryHandle, cancel: &Cancel) -> Result<(), CheckoutError> {
    checkout_difference(&Difference::whole(tree), contents, into, cancel)
}

/// What is done after the directories have been made.
#[derive(Default)]
struct Plan<'a> {
    files: Vec<(&'a TreePath, &'a File)>,
    links: Vec<(&'a TreePath, &'a TreePath)>,
    directories: Vec<(&'a TreePath, &'a Entry)>,
}

/// Where a file's bytes come from.
enum Source {
    /// To be read and written.
    Bytes(Box<dyn Read + Send>),
    /// They are there already, in blocks that are shared until one side is written to; they are only read.
    Cloned,
}

impl Source {
    /// Shares the blocks where the file system can do that: ioctl_ficlone(2).
    fn of(source: std::fs::File, target: &std::fs::File) -> Source {
        match rustix::fs::ioctl_ficlone(target, &source) {
            Ok(()) => Source::Cloned,
            Err(_) => Source::Bytes(Box::new(source)),
        }
    }

    fn read(&mut self, target: &mut std::fs::File, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Bytes(source) => source.read(buffer),
            Source::Cloned => target.read(buffer),
        }
    }
}

fn copy(
    path: &TreePath,
    file: &File,
    contents: &dyn Contents,
    into: &dyn DirectoryHandle,
    buffer: &mut [u8],
    cancel: &Cancel,
) -> Result<(), CheckoutError> {
    let unreadable = |source| CheckoutError::Read { path: path.clone(), source };
    let mut target = into.create_file(path)?;
    let mut source = match contents.file(path, &file.content).map_err(unreadable)? {
        Some(source) => Source::of(source, &target),
        None => Source::Bytes(contents.open(path, &file.content).map_err(unreadable)?),
    };
    let mut hasher = Fingerprinter::new();
    let mut size = 0_u64;
    loop {
        if cancel.is_cancelled() {
            return Err(CheckoutError::Cancelled);
        }
        let length = match source.read(&mut target, buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(unreadable(source)),
        };
        let bytes = buffer.get(..length).unwrap_or_default();
        size = size.saturating_add(length as u64);
        if size > file.content.size {
            return Err(CheckoutError::OtherContent { path: path.clone() });
        }
        hasher.update(bytes);
        if let Source::Bytes(_) = source {
            target.write_all(bytes).map_err(|source| CheckoutError::Write { path: path.clone(), source })?;
        }
    }
    drop(target);
    if (Content { fingerprint: hasher.finish(), size }) != file.content {
        return Err(CheckoutError::OtherContent { path: path.clone() });
    }
    Ok(into.set_metadata(path, NodeKind::File, &file.metadata)?)
}
