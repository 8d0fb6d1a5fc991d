//! Changing a tree: a tree and wishes in, another tree out. Links are resolved inside the tree, as a process rooted in it would.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Directory, InvalidPath, Links, MAXIMUM_DEPTH, Metadata, Name, Node, Tree, TreePath, whole};

/// How many links are followed for one path; the kernel's own limit.
const MAXIMUM_LINKS: usize = 40;

/// A change of a tree that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// A directory is needed where something else is.
    #[error("`{path}` is not a directory")]
    NotADirectory {
        /// What is there.
        path: TreePath,
    },
    /// Something is needed that is not there.
    #[error("`{path}` does not exist")]
    Missing {
        /// What is needed.
        path: TreePath,
    },
    /// A hard link to a directory is wanted.
    #[error("`{path}` is a directory and cannot have a second name")]
    LinkToDirectory {
        /// The directory.
        path: TreePath,
    },
    /// A path goes up from the root.
    #[error("`{}` climbs out of the root", String::from_utf8_lossy(.path))]
    Climbs {
        /// The path as given.
        path: Vec<u8>,
    },
    /// Links lead to links without end.
    #[error("`{}` leads through more than {MAXIMUM_LINKS} symbolic links", String::from_utf8_lossy(.path))]
    TooManyLinks {
        /// The path as given.
        path: Vec<u8>,
    },
    /// A path would have too many names.
    #[error("`{path}` and what is below it are more than {MAXIMUM_DEPTH} names deep")]
    TooDeep {
        /// The path.
        path: TreePath,
    },
    /// A name in a path is none.
    #[error(transparent)]
    Path(#[from] InvalidPath),
}

/// What to do with a link that has the last name of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLink {
    /// Follow it.
    Follow,
    /// It is what is meant.
    Keep,
}

impl Tree {
    /// Where a path leads when links are followed inside the tree. What does not exist is taken as written, so that the result need not
    /// exist. An absolute link starts at the root; a link that goes up from the root stays there.
    ///
    /// # Errors
    /// When the path itself climbs out of the root, leads through too many links, or has a name in it that is none.
    pub fn resolve(&self, path: &[u8], last: LastLink) -> Result<TreePath, EditError> {
        resolve(&self.root, path, last)
    }
}

fn resolve(root: &Arc<Directory>, path: &[u8], last: LastLink) -> Result<TreePath, EditError> {
    // Names still to go, the next one last; those of the path itself may not climb, those of links may try.
    let mut next: Vec<(Vec<u8>, Origin)> = names(path).rev().map(|name| (name.to_vec(), Origin::Path)).collect();
    let mut resolved = TreePath::root();
    let mut links = 0_usize;
    while let Some((name, origin)) = next.pop() {
        if name == b".." {
            resolved = match (resolved.parent(), origin) {
                (Some(parent), _) => parent,
                (None, Origin::Link) => TreePath::root(),
                (None, Origin::Path) => return Err(EditError::Climbs { path: path.to_vec() }),
            };
            continue;
        }
        let name = Name::new(&name)?;
        let at = resolved.join(&name);
        let target = match whole::find(root, &at) {
            Some(Node::Symlink(symlink)) if last == LastLink::Follow || !next.is_empty() => symlink.target,
            None | Some(Node::Directory(_) | Node::File(_) | Node::Symlink(_) | Node::Special(_)) => {
                resolved = at;
                continue;
            }
        };
        links += 1;
        if links > MAXIMUM_LINKS {
            return Err(EditError::TooManyLinks { path: path.to_vec() });
        }
        if target.starts_with(b"/") {
            resolved = TreePath::root();
        }
        next.extend(names(&target).rev().map(|name| (name.to_vec(), Origin::Link)));
    }
    Ok(resolved)
}

/// Where a name in a path that is being resolved comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Path,
    Link,
}

fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b"."))
}

/// A tree that is being changed. The tree it was made from stays as it is.
#[derive(Debug, Clone)]
pub struct Editor {
    root: Arc<Directory>,
    /// The hard-link group of each name that has one.
    groups: BTreeMap<TreePath, u64>,
    next_group: u64,
}

impl Editor {
    /// Starts from a tree.
    #[must_use]
    pub fn new(tree: &Tree) -> Editor {
        let mut editor = Editor { root: Arc::clone(&tree.root), groups: BTreeMap::new(), next_group: 0 };
        editor.add_links(&tree.links);
        editor
    }

    /// What has this path; links are not followed.
    #[must_use]
    pub fn get(&self, path: &TreePath) -> Option<Node> {
        whole::find(&self.root, path)
    }

    /// As [`Tree::resolve`], in the tree as it is now.
    ///
    /// # Errors
    /// As [`Tree::resolve`].
    pub fn resolve(&self, path: &[u8], last: LastLink) -> Result<TreePath, EditError> {
        resolve(&self.root, path, last)
    }

    /// Resolves a path and makes every directory of it that is missing, with this metadata. Those that exist stay as they are.
    /// Gives the resolved path.
    ///
    /// # Errors
    /// When the path cannot be resolved, is too deep, or something on it is no directory.
    pub fn make_directories(&mut self, path: &[u8], metadata: &Metadata) -> Result<TreePath, EditError> {
        let resolved = self.resolve(path, LastLink::Follow)?;
        if resolved.depth() > MAXIMUM_DEPTH {
            return Err(EditError::TooDeep { path: resolved });
        }
        // Looking first keeps directories shared when nothing is missing.
        let mut at = TreePath::root();
        for name in resolved.names() {
            at.push(&name);
            match self.get(&at) {
                Some(Node::Directory(_)) => {}
                Some(Node::File(_) | Node::Symlink(_) | Node::Special(_)) => return Err(EditError::NotADirectory { path: at }),
                None => self.put(&at, Node::Directory(Arc::new(Directory::new(metadata.clone(), BTreeMap::new()))))?,
            }
        }
        Ok(resolved)
    }

    /// Puts a node at a path, in place of what is there. Links are not followed; the parent must be a directory. The names put are
    /// files of their own, whatever groups the names they replace were in.
    ///
    /// # Errors
    /// When the parent is no directory, the root would be none, or the result would be too deep.
    pub fn put(&mut self, path: &TreePath, node: Node) -> Result<(), EditError> {
        if path.depth() + depth(&node) > MAXIMUM_DEPTH {
            return Err(EditError::TooDeep { path: path.clone() });
        }
        match (path.parent(), path.name()) {
            (Some(parent), Some(name)) => {
                let directory = self.directory_mut(&parent)?;
                directory.entries.insert(name, node);
            }
            (_, _) => match node {
                Node::Directory(root) => self.root = root,
                Node::File(_) | Node::Symlink(_) | Node::Special(_) => return Err(EditError::NotADirectory { path: path.clone() }),
            },
        }
        self.forget_links(path);
        Ok(())
    }

    /// Puts a whole tree at a path, in place of what is there, its hard links kept.
    ///
    /// # Errors
    /// As [`Editor::put`].
    pub fn graft(&mut self, path: &TreePath, tree: &Tree) -> Result<(), EditError> {
        self.put(path, Node::Directory(Arc::clone(&tree.root)))?;
        self.add_links(&tree.links.moved_to(path));
        Ok(())
    }

    /// Gives a file (or link, or device) a second name, in place of what has it.
    ///
    /// # Errors
    /// When there is no such file, it is a directory or in what the new name replaces, or the new name's parent is none.
    pub fn link(&mut self, existing: &TreePath, new: &TreePath) -> Result<(), EditError> {
        let node = match self.get(existing) {
            None => return Err(EditError::Missing { path: existing.clone() }),
            Some(Node::Directory(_)) => return Err(EditError::LinkToDirectory { path: existing.clone() }),
            Some(node @ (Node::File(_) | Node::Symlink(_) | Node::Special(_))) => node,
        };
        if existing == new {
            return Ok(());
        }
        if existing.starts_with(new) {
            return Err(EditError::Missing { path: existing.clone() });
        }
        self.put(new, node)?;
        let group = match self.groups.get(existing) {
            Some(group) => *group,
            None => self.new_group(),
        };
        self.groups.insert(existing.clone(), group);
        self.groups.insert(new.clone(), group);
        Ok(())
    }

    /// Removes what has this path, with all below it, and gives it. The root stays.
    pub fn remove(&mut self, path: &TreePath) -> Option<Node> {
        self.get(path)?;
        let (parent, name) = (path.parent()?, path.name()?);
        let removed = self.directory_mut(&parent).ok()?.entries.remove(&name);
        self.forget_links(path);
        removed
    }

    /// Gives what has this path other metadata. A name of several for one file becomes a file of its own.
    ///
    /// # Errors
    /// When nothing is there.
    pub fn set_metadata(&mut self, path: &TreePath, metadata: Metadata) -> Result<(), EditError> {
        let missing = || EditError::Missing { path: path.clone() };
        match self.get(path).ok_or_else(missing)? {
            Node::Directory(_) => self.directory_mut(path)?.metadata = metadata,
            Node::File(file) => self.put(path, Node::File(super::File { metadata: metadata.into(), ..file }))?,
            Node::Symlink(symlink) => self.put(path, Node::Symlink(super::Symlink { metadata, ..symlink }))?,
            Node::Special(special) => self.put(path, Node::Special(super::Special { metadata, ..special }))?,
        }
        Ok(())
    }

    /// The tree as it is now.
    #[must_use]
    pub fn finish(self) -> Tree {
        let mut groups: BTreeMap<u64, Vec<TreePath>> = BTreeMap::new();
        for (path, group) in self.groups {
            groups.entry(group).or_default().push(path);
        }
        Tree { root: self.root, links: Links::new(groups.into_values()) }
    }

    fn directory_mut(&mut self, path: &TreePath) -> Result<&mut Directory, EditError> {
        match whole::find(&self.root, path) {
            Some(Node::Directory(_)) => {}
            Some(Node::File(_) | Node::Symlink(_) | Node::Special(_)) => return Err(EditError::NotADirectory { path: path.clone() }),
            None => return Err(EditError::Missing { path: path.clone() }),
        }
        let mut directory = owned(&mut self.root);
        for name in path.names() {
            directory = match directory.entries.get_mut(&name) {
                Some(Node::Directory(directory)) => owned(directory),
                None | Some(Node::File(_) | Node::Symlink(_) | Node::Special(_)) => {
                    return Err(EditError::NotADirectory { path: path.clone() });
                }
            };
        }
        Ok(directory)
    }

    fn new_group(&mut self) -> u64 {
        self.next_group += 1;
        self.next_group
    }

    fn add_links(&mut self, links: &Links) {
        for group in links.groups() {
            let number = self.new_group();
            self.groups.extend(group.iter().map(|path| (path.clone(), number)));
        }
    }

    fn forget_links(&mut self, path: &TreePath) {
        let gone: Vec<TreePath> =
            self.groups.range(path..).map(|(gone, _)| gone).take_while(|gone| gone.starts_with(path)).cloned().collect();
        for path in gone {
            self.groups.remove(&path);
        }
    }
}

/// A directory that is this tree's alone and may be changed.
fn owned(directory: &mut Arc<Directory>) -> &mut Directory {
    let directory = Arc::make_mut(directory);
    directory.fingerprint = std::sync::OnceLock::new();
    directory
}

/// How many names deep a node goes below itself.
fn depth(node: &Node) -> usize {
    match node {
        Node::Directory(directory) => directory.entries.values().map(|node| depth(node) + 1).max().unwrap_or(0),
        Node::File(_) | Node::Symlink(_) | Node::Special(_) => 0,
    }
}
