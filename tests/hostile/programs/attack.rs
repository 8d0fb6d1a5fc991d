//! Tries what a hostile command would try: words `ATTACK` or `ATTACK:TARGET` on the command line in, `WORD: done` or `WORD: refused` out,
//! one line each. Compiled by the tests, without dependencies.

use std::ffi::{c_int, c_long, c_void};
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr as Inet, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn ptrace(request: c_long, ...) -> c_long;
    fn shmat(id: c_int, at: *const c_void, flags: c_int) -> *mut c_void;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn mount(source: *const u8, target: *const u8, kind: *const u8, flags: u64, data: *const u8) -> c_int;
    fn unshare(flags: c_int) -> c_int;
    fn geteuid() -> u32;
    fn chroot(path: *const u8) -> c_int;
    fn fchdir(fd: c_int) -> c_int;
    fn setns(fd: c_int, kind: c_int) -> c_int;
    fn mknod(path: *const u8, mode: u32, device: u64) -> c_int;
}

fn main() {
    for word in std::env::args().skip(1) {
        let (attack, target) = word.split_once(':').unwrap_or((&word, ""));
        match attack {
            "descriptors" => {
                let open: Vec<String> = (0..65536).filter(|&fd| unsafe { fcntl(fd, 1) } != -1).map(|fd| fd.to_string()).collect();
                println!("descriptors: {}", open.join(" "));
            }
            "identity" => println!("identity: {}", unsafe { geteuid() }),
            "landlock" => println!("landlock: {}", unsafe { syscall(444, 0_usize, 0_usize, 1_usize) }),
            _ => println!("{word}: {}", if attempt(attack, target) { "done" } else { "refused" }),
        }
    }
}

fn attempt(attack: &str, target: &str) -> bool {
    let number = || target.parse::<c_int>().unwrap();
    match attack {
        "tcp" => TcpStream::connect_timeout(&target.parse::<Inet>().unwrap(), Duration::from_secs(60)).is_ok(),
        "unix" => UnixStream::connect(target).is_ok(),
        "abstract" => UnixStream::connect_addr(&SocketAddr::from_abstract_name(target).unwrap()).is_ok(),
        "read" => std::fs::File::open(target).and_then(|mut file| file.read(&mut [0; 1])).is_ok(),
        "list" => std::fs::read_dir(target).is_ok(),
        "write" => OpenOptions::new().write(true).open(target).and_then(|mut file| file.write(b"1\n")).is_ok(),
        "kill" => unsafe { kill(number(), 9) == 0 },
        "ask" => unsafe { kill(number(), 0) == 0 },
        // PTRACE_ATTACH and PTRACE_SEIZE.
        "trace" => unsafe { ptrace(16, number(), 0_usize, 0_usize) == 0 || ptrace(0x4206, number(), 0_usize, 0_usize) == 0 },
        "memory" => OpenOptions::new().read(true).write(true).open(format!("/proc/{target}/mem")).is_ok(),
        "shm" => unsafe { shmat(number(), std::ptr::null(), 0o10000) as isize != -1 },
        "raw" => unsafe { socket(2, 3, 1) != -1 },
        "packet" => unsafe { socket(17, 3, 0) != -1 },
        "inet" => unsafe { socket(2, 1, 0) != -1 },
        // KEYCTL_GET_KEYRING_ID of the user's keyring.
        "keyring" => unsafe { syscall(keyctl_number(), 0, -4, 1) != -1 },
        "uring" => unsafe { syscall(425, 1, [0_u64; 15].as_ptr()) != -1 },
        "mount" => unsafe { mount(c"none".as_ptr().cast(), c"/tmp".as_ptr().cast(), c"tmpfs".as_ptr().cast(), 0, std::ptr::null()) == 0 },
        "unshare" => unsafe { unshare(0x1000_0000) == 0 },
        "enter" => std::fs::File::open(target).is_ok_and(|file| unsafe { setns(std::os::fd::AsRawFd::as_raw_fd(&file), 0) == 0 }),
        "chroot" => unsafe { chroot(c"/tmp".as_ptr().cast()) == 0 },
        // Out of a root that is no mount's: by a descriptor from outside of a root below it, and up.
        "escape" => {
            let root = std::fs::File::open("/").unwrap();
            // Where it may not change its root, there are still the dots.
            let _ = unsafe { chroot(c"/tmp".as_ptr().cast()) == 0 && fchdir(std::os::fd::AsRawFd::as_raw_fd(&root)) == 0 };
            for _ in 0..64 {
                let _ = std::env::set_current_dir("..");
            }
            std::fs::metadata(target.trim_start_matches('/')).is_ok()
        }
        // The disk of the machine, and its memory.
        "device" => {
            let path = [target.as_bytes(), b"\0"].concat();
            unsafe { mknod(path.as_ptr(), 0o20666, (1 << 8) | 5) };
            std::fs::File::open(target).and_then(|mut file| file.read(&mut [0; 1])).is_ok()
        }
        other => panic!("no such attack: {other}"),
    }
}

#[cfg(target_arch = "x86_64")]
fn keyctl_number() -> c_long {
    250
}

#[cfg(not(target_arch = "x86_64"))]
fn keyctl_number() -> c_long {
    219
}
