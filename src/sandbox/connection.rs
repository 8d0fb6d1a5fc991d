//! Frames over a socket to the helper: a value and descriptors in, the same out at the other end.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::wire::{self, HEADER_BYTES, MOST_DESCRIPTORS, Wire};

/// A socket whose other end is a process of the helper.
#[derive(Debug)]
pub(super) struct Connection {
    socket: UnixStream,
}

impl Connection {
    /// Two ends; the other one is for the helper.
    pub(super) fn pair() -> io::Result<(Connection, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Connection { socket: ours }, theirs.into()))
    }

    /// For waiting.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends one frame.
    pub(super) fn send<T: Wire>(&self, value: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let body = wire::encode(value);
        let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "a request to the sandbox's helper is too long");
        if body.len() > wire::LARGEST_BODY_BYTES || descriptors.len() > MOST_DESCRIPTORS {
            return Err(too_long());
        }
        let length = u32::try_from(body.len()).map_err(|_| too_long())?;
        let count = u32::try_from(descriptors.len()).map_err(|_| too_long())?;
        let mut frame = wire::header(length, count).to_vec();
        frame.extend_from_slice(&body);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(too_long());
        }
        // The descriptors go with the first byte.
        let sent =
            rustix::io::retry_on_intr(|| rustix::net::sendmsg(&self.socket, &[IoSlice::new(&frame)], &mut control, SendFlags::NOSIGNAL))?;
        let mut rest = frame.get(sent..).unwrap_or_default();
        while !rest.is_empty() {
            let sent = rustix::io::retry_on_intr(|| rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL))?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Receives one frame.
    pub(super) fn receive<T: Wire>(&self) -> io::Result<(T, Vec<OwnedFd>)> {
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "the sandbox's helper sent something that is not understood");
        let mut header = [0; HEADER_BYTES];
        let mut descriptors = Vec::new();
        let mut filled = 0;
        while filled < HEADER_BYTES {
            match self.receive_some(header.get_mut(filled..).unwrap_or_default(), &mut descriptors)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        let (length, announced) = wire::parse_header(header).ok_or_else(broken)?;
        let mut body = vec![0; length];
        (&self.socket).read_exact(&mut body)?;
        if descriptors.len() != announced {
            return Err(broken());
        }
        Ok((wire::decode(&body).ok_or_else(broken)?, descriptors))
    }

    fn receive_some(&self, buffer: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(&self.socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
        })?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        Ok(received.bytes)
    }

    /// Passes a signal on to a step's command.
    pub(super) fn signal(&self, number: u8) {
        let _ = (&self.socket).write(&[number]);
    }

    /// Tells a step to stop. Its end is the answer.
    pub(super) fn stop(&self) {
        // Signals have other numbers. A step that has ended already does not listen.
        let _ = (&self.socket).write(&[0]);
    }
}
