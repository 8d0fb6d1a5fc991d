//! `config.toml`, the environment and the files of other tools → how registries are reached, and who we are to them.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use lapstrake::registry::{
    Certificates, Chunks, ContainersRegistries, DockerCredentials, Host, Mirror, Mounts, Patience, Proxies, Secret, Settings, Streams,
    Uploads,
};
use serde::Deserialize;

use crate::exit::{Failure, chain};
use crate::settings::{Config, Surroundings};

/// `[registries."HOST"]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RegistryConfig {
    /// Hosts to ask first, in order.
    mirrors: Option<Vec<String>>,
    /// Whether it speaks plain HTTP. Unless told, what is on this machine does.
    plain_http: Option<bool>,
    /// Files with certificates of authorities, PEM.
    ca: Vec<PathBuf>,
    /// Our own certificate, PEM.
    client_cert: Option<PathBuf>,
    /// Its key, PEM.
    client_key: Option<PathBuf>,
    /// How blobs are sent.
    uploads: Option<UploadsConfig>,
    /// Such as `16MiB`; `none` for no chunks.
    chunk_size: Option<String>,
    /// How blobs are mounted.
    mounts: Option<MountsConfig>,
    /// How many blobs at a time.
    transfers: Option<NonZeroUsize>,
    /// Whether blobs are sent while they are packed.
    streams: Option<StreamsConfig>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum UploadsConfig {
    Whole,
    Chunked,
    SinglePost,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum MountsConfig {
    From,
    Anywhere,
    Never,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StreamsConfig {
    WhilePacked,
    Never,
}

/// How registries are reached.
pub(crate) fn settings(config: &Config, surroundings: &Surroundings) -> Result<Settings, Failure> {
    let mut mirrors = BTreeMap::new();
    let mut hosts = BTreeMap::new();
    let (mut plain_http, mut tls) = (BTreeSet::new(), BTreeSet::new());
    for (name, registry) in &config.registries {
        if let Some(list) = &registry.mirrors {
            let list = list.iter().map(|mirror| match mirror.split_once('/') {
                Some((host, prefix)) => Mirror { host: host.to_owned(), prefix: Some(prefix.to_owned()) },
                None => Mirror { host: mirror.clone(), prefix: None },
            });
            mirrors.insert(name.clone(), list.collect());
        }
        match registry.plain_http {
            Some(true) => drop(plain_http.insert(name.clone())),
            Some(false) => drop(tls.insert(name.clone())),
            None => {}
        }
        hosts.insert(name.clone(), registry.host(name)?);
    }
    let memory = surroundings.store().ok().filter(|store| store.join("lapstrake-store").is_file()).map(|store| store.join("registry"));
    Ok(Settings {
        mirrors,
        plain_http,
        tls,
        certificates: Certificates::System,
        hosts,
        certificate_directories: certificate_directories(surroundings),
        containers: containers(surroundings)?,
        proxies: proxies(surroundings),
        memory,
        user_agent: format!("lapstrake/{}", env!("CARGO_PKG_VERSION")),
        patience: Patience::default(),
    })
}

/// Who we are to registries.
pub(crate) fn credentials(settings: &Settings, surroundings: &Surroundings) -> DockerCredentials {
    let path = surroundings.variable("PATH").unwrap_or_default().to_owned();
    let mut credentials = DockerCredentials::new(credential_files(surroundings))
        .with_helpers_from(path)
        .with_further_helpers(settings.containers.credential_helpers());
    // Who names a file means that file.
    let text = surroundings.variable("DOCKER_AUTH_CONFIG").filter(|_| surroundings.authfile.is_none());
    if let Some(text) = text.and_then(|text| text.to_str()) {
        credentials = credentials.with_text("DOCKER_AUTH_CONFIG", Secret::new(text));
    }
    credentials
}

impl RegistryConfig {
    fn host(&self, name: &str) -> Result<Host, Failure> {
        let wrong = |key: &str, reason: &str| Failure::usage(format!("`registries.\"{name}\".{key}` in config.toml: {reason}"));
        let text = |key: &str, path: &Path| {
            std::fs::read_to_string(path).map_err(|error| wrong(key, &format!("cannot read `{}`: {error}", path.display())))
        };
        let mut authorities = Vec::new();
        for path in &self.ca {
            authorities.push(text("ca", path)?.into_bytes());
        }
        let identity = match (&self.client_cert, &self.client_key) {
            (Some(cert), Some(key)) => Some(Secret::new(format!("{}\n{}", text("client_cert", cert)?, text("client_key", key)?))),
            (Some(_), None) => return Err(wrong("client_key", "it is missing, and `client_cert` is nothing without it")),
            (None, Some(_)) => return Err(wrong("client_cert", "it is missing, and `client_key` is nothing without it")),
            (None, None) => None,
        };
        let chunks = match self.chunk_size.as_deref() {
            None => None,
            Some("none") => Some(Chunks::Refused),
            Some(size) => match crate::settings::size(size) {
                Ok(bytes) if bytes > 0 => Some(Chunks::Of { bytes }),
                Ok(_) => return Err(wrong("chunk_size", "expected a size above 0, such as `16MiB`, or `none`")),
                Err(reason) => return Err(wrong("chunk_size", reason)),
            },
        };
        let uploads = self.uploads.map(|uploads| match uploads {
            UploadsConfig::Whole => Uploads::Whole,
            UploadsConfig::Chunked => Uploads::Chunked,
            UploadsConfig::SinglePost => Uploads::SinglePost,
        });
        let mounts = self.mounts.map(|mounts| match mounts {
            MountsConfig::From => Mounts::From,
            MountsConfig::Anywhere => Mounts::Anywhere,
            MountsConfig::Never => Mounts::Never,
        });
        let streams = self.streams.map(|streams| match streams {
            StreamsConfig::WhilePacked => Streams::WhilePacked,
            StreamsConfig::Never => Streams::Never,
        });
        Ok(Host { authorities, identity, uploads, chunks, mounts, streams, transfers: self.transfers })
    }
}

/// The files that may hold credentials, the one to ask first in front.
pub(crate) fn credential_files(surroundings: &Surroundings) -> Vec<PathBuf> {
    let mut files = Vec::new();
    files.extend(surroundings.authfile.clone());
    files.extend(surroundings.variable("REGISTRY_AUTH_FILE").map(PathBuf::from));
    files.extend(docker_config(surroundings));
    match surroundings.variable("XDG_RUNTIME_DIR") {
        Some(run) => files.push(PathBuf::from(run).join("containers/auth.json")),
        None => files.push(PathBuf::from(format!("/run/containers/{}/auth.json", rustix::process::getuid().as_raw()))),
    }
    files.extend(surroundings.directory("XDG_CONFIG_HOME", ".config").map(|config| config.join("containers/auth.json")));
    files
}

/// Docker's own file.
pub(crate) fn docker_config(surroundings: &Surroundings) -> Option<PathBuf> {
    match surroundings.variable("DOCKER_CONFIG") {
        Some(directory) => Some(PathBuf::from(directory).join("config.json")),
        None => surroundings.variable("HOME").map(|home| PathBuf::from(home).join(".docker/config.json")),
    }
}

fn certificate_directories(surroundings: &Surroundings) -> Vec<PathBuf> {
    let own = surroundings.directory("XDG_CONFIG_HOME", ".config").map(|config| config.join("containers/certs.d"));
    own.into_iter().chain(["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from)).collect()
}

fn containers(surroundings: &Surroundings) -> Result<ContainersRegistries, Failure> {
    let files = match surroundings.variable("CONTAINERS_REGISTRIES_CONF") {
        Some(file) => vec![PathBuf::from(file)],
        None => {
            let own = surroundings.directory("XDG_CONFIG_HOME", ".config").map(|config| config.join("containers"));
            let own_file = own.as_ref().map(|own| own.join("registries.conf")).filter(|file| file.exists());
            let mut files = vec![own_file.unwrap_or_else(|| PathBuf::from("/etc/containers/registries.conf"))];
            files.push(PathBuf::from("/etc/containers/registries.conf.d"));
            files.extend(own.map(|own| own.join("registries.conf.d")));
            files
        }
    };
    ContainersRegistries::read(&files).map_err(|error| Failure::usage(chain(&error)))
}

/// As curl reads them: in lower case first. What is for everything counts where nothing else is said, unless it speaks SOCKS.
fn proxies(surroundings: &Surroundings) -> Proxies {
    let text = |names: [&str; 2]| names.iter().find_map(|name| surroundings.variable(name)).and_then(|text| text.to_str());
    let all = text(["all_proxy", "ALL_PROXY"]).filter(|address| !address.starts_with("socks"));
    let one = |names: [&str; 2]| text(names).or(all).map(Secret::new);
    Proxies {
        http: one(["http_proxy", "HTTP_PROXY"]),
        https: one(["https_proxy", "HTTPS_PROXY"]),
        except: text(["no_proxy", "NO_PROXY"]).unwrap_or_default().to_owned(),
    }
}
