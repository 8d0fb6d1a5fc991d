//! Inputs that are small on the wire and endless inside: bounded memory, bounded disk, an error with a limit in it.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::hostile::archives::with_archive;
use crate::hostile::raw::{Block, Raw};
use crate::lab::{Lab, Mounted, Ran};

/// The most memory that a build took, in KiB, and how it ended.
pub(super) fn measured(lab: &Lab, project: &Path) -> (u64, Ran) {
    let (out, err) = (lab.path("out"), lab.path("err"));
    let file = |path: &Path| Stdio::from(std::fs::File::create(path).unwrap());
    let mut child = lab.command(&["build", project.to_str().unwrap()]).stdout(file(&out)).stderr(file(&err)).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    let ended = loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kib) = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()) {
            peak_kib = peak_kib.max(kib);
        }
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    (peak_kib, Ran { code: ended.code(), out: text(&out), err: text(&err) })
}

const EXTRACT: &str = "extract = \"hostile.tar\", to = \"/\"";

#[test]
fn holes_are_not_filled_beyond_the_limit() {
    let huge = (900_u64 << 30).to_string();
    let holes = |kind: &str| match kind {
        "PAX 0.1" => Raw::default().pax(&[("GNU.sparse.size", huge.as_bytes()), ("GNU.sparse.map", b"0,1")]).file("a", b"x").end(),
        _ => {
            let body = [b"1\n0\n1\n".to_vec(), vec![0; 506], b"x".to_vec()].concat();
            let records: [(&str, &[u8]); 3] =
                [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", huge.as_bytes())];
            Raw::default().pax(&records).file("a", &body).end()
        }
    };
    for kind in ["PAX 0.1", "PAX 1.0"] {
        for (step, from) in [(EXTRACT, "scratch"), ("mkdir = \"/made\"", "tar:hostile.tar")] {
            let lab = Lab::new();
            let project = with_archive(&lab, &holes(kind), step);
            let spec = std::fs::read_to_string(project.join("lapstrake.toml")).unwrap();
            std::fs::write(project.join("lapstrake.toml"), spec.replace("\"scratch\"", &format!("\"{from}\""))).unwrap();
            let ran = lab.run(&["build", project.to_str().unwrap()]);
            assert!(matches!(ran.code, Some(1 | 3)), "{kind}: {ran:#?}");
            let said = ran.err;
            assert!(said.contains("times its size, the limit"), "{kind}: {said}");
            let used: u64 = walkdir::WalkDir::new(lab.store()).into_iter().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
            assert!(used < 1 << 20, "{kind}: {used} bytes in the store");
        }
    }
}

/// The header of a file of zeros, and how many zeros follow it.
fn zeros(bytes: u64) -> (Vec<u8>, u64) {
    let header = Raw::default().block(Block::new(b'0', "zeros").size(bytes)).0;
    (header, bytes + 1024)
}

fn write_zeros(into: &mut impl std::io::Write, bytes: u64) {
    let (header, tail) = zeros(bytes);
    into.write_all(&header).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), tail), into).unwrap();
}

fn gzip_bomb(bytes: u64) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    write_zeros(&mut encoder, bytes);
    encoder.finish().unwrap()
}

fn zstd_bomb(bytes: u64) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 19).unwrap();
    write_zeros(&mut encoder, bytes);
    encoder.finish().unwrap()
}

#[test]
fn bombs_fill_the_store_at_most_and_leave_it_sound() {
    for (name, archive) in [("gzip", gzip_bomb(96 << 20)), ("zstd", zstd_bomb(96 << 20))] {
        assert!(archive.len() < 200 << 10, "{name} is a bomb");
        let lab = Lab::new();
        let _store = Mounted::new(lab.store(), "tmpfs", "size=48m,mode=0700");
        let project = with_archive(&lab, &archive, EXTRACT);
        let said = lab.fail(3, &project, &[]);
        assert!(said.contains("No space left on device"), "{name}: {said}");
        lab.verify();
        // What was half written is gone: there is room for something else.
        std::fs::write(project.join("hostile.tar"), Raw::default().file("a", &[1; 8 << 20]).end()).unwrap();
        lab.build(&project, &[]);
    }
}

#[test]
fn bombs_are_refused_at_their_ratio() {
    use lapstrake::event::Cancel;
    use lapstrake::layer::{Limits, expand};
    // What is granted whatever the ratio is 8 GiB; the limits are the same code with smaller numbers.
    let limits = Limits { ratio_free_bytes: 1 << 20, ..Limits::GENEROUS };
    for (name, archive) in [("gzip", gzip_bomb(64 << 20)), ("zstd", zstd_bomb(64 << 20))] {
        let cancel = Cancel::new();
        let mut expanded = expand(Box::new(archive.as_slice()), &limits, &cancel).unwrap();
        let error = std::io::copy(&mut expanded, &mut std::io::sink()).unwrap_err();
        assert!(error.to_string().contains("200 times its size"), "{name}: {error}");
    }
}

#[test]
fn many_small_files_take_bounded_memory() {
    let mut raw = Raw::default();
    for number in 0..24_000_u32 {
        // No two alike, so that nothing is kept once for many. All of them are 92 MiB.
        let content = [number.to_le_bytes().as_slice(), &[7; 4000]].concat();
        raw = raw.file(format!("{:03}/file-{number}", number % 200), &content);
    }
    let lab = Lab::new();
    let project = with_archive(&lab, &raw.end(), EXTRACT);
    let (peak_kib, ran) = measured(&lab, &project);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(peak_kib > 0 && peak_kib < 128 << 10, "the build took {} MiB", peak_kib >> 10);
}

#[test]
fn more_entries_than_the_limit_are_refused() {
    use lapstrake::event::Cancel;
    use lapstrake::layer::{ArchiveError, Limits, read_archive};
    let entry = Raw::default().file("a", b"").0;
    let archive = tempfile::tempfile().unwrap();
    (&archive).write_all(&[entry.repeat(1001), vec![0; 1024]].concat()).unwrap();
    let limits = Limits { entries: 1000, ..Limits::GENEROUS };
    let mut taken = 0;
    let result = read_archive::<ArchiveError>(archive, 0, &limits, &Cancel::new(), &mut |_, _, _| {
        taken += 1;
        Ok(())
    });
    assert_eq!(result.unwrap_err().to_string(), "the archive holds more than 1000 entries, the limit");
    assert_eq!(taken, 1000);
}
