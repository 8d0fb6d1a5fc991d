//! Downloads: an address and a digest in, a blob of the store out.

use lapstrake_cache::{Blob, Digest};

use super::{Error, Outside};
use crate::event::{Outcome, TaskKind};
use crate::plan::Download;

impl Outside<'_> {
    /// The bytes of a download; from the store where it has them.
    ///
    /// # Errors
    /// When they cannot be had, or are others than those that were promised.
    pub fn download(&self, download: &Download) -> Result<Blob, Error> {
        if let Some(blob) = self.store.blob(&download.digest)? {
            return Ok(blob);
        }
        let found = self.fetch_address(&download.url, Some(&download.digest))?;
        self.store.blob(&found)?.ok_or_else(|| Error::Contradiction {
            image: download.url.clone(),
            reason: "its bytes vanished from the store while they were in use".to_owned(),
        })
    }

    /// Downloads into the store and gives the digest; compares it with an expected one, and keeps nothing where it differs.
    pub(super) fn fetch_address(&self, url: &str, expected: Option<&Digest>) -> Result<Digest, Error> {
        self.need_network(|| format!("`{url}`"))?;
        self.task(TaskKind::Pull, url.to_owned(), |task| {
            let mut sink = self.store.new_blob()?;
            let mut progress = |done| self.advanced(task, done, None);
            self.registry.fetch(url, &mut sink, &mut progress, self.cancel)?;
            let stored = match expected {
                Some(expected) => sink.finish_expecting(expected, None).map_err(|error| match error {
                    lapstrake_cache::Error::DigestMismatch { expected, found } => {
                        Error::WrongDownload { url: url.to_owned(), expected, found }
                    }
                    other @ (lapstrake_cache::Error::Newer { .. }
                    | lapstrake_cache::Error::NotAStore { .. }
                    | lapstrake_cache::Error::Full { .. }
                    | lapstrake_cache::Error::Denied { .. }
                    | lapstrake_cache::Error::Io { .. }
                    | lapstrake_cache::Error::SizeMismatch { .. }
                    | lapstrake_cache::Error::Incomplete { .. }
                    | lapstrake_cache::Error::InvalidName(_)
                    | lapstrake_cache::Error::NotInside { .. }) => Error::Store(other),
                })?,
                None => sink.finish()?,
            };
            Ok((stored.digest, Outcome::Done))
        })
    }
}
