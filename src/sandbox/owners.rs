//! Where steps run that run at once: an [`Owner`] for each, with the same ids, out.
//!
//! A process may look into those of its own user namespace that have no more rights than itself: into their memory, environment and root.
//! What keeps it from seeing them at all is a `/proc` of its own, which not every container allows. So no two steps are in one user
//! namespace at a time.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::owner::Owner;
use super::{IdMapping, Options, Rung, SandboxError, Unusable};
use crate::event::Cancel;

/// How long a wish to stop may go unnoticed.
const NOTICE_CANCEL_WITHIN: Duration = Duration::from_millis(20);

/// All owners of an isolation.
#[derive(Debug)]
pub(super) struct Owners {
    rung: Rung,
    options: Options,
    mapping: IdMapping,
    first: Arc<Owner>,
    free: Mutex<Free>,
    returned: Condvar,
}

#[derive(Debug)]
struct Free {
    owners: Vec<Arc<Owner>>,
    /// Whether the system has refused another one: those that there are serve in turn then.
    all_there_are: bool,
}

/// An owner for one step. Others may have it when this is dropped.
pub(super) struct Lease<'o> {
    owners: &'o Owners,
    owner: Arc<Owner>,
}

impl Owners {
    /// Starts the first.
    pub(super) fn start(rung: Rung, options: &Options) -> Result<Owners, Unusable> {
        let (owner, mapping) = Owner::start(rung, options)?;
        let first = Arc::new(owner);
        let free = Mutex::new(Free { owners: vec![Arc::clone(&first)], all_there_are: false });
        Ok(Owners { rung, options: options.clone(), mapping, first, free, returned: Condvar::new() })
    }

    /// The first, which lives as long as all.
    pub(super) const fn first(&self) -> &Arc<Owner> {
        &self.first
    }

    /// Which ids steps have.
    pub(super) const fn mapping(&self) -> &IdMapping {
        &self.mapping
    }

    /// One that no other step has. Waits where the system gives no more of them.
    pub(super) fn take(&self, cancel: &Cancel) -> Result<Lease<'_>, SandboxError> {
        let lease = |owner| Ok(Lease { owners: self, owner });
        match self.rung {
            Rung::UserNamespace | Rung::SingleId => {}
            // There is no namespace that a second one would keep apart.
            Rung::Chroot => return lease(Arc::clone(&self.first)),
        }
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(owner) = free.owners.pop() {
                return lease(owner);
            }
            if cancel.is_cancelled() {
                return Err(SandboxError::Cancelled);
            }
            if free.all_there_are {
                free = self.returned.wait_timeout(free, NOTICE_CANCEL_WITHIN).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            drop(free);
            match Owner::start(self.rung, &self.options) {
                Ok((owner, mapping)) if mapping == self.mapping => return lease(Arc::new(owner)),
                Ok(_) | Err(_) => {
                    free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
                    free.all_there_are = true;
                }
            }
        }
    }
}

impl Lease<'_> {
    /// The owner itself.
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        match self.owners.rung {
            Rung::UserNamespace | Rung::SingleId => {
                self.owners.free.lock().unwrap_or_else(PoisonError::into_inner).owners.push(Arc::clone(&self.owner));
                self.owners.returned.notify_one();
            }
            Rung::Chroot => {}
        }
    }
}
