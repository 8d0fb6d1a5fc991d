//! How registries are reached: what the machine's settings say, as values.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::{Certificates, ContainersRegistries, Secret};

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
    /// What counts for one host alone: `registry.example.com:5000`, or without a port for all of its ports.
    pub hosts: BTreeMap<String, Host>,
    /// Directories as of containers-certs.d(5): in each may be one named `HOST[:PORT]` with `*.crt` (authorities), `*.cert` and `*.key`
    /// (ourselves). The first that has a host's counts.
    pub certificate_directories: Vec<PathBuf>,
    /// What registries.conf says. Registries that are named in [`Settings::mirrors`] are looked up there alone.
    pub containers: ContainersRegistries,
    /// Through whom requests go.
    pub proxies: Proxies,
    /// A directory, made when needed, in which half-sent blobs and what was learnt of hosts is remembered from one process to the next.
    /// Addresses in it may be signed: nobody else should be able to read it.
    pub memory: Option<PathBuf>,
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

/// What counts for one host alone. What is `None` is as it is known for that host, was learnt of it, or else is usual.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Authorities to believe besides those of [`Settings::certificates`]: each a bundle in PEM.
    pub authorities: Vec<Vec<u8>>,
    /// Who we are to it: a certificate (with those between it and its authority) and its key, in PEM.
    pub identity: Option<Secret>,
    /// How blobs are sent to it.
    pub uploads: Option<Uploads>,
    /// In what pieces blobs may be sent.
    pub chunks: Option<Chunks>,
    /// How blobs are mounted.
    pub mounts: Option<Mounts>,
    /// Whether blobs are sent to it while they are written.
    pub streams: Option<Streams>,
    /// The most blobs that are sent to it, and the most that are fetched from it, at a time.
    pub transfers: Option<NonZeroUsize>,
}

/// How blobs are sent: distribution-spec 1.1, "Pushing blobs".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploads {
    /// In one piece after a session was opened ("POST then PUT"). What a broken connection left over goes in chunks.
    Whole,
    /// In chunks from the beginning ("Pushing a blob in chunks").
    Chunked,
    /// In the request that would open the session ("Single POST").
    SinglePost,
}

/// In what pieces blobs may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunks {
    /// None: what broke off is sent again as a whole.
    Refused,
    /// Of so many bytes, or of as many more as the registry asks for.
    Of {
        /// How many; at least 1.
        bytes: u64,
    },
}

/// How a blob that another repository of the registry has is mounted: distribution-spec 1.1, "Mounting a blob from another repository".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// From the repositories that are known to have it.
    From,
    /// The registry finds out by itself who has it (automatic content discovery), where no repository is known.
    Anywhere,
    /// Not at all.
    Never,
}

/// Whether large blobs of a build are sent before they are whole: the distribution project's "HTTP API V2", "Stream upload".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// While they are packed, unless blobs go in chunks or with the request that opens a session, or no chunks are taken.
    WhilePacked,
    /// Only when they are pushed.
    Never,
}

/// Through whom requests go: addresses such as `http://proxy.example.com:3128`, which may hold a user and password. Requests to this
/// machine go through nobody.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// For plain http.
    pub http: Option<Secret>,
    /// For https.
    pub https: Option<Secret>,
    /// Hosts, domains, addresses and networks that are reached directly, as in `NO_PROXY`.
    pub except: String,
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
    /// How often to try, the first time included. A transfer that comes further each time is tried for longer.
    pub attempts: u32,
    /// How long to wait at most before the second attempt; each further wait is twice as long. Half of each is left to chance.
    pub first_wait: Duration,
    /// The longest wait of our own choice.
    pub longest_wait: Duration,
    /// The longest wait that a registry may ask for, and the longest of all its waits together. One that asks for more is not asked again.
    pub longest_asked_wait: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            mirrors: BTreeMap::new(),
            plain_http: BTreeSet::new(),
            tls: BTreeSet::new(),
            certificates: Certificates::System,
            hosts: BTreeMap::new(),
            certificate_directories: Vec::new(),
            containers: ContainersRegistries::default(),
            proxies: Proxies::default(),
            memory: None,
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
            first_wait: Duration::from_millis(600),
            longest_wait: Duration::from_secs(60),
            longest_asked_wait: Duration::from_secs(600),
        }
    }
}

impl Settings {
    /// What counts for a host alone. `docker.io` is the name of the host that its registry has, too.
    pub(super) fn host(&self, authority: &str) -> Option<&Host> {
        names(authority).find_map(|name| self.hosts.get(&name))
    }
}

/// The names under which something for a host may be found, the most exact first.
pub(super) fn names(authority: &str) -> impl Iterator<Item = String> + use<> {
    let alias = (authority == "registry-1.docker.io").then(|| "docker.io".to_owned());
    let bare = authority.rsplit_once(':').filter(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let bare = bare.map(|(host, _)| host.to_owned());
    std::iter::once(authority.to_owned()).chain(alias).chain(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_with_its_port_and_without_and_dockers_registry_by_its_usual_name() {
        for (authority, expected) in [
            ("r.example.com:5000", vec!["r.example.com:5000", "r.example.com"]),
            ("r.example.com", vec!["r.example.com"]),
            ("registry-1.docker.io", vec!["registry-1.docker.io", "docker.io"]),
            ("[::1]:5000", vec!["[::1]:5000", "[::1]"]),
            ("[::1]", vec!["[::1]"]),
        ] {
            assert_eq!(names(authority).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn settings_do_not_print_what_is_secret_in_them() {
        let host = Host { identity: Some(Secret::new("hunter2")), ..Host::default() };
        let proxies = Proxies { http: Some(Secret::new("http://u:hunter2@proxy.example.com")), ..Proxies::default() };
        let settings = Settings { hosts: [("a".to_owned(), host)].into(), proxies, ..Settings::default() };
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
