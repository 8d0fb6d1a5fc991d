//! Where an image or its file system is written, as people write it.
//!
//! Source of truth: containers-transports(5), with `rootfs` and `rootfs-tar` added.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A local place for an image or its file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `oci:DIR[:TAG]`: an OCI image layout. One that is there keeps its other images.
    Layout {
        /// The directory.
        path: PathBuf,
        /// The image's name in it.
        tag: Option<String>,
    },
    /// `oci-archive:FILE`: an OCI image layout in a tar archive.
    OciArchive {
        /// The archive.
        path: PathBuf,
        /// The image's name in it.
        tag: Option<String>,
    },
    /// `docker-archive:FILE[:REF]`: what `docker load` reads.
    DockerArchive {
        /// The archive.
        path: PathBuf,
        /// The name that the image is loaded under.
        reference: Option<String>,
    },
    /// `rootfs:DIR`: the file system in a directory.
    RootFs {
        /// The directory; must be empty or not there.
        path: PathBuf,
    },
    /// `rootfs-tar:FILE`: the file system as a tar archive.
    RootFsTar {
        /// The archive.
        path: PathBuf,
    },
}

/// The text names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no place to write to: expected oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REF], rootfs:DIR or rootfs-tar:FILE"
)]
pub struct InvalidTarget(pub String);

impl Target {
    /// What the image is to be called there.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Target::Layout { tag, .. } | Target::OciArchive { tag, .. } => tag.as_deref(),
            Target::DockerArchive { reference, .. } => reference.as_deref(),
            Target::RootFs { .. } | Target::RootFsTar { .. } => None,
        }
    }

    /// Whether the file system is written, and not the image.
    #[must_use]
    pub const fn is_file_system(&self) -> bool {
        match self {
            Target::RootFs { .. } | Target::RootFsTar { .. } => true,
            Target::Layout { .. } | Target::OciArchive { .. } | Target::DockerArchive { .. } => false,
        }
    }
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Target, InvalidTarget> {
        let invalid = || InvalidTarget(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(invalid)?;
        let (path, name) = match (kind, rest.split_once(':')) {
            ("rootfs" | "rootfs-tar", _) | (_, None) => (rest, None),
            (_, Some((path, name))) => (path, Some(name.to_owned())),
        };
        if path.is_empty() || name.as_deref() == Some("") {
            return Err(invalid());
        }
        let path = PathBuf::from(path);
        match kind {
            "oci" => Ok(Target::Layout { path, tag: name }),
            "oci-archive" => Ok(Target::OciArchive { path, tag: name }),
            "docker-archive" => Ok(Target::DockerArchive { path, reference: name }),
            "rootfs" => Ok(Target::RootFs { path }),
            "rootfs-tar" => Ok(Target::RootFsTar { path }),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path, name) = match self {
            Target::Layout { path, tag } => ("oci", path, tag.as_deref()),
            Target::OciArchive { path, tag } => ("oci-archive", path, tag.as_deref()),
            Target::DockerArchive { path, reference } => ("docker-archive", path, reference.as_deref()),
            Target::RootFs { path } => ("rootfs", path, None),
            Target::RootFsTar { path } => ("rootfs-tar", path, None),
        };
        write!(f, "{kind}:{}", path.display())?;
        match name {
            Some(name) => write!(f, ":{name}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_text() {
        for text in
            ["oci:out", "oci:out:1.0", "oci-archive:a.tar:x", "docker-archive:/tmp/a.tar:team/web:1.0", "rootfs:a:b", "rootfs-tar:a.tar"]
        {
            assert_eq!(text.parse::<Target>().map(|target| target.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["", "out", "oci:", "oci:a:", "tar:a", "oci", "rootfs:"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
