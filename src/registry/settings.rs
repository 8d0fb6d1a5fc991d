//! How registries are reached: what the machine's settings say, as values.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use reqwest::Certificate;

use super::Error;

/// How registries are reached.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For each registry (`docker.io`) its mirrors in the order in which they are asked, before the registry itself. Nothing is pushed to
    /// a mirror.
    pub mirrors: BTreeMap<String, Vec<Mirror>>,
    /// Registries (`registry.example.com:5000`) that speak plain http. Those on this machine do without being listed.
    pub plain_http: BTreeSet<String>,
    /// Registries on this machine that speak https all the same.
    pub tls: BTreeSet<String>,
    /// Whom to believe that a server is who it says.
    pub certificates: Certificates,
    /// What we call ourselves.
    pub user_agent: String,
    /// When to give up.
    pub patience: Patience,
}

/// A server that has what a registry has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mirror {
    /// Host, with a port if need be. Credentials for it are looked up under this name, never under that of the registry.
    pub host: String,
    /// What stands before the repository's name there, such as `hub-cache`.
    pub prefix: Option<String>,
}

/// Whom to believe that a server is who it says. A server's own self-signed certificate can stand here too, unless it says of itself that
/// it is an authority (`CA:TRUE`): then it must have signed another one for the server.
#[derive(Debug, Clone)]
pub enum Certificates {
    /// The authorities that this system trusts.
    System,
    /// Those, and these: each a bundle in PEM.
    SystemAnd(Vec<Vec<u8>>),
    /// These alone: each a bundle in PEM.
    Only(Vec<Vec<u8>>),
}

/// When to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long a connection may take to be made.
    pub connect: Duration,
    /// How long no byte may come or go in the middle of a transfer.
    pub stall: Duration,
    /// How long an answer may take once the request has been sent. Registries that put a large blob in its place take their time.
    pub answer: Duration,
    /// How often to try, the first time included.
    pub attempts: u32,
    /// How long to wait before the second attempt; each further wait is twice as long.
    pub first_wait: Duration,
    /// The longest wait, also when the registry asks for a longer one.
    pub longest_wait: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            mirrors: BTreeMap::new(),
            plain_http: BTreeSet::new(),
            tls: BTreeSet::new(),
            certificates: Certificates::System,
            user_agent: concat!("lapstrake/", env!("CARGO_PKG_VERSION")).to_owned(),
            patience: Patience::default(),
        }
    }
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(60),
            answer: Duration::from_secs(180),
            attempts: 5,
            first_wait: Duration::from_millis(300),
            longest_wait: Duration::from_secs(60),
        }
    }
}

impl Patience {
    /// How long to wait after so many failures. Without chance: no digest depends on it, and parallel transfers fail at different times.
    pub(super) fn wait(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let backoff = self.first_wait.saturating_mul(1 << failures.saturating_sub(1).min(16));
        asked.unwrap_or(backoff).min(self.longest_wait)
    }
}

/// Where systems keep the authorities that they trust; the first that exists counts.
const SYSTEM_BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

impl Certificates {
    /// The certificates, read. A system without any is no error: it may need none.
    pub(super) fn load(&self) -> Result<Vec<Certificate>, Error> {
        let mut found = match self {
            Certificates::System | Certificates::SystemAnd(_) => system()?,
            Certificates::Only(_) => Vec::new(),
        };
        found.extend(self.own()?);
        Ok(found)
    }

    /// The certificates of the settings themselves, read.
    pub(super) fn own(&self) -> Result<Vec<Certificate>, Error> {
        let mut found = Vec::new();
        let bundles = match self {
            Certificates::System => [].as_slice(),
            Certificates::SystemAnd(bundles) | Certificates::Only(bundles) => bundles,
        };
        for bundle in bundles {
            let certificates = Certificate::from_pem_bundle(bundle).unwrap_or_default();
            if certificates.is_empty() {
                return Err(Error::Settings { what: "a certificate of the settings is not in PEM".to_owned() });
            }
            found.extend(certificates);
        }
        Ok(found)
    }
}

fn system() -> Result<Vec<Certificate>, Error> {
    for path in SYSTEM_BUNDLES {
        match std::fs::read(path) {
            Ok(bundle) => {
                return Certificate::from_pem_bundle(&bundle)
                    .map_err(|_| Error::Settings { what: format!("the system's certificates in `{path}` are not in PEM") });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::Settings { what: format!("cannot read the system's certificates in `{path}`: {error}") }),
        }
    }
    Ok(Vec::new())
}
