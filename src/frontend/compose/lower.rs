//! The text of a Compose file in; its services, their Dockerfiles and all that they name put into one spec out.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::contexts::{self, Stands};
use super::diagnostics::{self as say, Declarer};
use super::document::Document;
use super::dotenv;
use super::extends::Documents;
use super::include;
use super::node::{Node, Value};
use super::path;
use super::reader::{Reader, Variables};
use super::service::{Build, Grant, Service};
use super::{AgentSource, Compose, Files, NotBuilt, Options, Reason, RepositoryKeys, SecretSource};
use crate::diagnostic::{Diagnostic, Label, SourceId, Span};
use crate::frontend::dockerfile;
use crate::image::{Platform, Reference};
use crate::spec::{Argument, Change, Context, Image, Name, Network, OnBuild, Spanned, Spec, Template, Verb};

/// A service that is built.
struct Built {
    /// The file that it is in.
    document: Rc<Document>,
    name: Spanned<Name>,
    service: Service,
    build: Build,
}

/// Where a context comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Here,
    /// What is in it is not to be trusted with more than itself.
    Repository,
}

/// Where a service's files come from, and which file says what is left out.
type Place = (String, Option<String>);

/// Reads everything.
pub(super) fn lower(
    source: SourceId,
    text: &str,
    options: &Options,
    files: &mut dyn Files,
    found: &mut Vec<Diagnostic>,
) -> Option<Compose> {
    let mut variables = Variables { surroundings: options.variables.clone(), file: BTreeMap::new() };
    match files.read(".env") {
        Ok(Some((source, text))) => {
            variables.file = dotenv::read(source, &text, &options.variables, &mut |diagnostic| found.push(diagnostic))
        }
        Ok(None) => {}
        Err(why) => found.push(say::unreadable(Span { source, start: 0, end: 0 }, ".env", &why)),
    }
    let document = Rc::new(Document::read(source, text, ".".to_owned(), &mut |diagnostic| found.push(diagnostic))?);
    let all = include::all(&document, files, &mut variables, found);
    let mut documents = Documents::new(files, &variables);
    let (mut built, mut not_built) = (Vec::new(), Vec::new());
    let mut places: BTreeMap<String, Span> = BTreeMap::new();
    for (file, document) in &all {
        for entry in &document.services {
            if let Some(first) = places.insert(entry.key.clone(), entry.key_span) {
                let message = format!("there is a service `{}` in another file, too", entry.key);
                found.push(say::bad_value(entry.key_span, "services", &message).also(first, "that one"));
            }
        }
        let (more, others) = sort(document, file, options, &mut documents, found);
        built.extend(more);
        not_built.extend(others);
    }
    found.append(&mut documents.found);
    let nothing = built.is_empty() && !not_built.iter().any(|service| matches!(service.reason, Reason::Profiles(_)));
    if nothing && found.is_empty() {
        let span = Span { source, start: document.root.span.start, end: document.root.span.start };
        found.push(say::nothing_to_build(span, not_built.len()));
    }
    let mut lowering = Lowering {
        options,
        variables: &variables,
        files,
        compose: Compose { spec: Spec::default(), not_built, secrets: BTreeMap::new(), agents: BTreeMap::new(), offered: BTreeMap::new() },
        stands: Stands::default(),
        places: BTreeMap::new(),
        dockerfiles: BTreeMap::new(),
        found,
    };
    lowering.all(built);
    Some(lowering.compose)
}

/// Which services are built, with all that they extend.
fn sort(
    document: &Rc<Document>,
    file: &str,
    options: &Options,
    documents: &mut Documents<'_>,
    found: &mut Vec<Diagnostic>,
) -> (Vec<Built>, Vec<NotBuilt>) {
    let profiles: BTreeSet<String> = if options.profiles.is_empty() {
        let variable = documents.variables.get("COMPOSE_PROFILES").map_or("", String::as_str);
        variable.split(',').map(str::trim).filter(|profile| !profile.is_empty()).map(str::to_owned).collect()
    } else {
        options.profiles.clone()
    };
    let (mut built, mut not_built) = (Vec::new(), Vec::new());
    for entry in &document.services {
        let service = documents.service(document, file, entry);
        let is_on = service.profiles.is_empty()
            || options.services.contains(&entry.key)
            || profiles.contains("*")
            || service.profiles.iter().any(|profile| profiles.contains(profile));
        let left_out = |reason| NotBuilt { service: Spanned::new(entry.key.clone(), entry.key_span), reason };
        match &service.build {
            None => {
                // Whether it is built may be what could not be read.
                if entry.node.get("extends").is_some() {
                    found.extend(service.found);
                }
                not_built.push(left_out(Reason::OnlyRuns));
            }
            Some(_) if !is_on => not_built.push(left_out(Reason::Profiles(service.profiles))),
            Some(build) => {
                found.extend(service.found.iter().cloned());
                match Name::new(entry.key.clone()) {
                    Ok(name) => {
                        let document = Rc::clone(document);
                        built.push(Built { document, name: Spanned::new(name, entry.key_span), build: build.clone(), service });
                    }
                    Err(error) => found.push(say::bad_value(entry.key_span, "services", &error.to_string())),
                }
            }
        }
    }
    (built, not_built)
}

/// What is put together.
struct Lowering<'a> {
    options: &'a Options,
    variables: &'a Variables,
    files: &'a mut dyn Files,
    compose: Compose,
    stands: Stands,
    /// The contexts by what they are; `None` is the default one.
    places: BTreeMap<Place, Option<Name>>,
    /// The Dockerfiles that were read, by path.
    dockerfiles: BTreeMap<String, (SourceId, String)>,
    found: &'a mut Vec<Diagnostic>,
}

impl Lowering<'_> {
    fn all(&mut self, built: Vec<Built>) {
        let prepared: Vec<(Built, SourceId, String, Place)> = built
            .into_iter()
            .filter_map(|built| {
                let (source, text, place) = self.dockerfile(&built)?;
                Some((built, source, text, place))
            })
            .collect();
        self.name_contexts(&prepared);
        for (built, source, text, place) in &prepared {
            self.image(built, *source, text, place);
        }
        let Lowering { compose, stands, found, .. } = self;
        stands.put(&mut compose.spec, &mut |diagnostic| found.push(diagnostic));
    }

    /// The directory of a service's context: fetched where it is a git repository.
    fn context(&mut self, built: &Built, what: &str) -> Option<(Spanned<String>, Origin)> {
        let context = built.build.context.clone()?;
        if !path::is_remote(&context) {
            return Some((context, Origin::Here));
        }
        let keys = self.repository_keys(built);
        match self.files.repository(&context, &keys) {
            Ok(Some(directory)) => Some((Spanned::new(directory, context.span), Origin::Repository)),
            Ok(None) => {
                self.found.push(say::no_repository(context.span, &context));
                None
            }
            Err(why) => {
                self.found.push(say::not_fetched(context.span, &format!("{what}.context"), &why));
                None
            }
        }
    }

    /// The Dockerfile of a service, and where its files come from.
    fn dockerfile(&mut self, built: &Built) -> Option<(SourceId, String, Place)> {
        let Built { name, build, .. } = built;
        let what = format!("services.{}.build", name.value);
        let (context, origin) = self.context(built, &what)?;
        if let (Some(file), Some(inline)) = (&build.dockerfile, &build.inline) {
            let diagnostic = say::bad_value(inline.span, &what, "there can be one of `dockerfile` and `dockerfile_inline`");
            self.found.push(diagnostic.also(file.span, "the other"));
            return None;
        }
        if let Some(inline) = &build.inline {
            let source = self.files.add(&format!("{what}.dockerfile_inline"), inline);
            return Some((source, inline.value.clone(), (context.value, None)));
        }
        let (named, span) = build.dockerfile.as_ref().map_or(("Dockerfile", context.span), |file| (file.value.as_str(), file.span));
        let file = path::join(&context, named);
        if origin == Origin::Repository && !file.strip_prefix(context.as_str()).is_some_and(|rest| rest.starts_with('/')) {
            let why = format!("`{named}` leads out of the repository that is the context");
            self.found.push(say::bad_value(span, &format!("{what}.dockerfile"), &why));
            return None;
        }
        let (source, text) = match self.dockerfiles.get(&file) {
            Some(known) => known.clone(),
            None => match self.files.read(&file) {
                Ok(Some(read)) => self.dockerfiles.entry(file.clone()).or_insert(read).clone(),
                Ok(None) => {
                    // Where a repository was put is nobody's matter.
                    let shown = match origin {
                        Origin::Here => &file,
                        Origin::Repository => named,
                    };
                    self.found.push(say::no_file(span, "Dockerfile", shown));
                    return None;
                }
                Err(why) => {
                    self.found.push(say::unreadable(span, &file, &why));
                    return None;
                }
            },
        };
        let ignore = format!("{file}.dockerignore");
        let ignore = matches!(self.files.read(&ignore), Ok(Some(_))).then_some(ignore);
        Some((source, text, (context.value, ignore)))
    }

    /// Gives names to contexts. What all services share is the default one.
    fn name_contexts(&mut self, prepared: &[(Built, SourceId, String, Place)]) {
        let spec = &mut self.compose.spec;
        for (built, _, _, place) in prepared {
            let span = built.build.context.as_ref().map_or(built.build.span, |context| context.span);
            let path = Spanned::new(place.0.clone(), span);
            let ignore = place.1.clone().map(|ignore| Spanned::new(ignore, span));
            if prepared.iter().all(|(_, _, _, other)| other == place) {
                spec.context = (place.0 != ".").then_some(path);
                spec.ignore = ignore;
                self.places.insert(place.clone(), None);
                return;
            }
            self.places.entry(place.clone()).or_insert_with(|| {
                let name = built.name.value.clone();
                spec.contexts.insert(name.clone(), Spanned::new(Context { path, ignore }, span));
                Some(name)
            });
        }
    }

    fn image(&mut self, built: &Built, source: SourceId, text: &str, place: &Place) {
        let Built { document, name, service, build } = built;
        let what = format!("services.{}.build", name.value);
        let keys = self.repository_keys(built);
        let Lowering { compose, stands, found, files, .. } = self;
        let mut fetch = |address: &str| files.repository(address, &keys);
        let contexts =
            contexts::read(name, &build.contexts, &mut compose.spec, stands, &mut fetch, &mut |diagnostic| found.push(diagnostic));
        let platforms = self.platforms(&what, service, build);
        let arguments = self.arguments(build);
        let values = arguments.iter().map(|(name, value)| (name.clone(), value.value.clone()));
        let options = dockerfile::Options {
            target: build.target.as_ref().map(|target| target.value.clone()),
            image: Some(name.value.clone()),
            prefix: Some(name.value.clone()),
            context: self.places.get(place).cloned().flatten(),
            contexts,
            arguments: values.chain(self.options.arguments.clone()).collect(),
            platform: self.options.platform.clone().or_else(|| platforms.first().map(|platform| platform.value.clone())),
            purpose: self.options.purpose,
        };
        let parsed = dockerfile::parse(source, text, &options);
        self.found.extend(parsed.diagnostics.into_iter().map(|diagnostic| match (&build.target, diagnostic.code.0) {
            // It is not the Dockerfile that asks for it.
            (Some(target), "unknown-target") => Diagnostic { labels: vec![Label { span: target.span, text: String::new() }], ..diagnostic },
            (_, _) => diagnostic,
        }));
        let spec = parsed.value;
        self.secrets(document, build);
        self.agents(&what, build);
        let tags = self.tags(&what, service, build);
        let Some(mut spec) = spec else { return };
        self.set_arguments(&name.value, &mut spec, arguments);
        self.network(&what, build, &mut spec);
        if let Some(image) = spec.images.get_mut(name.as_str()) {
            image.span = name.span;
            set_image(&mut image.value, tags, platforms, build);
        }
        let whole = &mut self.compose.spec;
        whole.args.extend(spec.args);
        whole.stages.extend(spec.stages);
        whole.images.extend(spec.images);
        whole.contexts.extend(spec.contexts);
    }

    /// The values of arguments; one without a value has that of the variable of its name, if there is one.
    fn arguments(&self, build: &Build) -> BTreeMap<String, Spanned<String>> {
        let value = |name: &str, value: Option<&String>| value.or_else(|| self.variables.get(name)).cloned();
        let pairs = build.args.iter();
        pairs.filter_map(|(name, pair)| Some((name.clone(), Spanned::new(value(name, pair.value.as_ref())?, pair.span)))).collect()
    }

    /// Makes the values defaults of the spec's arguments, which the caller may still set.
    fn set_arguments(&mut self, service: &Name, spec: &mut Spec, arguments: BTreeMap<String, Spanned<String>>) {
        for (name, value) in arguments {
            let declared = Name::new(format!("{service}.{name}")).ok().and_then(|name| spec.args.get_mut(&name));
            match declared {
                Some(argument) => {
                    let Argument { choices, help, .. } = std::mem::take(&mut argument.value);
                    argument.value = Argument { default: Some(value), optional: None, choices, help };
                }
                None if dockerfile::PROXY_ARGUMENTS.contains(&name.as_str()) => {
                    let hint = format!("give it with `--build-arg {name}=…`, which reaches every step that uses the network");
                    self.found.push(say::no_effect(value.span, &name, "a proxy belongs to the machine").hint(hint));
                }
                None => self.offer(service, spec, &name, value),
            }
        }
    }

    /// Makes an argument of a value that the Dockerfile does not declare, where a base may.
    fn offer(&mut self, service: &Name, spec: &mut Spec, name: &str, value: Spanned<String>) {
        let carries_out = spec.stages.values().any(|stage| stage.onbuild.as_ref().is_some_and(|onbuild| onbuild.value == OnBuild::Run));
        let declarer = if carries_out { Declarer::Base } else { Declarer::Nobody };
        let prefix = format!("{service}.");
        let known = spec.args.keys().filter_map(|known| known.as_str().strip_prefix(&prefix));
        let unused = say::unused_argument(value.span, name, declarer, known);
        match Name::new(format!("{prefix}{name}")) {
            Ok(full) if carries_out => {
                let span = value.span;
                spec.args.insert(full.clone(), Spanned::new(Argument { default: Some(value), ..Argument::default() }, span));
                self.compose.offered.insert(full, unused);
            }
            Ok(_) | Err(_) => self.found.push(unused),
        }
    }

    /// `platforms`, else the service's own `platform`.
    fn platforms(&mut self, what: &str, service: &Service, build: &Build) -> Vec<Spanned<Platform>> {
        let written: Vec<&Spanned<String>> =
            if build.platforms.is_empty() { service.platform.iter().collect() } else { build.platforms.iter().collect() };
        let mut platforms: Vec<Spanned<Platform>> = Vec::new();
        for text in written {
            // Docker takes a processor alone for one of Linux.
            let alone = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let full = if alone { format!("linux/{}", text.value) } else { text.value.clone() };
            match full.parse::<Platform>() {
                Ok(platform) if platforms.iter().any(|known| known.value == platform) => {}
                Ok(platform) => platforms.push(Spanned::new(platform, text.span)),
                Err(error) => self.found.push(say::bad_value(text.span, &format!("{what}.platforms"), &error.to_string())),
            }
        }
        platforms
    }

    /// `image`, then `tags`.
    fn tags(&mut self, what: &str, service: &Service, build: &Build) -> Vec<Spanned<String>> {
        let mut tags: Vec<Spanned<String>> = Vec::new();
        for tag in service.image.iter().chain(&build.tags) {
            match tag.parse::<Reference>() {
                Ok(reference) if tag.contains('@') || reference.to_string().contains('@') => {
                    let message = format!("`{}` has a digest, which is not known before it is built", tag.value);
                    self.found.push(say::bad_value(tag.span, &format!("{what}.tags"), &message));
                }
                Ok(_) if tags.contains(tag) => {}
                Ok(_) => tags.push(tag.clone()),
                Err(error) => self.found.push(say::bad_value(tag.span, &format!("{what}.tags"), &error.to_string())),
            }
        }
        tags
    }

    fn network(&mut self, what: &str, build: &Build, spec: &mut Spec) {
        let Some(network) = &build.network else { return };
        match network.as_str() {
            "host" | "default" => {}
            "none" => {
                for step in spec.stages.values_mut().flat_map(|stage| &mut stage.value.steps) {
                    if let Verb::Run(run) = &mut step.value.verb {
                        run.network = Some(Spanned::new(Network::Off, network.span));
                    }
                }
            }
            other => {
                let message = format!("`{what}.network`: steps cannot join the network `{other}`");
                self.found.push(say::not_supported(network.span, message).hint("there are `host` and `none`"));
            }
        }
    }

    /// What a service gives to whoever fetches its context. What is wrong with it is said of its secrets.
    fn repository_keys(&mut self, built: &Built) -> RepositoryKeys {
        let Built { document, build, .. } = built;
        let said = self.found.len();
        let secret = |lowering: &mut Self, Grant { source, target }: &Grant| {
            let declared = document.root.get("secrets").and_then(|secrets| secrets.get(&source.value))?;
            Some((Name::new(target.value.clone()).ok()?, lowering.secret(&source.value, declared, &document.directory)?))
        };
        let secrets = build.secrets.iter().filter_map(|grant| secret(self, grant)).collect();
        self.found.truncate(said);
        RepositoryKeys { agent: build.ssh.get("default").map(|pair| agent_source(pair.value.as_ref())), secrets }
    }

    /// The secrets that a build may see, from the top of the file.
    fn secrets(&mut self, document: &Document, build: &Build) {
        for Grant { source, target } in &build.secrets {
            let Ok(name) = Name::new(target.value.clone()) else {
                self.found.push(say::bad_value(target.span, "secrets", &format!("`{}` cannot be the name of a secret", target.value)));
                continue;
            };
            let declared = document.root.get("secrets").and_then(|secrets| secrets.get(&source.value));
            let Some(node) = declared else {
                let message = format!("`secrets` at the top of the file has no `{}`", source.value);
                self.found.push(say::bad_value(source.span, "secrets", &message));
                continue;
            };
            let Some(secret) = self.secret(&source.value, node, &document.directory) else { continue };
            let secret = Spanned::new(secret, source.span);
            if let Some(first) = self.compose.secrets.get(&name).filter(|first| **first != secret) {
                let message = format!("another service knows another secret as `{name}`");
                self.found.push(say::not_supported(source.span, message).also(first.span, "that one"));
            } else {
                self.compose.secrets.insert(name, secret);
            }
        }
    }

    fn secret(&mut self, name: &str, node: &Node, directory: &str) -> Option<SecretSource> {
        let what = format!("secrets.{name}");
        let mut reader = Reader { variables: self.variables, found: Vec::new() };
        let (file, variable) = (node.get("file"), node.get("environment"));
        let source = match (&node.value, file, variable) {
            (Value::Map(_), Some(file), None) => reader.text(&what, file).map(|file| SecretSource::File(path::join(directory, &file))),
            (Value::Map(_), None, Some(variable)) => reader.text(&what, variable).map(|variable| SecretSource::Variable(variable.value)),
            (Value::Map(_), Some(_), Some(variable)) => {
                reader.report(say::bad_value(variable.span, &what, "there can be one of `file` and `environment`"));
                None
            }
            (_, _, _) => {
                reader.report(say::bad_value(node.span, &what, "expected `file` or `environment`, which a build can be given"));
                None
            }
        };
        self.found.append(&mut reader.found);
        source
    }

    fn agents(&mut self, what: &str, build: &Build) {
        for (id, pair) in &build.ssh {
            let Ok(name) = Name::new(id.clone()) else {
                self.found.push(say::bad_value(pair.span, &format!("{what}.ssh"), &format!("`{id}` cannot be the name of an agent")));
                continue;
            };
            let agent = Spanned::new(agent_source(pair.value.as_ref()), pair.span);
            if let Some(first) = self.compose.agents.get(&name).filter(|first| **first != agent) {
                let message = format!("another service knows another agent as `{name}`");
                self.found.push(say::not_supported(pair.span, message).also(first.span, "that one"));
            } else {
                self.compose.agents.insert(name, agent);
            }
        }
    }
}

fn agent_source(written: Option<&String>) -> AgentSource {
    written.map_or(AgentSource::Callers, |path| AgentSource::At(path.clone()))
}

fn set_image(image: &mut Image, tags: Vec<Spanned<String>>, platforms: Vec<Spanned<Platform>>, build: &Build) {
    image.tags = tags.into_iter().map(|tag| Spanned::new(Template::literal(tag.value), tag.span)).collect();
    if !platforms.is_empty() {
        image.platforms = platforms;
    }
    for (name, pair) in &build.labels {
        let value = Template::literal(pair.value.clone().unwrap_or_default());
        image.labels.insert(name.clone(), Spanned::new(Change::Set(value), pair.span));
    }
}
