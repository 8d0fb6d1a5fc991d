//! Starting a program, and what is said when it does not start.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use lapstrake::sandbox::{Exit, Isolation, Options, Rung, SandboxError, Start, User};

use crate::lab::{Lab, children};

#[test]
fn codes_and_signals_are_told_apart() {
    let lab = Lab::new();
    let exit = |name: &str, script: &str| lab.run(&lab.job(name, script)).unwrap().finished.exit;
    assert_eq!(exit("a", "exit 0"), Exit::Code(0));
    assert_eq!(exit("b", "exit 42"), Exit::Code(42));
    assert_eq!(exit("c", "kill -TERM $$"), Exit::Signal(15));
    assert_eq!(exit("d", "kill -KILL $$"), Exit::Signal(9));
}

#[test]
fn output_comes_from_both_streams_whole_and_in_pieces() {
    let lab = Lab::new();
    let done = lab.sh("a", "seq 1 100000; echo problem >&2; seq 1 50000 >&2");
    assert_eq!(done.out.lines().count(), 100_000);
    assert_eq!(done.err.lines().count(), 50_001);
    assert!(done.out.ends_with("99999\n100000\n"));
}

#[test]
fn a_program_is_looked_for_in_the_path_of_its_environment() {
    let lab = Lab::new();
    let mut job = lab.job("a", "");
    job.argv = vec!["echo".into(), "found".into()];
    job.env = vec![("PATH".into(), "/nowhere:/bin".into())];
    assert_eq!(lab.succeed(&job).out, "found\n");
    job = lab.job("b", "");
    job.argv = vec!["echo".into(), "found".into()];
    job.env = vec![];
    assert_eq!(lab.succeed(&job).out, "found\n");
}

#[test]
fn what_does_not_start_says_why() {
    let lab = Lab::new();
    let lower = lab.lower(
        "programs",
        &[
            ("p/plain", "text"),
            ("p/empty", ""),
            ("p/windows", "#!/bin/sh\r\necho\r\n"),
            ("p/missing", "#!/opt/perl -w\n"),
            ("p/noexec", "#!/bin/sh\n"),
        ],
    );
    for name in ["plain", "empty", "windows", "missing"] {
        crate::programs::make_startable(&lower.join("p").join(name));
    }
    // The loader of a program that is not static.
    let linked = ["/bin/ls", "/usr/bin/ls"].into_iter().find(|path| std::path::Path::new(path).exists()).unwrap();
    std::fs::copy(linked, lower.join("p/linked")).unwrap();
    crate::programs::make_startable(&lower.join("p/linked"));
    let cases: &[(&str, &str)] = &[
        ("nothing", "there is no program `nothing` in the root (looked in /bin)"),
        ("/p/nothing", "there is no program `/p/nothing` in the root"),
        ("/p/plain/below", "there is no program `/p/plain/below` in the root"),
        ("/p/noexec", "`/p/noexec` may not be executed: it has no execute bit for this user, or is no regular file"),
        ("/p", "`/p` may not be executed: it has no execute bit for this user, or is no regular file"),
        (
            "/p/plain",
            "`/p/plain` is no program that this machine can start: it has neither the format of its processor nor a first line with `#!`",
        ),
        ("/p/windows", "`/p/windows` needs `/bin/sh` to start, which is not in the root; the file has the line ends of Windows"),
        ("/p/missing", "`/p/missing` needs `/opt/perl` to start, which is not in the root"),
    ];
    for (number, (program, message)) in cases.iter().enumerate() {
        let mut job = lab.job(&format!("case{number}"), "");
        job.argv = vec![program.into()];
        job.lowers.insert(0, lower.clone());
        assert_eq!(lab.run(&job).map(|done| done.finished.exit).unwrap_err().to_string(), *message);
    }
    let mut job = lab.job("linked", "");
    job.argv = vec!["/p/linked".into()];
    job.lowers.insert(0, lower);
    let error = lab.run(&job).map(|done| done.finished.exit).unwrap_err();
    assert!(matches!(&error, SandboxError::Interpreter { interpreter, .. } if interpreter.starts_with("/lib")), "{error:?}");
}

#[test]
fn a_working_directory_that_is_not_there_is_named() {
    let lab = Lab::new();
    for (name, workdir) in [("a", "/not/there"), ("b", "/bin/sh"), ("c", "/proc/self/fd/3"), ("d", "/proc/1/cwd"), ("e", "/proc/self/fd/7")]
    {
        let mut job = lab.job(name, "pwd");
        job.workdir = workdir.into();
        let error = lab.run(&job).map(|done| done.out).unwrap_err();
        assert_eq!(error.to_string(), format!("the working directory `{workdir}` cannot be entered"));
    }
}

#[test]
fn jobs_that_contradict_themselves_are_refused() {
    let lab = Lab::new();
    let refused = |change: &dyn Fn(&mut lapstrake::sandbox::Job)| {
        let mut job = lab.job("a", "true");
        change(&mut job);
        match lab.run(&job) {
            Err(SandboxError::InvalidJob { .. }) => {}
            other => panic!("{:?}", other.map(|done| done.finished.exit)),
        }
    };
    refused(&|job| job.argv.clear());
    refused(&|job| job.argv[0] = "".into());
    refused(&|job| job.argv[1] = "a\0b".into());
    refused(&|job| job.env[0].0 = "A=B".into());
    refused(&|job| job.workdir = b"etc".to_vec());
    refused(&|job| job.lowers[0] = "relative".into());
    refused(&|job| job.hostname = "a b".to_owned());
    refused(&|job| job.hostname = String::new());
}

#[test]
fn a_user_that_the_namespace_has_not_is_refused_with_its_number() {
    let lab = Lab::new();
    let mut job = lab.job("a", "id -u");
    job.user = User { uid: 4_000_000_000, gid: 0, groups: vec![] };
    match lab.run(&job) {
        // Real root has every number.
        Ok(done) => assert_eq!((lab.isolation.mapping().name().as_str(), done.out.as_str()), ("root", "4000000000\n")),
        Err(error) => assert!(error.to_string().starts_with("the command wants to be the user 4000000000 with the group 0 "), "{error}"),
    }
}

#[test]
fn nothing_of_a_sandbox_is_left_when_it_has_been_closed() {
    // Who is about to end is seen only sometimes.
    const ROUNDS: u32 = 100;
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..ROUNDS {
        let isolation = Isolation::open(Rung::UserNamespace, &Options::default()).unwrap();
        drop(isolation.agent().directory(directory.path()).unwrap());
        let owner = children(Path::new("/proc/thread-self"));
        let below = children(&owner[0].join("task").join(owner[0].file_name().unwrap()));
        assert!(owner.len() == 1 && !below.is_empty(), "{owner:?} {below:?}");
        drop(isolation);
        let left: Vec<_> = owner.iter().chain(&below).filter(|process| process.exists()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_helper_that_is_still_open_for_writing_is_started_when_it_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { start: Start::FromDirectory { path: directory.path().to_owned() }, ..Options::default() };
    drop(Isolation::open(Rung::UserNamespace, &options).unwrap());
    let program = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    // As a process has it that another thread makes while the program is written, until it is a program itself.
    let open = std::fs::OpenOptions::new().write(true).open(&program).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            drop(open);
        });
        Isolation::open(Rung::UserNamespace, &options).unwrap();
    });
}
