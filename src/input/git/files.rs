//! Entries and their bytes → a tree, and one file in which the bytes of all its files stand.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File as DiskFile;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use lapstrake_cache::{Fingerprint, Fingerprinter, Scratch};

use crate::event::Cancel;
use crate::tree::{Content, Contents, Directory, File, Metadata, Name, Node, Symlink, Tree, TreePath, Xattrs};

/// The files of a repository at a commit: modes 0644 and 0755, owner 0:0, the time 0. Their bytes are on disk as long as this is.
pub struct GitFiles {
    /// The files.
    pub tree: Tree,
    spool: Spool,
    /// Holds the directory.
    _scratch: Scratch,
}

impl GitFiles {
    pub(super) fn new(building: Building, spool: Spool, scratch: Scratch) -> GitFiles {
        GitFiles { tree: Tree::new(Arc::new(building.finish())), spool, _scratch: scratch }
    }
}

impl Contents for GitFiles {
    fn open(&self, _path: &TreePath, content: &Content) -> io::Result<Box<dyn Read + Send>> {
        self.spool.open(content)
    }
}

/// A file to which contents are added, each once.
pub(super) struct Spool {
    pub(super) path: PathBuf,
    file: Arc<DiskFile>,
    places: BTreeMap<Fingerprint, u64>,
    end: u64,
}

impl Spool {
    pub(super) fn new(path: PathBuf) -> io::Result<Spool> {
        let file = DiskFile::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Spool { path, file: Arc::new(file), places: BTreeMap::new(), end: 0 })
    }

    /// Adds the bytes that a reader gives.
    pub(super) fn add(&mut self, from: &mut dyn Read) -> io::Result<Content> {
        let start = self.end;
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(start))?;
        let mut hasher = Fingerprinter::new();
        let mut buffer = vec![0; 1 << 16];
        let mut size = 0;
        loop {
            let count = from.read(&mut buffer)?;
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            hasher.update(bytes);
            file.write_all(bytes)?;
            size += count as u64;
        }
        let content = Content { fingerprint: hasher.finish(), size };
        // What is there already is written over by the next.
        if let Entry::Vacant(free) = self.places.entry(content.fingerprint) {
            free.insert(start);
            self.end = start + size;
        }
        Ok(content)
    }

    /// The bytes of a content that was added.
    pub(super) fn open(&self, content: &Content) -> io::Result<Box<dyn Read + Send>> {
        let start = self.places.get(&content.fingerprint).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Part { file: Arc::clone(&self.file), at: *start, left: content.size }))
    }
}

/// A reader that fails once somebody wishes to stop.
pub(super) struct Stoppable<'c, R> {
    pub(super) from: R,
    pub(super) cancel: &'c Cancel,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // `Interrupted` would be tried again.
        if self.cancel.is_cancelled() { Err(io::Error::other("stopped")) } else { self.from.read(buffer) }
    }
}

/// A part of a file that several may read at once.
struct Part {
    file: Arc<DiskFile>,
    at: u64,
    left: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// A directory that is being put together.
#[derive(Debug, Default)]
pub(super) struct Building(BTreeMap<Name, Item>);

/// What is put into one.
#[derive(Debug)]
pub(super) enum Item {
    Directory(Building),
    Leaf(Node),
}

/// Something is in the way, or what it would be in is no directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Clash;

impl Building {
    /// Puts something where nothing is, into a directory that is there.
    pub(super) fn put(&mut self, path: &TreePath, item: Item) -> Result<(), Clash> {
        let mut directory = self;
        for name in path.parent().ok_or(Clash)?.names() {
            directory = match directory.0.get_mut(&name) {
                Some(Item::Directory(inner)) => inner,
                Some(Item::Leaf(_)) | None => return Err(Clash),
            };
        }
        match directory.0.entry(path.name().ok_or(Clash)?) {
            Entry::Vacant(free) => {
                free.insert(item);
                Ok(())
            }
            Entry::Occupied(_) => Err(Clash),
        }
    }

    fn finish(self) -> Directory {
        let node = |item| match item {
            Item::Directory(building) => Node::Directory(Arc::new(building.finish())),
            Item::Leaf(node) => node,
        };
        Directory::new(metadata(0o755), self.0.into_iter().map(|(name, item)| (name, node(item))).collect())
    }
}

/// A file of a tree from git.
pub(super) fn file(mode: u16, content: Content) -> Item {
    Item::Leaf(Node::File(File { metadata: metadata(mode).into(), content }))
}

/// A link of a tree from git.
pub(super) fn link(target: Vec<u8>) -> Item {
    Item::Leaf(Node::Symlink(Symlink { metadata: metadata(0o777), target: target.into() }))
}

fn metadata(mode: u16) -> Metadata {
    Metadata { mode, uid: 0, gid: 0, mtime: 0, xattrs: Xattrs::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_stand_once_and_each_can_be_read_alone() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(directory.path().join("spool")).unwrap();
        let contents: Vec<Content> =
            [&b"one"[..], b"", b"three", b"one", b"four"].iter().map(|bytes| spool.add(&mut &**bytes).unwrap()).collect();
        assert_eq!(spool.end, 12);
        for (content, expected) in contents.iter().zip(["one", "", "three", "one", "four"]) {
            assert_eq!(io::read_to_string(spool.open(content).unwrap()).unwrap(), expected);
        }
    }

    #[test]
    fn a_copy_without_end_stops_when_it_is_wished() {
        struct Endless<'c>(&'c Cancel, u32);
        impl Read for Endless<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.1 += 1;
                if self.1 == 3 {
                    self.0.cancel();
                }
                Ok(buffer.len())
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(directory.path().join("spool")).unwrap();
        let cancel = Cancel::new();
        let mut endless = Stoppable { from: Endless(&cancel, 0), cancel: &cancel };
        assert!(spool.add(&mut endless).is_err());
        assert_eq!((endless.from.1, spool.end), (3, 0));
    }

    #[test]
    fn nothing_is_put_behind_a_link_or_twice() {
        let path = |text: &str| TreePath::new(text.as_bytes()).unwrap();
        let mut building = Building::default();
        assert_eq!(building.put(&path("a"), link(b"/etc".to_vec())), Ok(()));
        assert_eq!(building.put(&path("a/b"), link(b"x".to_vec())), Err(Clash));
        assert_eq!(building.put(&path("d/b"), link(b"x".to_vec())), Err(Clash));
        assert_eq!(building.put(&path("a"), Item::Directory(Building::default())), Err(Clash));
    }
}
