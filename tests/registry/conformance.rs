//! The behaviours of the distribution specification 1.1, each against the distribution project's own registry.

use std::io::Read;

use lapstrake::event::Cancel;
use lapstrake::image::{Descriptor, Document, MediaType, Reference};
use lapstrake::registry::{Chunks, Error, Host, Pushed, Registry, Settings, Uploads};
use lapstrake_cache::Digest;
use serde_json::json;

use crate::support::real::RealRegistry;
use crate::support::{Image, at, image};
use crate::{anonymous, in_full, pull, push_blob, push_image, settings};

fn cancel() -> Cancel {
    Cancel::new()
}

/// A registry with an image at `team/web:1`.
fn with_image() -> (RealRegistry, Registry, Reference, Image) {
    let (real, registry, image) = (RealRegistry::start("", &[]), anonymous(), image(300_000));
    let target = at(real.address, "team/web:1");
    push_image(&registry, &target, &image).unwrap();
    (real, registry, target, image)
}

fn status(error: &Error) -> u16 {
    match error {
        Error::NotFound { .. } => 404,
        Error::Refused { status, .. } => *status,
        other => panic!("{}", in_full(other)),
    }
}

#[test]
fn pull_manifests_by_tag_and_by_digest_and_blobs_by_digest() {
    let (_real, registry, target, image) = with_image();
    let digest = Digest::of(&image.manifest);
    for reference in [target.clone(), Reference { tag: None, digest: Some(digest), ..target.clone() }] {
        let resolved = registry.resolve(&reference, &cancel()).unwrap();
        assert_eq!((resolved.bytes, resolved.descriptor.digest), (image.manifest.clone(), digest));
        assert_eq!(resolved.descriptor.media_type, MediaType::OCI_MANIFEST);
    }
    for (descriptor, bytes) in &image.blobs {
        assert_eq!(&pull(&registry, &target, descriptor).unwrap(), bytes);
    }
}

#[test]
fn pull_what_is_not_there_is_a_404_and_says_so() {
    let (_real, registry, target, _image) = with_image();
    let nothing = Digest::of(b"nothing");
    for reference in [
        Reference { tag: Some("2".to_owned()), ..target.clone() },
        Reference { repository: "team/none".to_owned(), ..target.clone() },
        Reference { tag: None, digest: Some(nothing), ..target.clone() },
    ] {
        let error = registry.resolve(&reference, &cancel()).unwrap_err();
        assert_eq!(status(&error), 404);
        assert!(error.to_string().contains(&reference.name()), "{error}");
        assert!(registry.current(&reference, &cancel()).unwrap().is_none());
        assert_eq!(registry.published(&reference, &cancel()).unwrap(), None);
    }
    let blob = Descriptor::new(MediaType::OCI_LAYER, nothing, 7);
    assert_eq!(status(&pull(&registry, &target, &blob).unwrap_err()), 404);
}

#[test]
fn heads_tell_what_is_there_without_its_bytes() {
    let (_real, registry, target, image) = with_image();
    assert_eq!(registry.published(&target, &cancel()).unwrap(), Some(Digest::of(&image.manifest)));
    let (descriptor, _) = &image.blobs[0];
    assert_eq!(registry.blob_size(&target, &descriptor.digest, &cancel()).unwrap(), Some(descriptor.size));
    assert_eq!(registry.blob_size(&target, &Digest::of(b"nothing"), &cancel()).unwrap(), None);
}

#[test]
fn blobs_are_pushed_whole_and_in_chunks() {
    let real = RealRegistry::start("", &[]);
    let host = |uploads, chunks| Settings {
        hosts: [(real.address.to_string(), Host { uploads: Some(uploads), chunks, ..Host::default() })].into(),
        ..settings()
    };
    for (name, settings) in
        [("whole", host(Uploads::Whole, None)), ("chunked", host(Uploads::Chunked, Some(Chunks::Of { bytes: 100_000 })))]
    {
        let registry = Registry::new(settings, std::sync::Arc::new(lapstrake::registry::Anonymous)).unwrap();
        let (target, image) = (at(real.address, &format!("team/{name}:1")), image(350_000 + name.len()));
        assert_eq!(push_blob(&registry, &target, &image.blobs[0], &[]).unwrap(), Pushed::Uploaded);
        assert_eq!(push_blob(&registry, &target, &image.blobs[0], &[]).unwrap(), Pushed::Existed);
        assert_eq!(pull(&registry, &target, &image.blobs[0].0).unwrap(), image.blobs[0].1);
    }
}

#[test]
fn a_blob_of_another_digest_is_refused_and_is_not_there_afterwards() {
    let real = RealRegistry::start("", &[]);
    let (registry, target, image) = (anonymous(), at(real.address, "team/web:1"), image(1000));
    let wrong = Descriptor { digest: Digest::of(b"other"), ..image.blobs[0].0.clone() };
    let error = push_blob(&registry, &target, &(wrong.clone(), image.blobs[0].1.clone()), &[]).unwrap_err();
    assert_eq!(status(&error), 400);
    assert_eq!(registry.blob_size(&target, &wrong.digest, &cancel()).unwrap(), None);
}

#[test]
fn an_empty_blob_is_a_blob() {
    let real = RealRegistry::start("", &[]);
    let (registry, target) = (anonymous(), at(real.address, "team/web:1"));
    let empty = (Descriptor::of(MediaType::OCI_LAYER, b""), Vec::new());
    assert_eq!(push_blob(&registry, &target, &empty, &[]).unwrap(), Pushed::Uploaded);
    assert_eq!(pull(&registry, &target, &empty.0).unwrap(), b"");
}

#[test]
fn a_blob_is_mounted_from_where_it_is_and_sent_where_it_is_not() {
    let (real, registry, target, image) = with_image();
    let copy = at(real.address, "team/copy:1");
    let none = at(real.address, "team/none:1");
    assert_eq!(push_blob(&registry, &copy, &image.blobs[0], std::slice::from_ref(&target)).unwrap(), Pushed::Mounted);
    assert_eq!(push_blob(&registry, &copy, &image.blobs[1], std::slice::from_ref(&none)).unwrap(), Pushed::Uploaded);
}

#[test]
fn a_manifest_is_pushed_by_tag_and_by_digest_and_refused_before_its_blobs() {
    let real = RealRegistry::start("", &[]);
    let (registry, target, image) = (anonymous(), at(real.address, "team/web:1"), image(1000));
    let error = registry.push_manifest(&target, MediaType::OCI_MANIFEST, &image.manifest, &cancel()).unwrap_err();
    assert!(error.is_about_missing_parts(), "{}", in_full(&error));
    for blob in &image.blobs {
        push_blob(&registry, &target, blob, &[]).unwrap();
    }
    let by_digest = Reference { tag: None, digest: Some(Digest::of(&image.manifest)), ..target.clone() };
    for reference in [&by_digest, &target] {
        let digest = registry.push_manifest(reference, MediaType::OCI_MANIFEST, &image.manifest, &cancel()).unwrap();
        assert_eq!(digest, Digest::of(&image.manifest));
        assert_eq!(registry.resolve(reference, &cancel()).unwrap().bytes, image.manifest);
    }
}

#[test]
fn an_index_is_pushed_after_its_manifests_and_a_tag_is_moved_to_it() {
    let (_real, registry, target, image) = with_image();
    let entry = Descriptor::of(MediaType::OCI_MANIFEST, &image.manifest);
    let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [entry]}).to_string().into_bytes();
    registry.push_manifest(&target, MediaType::OCI_INDEX, &index, &cancel()).unwrap();
    let resolved = registry.resolve(&target, &cancel()).unwrap();
    assert!(matches!(resolved.document, Document::Index(_)));
    assert_eq!(resolved.bytes, index);
}

#[test]
fn tags_are_listed_sorted_and_over_all_pages() {
    let (_real, registry, target, image) = with_image();
    // The registry gives a hundred a page.
    let mut expected: Vec<String> = (0..130).map(|number| format!("t{number}")).collect();
    for tag in &expected {
        let target = Reference { tag: Some(tag.clone()), ..target.clone() };
        registry.push_manifest(&target, MediaType::OCI_MANIFEST, &image.manifest, &cancel()).unwrap();
    }
    expected.push("1".to_owned());
    expected.sort();
    assert_eq!(registry.tags(&target, &cancel()).unwrap(), expected);
    let none = Reference { repository: "team/none".to_owned(), ..target };
    assert_eq!(status(&registry.tags(&none, &cancel()).unwrap_err()), 404);
}

#[test]
fn referrers_are_found_by_the_tag_of_registries_that_have_no_list() {
    let (_real, registry, target, image) = with_image();
    let subject = Digest::of(&image.manifest);
    assert_eq!(registry.referrers(&target, &subject, None, &cancel()).unwrap(), []);
    let empty = Descriptor::of("application/vnd.oci.empty.v1+json", b"{}");
    push_blob(&registry, &target, &(empty.clone(), b"{}".to_vec()), &[]).unwrap();
    let artifact = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": "application/vnd.example",
        "config": empty, "layers": [empty], "subject": Descriptor::of(MediaType::OCI_MANIFEST, &image.manifest),
    });
    let digest = registry.push_referrer(&target, artifact.to_string().as_bytes(), &cancel()).unwrap();
    let found = registry.referrers(&target, &subject, Some("application/vnd.example"), &cancel()).unwrap();
    assert_eq!(found.iter().map(|entry| entry.digest).collect::<Vec<_>>(), [digest]);
}

#[test]
fn manifests_and_blobs_are_deleted_by_digest_and_are_gone() {
    let (_real, registry, target, image) = with_image();
    let by_digest = Reference { tag: None, digest: Some(Digest::of(&image.manifest)), ..target.clone() };
    registry.delete_manifest(&by_digest, &cancel()).unwrap();
    assert!(registry.current(&by_digest, &cancel()).unwrap().is_none());
    assert!(registry.current(&target, &cancel()).unwrap().is_none());
    assert_eq!(status(&registry.delete_manifest(&by_digest, &cancel()).unwrap_err()), 404);
    let digest = image.blobs[0].0.digest;
    registry.delete_blob(&target, &digest, &cancel()).unwrap();
    assert_eq!(registry.blob_size(&target, &digest, &cancel()).unwrap(), None);
    assert_eq!(status(&registry.delete_blob(&target, &digest, &cancel()).unwrap_err()), 404);
    // The same client does not believe that it is still there.
    assert_eq!(push_blob(&registry, &target, &image.blobs[0], &[]).unwrap(), Pushed::Uploaded);
}

#[test]
fn a_tag_alone_is_not_deleted_by_this_registry_which_says_so() {
    let (_real, registry, target, _image) = with_image();
    let error = registry.delete_manifest(&target, &cancel()).unwrap_err();
    assert!(matches!(status(&error), 400 | 405), "{}", in_full(&error));
    assert!(registry.current(&target, &cancel()).unwrap().is_some());
}

#[test]
fn a_download_begins_where_it_is_asked_to() {
    let (_real, registry, target, image) = with_image();
    let mut reader = registry.open_blob(&target, &image.blobs[0].0, &cancel()).unwrap();
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, image.blobs[0].1);
}
