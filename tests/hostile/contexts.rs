//! Build contexts, and what lies beside specs: links out, pipes, devices, names, and files that change while they are read.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::hostile::outside::{CANARY, Outside};
use crate::lab::{Lab, Ran, as_root, write};

const SPEC: &str = "spec = 1\n[stages.app]\nfrom = \"scratch\"\nsteps = [{ copy = \"src\", to = \"/\" }]\n[images.web]\nstage = \"app\"\n";

/// Builds a project and puts the result at `out`.
fn build(lab: &Lab, project: &Path) -> Ran {
    let output = format!("rootfs:{}", lab.path("out").display());
    Ran::of(&mut lab.command(&["build", project.to_str().unwrap(), "--output", &output]))
}

/// Nothing of the outside is below the directory.
fn assert_clean(directory: &Path) {
    for entry in walkdir::WalkDir::new(directory) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            assert!(!bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()), "{}", entry.path().display());
        }
    }
}

#[test]
fn links_that_lead_out_are_links_in_the_image_and_nothing_is_read_through_them() {
    let outside = Outside::plant();
    let lab = Lab::new();
    let project = lab.files("project", &[("lapstrake.toml", SPEC), ("src/own", "own\n")]);
    for (name, target) in
        [("file", outside.path("file")), ("directory", outside.path("directory")), ("up", Path::new("../../../../../..").into())]
    {
        symlink(target, project.join("src").join(name)).unwrap();
    }
    let ran = build(&lab, &project);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(std::fs::read_link(lab.path("out/file")).unwrap(), outside.path("file"));
    assert_clean(&lab.store());
    assert_clean(&lab.path("out"));
    // Named as a source, one is followed inside the context, where nothing is.
    for source in ["src/file", "src/directory/below", "src/directory", "src/up/etc/passwd"] {
        let spec = SPEC.replace("\"src\"", &format!("\"{source}\""));
        write(&project.join("lapstrake.toml"), &spec);
        let lab = Lab::new();
        let said = lab.fail(2, &project, &[]);
        assert!(said.contains(source.rsplit('/').next().unwrap()), "{source}: {said}");
        assert_clean(&lab.store());
    }
    outside.assert_unreached("links out of a context");
}

#[test]
fn files_beside_the_spec_are_not_read_through_links_that_lead_out() {
    let outside = Outside::plant();
    for name in [".lapstrakeignore", ".dockerignore"] {
        let lab = Lab::new();
        let project = lab.files("project", &[("lapstrake.toml", SPEC), ("src/own", "own\n")]);
        symlink(outside.path("file"), project.join(name)).unwrap();
        let said = lab.fail(3, &project, &[]);
        assert!(said.contains(name) && said.contains("leads out of the context"), "{said}");
        assert!(!said.contains(CANARY));
        // One that stays inside is followed.
        std::fs::remove_file(project.join(name)).unwrap();
        write(&project.join("other/ignore"), "src/left-out\n");
        write(&project.join("src/left-out"), "x");
        symlink("other/ignore", project.join(name)).unwrap();
        let ran = build(&lab, &project);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        assert!(lab.path("out/own").exists() && !lab.path("out/left-out").exists(), "{name}");
    }
}

#[test]
fn what_never_ends_is_not_read() {
    for (name, code) in [(".lapstrakeignore", 3), ("lapstrake.lock", 3)] {
        let lab = Lab::new();
        let project = lab.files("project", &[("lapstrake.toml", SPEC), ("src/own", "own\n")]);
        crate::real::run("mkfifo", &[project.join(name).to_str().unwrap()]);
        let said = lab.fail(code, &project, &[]);
        assert!(said.contains(name) && said.contains("no regular file"), "{said}");
        for attack in ["/dev/zero", "giant"] {
            let lab = Lab::new();
            let project = lab.files("project", &[("lapstrake.toml", SPEC), ("src/own", "own\n")]);
            if attack == "giant" {
                std::fs::File::create(project.join(name)).unwrap().set_len(8 << 30).unwrap();
            } else {
                symlink(attack, project.join(name)).unwrap();
            }
            let said = lab.fail(code, &project, &[]);
            assert!(said.contains(name), "{attack}: {said}");
        }
    }
    let lab = Lab::new();
    let compose = "services:\n  web:\n    build: .\n    env_file: /dev/zero\n";
    let project = lab.files("project", &[("compose.yaml", compose), ("Dockerfile", "FROM scratch\nCOPY src /\n"), ("src/own", "own\n")]);
    let ran = lab.run(&["build", project.to_str().unwrap()]);
    assert!(matches!(ran.code, Some(0 | 2 | 3)), "{ran:#?}");
    // A spec of endless holes is refused, not read.
    let lab = Lab::new();
    let project = lab.files("project", &[("lapstrake.toml", SPEC)]);
    std::fs::File::options().write(true).open(project.join("lapstrake.toml")).unwrap().set_len(8 << 30).unwrap();
    assert!(lab.fail(3, &project, &[]).contains("more than"));
}

#[test]
fn pipes_sockets_and_devices_of_a_context_are_not_opened() {
    let lab = Lab::new();
    let project = lab.files("project", &[("lapstrake.toml", SPEC), ("src/own", "own\n")]);
    crate::real::run("mkfifo", &[project.join("src/pipe").to_str().unwrap()]);
    let _socket = std::os::unix::net::UnixListener::bind(project.join("src/socket")).unwrap();
    let ran = build(&lab, &project);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(!lab.path("out/socket").exists());
    // A terminal, a clock that bites and a source without end, none of which is opened.
    for (name, major, minor) in [("zero", "1", "5"), ("watchdog", "10", "130"), ("terminal", "5", "0")] {
        as_root("mknod", &[project.join("src").join(name).to_str().unwrap(), "c", major, minor]);
    }
    let lab = Lab::new();
    let ran = build(&lab, &project);
    assert!(matches!(ran.code, Some(0 | 1 | 3)), "{ran:#?}");
    lab.verify();
    as_root("mknod", &[project.join("src/mark").to_str().unwrap(), "c", "0", "0"]);
    assert!(Lab::new().fail(3, &project, &[]).contains("character device 0:0"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let lab = Lab::new();
    let project = lab.files("project", &[("lapstrake.toml", SPEC), ("src/closed", "x")]);
    crate::lab::set_mode(&project.join("src/closed"), 0);
    let ran = crate::hostile::rungs::Rung::User.build(&lab, &project, &[]);
    // The owner may always change the mode; it is the kernel that says no until then.
    assert_eq!(ran.code, Some(3), "{ran:#?}");
    assert!(ran.err.contains("/src/closed") && ran.err.contains("Permission denied"), "{}", ran.err);
}

#[test]
fn a_file_that_cannot_be_read_disturbs_nobody_who_does_not_copy_it() {
    let lab = Lab::new();
    let project = lab.files("project", &[("lapstrake.toml", SPEC), ("src/open", "x"), ("closed", "x")]);
    crate::lab::set_mode(&project.join("closed"), 0);
    let ran = crate::hostile::rungs::Rung::User.build(&lab, &project, &[]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
}

#[test]
fn names_of_a_context_are_shown_escaped() {
    for bytes in [&b"\x1b]0;owned\x07"[..], b"new\nline", b"\xff\xfe", b"\x1b[2J\x1b[1;1H", "\u{9b}2J".as_bytes()] {
        let lab = Lab::new();
        let project = lab.files("project", &[("lapstrake.toml", SPEC)]);
        let file = project.join("src").join(OsStr::from_bytes(bytes));
        std::fs::create_dir_all(project.join("src")).unwrap();
        std::fs::write(&file, "x").unwrap();
        let ran = build(&lab, &project);
        assert_eq!(ran.code, Some(0), "{bytes:?}: {}", ran.err);
        assert_eq!(std::fs::read(lab.path("out").join(OsStr::from_bytes(bytes))).unwrap(), b"x");
        // In an error too: such a name means a removal.
        let reserved = [b".wh.", bytes].concat();
        std::fs::write(project.join("src").join(OsStr::from_bytes(&reserved)), "x").unwrap();
        let ran = lab.run(&["build", project.to_str().unwrap()]);
        assert_ne!(ran.code, Some(0), "{bytes:?}");
        for text in [&ran.out, &ran.err] {
            assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{bytes:?}: {text:?}");
        }
    }
}

/// Changes something over and over until the value is dropped.
struct Over(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Over {
    fn and_over(mut change: impl FnMut(u64) + Send + 'static) -> Over {
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let mut round = 0;
            while !end.load(Ordering::Relaxed) {
                change(round);
                round += 1;
            }
        });
        Over(ended, Some(thread))
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn files_that_grow_and_shrink_while_they_are_read_are_whole_or_an_error() {
    let lab = Lab::new();
    let project = lab.files("project", &[("lapstrake.toml", SPEC), ("src/a", "a")]);
    let file = project.join("src/moving");
    std::fs::write(&file, vec![b'x'; 3 << 20]).unwrap();
    let moving = file.clone();
    let _over = Over::and_over(move |round| {
        let open = std::fs::File::options().write(true).open(&moving).unwrap();
        open.set_len(if round % 2 == 0 { 1 } else { 3 << 20 }).unwrap();
    });
    let (mut refused, mut rounds) = (0, 0);
    // Until it was caught in the act.
    while refused == 0 || rounds < 6 {
        rounds += 1;
        assert!(rounds < 200, "the file never moved while it was read");
        let lab = Lab::new();
        let ran = build(&lab, &project);
        match ran.code {
            Some(0) => assert!(matches!(std::fs::metadata(lab.path("out/moving")).unwrap().len(), 1 | 0x30_0000), "{ran:#?}"),
            _ => {
                refused += 1;
                assert_eq!(ran.code, Some(3), "{ran:#?}");
                assert!(ran.err.contains("changed while it was being"), "{}", ran.err);
            }
        }
        lab.verify();
    }
}

#[test]
fn files_and_directories_swapped_for_links_are_never_followed() {
    let outside = Outside::plant();
    let lab = Lab::new();
    let project = lab.files("project", &[("lapstrake.toml", SPEC), ("src/a", "a"), ("src/swapped/below", "own"), ("src/file", "own")]);
    let (source, target) = (project.join("src"), outside.path(""));
    let _over = Over::and_over(move |_| {
        for (name, aside, target) in [("swapped", "aside", target.join("directory")), ("file", "aside-file", target.join("file"))] {
            let (at, aside) = (source.join(name), source.parent().unwrap().join(aside));
            std::fs::rename(&at, &aside).unwrap();
            symlink(&target, &at).unwrap();
            std::fs::remove_file(&at).unwrap();
            std::fs::rename(&aside, &at).unwrap();
        }
    });
    for _ in 0..15 {
        let lab = Lab::new();
        let ran = build(&lab, &project);
        assert!(matches!(ran.code, Some(0 | 2 | 3)), "{ran:#?}");
        assert_clean(&lab.store());
        if lab.path("out").exists() {
            assert_clean(&lab.path("out"));
        }
    }
    outside.assert_unreached("a context that moves");
}
