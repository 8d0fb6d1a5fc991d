//! Other programs: they read what we write, and we read what they wrote.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::{Lab, as_root};
use crate::project;
use crate::real::{RealRegistry, run};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn skopeo_copies_and_umoci_unpacks_what_is_written() {
    let _web = project::whole_web();
    let lab = Lab::new();
    let directory = lab.path("project");
    project::whole(&directory);
    let layout = lab.path("layout");
    let outputs: Vec<String> = ["gzip", "zstd", "plain"]
        .iter()
        .flat_map(|name| ["--output".to_owned(), format!("{name}=oci:{}:{name}", layout.display())])
        .collect();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let archive = format!("docker=docker-archive:{}", lab.path("archive.tar").display());
    lab.build(&directory, &[&outputs[..], &["--output", &archive]].concat());
    for name in ["gzip", "zstd", "plain"] {
        let from = format!("oci:{}:{name}", layout.display());
        run("skopeo", &["copy", "--quiet", &from, &format!("dir:{}", lab.path(name).display())]);
    }
    run(
        "skopeo",
        &[
            "copy",
            "--quiet",
            &format!("docker-archive:{}", lab.path("archive.tar").display()),
            &format!("dir:{}", lab.path("docker").display()),
        ],
    );
    // umoci of Debian knows no zstd.
    for name in ["gzip", "plain"] {
        let bundle = lab.path(&format!("bundle-{name}"));
        as_root("umoci", &["unpack", "--image", &format!("{}:{name}", layout.display()), text(&bundle)]);
        let rootfs = lab.path(&format!("rootfs-{name}"));
        lab.build(&directory, &["--image", name, "--output", &format!("rootfs:{}", rootfs.display())]);
        assert_eq!(listing(&bundle.join("rootfs")), listing(&rootfs), "{name}");
    }
}

/// Everything in a directory: names, kinds, modes, owners, sizes, times, targets.
fn listing(directory: &Path) -> String {
    let script =
        "cd \"$1\" && find . -mindepth 1 -printf '%P %y %#m %U:%G %n %T@ %l %s\\n' | sed -E 's/^(.* d .*) [0-9]+$/\\1/' | LC_ALL=C sort";
    let output = run("sh", &["-c", script, "sh", text(directory)]);
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(listing.lines().count() > 10, "{listing}");
    listing
}

/// A base with what is hard to read: a removed file, a removed directory, a directory put in place of another, hard links across layers.
fn buildah_base(lab: &Lab, registry: &RealRegistry, format: &str) -> String {
    let context = lab.files("buildah", &[("Dockerfile", DOCKERFILE)]);
    std::fs::write(context.join("base.tar"), project::busybox()).unwrap();
    let storage = lab.path("containers");
    let options = ["--root", text(&storage.join("root")), "--runroot", text(&storage.join("run"))].map(str::to_owned);
    let reference = format!("{}/team/base:{format}", registry.address);
    let buildah = |arguments: &[&str]| {
        let mut command = Command::new("buildah");
        command.args(&options).args(arguments).env("STORAGE_DRIVER", "overlay");
        let output = command.output().expect("these tests need `buildah`: install Debian's package of that name");
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    };
    buildah(&["build", "--isolation", "chroot", "--layers", "--format", format, "--tag", &reference, text(&context)]);
    buildah(&["push", "--tls-verify=false", &reference]);
    reference
}

const DOCKERFILE: &str = r#"FROM scratch
ADD base.tar /
ENV FROM_BASE=yes
LABEL from.base=yes
WORKDIR /work
RUN mkdir -p /gone/deep /swapped && echo a > /gone/deep/a && echo b > /swapped/before && echo one > /linked && ln /linked /second && echo x > /file
RUN rm -rf /gone && rm /file && rm -rf /swapped && mkdir /swapped && echo after > /swapped/after && ln /linked /third && mkdir /gone && echo new > /gone/new
CMD ["/bin/sh"]
"#;

#[test]
fn bases_of_buildah_are_read_with_their_whiteouts_and_hard_links() {
    let registry = RealRegistry::start("", &[]);
    for format in ["oci", "docker"] {
        let lab = Lab::new();
        let base = buildah_base(&lab, &registry, format);
        let spec = format!(
            r#"
spec = 1
[stages.app]
from = "{base}"
[[stages.app.steps]]
run = """
ls / > /seen; ls /gone /swapped >> /seen; stat -c '%n %h' /linked /second >> /seen; cat /third /gone/new /swapped/after >> /seen
pwd >> /seen; echo $FROM_BASE >> /seen
"""
[images.web]
stage = "app"
"#
        );
        let project: PathBuf = lab.files("on-base", &[("lapstrake.toml", &spec)]);
        let rootfs = lab.path("rootfs");
        let built = lab.build(&project, &["--output", &format!("rootfs:{}", rootfs.display())]);
        let seen = std::fs::read_to_string(rootfs.join("seen")).unwrap();
        let expected = "/gone:\nnew\n\n/swapped:\nafter\n/linked 2\n/second 2\none\nnew\nafter\n/work\nyes\n";
        assert!(seen.ends_with(expected), "{seen}");
        assert!(!seen.contains("file\n"), "{seen}");
        // (The second layer has `linked` and `third`, with which `second` in the first has no more to do: so says its tar.)
        // The base's layers are the blobs that were pushed.
        let manifest = run("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{base}")]).stdout;
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let below: Vec<&str> = manifest["layers"].as_array().unwrap().iter().map(|layer| layer["digest"].as_str().unwrap()).collect();
        assert_eq!(built.layers()[..below.len()], below);
        assert_eq!(built.layers().len(), below.len() + 1);
        as_root("rm", &["-rf", text(&lab.path("containers"))]);
    }
}
