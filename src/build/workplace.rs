//! The hands that work on directories of the store, and the sandbox that runs steps over them.
//!
//! Files of a layer belong to the ids that the image names. Real root gives them away itself; an ordinary user does so through the file
//! agent of a user namespace. Where there is neither, layers are unpacked for their contents alone, and no step can run.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use lapstrake_cache::{RemoveOwn, RemoveTree, Shelf, Store};

use super::agent::AgentHandle;
use super::marks::Marks;
use super::once::Once;
use crate::sandbox::{Isolation, Options, Rung, Unusable, UpperKind};
use crate::tree::{DirectoryHandle, DiskError, LocalDirectory, Metadata, NodeKind, SpecialKind, Status, TreePath};

/// How steps may be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IsolationChoice {
    /// On the best rung that this machine allows.
    Auto(Options),
    /// On this rung, or not at all.
    Only(Rung, Options),
    /// Not at all: a spec with `run` is refused.
    None,
}

/// Why steps cannot be run here.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoSandbox {
    /// The machine does not let it.
    #[error("this machine cannot run steps{}", each(.tried))]
    Unusable {
        /// What was tried, the best first.
        tried: Vec<Arc<(Rung, Unusable)>>,
    },
    /// The limits that the caller wants cannot be had.
    #[error("{0}")]
    Unlimited(Arc<Unusable>),
    /// The caller does not want it.
    #[error("a step runs a command, and `--isolation none` allows none; choose `--isolation auto`")]
    Refused,
}

fn each(tried: &[Arc<(Rung, Unusable)>]) -> String {
    tried.iter().map(|tried| format!("\n  {}: {}", tried.0.name(), tried.1)).collect()
}

impl NoSandbox {
    pub(super) fn on(rung: Rung, error: Unusable) -> NoSandbox {
        NoSandbox::Unusable { tried: vec![Arc::new((rung, error))] }
    }
}

/// The hands and the sandbox of one engine. Opened when first needed.
#[derive(Debug)]
pub(crate) struct Workplace {
    choice: IsolationChoice,
    isolation: OnceLock<Result<Found, NoSandbox>>,
    upper: OnceLock<Result<UpperKind, NoSandbox>>,
    handles: Once<PathBuf, Opened>,
}

/// A sandbox, and what was tried before it.
#[derive(Debug)]
struct Found {
    isolation: Isolation,
    before: Vec<Arc<(Rung, Unusable)>>,
}

/// A directory of the store that was opened.
#[derive(Clone)]
pub(super) struct Opened(pub(super) Arc<dyn DirectoryHandle>);

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opened")
    }
}

impl Workplace {
    pub(crate) fn new(choice: IsolationChoice) -> Workplace {
        Workplace { choice, isolation: OnceLock::new(), upper: OnceLock::new(), handles: Once::default() }
    }

    /// The sandbox.
    pub(super) fn isolation(&self) -> Result<&Isolation, NoSandbox> {
        self.found().map(|found| &found.isolation)
    }

    fn found(&self) -> Result<&Found, NoSandbox> {
        // Limits are refused alike on every rung.
        let limited = |options: &Options| options.limits.check().map_err(|error| NoSandbox::Unlimited(Arc::new(error)));
        let opened = self.isolation.get_or_init(|| match &self.choice {
            IsolationChoice::Auto(options) => limited(options).and_then(|()| best(options)),
            IsolationChoice::Only(rung, options) => limited(options).and_then(|()| {
                Isolation::open(*rung, options)
                    .map(|isolation| Found { isolation, before: Vec::new() })
                    .map_err(|error| NoSandbox::on(*rung, error))
            }),
            IsolationChoice::None => Err(NoSandbox::Refused),
        });
        opened.as_ref().map_err(Clone::clone)
    }

    /// The rung of the sandbox, where one was opened.
    pub(super) fn rung(&self) -> Option<Rung> {
        self.isolation.get().and_then(|opened| opened.as_ref().ok()).map(|found| found.isolation.rung())
    }

    /// A workplace where users, owners and devices are a model, not opened; `None` where the caller has chosen another, or none.
    pub(super) fn model(&self) -> Option<Workplace> {
        let IsolationChoice::Auto(options) = &self.choice else { return None };
        Some(Workplace::new(IsolationChoice::Only(Rung::SingleId, options.clone())))
    }

    /// The same, opened, for what this one cannot give. `None` where this is no
    /// question: the caller has chosen another, or none.
    ///
    /// # Errors
    /// When this machine has none.
    pub(super) fn model_beside(&self) -> Option<Result<Workplace, NoSandbox>> {
        let beside = self.model()?;
        (self.rung() == Some(Rung::UserNamespace)).then(|| beside.isolation().map(drop).map(|()| beside))
    }

    /// Whether real root gives files away himself. Where ids are a model, nobody does.
    pub(super) fn has_root_hands(&self) -> bool {
        is_root() && !matches!(self.choice, IsolationChoice::Only(Rung::SingleId, _))
    }

    /// Whether it is known without further ado whose hands work on directories.
    pub(super) fn has_hands(&self) -> bool {
        self.has_root_hands() || self.isolation.get().is_some()
    }

    /// Where upper directories can be.
    pub(super) fn upper_kind(&self, store: &Path) -> Result<UpperKind, NoSandbox> {
        let Found { isolation, before } = self.found()?;
        let tried = |error| {
            let last = Arc::new((isolation.rung(), error));
            NoSandbox::Unusable { tried: before.iter().cloned().chain([last]).collect() }
        };
        self.upper.get_or_init(|| isolation.upper_kind(store).map_err(tried)).clone()
    }

    /// Where unpacked layers of these hands are kept: owners on disk depend on the id mapping.
    pub(super) fn shelf(&self, store: &Store) -> Shelf {
        const CONTENTS: Shelf = Shelf::named("layers-contents");
        let hands = match self.has_root_hands() {
            true => Some("root".to_owned()),
            false => self.isolation().ok().map(|isolation| isolation.mapping().name().to_owned()),
        };
        // A store may be carried to another file system, where directories without marks would mean something else.
        let marks = match Marks::of(store) {
            Marks::Possible => "",
            Marks::Impossible => "-unmarked",
        };
        hands.and_then(|hands| Shelf::new(&format!("layers-{hands}{marks}")).ok()).unwrap_or(CONTENTS)
    }

    /// A directory of the store, opened by whoever may.
    pub(super) fn open(&self, path: &Path) -> Result<Arc<dyn DirectoryHandle>, DiskError> {
        let opened = self.handles.get(&path.to_path_buf(), || self.open_fresh(path).map(Opened))?;
        Ok(opened.0)
    }

    /// The same without remembering it: for directories that will be moved or removed.
    pub(super) fn open_fresh(&self, path: &Path) -> Result<Arc<dyn DirectoryHandle>, DiskError> {
        if self.has_root_hands() {
            return Ok(Arc::new(local(path)?));
        }
        match self.isolation() {
            Ok(isolation) => Ok(Arc::new(AgentHandle::open(isolation.agent(), path)?)),
            Err(_) => Ok(Arc::new(ContentsOnly(local(path)?))),
        }
    }
}

/// The first rung that works.
fn best(options: &Options) -> Result<Found, NoSandbox> {
    let mut before = Vec::new();
    for rung in Rung::AUTOMATIC {
        if rung == Rung::SingleId && is_root() {
            // Whoever root's files belong to stands in their inodes: where that cannot be, root has to ask for the model.
            continue;
        }
        match Isolation::open(rung, options) {
            Ok(isolation) => return Ok(Found { isolation, before }),
            Err(error) => before.push(Arc::new((rung, error))),
        }
    }
    Err(NoSandbox::Unusable { tried: before })
}

impl RemoveTree for Workplace {
    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        match RemoveOwn.remove_tree(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !self.has_root_hands() => match self.isolation() {
                Ok(isolation) => isolation.agent().remove(path).map_err(crate::sandbox::AgentError::into_io),
                Err(_) => Err(error),
            },
            other => other,
        }
    }
}

fn local(path: &Path) -> Result<LocalDirectory, DiskError> {
    LocalDirectory::open(path).map_err(|error| DiskError::new("open", &TreePath::root(), error))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A directory whose owners, special files and modes are not kept, for those who only need the bytes of its files.
struct ContentsOnly(LocalDirectory);

impl DirectoryHandle for ContentsOnly {
    fn list(&self, directory: &TreePath) -> Result<Vec<crate::tree::Listed>, DiskError> {
        self.0.list(directory)
    }

    fn open(&self, file: &TreePath) -> Result<std::fs::File, DiskError> {
        self.0.open(file)
    }

    fn root_status(&self) -> Result<Status, DiskError> {
        self.0.root_status()
    }

    fn make_directory(&self, at: &TreePath) -> Result<(), DiskError> {
        self.0.make_directory(at)
    }

    fn create_file(&self, at: &TreePath) -> Result<std::fs::File, DiskError> {
        self.0.create_file(at)
    }

    fn make_symlink(&self, at: &TreePath, target: &[u8]) -> Result<(), DiskError> {
        self.0.make_symlink(at, target)
    }

    fn make_special(&self, _at: &TreePath, _kind: SpecialKind) -> Result<(), DiskError> {
        Ok(())
    }

    fn make_whiteout(&self, _at: &TreePath) -> Result<(), DiskError> {
        Ok(())
    }

    fn hard_link(&self, existing: &TreePath, new: &TreePath) -> Result<(), DiskError> {
        self.0.hard_link(existing, new)
    }

    fn set_metadata(&self, _at: &TreePath, _kind: NodeKind, _metadata: &Metadata) -> Result<(), DiskError> {
        Ok(())
    }

    fn set_opaque(&self, _directory: &TreePath) -> Result<(), DiskError> {
        Ok(())
    }

    fn remove(&self, at: &TreePath) -> Result<(), DiskError> {
        self.0.remove(at)
    }
}
