//! What shared caches tell and nobody here has seen: it serves the build that asks, and leaves nothing behind that would bind another.

use std::path::{Path, PathBuf};

use crate::lab::write;
use crate::project::Tar;
use crate::remote::{Machine, World};
use crate::web::Web;

/// A project of a world with a spec of its own.
fn project(world: &World, name: &str, spec: &str) -> PathBuf {
    let project = world.lab.files(name, &[("src/main.py", "print()\n")]);
    write(&project.join("lapstrake.toml"), &spec.replace("{registry}", &world.address().to_string()));
    project
}

/// Builds with a cache that is read and written.
fn fill(world: &World, project: &Path, arguments: &[&str]) -> String {
    let cache = world.cache();
    let built = Machine::new().build(project, &[&["--cache-from", &cache, "--cache-to", &cache], arguments].concat());
    assert!(!built.err.contains("warning"), "{}", built.err);
    built.digest().to_owned()
}

/// Names of records of a kind.
fn names(world: &World, kind: &str) -> Vec<String> {
    let mut names = Vec::new();
    world.rewrite(&mut |statement| {
        if statement["kind"] == kind {
            names.push(statement["body"]["name"].as_str().unwrap_or_default().to_owned());
        }
        false
    });
    names
}

/// Makes each record of a kind that is about a part say what the next one says.
fn shift(world: &World, kind: &str) {
    let told = names(world, kind);
    let mut others = told.iter().cycle().skip(1);
    world.rewrite(&mut |statement| {
        let is_it = statement["kind"] == kind;
        if is_it {
            statement["body"]["name"] = others.next().unwrap().as_str().into();
        }
        is_it
    });
}

/// Makes the records of two bases, of one layer each, tell what is in the other.
fn exchange_bases(world: &World) {
    let mut bodies = Vec::new();
    world.rewrite(&mut |statement| {
        bodies.extend((statement["kind"] == "base").then(|| statement["body"].clone()));
        false
    });
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    world.rewrite(&mut |statement| {
        let is_base = statement["kind"] == "base";
        if is_base {
            statement["body"] = bodies.pop().unwrap();
        }
        is_base
    });
}

const PARTS: &str = r#"
spec = 1
stages.a = { from = "scratch", steps = [{ write = "/d/f", content = "a" }] }
stages.b = { from = "scratch", steps = [{ write = "/d/f", content = "b" }] }
stages.one = { from = "scratch", steps = [{ copy = "/d/f", from = "stage:a", to = "/copied" }] }
stages.two = { from = "scratch", steps = [{ copy = "/d/f", from = "stage:b", to = "/copied" }] }
images.one = { stage = "one" }
images.two = { stage = "two" }
"#;

const MOUNTS: &str = r#"
spec = 1
stages.a = { from = "scratch", steps = [{ write = "/d/f", content = "a" }] }
stages.b = { from = "scratch", steps = [{ write = "/d/f", content = "b" }] }
stages.one = { from = "{registry}/library/base:1", steps = [{ run = "cat /m/f > /copied", mounts = [{ from = "stage:a", path = "/d", at = "/m" }] }] }
stages.two = { from = "{registry}/library/base:1", steps = [{ run = "cat /m/f > /copied", mounts = [{ from = "stage:b", path = "/d", at = "/m" }] }] }
images.one = { stage = "one" }
images.two = { stage = "two" }
"#;

#[test]
fn a_name_of_files_that_a_cache_tells_is_held_against_the_files() {
    for (spec, name) in [(PARTS, "copied"), (MOUNTS, "mounted")] {
        let world = World::new();
        fill(&world, &project(&world, name, spec), &[]);
        assert_eq!(names(&world, "part").len(), 2, "{name}");
        shift(&world, "part");
        // Other steps on the same files: their names are told, and the work is to be done.
        let other = project(&world, name, &spec.replace("/copied", "/taken"));
        let built = |machine: &Machine, image: &str, arguments: &[&str]| {
            let built = machine.build(&other, &[&["--image", image], arguments].concat());
            (built.digest().to_owned(), built.err)
        };
        let right = Machine::new();
        let (one, two) = (built(&right, "one", &[]).0, built(&right, "two", &[]).0);
        assert_ne!(one, two);
        let misled = Machine::new();
        let (digest, said) = built(&misled, "one", &["--cache-from", &world.cache()]);
        assert_eq!(digest, one, "{name}: {said}");
        assert!(said.contains("it names files otherwise than they are"), "{name}: {said}");
        // Whatever was told, nothing is kept under the names of other files.
        assert_eq!(built(&misled, "two", &[]).0, two, "{name}");
        assert_eq!(built(&misled, "one", &[]).0, one, "{name}");
    }
}

#[test]
fn a_name_that_was_only_told_is_told_to_nobody() {
    let world = World::new();
    let spec = project(&world, "copied", PARTS);
    fill(&world, &spec, &[]);
    let elsewhere = world.at("team/other-cache");
    // All is cached: nobody has looked at any file.
    let built = Machine::new().build(&spec, &["--cache-from", &world.cache(), "--cache-to", &elsewhere]);
    assert_eq!(built.ran(), Vec::<&str>::new(), "{}", built.err);
    let tags = world.registry.directory().join("data/docker/registry/v2/repositories/team/other-cache/_manifests/tags");
    let tags: Vec<String> =
        std::fs::read_dir(tags).map(|tags| tags.map(|tag| tag.unwrap().file_name().into_string().unwrap()).collect()).unwrap_or_default();
    assert!(!tags.iter().any(|tag| tag.contains("-part-")), "{tags:?}");
}

#[test]
fn what_a_cache_tells_of_a_base_is_believed_as_long_as_it_is_told() {
    let world = World::new();
    let base = |uid: u32| {
        let name = format!("accounts-{uid}");
        let spec = format!(
            "spec = 1\nstages.base = {{ from = \"scratch\", steps = [{{ write = \"/etc/passwd\", content = \"app:x:{uid}:{uid}::/:/bin/sh\\n\" }}] }}\nimages.base = {{ stage = \"base\" }}\n"
        );
        Machine::new().build(&project(&world, &name, &spec), &["--push", "--tag", &world.at(&format!("library/{name}:1"))]);
        name
    };
    let spec = |base: &str, to: &str| {
        let spec = "spec = 1\nstages.app = { from = \"{registry}/library/BASE:1\", steps = [{ copy = \"src\", to = \"TO\", owner = \"app\" }] }\nimages.app = { stage = \"app\" }\n";
        project(&world, &format!("app-{base}"), &spec.replace("BASE", base).replace("TO", to))
    };
    let bases = [base(1000), base(7777)];
    for base in &bases {
        fill(&world, &spec(base, "/app"), &[]);
    }
    // Of either base is told what is in the other.
    exchange_bases(&world);
    let cache = world.cache();
    let other = spec(&bases[0], "/srv");
    let expected = Machine::new().build(&other, &[]).digest().to_owned();
    let misled = Machine::new();
    let lie = misled.build(&other, &["--cache-from", &cache]).digest().to_owned();
    assert_ne!(lie, expected, "who may write to a cache without keys chooses what is built from it");
    // As long as it is told, it is no reason to do anything again.
    let again = misled.build(&other, &["--cache-from", &cache]);
    assert_eq!((again.ran(), again.digest()), (Vec::new(), lie.as_str()), "{}", again.err);
    // A command runs over what there is, and then that is known.
    let text = std::fs::read_to_string(other.join("lapstrake.toml")).unwrap();
    let built = misled.build(&other, &[]);
    assert_eq!((built.ran().len(), built.digest()), (1, expected.as_str()), "{}", built.err);
    write(&other.join("lapstrake.toml"), &text);
    let settled = misled.build(&other, &["--cache-from", &cache]);
    assert_eq!((settled.ran(), settled.digest()), (Vec::new(), expected.as_str()), "{}", settled.err);
}

#[test]
fn a_command_on_a_base_of_which_a_cache_tells_runs_on_what_there_is() {
    let world = World::new();
    let program = std::fs::read("/bin/busybox").unwrap();
    let base = |name: &str, file: &str| {
        let mut tar = Tar::new();
        tar.directory("bin", 0o755);
        tar.file("bin/busybox", 0o755, &program);
        tar.file("bin/sh", 0o755, &program);
        tar.directory("etc", 0o755);
        tar.file(file, 0o644, b"");
        let at = project(&world, name, "spec = 1\nstages.base = { from = \"tar:base.tar\" }\nimages.base = { stage = \"base\" }\n");
        std::fs::write(at.join("base.tar"), tar.finish()).unwrap();
        Machine::new().build(&at, &["--push", "--tag", &world.at(&format!("library/{name}:1"))]);
    };
    base("with", "etc/motd");
    base("without", "etc/other");
    let app = |base: &str, command: &str| {
        let spec = "spec = 1\nstages.app = { from = \"{registry}/library/BASE:1\", steps = [{ run = \"COMMAND\" }] }\nimages.app = { stage = \"app\" }\n";
        project(&world, &format!("app-{base}"), &spec.replace("BASE", base).replace("COMMAND", command))
    };
    for name in ["with", "without"] {
        fill(&world, &app(name, "true"), &[]);
    }
    // Of either base is told what is in the other, so that there would be nothing to remove.
    exchange_bases(&world);
    let removes = app("with", "busybox rm /etc/motd");
    let expected = Machine::new().build(&removes, &[]);
    assert_eq!(expected.layers().len(), 2);
    let misled = Machine::new();
    let built = misled.build(&removes, &["--cache-from", &world.cache()]);
    assert_eq!(built.digest(), expected.digest(), "{}", built.err);
    assert_eq!(built.err.matches("it tells of other files in a base than there are").count(), 1, "{}", built.err);
    misled.0.verify();
}

#[test]
fn what_a_cache_has_lost_of_a_base_is_told_once_and_the_rest_of_it_counts() {
    let world = World::new();
    let app = |command: &str| {
        let spec = "spec = 1\nstages.app = { from = \"{registry}/library/base:1\", steps = [{ run = \"COMMAND\" }] }\nstages.other = { from = \"{registry}/library/base:1\", steps = [{ run = \"echo other > /other\" }] }\nimages.app = { stage = \"app\" }\nimages.other = { stage = \"other\" }\n";
        project(&world, "two", &spec.replace("COMMAND", command))
    };
    fill(&world, &app("echo one > /one"), &[]);
    let mut lost = None;
    world.rewrite(&mut |statement| {
        if statement["kind"] == "base" {
            lost = statement["body"]["difference"]["digest"].as_str().map(str::to_owned);
        }
        false
    });
    let lost = lost.unwrap().trim_start_matches("sha256:").to_owned();
    std::fs::remove_dir_all(world.registry.directory().join("data/docker/registry/v2/blobs/sha256").join(&lost[..2]).join(&lost)).unwrap();
    let other = app("echo two > /one");
    // One stage after the other: the first is told of what is not there.
    let built = Machine::new().build(&other, &["--jobs", "1", "--cache-from", &world.cache()]);
    assert_eq!(built.ran(), ["run echo two > /one"], "{}", built.err);
    assert_eq!(built.err.matches("warning").count(), 1, "{}", built.err);
    let expected = Machine::new().build(&other, &[]);
    assert_eq!(built.layers(), expected.layers());
}

/// Seconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

const AGEING: &str = r#"
spec = 1
stages.app = { from = "{registry}/library/base:1", steps = [{ run = "echo found > /found", refresh = "2h" }] }
images.app = { stage = "app" }
"#;

/// Makes every result of the cache so many seconds older, and gives what it says then of when it was found out and used.
fn age(world: &World, seconds: u64) -> Vec<(u64, Option<u64>)> {
    let mut times = Vec::new();
    world.rewrite(&mut |statement| {
        let is_result = statement["kind"] == "result";
        if is_result {
            let written = statement["written"].as_u64().unwrap() - seconds;
            statement["written"] = written.into();
            let renewed = statement["renewed"].as_u64().map(|renewed| renewed - seconds);
            statement["renewed"] = renewed.into();
            times.push((written, renewed));
        }
        is_result && seconds > 0
    });
    times
}

#[test]
fn a_result_that_was_found_anew_is_new_and_one_that_was_only_used_is_not() {
    let world = World::new();
    let spec = project(&world, "app", AGEING);
    let cache = world.cache();
    let read = || Machine::new().build(&spec, &["--cache-from", &cache]).ran().len();
    fill(&world, &spec, &[]);
    assert_eq!(read(), 0);
    // Older than the step allows: it is run, comes to the same, and others need not run it.
    age(&world, 3 * 3600);
    assert_eq!(read(), 1);
    assert_eq!(Machine::new().build(&spec, &["--cache-from", &cache, "--cache-to", &cache]).ran().len(), 1);
    assert_eq!(read(), 0);
    // Half its time in the cache is over: it is kept, and is as old as it is.
    let [(written, renewed)] = age(&world, 3600)[..] else { panic!("one result") };
    // It may have been sent a moment later than it was found.
    assert!(renewed.is_none_or(|renewed| renewed < written + 600), "{written} {renewed:?}");
    let built = Machine::new().build(&spec, &["--cache-from", &cache, "--cache-to", &format!("{cache},max-age=90m")]);
    assert_eq!(built.ran().len(), 0, "{}", built.err);
    let [(kept, Some(renewed))] = age(&world, 0)[..] else { panic!("one result, renewed") };
    assert!(renewed + 1800 > now() && kept < written + 1800, "{written} {kept} {renewed}");
    assert_eq!(age(&world, 3700).len(), 1);
    assert_eq!(read(), 1, "what is used every day is not for that any younger");
}

#[test]
fn a_result_of_this_machine_is_told_with_its_age() {
    let world = World::new();
    let spec = project(&world, "app", AGEING);
    let machine = Machine::new();
    machine.build(&spec, &[]);
    let done = now();
    std::thread::sleep(std::time::Duration::from_secs(8));
    let cache = world.cache();
    let built = machine.build(&spec, &["--cache-to", &cache]);
    assert_eq!(built.ran().len(), 0, "{}", built.err);
    let [(written, _)] = age(&world, 0)[..] else { panic!("one result") };
    assert!(written < done + 6, "{written} {done}");
}

#[test]
fn records_are_asked_of_the_registry_itself_and_room_is_made_only_after_writing() {
    let world = World::new();
    let expected = world.warm();
    let behind = crate::real::RealRegistry::start("", &[]);
    let mirror = crate::relay::Relay::to(behind.address);
    let cache = world.cache();
    let machine = Machine::new().settings(&format!("[registries.\"{}\"]\nmirrors = [\"{}\"]\n", world.address(), mirror.address));
    world.relay.reset();
    let to = format!("{cache},max-age=1h");
    let built = machine.build(&world.project(), &["--cache-from", &cache, "--cache-to", &to]);
    assert_eq!((built.ran(), built.digest()), (Vec::new(), expected.as_str()), "{}", built.err);
    let about = |requests: Vec<String>, what: &str| requests.into_iter().filter(|line| line.contains(what)).count();
    assert_eq!(about(mirror.requests(), "/manifests/lapstrake-1-"), 0);
    assert!(about(mirror.requests(), "/manifests/") > 0, "the base is asked for there");
    assert!(about(world.relay.requests(), "/manifests/lapstrake-1-") > 0);
    assert_eq!(about(world.relay.requests(), "/tags/list"), 0, "nothing was written");
    std::fs::write(world.project().join("src/main.py"), "other").unwrap();
    Machine::new().build(&world.project(), &["--cache-from", &cache, "--cache-to", &to]);
    assert_eq!(about(world.relay.requests(), "/tags/list"), 1);
}

#[test]
fn a_file_that_cannot_be_fetched_is_asked_for_once() {
    let world = World::new();
    world.warm();
    let web = Web::start(&[("/there", b"there")]);
    let missing = crate::relay::Relay::to(web.address);
    let spec = format!(
        "spec = 1\nstages.app = {{ from = \"{{registry}}/library/base:1\", steps = [{{ fetch = \"http://{}/nothing\", sha256 = \"{}\", to = \"/f\" }}] }}\nimages.app = {{ stage = \"app\" }}\n",
        missing.address,
        "0".repeat(64)
    );
    let machine = Machine::new();
    let said = machine.0.fail(3, &project(&world, "app", &spec), &["--cache-from", &world.cache()]);
    assert!(said.contains("/nothing"), "{said}");
    assert_eq!(missing.requests(), ["GET /nothing"]);
}
