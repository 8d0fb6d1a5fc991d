//! A plan → the contexts and secrets that whoever asked for it must have.

use std::collections::BTreeMap;

use super::{ArchiveSource, Base, BaseImage, FirstContents, MountKind, Plan, StageId, StepKind, TreeSource};
use crate::diagnostic::Span;

/// A secret that a plan uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeededSecret {
    /// Where the spec first names it.
    pub span: Span,
    /// Whether the build fails without it.
    pub required: bool,
}

impl Plan {
    /// The image that a stage begins with, through the stages that it stands on; `None` where that is nothing.
    #[must_use]
    pub fn base_image(&self, stage: StageId) -> Option<&BaseImage> {
        let mut stage = self.stages.get(stage.0)?;
        // Each stage stands on an earlier one.
        for _ in 0..self.stages.len() {
            match &stage.base {
                Base::Image(image) => return Some(image),
                Base::Stage(below) => stage = self.stages.get(below.0)?,
                Base::Scratch => return None,
            }
        }
        None
    }

    /// The names of all build contexts that are read, with where each is first named; the empty name is the default one.
    #[must_use]
    pub fn contexts(&self) -> BTreeMap<&str, Span> {
        let mut contexts = BTreeMap::new();
        for step in self.stages.iter().flat_map(|stage| &stage.steps) {
            for tree in step.kind.trees() {
                match tree {
                    TreeSource::Context(name) => {
                        contexts.entry(name.as_str()).or_insert(step.span);
                    }
                    TreeSource::Stage(_) | TreeSource::Image(_) | TreeSource::Git(_) => {}
                }
            }
        }
        contexts
    }

    /// All secrets that are mounted, by name.
    #[must_use]
    pub fn secrets(&self) -> BTreeMap<&str, NeededSecret> {
        let mut secrets: BTreeMap<&str, NeededSecret> = BTreeMap::new();
        for step in self.stages.iter().flat_map(|stage| &stage.steps) {
            let StepKind::Run(run) = &step.kind else {
                continue;
            };
            for mount in &run.mounts {
                match &mount.kind {
                    MountKind::Secret { id, required, .. } | MountKind::SecretEnv { id, required } => {
                        let needed = secrets.entry(id).or_insert(NeededSecret { span: mount.span, required: false });
                        needed.required |= required;
                    }
                    MountKind::Cache { .. } | MountKind::From { .. } | MountKind::Ssh { .. } | MountKind::Tmpfs { .. } => {}
                }
            }
        }
        secrets
    }
}

/// What a step takes from a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking<'p> {
    /// It copies what these paths and patterns name, without what others leave out.
    Copied {
        /// Those that name something.
        sources: &'p [String],
        /// Those that leave something out.
        exclude: &'p [String],
    },
    /// A mount shows what is at the path, or begins with it.
    Shown(&'p str),
    /// The archive at the path is unpacked.
    Archive(&'p str),
}

impl StepKind {
    /// The trees that it reads files from.
    #[must_use]
    pub fn trees(&self) -> Vec<&TreeSource> {
        self.takes().into_iter().map(|(tree, _)| tree).collect()
    }

    /// What it takes, and from which tree.
    #[must_use]
    pub fn takes(&self) -> Vec<(&TreeSource, Taking<'_>)> {
        match self {
            StepKind::Copy(copy) => vec![(&copy.from, Taking::Copied { sources: &copy.sources, exclude: &copy.exclude })],
            StepKind::Extract(extract) => match &extract.from {
                ArchiveSource::File { from, path } => vec![(from, Taking::Archive(path))],
                ArchiveSource::Url(_) => Vec::new(),
            },
            StepKind::Run(run) => {
                run.mounts
                    .iter()
                    .filter_map(|mount| match &mount.kind {
                        MountKind::From { source, path, access: _ }
                        | MountKind::Cache { first: Some(FirstContents { source, path }), .. } => Some((source, Taking::Shown(path))),
                        MountKind::Cache { first: None, .. }
                        | MountKind::Secret { .. }
                        | MountKind::SecretEnv { .. }
                        | MountKind::Ssh { .. }
                        | MountKind::Tmpfs { .. } => None,
                    })
                    .collect()
            }
            StepKind::Write(_)
            | StepKind::MakeDirectory(_)
            | StepKind::Link(_)
            | StepKind::Remove(_)
            | StepKind::Fetch(_)
            | StepKind::Setting => Vec::new(),
        }
    }
}
