//! What a step makes for an image is packed, and sent, while the steps after it run.

use std::cell::{Cell, OnceCell};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapstrake_cache::Digest;

use crate::lab::{Lab, Mounted};
use crate::real::RealRegistry;
use crate::relay::Relay;
use crate::remote::noise;
use crate::web::answer_when;

/// Bytes of a layer that does not compress.
const LARGE_BYTES: usize = 8 << 20;

/// A project of which the first step makes such a layer, and the second waits for what is fetched; and who is asked for that.
fn project(lab: &Lab, images: &str) -> (PathBuf, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, digest) = (listener.local_addr().unwrap(), Digest::of(b"late").hex());
    let spec = format!(
        r#"
spec = 1
[stages.app]
from = "tar:base.tar"
steps = [
    {{ run = "cp /context/noise /noise", mounts = [{{ from = "context", path = ".", at = "/context" }}] }},
    {{ fetch = "http://{address}/late", sha256 = "{digest}", to = "/late" }},
    {{ run = "cat /late" }},
]
[images]
{images}
"#
    );
    let project = lab.project(&spec, &[]);
    std::fs::write(project.join("noise"), noise(11, LARGE_BYTES)).unwrap();
    (project, listener)
}

#[test]
fn a_layer_is_packed_while_the_steps_after_it_run() {
    let lab = Lab::new();
    let (project, listener) =
        project(&lab, "first = { stage = \"app\", compression = \"zstd\" }\nsecond = { stage = \"app\", compression = \"none\" }");
    let records = lab.store().join("records/packed");
    let is_packed = move || records.read_dir().is_ok_and(|records| records.count() > 0);
    let answered = std::thread::spawn(move || (answer_when(&listener, b"late", is_packed), listener));
    let built = lab.build(&project, &["--jobs", "2"]);
    let (in_time, listener) = answered.join().unwrap();
    assert!(in_time);
    lab.verify();
    // At one job a time it is packed at the end, to the same bytes, however long the next step takes.
    let slow = Lab::new();
    let records = slow.store().join("records/packed");
    let alone = std::thread::spawn(move || {
        let (asked, packed) = (OnceCell::new(), Cell::new(None));
        answer_when(&listener, b"late", || {
            packed.set(Some(records.read_dir().map_or(0, Iterator::count)));
            asked.get_or_init(Instant::now).elapsed() > Duration::from_secs(3)
        });
        packed.get()
    });
    let one = slow.build(&project, &["--jobs", "1"]);
    assert_eq!(alone.join().unwrap(), Some(0));
    let manifests = |built: &crate::lab::Built| -> Vec<String> { built.images().iter().map(ToString::to_string).collect() };
    assert_eq!(manifests(&one), manifests(&built));
}

#[test]
fn a_layer_is_sent_while_the_steps_after_it_run() {
    let registry = RealRegistry::start("", &[]);
    let relay = Arc::new(Relay::to(registry.address));
    let lab = Lab::new();
    let (project, listener) = project(&lab, &format!("app = {{ stage = \"app\", tags = [\"{}/team/app:1\"] }}", relay.address));
    let seen = Arc::clone(&relay);
    let answered = std::thread::spawn(move || answer_when(&listener, b"late", || seen.bytes() > LARGE_BYTES as u64));
    lab.build(&project, &["--jobs", "2", "--push"]);
    assert!(answered.join().unwrap());
    // Once.
    assert!(relay.bytes() < 2 * LARGE_BYTES as u64, "{} bytes", relay.bytes());
}

#[test]
fn a_layer_that_cannot_be_packed_ends_the_build_at_once_and_is_told_once() {
    let lab = Lab::new();
    let (project, listener) = project(&lab, "app = { stage = \"app\" }");
    let _store = Mounted::new(lab.store(), "tmpfs", "size=24m,mode=0700");
    // Nobody answers what the step after it asks for.
    let ran = lab.run(&["build", project.to_str().unwrap(), "--jobs", "2", "--progress", "plain"]);
    drop(listener);
    assert_eq!(ran.code, Some(3), "{ran:#?}");
    assert!(ran.err.contains("No space left on device"), "{ran:#?}");
    assert_eq!(ran.err.matches("\nerror").count(), 1, "{ran:#?}");
    let stopped = |line: &&str| line.contains(" step app 2/3 ") && line.ends_with(" cancelled");
    assert!(ran.err.lines().any(|line| stopped(&line)), "{ran:#?}");
}

#[test]
fn a_step_that_fails_after_another_made_a_layer_is_all_that_is_told() {
    let lab = Lab::new();
    let (project, _) = project(&lab, "app = { stage = \"app\" }");
    let spec = project.join("lapstrake.toml");
    let failing: Vec<String> = std::fs::read_to_string(&spec)
        .unwrap()
        .lines()
        .map(|line| if line.contains("fetch = ") { "{ run = \"exit 7\" },".to_owned() } else { line.to_owned() })
        .collect();
    std::fs::write(&spec, failing.join("\n")).unwrap();
    let ran = lab.run(&["build", project.to_str().unwrap(), "--jobs", "2", "--progress", "plain"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert_eq!(ran.err.matches("\nerror").count(), 1, "{ran:#?}");
    assert!(ran.err.contains("code 7"), "{ran:#?}");
}
