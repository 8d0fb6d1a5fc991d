//! Other programs: they read what we write, and we read what they wrote.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::lab::{Lab, as_root};
use crate::project;
use crate::real::{RealRegistry, run};
use crate::waiting::until;

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

/// A builder of Dockerfiles, and the format that its base is to have.
#[derive(Debug, Clone, Copy)]
enum Builder {
    Buildah(&'static str),
    Podman(&'static str),
    Docker,
}

/// A base with what is hard to read: a removed file, a removed directory, a directory put in place of another, hard links across layers.
fn base_of(builder: Builder, lab: &Lab, registry: &RealRegistry) -> String {
    let context = lab.files("context", &[("Dockerfile", DOCKERFILE)]);
    std::fs::write(context.join("base.tar"), project::busybox()).unwrap();
    let name = format!("{builder:?}").to_lowercase().replace(|character: char| !character.is_ascii_alphanumeric(), "");
    let reference = format!("{}/team/base:{name}", registry.address);
    let (root, runroot) = (lab.path("containers/root"), lab.path("containers/run"));
    match builder {
        Builder::Buildah(format) => {
            let options = ["--root", text(&root), "--runroot", text(&runroot), "--storage-driver", "overlay"];
            let buildah = |arguments: &[&str]| run("buildah", &[&options[..], arguments].concat());
            buildah(&["build", "--isolation", "chroot", "--layers", "--format", format, "--tag", &reference, text(&context)]);
            buildah(&["push", "--tls-verify=false", &reference]);
        }
        Builder::Podman(format) => {
            let options = [
                "--root",
                text(&root),
                "--runroot",
                text(&runroot),
                "--storage-driver",
                "overlay",
                "--runtime",
                "runc",
                "--cgroup-manager",
                "cgroupfs",
            ];
            let podman = |arguments: &[&str]| run("podman", &[&options[..], arguments].concat());
            podman(&["build", "--isolation", "chroot", "--layers", "--format", format, "--tag", &reference, text(&context)]);
            podman(&["push", "--tls-verify=false", &reference]);
        }
        Builder::Docker => {
            let engine = DockerEngine::start(lab, registry);
            engine.docker(&["build", "--network", "none", "--tag", &reference, text(&context)]);
            engine.docker(&["push", &reference]);
        }
    }
    reference
}

/// A running Docker engine without a network of its own. It ends with the value.
struct DockerEngine {
    process: Child,
    socket: String,
}

impl DockerEngine {
    fn start(lab: &Lab, registry: &RealRegistry) -> DockerEngine {
        let directory = lab.files("docker", &[]);
        let socket = format!("unix://{}", directory.join("docker.sock").display());
        let log = std::fs::File::create(directory.join("log")).unwrap();
        let process = Command::new("dockerd")
            .args(["--data-root", text(&directory.join("data")), "--exec-root", text(&directory.join("exec"))])
            .args(["--pidfile", text(&directory.join("pid")), "--host", &socket, "--storage-driver", "vfs"])
            .args(["--iptables=false", "--bridge=none", "--insecure-registry", &registry.address.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("these tests need `dockerd`: install Debian's package `docker.io`");
        let mut engine = DockerEngine { process, socket };
        until("dockerd answers", || {
            let ended = engine.process.try_wait().unwrap();
            assert!(ended.is_none(), "{}", std::fs::read_to_string(directory.join("log")).unwrap());
            Command::new("docker").args(["--host", &engine.socket, "version"]).output().unwrap().status.success()
        });
        engine
    }

    fn docker(&self, arguments: &[&str]) {
        run("docker", &[&["--host", &self.socket], arguments].concat());
    }
}

impl Drop for DockerEngine {
    fn drop(&mut self) {
        // It is asked, so that it ends what it started.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
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
fn bases_of_other_builders_are_read_with_their_whiteouts_and_hard_links() {
    let registry = RealRegistry::start("", &[]);
    let builders =
        [Builder::Buildah("oci"), Builder::Buildah("docker"), Builder::Podman("oci"), Builder::Podman("docker"), Builder::Docker];
    for builder in builders {
        let lab = Lab::new();
        let base = base_of(builder, &lab, &registry);
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
        assert!(seen.ends_with(expected), "{builder:?}: {seen}");
        assert!(!seen.contains("file\n"), "{builder:?}: {seen}");
        // (The second layer has `linked` and `third`, with which `second` in the first has no more to do: so says its tar.)
        // The base's layers are the blobs that were pushed.
        let manifest = run("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{base}")]).stdout;
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let below: Vec<&str> = manifest["layers"].as_array().unwrap().iter().map(|layer| layer["digest"].as_str().unwrap()).collect();
        assert_eq!(built.layers()[..below.len()], below);
        assert_eq!(built.layers().len(), below.len() + 1);
        as_root("rm", &["-rf", text(&lab.path("containers")), text(&lab.path("docker"))]);
    }
}
