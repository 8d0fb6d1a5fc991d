//! `additional_contexts` in, what stands in place of images and stages of those names out.

use std::collections::BTreeMap;

use super::diagnostics as say;
use super::path;
use super::reader::Pairs;
use crate::diagnostic::{Diagnostic, Span};
use crate::frontend::dockerfile::NamedContext;
use crate::image::Reference;
use crate::spec::{Base, Context, FileSource, ImageSource, Name, Spanned, Spec, Template};

/// What a name that the Dockerfile reader took for an image's really is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stand {
    /// The file system of another service's image.
    Service { service: String, span: Span },
    /// An image in a layout.
    Layout { path: String, tag: Option<String>, span: Span },
}

/// Names that no registry has, for what [`Stand`] says.
#[derive(Debug, Default)]
pub(super) struct Stands(Vec<Stand>);

impl Stands {
    /// The image name that stands for it from here on.
    fn add(&mut self, stand: Stand) -> String {
        let place = self.0.iter().position(|known| *known == stand).unwrap_or_else(|| {
            self.0.push(stand);
            self.0.len() - 1
        });
        format!("compose.invalid/stand-in-{place}:1")
    }

    fn find(&self, source: &ImageSource) -> Option<&Stand> {
        let ImageSource::Registry(reference) = source else { return None };
        let place = reference.as_literal()?.strip_prefix("compose.invalid/stand-in-")?.strip_suffix(":1")?;
        self.0.get(place.parse::<usize>().ok()?)
    }

    /// Puts everything in its place, once all services are known.
    pub(super) fn put(&self, spec: &mut Spec, report: &mut dyn FnMut(Diagnostic)) {
        if self.0.is_empty() {
            return;
        }
        let images: BTreeMap<String, Spanned<Name>> =
            spec.images.iter().map(|(name, image)| (name.to_string(), image.value.stage.clone())).collect();
        for stage in spec.stages.values_mut() {
            let stand = match &stage.value.from.value {
                Base::Image(source) => self.find(source),
                Base::Scratch | Base::Stage(_) => None,
            };
            match stand {
                None => {}
                Some(Stand::Service { service, span }) => {
                    let message = format!("the image of the service `{service}` cannot be what a stage begins with");
                    report(say::not_supported(*span, message).hint("copy from it, or keep both in one Dockerfile, as two stages"));
                }
                Some(layout @ Stand::Layout { .. }) => {
                    if let Some(image) = layout.image() {
                        stage.value.from.value = Base::Image(image);
                    }
                }
            }
            for step in &mut stage.value.steps {
                for source in step.value.file_sources_mut() {
                    self.put_files(source, &images, report);
                }
            }
        }
    }

    fn put_files(&self, source: &mut FileSource, images: &BTreeMap<String, Spanned<Name>>, report: &mut dyn FnMut(Diagnostic)) {
        let stand = match &*source {
            FileSource::Image(image) => self.find(image),
            FileSource::Context(_) | FileSource::Stage(_) => None,
        };
        match stand {
            None => {}
            Some(Stand::Service { service, span }) => match images.get(service) {
                Some(stage) => *source = FileSource::Stage(Spanned::new(stage.value.clone(), *span)),
                None => report(say::bad_value(*span, "additional_contexts", &format!("no service `{service}` is built"))),
            },
            Some(layout @ Stand::Layout { .. }) => {
                if let Some(image) = layout.image() {
                    *source = FileSource::Image(image);
                }
            }
        }
    }
}

impl Stand {
    fn image(&self) -> Option<ImageSource> {
        match self {
            Stand::Service { .. } => None,
            Stand::Layout { path, tag, span } => {
                let text = |text: &str| Spanned::new(Template::literal(text), *span);
                Some(ImageSource::Layout { path: text(path), tag: tag.as_deref().map(text) })
            }
        }
    }
}

/// Reads the contexts of a service: directories go into the spec, with the service's name in front.
pub(super) fn read(
    service: &Name,
    pairs: &Pairs,
    spec: &mut Spec,
    stands: &mut Stands,
    fetch: &mut dyn FnMut(&str) -> Result<Option<String>, String>,
    report: &mut dyn FnMut(Diagnostic),
) -> BTreeMap<String, NamedContext> {
    let mut contexts = BTreeMap::new();
    for (name, pair) in pairs {
        let what = format!("services.{service}.build.additional_contexts.{name}");
        let Some(value) = pair.value.as_deref().filter(|value| !value.is_empty()) else {
            report(say::bad_value(
                pair.span,
                &what,
                "expected a directory, `docker-image://…`, `oci-layout://…`, `service:…` or the address of a git repository",
            ));
            continue;
        };
        let context = if let Some(reference) = value.strip_prefix("docker-image://") {
            if let Err(error) = reference.parse::<Reference>() {
                report(say::bad_value(pair.span, &what, &error.to_string()));
                continue;
            }
            NamedContext::Image(reference.to_owned())
        } else if let Some(layout) = value.strip_prefix("oci-layout://") {
            let (path, tag) = match layout.rsplit_once(':') {
                Some((path, tag)) if !tag.contains('/') && !path.is_empty() => (path, Some(tag.to_owned())),
                Some(_) | None => (layout, None),
            };
            NamedContext::Image(stands.add(Stand::Layout { path: path.to_owned(), tag, span: pair.span }))
        } else if let Some(other) = value.strip_prefix("service:") {
            NamedContext::Image(stands.add(Stand::Service { service: other.to_owned(), span: pair.span }))
        } else {
            let path = match path::is_remote(value).then(|| fetch(value)) {
                None => value.to_owned(),
                Some(Ok(Some(directory))) => directory,
                Some(Ok(None)) => {
                    report(say::no_repository(pair.span, value));
                    continue;
                }
                Some(Err(why)) => {
                    report(say::not_fetched(pair.span, &what, &why));
                    continue;
                }
            };
            let Some(key) = context_name(service, name) else {
                report(say::bad_value(pair.span, &what, "its name is too long"));
                continue;
            };
            let path = Spanned::new(path, pair.span);
            spec.contexts.insert(key.clone(), Spanned::new(Context { path, ignore: None }, pair.span));
            NamedContext::Files(key)
        };
        contexts.insert(name.to_ascii_lowercase(), context);
    }
    contexts
}

/// The name in the spec of what may have the name of an image.
fn context_name(service: &Name, name: &str) -> Option<Name> {
    let plain: String = name
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() || "_-.".contains(character) { character } else { '-' })
        .collect();
    Name::new(format!("{service}.{plain}")).ok()
}
