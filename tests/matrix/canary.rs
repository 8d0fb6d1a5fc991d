//! What of the outside a step reaches, tried call by call: `canary stay NAME` plants what is outside, `canary try PID NAME` tries from inside,
//! and `canary scopes` says whether the kernel keeps a step's signals among its own.
//!
//! Each line of the answer is one attempt and how it ended: `done`, or the kernel's error number.

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::fmt::Display;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

unsafe extern "C" {
    fn chroot(path: *const c_char) -> c_int;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn mknod(path: *const c_char, mode: u32, device: u64) -> c_int;
    fn mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: u64, data: *const c_void) -> c_int;
    fn shmget(key: c_int, size: usize, flags: c_int) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn unshare(flags: c_int) -> c_int;
}

/// The numbers of ptrace, process_vm_readv, prlimit64, open_by_handle_at, prctl and capget.
#[cfg(target_arch = "x86_64")]
const CALLS: [c_long; 6] = [101, 310, 302, 304, 157, 125];
#[cfg(not(target_arch = "x86_64"))]
const CALLS: [c_long; 6] = [117, 270, 261, 265, 167, 90];

const KEY: c_int = 0x1a95;
const CAPABILITIES: [(&str, u32); 15] = [
    ("chown", 0),
    ("dac_override", 1),
    ("fowner", 3),
    ("fsetid", 4),
    ("kill", 5),
    ("setgid", 6),
    ("setuid", 7),
    ("setpcap", 8),
    ("net_bind_service", 10),
    ("net_raw", 13),
    ("sys_chroot", 18),
    ("sys_ptrace", 19),
    ("sys_admin", 21),
    ("mknod", 27),
    ("setfcap", 31),
];

fn say(what: impl Display, result: impl Into<i64>) {
    if result.into() < 0 {
        println!("{what}: {}", std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    } else {
        println!("{what}: done");
    }
}

fn opened(what: &str, path: &str) {
    match std::fs::read_dir(path).map(drop).or_else(|_| std::fs::File::open(path).map(drop)) {
        Ok(()) => println!("{what}: done"),
        Err(error) => println!("{what}: {}", error.raw_os_error().unwrap_or(0)),
    }
}

fn text(value: &str) -> CString {
    CString::new(value).unwrap()
}

fn stay(name: &str) {
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
    assert!(unsafe { shmget(KEY, 4096, 0o1600) } >= 0);
    println!("{}", std::process::id());
    loop {
        std::thread::park();
    }
}

fn attempt(outside: c_int, name: &str) {
    unsafe {
        say("signal a process outside", kill(outside, 0));
        // PTRACE_SEIZE.
        say("trace a process outside", syscall(CALLS[0], 0x4206_i64, i64::from(outside), 0_i64, 0_i64));
        let mut byte = 0_u8;
        let here: [usize; 2] = [&raw mut byte as usize, 1];
        let there: [usize; 2] = [0x1000, 1];
        // process_vm_readv: the address may be a wrong one, which is told only to whoever may read.
        say("read its memory", syscall(CALLS[1], i64::from(outside), here.as_ptr(), 1_i64, there.as_ptr(), 1_i64, 0_i64));
        say("change its limits", syscall(CALLS[2], i64::from(outside), 7_i64, 0_i64, here.as_ptr()));
        match UnixStream::connect_addr(&SocketAddr::from_abstract_name(name).unwrap()) {
            Ok(_) => println!("connect to its abstract socket: done"),
            Err(error) => println!("connect to its abstract socket: {}", error.raw_os_error().unwrap_or(0)),
        }
        say("find its shared memory", shmget(KEY, 0, 0));
        opened("look at its environment", &format!("/proc/{outside}/environ"));
        opened("look at its root", &format!("/proc/{outside}/root"));
        opened("look at process 1", "/proc/1/environ");
        opened("see a file outside", "/outside");
        opened("see it above the root", "/../../../outside");
        let open = (3..1024).filter(|fd| fcntl(*fd, 1) >= 0).count();
        println!("descriptors that were not given: {open}");
        let given = std::env::vars().filter(|(name, _)| name.contains("CANARY")).count();
        println!("variables of the builder: {given}");

        std::fs::create_dir("/below").unwrap();
        say("change the root", chroot(text("/below").as_ptr()));
        say("mount", mount(text("none").as_ptr(), text("/below").as_ptr(), text("tmpfs").as_ptr(), 0, std::ptr::null()));
        say("make a user namespace", unshare(0x1000_0000));
        say("make a mount namespace", unshare(0x0002_0000));
        say("make a disk", mknod(text("/below/disk").as_ptr(), 0o060_600, 8 << 8));
        say("make a device", mknod(text("/below/device").as_ptr(), 0o020_600, 1 << 8 | 1));
        say("open a file by its number", syscall(CALLS[3], -100_i64, here.as_ptr(), 0_i64));
        say("have a network socket", socket(2, 1, 0));
        say("have a packet socket", socket(17, 3, 0));
        say("have a local socket", socket(1, 1, 0));
        // PR_CAPBSET_READ.
        let held: Vec<_> = CAPABILITIES.iter().filter(|(_, number)| syscall(CALLS[4], 23_i64, i64::from(*number)) == 1).map(|(name, _)| *name).collect();
        println!("capabilities that a program can have: {}", held.join(" "));
        let header: [u32; 2] = [0x2008_0522, 0];
        let mut sets = [0_u32; 6];
        syscall(CALLS[5], header.as_ptr(), sets.as_mut_ptr());
        let has: Vec<_> = CAPABILITIES.iter().filter(|(_, number)| sets[0] >> number & 1 == 1).map(|(name, _)| *name).collect();
        println!("capabilities that it has: {}", has.join(" "));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["stay", name] => stay(name),
        ["try", outside, name] => attempt(outside.parse().unwrap(), name),
        // Landlock's version: from the sixth on signals and abstract sockets are kept apart.
        ["scopes"] => println!("{}", if unsafe { syscall(444, 0_i64, 0_i64, 1_i64) } >= 6 { "yes" } else { "no" }),
        _ => panic!("canary stay NAME | canary try PID NAME | canary scopes"),
    }
}
