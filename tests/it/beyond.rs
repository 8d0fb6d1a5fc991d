//! Devices, and ids that the builder's namespace has not: a build that wants them goes on where users, owners and devices are a model, and
//! comes to what everybody else's comes to; or it is refused.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::{Built, Lab, PROGRAM, Ran, USER, as_root, make_user, set_mode};
use crate::programs::make_startable;
use crate::single_id::{ALONE, make_user_alone};

const GOES_ON: &str = "the build goes on with `--isolation single-id`";

/// Devices, and files of users far away, made, seen and given on.
const DEVICES: &str = r#"
[[stages.app.steps]]
run = "mkdir /d; echo before > /d/before"

[[stages.app.steps]]
run = '''
busybox mknod /d/null c 1 3; chmod 666 /d/null
busybox mknod -m 640 /d/disk b 8 1; chown 5:6 /d/disk
busybox ln /d/disk /d/same
busybox stat -c '%n %u %g %a %F %t %T' /d/* > /listing
'''

[[stages.app.steps]]
run = "busybox mv /d/null /d/moved; test -b /d/same; test -c /d/moved"
"#;

const OWNERS: &str = r#"
[[stages.app.steps]]
run = '''
mkdir /d; touch /d/far /d/near; chown 3000000:3000000 /d/far; chown 7:8 /d/near
echo far::3000000:3000001::/:/bin/sh >> /etc/passwd
mkdir /d/open; chmod 777 /d/open
su far -c 'id -u; id -g; touch /d/open/own' > /said
busybox stat -c '%n %u %g %a' /d/* /d/open/* > /listing
'''
"#;

/// What is not insisted on is in the result all the same.
const TRIED: &str = r#"
[[stages.app.steps]]
run = "busybox mknod /tried c 1 3 || touch /not-tried"
"#;

/// An archive with a device, and a file of nobody near.
const ARCHIVE: &str = r#"
[[stages.app.steps]]
copy = "more.tar"
to = "/more"
unpack = true
"#;

const LOOKS: &str = r#"
[[stages.app.steps]]
run = "busybox stat -c '%n %u %g %a %F' $(busybox find / -xdev -name device -o -name far) > /listing; test -s /listing"
"#;

/// A project whose only stage has these steps on this base.
fn project(lab: &Lab, base: &[u8], steps: &str) -> PathBuf {
    let spec = format!("spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\n{steps}\n[images.app]\nstage = \"app\"\n");
    let project = lab.project(&spec, &[]);
    std::fs::write(project.join("more.tar"), more()).unwrap();
    std::fs::write(project.join("base.tar"), base).unwrap();
    for name in ["more.tar", "base.tar", "lapstrake.toml"] {
        set_mode(&project.join(name), 0o644);
    }
    project
}

fn more() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, kind, owner) in [("device", tar::EntryType::Char, 0), ("far", tar::EntryType::Regular, 400_000)] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_size(0);
        header.set_uid(owner);
        header.set_gid(owner);
        if kind == tar::EntryType::Char {
            header.set_device_major(10).unwrap();
            header.set_device_minor(200).unwrap();
        }
        archive.append_data(&mut header, name, std::io::empty()).unwrap();
    }
    archive.into_inner().unwrap()
}

/// The base of busybox with these files besides.
fn base_with_more() -> Vec<u8> {
    let base = crate::project::busybox();
    // Two blocks of zeros are the end of an archive.
    let (files, end) = base.split_at(base.len() - 1024);
    assert!(end.iter().all(|byte| *byte == 0));
    [files, &more()].concat()
}

/// Builds as this user with a store of his own.
fn build_as(user: &str, project: &Path, arguments: &[&str]) -> (Ran, Lab) {
    let lab = Lab::new();
    let program = lab.path("lapstrake");
    std::fs::copy(PROGRAM, &program).unwrap();
    make_startable(&program);
    as_root("chown", &["-R", user, lab.path("").to_str().unwrap()]);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--init-groups", "--inh-caps=-all"]).arg(&program);
    command.args(["build", project.to_str().unwrap(), "--created", "1700000000", "--progress", "plain"]);
    command.args(["--metadata-file", lab.path("metadata.json").to_str().unwrap()]).args(arguments);
    let ran = Ran::of(command.env_clear().envs(lab.environment()).current_dir(lab.path("")));
    as_root("rm", &["-rf", lab.store().to_str().unwrap()]);
    (ran, lab)
}

#[test]
fn devices_and_far_ids_are_in_the_layers_of_everybody() {
    make_user();
    make_user_alone();
    let busybox = crate::project::busybox();
    // Root has all ids.
    let cases: [(&[u8], String, bool); 5] = [
        (busybox, DEVICES.to_owned(), true),
        (busybox, OWNERS.to_owned(), false),
        (busybox, TRIED.to_owned(), true),
        (busybox, format!("{ARCHIVE}{LOOKS}"), false),
        (&base_with_more(), LOOKS.to_owned(), false),
    ];
    for (base, steps, also_root) in cases {
        let lab = Lab::new();
        let project = project(&lab, base, &steps);
        let arguments = ["--created", "1700000000", "--progress", "plain"];
        let root = lab.build(&project, &arguments);
        assert_eq!(root.err.contains(GOES_ON), also_root, "{}", root.err);
        let model = Lab::new().build(&project, &[&arguments[..], &["--isolation", "single-id"]].concat());
        let mut all = vec![("root with a model", model)];
        for user in [USER, ALONE] {
            let (ran, lab) = build_as(user, &project, &[]);
            let built = Built::of(ran, &lab.path("metadata.json"));
            assert_eq!(built.err.contains(GOES_ON), user == USER, "{user}: {}", built.err);
            assert_eq!(built.rungs().last().unwrap().as_str(), Some("single-id"), "{user}");
            all.push((user, built));
        }
        for (who, built) in all {
            assert_eq!((built.layers(), built.digest()), (root.layers(), root.digest()), "{who}: {steps}");
        }
        // What has been done is not done again, on whichever rung it was.
        assert_eq!(lab.build(&project, &arguments).ran(), [] as [&str; 0]);
        lab.verify();
    }
}

#[test]
fn a_build_that_turned_before_begins_where_it_ended() {
    let lab = Lab::new();
    let spec = "spec = 1\n[stages.made]\nfrom = \"tar:base.tar\"\nsteps = [\n\
                { run = \"head -c 8 /dev/urandom > /other-each-time\" },\n\
                { run = \"busybox mknod /null c 1 3; busybox stat -c %F /null > /said\" },\n]\n\
                [stages.app]\nfrom = \"scratch\"\nsteps = [{ copy = [\"/said\", \"/other-each-time\"], from = \"stage:made\", to = \"/\" }]\n\
                [images.app]\nstage = \"app\"\n";
    let project = lab.project(spec, &[]);
    let first = lab.build(&project, &[]);
    assert!(first.err.contains(GOES_ON), "{}", first.err);
    let again = lab.build(&project, &[]);
    assert_eq!((again.digest(), again.ran()), (first.digest(), Vec::new()), "{}", again.err);
    // Without what it wanted it is like any other.
    let without = lab.project(&spec.replace("busybox mknod /null c 1 3; busybox stat -c %F /null > /said", "echo none > /said"), &[]);
    let built = lab.build(&without, &[]);
    assert_eq!(built.rungs().last().unwrap().as_str(), Some("userns"), "{}", built.err);
    lab.verify();
}

#[test]
fn a_rung_that_was_asked_for_refuses_what_it_lacks_and_says_what_to_do() {
    make_user();
    let busybox = crate::project::busybox();
    let run = |script: &str| format!("[[stages.app.steps]]\nrun = \"{script}\"\n");
    let device = "to make the character device 1:3";
    let far = [
        (run("touch /x; chown 3000000 /x || true"), "to give a file to 3000000:0"),
        (format!("[[stages.app.steps]]\nuser = \"3000000:7\"\n{}", run("true")), "user 3000000"),
        (format!("{ARCHIVE}{}", run("true")), "device"),
    ];
    for (steps, wanted) in far {
        let lab = Lab::new();
        let project = project(&lab, busybox, &steps);
        let (ran, _lab) = build_as(USER, &project, &["--isolation", "userns"]);
        assert_eq!(ran.code, Some(3), "{steps}: {ran:#?}");
        assert!(ran.err.contains(wanted) && ran.err.contains("--isolation single-id"), "{ran:#?}");
    }
    let lab = Lab::new();
    let tried = project(&lab, busybox, &run("echo first; busybox mknod /x c 1 3 || true"));
    let said = lab.fail(3, &tried, &["--isolation", "userns"]);
    assert!(said.contains(device) && said.contains("--isolation single-id"), "{said}");
    // Where there is nothing better, what a step makes of it is its own affair; that it fails for it is the machine's.
    lab.build(&tried, &["--isolation", "chroot"]);
    let lab = Lab::new();
    let insists = project(&lab, busybox, &run("busybox mknod /x c 1 3"));
    let said = lab.fail(3, &insists, &["--isolation", "chroot"]);
    assert!(said.contains(device) && said.contains("user namespaces"), "{said}");
}

#[test]
fn an_image_that_is_run_is_refused_devices_and_goes_on() {
    let lab = Lab::new();
    let project = project(&lab, crate::project::busybox(), "");
    let mut command =
        lab.command(&["run", "--progress", "quiet", "app", "--", "/bin/sh", "-c", "busybox mknod /x c 1 3 2>/dev/null || echo refused"]);
    let ran = Ran::of(command.current_dir(project));
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "refused\n"), "{ran:#?}");
}
