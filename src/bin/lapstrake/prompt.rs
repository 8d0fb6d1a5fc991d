//! A question → what somebody at the terminal answers, seen or unseen.

use std::io::{IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::exit::Failure;

/// Whether what is typed is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    Shown,
    Hidden,
}

/// Asks on standard error and reads a line of standard input, which must be a terminal.
pub(crate) fn ask(question: &str, echo: Echo) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage(
            "there is no terminal to ask at: give `--username NAME --password-stdin`, and the password on standard input",
        ));
    }
    let failed = |error: rustix::io::Errno| Failure::world(format!("cannot set up the terminal: {error}"));
    let before = tcgetattr(&stdin).map_err(failed)?;
    let mut raw = before.clone();
    // Signals are read as characters, so that the terminal is put right again before the end.
    raw.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&stdin, OptionalActions::Flush, &raw).map_err(failed)?;
    let restored = Restored(before);
    say(question);
    let answer = line(echo);
    say("\n");
    drop(restored);
    answer
}

fn say(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

fn line(echo: Echo) -> Result<String, Failure> {
    let mut typed: Vec<u8> = Vec::new();
    let mut stdin = std::io::stdin().lock();
    loop {
        let mut byte = [0];
        match stdin.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::world(format!("cannot read from the terminal: {error}"))),
        }
        match byte[0] {
            b'\n' | b'\r' => break,
            // Ctrl-C and Ctrl-\.
            3 | 28 => return Err(Failure::cancelled()),
            // Ctrl-D.
            4 if typed.is_empty() => return Err(Failure::cancelled()),
            4 => break,
            // Backspace takes a character, which may be several bytes.
            8 | 127 => {
                while typed.pop().is_some_and(|byte| byte & 0xC0 == 0x80) {}
                if echo == Echo::Shown {
                    say("\x08 \x08");
                }
            }
            // Ctrl-U.
            21 => typed.clear(),
            byte => {
                typed.push(byte);
                if echo == Echo::Shown {
                    let mut err = std::io::stderr().lock();
                    let _ = err.write_all(&[byte]).and_then(|()| err.flush());
                }
            }
        }
    }
    String::from_utf8(typed).map_err(|_| Failure::usage("what was typed is no text in UTF-8"))
}

/// Puts the terminal back as it was.
struct Restored(Termios);

impl Drop for Restored {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}
