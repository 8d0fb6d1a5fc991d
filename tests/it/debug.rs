//! What is told of how steps ran, and a shell where one failed.

use std::process::Command;

use crate::lab::{Lab, PROGRAM, Ran, USER, as_root, make_user, write};
use crate::programs::make_startable;

const TERMINAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/terminal.py");
const RUNGS: [&str; 3] = ["userns", "single-id", "chroot"];

const SPEC: &str = r#"
spec = 1
[stages.app]
from = "tar:base.tar"
env = { GREETING = "ahoy" }
[[stages.app.steps]]
write = "/base"
content = "from before\n"
[[stages.app.steps]]
mkdir = "/work"
owner = "7:8"
[[stages.app.steps]]
run = "echo left > made; rm -f /tmp/none; exit 42"
workdir = "/work"
user = "7:8"
env = { OWN = "the step's" }
mounts = [{ secret = "key", at = "/key", mode = "0444" }, { cache = "c", at = "/cache", mode = "0777" }]
"#;

/// A dialogue on a terminal with the program.
fn talk(lab: &Lab, dialogue: &[(&str, &str)], command: &[&str]) -> Ran {
    let mut python = Command::new("python3");
    python.arg(TERMINAL);
    for (wait, typed) in dialogue {
        python.args([wait, typed]);
    }
    python.arg("--").args(command).env_clear().envs(lab.environment()).env("TERM", "dumb").current_dir(lab.path(""));
    Ran::of(&mut python)
}

fn contains(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "expected `{word}` in:\n{said}");
    }
}

/// What is typed in the shell, and what comes of it. What is typed is shown, too, so that it must not hold what it comes to.
const DIALOGUE: [(&str, &str); 2] = [
    ("Ctrl-D", ""),
    (
        "$ ",
        "cat made /base /key; echo \"$GREETING, $OWN\"; id -u; id -g; pwd; test -t 0 && echo a term''inal; touch /cache/x && echo cac''he; exit 3",
    ),
];
const SEEN: [&str; 8] =
    ["left\r\nfrom before\r\nthe secret", "ahoy, the step's", "\r\n7\r\n", "\r\n8\r\n", "\r\n/work\r\n", "a terminal", "cache", "code 42"];

#[test]
fn a_shell_opens_where_a_step_failed_with_all_that_the_step_had() {
    for rung in RUNGS {
        let lab = Lab::new();
        let project = lab.project(SPEC, &[]);
        write(&lab.path("key"), "the secret\n");
        let key = format!("id=key,src={}", lab.path("key").display());
        let project = project.to_str().unwrap();
        let command = [PROGRAM, "build", project, "--stage", "app", "--isolation", rung, "--secret", &key, "--shell-on-failure"];
        let ran = talk(&lab, &DIALOGUE, &command);
        assert_eq!(ran.code, Some(1), "{rung}: {}\n{}", ran.out, ran.err);
        contains(&ran.out, &SEEN);
        // What was done in the shell is in no result, and the step failed.
        let again = lab.run(&["build", project, "--stage", "app", "--isolation", rung, "--secret", &key]);
        assert_eq!(again.code, Some(1), "{again:#?}");
        assert!(again.err.contains("--shell-on-failure") && again.err.contains("code 42"), "{}", again.err);
        lab.verify();
    }
}

#[test]
fn an_ordinary_user_gets_the_shell_too() {
    make_user();
    for rung in ["userns", "single-id"] {
        let lab = Lab::new();
        lab.project(SPEC, &[]);
        write(&lab.path("key"), "the secret\n");
        let program = lab.path("lapstrake");
        std::fs::copy(PROGRAM, &program).unwrap();
        make_startable(&program);
        as_root("chown", &["-R", USER, lab.path("").to_str().unwrap()]);
        let key = format!("id=key,src={}", lab.path("key").display());
        let (program, project) = (program.to_str().unwrap().to_owned(), lab.path("project").to_str().unwrap().to_owned());
        let command = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups", "--inh-caps=-all"];
        let build = [&program, "build", &project, "--stage", "app", "--isolation", rung, "--secret", &key, "--shell-on-failure"];
        let ran = talk(&lab, &DIALOGUE, &[&command[..], &build[..]].concat());
        assert_eq!(ran.code, Some(1), "{rung}: {}\n{}", ran.out, ran.err);
        contains(&ran.out, &SEEN);
        as_root("rm", &["-rf", lab.store().to_str().unwrap()]);
    }
}

#[test]
fn a_command_that_did_not_start_leaves_a_shell_and_a_root_without_one_says_so() {
    let spec = |base: &str, run: &str| format!("spec = 1\n[stages.app]\nfrom = \"{base}\"\n[[stages.app.steps]]\nrun = [\"{run}\"]\n");
    let lab = Lab::new();
    let project = lab.project(&spec("tar:base.tar", "/bin/absent"), &[]);
    let command = [PROGRAM, "build", project.to_str().unwrap(), "--stage", "app", "--shell-on-failure"];
    let ran = talk(&lab, &[("# ", "ls -d /bi''n; exit")], &command);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    contains(&ran.out, &["/bin/absent", "\r\n/bin\r\n"]);
    let lab = Lab::new();
    let project = lab.project(&spec("scratch", "/bin/absent"), &[]);
    let ran = talk(&lab, &[], &[PROGRAM, "build", project.to_str().unwrap(), "--stage", "app", "--shell-on-failure"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    contains(&ran.out, &["has no shell"]);
}

#[test]
fn off_a_terminal_the_shell_is_refused_before_anything_is_built() {
    let lab = Lab::new();
    let project = lab.project(SPEC, &[]);
    let said = lab.fail(2, &project, &["--stage", "app", "--shell-on-failure"]);
    contains(&said, &["--shell-on-failure", "terminal"]);
}

#[test]
fn events_and_metadata_name_the_rung_of_each_step_and_of_the_build() {
    let spec = "spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\nsteps = [{ run = \"echo x > /x\" }, { mkdir = \"/d\" }]\n";
    for rung in RUNGS {
        let lab = Lab::new();
        let project = lab.project(spec, &[]);
        for cached in [false, true] {
            let metadata = lab.path("metadata.json");
            let arguments = ["--stage", "app", "--isolation", rung, "--progress", "json", "--metadata-file", metadata.to_str().unwrap()];
            let ran = lab.run(&[&["build", project.to_str().unwrap()], &arguments[..]].concat());
            assert_eq!(ran.code, Some(0), "{ran:#?}");
            let events: Vec<serde_json::Value> = ran.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let steps = events.iter().filter(|event| event["event"] == "started" && event["what"] == "step");
            let confined = |task: &serde_json::Value| {
                events.iter().find(|event| event["event"] == "confined" && event["task"] == *task).map(|event| event["rung"].clone())
            };
            let found: Vec<_> = steps.map(|event| confined(&event["task"])).collect();
            assert_eq!(found, [Some(rung.into()), None], "{}", ran.err);
            let build = events.iter().find(|event| event["event"] == "started" && event["what"] == "build").unwrap();
            assert_eq!(confined(&build["task"]).is_some(), !cached || rung == "single-id", "{}", ran.err);
            let metadata: serde_json::Value = serde_json::from_slice(&std::fs::read(&metadata).unwrap()).unwrap();
            let steps = &metadata["stages"][0]["steps"];
            assert_eq!((&steps[0]["rung"], &steps[0]["shareable"], &steps[0]["cached"]), (&rung.into(), &true.into(), &cached.into()));
            assert!(steps[1]["rung"].is_null());
        }
    }
}
