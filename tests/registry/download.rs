//! What is behind an address.

use lapstrake::event::Cancel;
use lapstrake::registry::Error;

use crate::support::fake::{FakeRegistry, Fault};
use crate::support::http::Response;
use crate::waiting::until;
use crate::{anonymous, with_password};

fn fetch(address: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    with_password().fetch(address, &mut bytes, &mut |_| {}, &Cancel::new())?;
    Ok(bytes)
}

#[test]
fn bytes_come_after_trouble_and_along_redirects_and_without_a_login() {
    let fake = FakeRegistry::open();
    let (first, last) = (format!("http://{}/first", fake.address()), format!("http://{}/last", fake.address()));
    fake.fault("/first", 1, Fault::Answer(Response::new(503)));
    fake.fault("/first", 2, Fault::Answer(Response::new(302).with("location", "/last?signature=s")));
    fake.fault("/last", 1, Fault::Answer(Response::new(200).body("what was wanted")));
    assert_eq!(fetch(&first).unwrap(), b"what was wanted");
    assert!(fake.seen().iter().all(|request| !request.headers.contains_key("authorization")));
    assert!(matches!(fetch(&last), Err(Error::Refused { status: 404, .. })));
}

#[test]
fn what_is_no_address_and_what_leads_nowhere_are_errors() {
    let fake = FakeRegistry::open();
    for address in ["", "file:///etc/passwd", "ftp://example.com/x", "http://", "/path"] {
        assert!(matches!(fetch(address), Err(Error::Settings { .. })), "{address}");
    }
    fake.fault("/round", 100, Fault::Answer(Response::new(302).with("location", "/round")));
    assert!(matches!(fetch(&format!("http://{}/round", fake.address())), Err(Error::Protocol { .. })));
    fake.fault("/away", 1, Fault::Answer(Response::new(302).with("location", "file:///etc/passwd?secret")));
    let error = fetch(&format!("http://{}/away", fake.address())).unwrap_err();
    assert!(matches!(error, Error::UnsafeRedirect { .. }) && !error.to_string().contains("secret"), "{error}");
}

#[test]
fn a_download_ends_when_it_is_cancelled() {
    let fake = FakeRegistry::open();
    fake.fault("/x", 100, Fault::Silence);
    let cancel = Cancel::new();
    let canceller = cancel.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until("the request has come to the server", || !fake.lines().is_empty());
            canceller.cancel();
        });
        let address = format!("http://{}/x", fake.address());
        let fetched = anonymous().fetch(&address, &mut Vec::new(), &mut |_| {}, &cancel);
        assert!(matches!(fetched, Err(Error::Cancelled)));
    });
}
