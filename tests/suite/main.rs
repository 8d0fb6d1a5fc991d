//! Cases as data: each folder below `tests/suite/<room>/` holds an input and what is expected of it. `UPDATE=1` writes what is found.

mod advice;
mod compose;
mod convert;
mod corpus;
mod dockerfile;
mod frontend;
mod plan;
mod schema;
mod spec;

use std::path::{Path, PathBuf};

/// The folders of a room's cases, sorted.
fn cases(room: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite").join(room);
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", root.display());
    cases
}

/// Compares a text with a file, or writes the file where `UPDATE` is set. Returns what differs.
#[expect(clippy::disallowed_methods, reason = "a test is told by a variable to write what it expects")]
fn compare(file: &Path, found: &str) -> Result<(), String> {
    if std::env::var_os("UPDATE").is_some() {
        return std::fs::write(file, found).map_err(|error| format!("{}: {error}", file.display()));
    }
    let expected = std::fs::read_to_string(file).unwrap_or_default();
    if expected == found {
        return Ok(());
    }
    Err(format!("{}\n--- expected\n{expected}\n+++ found\n{found}", file.display()))
}

/// Fails with everything that differs.
fn all_agree(results: impl IntoIterator<Item = Result<(), String>>) {
    let wrong: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}\nrun again with UPDATE=1 and look at the difference", wrong.join("\n"));
}
