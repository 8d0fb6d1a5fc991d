//! Tidying at the end of a build: when the store is looked through, and that what is known without a look is never too little.

use std::fs::{self, File};
use std::path::Path;

use lapstrake_cache::{Collected, Count, Digest, Fingerprint, Limits, RemoveOwn, Store};
use proptest::prelude::*;

use crate::child::{Process, input, say};
use crate::store::{ACTIONS, blob_path, keep, nest, new_store};

const BLOCK: u64 = 4096;

fn bound(bytes: u64) -> Limits {
    Limits { bytes: Some(bytes), unused_for: None }
}

fn tidy(directory: &Path, bytes: u64) -> Option<Collected> {
    Store::open(directory).unwrap().tidy(&bound(bytes), &RemoveOwn).unwrap()
}

/// What a look finds.
fn in_entries(directory: &Path) -> u64 {
    let usage = Store::open(directory).unwrap().usage().unwrap();
    [usage.blobs, usage.records, usage.kept, usage.mounts].iter().map(|count| count.bytes).sum()
}

/// A store of so many blobs of a block each, looked through and closed.
fn looked_through(blobs: u8) -> tempfile::TempDir {
    let (directory, store) = new_store();
    for number in 0..blobs {
        store.put_blob(&[number]).unwrap();
    }
    drop(store);
    let found = tidy(directory.path(), u64::MAX).expect("what nobody has looked at is looked through");
    assert_eq!(found.remaining, Count { entries: u64::from(blobs), bytes: u64::from(blobs) * BLOCK });
    directory
}

/// Something that only a look can find.
fn smuggle(directory: &Path, bytes: &[u8]) {
    fs::write(directory.join("blobs/sha256").join(Digest::of(bytes).hex()), bytes).unwrap();
}

#[test]
fn within_the_bound_nothing_is_looked_through() {
    let directory = looked_through(3);
    smuggle(directory.path(), &vec![1; 1 << 20]);
    assert!(tidy(directory.path(), 10 * BLOCK).is_none());
    let store = Store::open(directory.path()).unwrap();
    store.put_blob(b"plank").unwrap();
    drop(store);
    assert!(tidy(directory.path(), 10 * BLOCK).is_none());
    let found = Store::open(directory.path()).unwrap().collect(&Limits::default(), &RemoveOwn).unwrap();
    assert_eq!(found.remaining.bytes, 4 * BLOCK + (1 << 20));
    assert!(tidy(directory.path(), 10 * BLOCK).is_some(), "what a look found counts");
}

#[test]
fn the_trash_is_emptied_nevertheless() {
    let directory = looked_through(1);
    let store = Store::open(directory.path()).unwrap();
    drop(store.scratch().unwrap());
    drop(store);
    assert!(tidy(directory.path(), u64::MAX).is_none());
    assert!(fs::read_dir(directory.path().join("trash")).unwrap().next().is_none());
}

#[test]
fn over_the_bound_a_tenth_more_than_needed_goes() {
    let directory = looked_through(50);
    assert!(tidy(directory.path(), 50 * BLOCK).is_none());
    Store::open(directory.path()).unwrap().put_blob(b"plank").unwrap();
    let collected = tidy(directory.path(), 50 * BLOCK).unwrap();
    assert_eq!((collected.removed.blobs.entries, collected.remaining.bytes), (6, 45 * BLOCK));
    let store = Store::open(directory.path()).unwrap();
    for number in 0..5_u8 {
        store.put_blob(&[b'a', number]).unwrap();
    }
    drop(store);
    assert!(tidy(directory.path(), 50 * BLOCK).is_none(), "there is room again");
}

#[test]
fn a_look_that_finds_less_than_was_known_takes_nothing() {
    let directory = looked_through(50);
    for number in 0..10_u8 {
        fs::remove_file(directory.path().join("blobs/sha256").join(Digest::of(&[number]).hex())).unwrap();
    }
    Store::open(directory.path()).unwrap().put_blob(b"plank").unwrap();
    let collected = tidy(directory.path(), 50 * BLOCK).unwrap();
    assert_eq!((collected.removed.total().entries, collected.remaining.bytes), (0, 41 * BLOCK));
}

#[test]
fn without_a_bound_one_looks_once_a_day_and_for_ages_always() {
    let (directory, store) = new_store();
    store.put_blob(b"plank").unwrap();
    assert!(store.tidy(&Limits::default(), &RemoveOwn).unwrap().is_some(), "what somebody who died has kept is looked for now and then");
    assert!(store.tidy(&Limits::default(), &RemoveOwn).unwrap().is_none());
    let aged = Limits { bytes: None, unused_for: Some(std::time::Duration::from_secs(3600)) };
    assert_eq!(store.tidy(&aged, &RemoveOwn).unwrap().unwrap().remaining.entries, 1);
    drop(directory);
}

#[test]
fn what_tools_put_into_a_cache_mount_counts() {
    let directory = looked_through(1);
    let file = {
        let mount = Store::open(directory.path()).unwrap().cache_mount("pip").unwrap();
        let file = mount.path().join("wheel");
        fs::write(&file, vec![1; 1 << 20]).unwrap();
        file
    };
    assert!(tidy(directory.path(), 1 << 20).is_some());
    assert!(!file.exists(), "nobody uses it");

    let mount = Store::open(directory.path()).unwrap().cache_mount("pip").unwrap();
    drop(mount);
    assert!(tidy(directory.path(), 1 << 20).is_none());
    fs::write(&file, vec![1; 1 << 20]).unwrap();
    assert!(tidy(directory.path(), 1 << 20).is_none(), "whoever writes there without using it is not expected");
    Store::open(directory.path()).unwrap().cache_mount("pip").unwrap();
    assert!(tidy(directory.path(), 1 << 20).is_some());
}

#[test]
fn names_nested_deeper_than_a_path_can_say_are_measured_and_go() {
    const LEVELS: u64 = 60;
    let directory = looked_through(1);
    {
        let mount = Store::open(directory.path()).unwrap().cache_mount("pip").unwrap();
        nest(mount.path(), LEVELS).1.set_len(1 << 20).unwrap();
    }
    let store = Store::open(directory.path()).unwrap();
    // Beside them the top, its lock, its size, and the directory that is mounted.
    let usage = store.usage().unwrap().mounts;
    assert!(usage.bytes >= (1 << 20) + LEVELS * BLOCK && usage.bytes <= (1 << 20) + (LEVELS + 4) * BLOCK, "{usage:?}");
    drop(store);
    let collected = tidy(directory.path(), 1 << 20).unwrap();
    assert_eq!((collected.removed.mounts.entries, collected.failures.len()), (1, 0), "{collected:?}");
    assert!(fs::read_dir(directory.path().join("mounts")).unwrap().next().is_none());
    assert!(fs::read_dir(directory.path().join("trash")).unwrap().next().is_none());
}

#[test]
fn a_process_that_cannot_tell_what_it_put_counts_as_one_that_died() {
    let directory = looked_through(1);
    let (tally, aside) = (directory.path().join("locks/tally"), directory.path().join("locks/aside"));
    let store = Store::open(directory.path()).unwrap();
    fs::rename(&tally, &aside).unwrap();
    fs::create_dir(&tally).unwrap();
    store.put_blob(&vec![1; 1 << 20]).unwrap();
    drop(store);
    // It is opened nevertheless, and by many.
    drop([Store::open(directory.path()).unwrap(), Store::open(directory.path()).unwrap()]);
    fs::remove_dir(&tally).unwrap();
    fs::rename(&aside, &tally).unwrap();
    assert_eq!(tidy(directory.path(), u64::MAX).unwrap().remaining.bytes, (1 << 20) + BLOCK);
    assert!(tidy(directory.path(), u64::MAX).is_none());
}

#[test]
fn a_killed_process_has_not_told_what_it_put_so_that_one_looks() {
    let directory = looked_through(1);
    let mut user = Process::start("tidy::put_and_wait", &[directory.path().to_str().unwrap()]);
    assert_eq!(user.hear().as_deref(), Some("put"));
    assert!(tidy(directory.path(), 10 * BLOCK).is_none(), "it lives, and will tell");
    user.kill();
    let collected = tidy(directory.path(), 10 * BLOCK).unwrap();
    assert_eq!(collected.removed.blobs, Count { entries: 2, bytes: (1 << 20) + BLOCK });
}

/// The program of a child process.
pub(crate) fn put_and_wait() {
    let mut input = input();
    let store = Store::open(Path::new(&input.next().unwrap().unwrap())).unwrap();
    store.put_blob(&vec![1; 1 << 20]).unwrap();
    say("put");
    input.next();
}

#[test]
fn a_process_that_ends_well_tells_what_it_put() {
    let directory = looked_through(1);
    let mut user = Process::start("tidy::put_and_wait", &[directory.path().to_str().unwrap()]);
    assert_eq!(user.hear().as_deref(), Some("put"));
    user.finish();
    smuggle(directory.path(), b"unseen");
    assert!(tidy(directory.path(), (1 << 20) + BLOCK).is_none());
    assert!(tidy(directory.path(), 1 << 20).is_some());
}

#[test]
fn what_is_torn_tells_nothing() {
    let directory = looked_through(2);
    let tally = directory.path().join("locks/tally");
    let whole = fs::read(&tally).unwrap();
    for length in 0..whole.len() {
        fs::write(&tally, &whole[..length]).unwrap();
        assert!(tidy(directory.path(), u64::MAX).is_some(), "{length} bytes");
        assert_eq!(fs::read(&tally).unwrap().len(), whole.len());
    }
    fs::write(&tally, [&whole[..], b"more"].concat()).unwrap();
    assert!(tidy(directory.path(), u64::MAX).is_some());
    assert!(tidy(directory.path(), u64::MAX).is_none());
}

#[derive(Debug, Clone)]
enum Deed {
    Blob(u8, usize),
    Record(u8, usize),
    Keep(u8),
    Mount(u8, usize),
    Reopen,
    Tidy,
    Look,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        (0..4_u8, 0..200_000_usize).prop_map(|(name, size)| Deed::Blob(name, size)),
        (0..4_u8, 0..20_000_usize).prop_map(|(name, size)| Deed::Record(name, size)),
        (0..4_u8).prop_map(Deed::Keep),
        (0..2_u8, 0..20_000_usize).prop_map(|(name, size)| Deed::Mount(name, size)),
        Just(Deed::Reopen),
        Just(Deed::Tidy),
        Just(Deed::Look),
    ];
    proptest::collection::vec(deed, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Of two processes at once, whatever they do: a byte below what a look would find, somebody looks.
    #[test]
    fn what_is_known_without_a_look_is_never_too_little(deeds in proptest::collection::vec((any::<bool>(), deeds()), 1..4)) {
        let (directory, first) = new_store();
        let mut stores = [first, Store::open(directory.path()).unwrap()];
        stores[0].tidy(&bound(u64::MAX), &RemoveOwn).unwrap();
        for (which, deeds) in deeds {
            for deed in deeds {
                let store = &mut stores[usize::from(which)];
                match deed {
                    Deed::Blob(name, size) => {
                        store.put_blob(&vec![name; size]).unwrap();
                    }
                    Deed::Record(name, size) => store.put_record(&ACTIONS, &Fingerprint::of(&[name]), &vec![0; size]).unwrap(),
                    Deed::Keep(name) => {
                        keep(store, &name.to_string(), "plank");
                    }
                    Deed::Mount(name, size) => {
                        let mount = store.cache_mount(&name.to_string()).unwrap();
                        fs::write(mount.path().join("file"), vec![0; size]).unwrap();
                    }
                    Deed::Reopen => *store = Store::open(directory.path()).unwrap(),
                    Deed::Tidy => {
                        store.tidy(&bound(u64::MAX), &RemoveOwn).unwrap();
                    }
                    Deed::Look => {
                        store.collect(&Limits::default(), &RemoveOwn).unwrap();
                    }
                }
            }
        }
        drop(stores);
        let found = in_entries(directory.path());
        let store = Store::open(directory.path()).unwrap();
        // Without that a change might go unseen which took nothing more.
        store.tidy(&bound(u64::MAX), &RemoveOwn).unwrap();
        prop_assert!(found == 0 || store.tidy(&bound(found - 1), &RemoveOwn).unwrap().is_some());
    }
}

#[test]
fn a_mount_that_grows_after_another_build_has_measured_it_is_measured_again() {
    let directory = looked_through(1);
    let long = Store::open(directory.path()).unwrap();
    let mount = long.cache_mount("pip").unwrap();
    Store::open(directory.path()).unwrap().cache_mount("pip").unwrap();
    assert!(tidy(directory.path(), 1 << 20).is_none());
    fs::write(mount.path().join("wheel"), vec![1; 1 << 20]).unwrap();
    drop(mount);
    assert!(long.tidy(&bound(1 << 20), &RemoveOwn).unwrap().is_some());
}

/// What is less than it was is found by a look, and taken off once.
#[test]
fn what_becomes_less_is_not_taken_off_of_what_others_count_on() {
    let (directory, first) = new_store();
    let record = |store: &Store, bytes: usize| store.put_record(&ACTIONS, &Fingerprint::of(b"key"), &vec![0; bytes]).unwrap();
    record(&first, 1 << 20);
    first.put_blob(&vec![7; 1 << 20]).unwrap();
    let mount = first.cache_mount("pip").unwrap();
    let file = File::create(mount.path().join("file")).unwrap();
    file.set_len(1 << 20).unwrap();
    drop(mount);
    first.tidy(&bound(u64::MAX), &RemoveOwn).unwrap();
    record(&first, 1);
    file.set_len(1).unwrap();
    first.cache_mount("pip").unwrap();
    let second = Store::open(directory.path()).unwrap();
    std::thread::scope(|scope| {
        for store in [&first, &second] {
            scope.spawn(|| store.tidy(&bound(u64::MAX), &RemoveOwn).unwrap());
        }
    });
    second.collect(&Limits::default(), &RemoveOwn).unwrap();
    drop((first, second));
    let found = in_entries(directory.path());
    assert!(found > 1 << 20);
    assert!(tidy(directory.path(), found - 1).is_some());
}

#[test]
fn a_file_of_any_size_in_a_mount_counts_as_much() {
    // Not every file system has files so large.
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else { return };
    let store = Store::open(directory.path()).unwrap();
    store.tidy(&bound(u64::MAX), &RemoveOwn).unwrap();
    let mount = store.cache_mount("pip").unwrap();
    for name in ["one", "two"] {
        File::create(mount.path().join(name)).unwrap().set_len(i64::MAX as u64).unwrap();
    }
    drop((mount, store));
    assert!(tidy(directory.path(), 1 << 62).is_some());
}

#[test]
fn a_process_tells_much_that_it_has_put_before_its_end() {
    let directory = looked_through(1);
    let long = Store::open(directory.path()).unwrap();
    for number in 0..3_u8 {
        long.put_blob(&vec![number; 30 << 20]).unwrap();
    }
    assert!(tidy(directory.path(), 60 << 20).is_some());
    assert!(long.has_grown() && !Store::open(directory.path()).unwrap().has_grown());
}

#[test]
fn a_blob_that_is_there_is_not_counted_twice() {
    let (directory, store) = new_store();
    store.tidy(&bound(u64::MAX), &RemoveOwn).unwrap();
    for _ in 0..10 {
        let blob = store.put_blob(&vec![7; 100_000]).unwrap();
        assert!(blob_path(&store, &blob.digest).exists());
    }
    drop(store);
    assert!(tidy(directory.path(), 102_400).is_none());
}

#[test]
fn a_mount_that_shrinks_and_grows_counts_once_for_each_look() {
    let directory = looked_through(1);
    let looks = (0..20).filter(|round| {
        let store = Store::open(directory.path()).unwrap();
        let mount = store.cache_mount("pip").unwrap();
        File::create(mount.path().join("file")).unwrap().set_len(if round % 2 == 0 { 1 << 20 } else { 1 }).unwrap();
        drop(mount);
        store.tidy(&bound(3 << 19), &RemoveOwn).unwrap().is_some()
    });
    assert_eq!(looks.count(), 0);
}

#[test]
fn what_is_named_in_a_note_is_not_named_by_each_look() {
    let (directory, store) = new_store();
    for number in 0..20 {
        keep(&store, &number.to_string(), "plank");
        store.collect(&Limits::default(), &RemoveOwn).unwrap();
    }
    let notes = || fs::read_dir(directory.path().join("unsettled")).unwrap().map(|note| note.unwrap().metadata().unwrap().len());
    let (count, bytes) = (notes().count(), notes().sum::<u64>());
    for _ in 0..20 {
        store.collect(&Limits::default(), &RemoveOwn).unwrap();
    }
    drop(store);
    assert_eq!((notes().count(), notes().sum::<u64>()), (count, bytes));
}
