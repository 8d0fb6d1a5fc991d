//! What goes wrong, and what becomes of it.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapstrake::event::{Cancel, Event, EventKind, EventSink};
use lapstrake::image::{Descriptor, MediaType, Reference};
use lapstrake::registry::{Anonymous, Error, Patience, Pushed, Registry, Settings, Unreachable};
use lapstrake_cache::Digest;

use crate::nobody::Nobody;
use crate::support::fake::{FakeRegistry, Fault};
use crate::support::http::Response;
use crate::support::{Image, at, image};
use crate::waiting::until;
use crate::{anonymous, pull, push_blob, settings, source};

/// A registry with an image at `team/web:1`.
fn stocked(padding: usize) -> (FakeRegistry, Image, Reference) {
    let (fake, image) = (FakeRegistry::open(), image(padding));
    for (_, bytes) in &image.blobs {
        fake.put_blob("team/web", bytes);
    }
    fake.put_manifest("team/web", "1", MediaType::OCI_MANIFEST, &image.manifest);
    let reference = at(fake.address(), "team/web:1");
    (fake, image, reference)
}

#[test]
fn troubles_that_pass_are_waited_out() {
    for (name, fault) in [
        ("500", Fault::Answer(Response::new(500))),
        ("502", Fault::Answer(Response::new(502).body("<html>"))),
        ("408", Fault::Answer(Response::new(408))),
        ("429", Fault::Answer(Response::error(429, "TOOMANYREQUESTS", "slow down").with("retry-after", "1"))),
        ("429, a date", Fault::Answer(Response::new(429).with("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"))),
        ("cut", Fault::Cut(10)),
    ] {
        let (fake, image, reference) = stocked(10);
        fake.fault("GET", 2, fault);
        // A body that breaks off is not read again for a manifest, but for a blob it is.
        let pulled = pull(&anonymous(), &reference, &image.blobs[0].0);
        assert_eq!(pulled.unwrap(), image.blobs[0].1, "{name}");
        assert_eq!(fake.lines().len(), 3, "{name}");
    }
}

#[test]
fn troubles_that_stay_are_reported_after_a_few_attempts() {
    let (fake, _, reference) = stocked(10);
    fake.fault("GET", 100, Fault::Answer(Response::error(503, "UNAVAILABLE", "upgrading")));
    let error = anonymous().resolve(&reference, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::Refused { status: 503, .. }), "{error:?}");
    assert!(error.to_string().contains("UNAVAILABLE: upgrading"), "{error}");
    assert_eq!(fake.lines().len(), 5);
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let (fake, image, reference) = stocked(3_000_000);
    let (descriptor, bytes) = &image.blobs[0];
    fake.fault("blobs", 1, Fault::Cut(1_000_000));
    assert_eq!(&pull(&anonymous(), &reference, descriptor).unwrap(), bytes);
    let ranges: Vec<Option<String>> = fake.seen().iter().map(|request| request.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some("bytes=1000000-".to_owned())]);
}

#[test]
fn a_server_without_ranges_sends_what_was_had_again_and_it_is_not_passed_on_twice() {
    let (fake, image, reference) = stocked(3_000_000);
    let (descriptor, bytes) = &image.blobs[0];
    fake.fault("blobs", 1, Fault::Cut(1_000_000));
    fake.fault("blobs", 2, Fault::NoRange);
    assert_eq!(&pull(&anonymous(), &reference, descriptor).unwrap(), bytes);
}

#[test]
fn bytes_that_are_not_those_that_were_asked_for_are_not_believed() {
    let (fake, image, reference) = stocked(10);
    fake.fault("blobs", 1, Fault::Flip);
    assert!(matches!(pull(&anonymous(), &reference, &image.blobs[0].0), Err(Error::DigestMismatch { .. })));
    let by_digest = Reference { digest: Some(Digest::of(&image.manifest)), ..reference.clone() };
    fake.fault("manifests", 2, Fault::Flip);
    assert!(matches!(anonymous().resolve(&by_digest, &Cancel::new()), Err(Error::DigestMismatch { .. })));
    // By tag nothing else is known than what the registry says.
    fake.fault("manifests", 2, Fault::Flip);
    assert!(matches!(anonymous().resolve(&reference, &Cancel::new()), Err(Error::ManifestDigest { .. })));
    fake.fault("manifests", 2, Fault::Header("docker-content-digest", Some(Digest::of(b"").to_string())));
    assert!(matches!(anonymous().resolve(&reference, &Cancel::new()), Err(Error::ManifestDigest { .. })));
    fake.fault("manifests", 1, Fault::Header("docker-content-digest", None));
    assert!(anonymous().resolve(&reference, &Cancel::new()).is_ok());
}

#[test]
fn more_or_fewer_bytes_than_promised_are_an_error() {
    let (_fake, image, reference) = stocked(10);
    let right = &image.blobs[0].0;
    for size in [0, right.size - 1, right.size + 1] {
        let wrong = Descriptor { size, ..right.clone() };
        let mut sink = Vec::new();
        let error = anonymous().blob(&reference, &wrong, &mut sink, &mut |_| {}, &Cancel::new()).unwrap_err();
        assert!(matches!(error, Error::SizeMismatch { .. }), "{error:?}");
        assert_eq!(sink, b"");
    }
}

#[test]
fn reading_a_blob_ends_in_an_error_where_it_is_wrong() {
    let (fake, image, reference) = stocked(10);
    fake.fault("blobs", 1, Fault::Flip);
    let mut reader = anonymous().open_blob(&reference, &image.blobs[0].0, &Cancel::new()).unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    let is_told =
        |error: &io::Error| error.get_ref().is_some_and(|error| matches!(error.downcast_ref(), Some(Error::DigestMismatch { .. })));
    assert!(is_told(&error));
    // Whoever reads once more does not come to an end that looks like a good one.
    for _ in 0..3 {
        assert!(is_told(&reader.read(&mut [0; 8]).unwrap_err()));
    }
}

#[test]
fn an_upload_that_breaks_is_begun_anew_from_the_start() {
    let fake = FakeRegistry::open();
    let image = image(3_000_000);
    let (descriptor, bytes) = &image.blobs[0];
    for fault in [
        Fault::CutRequest(500_000),
        Fault::Answer(Response::new(502)),
        Fault::Answer(Response::error(404, "BLOB_UPLOAD_UNKNOWN", "restarted")),
    ] {
        let target = at(fake.address(), &format!("team/web{}", fake.seen().len()));
        fake.fault("PUT", 1, fault);
        let opened = AtomicUsize::new(0);
        let open = || -> io::Result<Box<dyn Read + Send>> {
            opened.fetch_add(1, Ordering::SeqCst);
            source(bytes)()
        };
        let pushed = anonymous().push_blob(&target, descriptor, &open, &[], &mut |_| {}, &Cancel::new());
        assert_eq!(pushed.unwrap(), Pushed::Uploaded);
        assert_eq!(opened.load(Ordering::SeqCst), 2);
        assert_eq!(fake.blob(&target.repository, &descriptor.digest).as_ref(), Some(bytes));
    }
    fake.assert_well_treated();
}

#[test]
fn a_source_that_is_not_what_it_should_be_is_the_error_that_is_reported() {
    let fake = FakeRegistry::open();
    let target = at(fake.address(), "team/web");
    let bytes = vec![7; 1_000_000];
    let blob = Descriptor::of(MediaType::OCI_LAYER, &bytes);
    let push = |size: u64, bytes: &[u8]| {
        let blob = Descriptor { size, ..blob.clone() };
        anonymous().push_blob(&target, &blob, &source(bytes), &[], &mut |_| {}, &Cancel::new()).unwrap_err()
    };
    assert!(matches!(push(1_000_001, &bytes), Error::SourceSize { longer: false, .. }));
    assert!(matches!(push(999_999, &bytes), Error::SourceSize { longer: true, .. }));
    // As many bytes, but others: the registry finds out.
    assert!(matches!(push(1_000_000, &[8; 1_000_000]), Error::Refused { status: 400, .. }));
    let broken = || -> io::Result<Box<dyn Read + Send>> { Err(io::ErrorKind::PermissionDenied.into()) };
    let error = anonymous().push_blob(&target, &blob, &broken, &[], &mut |_| {}, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::Source { .. }), "{error:?}");
    assert_eq!(fake.blob("team/web", &blob.digest), None);
}

#[test]
fn a_registry_that_breaks_the_protocol_is_told_of() {
    let fake = FakeRegistry::open();
    let target = at(fake.address(), "team/web:1");
    let image = image(10);
    fake.fault("POST", 5, Fault::Header("location", None));
    assert!(matches!(push_blob(&anonymous(), &target, &image.blobs[0], &[]), Err(Error::Protocol { .. })));
    fake.fault("GET", 1, Fault::Answer(Response::new(200).body(vec![b' '; (4 << 20) + 1])));
    assert!(matches!(anonymous().resolve(&target, &Cancel::new()), Err(Error::TooLarge { .. })));
    fake.fault("GET", 2, Fault::Answer(Response::new(200).body("<html>")));
    assert!(matches!(anonymous().resolve(&target, &Cancel::new()), Err(Error::Invalid { .. })));
    fake.fault("GET", 2, Fault::Answer(Response::new(200).with("content-type", MediaType::OCI_INDEX).body(image.manifest.clone())));
    assert!(matches!(anonymous().resolve(&target, &Cancel::new()), Err(Error::Invalid { .. })));
    fake.fault("GET", 100, Fault::Answer(Response::new(302).with("location", "/v2/team/web/manifests/1")));
    assert!(matches!(anonymous().resolve(&target, &Cancel::new()), Err(Error::Protocol { .. })));
}

#[test]
fn a_manifest_before_its_blobs_is_refused_with_the_registrys_words() {
    let fake = FakeRegistry::open();
    let image = image(10);
    let target = at(fake.address(), "team/web:1");
    let error = anonymous().push_manifest(&target, MediaType::OCI_MANIFEST, &image.manifest, &Cancel::new()).unwrap_err();
    assert!(error.to_string().contains("answered 400") && error.to_string().contains("MANIFEST_BLOB_UNKNOWN"), "{error}");
}

#[test]
fn every_refusal_says_who_what_and_what_to_do() {
    let (fake, _, reference) = stocked(10);
    let host = fake.address().to_string();
    for (status, words) in [
        (401, "log in with"),
        (403, "forbids pulling the manifest"),
        (404, "check the name and the tag"),
        (429, "set up a mirror"),
        (418, "answered 418"),
    ] {
        fake.fault("GET", 5, Fault::Answer(Response::error(status, "CODE", "what it says")));
        let text = anonymous().resolve(&reference, &Cancel::new()).unwrap_err().to_string();
        for wanted in [words, &host, "team/web", "CODE: what it says"] {
            assert!(text.contains(wanted), "{status}: {text}");
        }
        until("the faults are used up", || anonymous().resolve(&reference, &Cancel::new()).is_ok());
    }
}

/// Answers everything as servers do that take a TLS greeting for bad HTTP.
fn no_tls() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            let _ = connection.read(&mut [0; 1]);
            let _ = connection.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
        }
    });
    address
}

#[test]
fn a_host_that_cannot_be_reached_says_why() {
    let nobody = Nobody::new();
    let speaks_no_tls = no_tls();
    let tls = Settings { tls: [speaks_no_tls.to_string()].into(), ..settings() };
    let unresolvable: Reference = format!("{}.example:5000/a", "x".repeat(64)).parse().unwrap();
    let plain = Settings { plain_http: [unresolvable.registry.clone()].into(), ..settings() };
    for (settings, reference, expected) in [
        (settings(), at(nobody.address, "a"), Unreachable::Refused),
        (settings(), unresolvable.clone(), Unreachable::Name),
        (plain, unresolvable, Unreachable::Name),
        (tls, at(speaks_no_tls, "a"), Unreachable::Tls),
    ] {
        let registry = Registry::new(settings, Arc::new(Anonymous)).unwrap();
        match registry.resolve(&reference, &Cancel::new()).unwrap_err() {
            Error::Unreachable { problem, host, .. } => assert_eq!((problem, host), (expected, reference.registry)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_silent_registry_is_given_up() {
    let (fake, _, reference) = stocked(10);
    fake.fault("GET", 100, Fault::Silence);
    let patience = Patience { answer: Duration::from_secs(1), attempts: 2, ..settings().patience };
    let registry = Registry::new(Settings { patience, ..settings() }, Arc::new(Anonymous)).unwrap();
    assert!(matches!(registry.resolve(&reference, &Cancel::new()), Err(Error::Stalled { .. })));
    // The registry may read the requests later than we give them up.
    until("both attempts have come to the registry", || fake.lines().len() >= 2);
    assert_eq!(fake.lines().len(), 2);
}

#[test]
fn waiting_ends_when_it_is_cancelled() {
    let (fake, image, reference) = stocked(10);
    fake.fault("/v2/", 100, Fault::Silence);
    let blob = &image.blobs[0].0;
    type Call<'a> = Box<dyn Fn(&Registry, &Cancel) -> Result<(), Error> + 'a>;
    let calls: [Call<'_>; 3] = [
        Box::new(|registry, cancel| registry.resolve(&reference, cancel).map(drop)),
        Box::new(|registry, cancel| registry.blob(&reference, blob, &mut io::sink(), &mut |_| {}, cancel)),
        Box::new(|registry, cancel| registry.push_blob(&reference, blob, &source(b""), &[], &mut |_| {}, cancel).map(drop)),
    ];
    for call in calls {
        let cancel = Cancel::new();
        let canceller = cancel.clone();
        fake.forget();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // The registry has the request and says nothing.
                until("the request has come to the registry", || !fake.lines().is_empty());
                canceller.cancel();
            });
            assert!(matches!(call(&anonymous(), &cancel), Err(Error::Cancelled)));
        });
    }
    let cancelled = Cancel::new();
    cancelled.cancel();
    assert!(matches!(anonymous().resolve(&reference, &cancelled), Err(Error::Cancelled)));
}

/// Stops what it is told of, and keeps what it was told.
struct Stops(Cancel, std::sync::Mutex<Vec<String>>);

impl EventSink for Stops {
    fn send(&self, event: Event) {
        if let EventKind::Noted { message } = event.kind {
            self.1.lock().unwrap().push(message);
            self.0.cancel();
        }
    }
}

#[test]
fn a_long_wait_that_a_registry_asks_for_is_told_of_when_it_begins() {
    for wanted in ["GET", "PUT /v2/team/web/manifests"] {
        let (fake, image, reference) = stocked(10);
        fake.fault(wanted, 100, Fault::Answer(Response::new(429).with("retry-after", "599")));
        let stops = Arc::new(Stops(Cancel::new(), std::sync::Mutex::default()));
        let registry = anonymous();
        registry.tell(Arc::clone(&stops) as Arc<dyn EventSink>);
        let result = match wanted {
            "GET" => registry.resolve(&reference, &stops.0).map(drop),
            _ => registry.push_manifest(&reference, MediaType::OCI_MANIFEST, &image.manifest, &stops.0).map(drop),
        };
        assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
        let told = stops.1.lock().unwrap().clone();
        assert!(matches!(&told[..], [only] if only.contains(&fake.address().to_string()) && only.contains("599 s")), "{told:?}");
    }
}

#[test]
fn the_waits_that_a_registry_asks_for_have_an_end_together() {
    let (fake, _, reference) = stocked(10);
    fake.fault("GET", 100, Fault::Answer(Response::new(429).with("retry-after", "1")));
    let patience = Patience { longest_asked_wait: Duration::from_secs(1), attempts: 100, ..settings().patience };
    let registry = Registry::new(Settings { patience, ..settings() }, Arc::new(Anonymous)).unwrap();
    let error = registry.resolve(&reference, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::TooManyRequests { .. }), "{error:?}");
    assert!(fake.lines().len() < 50, "{}", fake.lines().len());
}
