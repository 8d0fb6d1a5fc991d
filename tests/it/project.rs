//! The bases and the specs that several tests share.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use crate::web::Web;

/// What a root of busybox calls its program.
const NAMES: &str = "sh cat chmod chown cp date dd echo env expr false grep head hostname id ln ls mkdir mkfifo mv od rm rmdir sed seq sha256sum sleep sort stat \
                     sync tail test touch tr true truncate uname wc yes";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\napp:x:1000:\n";

/// A root file system of busybox as a tar.
pub(crate) fn busybox() -> &'static [u8] {
    static TAR: OnceLock<Vec<u8>> = OnceLock::new();
    TAR.get_or_init(|| {
        let program = std::fs::read("/bin/busybox").expect("these tests need /bin/busybox: install Debian's package `busybox-static`");
        let mut tar = Tar::new();
        for directory in ["bin", "etc", "root", "home", "usr"] {
            tar.directory(directory, 0o755);
        }
        tar.directory("tmp", 0o1777);
        tar.file("bin/busybox", 0o755, &program);
        for name in NAMES.split_whitespace() {
            tar.symlink(&format!("bin/{name}"), "busybox");
        }
        tar.file("etc/passwd", 0o644, PASSWD.as_bytes());
        tar.file("etc/group", 0o644, GROUP.as_bytes());
        tar.finish()
    })
}

/// A root file system without programs, the same on every machine.
pub(crate) fn bare() -> Vec<u8> {
    let mut tar = Tar::new();
    for directory in ["etc", "root", "home/app", "usr/lib", "var/cache/old"] {
        tar.directory(directory, 0o755);
    }
    tar.directory("tmp", 0o1777);
    tar.file("etc/passwd", 0o644, PASSWD.as_bytes());
    tar.file("etc/group", 0o644, GROUP.as_bytes());
    tar.file("usr/lib/data", 0o640, b"from the base\n");
    tar.file("var/cache/old/entry", 0o644, b"old\n");
    tar.finish()
}

/// A tar in which everything belongs to root and has one time.
pub(crate) struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    pub(crate) fn new() -> Tar {
        Tar(tar::Builder::new(Vec::new()))
    }

    fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(u64::try_from(size).unwrap());
        header.set_mtime(1_000_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header
    }

    pub(crate) fn directory(&mut self, path: &str, mode: u32) {
        self.0.append_data(&mut Tar::header(tar::EntryType::Directory, mode, 0), path, std::io::empty()).unwrap();
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) {
        self.0.append_data(&mut Tar::header(tar::EntryType::Regular, mode, bytes.len()), path, bytes).unwrap();
    }

    fn symlink(&mut self, path: &str, target: &str) {
        self.0.append_link(&mut Tar::header(tar::EntryType::Symlink, 0o777, 0), path, target).unwrap();
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// Where the whole project's downloads are: written in the spec, hence in the image's history, hence the same for every run. The port is
/// below those that are given to whoever asks for any.
pub(crate) const WEB: &str = "127.76.83.75:17671";

/// A project of every step kind and every compression, in whose images nothing is of this machine: the programs come from a mount.
/// Wants [`whole_web`] when it is built.
pub(crate) fn whole(directory: &Path) {
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    write("lapstrake.toml", WHOLE.as_bytes());
    write("bare.tar", &bare());
    write("tools.tar", busybox());
    write("src/main.txt", b"main\r\n");
    write("src/start", b"#!/bin/sh\r\necho started\r\n");
    write("src/left-out.tmp", b"left out\n");
    write("src/deep/er/file", b"deep\n");
    write("src/\u{e4}\u{f6}\u{fc} and spaces", b"name\n");
    let path = directory.join("src/run-me");
    std::fs::write(&path, "run\n").unwrap();
    crate::lab::set_mode(&path, 0o755);
    if std::fs::symlink_metadata(directory.join("src/link")).is_err() {
        std::os::unix::fs::symlink("main.txt", directory.join("src/link")).unwrap();
    }
    write("archive.tar", &archive());
    write(".lapstrakeignore", b"**/*.tmp\n");
}

fn archive() -> Vec<u8> {
    let mut tar = Tar::new();
    tar.directory("top", 0o700);
    tar.file("top/plain", 0o600, b"plain\n");
    tar.file("top/program", 0o700, b"program\n");
    tar.finish()
}

/// What the whole project downloads, served while anybody has the value. All tests that want it at one time share it.
pub(crate) fn whole_web() -> Arc<Web> {
    static SERVED: Mutex<Weak<Web>> = Mutex::new(Weak::new());
    let mut served = SERVED.lock().unwrap();
    served.upgrade().unwrap_or_else(|| {
        let web = Arc::new(Web::at(WEB, &[("/tool", b"tool\n"), ("/archive.tar", &archive())]));
        *served = Arc::downgrade(&web);
        web
    })
}

const WHOLE: &str = r##"
spec = 1
epoch = 2020-02-02T00:00:00Z

[args]
greeting = "hello"

[stages.tools]
from = "tar:tools.tar"

[stages.made]
from = "tar:bare.tar"

[[stages.made.steps]]
mkdir = "/out"

[[stages.made.steps]]
run = ["/tools/bin/busybox", "sh", "-ec", """
PATH=/tools/bin
umask 027
cd /out
echo made > owned; chown 1000:1001 owned; chmod 4750 owned
ln owned second-name
ln -s owned pointing
mkfifo pipe
mkdir -p private/below; chmod 0711 private
touch -d '2030-01-01 00:00' newer
echo $0 $HOME $SOURCE_DATE_EPOCH > said; id >> said; pwd >> said; umask >> said; hostname >> said || true; env | sort >> said || true
"""]
mounts = [{ from = "stage:tools", at = "/tools" }]

[stages.app]
from = "tar:bare.tar"
workdir = "/srv/app"
env = { GREETING = "${args.greeting}" }

[[stages.app.steps]]
copy = "src/"
to = "./"
exclude = ["src/deep"]
newlines = "lf"

[[stages.app.steps]]
copy = ["src/deep/er/file", "src/start"]
to = "/opt/"
parents = true
owner = "app:app"
mode = "0750"

[[stages.app.steps]]
copy = "/out"
from = "stage:made"
to = "/made"

[[stages.app.steps]]
write = "/etc/app.toml"
content = "greeting = \"${env.GREETING}\"\n"
mode = "0600"
owner = "app"

[[stages.app.steps]]
fetch = "http://127.76.83.75:17671/tool"
to = "/usr/local/bin/"
sha256 = "67948dd9afd6afe5043b0029d5aa7cf0f8b2824baf16f4f097d40d830edb686d"
mode = "0755"

[[stages.app.steps]]
extract = "archive.tar"
to = "/opt/archive"
strip = 1

[[stages.app.steps]]
extract = "http://127.76.83.75:17671/archive.tar"
to = "/opt/downloaded"
mode = "keep"
owner = "app"

[[stages.app.steps]]
link = "/usr/bin/tool"
target = "../local/bin/tool"

[[stages.app.steps]]
link = "/opt/hard"
target = "/opt/archive/plain"
hard = true

[[stages.app.steps]]
mkdir = ["/var/lib/app", "state"]
mode = "0700"
owner = "1000:1000"

[[stages.app.steps]]
remove = ["/var/cache/*"]

[[stages.app.steps]]
env = { LATER = "yes" }

[[stages.app.steps]]
user = "app"

[[stages.app.steps]]
shell = ["/tools/bin/sh", "-ec"]

[[stages.app.steps]]
run = """
PATH=/tools/bin
id > /home/app/who 2>/dev/null || id > /tmp/who
echo $GREETING $LATER > /tmp/said
mkdir /tmp/log; date > /tmp/log/now
"""
discard = ["/tmp/log/**"]
mounts = [{ from = "stage:tools", at = "/tools" }, { tmpfs = true, at = "/scratch", size = "1MiB" }, { cache = "c", at = "/cached" }]

[[stages.app.steps]]
user = "0:0"

[[stages.app.steps]]
run = "/tools/bin/rm /usr/lib/data /opt/hard; /tools/bin/echo changed >> /etc/group; /tools/bin/chmod 0700 /usr/lib"
mounts = [{ from = "stage:tools", at = "/tools" }]

[[stages.app.steps]]
workdir = "/srv"

[images.gzip]
stage = "app"
entrypoint = ["/usr/bin/tool"]
cmd = ["--${args.greeting}"]
expose = ["8000", "53/udp"]
volumes = ["/var/lib/app"]
labels = { "org.example.label" = "\u00e4 < b & c" }
annotations = { "org.example.remark" = "remark" }
healthcheck = { test = ["CMD", "/usr/bin/tool"], interval = "1m30s", retries = 2 }
stop_signal = "SIGINT"
author = "somebody"

[images.zstd]
stage = "app"
compression = "zstd"

[images.plain]
stage = "app"
compression = "none"

[images.docker]
stage = "app"
format = "docker"
"##;
