//! Digests and bytes on disk, action records, locking and collection.
//!
//! This crate knows no images and no specs. `FORMAT.md` is the source of truth of the layout on disk.
//!
//! ```
//! use lapstrake_cache::{Fingerprint, Shelf, Store};
//!
//! const ACTIONS: Shelf = Shelf::named("actions");
//!
//! let directory = tempfile::tempdir()?;
//! let store = Store::open(directory.path())?;
//! let blob = store.put_blob(b"plank")?;
//! let key = Fingerprint::of(b"what was asked for");
//! store.put_record(&ACTIONS, &key, blob.digest.as_bytes())?;
//!
//! assert_eq!(store.record(&ACTIONS, &key)?.as_deref(), Some(&blob.digest.as_bytes()[..]));
//! assert_eq!(store.blob(&blob.digest)?.map(|blob| blob.size), Some(5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod behind;
mod blob;
mod clock;
mod collect;
mod digest;
mod directory;
mod error;
mod fingerprint;
mod lease;
mod lock;
mod marker;
mod measure;
mod mount;
mod name;
mod record;
mod remove;
mod settle;
mod store;
mod tally;
mod usage;
mod verify;
mod walk;

pub use behind::BlobBehind;
pub use blob::{Blob, BlobWriter, HashedBlobWriter, StoredBlob};
pub use collect::{Collected, Limits, NotRemoved};
pub use digest::{Digest, InvalidDigest, Sha256};
pub use directory::Scratch;
pub use error::{Error, InvalidName};
pub use fingerprint::{Fingerprint, Fingerprinter, InvalidFingerprint};
pub use marker::STORE_VERSION;
pub use mount::{BEGINNING, CacheMount, MountLock};
pub use name::Shelf;
pub use record::Age;
pub use remove::{RemoveOwn, RemoveTree};
pub use store::Store;
pub use usage::{Count, Kind, Usage};
pub use verify::{Damage, Problem};
