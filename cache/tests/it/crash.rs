//! Processes that are killed while they write: what they had finished is there, and nothing else is believed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use lapstrake_cache::{Count, Digest, Fingerprint, Limits, RemoveOwn, Store};

use crate::child::{Process, input, say};
use crate::store::{ACTIONS, UPPER, read};

/// At least so many rounds, and more where writers get hardly any time of the machine.
const ROUNDS: u64 = 30;
const WRITERS_PER_ROUND: u64 = 2;
const KEYS: u64 = 6;
/// What a kept directory holds.
const FILES: u64 = 12;

/// xorshift: the same numbers from the same seed, so that a failing round can be run again.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

fn key(number: u64) -> Fingerprint {
    Fingerprint::of(&number.to_le_bytes())
}

/// Says of itself whether it is whole.
fn record_body(key: u64, counter: u64, length: u64) -> Vec<u8> {
    let mut body = format!("{key} {counter} ").into_bytes();
    body.resize(body.len() + length as usize, counter as u8);
    body.extend_from_slice(Fingerprint::of(&body).as_bytes());
    body
}

fn check_record_body(expected_key: u64, body: &[u8]) {
    let (content, sum) = body.split_at(body.len() - 32);
    assert_eq!(Fingerprint::of(content).as_bytes(), sum);
    assert!(content.starts_with(format!("{expected_key} ").as_bytes()));
}

fn kept_text(name: &str, file: u64) -> String {
    format!("{name} {file} ").repeat(200)
}

fn check_kept(path: &Path, name: &str) {
    for file in 0..FILES {
        assert_eq!(fs::read_to_string(path.join(file.to_string())).unwrap(), kept_text(name, file));
    }
}

#[test]
fn whatever_is_killed_leaves_a_store_that_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let mut claims_seen = BTreeMap::<String, u64>::new();
    let mut swept = 0;
    let kinds = ["blob", "record", "kept", "mount"];
    let mut round = 0;
    // Until the kills have hit work that was under way, and all kinds of finished work were checked.
    while round < ROUNDS || swept == 0 || !kinds.iter().all(|kind| claims_seen.contains_key(*kind)) {
        assert!(round < 20 * ROUNDS, "{swept} scratch directories swept, claims: {claims_seen:?}");
        // Who has the store open keeps what is used since then: a writer that still lives may else collect what one that was killed has claimed.
        let keeps = Store::open(directory.path()).unwrap();
        let mut numbers = Numbers(round + 1);
        let seeds: Vec<_> = (0..WRITERS_PER_ROUND).map(|writer| (round * WRITERS_PER_ROUND + writer + 1).to_string()).collect();
        let mut writers: Vec<_> = seeds.iter().map(|seed| Process::start("crash::write", &[path, seed])).collect();
        for writer in &mut writers {
            assert_eq!(writer.hear().as_deref(), Some("begin"));
        }
        let mut claims = Vec::new();
        for writer in writers {
            wait(Duration::from_micros(numbers.next(25_000 * (1 + round / ROUNDS))));
            claims.extend(writer.kill());
        }
        drop(keeps);
        swept += fs::read_dir(directory.path().join("scratch")).map_or(0, Iterator::count);

        let store = Store::open(directory.path()).unwrap();
        // At most the empty scratch directory of the store that was opened just now.
        assert!(store.usage().unwrap().scratch.bytes <= 4096, "seeds {seeds:?}");
        for claim in &claims {
            let kind = check_claim(&store, claim);
            *claims_seen.entry(kind.to_owned()).or_default() += 1;
        }
        check_everything(&store);
        let problems = store.verify().unwrap();
        assert!(problems.is_empty(), "seeds {seeds:?}: {problems:?}");
        let collected = store.collect(&Limits { bytes: Some(4_000_000), unused_for: None }, &RemoveOwn).unwrap();
        assert!(collected.failures.is_empty(), "seeds {seeds:?}: {:?}", collected.failures);
        assert_eq!(store.usage().unwrap().trash, Count::default());
        check_everything(&store);
        round += 1;
    }
    println!("{round} rounds, {swept} scratch directories swept, claims: {claims_seen:?}");
}

#[expect(clippy::disallowed_methods, reason = "a kill at a random time is what is tested")]
fn wait(time: Duration) {
    thread::sleep(time);
}

fn check_claim<'a>(store: &Store, claim: &'a str) -> &'a str {
    let words: Vec<_> = claim.split(' ').collect();
    match words[..] {
        ["blob", digest] => {
            let digest = digest.parse().unwrap();
            assert_eq!(Digest::of(&read(store, &digest).expect(claim)), digest);
        }
        ["record", number] => {
            let number = number.parse().unwrap();
            check_record_body(number, &store.record(&ACTIONS, &key(number)).unwrap().expect(claim));
        }
        ["kept", name] => check_kept(&store.kept(&UPPER, name).unwrap().expect(claim), name),
        ["mount", name] => assert!(store.cache_mount(name).unwrap().path().join("file").exists()),
        _ => panic!("{claim}"),
    }
    words[0]
}

/// Whatever the store gives out, claimed or not, is whole.
fn check_everything(store: &Store) {
    for entry in fs::read_dir(store.path().join("blobs/sha256")).unwrap() {
        let digest = format!("sha256:{}", entry.unwrap().file_name().into_string().unwrap()).parse().unwrap();
        assert_eq!(Digest::of(&read(store, &digest).unwrap()), digest);
    }
    for number in 0..KEYS {
        if let Some(body) = store.record(&ACTIONS, &key(number)).unwrap() {
            check_record_body(number, &body);
        }
        let name = number.to_string();
        if let Some(path) = store.kept(&UPPER, &name).unwrap() {
            check_kept(&path, &name);
        }
    }
}

/// The program of a child process.
pub(crate) fn write() {
    let mut input = input();
    let path = input.next().unwrap().unwrap();
    let mut numbers = Numbers(input.next().unwrap().unwrap().parse::<u64>().unwrap() * 0x9e37_79b9);
    say("begin");
    for counter in 0.. {
        let store = Store::open(Path::new(&path)).unwrap();
        for _ in 0..=numbers.next(8) {
            say(&write_something(&store, &mut numbers, counter));
        }
        if numbers.next(4) == 0 {
            // What the other writer uses stays, and so does what this one has claimed through a store that is open.
            store.collect(&Limits { bytes: Some(2_000_000), unused_for: None }, &RemoveOwn).unwrap();
        }
        // Claims hold as long as the store is open, so it stays open until the kill.
        std::mem::forget(store);
    }
}

fn write_something(store: &Store, numbers: &mut Numbers, counter: u64) -> String {
    match numbers.next(5) {
        0 => {
            let bytes = vec![counter as u8; numbers.next(5_000) as usize];
            format!("blob {}", store.put_blob(&bytes).unwrap().digest)
        }
        1 => {
            let mut writer = store.new_blob().unwrap();
            let seed = numbers.next(50);
            for piece in 0..30 + seed {
                writer.write_all(&[(seed + piece) as u8; 5_000]).unwrap();
            }
            format!("blob {}", writer.finish().unwrap().digest)
        }
        2 => {
            let number = numbers.next(KEYS);
            let body = record_body(number, counter, numbers.next(20_000));
            store.put_record(&ACTIONS, &key(number), &body).unwrap();
            format!("record {number}")
        }
        3 => {
            let name = numbers.next(KEYS).to_string();
            let scratch = store.scratch().unwrap();
            let upper = scratch.path().join("upper");
            fs::create_dir(&upper).unwrap();
            fs::create_dir(scratch.path().join("work")).unwrap();
            for file in 0..FILES {
                fs::write(upper.join(file.to_string()), kept_text(&name, file)).unwrap();
            }
            store.keep(scratch, Path::new("upper"), &UPPER, &name).unwrap();
            format!("kept {name}")
        }
        _ => {
            let name = numbers.next(3).to_string();
            let mount = store.cache_mount(&name).unwrap();
            let _alone = mount.lock_exclusive().unwrap();
            fs::write(mount.path().join("file"), "plank").unwrap();
            format!("mount {name}")
        }
    }
}
