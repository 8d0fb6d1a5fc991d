//! How much memory a build takes.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::lab::Lab;

const FILE_BYTES: u64 = 2 << 30;
const MOST_KIB: u64 = 128 << 10;

const SPEC: &str = r#"
spec = 1
[stages.app]
from = "tar:base.tar"
[[stages.app.steps]]
copy = "big"
to = "/big"
[[stages.app.steps]]
run = "truncate -s 2G /made; echo end >> /made"
[images.web]
stage = "app"
"#;

/// A file with something in each of its parts, and holes between.
fn large(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    let mut piece = vec![0_u8; 1 << 20];
    let mut state = 1_u32;
    for megabyte in (0..FILE_BYTES >> 20).step_by(32) {
        for byte in &mut piece {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = state.to_le_bytes()[3];
        }
        file.seek(SeekFrom::Start(megabyte << 20)).unwrap();
        file.write_all(&piece).unwrap();
    }
    file.set_len(FILE_BYTES).unwrap();
}

/// Builds a project, which must take less memory than is promised.
fn build_in_little_memory(lab: &Lab, project: &Path) {
    let log = std::fs::File::create(lab.path("log")).unwrap();
    let mut child = lab.command(&["build", project.to_str().unwrap()]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
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
    assert!(ended.success(), "{}", std::fs::read_to_string(lab.path("log")).unwrap());
    assert!(peak_kib > 0 && peak_kib < MOST_KIB, "the build took {} MiB", peak_kib >> 10);
}

#[test]
fn a_file_of_two_gibibytes_takes_less_than_128_mebibytes_of_memory() {
    let lab = Lab::new();
    let project = lab.project(SPEC, &[]);
    large(&project.join("big"));
    build_in_little_memory(&lab, &project);
}

#[test]
fn a_hundred_thousand_files_take_less_than_128_mebibytes_of_memory() {
    let lab = Lab::new();
    let spec = "spec = 1\n[stages.app]\nfrom = \"scratch\"\n[[stages.app.steps]]\ncopy = \"files\"\nto = \"/srv\"\n[images.web]\nstage = \"app\"\n";
    let project = lab.project(spec, &[]);
    for directory in 0..1000 {
        let directory = project.join(format!("files/directory-{}/{}", directory / 100, directory % 100));
        std::fs::create_dir_all(&directory).unwrap();
        for file in 0..100 {
            std::fs::write(directory.join(format!("a-file-of-many-{file}")), format!("{} {file}", directory.display())).unwrap();
        }
    }
    build_in_little_memory(&lab, &project);
}
