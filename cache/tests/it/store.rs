//! One store, seen from outside: what is put is there, what is damaged is a miss, what belongs to others is left alone.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use lapstrake_cache::{Damage, Digest, Error, Fingerprint, Kind, STORE_VERSION, Shelf, Store};
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use crate::child::{Process, input, say};

pub(crate) const ACTIONS: Shelf = Shelf::named("actions");
pub(crate) const UPPER: Shelf = Shelf::named("upper");

pub(crate) fn new_store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    (directory, store)
}

/// Makes directories in each other, deeper than a path can say: the deepest, and an empty file in it.
pub(crate) fn nest(top: &Path, levels: u64) -> (File, File) {
    let mut deepest = File::open(top).unwrap();
    for _ in 0..levels {
        let name = "a".repeat(200);
        rustix::fs::mkdirat(&deepest, &name, 0o755.into()).unwrap();
        deepest = rustix::fs::openat(&deepest, &name, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap().into();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&deepest, "file", flags, 0o644.into()).unwrap().into();
    (deepest, file)
}

pub(crate) fn read(store: &Store, digest: &Digest) -> Option<Vec<u8>> {
    let mut blob = store.blob(digest).unwrap()?;
    let mut bytes = Vec::new();
    blob.file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, blob.size);
    Some(bytes)
}

pub(crate) fn blob_path(store: &Store, digest: &Digest) -> std::path::PathBuf {
    store.path().join("blobs/sha256").join(digest.hex())
}

pub(crate) fn keep(store: &Store, name: &str, text: &str) -> std::path::PathBuf {
    let scratch = store.scratch().unwrap();
    let upper = scratch.path().join("upper");
    fs::create_dir(&upper).unwrap();
    fs::write(upper.join("file"), text).unwrap();
    store.keep(scratch, Path::new("upper"), &UPPER, name).unwrap()
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Small enough to be hashed at each opening, and large enough to be believed by its size.
const SIZES: [usize; 4] = [0, 100, 64 * 1024, 300_000];

#[test]
fn a_blob_comes_back_by_its_digest() {
    let (_directory, store) = new_store();
    for size in SIZES {
        let bytes = vec![b'p'; size];
        let stored = store.put_blob(&bytes).unwrap();
        assert_eq!((stored.digest, stored.size), (Digest::of(&bytes), size as u64));
        assert_eq!(read(&store, &stored.digest), Some(bytes));
    }
    assert_eq!(store.blob(&Digest::of(b"another")).unwrap().map(|blob| blob.size), None);
}

#[test]
fn the_three_ways_to_write_a_blob_agree() {
    let (_directory, store) = new_store();
    for size in SIZES {
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let digest = Digest::of(&bytes);
        let mut hashed = store.new_hashed_blob().unwrap();
        let mut expected = store.new_blob().unwrap();
        let mut plain = store.new_blob().unwrap();
        for piece in bytes.chunks(1000) {
            hashed.write_all(piece).unwrap();
            expected.write_all(piece).unwrap();
            plain.write_all(piece).unwrap();
        }
        let stored = plain.finish().unwrap();
        assert_eq!((stored.digest, stored.size), (digest, size as u64));
        assert_eq!(expected.finish_expecting(&digest, Some(size as u64)).unwrap(), stored);
        assert_eq!(hashed.finish_as(digest).unwrap(), stored);
        assert_eq!(read(&store, &digest), Some(bytes));
    }
    assert_eq!(store.usage().unwrap().blobs.entries, SIZES.len() as u64);
    assert_eq!(store.usage().unwrap().scratch.bytes, 4096, "no temporary file stays");
}

#[test]
fn a_blob_is_read_behind_its_writer_until_it_is_whole_or_given_up() {
    let (_directory, store) = new_store();
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    for ends_whole in [true, false] {
        let mut writer = store.new_hashed_blob().unwrap();
        writer.write_all(&bytes[..200_000]).unwrap();
        let behind = writer.behind().unwrap();
        let mut early = behind.again();
        let mut first = vec![0; 100_000];
        early.read_exact(&mut first).unwrap();
        assert_eq!(first, bytes[..100_000]);
        thread::scope(|scope| {
            let readers = [early, behind].map(|mut reader| {
                scope.spawn(move || {
                    let mut read = Vec::new();
                    reader.read_to_end(&mut read).map(|_| read)
                })
            });
            writer.write_all(&bytes[200_000..]).unwrap();
            if ends_whole {
                writer.finish_as(Digest::of(&bytes)).unwrap();
            } else {
                drop(writer);
            }
            for (reader, from) in readers.into_iter().zip([100_000, 0]) {
                let read = reader.join().unwrap();
                assert_eq!(read.ok().as_deref(), ends_whole.then_some(&bytes[from..]));
            }
        });
    }
}

#[test]
fn what_is_not_as_announced_is_not_kept() {
    let (_directory, store) = new_store();
    let other = Digest::of(b"other");
    let write = || {
        let mut writer = store.new_blob().unwrap();
        writer.write_all(b"plank").unwrap();
        writer
    };
    assert!(matches!(write().finish_expecting(&other, None), Err(Error::DigestMismatch { .. })));
    let digest = Digest::of(b"plank");
    assert!(matches!(write().finish_expecting(&digest, Some(4)), Err(Error::SizeMismatch { expected: 4, found: 5, .. })));
    drop(write());
    assert!(store.blob(&digest).unwrap().is_none());
    assert!(names(blob_path(&store, &digest).parent().unwrap()).is_empty());
}

#[test]
fn a_store_is_an_oci_layout() {
    let (directory, store) = new_store();
    drop(store);
    assert_eq!(fs::read_to_string(directory.path().join("oci-layout")).unwrap(), "{\"imageLayoutVersion\":\"1.0.0\"}");
    assert_eq!(
        fs::read_to_string(directory.path().join("index.json")).unwrap(),
        "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}"
    );
}

#[test]
fn a_damaged_blob_is_a_miss_and_can_be_put_again() {
    let (_directory, store) = new_store();
    for size in SIZES.into_iter().skip(1) {
        let bytes = vec![b'p'; size];
        let digest = store.put_blob(&bytes).unwrap().digest;
        let path = blob_path(&store, &digest);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(size as u64 - 1).unwrap();
        assert!(store.blob(&digest).unwrap().is_none());
        assert!(!path.exists());
        store.put_blob(&bytes).unwrap();
        assert_eq!(read(&store, &digest), Some(bytes));
    }
}

#[test]
fn a_large_blob_whose_size_is_not_recorded_is_hashed_before_it_is_believed() {
    let (_directory, store) = new_store();
    let bytes = vec![b'p'; 300_000];
    let digest = store.put_blob(&bytes).unwrap().digest;
    let size_path = store.path().join("sizes").join(digest.hex());
    fs::write(&size_path, "").unwrap();
    assert_eq!(read(&store, &digest), Some(bytes.clone()));
    assert!(fs::metadata(&size_path).unwrap().len() > 0, "what was hashed once is recorded");

    fs::remove_file(&size_path).unwrap();
    let path = blob_path(&store, &digest);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, vec![b'q'; 300_000]).unwrap();
    assert!(store.blob(&digest).unwrap().is_none());
    assert!(!path.exists());
}

#[test]
fn a_record_comes_back_and_a_later_one_takes_its_place() {
    let (_directory, store) = new_store();
    let key = Fingerprint::of(b"key");
    assert_eq!(store.record(&ACTIONS, &key).unwrap(), None);
    assert_eq!(store.records(&ACTIONS).unwrap(), []);
    assert!(!store.has_record(&ACTIONS, &key).unwrap());
    for body in [&b"one"[..], b"", &[0; 100_000]] {
        store.put_record(&ACTIONS, &key, body).unwrap();
        assert_eq!(store.record(&ACTIONS, &key).unwrap().as_deref(), Some(body));
        assert!(store.has_record(&ACTIONS, &key).unwrap());
    }
    assert!(!store.has_record(&Shelf::named("packed"), &key).unwrap());
    assert_eq!(store.record(&Shelf::named("packed"), &key).unwrap(), None);
    let (_, age) = store.record_and_age(&ACTIONS, &key).unwrap().unwrap();
    assert!(age.seconds < 3600);
}

#[test]
fn records_are_listed_newest_first() {
    let (_directory, store) = new_store();
    let keys: Vec<_> = (0..20_u8).map(|number| Fingerprint::of(&[number])).collect();
    for key in &keys {
        store.put_record(&ACTIONS, key, b"body").unwrap();
    }
    store.put_record(&ACTIONS, &keys[3], b"again").unwrap();
    let listed: Vec<_> = store.records(&ACTIONS).unwrap().into_iter().map(|(key, _)| key).collect();
    let mut expected: Vec<_> = keys.iter().enumerate().filter(|(at, _)| *at != 3).map(|(_, key)| *key).collect();
    expected.push(keys[3]);
    expected.reverse();
    assert_eq!(listed, expected);
}

#[test]
fn a_damaged_record_is_a_miss() {
    let (_directory, store) = new_store();
    let key = Fingerprint::of(b"key");
    store.put_record(&ACTIONS, &key, b"body").unwrap();
    let path = store.path().join("records/actions").join(key.hex());
    let good = fs::read(&path).unwrap();
    let other = store.path().join("records/actions").join(Fingerprint::of(b"other").hex());
    fs::write(&other, &good).unwrap();
    assert_eq!(store.record(&ACTIONS, &Fingerprint::of(b"other")).unwrap(), None, "it echoes another key");
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert_eq!(store.record(&ACTIONS, &key).unwrap(), None);
    fs::write(&path, b"").unwrap();
    assert_eq!(store.record(&ACTIONS, &key).unwrap(), None);
    store.put_record(&ACTIONS, &key, b"body").unwrap();
    assert_eq!(store.record(&ACTIONS, &key).unwrap().as_deref(), Some(&b"body"[..]));
}

#[test]
fn a_kept_directory_has_its_inner_part_and_nothing_else() {
    let (_directory, store) = new_store();
    let scratch = store.scratch().unwrap();
    let was = scratch.path().to_owned();
    fs::create_dir_all(was.join("a/upper/deep")).unwrap();
    fs::create_dir_all(was.join("a/beside/index")).unwrap();
    fs::write(was.join("log"), "noise").unwrap();
    fs::write(was.join("a/upper/deep/file"), "plank").unwrap();
    let inner = was.join("a/upper");
    let path = store.keep(scratch, &inner, &UPPER, "one").unwrap();
    assert!(!was.exists());
    assert_eq!(fs::read_to_string(path.join("deep/file")).unwrap(), "plank");
    assert_eq!(names(path.parent().unwrap()), ["upper"]);
    assert_eq!(names(path.parent().unwrap().parent().unwrap()), ["a"]);
    assert_eq!(store.kept(&UPPER, "one").unwrap(), Some(path));
    assert_eq!(store.kept(&UPPER, "two").unwrap(), None);
    assert_eq!(store.kept(&ACTIONS, "one").unwrap(), None);
}

#[test]
fn all_of_a_scratch_directory_can_be_kept() {
    let (_directory, store) = new_store();
    let scratch = store.scratch().unwrap();
    fs::write(scratch.path().join("file"), "plank").unwrap();
    let path = store.keep(scratch, Path::new(""), &UPPER, "one").unwrap();
    assert_eq!(names(&path), ["file"]);
}

#[test]
fn the_first_of_two_kept_directories_stays() {
    let (_directory, store) = new_store();
    let first = keep(&store, "one", "first");
    assert_eq!(keep(&store, "one", "second"), first);
    assert_eq!(fs::read_to_string(first.join("file")).unwrap(), "first");
    assert_eq!(store.usage().unwrap().kept.entries, 1);
}

#[test]
fn only_a_directory_inside_can_be_kept() {
    let (_directory, store) = new_store();
    for inner in ["..", "missing", "/etc", "file", "link", "a/.."] {
        let scratch = store.scratch().unwrap();
        fs::create_dir(scratch.path().join("a")).unwrap();
        fs::write(scratch.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("/etc", scratch.path().join("link")).unwrap();
        let result = store.keep(scratch, Path::new(inner), &UPPER, "one");
        assert!(matches!(result, Err(Error::NotInside { .. })), "{inner}: {result:?}");
    }
    for name in ["", "..", "a/b"] {
        assert!(matches!(store.keep(store.scratch().unwrap(), Path::new(""), &UPPER, name), Err(Error::InvalidName(_))));
        assert!(matches!(store.kept(&UPPER, name), Err(Error::InvalidName(_))));
        assert!(matches!(store.cache_mount(name), Err(Error::InvalidName(_))));
    }
    assert_eq!(store.usage().unwrap().kept.entries, 0);
}

#[test]
fn a_kept_directory_without_record_or_contents_is_a_miss_and_can_be_kept_again() {
    let (_directory, store) = new_store();
    let damages: [fn(&Path); 4] = [
        |top| fs::remove_file(top.join("record")).unwrap(),
        |top| fs::write(top.join("record"), "").unwrap(),
        |top| fs::remove_dir_all(top.join("d")).unwrap(),
        |top| {
            fs::remove_dir_all(top).unwrap();
            fs::write(top, "").unwrap();
        },
    ];
    for damage in damages {
        keep(&store, "one", "old");
        damage(&store.path().join("kept/upper/one"));
        assert_eq!(fs::read_to_string(keep(&store, "one", "new").join("file")).unwrap(), "new");
        damage(&store.path().join("kept/upper/one"));
        assert_eq!(store.kept(&UPPER, "one").unwrap(), None);
    }
}

#[test]
fn a_scratch_directory_is_private_and_goes_away() {
    let (_directory, store) = new_store();
    let one = store.scratch().unwrap();
    let two = store.scratch().unwrap();
    assert_ne!(one.path(), two.path());
    assert!(names(one.path()).is_empty());
    let path = one.path().to_owned();
    drop(one);
    assert!(!path.exists());
    assert_eq!(store.usage().unwrap().trash.entries, 1);
}

#[test]
fn a_cache_mount_lives_and_its_locks_exclude() {
    let (directory, store) = new_store();
    let mount = store.cache_mount("pip").unwrap();
    fs::write(mount.path().join("wheel"), "plank").unwrap();
    let again = Store::open(directory.path()).unwrap().cache_mount("pip").unwrap();
    assert_eq!(fs::read_to_string(again.path().join("wheel")).unwrap(), "plank");

    let shared = (mount.lock_shared().unwrap(), again.lock_shared().unwrap());
    assert!(again.try_lock_exclusive().unwrap().is_none());
    drop(shared);
    let alone = mount.lock_exclusive().unwrap();
    assert!(again.try_lock_exclusive().unwrap().is_none());
    assert!(store.cache_mount("npm").unwrap().try_lock_exclusive().unwrap().is_some());
    drop(alone);
    assert!(again.try_lock_exclusive().unwrap().is_some());
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_alone() {
    let (directory, store) = new_store();
    let digest = store.put_blob(b"plank").unwrap().digest;
    drop(store);
    let marker = directory.path().join("lapstrake-store");
    fs::write(&marker, format!("lapstrake store\nversion {}\n", STORE_VERSION + 1)).unwrap();
    fs::create_dir(directory.path().join("scratch/999999-0")).unwrap();
    let before = names(directory.path());
    let error = Store::open(directory.path()).unwrap_err();
    assert!(
        matches!(&error, Error::Newer { found, understood, .. }
            if *found == STORE_VERSION + 1 && *understood == STORE_VERSION),
        "{error}"
    );
    assert!(error.to_string().contains("version 2, this lapstrake understands up to version 1"), "{error}");
    assert_eq!(names(directory.path()), before);
    assert_eq!(names(&directory.path().join("scratch")), ["999999-0"], "nothing is swept");
    assert!(directory.path().join("blobs/sha256").join(digest.hex()).exists());
}

#[test]
fn a_damaged_or_older_marker_is_written_anew_and_entries_stay() {
    for text in ["", "\0\0\0\0", "lapstrake store\nversion 0\n", "noise"] {
        let (directory, store) = new_store();
        let digest = store.put_blob(b"plank").unwrap().digest;
        drop(store);
        let marker = directory.path().join("lapstrake-store");
        let good = fs::read(&marker).unwrap();
        fs::write(&marker, text).unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(read(&store, &digest).as_deref(), Some(&b"plank"[..]));
        assert_eq!(fs::read(&marker).unwrap(), good);
    }
}

#[test]
fn a_directory_with_other_contents_is_refused_and_left_alone() {
    for foreign in ["trash", "index.json", "notes.txt"] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(foreign), "mine").unwrap();
        assert!(matches!(Store::open(directory.path()), Err(Error::NotAStore { .. })), "{foreign}");
        assert_eq!(names(directory.path()), [foreign]);
    }
}

#[test]
fn what_a_fresh_disk_or_a_killed_creation_has_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("lost+found")).unwrap();
    fs::write(directory.path().join("lapstrake-store.new"), "lapstrake st").unwrap();
    Store::open(directory.path()).unwrap();
    assert!(!directory.path().join("lapstrake-store.new").exists());
}

#[test]
fn many_can_create_one_store_at_once() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/store");
        let start = Barrier::new(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    Store::open(&path).unwrap().put_blob(b"plank").unwrap();
                });
            }
        });
        let store = Store::open(&path).unwrap();
        assert_eq!(read(&store, &Digest::of(b"plank")).as_deref(), Some(&b"plank"[..]));
    }
}

#[test]
fn a_closed_store_leaves_no_lease_and_no_scratch() {
    let (directory, store) = new_store();
    store.put_blob(b"plank").unwrap();
    drop(store.scratch().unwrap());
    drop(store);
    assert!(names(&directory.path().join("leases")).is_empty());
    assert!(names(&directory.path().join("scratch")).is_empty());
}

#[test]
fn verification_names_what_is_damaged_and_makes_it_a_miss() {
    let (_directory, store) = new_store();
    let good = store.put_blob(b"good").unwrap().digest;
    let large = store.put_blob(&vec![b'p'; 300_000]).unwrap().digest;
    let key = Fingerprint::of(b"key");
    store.put_record(&ACTIONS, &key, b"body").unwrap();
    store.put_record(&ACTIONS, &Fingerprint::of(b"good"), b"body").unwrap();
    let kept = keep(&store, "one", "plank");
    keep(&store, "good", "plank");
    assert!(store.verify().unwrap().is_empty());

    let large_path = blob_path(&store, &large);
    fs::set_permissions(&large_path, Permissions::from_mode(0o644)).unwrap();
    fs::write(&large_path, vec![b'q'; 300_000]).unwrap();
    fs::write(store.path().join("records/actions").join(key.hex()), "noise").unwrap();
    fs::write(kept.join("more"), "").unwrap();
    fs::write(store.path().join("blobs/sha256/readme"), "").unwrap();

    let problems = store.verify().unwrap();
    let found: Vec<_> = problems.iter().map(|problem| (problem.kind, problem.path.exists())).collect();
    assert_eq!(found, [(Kind::Blob, false), (Kind::Record, false), (Kind::Kept, false), (Kind::Blob, false)]);
    assert!(matches!(problems[0].damage, Damage::Contents { expected, .. } if expected == large));
    assert!(matches!(problems[1].damage, Damage::Record));
    assert!(matches!(problems[2].damage, Damage::Measure { expected_entries: 2, found_entries: 3, .. }));
    assert!(matches!(problems[3].damage, Damage::Foreign));

    assert!(store.verify().unwrap().is_empty());
    assert!(store.blob(&large).unwrap().is_none());
    assert_eq!(store.record(&ACTIONS, &key).unwrap(), None);
    assert_eq!(store.kept(&UPPER, "one").unwrap(), None);
    assert_eq!(read(&store, &good).as_deref(), Some(&b"good"[..]));
    assert!(store.kept(&UPPER, "good").unwrap().is_some());
}

#[test]
fn threads_that_put_the_same_things_agree() {
    let (_directory, store) = new_store();
    let bytes = vec![b'p'; 1_000_000];
    thread::scope(|scope| {
        for number in 0..8 {
            let (store, bytes) = (&store, &bytes);
            scope.spawn(move || {
                let mut writer = store.new_blob().unwrap();
                writer.write_all(bytes).unwrap();
                let stored = writer.finish().unwrap();
                assert!(store.blob(&stored.digest).unwrap().is_some());
                let path = keep(store, "one", &number.to_string());
                assert!(path.join("file").exists());
            });
        }
    });
    assert_eq!(store.usage().unwrap().blobs.entries, 1);
    assert_eq!(store.usage().unwrap().kept.entries, 1);
    assert!(store.verify().unwrap().is_empty());
}

#[test]
fn processes_that_put_the_same_blob_at_once_agree() {
    let (directory, store) = new_store();
    let path = directory.path().to_str().unwrap();
    let mut writers: Vec<_> = (0..4).map(|_| Process::start("store::put_the_same", &[path])).collect();
    for writer in &mut writers {
        assert_eq!(writer.hear().as_deref(), Some("ready"));
    }
    for writer in &mut writers {
        writer.tell("go");
    }
    let digest = Digest::of(&vec![b'p'; 1_000_000]).to_string();
    for writer in writers {
        assert_eq!(writer.finish(), std::slice::from_ref(&digest));
    }
    assert_eq!(names(&directory.path().join("blobs/sha256")).len(), 1);
    assert!(store.verify().unwrap().is_empty());
}

/// The program of a child process.
pub(crate) fn put_the_same() {
    let mut input = input();
    let store = Store::open(Path::new(&input.next().unwrap().unwrap())).unwrap();
    let mut writer = store.new_blob().unwrap();
    writer.write_all(&vec![b'p'; 1_000_000]).unwrap();
    say("ready");
    input.next().unwrap().unwrap();
    say(&writer.finish().unwrap().digest.to_string());
}
