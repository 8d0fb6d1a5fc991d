//! What is written: the same bytes always, blocks that edits leave alone, and nothing that others read differently.

use std::collections::BTreeSet;
use std::io::Read;

use lapstrake_cache::{Digest, Fingerprint};

use super::sample::{Sample, everything, metadata, path, text};
use crate::event::Cancel;
use crate::layer::{PackError, Profile, Untarrable, pack};
use crate::tree::{Change, Content, Entry, File};

fn decompressed(profile: Profile, blob: &[u8]) -> Vec<u8> {
    match profile {
        Profile::Gzip1 | Profile::GzipSingle1 => {
            let mut stream = Vec::new();
            flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut stream).unwrap();
            stream
        }
        Profile::Zstd1 => zstd::decode_all(blob).unwrap(),
        Profile::Plain => blob.to_vec(),
    }
}

/// The compressed blocks, found by decompressing one after the other.
fn blocks(profile: Profile, mut blob: &[u8]) -> Vec<Vec<u8>> {
    let mut blocks = Vec::new();
    while !blob.is_empty() {
        let mut rest = blob;
        match profile {
            Profile::Gzip1 | Profile::GzipSingle1 => {
                std::io::copy(&mut flate2::bufread::GzDecoder::new(&mut rest), &mut std::io::sink()).unwrap();
            }
            Profile::Zstd1 => rest = &rest[zstd::zstd_safe::find_frame_compressed_size(rest).unwrap()..],
            Profile::Plain => rest = &[],
        }
        blocks.push(blob[..blob.len() - rest.len()].to_vec());
        blob = rest;
    }
    blocks
}

#[test]
fn every_profile_holds_the_same_stream_and_tells_its_digests() {
    let sample = everything();
    let (stream, plain) = sample.pack(Profile::Plain);
    assert_eq!(plain.diff_id, plain.digest);
    for profile in Profile::ALL {
        let (blob, packed) = sample.pack(profile);
        assert_eq!(decompressed(profile, &blob), stream, "{profile}");
        assert_eq!(packed.diff_id, Digest::of(&stream));
        assert_eq!(packed.digest, Digest::of(&blob));
        assert_eq!((packed.size, packed.uncompressed_size), (blob.len() as u64, stream.len() as u64));
    }
}

#[test]
fn bytes_do_not_depend_on_the_number_of_threads() {
    let sample = everything();
    for profile in Profile::ALL {
        let (one, _) = sample.try_pack(profile, 1).unwrap();
        for threads in [2, 3, 8] {
            assert!(sample.try_pack(profile, threads).unwrap().0 == one, "{profile} with {threads} threads");
        }
    }
}

fn many_files() -> Sample {
    let mut sample = Sample::default();
    for number in 0..400_u64 {
        sample.file(format!("usr/lib/{}/{number}", number / 40), text(number, 500 + (number as usize * 7919) % 60_000));
    }
    sample.file("usr/lib/large", text(7, 5 << 20));
    sample
}

#[test]
fn one_edit_leaves_every_other_block_as_it_was() {
    let before = many_files();
    let mut grown = before.clone();
    grown.file("usr/lib/7/300", text(300_000, 30_000));
    let mut renamed = before.clone();
    let content = before.contents.clone();
    let entries = std::mem::take(&mut renamed.difference.entries);
    renamed.difference.entries = entries.into_iter().filter(|(at, _)| *at != path("usr/lib/9/399")).collect();
    renamed.file("usr/lib/9/399-renamed", text(399, 100));
    renamed.contents.0.extend(content.0);
    let mut appended_inside = before.clone();
    appended_inside.file("usr/lib/large", [&text(7, 5 << 20)[..], b"!"].concat());

    for profile in [Profile::Gzip1, Profile::Zstd1] {
        let old: BTreeSet<Vec<u8>> = blocks(profile, &before.pack(profile).0).into_iter().collect();
        assert!(old.len() > 5, "{profile}: {} blocks", old.len());
        for (edit, sample) in [("grown", &grown), ("renamed", &renamed), ("appended inside", &appended_inside)] {
            let new = blocks(profile, &sample.pack(profile).0);
            let changed = new.iter().filter(|block| !old.contains(*block)).count();
            // A changed size can move the cut that was forced after the entry, up to the next cut that a name demands.
            assert!((1..=3).contains(&changed), "{profile}, {edit}: {changed} of {} blocks changed", new.len());
        }
    }
}

#[test]
fn a_file_that_changed_is_an_error_that_names_it() {
    for (stated, real) in
        [("same length", "other bytes"), ("longer than it is", "short"), ("short", "longer than stated"), ("", "not empty")]
    {
        let mut sample = Sample::default();
        let content = Content { fingerprint: Fingerprint::of(stated.as_bytes()), size: stated.len() as u64 };
        sample.put("srv/file", Entry::File(File { metadata: metadata(0o644).into(), content }));
        sample.contents.0.insert(content.fingerprint, real.as_bytes().to_vec());
        let result = sample.try_pack(Profile::Gzip1, 2);
        if stated.is_empty() {
            assert!(result.is_ok(), "an empty file has no bytes to read");
        } else {
            let error = result.unwrap_err();
            assert_eq!(error.to_string(), "`/srv/file` was changed while it was being packed; try again when nothing writes to it");
        }
    }
}

#[test]
fn contents_that_are_missing_and_entries_that_tar_cannot_hold_are_errors() {
    let mut missing = Sample::default();
    missing.file("a/b", "bytes").contents.0.clear();
    assert_eq!(missing.try_pack(Profile::Zstd1, 1).unwrap_err().to_string(), "cannot read the content of `/a/b`");

    for name in ["a/.wh.b", ".wh..wh..opq"] {
        let mut reserved = Sample::default();
        reserved.file(name, "");
        let Err(PackError::Untarrable { source: Untarrable::ReservedName, .. }) = reserved.try_pack(Profile::Plain, 1) else {
            panic!("{name} was packed");
        };
    }
    let mut opaque = Sample::default();
    opaque.file("a/b", "");
    opaque.difference.opaque.insert(path("a"));
    assert!(matches!(opaque.try_pack(Profile::Plain, 1), Err(PackError::Untarrable { source: Untarrable::Opaque, .. })));
}

#[test]
fn a_failing_sink_and_a_wish_to_stop_end_the_packing() {
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let sample = everything();
    for profile in Profile::ALL {
        let threads = std::num::NonZeroUsize::new(3).unwrap();
        let full = pack(&sample.difference, &sample.contents, profile, threads, &mut Full(100_000), &Cancel::new());
        assert!(matches!(full, Err(PackError::Sink(source)) if source.kind() == std::io::ErrorKind::StorageFull));
        let cancel = Cancel::new();
        cancel.cancel();
        let cancelled = pack(&sample.difference, &sample.contents, profile, threads, &mut std::io::sink(), &cancel);
        assert!(matches!(cancelled, Err(PackError::Cancelled)));
    }
}

#[test]
fn whiteouts_and_links_are_written_as_readers_expect() {
    let (stream, _) = everything().pack(Profile::Plain);
    let mut archive = tar::Archive::new(stream.as_slice());
    let mut seen = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        seen.push((entry.path_bytes().into_owned(), entry.header().entry_type(), entry.link_name_bytes().map(|link| link.into_owned())));
    }
    assert_eq!(seen[0].0, b"./");
    assert!(seen.contains(&(b"var/.wh.gone".to_vec(), tar::EntryType::Regular, None)));
    assert!(seen.contains(&(b"usr/bin/tool".to_vec(), tar::EntryType::Link, Some(b"usr/bin/other-name".to_vec()))));
    assert_eq!(stream.len() % 512, 0);
    assert!(stream.ends_with(&[0; 1024]));
    assert!(stream[..stream.len() - 1024].iter().rev().take(512).any(|&byte| byte != 0), "nothing but the end marker pads the stream");
}

#[test]
fn a_change_that_only_removes_is_written_with_its_ancestors() {
    let mut sample = Sample::default();
    sample.change(path("opt/app/cache"), Change::Whiteout);
    let (stream, _) = sample.pack(Profile::Plain);
    let names: Vec<Vec<u8>> =
        tar::Archive::new(stream.as_slice()).entries().unwrap().map(|entry| entry.unwrap().path_bytes().into_owned()).collect();
    assert_eq!(names, [&b"./"[..], b"opt/", b"opt/app/", b"opt/app/.wh.cache"]);
}
