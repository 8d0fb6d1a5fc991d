//! Image names: `[registry/]repository[:tag][@digest]`.
//!
//! Source of truth: distribution-spec 1.1, "Pulling manifests", and the reference grammar of the distribution project, with Docker's
//! short names: no registry means `docker.io`, and a repository of one name there means `library/NAME`.

use std::fmt;
use std::str::FromStr;

use lapstrake_cache::Digest;

/// A name in full. Prints in full.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Host and port, such as `docker.io` or `127.0.0.1:5000`.
    pub registry: String,
    /// Path below the registry, such as `library/python`.
    pub repository: String,
    /// The tag; `None` only where a digest is given. A name with neither has the tag `latest`.
    pub tag: Option<String>,
    /// The digest of a manifest or index.
    pub digest: Option<Digest>,
}

/// The text is no image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image name: {reason}")]
pub struct InvalidReference {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Reference {
    /// Registry and repository without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Reference, InvalidReference> {
        let fail = |reason| Err(InvalidReference { text: text.to_owned(), reason });
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => match digest.parse() {
                Ok(digest) => (rest, Some(digest)),
                Err(_) => return fail("what follows `@` must be `sha256:` and 64 lower-case hexadecimal digits"),
            },
        };
        let last_slash = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[last_slash..].rfind(':') {
            Some(colon) => (&rest[..last_slash + colon], Some(&rest[last_slash + colon + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return fail("a tag has up to 128 letters, digits, `_`, `.` and `-`, and does not begin with `.` or `-`");
        }
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || first.starts_with('[') => (first, rest.to_owned()),
            Some(_) => ("docker.io", name.to_owned()),
            None => ("docker.io", format!("library/{name}")),
        };
        let (registry, repository) = match registry {
            "docker.io" | "index.docker.io" if !repository.contains('/') => ("docker.io", format!("library/{repository}")),
            "index.docker.io" => ("docker.io", repository),
            other => (other, repository),
        };
        if !is_registry(registry) {
            return fail("the registry must be a host name or address, with a port if need be");
        }
        if name.is_empty() || repository.len() > 255 || !repository.split('/').all(is_path_component) {
            return fail(
                "a repository has lower-case letters and digits, with `.`, `_`, `__` or `-` between them, in parts separated by `/`",
            );
        }
        let tag = match (tag, digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= 128 && bytes.next().is_some_and(word) && bytes.all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = if let Some(rest) = registry.strip_prefix('[') {
        match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                ("v6", port.strip_prefix(':').or((port.is_empty()).then_some("0")))
            }
            _ => return false,
        }
    } else {
        match registry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, Some("0")),
        }
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    host.split('.').all(label) && port.is_some_and(|port| !port.starts_with('+') && port.parse::<u16>().is_ok())
}

/// Alphanumerics with one `.`, one or two `_`, or any number of `-` between them.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends = bytes.first().copied().is_some_and(alphanumeric) && bytes.last().copied().is_some_and(alphanumeric);
    ends && component
        .split(|character: char| character.is_ascii_lowercase() || character.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_those_of_docker() {
        for (text, full) in [
            ("python", "docker.io/library/python:latest"),
            ("python:3.11-slim", "docker.io/library/python:3.11-slim"),
            ("team/web:1.0", "docker.io/team/web:1.0"),
            ("docker.io/python", "docker.io/library/python:latest"),
            ("127.0.0.1:5000/a/b__c-d:x", "127.0.0.1:5000/a/b__c-d:x"),
            ("localhost/a", "localhost/a:latest"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ] {
            assert_eq!(text.parse::<Reference>().map(|reference| reference.to_string()), Ok(full.to_owned()));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", ":tag", "Upper/case", "a//b", "a/../b", "a:-x", "a@sha256:12", "-a.b/c", "a_-b", "h:99999/x", "[::g]/x", "a.b:/c"]
        {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
