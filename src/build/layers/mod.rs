//! States by name → their trees, their directories on disk, and the bytes of their files; each made when first needed.
//!
//! A layer's difference is a record of the store. Its files are in a kept directory, in a packed blob, or in both: each can be made from
//! the other.

mod beside;
mod foreign;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lapstrake_cache::{Blob, Digest, Fingerprint, Scratch, Shelf, Store};

use self::beside::{AT_A_TIME, side_by_side};
use super::elsewhere::Elsewhere;
use super::marks::{Marks, Unmarked};
use super::once::Once;
use super::packed;
use super::state::{LayerName, State};
use super::workplace::Workplace;
use super::{Failure, Lost};
use crate::input::{BaseLayer, Outside};
use crate::layer;
use crate::sandbox::UpperKind;
use crate::tree::{Change, Content, Contents, Difference, DirectoryHandle, Entry, Metadata, Tree, TreePath, Xattrs, checkout_tree};

/// Our own differences, by fingerprint.
const DIFFERENCES: Shelf = Shelf::named("differences");

/// More lower directories than this are one, with all that they have. An overlay takes 500 (`OVL_MAX_STACK` of Linux's fs/overlayfs/overlayfs.h).
const MOST_DIRECTORIES: usize = 400;

/// Everything that is known of the layers of one build.
pub(super) struct Layers<'e> {
    outside: &'e Outside<'e>,
    workplace: &'e Workplace,
    unpack: Unpack,
    elsewhere: Option<Elsewhere<'e>>,
    /// At most how many layers of a base are read at a time.
    threads: NonZeroUsize,
    foreign: Mutex<BTreeMap<Digest, BaseLayer>>,
    trees: Once<State, Arc<Tree>>,
    differences: Once<State, Arc<Difference>>,
    directories: Once<State, PathBuf>,
    wholes: Once<State, PathBuf>,
    /// Blobs of bases that are in the store.
    fetched: Once<Digest, ()>,
    /// Bases of which all layers were read, as far as they had to be.
    beside: Once<State, ()>,
    /// Held by who reads the layers of a base that begins with that layer: bases mostly share their lowest ones.
    turns: Once<State, Arc<Mutex<()>>>,
    /// States of which the topmost difference is a base's and only a shared cache has told it.
    told: Mutex<BTreeSet<State>>,
    /// Those of them that were looked at, and whether they are as they were told.
    sure: Once<State, bool>,
}

/// What unpacking a layer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unpack {
    /// To know what is in it.
    Difference,
    /// To have its files as well.
    Directory,
}

/// A directory that a layer is written to; thrown away unless it is kept.
struct Fresh {
    scratch: Scratch,
    path: PathBuf,
    into: Arc<dyn DirectoryHandle>,
}

impl<'e> Layers<'e> {
    /// `unpack` says what will be needed in the end, so that no base layer is read twice.
    pub(super) fn new(
        outside: &'e Outside<'e>,
        workplace: &'e Workplace,
        unpack: Unpack,
        elsewhere: Option<Elsewhere<'e>>,
        threads: NonZeroUsize,
    ) -> Layers<'e> {
        Layers {
            outside,
            unpack,
            workplace,
            elsewhere,
            threads,
            foreign: Mutex::default(),
            trees: Once::default(),
            differences: Once::default(),
            directories: Once::default(),
            wholes: Once::default(),
            fetched: Once::default(),
            beside: Once::default(),
            turns: Once::default(),
            told: Mutex::default(),
            sure: Once::default(),
        }
    }

    /// Learns where the layers of a base are.
    pub(super) fn know(&self, layers: &[BaseLayer]) -> State {
        let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in layers {
            foreign.entry(layer.diff_id).or_insert_with(|| layer.clone());
        }
        layers.iter().map(|layer| LayerName::Foreign(layer.diff_id)).collect()
    }

    /// What shared caches know.
    pub(super) fn elsewhere(&self) -> Option<&Elsewhere<'e>> {
        self.elsewhere.as_ref()
    }

    /// The base layer with this diff id.
    pub(super) fn base_layer(&self, diff_id: &Digest) -> Result<BaseLayer, Failure> {
        let foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        foreign.get(diff_id).cloned().ok_or(Failure::Lost(Lost::BaseLayer(*diff_id)))
    }

    /// The file system that a state is.
    pub(super) fn tree(&self, state: &State) -> Result<Arc<Tree>, Failure> {
        self.unpack_beside(state)?;
        self.stacked(state)
    }

    /// As [`Layers::tree`], layer by layer. Whoever makes a difference or a tree asks for what is below it here, since [`Layers::tree`] may be
    /// waiting for it.
    fn stacked(&self, state: &State) -> Result<Arc<Tree>, Failure> {
        if state.layers().is_empty() {
            return Ok(Arc::new(Layers::nothing()));
        }
        self.trees.get(state, || {
            let below = self.stacked(&state.below())?;
            Ok(Arc::new(below.apply(&*self.difference(state)?)))
        })
    }

    /// Whether anything of what [`Layers::tree`] says of a state is only known from a shared cache, by whose word alone it is so.
    pub(super) fn is_told(&self, state: &State) -> bool {
        (1..=state.layers().len()).any(|count| self.is_told_of(&state.prefix(count)))
    }

    /// Whether a state's topmost layer is only known from a shared cache.
    pub(super) fn is_told_of(&self, state: &State) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).contains(state)
    }

    /// Makes sure of all that only a shared cache tells of a state, by unpacking its layers. Where that is otherwise, what was made
    /// of it is to be made anew.
    pub(super) fn make_sure(&self, state: &State) -> Result<(), Failure> {
        // What will be asked for is told before anything is made of it.
        self.unpack_beside(state)?;
        self.make_sure_of_told(state)
    }

    /// As [`Layers::make_sure`], of what was told so far.
    fn make_sure_of_told(&self, state: &State) -> Result<(), Failure> {
        let mut names = BTreeSet::new();
        let told = (1..=state.layers().len()).map(|count| state.prefix(count)).filter(|state| self.is_told_of(state));
        // A layer that is there twice is read once.
        let (told, again): (Vec<State>, Vec<State>) = told.partition(|state| names.insert(state.layers().last().copied()));
        // Where one cannot be had, the first that needs it says so.
        let threads = if self.bring_blobs(&told) { self.threads.min(AT_A_TIME) } else { NonZeroUsize::MIN };
        side_by_side(threads, told.len(), |place| told.get(place).map_or(Ok(()), |state| self.make_sure_of(state)))?;
        again.iter().try_for_each(|state| self.make_sure_of(state))
    }

    /// As [`Layers::make_sure`], of the topmost layer alone.
    fn make_sure_of(&self, state: &State) -> Result<(), Failure> {
        let Some(LayerName::Foreign(diff_id)) = state.layers().last() else { return Ok(()) };
        let is_as_told = self.sure.get(state, || {
            let found = match self.foreign_difference(state, diff_id)? {
                Some(difference) => difference,
                None => self.unpack_foreign(state, diff_id, Unpack::Directory)?.0,
            };
            let is_as_told = found == *self.difference(state)?;
            if is_as_told {
                self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(state);
            } else if let Some(elsewhere) = &self.elsewhere {
                elsewhere.doubt_base(state);
            }
            Ok::<_, Failure>(is_as_told)
        })?;
        if is_as_told { Ok(()) } else { Err(Failure::Lost(Lost::BaseLayer(*diff_id))) }
    }

    /// Keeps a difference that a step made.
    pub(super) fn put_difference(&self, difference: &Difference) -> Result<Fingerprint, Failure> {
        let (fingerprint, length) = difference.named();
        self.outside.store.put_record_with(&DIFFERENCES, &fingerprint, length, |out| difference.encode_to(out))?;
        Ok(fingerprint)
    }

    /// The difference of a state's topmost layer.
    pub(super) fn difference(&self, state: &State) -> Result<Arc<Difference>, Failure> {
        self.differences.get(state, || match state.layers().last() {
            None => Ok(Arc::new(Difference::default())),
            Some(LayerName::Own(fingerprint)) => self.own_difference(fingerprint).map(Arc::new),
            Some(LayerName::Foreign(diff_id)) => match self.foreign_difference(state, diff_id)? {
                Some(difference) => Ok(Arc::new(difference)),
                None => match self.told_difference(state) {
                    Some(difference) => Ok(Arc::new(difference)),
                    None => self.unpack_foreign(state, diff_id, self.unpack).map(|(difference, _)| Arc::new(difference)),
                },
            },
        })
    }

    fn own_difference(&self, fingerprint: &Fingerprint) -> Result<Difference, Failure> {
        if let Some(difference) = self.kept_difference(fingerprint)? {
            return Ok(difference);
        }
        let lost = || Failure::Lost(Lost::Difference(*fingerprint));
        let elsewhere = self.elsewhere.as_ref().ok_or_else(lost)?;
        let known = elsewhere.own_layer(fingerprint).ok_or_else(lost)?;
        match elsewhere.difference(&known) {
            Some(difference) => {
                // It has this fingerprint whoever gave it.
                self.put_difference(&difference)?;
                Ok(difference)
            }
            None => Err(self.lose(fingerprint)),
        }
    }

    /// An own difference, if the store has it.
    pub(super) fn kept_difference(&self, fingerprint: &Fingerprint) -> Result<Option<Difference>, Failure> {
        let Some(bytes) = self.outside.store.record(&DIFFERENCES, fingerprint)? else { return Ok(None) };
        Difference::decode(&bytes).map(Some).map_err(|_| Failure::Lost(Lost::Difference(*fingerprint)))
    }

    /// The difference of a base's layer as a shared cache tells it.
    fn told_difference(&self, state: &State) -> Option<Difference> {
        let elsewhere = self.elsewhere.as_ref()?;
        let difference = elsewhere.difference(&elsewhere.base_layer(state)?)?;
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(state.clone());
        Some(difference)
    }

    /// What was to be had from a shared cache cannot be had: its step becomes a miss.
    fn lose(&self, fingerprint: &Fingerprint) -> Failure {
        if self.outside.cancel.is_cancelled() {
            return Failure::Cancelled;
        }
        if let Some(elsewhere) = &self.elsewhere
            && let Some(known) = elsewhere.own_layer(fingerprint)
        {
            elsewhere.lose(&known);
        }
        Failure::Lost(Lost::Difference(*fingerprint))
    }

    /// The difference of the topmost layer of a state, if the store has it.
    pub(super) fn local_difference(&self, state: &State) -> Result<Option<Difference>, Failure> {
        match state.layers().last() {
            None => Ok(None),
            Some(LayerName::Own(fingerprint)) => self.kept_difference(fingerprint),
            Some(LayerName::Foreign(diff_id)) => self.foreign_difference(state, diff_id),
        }
    }

    /// Whether the files of an own layer can be had without running its step again. Hands are not opened in vain: an unchanged build
    /// needs none.
    pub(super) fn has_files(&self, fingerprint: &Fingerprint) -> Result<bool, Failure> {
        let store = self.outside.store;
        if store.record(&DIFFERENCES, fingerprint)?.is_none() {
            return Ok(false);
        }
        let is_packed = || Ok::<_, Failure>(packed::find_blob(store, fingerprint)?.is_some());
        let is_kept = || Ok::<_, Failure>(store.kept(&self.workplace.shelf(store), &fingerprint.hex())?.is_some());
        match self.workplace.has_hands() {
            true if is_kept()? => Ok(true),
            true => is_packed(),
            false if is_packed()? => Ok(true),
            false => is_kept(),
        }
    }

    /// The directories of a state as an overlay takes them: topmost first.
    pub(super) fn directories(&self, state: &State) -> Result<Vec<PathBuf>, Failure> {
        let count = state.layers().len();
        let mut whole = 0;
        if Marks::of(self.outside.store) == Marks::Impossible {
            whole = count;
            while whole > 0 && !hides(&*self.difference(&state.prefix(whole))?) {
                whole -= 1;
            }
        }
        if count - whole > MOST_DIRECTORIES {
            // As few layers as may be, which then change less often, and the same for the next steps too.
            whole = (count - MOST_DIRECTORIES).next_multiple_of(MOST_DIRECTORIES / 4);
        }
        let mut directories: Vec<PathBuf> =
            (whole + 1..=count).rev().map(|count| self.directory(&state.prefix(count))).collect::<Result<_, Failure>>()?;
        if whole > 0 {
            directories.push(self.whole_directory(&state.prefix(whole))?);
        }
        // Of a layer that is there twice the upper one hides whatever the lower one does, and an overlay takes no directory twice.
        let mut seen = BTreeSet::new();
        directories.retain(|directory| seen.insert(directory.clone()));
        Ok(directories)
    }

    /// A kept directory with everything that a state has, where what is removed cannot be marked as such.
    fn whole_directory(&self, state: &State) -> Result<PathBuf, Failure> {
        self.wholes.get(state, || {
            let store = self.outside.store;
            let (shelf, name) = (self.workplace.shelf(store), format!("whole-{}", state.name().hex()));
            if let Some(path) = store.kept(&shelf, &name)? {
                return Ok(path);
            }
            // It has a name that lasts, and so nothing in it may be by the word of a cache alone.
            self.make_sure(state)?;
            let scratch = store.scratch()?;
            let path = scratch.path().join("whole");
            let into = make_root(self.workplace, store, &path)?;
            let contents = StateContents { places: Some(self.places_of_files(state)?), ..self.contents(state) };
            checkout_tree(&*self.tree(state)?, &contents, &*into, self.outside.cancel)?;
            Ok(store.keep(scratch, &path, &shelf, &name)?)
        })
    }

    /// The kept directory of a state's topmost layer.
    fn directory(&self, state: &State) -> Result<PathBuf, Failure> {
        self.directories.get(state, || {
            if let Some(path) = self.kept(state)? {
                return Ok(path);
            }
            match state.layers().last() {
                None => Err(Failure::Lost(Lost::Nothing)),
                Some(LayerName::Own(fingerprint)) => self.unpack_own(state, fingerprint),
                Some(LayerName::Foreign(diff_id)) => {
                    if self.is_told_of(state) {
                        // Whoever makes sure of it unpacks it.
                        self.make_sure_of(state)?;
                        if let Some(path) = self.kept(state)? {
                            return Ok(path);
                        }
                    }
                    let (_, path) = self.unpack_foreign(state, diff_id, Unpack::Directory)?;
                    path.ok_or(Failure::Lost(Lost::BaseLayer(*diff_id)))
                }
            }
        })
    }

    /// As [`Layers::directory`], if it is there.
    fn kept(&self, state: &State) -> Result<Option<PathBuf>, Failure> {
        let store = self.outside.store;
        let shelf = self.workplace.shelf(store);
        let name = match state.layers().last() {
            Some(LayerName::Own(fingerprint)) => fingerprint.hex(),
            Some(LayerName::Foreign(diff_id)) => diff_id.hex(),
            None => return Ok(None),
        };
        match store.kept(&shelf, &name)? {
            Some(path) => Ok(Some(path)),
            None => Ok(store.kept(&shelf, &state.name().hex())?),
        }
    }

    fn unpack_own(&self, state: &State, fingerprint: &Fingerprint) -> Result<PathBuf, Failure> {
        let Some(blob) = packed::find_blob(self.outside.store, fingerprint)? else {
            return self.unpack_told(state, fingerprint);
        };
        let below = self.tree(&state.below())?;
        let lost = || Failure::Lost(Lost::Difference(*fingerprint));
        let expect = |unpacked: &layer::Unpacked| if unpacked.difference.fingerprint() == *fingerprint { Ok(()) } else { Err(lost()) };
        match self.unpack_as(fingerprint, blob, &below, expect) {
            Ok((_, path)) => Ok(path),
            Err(failure) if self.outside.cancel.is_cancelled() => Err(failure),
            Err(failure) => {
                // With a damaged blob out of the way, the step's record is a miss.
                let mut sound = true;
                for digest in packed::digests(self.outside.store, fingerprint)? {
                    sound &= self.outside.store.check_blob(&digest)?;
                }
                Err(if sound { failure } else { lost() })
            }
        }
    }

    /// An own layer whose blob a shared cache has.
    fn unpack_told(&self, state: &State, fingerprint: &Fingerprint) -> Result<PathBuf, Failure> {
        let lost = || Failure::Lost(Lost::Difference(*fingerprint));
        let elsewhere = self.elsewhere.as_ref().ok_or_else(lost)?;
        let known = elsewhere.own_layer(fingerprint).ok_or_else(lost)?;
        let Some((packed, blob)) = elsewhere.layer_blob(&known) else { return Err(self.lose(fingerprint)) };
        let below = self.tree(&state.below())?;
        // Both names were only told until now.
        let expect =
            |unpacked: &layer::Unpacked| match unpacked.difference.fingerprint() == *fingerprint && unpacked.diff_id == packed.diff_id {
                true => Ok(()),
                false => Err(lost()),
            };
        match self.unpack_as(fingerprint, blob, &below, expect) {
            Ok((unpacked, path)) => {
                self.put_difference(&unpacked.difference)?;
                Ok(path)
            }
            Err(failure @ Failure::Store(_)) => Err(failure),
            Err(_) => Err(self.lose(fingerprint)),
        }
    }

    /// Whether the directory of a state's topmost layer is there. One that was found stays: this build uses it.
    pub(super) fn is_unpacked(&self, state: &State) -> Result<bool, Failure> {
        Ok(self.directories.has(state) || self.kept(state)?.is_some())
    }

    /// Has the files of own layers of a state on this machine, whoever has them now.
    pub(super) fn bring_own(&self, state: &State) -> Result<(), Failure> {
        for count in 1..=state.layers().len() {
            let state = state.prefix(count);
            if let Some(LayerName::Own(fingerprint)) = state.layers().last()
                && !self.has_files(fingerprint)?
            {
                self.directory(&state)?;
            }
        }
        Ok(())
    }

    /// Makes the directories of a state, several layers at a time: those of a new base, of which it says what cannot be had, and others, of which
    /// whoever needs them says it.
    pub(super) fn unpack_all(&self, state: &State) -> Result<(), Failure> {
        self.unpack_beside(state)?;
        if Marks::of(self.outside.store) == Marks::Impossible {
            return Ok(());
        }
        let (mut missing, mut names) = (Vec::new(), BTreeSet::new());
        for count in 1..=state.layers().len() {
            let state = state.prefix(count);
            if !self.is_unpacked(&state)? && names.insert(state.layers().last().copied()) {
                missing.push(state);
            }
        }
        if missing.len() < 2 {
            return Ok(());
        }
        // Where a part of a state is copied, not all of its layers need a directory; and what cannot be had is told by whoever needs it.
        if !self.bring_blobs(&missing) || self.workplace.upper_kind(self.outside.store.path())? == UpperKind::InPlace {
            return Ok(());
        }
        let _ = side_by_side(self.threads.min(AT_A_TIME), missing.len(), |place| {
            let _ = missing.get(place).map(|state| self.directory(state));
            Ok::<_, Infallible>(())
        });
        Ok(())
    }

    /// Fetches what the topmost layers of states are made of; whether all of it is there. After the first that cannot be had no more is begun.
    fn bring_blobs(&self, states: &[State]) -> bool {
        let bring = |place| match states.get(place).and_then(|state: &State| state.layers().last()) {
            Some(layer) if !self.bring_blob(layer) => Err(()),
            Some(_) | None => Ok(()),
        };
        side_by_side(AT_A_TIME, states.len(), bring).is_ok()
    }

    fn bring_blob(&self, layer: &LayerName) -> bool {
        match layer {
            LayerName::Foreign(diff_id) => self.base_layer(diff_id).and_then(|layer| self.bring(self.outside, &layer)).is_ok(),
            LayerName::Own(fingerprint) => {
                if let Some(elsewhere) = &self.elsewhere
                    && let Ok(None) = packed::find_blob(self.outside.store, fingerprint)
                    && let Some(known) = elsewhere.own_layer(fingerprint)
                {
                    return elsewhere.layer_blob(&known).is_some();
                }
                true
            }
        }
    }

    /// Unpacks an own layer into its kept directory. Nothing is kept that is not as `expect` has it.
    fn unpack_as(
        &self,
        fingerprint: &Fingerprint,
        blob: Blob,
        below: &Tree,
        expect: impl FnOnce(&layer::Unpacked) -> Result<(), Failure>,
    ) -> Result<(layer::Unpacked, PathBuf), Failure> {
        let fresh = self.fresh()?;
        let unpacked = layer::unpack(Box::new(blob.file), below, Some(&*fresh.into), &layer::Limits::GENEROUS, self.outside.cancel)?;
        expect(&unpacked)?;
        let path = self.keep(fresh, &fingerprint.hex())?;
        Ok((unpacked, path))
    }

    /// An empty directory for the files of a layer.
    fn fresh(&self) -> Result<Fresh, Failure> {
        let scratch = self.outside.store.scratch()?;
        let path = scratch.path().join("layer");
        let into = make_root(self.workplace, self.outside.store, &path)?;
        Ok(Fresh { scratch, path, into })
    }

    /// Keeps the files of a layer under a name.
    fn keep(&self, fresh: Fresh, name: &str) -> Result<PathBuf, Failure> {
        let Fresh { scratch, path, into } = fresh;
        drop(into);
        let store = self.outside.store;
        Ok(store.keep(scratch, &path, &self.workplace.shelf(store), name)?)
    }

    /// The bytes of a state's files.
    pub(super) fn contents(&self, state: &State) -> StateContents<'_, 'e> {
        StateContents { layers: self, state: state.clone(), places: None }
    }

    /// For the paths of all files of a state the number of the topmost layer that has it.
    fn places_of_files(&self, state: &State) -> Result<BTreeMap<TreePath, usize>, Failure> {
        let mut places = BTreeMap::new();
        for count in 1..=state.layers().len() {
            let difference = self.difference(&state.prefix(count))?;
            let files = difference.entries.iter().filter(|(_, change)| matches!(change, Change::Put(Entry::File(_))));
            places.extend(files.map(|(path, _)| (path.clone(), count)));
        }
        Ok(places)
    }

    /// The directory of a state's topmost layer, opened.
    pub(super) fn open_directory(&self, state: &State) -> Result<Arc<dyn DirectoryHandle>, Failure> {
        Ok(self.workplace.open(&self.directory(state)?)?)
    }

    /// The file system that has nothing in it.
    pub(super) fn nothing() -> Tree {
        Tree::empty(Metadata { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: Xattrs::new() })
    }
}

/// Whether a difference takes away anything of what is below.
fn hides(difference: &Difference) -> bool {
    !difference.opaque.is_empty() || difference.entries.values().any(|change| *change == Change::Whiteout)
}

/// Makes an empty directory in the store and opens it with the hands of the workplace.
pub(super) fn make_root(workplace: &Workplace, store: &Store, path: &std::path::Path) -> Result<Arc<dyn DirectoryHandle>, Failure> {
    std::fs::create_dir(path).map_err(|source| Failure::File { path: path.to_path_buf(), source })?;
    let opened = workplace.open_fresh(path)?;
    Ok(match Marks::of(store) {
        Marks::Possible => opened,
        Marks::Impossible => Arc::new(Unmarked(opened)),
    })
}

/// The bytes of the files of a state: each is in the topmost layer that has its path.
pub(super) struct StateContents<'l, 'e> {
    layers: &'l Layers<'e>,
    state: State,
    /// The numbers of the layers that have them, where all files are wanted: else each is looked for.
    places: Option<BTreeMap<TreePath, usize>>,
}

impl StateContents<'_, '_> {
    fn topmost(&self, path: &TreePath) -> io::Result<std::fs::File> {
        let open = |count| {
            let directory = self.layers.directory(&self.state.prefix(count))?;
            Ok::<_, Failure>(self.layers.workplace.open(&directory)?.open(path)?)
        };
        match self.place(path).map_err(io::Error::other)? {
            Some(count) => open(count).map_err(io::Error::other),
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("no layer has the file `{path}`"))),
        }
    }

    fn place(&self, path: &TreePath) -> Result<Option<usize>, Failure> {
        if let Some(places) = &self.places {
            return Ok(places.get(path).copied());
        }
        for count in (1..=self.state.layers().len()).rev() {
            if let Some(Change::Put(Entry::File(_))) = self.layers.difference(&self.state.prefix(count))?.entries.get(path) {
                return Ok(Some(count));
            }
        }
        Ok(None)
    }
}

impl Contents for StateContents<'_, '_> {
    fn open(&self, path: &TreePath, _content: &Content) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.topmost(path)?))
    }

    fn file(&self, path: &TreePath, _content: &Content) -> io::Result<Option<std::fs::File>> {
        self.topmost(path).map(Some)
    }
}
