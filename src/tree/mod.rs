//! The file system as a value.
//!
//! A [`Tree`] is immutable and shared: one node per directory, each with a digest of its own, so that a change costs its path and equal
//! subtrees compare in one step. Ownership, modes and times live here and not in the builder's inodes; that is what makes "rootless"
//! and "reproducible" one feature. Contents are named by fingerprint and size; where the bytes are is not the tree's business.
//!
//! Rooms above work with directories on disk only through a [`DirectoryHandle`], never through paths of the host.

mod apply;
#[cfg(test)]
pub(crate) mod arbitrary;
mod changes;
mod checkout;
mod codec;
mod contents;
mod difference;
mod editor;
mod glob;
mod handle;
mod hash;
mod ignore;
mod local;
mod node;
mod normal;
mod ordered;
mod path;
mod scan;
#[cfg(test)]
mod tests;
mod unread;
mod upper;
mod whole;
mod xattr;

pub use changes::{Changes, ChangesIter};
pub use checkout::{CheckoutError, checkout_difference, checkout_tree};
pub use codec::InvalidDifference;
pub(crate) use contents::Settled;
pub use contents::{Contents, DirectoryContents, FileStamp, KnownContents, NoneKnown};
pub use difference::{Change, Difference};
pub use editor::{EditError, Editor, LastLink};
pub use glob::{Glob, InvalidPattern};
pub use handle::{DirectoryHandle, DiskError, DiskTime, Listed, ListedKind, NodeKind, Opaque, Status};
pub use ignore::Patterns;
pub use local::LocalDirectory;
pub use node::{Content, Directory, Entry, File, Links, Metadata, Node, Sharing, Special, SpecialKind, Symlink, Tree};
pub use normal::{Modes, directory_mode};
pub use path::{InvalidPath, Name, TreePath};
pub use scan::{ScanError, Scanned, scan, scan_context};
pub use unread::Unread;
pub use upper::{normalise_upper, read_upper};
pub use whole::{MAXIMUM_DEPTH, Walk};
pub use xattr::{Xattrs, XattrsIter, kept_xattrs};
