//! A directory in; what packing and reading it costs out: sizes, rates, and how many compressed blocks one edit leaves.
//!
//! `cargo run --release --example bench-layer -- DIRECTORY [THREADS]`
#![expect(clippy::print_stdout, reason = "this program's purpose is what it prints")]

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, Cursor, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use lapstrake::event::Cancel;
use lapstrake::layer::{Limits, Packed, Profile, pack, unpack};
use lapstrake::tree::{Change, Contents, Difference, DirectoryContents, Entry, LocalDirectory, Metadata, NoneKnown, Tree, Xattrs, scan};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("which directory?")?);
    let threads = match arguments.next() {
        Some(text) => text.to_str().ok_or("no number of threads")?.parse()?,
        None => NonZeroUsize::MIN.saturating_add(1),
    };
    let cancel = Cancel::new();
    let handle = LocalDirectory::open(&directory)?;
    let tree = scan(&handle, &NoneKnown, &cancel)?.tree;
    let contents = DirectoryContents(&handle);
    let below = Tree::empty(Metadata { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: Xattrs::new() });
    let difference = Difference::between(&below, &tree);
    let edited = one_edit(&difference)?;

    for profile in Profile::ALL {
        let mut blob = Vec::new();
        let started = now();
        let packed = pack(&difference, &contents, profile, threads, &mut blob, &cancel)?;
        let mib = packed.uncompressed_size as f64 / f64::from(1 << 20);
        let rate = mib / started.elapsed().as_secs_f64();
        let ratio = packed.size as f64 / packed.uncompressed_size as f64;
        println!("{profile}: {mib:.0} MiB packed at {rate:.0} MiB/s with {threads} threads to {} bytes, ratio {ratio:.4}", packed.size);

        let started = now();
        let read = unpack(Box::new(Cursor::new(blob.clone())), &below, None, &Limits::GENEROUS, &cancel)?;
        println!("{profile}: read at {:.0} MiB/s", mib / started.elapsed().as_secs_f64());
        if read.difference != difference {
            return Err("what was read is not what was packed".into());
        }
        if profile != Profile::Plain {
            let (before, after) = (blocks(&difference, &contents, profile)?, blocks(&edited, &contents, profile)?);
            let kept: usize = after.iter().filter(|block| before.contains(*block)).map(Vec::len).sum();
            let all: usize = after.iter().map(Vec::len).sum();
            println!(
                "{profile}: one file fewer leaves {:.2} % of {} blocks' bytes as they were",
                100.0 * kept as f64 / all as f64,
                after.len()
            );
        }
    }
    Ok(())
}

/// The difference without the file in its middle.
fn one_edit(difference: &Difference) -> Result<Difference, Box<dyn Error>> {
    let linked: BTreeSet<_> = difference.links.groups().iter().flatten().collect();
    let files: Vec<_> = difference
        .entries
        .iter()
        .filter(|(path, change)| matches!(change, Change::Put(Entry::File(_))) && !linked.contains(path))
        .map(|(path, _)| path.clone())
        .collect();
    let mut edited = difference.clone();
    edited.entries.remove(files.get(files.len() / 2).ok_or("there is no file")?);
    Ok(edited)
}

/// The compressed blocks: with one thread the sink is given one after the other.
fn blocks(difference: &Difference, contents: &dyn Contents, profile: Profile) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    struct Blocks(Vec<Vec<u8>>);
    impl Write for Blocks {
        fn write(&mut self, block: &[u8]) -> io::Result<usize> {
            self.0.push(block.to_vec());
            Ok(block.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sink = Blocks(Vec::new());
    let _: Packed = pack(difference, contents, profile, NonZeroUsize::MIN, &mut sink, &Cancel::new())?;
    Ok(sink.0)
}

#[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
fn now() -> Instant {
    Instant::now()
}
