//! A spec in, its TOML in a pleasant order and shape out, with comments.

use std::collections::BTreeMap;

use super::Manner;
use super::comments::Comments;
use crate::diagnostic::{SourceMap, Span};
use crate::spec::{
    self, Argument, Change, Env, INHERITED, Image, Lines, Name, Setting, Settings, Spanned, Spec, Stage, Step, Template, Text, Verb,
    argument_value, change_value, image_lines, key, stage_lines, step_lines,
};

/// Lines longer than this are broken where they can be.
const WIDTH: usize = 140;

/// Writes a spec.
pub(super) fn arrange(spec: &Spec, sources: &SourceMap, manner: Manner) -> String {
    let stages = in_order(spec);
    let mut images: Vec<(&Name, &Spanned<Image>)> = spec.images.iter().collect();
    images.sort_by_key(|(name, image)| (image.span, name.as_str()));
    let mut args: Vec<_> = spec.args.iter().collect();
    args.sort_by_key(|(name, argument)| (argument.span, name.as_str()));
    let mut places: Vec<Span> = stages.iter().flat_map(|(_, stage)| stage_places(stage)).collect();
    places.extend(args.iter().map(|(_, argument)| argument.span));
    places.extend(images.iter().flat_map(|(_, image)| std::iter::once(image.span).chain(image_places(image).into_values())));
    places.retain(|place| *place != Span::NONE);
    let mut comments = Comments::gather(spec, sources, &places);

    // What holds for the whole file is as the plain writer has it.
    let head = Spec { args: BTreeMap::new(), stages: BTreeMap::new(), images: BTreeMap::new(), ..spec.clone() };
    let mut text = comments.top();
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&spec::to_toml(&head));
    if !args.is_empty() {
        text.push_str("\n[args]\n");
        for (name, argument) in args {
            let help = match manner {
                Manner::Idiomatic => comments.only_line_at(argument.span),
                Manner::Exact => None,
            };
            text.push_str(&comments.at(argument.span));
            let argument = Argument { help: help.map(Spanned::made), ..argument.value.clone() };
            text.push_str(&line(&key(name.as_str()), &argument_value(&argument)));
        }
    }
    for (name, stage) in stages {
        let header = format!("stages.{}", key(name.as_str()));
        text.push('\n');
        text.push_str(&comments.at(stage.span));
        text.push_str(&format!("[{header}]\n"));
        let places = setting_places(&stage.value);
        let mut remark = |key: &str| places.get(key).map(|place| comments.at(*place)).unwrap_or_default();
        text.push_str(&table(&header, stage_lines(spec, &stage.value), &stage.value.settings.env, &mut remark));
        for step in &stage.value.steps {
            let header = format!("{header}.steps");
            text.push('\n');
            text.push_str(&comments.at(step.span));
            text.push_str(&format!("[[{header}]]\n"));
            text.push_str(&table(&header, step_lines(&step.value), env_of(&step.value), &mut |_| String::new()));
        }
    }
    for (name, image) in images {
        let header = format!("images.{}", key(name.as_str()));
        text.push('\n');
        text.push_str(&comments.at(image.span));
        text.push_str(&format!("[{header}]\n"));
        let places = image_places(image);
        let mut lines = image_lines(&image.value);
        order(&mut lines, &image.value);
        for (key, value) in lines {
            text.push_str(&places.get(key.as_str()).map(|place| comments.at(*place)).unwrap_or_default());
            text.push_str(&line(&key, &value));
        }
    }
    let left = comments.left();
    if !left.is_empty() {
        text.push('\n');
        text.push_str(&left);
    }
    text
}

/// The stages: by the image that they are made for, then as they stand in their file.
fn in_order(spec: &Spec) -> Vec<(&Name, &Spanned<Stage>)> {
    let image = |name: &Name| {
        let owner =
            spec.images.iter().find(|(image, _)| name.as_str().strip_prefix(image.as_str()).is_some_and(|rest| rest.starts_with('.')));
        owner.map(|(_, image)| image.span)
    };
    let mut stages: Vec<(&Name, &Spanned<Stage>)> = spec.stages.iter().collect();
    stages.sort_by_key(|(name, stage)| (image(name), stage.span.source, stage.span.start, name.as_str()));
    stages
}

fn stage_places(stage: &Spanned<Stage>) -> Vec<Span> {
    let steps = stage.value.steps.iter().map(|step| step.span);
    std::iter::once(stage.span).chain(setting_places(&stage.value).into_values()).chain(steps).collect()
}

/// Where the settings of a stage come from.
fn setting_places(stage: &Stage) -> BTreeMap<&'static str, Span> {
    let Settings { env, workdir, user, shell } = &stage.settings;
    let mut places = BTreeMap::new();
    places.extend(env.values().map(|value| value.span).min().map(|span| ("env", span)));
    places.extend(workdir.as_ref().map(|workdir| ("workdir", workdir.span)));
    places.extend(user.as_ref().map(|user| ("user", user.span)));
    places.extend(shell.as_ref().map(|shell| ("shell", shell.span)));
    places
}

/// Where the keys of an image come from, as far as comments may stand there.
fn image_places(image: &Spanned<Image>) -> BTreeMap<&'static str, Span> {
    let Image { entrypoint, cmd, expose, volumes, healthcheck, stop_signal, labels, author, .. } = &image.value;
    let lists = [("entrypoint", entrypoint), ("cmd", cmd), ("expose", expose), ("volumes", volumes)];
    // What is inherited has no place of its own.
    let own = |item: &&Text| item.as_literal() != Some(INHERITED);
    let first = |list: &Spanned<Vec<Text>>| list.value.iter().filter(own).map(|item| item.span).min().unwrap_or(list.span);
    let mut places: BTreeMap<&'static str, Span> =
        lists.into_iter().filter_map(|(name, list)| Some((name, first(list.as_ref()?)))).collect();
    places.extend(healthcheck.as_ref().map(|check| ("healthcheck", check.span)));
    places.extend(stop_signal.as_ref().map(|signal| ("stop_signal", signal.span)));
    places.extend(author.as_ref().map(|author| ("author", author.span)));
    places.extend(labels.values().map(|label| label.span).min().map(|span| ("labels", span)));
    places
}

/// Labels as they stand in their file.
fn order(lines: &mut Lines, image: &Image) {
    for (key, value) in lines {
        if key == "labels" {
            *value = inline(&image.labels);
        }
    }
}

/// The variables of a step.
fn env_of(step: &Step) -> &Env {
    static NONE: Env = Env::new();
    match &step.verb {
        Verb::Run(run) => &run.env,
        Verb::Setting(Setting::Env(env)) => env,
        Verb::Setting(Setting::Workdir { .. } | Setting::User(_) | Setting::Shell(_) | Setting::History(_))
        | Verb::Copy(_)
        | Verb::Write(_)
        | Verb::Fetch(_)
        | Verb::Extract(_)
        | Verb::Link(_)
        | Verb::MakeDirectory(_)
        | Verb::Remove(_) => &NONE,
    }
}

/// The lines of a table. An environment that is too long for one line becomes a table of its own, at the end.
fn table(header: &str, lines: Lines, env: &Env, remark: &mut dyn FnMut(&str) -> String) -> String {
    let mut text = String::new();
    let mut behind = String::new();
    for (key, value) in lines {
        let above = remark(&key);
        if key != "env" || env.is_empty() {
            text.push_str(&above);
            text.push_str(&line(&key, &value));
            continue;
        }
        let value = inline(env);
        if value.len() + 6 <= WIDTH {
            text.push_str(&above);
            text.push_str(&line(&key, &value));
            continue;
        }
        behind.push_str(&format!("\n{above}[{header}.env]\n"));
        for (name, value) in sorted(env) {
            behind.push_str(&line(&spec::key(name), &change_value(&value.value)));
        }
    }
    text + &behind
}

/// Entries as they stand in their file.
fn sorted(changes: &BTreeMap<String, Spanned<Change<Template>>>) -> Vec<(&String, &Spanned<Change<Template>>)> {
    let mut sorted: Vec<_> = changes.iter().collect();
    sorted.sort_by_key(|(name, value)| (value.span, name.as_str()));
    sorted
}

fn inline(changes: &BTreeMap<String, Spanned<Change<Template>>>) -> String {
    let entries: Vec<String> =
        sorted(changes).into_iter().map(|(name, value)| format!("{} = {}", spec::key(name), change_value(&value.value))).collect();
    format!("{{ {} }}", entries.join(", "))
}

/// `KEY = VALUE`; an array that is too long has its items on lines of their own.
fn line(key: &str, value: &str) -> String {
    let whole = format!("{key} = {value}\n");
    let items = if whole.chars().count() > WIDTH && !value.contains('\n') { items(value) } else { None };
    match items {
        Some(items) if items.len() > 1 => {
            let items: String = items.into_iter().map(|item| format!("  {item},\n")).collect();
            format!("{key} = [\n{items}]\n")
        }
        Some(_) | None => whole,
    }
}

/// The items of an array on one line.
fn items(value: &str) -> Option<Vec<&str>> {
    let inner = value.strip_prefix('[')?.strip_suffix(']')?;
    let (mut items, mut start, mut depth, mut quoted, mut escaped) = (Vec::new(), 0, 0_usize, false, false);
    for (at, character) in inner.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                items.push(inner[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(inner[start..].trim());
    Some(items)
}
