//! Where one build happens: the handles that its steps share.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::Failure;
use super::ahead::{Ahead, SendAhead};
use super::export::Job;
use super::failed::OnFailure;
use super::layers::Layers;
use super::private::PrivateRoots;
use super::queue::Queue;
use super::repositories::Repositories;
use super::snapshots::Mounts;
use super::workplace::Workplace;
use crate::event::Cancel;
use crate::image::Reference;
use crate::input::{NetworkUse, Outside};

/// Values of secrets by their names. Never printed.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<String, Vec<u8>>);

impl Secrets {
    /// No secrets.
    #[must_use]
    pub fn new() -> Secrets {
        Secrets::default()
    }

    /// Adds a secret, or replaces the one that has the name.
    pub fn insert(&mut self, id: impl Into<String>, value: Vec<u8>) {
        self.0.insert(id.into(), value);
    }

    /// The values alone.
    pub(super) fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.0.values().map(Vec::as_slice)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The handles of one build.
pub(super) struct Site<'e> {
    pub(super) outside: &'e Outside<'e>,
    /// What the caller may stop; `outside` also stops when something beside it has failed.
    pub(super) caller: &'e Cancel,
    pub(super) workplace: &'e Workplace,
    pub(super) layers: Layers<'e>,
    /// Where results go that others may use.
    pub(super) exports: Queue<Job>,
    /// What is known of `cache` mounts.
    pub(super) mounts: Mounts,
    /// For sandboxes without mounts.
    pub(super) roots: PrivateRoots,
    /// Git repositories that were fetched.
    pub(super) repositories: Repositories,
    pub(super) secrets: &'e Secrets,
    /// Sockets of SSH agents by name.
    pub(super) agents: &'e BTreeMap<String, PathBuf>,
    /// Proxies for steps that use the network, by the names of their variables.
    pub(super) proxies: &'e BTreeMap<String, String>,
    /// Who looks at the root of a command that failed.
    pub(super) on_failure: Option<&'e OnFailure>,
    /// The time of everything that is made.
    pub(super) epoch: i64,
    /// How many threads pack a layer.
    pub(super) threads: NonZeroUsize,
    /// Who takes blobs while they are written.
    pub(super) send_ahead: Option<&'e dyn SendAhead>,
}

impl Site<'_> {
    /// Where the blob of a layer may be sent to while it is written, for images with these tags.
    pub(super) fn ahead<'s>(&'s self, tags: &'s [Reference]) -> Ahead<'s> {
        match (self.send_ahead, self.outside.network) {
            (Some(sender), NetworkUse::Allowed) => Ahead::To(sender, tags),
            (Some(_) | None, NetworkUse::Allowed | NetworkUse::Refused) => Ahead::No,
        }
    }

    /// The socket of an agent; `None` where the step can do without it and the caller gave none.
    pub(super) fn agent(&self, id: &str, required: bool) -> Result<Option<&Path>, Failure> {
        match self.agents.get(id) {
            Some(socket) => Ok(Some(socket)),
            None if required => Err(Failure::NoAgent { id: id.to_owned() }),
            None => Ok(None),
        }
    }

    /// The value of a secret; `None` where the step can do without it and the caller gave none.
    pub(super) fn secret(&self, id: &str, required: bool) -> Result<Option<&[u8]>, Failure> {
        match self.secrets.0.get(id) {
            Some(value) => Ok(Some(value)),
            None if required => Err(Failure::NoSecret { id: id.to_owned() }),
            None => Ok(None),
        }
    }
}
