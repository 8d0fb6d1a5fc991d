//! What needed stages take from outside → references with every word settled; and whether the lock pins them.

use std::collections::BTreeSet;

use lapstrake_cache::Digest;

use super::diagnostics as say;
use super::fill::Scope;
use super::git;
use super::select::Selection;
use super::sink::Sink;
use super::target::{Outside, Requirement};
use super::uses::{self, Use};
use super::{BaseImage, Download, Found, ImageSource};
use crate::diagnostic::{Diagnosed, Diagnostic, Span};
use crate::image::ImageConfig;
use crate::pins::Pins;
use crate::spec;

/// Each outside input of the needed stages once, in the order in which the plan meets them.
pub(super) fn requirements(selection: &Selection<'_>, sink: &mut Sink) -> Vec<Requirement> {
    let mut seen = BTreeSet::new();
    let mut requirements = Vec::new();
    for node in &selection.nodes {
        let scope = selection.scope(&node.platform, &node.target);
        for (used, purpose) in uses::of(node.stage) {
            let outside = match used {
                Use::Image(source) => {
                    image(source, scope, sink).map(|(source, span)| (Outside::Image { source, platform: node.platform.clone() }, span))
                }
                Use::Download(download) => url(download, scope, sink)
                    .map(|url| (Outside::Download { url, sha256: download.sha256.as_ref().map(|digest| digest.value) }, download.url.span)),
                Use::Git(asked) => git::asked(asked, scope, sink)
                    .map(|git::Asked { url, reference, commit, moving, span }| (Outside::Commit { url, reference, commit, moving }, span)),
                Use::Stage(_) => None,
            };
            if let Some((outside, span)) = outside
                && seen.insert(outside.clone())
            {
                requirements.push(Requirement { outside, span, why: format!("{purpose} stage `{}`", node.name) });
            }
        }
    }
    requirements
}

/// Where an image is, and where the spec says so.
pub(super) fn image(source: &spec::ImageSource, scope: Scope<'_>, sink: &mut Sink) -> Option<(ImageSource, Span)> {
    // The name of an image is settled before any environment is known.
    let scope = Scope { env: None, ..scope };
    match source {
        spec::ImageSource::Registry(text) => {
            let name = scope.word(text, sink)?;
            let reference = sink.take(name.parse().map_err(|error| say::invalid_reference(text.span, &error)))?;
            Some((ImageSource::Registry(reference), text.span))
        }
        spec::ImageSource::Layout { path, tag } => {
            let filled = place(path, scope, sink);
            let tag = match tag {
                Some(tag) => Some(scope.word(tag, sink)?),
                None => None,
            };
            Some((ImageSource::Layout { path: filled?, tag }, path.span))
        }
        spec::ImageSource::Tar { path } => Some((ImageSource::Tar { path: place(path, scope, sink)? }, path.span)),
    }
}

/// A path on the machine that builds. It may lie anywhere: an image is data to be read, not a part of the project to be copied.
fn place(path: &spec::Text, scope: Scope<'_>, sink: &mut Sink) -> Option<String> {
    let filled = scope.word(path, sink)?;
    if filled.is_empty() {
        sink.push(say::bad_path(path.span, &filled, super::path::BadPath::Empty));
        return None;
    }
    Some(filled)
}

/// The address of a download.
pub(super) fn url(download: &spec::Download, scope: Scope<'_>, sink: &mut Sink) -> Option<String> {
    let text = &download.url;
    let url = Scope { env: None, ..scope }.word(text, sink)?;
    match invalid_url(&url) {
        None => Some(url),
        Some(reason) => {
            sink.push(say::invalid_url(text.span, &without_credentials(&url), reason));
            None
        }
    }
}

fn invalid_url(url: &str) -> Option<&'static str> {
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return Some("it must begin with `https://` or `http://`");
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    if authority.contains('@') {
        Some("it has a user or password in it, which would go into the image's history")
    } else if authority.is_empty() {
        Some("it names no host")
    } else if url.chars().any(|character| character.is_whitespace() || character.is_control()) {
        Some("it has white space in it: write `%20` for a space")
    } else {
        None
    }
}

/// The address without what stands before an `@` in its host.
pub(super) fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}{path}"),
        None => url.to_owned(),
    }
}

/// What is known of the outside.
#[derive(Clone, Copy)]
pub(super) enum Knowledge<'f> {
    /// This was found.
    Found(&'f Found),
    /// Nothing yet: a spec is checked as far as that goes.
    NotYet,
}

/// What an image turned out to be.
pub(super) struct KnownImage<'f> {
    pub(super) image: BaseImage,
    /// `None` where it is not known.
    pub(super) config: Option<&'f ImageConfig>,
}

/// Stands for a digest that is not known, in a plan that nobody gets to see.
const UNKNOWN: Digest = Digest::from_bytes([0; 32]);

impl<'f> Knowledge<'f> {
    /// Finds an image by what the spec says.
    pub(super) fn image(self, source: &spec::ImageSource, scope: Scope<'_>, sink: &mut Sink) -> Option<KnownImage<'f>> {
        let (source, span) = image(source, scope, sink)?;
        let known = match self {
            Knowledge::NotYet => None,
            Knowledge::Found(found) => {
                let image = found.images.get(&(source.clone(), scope.platform.clone()));
                if image.is_none() {
                    sink.push(say::unresolved_image(span, &source, scope.platform));
                }
                image
            }
        };
        let digest = known.map_or(UNKNOWN, |known| known.digest);
        Some(KnownImage { image: BaseImage { source, digest }, config: known.map(|known| &known.config) })
    }

    /// Finds a download by what the spec says.
    pub(super) fn download(self, download: &spec::Download, scope: Scope<'_>, sink: &mut Sink) -> Option<Download> {
        let url = url(download, scope, sink)?;
        let digest = match (&download.sha256, self) {
            (Some(digest), _) => digest.value,
            (None, Knowledge::NotYet) => UNKNOWN,
            (None, Knowledge::Found(found)) => {
                let digest = found.downloads.get(&url).copied();
                if digest.is_none() {
                    sink.push(say::unresolved_download(download.url.span, &url));
                }
                digest?
            }
        };
        Some(Download { url, digest })
    }
}

/// Whether the lock pins something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// The spec itself gives a digest, or it lies on this machine.
    NeedsNoPin,
    /// The lock pins it.
    Pinned,
    /// It must be asked for.
    Open,
}

/// What is asked for anew though the lock pins it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Upgrade {
    /// Nothing.
    #[default]
    Nothing,
    /// All that needs a pin.
    All,
    /// One image, on all platforms, one download, or what is wanted of one repository; by its name, short or in full, or its address.
    One(String),
}

impl Upgrade {
    /// Whether a requirement is asked for anew.
    #[must_use]
    pub fn asks_for(&self, requirement: &Requirement) -> bool {
        match self {
            Upgrade::Nothing => false,
            Upgrade::All => true,
            Upgrade::One(name) => requirement.is_named(name),
        }
    }
}

impl Requirement {
    /// Whether the lock pins it.
    #[must_use]
    pub fn standing(&self, pins: &Pins) -> Standing {
        let pinned = match &self.outside {
            Outside::Image { source: ImageSource::Registry(reference), platform } if reference.digest.is_none() => {
                pins.image(reference, platform).is_some()
            }
            Outside::Download { url, sha256: None } => pins.url(url).is_some(),
            Outside::Commit { url, reference, commit: None, moving: _ } => pins.commit(url, reference).is_some(),
            Outside::Image { .. } | Outside::Download { .. } | Outside::Commit { .. } => return Standing::NeedsNoPin,
        };
        if pinned { Standing::Pinned } else { Standing::Open }
    }

    /// How people name it: the reference in full, the path, or the address, for git with `#` and the branch or tag behind it.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.outside {
            Outside::Image { source, .. } => source.to_string(),
            Outside::Download { url, .. } => url.clone(),
            Outside::Commit { url, reference, commit: _, moving: _ } => git::Asked::name(url, reference),
        }
    }

    fn is_named(&self, name: &str) -> bool {
        match &self.outside {
            Outside::Image { source: ImageSource::Registry(reference), .. } => name.parse().is_ok_and(|named| *reference == named),
            Outside::Image { source: ImageSource::Layout { .. } | ImageSource::Tar { .. }, .. } => false,
            Outside::Download { url, .. } => url == name,
            Outside::Commit { url, .. } => url == name || self.name() == name,
        }
    }
}

/// What `--locked` says: one error for each requirement that the lock does not pin.
#[must_use]
pub fn not_locked(requirements: &[Requirement], pins: &Pins) -> Vec<Diagnostic> {
    requirements
        .iter()
        .filter(|requirement| requirement.standing(pins) == Standing::Open)
        .map(|requirement| {
            let platform = match &requirement.outside {
                Outside::Image { platform, .. } => Some(platform),
                Outside::Download { .. } | Outside::Commit { .. } => None,
            };
            say::not_locked(requirement.span, &requirement.name(), platform, &requirement.why)
        })
        .collect()
}

/// The requirements that `lock` must ask for: those that are open, and those to be upgraded. An upgrade of something that no requirement
/// names is an error.
#[must_use]
pub fn to_resolve(requirements: &[Requirement], pins: &Pins, upgrade: &Upgrade) -> Diagnosed<Vec<Requirement>> {
    let mut sink = Sink::default();
    let pinnable: Vec<&Requirement> =
        requirements.iter().filter(|requirement| requirement.standing(pins) != Standing::NeedsNoPin).collect();
    if let Upgrade::One(name) = upgrade
        && !pinnable.iter().any(|requirement| requirement.is_named(name))
    {
        let known: Vec<String> = pinnable.iter().map(|requirement| requirement.name()).collect();
        sink.push(say::nothing_to_upgrade(name, &known));
    }
    let wanted = |requirement: &&&Requirement| upgrade.asks_for(requirement) || requirement.standing(pins) == Standing::Open;
    let resolve = pinnable.iter().filter(wanted).map(|requirement| (*requirement).clone()).collect();
    sink.finish(Some(resolve))
}
