//! Tags and digests → manifests, tags and blobs that are there, changed together with others, or gone.
//!
//! The protocol has no "only if nobody else has": who changes what a tag points to looks again before and after, and sends nothing twice
//! without a look in between.
//! Source of truth: distribution-spec 1.1, "Content Management", "Pulling manifests", "Checking if content exists in the registry".

use std::sync::Arc;
use std::time::Duration;

use lapstrake_cache::Digest;
use reqwest::{Method, StatusCode};
use tokio::time::Instant;

use super::client::{Ask, Client, Repeat};
use super::endpoint::{Endpoint, pull, push as push_scope};
use super::error::Login;
use super::manifests::Published;
use super::retry::{is_passing, is_transient};
use super::{Error, Registry, Resolved, manifests};
use crate::event::Cancel;
use crate::image::Reference;

/// How long after a tag was moved it is looked at again, at least.
const SETTLED: Duration = Duration::from_secs(1);

/// It is looked at again after so many times as long as our own move took, from the last look to the answer: nobody whose move is not that much
/// slower can undo ours unseen.
const SLOWER: u32 = 4;

/// The longest that a tag is left alone before that.
const SETTLED_AT_LAST: Duration = Duration::from_secs(60);

/// How often a tag that others move, too, is moved.
const ATTEMPTS: u32 = 20;

/// What became of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It pointed to what it should already.
    Unchanged(Digest),
    /// It was made, or moved to this.
    Moved(Digest),
}

impl Changed {
    /// What the tag points to.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        match self {
            Changed::Unchanged(digest) | Changed::Moved(digest) => *digest,
        }
    }
}

/// What a registry made of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// It took them.
    Accepted,
    /// It lets everybody in and did not ask.
    NotAsked,
}

/// What a tag should point to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// To what it points to now.
    Keep,
    /// To this document, which names nothing that is not there.
    Put {
        /// Its media type.
        media_type: String,
        /// The document.
        bytes: Vec<u8>,
    },
}

impl Registry {
    /// What the registry itself, not a mirror, has under a tag or, where there is none, a digest; `None` for nothing.
    ///
    /// # Errors
    ///
    /// When the registry cannot be asked, or what it has is not what it claims to be.
    pub fn current(&self, target: &Reference, cancel: &Cancel) -> Result<Option<Resolved>, Error> {
        let endpoint = Endpoint::of(&self.client.settings, target)?;
        let (client, target) = (Arc::clone(&self.client), manifests::place_of(target));
        self.runtime.wait(cancel, async move {
            let endpoint = client.settle(endpoint).await;
            match manifests::resolve(&client, std::slice::from_ref(&endpoint), &target).await {
                Ok(resolved) => Ok(Some(resolved)),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// Makes a tag point to what `change` makes of what it points to now, so that what others put there at the same time is not lost:
    /// the tag is read again right before it is moved and a while after, and `change` is asked again whenever it was another's turn, and
    /// whenever it is not known whether it was ours. `change` must answer [`Wish::Keep`] for its own result.
    ///
    /// # Errors
    ///
    /// When the registry does not answer or take it, `change` fails, or others move the tag time and again.
    pub fn change_tag(
        &self,
        target: &Reference,
        change: &mut dyn FnMut(Option<&Resolved>) -> Result<Wish, Error>,
        cancel: &Cancel,
    ) -> Result<Changed, Error> {
        let mut moved = false;
        let mut failures = 0;
        for attempt in 1..=ATTEMPTS {
            let current = self.current(target, cancel)?;
            let was = current.as_ref().map(|current| current.descriptor.digest);
            let wait = match (change(current.as_ref())?, was) {
                (Wish::Keep, Some(digest)) => return Ok(if moved { Changed::Moved(digest) } else { Changed::Unchanged(digest) }),
                (Wish::Keep, None) => break,
                (Wish::Put { media_type, bytes }, _) => {
                    let looked = Instant::now();
                    if self.is_still(target, was, cancel)? {
                        // Sent again without a look, it could undo what others did meanwhile.
                        match self.put_manifest(target, &media_type, &bytes, Repeat::Never, cancel) {
                            Ok(_) => {
                                (moved, failures) = (true, 0);
                                (looked.elapsed() * SLOWER).clamp(SETTLED, SETTLED_AT_LAST)
                            }
                            Err(error) => {
                                // Of some failures nobody knows whether it was taken.
                                moved |= is_transient(&error);
                                failures += 1;
                                self.wait_after(&error, failures).ok_or(error)?
                            }
                        }
                    } else {
                        SETTLED
                    }
                }
            };
            let patience = self.client.settings.patience;
            self.runtime.wait(cancel, async move {
                tokio::time::sleep(wait).await;
                if attempt > 1 {
                    patience.pause(1).await;
                }
                Ok(())
            })?;
        }
        Err(Error::Contended { reference: target.to_string(), attempts: ATTEMPTS })
    }

    /// Whether a tag still points to what it pointed to.
    fn is_still(&self, target: &Reference, was: Option<Digest>, cancel: &Cancel) -> Result<bool, Error> {
        Ok(match self.look(target, cancel)? {
            Published::Nothing => was.is_none(),
            Published::This(digest) => was == Some(digest),
            Published::Something => self.current(target, cancel)?.map(|current| current.descriptor.digest) == was,
        })
    }

    /// How long to wait after a manifest was not taken; `None` where that is for good.
    fn wait_after(&self, error: &Error, failures: u32) -> Option<Duration> {
        let patience = self.client.settings.patience;
        if failures >= patience.attempts {
            return None;
        }
        if let Error::TooManyRequests { host, doing, wait, .. } = error {
            return self.client.waits.after(&patience, host, doing, failures, *wait);
        }
        let passes = matches!(error, Error::Refused { status, .. } if StatusCode::from_u16(*status).is_ok_and(is_passing));
        if passes || is_transient(error) { patience.wait(failures, None) } else { None }
    }

    /// Waits before something is tried again for the `attempt`th time, from 1: longer each time, and not as long as others who began at the
    /// same moment.
    ///
    /// # Errors
    ///
    /// When it is cancelled.
    pub fn pause(&self, attempt: u32, cancel: &Cancel) -> Result<(), Error> {
        let patience = self.client.settings.patience;
        self.runtime.wait(cancel, async move {
            patience.pause(attempt).await;
            Ok(())
        })
    }

    /// Whether the credentials that this client has for a registry let it in, for a repository, or part of one, where they are kept by that.
    ///
    /// # Errors
    ///
    /// When they do not, or the registry cannot be asked.
    pub fn check_login(&self, registry: &str, repository: Option<&str>, cancel: &Cancel) -> Result<Checked, Error> {
        let endpoint = Endpoint::host(&self.client.settings, registry, repository.unwrap_or_default())?;
        let client = Arc::clone(&self.client);
        self.runtime.wait(cancel, async move {
            let endpoint = client.settle(endpoint).await;
            let mut ask = Ask::new(Method::GET, endpoint.base(), String::new(), &format!("logging in at `{}`", endpoint.registry));
            ask.scopes.clear();
            let answer = client.send(&endpoint, &ask).await?;
            match (answer.response.status(), answer.login) {
                (StatusCode::OK, Login::Credentials) => Ok(Checked::Accepted),
                (StatusCode::OK, Login::Nothing) => Ok(Checked::NotAsked),
                _ => Err(client.refusal(&endpoint.host, &ask.doing, answer).await),
            }
        })
    }

    /// Whether the registry itself, not a mirror, has a blob in a repository: how many bytes it says it has; `None` for nothing.
    ///
    /// # Errors
    ///
    /// When the registry cannot be asked or does not say.
    pub fn blob_size(&self, repository: &Reference, digest: &Digest, cancel: &Cancel) -> Result<Option<u64>, Error> {
        let endpoint = Endpoint::of(&self.client.settings, repository)?;
        let (client, named, digest) = (Arc::clone(&self.client), repository.name(), *digest);
        self.runtime.wait(cancel, async move {
            let endpoint = client.settle(endpoint).await;
            let url = endpoint.url(&format!("blobs/{digest}"));
            let ask = Ask::new(Method::HEAD, url, pull(&endpoint.repository), &format!("looking for `{named}@{digest}`"));
            let answer = client.send(&endpoint, &ask).await?;
            match answer.response.status() {
                StatusCode::OK => {
                    let length = answer.response.headers().get(reqwest::header::CONTENT_LENGTH);
                    Ok(Some(length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or_default()))
                }
                StatusCode::NOT_FOUND => Ok(None),
                _ => Err(client.refusal(&endpoint.host, &ask.doing, answer).await),
            }
        })
    }

    /// Removes what the reference names: with a digest that manifest or index, with all tags that point to it; else the tag alone, which not
    /// every registry does.
    ///
    /// # Errors
    ///
    /// When it is not there, or the registry does not remove it.
    pub fn delete_manifest(&self, target: &Reference, cancel: &Cancel) -> Result<(), Error> {
        let place = match (&target.digest, &target.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        };
        self.delete(target, format!("manifests/{place}"), format!("removing the manifest of `{target}`"), cancel)
    }

    /// Removes a blob from a repository.
    ///
    /// # Errors
    ///
    /// When it is not there, or the registry does not remove it.
    pub fn delete_blob(&self, repository: &Reference, digest: &Digest, cancel: &Cancel) -> Result<(), Error> {
        // Whoever pushes to the repository next must not believe that it is there.
        self.client.memory.doubt(&Endpoint::of(&self.client.settings, repository)?);
        self.delete(repository, format!("blobs/{digest}"), format!("removing `{}@{digest}`", repository.name()), cancel)
    }

    fn delete(&self, target: &Reference, below: String, doing: String, cancel: &Cancel) -> Result<(), Error> {
        let endpoint = Endpoint::of(&self.client.settings, target)?;
        let client = Arc::clone(&self.client);
        self.runtime.wait(cancel, async move {
            let endpoint = client.settle(endpoint).await;
            delete(&client, &endpoint, &below, &doing).await
        })
    }
}

async fn delete(client: &Client, endpoint: &Endpoint, below: &str, doing: &str) -> Result<(), Error> {
    let ask = Ask::new(Method::DELETE, endpoint.url(below), push_scope(&endpoint.repository), doing);
    let answer = client.send(endpoint, &ask).await?;
    if answer.response.status().is_success() {
        return Ok(());
    }
    Err(client.refusal(&endpoint.host, &ask.doing, answer).await)
}
