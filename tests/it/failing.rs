//! Builds that cannot go well: what is said, and how the program ends.

use std::path::PathBuf;

use crate::lab::{Lab, Mounted, write};
use crate::nobody::Nobody;
use crate::real::RealRegistry;
use crate::web::Web;

/// A project with one stage of these steps on busybox.
fn with_steps(lab: &Lab, steps: &str) -> PathBuf {
    lab.project(
        &format!("spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\n{steps}\n[images.web]\nstage = \"app\"\n"),
        &[("src/index.html", "x\n")],
    )
}

/// A project with a stage on this base.
fn with_base(lab: &Lab, base: &str) -> PathBuf {
    lab.project(&format!("spec = 1\n[stages.app]\nfrom = \"{base}\"\nsteps = [{{ mkdir = \"/a\" }}]\n[images.web]\nstage = \"app\"\n"), &[])
}

fn contains(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "expected `{word}` in:\n{said}");
    }
}

#[test]
fn what_was_written_to_a_read_only_mount_without_mounts_is_named() {
    let cases = [
        (
            "{ from = \"context\", path = \"src\", at = \"/in\" }",
            "echo x > /in/deep/new",
            "`/in/deep/new`, which is mounted read-only at `/in`",
        ),
        (
            "{ from = \"context\", path = \"src\", at = \"/in\" }",
            "rm /in/index.html",
            "`/in/index.html`, which is mounted read-only at `/in`",
        ),
        ("{ from = \"context\", path = \"src/index.html\", at = \"/in\" }", "echo more >> /in", "`/in`, which is mounted read-only"),
        (
            "{ cache = \"c\", at = \"/in\", writable = false }",
            "mkdir /in/a; echo x > /in/a/b",
            "`/in/a/b`, which is mounted read-only at `/in`",
        ),
    ];
    for (mount, script, expected) in cases {
        let lab = Lab::new();
        let project = with_steps(&lab, &format!("[[stages.app.steps]]\nrun = \"{script}\"\nmounts = [{mount}]\n"));
        write(&project.join("src/deep/old"), "x\n");
        contains(&lab.fail(1, &project, &["--isolation", "chroot"]), &[expected, "lapstrake.toml:5"]);
        // With mounts the command itself is refused.
        let said = Lab::new().fail(1, &project, &["--isolation", "userns"]);
        assert!(!said.contains("which is mounted read-only") && said.to_lowercase().contains("read-only file system"), "{said}");
    }
}

#[test]
fn another_isolation_than_there_is_is_answered_with_those_there_are() {
    let lab = Lab::new();
    let project = with_steps(&lab, "");
    for (word, nearest) in [("proot", "chroot"), ("user", "userns")] {
        let said = lab.fail(2, &project, &["--isolation", word]);
        contains(&said, &[word, "auto, userns, single-id, chroot, none", &format!("a similar value exists: '{nearest}'")]);
    }
}

#[test]
fn a_failing_run_shows_its_place_its_last_lines_and_its_code() {
    let lab = Lab::new();
    let project =
        with_steps(&lab, "[[stages.app.steps]]\nrun = \"\"\"\nseq 1 200\necho the last line\necho on stderr >&2\nexit 42\n\"\"\"");
    let said = lab.fail(1, &project, &[]);
    contains(&said, &["lapstrake.toml:5", "the last line", "on stderr", "200", "code 42"]);
    // It is no result: the next build tries again, and a repaired one goes well.
    assert!(lab.fail(1, &project, &[]).contains("code 42"));
    let spec = std::fs::read_to_string(project.join("lapstrake.toml")).unwrap();
    write(&project.join("lapstrake.toml"), &spec.replace("exit 42", "exit 0"));
    lab.build(&project, &[]);
    lab.verify();
}

#[test]
fn steps_that_end_otherwise_than_well_say_how() {
    let cases = [
        ("run = \"sleep 100\"\ntimeout = \"1s\"", vec!["timeout", "1 second"]),
        ("run = [\"/bin/absent\", \"x\"]", vec!["/bin/absent"]),
        ("run = \"no-such-program\"", vec!["no-such-program: not found", "code 127"]),
        ("run = \"kill -9 $$\"", vec!["signal 9"]),
        ("run = \"false; echo not reached\"", vec!["code 1"]),
        ("run = \"touch /.wh.name\"", vec![".wh.name"]),
        ("run = \"true\"\nuser = \"nobody-here\"", vec!["nobody-here"]),
    ];
    for (step, words) in cases {
        let lab = Lab::new();
        let code = if step.contains("nobody-here") { 2 } else { 1 };
        let said = lab.fail(code, &with_steps(&lab, &format!("[[stages.app.steps]]\n{step}")), &[]);
        contains(&said, &["lapstrake.toml:5"]);
        contains(&said, &words);
        assert!(!said.contains("| not reached"), "{said}");
    }
}

#[test]
fn mistakes_in_the_spec_or_on_the_command_line_end_with_2() {
    let run = "[[stages.app.steps]]\nrun = \"true\"\n";
    let copy = |path: &str| format!("[[stages.app.steps]]\ncopy = \"{path}\"\nto = \"/\"\n");
    let secret = run.to_owned() + "mounts = [{ secret = \"key\" }]";
    let cases: [(String, &[&str], &[&str]); 9] = [
        (secret.clone(), &[], &["key", "--secret id=key"]),
        (secret, &["--secret", "id=key,src=absent"], &["absent"]),
        (run.to_owned(), &["--arg", "absent=1"], &["absent"]),
        (run.to_owned(), &["--image", "wbe"], &["wbe", "web"]),
        (copy("src/indx.html"), &[], &["src/indx.html", "src/index.html", "lapstrake.toml:5"]),
        (copy("../x"), &[], &["..", "lapstrake.toml:5"]),
        (
            "[[stages.app.steps]]\nrun = 1\n[[stages.app.steps]]\ncpoy = \"a\"\n".to_owned(),
            &[],
            &["lapstrake.toml:5", "lapstrake.toml:7", "copy"],
        ),
        (run.to_owned(), &["--created", "yesterday"], &["yesterday"]),
        (run.to_owned(), &["--output", "zip:x"], &["zip"]),
    ];
    for (steps, arguments, words) in cases {
        let lab = Lab::new();
        let project = with_steps(&lab, &steps);
        contains(&lab.fail(2, &project, arguments), words);
    }
    let lab = Lab::new();
    contains(&lab.fail(2, &lab.path("absent"), &[]), &["absent"]);
}

#[test]
fn a_base_that_is_not_there_is_told_apart_from_a_registry_that_is_not_there() {
    let registry = RealRegistry::start("", &[]);
    let lab = Lab::new();
    let said = lab.fail(3, &with_base(&lab, &format!("{}/no/such:1", registry.address)), &[]);
    contains(&said, &["no/such", "lapstrake.toml:3"]);
    let nobody = Nobody::new();
    let said = lab.fail(3, &with_base(&lab, &format!("{}/no/such:1", nobody.address)), &[]);
    contains(&said, &[&nobody.address.to_string(), "lapstrake.toml:3", "refused"]);
}

#[test]
fn nothing_comes_from_the_network_offline_or_unpinned_when_locked() {
    let registry = RealRegistry::start("", &[]);
    let lab = Lab::new();
    let made = with_steps(&lab, "");
    let base = format!("{}/team/base:1", registry.address);
    lab.build(&made, &["--tag", &base, "--push"]);
    let project = with_base(&lab, &base);
    let elsewhere = Lab::new();
    contains(&elsewhere.fail(3, &project, &["--offline"]), &[&base, "--offline", "lapstrake.toml:3"]);
    contains(&elsewhere.fail(2, &project, &["--locked"]), &[&base, "lapstrake lock"]);
    let locked = elsewhere.run(&["lock", project.to_str().unwrap()]);
    assert_eq!(locked.code, Some(0), "{locked:#?}");
    let built = elsewhere.build(&project, &["--locked"]);
    // What was fetched once is there without the network.
    drop(registry);
    assert_eq!(elsewhere.build(&project, &["--locked", "--offline"]).digest(), built.digest());
}

#[test]
fn a_download_with_other_bytes_than_promised_is_refused() {
    let web = Web::start(&[("/tool", b"bytes")]);
    let lab = Lab::new();
    let fetch =
        |sha256: &str| format!("[[stages.app.steps]]\nfetch = \"http://{}/tool\"\nto = \"/tool\"\nsha256 = \"{sha256}\"\n", web.address);
    let said = lab.fail(3, &with_steps(&lab, &fetch(&"0".repeat(64))), &[]);
    let right = "277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9";
    contains(&said, &["lapstrake.toml:5", &"0".repeat(64), right]);
    let project = with_steps(&lab, &fetch(right));
    lab.build(&project, &[]);
    let served = web.served();
    assert_eq!(lab.build(&project, &[]).ran(), Vec::<&str>::new());
    assert_eq!(web.served(), served, "what is there is not downloaded again");
    let absent = with_steps(&lab, &format!("[[stages.app.steps]]\nfetch = \"http://{}/absent\"\nto = \"/x\"\n", web.address));
    contains(&lab.fail(3, &absent, &[]), &["/absent", "404"]);
}

#[test]
fn a_full_disk_ends_with_3_and_with_room_the_build_goes_well() {
    let lab = Lab::new();
    let project = with_steps(&lab, "[[stages.app.steps]]\nrun = \"dd if=/dev/zero of=/big bs=1048576 count=16\"\n");
    let expected = lab.build(&project, &[]).digest().to_owned();
    let small = Lab::new();
    let store = Mounted::new(small.store(), "tmpfs", "size=1m,mode=0700");
    for megabytes in ["1", "3", "5", "12"] {
        as_big_as(&store, megabytes);
        let ran = small.run(&["build", project.to_str().unwrap()]);
        // A command that finds the disk full says so itself, and fails.
        let expected_code = if ran.err.contains("code 1\n") || ran.err.contains("dd:") { 1 } else { 3 };
        assert_eq!(ran.code, Some(expected_code), "{megabytes} MiB: {ran:#?}");
        assert!(ran.err.contains("No space left on device"), "{megabytes} MiB: {}", ran.err);
    }
    as_big_as(&store, "400");
    assert_eq!(small.build(&project, &[]).digest(), expected);
    small.verify();
}

fn as_big_as(mounted: &Mounted, megabytes: &str) {
    crate::lab::as_root("mount", &["-o", &format!("remount,size={megabytes}m"), mounted.0.to_str().unwrap()]);
}

#[test]
fn stores_that_are_not_ours_are_refused_and_not_touched() {
    let lab = Lab::new();
    let project = with_steps(&lab, "");
    let newer = lab.files("store", &[("lapstrake-store", "lapstrake store\nversion 999\n")]);
    contains(&lab.fail(3, &project, &[]), &["999", "version"]);
    assert_eq!(std::fs::read_dir(&newer).unwrap().count(), 1);
    std::fs::remove_file(newer.join("lapstrake-store")).unwrap();
    write(&newer.join("letter"), "dear\n");
    lab.fail(3, &project, &[]);
    assert_eq!(std::fs::read_dir(&newer).unwrap().count(), 1);
}
