//! Who we say we are, to whom, and to whom not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use lapstrake::event::Cancel;
use lapstrake::image::MediaType;
use lapstrake::registry::{Checked, Credential, Error, Login, Mirror, Pushed, Registry, Secret, Settings};

use crate::support::fake::{Door, FakeRegistry, Fault, basic};
use crate::support::http::{Request, Response};
use crate::support::tokens::{Accounts, TokenServer};
use crate::support::{at, image};
use crate::{Always, SECRET, alice, anonymous, in_full, pull, push_blob, push_image, settings, with_password};

fn accounts() -> Accounts {
    Accounts { password: Some(("alice".to_owned(), SECRET.to_owned())), ..Accounts::default() }
}

fn scopes(requests: &[Request]) -> Vec<Vec<String>> {
    requests.iter().map(|request| request.parameters("scope").into_iter().map(str::to_owned).collect()).collect()
}

#[test]
fn a_password_is_sent_once_it_is_asked_for() {
    let fake = FakeRegistry::start(Door::Basic { user: "alice".to_owned(), password: SECRET.to_owned() });
    let target = at(fake.address(), "team/web:1");
    push_image(&with_password(), &target, &image(10)).unwrap();
    let without = fake.seen().iter().filter(|request| request.header("authorization").is_none()).count();
    assert_eq!(without, 1);
    fake.assert_well_treated();
}

#[test]
fn a_wrong_password_and_none_at_all_are_told_apart() {
    let fake = FakeRegistry::start(Door::Basic { user: "alice".to_owned(), password: "other".to_owned() });
    let reference = at(fake.address(), "team/web:1");
    for (registry, expected) in [(anonymous(), Login::Nothing), (with_password(), Login::Credentials)] {
        let error = registry.resolve(&reference, &Cancel::new()).unwrap_err();
        assert!(matches!(error, Error::Unauthorized { login, .. } if login == expected), "{error:?}");
        assert!(!in_full(&error).contains(SECRET));
    }
}

#[test]
fn one_token_with_exactly_the_needed_scope_serves_a_whole_push() {
    let tokens = TokenServer::start(accounts());
    let fake = FakeRegistry::behind(&tokens);
    let registry = with_password();
    let target = at(fake.address(), "team/web:1");
    let image = image(10);
    push_image(&registry, &target, &image).unwrap();
    assert_eq!(scopes(&tokens.seen()), [["repository:team/web:pull,push"]]);
    registry.resolve(&target, &Cancel::new()).unwrap();
    pull(&registry, &target, &image.blobs[0].0).unwrap();
    assert_eq!(scopes(&tokens.seen()), [["repository:team/web:pull,push"], ["repository:team/web:pull"]]);
    let asked = &tokens.seen()[0];
    assert_eq!(asked.header("authorization"), Some(basic("alice", SECRET).as_str()));
    assert_eq!(asked.parameter("service"), Some("fake"));
    // The password goes to the token server alone.
    assert!(fake.seen().iter().all(|request| request.header("authorization").is_none_or(|value| value.starts_with("Bearer token-"))));
    fake.assert_well_treated();
}

#[test]
fn requests_at_the_same_time_share_one_token() {
    let tokens = TokenServer::start(Accounts::default());
    let fake = FakeRegistry::behind(&tokens);
    let image = image(10);
    fake.put_manifest("team/web", "1", MediaType::OCI_MANIFEST, &image.manifest);
    let registry = anonymous();
    let reference = at(fake.address(), "team/web:1");
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| registry.resolve(&reference, &Cancel::new()).unwrap());
        }
    });
    assert_eq!(tokens.seen().len(), 1);
    assert_eq!(tokens.seen()[0].header("authorization"), None);
}

#[test]
fn a_token_that_ended_is_replaced_in_the_middle_of_a_push() {
    let tokens = TokenServer::start(accounts());
    let fake = FakeRegistry::behind(&tokens);
    let registry = with_password();
    let target = at(fake.address(), "team/web:1");
    let image = image(300_000);
    push_blob(&registry, &target, &image.blobs[1], &[]).unwrap();
    tokens.issued().expire();
    let challenge = format!("Bearer realm=\"{}\",service=\"fake\",error=\"invalid_token\"", tokens.realm());
    fake.fault("PUT", 1, Fault::Answer(Response::error(401, "UNAUTHORIZED", "ended").with("www-authenticate", challenge)));
    assert_eq!(push_blob(&registry, &target, &image.blobs[0], &[]).unwrap(), Pushed::Uploaded);
    // The first, one for the HEAD that found it ended, one for the PUT that was refused.
    assert_eq!(tokens.seen().len(), 3);
    fake.assert_well_treated();
}

#[test]
fn a_token_that_says_it_ends_at_once_is_not_used_twice() {
    let tokens = TokenServer::start(Accounts { expires_in: Some(1), ..Accounts::default() });
    let fake = FakeRegistry::behind(&tokens);
    fake.put_manifest("team/web", "1", MediaType::OCI_MANIFEST, &image(10).manifest);
    let registry = anonymous();
    let reference = at(fake.address(), "team/web:1");
    registry.resolve(&reference, &Cancel::new()).unwrap();
    thread::sleep(std::time::Duration::from_millis(1100));
    registry.resolve(&reference, &Cancel::new()).unwrap();
    assert_eq!(tokens.seen().len(), 2);
    // Without having been refused first.
    assert_eq!(fake.lines().len(), 3);
}

#[test]
fn an_identity_token_buys_tokens_by_post() {
    let tokens = TokenServer::start(Accounts { refresh_token: Some(SECRET.to_owned()), ..Accounts::default() });
    let fake = FakeRegistry::behind(&tokens);
    let credentials = Always(Credential::IdentityToken(Secret::new(SECRET)));
    let registry = Registry::new(settings(), Arc::new(credentials)).unwrap();
    push_image(&registry, &at(fake.address(), "team/web:1"), &image(10)).unwrap();
    assert_eq!(tokens.seen().iter().map(Request::line).collect::<Vec<_>>(), ["POST /token"]);
    fake.assert_well_treated();
}

#[test]
fn a_registry_token_is_sent_as_it_is() {
    let tokens = TokenServer::start(Accounts::default());
    let fake = FakeRegistry::behind(&tokens);
    let credentials = Always(Credential::RegistryToken(Secret::new(SECRET)));
    let registry = Registry::new(settings(), Arc::new(credentials)).unwrap();
    let error = registry.resolve(&at(fake.address(), "team/web:1"), &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }));
    assert!(!in_full(&error).contains(SECRET));
    assert_eq!(fake.seen()[1].header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    assert_eq!(tokens.seen().len(), 0);
}

#[test]
fn a_token_for_a_mount_covers_both_repositories() {
    let tokens = TokenServer::start(accounts());
    let fake = FakeRegistry::behind(&tokens);
    let image = image(10);
    fake.put_blob("library/base", &image.blobs[0].1);
    let mounts = [at(fake.address(), "library/base")];
    let pushed = push_blob(&with_password(), &at(fake.address(), "team/web"), &image.blobs[0], &mounts).unwrap();
    assert_eq!(pushed, Pushed::Mounted);
    assert!(scopes(&tokens.seen()).contains(&vec!["repository:library/base:pull".to_owned(), "repository:team/web:pull,push".to_owned()]));
    fake.assert_well_treated();
}

#[test]
fn a_mount_that_the_token_server_forbids_becomes_an_upload() {
    let closed = BTreeSet::from(["library/base".to_owned()]);
    let tokens = TokenServer::start(Accounts { closed, ..accounts() });
    let fake = FakeRegistry::behind(&tokens);
    let image = image(10);
    fake.put_blob("library/base", &image.blobs[0].1);
    let mounts = [at(fake.address(), "library/base")];
    let pushed = push_blob(&with_password(), &at(fake.address(), "team/web"), &image.blobs[0], &mounts).unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
}

#[test]
fn a_token_server_that_refuses_is_reported_and_named() {
    let tokens = TokenServer::start(Accounts { password: Some(("alice".to_owned(), "other".to_owned())), ..Accounts::default() });
    let fake = FakeRegistry::behind(&tokens);
    let error = with_password().resolve(&at(fake.address(), "team/web:1"), &Cancel::new()).unwrap_err();
    assert!(matches!(&error, Error::Unauthorized { host, login: Login::Credentials, .. } if *host == tokens.server.address.to_string()));
    assert!(!in_full(&error).contains(SECRET));
}

#[test]
fn a_token_server_that_is_not_trusted_is_not_even_asked() {
    for realm in ["http://192.0.2.1/token", "http://auth.example.com/token", "http://127.0.0.1.example.com/token", "nonsense"] {
        let fake = FakeRegistry::start(Door::Token { realm: realm.to_owned(), issued: Arc::default() });
        let error = with_password().resolve(&at(fake.address(), "team/web:1"), &Cancel::new()).unwrap_err();
        assert!(matches!(error, Error::UntrustedRealm { .. }), "{realm}: {error:?}");
        assert_eq!(fake.lines().len(), 1);
    }
}

#[test]
fn no_login_follows_a_redirect_to_another_host_or_port() {
    let tokens = TokenServer::start(accounts());
    let fake = FakeRegistry::behind(&tokens);
    let storage = FakeRegistry::open();
    let image = image(100_000);
    let (descriptor, bytes) = &image.blobs[0];
    storage.put_blob("storage", bytes);
    let elsewhere = format!("http://{}/v2/storage/blobs/{}?signature=s", storage.address(), descriptor.digest);
    fake.put_blob("team/web", bytes);
    let target = at(fake.address(), "team/web");
    let registry = with_password();
    registry.tags(&target, &Cancel::new()).unwrap();
    fake.fault("GET /v2/team/web/blobs", 1, Fault::Answer(Response::new(307).with("location", elsewhere)));
    assert_eq!(&pull(&registry, &target, descriptor).unwrap(), bytes);
    let seen = storage.seen();
    assert_eq!(seen.len(), 1);
    assert!(!seen[0].headers.contains_key("authorization") && !seen[0].headers.contains_key("referer"));
    storage.assert_well_treated();
}

#[test]
fn no_login_goes_to_an_upload_address_on_another_host_or_port() {
    let fake = FakeRegistry::start(Door::Basic { user: "alice".to_owned(), password: SECRET.to_owned() });
    let storage = FakeRegistry::open();
    let image = image(100_000);
    let elsewhere = format!("http://{}/v2/storage/blobs/uploads/1?_state=a%2Bb%3D", storage.address());
    fake.fault("POST", 1, Fault::Header("location", Some(elsewhere)));
    storage.fault("PUT", 1, Fault::Answer(Response::new(201)));
    let target = at(fake.address(), "team/web");
    // Log in first, so that the POST is not the request that is refused.
    let registry = with_password();
    registry.tags(&target, &Cancel::new()).unwrap();
    push_blob(&registry, &target, &image.blobs[0], &[]).unwrap();
    assert!(storage.seen().iter().all(|request| !request.headers.contains_key("authorization")));
    assert_eq!(storage.seen().len(), 1);
}

#[test]
fn a_mirror_gets_its_own_login_and_not_that_of_the_registry() {
    /// Knows one registry.
    struct Only(String);
    impl lapstrake::registry::Credentials for Only {
        fn get(&self, registry: &str, repository: &str) -> Result<Option<Credential>, lapstrake::registry::CredentialError> {
            if registry == self.0 { alice().get(registry, repository) } else { Ok(None) }
        }
    }
    let upstream = FakeRegistry::start(Door::Basic { user: "alice".to_owned(), password: SECRET.to_owned() });
    let mirror = FakeRegistry::start(Door::Basic { user: "alice".to_owned(), password: SECRET.to_owned() });
    let image = image(10);
    upstream.put_manifest("team/web", "1", MediaType::OCI_MANIFEST, &image.manifest);
    let name = upstream.address().to_string();
    let mirrors = [(name.clone(), vec![Mirror { host: mirror.address().to_string(), prefix: None }])].into();
    let registry = Registry::new(Settings { mirrors, ..settings() }, Arc::new(Only(name))).unwrap();
    registry.resolve(&at(upstream.address(), "team/web:1"), &Cancel::new()).unwrap();
    assert_eq!(mirror.seen().len(), 1);
    assert!(mirror.seen().iter().all(|request| !request.headers.contains_key("authorization")));
}

#[test]
fn an_identity_token_that_is_good_once_is_replaced_by_the_one_that_came_with_the_token() {
    let refresh_token = Some(SECRET.to_owned());
    let tokens = TokenServer::start(Accounts { refresh_token, rotates: true, ..Accounts::default() });
    let fake = FakeRegistry::behind(&tokens);
    let credentials = Always(Credential::IdentityToken(Secret::new(SECRET)));
    let registry = Registry::new(settings(), Arc::new(credentials)).unwrap();
    let image = image(10);
    // Pushing and pulling at once need tokens of their own, also where each costs the refresh token.
    thread::scope(|scope| {
        for number in 0..6 {
            let (registry, image, target) = (&registry, &image, at(fake.address(), &format!("team/web{number}:1")));
            scope.spawn(move || push_image(registry, &target, image).unwrap());
        }
    });
    tokens.issued().expire();
    registry.resolve(&at(fake.address(), "team/web0:1"), &Cancel::new()).unwrap();
    assert!(tokens.seen().len() >= 7);
    fake.assert_well_treated();
}

#[test]
fn credentials_are_checked_without_a_repository() {
    let right = Credential::Password { user: "alice".to_owned(), password: Secret::new(SECRET) };
    let wrong = Credential::Password { user: "alice".to_owned(), password: Secret::new("wrong") };
    let tokens = TokenServer::start(accounts());
    for (fake, asks) in [
        (FakeRegistry::open(), false),
        (FakeRegistry::start(Door::Basic { user: "alice".to_owned(), password: SECRET.to_owned() }), true),
        (FakeRegistry::behind(&tokens), true),
    ] {
        let check = |credential: &Credential| {
            let registry = Registry::new(settings(), Arc::new(Always(credential.clone()))).unwrap();
            registry.check_login(&fake.address().to_string(), None, &Cancel::new())
        };
        assert_eq!(check(&right).unwrap(), if asks { Checked::Accepted } else { Checked::NotAsked });
        if asks {
            let error = check(&wrong).unwrap_err();
            assert!(matches!(error, Error::Unauthorized { login: Login::Credentials, .. }), "{error:?}");
            assert!(!in_full(&error).contains("wrong"));
        }
        fake.assert_well_treated();
    }
}
