//! The address of a git repository where a directory may stand → a directory with its files, as long as the program runs.

use std::path::{Path, PathBuf};

use lapstrake::build::{Class, input_class};
use lapstrake::event::Silent;
use lapstrake::frontend::GitAddress;
use lapstrake::input::{GitCheckout, GitSettings, NetworkUse, Outside};
use lapstrake::pins::Commit;
use lapstrake::plan::{self, Git, GitDirectory, Submodules};

use crate::args;
use crate::exit::{Failure, chain, remark};
use crate::keys::{Given, Keys};
use crate::machine::Machine;

/// What may be asked of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asking {
    /// Whether the network may be used.
    pub(crate) network: NetworkUse,
    /// Whether a name may be looked up that can stand for something else tomorrow.
    pub(crate) names: Names,
}

/// Whether names that move are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// They are.
    Allowed,
    /// Only commits are taken.
    Refused,
}

impl Asking {
    /// Everything may be asked.
    pub(crate) const ANYTHING: Asking = Asking { network: NetworkUse::Allowed, names: Names::Allowed };

    /// What a build's options leave.
    pub(crate) fn of(pinning: &args::Pinning) -> Asking {
        let args::Pinning { locked, offline } = *pinning;
        Asking {
            network: if offline { NetworkUse::Refused } else { NetworkUse::Allowed },
            names: if locked { Names::Refused } else { Names::Allowed },
        }
    }
}

/// An address without what stands before its host, which may be a password.
pub(crate) fn without_user(text: &str) -> &str {
    let Some((_, rest)) = text.split_once("://") else { return text };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let start = rest.get(..end).and_then(|authority| authority.rfind('@')).map_or(0, |at| at + 1);
    rest.get(start..).unwrap_or_default()
}

/// Fetches what an address names, with the keys of the command line; `None` where the text is none of a git repository.
pub(crate) fn fetch(machine: &Machine, text: &str, asking: Option<Asking>, keys: &Keys) -> Result<Option<GitCheckout>, Failure> {
    match GitAddress::parse(text) {
        Ok(None) => Ok(None),
        Ok(Some(_)) | Err(_) => fetch_with(machine, text, asking, &keys.git(machine, &Given::default())?.settings),
    }
}

/// As [`fetch`], with `git` run so.
pub(crate) fn fetch_with(machine: &Machine, text: &str, asking: Option<Asking>, git: &GitSettings) -> Result<Option<GitCheckout>, Failure> {
    let shown = without_user(text);
    let wrong = |reason: &str| Failure::usage(format!("`{shown}`: {reason}"));
    let Some(address) = GitAddress::parse(text).map_err(|error| wrong(&error.to_string()))? else { return Ok(None) };
    let Some(asking) = asking else {
        return Err(wrong("it is not on this machine; clone it and name the directory"));
    };
    let GitAddress { url, reference, commit, path, submodules, keep_git } = address;
    if let Some(reason) = plan::invalid_address(&url).or_else(|| plan::invalid_reference(&reference)) {
        return Err(wrong(reason));
    }
    let reference = if reference.is_empty() { "HEAD".to_owned() } else { reference };
    let said = match commit {
        Some(text) => Some(Commit::new(&text).ok_or_else(|| wrong("a commit is written in full: 40 or 64 lower-case hexadecimal digits"))?),
        None => Commit::new(&reference),
    };
    let (store, registry) = (machine.store()?, machine.registry()?);
    let (directory, contexts) = (PathBuf::from("/"), std::collections::BTreeMap::new());
    let outside = Outside {
        store: &store,
        registry: &registry,
        git,
        network: asking.network,
        directory: &directory,
        contexts: &contexts,
        events: &Silent,
        cancel: machine.cancel(),
    };
    let failed = |error: lapstrake::input::Error| Failure::new(input_class(&error), chain(&error));
    let commit = match (said, asking.names) {
        (Some(commit), Names::Allowed) => {
            // What is written beside a branch or tag is held against it.
            outside.still_at(&url, &reference, &commit).map_err(failed)?;
            commit
        }
        (Some(commit), Names::Refused) => commit,
        (None, Names::Refused) => {
            return Err(wrong("with `--locked` a repository is named with its commit in full: `#COMMIT`, or `?commit=COMMIT`"));
        }
        (None, Names::Allowed) => {
            let commit = outside.find_commit(&url, &reference).map_err(failed)?;
            remark(&format!("note: `{reference}` of `{url}` is {} today\n", commit.as_str()), machine.voice);
            commit
        }
    };
    let git = Git {
        url,
        reference,
        commit,
        submodules: if submodules == Some(false) { Submodules::Empty } else { Submodules::Fetched },
        git_directory: if keep_git == Some(true) && path.is_empty() { GitDirectory::Kept } else { GitDirectory::Dropped },
    };
    outside.git_checkout(&git, &path).map(Some).map_err(failed)
}

/// A file of a repository, which no link leads out of it.
pub(crate) fn inside(root: &Path, file: &Path) -> Result<PathBuf, Failure> {
    let path = root.join(file);
    let resolved = path.canonicalize().map_err(|_| Failure::usage(format!("there is no `{}` in the repository", file.display())))?;
    let root = root.canonicalize().map_err(|error| Failure::new(Class::World, format!("{}: {error}", root.display())))?;
    match resolved.starts_with(&root) {
        true => Ok(path),
        false => Err(Failure::usage(format!("`{}` leads out of the repository", file.display()))),
    }
}
