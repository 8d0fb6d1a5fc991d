//! Users and owners inside a step, and the same promises for an ordinary user of the host.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use lapstrake::sandbox::{Isolation, Options, Rung, User};

use crate::lab::Lab;

#[test]
fn a_command_runs_as_its_user_with_its_groups() {
    let lab = Lab::new();
    let mut job = lab
        .job("a", "id -u; id -g; id -G; touch /tmp/mine 2>/dev/null || echo refused; (echo x > /etc/passwd) 2>/dev/null || echo refused");
    job.user = User { uid: 1000, gid: 1001, groups: vec![1001, 50, 60] };
    assert_eq!(lab.succeed(&job).out, "1000\n1001\n1001 50 60\nrefused\nrefused\n");
    assert_eq!(lab.sh("b", "id -G").out, "0\n");
}

#[test]
fn files_can_be_given_to_any_user_and_keep_their_bits() {
    let lab = Lab::new();
    let script = "for id in 1 33 1000 65534; do touch /f$id; chown $id:$id /f$id; done; cp /bin/busybox /suid; chown 33:33 /suid; chmod 6755 /suid; \
                  stat -c '%n %u %g %a' /f* /suid";
    let done = lab.sh("a", script);
    let expected = "/f1 1 1 644\n/f1000 1000 1000 644\n/f33 33 33 644\n/f65534 65534 65534 644\n/suid 33 33 6755\n";
    assert_eq!(done.out, expected);
    let upper = done.finished.upper.directory();
    for id in [1, 33, 1000, 65534] {
        let entry = upper.stat(format!("f{id}").as_bytes()).unwrap();
        assert_eq!((entry.uid, entry.gid), (id, id));
    }
    assert_eq!(upper.stat(b"suid").unwrap().mode, 0o6755);
}

#[test]
fn a_program_may_drop_to_another_user_and_come_back_by_set_user_id() {
    let lab = Lab::new();
    let script = "su user -c 'id -u; id -g; touch /etc/no 2>/dev/null || echo refused'; mkdir /suid; cp /bin/busybox /suid/su; \
                  chmod 755 /suid/su; su user -c '/suid/su -c id' 2>&1 || true; chmod 4755 /suid/su; su user -c '/suid/su -c \"id -u\"'; true";
    let done = lab.sh("a", script);
    let lines: Vec<_> = done.out.lines().collect();
    assert_eq!(lines[..3], ["1000", "1000", "refused"], "{}", done.err);
    assert!(lines[3].contains("must be suid"), "{}", done.out);
    assert_eq!(lines[4], "0", "{}", done.err);
}

#[test]
fn nothing_is_opened_for_a_user_without_ranges() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("subuid");
    std::fs::write(&empty, "somebody:100000:65536\n").unwrap();
    let options = Options { subuid: empty.clone(), ..Options::default() };
    if rustix::process::geteuid().is_root() {
        // Root asks nobody.
        Isolation::open(Rung::UserNamespace, &options).unwrap();
        return;
    }
    let error = Isolation::open(Rung::UserNamespace, &options).unwrap_err();
    assert!(error.reason.contains("has no range of ids"), "{error}");
    assert!(error.remedy.contains("usermod --add-subuids"), "{error}");
    let error =
        Isolation::open(Rung::UserNamespace, &Options { programs: vec![directory.path().to_owned()], ..Options::default() }).unwrap_err();
    assert!(error.remedy.contains("uidmap"), "{error}");
}

pub(crate) const USER: &str = "lapstrake-sandbox";

/// Makes an ordinary user with ranges of ids, once.
pub(crate) fn make_user() {
    static MADE: std::sync::Once = std::sync::Once::new();
    MADE.call_once(|| {
        let is_there = || Command::new("id").arg(USER).output().unwrap().status.success();
        // Another run of these tests may make the same one, or hold the lists of users for a moment.
        crate::waiting::until("useradd makes a user with ranges of ids", || {
            is_there() || {
                let _ = Command::new("useradd").args(["--create-home", USER]).status().unwrap();
                is_there()
            }
        });
    });
}

#[test]
fn an_ordinary_user_is_promised_the_same() {
    if !rustix::process::geteuid().is_root() {
        // Then all the others are run by an ordinary user already.
        return;
    }
    make_user();
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    crate::programs::make_startable(&program);
    // The compiler may be where only root gets to.
    let call = directory.path().join("call");
    std::fs::write(&call, crate::calls::program()).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid", USER, "--regid", USER, "--init-groups", "--inh-caps=-all", "--bounding-set=+all"])
        .arg(&program)
        .args(["--skip", "an_ordinary_user"])
        .env(crate::calls::COMPILED, &call)
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("0 ignored"), "{text}");
}
