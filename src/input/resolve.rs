//! What a plan must know of the outside → what is there, from the lock where it has it, else from the outside itself.

use crate::diagnostic::Span;
use crate::image::Platform;
use crate::pins::{ImagePin, Pins};
use crate::plan::{self, BaseImage, Found, FoundImage, ImageSource, Moving, Requirement};

use super::base::FoundBase;
use super::{Error, Outside};
use lapstrake_cache::Digest;

/// What resolving came to.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// What the plan needs.
    pub found: Found,
    /// What was found outside and was not in the lock.
    pub fresh: Pins,
}

/// A requirement that could not be met.
#[derive(Debug, thiserror::Error)]
#[error("cannot get {why}")]
pub struct Unresolved {
    /// Where the spec asks for it.
    pub span: Span,
    /// What it is for.
    pub why: String,
    /// What happened.
    #[source]
    pub source: Box<Error>,
}

/// Which requirements are looked up outside although the lock pins them.
pub trait Stale {
    /// Whether the lock's word does not count for this.
    fn is_stale(&self, requirement: &Requirement) -> bool;
}

/// The lock's word counts for everything.
#[derive(Debug, Clone, Copy)]
pub struct NothingStale;

impl Stale for NothingStale {
    fn is_stale(&self, _requirement: &Requirement) -> bool {
        false
    }
}

impl Outside<'_> {
    /// Finds out all that the requirements ask for.
    ///
    /// # Errors
    /// The first that cannot be had, and why.
    pub fn resolve(&self, requirements: &[Requirement], pins: &Pins, stale: &dyn Stale) -> Result<Resolved, Unresolved> {
        let mut resolved = Resolved::default();
        for requirement in requirements {
            let pins = if stale.is_stale(requirement) { &Pins::default() } else { pins };
            self.requirement(&requirement.outside, pins, &mut resolved).map_err(|source| Unresolved {
                span: requirement.span,
                why: requirement.why.clone(),
                source: Box::new(source),
            })?;
        }
        Ok(resolved)
    }

    fn requirement(&self, outside: &plan::Outside, pins: &Pins, resolved: &mut Resolved) -> Result<(), Error> {
        match outside {
            plan::Outside::Image { source, platform } => {
                let found = self.image(source, platform, pins, resolved)?;
                resolved.found.images.insert((source.clone(), platform.clone()), found);
            }
            plan::Outside::Download { url, sha256: None } => {
                let digest = self.address(url, pins, resolved)?;
                resolved.found.downloads.insert(url.clone(), digest);
            }
            plan::Outside::Commit { url, reference, commit: None, moving: _ } => {
                let commit = match pins.commit(url, reference) {
                    Some(commit) => commit.clone(),
                    None => {
                        let commit = self.find_commit(url, reference)?;
                        resolved.fresh.insert_commit(url.clone(), reference.clone(), commit.clone());
                        commit
                    }
                };
                resolved.found.commits.insert((url.clone(), reference.clone()), commit);
            }
            plan::Outside::Commit { url, reference, commit: Some(commit), moving: Moving::Refused } => {
                self.still_at(url, reference, commit)?
            }
            plan::Outside::Download { url: _, sha256: Some(_) }
            | plan::Outside::Commit { url: _, reference: _, commit: Some(_), moving: Moving::Allowed } => {}
        }
        Ok(())
    }

    fn image(&self, source: &ImageSource, platform: &Platform, pins: &Pins, resolved: &mut Resolved) -> Result<FoundImage, Error> {
        if let ImageSource::Registry(reference) = source
            && let Some(pin) = pins.image(reference, platform)
        {
            let base = self.open_base(&BaseImage { source: source.clone(), digest: pin.manifest })?;
            return Ok(FoundImage { digest: pin.manifest, config: base.config });
        }
        let FoundBase { index, manifest, config } = self.find_base(source, platform)?;
        if let ImageSource::Registry(reference) = source {
            resolved.fresh.insert_image(reference.clone(), platform.clone(), ImagePin { manifest, index });
        }
        Ok(FoundImage { digest: manifest, config })
    }

    fn address(&self, url: &str, pins: &Pins, resolved: &mut Resolved) -> Result<Digest, Error> {
        if let Some(digest) = pins.url(url) {
            return Ok(digest);
        }
        let digest = self.fetch_address(url, None)?;
        resolved.fresh.insert_url(url.to_owned(), digest);
        Ok(digest)
    }
}
