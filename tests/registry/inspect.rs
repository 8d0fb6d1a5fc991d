//! Images in every place are opened as the same image.

use std::io::Read;
use std::num::NonZeroUsize;

use lapstrake::event::{Cancel, Silent};
use lapstrake::image::{Blobs, Descriptor, MediaType, Platform, validate};
use lapstrake::operate::{Inspected, OpenError, Opened, Place, open};
use lapstrake::output::push;
use lapstrake_cache::Digest;

use crate::support::fake::FakeRegistry;
use crate::support::real::{RealRegistry, run};
use crate::support::{Image, at, image};
use crate::{anonymous, push_image};

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn opened(place: &str, platform: &str) -> Result<Opened, OpenError> {
    open(&place.parse::<Place>().unwrap(), &platform.parse().unwrap(), &anonymous(), &Cancel::new())
}

/// A registry with an index of two platforms at `team/web:1`; only the image for amd64 is there.
fn indexed() -> (FakeRegistry, Image, Vec<u8>) {
    let fake = FakeRegistry::open();
    let image = image(10);
    for (_, bytes) in &image.blobs {
        fake.put_blob("team/web", bytes);
    }
    fake.put_manifest("team/web", "amd64", MediaType::OCI_MANIFEST, &image.manifest);
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX,
        "manifests": [
            {"mediaType": MediaType::OCI_MANIFEST, "digest": Digest::of(b"").to_string(), "size": 0,
             "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
            {"mediaType": MediaType::OCI_MANIFEST, "digest": Digest::of(&image.manifest).to_string(), "size": image.manifest.len(),
             "platform": {"os": "linux", "architecture": "amd64"}},
        ],
    });
    let index = index.to_string().into_bytes();
    fake.put_manifest("team/web", "1", MediaType::OCI_INDEX, &index);
    (fake, image, index)
}

#[test]
fn an_index_is_followed_to_the_platform_and_what_it_offers_is_told() {
    let (fake, image, index) = indexed();
    let place = at(fake.address(), "team/web:1").to_string();
    let opened = opened(&place, "linux/amd64").unwrap();
    assert_eq!(opened.named, Descriptor::of(MediaType::OCI_INDEX, &index));
    assert_eq!(opened.image.manifest_bytes, image.manifest);
    let inspected = Inspected::new(&opened);
    let offered: Vec<String> = inspected.offered.iter().map(|(platform, _)| platform.to_string()).collect();
    assert_eq!(offered, ["linux/arm64", "linux/amd64"]);
    assert_eq!(inspected.to_json()["digest"], Digest::of(&index).to_string());
    assert_eq!(inspected.to_json()["platforms"][1]["digest"], Digest::of(&image.manifest).to_string());
    assert_eq!(inspected.to_json()["config"]["config"]["Cmd"], serde_json::json!(["/hello"]));
    let text = inspected.to_text();
    for line in [
        format!("Image        {place}\n"),
        format!("Digest       {}\n", Digest::of(&index)),
        "Platform     linux/amd64\n".to_owned(),
        "Size         1.0 KiB in 1 layers\n".to_owned(),
        "Cmd          [\"/hello\"]\n".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} in\n{text}");
    }
    // Neither layer nor the other platform was asked for.
    assert_eq!(fake.lines().len(), 3);
}

#[test]
fn a_platform_that_is_not_there_is_told_with_those_that_are() {
    let (fake, _, _) = indexed();
    let error = opened(&at(fake.address(), "team/web:1").to_string(), "linux/s390x").unwrap_err();
    let OpenError::Platform { source, .. } = error else { panic!("{error:?}") };
    assert_eq!(source.to_string(), "there is no image for `linux/s390x`; there is one for: `linux/amd64`, `linux/arm64`");
}

/// The image of a registry, written by skopeo as another kind.
fn skopeo(real: &RealRegistry, target: &str) {
    run("skopeo", &["copy", "--src-tls-verify=false", &format!("docker://{}/team/web:1", real.address), target]);
}

#[test]
fn layouts_and_archives_of_skopeo_are_opened_validated_and_pushed() {
    let real = RealRegistry::start("", &[]);
    let registry = anonymous();
    let original = image(100_000);
    push_image(&registry, &at(real.address, "team/web:1"), &original).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    for (number, (place, has_manifest)) in [
        (format!("oci:{}:name", path("layout")), true),
        (format!("oci-archive:{}", path("layout.tar")), true),
        (format!("docker-archive:{}:localhost/team/web:1", path("saved.tar")), false),
    ]
    .into_iter()
    .enumerate()
    {
        skopeo(&real, &place);
        let opened = opened(&place, "linux/amd64").unwrap_or_else(|error| panic!("{place}: {error:?}"));
        // Compressed on the way, but the same image.
        assert_eq!(opened.image.config_bytes, original.blobs[1].1, "{place}");
        assert_eq!(opened.config.rootfs.diff_ids, [Digest::of(&original.blobs[0].1).to_string()]);
        let mut layer = Vec::new();
        let blob = opened.image.layers[0].descriptor.digest;
        Blobs::open(&opened, &blob).unwrap().unwrap().read_to_end(&mut layer).unwrap();
        assert_eq!(Digest::of(&layer), blob, "{place}");
        if has_manifest {
            assert_eq!(validate(&opened.image.manifest, &opened).iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
        }
        let tag = at(real.address, &format!("copies/web{number}:1"));
        push(&opened.image, std::slice::from_ref(&tag), NonZeroUsize::MIN, &opened, &registry, &Silent, &Cancel::new()).unwrap();
        run("skopeo", &["inspect", "--tls-verify=false", &format!("docker://{tag}")]);
    }
}

#[test]
fn several_images_in_one_layout_are_told_apart_by_name() {
    let real = RealRegistry::start("", &[]);
    push_image(&anonymous(), &at(real.address, "team/web:1"), &image(10)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let layout = format!("oci:{}", directory.path().join("layout").display());
    skopeo(&real, &format!("{layout}:one"));
    push_image(&anonymous(), &at(real.address, "team/web:1"), &image(20)).unwrap();
    skopeo(&real, &format!("{layout}:two"));
    assert_eq!(opened(&format!("{layout}:two"), "linux/amd64").unwrap().image.config_bytes, image(20).blobs[1].1);
    for place in [layout.clone(), format!("{layout}:three")] {
        let error = opened(&place, "linux/amd64").unwrap_err();
        assert!(matches!(&error, OpenError::Which { available, .. } if *available == ["one", "two"]), "{error:?}");
    }
}

#[test]
fn a_damaged_layout_is_not_believed() {
    let real = RealRegistry::start("", &[]);
    let original = image(10);
    push_image(&anonymous(), &at(real.address, "team/web:1"), &original).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let place = format!("oci:{}:x", directory.path().display());
    skopeo(&real, &place);
    let blob = directory.path().join("blobs/sha256").join(original.blobs[1].0.digest.hex());
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[0] = b' ';
    std::fs::write(&blob, bytes).unwrap();
    assert!(matches!(opened(&place, "linux/amd64"), Err(OpenError::Damaged { .. })));
    std::fs::remove_file(&blob).unwrap();
    assert!(matches!(opened(&place, "linux/amd64"), Err(OpenError::Unreadable { .. })));
}

#[test]
fn a_layer_that_docker_save_links_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("saved.tar");
    let image = image(10);
    let (layer, config) = (&image.blobs[0].1, &image.blobs[1].1);
    let manifest = br#"[{"Config":"c.json","RepoTags":["web:1"],"Layers":["b/layer.tar"]}]"#;
    let mut archive = tar::Builder::new(std::fs::File::create(&path).unwrap());
    let mut put = |name: &str, bytes: &[u8], link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        match link {
            Some(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                archive.append_link(&mut header, name, target).unwrap();
            }
            None => archive.append_data(&mut header, name, bytes).unwrap(),
        }
    };
    put("a/layer.tar", layer, None);
    put("b/layer.tar", b"", Some("../a/layer.tar"));
    put("c.json", config, None);
    put("manifest.json", manifest, None);
    archive.into_inner().unwrap();
    for name in ["", ":web:1", ":docker.io/library/web:1"] {
        let opened = opened(&format!("docker-archive:{}{name}", path.display()), "linux/amd64").unwrap();
        assert_eq!(opened.image.platform, amd64());
        assert_eq!(opened.image.layers[0].descriptor.digest, Digest::of(layer));
        assert_eq!(opened.image.layers[0].descriptor.size, layer.len() as u64);
    }
    let which = opened(&format!("docker-archive:{}:other", path.display()), "linux/amd64").unwrap_err();
    assert!(matches!(which, OpenError::Which { .. }), "{which:?}");
}

#[test]
fn what_is_no_archive_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    for bytes in [&b""[..], b"text", &[0; 10], &[b'x'; 4096]] {
        std::fs::write(&path, bytes).unwrap();
        for kind in ["oci-archive", "docker-archive"] {
            let error = opened(&format!("{kind}:{}", path.display()), "linux/amd64").unwrap_err();
            assert!(matches!(error, OpenError::Unreadable { .. }), "{error:?}");
        }
    }
    assert!(matches!(opened(&format!("oci:{}", path.display()), "linux/amd64"), Err(OpenError::Unreadable { .. })));
}

#[test]
fn control_characters_of_an_image_do_not_reach_the_terminal() {
    let (fake, _, _) = indexed();
    let mut opened = opened(&at(fake.address(), "team/web:1").to_string(), "linux/amd64").unwrap();
    opened.config.author = Some("evil\u{1b}[2J\nDigest sha256:0".to_owned());
    opened.config.config.env = Some(vec!["A=\u{9b}x é".to_owned()]);
    let text = Inspected::new(&opened).to_text();
    assert!(text.contains("evil\\u{1b}[2J\\nDigest") && text.contains("A=\\u{9b}x é"), "{text}");
}
