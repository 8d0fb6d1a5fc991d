//! A text in one of the languages → a spec.

use std::collections::BTreeMap;

use lapstrake::diagnostic::{Diagnosed, SourceId, SourceMap};
use lapstrake::frontend::dockerfile::{self, Purpose};
use lapstrake::image::Platform;
use lapstrake::spec::{self, Spanned, Spec};

use crate::compose::{self, Beside};
use crate::exit::Failure;
use crate::keys::Keys;
use crate::machine::Machine;
use crate::overlay::BuildContexts;
use crate::remote::Asking;
use crate::source::{Kind, Source};

/// What the caller says that decides what a text means.
pub(crate) struct Words<'a> {
    /// `--target`
    pub(crate) target: Option<&'a str>,
    /// Values of arguments, declared or not.
    pub(crate) arguments: BTreeMap<String, String>,
    /// What is built for.
    pub(crate) platform: Option<Platform>,
    /// `--build-context`
    pub(crate) contexts: &'a BuildContexts,
    /// `--image`
    pub(crate) images: &'a [String],
    /// `--profile`
    pub(crate) profiles: &'a [String],
    /// What becomes of the spec.
    pub(crate) purpose: Purpose,
    pub(crate) machine: &'a Machine,
    /// `--secret` and `--ssh`
    pub(crate) keys: &'a Keys,
    /// What may be asked of servers of git.
    pub(crate) asking: Option<Asking>,
}

/// Reads the text with the front end of its language. Other texts that it names are added to `sources`.
pub(crate) fn parse(
    source: &Source,
    id: SourceId,
    words: Words<'_>,
    sources: &mut SourceMap,
) -> Result<(Diagnosed<Spec>, Beside), Failure> {
    match source.kind {
        Kind::Toml => Ok((spec::parse(id, &source.text), Beside::default())),
        Kind::Dockerfile => Ok((of_dockerfile(source, id, words), Beside::default())),
        Kind::Compose => {
            if let Some(target) = words.target {
                return Err(Failure::usage(format!("`--target {target}`: each service of a Compose file says itself what its target is")));
            }
            let words = compose::Words {
                images: words.images,
                profiles: words.profiles,
                platform: words.platform.unwrap_or_else(Platform::builder),
                arguments: &words.arguments,
                purpose: words.purpose,
                machine: words.machine,
                keys: words.keys,
                asking: words.asking,
            };
            compose::parse(source, id, &words, sources)
        }
    }
}

fn of_dockerfile(source: &Source, id: SourceId, words: Words<'_>) -> Diagnosed<Spec> {
    let Words { target, arguments, platform, contexts, images: _, profiles: _, purpose, machine: _, keys: _, asking: _ } = words;
    let options = dockerfile::Options {
        target: target.map(str::to_owned),
        arguments,
        platform,
        contexts: contexts.for_dockerfile(),
        purpose,
        ..dockerfile::Options::default()
    };
    let mut parsed = dockerfile::parse(id, &source.text, &options);
    if let Some(spec) = &mut parsed.value {
        spec.ignore = ignore_file(source).map(Spanned::made);
    }
    parsed
}

/// The ignore file that belongs to this one Dockerfile, beside it: its name with `.dockerignore` behind it.
fn ignore_file(source: &Source) -> Option<String> {
    let file = source.file.as_ref()?;
    let name = format!("{}.dockerignore", file.file_name()?.to_str()?);
    file.with_file_name(&name).is_file().then_some(name)
}
