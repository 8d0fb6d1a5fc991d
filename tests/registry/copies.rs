//! Images and indexes from one place to another, as they are.

use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;
use std::time::Duration;

use lapstrake::event::{Cancel, Silent};
use lapstrake::image::{Descriptor, Document, Manifest, MediaType, Platform, Reference, Sealed, SealedLayer};
use lapstrake::operate::{Copied, CopyError, Hands, OpenError, Others, Place, Selection, copy, copy_to_all, open};
use lapstrake::output::{Bundle, PushError, PushedTag, Sources, merge_bundle};
use lapstrake::registry::{Error, Registry};
use lapstrake_cache::{Digest, Store};
use serde_json::json;

use crate::support::fake::{FakeRegistry, Fault};
use crate::support::http::Response;
use crate::support::real::{RealRegistry, run};
use crate::support::{Image, at, image};
use crate::waiting::until;
use crate::{anonymous, push_image};

const TRANSFERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

/// As many layers as a manifest may have.
const LAYERS: usize = 1024;

struct Workplace {
    store: Store,
    registry: Registry,
    cancel: Cancel,
    directory: tempfile::TempDir,
}

impl Workplace {
    fn new() -> Workplace {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        Workplace { store, registry: anonymous(), cancel: Cancel::new(), directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn copy_with(&self, from: &str, to: &str, selection: &Selection, others: Others) -> Result<Vec<Copied>, CopyError> {
        let place = |text: &str| text.parse::<Place>().unwrap();
        let hands = Hands { registry: &self.registry, scratch: &self.store, transfers: TRANSFERS, events: &Silent, cancel: &self.cancel };
        copy(&place(from), &place(to), selection, others, &hands)
    }

    fn copy(&self, from: &str, to: &str) -> Vec<Copied> {
        self.copy_with(from, to, &Selection::Whole, Others::Replaced).unwrap()
    }
}

/// The image for a platform: its config is another.
fn for_platform(padding: usize, platform: &str) -> Image {
    let mut image = image(padding);
    let platform: Platform = platform.parse().unwrap();
    let config = String::from_utf8(image.blobs[1].1.clone()).unwrap().replace("amd64", &platform.architecture).into_bytes();
    let mut manifest = Manifest::parse(&image.manifest, None).unwrap();
    manifest.config = Descriptor::of(MediaType::OCI_CONFIG, &config);
    image.blobs[1] = (manifest.config.clone(), config);
    image.manifest = manifest.to_bytes();
    image
}

/// An index of three platforms at `team/web:1`, and something beside them that is no image.
fn push_index(registry: &Registry, target: &Reference) -> Vec<u8> {
    let mut entries = Vec::new();
    for (padding, platform) in [(100_000, "linux/amd64"), (100_000, "linux/arm64"), (200_000, "linux/s390x")] {
        let image = for_platform(padding, platform);
        push_image(registry, &Reference { tag: Some("part".to_owned()), ..target.clone() }, &image).unwrap();
        let (os, architecture) = platform.split_once('/').unwrap();
        let entry = Descriptor::of(MediaType::OCI_MANIFEST, &image.manifest);
        entries.push(json!({"mediaType": entry.media_type, "digest": entry.digest.to_string(), "size": entry.size,
            "platform": {"os": os, "architecture": architecture}, "annotations": {"a": "b"}}));
    }
    let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries, "annotations": {"whole": "yes"}});
    // Not as we would write it.
    let index = serde_json::to_vec_pretty(&index).unwrap();
    registry.push_manifest(target, MediaType::OCI_INDEX, &index, &Cancel::new()).unwrap();
    index
}

#[test]
fn a_whole_index_goes_round_all_places_and_keeps_every_byte() {
    let (real, fake) = (RealRegistry::start("", &[]), FakeRegistry::open());
    let workplace = Workplace::new();
    let source = at(real.address, "team/web:1");
    let index = push_index(&workplace.registry, &source);
    let digest = Digest::of(&index);
    let (layout, archive) = (format!("oci:{}:web", workplace.path("layout")), format!("oci-archive:{}:web", workplace.path("a.tar")));
    let (second, last) = (format!("oci:{}:again", workplace.path("second")), at(fake.address(), "copies/web:1"));
    let places = [source.to_string(), layout.clone(), archive.clone(), second, last.to_string()];
    for pair in places.windows(2) {
        let copied = workplace.copy(&pair[0], &pair[1]);
        assert_eq!(copied.iter().map(|one| one.digest).collect::<Vec<_>>(), [digest], "{pair:?}");
    }
    assert_eq!(fake.manifest("copies/web", "1"), Some(index));
    fake.assert_well_treated();
    for platform in ["linux/amd64", "linux/arm64", "linux/s390x"] {
        for place in &places {
            let opened = open(&place.parse().unwrap(), &platform.parse().unwrap(), &workplace.registry, &workplace.cancel).unwrap();
            assert_eq!(opened.named.digest, digest, "{place}");
            assert_eq!(opened.image.platform.to_string(), platform);
        }
    }
    // Others read them.
    let all = ["copy", "--quiet", "--all", "--preserve-digests"];
    for (number, from) in [&layout, &archive].into_iter().enumerate() {
        run("skopeo", &[&all[..], &[from, &format!("dir:{}", workplace.path(&format!("dir{number}")))]].concat());
    }
}

#[test]
fn a_platform_is_taken_out_of_an_index_and_is_the_manifest_itself() {
    let fake = FakeRegistry::open();
    let workplace = Workplace::new();
    let source = at(fake.address(), "team/web:1");
    push_index(&workplace.registry, &source);
    let arm = for_platform(100_000, "linux/arm64");
    let selection = Selection::Platform("linux/arm64".parse().unwrap());
    let target = at(fake.address(), "copies/arm:1");
    workplace.copy_with(&source.to_string(), &target.to_string(), &selection, Others::Replaced).unwrap();
    assert_eq!(fake.manifest("copies/arm", "1"), Some(arm.manifest.clone()));
    let missing = Selection::Platform("linux/riscv64".parse().unwrap());
    let error = workplace.copy_with(&source.to_string(), &target.to_string(), &missing, Others::Replaced).unwrap_err();
    assert!(matches!(error, CopyError::Open(_)), "{error:?}");
    assert_eq!(fake.manifest("copies/arm", "1"), Some(arm.manifest));
}

#[test]
fn what_a_registry_has_is_mounted_and_no_byte_of_it_travels() {
    let fake = FakeRegistry::open();
    let workplace = Workplace::new();
    let source = at(fake.address(), "team/web:1");
    push_index(&workplace.registry, &source);
    let before = fake.traffic();
    fake.forget();
    workplace.copy(&source.to_string(), &at(fake.address(), "copies/web:1").to_string());
    assert_eq!(fake.traffic(), before);
    assert!(fake.lines().iter().all(|line| !(line.starts_with("GET") && line.contains("/blobs/"))), "{:?}", fake.lines());
    fake.assert_well_treated();
}

#[test]
fn what_goes_from_registry_to_registry_touches_no_disk() {
    let (one, other) = (FakeRegistry::open(), FakeRegistry::open());
    let workplace = Workplace::new();
    let source = at(one.address(), "team/web:1");
    let index = push_index(&workplace.registry, &source);
    let files = || walkdir::WalkDir::new(workplace.directory.path()).into_iter().count();
    let before = files();
    workplace.copy(&source.to_string(), &at(other.address(), "team/web:1").to_string());
    assert_eq!(other.manifest("team/web", "1"), Some(index));
    assert_eq!(files(), before);
}

#[test]
fn a_layout_of_several_goes_into_another_with_all_its_names() {
    let fake = FakeRegistry::open();
    let workplace = Workplace::new();
    let source = at(fake.address(), "team/web:1");
    push_index(&workplace.registry, &source);
    let single = at(fake.address(), "team/one:1");
    push_image(&workplace.registry, &single, &image(10)).unwrap();
    let layout = workplace.path("layout");
    workplace.copy(&source.to_string(), &format!("oci:{layout}:web"));
    workplace.copy(&source.to_string(), &format!("oci:{layout}:web-too"));
    workplace.copy(&single.to_string(), &format!("oci:{layout}:one"));
    workplace.copy(&format!("oci:{layout}"), &format!("oci-archive:{}", workplace.path("all.tar")));
    workplace.copy(&format!("oci-archive:{}", workplace.path("all.tar")), &format!("oci:{}", workplace.path("back")));
    let names = |directory: &str| {
        let index: serde_json::Value = serde_json::from_slice(&std::fs::read(Path::new(directory).join("index.json")).unwrap()).unwrap();
        let entries = index["manifests"].as_array().unwrap().clone();
        let mut names: Vec<String> =
            entries.iter().map(|entry| entry["annotations"]["org.opencontainers.image.ref.name"].to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&workplace.path("back")), ["\"one\"", "\"web\"", "\"web-too\""]);
    let error = workplace
        .copy_with(&format!("oci:{layout}"), &at(fake.address(), "x/y:1").to_string(), &Selection::Whole, Others::Replaced)
        .unwrap_err();
    assert!(matches!(&error, CopyError::Several { .. }) && error.to_string().contains("`web-too`"), "{error}");
}

#[test]
fn an_archive_for_docker_has_one_platform_and_comes_back_as_the_same_layers() {
    let fake = FakeRegistry::open();
    let workplace = Workplace::new();
    let source = at(fake.address(), "team/web:1");
    push_index(&workplace.registry, &source);
    let archive = format!("docker-archive:{}:team/web:1", workplace.path("docker.tar"));
    let error = workplace.copy_with(&source.to_string(), &archive, &Selection::Whole, Others::Replaced).unwrap_err();
    assert!(error.to_string().contains("one platform"), "{error}");
    let selection = Selection::Platform("linux/arm64".parse().unwrap());
    workplace.copy_with(&source.to_string(), &archive, &selection, Others::Replaced).unwrap();
    workplace.copy(&archive, &at(fake.address(), "back/web:1").to_string());
    let manifest = Manifest::parse(&fake.manifest("back/web", "1").unwrap(), None).unwrap();
    let original = for_platform(100_000, "linux/arm64");
    assert_eq!(manifest.config.digest, original.blobs[1].0.digest);
    assert_eq!(manifest.layers[0].digest, original.blobs[0].0.digest);
    run("skopeo", &["copy", "--quiet", &archive, &format!("dir:{}", workplace.path("dir"))]);
}

#[test]
fn a_damaged_blob_is_not_passed_on_and_leaves_no_name_behind() {
    let fake = FakeRegistry::open();
    let workplace = Workplace::new();
    let source = at(fake.address(), "team/web:1");
    let image = image(1000);
    push_image(&workplace.registry, &source, &image).unwrap();
    let layout = workplace.path("layout");
    workplace.copy(&source.to_string(), &format!("oci:{layout}:web"));
    let blob = Path::new(&layout).join("blobs/sha256").join(image.blobs[0].0.digest.hex());
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[700] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let second = workplace.path("second");
    for to in [format!("oci:{second}:web"), format!("oci-archive:{}", workplace.path("a.tar")), at(fake.address(), "x/y:1").to_string()] {
        let error = workplace.copy_with(&format!("oci:{layout}:web"), &to, &Selection::Whole, Others::Replaced).unwrap_err();
        assert!(matches!(error, CopyError::Write(_) | CopyError::Push(_)), "{error:?}");
    }
    assert!(!Path::new(&second).join("index.json").exists());
    assert!(!Path::new(&workplace.path("a.tar")).exists());
    assert_eq!(fake.manifest("x/y", "1"), None);
}

fn sealed(image: &Image, platform: &str) -> Sealed {
    let manifest = Manifest::parse(&image.manifest, None).unwrap();
    Sealed {
        platform: platform.parse().unwrap(),
        manifest: Descriptor::of(manifest.media_type(), &image.manifest),
        manifest_bytes: image.manifest.clone(),
        config: image.blobs[1].0.clone(),
        config_bytes: image.blobs[1].1.clone(),
        layers: vec![SealedLayer { descriptor: image.blobs[0].0.clone(), diff_id: Digest::of(&image.blobs[0].1), from: None }],
    }
}

fn merge(target: &Reference, image: &Image, platform: &str) {
    try_to_merge(target, image, platform).unwrap();
}

fn try_to_merge(target: &Reference, image: &Image, platform: &str) -> Result<Vec<PushedTag>, PushError> {
    let workplace = Workplace::new();
    workplace.store.put_blob(&image.blobs[0].1).unwrap();
    let sources = Sources { here: &workplace.store, registry: &workplace.registry, cancel: &workplace.cancel };
    let bundle = Bundle::of(&sealed(image, platform));
    merge_bundle(&bundle, std::slice::from_ref(target), TRANSFERS, &sources, &Silent)
}

fn offered(target: &Reference) -> Vec<String> {
    match anonymous().resolve(target, &Cancel::new()).unwrap().document {
        Document::Index(index) => index.manifests.iter().map(|entry| entry.platform().unwrap().to_string()).collect(),
        Document::Manifest(_) => Vec::new(),
    }
}

#[test]
fn runners_that_add_their_platforms_at_once_lose_nothing() {
    let real = RealRegistry::start("", &[]);
    let target = at(real.address, "team/web:1");
    let platforms = ["linux/amd64", "linux/arm64"];
    thread::scope(|scope| {
        for platform in platforms {
            let target = &target;
            scope.spawn(move || merge(target, &for_platform(1000, platform), platform));
        }
    });
    assert_eq!(offered(&target), platforms);
}

const MOVE: &str = "PUT /v2/team/web/manifests/1";

/// Two that add to an index: the second while the registry has the first's request to move the tag and has not done it.
fn second_while_the_first_is_on_its_way(fake: &FakeRegistry) -> Vec<String> {
    let target = at(fake.address(), "team/web:1");
    thread::scope(|scope| {
        scope.spawn(|| merge(&target, &for_platform(1000, "linux/amd64"), "linux/amd64"));
        until("the first asks to move the tag", || fake.lines().iter().any(|line| line == MOVE));
        merge(&target, &for_platform(1000, "linux/arm64"), "linux/arm64");
    });
    fake.assert_well_treated();
    offered(&target)
}

#[test]
fn a_move_that_another_undid_is_done_again() {
    let fake = FakeRegistry::open();
    fake.fault(MOVE, 1, Fault::Overtaken(Duration::ZERO));
    assert_eq!(second_while_the_first_is_on_its_way(&fake), ["linux/amd64", "linux/arm64"]);
}

#[test]
fn where_moves_take_long_a_moved_tag_is_watched_for_longer_than_others_may_be_on_their_way() {
    let fake = FakeRegistry::open();
    // What the second moves takes 0.6 s, and what the first moves comes 1.5 s after it.
    fake.fault(MOVE, 1, Fault::Overtaken(Duration::from_millis(1500)));
    fake.later(MOVE, 1, 1, Fault::Slow(Duration::from_millis(600)));
    assert_eq!(second_while_the_first_is_on_its_way(&fake), ["linux/amd64", "linux/arm64"]);
}

/// Puts an index with arm64 in the place of what is there, as another runner would.
fn another_adds_arm64(fake: &FakeRegistry) -> Fault {
    let image = for_platform(1000, "linux/arm64");
    push_image(&anonymous(), &at(fake.address(), "team/web:part"), &image).unwrap();
    let entry = Descriptor::of(MediaType::OCI_MANIFEST, &image.manifest);
    let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [
        {"mediaType": entry.media_type, "digest": entry.digest.to_string(), "size": entry.size,
            "platform": {"os": "linux", "architecture": "arm64"}}]});
    Fault::Meanwhile {
        repository: "team/web".to_owned(),
        tag: "1".to_owned(),
        media_type: MediaType::OCI_INDEX.to_owned(),
        bytes: index.to_string().into_bytes(),
    }
}

#[test]
fn a_tag_is_not_moved_a_second_time_without_a_look_at_what_others_did_meanwhile() {
    for refusal in [
        Response::error(429, "TOOMANYREQUESTS", "slow down").with("retry-after", "0"),
        Response::error(503, "UNAVAILABLE", "upgrading"),
        Response::new(408),
    ] {
        let fake = FakeRegistry::open();
        let target = at(fake.address(), "team/web:1");
        let another = another_adds_arm64(&fake);
        fake.fault(MOVE, 1, another);
        fake.fault(MOVE, 1, Fault::Answer(refusal.clone()));
        merge(&target, &for_platform(1000, "linux/amd64"), "linux/amd64");
        assert_eq!(offered(&target), ["linux/amd64", "linux/arm64"], "{refusal:?}");
        fake.assert_well_treated();
    }
}

#[test]
fn a_tag_that_cannot_be_moved_is_an_error_after_a_few_attempts() {
    let fake = FakeRegistry::open();
    let target = at(fake.address(), "team/web:1");
    for (refusal, attempts) in [(Response::error(503, "UNAVAILABLE", "upgrading"), 5), (Response::error(403, "DENIED", "no"), 1)] {
        fake.forget();
        fake.fault(MOVE, attempts, Fault::Answer(refusal));
        let error = try_to_merge(&target, &image(10), "linux/amd64").unwrap_err();
        assert!(matches!(*error.source, Error::Refused { status: 503, .. } | Error::Denied { .. }), "{error:?}");
        assert_eq!(fake.lines().iter().filter(|line| *line == MOVE).count(), attempts);
    }
}

#[test]
fn an_index_is_added_to_where_a_registry_does_not_say_digests() {
    let fake = FakeRegistry::open();
    let target = at(fake.address(), "team/web:1");
    fake.fault("HEAD /v2/team/web/manifests", 1000, Fault::Header("docker-content-digest", None));
    merge(&target, &for_platform(1000, "linux/s390x"), "linux/s390x");
    merge(&target, &for_platform(1000, "linux/amd64"), "linux/amd64");
    assert_eq!(offered(&target), ["linux/amd64", "linux/s390x"]);
    assert_eq!(fake.lines().iter().filter(|line| *line == MOVE).count(), 2);
    // Something that was made between two looks is not taken for nothing.
    let fake = FakeRegistry::open();
    let target = at(fake.address(), "team/web:1");
    let another = another_adds_arm64(&fake);
    fake.fault("HEAD /v2/team/web/manifests/1", 1, another);
    fake.fault("HEAD /v2/team/web/manifests/1", 1000, Fault::Header("docker-content-digest", None));
    merge(&target, &for_platform(1000, "linux/amd64"), "linux/amd64");
    assert_eq!(offered(&target), ["linux/amd64", "linux/arm64"]);
}

#[test]
fn an_index_that_is_added_to_has_no_digest_that_could_be_named() {
    let fake = FakeRegistry::open();
    let image = image(10);
    let target = at(fake.address(), &format!("team/web:1@{}", Digest::of(&image.manifest)));
    let error = try_to_merge(&target, &image, "linux/amd64").unwrap_err();
    assert!(matches!(*error.source, Error::Settings { .. }), "{error:?}");
    assert_eq!(fake.lines(), Vec::<String>::new());
}

/// Writes a layout of an index that names these documents: its place.
fn layout_of(workplace: &Workplace, documents: &[Vec<u8>]) -> String {
    let path = workplace.directory.path().join("large");
    std::fs::create_dir_all(path.join("blobs/sha256")).unwrap();
    let entry = |bytes: &[u8], media_type: &str| {
        let digest = Digest::of(bytes);
        std::fs::write(path.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    };
    let entries: Vec<_> = documents.iter().map(|bytes| entry(bytes, MediaType::OCI_MANIFEST)).collect();
    let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries}).to_string();
    let whole = json!({"schemaVersion": 2, "manifests": [entry(index.as_bytes(), MediaType::OCI_INDEX)]});
    std::fs::write(path.join("index.json"), whole.to_string()).unwrap();
    std::fs::write(path.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
    format!("oci:{}", path.display())
}

#[test]
fn an_image_of_more_than_anybody_makes_is_refused_before_it_fills_the_memory() {
    let workplace = Workplace::new();
    let small = image(10);
    let padded = |number: usize| {
        let mut manifest = Manifest::parse(&small.manifest, None).unwrap();
        manifest.annotations.insert(number.to_string(), "x".repeat((4 << 20) - 2000));
        manifest.to_bytes()
    };
    let place = layout_of(&workplace, &(0..17).map(padded).collect::<Vec<_>>());
    let to = format!("oci:{}", workplace.path("out"));
    let error = workplace.copy_with(&place, &to, &Selection::Whole, Others::Replaced).unwrap_err();
    assert!(matches!(&error, CopyError::Open(OpenError::TooMuch { what: "bytes of manifests", .. })), "{error:?}");

    let of_many = |number: usize| {
        let mut manifest = Manifest::parse(&small.manifest, None).unwrap();
        let layer = |layer: usize| Descriptor::of(MediaType::OCI_LAYER, format!("{number}.{layer}").as_bytes());
        manifest.layers = (0..LAYERS).map(layer).collect();
        manifest.to_bytes()
    };
    let place = layout_of(&workplace, &(0..100_000 / LAYERS + 1).map(of_many).collect::<Vec<_>>());
    let error = workplace.copy_with(&place, &to, &Selection::Whole, Others::Replaced).unwrap_err();
    assert!(matches!(&error, CopyError::Open(OpenError::TooMuch { what: "blobs", .. })), "{error:?}");
}

#[test]
fn what_an_index_says_of_its_manifests_is_compared_with_what_a_registry_gives() {
    let workplace = Workplace::new();
    let image = image(10);
    for (lie, refused) in [(json!({}), false), (json!({"size": 1}), true), (json!({"mediaType": MediaType::OCI_INDEX}), true)] {
        let fake = FakeRegistry::open();
        push_image(&workplace.registry, &at(fake.address(), "team/web:part"), &image).unwrap();
        let mut entry = json!({"mediaType": MediaType::OCI_MANIFEST, "digest": Digest::of(&image.manifest).to_string(),
            "size": image.manifest.len(), "platform": {"os": "linux", "architecture": "amd64"}});
        entry.as_object_mut().unwrap().extend(lie.as_object().unwrap().clone());
        let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [entry]}).to_string();
        fake.put_manifest("team/web", "1", MediaType::OCI_INDEX, index.as_bytes());
        let from = at(fake.address(), "team/web:1").to_string();
        let opened = open(&from.parse().unwrap(), &"linux/amd64".parse().unwrap(), &workplace.registry, &workplace.cancel);
        assert_eq!(opened.is_err(), refused, "{lie}");
        for selection in [Selection::Whole, Selection::Platform("linux/amd64".parse().unwrap())] {
            let to = format!("oci-archive:{}", workplace.path("a.tar"));
            let copied = workplace.copy_with(&from, &to, &selection, Others::Replaced);
            assert_eq!(copied.is_err(), refused, "{lie} {selection:?}");
        }
    }
}

#[test]
fn an_image_that_goes_to_several_places_is_the_same_in_all_of_them() {
    let fake = FakeRegistry::open();
    let workplace = Workplace::new();
    let source = at(fake.address(), "team/web:1");
    let (first, second) = (image(10), for_platform(20, "linux/arm64"));
    push_image(&workplace.registry, &at(fake.address(), "team/web:2"), &second).unwrap();
    push_image(&workplace.registry, &source, &first).unwrap();
    // The tag moves as soon as it was looked up.
    let (repository, tag, media_type) = ("team/web".to_owned(), "1".to_owned(), MediaType::OCI_MANIFEST.to_owned());
    fake.later("GET /v2/team/web/manifests/1", 1, 1, Fault::Meanwhile { repository, tag, media_type, bytes: second.manifest });
    let places = ["one", "two"].map(|name| format!("oci:{}", workplace.path(name)).parse::<Place>().unwrap());
    let hands = Hands {
        registry: &workplace.registry,
        scratch: &workplace.store,
        transfers: TRANSFERS,
        events: &Silent,
        cancel: &workplace.cancel,
    };
    let copied = copy_to_all(&source.to_string().parse().unwrap(), &places, &Selection::Whole, Others::Replaced, &hands).unwrap();
    let digest = Digest::of(&first.manifest);
    assert_eq!(copied[0].digest, digest);
    for place in &places {
        assert_eq!(open(place, &Platform::builder(), &workplace.registry, &workplace.cancel).unwrap().named.digest, digest);
    }
}

#[test]
fn an_entry_is_replaced_by_the_next_build_for_its_platform_and_the_rest_stays() {
    let fake = FakeRegistry::open();
    let target = at(fake.address(), "team/web:1");
    let index = push_index(&anonymous(), &target);
    let new = for_platform(5000, "linux/arm64");
    merge(&target, &new, "linux/arm64");
    assert_eq!(offered(&target), ["linux/amd64", "linux/arm64", "linux/s390x"]);
    let merged = fake.manifest("team/web", "1").unwrap();
    let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    assert_eq!(value(&merged)["manifests"][1]["digest"], Digest::of(&new.manifest).to_string());
    assert_eq!(value(&merged)["manifests"][0], value(&index)["manifests"][0]);
    assert_eq!(value(&merged)["annotations"], value(&index)["annotations"]);
    // The same again changes nothing and costs one look.
    fake.forget();
    merge(&target, &new, "linux/arm64");
    assert_eq!(fake.manifest("team/web", "1"), Some(merged));
    assert_eq!(fake.lines(), ["GET /v2/team/web/manifests/1"]);
    fake.assert_well_treated();
}

#[test]
fn an_image_that_stands_alone_under_the_tag_becomes_an_entry() {
    let fake = FakeRegistry::open();
    let target = at(fake.address(), "team/web:1");
    push_image(&anonymous(), &target, &for_platform(10, "linux/s390x")).unwrap();
    merge(&target, &image(10), "linux/amd64");
    assert_eq!(offered(&target), ["linux/amd64", "linux/s390x"]);
}
