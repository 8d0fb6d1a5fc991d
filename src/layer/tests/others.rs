//! Other programs: what we write they read alike, and what they write we read right.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tar_core::parse::ParseEvent;

use super::sample::{everything, metadata, path};
use crate::event::Cancel;
use crate::layer::header::{Header, Kind};
use crate::layer::reader::{EndMarker, TarReader};
use crate::layer::sequence::records;
use crate::layer::{Limits, Profile, unpack};
use crate::tree::{Change, Entry, LocalDirectory, NodeKind, NoneKnown, Tree, Xattrs, checkout_tree, scan};

/// Runs a program that must succeed; what it printed.
#[expect(clippy::disallowed_methods, reason = "the programs under comparison are started here")]
pub(super) fn run(program: &str, arguments: &[&str], directory: &Path) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}: tests/run.sh installs what is needed"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn tree_on_disk(directory: &Path) -> Tree {
    scan(&LocalDirectory::open(directory).unwrap(), &NoneKnown, &Cancel::new()).unwrap().tree
}

/// The sample as a tree of its own, without what only a layer has.
fn whole() -> Tree {
    Tree::empty(metadata(0o755)).apply(&everything().difference)
}

/// Compares path by path, so that a failure names the one that differs.
fn assert_same(found: &Tree, expected: &Tree, what: &str) {
    let names = |tree: &Tree| tree.walk().map(|(path, _)| path).collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{what}");
    for ((path, one), (_, other)) in found.walk().zip(expected.walk()) {
        assert_eq!(one.entry(), other.entry(), "{what}: {path}");
    }
    assert_eq!(found.links, expected.links, "{what}");
}

#[test]
fn other_programs_extract_what_was_packed() {
    let sample = everything();
    let mut stream = Vec::new();
    crate::layer::pack_tree(&whole(), &sample.contents, &mut stream, &Cancel::new()).unwrap();
    let programs: [(&str, &[&str]); 3] = [
        ("tar", &["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"]),
        ("bsdtar", &["--numeric-owner", "-xpf"]),
        ("python3", &["-c", "import sys, tarfile; tarfile.open(sys.argv[1]).extractall('.', numeric_owner=True)"]),
    ];
    for (program, arguments) in programs {
        let scratch = tempfile::tempdir().unwrap();
        let (archive, into) = (scratch.path().join("layer.tar"), scratch.path().join("into"));
        std::fs::write(&archive, &stream).unwrap();
        std::fs::create_dir(&into).unwrap();
        run(program, &[arguments, &[archive.to_str().unwrap()]].concat(), &into);
        let mut found = tree_on_disk(&into);
        let mut expected = whole();
        match program {
            // It does not know extended attributes and leaves the times of links.
            "python3" => (found, expected) = (as_python_extracts(&found), as_python_extracts(&expected)),
            // It leaves the time of the directory that it was started in.
            "bsdtar" => Arc::make_mut(&mut found.root).metadata.mtime = expected.root.metadata.mtime,
            _ => {}
        }
        assert_same(&found, &expected, program);
    }
}

fn as_python_extracts(tree: &Tree) -> Tree {
    let entries = tree.walk().map(|(path, node)| {
        let mut entry = node.entry();
        entry.metadata_mut().xattrs = Xattrs::new();
        if entry.kind() == NodeKind::Symlink {
            entry.metadata_mut().mtime = 0;
        }
        (path, Change::Put(entry))
    });
    let entries = entries.collect();
    Tree::empty(metadata(0o755)).apply(&crate::tree::Difference { entries, links: tree.links.clone(), opaque: Default::default() })
}

#[test]
fn other_programs_see_the_same_entries() {
    let (stream, _) = everything().pack(Profile::Plain);
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("layer.tar"), &stream).unwrap();
    let ours: Vec<Vec<u8>> = records(&everything().difference).map(|record| record.tar_name().unwrap()).collect();
    let lines = |output: Vec<u8>| -> Vec<Vec<u8>> {
        output.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let gnu = lines(run("tar", &["--quoting-style=literal", "-tf", "layer.tar"], scratch.path()));
    assert_eq!(gnu, ours);
    let bsd = lines(run("bsdtar", &["-tf", "layer.tar"], scratch.path()));
    assert_eq!(bsd.len(), ours.len());
    let python = "import sys, tarfile\nfor m in tarfile.open('layer.tar'): sys.stdout.buffer.write(m.name.encode('utf-8', 'surrogateescape') + (b'/' if m.isdir() else b'') + b'\\n')";
    assert_eq!(lines(run("python3", &["-c", python], scratch.path())), ours);

    // This parser has no times before 1970.
    let mut sample = everything();
    for (_, change) in sample.difference.entries.iter_mut() {
        if let Change::Put(entry) = change {
            entry.metadata_mut().mtime = entry.metadata().mtime.max(0);
        }
    }
    let (stream, _) = sample.pack(Profile::Plain);
    let mut parser = tar_core::parse::Parser::with_defaults();
    let (mut at, mut seen) = (0, Vec::new());
    loop {
        match parser.parse(&stream[at..]).unwrap() {
            ParseEvent::Entry { consumed, entry } => {
                seen.push(entry.path.to_vec());
                at += consumed + entry.size.next_multiple_of(512) as usize;
            }
            ParseEvent::End { consumed } => {
                assert_eq!(at + consumed, stream.len());
                break;
            }
            other @ (ParseEvent::NeedData { .. } | ParseEvent::SparseEntry { .. } | ParseEvent::GlobalExtensions { .. }) => {
                panic!("{other:?}")
            }
        }
    }
    assert_eq!(seen, ours);
}

#[test]
fn what_other_programs_pack_is_read_as_it_was() {
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let mut ordinary = everything();
    // No other format than PAX holds these.
    let entries = std::mem::take(&mut ordinary.difference.entries);
    ordinary.difference.entries = entries
        .into_iter()
        .filter(|(_, change)| !matches!(change, Change::Put(entry) if entry.metadata().mtime < 0 || entry.metadata().mtime > 1 << 33))
        .collect();
    ordinary.difference.links = Default::default();
    ordinary.file("usr/bin/tool", "tool").file("usr/bin/other-name", "tool").links(&[&["usr/bin/other-name", "usr/bin/tool"]]);
    let ordinary = ordinary.clone();
    let expected = Tree::empty(metadata(0o755)).apply(&ordinary.difference);
    checkout_tree(&expected, &ordinary.contents, &LocalDirectory::open(&tree).unwrap(), &Cancel::new()).unwrap();
    assert_same(&tree_on_disk(&tree), &expected, "on disk");

    let python =
        |format: &str| format!("import tarfile\nwith tarfile.open('../out.tar', 'w', format=tarfile.{format}) as tar: tar.add('.')");
    let (python_gnu, python_pax) = (python("GNU_FORMAT"), python("PAX_FORMAT"));
    let programs: [(&str, &[&str]); 9] = [
        ("tar", &["--format=gnu", "--numeric-owner", "-cf", "../out.tar", "."]),
        ("tar", &["--format=posix", "--xattrs", "-cf", "../out.tar", "."]),
        ("tar", &["--format=oldgnu", "-cf", "../out.tar", "."]),
        ("tar", &["--format=gnu", "-czf", "../out.tar", "."]),
        ("tar", &["--format=posix", "--zstd", "-cf", "../out.tar", "."]),
        ("bsdtar", &["--format=pax", "-cf", "../out.tar", "."]),
        ("bsdtar", &["--format=gnutar", "-cf", "../out.tar", "."]),
        ("python3", &["-c", &python_gnu]),
        ("python3", &["-c", &python_pax]),
    ];
    for (program, arguments) in programs {
        run(program, arguments, &tree);
        let blob = std::fs::File::open(scratch.path().join("out.tar")).unwrap();
        let unpacked = unpack(Box::new(blob), &Tree::empty(metadata(0o700)), None, &Limits::GENEROUS, &Cancel::new())
            .unwrap_or_else(|error| panic!("{program} {arguments:?}: {}", super::reading::chain(&error)));
        let found = Tree::empty(metadata(0o700)).apply(&unpacked.difference);
        assert_same(&found, &expected, &format!("{program} {arguments:?}"));
        assert!(!unpacked.implicit_parents);
    }
}

/// Which names and owners fit is for each format to say; these are read like the others.
#[test]
fn old_formats_are_read() {
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("tree");
    std::fs::create_dir_all(tree.join("a/b")).unwrap();
    std::fs::write(tree.join("a/b/file"), "content").unwrap();
    std::os::unix::fs::symlink("b/file", tree.join("a/link")).unwrap();
    let expected = tree_on_disk(&tree);
    let programs: [(&str, &[&str]); 5] = [
        ("tar", &["--format=v7", "-cf", "../out.tar", "."]),
        ("tar", &["--format=ustar", "-cf", "../out.tar", "."]),
        ("bsdtar", &["--format=ustar", "-cf", "../out.tar", "."]),
        ("bsdtar", &["--format=v7tar", "-cf", "../out.tar", "."]),
        ("python3", &["-c", "import tarfile\nwith tarfile.open('../out.tar', 'w', format=tarfile.USTAR_FORMAT) as tar: tar.add('.')"]),
    ];
    for (program, arguments) in programs {
        run(program, arguments, &tree);
        let blob = std::fs::File::open(scratch.path().join("out.tar")).unwrap();
        let unpacked = unpack(Box::new(blob), &Tree::empty(metadata(0o700)), None, &Limits::GENEROUS, &Cancel::new())
            .unwrap_or_else(|error| panic!("{program} {arguments:?}: {}", super::reading::chain(&error)));
        assert_same(&Tree::empty(metadata(0o700)).apply(&unpacked.difference), &expected, &format!("{program} {arguments:?}"));
    }
}

#[test]
fn sparse_files_that_other_programs_pack_are_read() {
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let file = std::fs::File::create(tree.join("sparse")).unwrap();
    for at in 0..40_u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, format!("data {at}").as_bytes(), at * 100_000).unwrap();
    }
    file.set_len(5_000_000).unwrap();
    drop(file);
    let expected = tree_on_disk(&tree);
    let programs: [(&str, &[&str]); 6] = [
        ("tar", &["--format=gnu", "-S", "-cf", "../out.tar", "."]),
        ("tar", &["--format=oldgnu", "-S", "-cf", "../out.tar", "."]),
        ("tar", &["--format=posix", "--sparse-version=0.0", "-S", "-cf", "../out.tar", "."]),
        ("tar", &["--format=posix", "--sparse-version=0.1", "-S", "-cf", "../out.tar", "."]),
        ("tar", &["--format=posix", "--sparse-version=1.0", "-S", "-cf", "../out.tar", "."]),
        ("bsdtar", &["--format=pax", "--read-sparse", "-cf", "../out.tar", "."]),
    ];
    for (program, arguments) in programs {
        run(program, arguments, &tree);
        let archive = scratch.path().join("out.tar");
        assert!(std::fs::metadata(&archive).unwrap().len() < 1_000_000, "{program} {arguments:?} left the holes out");
        let blob = std::fs::File::open(&archive).unwrap();
        let unpacked = unpack(Box::new(blob), &Tree::empty(metadata(0o700)), None, &Limits::GENEROUS, &Cancel::new())
            .unwrap_or_else(|error| panic!("{program} {arguments:?}: {}", super::reading::chain(&error)));
        assert_same(&Tree::empty(metadata(0o700)).apply(&unpacked.difference), &expected, &format!("{program} {arguments:?}"));
    }
}

#[test]
fn other_programs_decompress_what_was_compressed() {
    let sample = everything();
    let (stream, _) = sample.pack(Profile::Plain);
    let scratch = tempfile::tempdir().unwrap();
    for (profile, program, arguments) in
        [(Profile::Gzip1, "gzip", "-dc"), (Profile::GzipSingle1, "gzip", "-dc"), (Profile::Zstd1, "zstd", "-dcq")]
    {
        let (blob, _) = sample.pack(profile);
        std::fs::write(scratch.path().join("blob"), &blob).unwrap();
        assert!(run(program, &[arguments, "blob"], scratch.path()) == stream, "{program}");
    }
    let python = "import gzip, sys; sys.stdout.buffer.write(gzip.open('blob').read())";
    let (blob, _) = sample.pack(Profile::Gzip1);
    std::fs::write(scratch.path().join("blob"), &blob).unwrap();
    assert!(run("python3", &["-c", python], scratch.path()) == stream);
}

#[test]
fn files_above_8_gib_have_one_size_for_every_reader() {
    const SIZE: u64 = (8 << 30) + 5;
    let none = Default::default();
    let mut head = Vec::new();
    let header = Header { name: b"large", kind: Kind::File { size: SIZE }, mode: 0o644, uid: 0, gid: 0, mtime: 0, xattrs: &none };
    header.append_to(&mut head).unwrap();
    let large = TarReader::new(head.as_slice(), EndMarker::Required, &Limits::GENEROUS).next().unwrap().unwrap();
    assert_eq!((large.size, large.name.as_slice()), (SIZE, &b"large"[..]));
    let mut archive = tar::Archive::new(head.as_slice());
    assert_eq!(archive.entries().unwrap().next().unwrap().unwrap().size(), SIZE);
    let ParseEvent::Entry { entry, .. } = tar_core::parse::Parser::with_defaults().parse(&head).unwrap() else { panic!("no entry") };
    assert_eq!(entry.size, SIZE);
}

#[test]
fn the_sample_has_what_is_compared() {
    let tree = whole();
    assert!(tree.walk().count() > 60);
    assert!(tree.links.groups().len() == 1);
    assert!(matches!(tree.get(&path("usr/bin/tool")).unwrap().entry(), Entry::File(file) if !file.metadata.xattrs.is_empty()));
}
