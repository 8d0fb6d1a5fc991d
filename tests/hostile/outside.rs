//! Canaries: files, a process and sockets of the machine that no build may touch or reach.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::lab::{set_mode, write};
use crate::waiting::until;

/// What is in every file of the outside, and in the process' environment.
pub(crate) const CANARY: &str = "canary-of-the-outside";

/// What was planted. It ends with the value.
pub(crate) struct Outside {
    directory: tempfile::TempDir,
    process: Child,
    pub(crate) tcp: std::net::SocketAddr,
    pub(crate) name: String,
    reached: [Arc<AtomicUsize>; 3],
    before: String,
}

/// How many connections came to each listening socket.
#[derive(Debug, PartialEq, Eq, Clone, Copy, Default)]
pub(crate) struct Reached {
    pub(crate) tcp: usize,
    pub(crate) path: usize,
    pub(crate) name: usize,
}

impl Reached {
    /// Both together.
    pub(crate) fn and(self, more: Reached) -> Reached {
        Reached { tcp: self.tcp + more.tcp, path: self.path + more.path, name: self.name + more.name }
    }
}

impl Outside {
    pub(crate) fn plant() -> Outside {
        let directory = tempfile::Builder::new().prefix("lapstrake-outside.").tempdir_in("/tmp").unwrap();
        let at = |name: &str| directory.path().join(name);
        // Whoever gets here may write: what holds is that nobody gets here.
        set_mode(directory.path(), 0o777);
        write(&at("file"), CANARY);
        write(&at("directory/below"), CANARY);
        write(&at("secret"), CANARY);
        for (name, mode) in [("file", 0o666), ("directory", 0o777), ("directory/below", 0o666), ("secret", 0o600)] {
            set_mode(&at(name), mode);
        }
        // As the mount points are that a builder makes and takes away.
        write(&at("empty"), "");
        set_mode(&at("empty"), 0o644);
        std::fs::create_dir(at("hollow")).unwrap();
        set_mode(&at("hollow"), 0o755);
        symlink("file", at("link")).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let path = UnixListener::bind(at("socket")).unwrap();
        set_mode(&at("socket"), 0o777);
        let name = directory.path().file_name().unwrap().to_string_lossy().into_owned();
        let abstract_name = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let address = tcp.local_addr().unwrap();
        let reached: [Arc<AtomicUsize>; 3] = std::array::from_fn(|_| Arc::default());
        count(&reached[0], move || tcp.accept().is_ok());
        count(&reached[1], move || path.accept().is_ok());
        count(&reached[2], move || abstract_name.accept().is_ok());
        let mut process = Command::new("sleep").arg(crate::processes::mark()).env("CANARY", CANARY).stdin(Stdio::null()).spawn().unwrap();
        // Only then is its state always the same.
        until("the canary sleeps", || {
            assert!(process.try_wait().unwrap().is_none(), "`sleep` ended");
            std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap().contains("(sleep) S ")
        });
        let mut outside = Outside { directory, process, tcp: address, name, reached, before: String::new() };
        outside.before = outside.state();
        outside
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The directory, as text that stands in specs and names.
    pub(crate) fn text(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }

    /// The process that sleeps.
    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }

    /// All that can be seen of what was planted, and settings of the machine that an attack would change.
    fn state(&self) -> String {
        let mut lines: Vec<String> =
            walkdir::WalkDir::new(self.directory.path()).into_iter().map(|entry| describe(entry.unwrap().path())).collect();
        for file in ["kernel/core_pattern", "kernel/hostname", "kernel/sysrq", "vm/overcommit_memory", "kernel/modprobe"] {
            lines.push(format!("{file} {}", std::fs::read_to_string(Path::new("/proc/sys").join(file)).unwrap_or_default()));
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        lines.extend(mounts.lines().filter(|line| line.contains(&self.name)).map(str::to_owned));
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let kept = |line: &&str| ["State", "TracerPid", "SigPnd", "ShdPnd"].iter().any(|field| line.starts_with(field));
        lines.extend(status.lines().filter(kept).map(str::to_owned));
        lines.sort();
        lines.join("\n")
    }

    /// Nothing was changed, and the process lives and sleeps.
    pub(crate) fn assert_untouched(&self, after: &str) {
        assert_eq!(self.state(), self.before, "{after}");
    }

    /// How often each socket was reached since the last time.
    pub(crate) fn reached(&self) -> Reached {
        let [tcp, path, name] = self.reached.each_ref().map(|count| count.swap(0, Ordering::SeqCst));
        Reached { tcp, path, name }
    }

    /// None of the sockets was reached, and nothing was changed.
    pub(crate) fn assert_unreached(&self, after: &str) {
        assert_eq!(self.reached(), Reached::default(), "{after}");
        self.assert_untouched(after);
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Counts what comes, as long as the test lives.
fn count(into: &Arc<AtomicUsize>, accept: impl Fn() -> bool + Send + 'static) {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        while accept() {
            into.fetch_add(1, Ordering::SeqCst);
        }
    });
}

fn describe(path: &Path) -> String {
    let found = path.symlink_metadata().unwrap();
    let mut content = Vec::new();
    if found.is_file() {
        std::fs::File::open(path).unwrap().read_to_end(&mut content).unwrap();
    }
    format!(
        "{} {:o} {}:{} {} {}.{} {}",
        path.display(),
        found.mode(),
        found.uid(),
        found.gid(),
        found.nlink(),
        found.mtime(),
        found.mtime_nsec(),
        String::from_utf8_lossy(&content)
    )
}

#[test]
fn what_watches_the_outside_sees_each_sort_of_harm() {
    type Harm = fn(&Outside);
    let harms: [(&str, Harm); 5] = [
        ("a file is written", |outside| write(&outside.path("file"), "x")),
        ("a file is made", |outside| write(&outside.path("directory/new"), "x")),
        ("a mode is changed", |outside| set_mode(&outside.path("secret"), 0o644)),
        ("a file is removed", |outside| std::fs::remove_file(outside.path("link")).unwrap()),
        ("the process is stopped", |outside| {
            let id = rustix::process::Pid::from_child(&outside.process);
            rustix::process::kill_process(id, rustix::process::Signal::STOP).unwrap();
            until("the canary is stopped", || outside.state().contains("State:\tT"));
        }),
    ];
    for (what, harm) in harms {
        let outside = Outside::plant();
        outside.assert_unreached("nothing happened");
        harm(&outside);
        assert_ne!(outside.state(), outside.before, "{what}");
    }
    let outside = Outside::plant();
    std::net::TcpStream::connect(outside.tcp).unwrap();
    std::os::unix::net::UnixStream::connect(outside.path("socket")).unwrap();
    std::os::unix::net::UnixStream::connect_addr(&SocketAddr::from_abstract_name(&outside.name).unwrap()).unwrap();
    let mut seen = Reached::default();
    until("each connection is counted once", || {
        seen = seen.and(outside.reached());
        seen == Reached { tcp: 1, path: 1, name: 1 }
    });
}
