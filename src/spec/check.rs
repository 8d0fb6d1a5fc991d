//! What is wrong with a spec as a whole, whoever made it: names that lead nowhere, cycles, contradictions.

use std::collections::{BTreeMap, BTreeSet};

use super::{Archive, Base, FileSource, Mount, Name, Piece, Referent, Spanned, Spec, Stage, Text, Verb, diagnostics, walk};
use crate::diagnostic::{Diagnostic, Span};
use crate::image::Reference;

/// Everything that is wrong with a spec, in no order. Empty for a spec that can be planned.
#[must_use]
pub fn check(spec: &Spec) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    arguments(spec, &mut found);
    stages(spec, &mut found);
    cycles(spec, &mut found);
    images(spec, &mut found);
    found
}

fn arguments(spec: &Spec, found: &mut Vec<Diagnostic>) {
    let mut used: BTreeSet<&Name> = BTreeSet::new();
    walk::templates(spec, &mut |template| {
        template.each_piece(&mut |piece| match piece {
            Piece::Literal(_) => {}
            Piece::Reference(reference) => match &reference.value.referent {
                Referent::Arg(name) => {
                    used.insert(name);
                    if !spec.args.contains_key(name) {
                        found.push(diagnostics::unknown_argument(reference.span, name.as_str(), spec.args.keys().map(Name::as_str)));
                    }
                }
                Referent::Env(_) | Referent::Platform(..) => {}
            },
        });
    });
    // A misspelt reference would leave its argument unused too.
    let all_known = used.iter().all(|name| spec.args.contains_key(*name));
    for (name, argument) in &spec.args {
        if all_known && !used.contains(name) {
            found.push(diagnostics::unused_argument(argument.span, name.as_str()));
        }
        if let Some(default) = &argument.default
            && !argument.choices.is_empty()
            && !argument.choices.contains(default)
        {
            let choices: Vec<&str> = argument.choices.iter().map(|choice| choice.as_str()).collect();
            found.push(diagnostics::default_not_a_choice(default.span, default, &choices));
        }
    }
}

/// What a stage needs of other stages, in the order of the text.
fn needs(stage: &Stage) -> Vec<&Spanned<Name>> {
    let mut needs = Vec::new();
    match &stage.from.value {
        Base::Stage(name) => needs.push(name),
        Base::Scratch | Base::Image(_) => {}
    }
    for step in &stage.steps {
        let sources: Vec<&Spanned<FileSource>> = match &step.value.verb {
            Verb::Copy(copy) => copy.from.iter().collect(),
            Verb::Extract(extract) => match &extract.archive {
                Archive::File { path: _, from } => from.iter().collect(),
                Archive::Url(_) => Vec::new(),
            },
            Verb::Run(run) => run.mounts.iter().filter_map(|mount| mount_source(&mount.value)).collect(),
            Verb::Write(_) | Verb::Fetch(_) | Verb::Link(_) | Verb::MakeDirectory(_) | Verb::Remove(_) | Verb::Setting(_) => Vec::new(),
        };
        for source in sources {
            match &source.value {
                FileSource::Stage(name) => needs.push(name),
                FileSource::Context(_) | FileSource::Image(_) => {}
            }
        }
    }
    needs
}

fn mount_source(mount: &Mount) -> Option<&Spanned<FileSource>> {
    match mount {
        Mount::From { from, .. } => Some(from),
        Mount::Cache { from, .. } => from.as_ref(),
        Mount::Secret { .. } | Mount::SecretEnv { .. } | Mount::Ssh { .. } | Mount::Tmpfs { .. } => None,
    }
}

fn unknown_stage(spec: &Spec, name: &Spanned<Name>) -> Option<Diagnostic> {
    let known = spec.stages.keys().map(Name::as_str);
    (!spec.stages.contains_key(&name.value)).then(|| diagnostics::unknown_stage(name.span, name.as_str(), known))
}

fn stages(spec: &Spec, found: &mut Vec<Diagnostic>) {
    if spec.stages.is_empty() {
        found.push(diagnostics::no_stages(Span::NONE));
    }
    for stage in spec.stages.values() {
        found.extend(needs(stage).into_iter().filter_map(|needed| unknown_stage(spec, needed)));
        for step in &stage.steps {
            match &step.value.verb {
                Verb::Run(run) => mounts(&run.mounts, found),
                Verb::Copy(_)
                | Verb::Fetch(_)
                | Verb::Write(_)
                | Verb::Extract(_)
                | Verb::Link(_)
                | Verb::MakeDirectory(_)
                | Verb::Remove(_)
                | Verb::Setting(_) => {}
            }
        }
    }
}

fn mounts(mounts: &[Spanned<Mount>], found: &mut Vec<Diagnostic>) {
    let mut places: BTreeMap<String, Span> = BTreeMap::new();
    let mut variables: BTreeMap<&str, Span> = BTreeMap::new();
    for mount in mounts {
        let at: Option<&Text> = match &mount.value {
            Mount::Cache { at, .. } | Mount::From { at, .. } | Mount::Tmpfs { at, .. } => Some(at),
            Mount::Secret { at, .. } => at.as_ref(),
            Mount::SecretEnv { env, .. } => {
                if let Some(first) = variables.get(env.as_str()) {
                    found.push(diagnostics::duplicate_item(env.span, *first, "the variable", env));
                } else {
                    variables.insert(env.as_str(), env.span);
                }
                None
            }
            Mount::Ssh { at, .. } => at.as_ref(),
        };
        let Some(at) = at else { continue };
        let Some(literal) = at.as_literal() else { continue };
        let names: Vec<&str> = literal.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        let normal = format!("{}{}", if literal.starts_with('/') { "/" } else { "" }, names.join("/"));
        if names.is_empty() {
            continue;
        }
        if let Some(first) = places.get(&normal) {
            found.push(diagnostics::duplicate_mount(at.span, *first, &normal));
        } else {
            places.insert(normal, at.span);
        }
    }
}

fn images(spec: &Spec, found: &mut Vec<Diagnostic>) {
    let mut tags: BTreeMap<String, Span> = BTreeMap::new();
    for image in spec.images.values() {
        found.extend(unknown_stage(spec, &image.stage));
        for tag in &image.tags {
            let Some(reference) = tag.as_literal().and_then(|tag| tag.parse::<Reference>().ok()) else { continue };
            let full = reference.to_string();
            if let Some(first) = tags.get(&full) {
                found.push(diagnostics::duplicate_tag(tag.span, *first, &full));
            } else {
                tags.insert(full, tag.span);
            }
        }
    }
}

/// Takes away the stages that need nothing that is left, again and again. What remains is on a cycle or needs one.
fn cycles(spec: &Spec, found: &mut Vec<Diagnostic>) {
    let needs: BTreeMap<&Name, Vec<&Spanned<Name>>> = spec
        .stages
        .iter()
        .map(|(name, stage)| (name, needs(stage).into_iter().filter(|need| spec.stages.contains_key(&need.value)).collect()))
        .collect();
    let mut needed_by: BTreeMap<&Name, Vec<&Name>> = BTreeMap::new();
    let mut open: BTreeMap<&Name, usize> = BTreeMap::new();
    for (name, needs) in &needs {
        open.insert(name, needs.len());
        for need in needs {
            needed_by.entry(&need.value).or_default().push(name);
        }
    }
    let mut done: Vec<&Name> = open.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    loop {
        while let Some(name) = done.pop() {
            open.remove(name);
            for by in needed_by.get(name).into_iter().flatten() {
                if let Some(count) = open.get_mut(by) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        done.push(by);
                    }
                }
            }
        }
        let Some((start, _)) = open.first_key_value() else { return };
        let cycle = follow(start, &needs, &open);
        let Some((_, closing)) = cycle.last() else { return };
        let around: Vec<&str> = cycle.iter().map(|(name, _)| name.as_str()).chain([closing.as_str()]).collect();
        let place = cycle.first().map_or(Span::NONE, |(_, need)| need.span);
        found.push(diagnostics::stage_cycle(place, &around));
        done.extend(cycle.into_iter().map(|(name, _)| name));
    }
}

/// From a stage that is left along what it needs until a stage comes up again: that stage, and so on around, each with what it needs next.
fn follow<'s>(
    start: &'s Name,
    needs: &BTreeMap<&'s Name, Vec<&'s Spanned<Name>>>,
    open: &BTreeMap<&'s Name, usize>,
) -> Vec<(&'s Name, &'s Spanned<Name>)> {
    let mut path: Vec<(&Name, &Spanned<Name>)> = Vec::new();
    let mut places: BTreeMap<&Name, usize> = BTreeMap::new();
    let mut at = start;
    loop {
        if let Some(place) = places.get(at) {
            return path.split_off(*place);
        }
        let next = needs.get(at).and_then(|needs| needs.iter().find(|need| open.contains_key(&need.value)));
        let Some(next) = next else { return Vec::new() };
        places.insert(at, path.len());
        path.push((at, next));
        at = &next.value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{ImageSource, Settings, Template};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// Stages by name, each with the stage that it starts from.
    fn spec(stages: &[(&str, &str)]) -> Spec {
        let stage = |from: &str| Stage {
            from: Spanned::made(match from {
                "" => Base::Scratch,
                "busybox" => Base::Image(ImageSource::Tar { path: Spanned::made(Template::literal("a.tar")) }),
                from => Base::Stage(Spanned::made(name(from))),
            }),
            platform: None,
            onbuild: None,
            settings: Settings::default(),
            steps: Vec::new(),
        };
        let stages = stages.iter().map(|(own, from)| (name(own), Spanned::made(stage(from)))).collect();
        Spec { stages, ..Spec::default() }
    }

    fn messages(spec: &Spec) -> Vec<String> {
        check(spec).into_iter().map(|diagnostic| diagnostic.message).collect()
    }

    #[test]
    fn each_cycle_is_named_once_and_what_leads_to_it_is_not() {
        let all = spec(&[("a", ""), ("b", "c"), ("c", "d"), ("d", "c"), ("e", "e"), ("f", "e"), ("g", "busybox")]);
        assert_eq!(messages(&all), ["a stage cannot need itself: `c` needs `d` needs `c`", "a stage cannot need itself: `e` needs `e`"]);
    }

    #[test]
    fn a_long_chain_is_no_cycle_and_needs_no_deep_stack() {
        let names: Vec<String> = (0..20_000).map(|number| format!("s{number}")).collect();
        let mut stages: Vec<(&str, &str)> = names.windows(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
        stages.push((names.last().unwrap(), ""));
        assert_eq!(messages(&spec(&stages)), Vec::<String>::new());
    }
}
