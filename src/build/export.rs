//! What steps came to → shared caches, beside the build and while it goes on, so that a build that fails still leaves what succeeded.
//!
//! A record comes last, after all that it speaks of. Whatever cannot be written is a warning, never a failure of the build.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapstrake_cache::{Digest, Fingerprint};

use super::ahead::Ahead;
use super::elsewhere::{self, SaidBlob, SaidFiles, SaidLayer, SaidPart, SaidResult};
use super::packed::Packing;
use super::preimage::Preimage;
use super::site::Site;
use super::snapshots::{self, Used};
use super::state::{LayerName, State};
use super::{Failure, packed, queue};
use crate::image::Descriptor;
use crate::input::Outside;
use crate::layer::Profile;
use crate::remote::{Desk, Found, Kind, Listing, Member, Moment};
use crate::sandbox::Rung;
use crate::tree::{Contents, Difference, DirectoryContents};

/// A difference below this is not worth pages of its own, unless they tell what is in account files.
const WITHOUT_PAGES_BYTES: usize = 4096;

/// How many results are written at a time.
const WRITERS: usize = 2;

/// Something that others may use.
pub(super) enum Job {
    /// What an action came to.
    Result {
        /// What its key is the hash of.
        preimage: Box<Preimage>,
        /// The state after it.
        state: State,
        /// The layer that it made.
        layer: Option<Fingerprint>,
        /// On which rung its command ran.
        rung: Option<String>,
        /// How its layer is packed in an image.
        profile: Profile,
        /// Whether it is news.
        news: News,
        /// When the work was done.
        made: Moment,
        /// Whether it is done again in time.
        ages: Ages,
    },
    /// The name of a part of a state.
    Part {
        /// The key.
        key: Fingerprint,
        /// What it is the hash of.
        preimage: Vec<u8>,
        /// The name.
        name: Fingerprint,
        /// Whether it was made from the files, or only told: then what says so already is kept from fading, and no more.
        news: News,
    },
    /// What is in the directory of a `cache` mount.
    Mount {
        /// Which.
        used: Box<Used>,
    },
    /// What is in a base's layers.
    Base {
        /// The base.
        state: State,
    },
}

/// Whether a result was made just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It was: it takes the place of what others found before.
    Made,
    /// It was known: what others found stays.
    Known,
}

/// Whether a result is good for a time only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ages {
    /// Its step says after how long it is done again.
    Yes,
    /// It is good for ever.
    No,
}

/// Runs a build with writers beside it, and waits for them. `outside` is stopped by the caller alone: what succeeded before a step failed
/// is written all the same.
pub(super) fn beside<T>(site: &Site<'_>, outside: &Outside<'_>, jobs: Option<Receiver<Job>>, build: impl FnOnce() -> T) -> T {
    let export = Export { site, outside, done: Mutex::default() };
    queue::beside(&site.exports, jobs, WRITERS, |job| export.write(&job), build)
}

/// Whether a result may be believed by others. Results of rungs that keep a command from less than others do would not be.
fn is_shareable(rung: Option<&str>) -> bool {
    rung.is_none_or(|rung| Rung::named(rung).is_some_and(Rung::is_shareable))
}

struct Export<'x, 'e> {
    site: &'x Site<'e>,
    outside: &'x Outside<'x>,
    /// Layers that are there already, by cache.
    done: Mutex<BTreeMap<(Member, Fingerprint), SaidFiles>>,
}

impl Export<'_, '_> {
    fn write(&self, job: &Job) {
        let Some(elsewhere) = self.site.layers.elsewhere() else { return };
        if let Job::Mount { used } = job {
            return snapshots::send(self.site, self.outside, used);
        }
        let targets: Vec<Member> = elsewhere.shared.targets().collect();
        for target in targets {
            match job {
                Job::Mount { .. } => {}
                Job::Result { preimage, state, layer, rung, profile, news, made, ages } => {
                    if is_shareable(rung.as_deref()) {
                        self.result(target, preimage, (state, layer.as_ref()), rung.as_deref(), *profile, (*news, *made, *ages));
                    }
                }
                Job::Part { key, preimage, name, news } => {
                    let body = SaidPart { name: name.hex() };
                    self.part(target, (key, preimage), &body, *news);
                }
                Job::Base { state } => {
                    for count in 1..=state.layers().len() {
                        self.base(target, &state.prefix(count));
                    }
                }
            }
        }
    }

    fn desk(&self) -> Desk<'_> {
        Desk { cancel: self.outside.cancel, events: self.outside.events }
    }

    /// Writes the name of a part unless it is there as it is, and not about to be forgotten.
    fn part(&self, target: Member, (key, preimage): (&Fingerprint, &[u8]), body: &SaidPart, news: News) {
        let Some(elsewhere) = self.site.layers.elsewhere() else { return };
        let found: Option<Found<SaidPart>> = elsewhere.shared.known(self.desk(), target, Kind::Part, key, preimage);
        let is_wanted = match found {
            Some(found) if found.body == *body => elsewhere.shared.is_fading(target, found.idle),
            Some(_) | None => news == News::Made,
        };
        if is_wanted {
            elsewhere.shared.put(self.desk(), target, (Kind::Part, key, preimage), Moment::ago(Duration::ZERO), body, &[]);
        }
    }

    fn result(
        &self,
        target: Member,
        preimage: &Preimage,
        (state, layer): (&State, Option<&Fingerprint>),
        rung: Option<&str>,
        profile: Profile,
        (news, made, ages): (News, Moment, Ages),
    ) {
        let Some(elsewhere) = self.site.layers.elsewhere() else { return };
        let (key, preimage) = (preimage.key(), preimage.encode());
        let found: Option<Found<SaidResult>> = elsewhere.shared.known(self.desk(), target, Kind::Result, &key, &preimage);
        if let Some(found) = found {
            let same = found.body.files.as_ref().map(|files| files.fingerprint.as_str()) == layer.map(Fingerprint::hex).as_deref();
            // What others may have written says which records need no writing, and nothing of what is in an image.
            if let Some(files) = found.body.files.as_ref().filter(|_| elsewhere.shared.knows_own_word()) {
                elsewhere.learn(files, target);
            }
            // A record that is only kept from fading does not become younger; one that says what was found anew does.
            let again = match (news, same, ages) {
                (News::Made, false, _) => None,
                (News::Made, true, Ages::Yes) => Some((true, made)),
                (News::Made, true, Ages::No) | (News::Known, _, _) => Some((elsewhere.shared.is_fading(target, found.idle), found.made)),
            };
            if let Some((is_wanted, made)) = again {
                if is_wanted {
                    let blobs = found.body.files.as_ref().map(blobs).unwrap_or_default();
                    elsewhere.shared.put(self.desk(), target, (Kind::Result, &key, &preimage), made, &found.body, &blobs);
                }
                return;
            }
        }
        let files = match layer {
            None => None,
            Some(layer) => match self.files(target, state, layer, profile) {
                Ok(Some(files)) => Some(files),
                // What is not on this machine came from a cache, and stays there.
                Ok(None) | Err(_) => return,
            },
        };
        let blobs = files.as_ref().map(blobs).unwrap_or_default();
        let body = SaidResult { files, rung: rung.map(str::to_owned) };
        if elsewhere.shared.put(self.desk(), target, (Kind::Result, &key, &preimage), made, &body, &blobs)
            && let Some(files) = &body.files
        {
            elsewhere.learn(files, target);
        }
    }

    /// Brings the layer of a result to a cache. `None` where its files are not here, or the cache does not take them.
    fn files(&self, target: Member, state: &State, layer: &Fingerprint, profile: Profile) -> Result<Option<SaidFiles>, Failure> {
        if let Some(files) = self.done().get(&(target, *layer)) {
            return Ok(Some(files.clone()));
        }
        let (site, store) = (self.site, self.outside.store);
        let Some(difference) = site.layers.kept_difference(layer)? else { return Ok(None) };
        let packed = match packed::find(store, layer, profile)? {
            Some(packed) => packed,
            None if !site.layers.has_files(layer)? => return Ok(None),
            None => {
                let directory = site.layers.open_directory(state)?;
                let label = format!("for the cache {}", &layer.hex()[..12]);
                let lineage = ["cache", &state.layers().len().to_string()];
                let packing =
                    Packing { label: &label, lineage: &lineage, difference: layer, profile, threads: site.threads, ahead: Ahead::No };
                packed::pack(self.outside, packing, &difference, &DirectoryContents(&*directory))?
            }
        };
        let blob = elsewhere::layer_descriptor(profile, &packed);
        if !self.put_stored(target, &blob) {
            return Ok(None);
        }
        let mut files = match self.told(target, state, &difference) {
            Some(files) => files,
            None => return Ok(None),
        };
        files.layers.push(SaidLayer::of(profile, &packed));
        self.done().insert((target, *layer), files.clone());
        Ok(Some(files))
    }

    /// Writes what is in a base's layer, where this machine knows it.
    fn base(&self, target: Member, state: &State) {
        let Some(elsewhere) = self.site.layers.elsewhere() else { return };
        let Some(LayerName::Foreign(_)) = state.layers().last() else { return };
        let Ok(difference) = self.site.layers.local_difference(state) else { return };
        let (key, preimage) = (elsewhere::base_key(state), elsewhere::base_preimage(state));
        let found: Option<Found<SaidFiles>> = elsewhere.shared.known(self.desk(), target, Kind::Base, &key, &preimage);
        if let Some(found) = found
            && difference.as_ref().is_none_or(|difference| found.body.fingerprint == difference.fingerprint().hex())
        {
            if elsewhere.shared.is_fading(target, found.idle) {
                let blobs = blobs(&found.body);
                elsewhere.shared.put(self.desk(), target, (Kind::Base, &key, &preimage), found.made, &found.body, &blobs);
            }
            return;
        }
        let Some(difference) = difference else { return };
        if let Some(files) = self.told(target, state, &difference) {
            elsewhere.shared.put(self.desk(), target, (Kind::Base, &key, &preimage), Moment::ago(Duration::ZERO), &files, &blobs(&files));
        }
    }

    /// Brings a difference and its pages to a cache.
    fn told(&self, target: Member, state: &State, difference: &Difference) -> Option<SaidFiles> {
        let elsewhere = self.site.layers.elsewhere()?;
        let encoded = difference.encode();
        let stored = elsewhere::compress(&encoded)?;
        let blob = elsewhere.shared.put_bytes(self.desk(), target, elsewhere::DIFFERENCE_TYPE, &stored)?;
        let is_paged = stored.len() > WITHOUT_PAGES_BYTES || difference.entries.keys().any(Listing::is_told);
        let listing = if is_paged { self.listing(target, state, difference) } else { None };
        Some(SaidFiles { fingerprint: Fingerprint::of(&encoded).hex(), difference: SaidBlob::of(&blob), listing, layers: Vec::new() })
    }

    fn listing(&self, target: Member, state: &State, difference: &Difference) -> Option<(SaidBlob, crate::remote::Pointer)> {
        let elsewhere = self.site.layers.elsewhere()?;
        let contents = self.site.layers.contents(state);
        let mut text = |path: &crate::tree::TreePath, content: &crate::tree::Content| {
            // Only what is unpacked already: nothing is fetched for it.
            if !self.site.layers.is_unpacked(state).ok()? {
                return None;
            }
            let mut bytes = Vec::new();
            contents.open(path, content).ok()?.take(content.size).read_to_end(&mut bytes).ok()?;
            (Fingerprint::of(&bytes) == content.fingerprint).then_some(bytes)
        };
        let Listing { bytes, root } = Listing::of(difference, &mut text)?;
        let blob = elsewhere.shared.put_bytes(self.desk(), target, elsewhere::LISTING_TYPE, &bytes)?;
        Some((SaidBlob::of(&blob), root))
    }

    fn put_stored(&self, target: Member, blob: &Descriptor) -> bool {
        let Some(elsewhere) = self.site.layers.elsewhere() else { return false };
        let store = self.outside.store;
        let source = || match store.blob(&blob.digest).map_err(std::io::Error::other)? {
            Some(found) => Ok(Box::new(found.file) as Box<dyn Read + Send>),
            None => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        };
        elsewhere.shared.put_blob(self.desk(), target, blob, &source)
    }

    fn done(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Member, Fingerprint), SaidFiles>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All blobs that are spoken of, each once.
fn blobs(files: &SaidFiles) -> Vec<Descriptor> {
    let mut seen: BTreeSet<Digest> = BTreeSet::new();
    files.blobs().into_iter().filter(|blob| seen.insert(blob.digest)).collect()
}
