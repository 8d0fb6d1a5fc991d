//! What steps came to ⇄ a cache that several machines share, such as a repository of a registry.
//!
//! A record says what is known of one key; blobs are what it speaks of. [`RemoteCache`] is what a place has to be able to do;
//! [`Shared`] is how places are used: nothing that goes wrong with one is more than a warning and a miss, what takes too long counts as
//! gone wrong, and a record counts only if it is about the very pre-image that is asked for and, where keys are configured, signed by one
//! of them. Nothing that a place says is kept as our own knowledge: it is asked anew in every build.
//! Source of truth: `cache/FORMAT.md`, "Shared caches".

mod frame;
mod keys;
mod listing;
mod repository;
mod shared;
mod snapshot;
mod statement;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::ops::Range;
use std::time::Duration;

pub use keys::{InvalidKey, PublicKey, SigningKey};
pub use listing::{Linked, Listing, Page, Pointer};
pub use repository::Repository;
pub use shared::{CacheMounts, Desk, Found, Keys, Member, Moment, Pruned, Shared, Source, Target, prune};
pub use snapshot::{Chunk, MOST_CHUNKS, PIECE_BYTES, Piece, Snapshot};
pub use statement::{Kind, RecordName};

use crate::event::Cancel;
use crate::image::{Descriptor, Reference};
use crate::registry::BlobSource;

/// A place that keeps records and blobs for several machines. Calls block, for no longer than a time that the place itself sets.
pub trait RemoteCache: Send + Sync + std::fmt::Debug {
    /// What people call it.
    fn name(&self) -> String;

    /// The newest record of a name; `None` if there is none.
    ///
    /// # Errors
    /// When the place cannot be asked.
    fn record(&self, name: &RecordName, cancel: &Cancel) -> Result<Option<String>, RemoteError>;

    /// Puts a record in place of any earlier one of its name. The blobs that it speaks of are there, and must stay as long as it does.
    ///
    /// # Errors
    /// When the place does not take it.
    fn put_record(&self, name: &RecordName, record: &str, blobs: &[Descriptor], cancel: &Cancel) -> Result<(), RemoteError>;

    /// Whether it has a blob.
    ///
    /// # Errors
    /// When the place cannot be asked.
    fn has(&self, blob: &Descriptor, cancel: &Cancel) -> Result<bool, RemoteError>;

    /// Some bytes of a blob, unverified.
    ///
    /// # Errors
    /// When the place does not have them.
    fn part(&self, blob: &Descriptor, range: Range<u64>, cancel: &Cancel) -> Result<Vec<u8>, RemoteError>;

    /// A whole blob, verified by its digest when the call ends well.
    ///
    /// # Errors
    /// When the place does not have it, has something else, or the sink fails.
    fn fetch(&self, blob: &Descriptor, sink: &mut dyn Write, cancel: &Cancel) -> Result<(), RemoteError>;

    /// Brings a blob there, unless it has it.
    ///
    /// # Errors
    /// When the place does not take it.
    fn put_blob(&self, blob: &Descriptor, source: &dyn BlobSource, cancel: &Cancel) -> Result<(), RemoteError>;

    /// The repository in which a registry finds its blobs, so that images can be pushed without them passing through here.
    fn repository(&self) -> Option<&Reference>;

    /// The names of records, sorted.
    ///
    /// # Errors
    /// When the place cannot say.
    fn names(&self, cancel: &Cancel) -> Result<Vec<RecordName>, RemoteError>;

    /// Removes a record if it is this one still. What it spoke of may be removed with it once no other record does.
    ///
    /// # Errors
    /// When the place does not do it.
    fn remove(&self, name: &RecordName, record: &str, cancel: &Cancel) -> Result<(), RemoteError>;
}

/// Why a place was of no use.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] crate::registry::Error),
    /// It took too long.
    #[error("it took longer than {} s", .limit.as_secs())]
    Late {
        /// How long it may take.
        limit: Duration,
    },
    /// It gave something else than was asked for.
    #[error("{what}")]
    Damaged {
        /// What.
        what: String,
    },
    /// What was fetched cannot be written.
    #[error(transparent)]
    Store(#[from] lapstrake_cache::Error),
}

impl RemoteError {
    /// Whether only this one thing cannot be had, and the place is sound otherwise.
    #[must_use]
    pub fn is_about_one_thing(&self) -> bool {
        match self {
            RemoteError::Damaged { .. } => true,
            RemoteError::Registry(error) => error.is_about_missing_parts() || is_about_one_thing(error),
            RemoteError::Late { .. } | RemoteError::Store(_) => false,
        }
    }
}

fn is_about_one_thing(error: &crate::registry::Error) -> bool {
    use crate::registry::Error as E;
    match error {
        E::NotFound { .. }
        | E::DigestMismatch { .. }
        | E::SizeMismatch { .. }
        | E::ManifestDigest { .. }
        | E::TooLarge { .. }
        | E::Invalid { .. }
        | E::Contended { .. }
        | E::Changed { .. } => true,
        E::Nowhere { failures, .. } => failures.iter().all(is_about_one_thing),
        E::Unreachable { .. }
        | E::Stalled { .. }
        | E::Broken { .. }
        | E::Unauthorized { .. }
        | E::Denied { .. }
        | E::TooManyRequests { .. }
        | E::Refused { .. }
        | E::OtherDigest { .. }
        | E::Protocol { .. }
        | E::UntrustedRealm { .. }
        | E::UnsafeRedirect { .. }
        | E::Credentials { .. }
        | E::Source { .. }
        | E::SourceSize { .. }
        | E::Sink { .. }
        | E::FetchSink { .. }
        | E::Settings { .. }
        | E::Start(_)
        | E::Cancelled => false,
    }
}
