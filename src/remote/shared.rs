//! How shared caches are used: looked up in their order, written to each; whatever goes wrong is a warning and a miss.
//!
//! A place that cannot be asked, or is too slow, is not asked again by the same value. Make one [`Shared`] for each build.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapstrake_cache::{Fingerprint, Store};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::keys::{PublicKey, SigningKey};
use super::statement::{self, Kind, RecordName, Refused, Times};
use super::{Pointer, RemoteCache, RemoteError};
use crate::event::{Cancel, Event, EventKind, EventSink, TaskId};
use crate::image::{Descriptor, Reference};
use crate::registry::BlobSource;

/// How often one place may have something that cannot be used before it is left alone.
const FAULTS: u32 = 3;

/// How many records are looked at when a build that writes makes room.
const LOOKED_AT: usize = 64;

/// The caches of one build.
#[derive(Debug, Default)]
pub struct Shared {
    from: Vec<Place>,
    to: Vec<Place>,
    keys: Keys,
    doubted: Mutex<BTreeSet<Fingerprint>>,
}

/// Who signs, and whose signatures count.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// Signs what is written.
    pub sign: Option<SigningKey>,
    /// Only records that one of these has signed are believed; everything is where there is none, and nothing signs.
    pub trust: Vec<PublicKey>,
}

/// A cache that is looked up.
#[derive(Debug)]
pub struct Source {
    /// Where.
    pub cache: Box<dyn RemoteCache>,
    /// Whether directories of `cache` mounts begin with what it has of them. What comes from there stays here, for all builds.
    pub mounts: CacheMounts,
}

/// A cache that is written to.
#[derive(Debug)]
pub struct Target {
    /// Where.
    pub cache: Box<dyn RemoteCache>,
    /// Records that nobody wrote or used for about this long may be removed.
    pub max_age: Option<Duration>,
    /// Whether it takes what is in the directories of `cache` mounts.
    pub mounts: CacheMounts,
}

/// Whether what is in the directories of `cache` mounts goes to a cache, or comes from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMounts {
    /// It does.
    Taken,
    /// It does not.
    #[default]
    Left,
}

/// Who may stop what is going on, and who is told of it.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    /// The wish to stop.
    pub cancel: &'a Cancel,
    /// Who is told.
    pub events: &'a dyn EventSink,
}

impl Desk<'_> {
    /// Tells something.
    pub fn note(&self, message: String) {
        self.events.send(Event { task: TaskId::fresh(), kind: EventKind::Noted { message } });
    }

    /// Tells that something is not done, and why.
    pub fn warn(&self, what: &str, error: &dyn std::error::Error) {
        self.note(format!("warning: {what}: {}", chain(error)));
    }
}

#[derive(Debug)]
struct Place {
    cache: Box<dyn RemoteCache>,
    max_age: Option<Duration>,
    mounts: CacheMounts,
    is_off: AtomicBool,
    faults: AtomicU32,
    /// Whether a record was written to it.
    has_grown: AtomicBool,
}

/// One of the caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// One that is looked up.
    From(usize),
    /// One that is written to.
    To(usize),
}

/// A record that was found and believed.
#[derive(Debug, Clone)]
pub struct Found<T> {
    /// What it says.
    pub body: T,
    /// When it was found out, by the clock of who did.
    pub made: Moment,
    /// How long ago somebody cared for it last: wrote it, or used it and kept it from fading.
    pub idle: Duration,
    /// Who has it, and the blobs that it speaks of.
    pub member: Member,
}

/// When something was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// So long ago.
    #[must_use]
    pub fn ago(age: Duration) -> Moment {
        Moment(now().saturating_sub(age.as_secs()))
    }
}

/// What removing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Records that were removed.
    pub removed: usize,
    /// Records that remain, of those that were looked at.
    pub kept: usize,
}

impl Shared {
    /// Caches to look up, in their order, and caches to write to.
    #[must_use]
    pub fn new(from: Vec<Source>, to: Vec<Target>, keys: Keys) -> Shared {
        let place = |cache, max_age, mounts| Place {
            cache,
            max_age,
            mounts,
            is_off: AtomicBool::new(false),
            faults: AtomicU32::new(0),
            has_grown: AtomicBool::new(false),
        };
        Shared {
            from: from.into_iter().map(|Source { cache, mounts }| place(cache, None, mounts)).collect(),
            to: to.into_iter().map(|Target { cache, max_age, mounts }| place(cache, max_age, mounts)).collect(),
            keys,
            doubted: Mutex::default(),
        }
    }

    /// The caches that are written to and still take something.
    pub fn targets(&self) -> impl Iterator<Item = Member> + '_ {
        self.to.iter().enumerate().filter(|(_, place)| !place.is_off()).map(|(index, _)| Member::To(index))
    }

    /// Those of them that take what is in the directories of `cache` mounts.
    pub fn mount_targets(&self) -> impl Iterator<Item = Member> + '_ {
        self.targets().filter(|member| self.place(*member).is_some_and(|place| place.mounts == CacheMounts::Taken))
    }

    /// Whether what is found in a cache that is written to was signed by ourselves. Otherwise anybody may have put it there.
    #[must_use]
    pub fn knows_own_word(&self) -> bool {
        self.keys.sign.is_some()
    }

    /// Whether anything is looked up anywhere.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.from.iter().any(|place| !place.is_off())
    }

    /// Whether anything is written anywhere.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.to.iter().any(|place| !place.is_off())
    }

    /// What is known of a key, from the first cache that has it. A record that is older than `oldest` does not count.
    pub fn look_up<T: DeserializeOwned>(
        &self,
        desk: Desk<'_>,
        kind: Kind,
        key: &Fingerprint,
        preimage: &[u8],
        oldest: Option<Duration>,
    ) -> Option<Found<T>> {
        let from = self.from.iter().enumerate().filter(|(_, place)| kind != Kind::Mount || place.mounts == CacheMounts::Taken);
        from.map(|(index, _)| Member::From(index))
            .filter_map(|member| self.known(desk, member, kind, key, preimage))
            .find(|found| oldest.is_none_or(|oldest| since(found.made.0) <= oldest))
    }

    /// What one cache knows of a key.
    pub fn known<T: DeserializeOwned>(
        &self,
        desk: Desk<'_>,
        member: Member,
        kind: Kind,
        key: &Fingerprint,
        preimage: &[u8],
    ) -> Option<Found<T>> {
        let place = self.place(member)?;
        let own = self.keys.sign.as_ref().map(SigningKey::public);
        let mut signers: Vec<Option<&PublicKey>> = match member {
            // Whether it is there is asked of what we would write ourselves.
            Member::To(_) => vec![own],
            Member::From(_) => self.keys.trust.iter().chain(own).map(Some).collect(),
        };
        if signers.is_empty() {
            signers.push(None);
        }
        signers.dedup();
        for signer in signers {
            let name = RecordName::new(kind, key, signer);
            let text = place.ask(desk, |cache| cache.record(&name, desk.cancel)).flatten();
            let Some(text) = text else { continue };
            match statement::hear::<T>(&text, kind, key, preimage, signer) {
                Ok(said) => {
                    let Times { written, renewed: _ } = said.times;
                    return Some(Found { body: said.body, made: Moment(written), idle: since(said.times.last()), member });
                }
                // What stands where we are about to write is only in the way.
                Err(_) if matches!(member, Member::To(_)) => {}
                Err(refused @ (Refused::Signature | Refused::Mixed | Refused::Unreadable)) => {
                    place.complain(desk, &format!("the record `{}` does not count: {refused}", name.as_str()));
                }
            }
        }
        None
    }

    /// Learns that what was found of something is of no use: what is said of it does not count any more. `what` is wrong, for people.
    pub fn doubt(&self, desk: Desk<'_>, member: Member, of: &Fingerprint, what: &str) {
        self.doubted.lock().unwrap_or_else(PoisonError::into_inner).insert(*of);
        if let Some(place) = self.place(member) {
            place.complain(desk, what);
        }
    }

    /// Whether what is said of something does not count.
    #[must_use]
    pub fn is_doubted(&self, of: &Fingerprint) -> bool {
        self.doubted.lock().unwrap_or_else(PoisonError::into_inner).contains(of)
    }

    /// Whether a cache is asked still.
    #[must_use]
    pub fn is_in_use(&self, member: Member) -> bool {
        self.place(member).is_some()
    }

    /// Whether a cache has a blob; that it has not is an answer. `None` where it cannot be asked.
    #[must_use]
    pub fn knows(&self, desk: Desk<'_>, member: Member, blob: &Descriptor) -> Option<bool> {
        self.place(member)?.ask_for(desk, |cache| cache.has(blob, desk.cancel))
    }

    /// Whether a cache has a blob.
    #[must_use]
    pub fn has(&self, desk: Desk<'_>, member: Member, blob: &Descriptor) -> bool {
        let Some(place) = self.place(member) else { return false };
        match place.ask(desk, |cache| cache.has(blob, desk.cancel)) {
            Some(true) => true,
            Some(false) => {
                place.complain(desk, &format!("the blob {} is not there", blob.digest));
                false
            }
            None => false,
        }
    }

    /// The stored bytes of a page, verified.
    #[must_use]
    pub fn page(&self, desk: Desk<'_>, member: Member, listing: &Descriptor, pointer: &Pointer) -> Option<Vec<u8>> {
        let place = self.place(member)?;
        let range = pointer.range();
        if range.end > listing.size {
            place.complain(desk, &format!("the listing {} is shorter than it says", listing.digest));
            return None;
        }
        let bytes = place.ask(desk, |cache| cache.part(listing, range, desk.cancel))?;
        if Fingerprint::of(&bytes) != pointer.name {
            place.complain(desk, &format!("the listing {} is damaged", listing.digest));
            return None;
        }
        Some(bytes)
    }

    /// Brings a blob into the store, verified. Says whether it is there.
    #[must_use]
    pub fn fetch(&self, desk: Desk<'_>, member: Member, blob: &Descriptor, store: &Store) -> bool {
        let Some(place) = self.place(member) else { return false };
        let fetched = place.ask(desk, |cache| {
            let mut sink = store.new_blob()?;
            cache.fetch(blob, &mut sink, desk.cancel)?;
            sink.finish_expecting(&blob.digest, Some(blob.size))?;
            Ok(())
        });
        fetched.is_some()
    }

    /// The bytes of a blob, verified; `None` also for one that says that it has more than `limit`. That it is not there, or damaged, is an answer,
    /// which the caller may complain of.
    #[must_use]
    pub fn bytes(&self, desk: Desk<'_>, member: Member, blob: &Descriptor, limit: u64) -> Option<Vec<u8>> {
        let place = self.place(member).filter(|_| blob.size <= limit)?;
        place.ask_for(desk, |cache| {
            let mut bytes = Vec::new();
            cache.fetch(blob, &mut bytes, desk.cancel)?;
            Ok(bytes)
        })
    }

    /// Brings a blob to a cache. Says whether it is there.
    #[must_use]
    pub fn put_blob(&self, desk: Desk<'_>, member: Member, blob: &Descriptor, source: &dyn BlobSource) -> bool {
        let place = self.place(member);
        place.is_some_and(|place| place.ask(desk, |cache| cache.put_blob(blob, source, desk.cancel)).is_some())
    }

    /// Brings bytes to a cache. Gives their descriptor if they are there.
    #[must_use]
    pub fn put_bytes(&self, desk: Desk<'_>, member: Member, media_type: &str, bytes: &[u8]) -> Option<Descriptor> {
        let blob = Descriptor::of(media_type, bytes);
        let source = || Ok(Box::new(io::Cursor::new(bytes.to_vec())) as Box<dyn Read + Send>);
        self.put_blob(desk, member, &blob, &source).then_some(blob)
    }

    /// Writes what is known of a key and was found out then, once all blobs that it speaks of are there. Says whether it was taken.
    pub fn put<T: Serialize>(
        &self,
        desk: Desk<'_>,
        member: Member,
        (kind, key, preimage): (Kind, &Fingerprint, &[u8]),
        made: Moment,
        body: &T,
        blobs: &[Descriptor],
    ) -> bool {
        let Some(place) = self.place(member) else { return false };
        let signer = self.keys.sign.as_ref();
        let name = RecordName::new(kind, key, signer.map(SigningKey::public));
        let (Moment(written), now) = (made, now());
        let times = Times { written, renewed: (written < now).then_some(now) };
        let Some(text) = statement::say(kind, key, preimage, times, body, signer) else { return false };
        let is_put = place.ask(desk, |cache| cache.put_record(&name, &text, blobs, desk.cancel)).is_some();
        if is_put {
            place.has_grown.store(true, Ordering::SeqCst);
        }
        is_put
    }

    /// Whether a record for which nobody has cared so long has to be written anew so that it is not taken for one that nobody uses.
    #[must_use]
    pub fn is_fading(&self, member: Member, idle: Duration) -> bool {
        self.place(member).and_then(|place| place.max_age).is_some_and(|max_age| idle > max_age / 2)
    }

    /// The repository in which a registry finds a cache's blobs.
    #[must_use]
    pub fn repository(&self, member: Member) -> Option<&Reference> {
        match member {
            Member::From(index) => self.from.get(index),
            Member::To(index) => self.to.get(index),
        }
        .and_then(|place| place.cache.repository())
    }

    /// Removes some of the records that are too old from the caches that have a limit and were written to: those that come after `near` in
    /// the order of names, so that builds which write other records look at others.
    pub fn make_room(&self, desk: Desk<'_>, near: &Fingerprint) {
        for place in &self.to {
            let has_grown = place.has_grown.load(Ordering::SeqCst);
            let Some(max_age) = place.max_age.filter(|_| has_grown && !place.is_off()) else { continue };
            let near = RecordName::new(Kind::Result, near, None);
            let _ = place.ask(desk, |cache| {
                let mut names = cache.names(desk.cancel)?;
                let first = names.partition_point(|name| *name < near);
                names.rotate_left(first);
                names.truncate(LOOKED_AT);
                remove_old(cache, &names, max_age, desk.cancel)
            });
        }
    }

    fn place(&self, member: Member) -> Option<&Place> {
        let place = match member {
            Member::From(index) => self.from.get(index),
            Member::To(index) => self.to.get(index),
        };
        place.filter(|place| !place.is_off())
    }
}

/// Removes the records of a cache that are older than `max_age`.
///
/// # Errors
/// When the cache cannot be asked, or does not remove.
pub fn prune(cache: &dyn RemoteCache, max_age: Duration, cancel: &Cancel) -> Result<Pruned, RemoteError> {
    remove_old(cache, &cache.names(cancel)?, max_age, cancel)
}

fn remove_old(cache: &dyn RemoteCache, names: &[RecordName], max_age: Duration, cancel: &Cancel) -> Result<Pruned, RemoteError> {
    let mut pruned = Pruned::default();
    for name in names {
        let Some(text) = cache.record(name, cancel)? else { continue };
        // What says no time is nobody's.
        if statement::times(&text).is_none_or(|times| since(times.last()) > max_age) {
            cache.remove(name, &text, cancel)?;
            pruned.removed += 1;
        } else {
            pruned.kept += 1;
        }
    }
    Ok(pruned)
}

impl Place {
    fn is_off(&self) -> bool {
        self.is_off.load(Ordering::SeqCst)
    }

    /// Asks for something. What cannot be had is told and counted; a place that cannot be asked is left alone.
    fn ask<T>(&self, desk: Desk<'_>, work: impl FnOnce(&dyn RemoteCache) -> Result<T, RemoteError>) -> Option<T> {
        if self.is_off() || desk.cancel.is_cancelled() {
            return None;
        }
        match work(&*self.cache) {
            Ok(found) => Some(found),
            Err(_) if desk.cancel.is_cancelled() => None,
            Err(error) if error.is_about_one_thing() => {
                self.complain(desk, &chain(&error));
                None
            }
            Err(error) => {
                self.turn_off(desk, &chain(&error));
                None
            }
        }
    }

    /// As [`Place::ask`], for what may well not be there.
    fn ask_for<T>(&self, desk: Desk<'_>, work: impl FnOnce(&dyn RemoteCache) -> Result<T, RemoteError>) -> Option<T> {
        let answer = self.ask(desk, |cache| match work(cache) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_about_one_thing() => Ok(None),
            Err(error) => Err(error),
        });
        answer.flatten()
    }

    /// Tells of something that cannot be used. A place that has much of that is left alone.
    fn complain(&self, desk: Desk<'_>, what: &str) {
        if self.faults.fetch_add(1, Ordering::SeqCst) + 1 >= FAULTS {
            self.turn_off(desk, what);
        } else {
            desk.note(format!("warning: the cache `{}`: {what}", self.cache.name()));
        }
    }

    fn turn_off(&self, desk: Desk<'_>, what: &str) {
        if !self.is_off.swap(true, Ordering::SeqCst) {
            desk.note(format!("warning: the cache `{}` is not used any further: {what}", self.cache.name()));
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(&format!(": {error}"));
        next = error.source();
    }
    text
}

/// Seconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "records carry when they were written, so that old ones can be removed; on no path to a digest"
)]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn since(written: u64) -> Duration {
    Duration::from_secs(now().saturating_sub(written))
}
