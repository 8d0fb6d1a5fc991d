//! Where files come from: contexts, stages and images as trees with a way to their bytes.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use lapstrake_cache::Fingerprint;

use super::Failure;
use super::layers::{Layers, make_root};
use super::once::Once;
use super::site::Site;
use super::state::{LayerName, State};
use super::steps::{Origin, Origins, newlines, parents};
use super::taken::Taken;
use crate::input::{Context, Outside};
use crate::plan::{self, BaseImage, ImageSource, Plan, StageId, TreeSource};
use crate::tree::{Content, Contents, Difference, DirectoryContents, Editor, Modes, Node, Tree, TreePath};

/// A place that files come from.
#[derive(Clone)]
pub(super) enum Source {
    /// A build context, with the modes that its files have on disk.
    Context(Context),
    /// The file system that a stage or an image is.
    State(State),
}

/// Contexts that were read and images that were opened in one build, and the ends of its stages.
pub(super) struct Sources {
    contexts: Once<String, Context>,
    /// What the spec says of contexts.
    context_places: BTreeMap<String, plan::Context>,
    /// What the steps take from contexts.
    taken: Taken,
    /// By name and path in it.
    context_states: Once<(String, String), State>,
    bases: Once<String, State>,
    ends: BTreeMap<StageId, OnceLock<State>>,
}

impl Sources {
    pub(super) fn new(plan: &Plan) -> Sources {
        Sources {
            contexts: Once::default(),
            context_places: plan.context_places.clone(),
            taken: Taken::by(plan),
            context_states: Once::default(),
            bases: Once::default(),
            ends: (0..plan.stages.len()).map(|stage| (StageId(stage), OnceLock::new())).collect(),
        }
    }

    /// Remembers the end of a stage.
    pub(super) fn ended(&self, stage: StageId, state: State) {
        if let Some(end) = self.ends.get(&stage) {
            let _ = end.set(state);
        }
    }

    /// The end of a stage that the schedule has put before.
    pub(super) fn end(&self, stage: StageId) -> State {
        self.ends.get(&stage).and_then(OnceLock::get).cloned().unwrap_or_default()
    }

    /// The bases that were opened.
    pub(super) fn opened(&self) -> Vec<State> {
        self.bases.made()
    }

    /// The place that a step names.
    pub(super) fn source(&self, site: &Site<'_>, source: &TreeSource) -> Result<Source, Failure> {
        match source {
            TreeSource::Context(name) => Ok(Source::Context(self.context(site.outside, name)?)),
            TreeSource::Stage(stage) => Ok(Source::State(self.end(*stage))),
            TreeSource::Image(image) => Ok(Source::State(self.base(site, image)?)),
            TreeSource::Git(git) => Ok(Source::State(site.repositories.state(site, git)?)),
        }
    }

    fn context(&self, outside: &Outside<'_>, name: &str) -> Result<Context, Failure> {
        let said = self.context_places.get(name).cloned().unwrap_or_default();
        self.contexts.get(&name.to_owned(), || Ok(outside.context(name, &said, |tree| self.taken.of(name, tree))?))
    }

    /// What is at a path of the place as a state, for mounts. What is there of a context becomes a layer of its own, in normal form.
    pub(super) fn state(&self, site: &Site<'_>, source: &TreeSource, path: &str) -> Result<State, Failure> {
        let TreeSource::Context(name) = source else {
            return match self.source(site, source)? {
                Source::State(state) => Ok(state),
                Source::Context(_) => Ok(State::default()),
            };
        };
        self.context_states.get(&(name.clone(), path.to_owned()), || {
            let context = self.context(site.outside, name)?;
            let shown = alone(&context.tree, &shown_at(&context.tree, path));
            debug_assert!(Node::Directory(Arc::clone(&shown.root)).is_read(), "nothing is named by what stands for a content");
            let tree = shown.normalised(Modes::ByExecuteBit, site.epoch);
            keep_tree(site, &tree, &DirectoryContents(&*context.handle))
        })
    }

    /// The state that an image is.
    pub(super) fn base(&self, site: &Site<'_>, image: &BaseImage) -> Result<State, Failure> {
        let key = format!("{} {}", image.source, image.digest);
        self.bases.get(&key, || match &image.source {
            ImageSource::Registry(_) | ImageSource::Layout { .. } => {
                let base = site.outside.open_base(image)?;
                Ok(site.layers.know(&base.layers))
            }
            ImageSource::Tar { path } => super::import::archive(site, path, &image.digest),
        })
    }
}

/// Where that is of a context's tree which a mount of a path shows: all of it where links have to be followed to it, or nothing is there.
pub(super) fn shown_at(tree: &Tree, path: &str) -> TreePath {
    let at = TreePath::normalised(path.as_bytes()).unwrap_or_default();
    match tree.get(&at) {
        Some(Node::Directory(_) | Node::File(_) | Node::Special(_)) => at,
        Some(Node::Symlink(_)) | None => TreePath::root(),
    }
}

/// The tree without what is not at the path.
fn alone(tree: &Tree, at: &TreePath) -> Tree {
    let only = || {
        let mut editor = Editor::new(&Layers::nothing());
        editor.make_directories(&[b"/", at.parent()?.as_bytes()].concat(), &parents()).ok()?;
        editor.put(at, tree.get(at)?).ok()?;
        Some(editor.finish())
    };
    only().unwrap_or_else(|| tree.clone())
}

/// Keeps a whole tree as one layer over nothing.
pub(super) fn keep_tree(site: &Site<'_>, tree: &Tree, contents: &dyn Contents) -> Result<State, Failure> {
    let nothing = Layers::nothing();
    let difference = Difference::between(&nothing, tree);
    if difference.is_empty() {
        return Ok(State::default());
    }
    let fingerprint = difference.fingerprint();
    if !site.layers.has_files(&fingerprint)? {
        site.layers.put_difference(&difference)?;
        keep_difference(site, &difference, &fingerprint, contents)?;
    }
    Ok(State::default().with(LayerName::Own(fingerprint)))
}

/// Writes a difference out as a kept directory.
pub(super) fn keep_difference(
    site: &Site<'_>,
    difference: &Difference,
    fingerprint: &Fingerprint,
    contents: &dyn Contents,
) -> Result<(), Failure> {
    let scratch = site.outside.store.scratch()?;
    let path = scratch.path().join("layer");
    let into = make_root(site.workplace, site.outside.store, &path)?;
    crate::tree::checkout_difference(difference, contents, &*into, site.outside.cancel)?;
    site.outside.store.keep(scratch, &path, &site.workplace.shelf(site.outside.store), &fingerprint.hex())?;
    Ok(())
}

/// The bytes of what a step put over a state: its own by origin, the rest from below.
pub(super) struct StepContents<'s, 'e> {
    pub(super) site: &'s Site<'e>,
    pub(super) origins: &'s Origins,
    pub(super) source: Option<&'s Source>,
    pub(super) below: &'s State,
}

impl StepContents<'_, '_> {
    fn source_file(&self, path: &TreePath, content: &Content) -> io::Result<Box<dyn Read + Send>> {
        match self.source {
            Some(source) => open_in(self.site, source, path, content),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "the step has no source")),
        }
    }
}

/// Opens a file of a source.
pub(super) fn open_in(site: &Site<'_>, source: &Source, path: &TreePath, content: &Content) -> io::Result<Box<dyn Read + Send>> {
    match source {
        Source::Context(context) => DirectoryContents(&*context.handle).open(path, content),
        Source::State(state) => site.layers.contents(state).open(path, content),
    }
}

impl Contents for StepContents<'_, '_> {
    fn open(&self, path: &TreePath, content: &Content) -> io::Result<Box<dyn Read + Send>> {
        match self.origins.of(path, content) {
            Some(Origin::Source(from)) => self.source_file(&from, content),
            Some(Origin::SourceLf(from)) => Ok(Box::new(newlines::Lf::new(self.source_file(&from, content)?)?)),
            Some(Origin::Bytes(bytes)) => Ok(Box::new(io::Cursor::new(bytes))),
            Some(Origin::Blob(digest)) => match self.site.outside.store.blob(&digest).map_err(io::Error::other)? {
                Some(blob) => Ok(Box::new(blob.file)),
                None => Err(io::Error::new(io::ErrorKind::NotFound, format!("the blob {digest} is gone from the store"))),
            },
            Some(Origin::Below(from)) => self.site.layers.contents(self.below).open(&from, content),
            None => self.site.layers.contents(self.below).open(path, content),
        }
    }
}

/// The bytes of a source's files.
pub(super) struct SourceContents<'s, 'e> {
    pub(super) site: &'s Site<'e>,
    pub(super) source: &'s Source,
}

impl Contents for SourceContents<'_, '_> {
    fn open(&self, path: &TreePath, content: &Content) -> io::Result<Box<dyn Read + Send>> {
        open_in(self.site, self.source, path, content)
    }
}

/// The tree of a source.
pub(super) fn tree_of(site: &Site<'_>, source: &Source) -> Result<Arc<Tree>, Failure> {
    match source {
        Source::Context(context) => Ok(Arc::new(context.tree.clone())),
        Source::State(state) => site.layers.tree(state),
    }
}
