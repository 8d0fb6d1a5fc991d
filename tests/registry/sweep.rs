//! Connections that are cut everywhere.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use lapstrake::event::Cancel;
use lapstrake::image::{Descriptor, MediaType};
use lapstrake::registry::{Anonymous, Chunks, Error, Host, Pushed, Registry, Settings, Uploads};

use crate::support::at;
use crate::support::fake::{FakeRegistry, Fault};
use crate::support::manners::Keeping;
use crate::support::real::RealRegistry;
use crate::{anonymous, pull, push_blob, settings};

/// How many pieces a transfer is cut into.
const CUTS: usize = 64;

fn blob(size: usize) -> (Descriptor, Vec<u8>) {
    let bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at * 31 % 251).unwrap_or_default()).collect();
    (Descriptor::of(MediaType::OCI_LAYER, &bytes), bytes)
}

/// A client that sends chunks of so many bytes from the beginning.
fn chunking(host: SocketAddr, bytes: u64) -> Registry {
    let host_settings = Host { uploads: Some(Uploads::Chunked), chunks: Some(Chunks::Of { bytes }), ..Host::default() };
    let settings = Settings { hosts: [(host.to_string(), host_settings)].into(), ..settings() };
    Registry::new(settings, Arc::new(Anonymous)).unwrap()
}

#[test]
fn a_push_that_is_cut_at_every_64th_succeeds_and_sends_nothing_twice() {
    let fake = FakeRegistry::open();
    let (descriptor, bytes) = blob(8 << 20);
    fake.behave(|manners| manners.cut_up_every = Some(bytes.len() / CUTS));
    let target = at(fake.address(), "team/web");
    assert_eq!(push_blob(&anonymous(), &target, &(descriptor.clone(), bytes.clone()), &[]).unwrap(), Pushed::Uploaded);
    assert_eq!(fake.blob("team/web", &descriptor.digest), Some(bytes));
    assert_eq!(fake.traffic().cuts, CUTS - 1);
    assert_eq!(fake.traffic().up, descriptor.size);
    fake.assert_well_treated();
}

#[test]
fn a_pull_that_is_cut_at_every_64th_succeeds_and_fetches_nothing_twice() {
    let fake = FakeRegistry::open();
    let (descriptor, bytes) = blob(8 << 20);
    fake.put_blob("team/web", &bytes);
    fake.behave(|manners| manners.cut_down_every = Some(bytes.len() / CUTS));
    let target = at(fake.address(), "team/web");
    assert_eq!(pull(&anonymous(), &target, &descriptor).unwrap(), bytes);
    assert_eq!(fake.lines().len(), CUTS);
    assert_eq!(fake.traffic().down, descriptor.size);
}

#[test]
fn one_cut_anywhere_costs_less_than_one_chunk() {
    const CHUNK_BYTES: u64 = 128 << 10;
    let (descriptor, bytes) = blob(1 << 20);
    for keeping in [Keeping::Bytes, Keeping::Requests] {
        for cut in 0..CUTS {
            let fake = FakeRegistry::open();
            fake.behave(|manners| {
                manners.keeping = keeping;
                manners.cut_up_once = Some(bytes.len() * cut / CUTS);
            });
            let registry = chunking(fake.address(), CHUNK_BYTES);
            push_blob(&registry, &at(fake.address(), "team/web"), &(descriptor.clone(), bytes.clone()), &[]).unwrap();
            assert_eq!(fake.blob("team/web", &descriptor.digest).as_ref(), Some(&bytes), "{keeping:?} {cut}");
            let (again, cuts) = (fake.traffic().up - descriptor.size, fake.traffic().cuts);
            assert!(again < CHUNK_BYTES && cuts == 1, "{keeping:?}: cut at {cut}/64 sent {again} bytes again");
            fake.assert_well_treated();
        }
    }
}

#[test]
fn a_registry_that_keeps_nothing_of_what_breaks_gets_it_anew() {
    let (descriptor, bytes) = blob(1 << 20);
    for cut in [0, 1, 31, 63] {
        let fake = FakeRegistry::open();
        fake.behave(|manners| {
            manners.keeping = Keeping::Nothing;
            manners.cut_up_once = Some(bytes.len() * cut / CUTS);
        });
        push_blob(&anonymous(), &at(fake.address(), "team/web"), &(descriptor.clone(), bytes.clone()), &[]).unwrap();
        assert_eq!(fake.blob("team/web", &descriptor.digest).as_ref(), Some(&bytes), "{cut}");
        fake.assert_well_treated();
    }
}

/// Passes connections on to a server and cuts those that carry more than so many bytes in one direction, a number of times.
struct Cutter {
    address: SocketAddr,
    left: Arc<AtomicU64>,
}

impl Cutter {
    fn before(server: SocketAddr, after_bytes: u64, times: u64) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let left = Arc::new(AtomicU64::new(times));
        let counter = Arc::clone(&left);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(server).unwrap();
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to, left) = (from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(&counter));
                    thread::spawn(move || pass_on(from, to, after_bytes, &left));
                }
            }
        });
        Cutter { address, left }
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, after_bytes: u64, left: &AtomicU64) {
    let mut passed = 0;
    let mut buffer = [0; 16 << 10];
    while let Ok(read) = from.read(&mut buffer) {
        passed += read as u64;
        let cut = passed > after_bytes && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if read == 0 || cut || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn the_real_registry_behind_a_network_that_cuts_gets_and_gives_all() {
    let real = RealRegistry::start("", &[]);
    let (descriptor, bytes) = blob(4 << 20);
    for cut in [0_u64, 1, 17, 33, 62] {
        let after_bytes = descriptor.size * cut / 64 + 2000;
        let (up, down) = (Cutter::before(real.address, after_bytes, 2), Cutter::before(real.address, after_bytes, 1));
        let name = format!("team/web{cut}");
        push_blob(&anonymous(), &at(up.address, &name), &(descriptor.clone(), bytes.clone()), &[]).unwrap();
        assert_eq!(pull(&anonymous(), &at(down.address, &name), &descriptor).unwrap(), bytes);
        assert_eq!((up.left.load(Ordering::SeqCst), down.left.load(Ordering::SeqCst)), (0, 0), "{cut}");
        assert_eq!(pull(&anonymous(), &at(real.address, &name), &descriptor).unwrap(), bytes);
    }
}

#[test]
fn a_download_from_an_address_that_is_cut_everywhere_is_whole() {
    let fake = FakeRegistry::open();
    let (descriptor, bytes) = blob(4 << 20);
    fake.put_blob("team/web", &bytes);
    fake.behave(|manners| manners.cut_down_every = Some(bytes.len() / 16));
    let address = format!("http://{}/v2/team/web/blobs/{}", fake.address(), descriptor.digest);
    let mut got = Vec::new();
    anonymous().fetch(&address, &mut got, &mut |_| {}, &Cancel::new()).unwrap();
    assert_eq!(got, bytes);
    assert_eq!(fake.traffic().down, descriptor.size);
}

#[test]
fn a_download_without_tags_is_compared_with_what_was_had() {
    let fake = FakeRegistry::open();
    let (descriptor, bytes) = blob(4 << 20);
    fake.put_blob("team/web", &bytes);
    let address = format!("http://{}/v2/team/web/blobs/{}", fake.address(), descriptor.digest);
    fake.fault("blobs", 3, Fault::Header("etag", None));
    fake.fault("blobs", 1, Fault::Cut(1 << 20));
    fake.later("blobs", 1, 1, Fault::Cut(3 << 20));
    let mut got = Vec::new();
    anonymous().fetch(&address, &mut got, &mut |_| {}, &Cancel::new()).unwrap();
    assert_eq!(got, bytes);
    // What is another thing the second time is told of, and not put together from both.
    fake.fault("blobs", 3, Fault::Header("etag", None));
    fake.fault("blobs", 1, Fault::Cut(1 << 20));
    fake.later("blobs", 1, 1, Fault::Flip);
    let error = anonymous().fetch(&address, &mut Vec::new(), &mut |_| {}, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error}");
}
