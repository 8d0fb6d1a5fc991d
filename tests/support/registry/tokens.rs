//! A token server, and the tokens it gave out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::http::{Handler, Request, Response, Server, pairs};

/// Tokens by their text.
#[derive(Default)]
pub(crate) struct Issued(Mutex<BTreeMap<String, BTreeSet<String>>>);

impl Issued {
    /// Whether a token allows an action (`pull`) on a repository.
    pub(crate) fn allows(&self, token: &str, repository: &str, action: &str) -> bool {
        let issued = self.0.lock().unwrap();
        issued.get(token).is_some_and(|scopes| {
            scopes.iter().any(|scope| {
                let mut parts = scope.splitn(3, ':');
                parts.next() == Some("repository")
                    && parts.next() == Some(repository)
                    && parts.next().is_some_and(|actions| actions.split(',').any(|allowed| allowed == action))
            })
        })
    }

    /// Whether a token was given out.
    pub(crate) fn knows(&self, token: &str) -> bool {
        self.0.lock().unwrap().contains_key(token)
    }

    /// Makes every token so far worth nothing.
    pub(crate) fn expire(&self) {
        self.0.lock().unwrap().clear();
    }
}

/// Whom a token server knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    /// User and password; `None` lets anybody in.
    pub(crate) password: Option<(String, String)>,
    /// A refresh token.
    pub(crate) refresh_token: Option<String>,
    /// Whether a refresh token is good for one token, which comes with the next refresh token.
    pub(crate) rotates: bool,
    /// Repositories that are refused: a request for one of them gets no token at all.
    pub(crate) closed: BTreeSet<String>,
    /// What the answer says of how long the token holds.
    pub(crate) expires_in: Option<u64>,
}

/// Gives out tokens.
pub(crate) struct TokenServer {
    pub(crate) server: Server,
    state: Arc<State>,
}

struct State {
    accounts: Accounts,
    issued: Arc<Issued>,
    seen: Mutex<Vec<Request>>,
    /// How often the refresh token was replaced.
    rotated: Mutex<usize>,
}

impl TokenServer {
    pub(crate) fn start(accounts: Accounts) -> TokenServer {
        let state = Arc::new(State { accounts, issued: Arc::default(), seen: Mutex::default(), rotated: Mutex::default() });
        TokenServer { server: Server::start(Arc::clone(&state) as Arc<dyn Handler>), state }
    }

    pub(crate) fn realm(&self) -> String {
        format!("http://{}/token", self.server.address)
    }

    pub(crate) fn issued(&self) -> Arc<Issued> {
        Arc::clone(&self.state.issued)
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.state.seen.lock().unwrap().clone()
    }
}

impl Handler for State {
    fn handle(&self, request: Request) -> Response {
        self.seen.lock().unwrap().push(request.clone());
        let refused = || Response::error(401, "UNAUTHORIZED", "unknown account");
        let scopes: Vec<String> = match request.method.as_str() {
            "GET" => {
                if let Some((user, password)) = &self.accounts.password
                    && request.header("authorization") != Some(&super::fake::basic(user, password))
                {
                    return refused();
                }
                request.parameters("scope").into_iter().map(str::to_owned).collect()
            }
            "POST" => {
                let form: BTreeMap<String, String> = pairs(std::str::from_utf8(&request.body).unwrap()).into_iter().collect();
                let field = |name: &str| form.get(name).cloned().unwrap_or_default();
                if field("grant_type") != "refresh_token" || Some(field("refresh_token")) != self.refresh_token() {
                    return refused();
                }
                if self.accounts.rotates {
                    *self.rotated.lock().unwrap() += 1;
                }
                if field("client_id").is_empty() || field("service") != "fake" {
                    return Response::error(400, "INVALID", "a field is missing");
                }
                field("scope").split(' ').map(str::to_owned).collect()
            }
            _ => return Response::new(405),
        };
        if scopes.iter().any(|scope| self.accounts.closed.iter().any(|closed| scope.contains(&format!(":{closed}:")))) {
            return Response::error(403, "DENIED", "not yours");
        }
        let mut issued = self.issued.0.lock().unwrap();
        let token = format!("token-{}-{}", self.requests(), issued.len());
        issued.insert(token.clone(), scopes.into_iter().collect());
        let mut body = serde_json::json!({"token": token});
        if let Some(seconds) = self.accounts.expires_in {
            body["expires_in"] = seconds.into();
        }
        if request.method == "POST" && self.accounts.rotates {
            body["refresh_token"] = self.refresh_token().into();
        }
        Response::new(200).with("content-type", "application/json").body(body.to_string())
    }
}

impl State {
    /// The one that counts now.
    fn refresh_token(&self) -> Option<String> {
        let first = self.accounts.refresh_token.clone()?;
        match *self.rotated.lock().unwrap() {
            0 => Some(first),
            times => Some(format!("{first}-{times}")),
        }
    }

    /// Tokens are never given out twice, also after all were forgotten.
    fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}
