//! Ending: time limits, cancelling, orphans, a builder that dies, several steps at once.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use lapstrake::event::{Cancel, Stream};
use lapstrake::sandbox::{Exit, MountKind, Sandbox as _, SandboxError};

use crate::lab::{Lab, children, contents, mount, names};
use crate::processes::{is_held, is_running, mark};
use crate::waiting::until;

#[test]
fn a_time_limit_ends_the_command_and_all_that_it_started() {
    let lab = Lab::new();
    let mark = mark();
    let mut job = lab.job("a", &format!("echo begun; trap '' TERM INT HUP; (setsid sleep {mark} &) ; sleep {mark}"));
    // Enough for the shell to begin on any machine.
    job.time_limit = Some(Duration::from_secs(5));
    let done = lab.run(&job).unwrap();
    assert_eq!((done.finished.exit, done.out.as_str()), (Exit::TimedOut, "begun\n"));
    assert!(!is_running(&mark));
}

#[test]
fn a_command_that_ends_in_time_is_not_touched_by_its_limit() {
    let lab = Lab::new();
    let mut job = lab.job("a", "exit 3");
    job.time_limit = Some(Duration::from_secs(3600));
    assert_eq!(lab.run(&job).unwrap().finished.exit, Exit::Code(3));
}

#[test]
fn orphans_are_gone_before_the_result_is_read() {
    let lab = Lab::new();
    let mark = mark();
    let script = format!(
        "(setsid sh -c 'while :; do date > /late; done' > /dev/null 2>&1 &); (sleep {mark} &); \
         until test -e /late; do sleep 0.05; done; exit 5"
    );
    let done = lab.run(&lab.job("a", &script)).unwrap();
    assert_eq!(done.finished.exit, Exit::Code(5));
    assert!(!is_running(&mark));
    let upper = done.finished.upper.directory();
    let before = contents(upper, "late");
    std::thread::yield_now();
    assert_eq!(contents(upper, "late"), before);
}

#[test]
fn cancelling_ends_the_step_and_is_an_error() {
    let lab = Lab::new();
    let mark = mark();
    let cancel = Cancel::new();
    let outcome = lab.isolation.run(
        &lab.job("a", &format!("echo begun; sleep {mark}")),
        &mut |stream, bytes| {
            assert_eq!((stream, bytes), (Stream::Out, b"begun\n".as_slice()));
            cancel.cancel();
        },
        &cancel,
    );
    assert!(matches!(outcome, Err(SandboxError::Cancelled)), "{outcome:?}");
    assert!(!is_running(&mark));
    let outcome = lab.isolation.run(&lab.job("b", "true"), &mut |_, _| {}, &cancel);
    assert!(matches!(outcome, Err(SandboxError::Cancelled)), "a step is not begun when stopping was asked for");
}

#[test]
fn a_callback_that_panics_ends_the_step() {
    let lab = Lab::new();
    let mark = mark();
    let job = lab.job("a", &format!("echo begun; sleep {mark}"));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = lab.isolation.run(&job, &mut |_, _| panic!("on purpose"), &Cancel::new());
    }));
    assert!(outcome.is_err());
    until("what the step started ends", || !is_running(&mark));
    assert_eq!(lab.sh("b", "echo still works").out, "still works\n");
}

#[test]
fn steps_run_beside_each_other_in_one_namespace() {
    let lab = Lab::new();
    lab.base();
    let outputs = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (lab, outputs) = (&lab, &outputs);
            scope.spawn(move || {
                for round in 0..5 {
                    let name = format!("t{thread}r{round}");
                    let mut job = lab.job(&name, &format!("echo {name} > /only; cat /only /in/{name}; ls / | wc -l"));
                    job.mounts = vec![mount(&format!("/in/{name}"), MountKind::File { bytes: vec![b'x'], uid: 0, gid: 0, mode: 0o444 })];
                    let done = lab.succeed(&job);
                    assert_eq!(names(done.finished.upper.directory()), ["d etc", "f only"]);
                    outputs.lock().unwrap().push((name, done.out));
                }
            });
        }
    });
    let outputs = outputs.into_inner().unwrap();
    assert_eq!(outputs.len(), 20);
    for (name, out) in outputs {
        assert_eq!(out, format!("{name}\nx9\n"));
    }
}

#[test]
fn several_namespaces_can_be_open_and_each_ends_with_its_handle() {
    let labs = [Lab::new(), Lab::new(), Lab::new()];
    for lab in &labs {
        assert_eq!(lab.sh("a", "echo x").out, "x\n");
    }
    let directory = tempfile::tempdir().unwrap();
    let kept = labs[0].isolation.agent().directory(directory.path()).unwrap();
    drop(labs);
    // The agent lives as long as anything that needs it.
    assert!(kept.list(b"").unwrap().is_empty());
}

/// Not a test of its own: the builder that is killed.
#[test]
fn builder_to_be_killed() {
    let Some(mark) = std::env::var_os("LAPSTRAKE_TEST_MARK") else { return };
    let lab = Lab::new();
    let script = format!("(setsid sleep {0} &); echo begun; sleep {0}", mark.to_string_lossy());
    let _ = lab.isolation.run(&lab.job("a", &script), &mut |_, _| eprintln!("step begun in {}", lab.path("").display()), &Cancel::new());
}

/// The builder does this to its own before it is killed.
enum First {
    Nothing,
    /// Whoever keeps the step is stopped, and hears of nothing.
    StopsWhoKeepsTheStep,
}

#[test]
fn a_builder_that_is_killed_takes_its_steps_along() {
    for first in [First::Nothing, First::StopsWhoKeepsTheStep] {
        kill_a_builder(&first);
    }
}

fn kill_a_builder(first: &First) {
    let lab = Lab::new();
    let mark = mark();
    let mut builder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "limits::builder_to_be_killed", "--nocapture"])
        .env("LAPSTRAKE_TEST_MARK", &mark)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let line = BufReader::new(builder.stderr.take().unwrap()).lines().map_while(Result::ok).find(|line| line.starts_with("step begun in "));
    let left = line.unwrap()["step begun in ".len()..].to_owned();
    until("what the step started runs", || is_running(&mark));
    match first {
        First::Nothing => {}
        First::StopsWhoKeepsTheStep => {
            let below = |process: &Path| -> Vec<PathBuf> {
                let threads = std::fs::read_dir(process.join("task")).unwrap().map(|thread| thread.unwrap().path());
                threads.flat_map(|thread| children(&thread)).collect()
            };
            let keepers: Vec<_> = below(&Path::new("/proc").join(builder.id().to_string())).iter().flat_map(|owner| below(owner)).collect();
            assert_eq!(keepers.len(), 1, "{keepers:?}");
            let pid = keepers[0].file_name().unwrap().to_str().unwrap().parse().unwrap();
            rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::STOP).unwrap();
        }
    }
    builder.kill().unwrap();
    builder.wait().unwrap();
    until("what the step started ends", || !is_running(&mark));
    until("nothing works on its directories any more", || !is_held(std::path::Path::new(&left)));
    lab.isolation.agent().remove(std::path::Path::new(&left)).unwrap();
}
