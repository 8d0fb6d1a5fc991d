//! Streams that must be refused, each with what is said about it. The classes are those of attacks that tools of this field suffered.

use super::raw::{Block, Raw, pax_records};
use super::reading::{chain, read};
use crate::layer::Limits;
use crate::tree::Tree;
use crate::tree::arbitrary::plain;

/// A rule, a stream that breaks it, and the message.
type Case = (&'static str, Vec<u8>, &'static str);

fn check(cases: Vec<Case>) {
    for (rule, stream, expected) in cases {
        match read(&stream, &Tree::empty(plain(0o755)), &Limits::GENEROUS) {
            Ok(unpacked) => panic!("{rule}: was read as {:?}", unpacked.difference),
            Err(error) => assert_eq!(chain(&error), expected, "{rule}"),
        }
    }
}

#[test]
fn names_that_leave_the_root_are_refused() {
    check(vec![
        ("dots first", Raw::default().file("../a", b"").end(), "the layer is refused: entry `../a`: it climbs out with `..`"),
        ("dots within", Raw::default().file("a/../../b", b"").end(), "the layer is refused: entry `a/../../b`: it climbs out with `..`"),
        ("dots last", Raw::default().directory("a/..").end(), "the layer is refused: entry `a/..`: it climbs out with `..`"),
        ("dots after a slash", Raw::default().file("/../a", b"").end(), "the layer is refused: entry `/../a`: it climbs out with `..`"),
        (
            "dots in a long name",
            Raw::default().pax(&[("path", b"../a")]).file("a", b"").end(),
            "the layer is refused: entry `../a`: it climbs out with `..`",
        ),
        ("the root is a link", Raw::default().symlink("./", "/etc").end(), "the layer is refused: entry `/`: the root must be a directory"),
        ("the root is a file", Raw::default().file(".", b"x").end(), "the layer is refused: entry `/`: the root must be a directory"),
        (
            "a file as parent",
            Raw::default().file("a", b"").file("a/b", b"").end(),
            "the layer is refused: entry `/a`: `/a` is no directory",
        ),
        (
            "links that go round",
            Raw::default().symlink("a", "b").symlink("b", "a").file("a/c", b"").end(),
            "the layer is refused: entry `/a`: there are too many symbolic links on the way",
        ),
    ]);
}

#[test]
fn hard_links_lead_to_entries_of_the_layer_only() {
    let text =
        |target: &str| format!("the layer is refused: entry `/b`: the target of the hard link, `{target}`, is not in this layer before it");
    let missing: Vec<(&str, Vec<u8>, String)> = vec![
        ("outside", Raw::default().link("b", "/etc/passwd").end(), text("/etc/passwd")),
        ("itself", Raw::default().link("b", "b").end(), text("/b")),
        ("a later entry", Raw::default().link("b", "c").file("c", b"").end(), text("/c")),
        ("its own directory, which it replaces", Raw::default().file("b/c", b"").link("b", "b/c").end(), text("/b/c")),
        ("through a link that leaves", Raw::default().symlink("l", "/").link("b", "l/etc/passwd").end(), text("/l/etc/passwd")),
    ];
    for (rule, stream, expected) in missing {
        let error = read(&stream, &Tree::empty(plain(0o755)), &Limits::GENEROUS).unwrap_err();
        assert_eq!(chain(&error), expected, "{rule}");
    }
    check(vec![
        (
            "climbing",
            Raw::default().link("b", "../../etc/passwd").end(),
            "the layer is refused: entry `/b`: the target of the hard link, `../../etc/passwd`, is no path inside the layer",
        ),
        (
            "a directory",
            Raw::default().directory("a").link("b", "a").end(),
            "the layer is refused: entry `/b`: the target of the hard link, `/a`, is a directory",
        ),
        (
            "the root",
            Raw::default().link("b", "/").end(),
            "the layer is refused: entry `/b`: the target of the hard link, `/`, is a directory",
        ),
        (
            "no target",
            Raw::default().block(Block::new(b'1', "b")).end(),
            "the archive is refused at byte 0 of its tar stream: a link has no target, or one that is too long",
        ),
    ]);
}

#[test]
fn whiteouts_remove_names_only() {
    check(vec![
        (
            "nothing",
            Raw::default().file("a/.wh.", b"").end(),
            "the layer is refused: entry `a/.wh.`: it is a whiteout of nothing that can be removed",
        ),
        (
            "itself",
            Raw::default().file(".wh..", b"").end(),
            "the layer is refused: entry `.wh..`: it is a whiteout of nothing that can be removed",
        ),
        (
            "its parent",
            Raw::default().file(".wh...", b"").end(),
            "the layer is refused: entry `.wh...`: it is a whiteout of nothing that can be removed",
        ),
        (
            "a whiteout",
            Raw::default().file("a/.wh..wh.b", b"").end(),
            "the layer is refused: entry `a/.wh..wh.b`: it is a whiteout of nothing that can be removed",
        ),
        (
            "by a path",
            Raw::default().file(".wh.a/b", b"").end(),
            "the layer is refused: entry `.wh.a/b`: it lies in a directory named like a whiteout",
        ),
        (
            "by a climbing path",
            Raw::default().file(".wh./../b", b"").end(),
            "the layer is refused: entry `.wh./../b`: it climbs out with `..`",
        ),
        ("by a directory", Raw::default().directory(".wh.a").end(), "the layer is refused: entry `/a`: a whiteout must be a regular file"),
        (
            "by a link",
            Raw::default().symlink("b/.wh..wh..opq", "/").end(),
            "the layer is refused: entry `/b`: a whiteout must be a regular file",
        ),
        (
            "by an overlay's device",
            Raw::default().device("a", 0, 0).end(),
            "the layer is refused: entry `/a`: character device 0:0 marks removed entries in overlays",
        ),
    ]);
}

/// What one reader takes for content another takes for headers.
#[test]
fn sizes_that_readers_could_disagree_on_are_refused() {
    let smuggled = Raw::default().file("smuggled", b"").0;
    let at = |problem: &'static str| -> &'static str {
        Box::leak(format!("the archive is refused at byte 0 of its tar stream: {problem}").into_boxed_str())
    };
    check(vec![
        (
            "PAX says more than the header",
            Raw::default().pax(&[("size", b"512")]).block(Block::new(b'0', "a")).bytes(&smuggled).end(),
            at("the header says that an entry has 0 bytes and the extended header 512"),
        ),
        (
            "PAX says less than the header",
            Raw::default().pax(&[("size", b"0")]).file("a", &smuggled).end(),
            at("the header says that an entry has 512 bytes and the extended header 0"),
        ),
        (
            "a size before a long name",
            Raw::default().pax(&[("size", b"512")]).extension(b'L', b"name\0").file("a", &smuggled).end(),
            at("the header says that an entry has 5 bytes and the extended header 512"),
        ),
        (
            "a link with content",
            Raw::default().block(Block::new(b'1', "a").target("b").size(512)).bytes(&smuggled).end(),
            at("an entry that is no file has 512 bytes of content"),
        ),
        (
            "a directory with content",
            Raw::default().block(Block::new(b'5', "a").size(512)).bytes(&smuggled).end(),
            at("an entry that is no file has 512 bytes of content"),
        ),
        (
            "a link that PAX gives content",
            Raw::default().pax(&[("size", b"8589934592")]).symlink("a", "b").end(),
            at("an entry that is no file has 8589934592 bytes of content"),
        ),
        (
            "a negative size",
            Raw::default().block(Block::new(b'0', "a").set(124, &[0xff; 12])).end(),
            at("the field `size` holds no number in range"),
        ),
        (
            "a size of two numbers",
            Raw::default().block(Block::new(b'0', "a").set(124, b"0001 0000010")).end(),
            at("the field `size` holds no number in range"),
        ),
        (
            "two sizes",
            Raw::default().extension(b'x', pax_records(&[("size", b"0"), ("size", b"512")])).file("a", b"").end(),
            at("an extended header says `size` twice"),
        ),
        (
            "two PAX headers",
            Raw::default().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file("c", b"").end(),
            at("two extended headers of one kind stand before one entry"),
        ),
        (
            "two long names",
            Raw::default().extension(b'L', b"a\0").extension(b'L', b"b\0").file("c", b"").end(),
            at("two extended headers of one kind stand before one entry"),
        ),
        (
            "PAX and GNU names",
            Raw::default().pax(&[("path", b"a")]).extension(b'L', b"b\0").file("c", b"").end(),
            at("an entry has two different long names"),
        ),
        ("a long name that ends twice", Raw::default().extension(b'L', b"a\0b").file("c", b"").end(), at("a name has a NUL byte in it")),
        (
            "a name with NUL in PAX",
            Raw::default().pax(&[("path", b"a\0b")]).file("c", b"").end(),
            at("an extended header has a bad value for `path`"),
        ),
        (
            "a global size",
            Raw::default().extension(b'g', pax_records(&[("size", b"512")])).file("a", b"").end(),
            at("a global extended header sets `size`, which some readers apply and others ignore"),
        ),
        (
            "a global name",
            Raw::default().extension(b'g', pax_records(&[("path", b"b")])).file("a", b"").end(),
            at("a global extended header sets `path`, which some readers apply and others ignore"),
        ),
        (
            "an extension in V7",
            Raw::default().block(Block::new(b'x', "a").v7().size(9)).bytes(b"9 path=b\n").file("c", b"").end(),
            at("an extended header has no magic"),
        ),
        ("an extension about nothing", Raw::default().pax(&[("path", b"a")]).end(), at("an extended header has no entry after it")),
        ("an extension at the end", Raw::default().pax(&[("path", b"a")]).0, at("an extended header has no entry after it")),
        (
            "records that overlap",
            Raw::default().extension(b'x', b"30 path=a\n10 path=bb\n").file("c", b"").end(),
            at("an extended header has a record that is none"),
        ),
        ("a file that is a directory to some", Raw::default().file("a/", b"x").end(), at("a file's name ends in a slash")),
        ("no name", Raw::default().file("", b"").end(), at("an entry has no name")),
        ("an unknown type", Raw::default().block(Block::new(b'Z', "a")).end(), at("an entry has type `Z`, which is not supported")),
        ("a volume label", Raw::default().block(Block::new(b'V', "a")).end(), at("an entry has type `V`, which is not supported")),
        (
            "nobody's number",
            Raw::default().pax(&[("uid", b"4294967295")]).file("a", b"").end(),
            at("the field `uid` holds no number in range"),
        ),
        ("a wrong checksum", [&[b'a'; 512][..], &[0; 1024]].concat(), at("the field `checksum` holds no number in range")),
        (
            "a checksum that is off by one",
            {
                let mut raw = Raw::default().file("a", b"").end();
                raw[0] = b'b';
                raw
            },
            at("a header's checksum is wrong: this is no tar, or it is damaged"),
        ),
    ]);
}

#[test]
fn what_follows_an_end_is_refused() {
    let entry = Raw::default().file("a", b"").0;
    check(vec![
        (
            "after the marker",
            [entry.clone(), vec![0; 1024], entry.clone()].concat(),
            "the archive is refused at byte 512 of its tar stream: something other than zeros follows the end marker",
        ),
        (
            "after padding",
            [entry.clone(), vec![0; 9000], vec![1]].concat(),
            "the archive is refused at byte 512 of its tar stream: something other than zeros follows the end marker",
        ),
        (
            "after one block of zeros",
            [entry.clone(), vec![0; 512], entry].concat(),
            "the archive is refused at byte 512 of its tar stream: a single block of zeros stands between entries",
        ),
    ]);
}

#[test]
fn sparse_maps_that_do_not_add_up_are_refused() {
    let map = |offsets: &'static [u8], size: &'static [u8]| {
        Raw::default().pax(&[("GNU.sparse.size", size), ("GNU.sparse.map", offsets)]).file("a", b"startend").end()
    };
    let wrong = "the archive is refused at byte 0 of its tar stream: the map of a sparse file is wrong";
    check(vec![
        ("out of order", map(b"1000,3,0,5", b"1003"), wrong),
        ("overlapping", map(b"0,5,4,3", b"1003"), wrong),
        ("beyond the end", map(b"0,5,1001,3", b"1003"), wrong),
        ("overflowing", map(b"0,5,18446744073709551615,3", b"1003"), wrong),
        ("less than is stored", map(b"0,5", b"1003"), wrong),
        ("more than is stored", map(b"0,5,10,4", b"1003"), wrong),
        ("half a pair", map(b"0,5,10", b"1003"), wrong),
        (
            "no version of sparse files",
            Raw::default()
                .pax(&[("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"8")])
                .file("a", b"startend")
                .end(),
            "the archive is refused at byte 0 of its tar stream: a sparse file has an unknown version",
        ),
        (
            "a map longer than the content",
            Raw::default()
                .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"8")])
                .file("a", b"99999999\n")
                .end(),
            wrong,
        ),
    ]);
}
