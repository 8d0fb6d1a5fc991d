//! What a Compose file is converted to makes the images that it makes itself. Dockerfiles are held to that by `tests/conformance`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::{Built, Lab, Ran, write};

/// The cases of `tests/suite/compose` that need nothing of a platform other than this machine's, with what else they want.
const CASES: [(&str, &[(&str, &str)]); 6] = [
    ("anchors", &[("Dockerfile", "FROM scratch\nARG A\nCOPY kept /$A\n"), ("kept", "kept\n")]),
    ("contexts", &[("shared/a", "a\n"), ("assets/logo", "logo\n")]),
    ("extends", &[("app/file", "file\n")]),
    ("profiles", &[]),
    ("short", &[("web/start", "start\n"), ("web/.dockerignore", "Dockerfile\n")]),
    ("variables", &[]),
];

/// A case in a place of its own, and the words that every build of it needs.
fn prepare(lab: &Lab, name: &str, more: &[(&str, &str)]) -> (PathBuf, Vec<String>) {
    let case = lab.path(name);
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/compose").join(name), &case);
    for (path, text) in more {
        write(&case.join(path), text);
    }
    let layout = lab.path("layout");
    if !layout.exists() {
        let base = lab.project("spec = 1\nstages.base.from = \"tar:base.tar\"\nimages.base = { stage = \"base\", cmd = [\"sh\"] }\n", &[]);
        lab.build(&base, &["-o", &format!("oci:{}:1.0", layout.display())]);
    }
    copy(&layout, &case.join("layouts/base"));
    let replaced = ["docker.io/library/debian:12", "docker.io/library/busybox:1"];
    let words =
        replaced.into_iter().flat_map(|image| ["--build-context".to_owned(), format!("{image}=oci-layout://{}:1.0", layout.display())]);
    (case, words.collect())
}

fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Runs it with the variable that a case asks for.
fn build(lab: &Lab, spec: &Path, words: &[String]) -> Built {
    let metadata = lab.path("metadata.json");
    let mut command = lab.command(&["build", spec.to_str().unwrap(), "--metadata-file", metadata.to_str().unwrap()]);
    command.args(words).env("TAG", "2.0");
    Built::of(Ran::of(&mut command), &metadata)
}

fn digests(built: &Built) -> BTreeMap<String, String> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    built.images().iter().map(|image| (text(&image["name"]), text(&image["digest"]))).collect()
}

fn outputs(lab: &Lab, place: &str, images: &BTreeMap<String, String>) -> Vec<String> {
    images.keys().flat_map(|image| ["-o".to_owned(), format!("{image}=oci:{}", lab.path(place).join(image).display())]).collect()
}

#[test]
fn what_a_compose_file_is_converted_to_makes_the_same_images() {
    let same = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/same.py");
    for (name, more) in CASES {
        let lab = Lab::new();
        let (case, words) = prepare(&lab, name, more);
        let compose = case.join("compose.yaml");
        let images = digests(&build(&lab, &compose, &words));
        assert!(!images.is_empty(), "{name}");
        build(&lab, &compose, &[words.clone(), outputs(&lab, "itself", &images)].concat());
        for (manner, option) in [("exact", Some("--exact")), ("idiomatic", None)] {
            // In another directory, from where every path is another.
            let spec = case.join("converted").join(manner).join("lapstrake.toml");
            write(&spec.with_file_name("beside"), "");
            let mut command = lab.command(&["convert", compose.to_str().unwrap(), "-o", spec.to_str().unwrap()]);
            let ran = Ran::of(command.args(option).env("TAG", "2.0"));
            assert_eq!(ran.code, Some(0), "{name}: {ran:#?}");
            let built = build(&lab, &spec, &[words.clone(), outputs(&lab, manner, &images)].concat());
            assert_eq!(images.keys().collect::<Vec<_>>(), digests(&built).keys().collect::<Vec<_>>(), "{name}, {manner}");
            for image in images.keys() {
                let layouts = ["itself", manner].map(|place| lab.path(place).join(image));
                let compared = Command::new("python3").arg("-B").arg(&same).args(option).args(layouts).output().unwrap();
                let text = String::from_utf8_lossy(&compared.stdout).into_owned() + &String::from_utf8_lossy(&compared.stderr);
                assert!(compared.status.success(), "{name}: {image}, {manner}\n{text}");
            }
        }
    }
}

#[test]
fn what_a_spec_does_not_hold_is_said_when_a_compose_file_is_converted() {
    let lab = Lab::new();
    let compose = "\
services:
  web:
    build:
      dockerfile_inline: |
        FROM scratch
        RUN --mount=type=secret,id=token --mount=type=secret,id=key [\"/true\"]
      secrets: [token, key]
  db: {image: postgres}
secrets:
  token: {environment: TOKEN}
  key: {file: ./keys/key.pem}
";
    let directory = lab.files("project", &[("compose.yaml", compose)]);
    let ran = lab.run(&["convert", directory.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let key = directory.join("keys/key.pem");
    for words in ["`db` is not built", &format!("`--secret id=key,src={} --secret id=token,env=TOKEN`", key.display())] {
        assert!(ran.err.contains(words), "{words}: {ran:#?}");
    }
}
