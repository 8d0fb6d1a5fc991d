//! registries.conf → where a reference is to be had, in order.
//!
//! What it says of names without a registry is not for us: a reference without one is at docker.io.
//! Source of truth: containers-registries.conf(5), version 2 of the format.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Error;
use super::connect::Proof;
use crate::image::Reference;

/// What registries.conf and the files beside it say.
#[derive(Debug, Clone, Default)]
pub struct ContainersRegistries {
    /// By prefix: a later file takes the place of what earlier ones said of it.
    rules: BTreeMap<String, Rule>,
    helpers: Vec<String>,
}

/// `[[registry]]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Rule {
    prefix: Option<String>,
    location: Option<String>,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<MirrorRule>,
}

/// `[[registry.mirror]]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct MirrorRule {
    location: String,
    insecure: bool,
    pull_from_mirror: Option<PullFromMirror>,
}

/// For which references a mirror is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PullFromMirror {
    All,
    DigestOnly,
    TagOnly,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct File {
    registry: Vec<Rule>,
    credential_helpers: Vec<String>,
}

/// One place that may have what a reference names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) registry: String,
    pub(super) repository: String,
    /// Whether it must show who it is.
    pub(super) proof: Proof,
}

/// registries.conf cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContainersRegistriesError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("`{}` is no registries.conf of version 2: {reason}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong, where.
        reason: String,
    },
}

impl ContainersRegistries {
    /// Reads files, of which later ones take precedence; those that do not exist are passed over. A directory stands for the files in it
    /// whose names end in `.conf`, in the order of their names.
    ///
    /// # Errors
    ///
    /// When one is there and cannot be read or is not of the format.
    pub fn read(places: &[PathBuf]) -> Result<ContainersRegistries, ContainersRegistriesError> {
        let mut found = ContainersRegistries::default();
        for place in places {
            for path in files(place)? {
                match std::fs::read_to_string(&path) {
                    Ok(text) => found.add(&path, &text)?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(ContainersRegistriesError::Unreadable { path, source }),
                }
            }
        }
        Ok(found)
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), ContainersRegistriesError> {
        let malformed =
            |reason: &dyn fmt::Display| ContainersRegistriesError::Malformed { path: path.to_owned(), reason: reason.to_string() };
        let file: File = toml::from_str(text).map_err(|error| malformed(&error))?;
        for mut rule in file.registry {
            let location = rule.location.take().map(|location| bare(&location));
            let prefix = rule.prefix.clone().or_else(|| location.clone()).map(|prefix| bare(&prefix)).unwrap_or_default();
            let wildcard = prefix.starts_with("*.");
            if prefix.is_empty() {
                return Err(malformed(&"a [[registry]] has neither `prefix` nor `location`"));
            }
            if prefix.trim_start_matches("*.").contains('*') || (wildcard && prefix.contains('/')) {
                return Err(malformed(&format!("`{prefix}` is no prefix: `*.` may stand at its beginning, and then no path after it")));
            }
            if wildcard && location.is_some() {
                return Err(malformed(&format!("`{prefix}` has a `location`, which hosts that begin with `*.` cannot have")));
            }
            for mirror in &mut rule.mirror {
                mirror.location = bare(&mirror.location);
                if mirror.location.is_empty() {
                    return Err(malformed(&format!("a mirror of `{prefix}` has no `location`")));
                }
            }
            rule.location = location;
            self.rules.insert(prefix, rule);
        }
        if !file.credential_helpers.is_empty() {
            self.helpers = file.credential_helpers;
        }
        Ok(())
    }

    /// `credential-helpers`, without Podman's own name for its file.
    #[must_use]
    pub fn credential_helpers(&self) -> Vec<String> {
        self.helpers.iter().filter(|name| *name != "containers-auth.json").cloned().collect()
    }

    /// The rule with the longest prefix of a reference's name.
    fn rule(&self, reference: &Reference) -> Option<(&str, &Rule)> {
        self.rule_of(&reference.registry, &reference.name())
    }

    fn rule_of(&self, registry: &str, name: &str) -> Option<(&str, &Rule)> {
        let matches = self.rules.iter().filter(|(prefix, _)| match prefix.strip_prefix('*') {
            Some(domain) => registry.ends_with(domain) && registry.len() > domain.len(),
            None => name.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        });
        matches.max_by_key(|(prefix, _)| prefix.len()).map(|(prefix, rule)| (prefix.as_str(), rule))
    }

    /// Refuses what is blocked.
    pub(super) fn permit(&self, reference: &Reference) -> Result<(), Error> {
        match self.rule(reference) {
            Some((prefix, rule)) if rule.blocked => {
                let what = format!("`{}` is not used: registries.conf blocks `{prefix}`", reference.name());
                Err(Error::Settings { what })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Where to look for a reference, in order.
    pub(super) fn places(&self, reference: &Reference) -> Vec<Place> {
        let (registry, repository) = (reference.registry.clone(), reference.repository.clone());
        let itself = Place { proof: self.proof(&registry, &repository), registry, repository };
        let Some((prefix, rule)) = self.rule(reference) else { return vec![itself] };
        let by_digest = reference.digest.is_some();
        let asked = rule.mirror.iter().filter(|mirror| match mirror.pull_from_mirror {
            Some(PullFromMirror::All) => true,
            Some(PullFromMirror::DigestOnly) => by_digest,
            Some(PullFromMirror::TagOnly) => !by_digest,
            None => by_digest || !rule.mirror_by_digest_only,
        });
        let moved = |location: &str, insecure: bool| {
            let (registry, repository) = moved(reference, prefix, location)?;
            let proof = if insecure { Proof::Waived } else { self.proof(&registry, &repository) };
            Some(Place { registry, repository, proof })
        };
        let mut places: Vec<Place> = asked.filter_map(|mirror| moved(&mirror.location, mirror.insecure)).collect();
        let own = rule.location.as_deref().and_then(|location| moved(location, rule.insecure));
        places.push(own.unwrap_or(itself));
        places
    }

    /// Whether a repository's server must show who it is, or need not and may speak plain http. What is said of a part of a registry counts for
    /// that part alone. `repository` may be empty for the registry itself.
    pub(super) fn proof(&self, registry: &str, repository: &str) -> Proof {
        let name = if repository.is_empty() { registry.to_owned() } else { format!("{registry}/{repository}") };
        let insecure = self.rule_of(registry, &name).is_some_and(|(_, rule)| rule.insecure);
        if insecure { Proof::Waived } else { Proof::Wanted }
    }
}

/// A name with its prefix replaced by a location.
fn moved(reference: &Reference, prefix: &str, location: &str) -> Option<(String, String)> {
    let name = reference.name();
    let rest = if prefix.starts_with('*') { name.strip_prefix(&reference.registry)? } else { name.strip_prefix(prefix)? };
    let (registry, repository) = location.split_once('/').map_or((location, String::new()), |(host, path)| (host, path.to_owned()));
    let repository = format!("{repository}{rest}");
    let repository = repository.trim_matches('/');
    (!repository.is_empty()).then(|| (registry.to_owned(), repository.to_owned()))
}

fn bare(text: &str) -> String {
    text.trim_end_matches('/').to_owned()
}

fn files(place: &Path) -> Result<Vec<PathBuf>, ContainersRegistriesError> {
    let unreadable = |source| ContainersRegistriesError::Unreadable { path: place.to_owned(), source };
    match std::fs::read_dir(place) {
        Ok(entries) => {
            let mut files = Vec::new();
            for entry in entries {
                let path = entry.map_err(unreadable)?.path();
                if path.extension().is_some_and(|extension| extension == "conf") {
                    files.push(path);
                }
            }
            files.sort();
            Ok(files)
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(vec![place.to_owned()]),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(unreadable(source)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = r#"
        unqualified-search-registries = ["docker.io"]
        credential-helpers = ["containers-auth.json", "vault"]
        short-name-mode = "enforcing"

        [[registry]]
        location = "docker.io"
        [[registry.mirror]]
        location = "cache.example.com/hub"
        [[registry.mirror]]
        location = "digests.example.com"
        pull-from-mirror = "digest-only"
        insecure = true

        [[registry]]
        prefix = "example.com/team"
        location = "internal.example.net:5000/moved/"
        insecure = true

        [[registry]]
        prefix = "example.com/team/forbidden"
        blocked = true

        [[registry]]
        prefix = "*.apps.example.com"
        [[registry.mirror]]
        location = "apps-cache.example.com"

        [[registry]]
        prefix = "old.example.com"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "old-cache.example.com"
    "#;

    fn parsed(text: &str) -> Result<ContainersRegistries, ContainersRegistriesError> {
        let mut found = ContainersRegistries::default();
        found.add(Path::new("registries.conf"), text).map(|()| found)
    }

    #[test]
    fn the_longest_prefix_says_where_to_look() {
        let found = parsed(TEXT).unwrap();
        let digest = format!("@sha256:{}", "0".repeat(64));
        for (reference, expected) in [
            ("python:3", vec!["cache.example.com/hub/library/python", "docker.io/library/python"]),
            (
                &format!("python{digest}"),
                vec!["cache.example.com/hub/library/python", "digests.example.com/library/python", "docker.io/library/python"],
            ),
            ("example.com/team/web", vec!["internal.example.net:5000/moved/web"]),
            ("example.com/team", vec!["internal.example.net:5000/moved"]),
            ("example.com/teams/web", vec!["example.com/teams/web"]),
            ("a.apps.example.com/x", vec!["apps-cache.example.com/x", "a.apps.example.com/x"]),
            ("apps.example.com/x", vec!["apps.example.com/x"]),
            ("old.example.com/x:1", vec!["old.example.com/x"]),
            (&format!("old.example.com/x{digest}"), vec!["old-cache.example.com/x", "old.example.com/x"]),
        ] {
            let places = found.places(&reference.parse().unwrap());
            let places: Vec<String> = places.iter().map(|place| format!("{}/{}", place.registry, place.repository)).collect();
            assert_eq!(places, expected, "{reference}");
        }
        assert!(found.permit(&"example.com/team/forbidden/x".parse().unwrap()).is_err());
        assert!(found.permit(&"example.com/team/web".parse().unwrap()).is_ok());
        assert_eq!(found.credential_helpers(), ["vault"]);
    }

    #[test]
    fn what_need_not_show_who_it_is_is_the_part_that_is_named_and_nothing_beside_it() {
        let text = r#"
            [[registry]]
            prefix = "r.example.com/scratch"
            insecure = true
            [[registry]]
            location = "docker.io"
            [[registry.mirror]]
            location = "m.example.com/hub"
            insecure = true
            [[registry]]
            prefix = "example.com/team"
            location = "internal.example.net:5000/moved"
            insecure = true
            [[registry]]
            prefix = "*.dev.example.com"
            insecure = true
        "#;
        let found = parsed(text).unwrap();
        use Proof::{Waived, Wanted};
        for (reference, expected) in [
            ("r.example.com/scratch/a", vec![Waived]),
            ("r.example.com/scratch", vec![Waived]),
            ("r.example.com/scratches", vec![Wanted]),
            ("r.example.com/prod", vec![Wanted]),
            ("python", vec![Waived, Wanted]),
            ("m.example.com/hub/library/python", vec![Wanted]),
            ("example.com/team/web", vec![Waived]),
            ("example.com/other", vec![Wanted]),
            ("internal.example.net:5000/moved/web", vec![Wanted]),
            ("a.dev.example.com/x", vec![Waived]),
            ("dev.example.com/x", vec![Wanted]),
        ] {
            let places = found.places(&reference.parse().unwrap());
            assert_eq!(places.iter().map(|place| place.proof).collect::<Vec<_>>(), expected, "{reference}");
        }
        assert_eq!((found.proof("r.example.com", ""), found.proof("a.dev.example.com", "")), (Wanted, Waived));
    }

    #[test]
    fn later_files_take_the_place_of_earlier_ones_by_prefix() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("conf.d")).unwrap();
        let entry = |location: &str| format!("[[registry]]\nprefix = \"example.com\"\nlocation = \"{location}\"\n");
        std::fs::write(path("registries.conf"), entry("first.example.com")).unwrap();
        std::fs::write(path("conf.d/1.conf"), entry("second.example.com")).unwrap();
        std::fs::write(path("conf.d/0.conf"), entry("third.example.com")).unwrap();
        std::fs::write(path("conf.d/2.bak"), "nonsense").unwrap();
        let found = ContainersRegistries::read(&[path("missing"), path("registries.conf"), path("conf.d")]).unwrap();
        assert_eq!(found.places(&"example.com/a".parse().unwrap())[0].registry, "second.example.com");
    }

    #[test]
    fn mistakes_are_told_with_the_file() {
        for text in [
            "[[registry]]\nblocked = true",
            "[[registry]]\nprefix = \"a*b\"",
            "[[registry]]\nprefix = \"*.a/b\"",
            "[[registry]]\nprefix = \"*.a\"\nlocation = \"b\"",
            "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\ninsecure = true",
            "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\nlocation = \"b\"\npull-from-mirror = \"sometimes\"",
            "[registries.search]\nregistries = 1\n[[registry]",
            "nonsense",
        ] {
            let error = parsed(text).unwrap_err().to_string();
            assert!(error.contains("registries.conf"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}", prefix in "[a-z*./:-]{0,12}", location in "[a-z./:-]{0,12}") {
            let _ = parsed(&text);
            if let Ok(found) = parsed(&format!("[[registry]]\nprefix = \"{prefix}\"\nlocation = \"{location}\"\n")) {
                let _ = found.places(&"docker.io/library/python".parse().unwrap());
            }
        }
    }
}
