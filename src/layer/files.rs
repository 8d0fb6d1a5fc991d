//! Named bytes → a plain tar archive of files: what archives of images are made of. Nothing is known of the bytes but how many they are.
//!
//! Headers are those of layers (`specs/layers.md`, section "Tar stream"), with mode 0644 or 0755, owner 0:0 and time 0.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use super::header::{END, Header, Kind, padding};
use super::writer::PackError;
use crate::event::Cancel;
use crate::tree::{TreePath, Xattrs};

const BUFFER_BYTES: usize = 256 << 10;

/// Writes the files of a list, each with so many bytes, in the order of their names, and the directories above them. Each is opened when
/// its turn has come.
///
/// # Errors
/// When a file cannot be opened or read, has fewer or more bytes than the list says, the sink fails or `cancel` is raised.
pub fn pack_files(
    files: &BTreeMap<TreePath, u64>,
    open: &mut dyn FnMut(&TreePath) -> io::Result<Box<dyn Read + Send>>,
    sink: &mut dyn Write,
    cancel: &Cancel,
) -> Result<(), PackError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut directories = BTreeSet::new();
    for (path, size) in files {
        for directory in parents(path) {
            if directories.insert(directory.clone()) {
                let name = [directory.as_bytes(), b"/"].concat();
                header(path, &name, Kind::Directory, 0o755, sink)?;
            }
        }
        header(path, path.as_bytes(), Kind::File { size: *size }, 0o644, sink)?;
        let unreadable = |source| PackError::Contents { path: path.clone(), source };
        let changed = || PackError::ContentChanged { path: path.clone() };
        let mut content = open(path).map_err(unreadable)?;
        let mut remaining = *size;
        loop {
            if cancel.is_cancelled() {
                return Err(PackError::Cancelled);
            }
            match content.read(&mut buffer) {
                Ok(0) if remaining == 0 => break,
                Ok(0) => return Err(changed()),
                Ok(read) => {
                    remaining = remaining.checked_sub(read as u64).ok_or_else(changed)?;
                    sink.write_all(&buffer[..read]).map_err(PackError::Sink)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
        sink.write_all(&vec![0; padding(*size)]).map_err(PackError::Sink)?;
    }
    sink.write_all(&END).map_err(PackError::Sink)
}

fn header(path: &TreePath, name: &[u8], kind: Kind<'_>, mode: u16, sink: &mut dyn Write) -> Result<(), PackError> {
    let mut out = Vec::new();
    let header = Header { name, kind, mode, uid: 0, gid: 0, mtime: 0, xattrs: &Xattrs::new() };
    header.append_to(&mut out).map_err(|error| PackError::Untarrable { path: path.clone(), source: error.into() })?;
    sink.write_all(&out).map_err(PackError::Sink)
}

/// The directories above a path, the highest first, without the root.
fn parents(path: &TreePath) -> Vec<TreePath> {
    let mut parents: Vec<TreePath> =
        std::iter::successors(path.parent(), TreePath::parent).filter(|parent| !parent.as_bytes().is_empty()).collect();
    parents.reverse();
    parents
}
