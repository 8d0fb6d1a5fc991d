//! Base images whose documents lie: configs, manifests and indexes from layouts and from registries.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;

use lapstrake::cache::Digest;
use serde_json::{Value, json};

use crate::hostile::outside::Outside;
use crate::hostile::raw::Raw;
use crate::hostile::rungs::{Rung, said};
use crate::lab::{Lab, Ran};

/// An image layout on disk.
struct Layout<'l> {
    directory: &'l Path,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Layout<'_> {
    fn new(directory: &Path) -> Layout<'_> {
        std::fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
        std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Layout { directory }
    }

    /// A blob and what describes it.
    fn put(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        std::fs::write(self.directory.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    }

    fn put_json(&self, media_type: &str, document: &Value) -> Value {
        self.put(media_type, document.to_string().as_bytes())
    }

    fn index(&self, manifests: &[Value]) {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        std::fs::write(self.directory.join("index.json"), index.to_string()).unwrap();
    }

    /// An image of one layer, changed before it is written.
    fn image(&self, tar: &[u8], change: impl FnOnce(&mut Value, &mut Value)) {
        let layer = self.put("application/vnd.oci.image.layer.v1.tar", tar);
        let mut config = json!({
            "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"), "os": "linux",
            "config": { "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [Digest::of(tar).to_string()] },
        });
        let mut manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "layers": [layer] });
        change(&mut config, &mut manifest);
        if manifest.get("config").is_none() {
            manifest["config"] = self.put_json("application/vnd.oci.image.config.v1+json", &config);
        }
        let descriptor = self.put_json(MANIFEST, &manifest);
        self.index(&[descriptor]);
    }
}

/// A build on the layout `base` of a lab, with this step.
fn build(lab: &Lab, rung: Rung, steps: &str) -> Ran {
    let spec = format!("spec = 1\n[stages.app]\nfrom = \"oci:../base\"\n{steps}\n[images.web]\nstage = \"app\"\n");
    let project = lab.files("project", &[("lapstrake.toml", &spec)]);
    rung.build(lab, &project, &[])
}

/// What a base is made of, but for its one layer.
type Change = fn(&mut Value, &mut Value);

fn assert_refused(cases: &[(&str, Change, &str)]) {
    let outside = Outside::plant();
    for (name, change, word) in cases {
        let lab = Lab::new();
        Layout::new(&lab.path("base")).image(crate::project::busybox(), change);
        let ran = build(&lab, Rung::Root, "steps = [{ run = \"true\" }]");
        assert!(matches!(ran.code, Some(2 | 3)), "{name}: {ran:#?}");
        assert!(ran.err.contains(word), "{name}: expected `{word}` in {}", ran.err);
        outside.assert_unreached(name);
        lab.verify();
    }
}

fn digest_of(value: &Value) -> String {
    Digest::of(value.to_string().as_bytes()).to_string()
}

#[test]
fn documents_that_could_be_two_things_are_refused() {
    assert_refused(&[
        ("layers and manifests, CVE-2021-41190", |_, manifest| manifest["manifests"] = json!([]), "two readers could take it"),
        ("layers in other letters", |_, manifest| manifest["Layers"] = json!([]), "two readers could take it"),
        ("a manifest that claims to be an index", |_, manifest| manifest["mediaType"] = json!(INDEX), INDEX),
        ("a manifest of no version", |_, manifest| manifest["schemaVersion"] = json!(1), "schemaVersion"),
        ("another number of diff ids", |config, _| config["rootfs"]["diff_ids"] = json!([]), "do not belong together"),
        ("a root file system of another kind", |config, _| config["rootfs"]["type"] = json!("squashfs"), "squashfs"),
    ]);
}

#[test]
fn bytes_that_are_not_what_their_digest_says_are_refused() {
    assert_refused(&[
        ("another layer", |_, manifest| manifest["layers"][0]["digest"] = json!(digest_of(&json!("x"))), "No such file"),
        ("another size", |_, manifest| manifest["layers"][0]["size"] = json!(17), "17"),
        ("a negative size", |_, manifest| manifest["layers"][0]["size"] = json!(-1), "the manifest cannot be read"),
        ("a size beyond all numbers", |_, manifest| manifest["layers"][0]["size"] = json!(u64::MAX), "which cannot be"),
        ("another diff id", |config, _| config["rootfs"]["diff_ids"] = json!([digest_of(&json!("x"))]), "diff id"),
        (
            "a digest that climbs",
            |_, manifest| manifest["layers"][0]["digest"] = json!("sha256:../../../../../../etc/passwd"),
            "cannot be read",
        ),
        ("an algorithm of the attacker's", |_, manifest| manifest["layers"][0]["digest"] = json!("none:aaaa"), "cannot be read"),
        (
            "a config of a terabyte",
            |_, manifest| {
                let digest = digest_of(&json!("x"));
                manifest["config"] =
                    json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": 1_u64 << 40 });
            },
            "more than the 8388608 that one may have",
        ),
    ]);
}

#[test]
fn blobs_that_are_swapped_in_a_layout_are_refused() {
    for (name, swap) in [("other bytes", b"other bytes".to_vec()), ("more bytes", vec![0; 9 << 20])] {
        let lab = Lab::new();
        let layout = Layout::new(&lab.path("base").clone()).directory.to_path_buf();
        Layout::new(&layout).image(crate::project::busybox(), |_, _| {});
        for blob in std::fs::read_dir(layout.join("blobs/sha256")).unwrap() {
            std::fs::write(blob.unwrap().path(), &swap).unwrap();
        }
        let ran = build(&lab, Rung::Root, "steps = [{ run = \"true\" }]");
        assert_eq!(ran.code, Some(3), "{name}: {ran:#?}");
        lab.verify();
    }
}

/// A pipe has no end, and a file of holes a late one.
#[test]
fn layouts_of_pipes_and_of_endless_files_are_refused_at_once() {
    let lab = Lab::new();
    let layout = lab.path("base");
    Layout::new(&layout).image(crate::project::busybox(), |_, _| {});
    let blobs: Vec<_> = std::fs::read_dir(layout.join("blobs/sha256")).unwrap().map(|blob| blob.unwrap().path()).collect();
    for blob in &blobs {
        std::fs::File::options().write(true).open(blob).unwrap().set_len(1 << 40).unwrap();
    }
    let ran = build(&lab, Rung::Root, "steps = [{ run = \"true\" }]");
    assert_eq!(ran.code, Some(3), "{ran:#?}");
    for blob in &blobs {
        std::fs::remove_file(blob).unwrap();
        crate::real::run("mkfifo", &[blob.to_str().unwrap()]);
    }
    let ran = build(&lab, Rung::Root, "steps = [{ run = \"true\" }]");
    assert_eq!(ran.code, Some(3), "{ran:#?}");
    assert!(ran.err.contains("no regular file"), "{}", ran.err);
    std::fs::remove_file(layout.join("index.json")).unwrap();
    crate::real::run("mkfifo", &[layout.join("index.json").to_str().unwrap()]);
    let ran = build(&lab, Rung::Root, "steps = [{ run = \"true\" }]");
    assert_eq!(ran.code, Some(3), "{ran:#?}");
    lab.verify();
}

#[test]
fn a_base_that_is_a_pipe_is_refused_at_once() {
    let lab = Lab::new();
    let spec = "spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\nsteps = [{ mkdir = \"/a\" }]\n[images.web]\nstage = \"app\"\n";
    let project = lab.files("project", &[("lapstrake.toml", spec)]);
    crate::real::run("mkfifo", &[project.join("base.tar").to_str().unwrap()]);
    assert!(lab.fail(3, &project, &[]).contains("no regular file"));
}

#[test]
fn documents_of_a_million_parts_are_refused_or_read_in_bounded_time() {
    let many = |value: Value, count: usize| Value::Array(vec![value; count]);
    let lab = Lab::new();
    Layout::new(&lab.path("base")).image(crate::project::busybox(), |_, manifest| {
        manifest["layers"] = many(manifest["layers"][0].clone(), 2000);
    });
    let ran = build(&lab, Rung::Root, "");
    assert!(ran.err.contains("2000 layers, more than the 1024"), "{ran:#?}");
    let lab = Lab::new();
    Layout::new(&lab.path("base")).image(crate::project::busybox(), |_, manifest| {
        manifest["annotations"] = Value::Object((0..1_000_000).map(|number| (format!("{number}"), json!(""))).collect());
    });
    let ran = build(&lab, Rung::Root, "");
    assert!(ran.err.contains("more than the 4194304 that one may have") || ran.code == Some(3), "{ran:#?}");
    let lab = Lab::new();
    Layout::new(&lab.path("base")).image(crate::project::busybox(), |config, _| {
        config["config"]["Env"] = Value::Array((0..1_000_000).map(|number| json!(format!("V{number}="))).collect());
    });
    let ran = build(&lab, Rung::Root, "");
    assert!(ran.err.contains("more than the 8388608 that one may have"), "{ran:#?}");
}

#[test]
fn documents_nested_without_end_are_refused() {
    for depth in [200, 100_000] {
        let lab = Lab::new();
        let layout_path = lab.path("base");
        let layout = Layout::new(&layout_path);
        let deep = format!("{{\"schemaVersion\":2,\"layers\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let descriptor = layout.put(MANIFEST, deep.as_bytes());
        layout.index(&[descriptor]);
        let ran = build(&lab, Rung::Root, "");
        assert_eq!(ran.code, Some(3), "{ran:#?}");
        assert!(ran.err.contains("recursion limit"), "{}", ran.err);
    }
}

#[test]
fn an_index_that_leads_to_an_index_is_refused() {
    let lab = Lab::new();
    let layout_path = lab.path("base");
    let layout = Layout::new(&layout_path);
    let inner = layout.put_json(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }));
    let mut posing = inner.clone();
    posing["mediaType"] = json!(MANIFEST);
    for (name, of_index) in [("an index in an index", inner), ("one that is called a manifest", posing)] {
        let outer = layout.put_json(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [of_index] }));
        layout.index(&[outer]);
        let ran = build(&lab, Rung::Root, "");
        assert_eq!(ran.code, Some(3), "{name}: {ran:#?}");
        assert!(ran.err.contains("the manifest cannot be read") || ran.err.contains("but is called"), "{name}: {}", ran.err);
    }
}

#[test]
fn what_a_config_says_of_working_directories_stays_inside() {
    let outside = Outside::plant();
    for directory in
        ["/proc/self/fd/3", "/proc/self/fd/9", "/proc/1/cwd", "/proc/1/root/tmp", "/proc/self/cwd/../../..", "../../../../tmp", "/dev/fd/7"]
    {
        for rung in Rung::SEPARATE {
            let lab = Lab::new();
            Layout::new(&lab.path("base")).image(crate::project::busybox(), |config, _| config["config"]["WorkingDir"] = json!(directory));
            let steps = format!(
                "steps = [{{ run = \"ls . .. ../..; ls -d {}; cat file ../file ../../file 2>/dev/null || true\" }}]",
                outside.text()
            );
            let ran = build(&lab, rung, &steps);
            assert!(!ran.err.contains(crate::hostile::outside::CANARY), "{directory}, {rung:?}: {}", ran.err);
            assert!(!said(&ran).contains(&outside.text()), "{directory}, {rung:?}: {}", ran.err);
            assert!(matches!(ran.code, Some(0..=3)), "{directory}, {rung:?}: {ran:#?}");
            outside.assert_unreached(directory);
        }
    }
}

#[test]
fn a_working_directory_that_is_a_link_stays_inside() {
    let outside = Outside::plant();
    let mut tar = crate::project::busybox().to_vec();
    tar.truncate(tar.len() - 1024);
    let tar = [tar, Raw::default().symlink("way", outside.text()).end()].concat();
    for rung in Rung::ALL {
        let lab = Lab::new();
        Layout::new(&lab.path("base")).image(&tar, |config, _| config["config"]["WorkingDir"] = json!("/way"));
        let ran = build(&lab, rung, "steps = [{ run = \"pwd; ls; cat file; echo made > made\" }]");
        assert!(!ran.err.contains(crate::hostile::outside::CANARY), "{rung:?}: {}", ran.err);
        outside.assert_unreached("a working directory that is a link");
    }
}

#[test]
fn environments_that_are_none_change_nothing_around_them() {
    let lab = Lab::new();
    Layout::new(&lab.path("base")).image(crate::project::busybox(), |config, _| {
        config["config"]["Env"] = json!(["PATH=/bin", "NOVALUE", "=nameless", "", "LD_PRELOAD=/evil.so", "A=1", "A=2"]);
    });
    let ran = build(&lab, Rung::Root, "steps = [{ run = \"env\" }]");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let lines = said(&ran);
    // What the image says is for its steps, never for the builder; the program would not have run with that library.
    assert!(lines.contains(&"LD_PRELOAD=/evil.so"), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("A=")).count(), 1, "{lines:?}");
    let builders = ["XDG_CONFIG_HOME", "LAPSTRAKE_HOME", "CARGO"];
    assert!(!lines.iter().any(|line| builders.iter().any(|name| line.starts_with(name))), "{lines:?}");
}

/// CVE-2024-9676 and its kin.
#[test]
fn account_files_without_end_are_refused() {
    let outside = Outside::plant();
    let mut tar = crate::project::busybox().to_vec();
    tar.truncate(tar.len() - 1024);
    let huge = (64_u64 << 20).to_string();
    let records: [(&str, &[u8]); 2] = [("GNU.sparse.size", huge.as_bytes()), ("GNU.sparse.map", b"0,1")];
    let file = outside.path("file");
    let passwd = |content: Raw| [tar.clone(), content.end()].concat();
    for (name, tar, word) in [
        ("a giant", passwd(Raw::default().pax(&records).file("etc/passwd", b"x")), "/etc/passwd"),
        ("a link out", passwd(Raw::default().symlink("etc/passwd", file.to_str().unwrap())), "evil"),
        ("a link to a device", passwd(Raw::default().symlink("etc/passwd", "/dev/zero")), "evil"),
        ("a pipe", passwd(Raw::default().block(crate::hostile::raw::Block::new(b'6', "etc/passwd"))), "evil"),
        ("a loop", passwd(Raw::default().symlink("etc/passwd", "passwd")), "/etc/passwd"),
    ] {
        let lab = Lab::new();
        Layout::new(&lab.path("base")).image(&tar, |config, _| config["config"]["User"] = json!("evil"));
        let ran = build(&lab, Rung::Root, "steps = [{ run = \"id\" }]");
        assert!(matches!(ran.code, Some(1..=3)), "{name}: {ran:#?}");
        assert!(ran.err.contains(word), "{name}: {}", ran.err);
        outside.assert_unreached(name);
    }
}

#[test]
fn instructions_for_whoever_builds_on_it_are_not_carried_out_unasked() {
    let outside = Outside::plant();
    let lab = Lab::new();
    Layout::new(&lab.path("base")).image(crate::project::busybox(), |config, _| {
        config["config"]["OnBuild"] = json!(["RUN echo carried out", "COPY / /stolen", "ADD http://127.0.0.1:1/x /x"]);
    });
    let ran = build(&lab, Rung::Root, "steps = [{ run = \"ls -d /stolen 2> /dev/null || echo nothing was stolen\" }]");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(said(&ran).last(), Some(&"nothing was stolen"), "{}", ran.err);
    assert!(!said(&ran).contains(&"carried out"));
    assert!(ran.err.contains("ONBUILD"), "they are told of: {}", ran.err);
    outside.assert_unreached("instructions of a base");
}

/// A registry that says whatever it likes, to everybody.
#[test]
fn what_a_registry_serves_is_compared_with_what_it_was_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(&json!("a")), "size": 7 },
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let line = lines.next().unwrap_or_default();
            while lines.next().is_some_and(|line| !line.is_empty()) {}
            let body = if line.contains("/manifests/") { manifest.to_string() } else { "{\"a\":1}".to_owned() };
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {MANIFEST}\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        }
    });
    for (reference, word) in [
        // Asked for by digest: the manifest is another.
        (format!("{address}/a/b@sha256:{}", "0".repeat(64)), "0".repeat(64)),
        // Asked for by tag: the config is not what the manifest says.
        (format!("{address}/a/b:1"), digest_of(&json!("a"))),
    ] {
        let lab = Lab::new();
        let spec =
            format!("spec = 1\n[stages.app]\nfrom = \"{reference}\"\nsteps = [{{ mkdir = \"/a\" }}]\n[images.web]\nstage = \"app\"\n");
        let project = lab.files("project", &[("lapstrake.toml", &spec)]);
        let said = lab.fail(3, &project, &[]);
        assert!(said.contains(&word[word.len() - 12..]) || said.contains("digest"), "{reference}: {said}");
        lab.verify();
    }
}
