//! TOML tables → the parts of a spec: the file, its stages and images.

use std::collections::BTreeMap;

use toml::Spanned as At;
use toml::de::{DeTable, DeValue};

use super::field::{Grammar, Kind};
use super::reader::{Fields, Value};
use super::sink::Sink;
use super::{
    Argument, Base, Change, Compression, Context, Format, Healthcheck, HealthcheckTest, Image, Name, OnBuild, Piece, Settings, Spanned,
    Spec, Stage, StagePlatform, Text, diagnostics, source_text, step_reader, tables, template_text, value,
};
use crate::diagnostic::Span;

/// Reads a whole file. What is missing or wrong is reported and has a stand-in, so that the rest can still be checked.
pub(super) fn spec(sink: &mut Sink<'_>, table: &At<DeTable<'_>>) -> Spec {
    let start = sink.span(0..0);
    let mut fields = Fields::new(sink, &tables::SPEC, table.get_ref(), start);
    if let Some(found) = fields.find("spec", Kind::Version) {
        version(fields.sink, found);
    }
    let epoch = fields.find("epoch", Kind::DateTime).and_then(|found| value::epoch(fields.sink, "epoch", found));
    let context = not_empty(&mut fields, "context");
    let ignore = not_empty(&mut fields, "ignore");
    let contexts = fields.find("contexts", Kind::Contexts).map_or_else(BTreeMap::new, |found| {
        named(fields.sink, "contexts", found, "a context", |sink, key, value| one_context(sink, &key.value, value))
    });
    let args = fields.find("args", Kind::Arguments).map_or_else(BTreeMap::new, |found| {
        named(fields.sink, "args", found, "an argument", |sink, key, value| {
            // An argument that could not be read is known all the same.
            Some(argument(sink, &key.value, value).unwrap_or_default())
        })
    });
    let stages = fields.find("stages", Kind::Tables(&tables::STAGE)).map_or_else(BTreeMap::new, |found| {
        let names: Vec<&str> = match found.get_ref() {
            DeValue::Table(stages) => stages.keys().map(|key| key.get_ref().as_ref()).collect(),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => Vec::new(),
        };
        let stages = named(fields.sink, "stages", found, "a stage", |sink, key, value| {
            Some(stage(sink, &key.value, value, &names).unwrap_or_else(|| stand_in(key.span)))
        });
        if stages.is_empty() && matches!(found.get_ref(), DeValue::Table(table) if table.is_empty()) {
            let span = fields.sink.span(found.span());
            fields.sink.report(diagnostics::no_stages(span));
        }
        stages
    });
    let images = fields.find("images", Kind::Tables(&tables::IMAGE)).map_or_else(BTreeMap::new, |found| {
        named(fields.sink, "images", found, "an image", |sink, key, value| image(sink, &key.value, value))
    });
    fields.finish();
    Spec { epoch, context, ignore, contexts, args, stages, images }
}

fn version(sink: &mut Sink<'_>, value: &Value<'_>) {
    let span = sink.span(value.span());
    match value.get_ref() {
        DeValue::Integer(number) if u32::from_str_radix(number.as_str(), number.radix()) == Ok(super::LANGUAGE_VERSION) => {}
        DeValue::Integer(number) => sink.report(diagnostics::unsupported_version(span, &number.to_string())),
        DeValue::String(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            sink.report(diagnostics::wrong_type(span, "spec", "the number 1", value::called(value.get_ref())).hint("write `spec = 1`"));
        }
    }
}

/// A table whose keys are names.
fn named<T>(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Value<'_>,
    what: &'static str,
    mut read: impl FnMut(&mut Sink<'_>, &Spanned<Name>, &Value<'_>) -> Option<T>,
) -> BTreeMap<Name, Spanned<T>> {
    let mut all = BTreeMap::new();
    let Some((entries, _)) = value::table(sink, key, value) else { return all };
    for (key, value) in entries {
        let name = value::key_name(sink, key, what);
        // Read under another name too, for the mistakes in it.
        let stand_in = || Name::new("_").ok().map(|name| Spanned::new(name, Span::NONE));
        let Some(read_as) = name.clone().or_else(stand_in) else { continue };
        let read = read(sink, &read_as, value);
        if let (Some(name), Some(read)) = (name, read) {
            all.insert(name.value, Spanned::new(read, name.span));
        }
    }
    all
}

/// A string that is taken as it is and cannot be empty.
fn not_empty(fields: &mut Fields<'_, '_, '_>, key: &'static str) -> Option<Spanned<String>> {
    let text = fields.plain(key)?;
    if text.is_empty() {
        fields.sink.report(diagnostics::empty_value(text.span, key, "empty"));
    }
    Some(text)
}

fn one_context(sink: &mut Sink<'_>, name: &Name, value: &Value<'_>) -> Option<Context> {
    if let DeValue::String(path) = value.get_ref() {
        let span = sink.span(value.span());
        if path.is_empty() {
            sink.report(diagnostics::empty_value(span, name.as_str(), "empty"));
        }
        return Some(Context { path: Spanned::new(path.to_string(), span), ignore: None });
    }
    let DeValue::Table(table) = value.get_ref() else {
        let expected = "its directory as a string, or a table";
        sink.report(diagnostics::wrong_type(sink.span(value.span()), name.as_str(), expected, value::called(value.get_ref())));
        return None;
    };
    let span = sink.span(value.span());
    let mut fields = Fields::new(sink, &tables::CONTEXT, table, span);
    let path = not_empty(&mut fields, "path");
    let ignore = not_empty(&mut fields, "ignore");
    fields.finish();
    Some(Context { path: path?, ignore })
}

fn argument(sink: &mut Sink<'_>, name: &Name, value: &Value<'_>) -> Option<Argument> {
    match value.get_ref() {
        DeValue::Table(table) => {
            let span = sink.span(value.span());
            let mut fields = Fields::new(sink, &tables::ARGUMENT, table, span);
            let default = fields.plain("default");
            let optional = fields.flag("optional", false, true);
            let choices = fields.plains("choices");
            let help = fields.plain("help");
            fields.finish();
            default.iter().for_each(|default| no_references(sink, default));
            if let Some(choices) = &choices
                && choices.is_empty()
            {
                sink.report(diagnostics::empty_value(choices.span, "choices", "an empty array"));
            }
            Some(Argument { default, optional, choices: choices.map_or_else(Vec::new, |choices| choices.value), help })
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            let (default, span) = value::string(sink, name.as_str(), value)?;
            let default = Spanned::new(default.to_owned(), span);
            no_references(sink, &default);
            Some(Argument { default: Some(default), ..Argument::default() })
        }
        DeValue::Array(_) => {
            let span = sink.span(value.span());
            let expected = "its default as a string, or a table";
            sink.report(
                diagnostics::wrong_type(span, name.as_str(), expected, "an array")
                    .hint("choices are written `{ choices = [\"…\", \"…\"] }`"),
            );
            None
        }
    }
}

/// A stage that could not be read is known all the same.
fn stand_in(span: Span) -> Stage {
    Stage { from: Spanned::new(Base::Scratch, span), platform: None, onbuild: None, settings: Settings::default(), steps: Vec::new() }
}

/// A default is taken as it is; what looks like a reference in it would surprise.
fn no_references(sink: &mut Sink<'_>, default: &Spanned<String>) {
    let template = template_text::read(default, &|_| default.span, &mut |_| {});
    for piece in template.pieces() {
        match piece {
            Piece::Literal(_) => {}
            Piece::Reference(reference) => {
                let why = "an argument's default is taken as it is";
                sink.report(diagnostics::reference_not_here(default.span, &template_text::reference(reference), why));
            }
        }
    }
}

fn stage(sink: &mut Sink<'_>, name: &Name, value: &Value<'_>, stages: &[&str]) -> Option<Stage> {
    let (table, span) = value::table(sink, name.as_str(), value)?;
    let mut fields = Fields::with_hints(sink, &tables::STAGE, table, span, |word| stage_key(word, name));
    let text = fields.required_text("from", Grammar::Base);
    let from = source_text::read_base(&text, &mut |diagnostic| fields.sink.report(diagnostic));
    bare_stage_name(fields.sink, &text, name, stages);
    let platform = fields.text("platform", Grammar::StagePlatform).map(|text| {
        let platform = match text.as_literal() {
            Some("target") => StagePlatform::Target,
            Some("builder") => StagePlatform::Builder,
            Some(_) | None => StagePlatform::Named(text.clone()),
        };
        Spanned::new(platform, text.span)
    });
    let onbuild = fields.word("onbuild", tables::ON_BUILD, &[OnBuild::Run, OnBuild::Keep]);
    let settings = settings(&mut fields);
    let steps = match fields.find("steps", Kind::AnyOf(tables::STEPS)) {
        None => Vec::new(),
        Some(found) => match value::array(fields.sink, "steps", "an array of tables", found) {
            None => Vec::new(),
            Some((items, _)) => items
                .iter()
                .enumerate()
                .filter_map(|(place, item)| step_reader::step(fields.sink, &format!("steps[{place}]"), item, stages))
                .collect(),
        },
    };
    fields.finish();
    Some(Stage { from, platform, onbuild, settings, steps })
}

/// A bare name is an image, also where a stage has it; that may not be what was meant.
fn bare_stage_name(sink: &mut Sink<'_>, from: &Text, own: &Name, stages: &[&str]) {
    if let Some(bare) = from.as_literal()
        && bare != own.as_str()
        && stages.contains(&bare)
        && bare != "scratch"
    {
        sink.report(diagnostics::bare_stage_name(from.span, bare));
    }
}

/// What to say of a key that a stage does not have, but its steps or an image do.
fn stage_key(word: &str, name: &Name) -> Option<String> {
    if tables::STEPS.iter().any(|step| step.name == word) {
        Some(format!("`{word}` is a step: write it below `[[stages.{name}.steps]]`"))
    } else if tables::IMAGE.field(word).is_some() {
        Some(format!("`{word}` belongs to an image: write it below `[images.NAME]`"))
    } else {
        None
    }
}

fn settings(fields: &mut Fields<'_, '_, '_>) -> Settings {
    Settings {
        env: fields.env("env"),
        workdir: fields.text_or_false("workdir", Grammar::Destination),
        user: fields.text_or_false("user", Grammar::Owner),
        shell: fields.texts("shell", Grammar::Free),
    }
}

fn image(sink: &mut Sink<'_>, name: &Name, value: &Value<'_>) -> Option<Image> {
    let (table, span) = value::table(sink, name.as_str(), value)?;
    let mut fields = Fields::new(sink, &tables::IMAGE, table, span);
    let stage = fields.name("stage", "a stage");
    let tags = fields.list("tags", Grammar::Tag);
    let platforms =
        fields.find("platforms", Kind::Platforms).map_or_else(Vec::new, |found| value::platforms(fields.sink, "platforms", found));
    let settings = settings(&mut fields);
    let entrypoint = fields.texts("entrypoint", Grammar::Free);
    let cmd = fields.texts("cmd", Grammar::Free);
    let expose = fields.texts("expose", Grammar::Port);
    let volumes = fields.texts("volumes", Grammar::Volume);
    let labels = fields.find("labels", Kind::Labels).map_or_else(BTreeMap::new, |found| value::labels(fields.sink, "labels", found));
    let annotations = fields
        .find("annotations", Kind::Annotations)
        .map_or_else(BTreeMap::new, |found| value::annotations(fields.sink, "annotations", found));
    let healthcheck =
        fields.find("healthcheck", Kind::TableOrFalse(&tables::HEALTHCHECK)).and_then(|found| healthcheck(fields.sink, found));
    let stop_signal = fields.text_or_false("stop_signal", Grammar::Signal);
    let author = fields.text("author", Grammar::Free);
    let onbuild = fields.plain_list("onbuild");
    let format = fields.word("format", tables::FORMAT, &[Format::Oci, Format::Docker]);
    let compression = fields.word(
        "compression",
        tables::COMPRESSION,
        &[Compression::Gzip, Compression::GzipSingle, Compression::Zstd, Compression::None],
    );
    fields.finish();
    Some(Image {
        stage: stage?,
        tags,
        platforms,
        settings,
        entrypoint,
        cmd,
        expose,
        volumes,
        labels,
        annotations,
        healthcheck,
        stop_signal,
        author,
        onbuild,
        format,
        compression,
    })
}

fn healthcheck(sink: &mut Sink<'_>, value: &Value<'_>) -> Option<Spanned<Change<Healthcheck>>> {
    let span = sink.span(value.span());
    let DeValue::Table(table) = value.get_ref() else {
        if let DeValue::Boolean(false) = value.get_ref() {
            return Some(Spanned::new(Change::Clear, span));
        }
        let expected = "a table, or `false` to take it away";
        sink.report(diagnostics::wrong_type(span, "healthcheck", expected, value::called(value.get_ref())));
        return None;
    };
    let mut fields = Fields::new(sink, &tables::HEALTHCHECK, table, span);
    let test = fields.texts("test", Grammar::Free);
    let interval = fields.duration("interval");
    let timeout = fields.duration("timeout");
    let start_period = fields.duration("start_period");
    let start_interval = fields.duration("start_interval");
    let retries = fields.number("retries", u32::MAX);
    fields.finish();
    let test = test?;
    let span_of_test = test.span;
    let test = match healthcheck_test(test.value) {
        Ok(test) => Spanned::new(test, span_of_test),
        Err(why) => {
            sink.report(diagnostics::bad_healthcheck(span_of_test, why));
            return None;
        }
    };
    Some(Spanned::new(Change::Set(Healthcheck { test, interval, timeout, start_period, start_interval, retries }), span))
}

fn healthcheck_test(mut words: Vec<Text>) -> Result<HealthcheckTest, &'static str> {
    if words.is_empty() {
        return Err("it is empty");
    }
    let first = words.remove(0);
    match (first.as_literal(), words.len()) {
        (Some("CMD"), 0) => Err("`CMD` needs a program"),
        (Some("CMD"), _) => Ok(HealthcheckTest::Exec(words)),
        (Some("CMD-SHELL"), 1) => words.pop().map(HealthcheckTest::Script).ok_or("`CMD-SHELL` needs one script"),
        (Some("CMD-SHELL"), _) => Err("`CMD-SHELL` needs one script"),
        (Some("NONE"), 0) => Ok(HealthcheckTest::Off),
        (Some("NONE"), _) => Err("nothing can follow `NONE`"),
        (Some(_) | None, _) => Err("it begins with something else"),
    }
}
