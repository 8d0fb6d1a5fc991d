//! The program itself against registries that fail: how it ends, and what it says.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::SECRET;
use crate::support::fake::{Door, FakeRegistry, Fault};
use crate::support::http::Response;
use crate::support::{Image, at, image};

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lapstrake"));
        command.args(arguments).env_clear().current_dir(self.0.path()).stdin(Stdio::null());
        command
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.0.path())
            .env("LAPSTRAKE_HOME", self.path("store"));
        command
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        said(&self.command(arguments).output().unwrap())
    }

    /// A layout with an image called `web`.
    fn layout(&self, image: &Image) -> String {
        let source = FakeRegistry::open();
        for (_, bytes) in &image.blobs {
            source.put_blob("web", bytes);
        }
        source.put_manifest("web", "1", "application/vnd.oci.image.manifest.v1+json", &image.manifest);
        let place = format!("oci:{}:web", self.path("layout"));
        let (code, _, err) = self.run(&["copy", &at(source.address(), "web:1").to_string(), &place]);
        assert_eq!(code, Some(0), "{err}");
        place
    }
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn whatever_fails_for_good_ends_with_code_3_and_says_where_what_and_what_to_do() {
    let image = image(1000);
    let (blob, manifest) = ("POST /v2/team/web/blobs", "PUT /v2/team/web/manifests");
    let truncated = Response::new(200).with("content-type", "application/vnd.oci.image.manifest.v1+json").body("{\"schemaVersion\"");
    let elsewhere = Response::new(202).with("location", "file:///etc/passwd");
    let nowhere = Response::new(202).with("location", "http://127.0.0.1:1/v2/team/web/");
    for (what, wanted, fault, expected) in [
        ("push", blob, Fault::Answer(Response::error(403, "DENIED", "not yours")), &["status 403", "DENIED", "log in"][..]),
        ("push", blob, Fault::Answer(Response::error(401, "UNAUTHORIZED", "who")), &["status 401", "lapstrake login"]),
        ("push", blob, Fault::Answer(Response::error(404, "NAME_UNKNOWN", "no such")), &["status 404", "check the name"]),
        (
            "push",
            blob,
            Fault::Answer(Response::error(429, "TOOMANYREQUESTS", "slow").with("retry-after", "9999")),
            &["status 429", "9999 s"],
        ),
        ("push", manifest, Fault::Answer(Response::error(400, "MANIFEST_INVALID", "no")), &["400", "MANIFEST_INVALID"]),
        ("push", manifest, Fault::Answer(Response::error(413, "SIZE_INVALID", "no")), &["413", "raise their limit"]),
        ("push", blob, Fault::Header("location", None), &["does not answer as a registry should", "expected"]),
        ("push", blob, Fault::Answer(elsewhere), &["sends us to", "is not followed"]),
        ("push", blob, Fault::Answer(nowhere), &["cannot reach `127.0.0.1:1 (to which", "nothing listens there"]),
        ("pull", "GET /v2/team/web/manifests", Fault::Answer(truncated), &["cannot be used"]),
        ("pull", "GET /v2/team/web/blobs", Fault::Flip, &["other bytes", "damaged or lies"]),
        ("pull", "GET /v2/team/web/blobs", Fault::Answer(Response::error(404, "BLOB_UNKNOWN", "gone")), &["status 404"]),
        ("pull", "GET /v2/team/web/manifests", Fault::Answer(Response::new(308).with("location", "ftp://x/y")), &["sends us to"]),
    ] {
        let home = Home::new();
        let fake = FakeRegistry::open();
        let target = at(fake.address(), "team/web:1").to_string();
        let layout = home.layout(&image);
        if what == "pull" {
            assert_eq!(home.run(&["push", &layout, &target]).0, Some(0));
        }
        fake.fault(wanted, 1000, fault.clone());
        let (code, out, err) = match what {
            "push" => home.run(&["push", &layout, &target]),
            _ => home.run(&["pull", &target, "-o", &format!("oci:{}", home.path("out"))]),
        };
        assert_eq!(code, Some(3), "{fault:?}: {err}");
        assert_eq!(out, "", "{fault:?}");
        // Where a request was answered with something else than bytes, it stands there too.
        assert!(err.contains("/v2/team/web/") || err.contains("cannot reach") || err.contains("damaged or lies"), "{fault:?}: {err}");
        for part in [&[fake.address().to_string().as_str(), "team/web"][..], expected].concat() {
            assert!(err.contains(part), "{fault:?}: `{part}` in: {err}");
        }
    }
}

#[test]
fn a_build_that_is_pushed_sends_large_layers_while_it_packs_them_and_an_unchanged_one_sends_nothing() {
    let (home, fake) = (Home::new(), FakeRegistry::open());
    let project = home.path("project");
    std::fs::create_dir(&project).unwrap();
    std::fs::write(format!("{project}/large"), crate::ahead::noise(9 << 20)).unwrap();
    let spec = format!(
        "spec = 1\nstages.web = {{ from = \"scratch\", steps = [{{ copy = \"large\", to = \"/\" }}] }}\nimages.web = {{ stage = \"web\", tags = [\"{}\"] }}\n",
        at(fake.address(), "team/web:1")
    );
    std::fs::write(format!("{project}/lapstrake.toml"), spec).unwrap();
    let (code, _, err) = home.run(&["build", &project, "--push"]);
    assert_eq!(code, Some(0), "{err}");
    let lines = fake.lines();
    let count = |wanted: &str| lines.iter().filter(|line| line.starts_with(wanted)).count();
    // The layer, and the config, which is asked about first.
    assert_eq!((count("PATCH"), count("PUT /v2/team/web/blobs"), count("HEAD /v2/team/web/blobs")), (1, 2, 1), "{lines:?}");
    assert!(fake.manifest("team/web", "1").is_some());
    fake.forget();
    assert_eq!(home.run(&["build", &project, "--push"]).0, Some(0));
    assert_eq!(fake.lines(), ["HEAD /v2/team/web/manifests/1"]);
    fake.assert_well_treated();
}

#[test]
fn what_passes_is_not_even_noticed() {
    let image = image(300_000);
    for (wanted, fault) in [
        ("POST", Fault::Answer(Response::error(500, "UNKNOWN", "once"))),
        ("PUT", Fault::Answer(Response::error(503, "UNAVAILABLE", "once"))),
        ("POST", Fault::Answer(Response::error(429, "TOOMANYREQUESTS", "wait").with("retry-after", "0"))),
        ("PUT /v2/team/web/blobs", Fault::CutRequest(1000)),
    ] {
        let home = Home::new();
        let fake = FakeRegistry::open();
        let layout = home.layout(&image);
        fake.fault(wanted, 1, fault.clone());
        let target = at(fake.address(), "team/web:1").to_string();
        let (code, _, err) = home.run(&["push", &layout, &target]);
        assert_eq!(code, Some(0), "{fault:?}: {err}");
        assert_eq!(fake.manifest("team/web", "1"), Some(image.manifest.clone()));
        fake.assert_well_treated();
    }
}

#[test]
fn a_login_is_kept_only_if_the_registry_takes_it_and_is_used_afterwards() {
    let home = Home::new();
    let fake = FakeRegistry::start(Door::Basic { user: "alice".to_owned(), password: SECRET.to_owned() });
    let host = fake.address().to_string();
    let login = |arguments: &[&str], password: &str| {
        let mut child = home
            .command(&[&["login", &host], arguments].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), password.as_bytes()).unwrap();
        said(&child.wait_with_output().unwrap())
    };
    let with = ["--username", "alice", "--password-stdin"];
    let config = home.0.path().join(".docker/config.json");

    let (code, out, err) = login(&with, "wrong\n");
    assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
    assert!(err.contains("status 401") && err.contains("nothing was kept") && !err.contains("wrong"), "{err}");
    assert!(!config.exists());

    let (code, out, err) = login(&with, &format!("{SECRET}\n"));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains(&host) && !format!("{out}{err}").contains(SECRET), "{out}{err}");
    let layout = home.layout(&image(10));
    let target = at(fake.address(), "team/web:1").to_string();
    assert_eq!(home.run(&["push", &layout, &target]).0, Some(0));

    assert_eq!(home.run(&["logout", &host]).0, Some(0));
    let (code, _, err) = home.run(&["push", &layout, &target]);
    assert_eq!(code, Some(3));
    assert!(err.contains("no credentials were found"), "{err}");
    assert!(home.run(&["logout", &host]).1.contains("there was no login"));

    let authfile = home.path("auth.json");
    assert_eq!(login(&[&with[..], &["--authfile", &authfile]].concat(), SECRET).0, Some(0));
    assert!(Path::new(&authfile).exists());
    let output = home.command(&["inspect", &target]).env("REGISTRY_AUTH_FILE", &authfile).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // What is named on the command line counts before all others, in every command.
    assert_eq!(home.run(&["inspect", &target]).0, Some(3));
    let mut named = home.command(&["inspect", "--authfile", &authfile, &target]);
    let output = named.env("DOCKER_AUTH_CONFIG", "{}").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // What GitLab and others put into the environment counts before all files.
    let text = std::fs::read(&authfile).unwrap();
    std::fs::remove_file(&authfile).unwrap();
    assert_eq!(home.run(&["inspect", &target]).0, Some(3));
    let output = home.command(&["inspect", &target]).env("DOCKER_AUTH_CONFIG", String::from_utf8(text).unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    fake.assert_well_treated();
}

#[test]
fn a_login_asks_for_a_password_in_no_way_that_others_could_see() {
    let home = Home::new();
    let (code, _, err) = home.run(&["login", "r.example.com", "--password", "hunter2"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("--password-stdin") && !err.contains("hunter2"), "{err}");
    let (code, _, err) = home.run(&["login", "u:hunter2@r.example.com"]);
    assert_eq!(code, Some(2));
    assert!(!err.contains("hunter2"), "{err}");
    // Without a terminal there is nobody to ask.
    let (code, _, err) = home.run(&["login", "r.example.com"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("--password-stdin"), "{err}");
}

#[test]
fn a_password_that_is_typed_is_not_shown() {
    use std::io::{Read, Write};
    let home = Home::new();
    let fake = FakeRegistry::start(Door::Basic { user: "alice".to_owned(), password: SECRET.to_owned() });
    let line = format!("{} login {}", env!("CARGO_BIN_EXE_lapstrake"), fake.address());
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]).env_clear();
    script.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home.0.path()).env("LAPSTRAKE_HOME", home.path("store"));
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = String::new();
    let mut until = |wanted: &str, seen: &mut String| {
        while !seen.contains(wanted) {
            let mut byte = [0];
            assert_eq!(output.read(&mut byte).unwrap(), 1, "{wanted} in {seen}");
            seen.push(char::from(byte[0]));
        }
    };
    until("User at ", &mut seen);
    until(": ", &mut seen);
    input.write_all(b"alicf\x7fe\r").unwrap();
    until("Password: ", &mut seen);
    input.write_all(format!("{SECRET}\r").as_bytes()).unwrap();
    until("logged in", &mut seen);
    drop(input);
    assert!(child.wait().unwrap().success(), "{seen}");
    assert!(seen.contains("alic") && !seen.contains(SECRET), "{seen}");
    assert!(home.0.path().join(".docker/config.json").exists());
}

#[test]
fn the_reader_of_a_pipe_may_go_away() {
    let home = Home::new();
    let layout = home.layout(&image(0));
    for arguments in [&["tree", &layout][..], &["inspect", &layout], &["diff", &layout, &layout], &["--help"], &["ls"]] {
        let mut command = home.command(arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert!(matches!(output.status.code(), Some(0)), "{arguments:?}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn nothing_is_coloured_where_nobody_looks() {
    let home = Home::new();
    for variable in [None, Some("NO_COLOR"), Some("CI")] {
        let mut command = home.command(&["inspect", "oci:/nonexistent"]);
        command.envs(variable.map(|name| (name, "1")));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert!(!output.stderr.contains(&0x1b) && !output.stdout.contains(&0x1b));
    }
}
