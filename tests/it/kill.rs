//! Builds that are killed at any instant.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::lab::{Built, Lab, Ran};

/// Kills on stores that knew nothing, and on one that has everything.
const KILLS_EACH: u32 = 25;

const SPEC: &str = r#"
spec = 1
[args]
marker = { help = "a number by which the test finds the processes of steps" }

[stages.one]
from = "tar:base.tar"
[[stages.one.steps]]
run = "sleep ${args.marker} & seq 1 20000 > /numbers; mkdir -p /deep/er; cp /bin/busybox /deep/er/copy; chown 5:6 /numbers; mkfifo /pipe"
[[stages.one.steps]]
copy = "src"
to = "/src"
[[stages.one.steps]]
run = "cat /src/a /numbers > /both; rm /numbers; sleep 0.05"

[stages.two]
from = "tar:base.tar"
[[stages.two.steps]]
run = "sleep ${args.marker} & sleep 0.05; echo two > /two"

[[stages.one.steps]]
copy = "/two"
from = "stage:two"
to = "/two"

[images.web]
stage = "one"
[images.zstd]
stage = "one"
compression = "zstd"
"#;

/// Numbers that look random, the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Processes whose command line has this word.
fn processes(marker: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let words = |line: &[u8]| line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>();
    lines
        .map(|line| words(&line))
        .filter(|words| words.first().is_some_and(|word| word == "sleep") && words.iter().any(|word| word == marker))
        .map(|words| words.join(" "))
        .collect()
}

fn no_process_survives(marker: &str) {
    for _ in 0..500 {
        if processes(marker).is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("processes of a step live on: {:?}", processes(marker));
}

#[test]
fn a_killed_build_is_followed_by_a_good_one_and_leaves_no_process() {
    let first = Lab::new();
    let project = first.project(SPEC, &[("src/a", "a\n"), ("src/b", "b\n")]);
    // No other process sleeps for so long.
    let marker = (1_000_000_000 + u64::from(std::process::id())).to_string();
    let arguments = ["--arg", &format!("marker={marker}"), "--jobs", "2"];
    let begun = Instant::now();
    let expected = first.build(&project, &arguments);
    let whole = u64::try_from(begun.elapsed().as_micros()).unwrap();
    let same = |built: &Built| assert_eq!(built.images(), expected.images(), "{}", built.err);
    no_process_survives(&marker);

    let mut numbers = Numbers(u64::from(std::process::id()));
    let (mut killed, mut seen) = (0_u32, 0_usize);
    let mut kill = |lab: &Lab, further: &[&str]| {
        let mut command = lab.command(&["build", project.to_str().unwrap()]);
        let mut child = command.args(arguments).args(further).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(numbers.below(whole)));
        seen += usize::from(!processes(&marker).is_empty());
        let ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        no_process_survives(&marker);
        !ended
    };
    for _ in 0..KILLS_EACH {
        let lab = Lab::new();
        killed += u32::from(kill(&lab, &[]));
        same(&lab.build(&project, &arguments));
        lab.verify();
        killed += u32::from(kill(&first, &["--no-cache"]));
        same(&first.build(&project, &arguments));
    }
    while killed < 50 {
        killed += u32::from(kill(&first, &["--no-cache"]));
        same(&first.build(&project, &arguments));
    }
    same(&first.build(&project, &[&arguments[..], &["--no-cache"]].concat()));
    first.verify();
    assert!(seen > 0, "no build was killed while a step ran");
    // Nothing of the killed ones is kept for ever.
    let ran = first.run(&["cache", "prune", "--max-size", "0"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let left: Vec<_> = ["scratch", "trash"].iter().flat_map(|name| std::fs::read_dir(first.store().join(name)).unwrap()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_interrupted_build_ends_in_order_with_130() {
    let lab = Lab::new();
    let project =
        lab.project("spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\nsteps = [{ run = \"echo begun; sleep 2000000001\" }]\n", &[]);
    let mut command = lab.command(&["build", project.to_str().unwrap(), "--stage", "app"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = rustix::process::Pid::from_child(&child);
    for _ in 0..1000 {
        if !processes("2000000001").is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{ran:#?}");
    no_process_survives("2000000001");
    lab.verify();
}
