//! Where a finished image is, as people write it.
//!
//! Source of truth: containers-transports(5).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::image::{InvalidReference, Reference};

/// Where a finished image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `REFERENCE` or `docker://REFERENCE`: a registry.
    Registry(Reference),
    /// `oci:DIRECTORY[:NAME]`: an OCI image layout.
    Layout {
        /// The directory.
        path: PathBuf,
        /// Which image in it; needed where there are several.
        name: Option<String>,
    },
    /// `oci-archive:FILE[:NAME]`: an OCI image layout in a tar archive.
    OciArchive {
        /// The archive.
        path: PathBuf,
        /// Which image in it; needed where there are several.
        name: Option<String>,
    },
    /// `docker-archive:FILE[:NAME]`: what `docker save` writes.
    DockerArchive {
        /// The archive.
        path: PathBuf,
        /// Which image in it; needed where there are several.
        name: Option<String>,
    },
}

/// The text names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlace {
    /// Nothing after `oci:` or the like.
    #[error("`{0}` names no path: expected `oci:DIRECTORY[:NAME]`, `oci-archive:FILE[:NAME]` or `docker-archive:FILE[:NAME]`")]
    NoPath(String),
    /// No image name.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Place, InvalidPlace> {
        for (prefix, place) in [
            ("oci:", (|path, name| Place::Layout { path, name }) as fn(PathBuf, Option<String>) -> Place),
            ("oci-archive:", |path, name| Place::OciArchive { path, name }),
            ("docker-archive:", |path, name| Place::DockerArchive { path, name }),
        ] {
            if let Some(rest) = text.strip_prefix(prefix) {
                let (path, name) = rest.split_once(':').map_or((rest, None), |(path, name)| (path, Some(name)));
                if path.is_empty() || name.is_some_and(str::is_empty) {
                    return Err(InvalidPlace::NoPath(text.to_owned()));
                }
                return Ok(place(PathBuf::from(path), name.map(str::to_owned)));
            }
        }
        Ok(Place::Registry(text.strip_prefix("docker://").unwrap_or(text).parse()?))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, path, name) = match self {
            Place::Registry(reference) => return write!(f, "{reference}"),
            Place::Layout { path, name } => ("oci:", path, name),
            Place::OciArchive { path, name } => ("oci-archive:", path, name),
            Place::DockerArchive { path, name } => ("docker-archive:", path, name),
        };
        write!(f, "{prefix}{}", path.display())?;
        match name {
            Some(name) => write!(f, ":{name}"),
            None => Ok(()),
        }
    }
}
