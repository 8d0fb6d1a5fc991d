//! A finished image to its tags.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use lapstrake::event::{Cancel, Event, EventKind, EventSink, Outcome, Silent};
use lapstrake::image::{Manifest, Reference, Sealed, SealedLayer};
use lapstrake::output::{PushError, PushedTag, TagOutcome, push};
use lapstrake::registry::{Anonymous, Error, Mirror, Registry, Settings};
use lapstrake_cache::{Digest, Store};

use crate::support::fake::{FakeRegistry, Fault};
use crate::support::http::Response;
use crate::support::{Image, at, image};
use crate::waiting::until;
use crate::{anonymous, settings};

/// An image as a build hands it over.
fn sealed(image: &Image, from: Option<Reference>) -> Sealed {
    let manifest = Manifest::parse(&image.manifest, None).unwrap();
    let (layer, config) = (&image.blobs[0], &image.blobs[1]);
    Sealed {
        platform: "linux/amd64".parse().unwrap(),
        manifest: lapstrake::image::Descriptor::of(manifest.media_type(), &image.manifest),
        manifest_bytes: image.manifest.clone(),
        config: config.0.clone(),
        config_bytes: config.1.clone(),
        layers: vec![SealedLayer { descriptor: layer.0.clone(), diff_id: Digest::of(&layer.1), from }],
    }
}

struct Workplace {
    store: Store,
    _directory: tempfile::TempDir,
}

impl Workplace {
    fn empty() -> Workplace {
        let directory = tempfile::tempdir().unwrap();
        Workplace { store: Store::open(&directory.path().join("store")).unwrap(), _directory: directory }
    }

    fn with(image: &Image) -> Workplace {
        let workplace = Workplace::empty();
        workplace.store.put_blob(&image.blobs[0].1).unwrap();
        workplace
    }

    fn push(&self, registry: &Registry, sealed: &Sealed, tags: &[Reference], events: &dyn EventSink) -> Result<Vec<PushedTag>, PushError> {
        push(sealed, tags, NonZeroUsize::new(4).unwrap(), &self.store, registry, events, &Cancel::new())
    }

    fn outcomes(&self, registry: &Registry, sealed: &Sealed, tags: &[Reference]) -> Vec<TagOutcome> {
        self.push(registry, sealed, tags, &Silent).unwrap().into_iter().map(|tag| tag.outcome).collect()
    }
}

fn uploads(fake: &FakeRegistry) -> usize {
    fake.lines().iter().filter(|line| line.starts_with("PUT") && line.contains("/uploads/")).count()
}

#[test]
fn an_unchanged_image_costs_one_request_a_tag() {
    let fake = FakeRegistry::open();
    let image = image(10);
    let workplace = Workplace::with(&image);
    let tags = [at(fake.address(), "team/web:1"), at(fake.address(), "team/web:2")];
    let registry = anonymous();
    assert_eq!(workplace.outcomes(&registry, &sealed(&image, None), &tags), [TagOutcome::Moved, TagOutcome::Moved]);
    assert_eq!(uploads(&fake), 2);
    assert_eq!(fake.manifest("team/web", "2"), Some(image.manifest.clone()));
    fake.forget();
    assert_eq!(workplace.outcomes(&registry, &sealed(&image, None), &tags), [TagOutcome::Unchanged, TagOutcome::Unchanged]);
    assert_eq!(fake.lines(), ["HEAD /v2/team/web/manifests/1", "HEAD /v2/team/web/manifests/2"]);
    fake.assert_well_treated();
}

#[test]
fn a_second_repository_of_the_registry_mounts_from_the_first() {
    let fake = FakeRegistry::open();
    let image = image(10);
    let tags = [at(fake.address(), "team/web:1"), at(fake.address(), "copies/web:1")];
    Workplace::with(&image).outcomes(&anonymous(), &sealed(&image, None), &tags);
    assert_eq!(uploads(&fake), 2);
    fake.assert_well_treated();
}

#[test]
fn a_base_layer_is_mounted_without_being_on_this_machine() {
    let fake = FakeRegistry::open();
    let image = image(10);
    fake.put_blob("library/base", &image.blobs[0].1);
    let base = at(fake.address(), "library/base:1");
    Workplace::empty().outcomes(&anonymous(), &sealed(&image, Some(base)), &[at(fake.address(), "team/web:1")]);
    // The config alone.
    assert_eq!(uploads(&fake), 1);
    assert!(fake.lines().iter().all(|line| !line.starts_with("GET")));
    fake.assert_well_treated();
}

#[test]
fn a_base_layer_is_mounted_where_the_bases_mirror_is_the_registry_that_is_pushed_to() {
    let fake = FakeRegistry::open();
    let image = image(10);
    fake.put_blob("library/base", &image.blobs[0].1);
    let mirrors = [("docker.io".to_owned(), vec![Mirror { host: fake.address().to_string(), prefix: None }])].into();
    let registry = Registry::new(Settings { mirrors, ..settings() }, Arc::new(Anonymous)).unwrap();
    let base = "docker.io/library/base:1".parse().unwrap();
    Workplace::empty().outcomes(&registry, &sealed(&image, Some(base)), &[at(fake.address(), "team/web:1")]);
    assert_eq!(uploads(&fake), 1);
}

#[test]
fn a_base_layer_goes_straight_from_one_registry_to_another() {
    let (fake, upstream) = (FakeRegistry::open(), FakeRegistry::open());
    let image = image(2_000_000);
    upstream.put_blob("library/base", &image.blobs[0].1);
    let base = at(upstream.address(), "library/base:1");
    // Also when the first attempt to send it breaks.
    fake.fault("PUT /v2/team/web/blobs", 1, Fault::CutRequest(100_000));
    Workplace::empty().outcomes(&anonymous(), &sealed(&image, Some(base)), &[at(fake.address(), "team/web:1")]);
    assert_eq!(fake.blob("team/web", &image.blobs[0].0.digest).as_ref(), Some(&image.blobs[0].1));
    fake.assert_well_treated();
}

#[test]
fn no_tag_points_to_half_an_image() {
    let fake = FakeRegistry::open();
    let image = image(10);
    let tag = at(fake.address(), "team/web:1");
    let missing = Workplace::empty().push(&anonymous(), &sealed(&image, None), std::slice::from_ref(&tag), &Silent).unwrap_err();
    assert!(matches!(*missing.source, Error::Source { .. }) && *missing.reference == tag, "{missing:?}");
    fake.fault("POST", 2, Fault::Answer(Response::error(403, "DENIED", "not yours")));
    let denied = Workplace::with(&image).push(&anonymous(), &sealed(&image, None), &[tag], &Silent).unwrap_err();
    assert!(matches!(*denied.source, Error::Denied { .. }), "{denied:?}");
    assert_eq!(fake.manifest("team/web", "1"), None);
    assert!(fake.lines().iter().all(|line| !line.starts_with("PUT /v2/team/web/manifests")));
}

#[test]
fn a_registry_that_forgot_a_blob_is_given_it_again() {
    let fake = FakeRegistry::open();
    let image = image(10);
    // A cache before the registry says that it is there.
    let there = Response::new(200).with("content-length", image.blobs[0].0.size.to_string());
    fake.fault(&format!("HEAD /v2/team/web/blobs/{}", image.blobs[0].0.digest), 100, Fault::Answer(there));
    let tag = at(fake.address(), "team/web:1");
    assert_eq!(Workplace::with(&image).outcomes(&anonymous(), &sealed(&image, None), &[tag]), [TagOutcome::Moved]);
    assert_eq!(fake.manifest("team/web", "1"), Some(image.manifest));
}

#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl EventSink for Recorder {
    fn send(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

#[test]
fn every_task_begins_once_ends_once_and_never_falls_back() {
    let fake = FakeRegistry::open();
    let image = image(1_000_000);
    let recorder = Recorder::default();
    let tag = at(fake.address(), "team/web:1");
    fake.fault("PUT /v2/team/web/blobs", 1, Fault::CutRequest(100_000));
    Workplace::with(&image).push(&anonymous(), &sealed(&image, None), &[tag], &recorder).unwrap();
    let events = recorder.0.into_inner().unwrap();
    let mut tasks: BTreeMap<_, (bool, u64)> = BTreeMap::new();
    for Event { task, kind } in events {
        match kind {
            EventKind::Started { .. } => assert_eq!(tasks.insert(task, (false, 0)), None),
            EventKind::Advanced { done, .. } => {
                let (ended, before) = tasks.get_mut(&task).unwrap();
                assert!(!*ended && done > *before);
                *before = done;
            }
            EventKind::Finished(outcome) => {
                assert_eq!(outcome, Outcome::Done);
                assert!(!std::mem::replace(&mut tasks.get_mut(&task).unwrap().0, true));
            }
            other => panic!("{other:?}"),
        }
    }
    // The tag and two blobs.
    assert_eq!(tasks.len(), 3);
    assert!(tasks.values().all(|(ended, _)| *ended));
}

#[test]
fn a_push_ends_when_it_is_cancelled() {
    let fake = FakeRegistry::open();
    let image = image(10);
    let workplace = Workplace::with(&image);
    fake.fault("blobs", 100, Fault::Silence);
    let cancel = Cancel::new();
    let canceller = cancel.clone();
    let sealed = sealed(&image, None);
    let tags = [at(fake.address(), "team/web:1")];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until("three requests have come to the registry", || fake.lines().len() >= 3);
            canceller.cancel();
        });
        let registry = anonymous();
        let pushed = push(&sealed, &tags, NonZeroUsize::new(4).unwrap(), &workplace.store, &registry, &Silent, &cancel);
        assert!(matches!(*pushed.unwrap_err().source, Error::Cancelled));
    });
}

#[test]
fn a_tag_with_a_digest_beside_it_is_made_though_the_digest_is_there_already() {
    let fake = FakeRegistry::open();
    let image = image(10);
    let workplace = Workplace::with(&image);
    let digest = Digest::of(&image.manifest);
    assert_eq!(workplace.outcomes(&anonymous(), &sealed(&image, None), &[at(fake.address(), "team/web:1")]), [TagOutcome::Moved]);
    let both = at(fake.address(), &format!("team/web:2@{digest}"));
    assert_eq!(workplace.outcomes(&anonymous(), &sealed(&image, None), std::slice::from_ref(&both)), [TagOutcome::Moved]);
    assert_eq!(fake.manifest("team/web", "2"), Some(image.manifest.clone()));
    assert_eq!(workplace.outcomes(&anonymous(), &sealed(&image, None), &[both]), [TagOutcome::Unchanged]);
    // Another digest is a mistake, and is found before anything is sent.
    fake.forget();
    let tags = [at(fake.address(), "team/web:3"), at(fake.address(), &format!("team/web:4@{}", Digest::of(b"")))];
    let error = workplace.push(&anonymous(), &sealed(&image, None), &tags, &Silent).unwrap_err();
    assert!(matches!(*error.source, Error::OtherDigest { actual, .. } if actual == digest), "{error:?}");
    assert_eq!(fake.lines(), Vec::<String>::new());
}

#[test]
fn a_push_that_fails_at_its_second_tag_says_that_the_first_was_moved() {
    let fake = FakeRegistry::open();
    let image = image(10);
    let tags = ["team/web:1", "team/web:2"].map(|name| at(fake.address(), name));
    fake.fault("PUT /v2/team/web/manifests/2", 1, Fault::Answer(Response::error(403, "DENIED", "it is protected")));
    let error = Workplace::with(&image).push(&anonymous(), &sealed(&image, None), &tags, &Silent).unwrap_err();
    assert_eq!(error.pushed.iter().map(|tag| &tag.reference).collect::<Vec<_>>(), [&tags[0]]);
    assert_eq!(error.to_string(), format!("cannot push `{}` (moved before it: `{}`)", tags[1], tags[0]));
    assert_eq!(fake.manifest("team/web", "1"), Some(image.manifest));
}
