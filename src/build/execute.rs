//! One step: its key, the record that answers it, or the work and a new record.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lapstrake_cache::{Fingerprint, Shelf};
use serde::{Deserialize, Serialize};

use super::Failure;
use super::accounts::Accounts;
use super::claims::Claim;
use super::elsewhere::ToldResult;
use super::export::{Ages, Job, News};
use super::glimpse::Glimpse;
use super::key::Surroundings;
use super::packed::{self, Packing};
use super::parts::{self, Named, ToldPart};
use super::preimage::Preimage;
use super::site::Site;
use super::sources::{Source, SourceContents, Sources, StepContents, keep_difference};
use super::state::{LayerName, State};
use super::steps::copy::{self, Selection};
use super::steps::run::Shown;
use super::steps::{self, Edited, extract, fetch};
use super::wanted::ForImage;
use crate::event::TaskId;
use crate::image::Platform;
use crate::layer::Profile;
use crate::plan::{Copy, FirstContents, Git, MountKind, Run, Step, StepKind, TreeSource};
use crate::remote::Moment;
use crate::sandbox::Rung;
use crate::tree::{Content, Contents, Difference, Editor, Tree, TreePath};

/// Results of steps by key.
const ACTIONS: Shelf = Shelf::named("actions");
/// Pre-images of keys, by key.
pub(super) const PREIMAGES: Shelf = Shelf::named("preimages");
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
    /// When the work was done; `None` where there was none.
    pub(super) made: Option<Moment>,
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
pub(super) struct Wanted<'w> {
    /// A directory, since a later step runs on it or takes files from it.
    pub(super) directory: bool,
    /// A blob, for an image.
    pub(super) image: Option<&'w ForImage>,
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
    Run {
        shown: Shown,
        /// What of it is known by names that were only told.
        told: Vec<ToldPart>,
    },
    Copy {
        source: Source,
        named: Named,
        selection: Option<Selection>,
    },
    /// Known by its commit: it is fetched only where no record answers.
    Git(&'p Git),
    Archive(extract::Archive),
}

/// What a step brings along. It is had before the step is done, however often that is.
enum Brought {
    /// Nothing, or only what its words say.
    Nothing,
    /// What a copy copies.
    Copied { source: Source, selection: Selection },
    /// The file that is fetched.
    Downloaded(Content),
}

/// The body of an action's record. Adding a field is a new version of the shelf.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// The difference, in hexadecimal digits; missing where nothing changed.
    difference: Option<String>,
    /// The rung that the command ran on.
    rung: Option<String>,
    /// What it was made from that nobody here has seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    claims: Vec<Claim>,
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
            let (shown, told) = shown(site, sources, run)?;
            (around.run(run, &shown.names), Inputs::Run { shown, told })
        }
        StepKind::Copy(copy @ Copy { from: TreeSource::Git(git), .. }) => (around.git(copy, git), Inputs::Git(git)),
        StepKind::Copy(copy) => {
            let source = sources.source(site, &copy.from)?;
            let (named, selection) = parts::selected(site, copy, &source)?;
            (around.copy(copy, named.name), Inputs::Copy { source, named, selection })
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
fn shown(site: &Site<'_>, sources: &Sources, run: &Run) -> Result<(Shown, Vec<ToldPart>), Failure> {
    let mut shown = Shown::default();
    let mut all_told = Vec::new();
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
        let (name, told) = parts::part(site, &state, path, &parts::place(source))?;
        shown.names.insert(mount.at.clone(), name);
        shown.states.insert(mount.at.clone(), state);
        all_told.extend(told);
    }
    Ok((shown, all_told))
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
        let Some(ToldResult { layer, rung, made }) = told else { return Ok(None) };
        // The record stays where it is; what its key means is known here.
        site.outside.store.put_record(&PREIMAGES, &self.preimage.key(), &self.preimage.encode())?;
        Ok(Some(self.came(layer, (Answered::Cached, made), rung)))
    }

    fn lookup_here(&self, site: &Site<'_>) -> Result<Option<Came>, Failure> {
        let Some((body, age)) = site.outside.store.record_and_age(&ACTIONS, &self.preimage.key())? else { return Ok(None) };
        let age = Duration::from_secs(age.seconds);
        let made = Moment::ago(age);
        if self.refresh().is_some_and(|refresh| age > refresh) {
            return Ok(None);
        }
        let Ok(Record { difference, rung, claims }) = serde_json::from_slice(&body) else { return Ok(None) };
        for claim in claims {
            if !claim.holds(&site.layers, &self.below)? {
                return Ok(None);
            }
        }
        let layer = match difference.as_deref().map(str::parse::<Fingerprint>) {
            None => None,
            Some(Ok(fingerprint)) if site.layers.has_files(&fingerprint)? => Some(fingerprint),
            Some(Ok(_) | Err(_)) => return Ok(None),
        };
        Ok(Some(self.came(layer, (Answered::Cached, made), rung)))
    }

    /// Offers what the action came to to others.
    pub(super) fn export(&self, site: &Site<'_>, came: &Came, wanted: Wanted<'_>) {
        let news = match came.answered {
            Answered::Worked => News::Made,
            Answered::Cached | Answered::Nothing => News::Known,
        };
        site.exports.send(Job::Result {
            preimage: Box::new(self.preimage.clone()),
            state: came.state.clone(),
            layer: came.layer,
            rung: came.rung.clone(),
            profile: wanted.image.map_or(Profile::Gzip1, |image| image.profile),
            news,
            made: came.made.unwrap_or_else(|| Moment::ago(Duration::ZERO)),
            ages: if self.refresh().is_some() { Ages::Yes } else { Ages::No },
        });
    }

    /// After how long the work is done again.
    pub(super) fn refresh(&self) -> Option<Duration> {
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

    fn came(&self, layer: Option<Fingerprint>, (answered, made): (Answered, Moment), rung: Option<String>) -> Came {
        let state = match layer {
            Some(layer) => self.below.with(LayerName::Own(layer)),
            None => self.below.clone(),
        };
        Came { state, layer, answered, rung, made: Some(made) }
    }

    /// Keeps the names of the files that a copy selects, so that a later difference can be told file by file.
    pub(super) fn remember_selection(&self, site: &Site<'_>) -> Result<(), Failure> {
        if let Inputs::Copy { selection: Some(selection), .. } = &self.inputs {
            let listing = Difference::whole(&selection.as_tree());
            let (_, length) = listing.named();
            site.outside.store.put_record_with(&SELECTIONS, &selection.fingerprint(), length, |out| listing.encode_to(out))?;
        }
        Ok(())
    }

    /// Does the work and writes the record.
    pub(super) fn work(&self, site: &Site<'_>, (task, label): (TaskId, &str), wanted: Wanted<'_>) -> Result<Came, Failure> {
        let (layer, rung, claims) = match (&self.step.kind, &self.inputs) {
            (StepKind::Run(run), Inputs::Run { shown, told }) => {
                for part in told {
                    part.check(site)?;
                }
                // Its layers are unpacked for the command in any case.
                for state in shown.states.values().chain([&self.below]) {
                    site.layers.make_sure(state)?;
                }
                let ran = steps::run::run(site, (task, label), run, &self.below, shown)?;
                let layer = (!ran.difference.is_empty()).then(|| ran.difference.fingerprint());
                (layer, Some(ran.rung.to_owned()), Vec::new())
            }
            (_, _) => {
                let (layer, claims) = self.edit(site, wanted)?;
                (layer, None, claims)
            }
        };
        let record = Record { difference: layer.map(|layer| layer.hex()), rung: rung.clone(), claims };
        let key = self.preimage.key();
        let store = site.outside.store;
        store.put_record(&PREIMAGES, &key, &self.preimage.encode())?;
        self.remember_selection(site)?;
        // The record comes last: whoever finds it finds everything it speaks of.
        let body = serde_json::to_vec(&record)
            .map_err(|error| Failure::File { path: store.path().to_path_buf(), source: std::io::Error::other(error) })?;
        store.put_record(&ACTIONS, &key, &body)?;
        Ok(self.came(layer, (Answered::Worked, Moment::ago(Duration::ZERO)), rung))
    }

    /// The work of every step that runs no command; with what only caches have told of what is below.
    fn edit(&self, site: &Site<'_>, wanted: Wanted<'_>) -> Result<(Option<Fingerprint>, Vec<Claim>), Failure> {
        let brought = self.bring(site)?;
        let glimpsed = match self.looks_at() {
            Some(paths) => Glimpse::of(&site.layers, &self.below)?.and_then(|glimpse| {
                glimpse.work(&paths, |below, contents| {
                    let edited = self.edited(site, below, contents, &brought)?.ok_or(Failure::Lost(super::Lost::Nothing))?;
                    Ok((edited.above, (edited.origins, glimpse.claims().to_vec())))
                })
            }),
            None => None,
        };
        let (below, above, (origins, claims)) = match glimpsed {
            Some((below, above, made)) => (Arc::new(below), above, made),
            None => {
                let below = site.layers.tree(&self.below)?;
                let contents = site.layers.contents(&self.below);
                let Some(edited) = self.edited(site, &below, &contents, &brought)? else { return Ok((None, Vec::new())) };
                (below, edited.above, (edited.origins, Claim::of_tree(&site.layers, &self.below)))
            }
        };
        let source = match &brought {
            Brought::Copied { source, .. } => Some(source),
            Brought::Nothing | Brought::Downloaded(_) => None,
        };
        let difference = Difference::between(&below, &above).dated(&below, site.epoch);
        refuse_reserved(&difference)?;
        if difference.is_empty() {
            return Ok((None, claims));
        }
        let fingerprint = site.layers.put_difference(&difference)?;
        if !site.layers.has_files(&fingerprint)? {
            let contents = StepContents { site, origins: &origins, source, below: &self.below };
            match wanted {
                Wanted { directory: false, image: Some(ForImage { name: _, profile, tags }) } => {
                    let label = &self.step.label;
                    let packing = Packing {
                        label,
                        lineage: &[label],
                        difference: &fingerprint,
                        profile: *profile,
                        threads: site.threads,
                        ahead: site.ahead(tags),
                    };
                    packed::pack(site.outside, packing, &difference, &contents)?;
                }
                Wanted { directory: true, image: _ } | Wanted { directory: false, image: None } => {
                    keep_difference(site, &difference, &fingerprint, &contents)?;
                }
            }
        }
        Ok((Some(fingerprint), claims))
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

    /// Gets what the step brings along. From here on the key is known to name what is copied.
    fn bring(&self, site: &Site<'_>) -> Result<Brought, Failure> {
        let copy = match &self.step.kind {
            StepKind::Fetch(fetch) => return Ok(Brought::Downloaded(fetch::download(site, fetch)?)),
            StepKind::Copy(copy) => copy,
            StepKind::Run(_)
            | StepKind::Write(_)
            | StepKind::MakeDirectory(_)
            | StepKind::Link(_)
            | StepKind::Remove(_)
            | StepKind::Extract(_)
            | StepKind::Setting => return Ok(Brought::Nothing),
        };
        match &self.inputs {
            Inputs::Copy { source, named: _, selection: Some(selection) } => {
                Ok(Brought::Copied { source: source.clone(), selection: selection.clone() })
            }
            Inputs::Copy { source, named, selection: None } => {
                let selection = parts::select(site, copy, source)?;
                if let Source::State(state) = source {
                    named.settle(site, state, &selection.fingerprint())?;
                }
                Ok(Brought::Copied { source: source.clone(), selection })
            }
            Inputs::Git(git) => {
                let source = Source::State(site.repositories.state(site, git)?);
                let selection = parts::select(site, copy, &source)?;
                Ok(Brought::Copied { source, selection })
            }
            Inputs::None | Inputs::Run { .. } | Inputs::Archive(_) => Ok(Brought::Nothing),
        }
    }

    /// What the step makes of the tree below.
    fn edited(&self, site: &Site<'_>, below: &Tree, contents: &dyn Contents, brought: &Brought) -> Result<Option<Edited>, Failure> {
        let accounts = Accounts::new(below, contents);
        let edited: Edited = match (&self.step.kind, brought) {
            (StepKind::Copy(copy), Brought::Copied { source, selection }) => {
                let mut unpack = |at: &TreePath, content: &Content, to: &[u8], editor: &mut Editor, origins: &mut steps::Origins| {
                    match &self.inputs {
                        // What git has is not looked into.
                        Inputs::Git(_) => Ok(false),
                        Inputs::None | Inputs::Run { .. } | Inputs::Copy { .. } | Inputs::Archive(_) => {
                            extract::unpack(site, copy, (source, at, content), to, &accounts, (editor, origins))
                        }
                    }
                };
                copy::copy::<Failure>(copy, selection, below, &accounts, &SourceContents { site, source }, &mut unpack)?
            }
            (StepKind::Write(write), _) => steps::write::write(write, below, &accounts)?,
            (StepKind::MakeDirectory(make), _) => steps::make_directory::make_directory(make, below, &accounts)?,
            (StepKind::Link(link), _) => steps::link::link(link, below)?,
            (StepKind::Remove(remove), _) => steps::remove::remove(remove, below)?,
            (StepKind::Fetch(fetch), Brought::Downloaded(content)) => fetch::put(fetch, *content, below, &accounts)?,
            (StepKind::Extract(extract), _) => match &self.inputs {
                Inputs::Archive(archive) => extract::extract(site, extract, archive, below, &accounts)?,
                Inputs::None | Inputs::Run { .. } | Inputs::Copy { .. } | Inputs::Git(_) => return Ok(None),
            },
            (StepKind::Run(_) | StepKind::Setting | StepKind::Copy(_) | StepKind::Fetch(_), _) => return Ok(None),
        };
        Ok(Some(edited))
    }
}
