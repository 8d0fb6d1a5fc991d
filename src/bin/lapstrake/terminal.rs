//! This terminal, lent to a command that has one of its own: keys go in, what it shows comes out.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use lapstrake::sandbox::Console;
use rustix::event::{PollFd, PollFlags, Timespec};
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
    loop {
        let size = rustix::termios::tcgetwinsize(&keys).ok();
        if let Some(size) = size.filter(|size| known.is_none_or(|known| (known.ws_row, known.ws_col) != (size.ws_row, size.ws_col))) {
            let _ = rustix::termios::tcsetwinsize(end, size);
            known = Some(size);
        }
        let mut polled = vec![PollFd::new(end, PollFlags::IN)];
        if typing {
            polled.push(PollFd::new(&keys, PollFlags::IN));
        }
        match rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: SIZE_EVERY_NANOSECONDS })) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let ready: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
        if ready.first() == Some(&true) {
            match rustix::io::read(end, &mut *buffer) {
                Ok(0) => return,
                Ok(count) if screen.show(buffer.get(..count).unwrap_or_default()).is_ok() => {}
                Err(rustix::io::Errno::INTR) => {}
                // Nobody has the other end any more.
                Ok(_) | Err(_) => return,
            }
        }
        if ready.get(1) == Some(&true) {
            let typed = match rustix::io::read(&keys, &mut *buffer) {
                Ok(0) => {
                    typing = false;
                    END_OF_INPUT
                }
                Ok(count) => buffer.get(..count).unwrap_or_default(),
                Err(_) => continue,
            };
            if pass_in(end, typed).is_err() {
                return;
            }
        }
    }
}

fn pass_in(end: &OwnedFd, mut typed: &[u8]) -> rustix::io::Result<()> {
    while !typed.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::write(end.as_fd(), typed))?;
        typed = typed.get(count..).unwrap_or_default();
    }
    Ok(())
}
