//! Parts of states → their names, for keys: from the store, from a shared cache, or from the files themselves.
//!
//! A name that only a cache told serves to look results up, and is compared with the files before anything is kept under a key that has it
//! in it. It is never passed on as our own word.

use lapstrake_cache::{Fingerprint, Shelf};

use super::export::{Job, News};
use super::key::mode_value;
use super::site::Site;
use super::sources::{Source, tree_of};
use super::state::State;
use super::steps;
use super::steps::copy::{self, Selection};
use super::{Failure, Lost};
use crate::plan::{Copy, Missing, TreeSource};
use crate::remote::Member;
use crate::tree::{Directory, LastLink, Node, Tree};

/// Names of parts of states, so that an unchanged build need not look into them.
const PARTS: Shelf = Shelf::named("parts");

/// The name of a part of a state.
pub(super) struct Named {
    /// It.
    pub(super) name: Fingerprint,
    /// What was asked and who answered, where nobody has looked at the files.
    told: Option<(Question, Member)>,
}

impl Named {
    /// A name that was made from the files.
    fn own(name: Fingerprint) -> Named {
        Named { name, told: None }
    }

    /// Takes the name that the files have. Where it is not the one that was told, all that was asked with that is to be asked anew, and
    /// the cache has lost its word.
    pub(super) fn settle(&self, site: &Site<'_>, state: &State, name: &Fingerprint) -> Result<(), Failure> {
        let Some((question, member)) = &self.told else { return Ok(()) };
        question.keep(site, state, name)?;
        if *name == self.name {
            return Ok(());
        }
        if let Some(elsewhere) = site.layers.elsewhere() {
            elsewhere.doubt_part(*member, &question.key());
        }
        Err(Failure::Lost(Lost::Part(self.name)))
    }
}

/// What a mount shows, by a name that a cache told.
pub(super) struct ToldPart {
    named: Named,
    state: State,
    path: String,
    place: String,
}

impl ToldPart {
    /// Compares the name with the files, which are about to be needed anyway.
    pub(super) fn check(&self, site: &Site<'_>) -> Result<(), Failure> {
        site.layers.make_sure(&self.state)?;
        let tree = site.layers.tree(&self.state)?;
        self.named.settle(site, &self.state, &name_in(&tree, &self.path, &self.place)?)
    }
}

/// The name of a file or directory of a state, times included; and what has to be checked before anything is made with it.
pub(super) fn part(site: &Site<'_>, state: &State, path: &str, place: &str) -> Result<(Fingerprint, Option<ToldPart>), Failure> {
    let state_name = state.name();
    let question = Question::new("lapstrake-part/2", [state_name.as_bytes().as_slice(), path.as_bytes()]);
    let named = named(site, question, state, || name_in(&*site.layers.tree(state)?, path, place))?;
    let name = named.name;
    let told = named.told.is_some().then(|| ToldPart { named, state: state.clone(), path: path.to_owned(), place: place.to_owned() });
    Ok((name, told))
}

fn name_in(tree: &Tree, path: &str, place: &str) -> Result<Fingerprint, Failure> {
    let at = tree.resolve(path.as_bytes(), LastLink::Follow).map_err(steps::StepError::from)?;
    let missing = || steps::StepError::NoSource { source_path: path.to_owned(), place: place.to_owned(), nearest: None };
    match tree.get(&at).ok_or_else(missing)? {
        Node::Directory(_) => Ok(tree.subtree(&at).unwrap_or_else(|| tree.clone()).fingerprint()),
        // A directory around it has the digest of all that matters in it.
        node @ (Node::File(_) | Node::Symlink(_) | Node::Special(_)) => {
            Ok(Directory::new(steps::parents(), [(copy::root_name(), node)].into()).fingerprint())
        }
    }
}

/// The name of what a copy selects; the selection itself where it had to be made.
pub(super) fn selected(site: &Site<'_>, copy: &Copy, source: &Source) -> Result<(Named, Option<Selection>), Failure> {
    match source {
        Source::Context(_) => {
            let selection = select(site, copy, source)?;
            Ok((Named::own(selection.fingerprint()), Some(selection)))
        }
        Source::State(state) => {
            let words: Vec<&[u8]> = copy.sources.iter().map(String::as_bytes).collect();
            let exclude: Vec<&[u8]> = copy.exclude.iter().map(String::as_bytes).collect();
            let mode = mode_value(&copy.mode).encoded();
            let words = Question::new("words", words).key();
            let exclude = Question::new("words", exclude).key();
            let state_name = state.name();
            // Where nothing may be selected, the name is that of nothing; where something must be, there is none.
            let missing: &[u8] = match copy.missing {
                Missing::Fail => b"fail",
                Missing::Ignore => b"ignore",
            };
            let parts: [&[u8]; 5] = [state_name.as_bytes(), words.as_bytes(), exclude.as_bytes(), &mode, missing];
            let question = Question::new("lapstrake-selected/3", parts);
            let named = named(site, question, state, || Ok(select(site, copy, source)?.fingerprint()))?;
            Ok((named, None))
        }
    }
}

/// The files that a copy selects.
pub(super) fn select(site: &Site<'_>, copy: &Copy, source: &Source) -> Result<Selection, Failure> {
    let tree = tree_of(site, source)?;
    Ok(copy::select(copy, &tree, &place(&copy.from))?)
}

/// Where files come from, for messages.
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
struct Question(Vec<u8>);

impl Question {
    fn new<'a>(domain: &'a str, parts: impl IntoIterator<Item = &'a [u8]>) -> Question {
        let mut bytes = Vec::new();
        for part in std::iter::once(domain.as_bytes()).chain(parts) {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        Question(bytes)
    }

    fn key(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }

    /// Keeps a name that was made from the files of a state, and offers it to others; unless what is in the state was only told.
    fn keep(&self, site: &Site<'_>, state: &State, name: &Fingerprint) -> Result<(), Failure> {
        if !site.layers.is_told(state) {
            site.outside.store.put_record(&PARTS, &self.key(), name.as_bytes())?;
            self.export(site, name, News::Made);
        }
        Ok(())
    }

    fn export(&self, site: &Site<'_>, name: &Fingerprint, news: News) {
        site.exports.send(Job::Part { key: self.key(), preimage: self.0.clone(), name: *name, news });
    }
}

fn named(
    site: &Site<'_>,
    question: Question,
    state: &State,
    work: impl FnOnce() -> Result<Fingerprint, Failure>,
) -> Result<Named, Failure> {
    let key = question.key();
    if let Some(bytes) = site.outside.store.record(&PARTS, &key)?
        && let Ok(bytes) = <[u8; 32]>::try_from(bytes.as_slice())
    {
        let name = Fingerprint::from_bytes(bytes);
        question.export(site, &name, News::Made);
        return Ok(Named::own(name));
    }
    if let Some((name, member)) = site.layers.elsewhere().and_then(|elsewhere| elsewhere.part(&key, &question.0)) {
        question.export(site, &name, News::Known);
        return Ok(Named { name, told: Some((question, member)) });
    }
    let name = work()?;
    question.keep(site, state, &name)?;
    Ok(Named::own(name))
}
