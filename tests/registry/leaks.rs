//! A planted password is seen by its own host alone.

use std::sync::Arc;

use lapstrake::event::Cancel;
use lapstrake::registry::{Credential, CredentialError, Credentials, Registry, Secret};

use crate::support::fake::{Door, FakeRegistry, Fault, basic};
use crate::support::http::{Handler, Request, Response, Server};
use crate::support::{at, image};
use crate::{SECRET, in_full, pull, push_blob, settings};

/// Answers everything with a challenge, and remembers what it was told.
struct Thief {
    challenge: String,
    seen: std::sync::Mutex<Vec<Request>>,
}

impl Handler for Thief {
    fn handle(&self, request: Request) -> Response {
        self.seen.lock().unwrap().push(request);
        Response::error(401, "UNAUTHORIZED", "give me your password").with("www-authenticate", self.challenge.clone())
    }
}

struct Trap {
    server: Server,
    thief: Arc<Thief>,
}

impl Trap {
    /// `bearer` names itself as the token server.
    fn new(bearer: bool) -> Trap {
        // The address is known once the server runs, so a first one tells where the second should send people.
        let place = Arc::new(Thief { challenge: "Basic realm=\"trap\"".to_owned(), seen: std::sync::Mutex::default() });
        let tokens = Server::start(Arc::clone(&place) as Arc<dyn Handler>);
        if !bearer {
            return Trap { server: tokens, thief: place };
        }
        let challenge = format!("Bearer realm=\"http://{}/token\",service=\"fake\"", tokens.address);
        let thief = Arc::new(Thief { challenge, seen: std::sync::Mutex::default() });
        let server = Server::start(Arc::clone(&thief) as Arc<dyn Handler>);
        // Both ears belong to one thief.
        std::mem::forget(tokens);
        LISTENERS.lock().unwrap().push(place);
        Trap { server, thief }
    }

    fn heard(&self) -> String {
        let listeners = LISTENERS.lock().unwrap();
        let own = self.thief.seen.lock().unwrap().clone();
        let others: Vec<Request> = listeners.iter().flat_map(|listener| listener.seen.lock().unwrap().clone()).collect();
        format!("{own:?} {others:?}")
    }
}

static LISTENERS: std::sync::Mutex<Vec<Arc<Thief>>> = std::sync::Mutex::new(Vec::new());

/// Knows one registry.
struct Only(String);

impl Credentials for Only {
    fn get(&self, registry: &str, _repository: &str) -> Result<Option<Credential>, CredentialError> {
        let password = Credential::Password { user: "alice".to_owned(), password: Secret::new(SECRET) };
        Ok((registry == self.0).then_some(password))
    }
}

#[test]
fn nobody_else_hears_the_password_wherever_they_lead_us() {
    let image = image(100_000);
    let (descriptor, bytes) = &image.blobs[0];
    for bearer in [false, true] {
        let trap = Trap::new(bearer);
        let there = format!("http://{}/v2/stolen/blobs/uploads/1?digest=x", trap.server.address);
        let fresh = || {
            let fake = FakeRegistry::start(Door::Basic { user: "alice".to_owned(), password: SECRET.to_owned() });
            fake.put_blob("team/web", bytes);
            let registry = Registry::new(settings(), Arc::new(Only(fake.address().to_string()))).unwrap();
            let target = at(fake.address(), "team/web:1");
            // Logged in, so that every request that can carry the password does.
            registry.tags(&target, &Cancel::new()).unwrap();
            (fake, registry, target)
        };
        let redirect = |status: u16| Fault::Answer(Response::new(status).with("location", there.clone()));
        for status in [301, 302, 303, 307, 308] {
            let (fake, registry, target) = fresh();
            fake.fault("GET", 100, redirect(status));
            let error = pull(&registry, &target, descriptor).unwrap_err();
            assert!(!in_full(&error).contains(SECRET));
            registry.resolve(&target, &Cancel::new()).unwrap_err();
            registry.tags(&target, &Cancel::new()).unwrap_err();
            let (fake, registry, target) = fresh();
            fake.fault("POST", 100, redirect(status));
            fake.fault("PUT", 100, redirect(status));
            fake.fault("HEAD", 100, redirect(status));
            push_blob(&registry, &target, &image.blobs[1], &[]).unwrap_err();
            registry.push_manifest(&target, "application/json", b"{}", &Cancel::new()).unwrap_err();
        }
        // An upload address that is the thief's.
        let (fake, registry, target) = fresh();
        fake.fault("POST", 100, Fault::Header("location", Some(there.clone())));
        push_blob(&registry, &target, &image.blobs[1], &[]).unwrap_err();
        // The next page of a list.
        let (fake, registry, target) = fresh();
        fake.fault("GET", 100, Fault::Header("link", Some(format!("<{there}>; rel=\"next\""))));
        registry.tags(&target, &Cancel::new()).unwrap();
        // What is behind an address, such as that of a foreign layer, is fetched without a login.
        registry.fetch(&there, &mut Vec::new(), &mut |_| {}, &Cancel::new()).unwrap_err();

        let heard = trap.heard();
        assert!(!trap.thief.seen.lock().unwrap().is_empty());
        for secret in [SECRET, &basic("alice", SECRET), "authorization"] {
            assert!(!heard.contains(secret), "{heard}");
        }
    }
}

#[test]
fn a_token_server_that_sends_us_on_is_not_followed() {
    let trap = Trap::new(false);
    let there = format!("http://{}/token", trap.server.address);
    struct SendsOn(String);
    impl Handler for SendsOn {
        fn handle(&self, _request: Request) -> Response {
            Response::new(307).with("location", self.0.clone())
        }
    }
    let tokens = Server::start(Arc::new(SendsOn(there)));
    let realm = format!("http://{}/token", tokens.address);
    let fake = FakeRegistry::start(Door::Token { realm, issued: Arc::default() });
    let registry = Registry::new(settings(), Arc::new(Only(fake.address().to_string()))).unwrap();
    registry.resolve(&at(fake.address(), "team/web:1"), &Cancel::new()).unwrap_err();
    assert!(trap.thief.seen.lock().unwrap().is_empty());
}

#[test]
fn a_half_sent_blob_is_not_sent_on_to_where_a_changed_file_says_with_a_password() {
    let trap = Trap::new(false);
    let directory = tempfile::tempdir().unwrap();
    let fake = FakeRegistry::start(Door::Basic { user: "alice".to_owned(), password: SECRET.to_owned() });
    let settings = lapstrake::registry::Settings { memory: Some(directory.path().to_owned()), ..settings() };
    let registry = Registry::new(settings, Arc::new(Only(fake.address().to_string()))).unwrap();
    let image = image(2_000_000);
    let target = at(fake.address(), "team/web");
    fake.fault("PUT", 100, Fault::CutRequest(500_000));
    fake.fault("GET", 100, Fault::Answer(Response::new(500)));
    push_blob(&registry, &target, &image.blobs[0], &[]).unwrap_err();
    let uploads = directory.path().join("uploads");
    let file = std::fs::read_dir(&uploads).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&file).unwrap();
    let own = format!("http://{}/", fake.address());
    assert!(text.contains(&own));
    std::fs::write(&file, text.replace(&own, &format!("http://{}/", trap.server.address))).unwrap();
    push_blob(&registry, &target, &image.blobs[0], &[]).unwrap_err();
    assert!(!trap.thief.seen.lock().unwrap().is_empty(), "the address in the file was not asked");
    assert!(!trap.heard().contains("authorization"));
}
