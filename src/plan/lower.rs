//! The needed stages and wanted images, and what is known of the outside → the plan.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostics as say;
use super::on_build;
use super::outside::{self, Knowledge};
use super::select::{Node, Selection, select};
use super::settings::InForce;
use super::sink::Sink;
use super::steps::{self, Surroundings};
use super::target::{Found, Outside, Requirement, Target};
use super::wish;
use super::{Base, Context, Image, ImageSource, Moving, Plan, Stage, StageId};
use crate::diagnostic::{Diagnosed, Span};
use crate::image::{ImageConfig, Reference};
use crate::spec::{self, DEFAULT_EPOCH_SECONDS, Name, Spanned, Spec};

/// What a stage leaves to the images and stages that are made from it.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) settings: InForce,
    pub(super) author: Option<String>,
    pub(super) extra: BTreeMap<String, serde_json::Value>,
}

/// What must be known of the outside before [`plan`]: each base image for its platform, each image that files come from, each download,
/// with every word of its name settled; only for what the target needs. Everything that is wrong with the spec for this target and can be
/// seen without the outside is said here already.
#[must_use]
pub fn requirements(spec: &Spec, target: &Target) -> Diagnosed<Vec<Requirement>> {
    let mut sink = Sink::default();
    let selection = select(spec, target, &mut sink);
    let requirements = outside::requirements(&selection, &mut sink);
    // The plan itself is thrown away: it is made of digests that nobody knows.
    lower(spec, &selection, Knowledge::NotYet, &mut sink);
    sink.finish(Some(requirements))
}

/// What must be known besides [`requirements`] once the bases are: what the `ONBUILD` instructions of stages take from outside that carry
/// them out. Nothing of it is in `found`.
#[must_use]
pub fn further_requirements(spec: &Spec, target: &Target, found: &Found) -> Diagnosed<Vec<Requirement>> {
    let mut sink = Sink::default();
    let Some(expanded) = on_build::expand(spec, target, found, &mut sink) else { return sink.finish(Some(Vec::new())) };
    let selection = select(&expanded.spec, target, &mut sink);
    let mut requirements = outside::requirements(&selection, &mut sink);
    let mut unsaid = Sink::default();
    let known = outside::requirements(&select(spec, target, &mut unsaid), &mut Sink::default());
    requirements.retain(|requirement| match &requirement.outside {
        Outside::Image { source, platform } => !found.images.contains_key(&(source.clone(), platform.clone())),
        Outside::Download { url, sha256 } => sha256.is_none() && !found.downloads.contains_key(url),
        Outside::Commit { url, reference, commit: None, moving: _ } => !found.commits.contains_key(&(url.clone(), reference.clone())),
        Outside::Commit { url: _, reference: _, commit: Some(_), moving } => {
            *moving == Moving::Refused && !known.iter().any(|known| known.outside == requirement.outside)
        }
    });
    sink.finish(Some(requirements))
}

/// Which of the values that the target offers nothing declares, neither the spec nor the `ONBUILD` of a base that was found.
#[must_use]
pub fn unclaimed<'t>(spec: &Spec, target: &'t Target, found: &Found) -> Vec<&'t str> {
    let expanded = on_build::expand(spec, target, found, &mut Sink::default());
    let args = &expanded.as_ref().map_or(spec, |expanded| &expanded.spec).args;
    target.offered.keys().map(String::as_str).filter(|name| !args.contains_key(*name)).collect()
}

/// The arguments that the `ONBUILD` instructions of the bases declare that were found.
#[must_use]
pub fn declared_by_bases(spec: &Spec, target: &Target, found: &Found) -> BTreeSet<Name> {
    on_build::expand(spec, target, found, &mut Sink::default()).map_or_else(BTreeSet::new, |expanded| expanded.declared)
}

/// Settles everything: which stages, in which order, with which steps, and the config of each image.
#[must_use]
pub fn plan(spec: &Spec, target: &Target, found: &Found) -> Diagnosed<Plan> {
    let mut sink = Sink::default();
    let expanded = on_build::expand(spec, target, found, &mut sink);
    let spec = expanded.as_ref().map_or(spec, |expanded| &expanded.spec);
    let selection = select(spec, target, &mut sink);
    let plan = lower(spec, &selection, Knowledge::Found(found), &mut sink);
    sink.finish(plan)
}

fn lower(spec: &Spec, selection: &Selection<'_>, knowledge: Knowledge<'_>, sink: &mut Sink) -> Option<Plan> {
    // Names and places of all are with the selection; what is left to say of them is what happens when it is done.
    let Spec { epoch, context, ignore, contexts, args: _, stages: _, images: _ } = spec;

    let mut ends: Vec<End> = Vec::with_capacity(selection.nodes.len());
    let mut stages: Vec<Option<Stage>> = Vec::with_capacity(selection.nodes.len());
    for node in &selection.nodes {
        let (stage, end) = lower_stage(Surroundings { selection, node, knowledge }, &ends, sink);
        stages.push(stage);
        ends.push(end);
    }
    let images: Vec<Option<(Image, Vec<Span>)>> = selection.images.iter().map(|wish| wish::settle(wish, selection, &ends, sink)).collect();
    let mut tags: BTreeMap<&Reference, (&Image, Span)> = BTreeMap::new();
    for (image, spans) in images.iter().flatten() {
        for (tag, span) in image.tags.iter().zip(spans) {
            if let Some((other, other_span)) = tags.insert(tag, (image, *span)) {
                // An image for several platforms is one under its tags.
                if other.name == image.name && other.platform != image.platform {
                    continue;
                }
                let other = &other.name;
                sink.push(say::duplicate_tag(*span, &tag.to_string(), &image.name, other, other_span));
            }
        }
    }
    let mut plan = Plan {
        epoch: epoch.as_ref().map_or(DEFAULT_EPOCH_SECONDS, |epoch| epoch.value),
        stages: stages.into_iter().collect::<Option<Vec<Stage>>>()?,
        images: images.into_iter().map(|image| image.map(|(image, _)| image)).collect::<Option<Vec<Image>>>()?,
        context_places: BTreeMap::new(),
    };
    let text = |text: &Spanned<String>| text.value.clone();
    let mut places: BTreeMap<String, Context> = contexts
        .iter()
        .map(|(name, Spanned { value: spec::Context { path, ignore }, span: _ })| {
            (name.to_string(), Context { path: Some(text(path)), ignore: ignore.as_ref().map(text) })
        })
        .collect();
    places.insert(String::new(), Context { path: context.as_ref().map(text), ignore: ignore.as_ref().map(text) });
    let read = plan.contexts();
    places.retain(|name, place| read.contains_key(name.as_str()) && *place != Context::default());
    plan.context_places = places;
    Some(plan)
}

fn lower_stage(surroundings: Surroundings<'_>, ends: &[End], sink: &mut Sink) -> (Option<Stage>, End) {
    let Surroundings { selection, node, knowledge } = surroundings;
    let spec::Stage { from, platform: _, onbuild, settings, steps } = node.stage;
    let scope = selection.scope(&node.platform, &node.target);
    let (base, mut end) = match lower_base(&from.value, from.span, node, ends, selection, knowledge, sink) {
        Some((base, end)) => (Some(base), end),
        None => (None, End { settings: InForce::unknown(), author: None, extra: BTreeMap::new() }),
    };
    match onbuild.as_ref().map_or(spec::OnBuild::Keep, |onbuild| onbuild.value) {
        // They are among the steps already.
        spec::OnBuild::Run => end.settings.config.on_build = None,
        spec::OnBuild::Keep => {}
    }
    let mut lowered = Vec::with_capacity(steps.len());
    // The root is there already.
    if let Some((workdir, span)) = end.settings.change(settings, scope, sink).filter(|(workdir, _)| workdir != "/") {
        lowered.push(Some(steps::make_workdir(workdir, None, span)));
    }
    lowered.extend(steps.iter().map(|step| steps::settle(step, surroundings, &mut end.settings, sink)));
    let stage = base.zip(lowered.into_iter().collect::<Option<Vec<_>>>()).map(|(base, steps)| Stage {
        name: node.name.to_owned(),
        platform: node.platform.clone(),
        base,
        base_span: from.span,
        steps,
    });
    (stage, end)
}

fn lower_base(
    base: &spec::Base,
    span: Span,
    node: &Node<'_>,
    ends: &[End],
    selection: &Selection<'_>,
    knowledge: Knowledge<'_>,
    sink: &mut Sink,
) -> Option<(Base, End)> {
    match base {
        spec::Base::Scratch => Some((Base::Scratch, End { settings: InForce::default(), author: None, extra: BTreeMap::new() })),
        spec::Base::Stage(name) => {
            let place = selection.place(name.as_str(), &node.platform, &node.target)?;
            let end = ends.get(place)?.clone();
            if let Some(below) = selection.nodes.get(place)
                && below.platform != node.platform
            {
                sink.push(say::base_platform(
                    span,
                    &format!("stage `{name}`", name = name.value),
                    &below.platform.to_string(),
                    &node.platform,
                ));
            }
            Some((Base::Stage(StageId(place)), end))
        }
        spec::Base::Image(source) => {
            let scope = selection.scope(&node.platform, &node.target);
            let known = knowledge.image(source, scope, sink)?;
            let end = match known.config {
                Some(config) => {
                    check_base(config, &known.image.source, span, node, sink);
                    End { settings: InForce::of_base(&config.config), author: config.author.clone(), extra: config.extra.clone() }
                }
                None => End { settings: InForce::unknown(), author: None, extra: BTreeMap::new() },
            };
            Some((Base::Image(known.image), end))
        }
    }
}

fn check_base(config: &ImageConfig, source: &ImageSource, span: Span, node: &Node<'_>, sink: &mut Sink) {
    let wanted = &node.platform;
    let ImageConfig { os, architecture, .. } = config;
    let differs = |known: &str, wanted: &str| !known.is_empty() && known != wanted;
    // Variants are told too carelessly to be held against a base.
    if differs(os, &wanted.os) || differs(architecture, &wanted.architecture) {
        sink.push(say::base_platform(span, &format!("`{source}`"), &format!("{os}/{architecture}"), wanted));
    }
    let kept = match node.stage.onbuild.as_ref().map_or(spec::OnBuild::Keep, |onbuild| onbuild.value) {
        spec::OnBuild::Keep => config.config.on_build.as_ref().is_some_and(|instructions| !instructions.is_empty()),
        spec::OnBuild::Run => false,
    };
    if kept {
        sink.push(say::base_on_build(span, &source.to_string()));
    }
}
