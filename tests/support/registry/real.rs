//! The distribution project's registry, as Debian packages it, on a free port of this machine.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::waiting::until_some;

/// A running registry. It ends with the value.
pub(crate) struct RealRegistry {
    pub(crate) address: SocketAddr,
    process: Child,
    directory: tempfile::TempDir,
}

/// `alice` with the password `wonder land`, as `htpasswd -B` writes it.
pub(crate) const HTPASSWD: &str = "alice:$2y$05$lapstrakelapstrakelap.JUmV4SpEJcUOlg9pYP0NRvpyTrfEdnW\n";

/// The password in [`HTPASSWD`].
pub(crate) const PASSWORD: &str = "wonder land";

impl RealRegistry {
    /// Starts one. `further` is more of its configuration, in which `{directory}` stands for a directory that holds `files`.
    pub(crate) fn start(further: &str, files: &[(&str, &str)]) -> RealRegistry {
        RealRegistry::start_on("127.0.0.1", further, files)
    }

    /// The same, on this address of the machine.
    pub(crate) fn start_on(host: &str, further: &str, files: &[(&str, &str)]) -> RealRegistry {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        // The kernel chooses the port, so that nobody else can have it; the log tells which it was.
        let address = SocketAddr::new(host.parse().unwrap(), 0).to_string();
        let root = directory.path().display().to_string();
        let config = format!(
            "version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: {root}/data\n  delete:\n    enabled: true\n{}",
            further.replace("{directory}", &root).replace("{address}", &address),
        );
        let config = if further.contains("\nhttp:") || further.starts_with("http:") {
            config
        } else {
            format!("{config}\nhttp:\n  addr: \"{address}\"\n")
        };
        let file = directory.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let log = directory.path().join("log");
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            // Into a file: a pipe that nobody reads would fill, and the registry wait for it.
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .expect("these tests need a registry: install Debian's package `docker-registry`");
        let address = until_some("docker-registry says where it listens", || {
            let said = std::fs::read_to_string(&log).unwrap();
            assert!(process.try_wait().unwrap().is_none(), "docker-registry ended:\n{said}");
            listening(&said)
        });
        RealRegistry { address, process, directory }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// Where it takes connections, by what it wrote so far. It writes that once it does.
fn listening(said: &str) -> Option<SocketAddr> {
    let (_, rest) = said.split_once("listening on ")?;
    let end = rest.find(|character: char| !matches!(character, '0'..='9' | 'a'..='f' | '.' | ':' | '[' | ']'))?;
    rest[..end].parse().ok()
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a program that a test needs; panics when it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("these tests need `{program}` ({error}): install Debian's package of that name"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?} failed: {said}");
    output
}
