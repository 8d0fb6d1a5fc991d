//! The name of a base image → which family of systems it is of, where that is certain.

use super::packages::Manager;
use super::script::UNKNOWN;

/// Families of systems, by the package manager that they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Debian,
    Alpine,
    RedHat,
    Arch,
    Suse,
    /// No package manager at all.
    Bare,
}

impl Family {
    /// For people.
    pub(super) fn description(self) -> &'static str {
        match self {
            Family::Debian => "of the Debian family",
            Family::Alpine => "Alpine",
            Family::RedHat => "of the Red Hat family",
            Family::Arch => "Arch",
            Family::Suse => "SUSE",
            Family::Bare => "an image without any package manager",
        }
    }

    /// Its package manager, and what installs with it.
    pub(super) fn manager(self) -> Option<(Manager, &'static str)> {
        match self {
            Family::Debian => Some((Manager::Apt, "apt-get update && apt-get install --yes --no-install-recommends PACKAGE")),
            Family::Alpine => Some((Manager::Apk, "apk add --no-cache PACKAGE")),
            Family::RedHat => Some((Manager::Dnf, "dnf install --assumeyes PACKAGE")),
            Family::Arch => Some((Manager::Pacman, "pacman --sync --refresh --noconfirm PACKAGE")),
            Family::Suse => Some((Manager::Zypper, "zypper --non-interactive install PACKAGE")),
            Family::Bare => None,
        }
    }
}

/// Words in a tag that tell the system, whatever the image is called.
const TAG_WORDS: &[(&str, Family)] = &[
    ("alpine", Family::Alpine),
    ("bookworm", Family::Debian),
    ("bullseye", Family::Debian),
    ("buster", Family::Debian),
    ("focal", Family::Debian),
    ("forky", Family::Debian),
    ("jammy", Family::Debian),
    ("noble", Family::Debian),
    ("stretch", Family::Debian),
    ("trixie", Family::Debian),
    ("ubi8", Family::RedHat),
    ("ubi9", Family::RedHat),
];

/// Official images whose tags without a word above are of one family.
const OFFICIAL: &[(&str, Family)] = &[
    ("alpine", Family::Alpine),
    ("almalinux", Family::RedHat),
    ("amazonlinux", Family::RedHat),
    ("archlinux", Family::Arch),
    ("buildpack-deps", Family::Debian),
    ("busybox", Family::Bare),
    ("debian", Family::Debian),
    ("docker", Family::Alpine),
    ("fedora", Family::RedHat),
    ("golang", Family::Debian),
    ("httpd", Family::Debian),
    ("nginx", Family::Debian),
    ("node", Family::Debian),
    ("oraclelinux", Family::RedHat),
    ("perl", Family::Debian),
    ("php", Family::Debian),
    ("postgres", Family::Debian),
    ("pypy", Family::Debian),
    ("python", Family::Debian),
    ("redis", Family::Debian),
    ("rockylinux", Family::RedHat),
    ("ruby", Family::Debian),
    ("rust", Family::Debian),
    ("ubuntu", Family::Debian),
];

/// The family of an image by its name; `None` where the name does not tell. What is not known of the name is [`UNKNOWN`] in it.
pub(super) fn family(reference: &str) -> Option<Family> {
    let reference = reference.split('@').next().unwrap_or(reference);
    let (path, tag) = match reference.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        Some(_) | None => (reference, ""),
    };
    if path.contains(UNKNOWN) {
        return None;
    }
    if path.contains("/distroless/") || path.starts_with("distroless/") {
        return Some(Family::Bare);
    }
    if path.starts_with("opensuse/") || path.contains("/opensuse/") {
        return Some(Family::Suse);
    }
    // `alpine3.20` is a word of a tag too.
    let word = |part: &str| {
        let letters = part.trim_end_matches(|character: char| character.is_ascii_digit() || character == '.');
        TAG_WORDS.iter().find(|(word, _)| *word == part || *word == letters).map(|(_, family)| *family)
    };
    if let Some(family) = tag.split(['-', '_']).find_map(word) {
        return Some(family);
    }
    if tag.contains(UNKNOWN) || tag.contains("windows") || tag.contains("nanoserver") {
        return None;
    }
    let official = official(path)?;
    OFFICIAL.iter().find(|(name, _)| *name == official).map(|(_, family)| *family)
}

/// The name of an official image, also from a mirror that keeps its path.
fn official(path: &str) -> Option<&str> {
    let plain = path.strip_prefix("docker.io/").unwrap_or(path);
    let plain = plain.strip_prefix("library/").unwrap_or(plain);
    if plain.contains('/') { path.rsplit_once("/library/").map(|(_, name)| name) } else { Some(plain) }
}

/// Official images of which it is known what their environment holds: how the names of those variables begin, but for `PATH`, which all
/// of them have.
const VARIABLES: &[(&str, &[&str])] = &[
    ("alpine", &[]),
    ("buildpack-deps", &[]),
    ("busybox", &[]),
    ("debian", &[]),
    ("golang", &["GO"]),
    ("node", &["NODE_", "YARN_"]),
    ("python", &["PYTHON", "GPG_KEY", "LANG"]),
    ("ubuntu", &["LANG"]),
];

/// Whether an image certainly does not set a variable.
pub(super) fn lacks(reference: &str, variable: &str) -> bool {
    let path = reference.split('@').next().unwrap_or(reference);
    let path = path.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(path, |(path, _)| path);
    let known = official(path).and_then(|name| VARIABLES.iter().find(|(known, _)| *known == name));
    known.is_some_and(|(_, starts)| variable != "PATH" && !starts.iter().any(|start| variable.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_base_sets_is_known_of_a_few() {
        for (reference, variable, expected) in [
            ("python:3.11", "PORT", true),
            ("python:\0", "HOME", true),
            ("python", "PYTHON_VERSION", false),
            ("docker.io/library/debian:12@sha256:0", "DEBIAN_VERSION", true),
            ("debian", "PATH", false),
            ("example.com/python:3", "PORT", false),
            ("postgres:16", "PGDATA", false),
        ] {
            assert_eq!(lacks(reference, variable), expected, "{reference} {variable}");
        }
    }

    #[test]
    fn the_name_tells_the_family_or_nothing_is_said() {
        for (reference, expected) in [
            ("python:3.11-slim-bookworm", Some(Family::Debian)),
            ("docker.io/library/python:3.11", Some(Family::Debian)),
            ("python", Some(Family::Debian)),
            ("python:3.12-alpine3.20", Some(Family::Alpine)),
            ("python:\0-slim-bookworm", Some(Family::Debian)),
            ("python:3.\0", None),
            ("node:20-alpine", Some(Family::Alpine)),
            ("mirror.example.com/library/debian:12", Some(Family::Debian)),
            ("example.com/team/python:3", None),
            ("example.com/team/base:1-bookworm", Some(Family::Debian)),
            ("example.com:5000/base", None),
            ("\0/debian:12", None),
            ("gcr.io/distroless/static-debian12", Some(Family::Bare)),
            ("fedora:40", Some(Family::RedHat)),
            ("golang:1.22-windowsservercore", None),
            ("alpine@sha256:0", Some(Family::Alpine)),
            ("opensuse/leap:15", Some(Family::Suse)),
            ("team/alpine-tools:1", None),
        ] {
            assert_eq!(family(reference), expected, "{reference}");
        }
    }
}
