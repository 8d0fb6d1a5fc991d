//! What the steps of a plan name in its build contexts: a context that was listed in, the paths of it that are to be read out.
//!
//! All of it is known before the first step, so that a context is read at once, and what no step names is not read.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::shown_at;
use super::steps::copy::{self, Following};
use crate::plan::{Plan, Taking, TreeSource};
use crate::tree::{LastLink, Node, Tree, TreePath};

/// What is taken, by the names of the contexts.
#[derive(Debug, Default)]
pub(super) struct Taken(BTreeMap<String, Words>);

/// What is taken of one context, each thing once, however many steps name it.
#[derive(Debug, Default)]
struct Words {
    copied: BTreeSet<(String, Following)>,
    shown: BTreeSet<String>,
    archives: BTreeSet<String>,
}

impl Taken {
    /// What the steps of a plan take.
    pub(super) fn by(plan: &Plan) -> Taken {
        let mut taken = Taken::default();
        for (source, taking) in plan.stages.iter().flat_map(|stage| &stage.steps).flat_map(|step| step.kind.takes()) {
            let words = match source {
                TreeSource::Context(name) => taken.0.entry(name.clone()).or_default(),
                TreeSource::Stage(_) | TreeSource::Image(_) | TreeSource::Git(_) => continue,
            };
            match taking {
                Taking::Copied { sources, exclude } => {
                    let following = if exclude.is_empty() { Following::AllLinks } else { Following::SomeLinks };
                    words.copied.extend(sources.iter().map(|word| (word.clone(), following)));
                }
                Taking::Shown(path) => words.shown.extend([path.to_owned()]),
                Taking::Archive(path) => words.archives.extend([path.to_owned()]),
            }
        }
        taken
    }

    /// The paths of a context's tree that steps take, or that are above what they take. Of a step that will fail for want of something, none;
    /// it says so when its turn comes.
    pub(super) fn of(&self, context: &str, tree: &Tree) -> BTreeSet<TreePath> {
        let mut paths = BTreeSet::new();
        if let Some(Words { copied, shown, archives }) = self.0.get(context) {
            paths.extend(copied.iter().flat_map(|(word, following)| copy::named(word, *following, tree)));
            paths.extend(shown.iter().map(|path| shown_at(tree, path)));
            let archives = archives.iter().filter_map(|path| tree.resolve(path.as_bytes(), LastLink::Follow).ok());
            paths.extend(archives.filter(|at| matches!(tree.get(at), Some(Node::File(_)))));
        }
        paths
    }
}
