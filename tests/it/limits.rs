//! Limits of what all commands of a build may use together: held where control groups can be made, and refused elsewhere.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::lab::{Lab, PROGRAM, Ran, as_root, set_mode};
use crate::single_id::{ALONE, make_user_alone};

/// The rungs on which this user can run commands.
fn rungs() -> &'static [&'static str] {
    if rustix::process::geteuid().is_root() { &["userns", "single-id", "chroot"] } else { &["userns", "single-id"] }
}

/// Whether a limit can be had, or why not.
fn held(lab: &Lab, name: &str) -> Result<(), String> {
    let ran = lab.run(&["doctor", "--json"]);
    let said: Value = serde_json::from_str(&ran.out).unwrap();
    let limit = said["limits"].as_array().unwrap().iter().find(|limit| limit["name"] == name).unwrap();
    if limit["works"] == true { Ok(()) } else { Err(limit["reason"].as_str().unwrap().to_owned()) }
}

fn build(script: &str, arguments: &[&str]) -> Ran {
    let lab = Lab::new();
    let spec = format!("spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\n[[stages.app.steps]]\nrun = '''{script}'''\n");
    let project = lab.project(&spec, &[]);
    lab.run(&[&["build", project.to_str().unwrap(), "--stage", "app", "--progress", "plain"], arguments].concat())
}

/// The step fails and says why, where the limit is held; else nothing is run, and it is said why.
fn assert_ends(held: &Result<(), String>, ran: &Ran, said: &str) {
    match held {
        Ok(()) => {
            assert_eq!(ran.code, Some(1), "{ran:#?}");
            assert!(ran.err.contains(said), "{ran:#?}");
        }
        Err(reason) => {
            assert_eq!(ran.code, Some(3), "{ran:#?}");
            assert!(ran.err.contains(reason), "{ran:#?}");
        }
    }
}

#[test]
fn a_step_that_needs_more_memory_than_there_may_be_fails_and_says_so() {
    let held = held(&Lab::new(), "memory");
    for rung in rungs() {
        let limited = |script: &str| build(script, &["--isolation", rung, "--memory", "64m"]);
        // The program has one buffer, which is filled.
        for script in ["dd if=/dev/zero of=/dev/null bs=300M count=1", "dd if=/dev/zero of=/dev/null bs=300M count=1 || true"] {
            assert_ends(&held, &limited(script), "out of memory: all commands together may use 64 MiB");
        }
        let small = limited("dd if=/dev/zero of=/dev/null bs=1M count=1");
        assert_eq!(small.code, Some(if held.is_ok() { 0 } else { 3 }), "{small:#?}");
    }
}

#[test]
fn a_step_that_forks_for_ever_is_ended_and_says_so() {
    let held = held(&Lab::new(), "pids");
    for rung in rungs() {
        for script in ["bomb() { bomb | bomb & }; bomb; sleep 98766", "for i in $(seq 200); do sleep 98766 & done || true; wait"] {
            let ran = build(script, &["--isolation", rung, "--pids", "64"]);
            assert_ends(&held, &ran, "out of processes: all commands together may have 64, threads among them");
        }
        let few = build("for i in 1 2 3 4 5; do sleep 0 & done; wait", &["--isolation", rung, "--pids", "64"]);
        assert_eq!(few.code, Some(if held.is_ok() { 0 } else { 3 }), "{few:#?}");
    }
}

/// A builder that is ended with the test, however that ends.
struct Builder(Child);

impl Drop for Builder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The groups of a builder.
fn groups_of(pid: u32) -> Vec<PathBuf> {
    let (mut found, mut next) = (Vec::new(), vec![PathBuf::from("/sys/fs/cgroup")]);
    while let Some(directory) = next.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().starts_with(&format!("lapstrake-{pid}-")) {
                found.push(entry.path());
            }
            next.push(entry.path());
        }
    }
    found
}

#[test]
fn commands_alone_are_in_the_groups_and_groups_end_with_the_build() {
    let lab = Lab::new();
    let refusal = ["memory", "pids", "cpu"].iter().find_map(|name| held(&lab, name).err());
    let config = "[limits]\nmemory = \"1GiB\"\npids = 1000\ncpus = 1.5\n";
    let project = lab.project(
        "spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\nsteps = [{ run = \"cat /proc/self/cgroup || true; echo begun; sleep 98767\" }]\n",
        &[("../config/lapstrake/config.toml", config)],
    );
    for rung in rungs() {
        let mut command = lab.command(&["build", project.to_str().unwrap(), "--stage", "app", "--progress", "plain", "--isolation", rung]);
        let mut builder = Builder(command.stderr(Stdio::piped()).spawn().unwrap());
        let mut lines = BufReader::new(builder.0.stderr.take().unwrap()).lines().map(Result::unwrap);
        let before: Vec<_> = lines.by_ref().take_while(|line| !line.ends_with("| begun")).collect();
        let groups = groups_of(builder.0.id());
        if let Some(reason) = &refusal {
            assert!(before.iter().any(|line| line.contains(reason)), "{before:#?}");
            assert_eq!(builder.0.wait().unwrap().code(), Some(3));
            continue;
        }
        let said = |names: [&str; 2]| {
            groups.iter().find_map(|group| names.iter().find_map(|name| std::fs::read_to_string(group.join(name)).ok())).unwrap()
        };
        assert_eq!(said(["memory.max", "memory.limit_in_bytes"]).trim(), (1 << 30).to_string(), "{rung}: {groups:?}");
        assert_eq!(said(["pids.max", "pids.max"]).trim(), "1000");
        assert_eq!(said(["cpu.max", "cpu.cfs_quota_us"]).split_whitespace().next(), Some("150000"));
        assert!(
            !before.iter().any(|line| line.contains("| ") && line.contains("lapstrake-")),
            "a step does not see its groups' names: {before:#?}"
        );
        for group in &groups {
            let inside: Vec<_> = std::fs::read_dir(group).unwrap().flatten().filter(|entry| entry.path().is_dir()).collect();
            assert_eq!(inside.len(), 1, "one step, one group: {inside:?}");
            let processes = std::fs::read_to_string(inside[0].path().join("cgroup.procs")).unwrap();
            assert!(!processes.is_empty());
            for pid in processes.lines() {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
                assert!(!line.starts_with(b"lapstrake"), "no process of ours: {}", line.escape_ascii());
            }
        }
        as_root("kill", &["-INT", &builder.0.id().to_string()]);
        lines.for_each(drop);
        assert_eq!(builder.0.wait().unwrap().code(), Some(130));
        assert_eq!(groups_of(builder.0.id()), Vec::<PathBuf>::new());
    }
}

#[test]
fn groups_of_a_builder_that_was_killed_are_removed_by_the_next() {
    let lab = Lab::new();
    if let Err(reason) = held(&lab, "pids") {
        assert!(!reason.is_empty());
        return;
    }
    let spec = |script: &str| format!("spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\nsteps = [{{ run = \"{script}\" }}]\n");
    let project = lab.project(&spec("echo begun; sleep 98768"), &[]);
    let arguments = ["build", project.to_str().unwrap(), "--stage", "app", "--progress", "plain", "--isolation", "userns", "--pids", "99"];
    let mut builder = Builder(lab.command(&arguments).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(builder.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with("| begun")));
    builder.0.kill().unwrap();
    builder.0.wait().unwrap();
    let left = groups_of(builder.0.id());
    assert!(!left.is_empty());
    // Its processes end by themselves, each when it sees that the one above it is gone.
    while left.iter().any(|group| {
        let steps = std::fs::read_dir(group).into_iter().flatten().flatten();
        steps.into_iter().any(|step| std::fs::read_to_string(step.path().join("cgroup.procs")).is_ok_and(|text| !text.is_empty()))
    }) {
        std::thread::yield_now();
    }
    lab.project(&spec("true"), &[]);
    assert_eq!(lab.run(&arguments).code, Some(0));
    assert_eq!(groups_of(builder.0.id()), Vec::<PathBuf>::new());
}

/// The program, and a project with this command, of a user without subordinate ids, to whom all of the lab belongs then.
fn given_to_alone(lab: &Lab, command: &str) -> (PathBuf, PathBuf) {
    let program = lab.path("lapstrake");
    std::fs::copy(PROGRAM, &program).unwrap();
    set_mode(&program, 0o755);
    let spec = format!("spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\nsteps = [{{ run = \"{command}\" }}]\n");
    let project = lab.project(&spec, &[]);
    as_root("chown", &["-R", ALONE, lab.path("").to_str().unwrap()]);
    (program, project)
}

#[test]
fn a_user_to_whom_no_group_is_delegated_is_told_what_could_be_allowed() {
    make_user_alone();
    let lab = Lab::new();
    let (program, project) = given_to_alone(&lab, "true");
    let run = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", ALONE, "--regid", ALONE, "--init-groups", "--inh-caps=-all"]).arg(&program).args(arguments);
        Ran::of(command.env_clear().envs(lab.environment()).current_dir(lab.path("")))
    };
    let ran = run(&["build", project.to_str().unwrap(), "--stage", "app", "--memory", "1g"]);
    assert_eq!(ran.code, Some(3), "{ran:#?}");
    assert!(ran.err.contains("memory cannot be limited: ") && ran.err.contains("-p Delegate=yes"), "{ran:#?}");
    assert_eq!(ran.err.matches("cannot be limited").count(), 1, "once, not for each rung: {}", ran.err);
    let doctor = run(&["doctor"]);
    assert!(doctor.out.contains("--memory   is refused: memory cannot be limited: "), "{doctor:#?}");
    // A limit that is 0 is none.
    let ran = run(&["build", project.to_str().unwrap(), "--stage", "app", "--memory", "0", "--pids", "0", "--cpus", "0"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    as_root("rm", &["-rf", lab.store().to_str().unwrap()]);
}

/// Makes the process leave its group for a new one that belongs to the user `$1`, in the hierarchy that limits memory. With version 2 that
/// is beside its own group, which has processes and cannot be divided. Prints where it is. `$2` is a name for it.
const DELEGATE: &str = r#"
own=$(sed -n 's/^[0-9]*:\([^:]*,\)*memory\(,[^:]*\)*://p' /proc/self/cgroup)
if [ -n "$own" ]; then
    group=/sys/fs/cgroup/memory$own/$2
else
    own=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
    group=${own%/*}/$2
fi
mkdir "$group"
chown "$1" "$group" "$group"/cgroup.*
echo $$ > "$group/cgroup.procs"
echo "in $group" >&2
"#;

#[test]
fn a_user_to_whom_a_group_is_delegated_has_limits() {
    make_user_alone();
    let lab = Lab::new();
    if let Err(reason) = held(&lab, "memory") {
        assert!(!reason.is_empty());
        return;
    }
    let (program, project) = given_to_alone(&lab, "dd if=/dev/zero of=/dev/null bs=300M count=1");
    let root: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["sudo", "-n", "--preserve-env"] };
    let name = format!("delegated-{}", std::process::id());
    let script = format!("{DELEGATE}\nuser=$1; shift 2; exec setpriv --reuid $user --regid $user --init-groups --inh-caps=-all \"$@\"");
    let line = [root, &["sh", "-ec", &script, "sh", ALONE, &name, program.to_str().unwrap(), "build", project.to_str().unwrap()]].concat();
    let run = |memory: &str| {
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).args(["--stage", "app", "--isolation", "single-id", "--memory", memory]);
        let ran = Ran::of(command.env_clear().envs(lab.environment()).current_dir(lab.path("")));
        let group = ran.err.lines().find_map(|line| line.strip_prefix("in ")).unwrap().to_owned();
        let left: Vec<_> = std::fs::read_dir(&group).unwrap().flatten().filter(|entry| entry.path().is_dir()).collect();
        // One that a builder went to, so that its own can be divided, stays as long as the builder is in it.
        for entry in &left {
            assert!(entry.file_name().to_string_lossy().starts_with("lapstrake-builder-"), "{left:?}");
            as_root("rmdir", &[entry.path().to_str().unwrap()]);
        }
        as_root("rmdir", &[&group]);
        ran
    };
    let ran = run("64m");
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.err.contains("out of memory: all commands together may use 64 MiB"), "{ran:#?}");
    let ran = run("1g");
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    as_root("rm", &["-rf", lab.store().to_str().unwrap()]);
}

#[test]
fn limits_that_are_none_are_mistakes_of_the_command_line() {
    for wrong in [["--memory", "much"], ["--memory", "1m"], ["--memory", "-1"], ["--cpus", "0.001"], ["--cpus", "NaN"], ["--pids", "1.5"]] {
        let ran = build("true", &wrong);
        assert_eq!(ran.code, Some(2), "{wrong:?}: {ran:#?}");
    }
}

#[test]
fn a_command_that_is_tried_has_limits_too() {
    let lab = Lab::new();
    let held = held(&lab, "memory");
    let project = lab.project("spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\n", &[]);
    let run = |script: &str| {
        let limits = ["--memory", "64m", "--pids", "100", "--cpus", "1"];
        let arguments = [&["run", "--progress", "quiet", "--interactive"], &limits[..], &["app", "--", "sh", "-c", script]].concat();
        Ran::of(lab.command(&arguments).current_dir(&project))
    };
    let (large, small) = (run("dd if=/dev/zero of=/dev/null bs=300M count=1"), run("cat; echo done"));
    if held.is_ok() {
        assert_eq!(large.code, Some(137), "{large:#?}");
        assert!(large.err.contains("out of memory: all commands together may use 64 MiB"), "{large:#?}");
        assert_eq!((small.code, small.out.as_str()), (Some(0), "done\n"), "{small:#?}");
    } else {
        assert_eq!((large.code, small.code), (Some(125), Some(125)), "{small:#?}");
    }
}
