//! Pushing and pulling when all goes well.

use std::sync::Arc;

use lapstrake::event::Cancel;
use lapstrake::image::{Descriptor, Document, MediaType};
use lapstrake::registry::{Anonymous, Error, Mirror, Pushed, Registry, Settings};
use lapstrake_cache::Digest;

use crate::nobody::Nobody;
use crate::support::fake::{FakeRegistry, Fault};
use crate::support::http::Response;
use crate::support::manners::MountManners;
use crate::support::{at, image};
use crate::{anonymous, pull, push_blob, push_image, settings};

#[test]
fn what_was_pushed_is_pulled_as_the_same_bytes() {
    let fake = FakeRegistry::open();
    let registry = anonymous();
    let target = at(fake.address(), "team/web:1.0");
    let image = image(300_000);
    assert_eq!(push_image(&registry, &target, &image).unwrap(), [Pushed::Uploaded, Pushed::Uploaded]);
    let resolved = registry.resolve(&target, &Cancel::new()).unwrap();
    assert_eq!(resolved.bytes, image.manifest);
    assert_eq!(resolved.descriptor, Descriptor::of(MediaType::OCI_MANIFEST, &image.manifest));
    assert!(matches!(resolved.document, Document::Manifest(_)));
    assert_eq!(registry.manifest(&target, &resolved.descriptor, &Cancel::new()).unwrap(), resolved);
    for (descriptor, bytes) in &image.blobs {
        assert_eq!(&pull(&registry, &target, descriptor).unwrap(), bytes);
    }
    fake.assert_well_treated();
}

#[test]
fn what_is_there_is_not_sent_again() {
    let fake = FakeRegistry::open();
    let registry = anonymous();
    let target = at(fake.address(), "team/web:1.0");
    let image = image(10);
    push_image(&registry, &target, &image).unwrap();
    fake.forget();
    assert_eq!(registry.published(&target, &Cancel::new()).unwrap(), Some(Digest::of(&image.manifest)));
    assert_eq!(fake.lines(), ["HEAD /v2/team/web/manifests/1.0"]);
    fake.forget();
    assert_eq!(push_blob(&registry, &target, &image.blobs[0], &[]).unwrap(), Pushed::Existed);
    assert_eq!(fake.lines(), [format!("HEAD /v2/team/web/blobs/{}", image.blobs[0].0.digest)]);
    assert_eq!(registry.published(&at(fake.address(), "team/web:2"), &Cancel::new()).unwrap(), None);
}

#[test]
fn a_blob_is_mounted_from_another_repository_of_the_same_registry() {
    let (fake, other) = (FakeRegistry::open(), FakeRegistry::open());
    let registry = anonymous();
    let image = image(10);
    let blob = &image.blobs[0];
    fake.put_blob("library/base", &blob.1);
    let mounts = [at(other.address(), "library/base"), at(fake.address(), "library/empty"), at(fake.address(), "library/base")];
    assert_eq!(push_blob(&registry, &at(fake.address(), "team/web"), blob, &mounts).unwrap(), Pushed::Mounted);
    assert!(fake.blob("team/web", &blob.0.digest).is_some());
    assert!(fake.lines().iter().all(|line| !line.starts_with("PUT")));
    assert_eq!(other.lines(), Vec::<String>::new());
    fake.assert_well_treated();
}

#[test]
fn the_answer_to_a_refused_mount_is_used_as_the_session() {
    let fake = FakeRegistry::open();
    fake.behave(|manners| manners.mounts = MountManners::Ignored);
    let registry = anonymous();
    let image = image(10);
    let target = at(fake.address(), "team/web");
    let pushed = push_blob(&registry, &target, &image.blobs[0], &[at(fake.address(), "library/base")]).unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
    let methods: Vec<String> = fake.seen().into_iter().map(|request| request.method).collect();
    assert_eq!(methods, ["HEAD", "POST", "PUT"]);
    fake.assert_well_treated();
}

#[test]
fn a_manifest_without_a_tag_is_put_under_its_digest() {
    let fake = FakeRegistry::open();
    let registry = anonymous();
    let image = image(10);
    let digest = Digest::of(&image.manifest);
    push_image(&registry, &at(fake.address(), &format!("team/web@{digest}")), &image).unwrap();
    assert_eq!(fake.manifest("team/web", &digest.to_string()), Some(image.manifest.clone()));
    let other = at(fake.address(), &format!("team/web@{}", Digest::of(b"")));
    let refused = registry.push_manifest(&other, MediaType::OCI_MANIFEST, &image.manifest, &Cancel::new());
    assert!(matches!(refused, Err(Error::OtherDigest { .. })));
}

#[test]
fn tags_of_all_pages_are_listed() {
    let fake = FakeRegistry::open();
    for tag in ["e", "b", "a", "d", "c"] {
        fake.put_manifest("team/web", tag, MediaType::OCI_INDEX, br#"{"schemaVersion":2,"manifests":[]}"#);
    }
    assert_eq!(anonymous().tags(&at(fake.address(), "team/web"), &Cancel::new()).unwrap(), ["a", "b", "c", "d", "e"]);
}

#[test]
fn progress_grows_to_the_size() {
    let fake = FakeRegistry::open();
    let registry = anonymous();
    let target = at(fake.address(), "team/web");
    let image = image(2_000_000);
    let (descriptor, bytes) = &image.blobs[0];
    let mut seen = Vec::new();
    registry.push_blob(&target, descriptor, &crate::source(bytes), &[], &mut |done| seen.push(done), &Cancel::new()).unwrap();
    assert!(seen.is_sorted() && seen.last() == Some(&descriptor.size), "{seen:?}");
    seen.clear();
    registry.blob(&target, descriptor, &mut std::io::sink(), &mut |done| seen.push(done), &Cancel::new()).unwrap();
    assert!(seen.is_sorted() && seen.last() == Some(&descriptor.size), "{seen:?}");
}

fn mirrored(upstream: &FakeRegistry, mirrors: &[&String]) -> Settings {
    let mirrors = mirrors.iter().map(|host| Mirror { host: (*host).clone(), prefix: None }).collect();
    Settings { mirrors: [(upstream.address().to_string(), mirrors)].into(), ..settings() }
}

#[test]
fn mirrors_are_asked_in_order_and_the_registry_when_none_has_it() {
    let (upstream, first, second) = (FakeRegistry::open(), FakeRegistry::open(), FakeRegistry::open());
    let image = image(10);
    let (descriptor, bytes) = &image.blobs[0];
    upstream.put_manifest("team/web", "1", MediaType::OCI_MANIFEST, &image.manifest);
    upstream.put_blob("team/web", bytes);
    second.put_manifest("team/web", "1", MediaType::OCI_MANIFEST, &image.manifest);
    let reference = at(upstream.address(), "team/web:1");
    let nobody = Nobody::new();
    let dead = nobody.address.to_string();
    let (one, two) = (first.address().to_string(), second.address().to_string());
    let registry = Registry::new(mirrored(&upstream, &[&dead, &one, &two]), Arc::new(Anonymous)).unwrap();
    registry.resolve(&reference, &Cancel::new()).unwrap();
    assert_eq!((first.lines().len(), second.lines().len(), upstream.lines().len()), (1, 1, 0));
    // Neither mirror has the blob.
    assert_eq!(&pull(&registry, &reference, descriptor).unwrap(), bytes);
    assert_eq!((first.lines().len(), second.lines().len(), upstream.lines().len()), (2, 2, 1));
}

#[test]
fn when_nobody_has_it_the_error_tells_of_each() {
    let (upstream, mirror) = (FakeRegistry::open(), FakeRegistry::open());
    let nobody = Nobody::new();
    let dead = nobody.address.to_string();
    let registry = Registry::new(mirrored(&upstream, &[&dead, &mirror.address().to_string()]), Arc::new(Anonymous)).unwrap();
    let error = registry.resolve(&at(upstream.address(), "team/web:1"), &Cancel::new()).unwrap_err();
    assert!(matches!(&error, Error::Nowhere { failures, .. } if failures.len() == 3), "{error:?}");
    for host in [dead, mirror.address().to_string(), upstream.address().to_string()] {
        assert!(error.to_string().contains(&host), "{error}");
    }
}

#[test]
fn nothing_is_pushed_to_a_mirror() {
    let (upstream, mirror) = (FakeRegistry::open(), FakeRegistry::open());
    let registry = Registry::new(mirrored(&upstream, &[&mirror.address().to_string()]), Arc::new(Anonymous)).unwrap();
    let target = at(upstream.address(), "team/web:1");
    push_image(&registry, &target, &image(10)).unwrap();
    registry.published(&target, &Cancel::new()).unwrap();
    assert_eq!(mirror.lines(), Vec::<String>::new());
}

#[test]
fn the_client_works_and_ends_inside_an_async_program() {
    let fake = FakeRegistry::open();
    let image = image(10);
    fake.put_manifest("team/web", "1", MediaType::OCI_MANIFEST, &image.manifest);
    let reference = at(fake.address(), "team/web:1");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let resolved = runtime.block_on(async {
        let registry = anonymous();
        registry.resolve(&reference, &Cancel::new())
    });
    assert_eq!(resolved.unwrap().bytes, image.manifest);
}

/// The answers to a list of tags: pages of 4 MiB, each with another address for the next.
fn plan_pages(fake: &FakeRegistry, wanted: &str, body: &str) {
    for page in 0..20 {
        let body = body.replace("PADDING", &"x".repeat((4 << 20) - 1000));
        let link = format!("<?page={}>; rel=\"next\"", page + 1);
        fake.later(wanted, page, 1, Fault::Answer(Response::new(200).with("link", link).body(body)));
    }
}

#[test]
fn a_list_without_end_is_given_up_before_it_fills_the_memory() {
    let fake = FakeRegistry::open();
    let target = at(fake.address(), "team/web:1");
    plan_pages(&fake, "tags", r#"{"tags":["PADDING"]}"#);
    let error = anonymous().tags(&target, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit_bytes, .. } if limit_bytes == 64 << 20), "{error:?}");
    plan_pages(&fake, "referrers", r#"{"schemaVersion":2,"manifests":[],"annotations":{"a":"PADDING"}}"#);
    let error = anonymous().referrers(&target, &Digest::of(b""), None, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit_bytes, .. } if limit_bytes == 16 << 20), "{error:?}");
    for wanted in ["tags", "referrers"] {
        let fake = FakeRegistry::open();
        let target = at(fake.address(), "team/web:1");
        let body = r#"{"schemaVersion":2,"tags":["a"],"manifests":[]}"#;
        fake.fault(wanted, 1000, Fault::Answer(Response::new(200).with("link", "<?again>; rel=\"next\"").body(body)));
        let error = match wanted {
            "tags" => anonymous().tags(&target, &Cancel::new()).map(drop),
            _ => anonymous().referrers(&target, &Digest::of(b""), None, &Cancel::new()).map(drop),
        };
        assert!(matches!(error, Err(Error::Protocol { .. })), "{error:?}");
        assert_eq!(fake.lines().len(), 2);
    }
}

#[test]
fn what_is_no_tag_is_not_listed_as_one() {
    let fake = FakeRegistry::open();
    let long = "x".repeat(129);
    let tags = serde_json::json!({"tags": ["1.0", "_a", "", ".a", "-a", "a/b", "a b", "a\u{1b}[31m", long, "A-b.c_d"]});
    fake.fault("tags", 1, Fault::Answer(Response::new(200).body(tags.to_string())));
    assert_eq!(anonymous().tags(&at(fake.address(), "team/web"), &Cancel::new()).unwrap(), ["1.0", "A-b.c_d", "_a"]);
}
