//! Makes system calls: lines of `NUMBER ARGUMENT…` on the command line in, what the kernel answered out, one line each.
//!
//! A number with `=` in front is made here and its value is told; one with `x86:` in front is made in the 32-bit way of x86-64. Each call is
//! made in a process of its own, so that one that is killed is an answer too. An argument with `@` in front is the address of the text
//! behind it. Compiled by the tests, without dependencies.

use std::ffi::{c_int, c_long};

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn fork() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

fn main() {
    for line in std::env::args().skip(1) {
        let mut words = line.split_whitespace();
        let number = words.next().unwrap();
        let mut arguments = [0_i64; 6];
        for (place, word) in arguments.iter_mut().zip(words) {
            *place = argument(word);
        }
        match number.strip_prefix('=') {
            Some(number) => println!("{line}: {}", make(number, arguments)),
            None => println!("{line}: {}", in_child(number, arguments)),
        }
    }
}

fn argument(word: &str) -> i64 {
    if let Some(text) = word.strip_prefix('@') {
        return std::ffi::CString::new(text).unwrap().into_raw() as i64;
    }
    word.strip_prefix("0x").map_or_else(|| word.parse().unwrap(), |hex| u64::from_str_radix(hex, 16).unwrap() as i64)
}

fn make(number: &str, a: [i64; 6]) -> i64 {
    unsafe { syscall(number.parse().unwrap(), a[0], a[1], a[2], a[3], a[4], a[5]) }
}

fn in_child(number: &str, a: [i64; 6]) -> String {
    let child = unsafe { fork() };
    if child == 0 {
        let errno = match number.strip_prefix("x86:") {
            None => {
                let result = make(number, a);
                if result == -1 { std::io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 }
            }
            Some(number) => compat(number.parse().unwrap(), a[0]),
        };
        unsafe { _exit(errno) }
    }
    let mut status = 0;
    unsafe { waitpid(child, &mut status, 0) };
    match (status & 0x7f, (status >> 8) & 0xff) {
        (0, 0) => "done".to_owned(),
        (0, errno) => format!("errno {errno}"),
        (signal, _) => format!("signal {signal}"),
    }
}

#[cfg(target_arch = "x86_64")]
fn compat(number: i64, argument: i64) -> i32 {
    let result: i64;
    unsafe {
        std::arch::asm!("push rbx", "mov rbx, {argument}", "int 0x80", "pop rbx", argument = in(reg) argument,
            inlateout("rax") number => result, in("rcx") 0, in("rdx") 0, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    if (result as i32) < 0 { -(result as i32) } else { 0 }
}

#[cfg(not(target_arch = "x86_64"))]
fn compat(_number: i64, _argument: i64) -> i32 {
    1
}
