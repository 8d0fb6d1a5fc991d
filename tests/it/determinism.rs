//! The same spec, context and time give the same digests, whatever the machine is like.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::lab::{Built, Lab, Mounted, PROGRAM, Ran, USER, as_root, make_user, set_mode};
use crate::programs::make_startable;
use crate::project;

/// One way in which a machine may differ: another store, home and command for the same build.
type Case<'c> = (&'static str, Box<dyn Fn() -> Built + 'c>);

/// A lab with the whole project.
fn whole() -> (Lab, std::path::PathBuf) {
    whole_below(&std::env::temp_dir())
}

fn whole_below(parent: &Path) -> (Lab, std::path::PathBuf) {
    let lab = Lab::below(parent);
    let project = lab.path("project");
    project::whole(&project);
    (lab, project)
}

const CREATED: [&str; 2] = ["--created", "1700000000"];

/// Builds with a store of its own, through these words before the program's name.
fn through(words: &[&str], change: impl Fn(&mut Command)) -> Built {
    let (lab, project) = whole();
    through_at(&lab, &project, words, change)
}

fn through_at(lab: &Lab, project: &Path, words: &[&str], change: impl Fn(&mut Command)) -> Built {
    let metadata = lab.path("metadata.json");
    let (program, further) = words.split_first().map_or((PROGRAM, words), |(program, further)| (*program, further));
    let mut command = Command::new(program);
    command.args(further).env_clear().envs(lab.environment()).current_dir(lab.path(""));
    if !words.is_empty() {
        command.arg(PROGRAM);
    }
    command.args(["build", project.to_str().unwrap(), "--metadata-file", metadata.to_str().unwrap()]).args(CREATED);
    change(&mut command);
    Built::of(Ran::of(&mut command), &metadata)
}

fn digests(built: &Built) -> Vec<(&str, &str)> {
    built.images().iter().map(|image| (image["name"].as_str().unwrap(), image["digest"].as_str().unwrap())).collect()
}

/// With the context's files as an umask of 077 and another user's habits would have them.
fn with_umask(umask: &str) -> Built {
    let (lab, project) = whole();
    let narrow = |path: &str, mode: u32| set_mode(&project.join(path), mode);
    let (file, program, directory) = match umask {
        "077" => (0o600, 0o700, 0o700),
        "000" => (0o666, 0o777, 0o777),
        _ => (0o644, 0o755, 0o755),
    };
    for path in ["src/main.txt", "src/start", "src/deep/er/file", "bare.tar", "archive.tar", "lapstrake.toml"] {
        narrow(path, file);
    }
    narrow("src/run-me", program);
    for path in ["src/deep/er", "src/deep", "src", ""] {
        narrow(path, directory);
    }
    through_at(&lab, &project, &["sh", "-c", &format!("umask {umask}; exec \"$@\""), "sh"], |_| {})
}

/// As an ordinary user, who has only a range of ids.
fn as_user() -> Built {
    make_user();
    let (lab, project) = whole();
    let program = lab.path("lapstrake");
    std::fs::copy(PROGRAM, &program).unwrap();
    make_startable(&program);
    as_root("chown", &["-R", USER, lab.path("").to_str().unwrap()]);
    let metadata = lab.path("metadata.json");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--init-groups", "--inh-caps=-all"]).arg(&program);
    command.args(["build", project.to_str().unwrap(), "--metadata-file", metadata.to_str().unwrap()]).args(CREATED);
    command.env_clear().envs(lab.environment()).current_dir(lab.path(""));
    let built = Built::of(Ran::of(&mut command), &metadata);
    let rungs: Vec<&Value> = built.rungs();
    assert!(rungs.iter().all(|rung| *rung == "userns"), "{rungs:?}");
    // What other ids own only their user namespace or root removes.
    as_root("rm", &["-rf", lab.store().to_str().unwrap()]);
    built
}

/// With the store on an overlay, where the kernel takes no upper directory.
fn on_an_overlay() -> Built {
    let (lab, project) = whole();
    for name in ["lower", "upper", "work"] {
        std::fs::create_dir(lab.path(name)).unwrap();
    }
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lab.path("lower").display(), lab.path("upper").display(), lab.path("work").display());
    let mounted = Mounted::new(lab.path("overlay"), "overlay", &options);
    through_at(&lab, &project, &[], |command| {
        command.env("LAPSTRAKE_HOME", mounted.0.join("store"));
    })
}

#[test]
fn neither_the_machine_nor_the_user_nor_the_moment_changes_a_digest() {
    let _web = project::whole_web();
    let cases: Vec<Case<'_>> = vec![
        ("another directory", Box::new(|| through(&[], |_| {}))),
        ("an umask of 000", Box::new(|| with_umask("000"))),
        ("an umask of 077", Box::new(|| with_umask("077"))),
        (
            "another time zone",
            Box::new(|| {
                through(&[], |command| {
                    command.env("TZ", "Asia/Kathmandu");
                })
            }),
        ),
        (
            "another language",
            Box::new(|| {
                through(&[], |command| {
                    command.env("LANG", "tr_TR.UTF-8").env("LC_ALL", "tr_TR.UTF-8");
                })
            }),
        ),
        (
            "another working directory",
            Box::new(|| {
                through(&[], |command| {
                    command.current_dir("/");
                })
            }),
        ),
        (
            "one step and one thread at a time",
            Box::new(|| {
                through(&[], |command| {
                    command.args(["--jobs", "1"]);
                })
            }),
        ),
        (
            "four steps and four threads at a time",
            Box::new(|| {
                through(&[], |command| {
                    command.args(["--jobs", "4"]);
                })
            }),
        ),
        (
            "another host name",
            Box::new(|| through(&["unshare", "--uts", "sh", "-c", "hostname another.example && exec \"$@\"", "sh"], |_| {})),
        ),
        (
            "a tmpfs",
            Box::new(|| {
                let (lab, project) = whole_below(Path::new("/dev/shm"));
                through_at(&lab, &project, &[], |_| {})
            }),
        ),
        ("an overlay", Box::new(on_an_overlay)),
        ("an ordinary user", Box::new(as_user)),
    ];
    let expected = with_umask("022");
    for (what, build) in &cases {
        let built = build();
        assert_eq!(digests(&built), digests(&expected), "{what}");
    }
}

#[test]
fn a_build_from_the_cache_is_the_build_without() {
    let _web = project::whole_web();
    let (lab, project) = whole();
    let first = lab.build(&project, &CREATED);
    assert_eq!(first.images(), lab.build(&project, &CREATED).images());
    assert_eq!(first.images(), lab.build(&project, &[&CREATED[..], &["--no-cache"]].concat()).images());
    // Only what is said about the time differs, and no layer.
    let later = lab.build(&project, &["--created", "2026-01-31T12:00:00Z"]);
    assert_eq!((later.ran(), later.layers()), (Vec::new(), first.layers()));
    assert_ne!(later.digest(), first.digest());
    lab.verify();
}
