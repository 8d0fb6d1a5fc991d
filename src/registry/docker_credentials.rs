//! Docker's and Podman's files and helpers → credentials.
//!
//! Files are read anew each time: a login or an expiring token during a long build counts. The first file with an answer wins; within a
//! file a registry's own helper (`credHelpers`), then the helper for all (`credsStore`), then `auths`.
//! Source of truth: the reference of `docker login`; containers-auth.json(5).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::{Credential, CredentialError, Credentials, Secret, helper};

/// The most that a file may have.
const FILE_LIMIT_BYTES: u64 = 4 << 20;

/// The key under which Docker keeps what belongs to its own registry.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Docker writes padding; not everybody does.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// Credentials from files such as `~/.docker/config.json` and `$XDG_RUNTIME_DIR/containers/auth.json`.
#[derive(Debug, Clone)]
pub struct DockerCredentials {
    /// What stands for a file and is asked before all, and what it is called.
    text: Option<(PathBuf, Secret)>,
    files: Vec<PathBuf>,
    further_helpers: Vec<String>,
    search_path: OsString,
    helper_limit: Duration,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "identitytoken")]
    identity_token: Option<String>,
    #[serde(rename = "registrytoken")]
    registry_token: Option<String>,
}

impl DockerCredentials {
    /// Looks in these files, in order. Those that do not exist are passed over. Helpers are found in no directory until
    /// [`DockerCredentials::with_helpers_from`] names some.
    #[must_use]
    pub fn new(files: Vec<PathBuf>) -> DockerCredentials {
        DockerCredentials {
            text: None,
            files,
            further_helpers: Vec::new(),
            search_path: OsString::new(),
            helper_limit: Duration::from_secs(30),
        }
    }

    /// Looks for helpers in the directories of a search path, written as in `PATH`. Relative ones are passed over.
    #[must_use]
    pub fn with_helpers_from(mut self, search_path: OsString) -> DockerCredentials {
        self.search_path = search_path;
        self
    }

    /// Gives each helper this long to answer; 30 s unless told.
    #[must_use]
    pub fn with_helper_limit(mut self, limit: Duration) -> DockerCredentials {
        self.helper_limit = limit;
        self
    }

    /// Looks first in a text that is what such a file could be, and is named so in errors.
    #[must_use]
    pub fn with_text(mut self, name: &str, text: Secret) -> DockerCredentials {
        self.text = Some((PathBuf::from(name), text));
        self
    }

    /// Asks these helpers, in order, where no file has an answer.
    #[must_use]
    pub fn with_further_helpers(mut self, names: Vec<String>) -> DockerCredentials {
        self.further_helpers = names;
        self
    }

    fn look_into(&self, path: &Path, file: &File, registry: &str, repository: &str) -> Result<Option<Credential>, CredentialError> {
        let server = server(registry);
        let own_helper = longest(&file.helpers, registry, repository).map(|(_, helper)| helper);
        let general_helper = file.store.as_ref();
        for helper in [own_helper, general_helper].into_iter().flatten().filter(|name| !name.is_empty()) {
            if let Some(credential) = helper::ask(helper, server, &self.search_path, self.helper_limit)? {
                return Ok(Some(credential));
            }
        }
        match longest(&file.auths, registry, repository) {
            Some((key, entry)) => entry.credential().ok_or_else(|| CredentialError::Entry { path: path.to_owned(), key: key.to_owned() }),
            None => Ok(None),
        }
    }
}

impl Credentials for DockerCredentials {
    fn get(&self, registry: &str, repository: &str) -> Result<Option<Credential>, CredentialError> {
        if let Some((name, text)) = &self.text
            && let Some(file) = parse(name, text.expose().as_bytes())?
            && let Some(credential) = self.look_into(name, &file, registry, repository)?
        {
            return Ok(Some(credential));
        }
        for path in &self.files {
            if let Some(file) = read(path)?
                && let Some(credential) = self.look_into(path, &file, registry, repository)?
            {
                return Ok(Some(credential));
            }
        }
        for helper in &self.further_helpers {
            if let Some(credential) = helper::ask(helper, server(registry), &self.search_path, self.helper_limit)? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }
}

/// The name by which helpers know a registry.
pub(super) fn server(registry: &str) -> &str {
    if registry == "docker.io" { DOCKER_HUB_KEY } else { registry }
}

fn read(path: &Path) -> Result<Option<File>, CredentialError> {
    match bytes_of(path)? {
        Some(bytes) => parse(path, &bytes),
        None => Ok(None),
    }
}

/// The bytes of such a file; `None` where there is none.
pub(super) fn bytes_of(path: &Path) -> Result<Option<Vec<u8>>, CredentialError> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_LIMIT_BYTES).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(source) => Err(CredentialError::Unreadable { path: path.to_owned(), source }),
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Option<File>, CredentialError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    // The reader's own message may quote a value, so only its place is kept.
    serde_json::from_slice(bytes).map(Some).map_err(|error| CredentialError::Malformed {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
    })
}

impl Entry {
    /// `Some(None)` is an entry without credentials, such as those that only say that a helper has them; `None` a damaged one.
    fn credential(&self) -> Option<Option<Credential>> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.identity_token) {
            return Some(Some(Credential::IdentityToken(Secret::new(token))));
        }
        if let Some(token) = given(&self.registry_token) {
            return Some(Some(Credential::RegistryToken(Secret::new(token))));
        }
        if let Some(auth) = given(&self.auth) {
            let decoded = String::from_utf8(BASE64.decode(auth.trim()).ok()?).ok()?;
            let (user, password) = decoded.split_once(':')?;
            let password = Secret::new(password.trim_end_matches('\0'));
            return Some(Some(Credential::Password { user: user.to_owned(), password }));
        }
        let password = |(user, password)| Credential::Password { user, password: Secret::new(password) };
        Some(given(&self.username).zip(given(&self.password)).map(password))
    }
}

/// The value whose key is the longest that names the registry or a parent of the repository in it.
fn longest<'a, V>(map: &'a BTreeMap<String, V>, registry: &str, repository: &str) -> Option<(&'a str, &'a V)> {
    let mut candidate = format!("{registry}/{repository}");
    loop {
        if let Some((key, value)) = map.iter().find(|(key, _)| normal_key(key) == candidate) {
            return Some((key, value));
        }
        let parent = candidate.rfind('/')?;
        candidate.truncate(parent);
    }
}

/// A key without scheme, API version and trailing slash, and with Docker's registry under the one name it has here.
pub(super) fn normal_key(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let bare = bare.trim_end_matches('/');
    let bare = bare.strip_suffix("/v1").or_else(|| bare.strip_suffix("/v2")).unwrap_or(bare);
    let (host, path) = bare.split_once('/').map_or((bare, None), |(host, path)| (host, Some(path)));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    };
    path.map_or_else(|| host.to_owned(), |path| format!("{host}/{path}"))
}

#[cfg(test)]
#[path = "docker_credentials_tests.rs"]
mod tests;
