//! A disk that is full, and one that is read-only: tmpfs mounts, for which the tests run as root.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

use lapstrake_cache::{Count, Error, Fingerprint, Limits, RemoveOwn, Store};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use tempfile::TempDir;

use crate::child::no_forks;
use crate::store::{ACTIONS, UPPER, keep, read};

/// A tmpfs of its own; unmounted when dropped.
struct Disk {
    directory: TempDir,
    _no_forks: MutexGuard<'static, ()>,
}

impl Disk {
    fn new(size: &str) -> Disk {
        let directory = tempfile::tempdir().unwrap();
        let options = CString::new(format!("size={size},mode=0755")).unwrap();
        mount("tmpfs", directory.path(), "tmpfs", MountFlags::empty(), options.as_c_str())
            .expect("this test mounts a tmpfs: run it as root");
        Disk { directory, _no_forks: no_forks() }
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    fn make_read_only(&self) {
        mount_remount(self.directory.path(), MountFlags::RDONLY, c"").unwrap();
    }

    /// Writes a file of ballast until nothing more fits.
    fn fill(&self) -> Ballast {
        let path = self.directory.path().join("ballast");
        let mut file = File::create(&path).unwrap();
        for piece in [64 * 1024, 4096, 1] {
            while file.write_all(&vec![0; piece]).is_ok() {}
        }
        Ballast { path }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(self.directory.path(), UnmountFlags::DETACH).unwrap();
    }
}

struct Ballast {
    path: PathBuf,
}

impl Ballast {
    fn drop_off(self) {
        fs::remove_file(&self.path).unwrap();
    }
}

#[track_caller]
fn assert_full(result: Result<impl std::fmt::Debug, Error>, below: &Path) {
    match result {
        Err(Error::Full { path, .. }) => assert!(path.starts_with(below), "{}", path.display()),
        other => panic!("expected a full disk, got {other:?}"),
    }
}

#[test]
fn a_full_disk_leaves_nothing_half_written_that_is_believed() {
    let disk = Disk::new("4m");
    let store = Store::open(&disk.store()).unwrap();
    let key = Fingerprint::of(b"key");
    let before = store.put_blob(&vec![1; 200_000]).unwrap().digest;
    store.put_record(&ACTIONS, &key, b"before").unwrap();

    let mut writer = store.new_blob().unwrap();
    let error = loop {
        if let Err(error) = writer.write_all(&[2; 50_000]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(error.to_string().contains(store.path().to_str().unwrap()), "{error}");
    assert!(matches!(writer.finish(), Err(Error::Incomplete { .. })));

    let ballast = disk.fill();
    assert_full(store.put_blob(&[3; 100]), store.path());
    assert_full(store.put_blob(&vec![3; 200_000]), store.path());
    assert_full(store.put_record(&ACTIONS, &key, b"after"), store.path());
    let scratch = store.scratch().unwrap();
    fs::create_dir(scratch.path().join("upper")).unwrap();
    assert_full(store.keep(scratch, Path::new("upper"), &UPPER, "one"), store.path());

    assert_eq!(store.record(&ACTIONS, &key).unwrap().as_deref(), Some(&b"before"[..]));
    assert_eq!(read(&store, &before).map(|bytes| bytes.len()), Some(200_000));
    assert_eq!(store.kept(&UPPER, "one").unwrap(), None);
    let usage = store.usage().unwrap();
    assert_eq!((usage.blobs.entries, usage.records.entries, usage.kept.entries), (1, 1, 0));
    assert!(store.verify().unwrap().is_empty());

    ballast.drop_off();
    store.put_record(&ACTIONS, &key, b"after").unwrap();
    store.put_blob(&vec![3; 200_000]).unwrap();
    keep(&store, "one", "plank");
    assert!(store.verify().unwrap().is_empty());
}

#[test]
fn a_full_disk_can_be_collected() {
    let disk = Disk::new("4m");
    let store = Store::open(&disk.store()).unwrap();
    for number in 0..10 {
        store.put_blob(&vec![number; 200_000]).unwrap();
    }
    keep(&store, "one", "plank");
    drop(store);
    let ballast = disk.fill();
    let store = Store::open(&disk.store()).unwrap();
    let collected = store.collect(&Limits { bytes: Some(0), unused_for: None }, &RemoveOwn).unwrap();
    assert_eq!(collected.removed.total().entries, 11);
    assert!(collected.failures.is_empty(), "{:?}", collected.failures);
    assert_eq!(store.usage().unwrap().total(), Count::default());
    store.put_blob(&vec![9; 200_000]).unwrap();
    ballast.drop_off();
}

#[test]
fn a_full_disk_is_tidied_although_nothing_can_be_written_down() {
    let disk = Disk::new("4m");
    let store = Store::open(&disk.store()).unwrap();
    for number in 0..10 {
        store.put_blob(&vec![number; 200_000]).unwrap();
    }
    drop(store);
    let store = Store::open(&disk.store()).unwrap();
    keep(&store, "one", "plank");
    // As a version without it has left it.
    std::fs::remove_file(disk.store().join("locks/tally")).unwrap();
    assert!(!disk.store().join("unsettled").exists(), "it is made when it is needed");
    let ballast = disk.fill();
    let collected = store.tidy(&Limits { bytes: Some(0), unused_for: None }, &RemoveOwn).unwrap().unwrap();
    assert_eq!((collected.removed.total().entries, collected.in_use.entries), (10, 1));
    assert_eq!(store.usage().unwrap().trash, Count::default());
    drop(store);
    assert_eq!(std::fs::read_dir(disk.store().join("unsettled")).unwrap().count(), 1);
    ballast.drop_off();
}

#[test]
fn a_store_that_could_not_be_created_can_be_created_later() {
    let disk = Disk::new("1m");
    let ballast = disk.fill();
    assert_full(Store::open(&disk.store()), disk.directory.path());
    ballast.drop_off();
    let store = Store::open(&disk.store()).unwrap();
    store.put_blob(b"plank").unwrap();
}

#[test]
fn a_read_only_disk_is_named() {
    let disk = Disk::new("1m");
    Store::open(&disk.store()).unwrap();
    disk.make_read_only();
    match Store::open(&disk.store()) {
        Err(Error::Denied { path, .. }) => assert!(path.starts_with(disk.store())),
        other => panic!("expected a denial, got {other:?}"),
    }
}
