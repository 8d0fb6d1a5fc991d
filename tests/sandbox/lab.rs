//! A place to run steps in: a root of busybox, fresh directories, and jobs with usual values.

use std::ffi::OsString;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use lapstrake::event::{Cancel, Stream};
use lapstrake::sandbox::{
    AgentDirectory, Beyond, Bytes, EntryKind, EntryMetadata, Exit, Finished, Isolation, Job, Mount, MountKind, Network, Operation, Options,
    Rung, Sandbox as _, SandboxError, SpecialNode, Upper, User,
};

/// A place to run steps in.
pub(crate) struct Lab {
    pub(crate) isolation: Isolation,
    directory: Option<tempfile::TempDir>,
    path: PathBuf,
}

/// What a step did.
pub(crate) struct Done {
    pub(crate) finished: Finished,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Lab {
    pub(crate) fn new() -> Lab {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let mut lab = Lab::at(&path);
        lab.directory = Some(directory);
        lab
    }

    /// In a directory that the caller removes.
    pub(crate) fn at(path: &Path) -> Lab {
        Lab { isolation: Isolation::open(Rung::UserNamespace, &Options::default()).unwrap(), directory: None, path: path.to_owned() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A fresh directory, mode 0755.
    pub(crate) fn fresh(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A root with busybox under all its names.
    pub(crate) fn base(&self) -> PathBuf {
        let base = self.path("base");
        if !base.exists() {
            make_base(&base);
        }
        base
    }

    /// A lower directory with these files.
    pub(crate) fn lower(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let lower = self.fresh(name);
        for (path, text) in files {
            let path = lower.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        lower
    }

    /// A script as user 0 without network, its changes in directories of the given name.
    pub(crate) fn job(&self, name: &str, script: &str) -> Job {
        Job {
            lowers: vec![self.base()],
            upper: Upper::OnDisk { upper: self.fresh(&format!("{name}-upper")), work: self.fresh(&format!("{name}-work")) },
            argv: ["/bin/sh", "-ec", script].map(OsString::from).to_vec(),
            env: vec![("PATH".into(), "/bin".into())],
            workdir: b"/".to_vec(),
            user: User::default(),
            mounts: Vec::new(),
            network: Network::Off,
            hostname: "step".to_owned(),
            time_limit: None,
            specials: Vec::new(),
            beyond: Beyond::Refused,
        }
    }

    pub(crate) fn run(&self, job: &Job) -> Result<Done, SandboxError> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let finished = self.isolation.run(
            job,
            &mut |stream, bytes| match stream {
                Stream::Out => out.extend_from_slice(bytes),
                Stream::Err => err.extend_from_slice(bytes),
            },
            &Cancel::new(),
        )?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Done { finished, out: text(out), err: text(err) })
    }

    /// Runs a script that must succeed.
    pub(crate) fn sh(&self, name: &str, script: &str) -> Done {
        self.succeed(&self.job(name, script))
    }

    /// Runs a job that must succeed.
    pub(crate) fn succeed(&self, job: &Job) -> Done {
        let done = self.run(job).unwrap();
        assert_eq!(done.finished.exit, Exit::Code(0), "out: {}\nerr: {}", done.out, done.err);
        done
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Some of what is in it belongs to ids that only the namespace has.
        if let Some(directory) = self.directory.take() {
            self.isolation.agent().remove(directory.path()).unwrap();
        }
    }
}

fn make_base(base: &Path) {
    for directory in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
        std::fs::create_dir_all(base.join(directory)).unwrap();
    }
    for path in [base.to_owned(), base.join("bin"), base.join("etc")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::copy("/bin/busybox", base.join("bin/busybox")).unwrap();
    crate::programs::make_startable(&base.join("bin/busybox"));
    for applet in [
        "sh", "cat", "ls", "ln", "rm", "mkdir", "chown", "chmod", "id", "env", "sleep", "touch", "stat", "echo", "head", "tr", "wc", "ip",
        "find", "su", "readlink", "hostname", "mount", "umount", "ps", "kill", "setsid", "mv", "rmdir", "grep", "dd", "true", "sort",
        "mknod", "nc", "test", "seq", "mkfifo", "date", "od", "unshare", "tail", "cp", "printf",
    ] {
        symlink("busybox", base.join("bin").join(applet)).unwrap();
    }
    std::fs::write(base.join("etc/passwd"), "root::0:0::/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n").unwrap();
    std::fs::write(base.join("etc/group"), "root:x:0:\nuser:x:1000:\n").unwrap();
}

/// What the root of a root has.
pub(crate) fn root(mode: u16) -> EntryMetadata {
    EntryMetadata { uid: 0, gid: 0, mode, mtime_seconds: 1, mtime_nanoseconds: 0, xattrs: Vec::new() }
}

/// What a directory has, as `kind path`, the overlay's own marks left out; sorted.
pub(crate) fn names(directory: &AgentDirectory) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![String::new()];
    while let Some(at) = open.pop() {
        for entry in directory.list(at.as_bytes()).unwrap() {
            let name = String::from_utf8_lossy(&entry.name.0).into_owned();
            let path = if at.is_empty() { name } else { format!("{at}/{name}") };
            let kind = match entry.kind {
                EntryKind::Directory {} => "d",
                EntryKind::File {} => "f",
                EntryKind::Symlink { .. } => "l",
                EntryKind::Special { node } => match node {
                    SpecialNode::Character { major: 0, minor: 0 } => "w",
                    SpecialNode::Fifo {} | SpecialNode::Character { .. } | SpecialNode::Block { .. } => "s",
                },
                EntryKind::Socket {} => "k",
            };
            if kind == "d" {
                open.push(path.clone());
            }
            found.push(format!("{kind} {path}"));
        }
    }
    found.sort();
    found
}

pub(crate) fn contents(directory: &AgentDirectory, path: &str) -> String {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut directory.open(path.as_bytes()).unwrap(), &mut text).unwrap();
    text
}

pub(crate) fn mount(at: &str, kind: MountKind) -> Mount {
    Mount { at: at.as_bytes().to_vec(), kind }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes(text.as_bytes().to_vec())
}

pub(crate) fn remove(at: &str) -> Operation {
    Operation::Remove { at: bytes(at) }
}

/// The directories in `/proc` of the processes that a thread has started, by its own.
pub(crate) fn children(thread: &Path) -> Vec<PathBuf> {
    let children = std::fs::read_to_string(thread.join("children")).unwrap();
    children.split_ascii_whitespace().map(|pid| Path::new("/proc").join(pid)).collect()
}
