//! A directory worked with through the file agent of a user namespace, as the tree room sees directories.

use std::io;
use std::path::Path;

use crate::sandbox::{
    AgentDirectory, AgentError, Bytes, EntryKind, EntryMetadata, FileAgent, ListedEntry, Operation, Rung, SpecialNode, instead,
};
use crate::tree::{
    DirectoryHandle, DiskError, DiskTime, Listed, ListedKind, Metadata, Name, NodeKind, Opaque, SpecialKind, Status, TreePath, Xattrs,
};

/// One directory, opened through the agent.
pub(super) struct AgentHandle(AgentDirectory);

impl AgentHandle {
    pub(super) fn open(agent: &FileAgent, path: &Path) -> Result<AgentHandle, DiskError> {
        agent.directory(path).map(AgentHandle).map_err(|error| DiskError::new("open", &TreePath::root(), error.into_io()))
    }

    pub(super) fn of(directory: &AgentDirectory) -> AgentHandle {
        AgentHandle(directory.clone())
    }

    fn apply(&self, action: &'static str, at: &TreePath, operation: Operation) -> Result<(), DiskError> {
        self.0.apply(&[operation]).map_err(failed(action, at))
    }
}

/// What the kernel refuses in a user namespace, and [`Rung::SingleId`](crate::sandbox::Rung::SingleId) has.
#[derive(Debug, thiserror::Error)]
pub(super) enum Beyond {
    /// A device.
    #[error("in a user namespace no device can be made ({source}); {}", instead(Rung::UserNamespace))]
    Device {
        /// The kernel's answer.
        source: io::Error,
    },
    /// An owner.
    #[error(
        "the kernel gives no file to {uid}:{gid} here ({source}); where these are beyond the caller's ids, {}",
        instead(Rung::UserNamespace)
    )]
    Owner {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Beyond {
    /// What an error comes from, where it is this.
    pub(super) fn behind<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Beyond> {
        let mut next = Some(error);
        while let Some(error) = next {
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(beyond) = error.downcast_ref().or_else(|| inner?.downcast_ref()) {
                return Some(beyond);
            }
            next = error.source();
        }
        None
    }

    /// For people, beginning with `to`.
    pub(super) fn wanted(&self) -> String {
        match self {
            Beyond::Device { source: _ } => "to have a device".to_owned(),
            Beyond::Owner { uid, gid, source: _ } => format!("to give a file to {uid}:{gid}"),
        }
    }
}

fn failed(action: &'static str, at: &TreePath) -> impl FnOnce(AgentError) -> DiskError {
    let at = at.clone();
    move |error| DiskError::new(action, &at, error.into_io())
}

/// Metadata as the sandbox takes them.
pub(super) fn entry_metadata(metadata: &Metadata) -> EntryMetadata {
    let Metadata { mode, uid, gid, mtime, xattrs } = metadata;
    EntryMetadata {
        mode: *mode,
        uid: *uid,
        gid: *gid,
        mtime_seconds: *mtime,
        mtime_nanoseconds: 0,
        xattrs: xattrs.iter().map(|(name, value)| (Bytes(name.clone()), Bytes(value.clone()))).collect(),
    }
}

fn bytes(path: &TreePath) -> Bytes {
    Bytes(path.as_bytes().to_vec())
}

impl DirectoryHandle for AgentHandle {
    fn list(&self, directory: &TreePath) -> Result<Vec<Listed>, DiskError> {
        let entries = self.0.list(directory.as_bytes()).map_err(failed("list", directory))?;
        entries
            .into_iter()
            .map(|entry| {
                let name = Name::new(&entry.name.0)
                    .map_err(|error| DiskError::new("list", directory, io::Error::new(io::ErrorKind::InvalidData, error)))?;
                Ok(Listed { name, status: status(entry) })
            })
            .collect()
    }

    fn open(&self, file: &TreePath) -> Result<std::fs::File, DiskError> {
        self.0.open(file.as_bytes()).map_err(failed("open", file))
    }

    fn root_status(&self) -> Result<Status, DiskError> {
        self.0.stat(b"").map(status).map_err(failed("read", &TreePath::root()))
    }

    fn make_directory(&self, at: &TreePath) -> Result<(), DiskError> {
        self.apply("make the directory", at, Operation::MakeDirectory { at: bytes(at) })
    }

    fn create_file(&self, at: &TreePath) -> Result<std::fs::File, DiskError> {
        self.0.create_file(at.as_bytes()).map_err(failed("make the file", at))
    }

    fn make_symlink(&self, at: &TreePath, target: &[u8]) -> Result<(), DiskError> {
        self.apply("make the link", at, Operation::MakeSymlink { at: bytes(at), target: Bytes(target.to_vec()) })
    }

    fn make_special(&self, at: &TreePath, kind: SpecialKind) -> Result<(), DiskError> {
        let node = match kind {
            SpecialKind::Character { major, minor } => SpecialNode::Character { major, minor },
            SpecialKind::Block { major, minor } => SpecialNode::Block { major, minor },
            SpecialKind::Fifo => SpecialNode::Fifo {},
        };
        self.apply("make the special file", at, Operation::MakeNode { at: bytes(at), node }).map_err(|mut error| {
            if kind != SpecialKind::Fifo && error.source.kind() == io::ErrorKind::PermissionDenied {
                error.source = io::Error::new(io::ErrorKind::PermissionDenied, Beyond::Device { source: error.source });
            }
            error
        })
    }

    fn make_whiteout(&self, at: &TreePath) -> Result<(), DiskError> {
        let node = SpecialNode::Character { major: 0, minor: 0 };
        self.apply("mark the removal of", at, Operation::MakeNode { at: bytes(at), node })
    }

    fn hard_link(&self, existing: &TreePath, new: &TreePath) -> Result<(), DiskError> {
        self.apply("link", new, Operation::HardLink { existing: bytes(existing), new: bytes(new) })
    }

    fn set_metadata(&self, at: &TreePath, kind: NodeKind, metadata: &Metadata) -> Result<(), DiskError> {
        if kind == NodeKind::Symlink && !metadata.xattrs.is_empty() {
            return Err(DiskError::new("set the attributes of", at, io::Error::from(io::ErrorKind::InvalidInput)));
        }
        let (uid, gid) = (metadata.uid, metadata.gid);
        let metadata = entry_metadata(metadata);
        self.apply("set owner, mode or times of", at, Operation::SetMetadata { at: bytes(at), metadata }).map_err(|mut error| {
            // An id that the namespace has not is an invalid argument to the kernel.
            if error.source.kind() == io::ErrorKind::InvalidInput {
                error.source = io::Error::new(io::ErrorKind::InvalidInput, Beyond::Owner { uid, gid, source: error.source });
            }
            error
        })
    }

    fn set_opaque(&self, directory: &TreePath) -> Result<(), DiskError> {
        self.apply("mark as opaque", directory, Operation::SetOpaque { at: bytes(directory) })
    }

    fn remove(&self, at: &TreePath) -> Result<(), DiskError> {
        match self.apply("remove", at, Operation::Remove { at: bytes(at) }) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

fn status(entry: ListedEntry) -> Status {
    let kind = match entry.kind {
        EntryKind::Directory {} => ListedKind::Directory,
        EntryKind::File {} => ListedKind::File,
        EntryKind::Symlink { target: Bytes(target) } => ListedKind::Symlink { target },
        EntryKind::Special { node: SpecialNode::Character { major: 0, minor: 0 } } => ListedKind::Whiteout,
        EntryKind::Special { node: SpecialNode::Character { major, minor } } => {
            ListedKind::Special(SpecialKind::Character { major, minor })
        }
        EntryKind::Special { node: SpecialNode::Block { major, minor } } => ListedKind::Special(SpecialKind::Block { major, minor }),
        EntryKind::Special { node: SpecialNode::Fifo {} } => ListedKind::Special(SpecialKind::Fifo),
        EntryKind::Socket {} => ListedKind::Socket,
    };
    let xattrs: Xattrs = entry.xattrs.into_iter().map(|(name, value)| (name.0, value.0)).collect();
    let opaque = if xattrs.get(b"user.overlay.opaque".as_slice()).is_some_and(|value| value == b"y") { Opaque::Yes } else { Opaque::No };
    Status {
        kind,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        modified: DiskTime { seconds: entry.mtime_seconds, nanoseconds: entry.mtime_nanoseconds },
        changed: DiskTime { seconds: entry.ctime_seconds, nanoseconds: entry.ctime_nanoseconds },
        size: entry.size,
        device: entry.device,
        inode: entry.inode,
        links: entry.links,
        xattrs,
        opaque,
    }
}
