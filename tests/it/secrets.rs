//! What a build is told in confidence.

use std::io::Read as _;
use std::path::Path;

use crate::lab::{Lab, set_mode, write};

/// The files below a directory that hold these bytes, plain or in a layer.
pub(crate) fn holding(directory: &Path, canary: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(directory) {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().contains(canary) {
            found.push(entry.path().display().to_string());
        }
        if !entry.file_type().is_file() {
            continue;
        }
        let mut bytes = std::fs::read(entry.path()).unwrap();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut plain = Vec::new();
            flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).unwrap();
            bytes.extend(plain);
        }
        if bytes.windows(canary.len()).any(|window| window == canary.as_bytes()) {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

const SPEC: &str = r#"
spec = 1
[stages.app]
from = "tar:base.tar"
[[stages.app.steps]]
run = """
test "$(cat /run/secrets/key)" = "$TOKEN"
test "$(stat -c %a:%u:%g /run/secrets/key)" = 400:0:0
test "$(stat -c %a:%u:%g /elsewhere/key)" = 440:1000:1000
! (echo x > /run/secrets/key) 2>/dev/null
cat /run/secrets/key | sha256sum > /sum
"""
mounts = [{ secret = "key" }, { secret = "key", at = "/elsewhere/key", mode = "0440", owner = "app" }, { secret = "token", env = "TOKEN" }]
[[stages.app.steps]]
run = "test ! -e /run/secrets/key; test ! -e /elsewhere/key; test -z \"$TOKEN\"; echo none > /none"
[images.web]
stage = "app"
tags = []
"#;

#[test]
fn a_secret_is_where_it_was_asked_for_and_nowhere_afterwards() {
    let lab = Lab::new();
    let canary = format!("canary-{}-{:x}", std::process::id(), std::ptr::from_ref(&lab).addr());
    let project = lab.project(SPEC, &[]);
    let secrets = lab.files("secrets", &[("key", &canary)]);
    set_mode(&secrets.join("key"), 0o600);
    let arguments = ["--secret", "id=key,src=secrets/key", "--secret", "id=token,env=CANARY"];
    let built = lab.build_with(&project, &arguments, |command| {
        command.env("CANARY", &canary);
    });
    // Each step's end is known to hold the sum: the canary was really there.
    assert_eq!(built.ran().len(), 2);
    write(&lab.path("said"), &(built.out + &built.err));
    std::fs::remove_dir_all(&secrets).unwrap();
    assert_eq!(holding(&lab.path(""), &canary), Vec::<String>::new());
    let why = lab.run(&["why", "app/1", project.to_str().unwrap()]);
    assert!(!why.out.contains(&canary) && why.out.contains("cached"), "{why:?}");
}

#[test]
fn a_secret_is_nowhere_after_a_step_that_failed_either() {
    let lab = Lab::new();
    let canary = format!("canary-{}-{:x}", std::process::id(), std::ptr::from_ref(&lab).addr());
    let project = lab.project(&SPEC.replace("cat /run/secrets/key | sha256sum > /sum", "exit 3"), &[]);
    let mut command =
        lab.command(&["build", project.to_str().unwrap(), "--secret", "id=key,env=CANARY", "--secret", "id=token,env=CANARY"]);
    let ran = crate::lab::Ran::of(command.env("CANARY", &canary));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    write(&lab.path("said"), &(ran.out + &ran.err));
    assert_eq!(holding(&lab.path(""), &canary), Vec::<String>::new());
}

#[test]
fn what_looks_for_secrets_finds_them() {
    let lab = Lab::new();
    let spec = "spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\nsteps = [{ write = \"/f\", content = \"a-canary-b\" }]\n[images.web]\nstage = \"app\"\n";
    let project = lab.project(spec, &[]);
    lab.build(&project, &[]);
    let found = holding(&lab.store(), "canary");
    assert!(found.iter().any(|path| path.contains("/blobs/sha256/")), "{found:?}");
}

/// Perl, which can speak to a socket without any module, and the libraries that it is linked with.
fn perl(at: &Path) {
    let libraries = std::process::Command::new("ldd").arg("/usr/bin/perl").output().unwrap();
    let libraries = String::from_utf8(libraries.stdout).unwrap();
    for file in libraries.split_whitespace().filter(|word| word.starts_with('/')).chain(["/usr/bin/perl"]) {
        let to = at.join(&file[1..]);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file, to).unwrap();
    }
}

const WITH_AGENT: &str = r#"
spec = 1
[stages.app]
from = "tar:base.tar"
[[stages.app.steps]]
copy = "perl"
to = "/"
[[stages.app.steps]]
user = "app"
[[stages.app.steps]]
workdir = "/work"
owner = "app"
[[stages.app.steps]]
run = """
test -S "$SSH_AUTH_SOCK"
for i in 1 2; do perl -e '
    socket(my $s, 1, 1, 0) or die; connect($s, pack("S a108", 1, $ENV{SSH_AUTH_SOCK})) or die "$!";
    syswrite($s, "question\\n"); sysread($s, my $answer, 100); print $answer' >> answer; done
test "$(cat answer)" = "answer
answer"
"""
mounts = [{ ssh = "default" }]
[[stages.app.steps]]
run = 'test -z "$SSH_AUTH_SOCK"; test ! -e /run/lapstrake'
[images.web]
stage = "app"
"#;

#[test]
fn a_step_can_ask_the_agent_that_it_mounts_and_no_other_step_can() {
    use std::io::Write as _;
    use std::os::unix::net::UnixListener;

    let lab = Lab::new();
    let project = lab.project(WITH_AGENT, &[]);
    perl(&project.join("perl"));
    assert!(lab.fail(2, &project, &[]).contains("the step needs the SSH agent `default`"));
    let socket = lab.path("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counter = std::sync::Arc::clone(&asked);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut question = [0; 9];
            // The first connection only looks whether anybody is there.
            if connection.read_exact(&mut question).is_ok() {
                assert_eq!(&question, b"question\n");
                counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                connection.write_all(b"answer\n").unwrap();
            }
        }
    });
    let agent = format!("default={}", socket.display());
    lab.build(&project, &["--ssh", &agent]);
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2);
    // From the environment too; which agent it was is in no key.
    let again = lab.build_with(&project, &["--ssh", "default"], |command| {
        command.env("SSH_AUTH_SOCK", &socket);
    });
    assert_eq!(again.ran(), Vec::<&str>::new());
}
