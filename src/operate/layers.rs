//! An opened image → the files of each of its layers, and which layer each file of the image is from. Layers are read, never written.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use lapstrake_cache::Digest;

use super::inspect::makers;
use super::{InspectedLayer, Opened};
use crate::event::Cancel;
use crate::image::{Blobs, SealedLayer};
use crate::layer::{Limits, unpack};
use crate::registry::Registry;
use crate::tree::{Change, Difference, Entry, Metadata, Tree, TreePath, Xattrs};

/// A layer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LayersError {
    /// It cannot be had.
    #[error("cannot read the layer {digest}")]
    Unreadable {
        /// The blob.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// It cannot be understood.
    #[error("cannot read the layer {digest}")]
    Unpack {
        /// The blob.
        digest: Digest,
        /// Why.
        source: Box<crate::layer::UnpackError>,
    },
    /// It is not what the config says.
    #[error("the layer {digest} has the diff id `{actual}`, and the config says `{claimed}`: the image is damaged")]
    DiffId {
        /// The blob.
        digest: Digest,
        /// What the config says.
        claimed: Digest,
        /// What it is.
        actual: Digest,
    },
    /// [`crate::event::Cancel`] was used.
    #[error("cancelled")]
    Cancelled,
}

/// A layer with its files.
#[derive(Debug, Clone)]
pub struct ReadLayer {
    /// What the documents say of it.
    pub layer: InspectedLayer,
    /// What it changes.
    pub difference: Difference,
    /// The file system with it.
    pub above: Tree,
    /// Bytes of files in it that a later layer overwrites or removes.
    pub wasted_bytes: u64,
}

/// The layers of an image with their files.
#[derive(Debug, Clone)]
pub struct ReadLayers {
    /// From the lowest up.
    pub layers: Vec<ReadLayer>,
    /// For each path of the finished file system, the layer that it is from, counted from 0. Directories are from the last that changed
    /// them.
    pub from: BTreeMap<TreePath, usize>,
    /// Files that take room in a layer and are not in the image, by path, with the layer and the bytes: the largest first.
    pub wasted: Vec<(TreePath, usize, u64)>,
}

impl ReadLayers {
    /// The finished file system.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.layers.last().map_or_else(nothing, |layer| layer.above.clone())
    }
}

fn nothing() -> Tree {
    Tree::empty(Metadata { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: Xattrs::new() })
}

/// Reads all layers, from where they are: nothing is written to a disk.
///
/// # Errors
///
/// When a layer cannot be had, or is not what it claims to be.
pub fn read_layers(opened: &Opened, registry: &Registry, cancel: &Cancel) -> Result<ReadLayers, LayersError> {
    let created_by = makers(&opened.config.history, opened.image.layers.len());
    let mut read = ReadLayers { layers: Vec::new(), from: BTreeMap::new(), wasted: Vec::new() };
    let mut holders = Holders::default();
    for (place, layer) in opened.image.layers.iter().enumerate() {
        let below = read.tree();
        let difference = difference(opened, layer, &below, registry, cancel)?;
        let above = below.apply(&difference);
        read.own(place, &difference, &below);
        holders.add(place, &difference);
        let layer = InspectedLayer {
            descriptor: layer.descriptor.clone(),
            diff_id: layer.diff_id,
            created_by: created_by.get(place).cloned().flatten(),
        };
        read.layers.push(ReadLayer { layer, difference, above, wasted_bytes: 0 });
    }
    read.wasted = holders.wasted;
    read.wasted.sort_by(|(path, _, bytes), (other, _, others)| others.cmp(bytes).then_with(|| path.cmp(other)));
    for (_, place, bytes) in &read.wasted {
        if let Some(layer) = read.layers.get_mut(*place) {
            layer.wasted_bytes = layer.wasted_bytes.saturating_add(*bytes);
        }
    }
    Ok(read)
}

fn difference(opened: &Opened, layer: &SealedLayer, below: &Tree, registry: &Registry, cancel: &Cancel) -> Result<Difference, LayersError> {
    let digest = layer.descriptor.digest;
    let unreadable = |source| LayersError::Unreadable { digest, source };
    let blob: Box<dyn io::Read + Send> = match (Blobs::open(opened, &digest).map_err(unreadable)?, &layer.from) {
        (Some(blob), _) => blob,
        (None, Some(from)) => {
            let reader = registry.open_blob(from, &layer.descriptor, cancel);
            Box::new(reader.map_err(|error| unreadable(io::Error::other(error)))?)
        }
        (None, None) => return Err(unreadable(io::ErrorKind::NotFound.into())),
    };
    let read = unpack(blob, below, None, &Limits::GENEROUS, cancel);
    if cancel.is_cancelled() {
        return Err(LayersError::Cancelled);
    }
    let read = read.map_err(|source| LayersError::Unpack { digest, source: Box::new(source) })?;
    if read.diff_id != layer.diff_id {
        return Err(LayersError::DiffId { digest, claimed: layer.diff_id, actual: read.diff_id });
    }
    Ok(read.difference)
}

impl ReadLayers {
    /// Notes what a layer has made.
    fn own(&mut self, place: usize, difference: &Difference, below: &Tree) {
        for (path, change) in &difference.entries {
            match change {
                Change::Whiteout => drop_below(&mut self.from, path, true),
                Change::Put(entry @ Entry::Directory(_)) => {
                    if difference.opaque.contains(path) {
                        drop_below(&mut self.from, path, false);
                    }
                    // One that is only on the way to others is not the layer's.
                    if below.get(path).map(|node| node.entry()).as_ref() != Some(entry) || !self.from.contains_key(path) {
                        self.from.insert(path.clone(), place);
                    }
                }
                Change::Put(Entry::File(_) | Entry::Symlink(_) | Entry::Special(_)) => {
                    drop_below(&mut self.from, path, true);
                    self.from.insert(path.clone(), place);
                }
            }
        }
    }
}

/// Which layer holds the bytes of each file that is still there.
#[derive(Default)]
struct Holders {
    files: BTreeMap<TreePath, (usize, u64)>,
    wasted: Vec<(TreePath, usize, u64)>,
}

impl Holders {
    fn add(&mut self, place: usize, difference: &Difference) {
        for (path, change) in &difference.entries {
            match change {
                Change::Whiteout => self.lose(path, true),
                Change::Put(Entry::Directory(_)) => {
                    if difference.opaque.contains(path) {
                        self.lose(path, false);
                    }
                    self.lose_one(path);
                }
                Change::Put(Entry::File(_) | Entry::Symlink(_) | Entry::Special(_)) => self.lose(path, true),
            }
        }
        // Names of one file hold its bytes once.
        let further: BTreeSet<&TreePath> = difference.links.groups().iter().flat_map(|group| group.iter().skip(1)).collect();
        for (path, change) in &difference.entries {
            if let Change::Put(Entry::File(file)) = change
                && !further.contains(path)
            {
                self.files.insert(path.clone(), (place, file.content.size));
            }
        }
    }

    fn lose(&mut self, path: &TreePath, itself: bool) {
        let gone: Vec<TreePath> = below(&self.files, path, itself);
        for path in gone {
            self.lose_one(&path);
        }
    }

    fn lose_one(&mut self, path: &TreePath) {
        if let Some((place, bytes)) = self.files.remove(path)
            && bytes > 0
        {
            self.wasted.push((path.clone(), place, bytes));
        }
    }
}

fn drop_below<V>(map: &mut BTreeMap<TreePath, V>, path: &TreePath, itself: bool) {
    for path in below(map, path, itself) {
        map.remove(&path);
    }
}

/// The keys below a path; paths stand directly behind the directory that they are in.
fn below<V>(map: &BTreeMap<TreePath, V>, path: &TreePath, itself: bool) -> Vec<TreePath> {
    let range = map.range(path.clone()..).map(|(key, _)| key).take_while(|key| key.starts_with(path));
    range.filter(|key| itself || *key != path).cloned().collect()
}
