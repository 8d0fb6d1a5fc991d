//! A challenge and credentials → the `Authorization` of the next request.
//!
//! Nothing is sent before it is asked for. One token is fetched per token server and set of scopes, however many requests wait for it;
//! it is fetched anew when it is about to end or was refused.
//! Source of truth: the distribution project's "Token Authentication Specification" and "Oauth2 Token Authentication".

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Response, Url};
use serde::Deserialize;
use tokio::time::Instant;

use super::challenge::{self, Challenge};
use super::client::{Answer, Client, Payload};
use super::connect::Proof;
use super::endpoint::{Endpoint, Scopes, authority};
use super::error::Login;
use super::retry::{is_passing, is_transient, retry_after};
use super::{Credential, Error, Secret};

/// The most that a token server may answer.
const TOKEN_LIMIT_BYTES: u64 = 1 << 20;

/// How long a token holds that does not say so, in seconds: what the specification says for those.
const TOKEN_SECONDS: u64 = 60;

/// The value of an `Authorization` header, and whether credentials stand behind it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Authorization {
    pub(super) value: HeaderValue,
    pub(super) login: Login,
}

/// What is known of how to log in where.
#[derive(Default)]
pub(super) struct Logins {
    /// The challenge of each server, by the way it is spoken to.
    challenges: Mutex<BTreeMap<String, Challenge>>,
    /// By the same and the repository.
    basic: Mutex<BTreeMap<(String, String), Authorization>>,
    tokens: Mutex<BTreeMap<TokenKey, TokenSlot>>,
    /// What token servers gave in place of identity tokens, which may count no longer then. Locked while one is being used.
    renewed: Mutex<BTreeMap<String, RenewedSlot>>,
}

/// By the identity token that was looked up: the one to use now.
type RenewedSlot = Arc<tokio::sync::Mutex<Vec<(Secret, Secret)>>>;

/// What a token is for. Credentials may be kept per repository, so that is part of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct TokenKey {
    way: String,
    repository: String,
    realm: String,
    service: Option<String>,
    scopes: Scopes,
}

/// Locked while a token is being fetched.
type TokenSlot = Arc<tokio::sync::Mutex<Option<Token>>>;

struct Token {
    authorization: Authorization,
    /// When to fetch the next.
    stale: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
}

impl Logins {
    /// What to send with a request, going by earlier answers of the same host.
    pub(super) async fn known(&self, client: &Client, endpoint: &Endpoint, scopes: &Scopes) -> Result<Option<Authorization>, Error> {
        let challenge = lock(&self.challenges).get(&endpoint.way()).cloned();
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(lock(&self.basic).get(&basic_key(endpoint)).cloned()),
            Some(Challenge::Bearer { realm, service, .. }) => {
                self.token(client, endpoint, key(endpoint, &realm, service, scopes), None).await.map(Some)
            }
        }
    }

    /// What to send after a 401; `None` where there is nothing else to try.
    pub(super) async fn answer(
        &self,
        client: &Client,
        endpoint: &Endpoint,
        scopes: &Scopes,
        headers: &HeaderMap,
        refused: Option<&Authorization>,
    ) -> Result<Option<Authorization>, Error> {
        let headers = headers.get_all(WWW_AUTHENTICATE).iter();
        let challenges: Vec<Challenge> = headers.filter_map(|header| header.to_str().ok()).flat_map(challenge::parse).collect();
        let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let Some(challenge) = bearer.or(challenges.first()) else { return Ok(None) };
        lock(&self.challenges).insert(endpoint.way(), challenge.clone());
        match challenge {
            Challenge::Basic => {
                let authorization = basic(client.credential(endpoint).await?);
                match authorization {
                    Some(authorization) if Some(&authorization) != refused => {
                        lock(&self.basic).insert(basic_key(endpoint), authorization.clone());
                        Ok(Some(authorization))
                    }
                    Some(_) | None => Ok(None),
                }
            }
            Challenge::Bearer { realm, service, scope } => {
                let mut scopes = scopes.clone();
                for wanted in scope.iter().flat_map(|scope| scope.split(' ')).filter(|scope| !scope.is_empty()) {
                    if !is_covered(wanted, &scopes) {
                        scopes.insert(wanted.to_owned());
                    }
                }
                self.token(client, endpoint, key(endpoint, realm, service.clone(), &scopes), refused).await.map(Some)
            }
        }
    }

    /// A token that is good for a while yet and is not the one that was refused.
    async fn token(
        &self,
        client: &Client,
        endpoint: &Endpoint,
        key: TokenKey,
        refused: Option<&Authorization>,
    ) -> Result<Authorization, Error> {
        let slot = lock(&self.tokens).entry(key.clone()).or_default().clone();
        let mut token = slot.lock().await;
        if let Some(token) = token.as_ref()
            && Some(&token.authorization) != refused
            && Instant::now() < token.stale
        {
            return Ok(token.authorization.clone());
        }
        *token = None;
        let fetched = self.fetch(client, endpoint, &key).await?;
        let authorization = fetched.authorization.clone();
        *token = Some(fetched);
        Ok(authorization)
    }
}

impl Client {
    /// Looks up what to log in with, on a thread that may block.
    async fn credential(&self, endpoint: &Endpoint) -> Result<Option<Credential>, Error> {
        let credentials = Arc::clone(&self.credentials);
        let (registry, repository) = (endpoint.registry.clone(), endpoint.repository.clone());
        match tokio::task::spawn_blocking(move || credentials.get(&registry, &repository)).await {
            Ok(found) => found.map_err(|source| Error::Credentials { host: endpoint.host.clone(), source }),
            Err(_) => Err(super::runtime::ended()),
        }
    }
}

impl Logins {
    /// Fetches a token. A token server that gives a new identity token with it is given that one the next time, and one at a time.
    async fn fetch(&self, client: &Client, endpoint: &Endpoint, key: &TokenKey) -> Result<Token, Error> {
        let credential = client.credential(endpoint).await?;
        let Some(Credential::IdentityToken(original)) = &credential else {
            return fetch(client, endpoint, key, credential).await.map(|(token, _)| token);
        };
        let slot = lock(&self.renewed).entry(key.realm.clone()).or_default().clone();
        let mut renewed = slot.lock().await;
        let known = renewed.iter().find(|(first, _)| first == original).map_or(original, |(_, now)| now).clone();
        let (token, new) = fetch(client, endpoint, key, Some(Credential::IdentityToken(known))).await?;
        if let Some(new) = new {
            renewed.retain(|(first, _)| first != original);
            renewed.push((original.clone(), new));
        }
        Ok(token)
    }
}

/// A token, and the identity token to use from now on where the server gave one.
async fn fetch(
    client: &Client,
    endpoint: &Endpoint,
    key: &TokenKey,
    credential: Option<Credential>,
) -> Result<(Token, Option<Secret>), Error> {
    let realm = endpoint.realm(&key.realm)?;
    let login = if credential.is_some() { Login::Credentials } else { Login::Nothing };
    if let Some(Credential::RegistryToken(token)) = &credential {
        let authorization = bearer(token.expose(), login).ok_or_else(|| no_token(endpoint))?;
        return Ok((Token { authorization, stale: after(u64::MAX) }, None));
    }
    let server = authority(&realm);
    let doing = format!("getting a token for `{}/{}` (`{}`)", endpoint.host, endpoint.repository, realm.path());
    let patience = client.settings.patience;
    let mut failures = 0;
    let response = loop {
        let request = request(client, &realm, endpoint.proof_of(&realm), key, credential.as_ref())?;
        let outcome = client.head(&server, &doing, request, &Payload::Nothing).await;
        failures += 1;
        match outcome {
            Ok(response) if !is_passing(response.status()) || failures >= patience.attempts => break response,
            Err(error) if !is_transient(&error) || failures >= patience.attempts.min(3) => return Err(error),
            Ok(response) => match client.waits.after(&patience, &server, &doing, failures, retry_after(response.headers())) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => break response,
            },
            Err(_) => patience.pause(failures).await,
        }
    };
    if !response.status().is_success() {
        return Err(client.refusal(&server, &doing, Answer { response, login }).await);
    }
    read(client, endpoint, &doing, response, login).await
}

fn request(
    client: &Client,
    realm: &Url,
    proof: Proof,
    key: &TokenKey,
    credential: Option<&Credential>,
) -> Result<reqwest::RequestBuilder, Error> {
    match credential {
        Some(Credential::IdentityToken(token)) => {
            let scopes: Vec<&str> = key.scopes.iter().map(String::as_str).collect();
            let mut form = realm.clone();
            form.set_query(None);
            {
                let mut pairs = form.query_pairs_mut();
                pairs.append_pair("grant_type", "refresh_token").append_pair("client_id", "lapstrake");
                if let Some(service) = &key.service {
                    pairs.append_pair("service", service);
                }
                if !scopes.is_empty() {
                    pairs.append_pair("scope", &scopes.join(" "));
                }
                pairs.append_pair("refresh_token", token.expose());
            }
            let body = form.query().unwrap_or_default().to_owned();
            let request = client.request(Method::POST, realm.clone(), proof)?;
            Ok(request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body))
        }
        Some(Credential::Password { .. } | Credential::RegistryToken(_)) | None => {
            let mut url = realm.clone();
            {
                let mut pairs = url.query_pairs_mut();
                if let Some(service) = &key.service {
                    pairs.append_pair("service", service);
                }
                for scope in &key.scopes {
                    pairs.append_pair("scope", scope);
                }
            }
            let request = client.request(Method::GET, url, proof)?;
            Ok(match basic(credential.cloned()) {
                Some(authorization) => request.header(AUTHORIZATION, authorization.value),
                None => request,
            })
        }
    }
}

async fn read(
    client: &Client,
    endpoint: &Endpoint,
    doing: &str,
    response: Response,
    login: Login,
) -> Result<(Token, Option<Secret>), Error> {
    let body = client.body(&endpoint.host, doing, response, TOKEN_LIMIT_BYTES).await?;
    let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| no_token(endpoint))?;
    let text = answer.token.filter(|token| !token.is_empty()).or(answer.access_token);
    let authorization = text.and_then(|token| bearer(&token, login)).ok_or_else(|| no_token(endpoint))?;
    let stale = after(answer.expires_in.filter(|seconds| *seconds > 0).unwrap_or(TOKEN_SECONDS));
    Ok((Token { authorization, stale }, answer.refresh_token.filter(|token| !token.is_empty()).map(Secret::new)))
}

fn no_token(endpoint: &Endpoint) -> Error {
    Error::Protocol {
        host: endpoint.host.clone(),
        doing: "getting a token".to_owned(),
        expected: "a `token` or `access_token` from its token server",
    }
}

/// When a token of so many seconds should be replaced: a little before it ends, so that it does not end on the way.
fn after(seconds: u64) -> Instant {
    // A year is as good as for ever.
    let seconds = seconds.min(31_536_000);
    Instant::now() + Duration::from_secs(seconds - (seconds / 5).min(10))
}

fn bearer(token: &str, login: Login) -> Option<Authorization> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(Authorization { value, login })
}

/// Only a password can be sent with each request.
fn basic(credential: Option<Credential>) -> Option<Authorization> {
    match credential? {
        Credential::Password { user, password } => {
            let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose())))).ok()?;
            value.set_sensitive(true);
            Some(Authorization { value, login: Login::Credentials })
        }
        Credential::IdentityToken(_) | Credential::RegistryToken(_) => None,
    }
}

fn basic_key(endpoint: &Endpoint) -> (String, String) {
    (endpoint.way(), endpoint.repository.clone())
}

fn key(endpoint: &Endpoint, realm: &str, service: Option<String>, scopes: &Scopes) -> TokenKey {
    TokenKey { way: endpoint.way(), repository: endpoint.repository.clone(), realm: realm.to_owned(), service, scopes: scopes.clone() }
}

/// Whether scopes already allow what a further one would.
fn is_covered(wanted: &str, scopes: &Scopes) -> bool {
    let Some((resource, actions)) = wanted.rsplit_once(':') else { return false };
    scopes
        .iter()
        .filter_map(|scope| scope.rsplit_once(':'))
        .any(|(held, allowed)| held == resource && actions.split(',').all(|action| allowed.split(',').any(|allowed| allowed == action)))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that panics is done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_covered_by_one_that_allows_as_much() {
        let scopes = Scopes::from(["repository:a:pull,push".to_owned(), "repository:b:pull".to_owned()]);
        for (wanted, covered) in [
            ("repository:a:pull", true),
            ("repository:a:push,pull", true),
            ("repository:b:push", false),
            ("repository:c:pull", false),
            ("registry:catalog:*", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_covered(wanted, &scopes), covered, "{wanted}");
        }
    }
}
