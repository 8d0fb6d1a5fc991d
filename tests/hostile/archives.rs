//! Archives that try to leave what they are unpacked into: as bases, as archives of steps, from disk and from the network.

use std::path::{Path, PathBuf};

use crate::hostile::outside::Outside;
use crate::hostile::raw::{Block, Raw};
use crate::lab::{Lab, Ran};
use crate::web::Web;

/// The ways in which an archive gets into a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Road {
    Base,
    Extract,
    Add,
    Fetch,
}

const ROADS: [Road; 4] = [Road::Base, Road::Extract, Road::Add, Road::Fetch];

/// Builds with the archive; where that goes well, the result is in `out` of the lab.
fn build(lab: &Lab, road: Road, archive: &[u8]) -> Ran {
    let web = Web::start(&[("/hostile.tar", archive)]);
    let steps = match road {
        Road::Base => "steps = [{ mkdir = \"/made\" }]".to_owned(),
        Road::Extract => "steps = [{ extract = \"hostile.tar\", to = \"/\", mode = \"keep\" }]".to_owned(),
        Road::Add => "steps = [{ copy = \"hostile.tar\", to = \"/\", unpack = true, mode = \"keep\" }]".to_owned(),
        Road::Fetch => format!("steps = [{{ extract = \"http://{}/hostile.tar\", to = \"/\", mode = \"keep\" }}]", web.address),
    };
    let from = if road == Road::Base { "tar:hostile.tar" } else { "scratch" };
    let spec = format!("spec = 1\n[stages.app]\nfrom = \"{from}\"\n{steps}\n[images.web]\nstage = \"app\"\n");
    let project = lab.files("project", &[("lapstrake.toml", &spec)]);
    std::fs::write(project.join("hostile.tar"), archive).unwrap();
    let output = format!("rootfs:{}", lab.path("out").display());
    Ran::of(&mut lab.command(&["build", project.to_str().unwrap(), "--output", &output]))
}

/// On every road the archive is refused with a message that has these words.
fn assert_refused(name: &str, archive: &[u8], words: &[&str]) {
    let outside = Outside::plant();
    for road in ROADS {
        let lab = Lab::new();
        let ran = build(&lab, road, archive);
        if road == Road::Add && ran.code == Some(0) {
            // What begins as no archive is a file like any other.
            assert_eq!(std::fs::read(lab.path("out/hostile.tar")).unwrap(), archive, "{name}");
            assert_eq!(std::fs::read_dir(lab.path("out")).unwrap().count(), 1, "{name}");
            outside.assert_unreached(name);
            continue;
        }
        assert!(matches!(ran.code, Some(1..=3)), "{name}, {road:?}: {ran:#?}");
        assert!(words.iter().any(|word| ran.err.contains(word)), "{name}, {road:?}: one of {words:?} in {}", ran.err);
        assert!(ran.err.contains("lapstrake.toml:"), "{name}, {road:?}: {}", ran.err);
        assert!(!lab.path("out").exists(), "{name}, {road:?}");
        outside.assert_unreached(name);
        lab.verify();
    }
}

/// On every road the archive is unpacked, and everything of it is inside.
fn assert_inside(name: &str, archive: &[u8], check: impl Fn(&Path)) {
    let outside = Outside::plant();
    for road in ROADS {
        let lab = Lab::new();
        let ran = build(&lab, road, archive);
        assert_eq!(ran.code, Some(0), "{name}, {road:?}: {}", ran.err);
        check(&lab.path("out"));
        outside.assert_unreached(name);
        lab.verify();
    }
}

#[test]
fn names_that_climb_out_are_refused() {
    for (name, archive) in [
        ("dots first", Raw::default().file("../../../../tmp/escaped", b"x").end()),
        ("dots within", Raw::default().directory("a").file("a/../../escaped", b"x").end()),
        ("dots last", Raw::default().directory("a/..").end()),
        ("dots after a slash", Raw::default().file("/../escaped", b"x").end()),
        ("dots in PAX", Raw::default().pax(&[("path", b"../escaped")]).file("a", b"x").end()),
        ("dots in a long name of GNU's", Raw::default().extension(b'L', b"../escaped\0").file("a", b"x").end()),
        ("a directory that climbs", Raw::default().directory("../escaped").end()),
        ("a link that is named so", Raw::default().symlink("../escaped", "/etc/passwd").end()),
    ] {
        assert_refused(name, &archive, &["climbs out with `..`"]);
    }
}

#[test]
fn absolute_names_stay_inside() {
    let outside = Outside::plant();
    let archive = Raw::default().pax(&[("path", outside.path("file").to_str().unwrap().as_bytes())]).file("a", b"inside").end();
    let path = outside.path("file");
    let inside = path.strip_prefix("/").unwrap();
    assert_inside("absolute", &archive, |out| assert_eq!(std::fs::read(out.join(inside)).unwrap(), b"inside"));
    outside.assert_unreached("absolute names");
}

/// Every type of entry that can be put below or over a link.
fn entries(at: &str) -> Vec<(&'static str, Raw)> {
    vec![
        ("a file", Raw::default().file(at, b"inside")),
        ("a directory", Raw::default().directory(at)),
        ("a link", Raw::default().symlink(at, "/inside")),
        ("a hard link", Raw::default().file("own", b"inside").link(at, "own")),
        ("a pipe", Raw::default().block(Block::new(b'6', at))),
    ]
}

#[test]
fn links_in_the_middle_of_names_are_followed_inside_only() {
    let outside = Outside::plant();
    let climbing = format!("../../../../../../../..{}", outside.text());
    for target in [outside.text(), climbing.as_str(), "/proc/self/root/tmp", "/proc/self/cwd"] {
        for (what, entry) in entries("way/made-by-the-attack") {
            let archive = [Raw::default().symlink("way", target).0, entry.end()].concat();
            assert_inside(&format!("{what} through a link to {target}"), &archive, |out| {
                assert!(std::fs::symlink_metadata(out.join("way")).unwrap().is_symlink());
            });
            outside.assert_unreached(what);
            assert!(!outside.path("made-by-the-attack").exists(), "{what}");
            assert!(!Path::new("/tmp/made-by-the-attack").exists(), "{what}");
        }
    }
}

#[test]
fn links_at_the_end_of_names_are_replaced_and_not_followed() {
    let outside = Outside::plant();
    for target in [outside.path("file"), outside.path("directory"), outside.path("not-there")] {
        for (what, entry) in entries("way") {
            let archive = [Raw::default().symlink("way", target.to_str().unwrap()).0, entry.end()].concat();
            let outcome = |out: &Path| {
                let found = std::fs::symlink_metadata(out.join("way")).unwrap();
                match what {
                    "a link" => assert_eq!(std::fs::read_link(out.join("way")).unwrap(), Path::new("/inside")),
                    "a directory" => assert!(found.is_dir(), "{found:?}"),
                    _ => assert!(!found.is_symlink() && !found.is_dir(), "{what}: {found:?}"),
                }
            };
            assert_inside(&format!("{what} over a link to {}", target.display()), &archive, outcome);
            outside.assert_unreached(what);
        }
    }
}

#[test]
fn the_root_itself_is_no_link() {
    let outside = Outside::plant();
    let archive = Raw::default().symlink("./", outside.text()).file("file", b"x").end();
    for road in ROADS {
        let lab = Lab::new();
        let ran = build(&lab, road, &archive);
        assert!(!lab.path("out").is_symlink(), "{ran:#?}");
        outside.assert_unreached("a link in place of the root");
    }
}

#[test]
fn hard_links_lead_to_files_of_the_archive_only() {
    let outside = Outside::plant();
    let file = outside.path("file");
    let file = file.to_str().unwrap();
    let climbing = format!("../../../../../../..{file}");
    for (name, archive) in [
        ("absolute", Raw::default().link("stolen", file).end()),
        ("climbing", Raw::default().link("stolen", &climbing).end()),
        ("itself", Raw::default().link("stolen", "stolen").end()),
        ("through a link", Raw::default().symlink("way", outside.text()).link("stolen", "way/file").end()),
        ("a directory", Raw::default().directory("d").link("stolen", "d").end()),
        ("then written through", Raw::default().link("stolen", file).file("stolen", b"written").end()),
    ] {
        assert_refused(name, &archive, &["stolen", "hard link", "climbs out"]);
        outside.assert_unreached(name);
    }
}

#[test]
fn a_hard_link_to_a_link_is_the_link() {
    let outside = Outside::plant();
    let file = outside.path("file");
    let archive = Raw::default().symlink("way", file.to_str().unwrap()).link("second", "way").end();
    assert_inside("a hard link to a link", &archive, |out| {
        assert_eq!(std::fs::read_link(out.join("second")).unwrap(), file);
    });
    // What is written to it afterwards replaces the link.
    let archive = Raw::default().symlink("way", file.to_str().unwrap()).link("second", "way").file("second", b"x").end();
    assert_inside("and a file over it", &archive, |out| assert_eq!(std::fs::read(out.join("second")).unwrap(), b"x"));
    outside.assert_unreached("a hard link to a link");
}

#[test]
fn whiteouts_remove_names_of_their_directory_only() {
    let outside = Outside::plant();
    let whiteout = "a whiteout";
    for (name, archive) in [
        ("nothing", Raw::default().file("a/.wh.", b"").end()),
        ("itself", Raw::default().file(".wh..", b"").end()),
        ("its parent", Raw::default().file(".wh...", b"").end()),
        ("a whiteout", Raw::default().file(".wh..wh.a", b"").end()),
        ("by a path", Raw::default().file(".wh.a/b", b"").end()),
        ("by a climbing path", Raw::default().file(".wh./../b", b"").end()),
        ("a directory", Raw::default().directory(".wh.a").end()),
        ("an opaque mark that is a link", Raw::default().symlink("b/.wh..wh..opq", "/").end()),
    ] {
        let lab = Lab::new();
        let ran = build(&lab, Road::Base, &archive);
        assert_eq!(ran.code, Some(3), "{name}: {ran:#?}");
        assert!(ran.err.contains("whiteout") || ran.err.contains("climbs out"), "{name}: {}", ran.err);
        assert!(ran.err.contains("entry `"), "{whiteout} of {name} is named: {}", ran.err);
        outside.assert_unreached(name);
    }
    // Through a link a whiteout is about what is inside.
    for mark in [".wh.file", ".wh..wh..opq"] {
        let archive = Raw::default().symlink("way", outside.text()).file(format!("way/{mark}"), b"").end();
        let lab = Lab::new();
        let ran = build(&lab, Road::Base, &archive);
        // A layer with an opaque mark can be read, and such a layer is not written again.
        assert!(ran.code == Some(0) || ran.err.contains("a directory is opaque"), "{mark}: {ran:#?}");
        outside.assert_unreached(mark);
    }
}

#[test]
fn names_that_mean_removal_do_not_get_into_images() {
    for road in [Road::Extract, Road::Add, Road::Fetch] {
        let lab = Lab::new();
        let ran = build(&lab, road, &Raw::default().file("a/.wh.passwd", b"").end());
        assert!(matches!(ran.code, Some(1 | 3)), "{road:?}: {ran:#?}");
        assert!(ran.err.contains(".wh.passwd"), "{road:?}: {}", ran.err);
    }
}

/// What one reader takes for content another takes for headers, CVE-2025-62518.
#[test]
fn sizes_that_readers_could_disagree_on_are_refused() {
    let smuggled = Raw::default().file("smuggled", b"").0;
    for (name, archive) in [
        ("PAX says more", Raw::default().pax(&[("size", b"512")]).block(Block::new(b'0', "a")).bytes(&smuggled).end()),
        ("PAX says less", Raw::default().pax(&[("size", b"0")]).file("a", &smuggled).end()),
        ("PAX says it twice", Raw::default().pax(&[("size", b"0"), ("size", b"512")]).file("a", &smuggled).end()),
        ("a link with content", Raw::default().block(Block::new(b'1', "a").target("b").size(512)).bytes(&smuggled).end()),
        ("a directory with content", Raw::default().block(Block::new(b'5', "a").size(512)).bytes(&smuggled).end()),
        ("a global size", Raw::default().extension(b'g', crate::hostile::raw::pax_records(&[("size", b"512")])).file("a", b"").end()),
        ("two names", Raw::default().pax(&[("path", b"a")]).extension(b'L', b"b\0").file("c", b"").end()),
        ("after the end", [Raw::default().file("a", b"").end(), smuggled.clone()].concat()),
        ("after a block of zeros", [Raw::default().file("a", b"").0, vec![0; 512], smuggled.clone(), vec![0; 1024]].concat()),
    ] {
        assert_refused(name, &archive, &["archive is refused"]);
    }
}

#[test]
fn numbers_that_no_file_can_have_are_refused() {
    for (name, archive) in [
        ("a negative size", Raw::default().block(Block::new(b'0', "a").set(124, &[0xff; 12])).end()),
        (
            "a huge size",
            Raw::default().block(Block::new(b'0', "a").gnu().set(124, &[0x80, 0, 0, 0, 0x7f, 255, 255, 255, 255, 255, 255, 255])).end(),
        ),
        ("a huge size in PAX", Raw::default().pax(&[("size", b"18446744073709551616")]).file("a", b"").end()),
        ("nobody's number", Raw::default().pax(&[("uid", b"4294967295")]).file("a", b"").end()),
        ("a negative owner", Raw::default().block(Block::new(b'0', "a").gnu().set(108, &[0xff; 8])).end()),
    ] {
        assert_refused(name, &archive, &["archive is refused", "the limit", "holds more than"]);
    }
}

#[test]
fn maps_of_holes_that_do_not_add_up_are_refused() {
    let map = |offsets: &'static [u8], size: &'static [u8]| {
        Raw::default().pax(&[("GNU.sparse.size", size), ("GNU.sparse.map", offsets)]).file("a", b"startend").end()
    };
    for (name, archive) in [
        ("out of order", map(b"1000,3,0,5", b"1003")),
        ("overlapping", map(b"0,5,4,3", b"1003")),
        ("overflowing", map(b"0,5,18446744073709551615,3", b"1003")),
        ("more than is stored", map(b"0,5,10,4", b"1003")),
        (
            "a map without end",
            Raw::default()
                .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"8")])
                .file("a", b"99999999\n")
                .end(),
        ),
    ] {
        assert_refused(name, &archive, &["the map of a sparse file is wrong"]);
    }
}

#[test]
fn names_that_no_file_system_takes_are_refused() {
    let long = [b"n".repeat(256), b"/x".to_vec()].concat();
    let longer = b"name/".repeat(1000);
    let deep = b"d/".repeat(2000);
    for (name, archive, words) in [
        ("NUL in PAX", Raw::default().pax(&[("path", b"a\0b")]).file("a", b"").end(), "bad value for `path`"),
        ("NUL in GNU's", Raw::default().extension(b'L', b"a\0b").file("a", b"").end(), "NUL byte"),
        ("a name of 256 bytes", Raw::default().pax(&[("path", &long)]).file("a", b"").end(), "more than 255 bytes"),
        (
            "a path of 5000 bytes",
            Raw::default().pax(&[("path", &longer[..longer.len() - 1])]).file("a", b"").end(),
            "longer or deeper than allowed",
        ),
        (
            "2000 directories deep",
            Raw::default().pax(&[("path", &deep[..deep.len() - 1])]).file("a", b"").end(),
            "longer or deeper than allowed",
        ),
        ("a target of 5000 bytes", Raw::default().pax(&[("linkpath", &longer)]).symlink("a", "b").end(), "too long"),
    ] {
        assert_refused(name, &archive, &[words]);
    }
}

#[test]
fn names_of_control_characters_are_kept_and_never_shown_as_they_are() {
    let archive = Raw::default().pax(&[("path", b"\x1b]0;owned\x07\n\xff/..")]).file("a", b"").end();
    for road in ROADS {
        let lab = Lab::new();
        let ran = build(&lab, road, &archive);
        assert_ne!(ran.code, Some(0), "{road:?}");
        assert!(!ran.err.contains('\x1b') && !ran.err.contains('\x07'), "{road:?}: {:?}", ran.err);
        assert!(ran.err.contains(r"\x1b]0;owned\x07\n\xff"), "{road:?}: {}", ran.err);
    }
}

#[test]
fn the_mark_of_overlays_for_removal_is_no_device_of_an_archive() {
    let lab = Lab::new();
    let ran = build(&lab, Road::Base, &Raw::default().device("etc/passwd", 0, 0).end());
    assert_eq!(ran.code, Some(3), "{ran:#?}");
    assert!(ran.err.contains("etc/passwd") && ran.err.contains("character device 0:0"), "{}", ran.err);
    for road in [Road::Extract, Road::Add, Road::Fetch] {
        let lab = Lab::new();
        let ran = build(&lab, road, &Raw::default().device("passwd", 0, 0).end());
        assert_ne!(ran.code, Some(0), "{road:?}");
        assert!(ran.err.contains("passwd") && ran.err.contains("0:0"), "{road:?}: {}", ran.err);
    }
}

/// A path of the lab's own, for the tests of sizes.
pub(super) fn with_archive(lab: &Lab, archive: &[u8], step: &str) -> PathBuf {
    let spec = format!("spec = 1\n[stages.app]\nfrom = \"scratch\"\nsteps = [{{ {step} }}]\n[images.web]\nstage = \"app\"\n");
    let project = lab.files("project", &[("lapstrake.toml", &spec)]);
    std::fs::write(project.join("hostile.tar"), archive).unwrap();
    project
}
