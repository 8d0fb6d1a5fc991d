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
        assert!(built.contains("warning: ") && built.contains("the cache mount `tool` begins without"), "{built}");
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
    assert!(built.contains("the cache mount `tool` begins without") && told(&built, "before").len() == 2, "{built}");
}

#[test]
fn what_could_not_be_asked_for_is_not_replaced_by_less() {
    let world = World::new();
    let to = with_mounts(&world);
    build(&Machine::new(), &project(&world, "tool", "echo one > one; cp /large large"), &["--cache-to", &to]);
    let less = project(&world, "tool", "echo two > two");
    let blobs = world.registry.directory().join("data/docker/registry/v2/blobs");
    let found = crate::real::run("find", &[blobs.to_str().unwrap(), "-name", "data", "-size", "+7M"]);
    let found = String::from_utf8(found.stdout).unwrap();
    // The registry answers 500 for what its disk does not give.
    for path in found.lines() {
        std::fs::rename(path, format!("{path}.away")).unwrap();
        std::os::unix::fs::symlink(path, path).unwrap();
    }
    let built = build(&Machine::new(), &less, &["--cache-from", &to, "--cache-to", &to]);
    assert!(built.contains("the cache mount `tool` begins without what a shared cache has of it, and is not sent there"), "{built}");
    for path in found.lines() {
        std::fs::remove_file(path).unwrap();
        std::fs::rename(format!("{path}.away"), path).unwrap();
    }
    let begun = told(&build(&Machine::new(), &less, &["--cache-from", &to]), "before");
    assert!(begun.iter().any(|line| line.starts_with("./large ")) && !begun.iter().any(|line| line.starts_with("./two ")), "{begun:#?}");
}

#[test]
fn many_small_changes_of_a_cache_mount_do_not_become_many_chunks() {
    let world = World::new();
    let (machine, to) = (Machine::new(), with_mounts(&world));
    let mut chunks = 0;
    for number in 0..12 {
        let built = build(&machine, &project(&world, "tool", &format!("echo {number} > file-{number}")), &["--cache-to", &to]);
        let note = built.lines().find_map(|line| line.split_once("is in the shared cache: ")).unwrap_or_else(|| panic!("{built}")).1;
        chunks = note.split(' ').next().unwrap().parse().unwrap();
    }
    assert!((2..=9).contains(&chunks), "{chunks}");
    let begun = build(&Machine::new(), &project(&world, "tool", "true"), &["--cache-from", &to]);
    assert_eq!(told(&begun, "before").len(), 1 + 12 * 2 + 1, "{begun}");
}

#[test]
fn nothing_is_sent_of_a_build_that_fails_and_a_private_cache_is_sent_where_it_is_the_first() {
    let world = World::new();
    let to = with_mounts(&world);
    let failing = project(&world, "tool", "echo one > one; false");
    let ran = Machine::new().0.run(&["build", failing.to_str().unwrap(), "--stage", "app", "--cache-to", &to]);
    assert_eq!((ran.code, records(&world)), (Some(1), 0), "{ran:#?}");
    // Two steps at once, each with a directory of its own, of which that of the first goes to others.
    let spec = r#"
spec = 1
[stages.first]
from = "tar:base.tar"
steps = [{ run = "echo first > /own/first; touch /both/first; while [ ! -e /both/second ]; do sleep 0.1; done; ls /own", mounts = [
    { cache = "own", at = "/own", sharing = "private" }, { cache = "both", at = "/both" }] }]
[stages.second]
from = "tar:base.tar"
steps = [{ run = "while [ ! -e /both/first ]; do sleep 0.1; done; echo second > /own/second; touch /both/second; ls /own", mounts = [
    { cache = "both", at = "/both" }, { cache = "own", at = "/own", sharing = "private" }] }]
[stages.app]
from = "scratch"
steps = [{ copy = "/bin/busybox", from = "stage:first", to = "/1" }, { copy = "/bin/busybox", from = "stage:second", to = "/2" }]
"#;
    write(&failing.join("lapstrake.toml"), spec);
    let built = build(&Machine::new(), &failing, &["--cache-to", &to, "--jobs", "2"]);
    assert!(!built.contains("warning"), "{built}");
    let looks = "spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\n\
                 steps = [{ run = \"echo her''e $(ls /own)\", mounts = [{ cache = \"own\", at = \"/own\", sharing = \"private\" }] }]\n";
    write(&failing.join("lapstrake.toml"), looks);
    let begun = build(&Machine::new(), &failing, &["--cache-from", &to]);
    let here = told(&begun, "here");
    // Which of them came first is their affair; never both, and never nothing.
    assert!(here == ["first"] || here == ["second"], "{begun}");
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
