//! The ONBUILD instructions of a base image in, steps and settings for the stage that starts from it out.

use std::collections::{BTreeMap, BTreeSet};

use super::arguments::{Arguments, Naming};
use super::instruction::{self, Instruction};
use super::lines;
use super::lowering::{InProgress, Lowering};
use super::variables::Root;
use super::{Options, diagnostics as say};
use crate::diagnostic::{Diagnosed, Severity, SourceId, Span};
use crate::spec::{Argument, Base, Healthcheck, Name, Spanned, Stage, Step, Template, Text};

/// What the ONBUILD instructions of a base come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Triggers {
    /// Steps to stand before the stage's own, settings among them.
    pub steps: Vec<Spanned<Step>>,
    /// Stages that the steps take files from, by names that are theirs alone.
    pub stages: BTreeMap<Name, Spanned<Stage>>,
    /// Arguments that they declare, beside those of the spec. All that have no default are optional.
    pub args: BTreeMap<Name, Spanned<Argument>>,
    /// The arguments that every later command sees, in the order of their declarations.
    pub seen: Vec<SeenArgument>,
    /// What they say of the config, where the image says nothing itself.
    pub entrypoint: Option<Spanned<Vec<Text>>>,
    /// As [`Triggers::entrypoint`]; an empty one takes the base's away.
    pub cmd: Option<Spanned<Vec<Text>>>,
    /// Ports beside the base's.
    pub expose: Vec<Text>,
    /// Volumes beside the base's.
    pub volumes: Vec<Text>,
    /// Labels beside the base's.
    pub labels: BTreeMap<String, Text>,
    /// As [`Triggers::entrypoint`].
    pub healthcheck: Option<Spanned<Healthcheck>>,
    /// As [`Triggers::entrypoint`].
    pub stop_signal: Option<Text>,
}

/// An argument that later commands see as a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenArgument {
    /// Its name.
    pub name: String,
    /// What a command's environment has; `None` where it has none or has it anyway.
    pub value: Option<Text>,
    /// What the history of a command says it is worth.
    pub history: Template,
}

/// Reads the ONBUILD instructions that a base image's config holds.
///
/// `stage` is the stage that starts from the base, `known` are the stages that can be named by `--from`, and `at` is the place that all
/// messages and values have: that of the stage's base. `arguments` are those of the spec: in a stage `A.B`, an `ARG` is the argument `A.NAME`
/// if there is one, and `NAME` if not.
#[must_use]
pub fn triggers(
    texts: &[String],
    stage: &Name,
    known: &[Name],
    arguments: &BTreeSet<Name>,
    options: &Options,
    at: Span,
) -> Diagnosed<Triggers> {
    let mut diagnostics = Vec::new();
    let mut instructions: Vec<Instruction> = Vec::new();
    for text in texts {
        let lines = lines::read(SourceId::NONE, text, &mut |diagnostic| diagnostics.push(diagnostic));
        let [line] = lines.lines.as_slice() else {
            diagnostics.push(say::syntax(at, format!("the base image has `{text}` for ONBUILD, which is not one instruction")));
            continue;
        };
        instructions.extend(instruction::read(line, lines.escape, &mut |diagnostic| diagnostics.push(diagnostic)));
    }
    let naming = match stage.as_str().split_once('.') {
        Some((prefix, _)) => Naming::PrefixedAmong(prefix.to_owned(), arguments.clone()),
        None => Naming::Own,
    };
    let arguments = Arguments::gather(&[], &instructions, '\\', naming);
    let mut triggers = Triggers { args: arguments.declared(), ..Triggers::default() };
    let mut lowering = Lowering::new('\\', options, arguments, &mut diagnostics);
    lowering.serve_triggers(known);
    let mut made = InProgress::new(stage.clone(), at, Spanned::new(Base::Scratch, at), Root::Image);
    instructions.iter().for_each(|instruction| lowering.instruction(&mut made, instruction));
    lowering.settle_triggers(&made, &mut triggers);
    triggers.seen = lowering.seen_later(&made, at);
    triggers.stages = lowering.take_helpers().into_iter().map(|(name, stage)| (name, Spanned::new(stage, at))).collect();
    triggers.steps = made.steps;
    triggers.steps.iter_mut().for_each(|step| step.span = at);
    for diagnostic in &mut diagnostics {
        diagnostic.labels.iter_mut().for_each(|label| label.span = at);
        diagnostic.message = format!("ONBUILD of the base image: {}", diagnostic.message);
    }
    let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    Diagnosed { value: (!failed).then_some(triggers), diagnostics }
}
