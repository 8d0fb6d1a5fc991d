//! An address → the HTTP client that may ask there: with the right authorities, certificate and proxy; and the bounds per host.
//!
//! What counts for one host alone is in a client of its own, so that its authorities vouch for nobody else and our certificate is shown
//! to nobody else.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Certificate, Proxy, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::certificates::{self, authorities};
use super::endpoint::{authority, is_loopback};
use super::runtime::ended;
use super::{Error, Proxies, Secret, Settings};

/// How many blobs go to a host at a time, and as many from it, where the settings say nothing.
const TRANSFERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

/// The ways to reach a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    /// Through a proxy, if there is one for it.
    Outside,
}

/// The direction of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    Down,
    Up,
}

/// Clients, made when they are first needed: reading the system's certificates takes longer than an unchanged build should.
#[derive(Default)]
pub(super) struct Connections {
    /// Know no certificates.
    plain: [OnceLock<reqwest::Client>; 2],
    secure: [OnceLock<reqwest::Client>; 2],
    /// By host and port; `None` for those that have nothing of their own.
    own: Mutex<BTreeMap<(String, Proof), Option<reqwest::Client>>>,
    permits: Mutex<BTreeMap<(Direction, String), Arc<Semaphore>>>,
    /// Finds the proxy of an address, by the rules that the clients have.
    proxies: OnceLock<Matcher>,
}

impl Connections {
    /// The client for an address.
    pub(super) fn of(&self, settings: &Settings, url: &Url, proof: Proof) -> Result<reqwest::Client, Error> {
        let way = if is_loopback(url) { Way::Direct } else { Way::Outside };
        if url.scheme() == "http" {
            return shared(&self.plain, way, || build(settings, way, Vec::new(), None, Proof::Wanted));
        }
        let name = (authority(url), proof);
        if let Some(known) = lock(&self.own).get(&name) {
            return match known {
                Some(client) => Ok(client.clone()),
                None => shared(&self.secure, way, || secure(settings, way)),
            };
        }
        // Two that make it at once make the same.
        let own = own(settings, &name.0, way, proof)?;
        lock(&self.own).insert(name, own.clone());
        match own {
            Some(client) => Ok(client),
            None => shared(&self.secure, way, || secure(settings, way)),
        }
    }

    /// The host and port of the proxy that requests to an address go through, where there is one.
    pub(super) fn proxy(&self, settings: &Settings, url: &Url) -> Option<String> {
        if is_loopback(url) {
            return None;
        }
        let Proxies { http, https, except } = &settings.proxies;
        let address = |secret: &Option<Secret>| secret.as_ref().map(Secret::expose).unwrap_or_default().to_owned();
        let matcher = self.proxies.get_or_init(|| Matcher::builder().http(address(http)).https(address(https)).no(except.clone()).build());
        let proxy = matcher.intercept(&url.as_str().parse().ok()?)?;
        // Without the login that may stand in front of it.
        let authority = proxy.uri().authority()?;
        Some(authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host).to_owned())
    }

    /// Waits until another blob may go to or from a host.
    pub(super) async fn permit(&self, settings: &Settings, host: &str, direction: Direction) -> Result<OwnedSemaphorePermit, Error> {
        self.permits(settings, host, direction).acquire_owned().await.map_err(|_| ended())
    }

    /// The same without waiting; `None` where as many are on their way as may be.
    pub(super) fn free_permit(&self, settings: &Settings, host: &str, direction: Direction) -> Option<OwnedSemaphorePermit> {
        self.permits(settings, host, direction).try_acquire_owned().ok()
    }

    fn permits(&self, settings: &Settings, host: &str, direction: Direction) -> Arc<Semaphore> {
        let bound = settings.host(host).and_then(|host| host.transfers).unwrap_or(TRANSFERS);
        let mut permits = lock(&self.permits);
        Arc::clone(permits.entry((direction, host.to_owned())).or_insert_with(|| Arc::new(Semaphore::new(bound.get()))))
    }
}

/// Finds mistakes in the settings that show without a connection.
pub(super) fn check(settings: &Settings) -> Result<(), Error> {
    settings.certificates.own()?;
    for host in settings.hosts.values() {
        authorities(&host.authorities)?;
        if let Some(identity) = &host.identity {
            certificates::identity(identity.expose())?;
        }
    }
    proxies(settings).map(drop)
}

fn shared(
    clients: &[OnceLock<reqwest::Client>; 2],
    way: Way,
    make: impl FnOnce() -> Result<reqwest::Client, Error>,
) -> Result<reqwest::Client, Error> {
    let place = match way {
        Way::Direct => &clients[0],
        Way::Outside => &clients[1],
    };
    if let Some(client) = place.get() {
        return Ok(client.clone());
    }
    let made = make()?;
    Ok(place.get_or_init(|| made).clone())
}

fn secure(settings: &Settings, way: Way) -> Result<reqwest::Client, Error> {
    build(settings, way, settings.certificates.load()?, None, Proof::Wanted)
}

/// Whether a server must show who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proof {
    /// By a certificate that one of our authorities vouches for.
    Wanted,
    /// It need not: registries.conf says so of the place that is asked for.
    Waived,
}

/// A client for a host that has something of its own.
fn own(settings: &Settings, name: &str, way: Way, proof: Proof) -> Result<Option<reqwest::Client>, Error> {
    let configured = settings.host(name);
    let found = certificates::of_host(&settings.certificate_directories, name)?;
    let identity = configured.and_then(|host| host.identity.as_ref()).map(Secret::expose).or(found.identity.as_deref());
    let mut further = authorities(&found.authorities)?;
    further.extend(configured.map(|host| authorities(&host.authorities)).transpose()?.unwrap_or_default());
    if further.is_empty() && identity.is_none() && proof == Proof::Wanted {
        return Ok(None);
    }
    let identity = identity.map(certificates::identity).transpose()?;
    further.extend(settings.certificates.load()?);
    build(settings, way, further, identity, proof).map(Some)
}

fn build(
    settings: &Settings,
    way: Way,
    certificates: Vec<Certificate>,
    identity: Option<reqwest::Identity>,
    proof: Proof,
) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .user_agent(&settings.user_agent)
        .tls_certs_only(certificates)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(settings.patience.connect);
    if proof == Proof::Waived {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    if let Some(identity) = identity {
        builder = builder.identity(identity);
    }
    if way == Way::Outside {
        for proxy in proxies(settings)? {
            builder = builder.proxy(proxy);
        }
    }
    builder.build().map_err(|error| Error::Settings { what: format!("the settings for registries cannot be used: {}", chain(&error)) })
}

fn proxies(settings: &Settings) -> Result<Vec<Proxy>, Error> {
    let except = reqwest::NoProxy::from_string(&settings.proxies.except);
    let mut found = Vec::new();
    type Make = fn(Url) -> reqwest::Result<Proxy>;
    let kinds: [(&Option<Secret>, Make, &str); 2] =
        [(&settings.proxies.http, Proxy::http, "http"), (&settings.proxies.https, Proxy::https, "https")];
    for (address, make, kind) in kinds {
        let Some(address) = address else { continue };
        let bad = || Error::Settings {
            what: format!("the proxy for {kind} has no usable address: expected `http://` or `https://`, a host and a port"),
        };
        // As `HTTP_PROXY=proxy:3128` is often written.
        let text = if address.expose().contains("://") { address.expose().to_owned() } else { format!("http://{}", address.expose()) };
        let url = Url::parse(&text).map_err(|_| bad())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(bad());
        }
        found.push(make(url).map_err(|_| bad())?.no_proxy(except.clone()));
    }
    Ok(found)
}

/// An error and those below it on one line, each once.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        below = error.source();
    }
    text
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that panics is done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
