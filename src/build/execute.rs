//! One step: its key, the record that answers it, or the work and a new record.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lapstrake_cache::{Fingerprint, Shelf};
use serde::{Deserialize, Serialize};

use super::accounts::Accounts;
use super::export::{Job, News};
use super::glimpse::Glimpse;
use super::key::Surroundings;
use super::preimage::Preimage;
use super::site::Site;
use super::sources::{Source, SourceContents, Sources, StepContents, keep_difference, tree_of};
use super::state::{LayerName, State};
use super::steps::copy::{self, Selection};
use super::steps::run::Shown;
use super::steps::{self, Edited, extract, fetch};
use super::{Failure, packed};
use crate::event::TaskId;
use crate::image::Platform;
use crate::layer::Profile;
use crate::plan::{Copy, FirstContents, Git, MountKind, Run, Step, StepKind, TreeSource};
use crate::sandbox::Rung;
use crate::tree::{Content, Contents, Difference, Editor, LastLink, Node, Tree, TreePath};

/// Results of steps by key.
const ACTIONS: Shelf = Shelf::named("actions");
/// Pre-images of keys, by key.
pub(super) const PREIMAGES: Shelf = Shelf::named("preimages");
/// Names of parts of states, so that an unchanged build need not look into them.
const PARTS: Shelf = Shelf::named("parts");
/// Selected files by name, so that the file that differs can be named.
pub(super) const SELECTIONS: Shelf = Shelf::named("selections");

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Came {
    /// The state after it.
    pub(super) state: State,
    /// The layer it made, if it changed anything.
    pub(super) layer: Option<Fingerprint>,
    /// Whether a record answered it.
    pub(super) answered: Answered,
    /// On which rung the command ran, now or when the record was made.
    pub(super) rung: Option<String>,
}

impl Came {
    /// Whether the result may go to a cache that others read: where a command made it, on a rung that this version knows and trusts.
    pub(super) fn is_shareable(&self) -> bool {
        self.rung.as_deref().is_none_or(|rung| Rung::named(rung).is_some_and(Rung::is_shareable))
    }
}

/// Where a result came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// From a record.
    Cached,
    /// The step did its work.
    Worked,
    /// There was nothing to do.
    Nothing,
}

/// What will be needed of a step's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// A directory, since a later step runs on it or takes files from it.
    pub(super) directory: bool,
    /// A blob, for an image.
    pub(super) blob: Option<Profile>,
}

/// A step whose inputs are all known.
pub(super) struct Action<'p> {
    step: &'p Step,
    below: State,
    pub(super) preimage: Preimage,
    inputs: Inputs<'p>,
}

enum Inputs<'p> {
    None,
    Run(Shown),
    Copy {
        source: Source,
        selection: Option<Selection>,
    },
    /// Known by its commit: it is fetched only where no record answers.
    Git(&'p Git),
    Archive(extract::Archive),
}

/// The body of an action's record. Adding a field is a new version of the shelf.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// The difference, in hexadecimal digits; missing where nothing changed.
    difference: Option<String>,
    /// The rung that the command ran on.
    rung: Option<String>,
}

/// Finds out all inputs of a step; `None` for a step that only changes settings.
pub(super) fn action<'p>(
    site: &Site<'_>,
    sources: &Sources,
    step: &'p Step,
    platform: &Platform,
    below: &State,
) -> Result<Option<Action<'p>>, Failure> {
    let around = Surroundings { below: below.name(), platform, epoch: site.epoch };
    let (preimage, inputs): (Preimage, Inputs<'p>) = match &step.kind {
        StepKind::Setting => return Ok(None),
        StepKind::Run(run) => {
            let shown = shown(site, sources, run)?;
            (around.run(run, &shown.names), Inputs::Run(shown))
        }
        StepKind::Copy(copy @ Copy { from: TreeSource::Git(git), .. }) => (around.git(copy, git), Inputs::Git(git)),
        StepKind::Copy(copy) => {
            let source = sources.source(site, &copy.from)?;
            let (name, selection) = selected(site, copy, &source)?;
            (around.copy(copy, name), Inputs::Copy { source, selection })
        }
        StepKind::Write(write) => (around.write(write), Inputs::None),
        StepKind::MakeDirectory(make) => (around.make_directory(make), Inputs::None),
        StepKind::Link(link) => (around.link(link), Inputs::None),
        StepKind::Remove(remove) => (around.remove(remove), Inputs::None),
        StepKind::Extract(extract) => {
            let archive = extract::find(site, sources, extract)?;
            (around.extract(extract, archive.name()), Inputs::Archive(archive))
        }
        StepKind::Fetch(fetch) => (around.fetch(fetch), Inputs::None),
    };
    Ok(Some(Action { step, below: below.clone(), preimage, inputs }))
}

/// The files from elsewhere that a command's mounts show or begin with.
fn shown(site: &Site<'_>, sources: &Sources, run: &Run) -> Result<Shown, Failure> {
    let mut shown = Shown::default();
    for mount in &run.mounts {
        let (source, path) = match &mount.kind {
            MountKind::From { source, path, access: _ } => (source, path),
            MountKind::Cache { first: Some(FirstContents { source, path }), .. } => (source, path),
            MountKind::Cache { first: None, .. }
            | MountKind::Secret { .. }
            | MountKind::SecretEnv { .. }
            | MountKind::Ssh { .. }
            | MountKind::Tmpfs { .. } => continue,
        };
        let state = sources.state(site, source, path)?;
        shown.names.insert(mount.at.clone(), part_name(site, &state, path, &place(source))?);
        shown.states.insert(mount.at.clone(), state);
    }
    Ok(shown)
}

/// The name of a file or directory of a state, times included.
fn part_name(site: &Site<'_>, state: &State, path: &str, place: &str) -> Result<Fingerprint, Failure> {
    let state_name = state.name();
    let asked = Framed::new("lapstrake-part/1", [state_name.as_bytes().as_slice(), path.as_bytes()]);
    remembered(site, &asked, || {
        let tree = site.layers.tree(state)?;
        let at = tree.resolve(path.as_bytes(), LastLink::Follow).map_err(steps::StepError::from)?;
        let missing = || steps::StepError::NoSource { source_path: path.to_owned(), place: place.to_owned(), nearest: None };
        match tree.get(&at).ok_or_else(missing)? {
            Node::Directory(_) => Ok(tree.subtree(&at).unwrap_or_else(|| (*tree).clone()).fingerprint()),
            node @ (Node::File(_) | Node::Symlink(_) | Node::Special(_)) => Ok(Fingerprint::of(format!("{node:?}").as_bytes())),
        }
    })
}

/// The name of what a copy selects; the selection itself where it had to be made.
fn selected(site: &Site<'_>, copy: &Copy, source: &Source) -> Result<(Fingerprint, Option<Selection>), Failure> {
    match source {
        Source::Context(_) => {
            let selection = select(site, copy, source)?;
            Ok((selection.fingerprint(), Some(selection)))
        }
        Source::State(state) => {
            let words: Vec<&[u8]> = copy.sources.iter().map(String::as_bytes).collect();
            let exclude: Vec<&[u8]> = copy.exclude.iter().map(String::as_bytes).collect();
            let mode = format!("{:?}", copy.mode);
            let words = Framed::new("words", words).key();
            let exclude = Framed::new("words", exclude).key();
            let state = state.name();
            let parts: [&[u8]; 4] = [state.as_bytes(), words.as_bytes(), exclude.as_bytes(), mode.as_bytes()];
            let asked = Framed::new("lapstrake-selected/1", parts);
            let name = remembered(site, &asked, || Ok(select(site, copy, source)?.fingerprint()))?;
            Ok((name, None))
        }
    }
}

fn select(site: &Site<'_>, copy: &Copy, source: &Source) -> Result<Selection, Failure> {
    let tree = tree_of(site, source)?;
    Ok(copy::select(copy, &tree, &place(&copy.from))?)
}

pub(super) fn place(source: &TreeSource) -> String {
    match source {
        TreeSource::Context(name) if name.is_empty() => "the context".to_owned(),
        TreeSource::Context(name) => format!("the context `{name}`"),
        TreeSource::Stage(_) => "the stage".to_owned(),
        TreeSource::Image(image) => format!("`{}`", image.source),
        TreeSource::Git(git) => format!("`{}` at {}", git.url, git.commit.as_str()),
    }
}

/// Length-framed words, whose hash is a key: lengths are 64 bits, little end first.
struct Framed(Vec<u8>);

impl Framed {
    fn new<'a>(domain: &'a str, parts: impl IntoIterator<Item = &'a [u8]>) -> Framed {
        let mut bytes = Vec::new();
        for part in std::iter::once(domain.as_bytes()).chain(parts) {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        Framed(bytes)
    }

    fn key(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }
}

fn remembered(site: &Site<'_>, asked: &Framed, work: impl FnOnce() -> Result<Fingerprint, Failure>) -> Result<Fingerprint, Failure> {
    let store = site.outside.store;
    let key = asked.key();
    let export = |name| site.exports.send(Job::Part { key, preimage: asked.0.clone(), name });
    if let Some(bytes) = store.record(&PARTS, &key)?
        && let Ok(bytes) = <[u8; 32]>::try_from(bytes.as_slice())
    {
        let name = Fingerprint::from_bytes(bytes);
        export(name);
        return Ok(name);
    }
    if let Some(name) = site.layers.elsewhere().and_then(|elsewhere| elsewhere.part(&key, &asked.0)) {
        export(name);
        return Ok(name);
    }
    let name = work()?;
    store.put_record(&PARTS, &key, name.as_bytes())?;
    export(name);
    Ok(name)
}

/// Refuses a result that no layer can hold: a name that means the removal of another.
pub(super) fn refuse_reserved(difference: &Difference) -> Result<(), Failure> {
    match difference.reserved_name() {
        Some(path) => Err(Failure::ReservedName { path: path.clone() }),
        None => Ok(()),
    }
}

impl Action<'_> {
    /// The record that answers the action, if there is one that is fresh enough and whose files can still be had: from this machine, else
    /// from a shared cache.
    pub(super) fn lookup(&self, site: &Site<'_>) -> Result<Option<Came>, Failure> {
        if let Some(came) = self.lookup_here(site)? {
            return Ok(Some(came));
        }
        let told = site.layers.elsewhere().and_then(|elsewhere| elsewhere.result(&self.preimage, self.refresh()));
        let Some((layer, rung)) = told else { return Ok(None) };
        // The record stays where it is; what its key means is known here.
        site.outside.store.put_record(&PREIMAGES, &self.preimage.key(), &self.preimage.encode())?;
        Ok(Some(self.came(layer, Answered::Cached, rung)))
    }

    fn lookup_here(&self, site: &Site<'_>) -> Result<Option<Came>, Failure> {
        let Some((body, age)) = site.outside.store.record_and_age(&ACTIONS, &self.preimage.key())? else { return Ok(None) };
        if self.refresh().is_some_and(|refresh| Duration::from_secs(age.seconds) > refresh) {
            return Ok(None);
        }
        let Ok(Record { difference, rung }) = serde_json::from_slice(&body) else { return Ok(None) };
        let layer = match difference.as_deref().map(str::parse::<Fingerprint>) {
            None => None,
            Some(Ok(fingerprint)) if site.layers.has_files(&fingerprint)? => Some(fingerprint),
            Some(Ok(_) | Err(_)) => return Ok(None),
        };
        Ok(Some(self.came(layer, Answered::Cached, rung)))
    }

    /// Offers what the action came to to others.
    pub(super) fn export(&self, site: &Site<'_>, came: &Came, wanted: Wanted) {
        let news = match came.answered {
            Answered::Worked => News::Made,
            Answered::Cached | Answered::Nothing => News::Known,
        };
        site.exports.send(Job::Result {
            preimage: Box::new(self.preimage.clone()),
            state: came.state.clone(),
            layer: came.layer,
            rung: came.rung.clone(),
            profile: wanted.blob.unwrap_or(Profile::Gzip1),
            news,
        });
    }

    fn refresh(&self) -> Option<Duration> {
        match &self.step.kind {
            StepKind::Run(run) => run.refresh,
            StepKind::Copy(_)
            | StepKind::Write(_)
            | StepKind::MakeDirectory(_)
            | StepKind::Link(_)
            | StepKind::Remove(_)
            | StepKind::Extract(_)
            | StepKind::Fetch(_)
            | StepKind::Setting => None,
        }
    }

    fn came(&self, layer: Option<Fingerprint>, answered: Answered, rung: Option<String>) -> Came {
        let state = match layer {
            Some(layer) => self.below.with(LayerName::Own(layer)),
            None => self.below.clone(),
        };
        Came { state, layer, answered, rung }
    }

    /// Keeps the names of the files that a copy selects, so that a later difference can be told file by file.
    pub(super) fn remember_selection(&self, site: &Site<'_>) -> Result<(), Failure> {
        if let Inputs::Copy { selection: Some(selection), .. } = &self.inputs {
            let listing = Difference::between(&super::layers::Layers::nothing(), &selection.as_tree());
            site.outside.store.put_record(&SELECTIONS, &selection.fingerprint(), &listing.encode())?;
        }
        Ok(())
    }

    /// Does the work and writes the record.
    pub(super) fn work(&self, site: &Site<'_>, (task, label): (TaskId, &str), wanted: Wanted) -> Result<Came, Failure> {
        let (layer, rung) = match (&self.step.kind, &self.inputs) {
            (StepKind::Run(run), Inputs::Run(shown)) => {
                let ran = steps::run::run(site, (task, label), run, &self.below, shown)?;
                let layer = (!ran.difference.is_empty()).then(|| ran.difference.fingerprint());
                (layer, Some(ran.rung.to_owned()))
            }
            (_, _) => (self.edit(site, wanted)?, None),
        };
        let record = Record { difference: layer.map(|layer| layer.hex()), rung: rung.clone() };
        let key = self.preimage.key();
        let store = site.outside.store;
        store.put_record(&PREIMAGES, &key, &self.preimage.encode())?;
        self.remember_selection(site)?;
        // The record comes last: whoever finds it finds everything it speaks of.
        let body = serde_json::to_vec(&record)
            .map_err(|error| Failure::File { path: store.path().to_path_buf(), source: std::io::Error::other(error) })?;
        store.put_record(&ACTIONS, &key, &body)?;
        Ok(self.came(layer, Answered::Worked, rung))
    }

    /// The work of every step that runs no command.
    fn edit(&self, site: &Site<'_>, wanted: Wanted) -> Result<Option<Fingerprint>, Failure> {
        let fetched = match &self.inputs {
            Inputs::Git(git) => Some(Source::State(site.repositories.state(site, git)?)),
            Inputs::None | Inputs::Run(_) | Inputs::Copy { .. } | Inputs::Archive(_) => None,
        };
        let fetched = fetched.as_ref();
        let glimpsed = match self.looks_at() {
            Some(paths) => Glimpse::of(&site.layers, &self.below)?.and_then(|glimpse| {
                glimpse.work(&paths, |below, contents| {
                    let (edited, source) = self.edited(site, below, contents, fetched)?.ok_or(Failure::Lost(super::Lost::Nothing))?;
                    Ok((edited.above, (edited.origins, source)))
                })
            }),
            None => None,
        };
        let (below, above, origins, source) = match glimpsed {
            Some((below, above, (origins, source))) => (Arc::new(below), above, origins, source),
            None => {
                let below = site.layers.tree(&self.below)?;
                let contents = site.layers.contents(&self.below);
                let Some((edited, source)) = self.edited(site, &below, &contents, fetched)? else { return Ok(None) };
                (below, edited.above, edited.origins, source)
            }
        };
        let difference = Difference::between(&below, &above).dated(&below, site.epoch);
        refuse_reserved(&difference)?;
        if difference.is_empty() {
            return Ok(None);
        }
        let fingerprint = site.layers.put_difference(&difference)?;
        if !site.layers.has_files(&fingerprint)? {
            let contents = StepContents { site, origins: &origins, source, below: &self.below, difference: &difference };
            match wanted {
                Wanted { directory: false, blob: Some(profile) } => {
                    packed::pack(site.outside, &self.step.label, &difference, &contents, profile, site.threads)?;
                }
                Wanted { directory: true, blob: _ } | Wanted { directory: false, blob: None } => {
                    keep_difference(site, &difference, &fingerprint, &contents)?;
                }
            }
        }
        Ok(Some(fingerprint))
    }

    /// The directories that the step looks at before all others, where it looks at nothing but what it puts files at or below, and at
    /// the account files for the name of an owner. `None` for a step that may look anywhere.
    fn looks_at(&self) -> Option<BTreeSet<TreePath>> {
        let (places, owners): (Vec<&str>, Vec<Option<&String>>) = match &self.step.kind {
            StepKind::Copy(copy) if !copy.unpack => (vec![&copy.to], vec![copy.owner.as_ref()]),
            StepKind::Write(write) => (vec![&write.path], vec![write.owner.as_ref()]),
            StepKind::MakeDirectory(make) => {
                (make.paths.iter().map(String::as_str).collect(), vec![make.owner.as_ref(), make.owner_of_new.as_ref()])
            }
            StepKind::Fetch(fetch) => (vec![&fetch.to], vec![fetch.owner.as_ref()]),
            StepKind::Copy(_) | StepKind::Run(_) | StepKind::Link(_) | StepKind::Remove(_) | StepKind::Extract(_) | StepKind::Setting => {
                return None;
            }
        };
        let mut paths: BTreeSet<TreePath> = [TreePath::root()].into();
        let has_name = |owner: &String| owner.bytes().any(|byte| !byte.is_ascii_digit() && byte != b':');
        let accounts = owners.into_iter().flatten().any(has_name).then_some("/etc");
        for place in places.into_iter().chain(accounts) {
            let mut at = TreePath::normalised(place.as_bytes()).ok();
            while let Some(path) = at {
                at = path.parent();
                paths.insert(path);
            }
        }
        Some(paths)
    }

    /// What the step makes of the tree below, and where its files come from. `fetched` is the repository that it copies from.
    fn edited<'a>(
        &'a self,
        site: &Site<'_>,
        below: &Tree,
        contents: &dyn Contents,
        fetched: Option<&'a Source>,
    ) -> Result<Option<(Edited, Option<&'a Source>)>, Failure> {
        let accounts = Accounts::new(below, contents);
        let mut source = fetched;
        let edited: Edited = match (&self.step.kind, &self.inputs) {
            (StepKind::Copy(copy), Inputs::Copy { source: from, selection }) => {
                source = Some(from);
                let made;
                let selection = match selection {
                    Some(selection) => selection,
                    None => {
                        made = select(site, copy, from)?;
                        &made
                    }
                };
                let mut unpack = |at: &TreePath, content: &Content, to: &[u8], editor: &mut Editor, origins: &mut steps::Origins| {
                    extract::unpack(site, copy, (from, at, content), to, &accounts, (editor, origins))
                };
                copy::copy::<Failure>(copy, selection, below, &accounts, &SourceContents { site, source: from }, &mut unpack)?
            }
            (StepKind::Copy(copy), Inputs::Git(_)) => {
                let Some(from) = fetched else { return Ok(None) };
                let selection = select(site, copy, from)?;
                let mut never = |_: &TreePath, _: &Content, _: &[u8], _: &mut Editor, _: &mut steps::Origins| Ok(false);
                copy::copy::<Failure>(copy, &selection, below, &accounts, &SourceContents { site, source: from }, &mut never)?
            }
            (StepKind::Write(write), _) => steps::write::write(write, below, &accounts)?,
            (StepKind::MakeDirectory(make), _) => steps::make_directory::make_directory(make, below, &accounts)?,
            (StepKind::Link(link), _) => steps::link::link(link, below)?,
            (StepKind::Remove(remove), _) => steps::remove::remove(remove, below)?,
            (StepKind::Fetch(fetch), _) => fetch::fetch(site, fetch, below, &accounts)?,
            (StepKind::Extract(extract), Inputs::Archive(archive)) => extract::extract(site, extract, archive, below, &accounts)?,
            (StepKind::Run(_) | StepKind::Setting | StepKind::Copy(_) | StepKind::Extract(_), _) => return Ok(None),
        };
        Ok(Some((edited, source)))
    }
}
