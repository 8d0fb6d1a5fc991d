//! Any bytes: a manifest, an index or a config, of which the canonical bytes are read as the same, or an error.

use lapstrake::image::{Document, ImageConfig, Index, Manifest};

pub(crate) fn check(bytes: &[u8]) {
    // What Go leaves out is left out, so that the bytes are the same and not the value.
    if let Ok(manifest) = Manifest::parse(bytes, None) {
        let written = manifest.to_bytes();
        assert_eq!(Manifest::parse(&written, None).ok().map(|again| again.to_bytes()), Some(written));
    }
    if let Ok(index) = Index::parse(bytes, None) {
        let written = index.to_bytes();
        assert_eq!(Index::parse(&written, None).ok().map(|again| again.to_bytes()), Some(written));
    }
    if let Ok(document) = Document::parse(bytes, None) {
        // What may be both is neither.
        assert_eq!(Manifest::parse(bytes, None).is_ok(), matches!(document, Document::Manifest(_)));
        assert_eq!(Index::parse(bytes, None).is_ok(), matches!(document, Document::Index(_)));
    }
    if let Ok(config) = ImageConfig::parse(bytes) {
        assert!(config.diff_ids().is_ok());
        let written = config.to_bytes();
        assert_eq!(ImageConfig::parse(&written).ok().map(|again| again.to_bytes()), Some(written));
    }
}
