//! The registry client against a registry that is stricter than any real one, and against the real one.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the registry and the tools to compare with, wait for them, and make tokens that end"
)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in tests a panic is the report")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test that meets something else than it expects fails, whatever it is")]

#[path = "support/nobody.rs"]
mod nobody;
#[path = "support/registry/mod.rs"]
mod support;
#[path = "support/waiting.rs"]
mod waiting;

#[path = "registry/ahead.rs"]
mod ahead;
#[path = "registry/conformance.rs"]
mod conformance;
#[path = "registry/copies.rs"]
mod copies;
#[path = "registry/download.rs"]
mod download;
#[path = "registry/faults.rs"]
mod faults;
#[path = "registry/hosts.rs"]
mod hosts;
#[path = "registry/inspect.rs"]
mod inspect;
#[path = "registry/interoperation.rs"]
mod interoperation;
#[path = "registry/leaks.rs"]
mod leaks;
#[path = "registry/logins.rs"]
mod logins;
#[path = "registry/passing.rs"]
mod passing;
#[path = "registry/program.rs"]
mod program;
#[path = "registry/push.rs"]
mod push;
#[path = "registry/referrers.rs"]
mod referrers;
#[path = "registry/sweep.rs"]
mod sweep;
#[path = "registry/transfers.rs"]
mod transfers;
#[path = "registry/uploads.rs"]
mod uploads;

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use lapstrake::event::Cancel;
use lapstrake::image::{Descriptor, MediaType, Reference};
use lapstrake::registry::{Anonymous, Credential, CredentialError, Credentials, Error, Patience, Pushed, Registry, Secret, Settings};

use support::Image;

/// Settings that wait for milliseconds where others wait for seconds.
fn settings() -> Settings {
    Settings {
        patience: Patience {
            first_wait: Duration::from_millis(5),
            longest_wait: Duration::from_millis(50),
            stall: Duration::from_secs(60),
            answer: Duration::from_secs(60),
            ..Patience::default()
        },
        ..Settings::default()
    }
}

fn anonymous() -> Registry {
    Registry::new(settings(), Arc::new(Anonymous)).unwrap()
}

/// The same credentials everywhere.
struct Always(Credential);

impl Credentials for Always {
    fn get(&self, _registry: &str, _repository: &str) -> Result<Option<Credential>, CredentialError> {
        Ok(Some(self.0.clone()))
    }
}

const SECRET: &str = "hunter2";

fn alice() -> Arc<dyn Credentials> {
    Arc::new(Always(Credential::Password { user: "alice".to_owned(), password: Secret::new(SECRET) }))
}

fn with_password() -> Registry {
    Registry::new(settings(), alice()).unwrap()
}

/// A source that can be opened as often as need be.
fn source(bytes: &[u8]) -> impl Fn() -> io::Result<Box<dyn Read + Send>> + use<> {
    let bytes = bytes.to_vec();
    move || Ok(Box::new(io::Cursor::new(bytes.clone())))
}

fn push_blob(registry: &Registry, target: &Reference, blob: &(Descriptor, Vec<u8>), mounts: &[Reference]) -> Result<Pushed, Error> {
    registry.push_blob(target, &blob.0, &source(&blob.1), mounts, &mut |_| {}, &Cancel::new())
}

fn push_image(registry: &Registry, target: &Reference, image: &Image) -> Result<Vec<Pushed>, Error> {
    let pushed = image.blobs.iter().map(|blob| push_blob(registry, target, blob, &[])).collect();
    registry.push_manifest(target, MediaType::OCI_MANIFEST, &image.manifest, &Cancel::new())?;
    pushed
}

fn pull(registry: &Registry, repository: &Reference, blob: &Descriptor) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    registry.blob(repository, blob, &mut bytes, &mut |_| {}, &Cancel::new())?;
    Ok(bytes)
}

/// An error in full, as a log would have it.
fn in_full(error: &Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut below = std::error::Error::source(error);
    while let Some(error) = below {
        text.push_str(&format!(" {error}"));
        below = error.source();
    }
    text
}
