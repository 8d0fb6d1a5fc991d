//! A reference and the settings → the servers to ask, in order; and the rules of where requests and credentials may go.
//!
//! The rules: a server is asked over https, but over plain http where it is on this machine or the settings list it. We are never led from
//! https to plain http, nor from another machine to this one. Credentials for a server are sent to its own origin (scheme, host, port)
//! and to the token server it names, and that one must be on https; or, where the registry itself is asked over plain http, be on this
//! machine (if the registry is) or on the registry's own host.

use std::collections::BTreeSet;

use reqwest::Url;

use super::connect::Proof;
use super::{Error, Settings};
use crate::image::Reference;

/// One server that may have what a reference names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The name that credentials are kept under, such as `docker.io`.
    pub(super) registry: String,
    /// For people: host and port.
    pub(super) host: String,
    /// The repository there.
    pub(super) repository: String,
    pub(super) transport: Transport,
    /// Whether it must show who it is.
    pub(super) proof: Proof,
    root: Url,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// What the address says.
    Settled,
    /// https with whoever is there, or plain http if it is not spoken: it has to be tried.
    Insecure,
}

impl Endpoint {
    fn new(settings: &Settings, registry: &str, repository: String, proof: Proof) -> Result<Endpoint, Error> {
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let bad = || Error::Settings {
            what: format!("`{registry}` is not the host of a registry: expected a name or address, with a port if need be"),
        };
        let address = |scheme: &str| Url::parse(&format!("{scheme}://{host}/")).map_err(|_| bad());
        let secure = address("https")?;
        if host.is_empty()
            || secure.path() != "/"
            || secure.query().is_some()
            || !secure.username().is_empty()
            || secure.password().is_some()
        {
            return Err(bad());
        }
        let plain = settings.plain_http.contains(registry) || (is_loopback(&secure) && !settings.tls.contains(registry));
        let transport = if !plain && proof == Proof::Waived { Transport::Insecure } else { Transport::Settled };
        let root = if plain { address("http")? } else { secure };
        Ok(Endpoint { registry: registry.to_owned(), host: host.to_owned(), repository, transport, proof, root })
    }

    /// A registry by its name alone, or a part of it.
    pub(super) fn host(settings: &Settings, registry: &str, repository: &str) -> Result<Endpoint, Error> {
        Endpoint::new(settings, registry, repository.to_owned(), settings.containers.proof(registry, repository))
    }

    /// The same, spoken to in plain http.
    pub(super) fn in_plain_http(&self) -> Option<Endpoint> {
        let root = Url::parse(&format!("http://{}/", self.host)).ok()?;
        Some(Endpoint { transport: Transport::Settled, root, ..self.clone() })
    }

    /// The address of the API itself.
    pub(super) fn base(&self) -> Url {
        let mut url = self.root.clone();
        url.set_path("/v2/");
        url
    }

    /// The registry of a reference itself, to which things are pushed.
    pub(super) fn of(settings: &Settings, reference: &Reference) -> Result<Endpoint, Error> {
        settings.containers.permit(reference)?;
        Endpoint::host(settings, &reference.registry, &reference.repository)
    }

    /// The mirrors of a reference's registry in their order, then the registry itself.
    pub(super) fn all(settings: &Settings, reference: &Reference) -> Result<Vec<Endpoint>, Error> {
        settings.containers.permit(reference)?;
        let Some(mirrors) = settings.mirrors.get(&reference.registry) else {
            let places = settings.containers.places(reference);
            return places.into_iter().map(|place| Endpoint::new(settings, &place.registry, place.repository, place.proof)).collect();
        };
        let mut endpoints = Vec::with_capacity(mirrors.len() + 1);
        for mirror in mirrors {
            let repository = match &mirror.prefix {
                Some(prefix) => format!("{}/{}", prefix.trim_matches('/'), reference.repository),
                None => reference.repository.clone(),
            };
            endpoints.push(Endpoint::host(settings, &mirror.host, &repository)?);
        }
        endpoints.push(Endpoint::of(settings, reference)?);
        Ok(endpoints)
    }

    /// The address of something below the repository, such as `manifests/latest`.
    pub(super) fn url(&self, below: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(&format!("/v2/{}/{below}", self.repository));
        url
    }

    /// Whether an address may be asked without showing who it is: of the same machine as this server, where that need not.
    pub(super) fn proof_of(&self, url: &Url) -> Proof {
        if url.host() == self.root.host() { self.proof } else { Proof::Wanted }
    }

    /// Names the server together with the way it is spoken to: what one says who is not who they say is not believed of the other.
    pub(super) fn way(&self) -> String {
        let shown = match (self.root.scheme(), self.proof) {
            ("http", _) | (_, Proof::Wanted) => "",
            (_, Proof::Waived) => "unproven ",
        };
        format!("{shown}{}", self.root.origin().ascii_serialization())
    }

    /// Whether an address is of this server, so that our credentials for it may go there.
    pub(super) fn owns(&self, url: &Url) -> bool {
        self.root.origin() == url.origin()
    }

    /// The address that a `Location` or `Link` names, seen from `from`; an error where we must not be led there.
    pub(super) fn led_to(&self, from: &Url, location: &str, doing: &str) -> Result<Url, Error> {
        lead(from, location, &self.host, doing)
    }

    /// The token server that a challenge names; an error where credentials must not go there.
    pub(super) fn realm(&self, realm: &str) -> Result<Url, Error> {
        let untrusted = |realm: String| Error::UntrustedRealm { host: self.host.clone(), realm };
        let Ok(url) = Url::parse(realm) else { return Err(untrusted("no address".to_owned())) };
        let local = is_loopback(&self.root);
        let plain = self.root.scheme() == "http";
        let trusted = match url.scheme() {
            "https" => local || !is_loopback(&url),
            "http" => plain && ((local && is_loopback(&url)) || (!local && url.host() == self.root.host())),
            _ => false,
        };
        if trusted && url.username().is_empty() && url.password().is_none() { Ok(url) } else { Err(untrusted(without_query(&url))) }
    }
}

/// The address that a `Location` names, seen from `from`; an error where we must not be led there.
pub(super) fn lead(from: &Url, location: &str, host: &str, doing: &str) -> Result<Url, Error> {
    let (host, doing) = (host.to_owned(), doing.to_owned());
    let Ok(mut target) = from.join(location) else {
        return Err(Error::Protocol { host, doing, expected: "an address in its `Location`" });
    };
    // A login in it would be sent, and is nobody's whom we know. Neither can fail on an address with a host; another is refused.
    let _ = target.set_username("");
    let _ = target.set_password(None);
    let safe = match target.scheme() {
        "https" => is_loopback(from) || !is_loopback(&target),
        "http" => from.scheme() == "http" && (is_loopback(from) || !is_loopback(&target)),
        _ => false,
    };
    if safe { Ok(target) } else { Err(Error::UnsafeRedirect { host, target: without_query(&target), doing }) }
}

/// Whether an address is on this machine. Names that merely resolve to it are not known here.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let host = host.strip_suffix('.').unwrap_or(host);
            host == "localhost"
                || host.ends_with(".localhost")
                || host.parse::<std::net::IpAddr>().is_ok_and(|address| match address {
                    std::net::IpAddr::V4(address) => address.is_loopback() || address.is_unspecified(),
                    std::net::IpAddr::V6(address) => {
                        address.is_loopback()
                            || address.is_unspecified()
                            || address.to_ipv4_mapped().is_some_and(|address| address.is_loopback() || address.is_unspecified())
                    }
                })
        }
        None => false,
    }
}

/// Host and port as they are written: without the port where it is the scheme's own.
pub(super) fn authority(url: &Url) -> String {
    match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    }
}

fn without_query(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Neither can fail on an address with a host; without one there is nothing to hide.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// What a token is asked for: `repository:NAME:ACTIONS`.
pub(super) type Scopes = BTreeSet<String>;

/// The scope of reading a repository.
pub(super) fn pull(repository: &str) -> String {
    format!("repository:{repository}:pull")
}

/// The scope of writing a repository.
pub(super) fn push(repository: &str) -> String {
    format!("repository:{repository}:pull,push")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Mirror;

    fn settings() -> Settings {
        Settings {
            plain_http: ["plain.example.com:5000".to_owned()].into(),
            tls: ["127.0.0.1:5443".to_owned()].into(),
            mirrors: [(
                "docker.io".to_owned(),
                vec![
                    Mirror { host: "127.0.0.1:5000".to_owned(), prefix: None },
                    Mirror { host: "cache.example.com".to_owned(), prefix: Some("hub/".to_owned()) },
                ],
            )]
            .into(),
            ..Settings::default()
        }
    }

    fn urls(reference: &str) -> Vec<String> {
        let endpoints = Endpoint::all(&settings(), &reference.parse().unwrap()).unwrap();
        endpoints.iter().map(|endpoint| endpoint.url("tags/list").to_string()).collect()
    }

    #[test]
    fn https_is_spoken_everywhere_but_on_this_machine_and_where_the_settings_say() {
        for (reference, url) in [
            ("r.example.com/a", "https://r.example.com/v2/a/tags/list"),
            ("r.example.com:5000/a/b", "https://r.example.com:5000/v2/a/b/tags/list"),
            ("plain.example.com:5000/a", "http://plain.example.com:5000/v2/a/tags/list"),
            ("127.0.0.1:5000/a", "http://127.0.0.1:5000/v2/a/tags/list"),
            ("127.0.0.1:5443/a", "https://127.0.0.1:5443/v2/a/tags/list"),
            ("127.9.9.9/a", "http://127.9.9.9/v2/a/tags/list"),
            ("localhost:5000/a", "http://localhost:5000/v2/a/tags/list"),
            ("[::1]:5000/a", "http://[::1]:5000/v2/a/tags/list"),
            ("localhost.example.com/a", "https://localhost.example.com/v2/a/tags/list"),
            ("128.0.0.1/a", "https://128.0.0.1/v2/a/tags/list"),
        ] {
            assert_eq!(urls(reference), [url]);
        }
    }

    #[test]
    fn mirrors_come_first_and_in_order() {
        assert_eq!(
            urls("python"),
            [
                "http://127.0.0.1:5000/v2/library/python/tags/list",
                "https://cache.example.com/v2/hub/library/python/tags/list",
                "https://registry-1.docker.io/v2/library/python/tags/list",
            ]
        );
    }

    #[test]
    fn a_mirror_that_is_no_host_is_an_error() {
        for host in ["", "a/b", "user@host", "a?b", "http://x"] {
            let mirrors = [("docker.io".to_owned(), vec![Mirror { host: host.to_owned(), prefix: None }])].into();
            let settings = Settings { mirrors, ..Settings::default() };
            assert!(matches!(Endpoint::all(&settings, &"a".parse().unwrap()), Err(Error::Settings { .. })), "{host}");
        }
    }

    fn endpoint(registry: &str) -> Endpoint {
        Endpoint::host(&settings(), registry, "a").unwrap()
    }

    #[test]
    fn credentials_go_to_a_token_server_only_over_a_transport_as_good_as_the_registrys() {
        for (registry, realm, trusted) in [
            ("docker.io", "https://auth.docker.io/token", true),
            ("r.example.com", "https://other.example.net/token", true),
            ("r.example.com", "http://r.example.com/token", false),
            ("r.example.com", "http://auth.example.com/token", false),
            ("r.example.com", "http://127.0.0.1/token", false),
            ("r.example.com", "https://127.0.0.1/token", false),
            ("r.example.com", "https://user:password@auth.example.com/token", false),
            ("r.example.com", "ftp://auth.example.com/", false),
            ("r.example.com", "/token", false),
            ("127.0.0.1:5000", "http://127.0.0.1:5001/token", true),
            ("127.0.0.1:5000", "https://auth.example.com/token", true),
            ("127.0.0.1:5000", "http://auth.example.com/token", false),
            ("127.0.0.1:5000", "http://127.0.0.1.example.com/token", false),
            ("127.0.0.1:5443", "http://127.0.0.1:5001/token", false),
            ("plain.example.com:5000", "http://plain.example.com:5001/token", true),
            ("plain.example.com:5000", "http://auth.example.com/token", false),
            ("plain.example.com:5000", "http://127.0.0.1/token", false),
        ] {
            assert_eq!(endpoint(registry).realm(realm).is_ok(), trusted, "{registry} → {realm}");
        }
    }

    #[test]
    fn we_are_not_led_to_plain_http_nor_from_afar_to_this_machine() {
        for (registry, location, followed) in [
            ("r.example.com", "/v2/a/blobs/uploads/1", true),
            ("r.example.com", "https://storage.example.net/x?signature=s", true),
            ("r.example.com", "http://r.example.com/x", false),
            ("r.example.com", "https://localhost/x", false),
            ("r.example.com", "https://[::ffff:127.0.0.1]/x", false),
            ("r.example.com", "https://0.0.0.0/x", false),
            ("r.example.com", "file:///etc/passwd", false),
            ("plain.example.com:5000", "http://other.example.com/x", true),
            ("plain.example.com:5000", "http://127.0.0.1/x", false),
            ("127.0.0.1:5000", "http://127.0.0.1:5001/x", true),
            ("127.0.0.1:5000", "https://storage.example.net/x", true),
        ] {
            let endpoint = endpoint(registry);
            let from = endpoint.url("blobs/uploads/");
            let led = endpoint.led_to(&from, location, "test");
            assert_eq!(led.is_ok(), followed, "{registry} → {location}: {led:?}");
            assert!(led.err().is_none_or(|error| !error.to_string().contains("signature")));
        }
    }

    #[test]
    fn a_login_in_a_location_is_left_out() {
        let endpoint = endpoint("r.example.com");
        let from = endpoint.url("blobs/uploads/");
        for location in ["https://u:hunter2@r.example.com/x?a=b", "https://u@r.example.com/x?a=b", "//u:hunter2@r.example.com/x?a=b"] {
            assert_eq!(endpoint.led_to(&from, location, "test").unwrap().as_str(), "https://r.example.com/x?a=b");
        }
    }

    #[test]
    fn only_the_own_origin_is_owned() {
        let endpoint = endpoint("r.example.com");
        for (url, owned) in [
            ("https://r.example.com/x", true),
            ("https://r.example.com:443/x", true),
            ("https://r.example.com:444/x", false),
            ("http://r.example.com/x", false),
            ("https://r.example.com.evil.example/x", false),
            ("https://r.example.com@evil.example/x", false),
        ] {
            assert_eq!(endpoint.owns(&url.parse().unwrap()), owned, "{url}");
        }
    }
}
