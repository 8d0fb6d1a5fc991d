//! Bases of several layers: each layer is read once, whoever waits for it and whatever fails, and only where it is needed.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;

use lapstrake_cache::Digest;
use serde_json::{Value, json};

use crate::lab::{Built, Lab};
use crate::real::RealRegistry;
use crate::web::answer_when;

/// One base that another begins with. The second has a layer twice, takes away what is below, and needs directories that only those say.
fn bases(low: &str, high: &str) -> String {
    format!(
        r#"
spec = 1
[stages.low]
from = "tar:base.tar"
steps = [
    {{ run = "mkdir -p /etc/one && chmod 700 /etc/one && echo one > /etc/one/file" }},
    {{ run = "echo two > /etc/two" }},
]
[stages.high]
from = "stage:low"
steps = [
    {{ run = "rm -r /etc/one && mkdir /etc/one && chown 5:6 /etc/one" }},
    {{ run = "echo three > /etc/two" }},
    {{ run = "echo two > /etc/two" }},
    {{ run = "grep two /etc/two" }},
]
[images.high]
stage = "high"
tags = ["{high}"]
[images.low]
stage = "low"
tags = ["{low}"]
"#
    )
}

/// The command on `base` waits for another stage, which is made like this.
fn upon(base: &str, made: &str) -> String {
    format!(
        r#"
spec = 1
[stages.made]
{made}
[stages.app]
from = "{base}"
steps = [
    {{ copy = "/made", from = "stage:made", to = "/made" }},
    {{ run = "cat /made /etc/two > /both; stat -c '%a %u:%g' /etc/one >> /both; ls -A /etc/one >> /both; cat /both" }},
]
[images.app]
stage = "app"
"#
    )
}

const WRITTEN: &str = "from = \"scratch\"\nsteps = [{ write = \"/made\", content = \"two\" }]";

/// A registry with both bases, their tags, and how they were built: the high one first.
struct World {
    registry: RealRegistry,
    low: String,
    high: String,
    built: Built,
}

impl World {
    fn new() -> World {
        let registry = RealRegistry::start("", &[]);
        let [low, high] = ["low", "high"].map(|name| format!("{}/team/base:{name}", registry.address));
        let lab = Lab::new();
        let built = lab.build(&lab.project(&bases(&low, &high), &[]), &["--push"]);
        World { registry, low, high, built }
    }

    /// The first twelve digits of the digest of a layer of the high base.
    fn short(&self, layer: usize) -> &str {
        &self.built.layers()[layer].trim_start_matches("sha256:")[..12]
    }

    /// Removes a layer of the high base from the registry.
    fn lose(&self, layer: usize) {
        let gone = self.built.layers()[layer].trim_start_matches("sha256:");
        std::fs::remove_dir_all(self.registry.directory().join("data/docker/registry/v2/blobs/sha256").join(&gone[..2]).join(gone))
            .unwrap();
    }
}

/// The lines of plain progress that begin like this after their number, without it.
fn told<'a>(progress: &'a str, what: &str) -> Vec<&'a str> {
    let lines = progress.lines().filter_map(|line| line.strip_prefix('#')?.split_once(' '));
    lines.map(|(_, line)| line).filter(|line| line.starts_with(what)).collect()
}

#[test]
fn commands_run_on_a_base_that_has_a_layer_twice() {
    let world = World::new();
    let layers = world.built.layers();
    assert_eq!((layers.len(), layers[2]), (6, layers[5]));
    let lab = Lab::new();
    let spec = format!(
        "spec = 1\nstages.app = {{ from = \"{}\", steps = [{{ run = \"grep two /etc/two\" }}] }}\nimages.app = {{ stage = \"app\" }}\n",
        world.high
    );
    let built = lab.build(&lab.project(&spec, &[]), &[]);
    assert_eq!(built.layers(), layers);
}

#[test]
fn layers_of_bases_that_begin_alike_are_fetched_and_read_once_each_and_lie_in_order() {
    let world = World::new();
    let layers: BTreeSet<&str> = world.built.layers().into_iter().collect();
    assert_eq!((world.built.layers().len(), layers.len()), (6, 5));
    let lab = Lab::new();
    let project =
        lab.project(&upon(&world.high, &format!("from = \"{}\"\nsteps = [{{ run = \"cat /etc/two > /made\" }}]", world.low)), &[]);
    let built = lab.build(&project, &["--progress", "plain", "--jobs", "4"]);
    assert!(built.err.contains("| 755 5:6\n"), "{}", built.err);
    for (number, digest) in world.built.layers().iter().enumerate() {
        let of_it = |what| told(&built.err, what).iter().filter(|line| line.contains(world.short(number))).count();
        assert_eq!((of_it("pull "), of_it("unpack ")), (1, 1), "{digest}: {}", built.err);
    }
    assert_eq!(told(&built.err, "unpack ").len(), layers.len(), "{}", built.err);
    lab.verify();
    // One layer after another, and in a build to which all is known.
    let alone = Lab::new().build(&project, &["--jobs", "1"]);
    assert_eq!(alone.digest(), built.digest());
    let again = lab.build(&project, &["--no-cache", "--progress", "plain"]);
    assert_eq!((again.digest(), told(&again.err, "unpack ")), (built.digest(), vec![]));
}

/// How often a layer of the high base was unpacked, for each that it has.
fn unpacked(world: &World, progress: &str) -> Vec<usize> {
    let layers: BTreeSet<&str> = world.built.layers().into_iter().collect();
    let count = |layer: &str| told(progress, "unpack ").iter().filter(|line| line.contains(&layer[7..19])).count();
    layers.into_iter().map(count).collect()
}

#[test]
fn with_a_shared_cache_too_layers_are_fetched_and_read_once_each() {
    let world = World::new();
    let cache = format!("{}/team/cache", world.registry.address);
    let lab = Lab::new();
    let project = lab.project(&upon(&world.high, WRITTEN), &[]);
    let first = lab.build(&project, &["--progress", "plain", "--jobs", "4", "--cache-from", &cache, "--cache-to", &cache]);
    assert_eq!(unpacked(&world, &first.err), [1; 5], "{}", first.err);
    // Elsewhere another command runs on what the cache tells of the base, which is made sure of.
    let spec = project.join("lapstrake.toml");
    let text = std::fs::read_to_string(&spec).unwrap();
    std::fs::write(&spec, text.replace("cat /both", "cat /both | cat")).unwrap();
    let plain = Lab::new().build(&project, &[]);
    for jobs in ["1", "4"] {
        let other = Lab::new();
        let told = other.build(&project, &["--progress", "plain", "--jobs", jobs, "--cache-from", &cache]);
        assert_eq!((told.digest(), unpacked(&world, &told.err)), (plain.digest(), vec![1; 5]), "{}", told.err);
        other.verify();
    }
}

#[test]
fn a_base_of_which_only_the_contents_were_needed_is_unpacked_once_when_a_command_runs() {
    let world = World::new();
    let lab = Lab::new();
    let copies = format!(
        "spec = 1\nstages.app = {{ from = \"{}\", steps = [{{ write = \"/etc/one/two\", content = \"2\" }}] }}\nimages.app = {{ stage = \"app\" }}\n",
        world.high
    );
    let project = lab.project(&copies, &[]);
    let first = lab.build(&project, &["--progress", "plain"]);
    assert_eq!(unpacked(&world, &first.err), [1; 5], "{}", first.err);
    let spec = project.join("lapstrake.toml");
    std::fs::write(&spec, copies.replace("steps = [", "steps = [{ run = \"grep two /etc/two\" }, ")).unwrap();
    let ran = lab.build(&project, &["--progress", "plain"]);
    assert_eq!((ran.layers(), unpacked(&world, &ran.err)), (first.layers(), vec![1; 5]), "{}", ran.err);
    assert_eq!(told(&ran.err, "pull "), Vec::<&str>::new());
    lab.verify();
}

#[test]
fn a_layer_of_a_base_that_is_not_there_is_named_and_not_asked_for_again_and_again() {
    let world = World::new();
    world.lose(2);
    for made in [WRITTEN.to_owned(), format!("from = \"{}\"\nsteps = [{{ run = \"cat /etc/two > /made\" }}]", world.high)] {
        let lab = Lab::new();
        let project = lab.project(&upon(&world.high, &made), &[]);
        let ran = lab.run(&["build", project.to_str().unwrap(), "--progress", "plain"]);
        assert_eq!(ran.code, Some(3), "{ran:#?}");
        assert_eq!(ran.err.matches("error").count(), 1, "{ran:#?}");
        assert!(ran.err.contains(world.short(2)), "{ran:#?}");
        // Two steps may need it at a time.
        let asked: Vec<&str> = told(&ran.err, "pull ").into_iter().filter(|line| line.contains(world.short(2))).collect();
        assert!(matches!(asked.len(), 1 | 2), "{ran:#?}");
    }
}

#[test]
fn a_new_base_is_unpacked_while_its_first_command_waits_for_another_stage() {
    let world = World::new();
    let lab = Lab::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, digest) = (listener.local_addr().unwrap(), Digest::of(b"two").hex());
    let made = format!("from = \"scratch\"\nsteps = [{{ fetch = \"http://{address}/made\", sha256 = \"{digest}\", to = \"/made\" }}]");
    let project = lab.project(&upon(&world.high, &made), &[]);
    let records = lab.store().join("records/foreign-differences");
    let answered = std::thread::spawn(move || answer_when(&listener, b"two", || records.read_dir().map_or(0, Iterator::count) == 5));
    lab.build(&project, &["--jobs", "2"]);
    assert!(answered.join().unwrap());
}

#[test]
fn a_base_that_the_store_has_lost_is_not_fetched_for_steps_that_are_cached() {
    let World { registry, high, built: base, .. } = World::new();
    let lab = Lab::new();
    let project = lab.project(&upon(&high, WRITTEN), &[]);
    let locked = lab.run(&["lock", project.to_str().unwrap()]);
    assert_eq!(locked.code, Some(0), "{locked:#?}");
    let built = lab.build(&project, &[]);
    std::fs::remove_dir_all(lab.store().join("records/foreign-differences")).unwrap();
    for layer in BTreeSet::from_iter(base.layers()) {
        std::fs::remove_file(lab.store().join("blobs/sha256").join(layer.trim_start_matches("sha256:"))).unwrap();
    }
    drop(registry);
    let again = lab.build(&project, &["--progress", "plain"]);
    assert_eq!((again.digest(), again.ran()), (built.digest(), vec![]), "{}", again.err);
    // As another step, of which nothing says that it was asked for before.
    let spec = project.join("lapstrake.toml");
    let renamed = std::fs::read_to_string(&spec).unwrap().replace("stages.app", "stages.other").replace("\"app\"", "\"other\"");
    std::fs::write(&spec, renamed).unwrap();
    let again = lab.build(&project, &[]);
    assert_eq!(again.ran(), Vec::<&str>::new(), "{}", again.err);
}

/// Changes a document of an image in a layout, and says its new name.
fn changed(layout: &Path, name: &Value, change: impl FnOnce(&mut Value)) -> (String, usize) {
    let blobs = layout.join("blobs/sha256");
    let mut document: Value = serde_json::from_slice(&std::fs::read(blobs.join(&name.as_str().unwrap()[7..])).unwrap()).unwrap();
    change(&mut document);
    let bytes = serde_json::to_vec(&document).unwrap();
    let digest = Digest::of(&bytes);
    std::fs::write(blobs.join(digest.hex()), &bytes).unwrap();
    (digest.to_string(), bytes.len())
}

#[test]
fn of_layers_that_are_not_what_the_config_says_the_lowest_is_named_and_none_above_it_is_kept() {
    let lab = Lab::new();
    let spec = bases("localhost/low", "localhost/high");
    let layout = lab.path("project/high");
    lab.build(&lab.project(&spec, &[]), &["-o", &format!("high=oci:{}", layout.display())]);
    let mut index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let (mut wrong, mut right) = (String::new(), String::new());
    let (manifest, size) = changed(&layout, &index["manifests"][0]["digest"].clone(), |manifest| {
        let (config, size) = changed(&layout, &manifest["config"]["digest"].clone(), |config| {
            let diff_ids = config["rootfs"]["diff_ids"].as_array_mut().unwrap();
            right = diff_ids[2].as_str().unwrap().to_owned();
            for (number, diff_id) in diff_ids.iter_mut().enumerate().skip(2) {
                *diff_id = json!(Digest::of(&[number as u8]).to_string());
            }
            wrong = diff_ids[2].as_str().unwrap().to_owned();
        });
        manifest["config"]["digest"] = json!(config);
        manifest["config"]["size"] = json!(size);
    });
    index["manifests"][0]["digest"] = json!(manifest);
    index["manifests"][0]["size"] = json!(size);
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
    let fresh = Lab::new();
    let project = fresh.project(&upon("oci:high", WRITTEN), &[]);
    crate::real::run("cp", &["-R", layout.to_str().unwrap(), project.to_str().unwrap()]);
    let said = fresh.fail(3, &project, &["--progress", "plain"]);
    assert_eq!(said.matches("error").count(), 1, "{said}");
    assert!(said.contains(&format!("has the diff id {right}, but the image's config says {wrong}")), "{said}");
    // Two layers lie below it.
    assert_eq!(fresh.store().join("records/foreign-differences").read_dir().unwrap().count(), 2);
    fresh.verify();
}
