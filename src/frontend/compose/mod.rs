//! A Compose file in, one [`Spec`] with an image for each service that is built out; or everything that is wrong with the file.
//!
//! Pure: no disk, no environment, no clock. Other files that it names are asked of the caller. What a service runs with is left alone, since
//! it has no part in an image. Source of truth: `specs/from-compose.md`.

mod contexts;
mod diagnostics;
mod document;
mod dotenv;
mod extends;
mod include;
mod interpolate;
mod lower;
mod node;
mod path;
mod reader;
mod scalar;
mod service;

use std::collections::{BTreeMap, BTreeSet};

pub use diagnostics::CODES;

use crate::diagnostic::{Diagnosed, Diagnostic, Severity, SourceId};
use crate::frontend::dockerfile::Purpose;
use crate::image::Platform;
use crate::spec::{Name, Spanned, Spec};

/// What is not in the file.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Variables that `$NAME` stands for; they win over those of `.env`.
    pub variables: BTreeMap<String, String>,
    /// Profiles that are on. Where there are none, the variable `COMPOSE_PROFILES` says which, with commas between them.
    pub profiles: BTreeSet<String>,
    /// Services that are asked for by name: whichever profiles they have.
    pub services: BTreeSet<String>,
    /// What is built for. It stays a reference; it counts only where it decides which stage of a Dockerfile is meant.
    pub platform: Option<Platform>,
    /// The arguments that the caller gives to every service that declares them. They stay references; their values count only where one
    /// decides what no spec leaves open.
    pub arguments: BTreeMap<String, String>,
    /// What becomes of the spec.
    pub purpose: Purpose,
}

/// Where the texts come from that the file names. Paths are relative to the directory of the Compose file, or absolute.
pub trait Files {
    /// The text of a file; `None` where there is none.
    ///
    /// # Errors
    /// Why it cannot be read, as a fragment of a sentence.
    fn read(&mut self, path: &str) -> Result<Option<(SourceId, String)>, String>;

    /// Fetches the files of a git repository, and says in which directory they are, absolute, without `.` and `..`. `None` where the text is
    /// the address of none. What is read below that directory is a part of the repository.
    ///
    /// # Errors
    /// Why they cannot be had, as a sentence without its end.
    fn repository(&mut self, address: &str, keys: &RepositoryKeys) -> Result<Option<String>, String>;

    /// Takes a text that stands inside another, under a name for people, so that messages can point into it.
    fn add(&mut self, name: &str, text: &str) -> SourceId;
}

/// What a Compose file describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compose {
    /// One image for each service that is built, of the service's name; stages and arguments have that name and a dot in front.
    pub spec: Spec,
    /// The services that are not built, in the order of the file.
    pub not_built: Vec<NotBuilt>,
    /// The secrets that the file gives to builds, by the names that Dockerfiles know them by.
    pub secrets: BTreeMap<Name, Spanned<SecretSource>>,
    /// The agents that the file gives to builds.
    pub agents: BTreeMap<Name, Spanned<AgentSource>>,
    /// Arguments that the file gives a value and no Dockerfile declares. They are in the spec, since the `ONBUILD` instructions of a base may
    /// declare them; where none does, this is to be said.
    pub offered: BTreeMap<Name, Diagnostic>,
}

/// What a service gives to whoever fetches its context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepositoryKeys {
    /// The agent that it calls `default`.
    pub agent: Option<AgentSource>,
    /// Its secrets.
    pub secrets: BTreeMap<Name, SecretSource>,
}

/// Where an SSH agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSource {
    /// It is the caller's own.
    Callers,
    /// A socket, or files with keys and commas between them; relative to the directory of the Compose file.
    At(String),
}

/// A service that is not built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotBuilt {
    /// Its name, where it stands.
    pub service: Spanned<String>,
    /// Why.
    pub reason: Reason,
}

/// Why a service is not built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It only runs an image that is there already.
    OnlyRuns,
    /// None of its profiles is on.
    Profiles(Vec<String>),
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file, relative to the directory of the Compose file.
    File(String),
    /// In a variable.
    Variable(String),
}

/// Reads a Compose file.
///
/// Diagnostics come by file and place; those of Dockerfiles point into the Dockerfiles.
#[must_use]
pub fn parse(source: SourceId, text: &str, options: &Options, files: &mut dyn Files) -> Diagnosed<Compose> {
    let mut found = Vec::new();
    let compose = lower::lower(source, text, options, files, &mut found);
    found.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| (label.span.source, label.span.start, label.span.end)));
    found.dedup();
    let failed = found.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    Diagnosed { value: compose.filter(|_| !failed), diagnostics: found }
}

#[cfg(test)]
mod tests;
