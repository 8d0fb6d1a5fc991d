//! Who we are to a registry: asked at the moment of use, forgotten with the client.

use std::io;
use std::path::PathBuf;

use super::Secret;

/// Finds credentials.
pub trait Credentials: Send + Sync {
    /// What to log in with at a registry (`docker.io`, `127.0.0.1:5000`) for a repository (`library/python`); `None` for nothing.
    /// Called on a thread that may block.
    ///
    /// # Errors
    ///
    /// When it cannot be told whether there are credentials: an unreadable file, a helper that fails.
    fn get(&self, registry: &str, repository: &str) -> Result<Option<Credential>, CredentialError>;
}

/// What to log in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// User and password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A long-lived token that buys short-lived ones (OAuth 2's refresh token).
    IdentityToken(Secret),
    /// A short-lived token that the registry itself takes.
    RegistryToken(Secret),
}

/// Never has credentials.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn get(&self, _registry: &str, _repository: &str) -> Result<Option<Credential>, CredentialError> {
        Ok(None)
    }
}

/// Credentials could not be looked up. Holds nothing of what a file or helper said, since that may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file cannot be read.
    #[error("cannot read the credentials in `{}`", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write the credentials to `{}`", path.display())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A helper would not keep or forget credentials.
    #[error("the credential helper `docker-credential-{name}` failed to {task} ({exit})")]
    HelperRefused {
        /// The name.
        name: String,
        /// What it was to do, such as: store the login for `r.example.com`.
        task: String,
        /// How it ended.
        exit: String,
    },
    /// A file is not what it should be.
    #[error("the credentials in `{}` are damaged at line {line}, column {column}: expected the JSON that `docker login` writes", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Where.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// An entry of a file is not what it should be.
    #[error("the entry for `{key}` in `{}` has an `auth` that is not `user:password` in base64: log in again", path.display())]
    Entry {
        /// Which file.
        path: PathBuf,
        /// Which entry.
        key: String,
    },
    /// A helper's name would be a path.
    #[error("`{name}` is no credential helper's name: letters, digits, `-`, `_` and `.` are allowed")]
    HelperName {
        /// The name.
        name: String,
    },
    /// A helper is not installed.
    #[error("the credential helper `docker-credential-{name}` is not in the search path: install it, or remove it from the configuration")]
    HelperMissing {
        /// The name.
        name: String,
    },
    /// A helper could not be started or talked to.
    #[error("the credential helper `docker-credential-{name}` cannot be run")]
    HelperUnusable {
        /// The name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A helper did not answer.
    #[error("the credential helper `docker-credential-{name}` did not answer within {seconds} s and was killed")]
    HelperTimeout {
        /// The name.
        name: String,
        /// How long it was given.
        seconds: u64,
    },
    /// A helper failed.
    #[error(
        "the credential helper `docker-credential-{name}` failed ({exit}); see what `echo {server} | docker-credential-{name} get` says"
    )]
    HelperFailed {
        /// The name.
        name: String,
        /// What it was asked for.
        server: String,
        /// How it ended.
        exit: String,
    },
    /// A helper answered something else than credentials.
    #[error("the credential helper `docker-credential-{name}` answered something that is not the JSON of a credential")]
    HelperAnswer {
        /// The name.
        name: String,
    },
}
