//! Credentials → Docker's or Podman's file, or the helper that it names; and gone from there again.
//!
//! Everything else in the file stays. It is replaced as a whole, for its owner alone; two at once wait for each other.
//! Source of truth: the reference of `docker login`; containers-auth.json(5).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::docker_credentials::{bytes_of, normal_key, server};
use super::{Credential, CredentialError, helper};

/// What a login is for: a registry, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The registry, such as `docker.io` or `127.0.0.1:5000`.
    pub registry: String,
    /// The beginning of the repositories that it is for, such as `team`; `None` for all.
    pub path: Option<String>,
}

impl Account {
    fn name(&self) -> String {
        match &self.path {
            Some(path) => format!("{}/{path}", self.registry),
            None => self.registry.clone(),
        }
    }
}

/// Whose file it is; they call Docker's own registry by different names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginFormat {
    /// Docker's `config.json`.
    Docker,
    /// Podman's `auth.json`.
    Containers,
}

/// A file that logins are kept in.
#[derive(Debug, Clone)]
pub struct DockerLogins {
    path: PathBuf,
    format: LoginFormat,
    search_path: OsString,
    helper_limit: Duration,
}

/// Where a login is kept, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In a file, where anybody who can read it can read the password.
    File(PathBuf),
    /// By a helper.
    Helper(String),
}

/// What became of a login that is to be forgotten.
#[derive(Debug, Default)]
pub struct Erased {
    /// Where it was, and is no more.
    pub kept: Vec<Kept>,
    /// Why the helper did not do its part; it may have the login still.
    pub failed: Option<CredentialError>,
}

impl DockerLogins {
    /// A file, which need not be there yet. Helpers are found in the directories of a search path, written as in `PATH`.
    #[must_use]
    pub fn new(path: PathBuf, format: LoginFormat, search_path: OsString) -> DockerLogins {
        DockerLogins { path, format, search_path, helper_limit: Duration::from_secs(30) }
    }

    /// Keeps a login: with the helper that the file names for the registry, else in the file. Helpers know registries and no parts of them,
    /// so a login for a part is always in the file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written, or the helper fails. What was there before is there still.
    pub fn store(&self, account: &Account, credential: &Credential) -> Result<Kept, CredentialError> {
        self.change(|config| {
            let entry = match self.helper(config, account) {
                Some(name) => {
                    let (user, secret) = match credential {
                        Credential::Password { user, password } => (user.as_str(), password),
                        Credential::IdentityToken(token) | Credential::RegistryToken(token) => ("<token>", token),
                    };
                    helper::store(&name, server(&account.registry), user, secret, &self.search_path, self.helper_limit)?;
                    // As Docker does it: that there is a login is no secret.
                    (json!({}), Kept::Helper(name))
                }
                None => (entry(credential), Kept::File(self.path.clone())),
            };
            forget(config, account);
            let auths = config.entry("auths").or_insert_with(|| json!({}));
            if !auths.is_object() {
                *auths = json!({});
            }
            auths[self.key(account)] = entry.0;
            Ok(entry.1)
        })
    }

    /// Removes a login from the helper that the file names and from the file, from the one also where the other fails.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written.
    pub fn erase(&self, account: &Account) -> Result<Erased, CredentialError> {
        if !self.path.exists() {
            return Ok(Erased::default());
        }
        self.change(|config| {
            let mut erased = Erased::default();
            if let Some(name) = self.helper(config, account) {
                match self.erase_from(&name, account) {
                    Ok(true) => erased.kept.push(Kept::Helper(name)),
                    Ok(false) => {}
                    Err(error) => erased.failed = Some(error),
                }
            }
            if forget(config, account) {
                erased.kept.push(Kept::File(self.path.clone()));
            }
            Ok(erased)
        })
    }

    /// Whether a helper had a login, which it has no more.
    fn erase_from(&self, helper: &str, account: &Account) -> Result<bool, CredentialError> {
        let server = server(&account.registry);
        if helper::ask(helper, server, &self.search_path, self.helper_limit)?.is_none() {
            return Ok(false);
        }
        helper::erase(helper, server, &self.search_path, self.helper_limit)?;
        Ok(true)
    }

    /// The helper that the file names for a registry.
    fn helper(&self, config: &Map<String, Value>, account: &Account) -> Option<String> {
        if account.path.is_some() {
            return None;
        }
        let own = config.get("credHelpers").and_then(Value::as_object);
        let own = own.and_then(|own| own.iter().find(|(key, _)| normal_key(key) == account.registry)).map(|(_, name)| name);
        let name = own.or_else(|| config.get("credsStore")).and_then(Value::as_str);
        name.filter(|name| !name.is_empty()).map(str::to_owned)
    }

    fn key(&self, account: &Account) -> String {
        match (self.format, &account.path) {
            (LoginFormat::Docker, None) => server(&account.registry).to_owned(),
            (LoginFormat::Docker | LoginFormat::Containers, _) => account.name(),
        }
    }

    /// Reads the file, changes it, and puts the new one in its place, with nobody else at it.
    fn change<T>(&self, change: impl FnOnce(&mut Map<String, Value>) -> Result<T, CredentialError>) -> Result<T, CredentialError> {
        // A link stays one, as people keep such files elsewhere.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let unwritable = |source: io::Error| CredentialError::Unwritable { path: path.clone(), source };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unwritable)?;
        let lock = File::open(directory).map_err(unwritable)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| unwritable(error.into()))?;
        let mut config = match bytes_of(&path)? {
            Some(bytes) if !bytes.iter().all(u8::is_ascii_whitespace) => serde_json::from_slice::<Map<String, Value>>(&bytes)
                .map_err(|error| CredentialError::Malformed { path: path.clone(), line: error.line(), column: error.column() })?,
            Some(_) | None => Map::new(),
        };
        let before = config.clone();
        let result = change(&mut config)?;
        if config != before || !path.exists() {
            replace(&path, &config).map_err(unwritable)?;
        }
        Ok(result)
    }
}

/// What stands in the file for a login.
fn entry(credential: &Credential) -> Value {
    match credential {
        Credential::Password { user, password } => json!({ "auth": STANDARD.encode(format!("{user}:{}", password.expose())) }),
        Credential::IdentityToken(token) => json!({ "identitytoken": token.expose() }),
        Credential::RegistryToken(token) => json!({ "registrytoken": token.expose() }),
    }
}

/// Removes the entries of an account, in whatever spelling. Whether a login was among them comes back: an empty entry only says that a helper
/// has one.
fn forget(config: &mut Map<String, Value>, account: &Account) -> bool {
    let Some(auths) = config.get_mut("auths").and_then(Value::as_object_mut) else { return false };
    let mut had_login = false;
    auths.retain(|key, entry| {
        let is_its_own = normal_key(key) == account.name();
        had_login |= is_its_own && entry.as_object().is_none_or(|entry| !entry.is_empty());
        !is_its_own
    });
    had_login
}

/// Writes the file beside its place, for its owner alone, and puts it there. It belongs to whom it belonged to, where that can be done: root
/// may log in for somebody else.
fn replace(path: &Path, config: &Map<String, Value>) -> io::Result<()> {
    let mut bytes = Vec::new();
    let indented = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    config.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, indented))?;
    bytes.push(b'\n');
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    // What a killed process left there is nobody's.
    let _ = fs::remove_file(&new);
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).and_then(|mut file| {
        file.write_all(&bytes)?;
        if let Ok(before) = fs::metadata(path) {
            let _ = fchown(&file, Some(before.uid()), Some(before.gid()));
        }
        file.sync_data()?;
        fs::rename(&new, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
#[path = "docker_logins_tests.rs"]
mod tests;
