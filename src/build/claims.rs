//! What a result was made from that only shared caches told ⇄ the result's record: it counts as long as they say the same.

use serde::{Deserialize, Serialize};

use super::Failure;
use super::elsewhere::Known;
use super::layers::Layers;
use super::state::{LayerName, State};

/// What a cache told of a layer below, and nobody here has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    /// How many layers of the state below the step end with it.
    layers: usize,
    /// The fingerprint of its difference.
    difference: String,
    /// The name of the first of its pages, where those were read and not the difference.
    listing: Option<String>,
}

impl Claim {
    /// What is told of the layer that so many layers end with, in its pages where it has any.
    pub(super) fn of_pages(layers: usize, known: &Known) -> Claim {
        Claim { listing: known.listing().map(|(_, root)| root.name.hex()), ..Claim::of_difference(layers, known) }
    }

    /// What is told of the layer that so many layers end with, all of which was read.
    pub(super) fn of_difference(layers: usize, known: &Known) -> Claim {
        Claim { layers, difference: known.fingerprint.hex(), listing: None }
    }

    /// What was told of the layers of a state, where its whole tree was made.
    pub(super) fn of_tree(layers: &Layers<'_>, state: &State) -> Vec<Claim> {
        let told = (1..=state.layers().len()).filter(|count| layers.is_told_of(&state.prefix(*count)));
        told.filter_map(|count| Some(Claim::of_difference(count, &layers.elsewhere()?.base_layer(&state.prefix(count))?))).collect()
    }

    /// Whether it is said still, or known to be so by now. Pages are not compared with a layer that is here: the work is done over that.
    pub(super) fn holds(&self, layers: &Layers<'_>, below: &State) -> Result<bool, Failure> {
        let state = below.prefix(self.layers);
        if let Some(difference) = layers.local_difference(&state)? {
            return Ok(self.listing.is_none() && difference.fingerprint().hex() == self.difference);
        }
        let Some(elsewhere) = layers.elsewhere() else { return Ok(false) };
        let known = match state.layers().last() {
            Some(LayerName::Own(fingerprint)) => elsewhere.own_layer(fingerprint),
            Some(LayerName::Foreign(_)) => elsewhere.base_layer(&state),
            None => None,
        };
        Ok(known.is_some_and(|known| match self.listing {
            Some(_) => *self == Claim::of_pages(self.layers, &known),
            None => *self == Claim::of_difference(self.layers, &known),
        }))
    }
}
