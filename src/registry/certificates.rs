//! Whom to believe that a server is who it says, and who we are to it: bundles and directories → what a TLS connection needs.
//!
//! Source of truth: containers-certs.d(5).

use std::io;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, Identity};

use super::Error;
use super::settings::names;

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
        match self {
            Certificates::System => Ok(Vec::new()),
            Certificates::SystemAnd(bundles) | Certificates::Only(bundles) => authorities(bundles),
        }
    }
}

/// Reads bundles.
pub(super) fn authorities(bundles: &[Vec<u8>]) -> Result<Vec<Certificate>, Error> {
    let mut found = Vec::new();
    for bundle in bundles {
        let certificates = Certificate::from_pem_bundle(bundle).unwrap_or_default();
        if certificates.is_empty() {
            return Err(Error::Settings { what: "a certificate of the settings is not in PEM".to_owned() });
        }
        found.extend(certificates);
    }
    Ok(found)
}

/// Reads a certificate and its key.
pub(super) fn identity(pem: &str) -> Result<Identity, Error> {
    // Its own message may quote the key.
    Identity::from_pem(pem.as_bytes()).map_err(|_| Error::Settings {
        what: "a client certificate of the settings cannot be used: expected a certificate and its unencrypted key in PEM".to_owned(),
    })
}

/// What a directory has for one host.
#[derive(Default)]
pub(super) struct Found {
    pub(super) authorities: Vec<Vec<u8>>,
    pub(super) identity: Option<String>,
}

/// Looks for a host's directory. The first that there is counts, also when it is empty.
pub(super) fn of_host(directories: &[PathBuf], authority: &str) -> Result<Found, Error> {
    for name in names(authority) {
        // A name is a host and a port, so it cannot climb out; one that could is none.
        if name.contains('/') || name == ".." || name == "." {
            continue;
        }
        for directory in directories {
            let directory = directory.join(&name);
            match std::fs::read_dir(&directory) {
                Ok(entries) => return read(&directory, entries),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => return Err(unreadable(&directory, &error)),
            }
        }
    }
    Ok(Found::default())
}

fn read(directory: &Path, entries: std::fs::ReadDir) -> Result<Found, Error> {
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry.map_err(|error| unreadable(directory, &error))?.path());
    }
    files.sort();
    let bytes = |path: &Path| std::fs::read(path).map_err(|error| unreadable(path, &error));
    let text = |path: &Path| std::fs::read_to_string(path).map_err(|error| unreadable(path, &error));
    let mut found = Found::default();
    for path in &files {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => found.authorities.push(bytes(path)?),
            Some("cert") => {
                let key = path.with_extension("key");
                if !files.contains(&key) {
                    let what = format!("`{}` is missing: it should hold the key of `{}`", key.display(), path.display());
                    return Err(Error::Settings { what });
                }
                found.identity = Some(format!("{}\n{}", text(path)?, text(&key)?));
            }
            Some("key") if !files.contains(&path.with_extension("cert")) => {
                let what = format!("`{}` has no certificate beside it: expected one of that name with `.cert`", path.display());
                return Err(Error::Settings { what });
            }
            Some(_) | None => {}
        }
    }
    Ok(found)
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::Settings { what: format!("cannot read the certificates in `{}`: {error}", path.display()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_directory_with_a_host_counts_and_a_port_is_more_exact() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |top: &tempfile::TempDir, name: &str, text: &str| {
            let path = top.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(&two, "r.example.com:5000/ca.crt", "two");
        write(&two, "r.example.com/ca.crt", "without a port");
        write(&one, "r.example.com/b.crt", "b");
        write(&one, "r.example.com/a.crt", "a");
        write(&one, "r.example.com/client.cert", "certificate");
        write(&one, "r.example.com/client.key", "key");
        write(&one, "r.example.com/README", "ignored");
        write(&one, "broken.example.com/client.cert", "certificate");
        write(&one, "broken.example.com:1/client.key", "key");
        let directories = [one.path().to_owned(), two.path().to_owned(), PathBuf::from("/nowhere")];
        let found = |host: &str| of_host(&directories, host).unwrap();
        assert_eq!(found("r.example.com:5000").authorities, [b"two"]);
        assert_eq!(found("r.example.com").authorities, [b"a", b"b"]);
        assert_eq!(found("r.example.com:5001").identity.as_deref(), Some("certificate\nkey"));
        assert!(found("other.example.com").authorities.is_empty());
        for host in ["broken.example.com", "broken.example.com:1"] {
            let error = of_host(&directories, host).err().unwrap().to_string();
            assert!(error.contains("client.key"), "{error}");
        }
    }
}
