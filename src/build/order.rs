//! The parts of a plan's stages, and what each of them needs to be done before it.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{Base, Plan, StageId, TreeSource};

/// What the schedule orders: a stage's base, each of its steps, and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Node {
    pub(super) stage: StageId,
    pub(super) part: Part,
}

/// A part of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Base,
    Step(usize),
    End,
}

/// What each part needs: the one before it, and the ends of the stages that it names.
pub(super) fn needs(plan: &Plan) -> BTreeMap<Node, BTreeSet<Node>> {
    let end = |stage| Node { stage, part: Part::End };
    let mut needs = BTreeMap::new();
    for (index, stage) in plan.stages.iter().enumerate() {
        let id = StageId(index);
        let base = match stage.base {
            Base::Stage(base) => [end(base)].into(),
            Base::Scratch | Base::Image(_) => BTreeSet::new(),
        };
        let mut last = Node { stage: id, part: Part::Base };
        needs.insert(last, base);
        for (number, step) in stage.steps.iter().enumerate() {
            let node = Node { stage: id, part: Part::Step(number) };
            let stages = step.kind.trees().into_iter().filter_map(|source| match source {
                TreeSource::Stage(stage) => Some(end(*stage)),
                TreeSource::Context(_) | TreeSource::Image(_) | TreeSource::Git(_) => None,
            });
            needs.insert(node, stages.chain([last]).collect());
            last = node;
        }
        needs.insert(end(id), [last].into());
    }
    needs
}
