//! A spec, and what the words of the command line lay over it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lapstrake::frontend::dockerfile::NamedContext;
use lapstrake::image::{Format, Reference};
use lapstrake::operate::{BASE_DIGEST, BASE_NAME};
use lapstrake::plan;
use lapstrake::spec::{
    Base, Change, Copy, FileSource, Image, ImageSource, ModeRule, Mount, Name, Network, Spanned, Spec, Stage, Step, Template, Text, Verb,
};

use crate::exit::Failure;

/// What stands in place of a stage, image or context of some name.
enum Replacement {
    /// A context of this name, which is a directory.
    Context(Name),
    Image(ImageSource),
}

/// No step sees the network.
pub(crate) fn cut_network(spec: &mut Spec) {
    for stage in spec.stages.values_mut() {
        for step in &mut stage.value.steps {
            if let Verb::Run(run) = &mut step.value.verb {
                run.network = Some(Spanned::made(Network::Off));
            }
        }
    }
}

/// Each image gets these labels.
pub(crate) fn label(spec: &mut Spec, labels: &[(String, String)]) {
    for image in spec.images.values_mut() {
        for (name, value) in labels {
            image.value.labels.insert(name.clone(), Spanned::made(Change::Set(Template::literal(value))));
        }
    }
}

/// The manifest of each image gets these annotations. Docker's `manifest:` before a name may stand; manifests are all that there is.
pub(crate) fn annotate(spec: &mut Spec, annotations: &[(String, String)]) -> Result<(), Failure> {
    for (name, value) in annotations {
        let name = match name.split_once(':') {
            None => name.as_str(),
            Some(("manifest", name)) => name,
            Some((kind, _)) => {
                return Err(Failure::usage(format!("`--annotation {name}`: `{kind}` is not written, only manifests are; leave it out")));
            }
        };
        for image in spec.images.values_mut() {
            image.value.annotations.insert(name.to_owned(), Spanned::made(Template::literal(value)));
        }
    }
    Ok(())
}

/// The manifest of each image that begins with one of a registry says which, unless it has such annotations already.
pub(crate) fn annotate_base(plan: &mut plan::Plan) -> Result<(), Failure> {
    let mut bases = Vec::new();
    for image in &plan.images {
        bases.push(match plan.base_image(image.stage) {
            Some(plan::BaseImage { source: plan::ImageSource::Registry(reference), digest }) => {
                Some((Reference { digest: None, ..reference.clone() }, *digest))
            }
            Some(plan::BaseImage { source: plan::ImageSource::Layout { .. } | plan::ImageSource::Tar { .. }, .. }) | None => None,
        });
    }
    for (image, base) in plan.images.iter_mut().zip(bases) {
        let Some((name, digest)) = base else { continue };
        if image.format == Format::Docker {
            return Err(Failure::usage(format!(
                "`--annotate-base`: the manifest of the image `{}` is one of Docker's, which have no annotations",
                image.name
            )));
        }
        for (key, value) in [(BASE_NAME, name.to_string()), (BASE_DIGEST, digest.to_string())] {
            image.annotations.entry(key.to_owned()).or_insert(value);
        }
    }
    Ok(())
}

/// Instead of the images of a spec, one of this stage.
pub(crate) fn target(spec: &mut Spec, stage: &str) -> Result<(), Failure> {
    let name = spec.stages.keys().find(|name| name.as_str() == stage).cloned();
    let Some(name) = name else {
        let known: Vec<&str> = spec.stages.keys().map(Name::as_str).collect();
        return Err(Failure::usage(format!("`--target {stage}`: there is no such stage; there are: {}", known.join(", "))));
    };
    let span = spec.stages.get(&name).map_or(lapstrake::diagnostic::Span::NONE, |stage| stage.span);
    let image = Image::of(Spanned::new(name.clone(), span));
    spec.images = BTreeMap::from([(name, Spanned::new(image, span))]);
    Ok(())
}

/// `--build-context`: what replaces names, and the directories that become contexts.
pub(crate) struct BuildContexts {
    replacements: Vec<(String, Replacement)>,
    /// By the names of the contexts.
    pub(crate) directories: BTreeMap<String, PathBuf>,
}

impl BuildContexts {
    /// Reads `NAME=DIR`, `NAME=docker-image://REF` and `NAME=oci-layout://DIR[:TAG]`.
    pub(crate) fn parse(texts: &[String]) -> Result<BuildContexts, Failure> {
        let mut replacements: Vec<(String, Replacement)> = Vec::new();
        let mut directories = BTreeMap::new();
        for text in texts {
            let wrong = |reason: String| Failure::usage(format!("`--build-context {text}`: {reason}"));
            let Some((name, source)) = text.split_once('=').filter(|(name, source)| !name.is_empty() && !source.is_empty()) else {
                return Err(wrong(
                    "expected NAME=DIR, NAME=docker-image://REF, NAME=oci-layout://DIR[:TAG] or NAME=https://….git#REF:DIR".to_owned(),
                ));
            };
            if replacements.iter().any(|(earlier, _)| earlier == name) {
                return Err(wrong("the name is given twice".to_owned()));
            }
            let made = |text: &str| Spanned::made(Template::literal(text));
            let replacement = if let Some(reference) = source.strip_prefix("docker-image://") {
                reference.parse::<Reference>().map_err(|error| wrong(error.to_string()))?;
                Replacement::Image(ImageSource::Registry(made(reference)))
            } else if let Some(layout) = source.strip_prefix("oci-layout://") {
                let (path, tag) = match layout.rsplit_once(':') {
                    Some((path, tag)) if !tag.contains('/') && !path.is_empty() => (path, Some(tag)),
                    Some(_) | None => (layout, None),
                };
                let path = directory(path).map_err(wrong)?;
                let path = path.to_str().ok_or_else(|| wrong("the path is not UTF-8".to_owned()))?.to_owned();
                Replacement::Image(ImageSource::Layout { path: made(&path), tag: tag.map(made) })
            } else if source.contains("://") || source.starts_with("git@") || source.starts_with("target:") {
                return Err(wrong(format!(
                    "`{source}` is not supported; a directory, docker-image://, oci-layout:// and the address of a git repository are"
                )));
            } else {
                let context = context_name(name);
                directories.insert(context.to_string(), directory(source).map_err(wrong)?);
                Replacement::Context(context)
            };
            replacements.push((name.to_owned(), replacement));
        }
        Ok(BuildContexts { replacements, directories })
    }

    /// As the front end for Dockerfiles takes them. A layout has no name that it could be given, so that its own name stays, and is
    /// replaced by [`BuildContexts::apply`].
    pub(crate) fn for_dockerfile(&self) -> BTreeMap<String, NamedContext> {
        let named = |(name, replacement): &(String, Replacement)| {
            let name = name.to_lowercase();
            let context = match replacement {
                Replacement::Context(context) => NamedContext::Files(context.clone()),
                Replacement::Image(ImageSource::Registry(reference)) => {
                    NamedContext::Image(reference.as_literal().unwrap_or(&name).to_owned())
                }
                Replacement::Image(ImageSource::Layout { .. } | ImageSource::Tar { .. }) => NamedContext::Image(name.clone()),
            };
            (name, context)
        };
        self.replacements.iter().map(named).collect()
    }

    /// Puts them in place. Returns the names that the spec does not mention.
    pub(crate) fn apply(&self, spec: &mut Spec) -> Vec<&str> {
        let mut used = vec![false; self.replacements.len()];
        for stage in spec.stages.values_mut() {
            self.base(&mut stage.value, &mut used);
            for step in &mut stage.value.steps {
                for source in file_sources(&mut step.value) {
                    self.file_source(source, &mut used);
                }
            }
        }
        self.replacements.iter().zip(used).filter(|(_, used)| !used).map(|((name, _), _)| name.as_str()).collect()
    }

    fn find(&self, matches: impl Fn(&str) -> bool, used: &mut [bool]) -> Option<&Replacement> {
        let place = self.replacements.iter().position(|(name, _)| matches(name))?;
        used.get_mut(place).into_iter().for_each(|used| *used = true);
        self.replacements.get(place).map(|(_, replacement)| replacement)
    }

    fn base(&self, stage: &mut Stage, used: &mut [bool]) {
        let found = match &stage.from.value {
            Base::Scratch => None,
            Base::Stage(name) => self.find(|known| known.eq_ignore_ascii_case(name.as_str()), used),
            Base::Image(ImageSource::Registry(reference)) => self.find(|known| names(known, reference), used),
            Base::Image(ImageSource::Layout { .. } | ImageSource::Tar { .. }) => None,
        };
        match found {
            None => {}
            Some(Replacement::Image(image)) => stage.from.value = Base::Image(image.clone()),
            Some(Replacement::Context(name)) => {
                let made = |text: &str| Spanned::made(Template::literal(text));
                let copy = Copy {
                    sources: vec![made(".")],
                    from: Some(Spanned::new(FileSource::Context(Some(Spanned::made(name.clone()))), stage.from.span)),
                    to: made("/"),
                    owner: None,
                    mode: Some(Spanned::made(ModeRule::Keep)),
                    exclude: Vec::new(),
                    parents: None,
                    unpack: None,
                    newlines: None,
                    missing: None,
                };
                stage.steps.insert(0, Spanned::new(Step::of(Verb::Copy(copy)), stage.from.span));
                stage.from.value = Base::Scratch;
            }
        }
    }

    fn file_source(&self, source: &mut FileSource, used: &mut [bool]) {
        let found = match &*source {
            FileSource::Context(None) | FileSource::Image(ImageSource::Layout { .. } | ImageSource::Tar { .. }) => None,
            FileSource::Context(Some(name)) => self.find(|known| known == name.as_str(), used),
            FileSource::Stage(name) => self.find(|known| known.eq_ignore_ascii_case(name.as_str()), used),
            FileSource::Image(ImageSource::Registry(reference)) => self.find(|known| names(known, reference), used),
        };
        match found {
            None => {}
            Some(Replacement::Image(image)) => *source = FileSource::Image(image.clone()),
            Some(Replacement::Context(name)) => *source = FileSource::Context(Some(Spanned::made(name.clone()))),
        }
    }
}

/// Whether a name is that of an image: the same text, or the same image by a shorter or longer name.
fn names(name: &str, reference: &Text) -> bool {
    let Some(text) = reference.as_literal() else { return false };
    let same_image = || name.parse::<Reference>().ok().zip(text.parse::<Reference>().ok()).is_some_and(|(name, text)| name == text);
    name == text || same_image()
}

fn file_sources(step: &mut Step) -> Vec<&mut FileSource> {
    match &mut step.verb {
        Verb::Copy(copy) => copy.from.iter_mut().map(|from| &mut from.value).collect(),
        Verb::Extract(extract) => match &mut extract.archive {
            lapstrake::spec::Archive::File { path: _, from } => from.iter_mut().map(|from| &mut from.value).collect(),
            lapstrake::spec::Archive::Url(_) => Vec::new(),
        },
        Verb::Run(run) => run
            .mounts
            .iter_mut()
            .filter_map(|mount| match &mut mount.value {
                Mount::From { from, .. } => Some(&mut from.value),
                Mount::Cache { from, .. } => from.as_mut().map(|from| &mut from.value),
                Mount::Secret { .. } | Mount::SecretEnv { .. } | Mount::Ssh { .. } | Mount::Tmpfs { .. } => None,
            })
            .collect(),
        Verb::Write(_) | Verb::Fetch(_) | Verb::Link(_) | Verb::MakeDirectory(_) | Verb::Remove(_) | Verb::Setting(_) => Vec::new(),
    }
}

fn directory(text: &str) -> Result<PathBuf, String> {
    let path = std::path::absolute(Path::new(text)).map_err(|error| error.to_string())?;
    if path.is_dir() { Ok(path) } else { Err(format!("there is no directory `{}`", path.display())) }
}

/// A context's name for what may be the name of an image.
fn context_name(text: &str) -> Name {
    let plain: String = text
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() || "_-.".contains(character) { character } else { '-' })
        .collect();
    let plain = plain.trim_start_matches(['-', '.']);
    let cut: String = plain.chars().take(128).collect();
    Name::new(cut).unwrap_or_else(|_| named_context())
}

#[expect(clippy::expect_used, reason = "the word is a name")]
fn named_context() -> Name {
    Name::new("context").expect("a word of letters is a name")
}
