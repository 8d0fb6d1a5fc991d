//! A place of its own for each test: directories, a store, a home, and the program run there.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Once;

use serde_json::Value;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_lapstrake");

/// Directories that end with the test.
pub(crate) struct Lab {
    directory: tempfile::TempDir,
}

/// How the program ended and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// What a build that went well said of itself.
pub(crate) struct Built {
    pub(crate) out: String,
    pub(crate) err: String,
    metadata: Value,
}

impl Lab {
    pub(crate) fn new() -> Lab {
        Lab::below(&std::env::temp_dir())
    }

    /// In a directory below this one.
    pub(crate) fn below(parent: &Path) -> Lab {
        let directory = tempfile::Builder::new().prefix("lapstrake-it.").tempdir_in(parent).unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Lab { directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// A directory with these files.
    pub(crate) fn files(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = self.path(name);
        std::fs::create_dir_all(&directory).unwrap();
        for (path, text) in files {
            write(&directory.join(path), text);
        }
        directory
    }

    /// A project with the base of busybox as `base.tar`.
    pub(crate) fn project(&self, spec: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = self.files("project", files);
        write(&directory.join("lapstrake.toml"), spec);
        std::fs::write(directory.join("base.tar"), crate::project::busybox()).unwrap();
        directory
    }

    /// The program with a home of its own and nothing of our environment but `PATH`.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.directory.path()).env_clear().stdin(Stdio::null());
        command.envs(self.environment());
        command
    }

    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("PATH", std::env::var_os("PATH").unwrap_or_default().into()),
            ("HOME", self.path("home")),
            ("XDG_CONFIG_HOME", self.path("config")),
            ("LAPSTRAKE_HOME", self.store()),
        ]
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Builds a project; it goes well.
    pub(crate) fn build(&self, project: &Path, arguments: &[&str]) -> Built {
        self.build_with(project, arguments, |_| {})
    }

    /// Builds a project, after a word with the command; it goes well.
    pub(crate) fn build_with(&self, project: &Path, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Built {
        let metadata = self.path("metadata.json");
        let mut command = self.command(&["build", project.to_str().unwrap(), "--metadata-file", metadata.to_str().unwrap()]);
        command.args(arguments);
        change(&mut command);
        Built::of(Ran::of(&mut command), &metadata)
    }

    /// Builds a project; it ends with this code. What it says comes back.
    pub(crate) fn fail(&self, code: i32, project: &Path, arguments: &[&str]) -> String {
        let ran = self.run(&[&["build", project.to_str().unwrap()], arguments].concat());
        assert_eq!(ran.code, Some(code), "{ran:#?}");
        ran.err
    }

    /// `cache verify` finds nothing wrong.
    pub(crate) fn verify(&self) {
        let ran = self.run(&["cache", "verify"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "the store is sound\n"), "{ran:#?}");
    }
}

impl Ran {
    /// Runs a command to its end. Whatever happened to it, it was no panic.
    pub(crate) fn of(command: &mut Command) -> Ran {
        Ran::from(command.output().unwrap())
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let ran = Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
        assert!(!ran.err.contains("panicked") && !ran.err.contains("RUST_BACKTRACE"), "{}", ran.err);
        assert!(!matches!(ran.code, Some(70 | 101)), "{ran:#?}");
        ran
    }
}

impl Built {
    pub(crate) fn of(ran: Ran, metadata: &Path) -> Built {
        assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
        let metadata = serde_json::from_slice(&std::fs::read(metadata).unwrap()).unwrap();
        Built { out: ran.out, err: ran.err, metadata }
    }

    pub(crate) fn images(&self) -> &[Value] {
        self.metadata["images"].as_array().unwrap()
    }

    /// The manifest of the first image.
    pub(crate) fn digest(&self) -> &str {
        self.images()[0]["digest"].as_str().unwrap()
    }

    /// The blobs of the first image's layers.
    pub(crate) fn layers(&self) -> Vec<&str> {
        self.images()[0]["layers"].as_array().unwrap().iter().map(|layer| layer["digest"].as_str().unwrap()).collect()
    }

    /// How the steps that ran commands were kept apart from the machine.
    pub(crate) fn rungs(&self) -> Vec<&Value> {
        let steps = self.metadata["stages"].as_array().unwrap().iter().flat_map(|stage| stage["steps"].as_array().unwrap());
        steps.map(|step| &step["rung"]).filter(|rung| !rung.is_null()).collect()
    }

    /// The steps that were not taken from the cache.
    pub(crate) fn ran(&self) -> Vec<&str> {
        let steps = self.metadata["stages"].as_array().unwrap().iter().flat_map(|stage| stage["steps"].as_array().unwrap());
        steps.filter(|step| step["cached"] == false).map(|step| step["label"].as_str().unwrap()).collect()
    }
}

/// Writes a file and the directories to it.
pub(crate) fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A command of this system that has to go well, as root.
pub(crate) fn as_root(program: &str, arguments: &[&str]) {
    if rustix::process::geteuid().is_root() {
        crate::real::run(program, arguments);
    } else {
        crate::real::run("sudo", &[&["-n", program], arguments].concat());
    }
}

/// A file system that is mounted as long as the value lives.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Mounted {
    pub(crate) fn new(at: PathBuf, kind: &str, options: &str) -> Mounted {
        std::fs::create_dir_all(&at).unwrap();
        as_root("mount", &["-t", kind, "-o", options, "lapstrake-it", at.to_str().unwrap()]);
        Mounted(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        as_root("umount", &["--lazy", self.0.to_str().unwrap()]);
    }
}

/// An ordinary user with ranges of ids.
pub(crate) const USER: &str = "lapstrake-it";

/// Makes a user who is not there yet. Another run of these tests may make the same one, or hold the lists of users for a moment.
pub(crate) fn add_user(name: &str, options: &[&str]) {
    let is_there = || Command::new("id").arg(name).output().unwrap().status.success();
    crate::waiting::until(&format!("the user {name} is made"), || {
        if !is_there() {
            let words = [&["useradd", "--create-home"], options, &[name]].concat();
            let words = if rustix::process::geteuid().is_root() { words } else { [&["sudo", "-n"], &words[..]].concat() };
            let _ = Command::new(words[0]).args(&words[1..]).status().unwrap();
        }
        is_there()
    });
}

/// Makes that user, once.
pub(crate) fn make_user() {
    static MADE: Once = Once::new();
    MADE.call_once(|| {
        add_user(USER, &[]);
        let ranges = std::fs::read_to_string("/etc/subuid").unwrap();
        assert!(ranges.lines().any(|line| line.starts_with(&format!("{USER}:"))), "useradd gives {USER} a range in /etc/subuid");
    });
}
