//! Differences to test with, and their bytes in memory.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::num::NonZeroUsize;
use std::sync::LazyLock;

use lapstrake_cache::Fingerprint;

use crate::event::Cancel;
use crate::layer::{PackError, Packed, Profile, pack};
use crate::tree::{Change, Content, Contents, Difference, Entry, File, Links, Metadata, Special, SpecialKind, Symlink, TreePath, Xattrs};

/// Contents by fingerprint.
#[derive(Default, Clone)]
pub(crate) struct InMemory(pub(crate) BTreeMap<Fingerprint, Vec<u8>>);

impl InMemory {
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Content {
        let content = Content { fingerprint: Fingerprint::of(bytes), size: bytes.len() as u64 };
        self.0.insert(content.fingerprint, bytes.to_vec());
        content
    }
}

impl Contents for InMemory {
    fn open(&self, _path: &TreePath, content: &Content) -> io::Result<Box<dyn Read + Send>> {
        let bytes = self.0.get(&content.fingerprint).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Cursor::new(bytes.clone())))
    }
}

/// A difference while it is put together; ancestors come by themselves.
#[derive(Default, Clone)]
pub(crate) struct Sample {
    pub(crate) difference: Difference,
    pub(crate) contents: InMemory,
}

pub(crate) fn path(text: impl AsRef<[u8]>) -> TreePath {
    TreePath::new(text.as_ref()).unwrap()
}

pub(crate) fn metadata(mode: u16) -> Metadata {
    Metadata { mode, uid: 0, gid: 0, mtime: 315_619_200, xattrs: Xattrs::new() }
}

impl Sample {
    pub(crate) fn put(&mut self, at: impl AsRef<[u8]>, entry: Entry) -> &mut Sample {
        self.change(path(at), Change::Put(entry))
    }

    pub(crate) fn change(&mut self, at: TreePath, change: Change) -> &mut Sample {
        let mut ancestor = at.parent();
        while let Some(directory) = ancestor {
            ancestor = directory.parent();
            if !self.difference.entries.contains_key(&directory) {
                self.difference.entries.insert(directory, Change::Put(Entry::Directory(metadata(0o755))));
            }
        }
        self.difference.entries.insert(at, change);
        self
    }

    pub(crate) fn file(&mut self, at: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) -> &mut Sample {
        let content = self.contents.add(bytes.as_ref());
        self.put(at, Entry::File(File { metadata: metadata(0o644).into(), content }))
    }

    pub(crate) fn links(&mut self, groups: &[&[&str]]) -> &mut Sample {
        self.difference.links = Links::new(groups.iter().map(|group| group.iter().map(path).collect()));
        self
    }

    pub(crate) fn pack(&self, profile: Profile) -> (Vec<u8>, Packed) {
        self.try_pack(profile, 2).unwrap()
    }

    pub(crate) fn try_pack(&self, profile: Profile, threads: usize) -> Result<(Vec<u8>, Packed), PackError> {
        let mut blob = Vec::new();
        let threads = NonZeroUsize::new(threads).unwrap();
        let packed = pack(&self.difference, &self.contents, profile, threads, &mut blob, &Cancel::new())?;
        Ok((blob, packed))
    }
}

/// Bytes that compress about as well as text does, the same for the same seed.
pub(crate) fn text(seed: u64, length: usize) -> Vec<u8> {
    static WORDS: LazyLock<Vec<Vec<u8>>> =
        LazyLock::new(|| (0..500_u32).map(|n| format!("{:x} ", n.pow(3)).repeat(1 + n as usize % 9).into_bytes()).collect());
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 64);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&WORDS[(state % 500) as usize]);
    }
    bytes.truncate(length);
    bytes
}

/// One of everything that a layer of ours can hold.
pub(crate) fn everything() -> Sample {
    let mut sample = Sample::default();
    let long = vec![b'l'; 120];
    sample.file("etc/hosts", "127.0.0.1 localhost\n");
    sample.file("etc/empty", "");
    sample.put("tmp", Entry::Directory(metadata(0o1777)));
    sample.put("bin/sh", Entry::Symlink(Symlink { metadata: metadata(0o777), target: b"busybox".as_slice().into() }));
    sample
        .put("bin/far", Entry::Symlink(Symlink { metadata: metadata(0o777), target: [b"/".as_slice(), &long, b"/\xff"].concat().into() }));
    for (name, kind) in [
        ("dev/null", SpecialKind::Character { major: 1, minor: 3 }),
        ("dev/sda", SpecialKind::Block { major: 8, minor: 0 }),
        ("dev/pipe", SpecialKind::Fifo),
    ] {
        sample.put(name, Entry::Special(Special { metadata: metadata(0o660), kind }));
    }
    let content = sample.contents.add(b"#!/bin/sh\nexec true\n");
    let odd = Metadata {
        mode: 0o4755,
        uid: 3_000_000_000,
        gid: 2_097_152,
        mtime: -7,
        xattrs: Xattrs::from([
            (b"security.capability".to_vec(), [&[1, 0, 0, 2, 0, 0x0a][..], &[0; 14]].concat()),
            (b"user.note".to_vec(), b"a\n12 size=99\n".to_vec()),
        ]),
    };
    sample.put("usr/bin/tool", Entry::File(File { metadata: odd.clone().into(), content }));
    sample.put("usr/bin/other-name", Entry::File(File { metadata: odd.into(), content }));
    sample.links(&[&["usr/bin/other-name", "usr/bin/tool"]]);
    sample.file(b"usr/share/caf\xc3\xa9", "utf-8");
    sample.file(b"usr/share/caf\xe9", "latin-1");
    sample.file([b"usr/share/".as_slice(), &long, b"\xe9"].concat(), "long and not UTF-8");
    sample.file([b"usr/share/".as_slice(), &long, b"/", &long].concat(), "long");
    sample.file("usr/share/late", "mtime beyond ustar");
    if let Some(Change::Put(entry)) = sample.difference.entries.get_mut(&path("usr/share/late")) {
        entry.metadata_mut().mtime = 10_000_000_000;
    }
    sample.change(path("var/gone"), Change::Whiteout);
    sample.file("var/large", text(1, 3 << 20));
    for number in 0..40 {
        sample.file(format!("srv/{number}"), text(number, 20_000 + 4_000 * number as usize));
    }
    sample.difference.check().unwrap();
    sample
}
