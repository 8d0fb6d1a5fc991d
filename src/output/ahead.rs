//! Blobs of layers that are still being written → the registries that their images will be pushed to.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use lapstrake_cache::BlobBehind;

use crate::build::{SendAhead, WhenNamed};
use crate::image::Reference;
use crate::registry::{BlobSource, Registry, SentAhead};

/// Sends blobs of layers to where their images will be pushed while they are packed: for [`crate::build::Options::send_ahead`].
///
/// [`super::push`] with the same client goes on from there. What was not pushed when this value is dropped is given up, and the registries are told
/// so; nothing of it is in a repository.
#[derive(Debug)]
pub struct PushAhead {
    registry: Registry,
    sent: Arc<Mutex<Vec<Arc<SentAhead>>>>,
}

impl PushAhead {
    /// Sends by this client.
    #[must_use]
    pub fn new(registry: Registry) -> PushAhead {
        PushAhead { registry, sent: Arc::default() }
    }
}

impl SendAhead for PushAhead {
    fn begin(&self, tags: &[Reference], blob: BlobBehind) -> WhenNamed {
        let blob = Arc::new(Behind(blob));
        // From one repository of a registry the others mount it.
        let mut registries = BTreeSet::new();
        let first = tags.iter().filter(|tag| registries.insert(&tag.registry));
        let sent: Vec<_> = first.filter_map(|tag| self.registry.send_ahead(tag, Arc::clone(&blob) as _)).map(Arc::new).collect();
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).extend(sent.iter().cloned());
        Box::new(move |digest, size| sent.iter().for_each(|sent| sent.name(digest, size)))
    }
}

impl Drop for PushAhead {
    fn drop(&mut self) {
        let sent = std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner));
        // A registry that does not answer is waited for a little, so all at once.
        std::thread::scope(|scope| sent.into_iter().for_each(|sent| drop(scope.spawn(move || drop(sent)))));
    }
}

struct Behind(BlobBehind);

impl BlobSource for Behind {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.0.again()))
    }
}
