//! How blobs are sent to registries that differ, and on where they were left.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lapstrake::event::Cancel;
use lapstrake::image::{Descriptor, MediaType};
use lapstrake::registry::{Anonymous, Chunks, Error, Host, Mounts, Pushed, Registry, Settings, Uploads};

use crate::support::at;
use crate::support::fake::{FakeRegistry, Fault};
use crate::support::http::Response;
use crate::support::manners::{ChunkManners, Keeping, Manners, MountManners};
use crate::waiting::until;
use crate::{push_blob, settings, source};

fn blob(size: usize) -> (Descriptor, Vec<u8>) {
    let bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at * 37 % 241).unwrap_or_default()).collect();
    (Descriptor::of(MediaType::OCI_LAYER, &bytes), bytes)
}

fn with(fake: &FakeRegistry, host: Host) -> Registry {
    Registry::new(Settings { hosts: [(fake.address().to_string(), host)].into(), ..settings() }, Arc::new(Anonymous)).unwrap()
}

fn remembering(directory: &std::path::Path) -> Registry {
    Registry::new(Settings { memory: Some(directory.to_owned()), ..settings() }, Arc::new(Anonymous)).unwrap()
}

fn methods(fake: &FakeRegistry) -> Vec<String> {
    fake.seen().into_iter().map(|request| request.method).collect()
}

fn chunked(bytes: u64) -> Host {
    Host { uploads: Some(Uploads::Chunked), chunks: Some(Chunks::Of { bytes }), ..Host::default() }
}

#[test]
fn every_registry_gets_the_blob_in_the_way_it_wants() {
    let (descriptor, bytes) = blob(1_000_000);
    type Change = fn(&mut Manners);
    let cases: [(&str, Host, Change, &[&str]); 9] = [
        ("whole", Host::default(), |_| {}, &["HEAD", "POST", "PUT"]),
        ("chunked", chunked(400_000), |_| {}, &["HEAD", "POST", "PATCH", "PATCH", "PATCH", "PUT"]),
        ("with a least chunk", chunked(100_000), |manners| manners.chunk_min = Some(600_000), &["HEAD", "POST", "PATCH", "PATCH", "PUT"]),
        (
            "takes a part of each chunk",
            chunked(600_000),
            |manners| manners.chunks = ChunkManners::Partly(500_000),
            &["HEAD", "POST", "PATCH", "PATCH", "PUT"],
        ),
        (
            "wants no chunks",
            chunked(400_000),
            |manners| manners.chunks = ChunkManners::Refused,
            &["HEAD", "POST", "PATCH", "HEAD", "POST", "PUT"],
        ),
        (
            "forgets chunks",
            Host { uploads: Some(Uploads::Chunked), ..Host::default() },
            |manners| manners.chunks = ChunkManners::FirstOnly,
            &["HEAD", "POST", "PATCH", "PUT"],
        ),
        (
            "single post",
            Host { uploads: Some(Uploads::SinglePost), ..Host::default() },
            |manners| manners.single_post = true,
            &["HEAD", "POST"],
        ),
        ("no single post after all", Host { uploads: Some(Uploads::SinglePost), ..Host::default() }, |_| {}, &["HEAD", "POST", "PUT"]),
        ("without chunks at all", Host { chunks: Some(Chunks::Refused), ..chunked(1) }, |_| {}, &["HEAD", "POST", "PUT"]),
    ];
    for (name, host, change, expected) in cases {
        let fake = FakeRegistry::open();
        fake.behave(change);
        let pushed = push_blob(&with(&fake, host), &at(fake.address(), "team/web"), &(descriptor.clone(), bytes.clone()), &[]);
        assert_eq!(pushed.unwrap(), Pushed::Uploaded, "{name}");
        assert_eq!(fake.blob("team/web", &descriptor.digest).as_ref(), Some(&bytes), "{name}");
        assert_eq!(methods(&fake), expected, "{name}");
        fake.assert_well_treated();
    }
}

#[test]
fn a_registry_that_forgets_all_but_the_first_chunk_is_given_whole_blobs_from_then_on() {
    let fake = FakeRegistry::open();
    fake.behave(|manners| manners.chunks = ChunkManners::FirstOnly);
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { memory: Some(directory.path().to_owned()), ..settings() };
    let host = Host { uploads: Some(Uploads::Chunked), ..Host::default() };
    let big = blob(40 << 20);
    let registry =
        Registry::new(Settings { hosts: [(fake.address().to_string(), host)].into(), ..settings.clone() }, Arc::new(Anonymous)).unwrap();
    push_blob(&registry, &at(fake.address(), "team/web"), &big, &[]).unwrap();
    assert_eq!(methods(&fake), ["HEAD", "POST", "PATCH", "PATCH", "HEAD", "POST", "PUT"]);
    fake.forget();
    // Another process knows.
    let up = usize::try_from(fake.traffic().up).unwrap();
    fake.behave(|manners| manners.cut_up_once = Some(up + 1_000_000));
    push_blob(&remembering(directory.path()), &at(fake.address(), "team/other"), &big, &[]).unwrap();
    assert_eq!(methods(&fake), ["HEAD", "POST", "PUT", "HEAD", "POST", "PUT"]);
    fake.assert_well_treated();
}

#[test]
fn a_proxy_with_a_limit_is_given_chunks_and_the_limit_is_remembered() {
    let fake = FakeRegistry::open();
    fake.behave(|manners| manners.largest_body = Some(3 << 20));
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (blob(10 << 20), blob(9 << 20));
    push_blob(&remembering(directory.path()), &at(fake.address(), "team/web"), &one, &[]).unwrap();
    assert!(methods(&fake).iter().filter(|method| *method == "PATCH").count() > 4, "{:?}", methods(&fake));
    fake.forget();
    // Another process has not to find out again.
    push_blob(&remembering(directory.path()), &at(fake.address(), "team/web"), &two, &[]).unwrap();
    assert!(fake.seen().iter().all(|request| request.body.len() <= 3 << 20));
    fake.assert_well_treated();
}

#[test]
fn a_registry_with_small_chunks_teaches_them_where_a_blob_is_taken_up_again() {
    let fake = FakeRegistry::open();
    fake.behave(|manners| {
        manners.chunks = ChunkManners::UpTo(4 << 20);
        manners.cut_up_once = Some(1 << 20);
    });
    let directory = tempfile::tempdir().unwrap();
    let blob = blob(12 << 20);
    push_blob(&remembering(directory.path()), &at(fake.address(), "team/web"), &blob, &[]).unwrap();
    assert_eq!(fake.blob("team/web", &blob.0.digest).as_ref(), Some(&blob.1));
    fake.assert_well_treated();
}

#[test]
fn mounts_without_a_source_are_wished_for_where_the_settings_say_so() {
    let fake = FakeRegistry::open();
    fake.behave(|manners| manners.mounts = MountManners::TakenFromAnywhere);
    let blob = blob(1000);
    fake.put_blob("somebody/else", &blob.1);
    let anywhere = Host { mounts: Some(Mounts::Anywhere), ..Host::default() };
    assert_eq!(push_blob(&with(&fake, anywhere), &at(fake.address(), "team/web"), &blob, &[]).unwrap(), Pushed::Mounted);
    let mounts = [at(fake.address(), "somebody/else")];
    let never = Host { mounts: Some(Mounts::Never), ..Host::default() };
    assert_eq!(push_blob(&with(&fake, never), &at(fake.address(), "team/never"), &blob, &mounts).unwrap(), Pushed::Uploaded);
    assert_eq!(push_blob(&with(&fake, Host::default()), &at(fake.address(), "team/from"), &blob, &mounts).unwrap(), Pushed::Mounted);
}

#[test]
fn a_registry_without_mounts_is_not_asked_twice() {
    let fake = FakeRegistry::open();
    fake.behave(|manners| manners.mounts = MountManners::Refused);
    let mounts = [at(fake.address(), "library/base")];
    let registry = with(&fake, Host::default());
    for (size, posts) in [(10, 2), (20, 1)] {
        fake.forget();
        push_blob(&registry, &at(fake.address(), "team/web"), &blob(size), &mounts).unwrap();
        assert_eq!(methods(&fake).iter().filter(|method| *method == "POST").count(), posts);
    }
}

/// Has nothing more after so many bytes until nobody waits for it any longer, as the source of a process that is killed.
struct Dies {
    bytes: io::Take<io::Cursor<Vec<u8>>>,
    ended: Arc<AtomicBool>,
}

impl Read for Dies {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.bytes.read(buffer)? {
            0 => {
                until("the one who sends is told to end", || self.ended.load(Ordering::SeqCst));
                Err(io::ErrorKind::BrokenPipe.into())
            }
            read => Ok(read),
        }
    }
}

/// Waits until nobody sends any longer what is half sent: the task that is aborted lets go of its files some time later.
fn nobody_sends(directory: &std::path::Path) {
    for entry in std::fs::read_dir(directory.join("uploads")).unwrap() {
        let path = entry.unwrap().path();
        until(&format!("{} is let go of", path.display()), || std::fs::File::open(&path).unwrap().try_lock().is_ok());
    }
}

#[test]
fn the_next_process_goes_on_where_a_killed_one_was() {
    let directory = tempfile::tempdir().unwrap();
    for (keeping, at_most_again) in [(Keeping::Bytes, 0), (Keeping::Requests, 8 << 20), (Keeping::Nothing, 8 << 20)] {
        let fake = FakeRegistry::open();
        fake.behave(|manners| manners.keeping = keeping);
        let blob = blob(8 << 20);
        let target = at(fake.address(), "team/web");
        let cancel = Cancel::new();
        let canceller = cancel.clone();
        let ended = Arc::new(AtomicBool::new(false));
        std::thread::scope(|scope| {
            let registry = remembering(directory.path());
            let sending = scope.spawn({
                let (target, blob, cancel, ended) = (target.clone(), blob.clone(), cancel.clone(), Arc::clone(&ended));
                move || {
                    // The source gives half of it and then nothing, until the process is told to end.
                    let open = || -> io::Result<Box<dyn Read + Send>> {
                        let bytes = io::Cursor::new(blob.1.clone()).take(4 << 20);
                        Ok(Box::new(Dies { bytes, ended: Arc::clone(&ended) }))
                    };
                    let sent = registry.push_blob(
                        &target,
                        &blob.0,
                        &open,
                        &[],
                        &mut |done| {
                            if done >= 4 << 20 {
                                canceller.cancel()
                            }
                        },
                        &cancel,
                    );
                    ended.store(true, Ordering::SeqCst);
                    sent
                }
            });
            assert!(matches!(sending.join().unwrap(), Err(Error::Cancelled)));
        });
        until("the registry notices that the connection is gone", || fake.traffic().up != 0);
        nobody_sends(directory.path());
        let before = fake.traffic().up;
        assert!(before < blob.0.size);
        let registry = remembering(directory.path());
        let opened = AtomicUsize::new(0);
        let open = || -> io::Result<Box<dyn Read + Send>> {
            opened.fetch_add(1, Ordering::SeqCst);
            source(&blob.1)()
        };
        let pushed = registry.push_blob(&target, &blob.0, &open, &[], &mut |_| {}, &Cancel::new()).unwrap();
        assert_eq!(pushed, Pushed::Uploaded);
        assert_eq!(fake.blob("team/web", &blob.0.digest).as_ref(), Some(&blob.1));
        assert!(fake.traffic().up - blob.0.size <= at_most_again, "{keeping:?}: {} again", fake.traffic().up - blob.0.size);
        assert_eq!(opened.load(Ordering::SeqCst), 1, "{keeping:?}");
        // Nothing is left over.
        assert_eq!(std::fs::read_dir(directory.path().join("uploads")).unwrap().count(), 0, "{keeping:?}");
        fake.assert_well_treated();
    }
}

#[test]
fn a_session_that_was_lost_meanwhile_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let fake = FakeRegistry::open();
    let blob = blob(2 << 20);
    let target = at(fake.address(), "team/web");
    fake.fault("PUT", 5, Fault::CutRequest(1 << 20));
    fake.fault("GET", 5, Fault::Answer(Response::error(404, "BLOB_UPLOAD_UNKNOWN", "restarted")));
    assert!(matches!(push_blob(&remembering(directory.path()), &target, &blob, &[]), Err(Error::Broken { .. })));
    assert_eq!(std::fs::read_dir(directory.path().join("uploads")).unwrap().count(), 1);
    fake.lose_sessions();
    assert_eq!(fake.open_sessions(), 0);
    assert_eq!(push_blob(&remembering(directory.path()), &target, &blob, &[]).unwrap(), Pushed::Uploaded);
    fake.assert_well_treated();
}

#[test]
fn what_is_left_of_another_blob_is_thrown_away_when_the_digest_shows_it() {
    let directory = tempfile::tempdir().unwrap();
    let fake = FakeRegistry::open();
    let (right, wrong) = (blob(2 << 20), vec![7; 2 << 20]);
    let target = at(fake.address(), "team/web");
    // The source is not what it says at first: a file that was changed meanwhile.
    fake.behave(|manners| manners.cut_up_once = Some(1 << 20));
    let times = AtomicUsize::new(0);
    let open = || -> io::Result<Box<dyn Read + Send>> {
        if times.fetch_add(1, Ordering::SeqCst) == 0 { source(&wrong)() } else { source(&right.1)() }
    };
    let pushed = remembering(directory.path()).push_blob(&target, &right.0, &open, &[], &mut |_| {}, &Cancel::new());
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    assert_eq!(fake.blob("team/web", &right.0.digest), Some(right.1));
}

#[test]
fn only_so_many_blobs_go_to_one_host_at_a_time() {
    let fake = FakeRegistry::open();
    let host = Host { transfers: std::num::NonZeroUsize::new(2), ..Host::default() };
    let registry = with(&fake, host);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    std::thread::scope(|scope| {
        for size in 1..10 {
            let (registry, target) = (&registry, at(fake.address(), "team/web"));
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            scope.spawn(move || {
                let blob = blob(size * 1000);
                let open = || -> io::Result<Box<dyn Read + Send>> {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    now.fetch_sub(1, Ordering::SeqCst);
                    source(&blob.1)()
                };
                registry.push_blob(&target, &blob.0, &open, &[], &mut |_| {}, &Cancel::new()).unwrap();
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 2, "{most:?}");
}

#[test]
fn readers_that_wait_for_each_other_do_not_wait_for_ever() {
    let fake = FakeRegistry::open();
    let host = Host { transfers: std::num::NonZeroUsize::new(1), ..Host::default() };
    let registry = with(&fake, host);
    let target = at(fake.address(), "team/web");
    let blobs: Vec<_> = (20..23).map(|size| blob(size << 20)).collect();
    let mut readers = Vec::new();
    for (descriptor, bytes) in &blobs {
        fake.put_blob("team/web", bytes);
        readers.push(registry.open_blob(&target, descriptor, &Cancel::new()).unwrap());
    }
    // The last is read first.
    for (reader, (_, bytes)) in readers.iter_mut().zip(&blobs).rev() {
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        assert_eq!(&got, bytes);
    }
}
