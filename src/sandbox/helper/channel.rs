//! Frames over a socket: a value and descriptors in, the same out at the other end.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::sys::{self, ECONNRESET, EPROTO, Result};
use crate::wire::{self, HEADER_BYTES, Wire};

/// Sends one frame.
pub fn send<T: Wire>(socket: &impl AsRawFd, value: &T, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let body = wire::encode(value);
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= wire::LARGEST_BODY_BYTES).ok_or(EPROTO)?;
    let mut frame = wire::header(length, descriptors.len() as u32).to_vec();
    frame.extend_from_slice(&body);
    // The descriptors go with the first byte.
    let mut sent = sys::send(socket, &frame, descriptors)?;
    while let Some(rest) = frame.get(sent..).filter(|rest| !rest.is_empty()) {
        sent += sys::send(socket, rest, &[])?;
    }
    Ok(())
}

/// Receives one frame; `None` when the other end is gone.
pub fn receive<T: Wire>(socket: &impl AsRawFd) -> Result<Option<(T, Vec<OwnedFd>)>> {
    let mut header = [0; HEADER_BYTES];
    let mut descriptors = Vec::new();
    let mut filled = 0;
    while filled < HEADER_BYTES {
        match sys::receive(socket, &mut header[filled..], &mut descriptors)? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(ECONNRESET),
            count => filled += count,
        }
    }
    let (length, announced) = wire::parse_header(header).ok_or(EPROTO)?;
    let mut body = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match sys::read(socket, &mut body[filled..])? {
            0 => return Err(ECONNRESET),
            count => filled += count,
        }
    }
    if descriptors.len() != announced {
        return Err(EPROTO);
    }
    Ok(Some((wire::decode(&body).ok_or(EPROTO)?, descriptors)))
}
