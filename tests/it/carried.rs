//! What is in the directories of `cache` mounts, and how it comes to other machines.

use std::path::{Path, PathBuf};

use crate::lab::write;
use crate::project::busybox;
use crate::remote::{Machine, World, key, noise};

/// A step that does `script` with a cache, and tells what is in it before and after.
fn project(world: &World, id: &str, script: &str) -> PathBuf {
    let large = if script.contains("/large") { "[[stages.app.steps]]\ncopy = \"large\"\nto = \"/large\"" } else { "" };
    let spec = format!(
        r#"
spec = 1
[stages.app]
from = "tar:base.tar"
{large}
[[stages.app.steps]]
run = '''
tell() {{ cd /cache && busybox find . | sort | while read -r path; do busybox stat -c "$1 %n %f %u:%g %h" "$path"; [ ! -f "$path" ] || busybox stat -c "$1 %s %Y" "$path"; done; }}
hash() {{ cd /cache && busybox find . -type f | sort | while read -r path; do busybox sha256sum "$path"; done | sha256sum | sed "s/^/$1 /"; }}
tell before; hash before
cd /cache
{script}
tell after; hash after
'''
mounts = [{{ cache = "{id}", at = "/cache" }}]
"#
    );
    let project = world.lab.path("carried");
    write(&project.join("lapstrake.toml"), &spec);
    std::fs::write(project.join("base.tar"), busybox()).unwrap();
    std::fs::write(project.join("large"), noise(7, LARGE_BYTES)).unwrap();
    project
}

/// Everything that can be in a directory, of which the large file is more than a piece and does not get smaller.
const FILL: &str = "mkdir -p empty sub/deep; echo one > one; echo two > sub/two; echo shared > a; ln a b; ln -s ../one sub/link; mkfifo pipe; touch nothing
chown 5:6 one; chmod 4755 one; chmod 600 sub/two; chmod 1777 sub; touch -d '2020-02-02 02:02:02' sub/two empty
cp /large large
for each in $(seq 30); do echo file $each > sub/deep/$each; done";

const LARGE_BYTES: usize = 20 << 20;

/// What a step has told of its cache.
fn told(err: &str, word: &str) -> Vec<String> {
    let lines = err.lines().filter_map(|line| line.split_once(&format!(" {word} ")));
    lines.map(|(_, rest)| rest.to_owned()).collect()
}

fn build(machine: &Machine, project: &Path, arguments: &[&str]) -> String {
    let ran =
        machine.0.run(&[&["build", project.to_str().unwrap(), "--stage", "app", "--progress", "plain", "--no-cache"], arguments].concat());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    ran.err
}

/// What is written to with what is in the directories of `cache` mounts.
fn with_mounts(world: &World) -> String {
    format!("{},mounts=true", world.cache())
}

fn records(world: &World) -> usize {
    world.records().iter().filter(|name| name.starts_with("lapstrake-1-mount-")).count()
}

#[test]
fn a_cache_mount_begins_on_another_machine_with_all_that_was_in_it() {
    let world = World::new();
    let to = with_mounts(&world);
    for (first, second) in [("userns", "single-id"), ("single-id", "chroot"), ("chroot", "userns")] {
        let project = project(&world, first, FILL);
        let filled = build(&Machine::new(), &project, &["--isolation", first, "--cache-to", &to]);
        let after = told(&filled, "after");
        assert!(after.len() > 70, "{filled}");
        let machine = Machine::new();
        let begun = build(&machine, &self::project(&world, first, "true"), &["--isolation", second, "--cache-from", &to]);
        assert_eq!(told(&begun, "before"), after, "{first}, {second}: {begun}");
        assert!(!begun.contains("warning"), "{begun}");
        // What is here counts from then on.
        let again = build(&machine, &self::project(&world, first, "echo more > more"), &["--isolation", second, "--cache-from", &to]);
        assert_eq!(told(&again, "before"), after, "{again}");
        let third = build(&machine, &project, &["--isolation", second, "--cache-from", &to]);
        assert!(told(&third, "before").iter().any(|line| line.starts_with("./more ")), "{third}");
        machine.0.verify();
    }
    assert_eq!(records(&world), 3);
}

#[test]
fn only_what_is_new_in_a_cache_mount_is_sent() {
    let world = World::new();
    let to = with_mounts(&world);
    let sent = |machine: &Machine, script: &str| {
        let project = project(&world, "tool", script);
        world.relay.reset();
        let built = build(machine, &project, &["--cache-to", &to]);
        assert!(!built.contains("warning"), "{built}");
        world.relay.bytes()
    };
    let machine = Machine::new();
    assert!(sent(&machine, FILL) > LARGE_BYTES as u64);
    let nothing = sent(&machine, "true");
    assert!(nothing < 100_000, "{nothing} bytes for nothing new");
    let little = sent(&machine, "echo more >> large; echo one more > one");
    assert!(little < LARGE_BYTES as u64 / 3, "{little} bytes for the last piece of a file, and a small one");
    let removed = sent(&machine, "rm -r sub large; touch -d '2020-02-02 02:02:02' one");
    assert!(removed < 100_000, "{removed} bytes for what is gone");
    let after = told(&build(&machine, &project(&world, "tool", "true"), &[]), "after");
    let begun = build(&Machine::new(), &project(&world, "tool", "true"), &["--cache-from", &to]);
    assert_eq!(told(&begun, "before"), after, "{begun}");
}

#[test]
fn cache_mounts_go_nowhere_and_come_from_nowhere_unless_that_is_asked_for() {
    let world = World::new();
    let project = project(&world, "tool", FILL);
    let built = build(&Machine::new(), &project, &["--cache-to", &world.cache()]);
    assert!(!built.contains("warning"), "{built}");
    assert_eq!(records(&world), 0);
    build(&Machine::new(), &project, &["--cache-to", &with_mounts(&world)]);
    assert_eq!(records(&world), 1);
    // Nor does what is there stay on a machine that did not ask for it.
    let built = build(&Machine::new(), &self::project(&world, "tool", "true"), &["--cache-from", &world.cache()]);
    assert_eq!(told(&built, "before").len(), 2, "{built}");
    let wrong = Machine::new().0.run(&["build", project.to_str().unwrap(), "--cache-to", &format!("{},mounts=all", world.cache())]);
    assert_eq!(wrong.code, Some(2), "{wrong:#?}");
    assert!(wrong.err.contains("`mounts=all`: expected `true` or `false`"), "{}", wrong.err);
}

#[test]
fn what_is_wrong_with_a_cache_mount_elsewhere_is_a_warning_and_an_empty_one_here() {
    let world = World::new();
    let project = project(&world, "tool", FILL);
    build(&Machine::new(), &project, &["--cache-to", &with_mounts(&world)]);
    let project = self::project(&world, "tool", "true");
    let blobs = world.registry.directory().join("data/docker/registry/v2/blobs");
    let found = crate::real::run("find", &[blobs.to_str().unwrap(), "-name", "data", "-size", "+5M"]);
    let found = String::from_utf8(found.stdout).unwrap();
    // The layer with the large file is larger.
    let is_chunk = |path: &&str| (8 << 20..9 << 20).contains(&std::fs::metadata(path).unwrap().len());
    let chunks: Vec<&str> = found.lines().filter(is_chunk).collect();
    assert_eq!(chunks.len(), 2, "{found}");
    let whole = std::fs::read(chunks[0]).unwrap();
    let mut other = whole.clone();
    other[1 << 20] ^= 1;
    for damaged in [&other[..], &whole[..1 << 20]] {
        std::fs::write(chunks[0], damaged).unwrap();
        let built = build(&Machine::new(), &project, &["--cache-from", &with_mounts(&world)]);
        assert!(built.contains("warning: the cache mount `tool` begins without"), "{built}");
        assert_eq!(told(&built, "before").len(), 2, "{built}");
    }
    std::fs::write(chunks[0], whole).unwrap();
    let built = build(&Machine::new(), &project, &["--cache-from", &with_mounts(&world)]);
    assert!(told(&built, "before").len() > 70, "{built}");
    // Of what another says of it nothing is taken.
    world.rewrite(&mut |statement| {
        let is_it = statement["kind"] == "mount";
        if is_it {
            statement["body"]["snapshot"]["size"] = 1.into();
        }
        is_it
    });
    let built = build(&Machine::new(), &project, &["--cache-from", &with_mounts(&world)]);
    assert!(built.contains("warning: ") && told(&built, "before").len() == 2, "{built}");
}

#[test]
fn a_cache_mount_counts_only_where_its_record_is_signed_by_who_is_trusted() {
    let world = World::new();
    let ((private, public), (other, _)) = (key(&world.lab, "ours"), key(&world.lab, "theirs"));
    let signing = |private: &Path| Machine::new().settings(&format!("[cache]\nsign = \"{}\"\n", private.display()));
    let begun = || {
        let machine = Machine::new().settings(&format!("[cache]\ntrust = [\"{}\"]\n", public.display()));
        told(&build(&machine, &project(&world, "tool", "true"), &["--cache-from", &with_mounts(&world)]), "before").len()
    };
    build(&signing(&other), &project(&world, "tool", "echo evil > evil"), &["--cache-to", &with_mounts(&world)]);
    build(&Machine::new(), &project(&world, "tool", "echo evil > evil"), &["--cache-to", &with_mounts(&world)]);
    assert_eq!(begun(), 2, "nothing of it");
    build(&signing(&private), &project(&world, "tool", "echo good > good; echo well > well"), &["--cache-to", &with_mounts(&world)]);
    assert_eq!(begun(), 6);
    assert_eq!(records(&world), 3);
}
