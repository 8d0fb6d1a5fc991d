//! What a rung cannot give: devices, and ids that its namespace has not.

use lapstrake::sandbox::{Beyond, Exit, Isolation, Job, Options, Rung, SandboxError, Upper, User};

use crate::lab::Lab;

/// Far above every range that is given to a user.
const FAR: &str = "3000000000";

/// Scripts with what they want (busybox gives user and group at once); the second value says whether root has it.
const WANTED: [(&str, bool, &str); 8] = [
    ("mknod /x c 1 3 || true", false, "to make the character device 1:3"),
    ("mknod /x b 259 1048575 || true", false, "to make the block device 259:1048575"),
    ("touch /x; chown 3000000000:7 /x || true", true, "to give a file to 3000000000:7"),
    ("touch /x; chown 3000000000 /x || true", true, "to give a file to 3000000000:0"),
    ("touch /x; chown :3000000000 /x || true", true, "to give a file to 0:3000000000"),
    ("ln -s x /l; chown -h 3000000000 /l || true", true, "to give a file to 3000000000:0"),
    ("su far -c id || true", true, "to become the user 3000000000"),
    ("su crowd -c id || true", true, "to be in the group 3000000000"),
];
const NAMES: [(&str, &str); 2] = [
    (
        "etc/passwd",
        "root::0:0::/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\nfar::3000000000:0::/:/bin/sh\ncrowd::7:3000000000::/:/bin/sh\n",
    ),
    ("etc/group", "root:x:0:\ncrowd:x:3000000000:\n"),
];

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn job(lab: &Lab, name: &str, script: &str, beyond: Beyond) -> Job {
    let mut job = lab.job(name, script);
    job.lowers.insert(0, lab.lower("names", &NAMES));
    Job { beyond, ..job }
}

#[test]
fn a_command_that_wants_too_much_is_ended_before_it_is_told() {
    let lab = Lab::new();
    for (index, (script, roots, expected)) in WANTED.into_iter().enumerate() {
        let outcome = lab.run(&job(&lab, &index.to_string(), &format!("{script}; echo went on"), Beyond::Stops));
        if roots && is_root() {
            assert_eq!(outcome.unwrap().out.lines().next_back(), Some("went on"), "{script}");
            continue;
        }
        match outcome {
            Err(error @ SandboxError::Beyond { rung: Rung::UserNamespace, .. }) => {
                let text = error.to_string();
                assert!(text.contains(expected) && text.contains("--isolation single-id"), "{script}: {text}");
            }
            other => panic!("{script}: {:?}", other.map(|done| done.out)),
        }
    }
}

#[test]
fn what_a_command_wanted_is_told_at_its_end_where_it_goes_on() {
    let lab = Lab::new();
    for (index, (script, roots, expected)) in WANTED.into_iter().enumerate() {
        let done = lab.succeed(&job(
            &lab,
            &index.to_string(),
            &format!("{{ {script}; }} 2>/dev/null; mknod /y c 5 1 || echo refused"),
            Beyond::Told,
        ));
        let expected = if roots && is_root() { "to make the character device 5:1" } else { expected };
        assert_eq!(done.finished.beyond.as_deref(), Some(expected), "{script}");
        assert!(done.out.ends_with("refused\n"), "{script}: {}", done.out);
    }
    let refused = lab.succeed(&job(&lab, "refused", "mknod /x c 1 3 || echo refused", Beyond::Refused));
    assert_eq!((refused.finished.beyond, refused.out.as_str()), (None, "refused\n"));
}

#[test]
fn what_everybody_can_have_and_what_nobody_may_have_ends_no_command() {
    let lab = Lab::new();
    let script = "touch /x; chown 65534:65534 /x; chown -h 1:2 /x; mkfifo /pipe; mknod /second p; su user -c 'id -u'; \
                  su user -c 'mknod /tmp/device c 1 3' 2>/dev/null || echo refused; mknod /none c 0 0 2>/dev/null || echo no mark";
    let done = lab.succeed(&job(&lab, "a", &format!("{script}; su user -c 'chown {FAR} /x' 2>/dev/null || echo refused"), Beyond::Stops));
    assert_eq!(done.out, "1000\nrefused\nno mark\nrefused\n");
    assert_eq!(done.finished.beyond, None);
}

#[test]
fn the_user_of_a_command_may_be_one_that_the_namespace_has_not() {
    let lab = Lab::new();
    let far = FAR.parse().unwrap();
    let users = [
        User { uid: far, gid: 0, groups: Vec::new() },
        User { uid: 0, gid: far, groups: Vec::new() },
        User { uid: 0, gid: 0, groups: vec![far] },
    ];
    for (index, user) in users.into_iter().enumerate() {
        let outcome = lab.run(&Job { user, ..job(&lab, &index.to_string(), "id -u", Beyond::Stops) });
        if is_root() {
            assert_eq!(outcome.unwrap().finished.exit, Exit::Code(0));
        } else {
            assert!(matches!(outcome, Err(SandboxError::Beyond { .. })), "{:?}", outcome.map(|done| done.out));
        }
    }
}

#[test]
fn without_namespaces_a_device_is_told_of_too() {
    if !is_root() {
        assert!(Isolation::open(Rung::Chroot, &Options::default()).is_err());
        return;
    }
    let mut lab = Lab::new();
    lab.isolation = Isolation::open(Rung::Chroot, &Options::default()).unwrap();
    for (name, beyond) in [("told", Beyond::Told), ("stops", Beyond::Stops)] {
        let root = lab.path(&format!("{name}-root"));
        assert!(std::process::Command::new("cp").arg("-a").arg(lab.base()).arg(&root).status().unwrap().success());
        let mut job = job(&lab, name, "su user -c 'mknod /tmp/own c 1 3' || true; mknod /x c 1 3 || hostname", beyond);
        (job.lowers, job.upper) = (Vec::new(), Upper::InPlace { root: root.clone(), aside: lab.fresh(&format!("{name}-aside")) });
        match (beyond, lab.run(&job)) {
            (Beyond::Told, Ok(done)) => {
                assert_eq!(done.finished.beyond.as_deref(), Some("to make the character device 1:3"));
                assert_eq!((done.finished.exit, done.out.as_str()), (Exit::Code(0), "step\n"));
            }
            (Beyond::Stops, Err(SandboxError::Beyond { rung: Rung::Chroot, wanted })) => {
                assert_eq!(wanted, "to make the character device 1:3")
            }
            (_, other) => panic!("{name}: {:?}", other.map(|done| done.out)),
        }
        assert!(!root.join("dev/null").exists(), "everything that was put there is taken back");
    }
}
