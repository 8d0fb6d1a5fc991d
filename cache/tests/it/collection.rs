//! Collection: what goes, what stays, and that nothing in use goes.

use std::fs::{self, File, FileTimes};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use lapstrake_cache::{Count, Digest, Fingerprint, Limits, RemoveOwn, RemoveTree, Store};

use crate::child::{Process, input, say};
use crate::store::{ACTIONS, UPPER, blob_path, keep, new_store, read};

const EVERYTHING: Limits = Limits { bytes: Some(0), unused_for: None };

/// As if the last use of what that file stands for had been so long ago.
#[expect(clippy::disallowed_methods, reason = "ages are told by the clock")]
fn age(path: &Path, days: u64) {
    let long_ago = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
    let file = File::open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(long_ago)).unwrap();
}

fn collect(directory: &Path, limits: &Limits) -> lapstrake_cache::Collected {
    let collected = Store::open(directory).unwrap().collect(limits, &RemoveOwn).unwrap();
    assert!(collected.failures.is_empty(), "{:?}", collected.failures);
    collected
}

#[test]
fn the_least_recently_used_goes_first_until_the_rest_fits() {
    let (directory, store) = new_store();
    let bytes: Vec<_> = (0..5_u8).map(|number| vec![number; 100_000]).collect();
    let digests: Vec<_> = bytes.iter().map(|bytes| store.put_blob(bytes).unwrap().digest).collect();
    drop(store);
    for (digest, days) in digests.iter().zip([3, 9, 1, 7, 5]) {
        age(&directory.path().join("blobs/sha256").join(digest.hex()), days);
    }
    let collected = collect(directory.path(), &Limits { bytes: Some(320_000), unused_for: None });
    assert_eq!(collected.removed.blobs, Count { entries: 2, bytes: 2 * 102_400 });
    assert_eq!(collected.remaining, Count { entries: 3, bytes: 3 * 102_400 });
    let store = Store::open(directory.path()).unwrap();
    let left: Vec<_> = digests.iter().map(|digest| read(&store, digest).is_some()).collect();
    assert_eq!(left, [true, false, true, false, true]);
    assert!(store.verify().unwrap().is_empty());
    assert_eq!(fs::read_dir(directory.path().join("sizes")).unwrap().count(), 3);
    assert_eq!(store.usage().unwrap().trash, Count::default());
}

#[test]
fn a_use_makes_young_again() {
    let (directory, store) = new_store();
    let old = store.put_blob(b"old").unwrap().digest;
    let used = store.put_blob(b"used").unwrap().digest;
    let key = Fingerprint::of(b"key");
    store.put_record(&ACTIONS, &key, b"body").unwrap();
    keep(&store, "one", "plank");
    store.cache_mount("pip").unwrap();
    drop(store);
    let record = directory.path().join("records/actions").join(key.hex());
    let kept = directory.path().join("kept/upper/one/record");
    let mount = directory.path().join("mounts/pip/lock");
    let blobs = directory.path().join("blobs/sha256");
    for path in [&blobs.join(old.hex()), &blobs.join(used.hex()), &record, &kept, &mount] {
        age(path, 30);
    }
    {
        let store = Store::open(directory.path()).unwrap();
        assert!(read(&store, &used).is_some());
        assert!(store.record(&ACTIONS, &key).unwrap().is_some());
        assert!(store.kept(&UPPER, "one").unwrap().is_some());
        store.cache_mount("pip").unwrap();
    }
    let month = Limits { bytes: None, unused_for: Some(Duration::from_secs(20 * 24 * 60 * 60)) };
    let collected = collect(directory.path(), &month);
    assert_eq!(collected.removed.total().entries, 1);
    assert_eq!(collected.remaining.entries, 4);
    let store = Store::open(directory.path()).unwrap();
    assert!(store.blob(&old).unwrap().is_none());
    assert!(store.blob(&used).unwrap().is_some());
}

/// A process that marked the old entry may live on after the writer of the new one has ended.
#[test]
fn an_entry_that_is_replaced_leaves_its_later_use_behind() {
    let (directory, store) = new_store();
    let key = Fingerprint::of(b"key");
    let blob = directory.path().join("blobs/sha256").join(Digest::of(b"plank").hex());
    let record = directory.path().join("records/actions").join(key.hex());
    let put = || {
        let mut writer = store.new_blob().unwrap();
        writer.write_all(b"plank").unwrap();
        writer.finish().unwrap();
        store.put_record(&ACTIONS, &key, b"body").unwrap();
    };
    put();
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33);
    for path in [&blob, &record] {
        File::open(path).unwrap().set_times(FileTimes::new().set_modified(later)).unwrap();
    }
    put();
    for path in [&blob, &record] {
        assert_eq!(fs::metadata(path).unwrap().modified().unwrap(), later);
    }
}

#[test]
fn without_limits_only_the_trash_goes() {
    let (directory, store) = new_store();
    store.put_blob(b"plank").unwrap();
    drop(store.scratch().unwrap());
    drop(store);
    let collected = collect(directory.path(), &Limits::default());
    assert_eq!(collected.removed.total(), Count::default());
    assert_eq!(collected.remaining.entries, 1);
    assert!(fs::read_dir(directory.path().join("trash")).unwrap().next().is_none());
}

#[test]
fn everything_unused_can_go() {
    let (directory, store) = new_store();
    store.put_blob(&vec![1; 100_000]).unwrap();
    store.put_record(&ACTIONS, &Fingerprint::of(b"key"), b"body").unwrap();
    keep(&store, "one", "plank");
    fs::write(store.cache_mount("pip").unwrap().path().join("wheel"), "plank").unwrap();
    drop(store);
    let collected = collect(directory.path(), &EVERYTHING);
    assert_eq!(collected.removed.total().entries, 4);
    assert_eq!(collected.remaining, Count::default());
    assert_eq!(Store::open(directory.path()).unwrap().usage().unwrap().total(), Count::default());
}

#[test]
fn what_this_open_store_has_used_stays() {
    let (_directory, store) = new_store();
    let digest = store.put_blob(b"plank").unwrap().digest;
    let path = keep(&store, "one", "plank");
    let collected = store.collect(&EVERYTHING, &RemoveOwn).unwrap();
    assert_eq!(collected.removed.total(), Count::default());
    assert_eq!(collected.in_use.entries, 2);
    assert!(store.blob(&digest).unwrap().is_some());
    assert!(path.exists());
}

#[test]
fn what_a_live_process_uses_stays_until_it_ends() {
    let (directory, store) = new_store();
    let used = store.put_blob(b"used").unwrap().digest;
    let unused = store.put_blob(b"unused").unwrap().digest;
    let used_path = keep(&store, "used", "plank");
    let unused_path = keep(&store, "unused", "plank");
    for path in [&blob_path(&store, &used), &blob_path(&store, &unused)] {
        age(path, 30);
    }
    for name in ["used", "unused"] {
        age(&directory.path().join("kept/upper").join(name).join("record"), 30);
    }
    drop(store);

    let mut user = Process::start("collection::use_and_wait", &[directory.path().to_str().unwrap()]);
    assert_eq!(user.hear().as_deref(), Some("using"));
    let scratch = PathBuf::from(user.hear().unwrap());
    let collected = collect(directory.path(), &EVERYTHING);
    assert_eq!(collected.removed.total().entries, 2);
    assert_eq!(collected.in_use.entries, 3, "a blob, a kept directory and a cache mount");
    assert!(used_path.exists() && !unused_path.exists());
    assert!(scratch.exists(), "unfinished work of a live process is left alone");

    user.kill();
    Store::open(directory.path()).unwrap();
    assert!(!scratch.exists(), "that of a dead one is swept by whoever opens next");
    let collected = collect(directory.path(), &EVERYTHING);
    assert_eq!(collected.removed.total().entries, 3);
    assert!(!used_path.exists());
    assert!(fs::read_dir(directory.path().join("leases")).unwrap().next().is_none());
}

/// The program of a child process.
pub(crate) fn use_and_wait() {
    let mut input = input();
    let store = Store::open(Path::new(&input.next().unwrap().unwrap())).unwrap();
    store.blob(&Digest::of(b"used")).unwrap().unwrap();
    store.kept(&UPPER, "used").unwrap().unwrap();
    store.cache_mount("pip").unwrap();
    let scratch = store.scratch().unwrap();
    say("using");
    say(scratch.path().to_str().unwrap());
    input.next();
}

/// Each round of the user finds what it put a moment ago, however often everything is collected meanwhile.
#[test]
fn builds_and_collections_at_once_do_not_disturb_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut collections = 0;
            while !is_over.load(Ordering::Relaxed) {
                collect(directory.path(), &EVERYTHING);
                collections += 1;
            }
            collections
        });
        let users: Vec<_> = (0..2)
            .map(|user| {
                let path = directory.path();
                scope.spawn(move || {
                    for round in 0..60 {
                        let store = Store::open(path).unwrap();
                        let name = (round % 3).to_string();
                        let text = format!("plank {name}");
                        let blob = store.put_blob(text.as_bytes()).unwrap();
                        let large = store.put_blob(&vec![b'0' + round % 3; 70_000]).unwrap();
                        let kept = keep(&store, &name, &text);
                        let key = Fingerprint::of(&[user]);
                        store.put_record(&ACTIONS, &key, text.as_bytes()).unwrap();
                        for _ in 0..20 {
                            assert_eq!(read(&store, &blob.digest).unwrap(), text.as_bytes());
                            assert!(store.blob(&large.digest).unwrap().is_some());
                            assert_eq!(fs::read_to_string(kept.join("file")).unwrap(), text);
                            assert_eq!(store.kept(&UPPER, &name).unwrap().as_ref(), Some(&kept));
                            assert_eq!(store.record(&ACTIONS, &key).unwrap().unwrap(), text.as_bytes());
                        }
                    }
                })
            })
            .collect();
        let ended: Vec<_> = users.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(collector.join().unwrap() > 0);
        for end in ended {
            end.unwrap();
        }
    });
    let store = Store::open(directory.path()).unwrap();
    assert!(store.verify().unwrap().is_empty());
}

struct RemoveNothing;

impl RemoveTree for RemoveNothing {
    fn remove_tree(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

#[test]
fn a_failing_removal_is_reported_and_tried_again() {
    let (directory, store) = new_store();
    let digest = store.put_blob(b"plank").unwrap().digest;
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    let collected = store.collect(&EVERYTHING, &RemoveNothing).unwrap();
    assert_eq!(collected.removed.blobs.entries, 1);
    assert_eq!(collected.failures.len(), 1);
    assert!(collected.failures[0].path.starts_with(directory.path().join("trash")));
    assert!(store.blob(&digest).unwrap().is_none());
    assert_eq!(store.usage().unwrap().trash.entries, 1);
    collect(directory.path(), &Limits::default());
    assert_eq!(store.usage().unwrap().trash.entries, 0);
}
