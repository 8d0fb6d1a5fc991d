//! Bytes and descriptors through sockets.

use std::ffi::{c_int, c_long};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{EINTR, EINVAL, Result, call, number, owned, pointer, raw};

#[repr(C)]
struct Slice {
    start: c_long,
    length: usize,
}

#[repr(C)]
struct MessageHeader {
    name: usize,
    name_length: u32,
    slices: *const Slice,
    slice_count: usize,
    control: c_long,
    control_length: usize,
    flags: c_int,
}

/// Room for one message that carries descriptors; aligned as the kernel's header for it.
#[repr(C, align(8))]
struct Control([u8; 64]);

const CONTROL_HEADER: usize = 16;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const MSG_NOSIGNAL: c_long = 0x4000;
const MSG_CMSG_CLOEXEC: c_long = 0x4000_0000;

/// Sends bytes with descriptors; how many bytes went. At most eight descriptors.
pub fn send(socket: &impl AsRawFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize> {
    let mut control = Control([0; 64]);
    let length = CONTROL_HEADER + 4 * descriptors.len();
    if length > control.0.len() {
        return Err(EINVAL);
    }
    control.0[..8].copy_from_slice(&length.to_ne_bytes());
    control.0[8..12].copy_from_slice(&SOL_SOCKET.to_ne_bytes());
    control.0[12..16].copy_from_slice(&SCM_RIGHTS.to_ne_bytes());
    for (place, fd) in control.0[CONTROL_HEADER..length].chunks_exact_mut(4).zip(descriptors) {
        place.copy_from_slice(&fd.as_raw_fd().to_ne_bytes());
    }
    let slice = Slice { start: pointer(bytes.as_ptr()), length: bytes.len() };
    let message = MessageHeader {
        name: 0,
        name_length: 0,
        slices: &raw const slice,
        slice_count: 1,
        control: if descriptors.is_empty() { 0 } else { pointer(control.0.as_ptr()) },
        control_length: if descriptors.is_empty() { 0 } else { length.next_multiple_of(8) },
        flags: 0,
    };
    loop {
        // SAFETY: the message points to a slice and a control block that outlive the call, with their true lengths.
        match unsafe { call(number::SENDMSG, [raw(socket), pointer(&raw const message), MSG_NOSIGNAL, 0, 0, 0]) } {
            Err(EINTR) => {}
            Err(error) => return Err(error),
            Ok(count) => return Ok(count as usize),
        }
    }
}

/// Receives bytes and the descriptors that come with them; 0 bytes at the end.
pub fn receive(socket: &impl AsRawFd, buffer: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Result<usize> {
    let mut control = Control([0; 64]);
    let slice = Slice { start: pointer(buffer.as_mut_ptr()), length: buffer.len() };
    let mut message = MessageHeader {
        name: 0,
        name_length: 0,
        slices: &raw const slice,
        slice_count: 1,
        control: pointer(control.0.as_mut_ptr()),
        control_length: control.0.len(),
        flags: 0,
    };
    let count = loop {
        // SAFETY: the message points to a buffer and a control block that outlive the call, with their true lengths.
        match unsafe { call(number::RECVMSG, [raw(socket), pointer(&raw mut message), MSG_CMSG_CLOEXEC, 0, 0, 0]) } {
            Err(EINTR) => {}
            Err(error) => return Err(error),
            Ok(count) => break count as usize,
        }
    };
    let filled = message.control_length.min(control.0.len());
    if filled >= CONTROL_HEADER {
        let field = |at: usize| i32::from_ne_bytes([control.0[at], control.0[at + 1], control.0[at + 2], control.0[at + 3]]);
        let length = usize::try_from(field(0)).unwrap_or(0).min(filled);
        if field(8) == SOL_SOCKET && field(12) == SCM_RIGHTS && length >= CONTROL_HEADER {
            for chunk in control.0[CONTROL_HEADER..length].chunks_exact(4) {
                descriptors.push(owned(c_long::from(i32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]))));
            }
        }
    }
    Ok(count)
}

/// Waits until one of two sockets has something; which have.
pub fn wait_readable(a: &impl AsRawFd, b: &impl AsRawFd) -> Result<(bool, bool)> {
    #[repr(C)]
    struct PollFd {
        fd: c_int,
        events: i16,
        revents: i16,
    }
    const POLLIN: i16 = 1;
    let mut fds = [PollFd { fd: a.as_raw_fd(), events: POLLIN, revents: 0 }, PollFd { fd: b.as_raw_fd(), events: POLLIN, revents: 0 }];
    loop {
        // SAFETY: the kernel reads and writes two entries; no time and no signal mask are given.
        match unsafe { call(number::PPOLL, [pointer(fds.as_mut_ptr()), 2, 0, 0, 0, 0]) } {
            Err(EINTR) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok((fds[0].revents != 0, fds[1].revents != 0)),
        }
    }
}
