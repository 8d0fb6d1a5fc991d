//! This terminal, lent to a command that has one of its own: keys go in, what it shows comes out.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::OwnedFd;

use lapstrake::sandbox::Console;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, Termios, Winsize};

/// How often it is looked whether the terminal has another size.
const SIZE_EVERY_NANOSECONDS: i64 = 200_000_000;
/// What a terminal takes for the end of what is typed.
const END_OF_INPUT: &[u8] = &[4];

/// Where what the command shows goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Screen {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Screen {
    /// Whether keys come from a terminal, and the screen is one.
    pub(crate) fn is_there(self) -> bool {
        io::stdin().is_terminal()
            && match self {
                Screen::Out => io::stdout().is_terminal(),
                Screen::Err => io::stderr().is_terminal(),
            }
    }

    fn show(self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Screen::Out => {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            Screen::Err => io::stderr().lock().write_all(bytes),
        }
    }
}

/// Lends the terminal to what `work` runs with the console, until that has ended.
pub(crate) fn lend<T>(screen: Screen, work: impl FnOnce(Console<'_>) -> T) -> T {
    let mut showing = None;
    let size = rustix::termios::tcgetwinsize(io::stdin()).map_or((24, 80), |size| (size.ws_row, size.ws_col));
    let opened = |end: OwnedFd| {
        showing = std::thread::Builder::new().name("terminal".to_owned()).spawn(move || pass_on(&end, screen)).ok();
    };
    let result = work(Console::Terminal { size, opened: Box::new(opened) });
    if let Some(thread) = showing {
        // It ends with the last process that has the terminal.
        let _ = thread.join();
    }
    result
}

/// Every key goes to the command, also those that would interrupt this program. As it was when dropped.
struct Raw(Termios);

impl Raw {
    fn begin() -> Option<Raw> {
        let before = rustix::termios::tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

fn pass_on(end: &OwnedFd, screen: Screen) {
    let _raw = Raw::begin();
    let keys = io::stdin();
    let mut known: Option<Winsize> = None;
    let mut buffer = vec![0; 16 << 10];
    let mut typing = true;
    // What the command has no room for yet. Waiting for that would be waiting for a command that waits for its output to be read.
    let mut unsent: Vec<u8> = Vec::new();
    let flags = rustix::fs::fcntl_getfl(end);
    if flags.and_then(|flags| rustix::fs::fcntl_setfl(end, flags | OFlags::NONBLOCK)).is_err() {
        return;
    }
    loop {
        let size = rustix::termios::tcgetwinsize(&keys).ok();
        if let Some(size) = size.filter(|size| known.is_none_or(|known| (known.ws_row, known.ws_col) != (size.ws_row, size.ws_col))) {
            let _ = rustix::termios::tcsetwinsize(end, size);
            known = Some(size);
        }
        let wanted = if unsent.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut polled = vec![PollFd::new(end, wanted)];
        if typing && unsent.is_empty() {
            polled.push(PollFd::new(&keys, PollFlags::IN));
        }
        match rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: SIZE_EVERY_NANOSECONDS })) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let of_command = polled.first().map_or(PollFlags::empty(), PollFd::revents);
        let typed = polled.get(1).is_some_and(|keys| !keys.revents().is_empty());
        if of_command.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            match rustix::io::read(end, &mut *buffer) {
                Ok(0) => return,
                Ok(count) if screen.show(buffer.get(..count).unwrap_or_default()).is_ok() => {}
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                // Nobody has the other end any more.
                Ok(_) | Err(_) => return,
            }
        }
        if typed {
            match rustix::io::read(&keys, &mut *buffer) {
                Ok(0) => {
                    typing = false;
                    unsent.extend_from_slice(END_OF_INPUT);
                }
                Ok(count) => unsent.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(_) => {}
            }
        }
        if !unsent.is_empty() {
            match rustix::io::write(end, &unsent) {
                Ok(count) => drop(unsent.drain(..count.min(unsent.len()))),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(_) => return,
            }
        }
    }
}
