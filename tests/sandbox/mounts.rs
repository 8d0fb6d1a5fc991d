//! Mounts of each kind.

use std::path::PathBuf;

use lapstrake::sandbox::{Access, DirectoryAccess, Exit, MountKind, SandboxError};

use crate::lab::{Lab, contents, mount, names, root};

fn layers(lowers: Vec<PathBuf>, subpath: &str, access: Access) -> MountKind {
    MountKind::Layers { lowers, root: root(0o711), subpath: subpath.as_bytes().to_vec(), access }
}

#[test]
fn layers_are_merged_and_read_only() {
    let lab = Lab::new();
    let bottom = lab.lower("bottom", &[("data/a", "bottom"), ("data/b", "bottom")]);
    let top = lab.lower("top", &[("data/a", "top")]);
    let mut job = lab.job("a", "cat /in/a /in/b; (echo x > /in/a) 2>/dev/null || echo refused; (rm /in/b) 2>/dev/null || echo refused");
    job.mounts = vec![mount("/in", layers(vec![top.clone(), bottom.clone()], "/data/", Access::ReadOnly))];
    assert_eq!(lab.succeed(&job).out, "topbottomrefused\nrefused\n");
    assert_eq!(std::fs::read_to_string(top.join("data/a")).unwrap(), "top");
}

#[test]
fn the_root_of_a_mount_is_as_the_caller_says_whatever_its_directories_are() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = Lab::new();
    let lower = lab.lower("one", &[("a", "x")]);
    std::fs::set_permissions(&lower, std::fs::Permissions::from_mode(0o700)).unwrap();
    for (name, access) in [("ro", Access::ReadOnly), ("rw", Access::Discarded)] {
        let mut job = lab.job(name, "stat -c %a /in; cat /in/a");
        job.user.uid = 1000;
        job.mounts = vec![mount("/in", layers(vec![lower.clone()], "", access))];
        assert_eq!(lab.succeed(&job).out, "711\nx", "{name}");
    }
}

#[test]
fn a_single_file_of_a_layer_can_be_mounted() {
    let lab = Lab::new();
    let lower = lab.lower("one", &[("etc/settings", "text")]);
    let mut job = lab.job("a", "cat /srv/settings");
    job.mounts = vec![mount("/srv/settings", layers(vec![lower], "etc/settings", Access::ReadOnly))];
    assert_eq!(lab.succeed(&job).out, "text");
}

#[test]
fn what_is_written_to_discarded_layers_vanishes() {
    let lab = Lab::new();
    let lower = lab.lower("one", &[("data/a", "old")]);
    let mut job = lab.job("a", "echo -n new > /in/a; echo -n more > /in/b; cat /in/a /in/b");
    job.mounts = vec![mount("/in", layers(vec![lower.clone()], "data", Access::Discarded))];
    let done = lab.succeed(&job);
    assert_eq!(done.out, "newmore");
    assert_eq!(names(done.finished.upper.directory()), ["d etc"]);
    assert_eq!(std::fs::read_to_string(lower.join("data/a")).unwrap(), "old");
    assert!(!lower.join("data/b").exists());
}

#[test]
fn a_directory_is_written_in_place() {
    let lab = Lab::new();
    let cache = lab.fresh("cache");
    let mut job = lab.job("a", "echo kept > /root/.cache/x; chown 5:6 /root/.cache/x");
    job.mounts = vec![mount("/root/.cache", MountKind::Directory { path: cache.clone(), access: DirectoryAccess::Written })];
    let done = lab.succeed(&job);
    assert_eq!(names(done.finished.upper.directory()), ["d etc", "d root"]);
    let cache = lab.isolation.agent().directory(&cache).unwrap();
    assert_eq!(contents(&cache, "x"), "kept\n");
    let entry = cache.stat(b"x").unwrap();
    assert_eq!((entry.uid, entry.gid), (5, 6));
}

#[test]
fn a_directory_can_be_only_read() {
    let lab = Lab::new();
    let cache = lab.fresh("cache");
    std::fs::write(cache.join("x"), "kept").unwrap();
    let mut job = lab.job("a", "cat /c/x; echo new > /c/x || echo refused; touch /c/y || echo refused");
    job.mounts = vec![mount("/c", MountKind::Directory { path: cache.clone(), access: DirectoryAccess::ReadOnly })];
    assert_eq!(lab.succeed(&job).out, "keptrefused\nrefused\n");
    assert_eq!(std::fs::read_to_string(cache.join("x")).unwrap(), "kept");
}

#[test]
fn a_tmpfs_is_empty_for_everybody_and_as_large_as_asked() {
    let lab = Lab::new();
    let mut job = lab.job("a", "stat -c %a /tmp; ls /tmp | wc -l; dd if=/dev/zero of=/tmp/x bs=1k count=200 2>/dev/null || echo full");
    job.mounts = vec![mount("/tmp", MountKind::Tmpfs { size_bytes: Some(100 * 1024) })];
    let done = lab.succeed(&job);
    assert_eq!(done.out, "1777\n0\nfull\n");
}

#[test]
fn mounts_can_lie_in_mounts() {
    let lab = Lab::new();
    let cache = lab.fresh("cache");
    let mut job = lab.job("a", "cat /outer/inner/file; echo x > /outer/y");
    job.mounts = vec![
        mount("/outer", MountKind::Tmpfs { size_bytes: None }),
        mount("/outer/inner", MountKind::Directory { path: cache, access: DirectoryAccess::Written }),
        mount("/outer/inner/file", MountKind::File { bytes: b"text".to_vec(), uid: 0, gid: 0, mode: 0o444 }),
    ];
    let done = lab.succeed(&job);
    assert_eq!(done.out, "text");
    assert_eq!(names(done.finished.upper.directory()), ["d etc"]);
}

#[test]
fn a_subpath_never_leaves_what_is_mounted() {
    let lab = Lab::new();
    std::fs::write(lab.path("host-file"), "of the host").unwrap();
    let lower = lab.lower("one", &[("inside", "of the layer")]);
    let host = lab.path("host-file");
    for (name, target) in [("absolute", host.to_str().unwrap()), ("climbing", "../../host-file"), ("magic", "/proc/self/root")] {
        std::os::unix::fs::symlink(target, lower.join(name)).unwrap();
        let mut job = lab.job(name, "cat /in");
        job.mounts = vec![mount("/in", layers(vec![lower.clone()], name, Access::ReadOnly))];
        let error = lab.run(&job).map(|done| done.out).unwrap_err();
        assert!(matches!(&error, SandboxError::Mount { at, .. } if at == b"/in"), "{name}: {error:?}");
    }
    std::os::unix::fs::symlink("/inside", lower.join("fine")).unwrap();
    let mut job = lab.job("fine", "cat /in");
    job.mounts = vec![mount("/in", layers(vec![lower.clone()], "/../fine", Access::ReadOnly))];
    assert_eq!(lab.succeed(&job).out, "of the layer");
}

#[test]
fn a_mount_that_cannot_be_made_names_itself() {
    let lab = Lab::new();
    let lower = lab.lower("one", &[("directory/x", ""), ("file", "")]);
    let cases = [
        (mount("/bin/sh/below", MountKind::Tmpfs { size_bytes: None }), "cannot mount at `/bin/sh/below`: put a directory there"),
        (mount("/etc", MountKind::File { bytes: vec![], uid: 0, gid: 0, mode: 0 }), "cannot mount at `/etc`: put a file there"),
        (mount("/x", layers(vec![lower], "not/there", Access::ReadOnly)), "cannot mount at `/x`: find `not/there` in what is mounted"),
        (
            mount("/x", MountKind::Directory { path: "/no/such/directory".into(), access: DirectoryAccess::Written }),
            "cannot mount at `/x`: open the directory `/no/such/directory`",
        ),
    ];
    for (number, (mount, message)) in cases.into_iter().enumerate() {
        let mut job = lab.job(&number.to_string(), "true");
        job.mounts = vec![mount];
        assert_eq!(lab.run(&job).map(|done| done.finished.exit).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_mount_in_proc_or_dev_does_not_reach_the_host() {
    let lab = Lab::new();
    let mut job = lab.job("a", "cat /dev/secret; readlink /proc/self/cwd");
    job.mounts = vec![
        mount("/dev/secret", MountKind::File { bytes: b"s\n".to_vec(), uid: 0, gid: 0, mode: 0o444 }),
        // A magic link of the kernel is text here and leads nowhere.
        mount("/proc/self/cwd/tmp", MountKind::Tmpfs { size_bytes: None }),
    ];
    match lab.run(&job) {
        Ok(done) => assert_eq!(done.finished.exit, Exit::Code(0)),
        Err(error) => assert!(matches!(error, SandboxError::Mount { .. }), "{error:?}"),
    }
}
