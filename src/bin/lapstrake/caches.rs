//! The command line and `config.toml` → the shared caches of a build.

use std::path::Path;
use std::time::Duration;

use lapstrake::image::Reference;
use lapstrake::remote::{CacheMounts, Keys, PublicKey, Repository, Shared, SigningKey, Source, Target};
use lapstrake::spec::words::parse_duration;

use crate::exit::{Failure, chain};
use crate::machine::Machine;

/// The caches that the command line names, else those of the settings; `None` where there are none.
pub(crate) fn shared(machine: &Machine, from: &[String], to: &[String]) -> Result<Option<Shared>, Failure> {
    let config = &machine.config()?.cache;
    let given = |given: &[String], set: &[String]| if given.is_empty() { set.to_vec() } else { given.to_vec() };
    let (from, to) = (given(from, &config.from), given(to, &config.to));
    if from.is_empty() && to.is_empty() {
        return Ok(None);
    }
    let mut sources = Vec::new();
    for text in &from {
        let Place { reference, mounts, .. } = place("--cache-from", text, Use::Read)?;
        sources.push(Source { cache: Box::new(Repository::new(machine.hasty_registry()?, reference)), mounts });
    }
    let mut targets = Vec::new();
    for text in &to {
        let Place { reference, max_age, mounts } = place("--cache-to", text, Use::Write)?;
        targets.push(Target { cache: Box::new(Repository::new(machine.hasty_registry()?, reference)), max_age, mounts });
    }
    Ok(Some(Shared::new(sources, targets, keys(machine)?)))
}

/// One shared cache.
pub(crate) fn repository(machine: &Machine, what: &str, text: &str) -> Result<Repository, Failure> {
    let Place { reference, .. } = place(what, text, Use::Prune)?;
    Ok(Repository::new(machine.registry()?, reference))
}

/// The key that signs.
pub(crate) fn signing_key(machine: &Machine) -> Result<SigningKey, Failure> {
    match keys(machine)?.sign {
        Some(key) => Ok(key),
        None => Err(Failure::usage(
            "`cache.sign` in config.toml names no key; make one with `openssl genpkey -algorithm ed25519 -out FILE`".to_owned(),
        )),
    }
}

struct Place {
    reference: Reference,
    max_age: Option<Duration>,
    mounts: CacheMounts,
}

/// What a cache is wanted for, which decides what can be said of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    Write,
    Prune,
}

/// `REPOSITORY[,max-age=AGE][,mounts=true]`, also in Docker's words: `type=registry,ref=REPOSITORY`.
fn place(what: &str, text: &str, wanted: Use) -> Result<Place, Failure> {
    let wrong = |reason: String| Failure::usage(format!("`{what} {text}`: {reason}"));
    let (mut name, mut max_age, mut mounts) = (None, None, CacheMounts::Left);
    for part in text.split(',') {
        match part.split_once('=') {
            None => name = Some(part),
            Some(("ref", value)) => name = Some(value),
            Some(("type", "registry") | ("mode", "max" | "min")) => {}
            Some(("type", other)) => return Err(wrong(format!("caches of type `{other}` are not known: expected `registry`"))),
            Some(("mounts", value)) if wanted != Use::Prune => {
                mounts = match value {
                    "true" => CacheMounts::Taken,
                    "false" => CacheMounts::Left,
                    other => return Err(wrong(format!("`mounts={other}`: expected `true` or `false`"))),
                }
            }
            Some(("max-age", value)) if wanted == Use::Write => {
                max_age = Some(parse_duration(value).map_err(|reason| wrong(format!("`max-age`: {reason}")))?);
            }
            Some((key, _)) => return Err(wrong(format!("`{key}` is not known"))),
        }
    }
    let name = name.ok_or_else(|| wrong("it names no repository".to_owned()))?;
    let reference: Reference = name.parse().map_err(|error| wrong(chain(&error)))?;
    // What stands behind the last colon would be a part of the registry's address if it stood before a slash.
    let has_tag = name.rsplit('/').next().is_some_and(|last| last.contains(':')) && name.contains('/');
    if has_tag || reference.digest.is_some() {
        return Err(wrong(
            "a cache is a whole repository: leave out the tag, and take a name of its own, such as `…/web-cache`".to_owned(),
        ));
    }
    Ok(Place { reference, max_age, mounts })
}

fn keys(machine: &Machine) -> Result<Keys, Failure> {
    let config = &machine.config()?.cache;
    let read = |key: &str, path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("`cache.{key}` in config.toml: cannot read `{}`: {error}", path.display())))
    };
    let sign = match &config.sign {
        None => None,
        Some(path) => {
            let key = SigningKey::from_pem(&read("sign", path)?);
            Some(key.map_err(|error| Failure::usage(format!("`cache.sign` in config.toml: `{}`: {error}", path.display())))?)
        }
    };
    let mut trust = Vec::new();
    for text in &config.trust {
        let key = match text.starts_with("ed25519:") {
            true => text.parse::<PublicKey>(),
            false => PublicKey::from_pem(&read("trust", Path::new(text))?),
        };
        trust.push(key.map_err(|error| Failure::usage(format!("`cache.trust` in config.toml: `{text}`: {error}")))?);
    }
    Ok(Keys { sign, trust })
}
