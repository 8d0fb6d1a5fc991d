//! What is done again, and what is not.

use std::path::Path;
use std::process::Command;

use rustix::fs::inotify;

use crate::lab::{Built, Lab, Ran, set_mode, write};
use crate::real::RealRegistry;

const SPEC: &str = r#"
spec = 1

[stages.app]
from = "tar:base.tar"

[[stages.app.steps]]
run = "echo tools > /tools"

[[stages.app.steps]]
copy = "first"
to = "/first/"

[[stages.app.steps]]
run = "cat /first/a > /made"

[[stages.app.steps]]
copy = "second"
to = "/second/"

[[stages.app.steps]]
run = "cat /made /second/b > /both"

[images.web]
stage = "app"
cmd = ["/bin/sh"]
"#;

const FILES: &[(&str, &str)] = &[("first/a", "a\n"), ("first/unused", "u\n"), ("second/b", "b\n"), ("elsewhere", "e\n")];

const STEPS: [&str; 5] = [
    "run echo tools > /tools",
    "copy first → /first/",
    "run cat /first/a > /made",
    "copy second → /second/",
    "run cat /made /second/b > /both",
];

fn copy(from: &Path, to: &Path) {
    crate::real::run("cp", &["-R", "--no-preserve=all", from.to_str().unwrap(), to.to_str().unwrap()]);
}

fn nothing_ran(built: &Built) {
    assert_eq!(built.ran(), Vec::<&str>::new(), "{}", built.err);
}

#[test]
fn an_unchanged_build_runs_nothing_and_pushes_nothing() {
    let registry = RealRegistry::start("", &[]);
    let lab = Lab::new();
    let project = lab.project(SPEC, FILES);
    let tag = format!("{}/team/web:1", registry.address);
    let first = lab.build(&project, &["--tag", &tag, "--push"]);
    assert_eq!(first.ran(), STEPS);
    assert!(first.out.contains(&format!("  {tag} pushed\n")), "{}", first.out);
    let second = lab.build(&project, &["--tag", &tag, "--push"]);
    nothing_ran(&second);
    assert_eq!(second.out, first.out.replace(" pushed\n", " there already\n"));
    assert!(second.err.contains(&format!("push {tag} cached")), "{}", second.err);
}

#[test]
fn times_modes_and_clones_of_the_context_run_nothing() {
    let lab = Lab::new();
    let project = lab.project(SPEC, FILES);
    let first = lab.build(&project, &[]);
    crate::real::run(
        "touch",
        &["--date=2001-02-03", project.join("first/a").to_str().unwrap(), project.join("base.tar").to_str().unwrap()],
    );
    set_mode(&project.join("first/a"), 0o600);
    set_mode(&project.join("second"), 0o700);
    nothing_ran(&lab.build(&project, &[]));
    let clone = lab.path("elsewhere/clone");
    std::fs::create_dir_all(clone.parent().unwrap()).unwrap();
    copy(&project, &clone);
    let cloned = lab.build(&clone, &[]);
    nothing_ran(&cloned);
    std::fs::remove_dir_all(&project).unwrap();
    copy(&clone, &project);
    let back = lab.build(&project, &[]);
    nothing_ran(&back);
    assert_eq!([cloned.digest(), back.digest()], [first.digest(); 2]);
}

#[test]
fn files_that_no_step_names_are_not_read_and_those_that_were_are_not_read_again() {
    let lab = Lab::new();
    let spec = r#"
        spec = 1
        [contexts]
        more = "more"
        [stages.app]
        from = "tar:base.tar"
        [[stages.app.steps]]
        copy = ["plain", "some/*.txt", "by/link", "up"]
        to = "/all/"
        [[stages.app.steps]]
        copy = "by/left-out"
        exclude = ["nothing"]
        to = "/left/"
        [[stages.app.steps]]
        copy = "wanted"
        from = "context:more"
        to = "/more"
        [[stages.app.steps]]
        run = "cat /in/b /cache/c > /made"
        mounts = [
            { from = "context", path = "shown", at = "/in" },
            { cache = "c", from = "context", path = "first", at = "/cache" },
        ]
        [[stages.app.steps]]
        extract = "archives/one.tar"
        to = "/archive"
        [images.web]
        stage = "app"
    "#;
    let read = ["plain/a", "some/a.txt", "behind/link", "up", "by/left-out/f", "more/wanted", "shown/b", "first/c", "archives/one.tar"];
    let not_read = ["some/b.md", "by/f", "archives/other", "more/unwanted", "elsewhere"];
    let files: Vec<(&str, &str)> = read.iter().chain(&not_read).map(|file| (*file, "text\n")).collect();
    let project = lab.project(spec, &files);
    std::os::unix::fs::symlink("../behind/link", project.join("by/link")).unwrap();
    std::fs::copy(project.join("base.tar"), project.join("archives/one.tar")).unwrap();
    // Until then a change might not show.
    std::thread::sleep(std::time::Duration::from_millis(3100));
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    let watched: Vec<(i32, &str)> = read
        .iter()
        .chain(&not_read)
        .map(|file| (inotify::add_watch(&watch, project.join(file), inotify::WatchFlags::OPEN).unwrap(), *file))
        .collect();
    let opened = || {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&watch, &mut buffer);
        let mut opened = std::collections::BTreeSet::new();
        while let Ok(event) = events.next() {
            opened.extend(watched.iter().find(|(number, _)| *number == event.wd()).map(|(_, file)| *file));
        }
        opened
    };
    lab.build(&project, &[]);
    assert_eq!(opened(), read.into());
    nothing_ran(&lab.build(&project, &[]));
    assert_eq!(opened(), [].into());
}

#[test]
fn what_no_step_uses_is_in_no_key() {
    let lab = Lab::new();
    let project = lab.project(SPEC, FILES);
    lab.build(&project, &[]);
    write(&project.join("elsewhere"), "other\n");
    write(&project.join("new"), "new\n");
    write(&project.join("lapstrake.toml"), &format!("# A remark.\n{}", SPEC.replace(r#"cmd = ["/bin/sh"]"#, r#"labels = { a = "b" }"#)));
    nothing_ran(&lab.build(&project, &[]));
}

#[test]
fn an_edit_runs_again_what_follows_its_copy_and_nothing_else() {
    let lab = Lab::new();
    let project = lab.project(SPEC, FILES);
    let first = lab.build(&project, &[]);
    write(&project.join("second/b"), "changed\n");
    let second = lab.build(&project, &[]);
    assert_eq!(second.ran(), STEPS[3..], "{}", second.err);
    assert_eq!(first.layers()[..4], second.layers()[..4]);
    assert_ne!(first.layers()[4..], second.layers()[4..]);
    set_mode(&project.join("second/b"), 0o755);
    assert_eq!(lab.build(&project, &[]).ran(), STEPS[3..], "the execute bit is content");
}

#[test]
fn a_step_that_runs_again_with_an_equal_result_stops_it_there() {
    let lab = Lab::new();
    // Nothing of what the first step sees reaches its result.
    let spec = SPEC.replace("echo tools > /tools", "echo tools > /tools # ${args.remark}") + "[args]\nremark = \"1\"\n";
    let project = lab.project(&spec, FILES);
    let first = lab.build(&project, &[]);
    let second = lab.build(&project, &["--arg", "remark=2"]);
    assert_eq!(second.ran(), ["run echo tools > /tools # 2"], "{}", second.err);
    assert_eq!(first.layers(), second.layers());
}

#[test]
fn no_cache_runs_everything_or_one_stage() {
    let lab = Lab::new();
    let spec = SPEC.to_owned()
        + "\n[stages.other]\nfrom = \"tar:base.tar\"\nsteps = [{ run = \"echo o > /o\" }]\n[images.other]\nstage = \"other\"\n";
    let project = lab.project(&spec, FILES);
    let first = lab.build(&project, &[]);
    let all = lab.build(&project, &["--no-cache"]);
    assert_eq!(all.ran().len(), 6, "{}", all.err);
    assert_eq!(all.images(), first.images());
    assert_eq!(lab.build(&project, &["--no-cache=other"]).ran(), ["run echo o > /o"]);
    nothing_ran(&lab.build(&project, &[]));
    assert!(lab.fail(2, &project, &["--no-cache=absent"]).contains("no such stage is built"));
}

#[test]
fn why_names_the_field_or_the_file_that_differs() {
    let lab = Lab::new();
    let project = lab.project(SPEC, FILES);
    let why = |step: &str| lab.run(&["why", step, project.to_str().unwrap()]).out;
    assert!(why("app/1").contains("never ran"), "{}", why("app/1"));
    lab.build(&project, &[]);
    assert!(why("app/5").contains("is cached"), "{}", why("app/5"));
    write(&project.join("second/b"), "changed\n");
    assert!(why("app/4").contains("second/b"), "{}", why("app/4"));
    assert!(why("app/3").contains("is cached"), "{}", why("app/3"));
    write(&project.join("lapstrake.toml"), &SPEC.replace("echo tools", "echo hammers"));
    let said = why("app/1");
    assert!(said.contains("- ") && said.contains("echo tools") && said.contains("+ ") && said.contains("echo hammers"), "{said}");
}

#[test]
fn the_value_of_a_secret_is_in_no_key() {
    let lab = Lab::new();
    let spec = r#"
spec = 1
[stages.app]
from = "tar:base.tar"
[[stages.app.steps]]
run = "test -s /run/secrets/key && test -n \"$TOKEN\" && echo used > /used"
mounts = [{ secret = "key" }, { secret = "token", env = "TOKEN" }]
[images.web]
stage = "app"
"#;
    let project = lab.project(spec, &[]);
    let with = |value: &str| {
        write(&lab.path("key"), value);
        lab.build_with(&project, &["--secret", "id=key,src=key", "--secret", "id=token,env=VALUE"], |command| {
            command.env("VALUE", value);
        })
    };
    let first = with("one");
    let second = with("two");
    nothing_ran(&second);
    assert_eq!(first.digest(), second.digest());
}

#[test]
fn two_builds_at_once_share_a_store() {
    let lab = Lab::new();
    let project = lab.project(SPEC, FILES);
    let other = lab.path("other");
    copy(&project, &other);
    write(&other.join("second/b"), "other\n");
    let start = |project: &Path| {
        lab.command(&["build", project.to_str().unwrap()])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let both: Vec<_> = [&project, &other, &project, &other].map(|project| start(project)).into_iter().collect();
    let ended: Vec<Ran> = both.into_iter().map(|child| Ran::from(child.wait_with_output().unwrap())).collect();
    assert!(ended.iter().all(|ran| ran.code == Some(0)), "{ended:#?}");
    assert_eq!((&ended[0].out, &ended[1].out), (&ended[2].out, &ended[3].out));
    assert_ne!(ended[0].out, ended[1].out);
    nothing_ran(&lab.build(&project, &[]));
    nothing_ran(&lab.build(&other, &[]));
    lab.verify();
}

#[test]
fn a_store_inside_the_context_is_no_part_of_it() {
    let lab = Lab::new();
    let spec = "spec = 1\n[stages.app]\nfrom = \"scratch\"\nsteps = [{ copy = \".\", to = \"/\" }]\n[images.web]\nstage = \"app\"\n";
    let project = lab.project(spec, FILES);
    let inside = |command: &mut Command| {
        command.env("LAPSTRAKE_HOME", project.join("store"));
    };
    let first = lab.build_with(&project, &[], inside);
    let second = lab.build_with(&project, &[], inside);
    nothing_ran(&second);
    assert_eq!(first.digest(), second.digest());
    assert_eq!(lab.build(&project, &[]).layers().len(), 1);
}

#[test]
fn a_blob_that_is_damaged_in_the_store_is_made_again_for_a_push() {
    let (first, second) = (RealRegistry::start("", &[]), RealRegistry::start("", &[]));
    let lab = Lab::new();
    let project = lab.project(
        "spec = 1\nstages.app = { from = \"scratch\", steps = [{ copy = \"noise\", to = \"/\" }] }\nimages.web = { stage = \"app\" }\n",
        &[],
    );
    let mut bytes = [0; 32];
    // Too many, and too far from regular, for a blob that is hashed whenever it is opened.
    let noise: Vec<u8> = (0..20_000_u32)
        .flat_map(|number| {
            bytes = *lapstrake::cache::Fingerprint::of(&[&bytes[..], &number.to_le_bytes()].concat()).as_bytes();
            bytes
        })
        .collect();
    std::fs::write(project.join("noise"), noise).unwrap();
    let at = |registry: &RealRegistry| format!("{}/team/web:1", registry.address);
    let built = lab.build(&project, &["--push", "--tag", &at(&first)]);
    let hex = built.layers()[0].strip_prefix("sha256:").unwrap().to_owned();
    let blob = lab.store().join("blobs/sha256").join(hex);
    let mut stored = std::fs::read(&blob).unwrap();
    let middle = stored.len() / 2;
    stored[middle] ^= 1;
    set_mode(&blob, 0o644);
    std::fs::write(&blob, stored).unwrap();
    let again = lab.build(&project, &["--push", "--tag", &at(&second)]);
    assert_eq!(again.digest(), built.digest());
    assert!(again.err.contains("was damaged in the store"), "{}", again.err);
    crate::real::run(
        "skopeo",
        &["copy", "--src-tls-verify=false", &format!("docker://{}", at(&second)), &format!("dir:{}", lab.path("pulled").display())],
    );
    lab.verify();
}

#[test]
fn a_stage_without_cache_is_done_anew_beside_one_that_has_the_same_steps() {
    let lab = Lab::new();
    let step = "{ run = \"cat /proc/sys/kernel/random/uuid > /id\" }";
    let spec = format!(
        "spec = 1\nstages.a = {{ from = \"tar:base.tar\", steps = [{step}] }}\nstages.b = {{ from = \"tar:base.tar\", steps = [{step}] }}\nimages.a = {{ stage = \"a\" }}\nimages.b = {{ stage = \"b\" }}\n"
    );
    let project = lab.project(&spec, &[]);
    let digests =
        |built: &Built| -> Vec<String> { built.images().iter().map(|image| image["digest"].as_str().unwrap().to_owned()).collect() };
    let once = lab.build(&project, &[]);
    let [a, b] = &digests(&once)[..] else { panic!("two images") };
    assert_eq!(a, b, "equal steps are done once");
    for stage in ["b", "a", "b"] {
        let before = digests(&lab.build(&project, &[]));
        let anew = lab.build(&project, &[&format!("--no-cache={stage}")]);
        assert_eq!(anew.ran().len(), 1, "{}", anew.err);
        let number = usize::from(stage == "b");
        assert_ne!(digests(&anew)[number], before[number], "{stage}");
    }
}
