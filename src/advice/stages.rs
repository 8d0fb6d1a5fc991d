//! Stages as a whole: which base they stand on, whether they are in an image, and whether anything uses them.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostics as say;
use super::runs::{self, Script, Shell};
use super::script::UNKNOWN;
use super::text::likely;
use super::{Advisor, Language, Wanted};
use crate::diagnostic::{Diagnostic, Span};
use crate::image::Reference;
use crate::spec::{Archive, Base, Env, Fetch, FetchSource, FileSource, ImageSource, Mount, Name, Setting, Spec, Stage, Step, Verb};

/// A stage and what follows from its place among the others.
pub(super) struct View<'s> {
    pub(super) stage: &'s Stage,
    /// The image at the bottom of it, as far as its name is known; `None` for a base that is no image of a registry.
    pub(super) root: Option<String>,
    /// The images whose files are this stage's or stand on them. Empty for a stage that only gives something to others.
    pub(super) images: Vec<&'s str>,
    /// Its `run` steps.
    pub(super) scripts: Vec<Script<'s>>,
    /// Names of variables that it and the stages below it set.
    pub(super) variables: BTreeSet<&'s str>,
}

/// Every stage, in the order of names.
pub(super) fn views(spec: &Spec) -> Vec<View<'_>> {
    let mut images: BTreeMap<&Name, Vec<&str>> = BTreeMap::new();
    for (name, image) in &spec.images {
        for (stage, _) in below(spec, &image.stage.value) {
            images.entry(stage).or_default().push(name.as_str());
        }
    }
    spec.stages
        .iter()
        .map(|(name, stage)| {
            let chain = below(spec, name);
            let root = match chain.last().map(|(_, stage)| &stage.from.value) {
                Some(Base::Image(ImageSource::Registry(reference))) => Some(likely(&reference.value, &spec.args)),
                Some(Base::Image(ImageSource::Layout { .. } | ImageSource::Tar { .. }) | Base::Scratch | Base::Stage(_)) | None => None,
            };
            let variables = chain.iter().flat_map(|(_, stage)| envs(stage)).flat_map(|env| env.keys().map(String::as_str)).collect();
            let shell = chain.iter().skip(1).rev().fold(Shell::Posix, |shell, (_, stage)| shell.after(stage));
            let scripts = runs::scripts(&stage.value, shell);
            View { scripts, stage: &stage.value, root, images: images.remove(name).unwrap_or_default(), variables }
        })
        .collect()
}

/// A stage and those that it stands on, down to the one that stands on none.
fn below<'s>(spec: &'s Spec, name: &Name) -> Vec<(&'s Name, &'s Stage)> {
    let mut chain: Vec<(&Name, &Stage)> = Vec::new();
    let mut next = spec.stages.get_key_value(name);
    while let Some((name, stage)) = next {
        // More than all of them is a circle, which is an error elsewhere.
        if chain.len() >= spec.stages.len() {
            break;
        }
        chain.push((name, &stage.value));
        next = match &stage.from.value {
            Base::Stage(below) => spec.stages.get_key_value(&below.value),
            Base::Scratch | Base::Image(_) => None,
        };
    }
    chain
}

fn envs(stage: &Stage) -> Vec<&Env> {
    let steps = stage.steps.iter().filter_map(|step| match &step.value.verb {
        Verb::Setting(Setting::Env(env)) => Some(env),
        Verb::Setting(Setting::Workdir { .. } | Setting::User(_) | Setting::Shell(_) | Setting::History(_))
        | Verb::Run(_)
        | Verb::Copy(_)
        | Verb::Write(_)
        | Verb::Fetch(_)
        | Verb::Extract(_)
        | Verb::Link(_)
        | Verb::MakeDirectory(_)
        | Verb::Remove(_) => None,
    });
    [&stage.settings.env].into_iter().chain(steps).collect()
}

/// What a step takes files from.
fn sources(step: &Step) -> Vec<&FileSource> {
    match &step.verb {
        Verb::Copy(copy) => copy.from.iter().map(|from| &from.value).collect(),
        Verb::Extract(extract) => match &extract.archive {
            Archive::File { path: _, from } => from.iter().map(|from| &from.value).collect(),
            Archive::Url(_) => Vec::new(),
        },
        Verb::Run(run) => run
            .mounts
            .iter()
            .filter_map(|mount| match &mount.value {
                Mount::From { from, .. } | Mount::Cache { from: Some(from), .. } => Some(&from.value),
                Mount::Cache { from: None, .. }
                | Mount::Secret { .. }
                | Mount::SecretEnv { .. }
                | Mount::Ssh { .. }
                | Mount::Tmpfs { .. } => None,
            })
            .collect(),
        Verb::Write(_) | Verb::Fetch(_) | Verb::Link(_) | Verb::MakeDirectory(_) | Verb::Remove(_) | Verb::Setting(_) => Vec::new(),
    }
}

/// Says of stages that nothing uses them, and of bases that they are not pinned.
pub(super) fn look(advisor: &Advisor<'_>, found: &mut Vec<Diagnostic>) {
    if advisor.facts.wanted == Wanted::Everything && !advisor.spec.images.is_empty() {
        unused(advisor, found);
    }
    unpinned(advisor, found);
    unpinned_repositories(advisor, found);
}

fn unused(advisor: &Advisor<'_>, found: &mut Vec<Diagnostic>) {
    let spec = advisor.spec;
    let mut used: BTreeSet<&Name> = spec.images.values().map(|image| &image.stage.value).collect();
    for stage in spec.stages.values() {
        if let Base::Stage(name) = &stage.from.value {
            used.insert(&name.value);
            if let Some(start) = chooser(advisor, stage.from.span) {
                used.extend(spec.stages.keys().filter(|name| begins_with(name, &start)));
            }
        }
        let named = stage.steps.iter().flat_map(|step| sources(&step.value)).filter_map(|source| match source {
            FileSource::Stage(name) => Some(&name.value),
            FileSource::Context(_) | FileSource::Image(_) => None,
        });
        used.extend(named);
    }
    for (name, stage) in spec.stages.iter().filter(|(name, _)| !used.contains(name)) {
        let on_another = matches!(stage.from.value, Base::Stage(_));
        let has_own_name = !name.as_str().starts_with("stage-");
        // `FROM base AS test` is there for `--target test`.
        if advisor.facts.language == Language::Dockerfile && on_another && has_own_name {
            continue;
        }
        found.push(say::unused_stage(stage.span, name.as_str(), advisor.facts.language));
    }
}

/// What the names of all stages begin with of which an argument chooses one, as in `FROM base-${kind}`; `None` where the place names a stage.
fn chooser(advisor: &Advisor<'_>, place: Span) -> Option<String> {
    if advisor.facts.language == Language::Toml {
        return None;
    }
    let text = advisor.sources.get(place.source)?.text.get(place.start as usize..place.end as usize)?;
    text.split_once('$').map(|(start, _)| start.to_ascii_lowercase())
}

/// Whether the name of a stage, in a Compose file without that of its service, begins so.
fn begins_with(name: &Name, start: &str) -> bool {
    name.as_str().starts_with(start) || name.as_str().split_once('.').is_some_and(|(_, own)| own.starts_with(start))
}

fn unpinned(advisor: &Advisor<'_>, found: &mut Vec<Diagnostic>) {
    // Each image once, at the first place that names it.
    let mut first: BTreeMap<Reference, (Span, String)> = BTreeMap::new();
    for stage in advisor.spec.stages.values() {
        let base = match &stage.from.value {
            Base::Image(source) => Some(source),
            Base::Scratch | Base::Stage(_) => None,
        };
        let files = stage.steps.iter().flat_map(|step| sources(&step.value)).filter_map(|source| match source {
            FileSource::Image(source) => Some(source),
            FileSource::Context(_) | FileSource::Stage(_) => None,
        });
        for source in base.into_iter().chain(files) {
            let ImageSource::Registry(text) = source else { continue };
            let written = likely(&text.value, &advisor.spec.args);
            let Ok(reference) = written.parse::<Reference>() else { continue };
            if reference.digest.is_some() || advisor.facts.pinned.contains(&reference) {
                continue;
            }
            let place = first.entry(reference).or_insert_with(|| (text.span, written.clone()));
            if text.span < place.0 {
                *place = (text.span, written);
            }
        }
    }
    found.extend(first.into_values().map(|(span, written)| say::unpinned_base(span, &written)));
}

/// Says of branches and tags that they may be other commits tomorrow; of each once, at the first place that names it.
fn unpinned_repositories(advisor: &Advisor<'_>, found: &mut Vec<Diagnostic>) {
    let mut first: BTreeMap<(String, String), Span> = BTreeMap::new();
    for step in advisor.spec.stages.values().flat_map(|stage| &stage.steps) {
        let Verb::Fetch(Fetch { source: FetchSource::Git(git), .. }) = &step.value.verb else { continue };
        if git.commit.is_some() {
            continue;
        }
        let url = likely(&git.url.value, &advisor.spec.args);
        let reference = git.reference.as_ref().map_or_else(|| "HEAD".to_owned(), |reference| likely(&reference.value, &advisor.spec.args));
        let is_commit = matches!(reference.len(), 40 | 64) && reference.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        // What an argument decides may be anything.
        if is_commit || reference.contains(UNKNOWN) || advisor.facts.commits.contains(&(url.clone(), reference.clone())) {
            continue;
        }
        let place = first.entry((url, reference)).or_insert(git.url.span);
        *place = (*place).min(git.url.span);
    }
    found.extend(first.into_iter().map(|((_, reference), span)| say::unpinned_repository(span, &reference, advisor.facts.language)));
}
