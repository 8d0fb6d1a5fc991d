//! The text of `lapstrake.lock` ⇄ what each outside input turned out to be.
//!
//! Pure: reads and writes text in memory, asks nobody. Entries are found by the reference as it is after interpolation, in full, and by
//! platform; entries that the present arguments do not need stay, so that one file serves every set of arguments.

mod diagnostics;
mod parse;
#[cfg(test)]
mod tests;
mod text;

pub use diagnostics::CODES;

use std::collections::BTreeMap;

use lapstrake_cache::Digest;

use crate::diagnostic::{Diagnosed, SourceId};
use crate::image::{Platform, Reference};

/// The version of the file that this program reads and writes.
pub const VERSION: i64 = 1;

/// Every pin of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// How layers are written; `None` until a lock is first written.
    pub layers: Option<Layers>,
    images: BTreeMap<(Reference, Platform), ImagePin>,
    urls: BTreeMap<String, Digest>,
    commits: BTreeMap<(String, String), Commit>,
}

/// How layers are written. A program that knows newer ways keeps to these, so that an update of lapstrake changes no digest unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layers {
    /// The revision of the way a layer's tar is written.
    pub format: u32,
    /// The `N` of the profile `gzip/N`.
    pub gzip: u32,
    /// The `N` of the profile `zstd/N`.
    pub zstd: u32,
}

/// What an image's name stood for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImagePin {
    /// The platform's own manifest.
    pub manifest: Digest,
    /// The index that the manifest was chosen from; `None` where the name led to the manifest itself.
    pub index: Option<Digest>,
}

/// The full name of a git commit: 40 or 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Commit(String);

impl Commit {
    /// Checks the text; `None` when it is no full name of a commit.
    #[must_use]
    pub fn new(text: &str) -> Option<Commit> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
        (digits && matches!(text.len(), 40 | 64)).then(|| Commit(text.to_owned()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Pins {
    /// Holds no pin.
    #[must_use]
    pub fn new() -> Pins {
        Pins::default()
    }

    /// Reads the text of a lock file, and says everything that is wrong with it.
    ///
    /// A file of a newer version is refused with that one message, since nothing else in it can be judged.
    #[must_use]
    pub fn parse(source: SourceId, text: &str) -> Diagnosed<Pins> {
        parse::parse(source, text)
    }

    /// The text of the lock file: always the same for the same pins, sorted, one entry per input.
    #[must_use]
    pub fn to_text(&self) -> String {
        text::write(self)
    }

    /// What an image's name stood for on a platform.
    #[must_use]
    pub fn image(&self, reference: &Reference, platform: &Platform) -> Option<&ImagePin> {
        self.images.get(&(reference.clone(), platform.clone()))
    }

    /// The digest of a download.
    #[must_use]
    pub fn url(&self, url: &str) -> Option<Digest> {
        self.urls.get(url).copied()
    }

    /// The commit that a branch or tag of a repository stood for.
    #[must_use]
    pub fn commit(&self, url: &str, reference: &str) -> Option<&Commit> {
        self.commits.get(&(url.to_owned(), reference.to_owned()))
    }

    /// Records an image; an earlier pin of the same name and platform is replaced and returned.
    pub fn insert_image(&mut self, reference: Reference, platform: Platform, pin: ImagePin) -> Option<ImagePin> {
        self.images.insert((reference, platform), pin)
    }

    /// Records a download; an earlier pin is replaced and returned.
    pub fn insert_url(&mut self, url: String, digest: Digest) -> Option<Digest> {
        self.urls.insert(url, digest)
    }

    /// Records a commit; an earlier pin is replaced and returned.
    pub fn insert_commit(&mut self, url: String, reference: String, commit: Commit) -> Option<Commit> {
        self.commits.insert((url, reference), commit)
    }

    /// Adds all that others pin; where both do, theirs counts.
    pub fn absorb(&mut self, others: Pins) {
        let Pins { layers, images, urls, commits } = others;
        self.layers = layers.or(self.layers);
        self.images.extend(images);
        self.urls.extend(urls);
        self.commits.extend(commits);
    }

    /// Every image pin, sorted.
    pub fn images(&self) -> impl Iterator<Item = (&Reference, &Platform, &ImagePin)> {
        self.images.iter().map(|((reference, platform), pin)| (reference, platform, pin))
    }

    /// Every download, sorted.
    pub fn urls(&self) -> impl Iterator<Item = (&str, Digest)> {
        self.urls.iter().map(|(url, digest)| (url.as_str(), *digest))
    }

    /// Every commit as repository, branch or tag, commit; sorted.
    pub fn commits(&self) -> impl Iterator<Item = (&str, &str, &Commit)> {
        self.commits.iter().map(|((url, reference), commit)| (url.as_str(), reference.as_str(), commit))
    }
}
