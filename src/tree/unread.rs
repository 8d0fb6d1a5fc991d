//! Files that were listed and are not read yet: what stands for their contents until then, and how they are read.
//!
//! A step copies some of a context, and what no step names need not be read. Until a file is, something made of its state stands in a
//! tree where its content will be; paths, kinds and modes are there. Nothing is named by such a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lapstrake_cache::Fingerprint;

use super::contents::Settled;
use super::hash;
use super::scan::Effort;
use super::{Content, Directory, DirectoryHandle, FileStamp, KnownContents, Node, ScanError, Tree, TreePath};
use crate::event::Cancel;

/// What the fingerprint that stands for a content begins with, and no name of bytes: it is eight bytes long.
const MARK: [u8; 8] = *b"unread\0\0";

impl Content {
    /// Stands for the content of a file that was listed in this state, and of no other.
    pub(super) fn unread(stamp: &FileStamp) -> Content {
        let mut state = Vec::new();
        stamp.append_to(&mut state);
        let mut bytes = *Fingerprint::of(&state).as_bytes();
        let (mark, _) = bytes.split_at_mut(MARK.len());
        mark.copy_from_slice(&MARK);
        Content { fingerprint: Fingerprint::from_bytes(bytes), size: stamp.size }
    }

    /// Whether it only stands for a content: nothing may be named by it.
    #[must_use]
    pub(crate) fn is_unread(&self) -> bool {
        self.fingerprint.as_bytes().starts_with(&MARK)
    }
}

/// Knows what another one knows, and has something stand for the rest: a scan with it reads no file.
pub struct Unread<'a> {
    known: &'a dyn KnownContents,
    any: AtomicBool,
}

impl<'a> Unread<'a> {
    /// What is in `known` is known.
    #[must_use]
    pub fn but(known: &'a dyn KnownContents) -> Unread<'a> {
        Unread { known, any: AtomicBool::new(false) }
    }

    /// Whether anything was asked for that is not known.
    #[must_use]
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }
}

impl KnownContents for Unread<'_> {
    fn get(&self, stamp: &FileStamp) -> Option<Content> {
        let known = self.known.get(stamp).filter(|content| content.size == stamp.size);
        if known.is_none() {
            self.any.store(true, Ordering::Relaxed);
        }
        known.or_else(|| Some(Content::unread(stamp)))
    }

    fn put(&self, stamp: FileStamp, content: Content) {
        self.known.put(stamp, content);
    }
}

impl Tree {
    /// The tree, which has no hard links, with the contents of all files at these paths and below. What was read already is not read again.
    /// What is read is told to `known`. A path of nothing means nothing.
    ///
    /// # Errors
    /// When a file cannot be read, or is not as it was listed; when `cancel` says so.
    pub fn read(
        self,
        wanted: &BTreeSet<TreePath>,
        handle: &dyn DirectoryHandle,
        known: &dyn KnownContents,
        cancel: &Cancel,
    ) -> Result<Tree, ScanError> {
        self.read_with(Effort::USUAL, Settled::now(), wanted, (handle, known, cancel))
    }

    pub(super) fn read_with(
        mut self,
        effort: Effort,
        settled: Settled,
        wanted: &BTreeSet<TreePath>,
        (handle, known, cancel): (&dyn DirectoryHandle, &dyn KnownContents, &Cancel),
    ) -> Result<Tree, ScanError> {
        let mut parts: Vec<(TreePath, Node)> = Vec::new();
        for at in wanted {
            // A path comes before those below it.
            let is_new = parts.last().is_none_or(|(above, _)| !at.starts_with(above));
            parts.extend(self.get(at).filter(|node| is_new && !node.is_read()).map(|node| (at.clone(), node)));
        }
        let mut unread = parts.into_iter().flat_map(|(at, node)| node.unread(at));
        loop {
            if cancel.is_cancelled() {
                return Err(ScanError::Cancelled);
            }
            let mut files: Vec<(TreePath, Content)> = unread.by_ref().take(effort.entries_at_a_time).collect();
            if files.is_empty() {
                return Ok(self);
            }
            // Names of one file have one thing that stands for its content.
            let mut contents: BTreeMap<Content, Content> = files.iter().map(|(_, content)| (*content, *content)).collect();
            let mut once = contents.clone();
            let jobs: Vec<(TreePath, Content)> = files.iter().filter(|(_, content)| once.remove(content).is_some()).cloned().collect();
            for ((_, listed), (stamp, content)) in jobs.iter().zip(hash::contents(handle, &jobs, effort.threads, cancel)?) {
                contents.insert(*listed, content);
                if settled.shows_changes_of(&stamp) {
                    known.put(stamp, content);
                }
            }
            for (_, content) in &mut files {
                *content = contents.get(content).copied().unwrap_or(*content);
            }
            self.root = Arc::new(self.root.with_contents(&files, 0));
        }
    }
}

impl Directory {
    /// The directory with contents of files that are below it, in the order of their paths, of which so many bytes are above the directory.
    fn with_contents(&self, contents: &[(TreePath, Content)], above: usize) -> Directory {
        let mut entries = self.entries.clone();
        let mut rest = contents;
        for (name, node) in &mut entries {
            let is_here = |(path, _): &&(TreePath, Content)| {
                let below = path.as_bytes().get(above..).and_then(|path| path.strip_prefix(name.as_bytes()));
                below.is_some_and(|below| matches!(below, [] | [b'/', ..]))
            };
            let (here, others) = rest.split_at(rest.iter().take_while(is_here).count());
            rest = others;
            match (node, here) {
                (Node::File(file), [(_, content), ..]) => file.content = *content,
                (Node::Directory(directory), [_, ..]) => {
                    *directory = Arc::new(directory.with_contents(here, above + name.as_bytes().len() + 1));
                }
                (Node::Directory(_) | Node::File(_) | Node::Symlink(_) | Node::Special(_), _) => {}
            }
        }
        debug_assert!(rest.is_empty(), "the files are below the directory, in their order");
        Directory::new(self.metadata.clone(), entries)
    }
}

impl Node {
    /// What was not read of the node and what is below it, in the order of the paths. `at` is where the node is. What was gone through is let go
    /// of, so that a tree that is read is not there twice.
    fn unread(self, at: TreePath) -> impl Iterator<Item = (TreePath, Content)> {
        self.walk(at).filter_map(|(path, node)| match node {
            Node::File(file) if file.content.is_unread() => Some((path, file.content)),
            Node::File(_) | Node::Directory(_) | Node::Symlink(_) | Node::Special(_) => None,
        })
    }

    /// Whether all of the node and what is below it was read.
    #[must_use]
    pub fn is_read(&self) -> bool {
        match self {
            Node::Directory(directory) => directory.entries.values().all(Node::is_read),
            Node::File(file) => !file.content.is_unread(),
            Node::Symlink(_) | Node::Special(_) => true,
        }
    }
}
