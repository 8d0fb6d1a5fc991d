//! Files from a context, a stage or an image.
//!
//! In two parts, since the first decides the key: [`select`] finds what is copied, in the form in which it arrives; [`copy`] puts it over
//! the tree below. Source of truth: `specs/README.md`, "Copying".

use std::collections::BTreeMap;
use std::sync::Arc;

use lapstrake_cache::{Fingerprint, Fingerprinter};

use super::modes::{self, Sort};
use super::{Edited, Noted, Origin, Origins, StepError, made, newlines, parents};
use crate::build::accounts::{Accounts, Owner};
use crate::diagnostic::nearest;
use crate::plan::{Copy, Missing, ModeRule, Newlines, TreeSource};
use crate::tree::{
    Content, Contents, Directory, EditError, Editor, File, Glob, InvalidPattern, LastLink, Links, Metadata, Modes, Name, Node, NodeKind,
    Patterns, Sharing, Special, Symlink, Tree, TreePath,
};

/// What is copied, source by source.
#[derive(Debug, Clone)]
pub(in crate::build) struct Selection {
    parts: Vec<Part>,
    /// Whether the parts go into the destination even where it does not exist.
    several: bool,
}

/// One source.
#[derive(Debug, Clone)]
struct Part {
    /// The path as it was written or matched: it arrives under this name, whatever links lead to.
    written: TreePath,
    /// Where it is in the source.
    at: TreePath,
    node: Node,
    /// Hard links below `at`, relative to it.
    links: Links,
}

impl Selection {
    /// Names what is selected: paths, kinds, metadata, contents.
    pub(in crate::build) fn fingerprint(&self) -> Fingerprint {
        let Selection { parts, several } = self;
        debug_assert!(parts.iter().all(|part| part.node.is_read()), "nothing is named by what stands for a content");
        let mut hasher = Fingerprinter::new();
        hasher.update_framed(b"lapstrake-selection/1");
        hasher.update(&[u8::from(*several)]);
        // Where links led is not in it: it changes nothing of what arrives.
        for Part { written, at: _, node, links } in parts {
            hasher.update_framed(written.as_bytes());
            // A directory around the node has the digest of all that matters in it.
            let name = written.name().unwrap_or_else(root_name);
            let around = Directory::new(parents(), [(name, node.clone())].into());
            let tree = Tree { root: Arc::new(around), links: links.clone() };
            hasher.update(tree.fingerprint().as_bytes());
        }
        hasher.finish()
    }

    /// The selection as one tree, so that two selections can be compared file by file.
    pub(in crate::build) fn as_tree(&self) -> Tree {
        let mut editor = Editor::new(&Tree::empty(parents()));
        for part in &self.parts {
            let parent = part.written.parent().unwrap_or_default();
            let made = editor.make_directories(&slashed(parent.as_bytes()), &parents());
            if made.is_ok() {
                // Two sources that overlap show the last one; this is for reading only.
                let _ = editor.put(&part.written, part.node.clone());
            }
        }
        editor.finish()
    }
}

/// A name for what is named for its own sake.
pub(in crate::build) fn root_name() -> Name {
    #[expect(clippy::expect_used, reason = "a constant that is a name")]
    Name::new(b"root").expect("`root` is a name")
}

/// Which links of a tree are followed to what a source names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::build) enum Following {
    /// All: nothing is left out.
    AllLinks,
    /// Some may be left out, and where others lead then is another place.
    SomeLinks,
}

/// Where that is in a tree which a source names: [`select`] finds nothing that is not there or below, whatever it leaves out.
pub(in crate::build) fn named(word: &str, following: Following, tree: &Tree) -> Vec<TreePath> {
    let found = match pattern(word) {
        Some(pattern) => {
            pattern.map(|pattern| pattern.find(tree)).unwrap_or_default().iter().map(|path| slashed(path.as_bytes())).collect()
        }
        None => vec![word.as_bytes().to_vec()],
    };
    let lead = |path: &Vec<u8>| match (tree.resolve(path, LastLink::Follow), following) {
        (Ok(at), Following::AllLinks) => Some(at),
        (Ok(at), Following::SomeLinks) if TreePath::normalised(path).is_ok_and(|path| path == at) => Some(at),
        (Err(_), Following::AllLinks) => None,
        // Without the links that are left out it may lead anywhere.
        (Ok(_) | Err(_), Following::SomeLinks) => Some(TreePath::root()),
    };
    found.iter().filter_map(lead).collect()
}

/// A source that is a pattern.
fn pattern(word: &str) -> Option<Result<Glob, InvalidPattern>> {
    Glob::is_pattern(word).then(|| Glob::new(word.trim_start_matches("./").trim_matches('/')))
}

/// Finds what a copy copies. `place` says where, for messages.
pub(in crate::build) fn select(copy: &Copy, source: &Tree, place: &str) -> Result<Selection, StepError> {
    let exclude = Patterns::new(copy.exclude.iter().map(String::as_str))?;
    let whole = if exclude.is_empty() {
        source.clone()
    } else {
        // What no source leads to need not be looked at.
        let named = copy.sources.iter().flat_map(|word| named(word, Following::SomeLinks, source)).collect();
        exclude.apply_at(source, &named)
    };
    let mut parts = Vec::new();
    let mut unmatched = None;
    for text in &copy.sources {
        if let Some(pattern) = pattern(text) {
            let pattern = pattern?;
            let found = pattern.find(&whole);
            if found.is_empty() {
                unmatched.get_or_insert_with(|| match pattern.find(source).is_empty() {
                    true => StepError::NoMatch { pattern: text.clone(), place: place.to_owned() },
                    false => StepError::AllExcluded { source_path: text.clone() },
                });
            }
            for written in found {
                let at = whole.resolve(&slashed(written.as_bytes()), LastLink::Follow)?;
                // A link that leads nowhere is copied as it is when nobody asked for it by name.
                let at = if whole.get(&at).is_some() { at } else { written.clone() };
                parts.extend(part(copy, &whole, written, at));
            }
        } else {
            let at = whole.resolve(text.as_bytes(), LastLink::Follow)?;
            let written = TreePath::normalised(text.as_bytes()).unwrap_or_else(|_| at.clone());
            match part(copy, &whole, written, at) {
                Some(part) => parts.push(part),
                None => {
                    let at = source.resolve(text.as_bytes(), LastLink::Follow)?;
                    let link = source.resolve(text.as_bytes(), LastLink::Keep)?;
                    return Err(match (source.get(&at), source.get(&link)) {
                        (Some(_), _) => StepError::AllExcluded { source_path: text.clone() },
                        (None, Some(_)) => StepError::Dangling { source_path: text.clone(), target: at, place: place.to_owned() },
                        (None, None) => missing(text, &at, source, place),
                    });
                }
            }
        }
    }
    // A pattern beside other sources may match nothing: `lock*` is how people write a file that may be there.
    match unmatched {
        Some(error) if parts.is_empty() && copy.missing == Missing::Fail => Err(error),
        Some(_) | None => Ok(Selection { several: copy.sources.len() > 1 || parts.len() > 1, parts }),
    }
}

/// Names the nearest thing that is there, in the directory in which the path stops being true.
pub(in crate::build) fn missing(text: &str, at: &TreePath, source: &Tree, place: &str) -> StepError {
    let mut directory = TreePath::root();
    let mut nearest_path = None;
    for name in at.names() {
        let Some(Node::Directory(found)) = source.get(&directory) else { break };
        if let Some(next) = found.entries.get(&name) {
            directory.push(&name);
            if !matches!(next, Node::Directory(_)) {
                break;
            }
            continue;
        }
        let known: Vec<String> = found.entries.keys().map(ToString::to_string).collect();
        nearest_path = nearest(&name.to_string(), known.iter().map(String::as_str)).map(|name| {
            let directory = directory.to_string();
            format!("{directory}/{name}").trim_start_matches('/').to_owned()
        });
        break;
    }
    StepError::NoSource { source_path: text.to_owned(), place: place.to_owned(), nearest: nearest_path }
}

fn part(copy: &Copy, source: &Tree, written: TreePath, at: TreePath) -> Option<Part> {
    let node = source.get(&at)?;
    let (origin, links) = match copy.from {
        // Whether two names of a checkout are one file depends on how it came to the disk.
        TreeSource::Context(_) => (From::Context, Links::default()),
        TreeSource::Stage(_) | TreeSource::Image(_) | TreeSource::Git(_) => (From::Image, source.links.below(&at)),
    };
    Some(Part { node: arrive(&node, origin, &copy.mode), links, written, at })
}

/// What sort of place files come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// Owners, times and attributes are of no account.
    Context,
    /// Owners and attributes are kept.
    Image,
}

/// A node with all below it, with the metadata with which it arrives. What arrives as it is is shared with the source.
fn arrive(node: &Node, from: From, rule: &ModeRule) -> Node {
    node.with_metadata(&mut Sharing::default(), &|kind, metadata| {
        let normal = match from {
            From::Context => Modes::ByExecuteBit,
            From::Image => Modes::Keep,
        };
        let mode = match kind {
            NodeKind::Directory => modes::arriving(rule, normal, Sort::Directory, metadata.mode),
            NodeKind::File => modes::arriving(rule, normal, Sort::File, metadata.mode),
            NodeKind::Special => modes::arriving(rule, normal, Sort::Special, metadata.mode),
            NodeKind::Symlink => 0o777,
        };
        match from {
            From::Context => made(mode, Owner::default()),
            // The step's time is put in when the difference is made.
            From::Image => Metadata { mode, mtime: 0, ..metadata.clone() },
        }
    })
    .unwrap_or_else(|| node.clone())
}

/// Something that may unpack a file of the source, at this path of it, into a directory of the tree above. Says whether it was an archive.
pub(in crate::build) type Unpack<'a, E> = &'a mut dyn FnMut(&TreePath, &Content, &[u8], &mut Editor, &mut Origins) -> Result<bool, E>;

/// Puts what was selected over the tree below.
pub(in crate::build) fn copy<E: std::convert::From<StepError>>(
    copy: &Copy,
    selection: &Selection,
    below: &Tree,
    accounts: &Accounts<'_>,
    source: &dyn Contents,
    unpack: Unpack<'_, E>,
) -> Result<Edited, E> {
    let owner = copy.owner.as_deref().map(|owner| accounts.owner(owner)).transpose().map_err(StepError::from)?;
    let mut putting = Putting {
        editor: Editor::new(below),
        origins: Origins::default(),
        owner,
        newlines: copy.newlines,
        source,
        sharing: Sharing::default(),
    };
    let to = copy.to.as_str();
    let into = selection.several || copy.parents || to.ends_with('/');
    for part in &selection.parts {
        let mut target = to.trim_end_matches('/').to_owned().into_bytes();
        let mut enter = into;
        if copy.parents {
            if let Some(parent) = part.written.parent().filter(|parent| !parent.is_root()) {
                target.push(b'/');
                target.extend_from_slice(parent.as_bytes());
            }
            if let (Node::Directory(_), Some(name)) = (&part.node, part.written.name()) {
                target.push(b'/');
                target.extend_from_slice(name.as_bytes());
            }
        }
        match &part.node {
            Node::Directory(directory) => {
                let tree = Tree { root: Arc::clone(directory), links: part.links.clone() };
                putting.directory_contents(&target, &tree, &part.at)?;
            }
            Node::File(file)
                if copy.unpack && unpack(&part.at, &file.content, &slashed(&target), &mut putting.editor, &mut putting.origins)? => {}
            Node::File(_) | Node::Symlink(_) | Node::Special(_) => {
                let resolved = putting.editor.resolve(&slashed(&target), LastLink::Follow).map_err(StepError::from)?;
                enter |= matches!(putting.editor.get(&resolved), Some(Node::Directory(_)));
                putting.leaf(&slashed(&target), enter, part)?;
            }
        }
    }
    Ok(Edited { above: putting.editor.finish(), origins: putting.origins })
}

fn slashed(path: &[u8]) -> Vec<u8> {
    [b"/", path].concat()
}

/// A tree that is being copied into.
struct Putting<'a> {
    editor: Editor,
    origins: Origins,
    owner: Option<Owner>,
    newlines: Newlines,
    source: &'a dyn Contents,
    sharing: Sharing,
}

impl Putting<'_> {
    fn made_parents(&self) -> Metadata {
        made(0o755, self.owner.unwrap_or_default())
    }

    fn leaf(&mut self, target: &[u8], into: bool, part: &Part) -> Result<(), StepError> {
        let node = self.node(&part.node, &part.at, Noted::No)?;
        let at = if into {
            let directory = self.editor.make_directories(target, &self.made_parents()).map_err(in_the_way)?;
            match part.written.name() {
                Some(name) => directory.join(&name),
                None => directory,
            }
        } else {
            let at = self.editor.resolve(target, LastLink::Follow)?;
            if let Some(parent) = at.parent() {
                self.editor.make_directories(&slashed(parent.as_bytes()), &self.made_parents()).map_err(in_the_way)?;
            }
            at
        };
        if let Some(Node::Directory(_)) = self.editor.get(&at) {
            return Err(StepError::InTheWay { what: "a file", path: at, there: "a directory" });
        }
        self.editor.put(&at, node)?;
        Ok(())
    }

    /// Copies what is in a directory. The destination keeps its metadata where it exists; where it does not, it is made as its parents are.
    fn directory_contents(&mut self, target: &[u8], tree: &Tree, from: &TreePath) -> Result<(), StepError> {
        let target = slashed(target);
        let at = self.editor.resolve(&target, LastLink::Follow)?;
        match self.editor.get(&at) {
            Some(Node::Directory(_)) => {}
            Some(there @ (Node::File(_) | Node::Symlink(_) | Node::Special(_))) => {
                return Err(StepError::InTheWay { what: "a directory", path: at, there: sort(&there) });
            }
            None => {
                self.editor.make_directories(&target, &self.made_parents()).map_err(in_the_way)?;
            }
        }
        let noted = match self.newlines {
            Newlines::Keep => self.origins.note_directory(&at, from, &tree.root),
            Newlines::Lf => Noted::No,
        };
        self.merge(&at, &tree.root, from, noted)?;
        for group in tree.links.groups() {
            let mut names = group.iter().map(|name| at.join_path(name));
            let Some(first) = names.next() else { continue };
            for name in names {
                self.editor.link(&first, &name)?;
            }
        }
        Ok(())
    }

    fn merge(&mut self, at: &TreePath, directory: &Directory, from: &TreePath, noted: Noted) -> Result<(), StepError> {
        for (name, node) in &directory.entries {
            let (at, from) = (at.join(name), from.join(name));
            match (node, self.editor.get(&at)) {
                (Node::Directory(inner), Some(Node::Directory(_))) => {
                    self.editor.set_metadata(&at, self.metadata(&inner.metadata))?;
                    self.merge(&at, inner, &from, noted)?;
                }
                (Node::Directory(_), Some(there @ (Node::File(_) | Node::Symlink(_) | Node::Special(_)))) => {
                    return Err(StepError::InTheWay { what: "a directory", path: at, there: sort(&there) });
                }
                (Node::File(_) | Node::Symlink(_) | Node::Special(_), Some(Node::Directory(_))) => {
                    return Err(StepError::InTheWay { what: sort(node), path: at, there: "a directory" });
                }
                (Node::Directory(inner), None) => {
                    let noted = match (noted, self.newlines) {
                        (Noted::No, Newlines::Keep) => self.origins.note_directory(&at, &from, inner),
                        (Noted::Yes, _) | (Noted::No, Newlines::Lf) => noted,
                    };
                    let node = self.node(node, &from, noted)?;
                    self.editor.put(&at, node)?;
                }
                (Node::File(_) | Node::Symlink(_) | Node::Special(_), _) => {
                    let node = self.node(node, &from, noted)?;
                    self.editor.put(&at, node)?;
                }
            }
        }
        Ok(())
    }

    /// A node with all below it as it is put; where the bytes of its files are is noted unless it is.
    fn node(&mut self, node: &Node, from: &TreePath, noted: Noted) -> Result<Node, StepError> {
        if noted == Noted::No {
            return self.noted_node(node, from);
        }
        Ok(match self.owner {
            Some(Owner { uid, gid }) => {
                let owned = |_, metadata: &Metadata| Metadata { uid, gid, ..metadata.clone() };
                node.with_metadata(&mut self.sharing, &owned).unwrap_or_else(|| node.clone())
            }
            None => node.clone(),
        })
    }

    fn noted_node(&mut self, node: &Node, from: &TreePath) -> Result<Node, StepError> {
        Ok(match node {
            Node::Directory(directory) => {
                let mut entries = BTreeMap::new();
                for (name, node) in &directory.entries {
                    entries.insert(name.clone(), self.noted_node(node, &from.join(name))?);
                }
                Node::Directory(Arc::new(Directory::new(self.metadata(&directory.metadata), entries)))
            }
            Node::File(file) => {
                let (content, origin) = match self.newlines {
                    Newlines::Keep => (file.content, Origin::Source(from.clone())),
                    Newlines::Lf => {
                        let read = |source| StepError::Read { path: from.clone(), source };
                        let bytes = self.source.open(from, &file.content).map_err(read)?;
                        // The key speaks of the bytes that were there when the source was read.
                        let mut checked = newlines::Checked::new(bytes);
                        let content = newlines::content(&mut checked).map_err(read)?;
                        if checked.content() != file.content {
                            return Err(StepError::Changed { path: from.clone() });
                        }
                        (content, Origin::SourceLf(from.clone()))
                    }
                };
                self.origins.note(content.fingerprint, origin);
                let metadata = self.metadata(&file.metadata);
                Node::File(File { metadata: self.sharing.share(metadata), content })
            }
            Node::Symlink(symlink) => Node::Symlink(Symlink { metadata: self.metadata(&symlink.metadata), target: symlink.target.clone() }),
            Node::Special(special) => Node::Special(Special { metadata: self.metadata(&special.metadata), kind: special.kind }),
        })
    }

    fn metadata(&self, metadata: &Metadata) -> Metadata {
        match self.owner {
            Some(Owner { uid, gid }) => Metadata { uid, gid, ..metadata.clone() },
            None => metadata.clone(),
        }
    }
}

fn sort(node: &Node) -> &'static str {
    match node {
        Node::Directory(_) => "a directory",
        Node::File(_) => "a file",
        Node::Symlink(_) => "a symbolic link",
        Node::Special(_) => "a special file",
    }
}

/// A path that leads through a file, said as the copy that it is.
fn in_the_way(error: EditError) -> StepError {
    match error {
        EditError::NotADirectory { path } => StepError::InTheWay { what: "a directory", path, there: "a file" },
        other @ (EditError::Missing { .. }
        | EditError::Climbs { .. }
        | EditError::TooManyLinks { .. }
        | EditError::TooDeep { .. }
        | EditError::LinkToDirectory { .. }
        | EditError::Path(_)) => StepError::Edit(other),
    }
}

#[cfg(test)]
mod tests;
