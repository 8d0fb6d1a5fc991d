//! Stores of an ordinary user, with directories of other ids in them: children run as another user, for which the tests run as root.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use lapstrake_cache::{Error, Limits, RemoveOwn, RemoveTree, Store};
use tempfile::TempDir;

use crate::child::{Process, input, no_forks, say};
use crate::store::{UPPER, nest};

const USER: u32 = 65_534;
const SUBORDINATE: u32 = 123_456;

/// A directory of the user, with a copy of this binary that the user may run.
struct Home {
    directory: TempDir,
    binary: PathBuf,
}

impl Home {
    fn new() -> Home {
        let directory = tempfile::tempdir().unwrap();
        let binary = directory.path().join("binary");
        {
            let _no_forks = no_forks();
            fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
        }
        fs::set_permissions(&binary, Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        chown(directory.path(), Some(USER), Some(USER)).expect("this test changes owners: run it as root");
        Home { directory, binary }
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    fn start(&self, program: &str) -> Process {
        Process::start_as(program, &[self.store().to_str().unwrap()], &self.binary, Some(USER))
    }
}

#[test]
fn a_directory_of_another_id_can_be_kept_and_its_removal_is_reported() {
    let home = Home::new();
    let mut user = home.start("users::keep_what_belongs_to_another");
    let upper = PathBuf::from(user.hear().unwrap());
    fs::create_dir(upper.join("closed")).unwrap();
    fs::write(upper.join("closed/file"), "plank").unwrap();
    for path in [&upper.join("closed/file"), &upper.join("closed"), &upper] {
        chown(path, Some(SUBORDINATE), Some(SUBORDINATE)).unwrap();
    }
    fs::set_permissions(&upper, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(upper.join("closed"), Permissions::from_mode(0o700)).unwrap();
    user.tell("go");
    let kept = PathBuf::from(user.hear().unwrap());
    assert_eq!(fs::read_to_string(kept.join("closed/file")).unwrap(), "plank");
    user.tell("collect");
    assert_eq!(user.finish(), ["removed 1, failed 1, missing"]);
    let store = Store::open(&home.store()).unwrap();
    assert!(store.verify().unwrap().is_empty());
    assert!(store.collect(&Limits::default(), &RemoveOwn).unwrap().failures.is_empty());
    assert_eq!(store.usage().unwrap().trash.entries, 0);
}

/// The program of a child process.
pub(crate) fn keep_what_belongs_to_another() {
    let mut input = input();
    let path = input.next().unwrap().unwrap();
    let store = Store::open(Path::new(&path)).unwrap();
    let scratch = store.scratch().unwrap();
    let upper = scratch.path().join("upper");
    fs::create_dir(&upper).unwrap();
    say(upper.to_str().unwrap());
    input.next().unwrap().unwrap();
    let kept = store.keep(scratch, Path::new("upper"), &UPPER, "one").unwrap();
    assert_eq!(store.kept(&UPPER, "one").unwrap(), Some(kept.clone()));
    assert!(store.verify().unwrap().is_empty(), "what cannot be seen is no damage");
    say(kept.to_str().unwrap());
    input.next().unwrap().unwrap();
    drop(store);
    let store = Store::open(Path::new(&path)).unwrap();
    let collected = store.collect(&Limits { bytes: Some(0), unused_for: None }, &RemoveOwn).unwrap();
    let state = if store.kept(&UPPER, "one").unwrap().is_none() { "missing" } else { "there" };
    say(&format!("removed {}, failed {}, {state}", collected.removed.kept.entries, collected.failures.len()));
}

#[test]
fn the_store_of_somebody_else_is_named() {
    let home = Home::new();
    drop(Store::open(&home.store()).unwrap());
    let said = home.start("users::open").finish();
    assert_eq!(said, [format!("denied {}", home.store().join("lapstrake-store").display())]);
}

/// The program of a child process.
pub(crate) fn open() {
    let path = input().next().unwrap().unwrap();
    match Store::open(Path::new(&path)) {
        Err(Error::Denied { path, .. }) => say(&format!("denied {}", path.display())),
        other => panic!("expected a denial, got {other:?}"),
    }
}

#[test]
fn read_only_directories_of_ones_own_are_removed() {
    let home = Home::new();
    assert_eq!(home.start("users::remove_read_only").finish(), ["gone"]);
}

/// The program of a child process.
pub(crate) fn remove_read_only() {
    let path = PathBuf::from(input().next().unwrap().unwrap());
    fs::create_dir_all(path.join("a/b")).unwrap();
    fs::write(path.join("a/b/file"), "").unwrap();
    std::os::unix::fs::symlink("/", path.join("a/link")).unwrap();
    nest(&path.join("a"), 60).0.set_permissions(Permissions::from_mode(0o555)).unwrap();
    for directory in ["a/b", "a", ""] {
        fs::set_permissions(path.join(directory), Permissions::from_mode(0o555)).unwrap();
    }
    RemoveOwn.remove_tree(&path).unwrap();
    RemoveOwn.remove_tree(&path).unwrap();
    say(if path.exists() { "there" } else { "gone" });
}
