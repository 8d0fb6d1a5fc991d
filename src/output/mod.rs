//! Finished images → where they are wanted.

mod archive;
mod blobs;
mod layout;
mod push;
mod rootfs;
mod target;
mod write;

use std::path::PathBuf;

use lapstrake_cache::Digest;

pub use push::{PushError, PushedTag, TagOutcome, push};
pub use target::{InvalidTarget, Target};

use crate::build::Engine;
use crate::event::{Outcome, TaskKind};
use crate::image::Sealed;
use crate::input::Outside;
use crate::tree::{Contents, Tree};
use blobs::Gathered;

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

/// Writes an image to a local place. Layers that are in a registry are fetched.
///
/// # Errors
/// When the place cannot be written, or a layer cannot be had. What is there then is what was there before.
pub fn write_image(sealed: &Sealed, target: &Target, outside: &Outside<'_>) -> Result<(), WriteError> {
    outside.task(TaskKind::Write, target.to_string(), |_| {
        let gathered = Gathered::of(sealed, outside)?;
        match target {
            Target::Layout { path, tag } => layout::write(sealed, &gathered, path, tag.as_deref())?,
            Target::OciArchive { path, tag } => archive::write_oci(sealed, &gathered, path, tag.as_deref())?,
            Target::DockerArchive { path, reference } => archive::write_docker(sealed, &gathered, path, reference.as_deref())?,
            Target::RootFs { .. } | Target::RootFsTar { .. } => {
                return Err(WriteError::Mismatch { target: target.to_string(), takes: "a file system, not an image" });
            }
        }
        Ok(((), Outcome::Done))
    })
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
