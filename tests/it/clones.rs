//! Copies of the store on a file system that can share blocks: they take no room of their own, and are as apart as copies.

use std::path::Path;

use crate::lab::{Lab, Ran, as_root, set_mode};
use crate::real;

const MEBIBYTE: u64 = 1 << 20;
const LARGE: u64 = 64 * MEBIBYTE;

/// What an XFS of this many bytes has left.
fn free_bytes(at: &Path) -> u64 {
    let statistics = rustix::fs::statvfs(at).unwrap();
    statistics.f_bfree * statistics.f_frsize
}

/// A file system in a file, mounted as long as the value lives.
struct Image(std::path::PathBuf);

impl Image {
    fn new(lab: &Lab) -> Image {
        let (image, at) = (lab.path("image.xfs"), lab.path("xfs"));
        std::fs::File::create(&image).unwrap().set_len(1024 * MEBIBYTE).unwrap();
        real::run("mkfs.xfs", &["-q", "-m", "reflink=1", image.to_str().unwrap()]);
        std::fs::create_dir(&at).unwrap();
        as_root("mount", &["-o", "loop", image.to_str().unwrap(), at.to_str().unwrap()]);
        as_root("chmod", &["1777", at.to_str().unwrap()]);
        Image(at)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        as_root("umount", &[self.0.to_str().unwrap()]);
    }
}

#[test]
fn a_private_root_takes_no_room_where_blocks_can_be_shared() {
    let lab = Lab::new();
    let image = Image::new(&lab);
    // Bytes that nothing makes smaller.
    let large: Vec<u8> = (0..LARGE / 8).flat_map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    let spec = "spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\n\
                steps = [{ copy = \"large\", to = \"/large\" }, { run = \"printf changed | dd of=/large conv=notrunc; head -c 7 /large\" }]\n";
    let project = lab.project(spec, &[]);
    std::fs::write(project.join("large"), large).unwrap();
    set_mode(&project.join("large"), 0o644);
    let rung = if rustix::process::geteuid().is_root() { "chroot" } else { "userns" };
    let arguments = ["build", project.to_str().unwrap(), "--stage", "app", "--isolation", rung];
    let before = free_bytes(&image.0);
    let ran = Ran::of(lab.command(&arguments).env("LAPSTRAKE_HOME", image.0.join("store")));
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let used = before.saturating_sub(free_bytes(&image.0));
    // The copied file, the root of the command and what that changed would be three of them.
    assert!((LARGE..2 * LARGE).contains(&used), "{used} bytes for a file of {LARGE}");
}
