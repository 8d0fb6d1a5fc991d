//! A command of `git` in, what it printed out; with nothing of the caller's configuration, environment or keys, and stopped with the build.

use std::ffi::OsStr;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::error::GitError;
use super::settings::GitSettings;
use crate::event::Cancel;
use crate::input::Error;
use crate::registry::Secret;

/// The most that a command may print.
const OUTPUT_LIMIT_BYTES: u64 = 1 << 30;
/// The last of what it says about itself.
const SAID_LIMIT_BYTES: usize = 16 << 10;
/// How many lines of it.
const SAID_LINES: usize = 5;
/// Lines that say nothing.
const BOILERPLATE: [&str; 3] =
    ["Please make sure you have the correct access rights", "and the repository exists.", "fatal: Could not read from remote repository."];
/// How long after each other the wish to stop is looked for.
const TICK: Duration = Duration::from_millis(50);
/// Bundles of authorities where systems keep them; curl takes one file and no more.
const BUNDLES: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What counts for every command. Hooks, helpers and templates are none; what is received is checked; remote helpers other than git's own
/// are not spoken to. Mistakes in how old commits were written stop nothing: no file depends on them.
const CONFIG: &str = "\
[core]
\thooksPath = /dev/null
\tfsmonitor = false
\tuntrackedCache = false
[init]
\ttemplateDir =
[credential]
\thelper =
\tinteractive = false
[transfer]
\tfsckObjects = true
[fetch]
\tfsckObjects = true
\trecurseSubmodules = false
[fetch \"fsck\"]
\tzeroPaddedFilemode = ignore
\tmissingSpaceBeforeDate = ignore
\tmissingSpaceBeforeEmail = ignore
\tmissingNameBeforeEmail = ignore
\tmissingEmail = ignore
\tbadEmail = ignore
\tbadName = ignore
\tbadDate = ignore
\tbadTimezone = ignore
\tmissingTaggerEntry = ignore
[submodule]
\trecurse = false
[protocol]
\tversion = 2
[gc]
\tauto = 0
[maintenance]
\tauto = false
[http]
\tfollowRedirects = initial
[advice]
\tdetachedHead = false
";

/// `git`, ready to be run.
pub(super) struct Program<'a> {
    settings: &'a GitSettings,
    /// The repository that is asked for; its submodules may be elsewhere.
    asked: &'a str,
    program: PathBuf,
    cancel: &'a Cancel,
    /// What it takes for its home.
    home: PathBuf,
}

/// How a command ended, and what it printed.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) out: Vec<u8>,
    /// What it said about itself, without the counting.
    pub(super) said: String,
}

/// A process that ends with this value, and all that it has started.
pub(super) struct Running {
    pub(super) child: Child,
    /// How it ended, once that was asked for: from then on its number may be another's.
    ended: Option<ExitStatus>,
}

impl Running {
    fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait()?;
        self.ended = Some(status);
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_some() {
            return;
        }
        // It may be gone already; what it started may not.
        let _ = rustix::process::kill_process_group(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

impl<'a> Program<'a> {
    /// Finds the program. `asked` is the repository that it is for, `home` is an empty directory of its own.
    pub(super) fn find(settings: &'a GitSettings, asked: &'a str, home: PathBuf, cancel: &'a Cancel) -> Result<Program<'a>, GitError> {
        let program = std::env::split_paths(&settings.search_path)
            // An empty or relative entry would run whatever lies in the current directory.
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join("git"))
            .find(|program| program.is_file())
            .ok_or(GitError::NoProgram)?;
        let config = home.join("config");
        std::fs::write(&config, CONFIG).map_err(|source| GitError::File { path: config, source })?;
        Ok(Program { settings, asked, program, cancel, home })
    }

    /// The limits.
    pub(super) fn settings(&self) -> &GitSettings {
        self.settings
    }

    /// A command without words yet, to be run in a repository.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts git")]
    fn command(&self, repository: Option<&Path>) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().current_dir(&self.home).process_group(0);
        command
            .env("PATH", &self.settings.search_path)
            .env("HOME", &self.home)
            .env("XDG_CONFIG_HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", self.home.join("config"))
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_ALLOW_PROTOCOL", "")
            .env("LC_ALL", "C");
        match repository {
            Some(repository) => command.env("GIT_DIR", repository),
            // No repository that the home may lie in is taken for one.
            None => command.env("GIT_CEILING_DIRECTORIES", &self.home),
        };
        command
    }

    /// A command about what is here already.
    pub(super) fn local(&self, repository: Option<&Path>, words: &[&OsStr]) -> Command {
        let mut command = self.command(repository);
        command.args(words);
        command
    }

    /// A command that speaks with a server; with its protocol and no other.
    pub(super) fn remote(&self, repository: Option<&Path>, url: &str, words: &[&str]) -> Result<Command, GitError> {
        let mut command = self.command(repository);
        command.args(words);
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        match scheme {
            "http" | "https" => {
                command.env("GIT_ALLOW_PROTOCOL", "http:https");
                command.env("GIT_HTTP_LOW_SPEED_LIMIT", "1");
                command.env("GIT_HTTP_LOW_SPEED_TIME", "60");
                self.proxied(&mut command);
                self.known(&mut command, url);
                self.certified(&mut command, rest.split('/').next().unwrap_or_default())?;
            }
            "ssh" => {
                command.env("GIT_ALLOW_PROTOCOL", "ssh");
                self.with_keys(&mut command);
            }
            other => {
                command.env("GIT_ALLOW_PROTOCOL", other);
            }
        }
        Ok(command)
    }

    fn proxied(&self, command: &mut Command) {
        let crate::registry::Proxies { http, https, except } = &self.settings.proxies;
        let proxies = [("http_proxy", http), ("https_proxy", https)];
        for (name, proxy) in proxies.into_iter().filter_map(|(name, proxy)| Some((name, proxy.as_ref().map(Secret::expose)?))) {
            command.env(name, proxy);
        }
        let separator = if except.is_empty() { "" } else { "," };
        // What is on this machine goes through nobody.
        command.env("no_proxy", format!("{except}{separator}localhost,127.0.0.1,::1"));
    }

    /// Says who we are, in the environment: what stands in a command line or in a file has more readers. Whoever is known follows no
    /// server to another.
    fn known(&self, command: &mut Command, url: &str) {
        let Some((key, value)) = self.settings.logins.setting(url, self.asked) else { return };
        command.env("GIT_CONFIG_COUNT", "2");
        command.env("GIT_CONFIG_KEY_0", key).env("GIT_CONFIG_VALUE_0", value.expose());
        command.env("GIT_CONFIG_KEY_1", "http.followRedirects").env("GIT_CONFIG_VALUE_1", "false");
    }

    /// Authorities and our own certificate for a host, as for registries.
    fn certified(&self, command: &mut Command, host: &str) -> Result<(), GitError> {
        let without_port = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let Some(settings) = [host, without_port].iter().find_map(|name| self.settings.hosts.get(*name)) else { return Ok(()) };
        let keep = |name: &str, bytes: &[u8]| {
            let path = self.home.join(name);
            // A private key is for nobody else, also where others may enter the store.
            let opened = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
            opened.and_then(|mut file| file.write_all(bytes)).map(|()| path.clone()).map_err(|source| GitError::File { path, source })
        };
        if !settings.authorities.is_empty() {
            let mut bundle = BUNDLES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
            for authority in &settings.authorities {
                bundle.push(b'\n');
                bundle.extend_from_slice(authority);
            }
            command.env("GIT_SSL_CAINFO", keep("authorities.pem", &bundle)?);
        }
        if let Some(identity) = &settings.identity {
            let path = keep("identity.pem", identity.expose().as_bytes())?;
            command.env("GIT_SSL_CERT", &path).env("GIT_SSL_KEY", path);
        }
        Ok(())
    }

    /// `ssh` asks nothing, knows the hosts that the user knows, and has the keys of the agent that was given, and no others.
    fn with_keys(&self, command: &mut Command) {
        let mut ssh = "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o UpdateHostKeys=no -o ConnectTimeout=30 \
             -o ServerAliveInterval=15 -o ServerAliveCountMax=4 -o ForwardAgent=no -o ClearAllForwardings=yes -o PermitLocalCommand=no \
             -o IdentityFile=none"
            .to_owned();
        match &self.settings.agent {
            Some(socket) => {
                command.env("SSH_AUTH_SOCK", socket);
                ssh.push_str(" -o IdentityAgent=SSH_AUTH_SOCK");
            }
            None => ssh.push_str(" -o IdentityAgent=none"),
        }
        command.env("GIT_SSH_COMMAND", ssh).env("GIT_SSH_VARIANT", "ssh");
    }

    /// Starts a command whose output is read as it comes.
    pub(super) fn start(&self, mut command: Command) -> Result<Running, GitError> {
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        started.map(|child| Running { child, ended: None }).map_err(|source| GitError::Unusable { program: self.program.clone(), source })
    }

    /// Runs a command to its end. `doing` and `url` say what for.
    pub(super) fn run(&self, mut command: Command, doing: &'static str, url: &str) -> Result<Ended, Error> {
        let unusable = |source| GitError::Unusable { program: self.program.clone(), source };
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(unusable)?;
        let mut running = Running { child: started, ended: None };
        let (sender, receiver) = channel();
        let (out, err) = (running.child.stdout.take(), running.child.stderr.take());
        let to_out = sender.clone();
        let out = thread::spawn(move || out.map_or(Ok(Vec::new()), |out| whole(out, &to_out)));
        let err = thread::spawn(move || err.map_or(Ok(Vec::new()), |err| last(err, &sender)));
        let mut silent = Duration::ZERO;
        loop {
            match receiver.recv_timeout(TICK) {
                Ok(()) => silent = Duration::ZERO,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => silent += TICK,
            }
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if silent >= self.settings.silence {
                return Err(GitError::Stalled { url: url.to_owned(), doing, limit: self.settings.silence }.into());
            }
        }
        let status = running.wait().map_err(unusable)?;
        let joined = |thread: thread::JoinHandle<io::Result<Vec<u8>>>| match thread.join() {
            Ok(read) => read.map_err(unusable),
            Err(_) => Err(unusable(io::Error::other("a reader ended early"))),
        };
        Ok(Ended { status, out: joined(out)?, said: said(&joined(err)?) })
    }
}

fn whole(mut from: impl Read, sender: &Sender<()>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
        if bytes.len() as u64 > OUTPUT_LIMIT_BYTES {
            return Err(io::Error::other("it prints more than any repository gives reason for"));
        }
        // Nobody may be listening any more.
        let _ = sender.send(());
    }
}

fn last(mut from: impl Read, sender: &Sender<()>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 4 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
        if bytes.len() > 2 * SAID_LIMIT_BYTES {
            bytes.drain(..bytes.len() - SAID_LIMIT_BYTES);
        }
        let _ = sender.send(());
    }
}

/// The lines that say what is wrong, on one line, without what a terminal would obey.
fn said(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let counting = |line: &str| ["% (", "Enumerating objects", "Counting objects", "Total "].iter().any(|word| line.contains(word));
    let told = |line: &str| !line.is_empty() && !counting(line) && !BOILERPLATE.contains(&line);
    let mut chosen: Vec<&str> = text.split(['\n', '\r']).map(str::trim).filter(|line| told(line)).collect();
    chosen.drain(..chosen.len().saturating_sub(SAID_LINES));
    let joined = chosen.join("; ");
    let plain: String = joined.chars().map(|character| if character.is_control() { ' ' } else { character }).take(600).collect();
    if plain.is_empty() { "it does not say why".to_owned() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn what_is_wrong_is_told_and_counting_is_not() {
        let noise = b"remote: Counting objects:  50% (1/2)\rReceiving objects: 100% (2/2)\nfatal: early \x1b[31mEOF\n";
        assert_eq!(said(noise), "fatal: early  [31mEOF");
        assert_eq!(said(b"Permission denied (publickey).\n"), "Permission denied (publickey).");
        assert_eq!(said(b""), "it does not say why");
    }
}
