//! Layers: a difference in, a tar stream and its blob out, and back.
//!
//! What is written is canonical: a [`Difference`](crate::tree::Difference) has one tar stream, and a stream and a [`Profile`] have one
//! blob. `specs/layers.md` defines every byte. What is read is an attack until shown otherwise: limits on every count and size, paths
//! that are resolved as data before a disk is touched, and refusal of whatever two readers could understand differently.

mod archive;
mod blocks;
mod decode;
mod fields;
mod files;
mod hashed;
mod header;
mod names;
mod pax;
mod profile;
mod reader;
mod sequence;
mod sparse;
mod unpack;
mod writer;
mod zip;

#[cfg(test)]
mod tests;

pub use archive::{ArchiveEntry, ArchiveError, ArchiveKind, TakeEntry, is_tar, read_archive};
pub use decode::{Encoding, Limits, expand};
pub use files::pack_files;
pub use header::Unwritable;
pub use names::BadName;
pub use profile::{EncoderFailed, Profile, UnknownProfile};
pub use reader::{Malformed, ReadError};
pub use sequence::Untarrable;
pub use unpack::{Refusal, Unfinished, UnpackError, Unpacked, read, unpack};
pub use writer::{KnownBlock, KnownBlocks, NoBlocks, PackError, Packed, pack, pack_reusing, pack_tree};

/// The revision of the tar stream that is written. It is in the key of every packed layer.
pub const LAYER_FORMAT: u32 = 1;
