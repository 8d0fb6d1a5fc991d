//! The root of a step and what is left of its changes.

use lapstrake::sandbox::{Exit, MountKind, Upper, UpperKind};

use crate::lab::{Lab, bytes, contents, mount, names, root};

#[test]
fn changes_are_in_the_upper_directory_and_nothing_else_is() {
    let lab = Lab::new();
    let done = lab.sh("a", "echo new > /new; rm /etc/group; mkdir /dir; ln -s there /dir/link; mkfifo /dir/pipe");
    let upper = done.finished.upper.directory();
    assert_eq!(names(upper), ["d dir", "d etc", "f new", "l dir/link", "s dir/pipe", "w etc/group"]);
    assert_eq!(contents(upper, "new"), "new\n");
    assert_eq!(done.finished.upper.path(), Some(lab.path("a-upper").as_path()));
    assert!(lab.base().join("etc/group").exists(), "what is below is never changed");
}

#[test]
fn a_step_that_changes_nothing_leaves_nothing() {
    let lab = Lab::new();
    let done = lab.sh("a", "cat /etc/hosts /proc/self/status > /dev/null; touch /dev/shm/x /dev/y");
    // A directory that was copied for a mount point in it is the same but for its time.
    assert_eq!(names(done.finished.upper.directory()), ["d etc"]);
}

#[test]
fn the_host_files_of_every_root_are_never_in_a_result() {
    let lab = Lab::new();
    let mut job = lab.job("a", "cat /etc/hosts; echo more >> /etc/hosts; cat /etc/resolv.conf > /dev/null; echo x >> /etc/resolv.conf");
    job.network = lapstrake::sandbox::Network::Host;
    let done = lab.succeed(&job);
    assert!(done.out.contains("localhost step"), "{}", done.out);
    assert_eq!(names(done.finished.upper.directory()), ["d etc"]);
    let made: Vec<_> = done.finished.mount_points_made.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    assert_eq!(made, ["etc/hosts", "etc/resolv.conf"]);
    let off = lab.sh("b", "test ! -e /etc/resolv.conf");
    assert_eq!(names(off.finished.upper.directory()), ["d etc"]);
}

#[test]
fn a_hard_link_is_copied_up_alone() {
    let lab = Lab::new();
    let lower = lab.lower("links", &[("one", "old")]);
    std::fs::hard_link(lower.join("one"), lower.join("two")).unwrap();
    let mut job = lab.job("a", "echo new > /one; cat /two");
    job.lowers.insert(0, lower);
    let done = lab.succeed(&job);
    assert_eq!(done.out, "old");
    assert_eq!(names(done.finished.upper.directory()), ["d etc", "f one"]);
}

#[test]
fn more_than_forty_directories_can_lie_below() {
    let lab = Lab::new();
    let mut job = lab.job("a", "ls / | grep -c layer; cat /same");
    let layers =
        (0..60).map(|number| lab.lower(&format!("layer{number}"), &[(&format!("layer{number}"), "x"), ("same", &number.to_string())]));
    job.lowers.splice(0..0, layers);
    assert_eq!(lab.succeed(&job).out, "60\n0");
}

#[test]
fn without_anything_below_the_upper_directory_is_the_root() {
    let lab = Lab::new();
    let mut job = lab.job("a", "echo x > /made; mkdir /directory");
    job.lowers.clear();
    job.argv[0] = "/tools/busybox".into();
    job.argv.insert(1, "sh".into());
    job.env = vec![("PATH".into(), "/tools".into())];
    job.mounts = vec![mount(
        "/tools",
        MountKind::Layers {
            lowers: vec![lab.base()],
            root: root(0o755),
            subpath: b"bin".to_vec(),
            access: lapstrake::sandbox::Access::ReadOnly,
        },
    )];
    let done = lab.succeed(&job);
    assert_eq!(names(done.finished.upper.directory()), ["d directory", "f made"]);
}

#[test]
fn the_root_has_the_owner_mode_and_time_of_its_upper_directory() {
    let lab = Lab::new();
    let script = "stat -c '%a %u:%g %Y' /";
    let mut job = lab.job("a", script);
    job.lowers[0] = lab.base();
    let upper = lab.isolation.agent().directory(&lab.path("a-upper")).unwrap();
    let metadata = lapstrake::sandbox::EntryMetadata { uid: 3, gid: 4, ..root(0o751) };
    upper.apply(&[lapstrake::sandbox::Operation::SetMetadata { at: bytes(""), metadata: metadata.clone() }]).unwrap();
    assert_eq!(lab.succeed(&job).out, "751 3:4 1\n");
    job.upper = Upper::Memory { root: metadata };
    assert_eq!(lab.succeed(&job).out, "751 3:4 1\n");
}

#[test]
fn an_upper_directory_in_memory_gives_the_same_result_and_lives_as_long_as_its_handle() {
    let lab = Lab::new();
    let script = "echo new > /new; rm /etc/group; chown 7:8 /new; mkdir -p /d/e";
    let mut job = lab.job("a", script);
    job.upper = Upper::Memory { root: root(0o751) };
    let memory = lab.succeed(&job);
    let disk = lab.sh("b", script);
    let directory = memory.finished.upper.directory().clone();
    assert_eq!(names(&directory), names(disk.finished.upper.directory()));
    assert_eq!(memory.finished.upper.path(), None);
    assert_eq!(contents(&directory, "new"), "new\n");
    let (a, b) = (directory.stat(b"new").unwrap(), disk.finished.upper.directory().stat(b"new").unwrap());
    assert_eq!((a.uid, a.gid, a.mode), (b.uid, b.gid, b.mode));
}

#[test]
fn a_store_on_a_usual_file_system_holds_the_changes_itself() {
    let lab = Lab::new();
    assert_eq!(lab.isolation.upper_kind(&lab.fresh("store")).unwrap(), UpperKind::OnDisk);
    assert_eq!(std::fs::read_dir(lab.path("store")).unwrap().count(), 0, "the probe leaves nothing");
}

#[test]
fn missing_mount_points_are_made_and_taken_away_and_what_the_step_puts_there_stays() {
    let lab = Lab::new();
    let mut job = lab.job("a", "echo x > /deep/er/below; echo y > /mnt/one/here");
    job.mounts = vec![
        mount("/mnt/one", MountKind::Tmpfs { size_bytes: None }),
        mount("/deep/er/mounted", MountKind::Tmpfs { size_bytes: None }),
        mount("/etc/secret", MountKind::File { bytes: b"s".to_vec(), uid: 0, gid: 0, mode: 0o400 }),
    ];
    let done = lab.succeed(&job);
    assert_eq!(names(done.finished.upper.directory()), ["d deep", "d deep/er", "d etc", "f deep/er/below"]);
    let made: Vec<_> = done.finished.mount_points_made.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    assert_eq!(made, ["etc/hosts", "mnt", "mnt/one", "deep", "deep/er", "deep/er/mounted", "etc/secret"]);
}

#[test]
fn a_mount_point_that_was_changed_stays() {
    let lab = Lab::new();
    let mut job = lab.job("a", "chmod 700 /parent; rm -rf /parent/at 2>/dev/null || echo busy");
    job.mounts = vec![mount("/parent/at", MountKind::Tmpfs { size_bytes: None })];
    let done = lab.succeed(&job);
    assert_eq!(names(done.finished.upper.directory()), ["d etc", "d parent"]);
    assert_eq!(done.finished.upper.directory().stat(b"parent").unwrap().mode, 0o700);
}

#[test]
fn links_on_the_way_to_a_mount_point_stay_inside_the_root() {
    let lab = Lab::new();
    let lower = lab.lower("links", &[("real/file", "x")]);
    for (link, target) in [("absolute", "/real"), ("climbing", "../../../../real"), ("dangling", "/not/there"), ("hop", "absolute")] {
        std::os::unix::fs::symlink(target, lower.join(link)).unwrap();
    }
    let mut job = lab.job("a", "cat /real/a /real/b /real/c /not/there/d");
    job.lowers.insert(0, lower);
    let secret = |text: &str| MountKind::File { bytes: text.as_bytes().to_vec(), uid: 0, gid: 0, mode: 0o444 };
    job.mounts = vec![
        mount("/absolute/a", secret("a")),
        mount("/climbing/b", secret("b")),
        mount("/hop/c", secret("c")),
        mount("/dangling/d", secret("d")),
    ];
    let done = lab.succeed(&job);
    assert_eq!(done.out, "abcd");
    assert_eq!(names(done.finished.upper.directory()), ["d etc", "d real"]);
}

#[test]
fn a_step_cannot_make_the_removal_of_mount_points_follow_a_link() {
    let lab = Lab::new();
    let victim = lab.lower("victim", &[("at/keep", "")]);
    let outside = lab.fresh("outside/at");
    let mut job = lab.job("a", "mv /p /q 2>/dev/null || true; ln -s $TARGET /p 2>/dev/null; true");
    job.lowers.insert(0, victim);
    job.env.push(("TARGET".into(), lab.path("outside").into()));
    job.mounts = vec![mount("/p/at", MountKind::Tmpfs { size_bytes: None })];
    let done = lab.run(&job).unwrap();
    assert_eq!(done.finished.exit, Exit::Code(0));
    assert!(outside.exists(), "nothing outside is removed");
}
