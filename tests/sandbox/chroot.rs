//! Steps without namespaces: a root that is a directory, as in an unprivileged container. Only root can run them.

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use lapstrake::event::Cancel;
use lapstrake::sandbox::{
    DirectoryAccess, Exit, Isolation, Job, MountKind, Network, Options, Rung, Sandbox as _, SandboxError, Upper, UpperKind, User,
};

use crate::lab::{Lab, mount};
use crate::processes::{is_held, is_running, mark, with_argument};
use crate::waiting::until;

/// A lab whose sandbox has no namespaces; `None` for an ordinary user.
fn lab() -> Option<Lab> {
    if !rustix::process::geteuid().is_root() {
        assert!(Isolation::open(Rung::Chroot, &Options::default()).is_err());
        return None;
    }
    let mut lab = Lab::new();
    lab.isolation = Isolation::open(Rung::Chroot, &Options::default()).unwrap();
    Some(lab)
}

/// A script in a copy of the base of its own.
fn job(lab: &Lab, name: &str, script: &str) -> Job {
    let mut job = lab.job(name, script);
    let root = lab.path(&format!("{name}-root"));
    let copied = Command::new("cp").arg("-a").arg(lab.base()).arg(&root).status().unwrap();
    assert!(copied.success());
    job.lowers = Vec::new();
    job.upper = Upper::InPlace { root, aside: lab.fresh(&format!("{name}-aside")) };
    job
}

fn root_of(job: &Job) -> &Path {
    match &job.upper {
        Upper::InPlace { root, .. } => root,
        Upper::OnDisk { .. } | Upper::Memory { .. } => panic!("a root of another sort"),
    }
}

/// All paths of a directory with what they are, in order.
fn listing(root: &Path) -> Vec<String> {
    let output = Command::new("find").arg(root).args(["-printf", "%P %M %U:%G %s %l\n"]).output().unwrap();
    let mut lines: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.retain(|line| !line.starts_with(' '));
    lines.sort();
    lines
}

#[test]
fn the_store_is_tried_by_doing_it() {
    let Some(lab) = lab() else { return };
    let store = lab.fresh("store");
    assert_eq!(lab.isolation.upper_kind(&store).unwrap(), UpperKind::InPlace);
    assert_eq!(listing(&store), [] as [&str; 0]);
}

#[test]
fn a_command_changes_its_root_and_nothing_that_was_put_there_stays() {
    let Some(lab) = lab() else { return };
    let job =
        job(&lab, "a", "echo new > /etc/new; rm /etc/group; ls /dev | sort | tr '\\n' ' '; cat /etc/hosts | wc -l; ls /proc /sys | wc -w");
    let before = listing(root_of(&job));
    let done = lab.succeed(&job);
    assert_eq!(done.out, "fd full null random shm stderr stdin stdout tty urandom zero 2\n2\n");
    let mut expected: Vec<_> = before.into_iter().filter(|line| !line.starts_with("etc/group")).collect();
    expected.push("etc/new -rw-r--r-- 0:0 4 ".to_owned());
    expected.sort();
    assert_eq!(listing(root_of(&job)), expected);
    assert_eq!(done.finished.upper.path().unwrap(), root_of(&job));
}

#[test]
fn what_was_there_gives_way_and_comes_back() {
    let Some(lab) = lab() else { return };
    let mut job = job(&lab, "a", "cat /etc/hosts /etc/passwd; echo more >> /etc/hosts; echo x > /dev/shm/x; test ! -e /dev/mine");
    let root = root_of(&job).to_owned();
    std::fs::write(root.join("etc/hosts"), "of the image\n").unwrap();
    std::fs::write(root.join("dev/mine"), "").unwrap();
    job.mounts = vec![mount("/etc/passwd", MountKind::File { bytes: b"secret\n".to_vec(), uid: 0, gid: 0, mode: 0o400 })];
    let before = listing(&root);
    assert_eq!(lab.succeed(&job).out, "127.0.0.1\tlocalhost step\n::1\tlocalhost step\nsecret\n");
    assert_eq!(std::fs::read_to_string(root.join("etc/hosts")).unwrap(), "of the image\n");
    assert_eq!(listing(&root), before);
}

#[test]
fn links_on_the_way_to_a_place_stay_inside_the_root() {
    let Some(lab) = lab() else { return };
    let outside = lab.lower("outside", &[("file", "untouched")]);
    let mut job = job(&lab, "a", "cat /way/file");
    let root = root_of(&job).to_owned();
    std::os::unix::fs::symlink(&outside, root.join("way")).unwrap();
    job.mounts = vec![mount("/way/file", MountKind::File { bytes: b"inside".to_vec(), uid: 0, gid: 0, mode: 0o644 })];
    assert_eq!(lab.succeed(&job).out, "inside");
    assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "untouched");
    let mut left: Vec<_> = listing(&root).into_iter().filter(|line| line.contains("outside") || line.contains("file")).collect();
    left.retain(|line| !line.starts_with("way "));
    assert_eq!(left, [] as [&str; 0], "what was made for it is gone");
}

#[test]
fn a_cache_is_moved_there_and_back() {
    let Some(lab) = lab() else { return };
    let cache = lab.lower("cache", &[("old", "kept")]);
    let inode = std::fs::metadata(&cache).unwrap().ino();
    let mut job = job(&lab, "a", "cat /var/cache/x/old; echo y > /var/cache/x/new");
    job.mounts = vec![mount("/var/cache/x", MountKind::Directory { path: cache.clone(), access: DirectoryAccess::Written })];
    assert_eq!(lab.succeed(&job).out, "kept");
    assert_eq!(std::fs::read_to_string(cache.join("new")).unwrap(), "y\n");
    assert_eq!(std::fs::metadata(&cache).unwrap().ino(), inode);
    assert!(!root_of(&job).join("var").exists(), "what was made for it is gone");
}

#[test]
fn a_cache_is_given_back_where_somebody_who_waits_for_it_has_made_an_empty_one() {
    let Some(lab) = lab() else { return };
    let cache = lab.lower("cache", &[("old", "kept")]);
    let mut job = job(&lab, "a", "echo up; while test ! -e /go; do sleep 0.01; done; echo y > /c/new");
    job.mounts = vec![mount("/c", MountKind::Directory { path: cache.clone(), access: DirectoryAccess::Written })];
    let go = root_of(&job).join("go");
    let mut make = |_, _: &[u8]| {
        std::fs::create_dir(&cache).unwrap();
        std::fs::write(&go, "").unwrap();
    };
    let finished = lab.isolation.run(&job, &mut make, &Cancel::new()).unwrap();
    assert_eq!(finished.exit, Exit::Code(0));
    assert_eq!(std::fs::read_to_string(cache.join("old")).unwrap(), "kept");
    assert_eq!(std::fs::read_to_string(cache.join("new")).unwrap(), "y\n");
}

#[test]
fn what_a_mount_would_have_refused_fails_the_step_afterwards() {
    let Some(lab) = lab() else { return };
    let secret = || MountKind::File { bytes: b"hunter2".to_vec(), uid: 0, gid: 0, mode: 0o400 };
    for (number, script) in
        ["mv /run/s /kept", "ln /run/s /kept", "rm /run/s", "mv /run /kept", "rm -r /dev", "rm /etc/hosts", "rm -r /c", "mv /c /kept"]
            .iter()
            .enumerate()
    {
        let cache = lab.lower(&format!("cache{number}"), &[("old", "kept")]);
        let mut job = job(&lab, &format!("a{number}"), script);
        job.mounts =
            vec![mount("/run/s", secret()), mount("/c", MountKind::Directory { path: cache.clone(), access: DirectoryAccess::Written })];
        // A directory that holds a place may be moved, with mounts too.
        let expected = if *script == "mv /run /kept" { None } else { Some("") };
        let result = lab.run(&job).map(|done| done.finished.exit);
        match expected {
            Some(_) => assert!(matches!(result, Err(SandboxError::Left { .. })), "{script}: {result:?}"),
            None => assert_eq!(result.unwrap(), Exit::Code(0), "{script}"),
        }
        assert!(cache.is_dir(), "{script}");
        let grep = Command::new("grep").args(["-r", "-l", "hunter2"]).arg(root_of(&job)).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&grep.stdout), "", "{script}");
    }
}

#[test]
fn everything_that_a_command_leaves_behind_is_ended() {
    let Some(lab) = lab() else { return };
    let mark = mark();
    let script = format!(
        "sleep {mark} & (setsid sleep {mark} &) ; (trap '' TERM HUP INT; sleep {mark}) & \
         (setsid sh -c '(sleep {mark} &) ; exec sleep {mark}' &); sleep 0.2; echo started"
    );
    assert_eq!(lab.succeed(&job(&lab, "a", &script)).out, "started\n");
    assert_eq!(with_argument(&mark), Vec::<String>::new());
}

#[test]
fn a_command_that_forks_for_ever_is_ended() {
    let Some(lab) = lab() else { return };
    let mark = mark();
    let script = format!("f() {{ while true; do sleep {mark} & sh -c 'sleep {mark} & sleep {mark} &'; done; }}; f & f & f & sleep {mark}");
    let mut job = job(&lab, "a", &script);
    job.time_limit = Some(Duration::from_millis(400));
    assert_eq!(lab.run(&job).unwrap().finished.exit, Exit::TimedOut);
    assert_eq!(with_argument(&mark), Vec::<String>::new());
}

#[test]
fn cancelling_ends_everything_and_takes_all_back() {
    let Some(lab) = lab() else { return };
    let mark = mark();
    let mut job = job(&lab, "a", &format!("sleep {mark} & echo up; sleep {mark}"));
    job.mounts = vec![mount("/s", MountKind::File { bytes: b"hunter2".to_vec(), uid: 0, gid: 0, mode: 0o400 })];
    let before = listing(root_of(&job));
    let cancel = Cancel::new();
    let result = lab.isolation.run(&job, &mut |_, _| cancel.cancel(), &cancel);
    assert!(matches!(result, Err(SandboxError::Cancelled)), "{result:?}");
    assert_eq!(with_argument(&mark), Vec::<String>::new());
    assert_eq!(listing(root_of(&job)), before);
}

#[test]
fn there_is_no_way_out_of_the_root() {
    let Some(lab) = lab() else { return };
    let script = "mkdir /d; chroot /d /bin/true 2>/dev/null && echo changed; mknod /tmp/disk b 8 0 2>/dev/null && echo device; \
                  mount -t tmpfs x /tmp 2>/dev/null && echo mounted; unshare -U true 2>/dev/null && echo namespace; \
                  ls /../.. | wc -l; test ! -e /home; ls -l /dev/fd/ 2>/dev/null | wc -l; echo end";
    let out = lab.succeed(&job(&lab, "a", script)).out;
    let entries = std::fs::read_dir(lab.base()).unwrap().count() + 1;
    assert_eq!(out, format!("{entries}\n0\nend\n"), "{out}");
}

#[test]
fn its_own_processes_are_signalled_and_others_where_the_kernel_does_not_keep_that_apart() {
    let Some(lab) = lab() else { return };
    let others = Others::start();
    // Asked, and never with -1: where the kernel does not keep signals apart this is the whole machine.
    let script =
        "for p in $OTHERS; do kill -0 $p 2>/dev/null && echo reached $p; done; echo alive; sleep 98764 & kill $!; wait $! || echo $?";
    let mut job = job(&lab, "a", script);
    let mut pids = others.pids();
    pids.push(std::process::id());
    let words: Vec<String> = pids.iter().map(u32::to_string).collect();
    job.env.push(("OTHERS".into(), words.join(" ").into()));
    let reached = |pid: &u32| format!("reached {pid}\n");
    // Of user 0 itself, since the right to signal others is not among its own.
    let conceded: String = if scopes() { String::new() } else { [others.of_root.id(), std::process::id()].iter().map(reached).collect() };
    assert_eq!(lab.succeed(&job).out, format!("{conceded}alive\n143\n"));
}

/// Processes outside: of root, and of a user that a step can become.
struct Others {
    of_root: Child,
    of_user: Child,
}

const SOME_USER: u32 = 1000;

impl Others {
    fn start() -> Others {
        let start = |user: u32| Command::new("sleep").arg("1000").uid(user).gid(user).current_dir("/").spawn().unwrap();
        Others { of_root: start(0), of_user: start(SOME_USER) }
    }

    fn pids(&self) -> Vec<u32> {
        vec![self.of_root.id(), self.of_user.id()]
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        for child in [&mut self.of_root, &mut self.of_user] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether the kernel keeps signals and tracing of a process without namespaces among its own.
fn scopes() -> bool {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("call");
    crate::calls::place(&program);
    // Its version.
    let out = Command::new(&program).arg("=444 0 0 1").output().unwrap().stdout;
    String::from_utf8(out).unwrap().trim().rsplit(' ').next().unwrap().parse::<i64>().unwrap() >= 6
}

/// Puts the program that makes calls into the root of a job.
fn with_calls(job: &mut Job, calls: &[String]) {
    crate::calls::place(&root_of(job).join("call"));
    job.argv = std::iter::once("/call").chain(calls.iter().map(String::as_str)).map(Into::into).collect();
}

/// What the kernel answers to each call of a job.
fn answers(lab: &Lab, job: &Job) -> Vec<String> {
    lab.succeed(job).out.lines().map(|line| line.rsplit_once(": ").unwrap().1.to_owned()).collect()
}

#[cfg(target_arch = "x86_64")]
#[test]
fn processes_outside_are_not_traced_whoever_they_belong_to() {
    let Some(lab) = lab() else { return };
    let others = Others::start();
    let mut job = job(&lab, "a", "");
    // PTRACE_ATTACH and PTRACE_SEIZE; who may not do that may not read or write its memory either.
    let calls: Vec<String> = others.pids().iter().flat_map(|pid| [format!("101 16 {pid}"), format!("101 0x4206 {pid}")]).collect();
    with_calls(&mut job, &calls);
    for user in [0, SOME_USER] {
        job.user = User { uid: user, gid: user, groups: Vec::new() };
        assert_eq!(answers(&lab, &job), ["errno 1"; 4], "as user {user}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn its_capabilities_are_fewer_than_the_builders() {
    let Some(lab) = lab() else { return };
    let mut job = job(&lab, "a", "");
    // PR_CAPBSET_READ of CHOWN, SETUID, NET_RAW, SYS_CHROOT, SYS_ADMIN and MKNOD; then chroot(2).
    let calls = ["=157 23 0", "=157 23 7", "=157 23 13", "=157 23 18", "=157 23 21", "=157 23 27", "161 0"];
    with_calls(&mut job, &calls.map(str::to_owned));
    assert_eq!(answers(&lab, &job), ["1", "1", "0", "0", "0", "0", "errno 1"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn without_network_there_are_only_local_sockets() {
    let Some(lab) = lab() else { return };
    let mut job = job(&lab, "a", "");
    let calls = ["41 1 1 0", "41 16 3 0", "41 2 1 0", "41 10 2 0", "41 17 3 0", "x86:102 1"];
    with_calls(&mut job, &calls.map(str::to_owned));
    assert_eq!(answers(&lab, &job), ["done", "done", "errno 13", "errno 13", "errno 13", "errno 38"]);
    job.network = Network::Host;
    assert_eq!(answers(&lab, &job)[2..4], ["done", "done"]);
}

#[test]
fn users_groups_and_descriptors_are_as_elsewhere() {
    let Some(lab) = lab() else { return };
    let mut job =
        job(&lab, "a", "id -u; id -g; id -G; umask; pwd; test -t 0 || echo no terminal; ls /dev/fd/ 2>/dev/null | wc -l; cat | wc -c");
    let held = std::fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::empty()).unwrap();
    assert!(held.as_raw_fd() > 2);
    job.user = User { uid: 1000, gid: 1001, groups: vec![44] };
    job.workdir = b"/etc".to_vec();
    assert_eq!(lab.succeed(&job).out, "1000\n1001\n1001 44\n0022\n/etc\nno terminal\n0\n0\n");
    assert!(matches!(lab.run(&Job { workdir: b"/missing".to_vec(), ..job.clone() }), Err(SandboxError::Workdir { .. })));
    assert!(matches!(lab.run(&Job { argv: vec!["none".into()], ..job }), Err(SandboxError::NotFound { .. })));
}

#[test]
fn the_host_name_is_the_steps_for_every_user_and_nobody_elses() {
    let Some(lab) = lab() else { return };
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let job = job(
        &lab,
        "a",
        "hostname; for i in 1 2 3 4 5 6 7 8; do (hostname > /tmp/$i) & done; wait; cat /tmp/* | uniq -c | wc -l; su user -c hostname",
    );
    std::fs::set_permissions(root_of(&job).join("tmp"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let applet = root_of(&job).join("bin/uniq");
    std::os::unix::fs::symlink("busybox", applet).unwrap();
    assert_eq!(lab.succeed(&job).out, "step\n1\nstep\n");
    for user in [User { uid: 1000, gid: 1001, groups: vec![44] }, User { uid: 60000, gid: 0, groups: Vec::new() }] {
        assert_eq!(lab.succeed(&Job { argv: ["/bin/hostname"].map(Into::into).to_vec(), user, ..job.clone() }).out, "step\n");
    }
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), own);
}

#[test]
fn a_builder_that_is_killed_leaves_no_process_and_no_secret() {
    let Some(lab) = lab() else { return };
    let mark = mark();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "chroot::builder_to_be_killed", "--nocapture"]);
    command.env("LAPSTRAKE_TEST_KILLED", lab.path("")).env("LAPSTRAKE_TEST_MARK", &mark);
    let mut child = command.spawn().unwrap();
    let secret = lab.path("killed-root/s");
    until("the step of the builder runs", || {
        assert!(child.try_wait().unwrap().is_none(), "the builder ended by itself");
        is_running(&mark)
    });
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "hunter2");
    child.kill().unwrap();
    child.wait().unwrap();
    until("the step has ended", || !is_running(&mark));
    until("the secret is gone", || !secret.exists());
    until("nothing works on the root any more", || !is_held(&lab.path("")));
}

/// The builder of the test above; nothing by itself.
#[test]
fn builder_to_be_killed() {
    let Some(path) = std::env::var_os("LAPSTRAKE_TEST_KILLED") else { return };
    let mut lab = Lab::at(Path::new(&path));
    lab.isolation = Isolation::open(Rung::Chroot, &Options::default()).unwrap();
    let mark = std::env::var("LAPSTRAKE_TEST_MARK").unwrap();
    let mut job = job(&lab, "killed", &format!("sleep {mark} & sleep {mark}"));
    job.mounts = vec![mount("/s", MountKind::File { bytes: b"hunter2".to_vec(), uid: 0, gid: 0, mode: 0o400 })];
    let _ = lab.run(&job);
}
