//! Operating system and processor, as `os/architecture[/variant]`.

use std::fmt;
use std::str::FromStr;

/// A platform as OCI image-spec 1.1, "Image Index", names it; always in the normal form of Go's names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// `linux` and so on.
    pub os: String,
    /// `amd64`, `arm64` and so on.
    pub architecture: String,
    /// `v7` and so on; `None` where the architecture has none or the usual one.
    pub variant: Option<String>,
}

/// The text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform: expected `os/architecture` or `os/architecture/variant`, such as `linux/amd64`")]
pub struct InvalidPlatform(pub String);

impl Platform {
    /// The platform this program was compiled for.
    #[must_use]
    pub fn builder() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "x86" => ("386", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
            other => (other, None),
        };
        Platform { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Platform, InvalidPlatform> {
        let parts: Vec<&str> = text.split('/').collect();
        let good = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.'))
        };
        if !(2..=3).contains(&parts.len()) || !parts.iter().all(good) {
            return Err(InvalidPlatform(text.to_owned()));
        }
        let architecture = match parts[1] {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            "i386" => "386",
            other => other,
        };
        let variant = parts.get(2).copied().or(if architecture == "arm" { Some("v7") } else { None });
        let variant = variant.filter(|variant| !(architecture == "arm64" && *variant == "v8"));
        Ok(Platform { os: parts[0].to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) })
    }
}
