//! Build contexts: a directory of this machine in; a tree in normal order and a way to its bytes out.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::remembered::Remembered;
use super::{Error, Outside, regular};
use crate::event::{Outcome, TaskKind};
use crate::plan;
use crate::tree::{LocalDirectory, Patterns, ScanError, Tree, TreePath, Unread};

/// The files that say what of a context is left out; the first that is there counts.
const IGNORE_FILES: [&str; 2] = [".lapstrakeignore", ".dockerignore"];

/// A context that was read.
#[derive(Clone)]
pub struct Context {
    /// Its files without those that its ignore file leaves out: with their modes on disk, and of owners, times, attributes and hard links
    /// with none. What was not wanted need not have been read: something stands for its content then.
    pub tree: Tree,
    /// The directory they are in.
    pub handle: Arc<LocalDirectory>,
    /// Its path, for messages.
    pub path: PathBuf,
}

impl Outside<'_> {
    /// Lists a context and reads what is wanted of it; `said` is what the spec says of it. Files that did not change since the last time
    /// are not read again.
    ///
    /// `wanted` is given the tree that was listed, and says of which of its paths everything is wanted; it is not asked where all contents are
    /// known.
    ///
    /// # Errors
    /// When no directory was given for it, it cannot be listed, or something that is wanted cannot be read.
    pub fn context(&self, name: &str, said: &plan::Context, wanted: impl FnOnce(&Tree) -> BTreeSet<TreePath>) -> Result<Context, Error> {
        let plan::Context { path: directory, ignore } = said;
        let path = self.context_directory(name, directory.as_deref())?;
        let wrong = |source: std::io::Error| Error::File { path: path.clone(), source };
        let unreadable = |source: ScanError| Error::Scan { path: path.clone(), source: Box::new(source) };
        self.task(TaskKind::Scan, path.display().to_string(), |_| {
            let path = path.canonicalize().map_err(wrong)?;
            let handle = LocalDirectory::open(&path).map_err(|source| Error::File { path: path.clone(), source })?.ignoring_xattrs();
            let patterns = self.ignored(&path, &handle, ignore.as_deref())?;
            let remembered = Remembered::load(self.store, &path);
            let unread = Unread::but(&remembered);
            let mut tree = crate::tree::scan_context(&handle, &patterns, &unread, self.cancel).map_err(unreadable)?.tree;
            if unread.any() {
                let wanted = wanted(&tree);
                tree = tree.read(&wanted, &handle, &remembered, self.cancel).map_err(unreadable)?;
            }
            remembered.save();
            Ok((Context { tree, handle: Arc::new(handle), path }, Outcome::Done))
        })
    }

    /// What is left out of a context: what its ignore file says, and the store where it lies inside, as caches of CI systems do.
    fn ignored(&self, path: &Path, handle: &LocalDirectory, ignore: Option<&str>) -> Result<Patterns, Error> {
        let mut text = String::new();
        let mut named = path.to_path_buf();
        let files = match ignore {
            Some(file) => vec![self.directory.join(file)],
            None => IGNORE_FILES.iter().map(|name| path.join(name)).collect(),
        };
        for file in files {
            let opened = match ignore {
                // A file that the spec names has to be there, and may be anywhere.
                Some(_) => regular::open(&file),
                None => regular::open_below(handle.as_fd(), file.file_name().unwrap_or_default()),
            };
            match opened.and_then(regular::text) {
                Ok(found) => {
                    (text, named) = (found, file);
                    break;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && ignore.is_none() => {}
                Err(source) => return Err(Error::File { path: file, source }),
            }
        }
        let store = self.store.path().canonicalize().unwrap_or_else(|_| self.store.path().to_path_buf());
        if let Some(inside) = store.strip_prefix(path).ok().and_then(Path::to_str).filter(|inside| !inside.is_empty()) {
            text.push('\n');
            text.extend(inside.chars().flat_map(|character| {
                let escape = matches!(character, '*' | '?' | '[' | ']' | '\\').then_some('\\');
                escape.into_iter().chain([character])
            }));
        }
        Patterns::parse_ignore_file(&text).map_err(|source| Error::Pattern { path: named, source })
    }
}
