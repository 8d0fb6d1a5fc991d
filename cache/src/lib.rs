//! Digests and bytes on disk, action records, locking and collection.
//!
//! This crate knows no images and no specs. `FORMAT.md` is the source of truth of the layout on disk.

mod digest;
mod fingerprint;

pub use digest::{Digest, InvalidDigest, Sha256};
pub use fingerprint::{Fingerprint, Fingerprinter, InvalidFingerprint};
