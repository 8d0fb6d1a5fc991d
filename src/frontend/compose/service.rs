//! A service as a node in, what its image is built from out.
//!
//! Compose Build specification, <https://docs.docker.com/reference/compose-file/build/>.

use std::collections::BTreeMap;

use super::diagnostics as say;
use super::node::{Entry, Node, Value};
use super::path;
use super::reader::{Pair, Pairs, Reader};
use crate::diagnostic::{Diagnostic, Span};
use crate::spec::Spanned;

/// What of a service has to do with building.
#[derive(Debug, Clone, Default)]
pub(super) struct Service {
    pub(super) build: Option<Build>,
    pub(super) image: Option<Spanned<String>>,
    pub(super) platform: Option<Spanned<String>>,
    pub(super) profiles: Vec<String>,
    /// What is wrong with it; of interest only where it is built.
    pub(super) found: Vec<Diagnostic>,
}

/// `build`. Paths are relative to the directory of the Compose file that is built.
#[derive(Debug, Clone)]
pub(super) struct Build {
    pub(super) span: Span,
    pub(super) context: Option<Spanned<String>>,
    pub(super) dockerfile: Option<Spanned<String>>,
    pub(super) inline: Option<Spanned<String>>,
    pub(super) args: Pairs,
    pub(super) target: Option<Spanned<String>>,
    pub(super) tags: Vec<Spanned<String>>,
    pub(super) labels: Pairs,
    pub(super) platforms: Vec<Spanned<String>>,
    pub(super) secrets: Vec<Grant>,
    pub(super) ssh: Pairs,
    pub(super) contexts: Pairs,
    pub(super) network: Option<Spanned<String>>,
}

/// A secret that a service's build may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    /// Its name at the top of the file.
    pub(super) source: Spanned<String>,
    /// Its name in the Dockerfile.
    pub(super) target: Spanned<String>,
}

/// Every key of `build` that the specification knows.
const KEYS: [&str; 26] = [
    "additional_contexts",
    "args",
    "cache_from",
    "cache_to",
    "context",
    "dockerfile",
    "dockerfile_inline",
    "entitlements",
    "extra_hosts",
    "isolation",
    "labels",
    "network",
    "no_cache",
    "platforms",
    "privileged",
    "provenance",
    "pull",
    "sbom",
    "secrets",
    "shm_size",
    "ssh",
    "tags",
    "target",
    "ulimits",
    "no_cache_filter",
    "x-",
];

/// How many inherited items a list's own ones are compared with, so that what stands twice counts once.
const MOST_COMPARED: usize = 100;

/// Reads a service of a file in `directory`, without what it extends.
pub(super) fn read(name: &str, node: &Node, directory: &str, reader: &mut Reader<'_>) -> Service {
    let what = format!("services.{name}");
    let mut service = Service::default();
    for Entry { key, key_span, node } in reader.map(&what, node) {
        let what = format!("{what}.{key}");
        match key.as_str() {
            "build" if !node.is_nothing() => service.build = Some(build(&what, *key_span, node, directory, reader)),
            "image" if !node.is_nothing() => service.image = reader.text(&what, node),
            "platform" if !node.is_nothing() => service.platform = reader.text(&what, node),
            "profiles" => service.profiles = reader.texts(&what, node).into_iter().map(|profile| profile.value).collect(),
            _ => {}
        }
    }
    service.found = std::mem::take(&mut reader.found);
    service
}

fn build(what: &str, span: Span, node: &Node, directory: &str, reader: &mut Reader<'_>) -> Build {
    let mut build = Build {
        span,
        context: None,
        dockerfile: None,
        inline: None,
        args: Pairs::new(),
        target: None,
        tags: Vec::new(),
        labels: Pairs::new(),
        platforms: Vec::new(),
        secrets: Vec::new(),
        ssh: Pairs::new(),
        contexts: Pairs::new(),
        network: None,
    };
    match &node.value {
        Value::Scalar(_) => {
            build.context = reader.text(what, node).map(|context| context.map(|context| path::join(directory, &context)));
        }
        Value::List(_) => reader.wrong_type(what, "a directory, or a map", node),
        Value::Map(entries) => {
            for entry in entries {
                key(&mut build, what, entry, directory, reader);
            }
            // Without a context, Compose takes the directory of the file.
            if build.context.is_none() {
                build.context = Some(Spanned::new(path::join(directory, "."), span));
            }
        }
    }
    build
}

fn key(build: &mut Build, what: &str, entry: &Entry, directory: &str, reader: &mut Reader<'_>) {
    let Entry { key, key_span, node } = entry;
    let whole = what;
    let what = &format!("{what}.{key}");
    let is_written = !node.is_nothing();
    match key.as_str() {
        "context" => build.context = reader.text(what, node).map(|context| context.map(|context| path::join(directory, &context))),
        "dockerfile" if is_written => build.dockerfile = reader.text(what, node),
        "dockerfile_inline" if is_written => build.inline = reader.text(what, node),
        "args" => build.args = reader.pairs(what, node),
        "target" if is_written => build.target = reader.text(what, node),
        "tags" => build.tags = reader.texts(what, node),
        "labels" => build.labels = reader.pairs(what, node),
        "platforms" => build.platforms = reader.texts(what, node),
        "network" if is_written => build.network = reader.text(what, node),
        "ssh" => {
            build.ssh = match &node.value {
                Value::Scalar(_) if is_written => {
                    reader.one_or_more(what, node).into_iter().map(|id| (id.value, Pair { span: id.span, value: None })).collect()
                }
                Value::Scalar(_) | Value::List(_) | Value::Map(_) => reader.pairs(what, node),
            };
            for pair in build.ssh.values_mut() {
                pair.value = pair.value.take().filter(|value| !value.is_empty()).map(|value| {
                    let paths: Vec<String> = value.split(',').map(|path| path::join(directory, path)).collect();
                    paths.join(",")
                });
            }
        }
        "additional_contexts" => {
            build.contexts = reader.pairs(what, node);
            for pair in build.contexts.values_mut() {
                pair.value = pair.value.take().map(|value| if value.contains(':') { value } else { path::join(directory, &value) });
            }
        }
        "secrets" => build.secrets = grants(what, node, reader),
        "cache_from" | "cache_to" => reader.report(say::no_effect(*key_span, key, "name caches by `--cache-from` and `--cache-to`")),
        "no_cache" | "no_cache_filter" | "pull" => {
            if node.is_nothing() || reader.one_or_more(what, node).iter().any(|text| text.value != "false") {
                let option = if key == "pull" { "`--pull`" } else { "`--no-cache`" };
                reader.report(say::no_effect(*key_span, key, &format!("say {option} on the command line")));
            }
        }
        "privileged" => {
            if reader.truth(what, node) == Some(true) {
                reader.report(say::no_effect(*key_span, key, "steps never have more privileges than their namespaces give them"));
            }
        }
        "entitlements" | "isolation" => {
            reader.report(say::no_effect(*key_span, key, "steps are kept apart in one way; see `lapstrake doctor`"));
        }
        "provenance" | "sbom" => reader.report(say::no_effect(*key_span, key, "no attestations are written")),
        "shm_size" | "ulimits" => reader.report(say::no_effect(*key_span, key, "steps have the limits of the builder")),
        "extra_hosts" => {
            let message = "`extra_hosts` is not supported: steps have an /etc/hosts of their own";
            reader.report(say::not_supported(*key_span, message));
        }
        "dockerfile" | "dockerfile_inline" | "target" | "network" => {}
        _ if key.starts_with("x-") => {}
        _ => reader.report(say::unknown_key(*key_span, whole, key, KEYS.into_iter().filter(|key| *key != "x-"))),
    }
}

/// `secrets`: names, or maps with `source` and `target`.
fn grants(what: &str, node: &Node, reader: &mut Reader<'_>) -> Vec<Grant> {
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        Value::Scalar(_) if node.is_nothing() => &[],
        Value::Scalar(_) | Value::Map(_) => {
            reader.wrong_type(what, "a list", node);
            &[]
        }
    };
    let mut grants = Vec::new();
    for item in items {
        let Value::Map(entries) = &item.value else {
            grants.extend(reader.text(what, item).map(|name| Grant { source: name.clone(), target: name }));
            continue;
        };
        let (mut source, mut target) = (None, None);
        for Entry { key, key_span, node } in entries {
            match key.as_str() {
                "source" => source = reader.text(&format!("{what}.source"), node),
                "target" => target = reader.text(&format!("{what}.target"), node),
                // Docker, too, leaves owner and mode to the mount in the Dockerfile.
                "uid" | "gid" | "mode" => reader.report(say::no_effect(*key_span, key, "the mount in the Dockerfile says who owns it")),
                _ if key.starts_with("x-") => {}
                _ => reader.report(say::unknown_key(*key_span, what, key, ["source", "target", "uid", "gid", "mode"])),
            }
        }
        match source {
            Some(source) => grants.push(Grant { target: target.unwrap_or_else(|| source.clone()), source }),
            None if entries.iter().any(|entry| entry.key == "source") => {}
            None => reader.report(say::missing(item.span, what, "source")),
        }
    }
    grants
}

impl Service {
    /// What a service is that extends another: its own where it says something, else the other's; lists and maps are put together.
    pub(super) fn on(self, base: Service) -> Service {
        let build = match (self.build, base.build) {
            (Some(own), Some(base)) => Some(own.on(base)),
            (own, base) => own.or(base),
        };
        Service {
            build,
            image: self.image.or(base.image),
            platform: self.platform.or(base.platform),
            profiles: appended(base.profiles, self.profiles),
            found: base.found.into_iter().chain(self.found).collect(),
        }
    }
}

impl Build {
    fn on(self, base: Build) -> Build {
        // A context that nobody wrote stands at the place of the `build` itself.
        let context = match (self.context, base.context) {
            (Some(own), Some(base)) if own.span == self.span => Some(base),
            (own, base) => own.or(base),
        };
        Build {
            span: self.span,
            context,
            dockerfile: self.dockerfile.or(base.dockerfile),
            inline: self.inline.or(base.inline),
            args: merged(base.args, self.args),
            target: self.target.or(base.target),
            tags: appended(base.tags, self.tags),
            labels: merged(base.labels, self.labels),
            platforms: appended(base.platforms, self.platforms),
            secrets: appended(base.secrets, self.secrets),
            ssh: merged(base.ssh, self.ssh),
            contexts: merged(base.contexts, self.contexts),
            network: self.network.or(base.network),
        }
    }
}

fn merged(mut base: BTreeMap<String, Pair>, own: BTreeMap<String, Pair>) -> BTreeMap<String, Pair> {
    base.extend(own);
    base
}

fn appended<T: PartialEq>(mut base: Vec<T>, own: Vec<T>) -> Vec<T> {
    let inherited = base.len().min(MOST_COMPARED);
    for item in own {
        if !base.iter().take(inherited).any(|known| *known == item) {
            base.push(item);
        }
    }
    base
}
