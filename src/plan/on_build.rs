//! The `ONBUILD` instructions of the bases that were found → the spec with what they say, for stages that carry them out.
//!
//! Their steps stand before the stage's own; what they say of an image's config holds where the image says nothing itself.
//! Docker image specification 1.3, "OnBuild"; Dockerfile reference, "ONBUILD".

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostics as say;
use super::outside;
use super::select::select;
use super::sink::Sink;
use super::target::{Found, Target};
use crate::frontend::dockerfile::{Options, SeenArgument, Triggers, triggers};
use crate::spec::{Base, Change, INHERITED, Image, Name, OnBuild, Piece, Setting, Spanned, Spec, Stage, Template, Text, Verb};

/// A spec with all that the `ONBUILD` instructions of its bases say.
pub(super) struct Expanded {
    pub(super) spec: Spec,
    /// The arguments that they declare.
    pub(super) declared: BTreeSet<Name>,
}

/// The spec with all that the bases' instructions say; `None` where no needed stage carries out any.
pub(super) fn expand(spec: &Spec, target: &Target, found: &Found, sink: &mut Sink) -> Option<Expanded> {
    let mut instructions: BTreeMap<&str, &Vec<String>> = BTreeMap::new();
    // What is wrong with the spec itself is said when it is planned.
    let mut unsaid = Sink::default();
    let selection = select(spec, target, &mut unsaid);
    for node in &selection.nodes {
        let (Some(OnBuild::Run), Base::Image(source)) = (node.stage.onbuild.as_ref().map(|onbuild| onbuild.value), &node.stage.from.value)
        else {
            continue;
        };
        let scope = selection.scope(&node.platform, &node.target);
        let Some((source, span)) = outside::image(source, scope, &mut unsaid) else { continue };
        let image = found.images.get(&(source, node.platform.clone()));
        let Some(texts) = image.and_then(|image| image.config.config.on_build.as_ref()).filter(|texts| !texts.is_empty()) else { continue };
        match instructions.get(node.name) {
            Some(others) if *others != texts => sink.push(say::on_build_differs(span, node.name)),
            Some(_) | None => {
                instructions.insert(node.name, texts);
            }
        }
    }
    if instructions.is_empty() {
        return None;
    }
    let mut expanded = Expanded { spec: spec.clone(), declared: BTreeSet::new() };
    for (name, texts) in instructions {
        carry_out(&mut expanded, name, texts, sink);
    }
    Some(expanded)
}

fn carry_out(expanded: &mut Expanded, name: &str, texts: &[String], sink: &mut Sink) {
    let Expanded { spec, declared } = expanded;
    let known: Vec<Name> = spec.stages.keys().cloned().collect();
    let Some((name, at)) = spec.stages.get_key_value(name).map(|(name, stage)| (name.clone(), stage.from.span)) else { return };
    let arguments: BTreeSet<Name> = spec.args.keys().cloned().collect();
    let read = triggers(texts, &name, &known, &arguments, &Options::default(), at);
    read.diagnostics.into_iter().for_each(|diagnostic| sink.push(diagnostic));
    let Some(mut triggers) = read.value else { return };
    let images: Vec<Name> =
        spec.images.iter().filter(|(_, image)| stands_on(spec, &image.stage, &name)).map(|(name, _)| name.clone()).collect();
    for (stage_name, stage) in std::mem::take(&mut triggers.stages) {
        spec.stages.entry(stage_name).or_insert(stage);
    }
    for (argument_name, argument) in std::mem::take(&mut triggers.args) {
        declared.insert(argument_name.clone());
        spec.args.entry(argument_name).or_insert(argument);
    }
    show(spec, &name, &triggers.seen, BTreeSet::new(), &mut BTreeSet::new());
    if let Some(stage) = spec.stages.get_mut(name.as_str()) {
        let own = std::mem::replace(&mut stage.value.steps, std::mem::take(&mut triggers.steps));
        stage.value.steps.extend(own);
    }
    for image in images {
        if let Some(image) = spec.images.get_mut(image.as_str()) {
            configure(&mut image.value, &triggers);
        }
    }
}

/// Lets the commands of a stage, and of those that start from it, see arguments until the environment has variables of their names.
fn show(spec: &mut Spec, name: &Name, seen: &[SeenArgument], hidden: BTreeSet<String>, done: &mut BTreeSet<Name>) {
    if seen.is_empty() || !done.insert(name.clone()) {
        return;
    }
    let Some(stage) = spec.stages.get_mut(name.as_str()) else { return };
    let hidden = show_in(&mut stage.value, seen, hidden);
    let above = spec.stages.iter().filter(|(_, stage)| matches!(&stage.from.value, Base::Stage(below) if below.value == *name));
    let above: Vec<Name> = above.map(|(name, _)| name.clone()).collect();
    for name in above {
        show(spec, &name, seen, hidden.clone(), done);
    }
}

fn show_in(stage: &mut Stage, seen: &[SeenArgument], mut hidden: BTreeSet<String>) -> BTreeSet<String> {
    hidden.extend(stage.settings.env.keys().cloned());
    for step in &mut stage.steps {
        match &mut step.value.verb {
            Verb::Setting(Setting::Env(env)) => hidden.extend(env.keys().cloned()),
            Verb::Run(run) => {
                for SeenArgument { name, value, history: _ } in seen.iter().filter(|argument| !hidden.contains(&argument.name)) {
                    if let Some(value) = value {
                        run.env.entry(name.clone()).or_insert_with(|| value.clone().map(Change::Set));
                    }
                }
                if let Some(history) = &mut step.value.history {
                    history.value = with_arguments(&history.value, seen);
                }
            }
            Verb::Copy(_)
            | Verb::Write(_)
            | Verb::Fetch(_)
            | Verb::Extract(_)
            | Verb::Link(_)
            | Verb::MakeDirectory(_)
            | Verb::Remove(_)
            | Verb::Setting(Setting::Workdir { .. } | Setting::User(_) | Setting::Shell(_) | Setting::History(_)) => {}
        }
    }
    hidden
}

/// `RUN |2 A=1 B=2 …`, with further arguments in front of those that it has; any other text as it is.
fn with_arguments(history: &Template, seen: &[SeenArgument]) -> Template {
    let [Piece::Literal(first), rest @ ..] = history.pieces() else { return history.clone() };
    let Some(words) = first.strip_prefix("RUN").filter(|words| words.starts_with(' ')) else { return history.clone() };
    let counted = words.strip_prefix(" |").and_then(|words| {
        let end = words.find(' ').unwrap_or(words.len());
        Some((words.get(..end)?.parse::<usize>().ok()?, words.get(end..)?))
    });
    let (count, words) = counted.unwrap_or((0, words));
    let said = |name: &str| {
        let mut literals = history.pieces().iter().filter_map(|piece| match piece {
            Piece::Literal(text) => Some(text),
            Piece::Reference(_) => None,
        });
        count > 0 && literals.any(|text| text.contains(&format!(" {name}=")))
    };
    let new: Vec<&SeenArgument> = seen.iter().filter(|argument| !said(&argument.name)).collect();
    if new.is_empty() {
        return history.clone();
    }
    let mut whole = Template::literal(format!("RUN |{}", count.saturating_add(new.len())));
    for SeenArgument { name, value: _, history } in new {
        whole.push(Piece::Literal(format!(" {name}=")));
        history.pieces().iter().for_each(|piece| whole.push(piece.clone()));
    }
    whole.push(Piece::Literal(words.to_owned()));
    rest.iter().for_each(|piece| whole.push(piece.clone()));
    whole
}

/// Whether a stage is this one or starts from it, through however many others.
fn stands_on(spec: &Spec, stage: &Name, below: &Name) -> bool {
    let mut at = stage;
    // Stages that need each other in a circle are refused elsewhere.
    for _ in 0..=spec.stages.len() {
        if at == below {
            return true;
        }
        match spec.stages.get(at).map(|stage| &stage.from.value) {
            Some(Base::Stage(next)) => at = &next.value,
            Some(Base::Scratch | Base::Image(_)) | None => return false,
        }
    }
    false
}

fn configure(image: &mut Image, triggers: &Triggers) {
    let Triggers { steps: _, stages: _, args: _, seen: _, entrypoint, cmd, expose, volumes, labels, healthcheck, stop_signal } = triggers;
    fill(&mut image.entrypoint, entrypoint);
    fill(&mut image.cmd, cmd);
    add(&mut image.expose, expose);
    add(&mut image.volumes, volumes);
    for (name, label) in labels {
        image.labels.entry(name.clone()).or_insert_with(|| label.clone().map(Change::Set));
    }
    fill(&mut image.healthcheck, &healthcheck.clone().map(|check| check.map(Change::Set)));
    fill(&mut image.stop_signal, &stop_signal.clone().map(|signal| signal.map(Change::Set)));
}

fn fill<T: Clone>(own: &mut Option<T>, other: &Option<T>) {
    if own.is_none() {
        own.clone_from(other);
    }
}

/// Adds to a list that adds to the base's; one that does not is all that the image wants.
fn add(own: &mut Option<Spanned<Vec<Text>>>, more: &[Text]) {
    if more.is_empty() {
        return;
    }
    let inherited = || Spanned::made(Template::literal(INHERITED));
    let list = own.get_or_insert_with(|| Spanned::made(vec![inherited()]));
    if list.value.first().is_some_and(|first| first.as_literal() == Some(INHERITED)) {
        list.value.splice(1..1, more.iter().cloned());
    }
}
