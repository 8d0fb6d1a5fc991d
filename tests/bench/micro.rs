//! What single parts cost, each alone: `cargo bench --bench micro`, with a word as a filter, prints times and rates.
//!
//! The data are the same each time: files of text and noise, below a directory in memory where there is one.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement that cannot be made ends with the reason; it waits for a clock"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Cursor, sink};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lapstrake::build::{self, IsolationChoice};
use lapstrake::cache::Fingerprint;
use lapstrake::diagnostic::SourceMap;
use lapstrake::event::Cancel;
use lapstrake::input::{GitSettings, NetworkUse, NothingStale};
use lapstrake::layer::{Limits, Profile, pack, unpack};
use lapstrake::registry::{Anonymous, Settings};
use lapstrake::tree::{
    Content, Difference, DirectoryContents, FileStamp, KnownContents, LocalDirectory, Metadata, NoneKnown, Tree, Xattrs, checkout_tree,
    scan,
};
use lapstrake::{Engine, Outside, Pins, Platform, Registry, Silent, Store, plan, spec};

/// Small files, as source trees have them.
const FILES: u64 = 2_000;
/// One file that dominates.
const LARGE: usize = 16 << 20;

/// A directory with files in it.
struct Data {
    place: tempfile::TempDir,
    bytes: u64,
}

impl Data {
    fn new() -> Data {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let noise = noise(LARGE);
        let mut bytes = 0;
        for number in 0..FILES {
            let directory = place.path().join(format!("data/{}", number / 50));
            std::fs::create_dir_all(&directory).unwrap();
            let text = text(number, 512 + (number * 7919 % 8192) as usize);
            bytes += text.len() as u64;
            std::fs::write(directory.join(format!("file-{number}.py")), text).unwrap();
        }
        // Every other page is text.
        let mixed: Vec<u8> = noise
            .chunks(1 << 16)
            .enumerate()
            .flat_map(|(at, piece)| if at % 2 == 0 { text(at as u64, piece.len()).into_bytes() } else { piece.to_vec() })
            .collect();
        bytes += mixed.len() as u64;
        std::fs::write(place.path().join("data/large"), mixed).unwrap();
        // Only what is older than a tick of the file system's clock is remembered.
        std::thread::sleep(Duration::from_millis(50));
        Data { place, bytes }
    }

    fn handle(&self) -> LocalDirectory {
        LocalDirectory::open(&self.place.path().join("data")).unwrap()
    }
}

/// Bytes that do not compress: xorshift, from a fixed start.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length / 8)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect()
}

/// Text that compresses about as source code does.
fn text(number: u64, length: usize) -> String {
    let mut text = format!("# {number}\n");
    let mut state = number;
    while text.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = ["def ", "return ", "import ", "self.", "planks", "(keel)", "\n    ", "None"][(state >> 61) as usize];
        text.push_str(word);
        if state >> 40 & 7 == 0 {
            write!(text, "{:x} ", state >> 44).unwrap();
        }
    }
    text.truncate(length);
    text
}

/// Remembers every content, as a store does for a context that was seen before.
#[derive(Default)]
struct Remembered(Mutex<BTreeMap<FileStamp, Content>>);

impl KnownContents for Remembered {
    fn get(&self, stamp: &FileStamp) -> Option<Content> {
        self.0.lock().unwrap().get(stamp).cloned()
    }

    fn put(&self, stamp: FileStamp, content: Content) {
        self.0.lock().unwrap().insert(stamp, content);
    }
}

fn root() -> Metadata {
    Metadata { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: Xattrs::new() }
}

fn data_path(criterion: &mut Criterion) {
    let data = Data::new();
    let handle = data.handle();
    let cancel = Cancel::new();
    let known = Remembered::default();
    let tree = scan(&handle, &known, &cancel).unwrap().tree;
    assert_eq!(known.0.lock().unwrap().len() as u64, FILES + 1, "what was just written is not remembered");
    let below = Tree::empty(root());
    let difference = Difference::between(&below, &tree);
    let contents = DirectoryContents(&handle);
    let cores = std::thread::available_parallelism().unwrap();

    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Bytes(data.bytes));
    group.bench_function("every file read and named", |bencher| bencher.iter(|| scan(&handle, &NoneKnown, &cancel).unwrap()));
    group.throughput(Throughput::Elements(FILES));
    group.bench_function("every content remembered", |bencher| bencher.iter(|| scan(&handle, &known, &cancel).unwrap()));
    group.finish();

    let mut group = criterion.benchmark_group("tree");
    group.throughput(Throughput::Elements(FILES));
    group.bench_function("hash of a whole tree", |bencher| {
        bencher.iter_batched(|| tree.clone(), |tree| Difference::whole(&tree).fingerprint(), BatchSize::LargeInput);
    });
    group.bench_function("difference of two equal trees", |bencher| bencher.iter(|| Difference::between(&tree, &tree)));
    let encoded = difference.encode();
    group.bench_function("encode", |bencher| bencher.iter(|| difference.encode()));
    group.bench_function("decode", |bencher| bencher.iter(|| Difference::decode(&encoded).unwrap()));
    group.finish();

    let mut group = criterion.benchmark_group("pack");
    group.throughput(Throughput::Bytes(data.bytes));
    group.sample_size(10);
    for (threads, word) in [(NonZeroUsize::MIN, "one thread"), (cores, "all cores")] {
        for profile in Profile::ALL {
            group.bench_function(format!("{profile}, {word}"), |bencher| {
                bencher.iter(|| pack(&difference, &contents, profile, threads, &mut sink(), &cancel).unwrap());
            });
        }
    }
    group.finish();

    let mut group = criterion.benchmark_group("unpack");
    group.throughput(Throughput::Bytes(data.bytes));
    group.sample_size(10);
    for profile in Profile::ALL {
        let mut blob = Vec::new();
        pack(&difference, &contents, profile, cores, &mut blob, &cancel).unwrap();
        group.bench_function(format!("{profile}, read only"), |bencher| {
            bencher.iter(|| unpack(Box::new(Cursor::new(&blob)), &below, None, &Limits::GENEROUS, &cancel).unwrap());
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("checkout");
    group.throughput(Throughput::Bytes(data.bytes));
    group.sample_size(10);
    group.bench_function("a whole tree", |bencher| {
        bencher.iter_batched(
            || tempfile::tempdir_in(data.place.path()).unwrap(),
            |place| {
                checkout_tree(&tree, &contents, &LocalDirectory::open(place.path()).unwrap(), &cancel).unwrap();
                place
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();

    let bytes = noise(1 << 20);
    let mut group = criterion.benchmark_group("hash");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("sha256", |bencher| bencher.iter(|| lapstrake::Digest::of(&bytes)));
    group.bench_function("fingerprint", |bencher| bencher.iter(|| Fingerprint::of(&bytes)));
    group.finish();
}

/// A spec of so many stages, each with a few steps, all of them taken by the last.
fn many_stages(count: usize) -> String {
    let mut text = "spec = 1\n[stages.last]\nfrom = \"scratch\"\nsteps = [\n".to_owned();
    for number in 0..count {
        writeln!(text, "    {{ copy = \"/made-{number}\", from = \"stage:s{number}\", to = \"/made-{number}\" }},").unwrap();
    }
    text.push_str("]\n[images.all]\nstage = \"last\"\n");
    for number in 0..count {
        writeln!(
            text,
            "[stages.s{number}]\nfrom = \"scratch\"\nsteps = [\n    {{ mkdir = \"/srv\" }},\n    {{ write = \"/made-{number}\", content = \"{number}\" }},\n]"
        )
        .unwrap();
    }
    text
}

fn control_path(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spec");
    for count in [1, 10, 100] {
        let text = many_stages(count);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("parse {count} stages"), |bencher| {
            bencher.iter(|| {
                let mut sources = SourceMap::new();
                spec::parse(sources.add("lapstrake.toml", text.as_str()), &text).or_rendered(&sources).unwrap()
            });
        });
    }
    group.finish();

    // Nothing to do: keys are encoded, records are read.
    let mut group = criterion.benchmark_group("unchanged");
    group.sample_size(20);
    for count in [1, 10, 100] {
        let text = many_stages(count);
        let mut sources = SourceMap::new();
        let spec = spec::parse(sources.add("lapstrake.toml", text.as_str()), &text).or_rendered(&sources).unwrap();
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&place.path().join("store")).unwrap();
        let registry = Registry::new(Settings::default(), Arc::new(Anonymous)).unwrap();
        let outside = Outside {
            store: &store,
            registry: &registry,
            git: &GitSettings::default(),
            network: NetworkUse::Refused,
            directory: place.path(),
            contexts: &Default::default(),
            events: &Silent,
            cancel: &Cancel::new(),
        };
        let target = plan::Target::everything(Platform::builder());
        let needed = plan::requirements(&spec, &target).or_rendered(&sources).unwrap();
        let found = outside.resolve(&needed, &Pins::new(), &NothingStale).unwrap().found;
        let engine = Engine::new(IsolationChoice::None);
        let build = || {
            let plan = plan::plan(&spec, &target, &found).or_rendered(&sources).unwrap();
            engine.build(&plan, &outside, &build::Options::default()).unwrap()
        };
        build();
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("keys and records of {count} stages"), |bencher| bencher.iter(build));
    }
    group.finish();
}

criterion_group!(micro, data_path, control_path);
criterion_main!(micro);
