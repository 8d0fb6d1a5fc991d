//! A user without a range of ids gets what everybody gets: owners, groups, modes and devices are in the layers.
//!
//! The Debian tests want its archive, for a base that is made once and for the package that they install.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, Once, PoisonError};

use serde_json::Value;

use crate::lab::{Built, Lab, PROGRAM, Ran, as_root, set_mode, write};
use crate::programs::make_startable;
use crate::project;

pub(crate) const ALONE: &str = "lapstrake-it-alone";

/// Makes an ordinary user without ranges of ids, once.
pub(crate) fn make_user_alone() {
    static MADE: Once = Once::new();
    MADE.call_once(|| {
        // Users of this sort get no ranges.
        crate::lab::add_user(ALONE, &["--system"]);
        let ranges = std::fs::read_to_string("/etc/subuid").unwrap();
        assert!(!ranges.lines().any(|line| line.starts_with(&format!("{ALONE}:"))), "{ALONE} has no range in /etc/subuid");
    });
}

/// A project below a directory that the user alone may read.
struct Project {
    lab: Lab,
    path: PathBuf,
}

impl Project {
    fn new(files: &[(&str, &str)]) -> Project {
        let lab = Lab::new();
        let path = lab.path("project");
        for (name, text) in files {
            write(&path.join(name), text);
            set_mode(&path.join(name), 0o644);
        }
        Project { lab, path }
    }

    /// Builds as whoever runs the tests, with a range of ids.
    fn with_a_range(&self) -> Built {
        self.lab.build(&self.path, &["--isolation", "userns", "--created", "1700000000"])
    }

    /// Builds as an ordinary user without ranges.
    fn alone(&self, arguments: &[&str]) -> Built {
        make_user_alone();
        let lab = Lab::new();
        let program = lab.path("lapstrake");
        std::fs::copy(PROGRAM, &program).unwrap();
        make_startable(&program);
        as_root("chown", &["-R", ALONE, lab.path("").to_str().unwrap()]);
        let metadata = lab.path("metadata.json");
        let mut command = Command::new("setpriv");
        command.args(["--reuid", ALONE, "--regid", ALONE, "--init-groups", "--inh-caps=-all"]).arg(&program);
        command.args(["build", self.path.to_str().unwrap(), "--created", "1700000000", "--metadata-file", metadata.to_str().unwrap()]);
        command.args(arguments).env_clear().envs(lab.environment()).current_dir(lab.path(""));
        let built = Built::of(Ran::of(&mut command), &metadata);
        let rungs: Vec<&Value> = built.rungs();
        assert!(!rungs.is_empty() && rungs.iter().all(|rung| *rung == "single-id"), "{rungs:?}");
        as_root("rm", &["-rf", lab.store().to_str().unwrap()]);
        built
    }
}

/// A base of Debian, made once and kept; beside the project as `base.tar`.
fn debian(project: &Path) {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/base.sh");
    let made = Command::new("bash").args([script, "tar"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::copy(String::from_utf8(made.stdout).unwrap().trim(), project.join("base.tar")).unwrap();
    set_mode(&project.join("base.tar"), 0o644);
}

fn assert_same(alone: &Built, range: &Built) {
    assert_eq!(alone.layers(), range.layers());
    assert_eq!(alone.digest(), range.digest());
}

#[test]
fn owners_groups_and_special_bits_are_those_of_a_range() {
    const SPEC: &str = r#"
spec = 1

[stages.base]
from = "tar:base.tar"

[[stages.base.steps]]
copy = "steps/"
to = "/steps"

[[stages.base.steps]]
run = "sh /steps/busybox.sh > /said 2>&1"

[[stages.base.steps]]
run = "sh /steps/busybox-after.sh >> /said 2>&1"

[stages.app]
from = "stage:base"
user = "app"

[[stages.app.steps]]
run = "id; touch /tmp/own; mkdir -p /tmp/more/deep; test -w /etc || test -r /d/moved; rm /d/a || mv /tmp/link /tmp/moved"

[[stages.app.steps]]
run = "(busybox stat -c '%n %u %g %a %F' /shown/*; busybox chown -R app /shown /d) > /tmp/said 2>&1 || true"
mounts = [{ from = "stage:base", path = "/d", at = "/shown", writable = true }]

[images.app]
stage = "app"
"#;
    let project = Project::new(&[
        ("lapstrake.toml", SPEC),
        ("steps/busybox.sh", include_str!("single_id/busybox.sh")),
        ("steps/busybox-after.sh", include_str!("single_id/busybox-after.sh")),
    ]);
    std::fs::write(project.path.join("base.tar"), project::busybox()).unwrap();
    let range = project.with_a_range();
    assert_same(&project.alone(&[]), &range);
    // Whoever has a range may do without.
    let forced = Lab::new().build(&project.path, &["--isolation", "single-id", "--created", "1700000000"]);
    assert_same(&forced, &range);
}

#[test]
fn programs_of_a_distribution_find_the_users_they_know() {
    const SPEC: &str = r#"
spec = 1

[stages.base]
from = "tar:base.tar"

[[stages.base.steps]]
run = "sh -e /steps/debian.sh"
mounts = [{ from = "context", path = "steps", at = "/steps" }]
discard = ["/var/log/**", "/var/cache/**"]

[images.base]
stage = "base"
"#;
    let project = Project::new(&[
        ("lapstrake.toml", SPEC),
        ("steps/debian.sh", include_str!("single_id/debian.sh")),
        ("steps/users.py", include_str!("single_id/users.py")),
    ]);
    debian(&project.path);
    assert_same(&project.alone(&[]), &project.with_a_range());
}

#[test]
fn packages_are_installed() {
    const SPEC: &str = r#"
spec = 1

[stages.base]
from = "tar:base.tar"

[[stages.base.steps]]
run = "apt-get update && apt-get install -y gettext"
network = true
discard = ["/var/log/**", "/var/cache/**", "/var/lib/apt/**"]

[images.base]
stage = "base"
"#;
    let project = Project::new(&[("lapstrake.toml", SPEC)]);
    debian(&project.path);
    assert_same(&project.alone(&["--isolation", "single-id"]), &project.with_a_range());
}

#[test]
fn devices_are_in_the_layers() {
    const SPEC: &str = r#"
spec = 1

[stages.base]
from = "tar:base.tar"

[[stages.base.steps]]
run = "sh /steps/devices.sh"
mounts = [{ from = "context", path = "steps", at = "/steps" }]

[[stages.base.steps]]
run = "sh /steps/devices-after.sh"
mounts = [{ from = "context", path = "steps", at = "/steps" }]

[images.base]
stage = "base"
"#;
    let project = Project::new(&[
        ("lapstrake.toml", SPEC),
        ("steps/devices.sh", include_str!("single_id/devices.sh")),
        ("steps/devices-after.sh", include_str!("single_id/devices-after.sh")),
    ]);
    debian(&project.path);
    let out = project.lab.path("out");
    std::fs::create_dir(&out).unwrap();
    set_mode(&out, 0o777);
    let file = out.join("root.tar");
    project.alone(&["--output", &format!("rootfs-tar:{}", file.display())]);
    let mut found = Vec::new();
    let mut seen = String::new();
    for entry in tar::Archive::new(std::fs::File::open(&file).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().trim_start_matches("./").to_owned();
        let header = entry.header();
        if let Some(major) = header.device_major().unwrap().filter(|_| !header.entry_type().is_file() && !header.entry_type().is_dir())
            && let Some(minor) = header.device_minor().unwrap()
            && (major, minor) != (0, 0)
        {
            let kind = if header.entry_type().is_character_special() { "c" } else { "b" };
            let (uid, gid) = (header.uid().unwrap(), header.gid().unwrap());
            found.push(format!("{path} {kind} {major}:{minor} {uid}:{gid} {:o}", header.mode().unwrap() & 0o7777));
        }
        if path == "seen" {
            std::io::Read::read_to_string(&mut entry, &mut seen).unwrap();
        }
    }
    found.sort();
    assert_eq!(found, ["n/hard b 8:1 7:8 640", "n/moved c 511:1048575 0:0 600", "opt/null2 c 1:3 0:0 666"]);
    assert!(seen.contains("/x/null character special file 1 3 0 0 666\n"), "{seen}");
    assert!(seen.contains("hard block special file 8 1 7 8 640\n"), "{seen}");
    assert!(seen.ends_with("/n/hard\n/n/moved\n/opt/null2\n"), "{seen}");
}
