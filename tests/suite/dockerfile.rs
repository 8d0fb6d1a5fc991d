//! `tests/suite/dockerfile/<case>/Dockerfile` → `expected.tree` and `expected.config.json`, or `expected.error`: the program builds each case, and
//! what it made is read by tools of the tests' own. `tests/conformance` holds the same cases against other builders.

use std::path::Path;
use std::process::Command;

#[expect(clippy::disallowed_methods, reason = "the program and the tools that read what it made are processes of their own")]
#[test]
fn dockerfiles_become_what_docker_makes_of_them() {
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/run.py");
    let output = Command::new("python3")
        .arg("-B")
        .arg(runner)
        .args(["--program", env!("CARGO_BIN_EXE_lapstrake"), "lapstrake"])
        .output()
        .unwrap_or_else(|error| panic!("these tests need Debian's package `python3`: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}\nrun again with UPDATE=1 and look at the difference",
        text(&output.stdout),
        text(&output.stderr)
    );
}
