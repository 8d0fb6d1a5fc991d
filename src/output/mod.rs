//! Finished images → where they are wanted.

mod ahead;
mod archive;
mod at_once;
mod bundle;
mod layout;
mod merge;
mod push;
mod rootfs;
mod target;
mod write;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use lapstrake_cache::{Digest, Store};

pub use ahead::PushAhead;
pub use bundle::{Bundle, Part, Sources, Text};
pub use merge::merge_bundle;
pub use push::{PushError, PushedTag, TagOutcome, push, push_bundle};
pub use target::{InvalidTarget, Target};

use crate::build::Engine;
use crate::event::{Outcome, TaskKind};
use crate::image::Sealed;
use crate::input::Outside;
use crate::tree::{Contents, Tree};

/// Something could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A file or directory of this machine.
    #[error("cannot write `{}`", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The directory has something in it.
    #[error("`{}` is not empty, and nothing in it is touched; name another directory", .path.display())]
    NotEmpty {
        /// Which.
        path: PathBuf,
    },
    /// The layout that is there has an index that cannot be read.
    #[error("`{}` cannot be added to", .path.display())]
    Index {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: crate::image::InvalidImage,
    },
    /// The target is for another sort of thing.
    #[error("`{target}` takes {takes}")]
    Mismatch {
        /// The target.
        target: String,
        /// What it takes.
        takes: &'static str,
    },
    /// The name that an image is to have is none.
    #[error(transparent)]
    Reference(#[from] crate::image::InvalidReference),
    /// A blob of the image cannot be read.
    #[error("cannot read the blob {digest}")]
    Blob {
        /// Which.
        digest: Digest,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An image is not what it claims to be.
    #[error("the image {digest} cannot be written")]
    Image {
        /// Its manifest.
        digest: Digest,
        /// What is wrong with it.
        #[source]
        source: crate::image::InvalidImage,
    },
    /// [`crate::event::Cancel`] was used.
    #[error("cancelled")]
    Cancelled,
    /// A blob of the image is in no place that can be reached.
    #[error("the store has lost the blob {digest}; build again")]
    Lost {
        /// Which.
        digest: Digest,
    },
    /// A layer of a base could not be had.
    #[error(transparent)]
    Input(#[from] crate::input::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] lapstrake_cache::Error),
    /// A directory.
    #[error(transparent)]
    Disk(#[from] crate::tree::DiskError),
    /// Files could not be written out.
    #[error(transparent)]
    Checkout(#[from] crate::tree::CheckoutError),
    /// An archive could not be written.
    #[error(transparent)]
    Pack(#[from] crate::layer::PackError),
    /// A layer could not be read.
    #[error(transparent)]
    Layer(#[from] crate::layer::ReadError),
    /// A name in an archive.
    #[error(transparent)]
    Path(#[from] crate::tree::InvalidPath),
    /// A path in an archive.
    #[error(transparent)]
    Edit(#[from] crate::tree::EditError),
}

/// An image, or an index of several, and what it is to be called.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// The image or index.
    pub bundle: Bundle,
    /// Names in a layout, or references in an archive for `docker load`. None is one image without a name.
    pub names: Vec<String>,
}

/// How many blobs are read or written at a time where nothing else is said.
const TRANSFERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

/// Writes an image to a local place. Layers that are in a registry are fetched.
///
/// # Errors
/// When the place cannot be written, or a layer cannot be had. What is there then is what was there before.
pub fn write_image(sealed: &Sealed, target: &Target, outside: &Outside<'_>) -> Result<(), WriteError> {
    write_bundle(Bundle::of(sealed), target, outside)
}

/// Writes an image, or an index of several, to a local place under the name that the place says.
///
/// # Errors
/// As [`write_image`].
pub fn write_bundle(bundle: Bundle, target: &Target, outside: &Outside<'_>) -> Result<(), WriteError> {
    outside.task(TaskKind::Write, target.to_string(), |_| {
        let sources = Sources { here: outside.store, registry: outside.registry, cancel: outside.cancel };
        let names = target.name().map(str::to_owned).into_iter().collect();
        write_images(&[Named { bundle, names }], target, &sources, outside.store, TRANSFERS)?;
        Ok(((), Outcome::Done))
    })
}

/// Writes images to a local place under their own names; a name that the place says does not count. Blobs go from where they are straight
/// to the place, `transfers` at a time, except that layers for `docker load` are expanded in `scratch`.
///
/// # Errors
/// When the place cannot be written, or a blob cannot be had. What is there then is what was there before.
pub fn write_images(
    images: &[Named],
    target: &Target,
    sources: &Sources<'_>,
    scratch: &Store,
    transfers: NonZeroUsize,
) -> Result<(), WriteError> {
    match target {
        Target::Layout { path, tag: _ } => layout::write(images, sources, transfers, path),
        Target::OciArchive { path, tag: _ } => archive::write_oci(images, sources, path),
        Target::DockerArchive { path, reference: _ } => archive::write_docker(images, sources, scratch, path),
        Target::RootFs { .. } | Target::RootFsTar { .. } => {
            Err(WriteError::Mismatch { target: target.to_string(), takes: "a file system, not an image" })
        }
    }
}

/// Writes a file system to a local place.
///
/// # Errors
/// When the place cannot be written.
pub fn write_tree(engine: &Engine, tree: &Tree, contents: &dyn Contents, target: &Target, outside: &Outside<'_>) -> Result<(), WriteError> {
    outside.task(TaskKind::Write, target.to_string(), |_| {
        match target {
            Target::RootFs { path } => rootfs::write_directory(engine, tree, contents, path, outside.cancel)?,
            Target::RootFsTar { path } => rootfs::write_archive(tree, contents, path, outside.cancel)?,
            Target::Layout { .. } | Target::OciArchive { .. } | Target::DockerArchive { .. } => {
                return Err(WriteError::Mismatch { target: target.to_string(), takes: "an image, and a stage alone is none" });
            }
        }
        Ok(((), Outcome::Done))
    })
}
