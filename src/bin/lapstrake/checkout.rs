//! Contexts as they lie on disk → what converting asks about their files.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lapstrake::event::Cancel;
use lapstrake::frontend::convert::Contexts;
use lapstrake::spec::{Name, Spec};
use lapstrake::tree::{LocalDirectory, Modes, Node, NoneKnown, Patterns, Tree, TreePath, Unread, scan_context};

/// Larger files are not looked into.
const MOST_BYTES: u64 = 1 << 20;

/// The files that say what of a context is left out; the first that is there counts.
const IGNORE_FILES: [&str; 2] = [".lapstrakeignore", ".dockerignore"];

/// The contexts of a spec.
pub(crate) struct Checkouts<'p> {
    /// What paths of the spec are relative to.
    pub(crate) place: &'p Path,
    /// The spec.
    pub(crate) spec: &'p Spec,
    /// Contexts that the caller gave, by name.
    pub(crate) given: &'p BTreeMap<String, PathBuf>,
    /// Trees by the names of the contexts, as far as one was asked for; files are not read.
    pub(crate) trees: RefCell<BTreeMap<String, Option<Tree>>>,
}

impl Checkouts<'_> {
    fn directory(&self, context: Option<&Name>) -> PathBuf {
        let said = match context {
            None => self.spec.context.as_ref().map_or(".", |context| context.value.as_str()),
            Some(name) => self.spec.contexts.get(name).map_or(".", |context| context.value.path.value.as_str()),
        };
        self.given.get(context.map_or("", Name::as_str)).cloned().unwrap_or_else(|| self.place.join(said))
    }

    /// The context without what its ignore file leaves out.
    fn tree(&self, context: Option<&Name>) -> Option<Tree> {
        let directory = self.directory(context);
        let said = match context {
            None => self.spec.ignore.as_ref(),
            Some(name) => self.spec.contexts.get(name).and_then(|context| context.value.ignore.as_ref()),
        };
        let files = match said {
            Some(file) => vec![self.place.join(&file.value)],
            None => IGNORE_FILES.iter().map(|name| directory.join(name)).collect(),
        };
        let ignore = files.iter().find_map(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        let patterns = Patterns::parse_ignore_file(&ignore).ok()?;
        let handle = LocalDirectory::open(&directory).ok()?.ignoring_xattrs();
        // Only modes are of interest: no file is read.
        scan_context(&handle, &patterns, &Unread::but(&NoneKnown), &Cancel::new()).ok().map(|scanned| scanned.tree)
    }
}

impl Contexts for Checkouts<'_> {
    fn read(&self, context: Option<&Name>, path: &str) -> Option<Vec<u8>> {
        let file = self.directory(context).join(path.trim_start_matches('/'));
        let metadata = std::fs::symlink_metadata(&file).ok()?;
        if metadata.is_file() && metadata.len() <= MOST_BYTES { std::fs::read(&file).ok() } else { None }
    }

    fn is_normal(&self, context: Option<&Name>, path: &str) -> bool {
        let Ok(path) = TreePath::normalised(path.as_bytes()) else { return false };
        let key = context.map_or("", Name::as_str).to_owned();
        let mut trees = self.trees.borrow_mut();
        let Some(tree) = trees.entry(key).or_insert_with(|| self.tree(context)) else { return false };
        let same = |tree: &Tree| tree.normalised(Modes::Keep, 0).fingerprint() == tree.normalised(Modes::ByExecuteBit, 0).fingerprint();
        if path.is_root() {
            return same(tree);
        }
        match tree.get(&path) {
            Some(Node::File(file)) => Modes::ByExecuteBit.of_file(file.metadata.mode) == file.metadata.mode,
            Some(Node::Directory(_)) => tree.subtree(&path).is_some_and(|tree| same(&tree)),
            // A link may lead anywhere.
            Some(Node::Symlink(_) | Node::Special(_)) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn modes_are_normal_where_all_that_is_not_left_out_has_them() {
        let place = tempfile::tempdir().unwrap();
        let made = |path: &str, mode: u32| {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for (path, mode) in [("plain/a", 0o644), ("plain/b", 0o755), ("odd/c", 0o664), ("left/d", 0o600)] {
            made(path, mode);
        }
        for directory in ["", "plain", "odd", "left"] {
            std::fs::set_permissions(place.path().join(directory), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::symlink("odd/c", place.path().join("link")).unwrap();
        std::fs::write(place.path().join(".dockerignore"), "left\n.dockerignore\n").unwrap();
        let (spec, given) = (Spec::default(), BTreeMap::new());
        let normal = |path: &str| {
            let checkouts = Checkouts { place: place.path(), spec: &spec, given: &given, trees: RefCell::default() };
            checkouts.is_normal(None, path)
        };
        let found: Vec<&str> = ["plain", "/plain/a", "./plain/b", "odd", "odd/c", "link", ".", "left", "missing", "../x"]
            .into_iter()
            .filter(|path| normal(path))
            .collect();
        assert_eq!(found, ["plain", "/plain/a", "./plain/b"]);
        std::fs::remove_dir_all(place.path().join("odd")).unwrap();
        assert!(normal("."));
    }
}
