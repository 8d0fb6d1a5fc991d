use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use lapstrake_cache::Digest;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const CONFIGS: [(&str, &[u8]); 4] = [
    ("docker", include_bytes!("../../tests/suite/image/config-docker-classic.json")),
    ("buildah, oci", include_bytes!("../../tests/suite/image/config-buildah-oci.json")),
    ("buildah, docker", include_bytes!("../../tests/suite/image/config-buildah-docker.json")),
    ("unknown fields", include_bytes!("../../tests/suite/image/config-unknown-fields.json")),
];

const MANIFESTS: [&[u8]; 2] = [
    include_bytes!("../../tests/suite/image/manifest-buildah-oci.json"),
    include_bytes!("../../tests/suite/image/manifest-buildah-docker.json"),
];

/// Drops what Go's `omitempty` drops, wherever it stands, so that documents compare by meaning.
fn pruned(value: Value) -> Value {
    let empty = |value: &Value| {
        value.is_null()
            || value == &json!("")
            || value == &json!(0)
            || value == &json!(false)
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(serde_json::Map::is_empty)
    };
    match value {
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, pruned(value))).filter(|(_, value)| !empty(value)).collect(),
        Value::Array(items) => Value::Array(items.into_iter().map(pruned).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn meaning(bytes: &[u8]) -> Value {
    pruned(serde_json::from_slice(bytes).unwrap())
}

#[test]
fn nothing_of_a_config_that_others_made_is_lost() {
    for (maker, bytes) in CONFIGS {
        let written = ImageConfig::parse(bytes).unwrap().to_bytes();
        assert_eq!(meaning(&written), meaning(bytes), "{maker}");
    }
}

#[test]
fn canonical_bytes_are_read_and_written_as_the_same_bytes() {
    for (maker, bytes) in CONFIGS {
        let written = ImageConfig::parse(bytes).unwrap().to_bytes();
        assert_eq!(ImageConfig::parse(&written).unwrap().to_bytes(), written, "{maker}");
    }
    for bytes in MANIFESTS {
        let manifest = Manifest::parse(bytes, None).unwrap();
        assert_eq!(meaning(&manifest.to_bytes()), meaning(bytes));
        assert_eq!(Manifest::parse(&manifest.to_bytes(), None).unwrap(), manifest);
    }
}

#[test]
fn fields_stand_in_the_order_of_the_go_structs_and_unknown_ones_after_them() {
    let config = ImageConfig::parse(CONFIGS[3].1).unwrap();
    assert_eq!(
        String::from_utf8(config.to_bytes()).unwrap(),
        concat!(
            r#"{"created":"2023-05-01T12:00:00Z","author":"A <a@example.com>","architecture":"arm","os":"linux","variant":"v7","#,
            r#""config":{"Env":["PATH=/bin"],"Cmd":["cmd"],"Labels":{"a":"é"#,
            "\u{2028}",
            r#"","b":"<b>"},"Healthcheck":{"Test":["CMD-SHELL","curl -f http://localhost/ || exit 1"],"Interval":5000000000,"#,
            r#""Timeout":3000000000,"StartPeriod":1000000000,"StartInterval":500000000,"Retries":5},"Shell":["powershell","-Command"],"#,
            r#""ArgsEscaped":true,"StopTimeout":10},"rootfs":{"type":"layers","diff_ids":[]},"#,
            r#""history":[{"created":"2023-05-01T12:00:00Z","created_by":"RUN /bin/sh -c true # buildkit","#,
            r#""comment":"buildkit.dockerfile.v0","empty_layer":true,"x":{"y":[2.5,null],"z":1}}],"#,
            r#""moby.buildkit.buildinfo.v1":"e30=","moby.buildkit.cache.v0":"e30=","os.features":["win32k"],"#,
            r#""os.version":"10.0.14393.1066"}"#
        )
    );
}

#[test]
fn a_field_without_a_value_is_the_same_as_no_field() {
    let config = |config: Config| ImageConfig { config, ..ImageConfig::default() }.to_bytes();
    let empty = Config {
        user: Some(String::new()),
        exposed_ports: Some(BTreeMap::new()),
        entrypoint: Some(Vec::new()),
        labels: Some(BTreeMap::new()),
        ..Config::default()
    };
    assert_eq!(config(empty), config(Config::default()));
}

fn manifest() -> Value {
    serde_json::from_slice(MANIFESTS[0]).unwrap()
}

#[test]
fn what_two_readers_could_take_for_two_things_is_refused() {
    type Damage = fn(&mut Value);
    type Expected = fn(&InvalidImage) -> bool;
    let cases: [(&str, Damage, Expected); 11] = [
        ("both kinds", |v| v["manifests"] = json!([]), |e| matches!(e, InvalidImage::Ambiguous { .. })),
        ("both kinds in other letters", |v| v["Manifests"] = json!([]), |e| matches!(e, InvalidImage::Ambiguous { .. })),
        ("schema 1 layers", |v| v["fsLayers"] = json!([]), |e| matches!(e, InvalidImage::Ambiguous { .. })),
        ("a second spelling", |v| v["LAYERS"] = json!([]), |e| matches!(e, InvalidImage::Ambiguous { .. })),
        ("called an index", |v| v["mediaType"] = MediaType::OCI_INDEX.into(), |e| matches!(e, InvalidImage::MediaType { .. })),
        ("called a layer", |v| v["mediaType"] = MediaType::OCI_LAYER.into(), |e| matches!(e, InvalidImage::MediaType { .. })),
        ("version 1", |v| v["schemaVersion"] = 1.into(), |e| matches!(e, InvalidImage::SchemaVersion { found: 1, .. })),
        ("negative size", |v| v["config"]["size"] = (-1).into(), |e| matches!(e, InvalidImage::Json { .. })),
        ("size beyond Go", |v| v["config"]["size"] = u64::MAX.into(), |e| matches!(e, InvalidImage::Size { .. })),
        ("a digest that is none", |v| v["config"]["digest"] = "sha256:1".into(), |e| matches!(e, InvalidImage::Json { .. })),
        (
            "too many layers",
            |v| v["layers"] = Value::Array(vec![v["config"].clone(); LAYER_LIMIT + 1]),
            |e| matches!(e, InvalidImage::TooManyLayers { .. }),
        ),
    ];
    for (name, damage, expected) in cases {
        let mut document = manifest();
        damage(&mut document);
        let error = Document::parse(&serde_json::to_vec(&document).unwrap(), None).expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
    }
    assert!(matches!(Document::parse(b"{}", None), Err(InvalidImage::Neither)));
    assert!(matches!(Document::parse(&[b' '; (4 << 20) + 1], None), Err(InvalidImage::TooLarge { .. })));
}

#[test]
fn a_document_is_what_it_was_served_as_or_refused() {
    let index = br#"{"schemaVersion":2,"manifests":[]}"#;
    assert!(matches!(Document::parse(index, None), Ok(Document::Index(_))));
    assert!(matches!(Document::parse(index, Some("application/json")), Ok(Document::Index(_))));
    assert!(matches!(Document::parse(index, Some(MediaType::OCI_MANIFEST)), Err(InvalidImage::MediaType { .. })));
    assert!(matches!(Document::parse(MANIFESTS[0], Some(MediaType::OCI_MANIFEST)), Ok(Document::Manifest(_))));
    // It says OCI of itself.
    assert!(matches!(Document::parse(MANIFESTS[0], Some(MediaType::DOCKER_MANIFEST)), Err(InvalidImage::MediaType { .. })));
}

#[test]
fn a_config_for_another_number_of_layers_is_refused() {
    let manifest = Manifest::parse(MANIFESTS[0], None).unwrap();
    let config = ImageConfig::parse(CONFIGS[0].1).unwrap();
    assert!(matches!(config.diff_ids_for(&manifest), Err(InvalidImage::LayerCount { layers: 1, diff_ids: 2 })));
    let foreign_root = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"windows","diff_ids":[]}}"#;
    assert!(matches!(ImageConfig::parse(foreign_root), Err(InvalidImage::RootFs(_))));
    let foreign_digest = br#"{"rootfs":{"type":"layers","diff_ids":["sha512:00"]}}"#;
    assert!(matches!(ImageConfig::parse(foreign_digest), Err(InvalidImage::DiffId(_))));
}

struct Memory(BTreeMap<Digest, Vec<u8>>);

impl Memory {
    fn put(&mut self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(media_type, &bytes);
        self.0.insert(descriptor.digest, bytes);
        descriptor
    }
}

impl Blobs for Memory {
    fn open(&self, digest: &Digest) -> io::Result<Option<Box<dyn Read + Send>>> {
        Ok(self.0.get(digest).map(|bytes| Box::new(io::Cursor::new(bytes.clone())) as Box<dyn Read + Send>))
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A good image of three layers, one of each encoding; the gzip layer has two members.
fn image() -> (Memory, Descriptor, Manifest, ImageConfig) {
    let mut blobs = Memory(BTreeMap::new());
    let tars: [&[u8]; 3] = [b"plain", b"gzipped", b"zstandard"];
    let mut members = gzip(b"gzip");
    members.extend(gzip(b"ped"));
    let layers = vec![
        blobs.put(MediaType::OCI_LAYER, tars[0].to_vec()),
        blobs.put(MediaType::OCI_LAYER_GZIP, members),
        blobs.put(MediaType::OCI_LAYER_ZSTD, zstd::encode_all(tars[2], 1).unwrap()),
    ];
    let config = ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        rootfs: RootFs { diff_ids: tars.iter().map(|tar| Digest::of(tar).to_string()).collect(), ..RootFs::default() },
        ..ImageConfig::default()
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MediaType::OCI_MANIFEST.to_owned()),
        config: blobs.put(MediaType::OCI_CONFIG, config.to_bytes()),
        layers,
        annotations: BTreeMap::new(),
        extra: BTreeMap::new(),
    };
    let descriptor = blobs.put(MediaType::OCI_MANIFEST, manifest.to_bytes());
    (blobs, descriptor, manifest, config)
}

fn violations(change: impl FnOnce(&mut Memory, &mut Manifest, &mut ImageConfig)) -> Vec<String> {
    let (mut blobs, _, mut manifest, mut config) = image();
    change(&mut blobs, &mut manifest, &mut config);
    let media_type = manifest.config.media_type.clone();
    manifest.config = blobs.put(&media_type, config.to_bytes());
    let descriptor = blobs.put(MediaType::OCI_MANIFEST, manifest.to_bytes());
    validate(&descriptor, &blobs).iter().map(|violation| violation.to_string().split('`').next().unwrap().trim().to_owned()).collect()
}

#[test]
fn a_good_image_violates_nothing() {
    assert_eq!(violations(|_, _, _| {}), Vec::<String>::new());
}

#[test]
fn every_claim_is_computed_anew() {
    assert_eq!(violations(|_, manifest, _| manifest.layers.swap(0, 1)), ["layer 0 has the diff id", "layer 1 has the diff id"]);
    assert_eq!(violations(|_, manifest, _| manifest.layers[2].size += 1).len(), 1);
    assert_eq!(violations(|_, _, config| config.history = vec![History::default()]), ["the history tells of 1 layers, and there are 3"]);
    assert_eq!(violations(|_, _, config| drop(config.rootfs.diff_ids.pop())).len(), 1);
    assert_eq!(violations(|_, manifest, _| manifest.layers[0].media_type = MediaType::DOCKER_LAYER.to_owned()).len(), 1);
    assert_eq!(violations(|_, manifest, _| manifest.layers[0].media_type = MediaType::OCI_CONFIG.to_owned()), ["layer 0 is called"]);
    assert_eq!(violations(|_, manifest, _| manifest.config.media_type = MediaType::OCI_LAYER.to_owned()), ["the config is called"]);
    assert_eq!(
        violations(|blobs, manifest, _| {
            blobs.0.remove(&manifest.layers[1].digest);
        })
        .len(),
        1
    );
    // A blob with other bytes: digest, and what follows from it.
    let other = violations(|blobs, manifest, _| {
        blobs.0.insert(manifest.layers[0].digest, b"other".to_vec());
    });
    assert_eq!(other, ["layer 0 has the diff id", ""]);
    let truncated = violations(|blobs, manifest, _| {
        blobs.0.get_mut(&manifest.layers[2].digest).unwrap().pop();
    });
    assert_eq!(truncated.len(), 3);
}

#[test]
fn a_manifest_with_other_bytes_is_not_looked_into() {
    let (mut blobs, descriptor, _, _) = image();
    blobs.0.insert(descriptor.digest, b"{}".to_vec());
    assert_eq!(validate(&descriptor, &blobs).len(), 2);
}

/// JSON that is near enough to a document to get past the first checks.
fn near_documents() -> impl Strategy<Value = Vec<u8>> {
    let documents: Vec<&[u8]> = CONFIGS.iter().map(|(_, bytes)| *bytes).chain(MANIFESTS).collect();
    (proptest::sample::select(documents), proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)).prop_map(
        |(document, damages)| {
            let mut bytes = document.to_vec();
            for (at, byte) in damages {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        },
    )
}

fn reference() -> impl Strategy<Value = String> {
    let registry = "([a-z0-9]{1,5}(-[a-z0-9]{1,3})?(\\.[a-z0-9]{1,4}){1,2}|localhost|127\\.0\\.0\\.1)(:[1-9][0-9]{1,3})?/|";
    let repository = "[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,4})?(/[a-z0-9]{1,5}){0,2}";
    let tag = "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,12})?";
    let digest = "(@sha256:[0-9a-f]{64})?";
    (registry, repository, tag, digest).prop_map(|(registry, repository, tag, digest)| format!("{registry}{repository}{tag}{digest}"))
}

proptest! {
    #[test]
    fn reading_never_panics(bytes in prop_oneof![near_documents(), proptest::collection::vec(any::<u8>(), 0..200)]) {
        if let Ok(document) = Document::parse(&bytes, None) {
            let written = match &document {
                Document::Manifest(manifest) => manifest.to_bytes(),
                Document::Index(index) => index.to_bytes(),
            };
            prop_assert_eq!(Document::parse(&written, None).unwrap(), document);
        }
        if let Ok(config) = ImageConfig::parse(&bytes) {
            let written = config.to_bytes();
            prop_assert_eq!(ImageConfig::parse(&written).unwrap().to_bytes(), written);
        }
    }

    #[test]
    fn a_reference_survives_its_text(text in reference()) {
        let reference: Reference = text.parse().unwrap();
        prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
    }

    #[test]
    fn any_text_is_a_reference_that_survives_or_none(text in ".{0,60}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }
        if let Ok(platform) = text.parse::<Platform>() {
            prop_assert_eq!(platform.to_string().parse::<Platform>().unwrap(), platform);
        }
    }
}
