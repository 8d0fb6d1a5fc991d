//! What is read: our own layers as they were, others' layers as Docker reads them, and no attack.

use std::io::{Cursor, Read};

use lapstrake_cache::{Digest, Fingerprint};
use proptest::prelude::*;

use super::raw::{Block, Raw};
use super::sample::{everything, metadata, path};
use crate::event::Cancel;
use crate::layer::{Limits, Profile, UnpackError, Unpacked, pack, unpack};
use crate::tree::arbitrary::{Samples, file, pair, plain, symlink, tree_of};
use crate::tree::{
    Change, Difference, DirectoryHandle, DiskTime, Entry, ListedKind, LocalDirectory, SpecialKind, Status, Tree, TreePath, Xattrs,
    checkout_difference,
};

pub(super) fn read(stream: &[u8], below: &Tree, limits: &Limits) -> Result<Unpacked, UnpackError> {
    unpack(Box::new(Cursor::new(stream.to_vec())), below, None, limits, &Cancel::new())
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn nothing() -> Tree {
    Tree::empty(plain(0o755))
}

/// One line per entry; links and opaque directories after it.
fn list(difference: &Difference) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, change) in &difference.entries {
        let line = match change {
            Change::Whiteout => "gone".to_owned(),
            Change::Put(entry) => {
                let metadata = entry.metadata();
                let what = match entry {
                    Entry::Directory(_) => "directory".to_owned(),
                    Entry::File(file) => format!("file {}", file.content.size),
                    Entry::Symlink(symlink) => format!("-> {}", symlink.target.escape_ascii()),
                    Entry::Special(special) => match special.kind {
                        SpecialKind::Character { major, minor } => format!("character {major}:{minor}"),
                        SpecialKind::Block { major, minor } => format!("block {major}:{minor}"),
                        SpecialKind::Fifo => "fifo".to_owned(),
                    },
                };
                format!("{what} {:o} {}:{} {}", metadata.mode, metadata.uid, metadata.gid, metadata.mtime)
            }
        };
        let opaque = if difference.opaque.contains(path) { " opaque" } else { "" };
        lines.push(format!("{path} {line}{opaque}"));
    }
    for group in difference.links.groups() {
        lines.push(format!("same {}", group.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")));
    }
    lines
}

fn listed(raw: Raw, below: &Tree) -> Vec<String> {
    let unpacked = read(&raw.end(), below, &Limits::GENEROUS).unwrap_or_else(|error| panic!("{}", chain(&error)));
    list(&unpacked.difference)
}

#[test]
fn what_was_written_is_read_back() {
    let sample = everything();
    for profile in Profile::ALL {
        let (blob, packed) = sample.pack(profile);
        let unpacked = read(&blob, &nothing(), &Limits::GENEROUS).unwrap();
        assert_eq!(list(&unpacked.difference), list(&sample.difference));
        assert_eq!(unpacked.difference, sample.difference, "{profile}");
        assert_eq!(unpacked.diff_id, packed.diff_id);
        assert!(!unpacked.implicit_parents);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_difference_survives_its_layer((below, above) in pair(), number in 0..3_usize) {
        let profile = Profile::ALL[number];
        let difference = Difference::between(&below, &above);
        let mut blob = Vec::new();
        let packed = pack(&difference, &Samples, profile, std::num::NonZeroUsize::MIN, &mut blob, &Cancel::new()).unwrap();
        let unpacked = read(&blob, &below, &Limits::GENEROUS).unwrap();
        prop_assert_eq!(&unpacked.difference, &difference);
        prop_assert_eq!(unpacked.diff_id, packed.diff_id);
        prop_assert_eq!(packed.digest, Digest::of(&blob));
    }

    #[test]
    fn a_damaged_layer_never_panics(
        (below, above) in pair(),
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let difference = Difference::between(&below, &above);
        let mut stream = Vec::new();
        pack(&difference, &Samples, Profile::Plain, std::num::NonZeroUsize::MIN, &mut stream, &Cancel::new()).unwrap();
        for (at, byte) in edits {
            let at = at.index(stream.len());
            stream[at] = byte;
            // Most damage is caught by the checksum: make it right, so that what is behind it is tried too.
            let start = at / 512 * 512;
            let block: [u8; 512] = stream[start..start + 512].try_into().unwrap();
            let repaired = Raw::default().block(Block(block)).0;
            stream[start..start + 512].copy_from_slice(&repaired);
        }
        if let Ok(unpacked) = read(&stream, &below, &Limits::GENEROUS) {
            unpacked.difference.check().unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_layer_on_disk_is_the_difference((below, above) in pair()) {
        let difference = Difference::between(&below, &above);
        let mut blob = Vec::new();
        pack(&difference, &Samples, Profile::Zstd1, std::num::NonZeroUsize::MIN, &mut blob, &Cancel::new()).unwrap();
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let unpacked = LocalDirectory::open(one.path()).unwrap();
        unpack(Box::new(Cursor::new(blob)), &below, Some(&unpacked), &Limits::GENEROUS, &Cancel::new()).unwrap();
        let checked_out = LocalDirectory::open(other.path()).unwrap();
        checkout_difference(&difference, &Samples, &checked_out, &Cancel::new()).unwrap();
        if !difference.is_empty() {
            prop_assert_eq!(on_disk(&unpacked), on_disk(&checked_out));
        }
    }
}

/// Everything that an overlay over the directory would show.
fn on_disk(directory: &LocalDirectory) -> Vec<String> {
    let status = |path: &TreePath, status: Status| {
        let Status { kind, mode, uid, gid, modified, changed: _, size, device: _, inode: _, links, xattrs, opaque } = status;
        let content = match kind {
            ListedKind::File => {
                let mut bytes = Vec::new();
                directory.open(path).unwrap().read_to_end(&mut bytes).unwrap();
                Fingerprint::of(&bytes).hex()
            }
            ListedKind::Directory | ListedKind::Symlink { .. } | ListedKind::Special(_) | ListedKind::Whiteout | ListedKind::Socket => {
                String::new()
            }
        };
        // Sizes of directories, times of whiteouts and numbers of links of directories are the file system's own.
        let (size, links) = if kind == ListedKind::Directory { (0, 0) } else { (size, links) };
        let (mode, modified) = if kind == ListedKind::Whiteout { (0, DiskTime::default()) } else { (mode, modified) };
        format!("{path} {kind:?} {mode:o} {uid}:{gid} {modified:?} {size} {links} {xattrs:?} {opaque:?} {content}")
    };
    let mut lines = vec![status(&TreePath::root(), directory.root_status().unwrap())];
    let mut next = vec![TreePath::root()];
    while let Some(at) = next.pop() {
        for listed in directory.list(&at).unwrap() {
            let path = at.join(&listed.name);
            if listed.status.kind == ListedKind::Directory {
                next.push(path.clone());
            }
            lines.push(status(&path, listed.status));
        }
    }
    lines.sort();
    lines
}

#[test]
fn others_layers_are_read_as_docker_reads_them() {
    let below = tree_of(&[("lib", symlink("usr/lib")), ("usr/lib/a", file(b"a")), ("var/cache/x", file(b"x")), ("etc/keep", file(b""))]);
    let root = "/ directory 755 0:0 7";
    let cases: Vec<(&str, Raw, Vec<&str>)> = vec![
        (
            "names with ./ and /",
            Raw::default().file("./a", b"1").file("//b", b"22"),
            vec![root, "/a file 1 644 0:0 7", "/b file 2 644 0:0 7"],
        ),
        ("the later entry counts", Raw::default().file("a", b"1").file("./a", b"22"), vec![root, "/a file 2 644 0:0 7"]),
        (
            "a file replaces a directory and all in it",
            Raw::default().directory("a/").file("a/b", b"").file("a", b"1"),
            vec![root, "/a file 1 644 0:0 7"],
        ),
        (
            "a directory said twice keeps what is in it",
            Raw::default().directory("a/").file("a/b", b"").block(Block::new(b'5', "a").mode(0o700)),
            vec![root, "/a directory 700 0:0 7", "/a/b file 0 644 0:0 7"],
        ),
        (
            "missing parents are as below, else 0755",
            Raw::default().file("etc/new/file", b""),
            vec![root, "/etc directory 755 0:0 7", "/etc/new directory 755 0:0 0", "/etc/new/file file 0 644 0:0 7"],
        ),
        (
            "a link below is replaced where a layer needs a directory",
            Raw::default().file("lib/b", b""),
            vec![root, "/lib directory 755 0:0 0", "/lib/b file 0 644 0:0 7"],
        ),
        (
            "a link of the layer itself is followed inside the root",
            Raw::default().symlink("out", "../../usr/lib").file("out/b", b"").symlink("abs", "/out").file("abs/c", b""),
            vec![
                root,
                "/abs -> /out 777 0:0 7",
                "/out -> ../../usr/lib 777 0:0 7",
                "/usr directory 755 0:0 7",
                "/usr/lib directory 755 0:0 7",
                "/usr/lib/b file 0 644 0:0 7",
                "/usr/lib/c file 0 644 0:0 7",
            ],
        ),
        (
            "whiteouts and opaque directories",
            Raw::default().directory("var/").directory("var/cache/").file("var/cache/.wh..wh..opq", b"").file("etc/.wh.keep", b""),
            vec![root, "/etc directory 755 0:0 7", "/etc/keep gone", "/var directory 755 0:0 7", "/var/cache directory 755 0:0 7 opaque"],
        ),
        (
            "a whiteout is about lower layers only, wherever it stands",
            Raw::default().directory("var/").file("var/y", b"").file(".wh.var", b""),
            vec![root, "/var directory 755 0:0 7 opaque", "/var/y file 0 644 0:0 7"],
        ),
        (
            "what a hidden directory was is forgotten",
            Raw::default().file(".wh.var", b"").file("var/cache/z", b""),
            vec![root, "/var directory 755 0:0 0 opaque", "/var/cache directory 755 0:0 0", "/var/cache/z file 0 644 0:0 7"],
        ),
        (
            "an opaque root hides each name",
            Raw::default().file("etc/b", b"").file(".wh..wh..opq", b""),
            vec![root, "/etc directory 755 0:0 0 opaque", "/etc/b file 0 644 0:0 7", "/lib gone", "/usr gone", "/var gone"],
        ),
        (
            "hard links, also to links and devices",
            Raw::default()
                .file("a", b"1")
                .link("b", "/a")
                .link("d/c", "./b")
                .symlink("s", "a")
                .link("t", "s")
                .device("n", 1, 3)
                .link("m", "n"),
            vec![
                root,
                "/a file 1 644 0:0 7",
                "/b file 1 644 0:0 7",
                "/d directory 755 0:0 0",
                "/d/c file 1 644 0:0 7",
                "/m character 1:3 644 0:0 7",
                "/n character 1:3 644 0:0 7",
                "/s -> a 777 0:0 7",
                "/t -> a 777 0:0 7",
                "same /a /b /d/c",
                "same /m /n",
                "same /s /t",
            ],
        ),
        (
            "what a link says of owner and mode is said of the file",
            Raw::default().file("a", b"1").block(Block::new(b'1', "b").target("a").mode(0o600)),
            vec![root, "/a file 1 600 0:0 7", "/b file 1 600 0:0 7", "same /a /b"],
        ),
        (
            "a name that is replaced leaves its group",
            Raw::default().file("a", b"1").link("b", "a").link("c", "a").file("a", b"22"),
            vec![root, "/a file 2 644 0:0 7", "/b file 1 644 0:0 7", "/c file 1 644 0:0 7", "same /b /c"],
        ),
        (
            "aufs' own files are skipped",
            Raw::default().directory(".wh..wh.plnk").file(".wh..wh.plnk/1.2", b"").file(".wh..wh.aufs", b""),
            vec![],
        ),
        ("a root entry", Raw::default().block(Block::new(b'5', "./").mode(0o700)), vec!["/ directory 700 0:0 7"]),
        (
            "GNU long names",
            Raw::default()
                .block(Block::new(b'L', "././@LongLink").gnu().size(121))
                .bytes(&[&[b'n'; 120][..], b"\0"].concat())
                .block(Block::new(b'0', [b'n'; 100]).gnu()),
            vec![
                root,
                "/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn file 0 644 0:0 7",
            ],
        ),
        (
            "PAX before a GNU long name, as one writer orders them",
            Raw::default()
                .pax(&[("SCHILY.xattr.user.a", b"1"), ("mtime", b"9.75")])
                .block(Block::new(b'L', "././@LongLink").gnu().size(6))
                .bytes(b"other\0")
                .file("short", b"1"),
            vec![root, "/other file 1 644 0:0 9"],
        ),
        (
            "the header's file type bits and a V7 directory",
            Raw::default().block(Block::new(b'0', "a").set(100, b"0100600\0")).block(Block::new(0, "d/").v7()),
            vec![root, "/a file 0 600 0:0 7", "/d directory 644 0:0 7"],
        ),
        (
            "base-256 and negative numbers",
            Raw::default().block(
                Block::new(b'0', "a")
                    .set(108, b"\x80\0\0\0\x77\x35\x94\0")
                    .set(136, &[0xff, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0xfe]),
            ),
            vec![root, "/a file 0 644 2000000000:0 -2"],
        ),
        ("a comment for all", Raw::default().extension(b'g', b"16 comment=abcd\n").file("a", b""), vec![root, "/a file 0 644 0:0 7"]),
    ];
    for (rule, raw, expected) in cases {
        assert_eq!(listed(raw, &below), expected, "{rule}");
    }
}

#[test]
fn attributes_that_belong_to_the_host_are_dropped() {
    let capability = [&[1, 0, 0, 3][..], &[0x0a; 16], &[0, 0, 1, 0]].concat();
    let raw = Raw::default()
        .pax(&[
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.security.selinux", b"label"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.kept", b"\n\0="),
            ("SCHILY.acl.access", b"user::rw-"),
        ])
        .file("a", b"");
    let unpacked = read(&raw.end(), &nothing(), &Limits::GENEROUS).unwrap();
    let Some(Change::Put(entry)) = unpacked.difference.entries.get(&path("a")) else { panic!("no entry") };
    let expected = Xattrs::from([
        (b"security.capability".to_vec(), [&[1, 0, 0, 2][..], &[0x0a; 16]].concat()),
        (b"user.kept".to_vec(), b"\n\0=".to_vec()),
    ]);
    assert_eq!(entry.metadata().xattrs, expected);
    assert!(unpacked.difference.opaque.is_empty());
}

#[test]
fn parents_that_are_left_out_are_told() {
    let told = |raw: Raw| read(&raw.end(), &nothing(), &Limits::GENEROUS).unwrap().implicit_parents;
    assert!(told(Raw::default().file("a", b"")), "the root is left out");
    assert!(told(Raw::default().directory("./").file("a/b", b"")));
    assert!(!told(Raw::default().directory("./").directory("a").file("a/b", b"")));
    let empty = read(&Raw::default().end(), &nothing(), &Limits::GENEROUS).unwrap();
    assert!(empty.difference.is_empty());
}

#[test]
fn streams_without_an_end_marker_are_read_and_cut_ones_are_not() {
    let stream = Raw::default().file("a", b"content").0;
    assert!(read(&stream, &nothing(), &Limits::GENEROUS).is_ok(), "Docker does not look for the marker, and the digest tells the rest");
    let one_block = [stream.clone(), vec![0; 512]].concat();
    assert!(read(&one_block, &nothing(), &Limits::GENEROUS).is_ok());
    let padded = [stream.clone(), vec![0; 10_240]].concat();
    let unpacked = read(&padded, &nothing(), &Limits::GENEROUS).unwrap();
    assert_eq!(unpacked.diff_id, Digest::of(&padded), "padding is part of the stream");
    for length in [1, 511, 513, 1023] {
        let error = read(&stream[..length], &nothing(), &Limits::GENEROUS).unwrap_err();
        assert_eq!(chain(&error), "the archive is refused at byte 0 of its tar stream: the stream ends in the middle of an entry");
    }
}

#[test]
fn damaged_compression_is_an_error() {
    let sample = everything();
    for profile in [Profile::Gzip1, Profile::Zstd1] {
        let (blob, _) = sample.pack(profile);
        let mut flipped = blob.clone();
        flipped[blob.len() / 2] ^= 0x40;
        let garbage = [&blob[..], b"garbage that is no member"].concat();
        for (what, bytes) in [("cut", &blob[..blob.len() - 9]), ("flipped", &flipped[..]), ("garbage after it", &garbage[..])] {
            let result = read(bytes, &nothing(), &Limits::GENEROUS);
            assert!(result.is_err() || result.is_ok_and(|unpacked| unpacked.difference != sample.difference), "{profile}, {what}");
        }
    }
    let mut xz = vec![0xfd, b'7', b'z', b'X', b'Z', 0];
    xz.extend([0; 40]);
    assert!(matches!(read(&xz, &nothing(), &Limits::GENEROUS), Err(UnpackError::Encoding)));
    assert!(matches!(read(b"BZh91AY&SY", &nothing(), &Limits::GENEROUS), Err(UnpackError::Encoding)));
}

#[test]
fn limits_hold_before_memory_or_disk_is_spent() {
    let small = Limits {
        expanded_bytes: 100_000,
        ratio: 10,
        ratio_free_bytes: 20_000,
        entries: 3,
        metadata_bytes: 2000,
        total_metadata_bytes: 4000,
        path_bytes: 50,
        path_names: 4,
    };
    let text = |raw: Vec<u8>| chain(&read(&raw, &nothing(), &small).unwrap_err());
    let gzip = |bytes: &[u8]| {
        let mut blob = Vec::new();
        flate2::read::GzEncoder::new(bytes, flate2::Compression::new(6)).read_to_end(&mut blob).unwrap();
        blob
    };
    assert_eq!(text(Raw::default().file("a", &[7; 100_001]).end()), "the archive holds more than 100000 bytes, the limit");
    assert_eq!(
        text(gzip(&Raw::default().file("a", &[7; 90_000]).end())),
        "the archive grows to more than 10 times its size, the limit, when it is decompressed"
    );
    let many = (0..4).fold(Raw::default(), |raw, number| raw.file(number.to_string(), b""));
    assert_eq!(text(many.end()), "the archive holds more than 3 entries, the limit");
    assert_eq!(
        text(Raw::default().pax(&[("SCHILY.xattr.user.a", &[7; 3000])]).file("a", b"").end()),
        "the archive is refused at byte 0 of its tar stream: an entry is described by more than 2000 bytes, the limit"
    );
    assert!(text(Raw::default().file("a/b/c/d/e", b"").end()).ends_with("it is longer or deeper than allowed"));
    assert!(text(Raw::default().file(vec![b'a'; 51], b"").end()).ends_with("it is longer or deeper than allowed"));
    let through_links = Raw::default().symlink("l", "a/b/c/d").file("l/e", b"");
    let error = read(&through_links.end(), &nothing(), &Limits { entries: 100, ..small.clone() }).unwrap_err();
    assert!(chain(&error).ends_with("it is longer or deeper than allowed"));
    let attributes =
        (0..3).fold(Raw::default(), |raw, number| raw.pax(&[("SCHILY.xattr.user.a", &[7; 1400])]).file(number.to_string(), b""));
    assert_eq!(text(attributes.end()), "the archive's names and attributes have more than 4000 bytes, the limit");
    assert_eq!(text(Raw::default().file("a/b/c", b"").file("d/e/f", b"").end()), "the archive holds more than 3 entries, the limit");
    // A file that is nearly all hole grows without a byte of input.
    let hole = Raw::default()
        .block(Block::new(b'S', "hole").gnu().set(386, b"00000000000\0").set(398, b"00000000000\0").set(483, b"77777777777\0"));
    assert_eq!(text(hole.end()), "the archive holds more than 100000 bytes, the limit");
}

#[test]
fn a_wish_to_stop_ends_the_reading() {
    let cancel = Cancel::new();
    cancel.cancel();
    let (blob, _) = everything().pack(Profile::Gzip1);
    let result = unpack(Box::new(Cursor::new(blob)), &nothing(), None, &Limits::GENEROUS, &cancel);
    assert_eq!(result.unwrap_err().to_string(), "reading the archive was cancelled");
}

/// Sparse files in each format that is in use, with `start` bytes, a hole and `end` bytes.
#[test]
fn sparse_files_are_read_with_their_holes_filled() {
    let expected = [&b"start"[..], &[0; 995], b"end"].concat();
    let old_gnu = Raw::default()
        .block(
            Block::new(b'S', "sparse")
                .gnu()
                .size(8)
                .set(386, b"00000000000\x0000000000005\0")
                .set(410, b"00000001750\x0000000000003\0")
                .set(483, b"00000001753\0"),
        )
        .bytes(b"startend");
    let version_0_0: &[(&str, &[u8])] = &[
        ("GNU.sparse.size", b"1003"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"0"),
        ("GNU.sparse.numbytes", b"5"),
        ("GNU.sparse.offset", b"1000"),
        ("GNU.sparse.numbytes", b"3"),
    ];
    let version_0_1: &[(&str, &[u8])] =
        &[("GNU.sparse.size", b"1003"), ("GNU.sparse.numblocks", b"2"), ("GNU.sparse.map", b"0,5,1000,3"), ("GNU.sparse.name", b"sparse")];
    let version_1_0: &[(&str, &[u8])] =
        &[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.name", b"sparse"), ("GNU.sparse.realsize", b"1003")];
    let cases = [
        ("old GNU", old_gnu),
        ("0.0", Raw::default().pax(version_0_0).file("sparse", b"startend")),
        ("0.1", Raw::default().pax(version_0_1).file("GNUSparseFile.1/sparse", b"startend")),
        (
            "1.0",
            Raw::default().pax(version_1_0).file("GNUSparseFile.1/sparse", &[&b"2\n0\n5\n1000\n3\n"[..], &[0; 499], b"startend"].concat()),
        ),
    ];
    for (format, raw) in cases {
        let unpacked = read(&raw.file("after", b"").end(), &nothing(), &Limits::GENEROUS)
            .unwrap_or_else(|error| panic!("{format}: {}", chain(&error)));
        let Some(Change::Put(Entry::File(file))) = unpacked.difference.entries.get(&path("sparse")) else { panic!("{format}: no file") };
        assert_eq!(file.content.size, 1003, "{format}");
        assert_eq!(file.content.fingerprint, Fingerprint::of(&expected), "{format}");
        assert!(unpacked.difference.entries.contains_key(&path("after")), "{format}");
    }
}

#[test]
fn nothing_outside_the_directory_is_touched() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("canary"), "alive").unwrap();
    std::fs::create_dir(outside.path().join("root")).unwrap();
    let escape = outside.path().to_str().unwrap().to_owned();
    for raw in [
        Raw::default().symlink("link", &escape).file("link/canary", b"dead"),
        Raw::default().symlink("link", "..").file("link/canary", b"dead"),
        Raw::default().symlink("canary", "../canary").file("canary", b"dead"),
        Raw::default().symlink("link", &escape).block(Block::new(b'5', "link").mode(0o700)),
        Raw::default().symlink("link", &escape).file("link/.wh.canary", b""),
        Raw::default().symlink("link", "../canary").link("hard", "link").file("hard", b"dead"),
        Raw::default().symlink("link", "..").link("hard", "link/canary").block(Block::new(b'0', "hard").mode(0o777)),
        Raw::default().file("../canary", b"dead"),
        Raw::default().file("/../canary", b"dead"),
    ] {
        let root = outside.path().join("root");
        std::fs::remove_dir_all(&root).unwrap();
        std::fs::create_dir(&root).unwrap();
        let directory = LocalDirectory::open(&root).unwrap();
        let before = directory_state(outside.path());
        let _ = unpack(Box::new(Cursor::new(raw.end())), &nothing(), Some(&directory), &Limits::GENEROUS, &Cancel::new());
        assert_eq!(directory_state(outside.path()), before);
    }
}

fn directory_state(path: &std::path::Path) -> (u16, Vec<u8>, usize) {
    let root = LocalDirectory::open(path).unwrap();
    let listed = root.list(&TreePath::root()).unwrap();
    (root.root_status().unwrap().mode, std::fs::read(path.join("canary")).unwrap(), listed.len())
}

#[test]
fn a_tree_is_packed_whole() {
    let tree = nothing().apply(&everything().difference);
    let mut stream = Vec::new();
    crate::layer::pack_tree(&tree, &everything().contents, &mut stream, &Cancel::new()).unwrap();
    let unpacked = read(&stream, &Tree::empty(metadata(0o700)), &Limits::GENEROUS).unwrap();
    assert_eq!(Tree::empty(metadata(0o700)).apply(&unpacked.difference), tree);
}
