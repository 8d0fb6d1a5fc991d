//! Repositories made and served by the real `git`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::lab::write;

/// A repository with a work tree, in which every commit is the same on every machine.
pub(super) struct Repository(pub(super) PathBuf);

impl Repository {
    pub(super) fn new(path: PathBuf, format: &str) -> Repository {
        std::fs::create_dir_all(&path).unwrap();
        let repository = Repository(path);
        repository.git(&["init", "--quiet", "--initial-branch=main", &format!("--object-format={format}"), "--template="]);
        repository
    }

    /// A command of git that has to go well; what it prints.
    pub(super) fn git(&self, words: &[&str]) -> String {
        self.git_with(words, &[])
    }

    /// As [`Repository::git`], with this on its standard input.
    pub(super) fn git_with(&self, words: &[&str], input: &[u8]) -> String {
        let mut command = Command::new("git");
        command.args(words).current_dir(&self.0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/nonexistent");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_ALLOW_PROTOCOL", "file");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "A").env(format!("GIT_{who}_EMAIL"), "a@example.com");
            command.env(format!("GIT_{who}_DATE"), "1000000000 +0000");
        }
        let mut child = command.spawn().expect("these tests need git: install Debian's package `git`");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        write(&self.0.join(path), text);
    }

    /// Commits all that is there; the commit's name.
    pub(super) fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all", "--force", "."]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// A bare copy of it in a directory that is served.
    pub(super) fn publish(&self, served: &Path, name: &str) {
        let bare = served.join(name);
        let _ = std::fs::remove_dir_all(&bare);
        self.git(&["clone", "--quiet", "--bare", "--no-local", ".", bare.to_str().unwrap()]);
        Repository(bare).git(&["update-server-info"]);
    }
}

/// A server of repositories. It ends with the value.
pub(super) struct Server {
    listens: Listens,
    /// What stands before the name of a repository.
    pub(super) address: String,
}

/// Who takes the connections.
enum Listens {
    /// A program.
    Program(Child),
    /// A thread of ours, until it is told to end.
    Thread { at: SocketAddr, ended: Arc<AtomicBool> },
}

impl Server {
    /// `git daemon`, one process for each connection: by itself it cannot tell which port it took.
    pub(super) fn daemon(directory: &Path) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let (end, settings, directory) = (Arc::clone(&ended), trusting(directory), directory.to_owned());
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let mut command = Command::new("git");
                command.args(["daemon", "--inetd", "--export-all"]).arg(format!("--base-path={}", directory.display()));
                command.env("GIT_CONFIG_GLOBAL", &settings).stderr(Stdio::null());
                command.stdin(OwnedFd::from(connection.try_clone().unwrap())).stdout(OwnedFd::from(connection));
                let mut process = command.spawn().unwrap();
                std::thread::spawn(move || process.wait());
            }
        });
        Server { listens: Listens::Thread { at, ended }, address: format!("git://{at}") }
    }

    /// Over http: `smart`, `plain` or `login`; or `known`, `spy` or `elsewhere` with a word behind it.
    pub(super) fn http(directory: &Path, kind: &str) -> Server {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/git/server.py");
        let mut process = Command::new("python3")
            .arg(program)
            .arg(directory)
            .args(kind.splitn(2, ' '))
            .env("GIT_CONFIG_GLOBAL", trusting(directory))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        assert!(port.ends_with('\n'), "the server of repositories ended: {:?}", process.wait());
        Server { listens: Listens::Program(process), address: format!("http://127.0.0.1:{}", port.trim()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match &mut self.listens {
            Listens::Program(process) => {
                let _ = process.kill();
                let _ = process.wait();
            }
            Listens::Thread { at, ended } => {
                ended.store(true, Ordering::SeqCst);
                // Wakes it.
                let _ = TcpStream::connect(*at);
            }
        }
    }
}

/// Settings of a server that gives what belongs to others.
fn trusting(directory: &Path) -> PathBuf {
    let path = directory.with_extension("server-settings");
    std::fs::write(&path, "[safe]\n\tdirectory = *\n").unwrap();
    path
}
