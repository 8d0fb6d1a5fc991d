//! Gives a file the capability to bind low ports (`cap_net_bind_service=ep`), as setcap(8) does.

use std::ffi::{CString, c_char, c_int, c_void};

unsafe extern "C" {
    fn setxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: usize, flags: c_int) -> c_int;
}

fn main() {
    let path = CString::new(std::env::args().nth(1).unwrap()).unwrap();
    // VFS_CAP_REVISION_2 with the effective bit; permitted and inheritable sets, low then high. linux/capability.h.
    let words: [u32; 5] = [0x0200_0001, 1 << 10, 0, 0, 0];
    let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let result = unsafe { setxattr(path.as_ptr(), c"security.capability".as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if result != 0 {
        eprintln!("{}", std::io::Error::last_os_error());
        std::process::exit(1);
    }
}
