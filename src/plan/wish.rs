//! A wanted image and the end of its stage → how to run it, its remarks and its tags.
//!
//! What is not said is the stage's, and so the base's. An `entrypoint` takes an inherited `cmd` away, as in Docker, since arguments for
//! one program mean nothing to another; a `cmd` beside it stays. A `workdir` of an image makes no directory: an image has no layers of its own.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::diagnostics as say;
use super::fill::Scope;
use super::lower::End;
use super::path;
use super::select::{Selection, Wish};
use super::settings::{InForce, text};
use super::sink::Sink;
use super::{Compression, Format, Image, StageId};
use crate::diagnostic::Span;
use crate::image::{self, Reference};
use crate::spec::words::{is_signal, parse_ports};
use crate::spec::{self, Change, HealthcheckTest, INHERITED, Spanned, StagePlatform, Text};

/// An image, and the place of each of its tags.
pub(super) fn settle(wish: &Wish<'_>, selection: &Selection<'_>, ends: &[End], sink: &mut Sink) -> Option<(Image, Vec<Span>)> {
    let spec::Image {
        stage,
        tags,
        platforms: _,
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
    } = &wish.image.value;
    let place = selection.place(stage.as_str(), &wish.platform, &wish.platform)?;
    let end = ends.get(place)?;
    let node = selection.nodes.get(place)?;
    let platform = match node.stage.platform.as_ref().map(|platform| &platform.value) {
        // A stage that names its platform says what its images are for, as in Docker.
        Some(StagePlatform::Named(_)) => &node.platform,
        None | Some(StagePlatform::Target | StagePlatform::Builder) => &wish.platform,
    };
    if node.platform != *platform {
        sink.push(say::base_platform(stage.span, &format!("stage `{}`", stage.value), &node.platform.to_string(), platform));
    }
    let bare = selection.scope(&wish.platform, &wish.platform);
    let mut own = end.settings.clone();
    own.change(settings, bare, sink);
    let InForce { mut config, .. } = own.clone();
    let scope = Scope { env: Some(&own), ..bare };

    let mut good = true;
    let mut set = |result: Option<()>| good &= result.is_some();
    if let Some(entrypoint) = entrypoint {
        set(own.behind_shell(entrypoint, bare, sink).map(|words| config.entrypoint = list(words)));
        config.cmd = None;
    }
    if let Some(cmd) = cmd {
        set(own.behind_shell(cmd, bare, sink).map(|words| config.cmd = list(words)));
    }
    if let Some(expose) = expose {
        let (before, items) = on_top_of(config.exposed_ports.take(), expose);
        let listed: Vec<Option<Vec<String>>> = items.iter().map(|item| ports(item, scope, sink)).collect();
        set(listed.into_iter().collect::<Option<Vec<_>>>().map(|listed| config.exposed_ports = keys(before, listed.concat())));
    }
    if let Some(volumes) = volumes {
        let (before, items) = on_top_of(config.volumes.take(), volumes);
        let paths: Vec<Option<String>> = items.iter().map(|item| volume(item, scope, sink)).collect();
        set(paths.into_iter().collect::<Option<Vec<_>>>().map(|paths| config.volumes = keys(before, paths)));
    }
    if let Some(onbuild) = onbuild {
        config.on_build = list(onbuild.iter().map(|instruction| instruction.value.clone()).collect());
    }
    for (name, label) in labels {
        let all = config.labels.get_or_insert_default();
        match &label.value {
            Change::Set(template) => set(scope.word(&text(template, label.span), sink).map(|value| {
                all.insert(name.clone(), value);
            })),
            Change::Clear => {
                all.remove(name);
            }
        }
    }
    config.labels.take_if(|labels| labels.is_empty());
    match healthcheck.as_deref() {
        None => {}
        Some(Change::Clear) => config.healthcheck = None,
        Some(Change::Set(check)) => set(checked(check, scope, sink).map(|check| config.healthcheck = Some(check))),
    }
    match stop_signal {
        None => {}
        Some(Spanned { value: Change::Clear, .. }) => config.stop_signal = None,
        Some(Spanned { value: Change::Set(template), span }) => {
            set(signal(&text(template, *span), scope, sink).map(|signal| config.stop_signal = Some(signal)));
        }
    }
    let mut remarks = BTreeMap::new();
    for (name, remark) in annotations {
        set(scope.word(remark, sink).map(|value| {
            remarks.insert(name.clone(), value);
        }));
    }
    let author = match author {
        None => Some(end.author.clone()),
        Some(author) => scope.word(author, sink).map(Some),
    };
    let tags = settle_tags(tags, &wish.tags, bare, sink);
    let (format, compression) = settle_format(format.as_ref(), compression.as_ref(), annotations, sink);
    let (tags, spans) = tags?;
    let author = author?;
    let image = Image {
        name: wish.name.to_owned(),
        span: wish.image.span,
        stage: StageId(place),
        platform: platform.clone(),
        config,
        author,
        config_extra: end.extra.clone(),
        annotations: remarks,
        tags,
        format,
        compression,
    };
    good.then_some((image, spans))
}

/// A list of a config: an empty one is not there, so that it clears what a base brought.
fn list(words: Vec<String>) -> Option<Vec<String>> {
    (!words.is_empty()).then_some(words)
}

/// Ports and volumes are the keys of an object (OCI image-spec 1.1, "Image Configuration").
fn keys(before: BTreeMap<String, Value>, names: Vec<String>) -> Option<BTreeMap<String, Value>> {
    let mut all = before;
    all.extend(names.into_iter().map(|name| (name, Value::Object(Map::new()))));
    (!all.is_empty()).then_some(all)
}

/// What the base has where the list begins with it, and the rest of the list.
fn on_top_of(base: Option<BTreeMap<String, Value>>, items: &[Text]) -> (BTreeMap<String, Value>, &[Text]) {
    match items.split_first() {
        Some((first, rest)) if first.as_literal() == Some(INHERITED) => (base.unwrap_or_default(), rest),
        Some(_) | None => (BTreeMap::new(), items),
    }
}

/// What references bring may be several, as in Docker.
fn ports(text: &Text, scope: Scope<'_>, sink: &mut Sink) -> Option<Vec<String>> {
    let filled = scope.word(text, sink)?;
    let words: Vec<&str> = if text.as_literal().is_some() { vec![filled.as_str()] } else { filled.split_whitespace().collect() };
    let mut all = Vec::new();
    for word in words {
        match parse_ports(word) {
            Some(ports) => all.extend(ports),
            None => {
                sink.push(say::invalid_port(text.span, word));
                return None;
            }
        }
    }
    Some(all)
}

fn volume(text: &Text, scope: Scope<'_>, sink: &mut Sink) -> Option<String> {
    let filled = scope.word(text, sink)?;
    // One that is not absolute is the affair of whoever runs the image.
    if !filled.is_empty() && !filled.starts_with('/') {
        return Some(filled);
    }
    sink.take(path::below_root("/", &filled).map_err(|bad| say::bad_path(text.span, &filled, bad)))
}

fn signal(text: &Text, scope: Scope<'_>, sink: &mut Sink) -> Option<String> {
    let signal = scope.word(text, sink)?;
    if is_signal(&signal) {
        Some(signal)
    } else {
        sink.push(say::invalid_signal(text.span, &signal));
        None
    }
}

fn checked(check: &spec::Healthcheck, scope: Scope<'_>, sink: &mut Sink) -> Option<image::Healthcheck> {
    let spec::Healthcheck { test, interval, timeout, start_period, start_interval, retries } = check;
    let test = match &test.value {
        HealthcheckTest::Exec(words) => {
            let words = scope.words(words, sink)?;
            std::iter::once("CMD".to_owned()).chain(words).collect()
        }
        HealthcheckTest::Script(script) => vec!["CMD-SHELL".to_owned(), scope.script(script, sink)?],
        HealthcheckTest::Off => vec!["NONE".to_owned()],
    };
    // Docker keeps durations as signed nanoseconds.
    let nanoseconds = |duration: &Option<Spanned<std::time::Duration>>| {
        let most = i64::MAX.unsigned_abs();
        duration.as_ref().map(|duration| u64::try_from(duration.value.as_nanos()).unwrap_or(most).min(most))
    };
    Some(image::Healthcheck {
        test: Some(test),
        interval: nanoseconds(interval),
        timeout: nanoseconds(timeout),
        start_period: nanoseconds(start_period),
        start_interval: nanoseconds(start_interval),
        retries: retries.as_ref().map(|retries| u64::from(retries.value)),
        extra: BTreeMap::new(),
    })
}

/// The tags of the spec, then the caller's, each once; and their places.
fn settle_tags(own: &[Text], given: &[String], scope: Scope<'_>, sink: &mut Sink) -> Option<(Vec<Reference>, Vec<Span>)> {
    let own = own.iter().map(|text| (scope.word(text, sink), text.span)).collect::<Vec<_>>();
    let given = given.iter().map(|tag| (Some(tag.clone()), Span::NONE));
    let mut tags: Vec<Reference> = Vec::new();
    let mut spans = Vec::new();
    let mut good = true;
    for (tag, span) in own.into_iter().chain(given) {
        let tag = tag.and_then(|tag| sink.take(tag.parse::<Reference>().map_err(|error| say::invalid_tag(span, &error))));
        match tag {
            Some(tag) if tag.digest.is_some() => {
                sink.push(say::tag_with_digest(span, &tag.to_string()));
                good = false;
            }
            Some(tag) if !tags.contains(&tag) => {
                tags.push(tag);
                spans.push(span);
            }
            Some(_) => {}
            None => good = false,
        }
    }
    good.then_some((tags, spans))
}

fn settle_format(
    format: Option<&Spanned<spec::Format>>,
    compression: Option<&Spanned<spec::Compression>>,
    annotations: &BTreeMap<String, Text>,
    sink: &mut Sink,
) -> (Format, Compression) {
    let compression_span = compression.map_or(Span::NONE, |compression| compression.span);
    let compression = match compression.map(|compression| compression.value) {
        None | Some(spec::Compression::Gzip) => Compression::Gzip,
        Some(spec::Compression::GzipSingle) => Compression::GzipSingle,
        Some(spec::Compression::Zstd) => Compression::Zstd,
        Some(spec::Compression::None) => Compression::None,
    };
    let format = match format.map(|format| format.value) {
        None | Some(spec::Format::Oci) => Format::Oci,
        Some(spec::Format::Docker) => Format::Docker,
    };
    // Docker image manifest version 2, schema 2 has types for gzip and plain layers, and no annotations.
    match format {
        Format::Oci => {}
        Format::Docker => {
            if compression == Compression::Zstd {
                let hint = "use `compression = \"gzip\"`, or `format = \"oci\"`";
                sink.push(say::format_cannot_express(compression_span, format, "layers compressed with zstd", hint));
            }
            if let Some(first) = annotations.values().min_by_key(|text| text.span) {
                let hint = "use `labels`, or `format = \"oci\"`";
                sink.push(say::format_cannot_express(first.span, format, "annotations", hint));
            }
        }
    }
    (format, compression)
}
