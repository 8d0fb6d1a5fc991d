//! Spec and target → the stages that are needed, each before those that need it, and the images that are wanted.

use std::collections::{BTreeMap, BTreeSet};

use super::args::Arguments;
use super::diagnostics as say;
use super::fill::Scope;
use super::sink::Sink;
use super::target::{ExtraTag, Target, Wanted};
use super::uses::{self, Use};
use crate::diagnostic::Span;
use crate::image::Platform;
use crate::spec::{Image, Name, Piece, PlatformOf, Referent, Spanned, Spec, Stage, StagePlatform, Verb};

/// The needed part of a spec.
pub(super) struct Selection<'s> {
    spec: &'s Spec,
    pub(super) args: Arguments<'s>,
    /// Each needs only earlier ones.
    pub(super) nodes: Vec<Node<'s>>,
    /// In order of names.
    pub(super) images: Vec<Wish<'s>>,
    places: BTreeMap<Key<'s>, usize>,
    /// The stages that are not the same for every wanted image.
    of_target: BTreeSet<&'s str>,
    builder: Platform,
}

/// What makes a stage another one: its name, what it is built for, and what the wanted image is built for where that is of account.
type Key<'s> = (&'s str, Platform, Option<Platform>);

/// A stage for a platform.
pub(super) struct Node<'s> {
    pub(super) name: &'s str,
    pub(super) stage: &'s Stage,
    pub(super) platform: Platform,
    /// What the image is built for that needs it; the first one where it is the same for several.
    pub(super) target: Platform,
}

/// A wanted image.
pub(super) struct Wish<'s> {
    pub(super) name: &'s str,
    pub(super) image: &'s Spanned<Image>,
    pub(super) platform: Platform,
    /// Tags that the caller gives it.
    pub(super) tags: Vec<String>,
}

impl Selection<'_> {
    /// The place of a stage in [`Selection::nodes`], as needed by something that is built for `platform` for an image that is built for
    /// `target`. `None` where it is unknown or needs what needs it, which has been said.
    pub(super) fn place(&self, name: &str, platform: &Platform, target: &Platform) -> Option<usize> {
        let (known, stage) = self.spec.stages.get_key_value(name)?;
        // What is wrong with the platform was said when the stage was found.
        let platform = effective(stage, self.scope(platform, target), &mut Sink::default());
        let target = self.of_target.contains(name).then(|| target.clone());
        self.places.get(&(known.as_str(), platform, target)).copied()
    }

    /// What references stand for before there is an environment.
    pub(super) fn scope<'a>(&'a self, platform: &'a Platform, target: &'a Platform) -> Scope<'a> {
        Scope { args: &self.args, platform, target, builder: &self.builder, env: None }
    }
}

/// What a stage is built for when something on the scope's platform needs it.
fn effective(stage: &Stage, scope: Scope<'_>, sink: &mut Sink) -> Platform {
    match stage.platform.as_ref().map(|platform| &platform.value) {
        Some(StagePlatform::Builder) => scope.builder.clone(),
        Some(StagePlatform::Named(text)) => {
            let named = scope.word(text, sink).and_then(|name| {
                let platform = match name.as_str() {
                    "target" => Ok(scope.platform.clone()),
                    "builder" => Ok(scope.builder.clone()),
                    name => name.parse(),
                };
                sink.take(platform.map_err(|error| say::invalid_platform(text.span, &error)))
            });
            named.unwrap_or_else(|| scope.platform.clone())
        }
        Some(StagePlatform::Target) | None => scope.platform.clone(),
    }
}

/// The stages in which something speaks of the platform of the wanted image, and those that need one of them.
fn of_target(spec: &Spec) -> BTreeSet<&str> {
    let mut found: BTreeSet<&str> = BTreeSet::new();
    let mut needed_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut open: Vec<&str> = Vec::new();
    for (name, stage) in &spec.stages {
        let mut speaks = false;
        stage.each_template(&mut |template| {
            template.each_piece(&mut |piece| match piece {
                Piece::Literal(_) => {}
                Piece::Reference(reference) => match reference.value.referent {
                    Referent::Platform(PlatformOf::Target, _) => speaks = true,
                    Referent::Platform(PlatformOf::Stage | PlatformOf::Builder, _) | Referent::Arg(_) | Referent::Env(_) => {}
                },
            });
        });
        if speaks {
            open.push(name.as_str());
        }
        for needed in needs(stage) {
            needed_by.entry(needed.as_str()).or_default().push(name.as_str());
        }
    }
    while let Some(name) = open.pop() {
        if found.insert(name) {
            open.extend(needed_by.get(name).into_iter().flatten());
        }
    }
    found
}

/// The stages that a stage needs.
fn needs(stage: &Stage) -> Vec<&Spanned<Name>> {
    let stages = uses::of(stage).into_iter().filter_map(|(used, _)| match used {
        Use::Stage(name) => Some(name),
        Use::Image(_) | Use::Download(_) | Use::Git(_) => None,
    });
    stages.collect()
}

/// Finds what is needed. Refuses what this machine cannot do in any of it.
pub(super) fn select<'s>(spec: &'s Spec, target: &Target, sink: &mut Sink) -> Selection<'s> {
    let args = Arguments::resolve(spec, target, sink);
    let images = wishes(spec, target, sink);
    let mut graph = Graph {
        spec,
        args: &args,
        builder: &target.builder,
        of_target: of_target(spec),
        nodes: Vec::new(),
        places: BTreeMap::new(),
        states: BTreeMap::new(),
    };
    for wish in &images {
        graph.visit(&wish.image.stage, &wish.platform, sink);
    }
    let alone = |what: &str, sink: &mut Sink| platform_of(&target.platforms, what, &target.builder, sink);
    match &target.wanted {
        Wanted::Stage(name) => match spec.stages.get_key_value(name.as_str()) {
            Some((name, _)) => {
                let platform = alone(&format!("stage `{name}`"), sink);
                graph.visit(&Spanned::new(name.clone(), Span::NONE), &platform, sink);
            }
            None => sink.push(say::unknown_stage(Span::NONE, name, spec.stages.keys().map(Name::as_str))),
        },
        Wanted::All if spec.images.is_empty() => {
            let alone = alone("every stage", sink);
            for (name, stage) in &spec.stages {
                graph.visit(&Spanned::new(name.clone(), stage.span), &alone, sink);
            }
        }
        Wanted::All | Wanted::Images(_) => {}
    }
    let Graph { nodes, places, of_target, .. } = graph;
    for node in &nodes {
        refuse_foreign_run(node, &target.builder, sink);
    }
    Selection { spec, args, nodes, images, places, of_target, builder: target.builder.clone() }
}

fn wishes<'s>(spec: &'s Spec, target: &Target, sink: &mut Sink) -> Vec<Wish<'s>> {
    let known = || spec.images.keys().map(Name::as_str);
    let mut wanted: Vec<(&'s Name, &'s Spanned<Image>)> = Vec::new();
    match &target.wanted {
        Wanted::Stage(_) => {}
        Wanted::All => wanted.extend(&spec.images),
        Wanted::Images(names) => {
            for name in names {
                match spec.images.get_key_value(name.as_str()) {
                    Some(image) => wanted.push(image),
                    None => sink.push(say::unknown_image(name, known())),
                }
            }
            wanted.sort_by_key(|(name, _)| *name);
            wanted.dedup_by_key(|(name, _)| *name);
        }
    }
    for ExtraTag { image, reference } in &target.tags {
        match image {
            None if wanted.len() != 1 => sink.push(say::tag_for_which_image(reference, wanted.iter().map(|(name, _)| name.as_str()))),
            Some(image) if !wanted.iter().any(|(name, _)| name.as_str() == image) => {
                sink.push(say::tag_for_unknown_image(image, wanted.iter().map(|(name, _)| name.as_str())));
            }
            None | Some(_) => {}
        }
    }
    let tags_of = |name: &Name| {
        let mine = target.tags.iter().filter(|tag| tag.image.as_deref().is_none_or(|image| image == name.as_str()));
        mine.map(|tag| tag.reference.clone()).collect()
    };
    wanted
        .into_iter()
        .flat_map(|(name, image)| {
            let platforms = platforms_of(&target.platforms, &image.platforms, &target.builder);
            platforms.into_iter().map(move |platform| (name, image, platform))
        })
        .map(|(name, image, platform)| Wish { name: name.as_str(), image, platform, tags: tags_of(name) })
        .collect()
}

/// The platforms that an image is built for, each once: the caller's, its own, the builder's.
fn platforms_of(given: &[Platform], own: &[Spanned<Platform>], builder: &Platform) -> Vec<Platform> {
    let mut platforms: Vec<Platform> = match (given, own) {
        ([], []) => vec![builder.clone()],
        ([], own) => own.iter().map(|platform| platform.value.clone()).collect(),
        (given, _) => given.to_vec(),
    };
    let mut seen = BTreeSet::new();
    platforms.retain(|platform| seen.insert(platform.to_string()));
    platforms
}

/// The one platform that a stage alone is built for: the caller's, else the builder's.
fn platform_of(given: &[Platform], what: &str, builder: &Platform, sink: &mut Sink) -> Platform {
    match given {
        [] => builder.clone(),
        [only] => only.clone(),
        [first, ..] => {
            sink.push(say::several_platforms(Span::NONE, what));
            first.clone()
        }
    }
}

fn refuse_foreign_run(node: &Node<'_>, builder: &Platform, sink: &mut Sink) {
    if node.platform != *builder {
        for step in node.stage.steps.iter().filter(|step| matches!(step.value.verb, Verb::Run(_))) {
            sink.push(say::foreign_run(step.span, node.name, &node.platform, builder));
        }
    }
}

struct Graph<'s, 't> {
    spec: &'s Spec,
    args: &'t Arguments<'s>,
    builder: &'t Platform,
    of_target: BTreeSet<&'s str>,
    nodes: Vec<Node<'s>>,
    places: BTreeMap<Key<'s>, usize>,
    states: BTreeMap<Key<'s>, State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// On the way from the wanted stage down.
    Open,
    /// In the order.
    Done,
}

/// A stage on the way down, with the stages that it needs and that have not been looked at.
struct Frame<'s> {
    name: &'s str,
    stage: &'s Stage,
    platform: Platform,
    /// Where the stage before names this one.
    named: Span,
    rest: std::vec::IntoIter<&'s Spanned<Name>>,
}

impl<'s> Graph<'s, '_> {
    /// Puts a stage behind all that it needs, for an image that is built for `target`. Keeps its own stack, since a chain of stages may be
    /// longer than the program's.
    fn visit(&mut self, name: &Spanned<Name>, target: &Platform, sink: &mut Sink) {
        let mut frames: Vec<Frame<'s>> = Vec::new();
        frames.extend(self.enter(name, target, target, &[], sink));
        while let Some(frame) = frames.last_mut() {
            if let Some(needed) = frame.rest.next() {
                let platform = frame.platform.clone();
                let next = self.enter(needed, &platform, target, &frames, sink);
                frames.extend(next);
            } else if let Some(Frame { name, stage, platform, .. }) = frames.pop() {
                let key = self.key(name, &platform, target);
                self.states.insert(key.clone(), State::Done);
                self.places.insert(key, self.nodes.len());
                self.nodes.push(Node { name, stage, platform, target: target.clone() });
            }
        }
    }

    fn key(&self, name: &'s str, platform: &Platform, target: &Platform) -> Key<'s> {
        (name, platform.clone(), self.of_target.contains(name).then(|| target.clone()))
    }

    /// A frame for a stage that was not met before.
    fn enter(
        &mut self,
        name: &Spanned<Name>,
        platform: &Platform,
        target: &Platform,
        above: &[Frame<'s>],
        sink: &mut Sink,
    ) -> Option<Frame<'s>> {
        let Some((known, stage)) = self.spec.stages.get_key_value(&name.value) else {
            sink.push(say::unknown_stage(name.span, name.as_str(), self.spec.stages.keys().map(Name::as_str)));
            return None;
        };
        let scope = Scope { args: self.args, platform, target, builder: self.builder, env: None };
        let platform = effective(stage, scope, sink);
        let key = self.key(known.as_str(), &platform, target);
        match self.states.get(&key) {
            Some(State::Done) => return None,
            Some(State::Open) => {
                let start = above.iter().position(|frame| frame.name == known.as_str() && frame.platform == platform).unwrap_or(0);
                let circle = above.get(start..).unwrap_or_default();
                let names: Vec<&str> = circle.iter().map(|frame| frame.name).collect();
                let places: Vec<Span> = circle.iter().skip(1).map(|frame| frame.named).collect();
                sink.push(say::cycle(name.span, &names, &places));
                return None;
            }
            None => {}
        }
        self.states.insert(key, State::Open);
        Some(Frame { name: known.as_str(), stage: &stage.value, platform, named: name.span, rest: needs(stage).into_iter() })
    }
}
