//! Builds that are killed at any instant.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::lab::{Built, Lab, Ran};
use crate::processes::{is_held, is_running, mark};
use crate::waiting::until;

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

fn no_process_survives(lab: &Lab, marker: &str) {
    until(&format!("no process of a step lives on: {marker}"), || !is_running(marker));
    until("nothing works on the store any more", || !is_held(&lab.path("")));
}

#[test]
fn a_killed_build_is_followed_by_a_good_one_and_leaves_no_process() {
    let first = Lab::new();
    let project = first.project(SPEC, &[("src/a", "a\n"), ("src/b", "b\n")]);
    let marker = mark();
    let arguments = ["--arg", &format!("marker={marker}"), "--jobs", "2"];
    let begun = Instant::now();
    let expected = first.build(&project, &arguments);
    let mut whole = u64::try_from(begun.elapsed().as_micros()).unwrap();
    let same = |built: &Built| assert_eq!(built.images(), expected.images(), "{}", built.err);
    no_process_survives(&first, &marker);

    let mut numbers = Numbers(u64::from(std::process::id()));
    let (mut killed, mut seen) = (0_u32, 0_usize);
    let mut kill = |lab: &Lab, further: &[&str]| {
        let mut command = lab.command(&["build", project.to_str().unwrap()]);
        let begun = Instant::now();
        let mut child = command.args(arguments).args(further).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(numbers.below(whole)));
        seen += usize::from(is_running(&marker));
        let ended = child.try_wait().unwrap().is_some();
        if ended {
            // The machine has become faster: the next is killed sooner.
            whole = whole.min(u64::try_from(begun.elapsed().as_micros()).unwrap()).max(1);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        no_process_survives(lab, &marker);
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
    let marker = mark();
    let spec = format!("spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\nsteps = [{{ run = \"echo begun; sleep {marker}\" }}]\n");
    let project = lab.project(&spec, &[]);
    let mut command = lab.command(&["build", project.to_str().unwrap(), "--stage", "app"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the step of the build sleeps", || {
        assert!(child.try_wait().unwrap().is_none(), "the build ended before it was interrupted");
        is_running(&marker)
    });
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{ran:#?}");
    no_process_survives(&lab, &marker);
    lab.verify();
}
