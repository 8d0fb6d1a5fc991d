//! The two families of media types, and which type is the other's counterpart.
//!
//! Source of truth: OCI image-spec 1.1, "Compatibility Matrix"; Docker image manifest version 2, schema 2, "Media Types".

use super::MediaType;

/// Families of media types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// OCI's.
    Oci,
    /// Docker's, schema 2.
    Docker,
}

/// What a blob is, whichever family names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MediaKind {
    /// A manifest.
    Manifest,
    /// An index, or manifest list.
    Index,
    /// An image config.
    Config,
    /// A layer.
    Layer(LayerEncoding),
    /// A layer that its maker did not allow to be passed on.
    ForeignLayer(LayerEncoding),
}

/// How a layer's tar is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayerEncoding {
    /// As it is.
    Plain,
    /// In gzip.
    Gzip,
    /// In Zstandard.
    Zstd,
}

/// Every name, with what it names.
const NAMES: [(&str, Format, MediaKind); 16] = [
    (MediaType::OCI_MANIFEST, Format::Oci, MediaKind::Manifest),
    (MediaType::OCI_INDEX, Format::Oci, MediaKind::Index),
    (MediaType::OCI_CONFIG, Format::Oci, MediaKind::Config),
    (MediaType::OCI_LAYER, Format::Oci, MediaKind::Layer(LayerEncoding::Plain)),
    (MediaType::OCI_LAYER_GZIP, Format::Oci, MediaKind::Layer(LayerEncoding::Gzip)),
    (MediaType::OCI_LAYER_ZSTD, Format::Oci, MediaKind::Layer(LayerEncoding::Zstd)),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar", Format::Oci, MediaKind::ForeignLayer(LayerEncoding::Plain)),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Format::Oci, MediaKind::ForeignLayer(LayerEncoding::Gzip)),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", Format::Oci, MediaKind::ForeignLayer(LayerEncoding::Zstd)),
    (MediaType::DOCKER_MANIFEST, Format::Docker, MediaKind::Manifest),
    (MediaType::DOCKER_INDEX, Format::Docker, MediaKind::Index),
    (MediaType::DOCKER_CONFIG, Format::Docker, MediaKind::Config),
    (MediaType::DOCKER_LAYER, Format::Docker, MediaKind::Layer(LayerEncoding::Plain)),
    (MediaType::DOCKER_LAYER_GZIP, Format::Docker, MediaKind::Layer(LayerEncoding::Gzip)),
    ("application/vnd.docker.image.rootfs.foreign.diff.tar", Format::Docker, MediaKind::ForeignLayer(LayerEncoding::Plain)),
    ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Format::Docker, MediaKind::ForeignLayer(LayerEncoding::Gzip)),
];

impl MediaType {
    /// What a media type names; `None` where it is not one of either family.
    #[must_use]
    pub fn kind(media_type: &str) -> Option<MediaKind> {
        NAMES.iter().find(|(name, _, _)| *name == media_type).map(|(_, _, kind)| *kind)
    }

    /// Which family a media type belongs to.
    #[must_use]
    pub fn format(media_type: &str) -> Option<Format> {
        NAMES.iter().find(|(name, _, _)| *name == media_type).map(|(_, format, _)| *format)
    }

    /// The name a family has for something; `None` where it has none (Docker's has no Zstandard layers).
    #[must_use]
    pub fn name(kind: MediaKind, format: Format) -> Option<&'static str> {
        NAMES.iter().find(|(_, family, named)| *family == format && *named == kind).map(|(name, _, _)| *name)
    }

    /// The counterpart of a media type in a family; `None` where the type is unknown or the family has none.
    #[must_use]
    pub fn translated(media_type: &str, format: Format) -> Option<&'static str> {
        MediaType::name(MediaType::kind(media_type)?, format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_docker_type_has_an_oci_counterpart_and_comes_back() {
        for (name, format, _) in NAMES.iter().filter(|(_, format, _)| *format == Format::Docker) {
            let oci = MediaType::translated(name, Format::Oci).unwrap();
            assert_ne!(oci, *name);
            assert_eq!(MediaType::translated(oci, *format), Some(*name));
        }
    }

    #[test]
    fn docker_has_no_zstandard_layers_and_unknown_types_have_no_counterpart() {
        assert_eq!(MediaType::translated(MediaType::OCI_LAYER_ZSTD, Format::Docker), None);
        assert_eq!(MediaType::translated("application/json", Format::Oci), None);
    }

    #[test]
    fn a_type_of_the_wanted_family_is_left_alone() {
        for (name, format, _) in NAMES {
            assert_eq!(MediaType::translated(name, format), Some(name));
        }
    }
}
