//! What shared caches know of the layers of one build: records in; differences, pages of listings and blobs out, verified and fetched when
//! first needed.
//!
//! Nothing that a cache says of a key is kept as a record of our own. What is kept is named by its own bytes: blobs, pages, differences.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapstrake_cache::{Blob, Digest, Fingerprint, Shelf};
use serde::{Deserialize, Serialize};

use super::once::Once;
use super::packed::Packed;
use super::preimage::Preimage;
use super::state::State;
use crate::image::{Descriptor, MediaType, Reference};
use crate::input::{NetworkUse, Outside};
use crate::layer::{LAYER_FORMAT, Profile};
use crate::remote::{Desk, Found, Kind, Member, Moment, Page, Pointer, Shared};
use crate::tree::Difference;

/// Pages of listings by the fingerprint of their stored bytes.
const PAGES: Shelf = Shelf::named("pages");

/// The media type of a difference in its canonical bytes, compressed.
pub(super) const DIFFERENCE_TYPE: &str = "application/vnd.lapstrake.difference.v1+zstd";
/// The media type of the pages of a difference.
pub(super) const LISTING_TYPE: &str = "application/vnd.lapstrake.listing.v1";

/// The most bytes that a difference may have when it is expanded.
const DIFFERENCE_LIMIT_BYTES: usize = 1 << 30;

/// What a result's record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SaidResult {
    /// What the step changed; missing where that is nothing.
    pub(super) files: Option<SaidFiles>,
    /// On which rung a command ran.
    pub(super) rung: Option<String>,
}

/// What is said of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SaidFiles {
    /// The fingerprint of its difference.
    pub(super) fingerprint: String,
    /// The blob that is its difference.
    pub(super) difference: SaidBlob,
    /// The blob with its pages, and the first; missing where the difference itself is no longer than pages would be.
    pub(super) listing: Option<(SaidBlob, Pointer)>,
    /// The blobs that are the layer.
    pub(super) layers: Vec<SaidLayer>,
}

/// A blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SaidBlob {
    pub(super) digest: String,
    pub(super) size: u64,
}

/// A packed layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SaidLayer {
    pub(super) profile: String,
    pub(super) format: u32,
    pub(super) diff_id: String,
    pub(super) blob: SaidBlob,
}

/// What is said of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SaidPart {
    pub(super) name: String,
}

/// What a cache has of a layer, read.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) member: Member,
    pub(super) fingerprint: Fingerprint,
    difference: Descriptor,
    listing: Option<(Descriptor, Pointer)>,
    layers: Vec<(Profile, Packed)>,
}

/// What an action came to, by the word of a cache.
pub(super) struct ToldResult {
    /// The layer that it made.
    pub(super) layer: Option<Fingerprint>,
    /// On which rung its command ran.
    pub(super) rung: Option<String>,
    /// When.
    pub(super) made: Moment,
}

/// What shared caches know.
pub(super) struct Elsewhere<'e> {
    pub(super) shared: &'e Shared,
    outside: &'e Outside<'e>,
    own: Mutex<BTreeMap<Fingerprint, Known>>,
    bases: Once<State, Option<Known>>,
    blobs: Once<Digest, bool>,
}

impl SaidBlob {
    pub(super) fn of(blob: &Descriptor) -> SaidBlob {
        SaidBlob { digest: blob.digest.to_string(), size: blob.size }
    }

    pub(super) fn descriptor(&self, media_type: &str) -> Option<Descriptor> {
        Some(Descriptor::new(media_type, self.digest.parse().ok()?, self.size))
    }
}

impl SaidLayer {
    pub(super) fn of(profile: Profile, packed: &Packed) -> SaidLayer {
        SaidLayer {
            profile: profile.name().to_owned(),
            format: LAYER_FORMAT,
            diff_id: packed.diff_id.to_string(),
            blob: SaidBlob { digest: packed.digest.to_string(), size: packed.size },
        }
    }
}

impl SaidFiles {
    /// All blobs that it speaks of.
    pub(super) fn blobs(&self) -> Vec<Descriptor> {
        let mut blobs: Vec<Option<Descriptor>> = vec![self.difference.descriptor(DIFFERENCE_TYPE)];
        blobs.extend(self.listing.iter().map(|(listing, _)| listing.descriptor(LISTING_TYPE)));
        for layer in &self.layers {
            let profile = Profile::ALL.into_iter().find(|known| known.name() == layer.profile);
            let media_type = profile.map_or(MediaType::OCI_LAYER, layer_type);
            blobs.push(layer.blob.descriptor(media_type));
        }
        blobs.into_iter().flatten().collect()
    }

    /// `None` where something in it cannot be what it is said to be.
    fn read(&self, member: Member) -> Option<Known> {
        let listing = match &self.listing {
            Some((blob, pointer)) => Some((blob.descriptor(LISTING_TYPE)?, *pointer)),
            None => None,
        };
        let mut layers = Vec::new();
        for SaidLayer { profile, format, diff_id, blob } in &self.layers {
            let profile = Profile::ALL.into_iter().find(|known| known.name() == profile);
            // A layer of another format or profile is of no use, and no mistake.
            let Some(profile) = profile.filter(|_| *format == LAYER_FORMAT) else { continue };
            layers.push((profile, Packed { diff_id: diff_id.parse().ok()?, digest: blob.digest.parse().ok()?, size: blob.size }));
        }
        // It is held in memory.
        if self.difference.size > DIFFERENCE_LIMIT_BYTES as u64 {
            return None;
        }
        let fingerprint = self.fingerprint.parse().ok()?;
        Some(Known { member, fingerprint, difference: self.difference.descriptor(DIFFERENCE_TYPE)?, listing, layers })
    }
}

impl Known {
    /// Where its pages are.
    pub(super) fn listing(&self) -> Option<&(Descriptor, Pointer)> {
        self.listing.as_ref()
    }

    /// Its blob in a profile.
    pub(super) fn packed(&self, profile: Profile) -> Option<Packed> {
        self.layers.iter().find(|(known, _)| *known == profile).map(|(_, packed)| *packed)
    }
}

/// The blob of a packed layer as a cache has it.
pub(super) fn layer_descriptor(profile: Profile, packed: &Packed) -> Descriptor {
    Descriptor::new(layer_type(profile), packed.digest, packed.size)
}

fn layer_type(profile: Profile) -> &'static str {
    match profile {
        Profile::Gzip1 | Profile::GzipSingle1 => MediaType::OCI_LAYER_GZIP,
        Profile::Zstd1 => MediaType::OCI_LAYER_ZSTD,
        Profile::Plain => MediaType::OCI_LAYER,
    }
}

impl<'e> Elsewhere<'e> {
    /// `None` where the network may not be used.
    pub(super) fn new(shared: &'e Shared, outside: &'e Outside<'e>) -> Option<Elsewhere<'e>> {
        match outside.network {
            NetworkUse::Allowed => {
                Some(Elsewhere { shared, outside, own: Mutex::default(), bases: Once::default(), blobs: Once::default() })
            }
            NetworkUse::Refused => None,
        }
    }

    pub(super) fn desk(&self) -> Desk<'e> {
        Desk { cancel: self.outside.cancel, events: self.outside.events }
    }

    /// What an action came to, if a cache knows and its files can be had there.
    pub(super) fn result(&self, preimage: &Preimage, oldest: Option<Duration>) -> Option<ToldResult> {
        if !self.shared.is_read() {
            return None;
        }
        let found: Found<SaidResult> = self.shared.look_up(self.desk(), Kind::Result, &preimage.key(), &preimage.encode(), oldest)?;
        let told = |layer| ToldResult { layer, rung: found.body.rung, made: found.made };
        match found.body.files {
            None => Some(told(None)),
            Some(files) => {
                let known = files.read(found.member)?;
                let fingerprint = known.fingerprint;
                // Without a blob nothing could be made of it.
                if known.layers.is_empty() || self.shared.is_doubted(&fingerprint) {
                    return None;
                }
                self.own().entry(fingerprint).or_insert(known);
                Some(told(Some(fingerprint)))
            }
        }
    }

    /// The name of a part of a state, and who says so.
    pub(super) fn part(&self, key: &Fingerprint, preimage: &[u8]) -> Option<(Fingerprint, Member)> {
        if self.shared.is_doubted(key) {
            return None;
        }
        let found: Found<SaidPart> = self.shared.look_up(self.desk(), Kind::Part, key, preimage, None)?;
        Some((found.body.name.parse().ok()?, found.member))
    }

    /// Notes that a part has another name than was told, so that it is not asked for again.
    pub(super) fn doubt_part(&self, member: Member, key: &Fingerprint) {
        self.shared.doubt(self.desk(), member, key, "it names files otherwise than they are");
    }

    /// Notes that the topmost layer of a state has other files than was told.
    pub(super) fn doubt_base(&self, state: &State) {
        if let Some(known) = self.base_layer(state) {
            self.shared.doubt(self.desk(), known.member, &base_key(state), "it tells of other files in a base than there are");
        }
    }

    /// What is known of an own layer.
    pub(super) fn own_layer(&self, fingerprint: &Fingerprint) -> Option<Known> {
        self.own().get(fingerprint).cloned()
    }

    /// Learns that a cache has an own layer.
    pub(super) fn learn(&self, files: &SaidFiles, member: Member) {
        if let Some(known) = files.read(member) {
            self.own().entry(known.fingerprint).or_insert(known);
        }
    }

    /// What is known of the topmost layer of a state, which is of a base.
    pub(super) fn base_layer(&self, state: &State) -> Option<Known> {
        let looked = self.bases.get(state, || {
            let found: Option<Found<SaidFiles>> =
                self.shared.look_up(self.desk(), Kind::Base, &base_key(state), base_preimage(state).as_slice(), None);
            Ok::<_, std::convert::Infallible>(found.and_then(|found| found.body.read(found.member)))
        });
        match looked {
            Ok(known) => known,
            Err(never) => match never {},
        }
    }

    /// The whole difference of a layer, verified by its fingerprint.
    pub(super) fn difference(&self, known: &Known) -> Option<Difference> {
        let mut stored = Vec::new();
        self.blob(known.member, &known.difference)?.file.read_to_end(&mut stored).ok()?;
        let bytes = zstd::bulk::decompress(&stored, DIFFERENCE_LIMIT_BYTES).ok()?;
        if Fingerprint::of(&bytes) != known.fingerprint {
            return None;
        }
        Difference::decode(&bytes).ok()
    }

    /// A page of a layer's listing. Pages are kept in the store.
    pub(super) fn page(&self, known: &Known, listing: &Descriptor, pointer: &Pointer) -> Option<Page> {
        let store = self.outside.store;
        if let Ok(Some(stored)) = store.record(&PAGES, &pointer.name)
            && let Some(page) = Page::read(&stored, pointer)
        {
            return Some(page);
        }
        let stored = self.shared.page(self.desk(), known.member, listing, pointer)?;
        let page = Page::read(&stored, pointer)?;
        // A page that cannot be kept is fetched again.
        let _ = store.put_record(&PAGES, &pointer.name, &stored);
        Some(page)
    }

    /// A blob of a layer, brought into the store; with what is said of it.
    pub(super) fn layer_blob(&self, known: &Known) -> Option<(Packed, Blob)> {
        let have = |packed: &Packed| self.outside.store.blob(&packed.digest).ok().flatten().filter(|blob| blob.size == packed.size);
        if let Some((packed, blob)) = known.layers.iter().find_map(|(_, packed)| have(packed).map(|blob| (*packed, blob))) {
            return Some((packed, blob));
        }
        known.layers.iter().find_map(|(profile, packed)| Some((*packed, self.blob(known.member, &layer_descriptor(*profile, packed))?)))
    }

    /// The repository that has a layer's blob, if it has it in truth.
    pub(super) fn home(&self, known: &Known, blob: &Descriptor) -> Option<&Reference> {
        let repository = self.shared.repository(known.member)?;
        self.shared.has(self.desk(), known.member, blob).then_some(repository)
    }

    /// Notes that a layer cannot be had after all, so that its step is a miss when the build is tried anew.
    pub(super) fn lose(&self, known: &Known) {
        self.own().remove(&known.fingerprint);
        self.shared.doubt(self.desk(), known.member, &known.fingerprint, &format!("the result {} cannot be had", known.fingerprint));
    }

    fn blob(&self, member: Member, blob: &Descriptor) -> Option<Blob> {
        let store = self.outside.store;
        if let Ok(Some(found)) = store.blob(&blob.digest) {
            return Some(found);
        }
        // What cannot be had is asked for once: each time counts against the cache.
        let fetched = self.blobs.get(&blob.digest, || Ok::<_, Infallible>(self.shared.fetch(self.desk(), member, blob, store)));
        match fetched {
            Ok(true) => store.blob(&blob.digest).ok().flatten(),
            Ok(false) => None,
            Err(never) => match never {},
        }
    }

    fn own(&self) -> std::sync::MutexGuard<'_, BTreeMap<Fingerprint, Known>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of what is said of a base's layer.
pub(super) fn base_key(state: &State) -> Fingerprint {
    Fingerprint::of(&base_preimage(state))
}

/// What that key is the hash of: the state's layers, named by its own hash.
pub(super) fn base_preimage(state: &State) -> Vec<u8> {
    format!("lapstrake-shared-base/1 {}", state.name()).into_bytes()
}

/// A difference as a blob.
pub(super) fn compress(difference: &[u8]) -> Option<Vec<u8>> {
    (difference.len() <= DIFFERENCE_LIMIT_BYTES).then(|| zstd::bulk::compress(difference, 3).ok()).flatten()
}
