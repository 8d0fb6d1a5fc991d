//! An index and a wanted platform → the manifest for it.
//!
//! Source of truth: OCI image-spec 1.1, "Image Index", section "Platform"; the fallbacks between variants are those of containerd.

use serde_json::Value;

use super::{Descriptor, Index, Platform};

/// No manifest of an index is for the wanted platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no image for `{wanted}`; there is one for: {}", list(.available))]
pub struct NoSuchPlatform {
    /// What was wanted.
    pub wanted: Platform,
    /// What there is, sorted.
    pub available: Vec<Platform>,
}

fn list(available: &[Platform]) -> String {
    if available.is_empty() {
        return "no platform at all".to_owned();
    }
    available.iter().map(|platform| format!("`{platform}`")).collect::<Vec<_>>().join(", ")
}

impl Index {
    /// The manifest for a platform: the same operating system and architecture, and the variant itself or else the nearest older one that
    /// the processor also runs (`arm/v7` runs `arm/v6`). Among equals the first. An index with a single manifest of no platform stands
    /// for that manifest. Attestations and other things that only sit beside images are passed over.
    ///
    /// # Errors
    ///
    /// When there is none; the error lists what there is.
    pub fn pick(&self, wanted: &Platform) -> Result<&Descriptor, NoSuchPlatform> {
        let images: Vec<&Descriptor> = self.manifests.iter().filter(|descriptor| is_image(descriptor)).collect();
        if let [only] = images.as_slice()
            && only.platform.as_ref().is_none_or(Value::is_null)
        {
            return Ok(only);
        }
        let found = images
            .iter()
            .filter_map(|descriptor| Some((rank(&descriptor.platform()?, wanted)?, *descriptor)))
            .min_by_key(|(rank, _)| *rank);
        match found {
            Some((_, descriptor)) => Ok(descriptor),
            None => {
                let mut available: Vec<Platform> = images.iter().filter_map(|descriptor| descriptor.platform()).collect();
                available.sort();
                available.dedup();
                Err(NoSuchPlatform { wanted: wanted.clone(), available })
            }
        }
    }
}

impl Descriptor {
    /// The platform it is for, in normal form; `None` where it names none that makes sense.
    #[must_use]
    pub fn platform(&self) -> Option<Platform> {
        let platform = self.platform.as_ref()?;
        let field = |name: &str| platform.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let mut text = format!("{}/{}", field("os")?, field("architecture")?);
        if let Some(variant) = field("variant") {
            text.push('/');
            text.push_str(variant);
        }
        text.to_ascii_lowercase().parse().ok()
    }
}

fn is_image(descriptor: &Descriptor) -> bool {
    !descriptor.annotations.contains_key("vnd.docker.reference.type")
        && !descriptor.extra.contains_key("artifactType")
        && descriptor.platform().is_none_or(|platform| platform.os != "unknown")
}

/// How far an image's platform is from the wanted one; 0 is the same, `None` does not run there.
fn rank(offered: &Platform, wanted: &Platform) -> Option<u32> {
    if offered.os != wanted.os || offered.architecture != wanted.architecture {
        return None;
    }
    if offered.variant == wanted.variant {
        return Some(0);
    }
    let (offered, wanted) = (version(offered)?, version(wanted)?);
    wanted.checked_sub(offered)
}

/// The number of a variant such as `v7`; what an architecture has without one.
fn version(platform: &Platform) -> Option<u32> {
    match (&platform.variant, platform.architecture.as_str()) {
        (Some(variant), _) => variant.strip_prefix('v')?.split('.').next()?.parse().ok(),
        (None, "arm64") => Some(8),
        (None, "amd64") => Some(1),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn index(platforms: &[&str]) -> Index {
        let manifests: Vec<Value> = platforms
            .iter()
            .enumerate()
            .map(|(size, platform)| {
                let mut parts = platform.split('/');
                let mut value = json!({
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": lapstrake_cache::Digest::of(platform.as_bytes()).to_string(),
                    "size": size,
                });
                if let (Some(os), Some(architecture)) = (parts.next().filter(|os| !os.is_empty()), parts.next()) {
                    value["platform"] = json!({"os": os, "architecture": architecture});
                    if let Some(variant) = parts.next() {
                        value["platform"]["variant"] = variant.into();
                    }
                }
                value
            })
            .collect();
        Index::parse(&serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": manifests})).unwrap(), None).unwrap()
    }

    #[test]
    fn the_nearest_variant_that_runs_is_picked() {
        for (offered, wanted, picked) in [
            (&["linux/amd64", "linux/arm64"][..], "linux/arm64", Some(1)),
            (&["linux/amd64", "linux/arm64/v8"], "linux/arm64", Some(1)),
            (&["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], "linux/arm/v7", Some(1)),
            (&["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", Some(1)),
            (&["linux/arm/v7"], "linux/arm/v6", None),
            (&["linux/arm"], "linux/arm/v7", Some(0)),
            (&["linux/amd64/v3"], "linux/amd64", None),
            (&["linux/amd64", "linux/amd64/v2"], "linux/amd64/v3", Some(1)),
            (&["windows/amd64", "linux/s390x"], "linux/amd64", None),
            (&[""], "linux/amd64", Some(0)),
            (&["", ""], "linux/amd64", None),
            (&["unknown/unknown", "linux/amd64"], "linux/amd64", Some(1)),
            (&[], "linux/amd64", None),
        ] {
            let index = index(offered);
            let found = index.pick(&wanted.parse().unwrap()).ok().map(|descriptor| descriptor.size);
            assert_eq!(found, picked, "{wanted} of {offered:?}");
        }
    }

    #[test]
    fn an_attestation_is_no_image() {
        let mut index = index(&["linux/amd64", "linux/arm64"]);
        index.manifests[0].annotations.insert("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned());
        assert!(index.pick(&"linux/amd64".parse().unwrap()).is_err());
    }

    #[test]
    fn the_error_lists_what_there_is() {
        let error = index(&["linux/arm64", "linux/amd64", "unknown/unknown"]).pick(&"linux/riscv64".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "there is no image for `linux/riscv64`; there is one for: `linux/amd64`, `linux/arm64`");
    }
}
