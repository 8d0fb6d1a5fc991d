//! A Compose file on disk → the spec that it is, and what else it gives to a build.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lapstrake::diagnostic::{Diagnosed, SourceId, SourceMap};
use lapstrake::frontend::compose::{self, Compose, NotBuilt, Options, Reason, SecretSource};
use lapstrake::frontend::dockerfile::Purpose;
use lapstrake::image::Platform;
use lapstrake::spec::{Name, Spec};

use crate::exit::Failure;
use crate::settings::Surroundings;
use crate::source::{Context, Source};
use crate::text;

/// What a Compose file gives to a build beside its spec.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// Secrets by name; paths are absolute.
    pub(crate) secrets: BTreeMap<String, SecretSource>,
    /// The services that are not built.
    pub(crate) not_built: Vec<NotBuilt>,
    /// A remark on files that are not read.
    pub(crate) unread: Option<String>,
}

/// What of the command line has a part in reading.
pub(crate) struct Words<'a> {
    /// `--image`: services of these names are built whatever their profiles are.
    pub(crate) images: &'a [String],
    /// `--profile`
    pub(crate) profiles: &'a [String],
    pub(crate) platform: Platform,
    /// Values of arguments.
    pub(crate) arguments: &'a BTreeMap<String, String>,
    pub(crate) purpose: Purpose,
    pub(crate) surroundings: &'a Surroundings,
}

/// Files below the directory of the Compose file.
struct Disk<'m> {
    directory: &'m Path,
    sources: &'m mut SourceMap,
}

impl compose::Files for Disk<'_> {
    fn read(&mut self, path: &str) -> Result<Option<(SourceId, String)>, String> {
        match text::of_file(&self.directory.join(path)) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
                Ok(Some((self.sources.add(path, text.as_str()), text)))
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn add(&mut self, name: &str, text: &str) -> SourceId {
        self.sources.add(name, text)
    }
}

/// Reads the file.
pub(crate) fn parse(
    source: &Source,
    id: SourceId,
    words: &Words<'_>,
    sources: &mut SourceMap,
) -> Result<(Diagnosed<Spec>, Beside), Failure> {
    if matches!(source.context, Context::Directory(_)) {
        let name = &source.name;
        return Err(Failure::usage(format!(
            "`{name}` is a Compose file, which says itself where its contexts are; leave the directory out"
        )));
    }
    let options = Options {
        variables: words.surroundings.texts(),
        profiles: words.profiles.iter().cloned().collect::<BTreeSet<String>>(),
        services: words.images.iter().cloned().collect(),
        platform: Some(words.platform.clone()),
        arguments: words.arguments.clone(),
        purpose: words.purpose,
    };
    let Diagnosed { value, diagnostics } = compose::parse(id, &source.text, &options, &mut Disk { directory: &source.directory, sources });
    let Some(Compose { spec, not_built, secrets, agents: _ }) = value else {
        return Ok((Diagnosed { value: None, diagnostics }, Beside::default()));
    };
    let absolute = |secret: SecretSource| match secret {
        SecretSource::File(path) => SecretSource::File(source.directory.join(path).to_string_lossy().into_owned()),
        SecretSource::Variable(name) => SecretSource::Variable(name),
    };
    let secrets = secrets.into_iter().map(|(name, secret)| (name.to_string(), absolute(secret.value))).collect();
    Ok((Diagnosed { value: Some(spec), diagnostics }, Beside { secrets, not_built, unread: unread(source) }))
}

/// Docker lays another file over the one that it finds by itself.
fn unread(source: &Source) -> Option<String> {
    let file = source.file.as_ref()?;
    let stem = file.file_stem()?.to_str()?;
    let over: PathBuf =
        ["yaml", "yml"].iter().map(|end| file.with_file_name(format!("{stem}.override.{end}"))).find(|file| file.exists())?;
    Some(format!("note: `{}` is there and is not read\n", over.display()))
}

/// `--build-arg` of Compose: an argument of every service that declares it.
pub(crate) fn expand(given: &[String], spec: &Spec, surroundings: &Surroundings) -> Vec<String> {
    given
        .iter()
        .flat_map(|text| {
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text.as_str(), surroundings.variable(text).map(|value| value.to_string_lossy().into_owned())),
            };
            let of_service = |image: &Name| format!("{image}.{name}");
            let declared: Vec<String> =
                spec.images.keys().map(of_service).filter(|argument| spec.args.contains_key(argument.as_str())).collect();
            match value {
                Some(value) if !declared.is_empty() => declared.iter().map(|argument| format!("{argument}={value}")).collect(),
                Some(_) | None => vec![text.clone()],
            }
        })
        .collect()
}

impl Beside {
    /// What is to be said of a file that was read.
    pub(crate) fn remarks(&self) -> String {
        let only_run: Vec<String> = self
            .not_built
            .iter()
            .filter(|service| service.reason == Reason::OnlyRuns)
            .map(|service| format!("`{}`", service.service.value))
            .collect();
        let mut text = String::new();
        match only_run.as_slice() {
            [] => {}
            [one] => text.push_str(&format!("note: {one} is not built: it only runs\n")),
            several => text.push_str(&format!("note: {} are not built: they only run\n", several.join(", "))),
        }
        for service in &self.not_built {
            if let Reason::Profiles(profiles) = &service.reason {
                let (name, profiles) = (&service.service.value, profiles.join("` or `"));
                text.push_str(&format!("note: `{name}` is not built: it needs the profile `{profiles}`\n"));
            }
        }
        text.push_str(self.unread.as_deref().unwrap_or_default());
        text
    }
}
