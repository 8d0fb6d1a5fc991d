//! The layers of bases: their differences are records of the store, by diff id, or by the state that they end where they depend on what is
//! below. One of which nothing is known is fetched and read.

use std::path::PathBuf;

use lapstrake_cache::{Digest, Fingerprint, Shelf};

use super::{Fresh, Layers, Unpack};
use crate::build::state::{LayerName, State};
use crate::build::{Failure, Lost};
use crate::event::{Outcome, TaskKind};
use crate::input::{BaseLayer, Outside};
use crate::layer;
use crate::tree::Difference;

/// Differences of base layers.
const FOREIGN: Shelf = Shelf::named("foreign-differences");

/// A layer that was read, with the directory that it was written to.
pub(super) struct Begun {
    unfinished: layer::Unfinished,
    fresh: Option<Fresh>,
}

impl Layers<'_> {
    /// Whether there is a layer in a state's base of which nothing is known yet, and no shared cache could know it.
    pub(in crate::build) fn is_new(&self, state: &State) -> Result<bool, Failure> {
        let store = self.outside.store;
        for (layer, count) in state.layers().iter().zip(1..) {
            let LayerName::Foreign(diff_id) = layer else { break };
            if !store.has_record(&FOREIGN, &foreign_key(diff_id))? && !store.has_record(&FOREIGN, &state.prefix(count).name())? {
                return Ok(self.elsewhere.is_none());
            }
        }
        Ok(false)
    }

    /// The difference of a base's layer that ends a state, if the store has it.
    pub(super) fn foreign_difference(&self, state: &State, diff_id: &Digest) -> Result<Option<Difference>, Failure> {
        for key in [foreign_key(diff_id), state.name()] {
            if let Some(bytes) = self.outside.store.record(&FOREIGN, &key)? {
                return Ok(Difference::decode(&bytes).ok());
            }
        }
        Ok(None)
    }

    /// Fetches and reads the base's layer that ends a state, alone.
    pub(super) fn unpack_foreign(&self, state: &State, diff_id: &Digest, wanted: Unpack) -> Result<(Difference, Option<PathBuf>), Failure> {
        let layer = self.base_layer(diff_id)?;
        self.bring(self.outside, &layer)?;
        // What is wrong below is told first.
        self.stacked(&state.below())?;
        self.outside.task(TaskKind::Unpack, unpack_label(&layer), |_| {
            let begun = self.begin_foreign(&layer, wanted)?;
            Ok((self.finish_foreign(state, &layer, begun)?, Outcome::Done))
        })
    }

    /// Reads a layer that was fetched. Nothing of what is below is looked at.
    pub(super) fn begin_foreign(&self, layer: &BaseLayer, wanted: Unpack) -> Result<Begun, Failure> {
        let blob = self.outside.layer(layer)?;
        let fresh = match wanted {
            Unpack::Difference => None,
            Unpack::Directory => Some(self.fresh()?),
        };
        let into = fresh.as_ref().map(|fresh| &*fresh.into);
        let read = layer::read(Box::new(blob.file), into, &layer::Limits::GENEROUS, self.outside.cancel);
        let unfinished = read.map_err(|error| self.blamed(layer, error.into()))?;
        if unfinished.diff_id() != layer.diff_id {
            let (image, expected, found) = (layer.source.to_string(), layer.diff_id, unfinished.diff_id());
            return Err(self.blamed(layer, Failure::WrongDiffId { image, expected, found }));
        }
        Ok(Begun { unfinished, fresh })
    }

    /// Puts a layer that was read over what is below it, and keeps it.
    pub(super) fn finish_foreign(&self, state: &State, layer: &BaseLayer, begun: Begun) -> Result<(Difference, Option<PathBuf>), Failure> {
        let Begun { unfinished, fresh } = begun;
        let below = self.stacked(&state.below())?;
        let leans = unfinished.implicit_parents();
        if leans {
            // What a layer leaves to those below it is not taken from what a cache tells of them.
            self.make_sure_of_told(&state.below())?;
        }
        let finished = unfinished.finish(&below, fresh.as_ref().map(|fresh| &*fresh.into));
        let unpacked = finished.map_err(|error| self.blamed(layer, error.into()))?;
        let (key, name) = match leans {
            true => (state.name(), state.name().hex()),
            false => (foreign_key(&layer.diff_id), layer.diff_id.hex()),
        };
        let path = fresh.map(|fresh| self.keep(fresh, &name)).transpose()?;
        self.outside.store.put_record(&FOREIGN, &key, &unpacked.difference.encode())?;
        Ok((unpacked.difference, path))
    }

    /// Has the blob of a base's layer in the store; fetched once, however many ask for it at a time.
    pub(super) fn bring(&self, outside: &Outside<'_>, layer: &BaseLayer) -> Result<(), Failure> {
        self.fetched.get(&layer.descriptor.digest, || outside.layer(layer).map(drop).map_err(Failure::from))
    }

    /// Why a base layer could not be unpacked: a blob that was damaged in the store is fetched again.
    fn blamed(&self, layer: &BaseLayer, failure: Failure) -> Failure {
        if self.outside.cancel.is_cancelled() {
            return failure;
        }
        match self.outside.store.check_blob(&layer.descriptor.digest) {
            Ok(true) => failure,
            Ok(false) => Failure::Lost(Lost::BaseLayer(layer.diff_id)),
            Err(error) => error.into(),
        }
    }
}

/// What is told of unpacking a base's layer.
pub(super) fn unpack_label(layer: &BaseLayer) -> String {
    format!("{} {}", layer.source, &layer.descriptor.digest.hex()[..12])
}

fn foreign_key(diff_id: &Digest) -> Fingerprint {
    Fingerprint::of(format!("lapstrake-foreign/1 {diff_id}").as_bytes())
}
