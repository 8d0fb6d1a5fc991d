//! Caches that machines share: what they spare, what they never do, and what becomes of everything that can be wrong with one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::lab::{Built, Lab, Ran, write};
use crate::nobody::Nobody;
use crate::project::busybox;
use crate::real::{HTPASSWD, RealRegistry};
use crate::relay::Relay;

/// As the `django-wheels` example is made: a stage that builds, one that installs from it, and the sources on top.
const SPEC: &str = r#"
spec = 1

[stages.python]
from = "{registry}/library/base:1"

[stages.wheels]
from = "stage:python"
workdir = "/src"

[[stages.wheels.steps]]
copy = "requirements/"
to = "."

[[stages.wheels.steps]]
run = "mkdir /wheels; for each in a b c; do cat base.txt > /wheels/$each.whl; done; echo ran > /dev/null"

[stages.app]
from = "stage:python"
workdir = "/app"

[[stages.app.steps]]
run = "mkdir -p /usr/lib/site; cat /wheels/* > /usr/lib/site/all; for each in $(seq 300); do echo $each > /usr/lib/site/module-$each.py; done"
mounts = [{ from = "stage:wheels", path = "/wheels", at = "/wheels" }]

[[stages.app.steps]]
copy = ["docker/entrypoint", "docker/start"]
to = "/"
mode = "0755"
newlines = "lf"

[[stages.app.steps]]
copy = "src"
to = "/app"
owner = "app"

[images.web]
stage = "app"
entrypoint = ["/entrypoint"]
cmd = ["/start"]
"#;

/// How many steps of it are more than settings.
const STEPS: usize = 7;

/// Bytes that do not get smaller.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..count).map(|_| next()).collect()
}

/// Bytes of the base that nothing wants.
const BALLAST_BYTES: usize = 6 << 20;

/// A registry with a base in it, and what counts the bytes to and from it.
pub(crate) struct World {
    pub(crate) registry: RealRegistry,
    pub(crate) relay: Relay,
    pub(crate) lab: Lab,
}

impl World {
    pub(crate) fn new() -> World {
        World::of(RealRegistry::start("", &[]))
    }

    fn of(registry: RealRegistry) -> World {
        let relay = Relay::to(registry.address);
        let world = World { registry, relay, lab: Lab::new() };
        let base = world.lab.files("base", &[("lapstrake.toml", "spec = 1\nstages.base = { from = \"tar:base.tar\", steps = [{ copy = \"ballast\", to = \"/usr/share/ballast\" }] }\nimages.base = { stage = \"base\" }\n")]);
        std::fs::write(base.join("base.tar"), busybox()).unwrap();
        std::fs::write(base.join("ballast"), noise(1, BALLAST_BYTES)).unwrap();
        Machine::new().build(&base, &["--push", "--tag", &world.at("library/base:1")]);
        let files = [
            ("requirements/base.txt", "django\n"),
            ("docker/entrypoint", "#!/bin/sh\r\nexec \"$@\"\n"),
            ("docker/start", "#!/bin/sh\necho started\n"),
            ("src/settings.py", "DEBUG = False\n"),
        ];
        let project = world.lab.files("project", &files);
        write(&project.join("lapstrake.toml"), &SPEC.replace("{registry}", &world.address().to_string()));
        std::fs::write(project.join("src/main.py"), noise(2, 200_000)).unwrap();
        world
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.relay.address
    }

    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.address())
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.lab.path("project")
    }

    /// Changes the one source file.
    fn edit(&self, seed: u64) {
        std::fs::write(self.project().join("src/main.py"), noise(seed, 200_000)).unwrap();
    }

    pub(crate) fn cache(&self) -> String {
        self.at("team/web-cache")
    }

    /// Fills the cache.
    pub(crate) fn warm(&self) -> String {
        let cache = self.cache();
        let built = Machine::new().build(&self.project(), &["--cache-from", &cache, "--cache-to", &cache]);
        assert!(!built.err.contains("warning"), "{}", built.err);
        assert_eq!(built.ran().len(), STEPS, "{}", built.err);
        built.digest().to_owned()
    }

    /// What a machine without any cache builds.
    pub(crate) fn expected(&self) -> String {
        Machine::new().build(&self.project(), &[]).digest().to_owned()
    }

    /// Changes what records say, in the order of their names, where `change` says that it did. Unsigned ones are as good as before.
    pub(crate) fn rewrite(&self, change: &mut dyn FnMut(&mut serde_json::Value) -> bool) {
        let data = self.registry.directory().join("data/docker/registry/v2");
        let manifests = data.join("repositories/team/web-cache/_manifests");
        let place = |digest: &str| {
            let hex = digest.strip_prefix("sha256:").unwrap();
            data.join(format!("blobs/sha256/{}/{hex}/data", &hex[..2]))
        };
        for tag in self.records() {
            let link = manifests.join("tags").join(tag).join("current/link");
            let manifest = std::fs::read(place(&std::fs::read_to_string(&link).unwrap())).unwrap();
            let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
            let record = &mut manifest["annotations"]["vnd.lapstrake.record"];
            let (_, statement) = record.as_str().unwrap().split_once(' ').unwrap();
            let mut statement: serde_json::Value = serde_json::from_str(statement).unwrap();
            if !change(&mut statement) {
                continue;
            }
            *record = format!("- {statement}").into();
            let bytes = serde_json::to_vec(&manifest).unwrap();
            let digest = lapstrake::cache::Digest::of(&bytes).to_string();
            write(&manifests.join("revisions/sha256").join(&digest["sha256:".len()..]).join("link"), &digest);
            std::fs::create_dir_all(place(&digest).parent().unwrap()).unwrap();
            std::fs::write(place(&digest), bytes).unwrap();
            std::fs::write(link, digest).unwrap();
        }
    }

    /// How many records the cache has.
    pub(crate) fn records(&self) -> Vec<String> {
        let tags = self.registry.directory().join("data/docker/registry/v2/repositories/team/web-cache/_manifests/tags");
        let mut tags: Vec<String> = std::fs::read_dir(tags)
            .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
            .unwrap_or_default();
        tags.sort();
        tags
    }
}

/// A machine with an empty store.
pub(crate) struct Machine(pub(crate) Lab);

impl Machine {
    pub(crate) fn new() -> Machine {
        Machine(Lab::new())
    }

    pub(crate) fn build(&self, project: &Path, arguments: &[&str]) -> Built {
        self.0.build(project, arguments)
    }

    pub(crate) fn settings(self, text: &str) -> Machine {
        write(&self.0.path("config/lapstrake/config.toml"), text);
        self
    }
}

fn layer_bytes(built: &Built) -> u64 {
    built.images()[0]["layers"].as_array().unwrap().last().unwrap()["size"].as_u64().unwrap()
}

#[test]
fn a_cold_machine_with_a_warm_cache_moves_what_changed_and_runs_nothing() {
    let world = World::new();
    world.warm();
    world.edit(3);
    let cache = world.cache();
    world.relay.reset();
    let machine = Machine::new();
    let tag = world.at("team/web:1");
    let built = machine.build(&world.project(), &["--cache-from", &cache, "--cache-to", &cache, "--push", "--tag", &tag]);
    let (bytes, requests) = (world.relay.bytes(), world.relay.requests());
    assert_eq!(built.ran(), ["copy src → /app"], "{}", built.err);
    assert!(!built.err.contains("warning"), "{}", built.err);
    assert_eq!(built.digest(), world.expected());
    // The changed layer went to the cache, and from there the registry took it itself.
    let changed = layer_bytes(&built);
    println!("{bytes} bytes in {} requests; the changed layer has {changed}", requests.len());
    assert!(bytes < 2 * changed, "{bytes} bytes for a layer of {changed}:\n{}", requests.join("\n"));
    let whole: Vec<&String> = requests.iter().filter(|line| line.starts_with("GET") && line.contains("/blobs/")).collect();
    let config_and_pages = whole.len();
    assert!(config_and_pages < 12, "{whole:#?}");
    // What was pushed is whole.
    crate::real::run(
        "skopeo",
        &["copy", "--src-tls-verify=false", &format!("docker://{tag}"), &format!("dir:{}", machine.0.path("pulled").display())],
    );
    machine.0.verify();
}

#[test]
fn ten_builds_at_once_lose_nothing() {
    let world = World::new();
    let cache = world.cache();
    let machine = Machine::new();
    let projects: Vec<PathBuf> = (0..10)
        .map(|number: u64| {
            let project = world.lab.path(&format!("project-{number}"));
            crate::real::run("cp", &["-R", world.project().to_str().unwrap(), project.to_str().unwrap()]);
            std::fs::write(project.join("src/main.py"), noise(10 + number % 5, 20_000)).unwrap();
            project
        })
        .collect();
    let (machine, cache) = (&machine, cache.as_str());
    let digests: Vec<String> = std::thread::scope(|scope| {
        let builds: Vec<_> = projects
            .iter()
            .enumerate()
            .map(|(number, project)| {
                scope.spawn(move || {
                    let metadata = machine.0.path(&format!("metadata-{number}.json"));
                    let mut command = machine.0.command(&["build", project.to_str().unwrap(), "--cache-from", cache, "--cache-to", cache]);
                    command.args(["--metadata-file", metadata.to_str().unwrap()]);
                    Built::of(Ran::of(&mut command), &metadata).digest().to_owned()
                })
            })
            .collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });
    for (number, project) in projects.iter().enumerate().take(5) {
        assert_eq!(digests[number], digests[number + 5]);
        // Every result of every build is there for a machine that has nothing.
        let cold = Machine::new().build(project, &["--cache-from", cache]);
        assert_eq!((cold.ran(), cold.digest()), (Vec::new(), digests[number].as_str()), "{}", cold.err);
    }
    let alone = Machine::new().build(&projects[0], &[]);
    assert_eq!(alone.digest(), digests[0]);
    machine.0.verify();
}

#[test]
fn what_is_only_read_is_not_written_to() {
    let world = World::new();
    let expected = world.warm();
    let before = world.records();
    world.relay.reset();
    let built = Machine::new().build(&world.project(), &["--cache-from", &world.cache()]);
    assert_eq!((built.ran(), built.digest()), (Vec::new(), expected.as_str()), "{}", built.err);
    world.edit(4);
    Machine::new().build(&world.project(), &["--cache-from", &world.cache()]);
    let written: Vec<String> =
        world.relay.requests().into_iter().filter(|line| !line.starts_with("GET") && !line.starts_with("HEAD")).collect();
    assert_eq!(written, Vec::<String>::new());
    assert_eq!(world.records(), before);
}

#[test]
fn a_build_that_fails_leaves_what_succeeded() {
    let world = World::new();
    let cache = world.cache();
    let spec = world.project().join("lapstrake.toml");
    let text = std::fs::read_to_string(&spec).unwrap();
    write(&spec, &text.replace("[images.web]", "[[stages.app.steps]]\nrun = \"exit 7\"\n\n[images.web]"));
    Machine::new().0.fail(1, &world.project(), &["--cache-to", &cache]);
    write(&spec, &text);
    let built = Machine::new().build(&world.project(), &["--cache-from", &cache]);
    assert_eq!(built.ran(), Vec::<&str>::new(), "{}", built.err);
}

#[test]
fn whatever_is_wrong_with_a_cache_is_a_warning_and_the_digest_is_right() {
    let world = World::new();
    let expected = world.expected();
    let locked = RealRegistry::start("auth:\n  htpasswd:\n    realm: r\n    path: {directory}/users\n", &[("users", HTPASSWD)]);
    let nobody = Nobody::new();
    let closed = nobody.address;
    let read_only = RealRegistry::start("  maintenance:\n    readonly:\n      enabled: true\n", &[]);
    for (name, cache) in
        [("down", format!("{closed}/c")), ("401", format!("{}/c", locked.address)), ("read-only", format!("{}/c", read_only.address))]
    {
        let built = Machine::new().build(&world.project(), &["--cache-from", &cache, "--cache-to", &cache]);
        assert_eq!(built.digest(), expected, "{name}");
        assert!(built.err.contains(&format!("warning: the cache `{cache}` is not used any further")), "{name}: {}", built.err);
    }
    // One that takes its time is waited for, not for long, and not for each step anew.
    world.warm();
    let slow = Relay::to(world.registry.address);
    slow.delay(std::time::Duration::from_secs(40));
    let cache = format!("{}/team/web-cache", slow.address);
    let built = Machine::new().build(&world.project(), &["--cache-from", &cache, "--cache-to", &cache]);
    assert_eq!(built.digest(), expected);
    assert!(built.err.contains(&format!("warning: the cache `{cache}` is not used any further")), "{}", built.err);
    // No network is no reason for a word.
    let machine = Machine::new();
    machine.build(&world.project(), &[]);
    let ran = machine.0.run(&["lock", world.project().to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let built = machine.build(&world.project(), &["--cache-from", &format!("{closed}/c"), "--offline"]);
    assert!(built.digest() == expected && !built.err.contains("warning"), "{}", built.err);
}

/// Every file of the registry's that is a blob of a repository's record or what one speaks of, with its bytes.
fn stored(world: &World) -> Vec<(PathBuf, Vec<u8>)> {
    let blobs = world.registry.directory().join("data/docker/registry/v2/blobs");
    let mut found: Vec<(PathBuf, Vec<u8>)> = walkdir::WalkDir::new(blobs)
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.file_name().is_some_and(|name| name == "data"))
        .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
        .collect();
    found.sort();
    found
}

#[test]
fn records_and_blobs_that_are_damaged_are_misses() {
    let world = World::new();
    let expected = world.warm();
    let cache = world.cache();
    let ours: Vec<(PathBuf, Vec<u8>)> = {
        let base = Machine::new();
        drop(base);
        // What the base is made of stays as it is.
        let base_bytes = |bytes: &[u8]| bytes.len() > 500_000 || String::from_utf8_lossy(bytes).contains("image.config.v1");
        stored(&world).into_iter().filter(|(_, bytes)| !base_bytes(bytes) && !String::from_utf8_lossy(bytes).contains("rootfs")).collect()
    };
    assert!(ours.len() > 12, "{}", ours.len());
    type Spoil = fn(&[u8]) -> Vec<u8>;
    let ways: [(&str, Spoil); 4] = [
        ("changed", |bytes| bytes.iter().map(|byte| byte ^ 1).collect()),
        ("cut", |bytes| bytes[..bytes.len() / 2].to_vec()),
        ("one byte", |bytes| {
            let mut bytes = bytes.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            bytes
        }),
        ("emptied", |_| Vec::new()),
    ];
    let busybox_bytes = busybox().len();
    assert!(busybox_bytes > 500_000, "the base's layers are told apart by their size");
    for (name, spoil) in ways {
        for (path, bytes) in &ours {
            std::fs::write(path, spoil(bytes)).unwrap();
        }
        let built = Machine::new().build(&world.project(), &["--cache-from", &cache]);
        assert_eq!(built.digest(), expected, "{name}: {}", built.err);
        for (path, bytes) in &ours {
            std::fs::write(path, bytes).unwrap();
        }
    }
    // One after the other: whatever is still right must not lead astray.
    for (path, bytes) in &ours {
        std::fs::write(path, ways[2].1(bytes)).unwrap();
        let built = Machine::new().build(&world.project(), &["--cache-from", &cache]);
        assert_eq!(built.digest(), expected, "{}: {}", path.display(), built.err);
        std::fs::write(path, bytes).unwrap();
    }
    let built = Machine::new().build(&world.project(), &["--cache-from", &cache]);
    assert_eq!(built.ran(), Vec::<&str>::new(), "{}", built.err);
}

/// A key pair as `openssl` writes it: the file with the private half, and the public one in PEM.
pub(crate) fn key(lab: &Lab, name: &str) -> (PathBuf, PathBuf) {
    let (private, public) = (lab.path(&format!("{name}.pem")), lab.path(&format!("{name}.pub")));
    crate::real::run("openssl", &["genpkey", "-algorithm", "ed25519", "-out", private.to_str().unwrap()]);
    crate::real::run("openssl", &["pkey", "-in", private.to_str().unwrap(), "-pubout", "-out", public.to_str().unwrap()]);
    (private, public)
}

#[test]
fn a_second_writer_without_the_key_changes_nothing() {
    let world = World::new();
    let cache = world.cache();
    let (private, public) = key(&world.lab, "ours");
    let (other_private, _) = key(&world.lab, "theirs");
    let signing = |private: &Path| Machine::new().settings(&format!("[cache]\nsign = \"{}\"\n", private.display()));
    let trusting = || Machine::new().settings(&format!("[cache]\ntrust = [\"{}\"]\n", public.display()));
    // The key is told as a word, too.
    let word = signing(&private).0.run(&["cache", "key"]);
    assert!(word.code == Some(0) && word.out.starts_with("ed25519:"), "{word:?}");

    // Another writes first: a step of the same key with another result, and all under its own name or none.
    let spec = world.project().join("lapstrake.toml");
    let text = std::fs::read_to_string(&spec).unwrap();
    let cache_arguments = ["--cache-from", cache.as_str(), "--cache-to", cache.as_str()];
    Machine::new().build(&world.project(), &cache_arguments);
    signing(&other_private).build(&world.project(), &cache_arguments);
    let unsigned = world.records();
    let cold = trusting().build(&world.project(), &["--cache-from", &cache]);
    assert_eq!(cold.ran().len(), STEPS, "{}", cold.err);
    let expected = cold.digest().to_owned();

    let written = signing(&private).build(&world.project(), &cache_arguments);
    assert_eq!(written.digest(), expected);
    let warm = trusting().build(&world.project(), &["--cache-from", &cache]);
    assert_eq!((warm.ran(), warm.digest()), (Vec::new(), expected.as_str()), "{}", warm.err);
    let as_word = Machine::new().settings(&format!("[cache]\ntrust = [\"{}\"]\n", word.out.trim()));
    assert_eq!(as_word.build(&world.project(), &["--cache-from", &cache]).ran(), Vec::<&str>::new());

    // Whoever may push puts the record of another step, and those without a signature, in the place of the signed ones.
    let signed: Vec<String> = world.records().into_iter().filter(|tag| !unsigned.contains(tag)).collect();
    assert!(signed.len() >= 5, "{signed:?}");
    let link = |tag: &str| {
        let tags = world.registry.directory().join("data/docker/registry/v2/repositories/team/web-cache/_manifests/tags");
        tags.join(tag).join("current/link")
    };
    let replace = |with: &dyn Fn(&str) -> String| {
        let before: Vec<(PathBuf, Vec<u8>)> = signed.iter().map(|tag| (link(tag), std::fs::read(link(tag)).unwrap())).collect();
        let others: Vec<Vec<u8>> = signed.iter().map(|tag| std::fs::read(link(&with(tag))).unwrap()).collect();
        for ((path, _), other) in before.iter().zip(&others) {
            std::fs::write(path, other).unwrap();
        }
        let built = trusting().build(&world.project(), &["--cache-from", &cache]);
        assert_eq!(built.digest(), expected);
        assert_eq!(built.ran().len(), STEPS, "{}", built.err);
        assert!(built.err.contains("warning: the cache"), "{}", built.err);
        for (path, bytes) in before {
            std::fs::write(path, bytes).unwrap();
        }
    };
    replace(&|tag| tag.rsplit_once('-').unwrap().0.to_owned());
    replace(&|tag| {
        let place = signed.iter().position(|known| known == tag).unwrap();
        signed[(place + 1) % signed.len()].clone()
    });
    write(&spec, &text);
    assert_eq!(trusting().build(&world.project(), &["--cache-from", &cache]).ran(), Vec::<&str>::new());
}

#[test]
fn what_is_found_in_a_cache_that_is_only_written_to_decides_nothing() {
    let world = World::new();
    let expected = world.warm();
    let mut layers = Vec::new();
    let told = |statement: &serde_json::Value| {
        let layers = &statement["body"]["files"]["layers"];
        layers.is_array().then(|| layers.clone())
    };
    world.rewrite(&mut |statement| {
        layers.extend(told(statement));
        false
    });
    assert!(layers.len() > 2, "{layers:?}");
    // Each says the truth of its result, but for the blob that is its layer: that is another's.
    let mut others = layers.iter().cycle().skip(1).cloned();
    world.rewrite(&mut |statement| match told(statement) {
        Some(_) => {
            statement["body"]["files"]["layers"] = others.next().unwrap();
            true
        }
        None => false,
    });
    let built = Machine::new().build(&world.project(), &["--cache-to", &world.cache()]);
    assert_eq!(built.digest(), expected, "{}", built.err);
    let trusting = Machine::new().settings(&format!("[cache]\ntrust = [\"{}\"]\n", key(&world.lab, "ours").1.display()));
    assert_eq!(trusting.build(&world.project(), &["--cache-to", &world.cache()]).digest(), expected);
}

#[test]
fn records_in_the_place_of_others_are_misses() {
    let world = World::new();
    let expected = world.warm();
    let tags = world.registry.directory().join("data/docker/registry/v2/repositories/team/web-cache/_manifests/tags");
    let links: Vec<PathBuf> = world.records().iter().map(|tag| tags.join(tag).join("current/link")).collect();
    let bytes: Vec<Vec<u8>> = links.iter().map(|path| std::fs::read(path).unwrap()).collect();
    for shift in [1, 2, links.len() - 1] {
        for (place, link) in links.iter().enumerate() {
            std::fs::write(link, &bytes[(place + shift) % bytes.len()]).unwrap();
        }
        let built = Machine::new().build(&world.project(), &["--cache-from", &world.cache()]);
        assert_eq!(built.digest(), expected);
        assert_eq!(built.ran().len(), STEPS, "{}", built.err);
    }
}

#[test]
fn a_step_that_runs_after_all_has_what_the_cache_gave_and_file_systems_come_whole() {
    let world = World::new();
    world.warm();
    let cache = world.cache();
    let spec = world.project().join("lapstrake.toml");
    let text = std::fs::read_to_string(&spec).unwrap();
    write(&spec, &text.replace("[images.web]", "[[stages.app.steps]]\nrun = \"cat /usr/lib/site/all /docker/* /entrypoint > /all 2>/dev/null || cat /usr/lib/site/all /entrypoint > /all; ls -ln /app > /listed\"\nmounts = [{ from = \"stage:wheels\", path = \"/wheels\", at = \"/wheels\" }]\n\n[images.web]"));
    let built = Machine::new().build(&world.project(), &["--cache-from", &cache]);
    assert_eq!(built.ran().len(), 1, "{}", built.err);
    assert_eq!(built.digest(), world.expected());
    write(&spec, &text);
    let machine = Machine::new();
    let (root, archive) = (machine.0.path("root"), machine.0.path("image.tar"));
    machine.build(&world.project(), &["--cache-from", &cache, "-o", &format!("rootfs:{}", root.display())]);
    assert_eq!(std::fs::read(root.join("usr/lib/site/all")).unwrap(), b"django\ndjango\ndjango\n");
    assert!(root.join("app/main.py").is_file() && root.join("usr/share/ballast").is_file());
    let machine = Machine::new();
    machine.build(&world.project(), &["--cache-from", &cache, "-o", &format!("oci-archive:{}", archive.display())]);
    assert!(archive.is_file());
    machine.0.verify();
}

#[test]
fn old_records_are_removed_and_the_rest_goes_on() {
    let world = World::new();
    let expected = world.warm();
    let cache = world.cache();
    let count = world.records().len();
    let machine = Machine::new();
    let kept = machine.0.run(&["cache", "prune", &cache, "--older-than", "1h"]);
    assert_eq!((kept.code, kept.out.as_str()), (Some(0), format!("removed 0 records, {count} remain\n").as_str()), "{kept:?}");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let pruned = machine.0.run(&["cache", "prune", &cache, "--older-than", "1s"]);
    assert_eq!((pruned.code, pruned.out.as_str()), (Some(0), format!("removed {count} records, 0 remain\n").as_str()), "{pruned:?}");
    let built = Machine::new().build(&world.project(), &["--cache-from", &cache, "--cache-to", &cache]);
    assert_eq!((built.ran().len(), built.digest()), (STEPS, expected.as_str()), "{}", built.err);
    // A build that may make room keeps what it wrote itself, and what it used.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let used = Machine::new().build(&world.project(), &["--cache-from", &cache, "--cache-to", &format!("{cache},max-age=2s")]);
    assert_eq!(used.digest(), expected);
    let again = Machine::new().build(&world.project(), &["--cache-from", &cache]);
    assert_eq!((again.ran(), again.digest()), (Vec::new(), expected.as_str()), "{}", again.err);
}

#[test]
fn words_for_caches_are_checked() {
    let lab = Lab::new();
    let project = lab.project(
        "spec = 1\nstages.a = { from = \"scratch\", steps = [{ write = \"/a\", content = \"a\" }] }\nimages.a = { stage = \"a\" }\n",
        &[],
    );
    for (option, text, reason) in [
        ("--cache-from", "127.0.0.1:1/c:tag", "a cache is a whole repository"),
        ("--cache-to", "type=gha,ref=127.0.0.1:1/c", "caches of type `gha` are not known"),
        ("--cache-to", "127.0.0.1:1/c,max-age=soon", "`max-age`"),
        ("--cache-from", "127.0.0.1:1/c,max-age=1h", "`max-age` is not known"),
        ("--cache-from", "type=registry", "it names no repository"),
        ("--cache-from", "127.0.0.1:1/Cache", "is not an image name"),
    ] {
        let said = lab.fail(2, &project, &[option, text]);
        assert!(said.contains(reason), "{text}: {said}");
    }
    let built =
        lab.build(&project, &["--cache-from", "type=registry,ref=127.0.0.1:1/c", "--cache-to", "type=registry,ref=127.0.0.1:1/c,mode=max"]);
    assert!(built.err.contains("warning: the cache `127.0.0.1:1/c` is not used any further"), "{}", built.err);
}
