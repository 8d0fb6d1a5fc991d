//! The bases and the specs that several tests share.

use std::sync::OnceLock;

/// What a root of busybox calls its program.
const NAMES: &str = "sh cat chmod chown cp date dd echo env expr false grep head id ln ls mkdir mkfifo mv od rm rmdir sed seq sha256sum sleep stat \
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
