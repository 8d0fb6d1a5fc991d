//! The parts of a plan's stages, and what each of them needs to be done before it.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{Base, Plan, Stage, StageId, Step, StepId, StepKind, TreeSource};

/// What the schedule orders. Where several could be begun, those that are less begin first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    /// A part of a stage.
    Part(StageId, Part),
    /// Unpacking a stage's base for this step, which still waits for other stages. Nothing needs it.
    Unpack(StepId),
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
    let end = |stage| Node::Part(stage, Part::End);
    let mut needs = BTreeMap::new();
    for (index, stage) in plan.stages.iter().enumerate() {
        let id = StageId(index);
        let base = match stage.base {
            Base::Stage(base) => [end(base)].into(),
            Base::Scratch | Base::Image(_) => BTreeSet::new(),
        };
        let mut last = Node::Part(id, Part::Base);
        needs.insert(last, base);
        if let Some(step) = first_command_that_waits(stage) {
            needs.insert(Node::Unpack(StepId { stage: id, step }), [last].into());
        }
        for (number, step) in stage.steps.iter().enumerate() {
            let node = Node::Part(id, Part::Step(number));
            needs.insert(node, stages_of(step).map(end).chain([last]).collect());
            last = node;
        }
        needs.insert(end(id), [last].into());
    }
    needs
}

/// The stages that a step names.
fn stages_of(step: &Step) -> impl Iterator<Item = StageId> {
    step.kind.trees().into_iter().filter_map(|source| match source {
        TreeSource::Stage(stage) => Some(*stage),
        TreeSource::Context(_) | TreeSource::Image(_) | TreeSource::Git(_) => None,
    })
}

/// The first command of a stage, where other stages must end before it can begin.
fn first_command_that_waits(stage: &Stage) -> Option<usize> {
    let command = stage.steps.iter().position(|step| matches!(step.kind, StepKind::Run(_)))?;
    stage.steps.iter().take(command + 1).any(|step| stages_of(step).next().is_some()).then_some(command)
}
