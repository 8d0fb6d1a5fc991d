//! Random small trees for tests. Few names, few contents and few times, so that trees meet in many ways.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use lapstrake_cache::Fingerprint;
use proptest::prelude::*;

use super::{Content, Contents, Directory, Editor, File, Metadata, Name, Node, Special, SpecialKind, Symlink, Tree, TreePath, Xattrs};

/// The contents that files of random trees have.
pub(crate) const SAMPLES: [&[u8]; 5] = [b"", b"a", b"line\r\nline\r\n", &[0; 5000], b"#!/bin/sh\nexit 0\n"];

/// The bytes of files of random trees.
pub(crate) struct Samples;

impl Contents for Samples {
    fn open(&self, _path: &TreePath, content: &Content) -> io::Result<Box<dyn Read + Send>> {
        let found = SAMPLES.into_iter().find(|bytes| Fingerprint::of(bytes) == content.fingerprint);
        Ok(Box::new(found.ok_or(io::ErrorKind::NotFound)?))
    }
}

/// The content with these bytes.
pub(crate) fn content(bytes: &[u8]) -> Content {
    Content { fingerprint: Fingerprint::of(bytes), size: bytes.len() as u64 }
}

/// A path that is known to be one.
pub(crate) fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

/// Metadata of mode 0755 (or another), owner 0:0, time 7.
pub(crate) fn plain(mode: u16) -> Metadata {
    Metadata { mode, uid: 0, gid: 0, mtime: 7, xattrs: Xattrs::new() }
}

/// A file with these bytes.
pub(crate) fn file(bytes: &[u8]) -> Node {
    Node::File(File { metadata: plain(0o644).into(), content: content(bytes) })
}

/// A symbolic link.
pub(crate) fn symlink(target: &str) -> Node {
    Node::Symlink(Symlink { metadata: plain(0o777), target: target.as_bytes().into() })
}

/// A tree with these nodes, parents made as needed. A path that ends with a slash is a directory of its own.
pub(crate) fn tree_of(nodes: &[(&str, Node)]) -> Tree {
    let mut editor = Editor::new(&Tree::empty(plain(0o755)));
    for (at, node) in nodes {
        let at = TreePath::normalised(at.as_bytes()).unwrap();
        let parent = at.parent().unwrap();
        editor.make_directories(parent.as_bytes(), &plain(0o755)).unwrap();
        editor.put(&at, node.clone()).unwrap();
    }
    editor.finish()
}

/// An empty directory.
pub(crate) fn directory() -> Node {
    Node::Directory(Arc::new(Directory::new(plain(0o755), BTreeMap::new())))
}

fn name() -> impl Strategy<Value = Name> {
    prop::sample::select(vec![&b"a"[..], b"b", b"c", b"a-b", b"a.b", b"\xff", "å".as_bytes()]).prop_map(|name| Name::new(name).unwrap())
}

fn metadata(modes: &'static [u16]) -> impl Strategy<Value = Metadata> {
    let xattrs = prop::sample::select(vec![Xattrs::new(), Xattrs::new(), Xattrs::from([(b"user.x".to_vec(), b"1\0".to_vec())])]);
    (prop::sample::select(modes), 0..2_u32, 0..2_u32, 0..3_i64, xattrs).prop_map(|(mode, uid, gid, mtime, xattrs)| Metadata {
        mode,
        uid,
        gid,
        mtime,
        xattrs,
    })
}

fn without_xattrs(metadata: Metadata) -> Metadata {
    Metadata { xattrs: Xattrs::new(), ..metadata }
}

fn leaf() -> impl Strategy<Value = Node> {
    let special = prop::sample::select(vec![
        SpecialKind::Fifo,
        SpecialKind::Character { major: 1, minor: 3 },
        SpecialKind::Block { major: 7, minor: 300 },
    ]);
    prop_oneof![
        6 => (metadata(&[0o644, 0o755, 0o4755, 0]), prop::sample::select(SAMPLES.to_vec()))
            .prop_map(|(metadata, bytes)| Node::File(File { metadata: metadata.into(), content: content(bytes) })),
        2 => (metadata(&[0o777]), prop::sample::select(vec!["a", "/b", "../c", "b/../a", "/a/b/../../c"])).prop_map(|(metadata, target)| {
            Node::Symlink(Symlink { metadata: without_xattrs(metadata), target: target.as_bytes().into() })
        }),
        1 => (metadata(&[0o600, 0o666]), special)
            .prop_map(|(metadata, kind)| Node::Special(Special { metadata: without_xattrs(metadata), kind })),
    ]
}

fn branch(entries: BTreeMap<Name, Node>, metadata: Metadata) -> Node {
    Node::Directory(Arc::new(Directory::new(metadata, entries)))
}

const DIRECTORY_MODES: &[u16] = &[0o755, 0o700, 0o1777, 0];

fn node() -> impl Strategy<Value = Node> {
    leaf().prop_recursive(3, 24, 4, |inner| {
        (prop::collection::btree_map(name(), inner, 0..4), metadata(DIRECTORY_MODES))
            .prop_map(|(entries, metadata)| branch(entries, metadata))
    })
}

/// A random tree with hard links.
pub(crate) fn tree() -> impl Strategy<Value = Tree> {
    let links = prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..4);
    (prop::collection::btree_map(name(), node(), 0..5), metadata(&[0o755, 0o711]), links)
        .prop_map(|(entries, metadata, links)| linked(&Tree::new(Arc::new(Directory::new(metadata, entries))), &links))
}

fn linked(tree: &Tree, links: &[(prop::sample::Index, prop::sample::Index)]) -> Tree {
    let leaves: Vec<TreePath> = tree.walk().filter(|(_, node)| !matches!(node, Node::Directory(_))).map(|(path, _)| path).collect();
    let mut editor = Editor::new(tree);
    if !leaves.is_empty() {
        for (existing, new) in links {
            editor.link(existing.get(&leaves), new.get(&leaves)).unwrap();
        }
    }
    editor.finish()
}

/// A tree and another one that is either unrelated or made from it by a few edits.
pub(crate) fn pair() -> impl Strategy<Value = (Tree, Tree)> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(node())), 0..5);
    let links = prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..2);
    let edited = (tree(), edits, links).prop_map(|(below, edits, links)| {
        let mut editor = Editor::new(&below);
        let paths: Vec<TreePath> = below.walk().map(|(path, _)| path).skip(1).collect();
        for (at, node) in edits {
            if paths.is_empty() {
                break;
            }
            let at = at.get(&paths);
            match node {
                // The parent may have been edited away.
                Some(node) => drop(editor.put(at, node)),
                None => drop(editor.remove(at)),
            }
        }
        let above = linked(&editor.finish(), &links);
        (below, above)
    });
    prop_oneof![1 => (tree(), tree()), 3 => edited]
}
