//! The programs in `examples/`, run: they show the library's public interface and nothing else.

#![expect(clippy::disallowed_methods, reason = "tests start the registry and wait for it")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in tests a panic is the report")]

#[expect(dead_code, reason = "`main` is for cargo")]
#[path = "../examples/build_to_layout.rs"]
mod build_to_layout;
#[expect(dead_code, reason = "`main` is for cargo")]
#[path = "../examples/follow_events.rs"]
mod follow_events;
#[expect(dead_code, reason = "`main` is for cargo")]
#[path = "../examples/parse_and_show_diagnostics.rs"]
mod parse_and_show_diagnostics;
#[expect(dead_code, reason = "`main` is for cargo")]
#[path = "../examples/push.rs"]
mod push;
#[expect(dead_code, reason = "logins are tested with the registry client")]
#[path = "support/registry/real.rs"]
mod real;
#[expect(dead_code, reason = "only the registry is waited for")]
#[path = "support/waiting.rs"]
mod waiting;

use std::error::Error;
use std::io::Write;

/// What a program wrote, and what it came to.
fn ran<T>(run: impl FnOnce(&mut dyn Write) -> Result<T, Box<dyn Error>>) -> (String, T) {
    let mut out = Vec::new();
    let came = run(&mut out).unwrap();
    (String::from_utf8(out).unwrap(), came)
}

#[test]
fn every_mistake_is_shown_at_once_and_a_good_spec_has_its_stages() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lapstrake.toml");
    std::fs::write(&file, "spec = 1\n[stages.a]\nform = \"scratch\"\n[images.web]\nstage = \"b\"\n").unwrap();
    let (said, good) = ran(|out| parse_and_show_diagnostics::run(&file, out));
    assert!(!good);
    let codes: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("error[")?.split(']').next()).collect();
    assert_eq!(codes, ["missing-key", "unknown-key", "unknown-stage"], "{said}");
    assert!(said.contains("lapstrake.toml:3:1") && said.contains("`from`"), "{said}");

    std::fs::write(&file, "spec = 1\n[stages.a]\nfrom = \"scratch\"\nsteps = [{ mkdir = \"/x\" }]\n").unwrap();
    assert_eq!(ran(|out| parse_and_show_diagnostics::run(&file, out)), ("a: 1 steps\n".to_owned(), true));
}

#[test]
fn an_image_is_built_to_a_layout_and_pushed_from_there() {
    let directory = tempfile::tempdir().unwrap();
    let (layout, store) = (directory.path().join("layout"), directory.path().join("store"));
    let (first, ()) = ran(|out| build_to_layout::run(&layout, &store, out));
    let digest = first.trim().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(ran(|out| build_to_layout::run(&layout, &store, out)).0, first);
    assert!(layout.join("blobs").join(digest.replace(':', "/")).is_file(), "{first}");

    let registry = real::RealRegistry::start("", &[]);
    let (from, to) = (format!("oci:{}", layout.display()), format!("{}/team/site:1", registry.address));
    assert_eq!(ran(|out| push::run(&from, &to, out)).0, format!("{to} {digest} pushed\n"));
    assert_eq!(ran(|out| push::run(&from, &to, out)).0, format!("{to} {digest} there already\n"));
}

#[test]
fn each_task_of_a_build_is_followed_from_its_beginning_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let (project, store) = (directory.path().join("project"), directory.path().join("store"));
    std::fs::create_dir(&project).unwrap();
    std::fs::write(project.join("hull"), "planks\n").unwrap();
    let spec = "spec = 1\n[stages.boat]\nfrom = \"scratch\"\nsteps = [{ copy = \"hull\", to = \"/\" }]\n[images.boat]\nstage = \"boat\"\n";
    std::fs::write(project.join("lapstrake.toml"), spec).unwrap();

    let (first, ()) = ran(|out| follow_events::run(&project, &store, out));
    let started = first.lines().filter(|line| line.ends_with(": started")).count();
    let done = first.lines().filter(|line| line.ends_with(": done")).count();
    assert!(started >= 2 && started == done, "{first}");
    assert!(first.contains("Step boat 1/1 copy hull"), "{first}");

    let (again, ()) = ran(|out| follow_events::run(&project, &store, out));
    assert!(again.lines().any(|line| line.starts_with("Step boat 1/1 copy hull") && line.ends_with(": was there already")), "{again}");
    assert_eq!(first.lines().last(), again.lines().last(), "the digest is the same");

    std::fs::write(project.join("lapstrake.toml"), "spec = 1\n").unwrap();
    let error = follow_events::run(&project, &store, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("error["), "{error}");
}

#[test]
fn the_spec_in_the_readme_is_sound() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let text = readme.split("```toml\n").find(|block| block.starts_with("spec = 1")).unwrap().split("```").next().unwrap();
    let mut sources = lapstrake::diagnostic::SourceMap::new();
    let parsed = lapstrake::spec::parse(sources.add("README.md", text), text);
    assert_eq!(lapstrake::diagnostic::render_plain(&sources, &parsed.diagnostics), "");
    let target = lapstrake::plan::Target::everything("linux/amd64".parse().unwrap());
    let needed = lapstrake::plan::requirements(&parsed.value.unwrap(), &target);
    assert_eq!(needed.diagnostics, []);
    assert_eq!(needed.value.unwrap().len(), 1, "the base, and nothing else");
}
