//! The same on other machines: older ways, stores on an overlay, a restricted `/proc`, no programs from memory.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use lapstrake::sandbox::{Access, Isolation, MountApi, MountKind, Options, Rung, SandboxError, Start, Upper, UpperKind};

use crate::lab::{Lab, contents, mount, names, root};
use crate::users;

/// Runs one test of this file again, by itself, after a script has changed the mounts that it sees; as this user, and as root also as an
/// ordinary one. `$D` is a directory for the script that everybody may use.
fn again(test: &str, script: &str) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let program = directory.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    crate::programs::make_startable(&program);
    crate::calls::place(&directory.path().join("call"));
    for as_user in ["", "setpriv --reuid USER --regid USER --init-groups"] {
        users::make_user();
        let as_user = as_user.replace("USER", users::USER);
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec"])
            .arg(format!("{script}\nexec {as_user} $D/tests --exact {test} --nocapture"))
            .env("D", directory.path())
            .env(ELSEWHERE, "1")
            .env(crate::calls::COMPILED, directory.path().join("call"))
            .current_dir("/")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

const ELSEWHERE: &str = "LAPSTRAKE_TEST_ELSEWHERE";

fn is_elsewhere() -> bool {
    std::env::var_os(ELSEWHERE).is_some()
}

/// Only root can prepare another machine; he does it for ordinary users too.
fn can_prepare() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_store_on_an_overlay_keeps_the_changes_in_memory() {
    if !is_elsewhere() {
        if can_prepare() {
            again(
                "elsewhere::a_store_on_an_overlay_keeps_the_changes_in_memory",
                "mkdir -p $D/l $D/m; mkdir $(mktemp -d -p $D)/u 2>/dev/null; T=$(mktemp -d -p $D); mkdir $T/u $T/w; \
                 mount -t overlay overlay -o lowerdir=$D/l,upperdir=$T/u,workdir=$T/w $D/m; chmod 777 $D/m",
            );
        }
        return;
    }
    let store = PathBuf::from(std::env::var_os("D").unwrap()).join("m").join(std::process::id().to_string());
    std::fs::create_dir(&store).unwrap();
    let lab = Lab::at(&store);
    if !tmpfs_has_attributes() {
        // A kernel on which only a disk keeps what a step changes: another rung is taken then.
        let error = lab.isolation.upper_kind(&store).unwrap_err();
        assert!(error.remedy.contains("put the store on a disk"), "{error}");
        let error = Isolation::open(Rung::UserNamespace, &Options { directories: Some(store), ..Options::default() }).unwrap_err();
        assert!(error.reason.contains("the store cannot keep what a step changes"), "{error}");
        return;
    }
    assert_eq!(lab.isolation.upper_kind(&store).unwrap(), UpperKind::Memory);
    let job = lab.job("disk", "true");
    let error = lab.run(&job).map(|done| done.finished.exit).unwrap_err();
    assert!(matches!(error, SandboxError::Root { .. }), "{error:?}");
    let mut job = lab.job("memory", "echo new > /new; rm /etc/group; cat /in/passwd > /dev/null; mkdir /d; chown 5:6 /d");
    job.upper = Upper::Memory { root: root(0o755) };
    job.mounts = vec![mount(
        "/in",
        MountKind::Layers { lowers: vec![lab.base()], root: root(0o755), subpath: b"etc".to_vec(), access: Access::Discarded },
    )];
    let done = lab.succeed(&job);
    assert_eq!(names(done.finished.upper.directory()), ["d d", "d etc", "f new", "w etc/group"]);
    assert_eq!(contents(done.finished.upper.directory(), "new"), "new\n");
    lab.isolation.agent().remove(&store).unwrap();
}

/// Whether a tmpfs has attributes in the `user` namespace, as from Linux 6.6 on.
fn tmpfs_has_attributes() -> bool {
    let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    rustix::fs::fsetxattr(file.as_file(), "user.x", b"x", rustix::fs::XattrFlags::empty()).is_ok()
}

#[test]
fn where_a_fresh_proc_is_refused_the_outer_one_serves() {
    if !is_elsewhere() {
        if can_prepare() {
            again("elsewhere::where_a_fresh_proc_is_refused_the_outer_one_serves", MASKED);
        }
        return;
    }
    let lab = Lab::new();
    let script = "test -d /proc/$BUILDER && echo the outer one; grep -c ^Name /proc/self/status; readlink /proc/self/cwd; \
                  (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo wrote; find /proc/acpi -mindepth 1; \
                  for file in environ maps mem exe cwd root fd/0; do \
                    if head -c 1 /proc/$BUILDER/$file > /tmp/out 2>/dev/null && test -s /tmp/out; then echo read $file; fi; \
                    readlink /proc/$BUILDER/$file 2>/dev/null && echo followed $file; done; \
                  kill -9 $BUILDER 2>/dev/null && echo killed; echo end";
    let mut job = lab.job("a", script);
    job.env.push(("BUILDER".into(), std::process::id().to_string().into()));
    assert_eq!(lab.succeed(&job).out, "the outer one\n1\n/\nend\n");
}

/// Hides parts of `/proc` and `/sys`, as containers do, so that the kernel refuses a fresh `/proc`.
const MASKED: &str = "mount --bind /dev/null /proc/keys; mount -t tmpfs -o ro tmpfs /proc/acpi; mount -t tmpfs -o ro tmpfs /sys/firmware";

#[test]
fn who_answers_for_users_of_a_step_is_led_nowhere_by_the_outer_proc() {
    if !is_elsewhere() {
        if can_prepare() {
            again("elsewhere::who_answers_for_users_of_a_step_is_led_nowhere_by_the_outer_proc", MASKED);
        }
        return;
    }
    let mut lab = Lab::new();
    lab.isolation = Isolation::open(Rung::SingleId, &Options::default()).unwrap();
    let canary = lab.path("canary");
    std::fs::write(&canary, "untouched").unwrap();
    std::fs::set_permissions(&canary, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let bin = lab.fresh("calls");
    crate::calls::place(&bin.join("call"));
    let x86 = cfg!(target_arch = "x86_64");
    let [chown, mkdir, symlink, chdir] = if x86 { [260, 258, 266, 80] } else { [54, 34, 36, 49] };
    // Whoever resolves such a path for the step must not do it as itself: what it stands in and has open is the builder's. From below /proc
    // it is a few directories up to the builder's root.
    let mut calls = vec![format!("={chdir} @/proc")];
    for start in ["cwd", "root", "fd/3", "fd/4", "fd/5", "fd/6", "fd/7", "fd/8", "task/../cwd"] {
        for up in ["", "/..", "/../..", "/../../..", "/../../../.."] {
            let there = format!("self/{start}{up}");
            let link = format!("/link-{}", calls.len());
            calls.push(format!("{symlink} @/proc/{there} -100 @{link}"));
            for path in [format!("/proc/{there}"), there, link] {
                calls.push(format!("{chown} -100 @{path}{} 7 8 0", canary.display()));
                calls.push(format!("{mkdir} -100 @{path}{}-new 511", canary.display()));
            }
        }
    }
    let mut job = lab.job("a", "");
    job.lowers.insert(0, bin);
    job.argv = std::iter::once("/call".to_owned()).chain(calls).map(Into::into).collect();
    let out = lab.succeed(&job).out;
    let made: Vec<&str> = out.lines().filter(|line| line.ends_with(": done") && !line.starts_with(&symlink.to_string())).collect();
    assert_eq!(made, [] as [&str; 0]);
    let metadata = std::fs::metadata(&canary).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o4755);
    assert_eq!(rustix::fs::getxattr(&canary, "user.lapstrake.owner", &mut [0_u8; 8]), Err(rustix::io::Errno::NODATA));
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "untouched");
    assert!(!lab.path("canary-new").exists());
    // It is no empty attempt: what `self` is to whoever asks is the outer one's.
    assert_eq!(
        lab.sh("b", &format!("test -d /proc/{}; test -d /proc/self/fd; echo the outer one", std::process::id())).out,
        "the outer one\n"
    );
}

#[test]
fn steps_that_see_each_other_in_the_outer_proc_reach_nothing_of_each_other() {
    if !is_elsewhere() {
        if can_prepare() {
            again("elsewhere::steps_that_see_each_other_in_the_outer_proc_reach_nothing_of_each_other", MASKED);
        }
        return;
    }
    for rung in [Rung::UserNamespace, Rung::SingleId] {
        let mut lab = Lab::new();
        lab.isolation = Isolation::open(rung, &Options::default()).unwrap();
        let lab = &lab;
        let mut victim = lab.job("victim", "echo up; exec sleep 5551212");
        victim.env.push(("TOKEN".into(), "hunter2".into()));
        victim.mounts = vec![mount("/run/s", MountKind::File { bytes: b"hunter2".to_vec(), uid: 0, gid: 0, mode: 0o400 })];
        // It waits until it sees the other one, so that it is no test of an empty list.
        let script = "set +e; seen() { for p in /proc/[0-9]*; do \
                        if tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q '^sleep 5551212'; then echo $p; fi; done; }; \
                      while test -z \"$(seen)\"; do sleep 0.05; done; echo seen; \
                      for p in $(seen); do \
                        for file in environ root/run/s root/etc/passwd cwd/etc/passwd mem exe maps fd/1; do \
                          (: < $p/$file) 2>/dev/null && echo opened $file; done; \
                        for directory in root cwd; do ls $p/$directory/ > /dev/null && echo listed $directory; done; \
                        for link in root cwd exe fd/0 fd/1; do readlink $p/$link && echo followed $link; done; \
                        echo x 2>/dev/null > $p/root/tmp/poison && echo wrote; chown 7 $p/root/bin $p/cwd/bin && echo changed; \
                        kill -9 ${p#/proc/} && echo signalled; \
                      done 2>/dev/null; echo end";
        let attacker = lab.job("attacker", script);
        let cancel = lapstrake::event::Cancel::new();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| lapstrake::sandbox::Sandbox::run(&lab.isolation, &victim, &mut |_, _| {}, &cancel));
            let out = lab.run(&attacker).map(|done| done.out);
            let ended_early = other.is_finished();
            cancel.cancel();
            let result = other.join().unwrap();
            assert_eq!(out.unwrap(), "seen\nend\n", "{rung:?}");
            assert!(!ended_early && matches!(result, Err(SandboxError::Cancelled)), "{rung:?}: {result:?}");
        });
    }
}

#[test]
fn the_older_way_to_mount_gives_the_same() {
    let mut lab = Lab::new();
    lab.isolation = Isolation::open(Rung::UserNamespace, &Options { mount_api: MountApi::Classic, ..Options::default() }).unwrap();
    let mut job = lab.job("a", "ls / | grep -c layer; cat /same; echo; rm /same; echo x > /new; mkdir /bin/more; cat /in/same");
    let layers: Vec<PathBuf> = (0..120)
        .map(|number| {
            let text = number.to_string();
            lab.lower(&format!("a rather: long, name\\ for a directory {number}"), &[(&format!("layer{number}"), "x"), ("same", &text)])
        })
        .collect();
    job.lowers.splice(0..0, layers.iter().cloned());
    job.mounts = vec![mount(
        "/in",
        MountKind::Layers { lowers: layers[5..9].to_vec(), root: root(0o755), subpath: Vec::new(), access: Access::ReadOnly },
    )];
    let done = lab.succeed(&job);
    assert_eq!(done.out, "120\n0\n5");
    assert_eq!(names(done.finished.upper.directory()), ["d bin", "d bin/more", "d etc", "f new", "w same"]);
    assert_eq!(lab.isolation.upper_kind(&lab.fresh("store")).unwrap(), UpperKind::OnDisk);
}

#[test]
fn the_doctor_names_what_works_and_what_does_not() {
    let lab = Lab::new();
    let probes = Isolation::doctor(&Options::default(), &lab.fresh("store"));
    let works: Vec<_> = probes.iter().map(|probe| (probe.rung, probe.outcome.is_ok())).collect();
    assert_eq!(works, [(Rung::UserNamespace, true), (Rung::SingleId, true), (Rung::Chroot, rustix::process::geteuid().is_root())]);
    for probe in Isolation::doctor(&Options::default(), &lab.path("missing")) {
        let error = probe.outcome.unwrap_err();
        let remedies = ["put the store where its owner may write", "run the builder as root in its container"];
        assert!(remedies.contains(&error.remedy.as_str()), "{error}");
    }
}

#[test]
fn the_helper_can_be_started_from_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let options = |path: PathBuf| Options { start: Start::FromDirectory { path }, ..Options::default() };
    let mut lab = Lab::new();
    for name in ["a", "b"] {
        lab.isolation = Isolation::open(Rung::UserNamespace, &options(directory.path().to_owned())).unwrap();
        assert_eq!(lab.sh(name, "echo x").out, "x\n");
    }
    let modes: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().permissions().mode() & 0o777).collect();
    assert_eq!(modes, [0o500]);
    let error = Isolation::open(Rung::UserNamespace, &options(directory.path().join("missing"))).unwrap_err();
    assert!(error.remedy.contains("noexec"), "{error}");
}
