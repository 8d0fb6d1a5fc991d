//! A credential helper's name and a server → credentials, or credentials kept or forgotten, by running the helper.
//!
//! The helper is `docker-credential-NAME` in a search path that the caller gives; it gets the server on standard input and answers JSON
//! on standard output. What it says on failure is not passed on: it may hold a secret.
//! Source of truth: the README of docker-credential-helpers, section "Development".

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::{Credential, CredentialError, Secret};

/// The most that a helper may answer.
const ANSWER_LIMIT_BYTES: u64 = 64 << 10;

/// What helpers print when they have nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username", default)]
    user: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

/// What a helper is to do, as its argument says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Get,
    Store,
    Erase,
}

impl Action {
    const fn word(self) -> &'static str {
        match self {
            Action::Get => "get",
            Action::Store => "store",
            Action::Erase => "erase",
        }
    }
}

/// Asks a helper for a server's credentials; `None` when it has none.
pub(super) fn ask(name: &str, server: &str, search_path: &OsStr, limit: Duration) -> Result<Option<Credential>, CredentialError> {
    let (status, output) = run(name, Action::Get, server.as_bytes(), search_path, limit)?;
    read_answer(name, server, status, &output)
}

/// Gives a helper a server's credentials to keep.
pub(super) fn store(
    name: &str,
    server: &str,
    user: &str,
    secret: &Secret,
    search_path: &OsStr,
    limit: Duration,
) -> Result<(), CredentialError> {
    // In the order of the Go struct: helpers in shell may rely on it.
    let [server_text, user, secret] = [server, user, secret.expose()].map(|text| serde_json::Value::from(text).to_string());
    let told = format!("{{\"ServerURL\":{server_text},\"Username\":{user},\"Secret\":{secret}}}\n");
    done(name, Action::Store, server, run(name, Action::Store, told.as_bytes(), search_path, limit)?.0)
}

/// Has a helper forget a server's credentials.
pub(super) fn erase(name: &str, server: &str, search_path: &OsStr, limit: Duration) -> Result<(), CredentialError> {
    done(name, Action::Erase, server, run(name, Action::Erase, server.as_bytes(), search_path, limit)?.0)
}

fn done(name: &str, action: Action, server: &str, status: ExitStatus) -> Result<(), CredentialError> {
    if status.success() {
        return Ok(());
    }
    let task = format!("{} the login for `{server}`", action.word());
    Err(CredentialError::HelperRefused { name: name.to_owned(), task, exit: status.to_string() })
}

/// Runs a helper: how it ended, and what it answered.
fn run(name: &str, action: Action, input: &[u8], search_path: &OsStr, limit: Duration) -> Result<(ExitStatus, Vec<u8>), CredentialError> {
    let program = find(name, search_path)?;
    let unusable = |source| CredentialError::HelperUnusable { name: name.to_owned(), source };
    let mut child = start(&program, action, search_path).map_err(unusable)?;
    let answer = converse(&mut child, input, limit);
    let end = |child: &mut Child| {
        // It may be gone already.
        let _ = child.kill();
        child.wait()
    };
    match answer {
        Ok(Some(output)) => Ok((child.wait().map_err(unusable)?, output)),
        Ok(None) => {
            end(&mut child).map_err(unusable)?;
            Err(CredentialError::HelperTimeout { name: name.to_owned(), seconds: limit.as_secs() })
        }
        Err(source) => {
            end(&mut child).map_err(unusable)?;
            Err(unusable(source))
        }
    }
}

fn read_answer(name: &str, server: &str, status: ExitStatus, output: &[u8]) -> Result<Option<Credential>, CredentialError> {
    if !status.success() {
        let nothing = String::from_utf8_lossy(output).trim() == NOT_FOUND;
        let failed = CredentialError::HelperFailed { name: name.to_owned(), server: server.to_owned(), exit: status.to_string() };
        return if nothing { Ok(None) } else { Err(failed) };
    }
    let answer: Answer = serde_json::from_slice(output).map_err(|_| CredentialError::HelperAnswer { name: name.to_owned() })?;
    Ok(match (answer.user.as_str(), answer.secret.as_str()) {
        (_, "") => None,
        ("<token>", token) => Some(Credential::IdentityToken(Secret::new(token))),
        (user, password) => Some(Credential::Password { user: user.to_owned(), password: Secret::new(password) }),
    })
}

fn find(name: &str, search_path: &OsStr) -> Result<PathBuf, CredentialError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(good) {
        return Err(CredentialError::HelperName { name: name.to_owned() });
    }
    let file = format!("docker-credential-{name}");
    std::env::split_paths(search_path)
        // An empty or relative entry would run whatever lies in the current directory.
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(&file))
        .find(|program| program.is_file())
        .ok_or_else(|| CredentialError::HelperMissing { name: name.to_owned() })
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that starts credential helpers")]
fn start(program: &PathBuf, action: Action, search_path: &OsStr) -> io::Result<Child> {
    Command::new(program)
        .arg(action.word())
        .env("PATH", search_path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

/// Writes the input and reads the answer; `None` when time ran out.
fn converse(child: &mut Child, input: &[u8], limit: Duration) -> io::Result<Option<Vec<u8>>> {
    if let Some(mut pipe) = child.stdin.take() {
        match pipe.write_all(input) {
            // It need not read what it does not care for.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let Some(output) = child.stdout.take() else { return Ok(Some(Vec::new())) };
    let (sender, receiver): (_, Receiver<io::Result<Vec<u8>>>) = channel();
    // Reading has no time limit of its own; a thread whose helper left a child with the pipe open ends with that child.
    thread::Builder::new().name("credential-helper".to_owned()).spawn(move || {
        let mut bytes = Vec::new();
        let read = output.take(ANSWER_LIMIT_BYTES).read_to_end(&mut bytes).map(|_| bytes);
        let _ = sender.send(read);
    })?;
    match receiver.recv_timeout(limit) {
        Ok(answer) => answer.map(Some),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(None),
    }
}

/// For tests: writes a program that can be started at once. A process of its own does: what this one has open for writing, children have
/// that other tests fork at the same moment, and nothing is started that anybody has open for writing.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test of what starts programs")]
pub(super) fn write_program(path: &std::path::Path, text: &str) {
    let mut shell = Command::new("sh").args(["-ec", "cat >\"$0\"; chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success(), "{}", path.display());
}
