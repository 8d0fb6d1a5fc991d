//! Which system calls reach the kernel from a step.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use lapstrake::sandbox::User;

use crate::lab::Lab;
use crate::programs::make_startable;

/// Where the program is that a test of root's has compiled already.
pub(crate) const COMPILED: &str = "LAPSTRAKE_TEST_CALL";

/// A static program that makes the calls that it is told to make.
pub(crate) fn program() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(compiled) = std::env::var_os(COMPILED) {
            return std::fs::read(compiled).unwrap();
        }
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("call");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sandbox/programs/call.rs");
        let mut compiler = Command::new("rustc");
        compiler.args(["--edition", "2024", "-C", "target-feature=+crt-static", "-C", "panic=abort", "-o"]).arg(&output).arg(source);
        assert!(compiler.status().unwrap().success());
        std::fs::read(output).unwrap()
    })
}

/// Puts the program there.
pub(crate) fn place(path: &Path) {
    std::fs::write(path, program()).unwrap();
    make_startable(path);
}

/// What the kernel answers a step, call by call.
fn answers(user: u32, calls: &[&str]) -> Vec<String> {
    let lab = Lab::new();
    let mut job = lab.job("a", "");
    let bin = lab.fresh("calls");
    place(&bin.join("call"));
    job.lowers.insert(0, bin);
    job.argv = std::iter::once("/call").chain(calls.iter().copied()).map(Into::into).collect();
    job.user = User { uid: user, gid: user, groups: Vec::new() };
    let out = lab.succeed(&job).out;
    out.lines().map(|line| line.rsplit_once(": ").unwrap().1.to_owned()).collect()
}

/// Calls that the kernel would do for user 0 of a namespace, or would answer in another way.
#[cfg(target_arch = "x86_64")]
#[test]
fn calls_that_no_build_needs_do_not_reach_the_kernel() {
    let refused = [
        "272 0x10000000",        // unshare(CLONE_NEWUSER)
        "272 0x00020000",        // unshare(CLONE_NEWNS)
        "56 0x10000011",         // clone(CLONE_NEWUSER)
        "56 0xffffffff10000011", // the same with rubbish above
        "250 0 -3 0",            // keyctl(KEYCTL_GET_KEYRING_ID, session)
        "321 99",                // bpf
        "425 1 0",               // io_uring_setup
        "298 0 0 -1 -1 0",       // perf_event_open
        "323 0",                 // userfaultfd
        "135 0x00040000",        // personality(ADDR_NO_RANDOMIZE)
        "41 40 1 0",             // socket(AF_VSOCK)
        "41 0x100000028 1 0",    // the same with rubbish above
        "16 0 0x5412 0",         // ioctl(TIOCSTI)
        "103 10 0 0",            // syslog(SYSLOG_ACTION_SIZE_BUFFER)
        "155 0 0",               // pivot_root
        "430 0 0",               // fsopen
        "428 -100 0 0",          // open_tree
        "304 -100 0 0",          // open_by_handle_at
        "227 0 0",               // clock_settime
        "175 0 0 0",             // init_module
        "x86:310 268435456",     // unshare(CLONE_NEWUSER), the 32-bit way
        "x86:288",               // keyctl, the 32-bit way
    ];
    for user in [0, 1000] {
        for (call, answer) in refused.iter().zip(answers(user, &refused)) {
            assert_eq!(answer, "errno 1", "{call} as user {user}");
        }
    }
    let missing = ["435 0 88", "470", "999", "1073741824", "1073741863"];
    for (call, answer) in missing.iter().zip(answers(0, &missing)) {
        assert_eq!(answer, "errno 38", "{call}");
    }
    let allowed = ["39", "56 0x00000011", "135 0xffffffff", "41 1 1 0", "41 2 1 0", "41 16 3 0", "x86:20"];
    for (call, answer) in allowed.iter().zip(answers(0, &allowed)) {
        assert_eq!(answer, "done", "{call}");
    }
}

#[test]
fn a_filter_takes_no_rights_from_set_user_id_programs() {
    let lab = Lab::new();
    let out = lab.sh("a", "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | tr -d '\\t' | tr '\\n' ' '").out;
    assert_eq!(out, "NoNewPrivs:0 Seccomp:2 ");
}
