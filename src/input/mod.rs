//! Fetching what a spec names: build contexts, base images, downloads, git repositories.
//!
//! Names go in, digests and verified bytes come out; bytes are kept in the store. Everything that is not pure about inputs is here.

mod base;
mod context;
mod download;
mod git;
mod regular;
mod remembered;
mod resolve;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lapstrake_cache::{Digest, Store};

pub use base::{Base, BaseLayer};
pub use context::Context;
pub use git::{GitCheckout, GitError, GitFiles, GitLimits, GitLogins, GitSettings, InvalidLogin};
pub use resolve::{NothingStale, Resolved, Stale, Unresolved};

use crate::event::{Cancel, Event, EventKind, EventSink, Outcome, TaskId, TaskKind};
use crate::image::Reference;
use crate::registry::Registry;

/// Handles to the outside of one project.
#[derive(Clone)]
pub struct Outside<'a> {
    /// Where bytes are kept.
    pub store: &'a Store,
    /// The client for registries and downloads.
    pub registry: &'a Registry,
    /// How `git` is run.
    pub git: &'a GitSettings,
    /// Whether registries, servers of downloads and of git may be asked.
    pub network: NetworkUse,
    /// The directory that paths of the spec are relative to.
    pub directory: &'a Path,
    /// Build contexts by name; the empty name is the default one, and is [`Outside::directory`] where it is missing.
    pub contexts: &'a BTreeMap<String, PathBuf>,
    /// Who is told what happens.
    pub events: &'a dyn EventSink,
    /// The wish to stop.
    pub cancel: &'a Cancel,
}

/// Whether the builder itself may use the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkUse {
    /// It may.
    Allowed,
    /// It may not: what is not in the store is an error.
    Refused,
}

/// Why an input could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] crate::registry::Error),
    /// A git repository.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The store.
    #[error(transparent)]
    Store(#[from] lapstrake_cache::Error),
    /// A document of an image.
    #[error("{what}")]
    Image {
        /// Which document, where from.
        what: String,
        /// What is wrong with it.
        #[source]
        source: crate::image::InvalidImage,
    },
    /// An image exists, but not for the platform.
    #[error("`{image}` cannot be used")]
    NoPlatform {
        /// The image.
        image: String,
        /// What was asked for, and what there is.
        #[source]
        source: crate::image::NoSuchPlatform,
    },
    /// The network is needed and was refused.
    #[error("{what} is not in the store, and `--offline` refuses the network; build once without it")]
    Offline {
        /// What is needed.
        what: String,
    },
    /// A context that nobody gave a directory for.
    #[error("no directory was given for the context `{name}`; pass `--context {name}=DIR`, or name it in `[contexts]`")]
    NoContext {
        /// Its name.
        name: String,
    },
    /// A file or directory of this machine.
    #[error("{}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// A directory could not be read as a tree.
    #[error("cannot read the context `{}`", .path.display())]
    Scan {
        /// Which.
        path: PathBuf,
        /// What happened.
        #[source]
        source: Box<crate::tree::ScanError>,
    },
    /// An ignore file with a pattern that is none.
    #[error("{}: {source}", .path.display())]
    Pattern {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: crate::tree::InvalidPattern,
    },
    /// A download whose bytes are others than those that were promised.
    #[error(
        "`{url}` has other bytes than it should: expected {expected}, got {found}; if the change is meant, update the checksum or the lock"
    )]
    WrongDownload {
        /// The address.
        url: String,
        /// What was promised.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// A local image layout does not hold what was asked for.
    #[error("{}: {reason}", .path.display())]
    Layout {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An image's own documents contradict each other.
    #[error("`{image}` cannot be used: {reason}")]
    Contradiction {
        /// The image.
        image: String,
        /// What is wrong.
        reason: String,
    },
    /// Stopped on request.
    #[error("cancelled")]
    Cancelled,
}

impl Outside<'_> {
    /// Tells of a piece of work: its beginning, and how it ended.
    pub(crate) fn task<T, E>(&self, what: TaskKind, label: String, work: impl FnOnce(TaskId) -> Result<(T, Outcome), E>) -> Result<T, E> {
        let task = TaskId::fresh();
        self.events.send(Event { task, kind: EventKind::Started { what, label } });
        let result = work(task);
        let outcome = match &result {
            Ok((_, outcome)) => outcome.clone(),
            Err(_) if self.cancel.is_cancelled() => Outcome::Cancelled,
            Err(_) => Outcome::Failed,
        };
        self.events.send(Event { task, kind: EventKind::Finished(outcome) });
        result.map(|(value, _)| value)
    }

    /// Tells how far a task has come.
    pub(crate) fn advanced(&self, task: TaskId, done: u64, of: Option<u64>) {
        self.events.send(Event { task, kind: EventKind::Advanced { done, of } });
    }

    /// The directory of a context: the caller's, else the one that the spec says.
    ///
    /// # Errors
    /// When nobody gave one.
    pub fn context_directory(&self, name: &str, said: Option<&str>) -> Result<PathBuf, Error> {
        match (self.contexts.get(name), said) {
            (Some(directory), _) => Ok(directory.clone()),
            (None, Some(said)) => Ok(self.directory.join(said)),
            (None, None) if name.is_empty() => Ok(self.directory.to_path_buf()),
            (None, None) => Err(Error::NoContext { name: name.to_owned() }),
        }
    }

    /// Fails when the network may not be used.
    pub(crate) fn need_network(&self, what: impl FnOnce() -> String) -> Result<(), Error> {
        match self.network {
            NetworkUse::Allowed => Ok(()),
            NetworkUse::Refused => Err(Error::Offline { what: what() }),
        }
    }
}

/// A reference whose digest is this one.
pub(crate) fn pinned(reference: &Reference, digest: Digest) -> Reference {
    Reference { digest: Some(digest), ..reference.clone() }
}
