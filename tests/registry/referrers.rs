//! Artifacts that speak of others, in registries that know of such things and in those that do not.

use std::thread;
use std::time::Duration;

use lapstrake::event::Cancel;
use lapstrake::image::{Descriptor, MediaType, Reference};
use lapstrake::registry::Registry;
use lapstrake_cache::Digest;
use serde_json::json;

use crate::support::fake::{Door, FakeRegistry, Fault};
use crate::support::{at, image};
use crate::{SECRET, anonymous, push_blob, push_image, with_password};

/// An artifact of a type that speaks of a manifest. What it is made of is in the repository afterwards.
fn artifact(registry: &Registry, target: &Reference, subject: &Digest, size: usize, artifact_type: &str) -> Vec<u8> {
    let empty = Descriptor::of("application/vnd.oci.empty.v1+json", b"{}");
    push_blob(registry, target, &(empty.clone(), b"{}".to_vec()), &[]).unwrap();
    let bytes = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": empty,
        "layers": [empty],
        "subject": {"mediaType": MediaType::OCI_MANIFEST, "digest": subject.to_string(), "size": size},
        "annotations": {"org.example.type": artifact_type},
    });
    bytes.to_string().into_bytes()
}

fn types(found: &[Descriptor]) -> Vec<&str> {
    let mut types: Vec<&str> = found.iter().map(|entry| entry.extra["artifactType"].as_str().unwrap()).collect();
    types.sort_unstable();
    types
}

#[test]
fn what_speaks_of_a_manifest_is_listed_by_registries_that_know_and_by_those_that_do_not() {
    for knows in [true, false] {
        let fake = FakeRegistry::open();
        fake.behave(|manners| manners.referrers = knows);
        let registry = anonymous();
        let target = at(fake.address(), "team/web:1");
        let image = image(10);
        push_image(&registry, &target, &image).unwrap();
        let subject = Digest::of(&image.manifest);
        let list = |wanted: Option<&str>| registry.referrers(&target, &subject, wanted, &Cancel::new()).unwrap();
        assert_eq!(list(None), []);
        for kind in ["application/vnd.example.signature", "application/vnd.example.sbom", "application/vnd.example.sbom.v2"] {
            let bytes = artifact(&registry, &target, &subject, image.manifest.len(), kind);
            for _ in 0..2 {
                assert_eq!(registry.push_referrer(&target, &bytes, &Cancel::new()).unwrap(), Digest::of(&bytes));
            }
        }
        let all = ["application/vnd.example.sbom", "application/vnd.example.sbom.v2", "application/vnd.example.signature"];
        assert_eq!(types(&list(None)), all, "knows: {knows}");
        assert_eq!(types(&list(Some(all[0]))), [all[0]], "knows: {knows}");
        assert_eq!(list(Some("application/vnd.example.other")), []);
        // The tag of those that do not know is made for them alone.
        let tag = format!("sha256-{}", subject.hex());
        assert_eq!(fake.manifest("team/web", &tag).is_some(), !knows);
        fake.assert_well_treated();
    }
}

#[test]
fn several_that_add_at_once_to_a_registry_that_does_not_know_lose_nothing() {
    let fake = FakeRegistry::open();
    let target = at(fake.address(), "team/web:1");
    let image = image(10);
    push_image(&anonymous(), &target, &image).unwrap();
    let subject = Digest::of(&image.manifest);
    let add = |number: u32| {
        let registry = anonymous();
        let bytes = artifact(&registry, &target, &subject, image.manifest.len(), &format!("application/vnd.example.{number}"));
        registry.push_referrer(&target, &bytes, &Cancel::new()).unwrap();
    };
    // What the first moves is done when the second has moved the tag.
    let line = format!("PUT /v2/team/web/manifests/sha256-{}", subject.hex());
    fake.fault(&line, 1, Fault::Overtaken(Duration::ZERO));
    thread::scope(|scope| {
        scope.spawn(|| add(1));
        crate::waiting::until("the first asks to move the tag", || fake.lines().contains(&line));
        add(2);
    });
    assert_eq!(anonymous().referrers(&target, &subject, None, &Cancel::new()).unwrap().len(), 2);
}

#[test]
fn what_has_no_subject_is_refused_before_anything_is_asked() {
    let fake = FakeRegistry::start(Door::Basic { user: "alice".to_owned(), password: SECRET.to_owned() });
    for bytes in [image(10).manifest, b"{}".to_vec(), b"text".to_vec()] {
        with_password().push_referrer(&at(fake.address(), "team/web:1"), &bytes, &Cancel::new()).unwrap_err();
    }
    assert_eq!(fake.lines(), Vec::<String>::new());
}
