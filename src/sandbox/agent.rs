//! Files whose owners only a user namespace knows: paths below an opened directory in, entries and descriptors out.
//!
//! Every path is relative, its links are never followed, and it cannot leave its directory (`openat2` with `RESOLVE_BENEATH` and
//! `RESOLVE_NO_SYMLINKS`). Ids are those inside the namespace.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::AgentError;
use super::connection::Connection;
use super::owner::Owner;
use super::wire::{AgentReply, AgentRequest, Bytes, EntryKind, ListedEntry, Operation, OwnerRequest, SpecialOwner};

/// How many requests are served at once; each takes a process of the helper.
const MOST_CONNECTIONS: usize = 8;

/// The file agent of a user namespace. Clones are the same agent; threads share it.
#[derive(Debug, Clone)]
pub struct FileAgent {
    pool: Arc<Pool>,
}

/// A directory opened through the file agent.
#[derive(Debug, Clone)]
pub struct AgentDirectory {
    agent: FileAgent,
    directory: Arc<OwnedFd>,
    /// What in it does not say itself whom it belongs to, by inode.
    specials: Arc<BTreeMap<u64, SpecialOwner>>,
}

#[derive(Debug)]
struct Pool {
    owner: Arc<Owner>,
    connections: Mutex<Connections>,
    returned: Condvar,
}

#[derive(Debug)]
struct Connections {
    idle: Vec<Connection>,
    /// All that live, idle or not.
    count: usize,
}

impl FileAgent {
    pub(super) fn new(owner: Arc<Owner>) -> FileAgent {
        let connections = Mutex::new(Connections { idle: Vec::new(), count: 0 });
        FileAgent { pool: Arc::new(Pool { owner, connections, returned: Condvar::new() }) }
    }

    /// Opens a directory of the host by its absolute path.
    ///
    /// # Errors
    /// When the namespace's root cannot.
    pub fn directory(&self, path: &Path) -> Result<AgentDirectory, AgentError> {
        let path = path.as_os_str().as_bytes();
        let refused = |source| AgentError::Refused { operation: "open", path: path.to_vec(), source };
        if !path.starts_with(b"/") {
            return Err(refused(io::Error::new(io::ErrorKind::InvalidInput, "the path is not absolute")));
        }
        let answer = self.ask(&AgentRequest::OpenPath { path: Bytes(path.to_vec()) }, None)?;
        let directory = answer.descriptor().map_err(refused)?;
        Ok(self.opened(directory))
    }

    /// Removes a file or directory of the host with all that is below it; absolute path. What is not there is an error.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove(&self, path: &Path) -> Result<(), AgentError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the path names nothing in a directory");
            return Err(AgentError::Refused { operation: "remove", path: path.as_os_str().as_bytes().to_vec(), source });
        };
        self.directory(parent)?.apply(&[Operation::Remove { at: Bytes(name.as_bytes().to_vec()) }])
    }

    /// A directory whose descriptor came from a step.
    pub(super) fn opened(&self, directory: OwnedFd) -> AgentDirectory {
        AgentDirectory { agent: self.clone(), directory: Arc::new(directory), specials: Arc::default() }
    }

    fn ask(&self, request: &AgentRequest, directory: Option<BorrowedFd<'_>>) -> Result<Answer, AgentError> {
        let lost = |source| AgentError::Lost { source };
        let connection = self.pool.take().map_err(lost)?;
        let directory: Vec<BorrowedFd<'_>> = directory.into_iter().collect();
        let answer = connection.send(request, &directory).and_then(|()| connection.receive());
        // A connection that broke is not used again.
        self.pool.put_back(answer.is_ok().then_some(connection));
        let (reply, descriptors) = answer.map_err(lost)?;
        Ok(Answer { reply, descriptor: descriptors.into_iter().next() })
    }
}

impl Pool {
    fn take(&self) -> io::Result<Connection> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(connection) = connections.idle.pop() {
                return Ok(connection);
            }
            if connections.count < MOST_CONNECTIONS {
                connections.count += 1;
                drop(connections);
                let made = self.owner.process(&OwnerRequest::Agent {});
                if made.is_err() {
                    self.put_back(None);
                }
                return made;
            }
            connections = self.returned.wait(connections).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn put_back(&self, connection: Option<Connection>) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        match connection {
            Some(connection) => connections.idle.push(connection),
            None => connections.count = connections.count.saturating_sub(1),
        }
        drop(connections);
        self.returned.notify_one();
    }
}

/// What the agent said to one request.
struct Answer {
    reply: AgentReply,
    descriptor: Option<OwnedFd>,
}

impl Answer {
    fn descriptor(self) -> io::Result<OwnedFd> {
        match (self.reply, self.descriptor) {
            (AgentReply::Done {}, Some(descriptor)) => Ok(descriptor),
            (AgentReply::Failed { errno, .. }, _) => Err(io::Error::from_raw_os_error(errno)),
            (AgentReply::Done {} | AgentReply::Entries { .. }, _) => Err(not_understood()),
        }
    }

    fn entries(self) -> io::Result<Vec<ListedEntry>> {
        match self.reply {
            AgentReply::Entries { entries } => Ok(entries),
            AgentReply::Failed { errno, .. } => Err(io::Error::from_raw_os_error(errno)),
            AgentReply::Done {} => Err(not_understood()),
        }
    }
}

fn not_understood() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the sandbox's helper gave an answer to another question")
}

impl AgentDirectory {
    fn ask(&self, request: &AgentRequest) -> Result<Answer, AgentError> {
        self.agent.ask(request, Some(self.directory.as_fd()))
    }

    /// All entries of a directory, in no particular order; the empty path is this one.
    ///
    /// # Errors
    /// When it is no directory or cannot be read.
    pub fn list(&self, directory: &[u8]) -> Result<Vec<ListedEntry>, AgentError> {
        let answer = self.ask(&AgentRequest::List { at: Bytes(directory.to_vec()) })?;
        let entries = answer.entries().map_err(|source| AgentError::Refused { operation: "list", path: directory.to_vec(), source })?;
        Ok(entries.into_iter().map(|entry| self.as_known(entry)).collect())
    }

    /// One entry; the empty path is this directory.
    ///
    /// # Errors
    /// When it is not there.
    pub fn stat(&self, at: &[u8]) -> Result<ListedEntry, AgentError> {
        let answer = self.ask(&AgentRequest::Stat { at: Bytes(at.to_vec()) })?;
        let entry = answer.entries().and_then(|entries| entries.into_iter().next().ok_or_else(not_understood));
        let entry = entry.map_err(|source| AgentError::Refused { operation: "look at", path: at.to_vec(), source })?;
        Ok(self.as_known(entry))
    }

    /// The directory with what else is known of it.
    pub(super) fn with_specials(mut self, specials: Vec<SpecialOwner>) -> AgentDirectory {
        self.specials = Arc::new(specials.into_iter().map(|special| (special.inode, special)).collect());
        self
    }

    fn as_known(&self, mut entry: ListedEntry) -> ListedEntry {
        if let Some(SpecialOwner { inode: _, uid, gid, node }) = self.specials.get(&entry.inode) {
            entry.uid = *uid;
            entry.gid = *gid;
            if let (EntryKind::Socket {}, Some(node)) = (&entry.kind, node) {
                entry.kind = EntryKind::Special { node: node.clone() };
            }
        }
        entry
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// When it is not there or no regular file.
    pub fn open(&self, file: &[u8]) -> Result<File, AgentError> {
        let answer = self.ask(&AgentRequest::Open { at: Bytes(file.to_vec()) })?;
        answer.descriptor().map(File::from).map_err(|source| AgentError::Refused { operation: "open", path: file.to_vec(), source })
    }

    /// Makes a regular file, mode 0600, open for reading and writing.
    ///
    /// # Errors
    /// When there is something already.
    pub fn create_file(&self, at: &[u8]) -> Result<File, AgentError> {
        let answer = self.ask(&AgentRequest::Create { at: Bytes(at.to_vec()) })?;
        answer.descriptor().map(File::from).map_err(|source| AgentError::Refused { operation: "create", path: at.to_vec(), source })
    }

    /// Opens a directory below this one.
    ///
    /// # Errors
    /// When it is not there or no directory.
    pub fn subdirectory(&self, at: &[u8]) -> Result<AgentDirectory, AgentError> {
        let answer = self.ask(&AgentRequest::OpenDirectory { at: Bytes(at.to_vec()) })?;
        let directory = answer.descriptor().map_err(|source| AgentError::Refused { operation: "open", path: at.to_vec(), source })?;
        Ok(AgentDirectory { specials: Arc::clone(&self.specials), ..self.agent.opened(directory) })
    }

    /// Makes changes in order, many in one go; stops at the first that fails.
    ///
    /// # Errors
    /// The first change that failed.
    pub fn apply(&self, operations: &[Operation]) -> Result<(), AgentError> {
        let answer = self.ask(&AgentRequest::Apply { operations: operations.to_vec() })?;
        match answer.reply {
            AgentReply::Done {} => Ok(()),
            AgentReply::Entries { .. } => Err(AgentError::Lost { source: not_understood() }),
            AgentReply::Failed { operation, errno } => {
                let failed = usize::try_from(operation).ok().and_then(|index| operations.get(index));
                let (operation, path) = failed.map_or(("change", Vec::new()), describe);
                Err(AgentError::Refused { operation, path, source: io::Error::from_raw_os_error(errno) })
            }
        }
    }
}

fn describe(operation: &Operation) -> (&'static str, Vec<u8>) {
    let (verb, at) = match operation {
        Operation::MakeDirectory { at } => ("make the directory", at),
        Operation::MakeSymlink { at, target: _ } => ("make the link", at),
        Operation::MakeNode { at, node: _ } => ("make the special file", at),
        Operation::HardLink { existing: _, new } => ("make the hard link", new),
        Operation::SetMetadata { at, metadata: _ } => ("set owner, mode, xattrs or time of", at),
        Operation::SetOpaque { at } => ("mark as opaque", at),
        Operation::Remove { at } => ("remove", at),
        Operation::Rename { from, to: _ } => ("rename", from),
    };
    (verb, at.0.clone())
}
