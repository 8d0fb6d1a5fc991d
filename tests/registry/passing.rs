//! Every fault that passes: what was wanted is had all the same. Those that stay: an error that names everything.

use lapstrake::event::Cancel;
use lapstrake::image::{MediaType, Reference};
use lapstrake::registry::{Anonymous, Error, Mirror, Patience, Pushed, Registry, Settings};
use std::sync::Arc;
use std::time::Duration;

use crate::support::fake::{FakeRegistry, Fault};
use crate::support::http::Response;
use crate::support::manners::{Keeping, MountManners};
use crate::support::{Image, at, image};
use crate::{anonymous, pull, push_blob, push_image, settings};

fn stocked(padding: usize) -> (FakeRegistry, Image, Reference) {
    let (fake, image) = (FakeRegistry::open(), image(padding));
    for (_, bytes) in &image.blobs {
        fake.put_blob("team/web", bytes);
    }
    fake.put_manifest("team/web", "1", MediaType::OCI_MANIFEST, &image.manifest);
    let reference = at(fake.address(), "team/web:1");
    (fake, image, reference)
}

/// Waits for seconds where others wait for a minute, if the fault is one that has to be waited for.
fn registry_for(fault: &Fault) -> Registry {
    let waits = matches!(fault, Fault::Silence | Fault::Stall(_));
    let patience = Patience { stall: Duration::from_secs(3), answer: Duration::from_secs(3), ..settings().patience };
    let settings = if waits { Settings { patience, ..settings() } } else { settings() };
    Registry::new(settings, Arc::new(Anonymous)).unwrap()
}

#[test]
fn a_pull_survives_every_fault_that_passes() {
    for (name, wanted, fault) in [
        ("500 once", "GET", Fault::Answer(Response::new(500))),
        ("520 once", "GET", Fault::Answer(Response::new(520))),
        ("429 with a delay", "GET", Fault::Answer(Response::new(429).with("retry-after", "0"))),
        ("the manifest is cut", "manifests", Fault::Cut(100)),
        ("the manifest stalls", "manifests", Fault::Stall(100)),
        ("the manifest is truncated", "manifests", Fault::Truncate(100)),
        ("the manifest is changed", "manifests", Fault::Flip),
        ("the manifest is another", "manifests", Fault::Header("docker-content-digest", Some(format!("sha256:{}", "0".repeat(64))))),
        ("the blob is cut", "blobs", Fault::Cut(1_000_000)),
        ("the blob stalls", "blobs", Fault::Stall(1_000_000)),
        ("the blob is slow", "blobs", Fault::Drip(100_000)),
        ("the blob is truncated", "blobs", Fault::Truncate(1_000_000)),
        ("a redirect leads nowhere once", "blobs", Fault::Answer(Response::new(503).with("location", "/nowhere"))),
    ] {
        let (fake, image, reference) = stocked(3_000_000);
        let registry = registry_for(&fault);
        fake.fault(wanted, 1, fault);
        let resolved = registry.resolve(&reference, &Cancel::new());
        assert_eq!(resolved.unwrap_or_else(|error| panic!("{name}: {error}")).bytes, image.manifest, "{name}");
        let bytes = pull(&registry, &reference, &image.blobs[0].0).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(bytes, image.blobs[0].1, "{name}");
    }
}

#[test]
fn a_wrong_range_is_not_believed_and_the_blob_is_whole() {
    let (fake, image, reference) = stocked(3_000_000);
    fake.fault("blobs", 1, Fault::Cut(1_000_000));
    fake.fault("blobs", 2, Fault::Header("content-range", Some("bytes 0-2999999/3000000".to_owned())));
    assert_eq!(pull(&anonymous(), &reference, &image.blobs[0].0).unwrap(), image.blobs[0].1);
    assert_eq!(fake.lines().len(), 3);
}

#[test]
fn a_blob_with_other_bytes_is_fetched_once_more_and_from_another_place_where_there_is_one() {
    let (fake, image, reference) = stocked(1000);
    let (descriptor, bytes) = &image.blobs[0];
    let fetch = |registry: &Registry| registry.blob_into(&reference, descriptor, &mut || Ok(Vec::new()), &mut |_| {}, &Cancel::new());
    fake.fault("blobs", 1, Fault::Flip);
    assert_eq!(&fetch(&anonymous()).unwrap(), bytes);
    fake.fault("blobs", 2, Fault::Flip);
    assert!(matches!(fetch(&anonymous()), Err(Error::DigestMismatch { .. })));
    // A mirror that is damaged is not asked again.
    let mirror = FakeRegistry::open();
    mirror.put_blob("team/web", bytes);
    mirror.fault("blobs", 100, Fault::Flip);
    let mirrors = vec![Mirror { host: mirror.address().to_string(), prefix: None }];
    let settings = Settings { mirrors: [(fake.address().to_string(), mirrors)].into(), ..settings() };
    let registry = Registry::new(settings, Arc::new(Anonymous)).unwrap();
    assert_eq!(&fetch(&registry).unwrap(), bytes);
    assert_eq!(mirror.lines().len(), 1);
}

#[test]
fn a_push_survives_every_fault_that_passes() {
    let location = |text: &str| Fault::Header("location", Some(text.to_owned()));
    for (name, wanted, fault) in [
        ("500 once", "POST", Fault::Answer(Response::new(500))),
        ("500 at the end", "PUT", Fault::Answer(Response::new(500))),
        ("429 with a delay", "PUT", Fault::Answer(Response::new(429).with("retry-after", "0"))),
        ("no location", "POST", Fault::Header("location", None)),
        ("a location of a lost session", "POST", location("/v2/team/web/blobs/uploads/lost?_state=a%2Bb%3D")),
        ("the request is cut", "PUT", Fault::CutRequest(300_000)),
        ("the answer is cut", "PUT", Fault::Closed),
        ("no answer comes", "PUT", Fault::Silence),
        ("the session is lost", "PUT", Fault::Answer(Response::error(404, "BLOB_UPLOAD_UNKNOWN", "restarted"))),
        ("the range is out of step", "PUT", Fault::Answer(Response::error(416, "RANGE_INVALID", "out of step"))),
        ("the manifest is refused once", "PUT /v2/team/web/manifests", Fault::Answer(Response::new(503))),
    ] {
        let fake = FakeRegistry::open();
        let image = image(1_000_000);
        let target = at(fake.address(), "team/web:1");
        let registry = registry_for(&fault);
        fake.fault(wanted, 1, fault);
        push_image(&registry, &target, &image).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(fake.manifest("team/web", "1"), Some(image.manifest.clone()), "{name}");
        fake.assert_well_treated();
    }
}

#[test]
fn a_wrong_range_of_an_upload_is_not_believed() {
    for range in ["0-5", "0-99999999999", "nonsense"] {
        let fake = FakeRegistry::open();
        let image = image(3_000_000);
        // The first request breaks, so that the registry is asked how much it has; what it says is wrong.
        fake.fault("PUT /v2/team/web/blobs", 1, Fault::CutRequest(500_000));
        fake.fault("GET", 1, Fault::Header("range", Some(range.to_owned())));
        let target = at(fake.address(), "team/web");
        let pushed = push_blob(&anonymous(), &target, &image.blobs[0], &[]);
        assert_eq!(pushed.unwrap_or_else(|error| panic!("{range}: {error}")), Pushed::Uploaded);
        assert_eq!(fake.blob("team/web", &image.blobs[0].0.digest).as_ref(), Some(&image.blobs[0].1), "{range}");
    }
}

#[test]
fn mounts_that_come_to_nothing_become_uploads() {
    for (mounts, keeping) in [(MountManners::Ignored, Keeping::Bytes), (MountManners::Refused, Keeping::Nothing)] {
        let fake = FakeRegistry::open();
        fake.behave(|manners| {
            manners.mounts = mounts;
            manners.keeping = keeping;
            manners.cut_up_once = Some(100_000);
        });
        let image = image(1_000_000);
        let from = [at(fake.address(), "library/base"), at(fake.address(), "library/other")];
        assert_eq!(push_blob(&anonymous(), &at(fake.address(), "team/web"), &image.blobs[0], &from).unwrap(), Pushed::Uploaded);
        fake.assert_well_treated();
    }
}

#[test]
fn a_manifest_before_its_blobs_makes_the_client_doubt_what_the_registry_says_it_has() {
    let fake = FakeRegistry::open();
    let image = image(1000);
    let target = at(fake.address(), "team/web:1");
    let registry = anonymous();
    // A cache before the registry says that it has the blob.
    let there = Response::new(200).with("content-length", image.blobs[0].0.size.to_string());
    fake.fault(&format!("HEAD /v2/team/web/blobs/{}", image.blobs[0].0.digest), 100, Fault::Answer(there));
    let error = push_image(&registry, &target, &image).unwrap_err();
    assert!(error.is_about_missing_parts(), "{error}");
    push_image(&registry, &target, &image).unwrap();
    assert_eq!(fake.manifest("team/web", "1"), Some(image.manifest));
}

#[test]
fn a_registry_that_asks_for_too_long_a_wait_is_not_waited_for() {
    let (fake, _, reference) = stocked(10);
    fake.fault("GET", 100, Fault::Answer(Response::new(429).with("retry-after", "86400")));
    let error = anonymous().resolve(&reference, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::TooManyRequests { wait: Some(wait), .. } if wait.as_secs() == 86400), "{error:?}");
    assert_eq!(fake.lines().len(), 1);
    assert!(error.to_string().contains("86400 s"), "{error}");
}

#[test]
fn what_stays_is_told_with_host_repository_request_status_and_remedy() {
    let image = image(1000);
    for (status, remedy) in
        [(500, "run again later"), (413, "chunk_size"), (405, "ask whoever runs it"), (403, "ask for access"), (429, "wait")]
    {
        let fake = FakeRegistry::open();
        let target = at(fake.address(), "team/web:1");
        fake.fault("PUT", 100, Fault::Answer(Response::new(status)));
        let error = push_blob(&crate::with_password(), &target, &image.blobs[0], &[]).unwrap_err();
        for wanted in [&fake.address().to_string(), "team/web", "PUT /v2/team/web/blobs/uploads/", &status.to_string(), remedy] {
            let found = error.to_string().contains(wanted) || (status == 403 && wanted == remedy);
            assert!(found, "`{wanted}` is not in: {error}");
        }
        assert!(!error.to_string().contains("_state"), "{error}");
    }
    let fake = FakeRegistry::open();
    let error = anonymous().resolve(&at(fake.address(), "team/web:1"), &Cancel::new()).unwrap_err();
    for wanted in [&fake.address().to_string(), "team/web:1", "GET /v2/team/web/manifests/1", "404", "check the name"] {
        assert!(error.to_string().contains(wanted), "`{wanted}` is not in: {error}");
    }
}

#[test]
fn a_record_that_is_denied_is_put_again_until_somebody_wishes_to_stop() {
    use lapstrake::cache::Fingerprint;
    use lapstrake::remote::{Kind, RecordName, RemoteCache as _, RemoteError, Repository};
    let fake = FakeRegistry::open();
    let denied = Fault::Answer(Response::error(404, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"));
    fake.fault("PUT /v2/team/cache/manifests", 2, denied.clone());
    let name = RecordName::new(Kind::Part, &Fingerprint::of(b"key"), None);
    let reference = at(fake.address(), "team/cache");
    Repository::new(anonymous(), reference.clone()).put_record(&name, "- {}", &[], &Cancel::new()).unwrap();
    // Where each wait is a week, only the wish ends it.
    let week = Duration::from_secs(7 * 24 * 3600);
    let patience = Patience { first_wait: week, longest_wait: week, ..settings().patience };
    let patient = Registry::new(Settings { patience, ..settings() }, Arc::new(Anonymous)).unwrap();
    fake.fault("PUT /v2/team/cache/manifests", 1, denied);
    let puts = || fake.lines().iter().filter(|line| line.starts_with("PUT /v2/team/cache/manifests")).count();
    let cancel = Cancel::new();
    let put = std::thread::scope(|scope| {
        let put = scope.spawn(|| Repository::new(patient, reference).put_record(&name, "- {}", &[], &cancel));
        crate::waiting::until("the record is put for the fourth time", || puts() >= 4);
        cancel.cancel();
        put.join().unwrap()
    });
    assert!(matches!(put, Err(RemoteError::Registry(Error::Cancelled))), "{put:?}");
    assert_eq!(puts(), 4);
}
