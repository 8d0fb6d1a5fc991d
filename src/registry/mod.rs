//! References and bytes ⇄ registries. The only room that knows HTTP.
//!
//! Every downloaded byte is verified before its end is reported; every answer has a limit; credentials are asked for at the moment of use
//! and go where [`Settings`] and the rules in `endpoint` let them. The network runs on threads that [`Registry`] owns; its calls block,
//! can be cancelled, and may be made from inside an async program.
//! Source of truth: distribution-spec 1.1; the distribution project's "Token Authentication Specification" for logins.

mod ahead;
mod body;
mod certificates;
mod challenge;
mod client;
mod connect;
mod containers;
mod credentials;
mod docker_credentials;
mod docker_logins;
mod download;
mod endpoint;
mod error;
mod helper;
mod login;
mod management;
mod manifests;
mod memory;
mod profile;
mod referrers;
mod retry;
mod runtime;
mod secret;
mod settings;
mod stored;
mod upload;
mod waits;
mod web;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lapstrake_cache::Digest;

pub use ahead::SentAhead;
pub use certificates::Certificates;
pub use containers::{ContainersRegistries, ContainersRegistriesError};
pub use credentials::{Anonymous, Credential, CredentialError, Credentials};
pub use docker_credentials::DockerCredentials;
pub use docker_logins::{Account, DockerLogins, Erased, Kept, LoginFormat};
pub use download::BlobReader;
pub use error::{Error, Login, Message, Unreachable};
pub use management::{Changed, Checked, Wish};
pub use secret::Secret;
pub use settings::{Chunks, Host, Mirror, Mounts, Patience, Proxies, Settings, Streams, Uploads};

use crate::event::{Cancel, EventSink};
use crate::image::{Descriptor, Document, Reference};
use body::Upload;
use client::{Client, Repeat};
use endpoint::Endpoint;
use manifests::{Published, Put};
use runtime::Runtime;

/// A client for registries. Clones share connections, tokens and threads.
#[derive(Clone)]
pub struct Registry {
    // Dropped first: no task outlives it with a client of its own.
    runtime: Arc<Runtime>,
    client: Arc<Client>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("settings", &self.client.settings).finish_non_exhaustive()
    }
}

/// What a reference turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// Type, digest and size of the bytes.
    pub descriptor: Descriptor,
    /// The bytes as they were served, verified.
    pub bytes: Vec<u8>,
    /// What the bytes say.
    pub document: Document,
}

/// How a blob came to be in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// Another repository of the registry had it.
    Mounted,
    /// It was sent.
    Uploaded,
}

/// The bytes of a blob to be pushed.
pub trait BlobSource {
    /// Opens them at the first byte. Called again for each attempt, and not at all when nothing need be sent.
    ///
    /// # Errors
    ///
    /// When they cannot be opened.
    fn open(&self) -> io::Result<Box<dyn Read + Send>>;

    /// Opens them so many bytes further. Unless it is written otherwise they are read and thrown away up to there.
    ///
    /// # Errors
    ///
    /// When they cannot be opened, or end before.
    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut source = self.open()?;
        let skipped = io::copy(&mut source.by_ref().take(offset), &mut io::sink())?;
        if skipped == offset { Ok(source) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl<F: Fn() -> io::Result<Box<dyn Read + Send>>> BlobSource for F {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        self()
    }
}

impl Registry {
    /// A client with its own threads. Makes no connection yet.
    ///
    /// # Errors
    ///
    /// When the settings cannot be used, or the system gives no threads.
    pub fn new(settings: Settings, credentials: Arc<dyn Credentials>) -> Result<Registry, Error> {
        Ok(Registry { client: Arc::new(Client::new(settings, credentials)?), runtime: Arc::new(Runtime::new()?) })
    }

    /// From now on whoever is given here is told when a registry asks to be left alone for a while, which no call returns before.
    pub fn tell(&self, events: Arc<dyn EventSink>) {
        self.client.waits.tell(events);
    }

    /// What a reference stands for: its digest's manifest or index, or what its tag points to today. Mirrors are asked first.
    ///
    /// # Errors
    ///
    /// When nobody has it, or what they have is not what it claims to be.
    pub fn resolve(&self, reference: &Reference, cancel: &Cancel) -> Result<Resolved, Error> {
        let endpoints = Endpoint::all(&self.client.settings, reference)?;
        let (client, reference) = (Arc::clone(&self.client), reference.clone());
        self.runtime.wait(cancel, async move { manifests::resolve(&client, &endpoints, &reference).await })
    }

    /// A manifest or index of a repository that another document speaks of, whatever tag or digest the reference has. Mirrors are asked
    /// first.
    ///
    /// # Errors
    ///
    /// When nobody has it, or what they have is not what it claims to be, or not of the size and type that the descriptor says.
    pub fn manifest(&self, repository: &Reference, descriptor: &Descriptor, cancel: &Cancel) -> Result<Resolved, Error> {
        let Descriptor { digest, size, .. } = descriptor;
        let resolved = self.resolve(&Reference { digest: Some(*digest), ..repository.clone() }, cancel)?;
        let doing = || format!("pulling `{}@{digest}`", repository.name());
        let (host, actual) = (repository.registry.clone(), resolved.descriptor.size);
        if actual != *size {
            return Err(Error::SizeMismatch { host, doing: doing(), digest: *digest, expected: *size, actual });
        }
        let invalid = |source| Error::Invalid { host: repository.registry.clone(), doing: doing(), source };
        let document = Document::parse(&resolved.bytes, Some(&descriptor.media_type)).map_err(invalid)?;
        Ok(Resolved { descriptor: Descriptor::new(&descriptor.media_type, *digest, *size), document, ..resolved })
    }

    /// What the registry itself, not a mirror, has under a tag or, where there is none, a digest that is about to be pushed to; `None` for
    /// nothing, and where it does not say what. One request without a body, so the answer is the registry's word.
    ///
    /// # Errors
    ///
    /// When the registry cannot be asked or does not say.
    pub fn published(&self, target: &Reference, cancel: &Cancel) -> Result<Option<Digest>, Error> {
        match self.look(target, cancel)? {
            Published::This(digest) => Ok(Some(digest)),
            Published::Nothing | Published::Something => Ok(None),
        }
    }

    fn look(&self, target: &Reference, cancel: &Cancel) -> Result<Published, Error> {
        let endpoint = Endpoint::of(&self.client.settings, target)?;
        let (client, target) = (Arc::clone(&self.client), target.clone());
        self.runtime.wait(cancel, async move {
            let endpoint = client.settle(endpoint).await;
            manifests::published(&client, &endpoint, &target).await
        })
    }

    /// The tags of a repository, sorted.
    ///
    /// # Errors
    ///
    /// When the registry does not say.
    pub fn tags(&self, repository: &Reference, cancel: &Cancel) -> Result<Vec<String>, Error> {
        let endpoint = Endpoint::of(&self.client.settings, repository)?;
        let client = Arc::clone(&self.client);
        self.runtime.wait(cancel, async move {
            let endpoint = client.settle(endpoint).await;
            manifests::tags(&client, &endpoint).await
        })
    }

    /// Downloads a blob of a repository into a sink. Mirrors are asked first. `progress` gets the bytes done so far, which never fall.
    ///
    /// # Errors
    ///
    /// When nobody has it, it is not what it claims to be (the sink has then got bytes that must not be believed), or the sink fails.
    pub fn blob(
        &self,
        repository: &Reference,
        blob: &Descriptor,
        sink: &mut dyn Write,
        progress: &mut dyn FnMut(u64),
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let mut reader = self.open_blob(repository, blob, cancel)?;
        let mut done = 0;
        while let Some(bytes) = reader.next()? {
            sink.write_all(&bytes).map_err(|source| Error::Sink { digest: blob.digest, source })?;
            done += bytes.len() as u64;
            progress(done);
        }
        Ok(())
    }

    /// Downloads a blob of a repository into a sink that `open` makes, and into a second one where the bytes turned out to be others than
    /// they should be: a mirror or a proxy may be damaged where the registry is not. `progress` gets the bytes done so far, which never
    /// fall.
    ///
    /// # Errors
    ///
    /// When nobody has it, it is not what it claims to be, or the sink fails.
    pub fn blob_into<S: Write>(
        &self,
        repository: &Reference,
        blob: &Descriptor,
        open: &mut dyn FnMut() -> io::Result<S>,
        progress: &mut dyn FnMut(u64),
        cancel: &Cancel,
    ) -> Result<S, Error> {
        let mut reported = 0;
        let mut rising = |done| {
            if done > reported {
                reported = done;
                progress(done);
            }
        };
        let mut once = || {
            let mut sink = open().map_err(|source| Error::Sink { digest: blob.digest, source })?;
            self.blob(repository, blob, &mut sink, &mut rising, cancel).map(|()| sink)
        };
        match once() {
            Err(Error::DigestMismatch { .. }) => once(),
            Ok(sink) => Ok(sink),
            Err(error) => Err(error),
        }
    }

    /// Begins to download a blob of a repository. Its end is only reached if the bytes are right; before that they must not be believed.
    ///
    /// # Errors
    ///
    /// When the settings cannot be used. Everything else comes from reading.
    pub fn open_blob(&self, repository: &Reference, blob: &Descriptor, cancel: &Cancel) -> Result<BlobReader, Error> {
        let endpoints = Endpoint::all(&self.client.settings, repository)?;
        let (sender, receiver) = std::sync::mpsc::channel();
        let named = format!("{}@{}", repository.name(), blob.digest);
        let task = self.runtime.spawn(download::download(Arc::clone(&self.client), endpoints, named.clone(), blob.clone(), sender));
        Ok(BlobReader::new(&self.client, &named, blob, receiver, task, &self.runtime, cancel))
    }

    /// Brings a blob to a repository. It is not sent if it is there, or if one of `mount_from` on the same registry has it (a mirror of
    /// theirs counts if it is that registry). What was sent of it before it was whole ([`Registry::send_ahead`]) is gone on with.
    /// `progress` gets the bytes sent so far, which never fall.
    ///
    /// # Errors
    ///
    /// When the registry does not take it, or the source fails.
    pub fn push_blob(
        &self,
        target: &Reference,
        blob: &Descriptor,
        source: &dyn BlobSource,
        mount_from: &[Reference],
        progress: &mut dyn FnMut(u64),
        cancel: &Cancel,
    ) -> Result<Pushed, Error> {
        let endpoint = Endpoint::of(&self.client.settings, target)?;
        let mut mounts: Vec<String> = Vec::new();
        for from in mount_from {
            // A mirror of another registry may be the very one that is pushed to.
            let there = Endpoint::all(&self.client.settings, from)?.into_iter().filter(|from| from.registry == target.registry);
            mounts.extend(there.map(|from| from.repository).filter(|repository| *repository != target.repository));
        }
        mounts.dedup();
        let client = Arc::clone(&self.client);
        let sent = Arc::new(AtomicU64::new(0));
        let (blob, counter) = (blob.clone(), Arc::clone(&sent));
        let mut reported = 0;
        self.runtime.drive(
            cancel,
            |opener| async move {
                let upload = Arc::new(Upload::new(opener, blob, counter));
                let endpoint = client.settle(endpoint).await;
                upload::push_blob(&client, &endpoint, &mounts, &upload).await
            },
            &mut |offset| if offset == 0 { source.open() } else { source.open_at(offset) },
            &mut || {
                let now = sent.load(Ordering::Relaxed);
                if now > reported {
                    reported = now;
                    progress(now);
                }
            },
        )
    }

    /// Puts a manifest or index under the target's tag, or under its digest where it has no tag. Everything that it names must be there.
    ///
    /// # Errors
    ///
    /// When the registry does not take it, or takes it for something else.
    pub fn push_manifest(&self, target: &Reference, media_type: &str, bytes: &[u8], cancel: &Cancel) -> Result<Digest, Error> {
        self.put_manifest(target, media_type, bytes, Repeat::Patiently, cancel).map(|put| put.digest)
    }

    fn put_manifest(&self, target: &Reference, media_type: &str, bytes: &[u8], repeat: Repeat, cancel: &Cancel) -> Result<Put, Error> {
        let endpoint = Endpoint::of(&self.client.settings, target)?;
        let (client, target) = (Arc::clone(&self.client), target.clone());
        let (media_type, bytes) = (media_type.to_owned(), bytes::Bytes::copy_from_slice(bytes));
        self.runtime.wait(cancel, async move {
            let endpoint = client.settle(endpoint).await;
            manifests::push(&client, &endpoint, &target, &media_type, bytes, repeat).await
        })
    }
}
