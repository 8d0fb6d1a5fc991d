//! The name of a file-system state: its layers.
//!
//! A layer of a base is named by its diff id, which the base's verified config gives; a layer of ours by the fingerprint of its
//! difference. So a step on a base needs only the base's config for its key, and equal results have equal names however they were made.

use std::cmp::Ordering;
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

impl LayerName {
    fn add_to(&self, hasher: &mut Fingerprinter) {
        match self {
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
}

/// A file-system state. Cloning it, comparing it and asking for what is below some of its layers cost the same however many it has.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// Of this state or of one above it.
    layers: Arc<[LayerName]>,
    /// What tells the lowest one, two and more of them from all others; of this program alone.
    marks: Arc<[Fingerprint]>,
    count: usize,
}

impl State {
    /// The layers, lowest first.
    pub(super) fn layers(&self) -> &[LayerName] {
        self.layers.get(..self.count).unwrap_or_default()
    }

    /// This state with one more layer on top.
    pub(super) fn with(&self, layer: LayerName) -> State {
        let marks = self.marks.iter().take(self.count);
        State {
            layers: self.layers().iter().copied().chain([layer]).collect(),
            marks: marks.copied().chain([mark(self.mark(), layer)]).collect(),
            count: self.count + 1,
        }
    }

    /// The lowest `count` layers alone.
    pub(super) fn prefix(&self, count: usize) -> State {
        State { count: count.min(self.count), ..self.clone() }
    }

    /// This state without its topmost layer.
    pub(super) fn below(&self) -> State {
        self.prefix(self.count.saturating_sub(1))
    }

    fn mark(&self) -> Option<Fingerprint> {
        self.marks.get(self.count.checked_sub(1)?).copied()
    }

    /// The name of the state.
    pub(super) fn name(&self) -> Fingerprint {
        let mut hasher = Fingerprinter::new();
        hasher.update_framed(b"lapstrake-state/1");
        for layer in self.layers() {
            layer.add_to(&mut hasher);
        }
        hasher.finish()
    }
}

fn mark(below: Option<Fingerprint>, layer: LayerName) -> Fingerprint {
    let mut hasher = Fingerprinter::new();
    hasher.update(below.as_ref().map_or(&[], |below| below.as_bytes().as_slice()));
    layer.add_to(&mut hasher);
    hasher.finish()
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        self.mark() == other.mark()
    }
}

impl Eq for State {}

impl PartialOrd for State {
    fn partial_cmp(&self, other: &State) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// An order for maps, which says nothing else.
impl Ord for State {
    fn cmp(&self, other: &State) -> Ordering {
        self.mark().cmp(&other.mark())
    }
}

impl FromIterator<LayerName> for State {
    fn from_iter<I: IntoIterator<Item = LayerName>>(layers: I) -> State {
        let layers: Arc<[LayerName]> = layers.into_iter().collect();
        let marks: Vec<Fingerprint> = layers
            .iter()
            .scan(None, |below, layer| {
                *below = Some(mark(*below, *layer));
                *below
            })
            .collect();
        State { count: layers.len(), layers, marks: marks.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_its_layers_however_it_came_about() {
        let own = |byte| LayerName::Own(Fingerprint::from_bytes([byte; 32]));
        let foreign = |byte| LayerName::Foreign(Digest::of(&[byte]));
        let layers = [foreign(1), own(1), own(2), own(1), foreign(2)];
        let whole: State = layers.into_iter().collect();
        let stacked = layers.into_iter().fold(State::default(), |state, layer| state.with(layer));
        for count in 0..=layers.len() + 1 {
            let found = [whole.prefix(count), stacked.prefix(count), layers.into_iter().take(count).collect()];
            for state in &found {
                assert_eq!((state, state.name()), (&found[0], found[0].name()));
                assert_eq!(state.layers(), &layers[..count.min(layers.len())]);
            }
            let other = whole.prefix(count).below().with(own(9));
            assert_ne!(other, whole.prefix(count));
            assert_eq!(other.below(), whole.prefix(count).below());
        }
        let lower = [foreign(1), own(2)];
        assert_ne!(lower.into_iter().collect::<State>(), lower.into_iter().rev().collect());
        assert_ne!(State::default().with(own(1)), State::default().with(LayerName::Foreign(Digest::from_bytes([1; 32]))));
    }
}
