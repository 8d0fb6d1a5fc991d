//! `[=SOCKET|KEY[,KEY]…]` → the socket of an SSH agent: one that runs already, or one of our own that has these keys and ends with us.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::exit::Failure;
use crate::machine::Machine;

/// No key is larger.
const KEY_LIMIT_BYTES: u64 = 1 << 20;
/// What `ssh-agent` starts: it tells where the agent is, and lasts until we close its standard input or are gone; the agent ends with it.
const KEEPER: &str = r#"echo "$SSH_AGENT_PID $SSH_AUTH_SOCK"; exec cat"#;

/// An agent, as long as this lives.
pub(crate) struct Agent {
    /// Its socket.
    pub(crate) socket: PathBuf,
    _own: Option<OwnAgent>,
}

/// An agent that we have started.
struct OwnAgent {
    keeper: Child,
    agent: Option<Pid>,
}

impl Drop for OwnAgent {
    fn drop(&mut self) {
        // While its parent is there, the number is that of the agent and of nobody else.
        if let (Some(agent), Ok(None)) = (self.agent, self.keeper.try_wait()) {
            // It may have ended already; else it takes its socket with it.
            let _ = kill_process(agent, Signal::TERM);
        }
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// The agent that the caller has, if there is one.
pub(crate) fn of_caller(machine: &Machine) -> Option<&Path> {
    machine.surroundings.variable("SSH_AUTH_SOCK").map(Path::new)
}

/// Opens an agent. `what` is what asks for it, for messages; `place` is a socket or files with keys, `None` the caller's agent.
pub(crate) fn open(machine: &Machine, what: &str, place: Option<&str>) -> Result<Agent, Failure> {
    let wrong = |reason: &str| Failure::usage(format!("`{what}`: {reason}"));
    let Some(place) = place else {
        let socket = of_caller(machine).ok_or_else(|| wrong("SSH_AUTH_SOCK is not set; start an agent, or name its socket or a key"))?;
        return running(socket).map_err(|reason| wrong(&reason))?.ok_or_else(|| wrong(&format!("`{}` is no socket", socket.display())));
    };
    let mut keys = Vec::new();
    for path in place.split(',').map(Path::new) {
        if let Some(agent) = running(path).map_err(|reason| wrong(&reason))? {
            return if place.contains(',') { Err(wrong("the socket of an agent stands alone")) } else { Ok(agent) };
        }
        keys.push((path, key(path).map_err(|reason| wrong(&reason))?));
    }
    let agent = start(machine).map_err(|reason| Failure::world(format!("`{what}`: {reason}")))?;
    for (path, key) in &keys {
        add(machine, &agent.socket, key).map_err(|reason| wrong(&format!("`{}`: {reason}", path.display())))?;
    }
    Ok(agent)
}

/// The agent behind a socket; `None` where there is something else.
fn running(path: &Path) -> Result<Option<Agent>, String> {
    let shown = path.display();
    let socket = std::path::absolute(path).map_err(|error| format!("`{shown}`: {error}"))?;
    let kind = std::fs::metadata(&socket).map_err(|error| format!("`{shown}`: {error}"))?.file_type();
    Ok(kind.is_socket().then_some(Agent { socket, _own: None }))
}

/// A private key, with the line ends that `ssh-add` wants.
fn key(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| format!("`{shown}`: {error}"))?;
    let read = file.take(KEY_LIMIT_BYTES).read_to_string(&mut text);
    if read.is_err() || !text.contains("PRIVATE KEY-----") {
        return Err(format!("`{shown}` is neither the socket of an agent nor a private key"));
    }
    Ok(format!("{}\n", text.replace("\r\n", "\n").trim_end()))
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that runs the programs of OpenSSH for agents")]
fn program(machine: &Machine, name: &str) -> Result<Command, String> {
    let search = machine.surroundings.variable("PATH").unwrap_or_default();
    let found = std::env::split_paths(search).filter(|directory| directory.is_absolute()).map(|directory| directory.join(name));
    let path = found.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        format!(
            "a key is given to an agent, which takes the programs `ssh-agent` and `ssh-add`, and there is no `{name}` in the search path"
        )
    })?;
    let mut command = Command::new(path);
    // Signals of the terminal are for us alone.
    command.env_clear().env("PATH", search).process_group(0);
    Ok(command)
}

fn start(machine: &Machine) -> Result<Agent, String> {
    let failed = |error: std::io::Error| format!("cannot run `ssh-agent`: {error}");
    let mut command = program(machine, "ssh-agent")?;
    command.args(["/bin/sh", "-c", KEEPER]);
    let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(failed)?;
    let out = keeper.stdout.take();
    let mut own = OwnAgent { keeper, agent: None };
    let mut line = String::new();
    out.map_or(Ok(0), |out| BufReader::new(out).read_line(&mut line)).map_err(failed)?;
    let (id, socket) = line.trim_end().split_once(' ').ok_or("`ssh-agent` does not say where it is")?;
    own.agent = id.parse().ok().and_then(Pid::from_raw);
    Ok(Agent { socket: PathBuf::from(socket), _own: Some(own) })
}

/// Gives a key to an agent. It goes by standard input, where nobody minds who may read the file.
fn add(machine: &Machine, socket: &Path, key: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot run `ssh-add`: {error}");
    let mut command = program(machine, "ssh-add")?;
    // Nobody is asked for a passphrase.
    command.args(["-q", "-"]).env("SSH_AUTH_SOCK", socket).env("SSH_ASKPASS", "/bin/false").env("SSH_ASKPASS_REQUIRE", "force");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not want it says why.
        let _ = input.write_all(key.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace(['\r', '\n'], " ");
    Err(format!("`ssh-add` does not take it ({said}); a key with a passphrase is for an agent of yours: `ssh-add` it there"))
}
