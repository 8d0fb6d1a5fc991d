//! The name of a file-system state: its layers.
//!
//! A layer of a base is named by its diff id, which the base's verified config gives; a layer of ours by the fingerprint of its
//! difference. So a step on a base needs only the base's config for its key, and equal results have equal names however they were made.

use std::sync::Arc;

use lapstrake_cache::{Digest, Fingerprint, Fingerprinter};

/// One layer of a state by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LayerName {
    /// A layer of a base image, by its diff id.
    Foreign(Digest),
    /// A difference that a step made.
    Own(Fingerprint),
}

/// A file-system state; cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State {
    layers: Arc<[LayerName]>,
}

impl State {
    /// The layers, lowest first.
    pub(super) fn layers(&self) -> &[LayerName] {
        &self.layers
    }

    /// This state with one more layer on top.
    pub(super) fn with(&self, layer: LayerName) -> State {
        State { layers: self.layers.iter().copied().chain([layer]).collect() }
    }

    /// The lowest `count` layers alone.
    pub(super) fn prefix(&self, count: usize) -> State {
        State { layers: self.layers.iter().take(count).copied().collect() }
    }

    /// This state without its topmost layer.
    pub(super) fn below(&self) -> State {
        self.prefix(self.layers.len().saturating_sub(1))
    }

    /// The name of the state.
    pub(super) fn name(&self) -> Fingerprint {
        let mut hasher = Fingerprinter::new();
        hasher.update_framed(b"lapstrake-state/1");
        for layer in self.layers.iter() {
            match layer {
                LayerName::Foreign(diff_id) => {
                    hasher.update_framed(b"foreign");
                    hasher.update(diff_id.as_bytes());
                }
                LayerName::Own(difference) => {
                    hasher.update_framed(b"own");
                    hasher.update(difference.as_bytes());
                }
            }
        }
        hasher.finish()
    }
}

impl FromIterator<LayerName> for State {
    fn from_iter<I: IntoIterator<Item = LayerName>>(layers: I) -> State {
        State { layers: layers.into_iter().collect() }
    }
}
