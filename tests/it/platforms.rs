//! Images for several platforms, images given to engines, and the files of images, as people run it.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::lab::{Lab, write};
use crate::real::{RealRegistry, run};
use crate::waiting::until;

const SPEC: &str = r#"
spec = 1

[stages.site]
from = "scratch"
steps = [
    { write = "/etc/kept", content = "kept" },
    { write = "/srv/old", content = "to be replaced" },
    { write = "/srv/old", content = "of ${platform.arch}" },
    { remove = "/etc/kept" },
]

[images.site]
stage = "site"
platforms = ["linux/arm64", "linux/amd64"]
"#;

fn site(lab: &Lab) -> std::path::PathBuf {
    let directory = lab.path("project");
    write(&directory.join("lapstrake.toml"), SPEC);
    directory
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn an_image_for_several_platforms_is_an_index_everywhere_and_the_same_in_any_order() {
    let lab = Lab::new();
    let project = site(&lab);
    let real = RealRegistry::start("", &[]);
    let tag = format!("{}/team/site:1", real.address);
    let layout = format!("oci:{}:site", lab.path("layout").display());
    let built = lab.build(&project, &["--tag", &tag, "--push", "--output", &layout]);
    assert_eq!(built.images().len(), 2);
    let index = json(&lab.run(&["inspect", "--json", &tag]).out)["digest"].as_str().unwrap().to_owned();
    assert!(built.out.starts_with(&format!("site {index}\n")), "{}", built.out);
    for place in [&tag, &layout] {
        for arch in ["amd64", "arm64"] {
            let seen = json(&lab.run(&["inspect", "--json", "--platform", &format!("linux/{arch}"), place]).out);
            assert_eq!((seen["digest"].as_str(), seen["config"]["architecture"].as_str()), (Some(index.as_str()), Some(arch)));
        }
    }
    let raw = run("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{tag}")]);
    assert_eq!(json(&String::from_utf8(raw.stdout).unwrap())["manifests"].as_array().unwrap().len(), 2);
    // The other way round, and one after the other.
    let swapped = format!("{}/team/swapped:1", real.address);
    lab.build(&project, &["--tag", &swapped, "--push", "--platform", "linux/amd64,linux/arm64"]);
    let merged = format!("{}/team/merged:1", real.address);
    for platform in ["linux/arm64", "linux/amd64"] {
        lab.build(&project, &["--tag", &merged, "--push", "--merge", "--platform", platform]);
    }
    for tag in [&swapped, &merged] {
        assert_eq!(json(&lab.run(&["inspect", "--json", tag]).out)["digest"], index.as_str(), "{tag}");
    }
    let err = lab.fail(2, &project, &["--output", &format!("rootfs:{}", lab.path("root").display())]);
    assert!(err.contains("several platforms"), "{err}");
}

#[test]
fn the_files_of_layers_and_the_room_that_is_wasted_are_shown() {
    let lab = Lab::new();
    let project = site(&lab);
    let layout = format!("oci:{}:site", lab.path("layout").display());
    lab.build(&project, &["--platform", "linux/amd64", "--output", &layout]);
    let tree = json(&lab.run(&["tree", "--json", &layout]).out);
    let layers = tree["layers"].as_array().unwrap();
    let files = |layer: &Value| -> Vec<(String, String)> {
        let files = layer["files"].as_array().unwrap().iter();
        files.map(|file| (file["change"].as_str().unwrap().to_owned(), file["path"].as_str().unwrap().to_owned())).collect()
    };
    let of = |change: &str, path: &str| (change.to_owned(), path.to_owned());
    assert_eq!(files(&layers[0]), [of("added", "/etc"), of("added", "/etc/kept")]);
    assert_eq!(files(&layers[1]), [of("added", "/srv"), of("added", "/srv/old")]);
    assert_eq!(files(&layers[2]), [of("changed", "/srv/old")]);
    assert_eq!(files(&layers[3]), [of("removed", "/etc/kept")]);
    let wasted: Vec<u64> = layers.iter().map(|layer| layer["wastedBytes"].as_u64().unwrap()).collect();
    assert_eq!(wasted, [4, 14, 0, 0]);
    assert_eq!(tree["wastedBytes"], 18);
    let text = lab.run(&["tree", &layout]).out;
    assert!(text.contains("~ -rw-r--r--         0:0        8 B  /srv/old\n"), "{text}");
    assert!(text.contains("wasted 18 B in 2 files"), "{text}");
    assert!(!lab.run(&["tree", "--summary", &layout]).out.contains("-rw-r--r--"));
    assert_eq!(lab.run(&["tree", "--layer", "5", &layout]).code, Some(2));
}

#[test]
fn two_images_are_compared_by_config_and_files_with_the_layers_they_are_from() {
    let lab = Lab::new();
    let project = site(&lab);
    let (one, other) = (format!("oci:{}:one", lab.path("layout").display()), format!("oci:{}:other", lab.path("layout").display()));
    lab.build(&project, &["--platform", "linux/amd64", "--output", &one]);
    let changed = SPEC
        .replace("of ${platform.arch}", "another text")
        .replace("platforms =", "env = { A = \"1\" }\ncmd = [\"/srv/old\"]\nplatforms =")
        .replace("{ remove = \"/etc/kept\" }", "{ write = \"/new\", content = \"\", mode = \"0600\" }");
    write(&project.join("lapstrake.toml"), &changed);
    lab.build(&project, &["--platform", "linux/amd64", "--output", &other]);
    let ran = lab.run(&["diff", "--json", "--exit-code", &one, &other]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let diff = json(&ran.out);
    assert_eq!((&diff["commonLayers"], &diff["same"]), (&Value::from(2), &Value::from(false)));
    let fields: Vec<&str> = diff["config"].as_array().unwrap().iter().map(|field| field["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["config.Cmd", "config.Env.A"]);
    let files: Vec<(&str, &str)> =
        diff["files"].as_array().unwrap().iter().map(|file| (file["path"].as_str().unwrap(), file["change"].as_str().unwrap())).collect();
    assert_eq!(files, [("/etc/kept", "added"), ("/new", "added"), ("/srv/old", "changed")]);
    assert_eq!(diff["files"][2]["a"]["layer"], 3);
    assert_eq!(diff["files"][0]["b"]["createdBy"], "write /etc/kept");
    let same = lab.run(&["diff", "--exit-code", &one, &one]);
    assert_eq!(same.code, Some(0));
    assert!(same.out.contains("no difference in config and files"), "{}", same.out);
}

#[test]
fn what_is_pulled_is_in_the_store_and_is_built_upon_without_the_registry() {
    let lab = Lab::new();
    let project = site(&lab);
    let tag = {
        let real = RealRegistry::start("", &[]);
        let tag = format!("{}/team/site:1", real.address);
        lab.build(&project, &["--platform", "linux/amd64", "--tag", &tag, "--push"]);
        std::fs::remove_dir_all(lab.store()).unwrap();
        let pulled = lab.run(&["pull", &tag]);
        assert_eq!(pulled.code, Some(0), "{}", pulled.err);
        assert!(pulled.out.starts_with("sha256:"), "{}", pulled.out);
        write(
            &project.join("lapstrake.toml"),
            &format!(
                "spec = 1\nstages.a = {{ from = \"{tag}\", steps = [{{ write = \"/x\", content = \"x\" }}] }}\nimages.a = {{ stage = \"a\" }}\n"
            ),
        );
        assert_eq!(lab.run(&["lock", project.to_str().unwrap()]).code, Some(0));
        tag
    };
    // The registry is gone.
    let built = lab.build(&project, &["--locked", "--offline", "--output", &format!("oci:{}", lab.path("out").display())]);
    assert_eq!(built.layers().len(), 5, "{tag}");
}

/// Docker's daemon on a socket of its own. It ends with the value.
struct Docker {
    child: Child,
    socket: String,
}

impl Docker {
    fn start(lab: &Lab) -> Docker {
        let path = |name: &str| lab.path(name).display().to_string();
        let socket = format!("unix://{}", path("docker.sock"));
        let mut command = if rustix::process::geteuid().is_root() { Command::new("dockerd") } else { Command::new("sudo") };
        if !rustix::process::geteuid().is_root() {
            command.args(["-n", "dockerd"]);
        }
        let group = run("id", &["--group", "--name"]);
        let log = lab.path("docker.log");
        let child = command
            .args(["--data-root", &path("docker-data"), "--exec-root", &path("docker-exec"), "--pidfile", &path("docker.pid")])
            .args(["--iptables=false", "--bridge=none", "--storage-driver", "vfs", "-H", &socket])
            .args(["--group", String::from_utf8(group.stdout).unwrap().trim()])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .expect("these tests need `dockerd`: install Debian's package `docker.io`");
        let mut docker = Docker { child, socket };
        until("dockerd answers", || {
            let ended = docker.child.try_wait().unwrap();
            assert!(ended.is_none(), "{}", std::fs::read_to_string(&log).unwrap());
            Command::new("docker").args(["-H", &docker.socket, "version"]).output().unwrap().status.success()
        });
        docker
    }

    fn run(&self, arguments: &[&str]) -> String {
        String::from_utf8(run("docker", &[&["-H", &self.socket][..], arguments].concat()).stdout).unwrap()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let end = |program: &str, arguments: &[&str]| Command::new(program).args(arguments).output();
        let _ = if rustix::process::geteuid().is_root() { end("kill", &[&pid]) } else { end("sudo", &["-n", "kill", &pid]) };
        let _ = self.child.wait();
    }
}

fn runnable(lab: &Lab) -> std::path::PathBuf {
    lab.project(
        "spec = 1\nstages.app = { from = \"tar:base.tar\", steps = [{ write = \"/hello\", content = \"hello from the image\" }] }\n\
         images.app = { stage = \"app\", cmd = [\"cat\", \"/hello\"], tags = [\"registry.example.com/team/app:1\", \"registry.example.com/team/app:2\"] }\n",
        &[],
    )
}

#[test]
fn docker_loads_an_image_under_all_of_its_tags() {
    let lab = Lab::new();
    let docker = Docker::start(&lab);
    let built = lab.build_with(&runnable(&lab), &["--load"], |command| {
        command.env("DOCKER_HOST", &docker.socket);
    });
    assert!(built.err.contains("Loaded image"), "{}", built.err);
    for tag in ["1", "2"] {
        let id = docker.run(&["image", "inspect", "--format", "{{.Id}}", &format!("registry.example.com/team/app:{tag}")]);
        assert_eq!(id.trim(), built.images()[0]["config"].as_str().unwrap());
    }
}

#[test]
fn podman_loads_an_image_under_all_of_its_tags() {
    let lab = Lab::new();
    let storage = lab.path("storage.conf");
    let text = format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
        lab.path("graph").display(),
        lab.path("run").display()
    );
    write(&storage, &text);
    let built = lab.build_with(&runnable(&lab), &["--load=podman"], |command| {
        command.env("CONTAINERS_STORAGE_CONF", &storage);
    });
    for tag in ["1", "2"] {
        let name = format!("registry.example.com/team/app:{tag}");
        let output = Command::new("podman")
            .env("CONTAINERS_STORAGE_CONF", &storage)
            .args(["image", "inspect", "--format", "{{.Id}}", &name])
            .output()
            .unwrap();
        assert_eq!(format!("sha256:{}", String::from_utf8_lossy(&output.stdout).trim()), built.images()[0]["config"].as_str().unwrap());
    }
}

/// containerd on a socket of its own. It ends with the value.
struct Containerd {
    child: Child,
    socket: String,
}

impl Containerd {
    fn start(lab: &Lab) -> Containerd {
        let path = |name: &str| lab.path(name).display().to_string();
        let (socket, config) = (path("containerd.sock"), path("containerd.toml"));
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let text = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {socket:?}\nuid = {uid}\ngid = {gid}\n[ttrpc]\naddress = {:?}\n",
            path("containerd-root"),
            path("containerd-state"),
            path("containerd.ttrpc"),
        );
        write(&lab.path("containerd.toml"), &text);
        let mut command = if rustix::process::geteuid().is_root() { Command::new("containerd") } else { Command::new("sudo") };
        if !rustix::process::geteuid().is_root() {
            command.args(["-n", "containerd"]);
        }
        let log = std::fs::File::create(lab.path("containerd.log")).unwrap();
        let child = command
            .args(["--config", &config])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("these tests need `containerd`: install Debian's package of that name");
        let mut containerd = Containerd { child, socket };
        until("containerd answers", || {
            let said = || std::fs::read_to_string(lab.path("containerd.log")).unwrap_or_default();
            assert!(containerd.child.try_wait().unwrap().is_none(), "containerd ended: {}", said());
            Command::new("ctr").args(["--address", &containerd.socket, "version"]).output().unwrap().status.success()
        });
        containerd
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let end = |program: &str, arguments: &[&str]| Command::new(program).args(arguments).output();
        let _ = if rustix::process::geteuid().is_root() { end("kill", &[&pid]) } else { end("sudo", &["-n", "kill", &pid]) };
        let _ = self.child.wait();
    }
}

#[test]
fn containerd_loads_an_image_under_all_of_its_tags() {
    let lab = Lab::new();
    let containerd = Containerd::start(&lab);
    let built = lab.build_with(&runnable(&lab), &["--load=containerd"], |command| {
        command.env("CONTAINERD_ADDRESS", &containerd.socket);
    });
    let ctr = |arguments: &[&str]| run("ctr", &[&["--address", &containerd.socket][..], arguments].concat()).stdout;
    let names = String::from_utf8(ctr(&["images", "list", "--quiet"])).unwrap();
    for tag in ["1", "2"] {
        assert!(names.lines().any(|name| name == format!("registry.example.com/team/app:{tag}")), "{names}");
    }
    // It is the very image: its config is, and a root for containers can be made of it.
    let config = built.images()[0]["config"].as_str().unwrap();
    assert_eq!(format!("sha256:{}", lapstrake::cache::Digest::of(&ctr(&["content", "get", config])).hex()), config);
    let root = lab.files("root", &[]);
    crate::lab::as_root(
        "ctr",
        &["--address", &containerd.socket, "images", "mount", "registry.example.com/team/app:1", root.to_str().unwrap()],
    );
    let hello = std::fs::read_to_string(root.join("hello"));
    crate::lab::as_root("umount", &["--lazy", root.to_str().unwrap()]);
    assert_eq!(hello.unwrap(), "hello from the image");
}

#[test]
fn an_engine_that_is_not_there_is_told_with_another_way() {
    let lab = Lab::new();
    let project = runnable(&lab);
    let mut command = lab.command(&["build", project.to_str().unwrap(), "--load=containerd"]);
    command.env("PATH", lab.path("empty"));
    let ran = crate::lab::Ran::of(&mut command);
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    assert!(ran.err.contains("ctr images import") && ran.err.contains("docker-archive:FILE"), "{}", ran.err);
}
