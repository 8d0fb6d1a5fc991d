//! The file agent: files of any owner, below one directory.

use std::io::{Read as _, Write as _};

use lapstrake::sandbox::{AgentError, EntryKind, EntryMetadata, Operation, SpecialNode};

use crate::lab::{Lab, bytes, names, remove};

fn metadata(uid: u32, gid: u32, mode: u16) -> EntryMetadata {
    EntryMetadata { uid, gid, mode, mtime_seconds: 86_400, mtime_nanoseconds: 7, xattrs: Vec::new() }
}

fn errno(error: AgentError) -> i32 {
    match error {
        AgentError::Refused { source, .. } => source.raw_os_error().unwrap(),
        AgentError::Lost { source } => panic!("{source}"),
    }
}

#[test]
fn everything_that_is_made_is_listed_as_it_was_made() {
    let lab = Lab::new();
    let directory = lab.isolation.agent().directory(&lab.fresh("d")).unwrap();
    directory
        .apply(&[
            Operation::MakeDirectory { at: bytes("sub") },
            Operation::MakeSymlink { at: bytes("sub/link"), target: bytes("../anywhere") },
            Operation::MakeNode { at: bytes("sub/pipe"), node: SpecialNode::Fifo {} },
            Operation::MakeNode { at: bytes("sub/gone"), node: SpecialNode::Character { major: 0, minor: 0 } },
        ])
        .unwrap();
    directory.create_file(b"sub/file").unwrap().write_all(b"12345").unwrap();
    let xattrs = vec![(bytes("user.note"), bytes("\0binary\n"))];
    directory
        .apply(&[
            Operation::HardLink { existing: bytes("sub/file"), new: bytes("other") },
            Operation::SetMetadata {
                at: bytes("sub/file"),
                metadata: EntryMetadata { xattrs: xattrs.clone(), ..metadata(33, 44, 0o4751) },
            },
            Operation::SetMetadata { at: bytes("sub/link"), metadata: metadata(5, 6, 0) },
            Operation::SetMetadata { at: bytes("sub/pipe"), metadata: metadata(7, 8, 0o640) },
            Operation::SetOpaque { at: bytes("sub") },
            Operation::SetMetadata { at: bytes("sub"), metadata: metadata(9, 10, 0o700) },
        ])
        .unwrap();
    let mut entries = directory.list(b"sub").unwrap();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let [file, gone, link, pipe] = entries.try_into().unwrap();
    assert_eq!((file.uid, file.gid, file.mode, file.size, file.links), (33, 44, 0o4751, 5, 2));
    assert_eq!((file.mtime_seconds, file.mtime_nanoseconds), (86_400, 7));
    assert_eq!((file.kind, file.xattrs), (EntryKind::File {}, xattrs));
    assert_eq!(gone.kind, EntryKind::Special { node: SpecialNode::Character { major: 0, minor: 0 } });
    assert_eq!(link.kind, EntryKind::Symlink { target: bytes("../anywhere") });
    assert_eq!((link.uid, link.gid, link.mtime_seconds), (5, 6, 86_400));
    assert_eq!((pipe.uid, pipe.gid, pipe.mode), (7, 8, 0o640));
    let sub = directory.stat(b"sub").unwrap();
    assert_eq!((sub.uid, sub.gid, sub.mode, sub.xattrs.len()), (9, 10, 0o700, 0), "what is not named is taken away");
    directory.apply(&[Operation::SetOpaque { at: bytes("sub") }]).unwrap();
    assert_eq!(directory.stat(b"sub").unwrap().xattrs, [(bytes("user.overlay.opaque"), bytes("y"))]);
    let other = directory.stat(b"other").unwrap();
    assert_eq!((other.device, other.inode), (file.device, file.inode));
    assert_eq!(file.device, std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(lab.path("d")).unwrap()));
}

#[test]
fn directories_of_others_with_no_rights_at_all_are_read_and_removed() {
    let lab = Lab::new();
    let done = lab.sh("a", "mkdir -p /closed/deeper; echo text > /closed/deeper/file; chown -R 1000:1000 /closed; chmod 0 /closed/deeper/file /closed/deeper /closed");
    let upper = done.finished.upper.directory();
    assert_eq!(names(upper), ["d closed", "d closed/deeper", "d etc", "f closed/deeper/file"]);
    let mut text = String::new();
    upper.open(b"closed/deeper/file").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "text\n");
    upper.apply(&[remove("closed")]).unwrap();
    assert_eq!(names(upper), ["d etc"]);
}

#[test]
fn nothing_leaves_the_directory_and_no_link_is_followed() {
    let lab = Lab::new();
    let outside = lab.lower("outside", &[("secret", "s")]);
    let directory = lab.isolation.agent().directory(&lab.fresh("d")).unwrap();
    std::os::unix::fs::symlink(&outside, lab.path("d/link")).unwrap();
    std::os::unix::fs::symlink("/proc/self/root", lab.path("d/magic")).unwrap();
    std::os::unix::fs::symlink(outside.join("secret"), lab.path("d/file")).unwrap();
    let absolute = outside.join("secret").to_str().unwrap().to_owned();
    for path in ["../outside/secret", "link/secret", "magic/etc/passwd", absolute.as_str(), "file", "d/../../outside/secret"] {
        assert!(directory.open(path.as_bytes()).is_err(), "opened {path}");
        assert!(directory.list(path.as_bytes()).is_err(), "listed {path}");
    }
    assert!(directory.create_file(b"link/new").is_err());
    assert!(directory.apply(&[Operation::MakeDirectory { at: bytes("link/new") }]).is_err());
    assert!(directory.apply(&[remove("link/secret")]).is_err());
    assert!(directory.apply(&[remove("..")]).is_err());
    assert!(directory.apply(&[remove("")]).is_err());
    assert!(directory.apply(&[Operation::Rename { from: bytes("../outside/secret"), to: bytes("mine") }]).is_err());
    assert!(directory.apply(&[Operation::HardLink { existing: bytes("link/secret"), new: bytes("mine") }]).is_err());
    // What the link itself is can be changed; what it leads to is not.
    directory.apply(&[Operation::SetMetadata { at: bytes("file"), metadata: metadata(0, 0, 0o777) }, remove("link")]).unwrap();
    assert!(outside.join("secret").exists());
    assert_ne!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(outside.join("secret")).unwrap()) & 0o777, 0o777);
}

#[test]
fn only_regular_files_are_opened() {
    let lab = Lab::new();
    let directory = lab.isolation.agent().directory(&lab.fresh("d")).unwrap();
    directory
        .apply(&[Operation::MakeNode { at: bytes("pipe"), node: SpecialNode::Fifo {} }, Operation::MakeDirectory { at: bytes("sub") }])
        .unwrap();
    for path in ["pipe", "sub", ""] {
        assert!(directory.open(path.as_bytes()).is_err(), "opened {path}");
    }
    assert_eq!(errno(directory.open(b"missing").unwrap_err()), 2);
}

#[test]
fn a_batch_stops_at_the_first_change_that_fails_and_names_it() {
    let lab = Lab::new();
    let directory = lab.isolation.agent().directory(&lab.fresh("d")).unwrap();
    let make = |at: &str| Operation::MakeDirectory { at: bytes(at) };
    let error = directory.apply(&[make("one"), make("one"), make("two")]).unwrap_err();
    assert_eq!(error.to_string(), "cannot make the directory `one`");
    assert_eq!(errno(error), 17);
    assert_eq!(names(&directory), ["d one"]);
}

#[test]
fn devices_and_foreign_xattrs_are_refused() {
    let lab = Lab::new();
    let directory = lab.isolation.agent().directory(&lab.fresh("d")).unwrap();
    let disk = Operation::MakeNode { at: bytes("disk"), node: SpecialNode::Block { major: 8, minor: 0 } };
    assert_eq!(errno(directory.apply(&[disk]).unwrap_err()), 1);
    directory.create_file(b"f").unwrap();
    let trusted = EntryMetadata { xattrs: vec![(bytes("trusted.x"), bytes("y"))], ..metadata(0, 0, 0o644) };
    assert_eq!(errno(directory.apply(&[Operation::SetMetadata { at: bytes("f"), metadata: trusted }]).unwrap_err()), 1);
}

#[test]
fn a_capability_is_written_and_read_in_the_form_without_an_owner() {
    let lab = Lab::new();
    let directory = lab.isolation.agent().directory(&lab.fresh("d")).unwrap();
    directory.create_file(b"f").unwrap();
    // Version 2, effective; CAP_NET_BIND_SERVICE permitted.
    let capability = lapstrake::sandbox::Bytes(vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let xattrs = vec![(bytes("security.capability"), capability)];
    let set = EntryMetadata { xattrs: xattrs.clone(), ..metadata(0, 0, 0o755) };
    directory.apply(&[Operation::SetMetadata { at: bytes("f"), metadata: set }]).unwrap();
    assert_eq!(directory.stat(b"f").unwrap().xattrs, xattrs);
    directory.apply(&[Operation::SetMetadata { at: bytes("f"), metadata: metadata(0, 0, 0o755) }]).unwrap();
    assert_eq!(directory.stat(b"f").unwrap().xattrs, [], "what is not named is taken away");
}

#[test]
fn very_deep_and_very_wide_directories_are_removed() {
    let lab = Lab::new();
    let script = "mkdir /deep; cd /deep; mkdir -p $(printf 'd/%.0s' $(seq 1 1500)); \
                  mkdir /wide; cd /wide; seq 1 3000 | while read n; do : > $n; done";
    let upper = lab.sh("a", script).finished.upper;
    upper.directory().apply(&[remove("deep"), remove("wide")]).unwrap();
    assert_eq!(names(upper.directory()), ["d etc"]);
}

#[test]
fn large_directories_are_listed_in_one_answer_and_threads_share_the_agent() {
    let lab = Lab::new();
    let path = lab.fresh("d");
    for number in 0..3000 {
        std::fs::write(path.join(format!("a rather long name to fill the answer {number}")), "").unwrap();
    }
    let directory = lab.isolation.agent().directory(&path).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(directory.list(b"").unwrap().len(), 3000);
                }
            });
        }
    });
    let below = directory.subdirectory(b"").unwrap();
    assert_eq!(below.list(b"").unwrap().len(), 3000);
}
