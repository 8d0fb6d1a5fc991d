//! Images and stages run: their configs, what the command line says on top, codes, signals, and that nothing stays.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::lab::{Lab, PROGRAM, Ran, write};
use crate::processes::{is_running, mark};
use crate::real::RealRegistry;
use crate::waiting::until_some;

const SPEC: &str = r#"
spec = 1
[stages.app]
from = "tar:base.tar"
env = { GREETING = "ahoy" }
[[stages.app.steps]]
write = "/srv/index.html"
content = "served\n"
[[stages.app.steps]]
mkdir = "/work"
mode = "0777"
[images.web]
stage = "app"
workdir = "/work"
user = "7:8"
entrypoint = ["/bin/sh", "-c"]
cmd = ["echo $GREETING; pwd; id -u; id -g; echo x > new; ls"]
"#;
const SAID: &str = "ahoy\n/work\n7\n8\nnew\n";
const RUNGS: [&str; 3] = ["userns", "single-id", "chroot"];

fn project(lab: &Lab) -> PathBuf {
    lab.project(SPEC, &[])
}

/// Runs something in the project.
fn run(lab: &Lab, arguments: &[&str]) -> Ran {
    Ran::of(command(lab, arguments).stdin(Stdio::null()))
}

fn command(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = lab.command(&["run", "--progress", "quiet"]);
    command.args(arguments).current_dir(lab.path("project"));
    command
}

/// Nothing of a run is in the store's places for what is under way.
fn nothing_stays(lab: &Lab) {
    let pruned = lab.run(&["cache", "prune", "--older-than", "1000d"]);
    assert_eq!(pruned.code, Some(0), "{pruned:#?}");
    let left: Vec<_> = ["scratch", "trash"].iter().flat_map(|name| std::fs::read_dir(lab.store().join(name)).unwrap()).collect();
    assert!(left.is_empty(), "{left:?}");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(lab.store().to_str().unwrap()), "{mounts}");
}

#[test]
fn an_image_of_the_spec_runs_as_its_config_says_and_its_changes_are_thrown_away() {
    for rung in RUNGS {
        let lab = Lab::new();
        project(&lab);
        for _ in 0..2 {
            let ran = run(&lab, &["--isolation", rung, "web"]);
            assert_eq!((ran.code, ran.out.as_str()), (Some(0), SAID), "{rung}: {ran:#?}");
        }
        nothing_stays(&lab);
    }
}

#[test]
fn the_command_line_says_otherwise() {
    let lab = Lab::new();
    project(&lab);
    let cases: [(&[&str], i32, &str); 10] = [
        (&["web", "echo other"], 0, "other\n"),
        (&["web", "--", "exit 7"], 7, ""),
        (&["web", "kill -9 $$"], 137, ""),
        (&["-e", "GREETING=moin", "web", "echo $GREETING"], 0, "moin\n"),
        (&["-u", "0", "-w", "/srv", "web", "id -u; ls"], 0, "0\nindex.html\n"),
        (&["--entrypoint", "/bin/cat", "web", "/srv/index.html"], 0, "served\n"),
        (&["--entrypoint", "/bin/absent", "web"], 127, ""),
        (&["--entrypoint", "/srv/index.html", "web"], 126, ""),
        (&["stage:app", "/bin/echo", "-n", "a stage"], 0, "a stage"),
        (&["app"], 125, ""),
    ];
    for (arguments, code, out) in cases {
        let ran = run(&lab, arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), out), "{arguments:?}: {ran:#?}");
    }
    let wrong = run(&lab, &["wbe"]);
    assert_eq!(wrong.code, Some(125), "{wrong:#?}");
    assert!(wrong.err.contains("did you mean `web`"), "{}", wrong.err);
}

#[test]
fn finished_images_run_wherever_they_are() {
    let registry = RealRegistry::start("", &[]);
    let lab = Lab::new();
    let project = project(&lab);
    let reference = format!("{}/team/web:1", registry.address);
    let place = |kind: &str, name: &str| format!("{kind}:{}", lab.path(name).display());
    let places = [place("oci", "layout"), place("oci-archive", "oci.tar"), place("docker-archive", "docker.tar")];
    for output in &places {
        lab.build(&project, &["--output", output]);
    }
    lab.build(&project, &["--tag", &reference, "--push"]);
    for place in places.iter().chain([&reference]) {
        let elsewhere = Lab::new();
        let ran = elsewhere.run(&["run", "--progress", "quiet", place]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), SAID), "{place}: {ran:#?}");
        let entry = elsewhere.run(&["run", "--progress", "quiet", "--entrypoint", "/bin/cat", place, "/srv/index.html"]);
        assert_eq!((entry.code, entry.out.as_str()), (Some(0), "served\n"), "{place}: {entry:#?}");
    }
    let offline = lab.run(&["run", "--offline", &reference]);
    assert!(offline.code == Some(125) && offline.err.contains("--offline"), "{offline:#?}");
}

#[test]
fn standard_input_is_passed_on_where_it_is_asked_for() {
    let lab = Lab::new();
    project(&lab);
    for (option, expected) in [(Some("-i"), "typed\n"), (None, "")] {
        let mut command = command(&lab, &[]);
        let mut child =
            command.args(option).args(["web", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(b"typed\n");
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), expected), "{option:?}: {ran:#?}");
    }
}

#[test]
fn on_a_terminal_the_command_has_one_of_its_own() {
    for rung in RUNGS {
        let lab = Lab::new();
        project(&lab);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/terminal.py");
        let mut python = Command::new("python3");
        python.args([script, "$ ", "test -t 0 && test -t 1 && echo a term''inal; echo $TERM; exit 5", "--", PROGRAM]);
        python.args(["run", "--isolation", rung, "--progress", "quiet", "--entrypoint", "/bin/sh", "web"]);
        python.env_clear().envs(lab.environment()).env("TERM", "vt100").current_dir(lab.path("project"));
        let ran = Ran::of(&mut python);
        assert_eq!(ran.code, Some(5), "{rung}: {}\n{}", ran.out, ran.err);
        assert!(ran.out.contains("a terminal") && ran.out.contains("vt100"), "{rung}: {}", ran.out);
    }
}

#[test]
fn much_is_typed_at_a_command_that_only_writes_for_now_and_nothing_is_lost() {
    const LINES: usize = 1200;
    let lab = Lab::new();
    project(&lab);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/terminal.py");
    // More than a terminal keeps, in either direction.
    let pasted = vec!["a".repeat(99); LINES].join("\r");
    let writes = format!("head -c 400000 /dev/zero | tr '\\0' x; echo; head -n {LINES} | wc; exit 5");
    let mut python = Command::new("python3");
    python.args([script, "$ ", writes.as_str(), "xxxxxxxxxx", pasted.as_str(), "--", PROGRAM]);
    python.args(["run", "--progress", "quiet", "--entrypoint", "/bin/sh", "web"]);
    python.env_clear().envs(lab.environment()).env("TERM", "vt100").current_dir(lab.path("project"));
    let ran = Ran::of(&mut python);
    assert_eq!(ran.code, Some(5), "{}", ran.err);
    let words: Vec<&str> = ran.out.split_whitespace().collect();
    let expected = [LINES, LINES, 100 * LINES].map(|count| count.to_string());
    assert!(words.windows(3).any(|three| three == expected), "{:?}", words.iter().rev().take(5).collect::<Vec<_>>());
}

#[test]
fn volumes_are_the_hosts_and_can_be_kept_from_writing() {
    let lab = Lab::new();
    project(&lab);
    write(&lab.path("shared/there"), "from the host\n");
    let shared = lab.path("shared");
    for (suffix, code) in [(":ro", 1), ("", 0)] {
        let volume = format!("{}:/mnt/shared{suffix}", shared.display());
        let ran = run(&lab, &["-u", "0", "-v", &volume, "web", "cat /mnt/shared/there; echo x > /mnt/shared/new"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), "from the host\n"), "{ran:#?}");
        assert_eq!(shared.join("new").exists(), code == 0);
    }
    for volume in ["/absent:/x", "/tmp:x", "/tmp", "/tmp:/x:z"] {
        let ran = run(&lab, &["-v", volume, "web"]);
        assert!(ran.code == Some(125) && ran.err.contains(volume), "{ran:#?}");
    }
}

/// A port that was free a moment ago, and that nobody is given who asks for any: it is below those.
fn free_port() -> u16 {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    until_some("a port below 30000 is free", || {
        let number = std::process::id().wrapping_mul(61).wrapping_add(ASKED.fetch_add(1, Ordering::SeqCst).wrapping_mul(7));
        let port = u16::try_from(number % 18_000).unwrap() + 12_000;
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    })
}

/// What a server of the project says, if it is one.
fn ask(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    Some(answer).filter(|answer| !answer.is_empty())
}

/// A server that answers at a port of the host: the program that runs it, and by which of its words it is found.
fn serving(lab: &Lab, rung: &str) -> (Child, String) {
    // Somebody else may take the port in between.
    let mut failures = Vec::new();
    for _ in 0..10 {
        let (port, mark) = (free_port(), format!("/srv/../srv/{}/..", mark()));
        let server = format!("mkdir -p {mark}; exec busybox httpd -f -p 127.0.0.1:{port} -h {mark}");
        let mut command = command(lab, &["--isolation", rung, "-u", "0", "web", &server]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let answer = until_some("the server answers, or ends", || match child.try_wait().unwrap() {
            Some(_) => Some(None),
            None => ask(port).map(Some),
        });
        if answer.is_some_and(|answer| answer.contains("served")) && is_running(&mark) {
            return (child, mark);
        }
        let _ = child.kill();
        let ran = Ran::from(child.wait_with_output().unwrap());
        failures.push(format!("port {port}: {ran:#?}"));
    }
    panic!("{rung}: no server answered: {failures:#?}");
}

#[test]
fn a_server_answers_on_a_port_of_the_host_until_a_signal_ends_it() {
    for rung in RUNGS {
        for (signal, code) in [(rustix::process::Signal::TERM, 143), (rustix::process::Signal::INT, 130)] {
            let lab = Lab::new();
            project(&lab);
            let (child, mark) = serving(&lab, rung);
            rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
            let ran = Ran::from(child.wait_with_output().unwrap());
            assert_eq!(ran.code, Some(code), "{rung}: {ran:#?}");
            assert!(!is_running(&mark));
            nothing_stays(&lab);
        }
    }
    let lab = Lab::new();
    project(&lab);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let reach = format!("busybox nc -w 1 127.0.0.1 {} < /dev/null", listener.local_addr().unwrap().port());
    let cut = run(&lab, &["--network", "none", "web", &reach]);
    assert_eq!(cut.code, Some(1), "{cut:#?}");
}

#[test]
fn a_command_handles_its_signals_and_one_that_ignores_them_is_killed_with_all_that_it_started() {
    for rung in RUNGS {
        let lab = Lab::new();
        project(&lab);
        let mark = mark();
        let cases = [
            ("10", "trap 'echo bye; exit 9' TERM; echo begun; while :; do sleep 0.05; done", 9, "begun\nbye\n"),
            // One that has something to do before its end has the time for it.
            ("600", "trap 'sleep 2; echo bye; exit 9' TERM; echo begun; while :; do sleep 0.05; done", 9, "begun\nbye\n"),
            (
                "1",
                "trap '' TERM INT HUP; (busybox setsid sh -c \"trap '' TERM; sleep MARK\" &); echo begun; while :; do sleep 1; done",
                143,
                "begun\n",
            ),
        ];
        for (grace, script, code, out) in cases {
            let mut command = command(&lab, &["--isolation", rung, "--stop-timeout", grace, "web", &script.replace("MARK", &mark)]);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut begun = [0; 6];
            child.stdout.as_mut().unwrap().read_exact(&mut begun).unwrap();
            rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
            let ran = Ran::from(child.wait_with_output().unwrap());
            assert_eq!((ran.code, format!("begun\n{}", ran.out).as_str()), (Some(code), out), "{rung}: {ran:#?}");
            assert!(!is_running(&mark));
            nothing_stays(&lab);
        }
    }
}

#[test]
fn an_interrupted_build_ends_every_process_of_its_steps_on_each_rung() {
    for rung in RUNGS {
        let lab = Lab::new();
        let mark = mark();
        let ignoring = "trap '' TERM INT HUP QUIT;";
        // One in a session of its own, a grandchild whose parent is gone, one that forks all the time, and the command; all deaf to signals.
        let script = format!(
            "{ignoring} (busybox setsid sleep {mark} &); ( (sleep {mark} &) & ); (while :; do sleep 0.01; done &); echo begun; sleep {mark}"
        );
        let spec = format!("spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\n[[stages.app.steps]]\nrun = \"\"\"{script}\"\"\"\n");
        let project = lab.project(&spec, &[]);
        let mut command = lab.command(&["build", project.to_str().unwrap(), "--stage", "app", "--isolation", rung, "--progress", "plain"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
        let mut lines = lines.map_while(Result::ok);
        assert!(lines.any(|line| line.ends_with("| begun")));
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
        let said: Vec<String> = lines.collect();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{rung}: {said:?}");
        assert!(!is_running(&mark), "{rung}");
        nothing_stays(&lab);
        lab.verify();
    }
}

#[test]
fn commands_see_more_layers_than_an_overlay_takes() {
    let lab = Lab::new();
    let mut spec = "spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\n".to_owned();
    for number in 0..510 {
        spec += &format!("[[stages.app.steps]]\nwrite = \"/many/{number}\"\ncontent = \"{number}\\n\"\n");
        if number == 420 {
            spec += "[[stages.app.steps]]\nrun = \"rm /many/3 /many/410; echo other > /many/4\"\n";
        }
    }
    spec += "[[stages.app.steps]]\nrun = \"ls /many | wc -l > /found; cat /many/4 /many/399 /many/509 >> /found\"\n";
    lab.project(&spec, &[]);
    for rung in RUNGS {
        let ran = run(&lab, &["--isolation", rung, "stage:app", "cat", "/found"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "508\nother\n399\n509\n"), "{rung}: {ran:?}");
    }
}
