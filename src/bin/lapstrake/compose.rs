//! A Compose file on disk → the spec that it is, and what else it gives to a build.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lapstrake::build::Class;
use lapstrake::diagnostic::{Diagnosed, Diagnostic, SourceId, SourceMap};
use lapstrake::frontend::compose::{self, AgentSource, Compose, NotBuilt, Options, Reason, RepositoryKeys, SecretSource};
use lapstrake::frontend::dockerfile::Purpose;
use lapstrake::image::Platform;
use lapstrake::input::GitCheckout;
use lapstrake::spec::{Name, Spec};

use crate::exit::Failure;
use crate::given;
use crate::keys::{Given, Keys};
use crate::machine::Machine;
use crate::remote::{self, Asking};
use crate::settings::Surroundings;
use crate::source::{Context, Source};
use crate::text;

/// What a Compose file gives to a build beside its spec.
#[derive(Default)]
pub(crate) struct Beside {
    /// Secrets and agents.
    pub(crate) given: Given,
    /// Arguments that only a base may declare, with what is to be said where none does.
    pub(crate) offered: BTreeMap<Name, Diagnostic>,
    /// Holds the contexts that were fetched.
    pub(crate) fetched: Vec<GitCheckout>,
    /// Who is to blame where something could not be fetched.
    pub(crate) blame: Option<Class>,
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
    pub(crate) machine: &'a Machine,
    /// What the command line gives.
    pub(crate) keys: &'a Keys,
    /// What may be asked of servers of git; `None` where everything has to be on this machine.
    pub(crate) asking: Option<Asking>,
}

/// Files below the directory of the Compose file, and of the repositories that it names.
struct Disk<'m> {
    directory: &'m Path,
    sources: &'m mut SourceMap,
    machine: &'m Machine,
    keys: &'m Keys,
    asking: Option<Asking>,
    /// By their addresses, with their directories.
    repositories: BTreeMap<String, String>,
    fetched: Vec<GitCheckout>,
    blame: Option<Class>,
}

impl Disk<'_> {
    /// The repository that a path is in: what messages call it, and its directory.
    fn repository_of(&self, path: &str) -> Option<(&str, &str)> {
        let inside = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
        self.repositories.iter().find(|(_, root)| inside(root)).map(|(address, root)| (remote::without_user(address), root.as_str()))
    }

    fn fetch(&self, address: &str, keys: &RepositoryKeys) -> Result<Option<GitCheckout>, Failure> {
        let RepositoryKeys { agent, secrets } = keys;
        let given = Given {
            agents: agent.iter().map(|agent| ("default".to_owned(), absolute_agent(self.directory, agent))).collect(),
            secrets: secrets.iter().map(|(name, secret)| (name.to_string(), absolute_secret(self.directory, secret))).collect(),
        };
        let git = self.keys.git(self.machine, &given)?;
        remote::fetch_with(self.machine, address, self.asking, &git.settings)
    }
}

fn absolute(directory: &Path, path: &str) -> String {
    directory.join(path).to_string_lossy().into_owned()
}

fn absolute_secret(directory: &Path, secret: &SecretSource) -> SecretSource {
    match secret {
        SecretSource::File(path) => SecretSource::File(absolute(directory, path)),
        SecretSource::Variable(name) => SecretSource::Variable(name.clone()),
    }
}

fn absolute_agent(directory: &Path, agent: &AgentSource) -> AgentSource {
    match agent {
        AgentSource::Callers => AgentSource::Callers,
        AgentSource::At(paths) => {
            let paths: Vec<String> = paths.split(',').map(|path| absolute(directory, path)).collect();
            AgentSource::At(paths.join(","))
        }
    }
}

impl compose::Files for Disk<'_> {
    fn read(&mut self, path: &str) -> Result<Option<(SourceId, String)>, String> {
        let whole = self.directory.join(path);
        let name = match self.repository_of(path) {
            None => path.to_owned(),
            Some((address, root)) => {
                // No link leads out of a repository.
                let resolved = |path: &Path| path.canonicalize().ok();
                if resolved(&whole).is_some_and(|file| !resolved(Path::new(root)).is_some_and(|root| file.starts_with(root))) {
                    return Err("it leads out of the repository".to_owned());
                }
                format!("{address}{}", path.strip_prefix(root).unwrap_or_default())
            }
        };
        match text::of_file(&whole) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
                Ok(Some((self.sources.add(name, text.as_str()), text)))
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn repository(&mut self, address: &str, keys: &RepositoryKeys) -> Result<Option<String>, String> {
        if let Some(known) = self.repositories.get(address) {
            return Ok(Some(known.clone()));
        }
        let fetched = self.fetch(address, keys).and_then(|checkout| {
            let Some(checkout) = checkout else { return Ok(None) };
            let path = checkout.path.canonicalize().map_err(|error| Failure::world(format!("{}: {error}", checkout.path.display())))?;
            let path = path.to_str().ok_or_else(|| Failure::world(format!("`{}` is not UTF-8", path.display())))?;
            Ok(Some((checkout, path.to_owned())))
        });
        match fetched {
            Ok(None) => Ok(None),
            Ok(Some((checkout, path))) => {
                self.fetched.push(checkout);
                self.repositories.insert(address.to_owned(), path.clone());
                Ok(Some(path))
            }
            Err(failure) => {
                let (class, text) = failure.into_parts();
                // What the world did weighs more than what is written wrong beside it.
                self.blame = Some(self.blame.filter(|earlier| *earlier != Class::Spec).unwrap_or(class));
                Err(text)
            }
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
    let &Words { machine, keys, asking, .. } = words;
    let options = Options {
        variables: machine.surroundings.texts(),
        profiles: words.profiles.iter().cloned().collect::<BTreeSet<String>>(),
        services: words.images.iter().cloned().collect(),
        platform: Some(words.platform.clone()),
        arguments: words.arguments.clone(),
        purpose: words.purpose,
    };
    let directory = &source.directory;
    let (repositories, fetched) = (BTreeMap::new(), Vec::new());
    let mut disk = Disk { directory, sources, machine, keys, asking, repositories, fetched, blame: None };
    let Diagnosed { value, diagnostics } = compose::parse(id, &source.text, &options, &mut disk);
    let Disk { fetched, blame, .. } = disk;
    let Some(Compose { spec, not_built, secrets, agents, offered }) = value else {
        return Ok((Diagnosed { value: None, diagnostics }, Beside { blame, ..Beside::default() }));
    };
    let given = Given {
        agents: agents.iter().map(|(name, agent)| (name.to_string(), absolute_agent(directory, agent))).collect(),
        secrets: secrets.iter().map(|(name, secret)| (name.to_string(), absolute_secret(directory, secret))).collect(),
    };
    Ok((Diagnosed { value: Some(spec), diagnostics }, Beside { given, offered, fetched, blame, not_built, unread: unread(source) }))
}

/// Docker lays another file over the one that it finds by itself.
fn unread(source: &Source) -> Option<String> {
    let file = source.file.as_ref()?;
    let stem = file.file_stem()?.to_str()?;
    let over: PathBuf =
        ["yaml", "yml"].iter().map(|end| file.with_file_name(format!("{stem}.override.{end}"))).find(|file| file.exists())?;
    Some(format!("note: `{}` is there and is not read\n", over.display()))
}

/// `--build-arg` of Compose: an argument of every service that declares it, and of every base that does.
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
                Some(value) if !declared.is_empty() => {
                    let of_bases = given::carries_out(spec).then(|| format!("{name}={value}"));
                    declared.iter().map(|argument| format!("{argument}={value}")).chain(of_bases).collect()
                }
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
