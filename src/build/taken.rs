//! What the steps of a plan take from its build contexts: a context that was listed in, what of it is to be read out.
//!
//! All of it is known before the first step, so that a context is read at once, in one state, and what no step takes is not read.

use std::collections::BTreeMap;

use super::sources::alone;
use super::steps::copy;
use crate::plan::{ArchiveSource, Copy, FirstContents, MountKind, Plan, StepKind, TreeSource};
use crate::tree::{LastLink, Node, Tree, TreePath};

/// What is taken, by the names of the contexts.
#[derive(Debug, Default)]
pub(super) struct Taken(BTreeMap<String, Vec<Taking>>);

/// What one step or mount takes.
#[derive(Debug)]
enum Taking {
    /// What it copies.
    Copied(Box<Copy>),
    /// What a mount shows.
    Shown(String),
    /// An archive.
    Archive(String),
}

impl Taken {
    /// What the steps of a plan take.
    pub(super) fn by(plan: &Plan) -> Taken {
        let mut taken = Taken::default();
        for step in plan.stages.iter().flat_map(|stage| &stage.steps) {
            match &step.kind {
                StepKind::Copy(copy) => taken.note(&copy.from, || Taking::Copied(Box::new(copy.clone()))),
                StepKind::Extract(extract) => match &extract.from {
                    ArchiveSource::File { from, path } => taken.note(from, || Taking::Archive(path.clone())),
                    ArchiveSource::Url(_) => {}
                },
                StepKind::Run(run) => {
                    for mount in &run.mounts {
                        match &mount.kind {
                            MountKind::From { source, path, .. } | MountKind::Cache { first: Some(FirstContents { source, path }), .. } => {
                                taken.note(source, || Taking::Shown(path.clone()));
                            }
                            MountKind::Cache { first: None, .. }
                            | MountKind::Secret { .. }
                            | MountKind::SecretEnv { .. }
                            | MountKind::Ssh { .. }
                            | MountKind::Tmpfs { .. } => {}
                        }
                    }
                }
                StepKind::Write(_)
                | StepKind::MakeDirectory(_)
                | StepKind::Link(_)
                | StepKind::Remove(_)
                | StepKind::Fetch(_)
                | StepKind::Setting => {}
            }
        }
        taken
    }

    fn note(&mut self, source: &TreeSource, taking: impl FnOnce() -> Taking) {
        match source {
            TreeSource::Context(name) => self.0.entry(name.clone()).or_default().push(taking()),
            TreeSource::Stage(_) | TreeSource::Image(_) | TreeSource::Git(_) => {}
        }
    }

    /// What is taken of a context's tree: what is at some of its paths, or some of that. Of a step that will fail for want of something,
    /// nothing; it says so when its turn comes.
    pub(super) fn of(&self, context: &str, tree: &Tree) -> Vec<(TreePath, Node)> {
        let taken = self.0.get(context).into_iter().flatten();
        taken
            .flat_map(|taking| match taking {
                Taking::Copied(copy) => copy::select(copy, tree, "").map(|selection| selection.parts()).unwrap_or_default(),
                Taking::Shown(path) => {
                    let shown = alone(tree, path).unwrap_or_else(|| tree.clone());
                    vec![(TreePath::root(), Node::Directory(shown.root))]
                }
                Taking::Archive(path) => {
                    let at = tree.resolve(path.as_bytes(), LastLink::Follow).ok();
                    at.and_then(|at| Some((at.clone(), tree.get(&at)?))).into_iter().collect()
                }
            })
            .collect()
    }
}
