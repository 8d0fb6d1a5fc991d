//! Archives of `extract` steps: each format as other programs make it, and those that must be refused.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::others::run;
use super::raw::{Block, Raw};
use super::reading::chain;
use crate::event::Cancel;
use crate::layer::{ArchiveEntry, ArchiveError, ArchiveKind, Limits, read_archive};

/// One line per entry.
fn list(archive: &Path, strip: usize, limits: &Limits) -> Result<Vec<String>, ArchiveError> {
    let mut lines = Vec::new();
    read_archive::<ArchiveError>(File::open(archive)?, strip, limits, &Cancel::new(), &mut |path, entry, content| {
        let ArchiveEntry { kind, metadata } = entry;
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        lines.push(match kind {
            ArchiveKind::Directory => format!("{path} directory {:o}", metadata.mode),
            ArchiveKind::File { size } => {
                assert_eq!(size, bytes.len() as u64);
                format!("{path} {:o} {}", metadata.mode, String::from_utf8_lossy(&bytes))
            }
            ArchiveKind::Symlink { target } => format!("{path} -> {}", target.escape_ascii()),
            ArchiveKind::Link { target } => format!("{path} = {target}"),
            ArchiveKind::Special(kind) => format!("{path} {kind:?}"),
        });
        Ok(())
    })?;
    Ok(lines)
}

fn text_of(bytes: &[u8], strip: usize) -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    match list(file.path(), strip, &Limits::GENEROUS) {
        Ok(lines) => lines.join("; "),
        Err(error) => chain(&error),
    }
}

#[test]
fn every_format_gives_the_same_entries() {
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("tree");
    std::fs::create_dir_all(tree.join("top/bin")).unwrap();
    std::fs::write(tree.join("top/bin/tool"), "#!/bin/sh\n").unwrap();
    std::fs::write(tree.join("top/read me \u{e9}"), "words").unwrap();
    std::fs::write(tree.join("top/empty"), "").unwrap();
    std::os::unix::fs::symlink("bin/tool", tree.join("top/link")).unwrap();
    run("chmod", &["0755", "top", "top/bin", "top/bin/tool"], &tree);
    run("chmod", &["0640", "top/read me \u{e9}", "top/empty"], &tree);
    let expected = ["/bin directory 755", "/bin/tool 755 #!/bin/sh\n", "/empty 640 ", "/link -> bin/tool", "/read me \u{e9} 640 words"];
    let python_zip = "import shutil; shutil.make_archive('../out', 'zip'); import os; os.rename('../out.zip', '../out')";
    let programs: [(&str, &[&str]); 9] = [
        ("tar", &["-cf", "../out", "top"]),
        ("tar", &["-czf", "../out", "./top"]),
        ("tar", &["--zstd", "-cf", "../out", "top"]),
        ("tar", &["-cJf", "../out", "top"]),
        ("tar", &["-cjf", "../out", "top"]),
        ("tar", &["-cJPf", "../out", "top", "--transform=flags=r;s|^|/|"]),
        ("zip", &["-qry", "../out.zip", "top"]),
        ("bsdtar", &["--format=zip", "-cf", "../out", "top"]),
        ("python3", &["-c", python_zip]),
    ];
    for (program, arguments) in programs {
        run(program, arguments, &tree);
        let _ = std::fs::rename(scratch.path().join("out.zip"), scratch.path().join("out"));
        let mut found = list(&scratch.path().join("out"), 1, &Limits::GENEROUS)
            .unwrap_or_else(|error| panic!("{program} {arguments:?}: {}", chain(&error)));
        found.sort();
        if program == "python3" {
            // It follows links.
            assert_eq!(found.len(), expected.len());
        } else {
            assert_eq!(found, expected, "{program} {arguments:?}");
        }
        std::fs::remove_file(scratch.path().join("out")).unwrap();
    }
}

#[test]
fn a_zip_that_was_written_as_a_stream_is_read() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("a"), "stream").unwrap();
    run("bash", &["-c", "set -o pipefail; zip -q - a | cat > out.zip; chmod 600 a"], scratch.path());
    assert_eq!(list(&scratch.path().join("out.zip"), 0, &Limits::GENEROUS).unwrap(), ["/a 644 stream"]);
}

#[test]
fn stripping_takes_names_off_paths_and_link_targets() {
    let raw = Raw::default().directory("./").directory("top/").file("top/a", b"1").link("top/b", "top/a").file("beside", b"");
    assert_eq!(text_of(&raw.clone().end(), 0), "/top directory 755; /top/a 644 1; /top/b = /top/a; /beside 644 ");
    assert_eq!(text_of(&raw.clone().end(), 1), "/a 644 1; /b = /a");
    assert_eq!(text_of(&raw.end(), 2), "");
    let stripped_away = Raw::default().file("a", b"").link("top/b", "a").end();
    assert_eq!(text_of(&stripped_away, 1), "the archive is refused: entry `/b`: the target of the hard link is left out by `strip`");
}

#[test]
fn whiteouts_mean_nothing_in_an_archive() {
    assert_eq!(text_of(&Raw::default().file("a/.wh.b", b"").end(), 0), "/a/.wh.b 644 ");
}

#[test]
fn a_tar_archive_is_told_by_its_first_entry() {
    let told = |bytes: &[u8]| crate::layer::is_tar(Box::new(bytes), &Cancel::new());
    let one = Raw::default().file("a", b"x").end();
    assert!(told(&one));
    assert!(told(&zstd::encode_all(one.as_slice(), 1).unwrap()));
    assert!(!told(&Raw::default().end()), "no entry");
    assert!(!told(b""));
    assert!(!told(b"#!/bin/sh\n"));
    assert!(!told(&zstd::encode_all(&b"a text"[..], 1).unwrap()));
    assert!(!told(b"BZh91AY&SY"));
}

#[test]
fn hostile_and_foreign_archives_are_refused() {
    let entry = Raw::default().file("a", b"x");
    for (bytes, expected) in [
        (Raw::default().file("../a", b"").end(), "the archive is refused: entry `../a`: it climbs out with `..`"),
        (Raw::default().link("a", "../../b").end(), "the archive is refused: entry `../../b`: it climbs out with `..`"),
        (
            Raw::default().device("a", 0, 0).end(),
            "the archive is refused: entry `/a`: character device 0:0 marks removed entries in overlays",
        ),
        (entry.0.clone(), "the archive is refused at byte 1024 of its tar stream: the stream has no end marker: it may have been cut off"),
        (b"Rar!\x1a".to_vec(), "rar archives are not supported: expected zip, or tar alone or compressed with gzip, bzip2, xz or zstd"),
        (Vec::new(), "empty archives are not supported: expected zip, or tar alone or compressed with gzip, bzip2, xz or zstd"),
        (
            b"just a text that is longer than a header would be".repeat(20),
            "the archive is refused at byte 0 of its tar stream: the field `checksum` holds no number in range",
        ),
        (
            Raw::default().block(Block::new(b'0', "a").size(9)).0,
            "the archive is refused at byte 0 of its tar stream: the stream ends in the middle of an entry",
        ),
    ] {
        let text = text_of(&bytes, 0);
        // The content of the last one is asked for through a reader.
        assert!(text.ends_with(expected), "{text}");
    }
}

/// A zip with stored entries: name, external attributes, content.
fn zip_of(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let (mut body, mut directory) = (Vec::new(), Vec::new());
    for (name, mode, content) in entries {
        let mut shared = Vec::new();
        shared.extend([20, 0, 0, 8, 0, 0, 0, 0, 0x21, 0x50]);
        shared.extend(libdeflater::crc32(content).to_le_bytes());
        shared.extend((content.len() as u32).to_le_bytes());
        shared.extend((content.len() as u32).to_le_bytes());
        shared.extend((name.len() as u16).to_le_bytes());
        shared.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&shared);
        directory.extend([0; 6]);
        directory.extend((mode << 16).to_le_bytes());
        directory.extend((body.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        body.extend(b"PK\x03\x04");
        body.extend(&shared);
        body.extend(name.as_bytes());
        body.extend(*content);
    }
    let start = body.len() as u32;
    let count = (entries.len() as u16).to_le_bytes();
    body.extend(&directory);
    body.extend(b"PK\x05\x06\0\0\0\0");
    body.extend(count.into_iter().chain(count));
    body.extend((directory.len() as u32).to_le_bytes().into_iter().chain(start.to_le_bytes()));
    body.extend([0, 0]);
    body
}

#[test]
fn zips_that_readers_could_disagree_on_are_refused() {
    assert_eq!(
        text_of(&zip_of(&[("a", 0o100_600, b"1"), ("d/", 0o040_700, b""), ("l", 0o120_777, b"a")]), 0),
        "/a 600 1; /d directory 700; /l -> a"
    );
    let mut two_names = zip_of(&[("a", 0o100_644, b"1")]);
    two_names[30] = b'b';
    for (what, bytes, expected) in [
        ("climbing", zip_of(&[("../a", 0o100_644, b"")]), "the archive is refused: entry `../a`: it climbs out with `..`"),
        (
            "a pipe",
            zip_of(&[("a", 0o010_644, b"")]),
            "the archive is refused: entry `/a`: a zip holds files, directories and symbolic links only",
        ),
        (
            "a link nowhere",
            zip_of(&[("a", 0o120_777, b"")]),
            "the archive is refused: entry `/a`: the link points nowhere, has a NUL byte in it, or is too long",
        ),
        (
            "a file named as a directory",
            zip_of(&[("a/", 0o100_644, b"")]),
            "the archive is refused: entry `/a`: its name says that it is a directory and its mode that it is none",
        ),
        ("two names for one entry", two_names, "the zip archive is refused"),
        ("one name twice", zip_of(&[("a", 0o100_644, b"1"), ("a", 0o100_644, b"2")]), "the zip archive is refused"),
    ] {
        assert!(text_of(&bytes, 0).starts_with(expected), "{what}: {}", text_of(&bytes, 0));
    }
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("a"), "secret").unwrap();
    run("zip", &["-qP", "password", "out.zip", "a"], scratch.path());
    let error = list(&scratch.path().join("out.zip"), 0, &Limits::GENEROUS).unwrap_err();
    assert!(chain(&error).contains("Password required"), "{}", chain(&error));
}

#[test]
fn bombs_are_refused_in_every_format() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("zeros"), vec![0; 4 << 20]).unwrap();
    let small = Limits { ratio: 20, ratio_free_bytes: 1 << 20, ..Limits::GENEROUS };
    let programs: [(&str, &[&str]); 4] = [
        ("tar", &["-czf", "out", "zeros"]),
        ("tar", &["-cJf", "out", "zeros"]),
        ("tar", &["--zstd", "-cf", "out", "zeros"]),
        ("zip", &["-q", "out.zip", "zeros"]),
    ];
    for (program, arguments) in programs {
        run(program, arguments, scratch.path());
        let name = if program == "zip" { "out.zip" } else { "out" };
        let error = list(&scratch.path().join(name), 0, &small).unwrap_err();
        assert!(chain(&error).contains("grows to more than 20 times its size"), "{arguments:?}: {}", chain(&error));
    }
    let mut damaged = vec![0xfd, b'7', b'z', b'X', b'Z', 0];
    damaged.extend([0; 100]);
    assert!(text_of(&damaged, 0).contains("cannot be read or decompressed"));
}
