//! Where a command's root is: a state in, what the sandbox needs for it out; and what the command changed there, kept in the store.
//!
//! Changes are read from the upper directory where the root is an overlay, and found by comparison where it is a private directory. Both
//! give the same difference.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapstrake_cache::Scratch;

use super::caches::Crowd;
use crate::build::Failure;
use crate::build::agent::{AgentHandle, entry_metadata};
use crate::build::execute::refuse_reserved;
use crate::build::layers::make_root;
use crate::build::private::{Part, PrivateRoot};
use crate::build::site::Site;
use crate::build::state::{LayerName, State};
use crate::plan::{Access, Run};
use crate::sandbox::{self, DirectoryAccess, Finished, MountKind, Rung, Upper, UpperKind};
use crate::tree::{
    Difference, DirectoryContents, DirectoryHandle, LocalDirectory, Metadata, NodeKind, NoneKnown, Patterns, Tree, TreePath,
};

/// The root of a command that was there before.
pub(super) struct Again {
    /// It, for a job.
    pub(super) root: (Vec<PathBuf>, Upper),
    /// What is in it, where that had to be found out.
    pub(super) above: Option<Tree>,
}

/// Where the root of one command is.
pub(super) enum Ground {
    /// Directories of layers, and one for the changes.
    Overlay {
        /// The layers' directories, topmost first.
        lowers: Vec<PathBuf>,
        /// Where changes go.
        upper: Upper,
        /// What that is in.
        scratch: Scratch,
    },
    /// A directory that is the root.
    Private {
        /// It.
        root: Box<PrivateRoot>,
        /// Beside it, for the sandbox.
        aside: PathBuf,
        /// What is mounted elsewhere, with what a command may do to it.
        parts: Vec<(String, Part, Access)>,
    },
}

impl Ground {
    /// For a command on `below`, whose tree is `tree`.
    pub(super) fn make(site: &Site<'_>, below: &State, tree: &Tree) -> Result<Ground, Failure> {
        let store = site.outside.store;
        let kind = site.workplace.upper_kind(store.path())?;
        if kind == UpperKind::InPlace {
            let root = Box::new(site.roots.take(site, below)?);
            let aside = root.beside("aside")?;
            return Ok(Ground::Private { root, aside, parts: Vec::new() });
        }
        let scratch = store.scratch()?;
        let upper = if kind == UpperKind::OnDisk {
            let (upper, work) = (scratch.path().join("upper"), scratch.path().join("work"));
            let handle = make_root(site.workplace, store, &upper)?;
            handle.set_metadata(&TreePath::root(), NodeKind::Directory, &tree.root.metadata)?;
            std::fs::create_dir(&work).map_err(|source| Failure::File { path: work.clone(), source })?;
            Upper::OnDisk { upper, work }
        } else {
            Upper::Memory { root: entry_metadata(&tree.root.metadata) }
        };
        Ok(Ground::Overlay { lowers: site.layers.directories(below)?, upper, scratch })
    }

    /// The root, for a job.
    pub(super) fn root(&self) -> (Vec<PathBuf>, Upper) {
        match self {
            Ground::Overlay { lowers, upper, scratch: _ } => (lowers.clone(), upper.clone()),
            Ground::Private { root, aside, parts: _ } => (Vec::new(), Upper::InPlace { root: root.path(), aside: aside.clone() }),
        }
    }

    /// How its caches can be had.
    pub(super) const fn crowd(&self) -> Crowd {
        match self {
            Ground::Overlay { .. } => Crowd::AsShared,
            Ground::Private { .. } => Crowd::OneAtATime,
        }
    }

    /// A part of another state, to be mounted at `at`.
    pub(super) fn part(&mut self, site: &Site<'_>, at: &str, state: &State, path: &str, access: &Access) -> Result<MountKind, Failure> {
        match self {
            Ground::Overlay { .. } => Ok(MountKind::Layers {
                lowers: site.layers.directories(state)?,
                root: entry_metadata(&site.layers.tree(state)?.root.metadata),
                subpath: path.to_owned().into_bytes(),
                access: match access {
                    Access::ReadOnly => sandbox::Access::ReadOnly,
                    Access::Discarded => sandbox::Access::Discarded,
                },
            }),
            Ground::Private { root, aside: _, parts } => {
                let part = Part::make(site, state, path, root.beside(&format!("part-{}", parts.len()))?)?;
                let kind = MountKind::Directory { path: part.path.clone(), access: DirectoryAccess::Written };
                parts.push((at.to_owned(), part, *access));
                Ok(kind)
            }
        }
    }

    /// Looks after a directory that a command may only read: where there are no mounts, it is found afterwards that it was written.
    pub(super) fn watch(&mut self, at: &str, path: &Path) -> Result<(), Failure> {
        match self {
            Ground::Overlay { .. } => {}
            Ground::Private { root: _, aside: _, parts } => parts.push((at.to_owned(), Part::of(path)?, Access::ReadOnly)),
        }
        Ok(())
    }

    /// The root as a command has left it, for another command. `visit` counts these.
    pub(super) fn again(&self, site: &Site<'_>, below: &Arc<Tree>, finished: Option<&Finished>, visit: u32) -> Result<Again, Failure> {
        let (lowers, upper, scratch) = match self {
            Ground::Overlay { lowers, upper, scratch } => (lowers, upper, scratch),
            Ground::Private { root, aside: _, parts: _ } => {
                let aside = root.beside(&format!("aside-{visit}"))?;
                return Ok(Again { root: (Vec::new(), Upper::InPlace { root: root.path(), aside }), above: None });
            }
        };
        let left = finished.map(|finished| AgentHandle::of(finished.upper.directory()));
        let read = |left: &AgentHandle| crate::tree::read_upper(below, left, site.epoch, &NoneKnown, site.caller);
        let directory = |name: &str| -> Result<PathBuf, Failure> {
            let path = scratch.path().join(format!("{name}-{visit}"));
            std::fs::create_dir(&path).map_err(|source| Failure::File { path: path.clone(), source })?;
            Ok(path)
        };
        match (upper, left) {
            (Upper::OnDisk { upper, work: _ }, left) => {
                // Only the model of ids has to be told what there is; the kernel sees for itself.
                let above = match (site.workplace.rung(), left) {
                    (Some(Rung::SingleId), Some(left)) => Some(read(&left)?.tree),
                    (_, _) => None,
                };
                // A work directory that was used says so, and is refused.
                Ok(Again { root: (lowers.clone(), Upper::OnDisk { upper: upper.clone(), work: directory("work")? }), above })
            }
            (Upper::Memory { root }, Some(left)) => {
                let above = read(&left)?.tree;
                let difference = Difference::between(below, &above);
                let path = scratch.path().join(format!("left-{visit}"));
                let into = make_root(site.workplace, site.outside.store, &path)?;
                crate::tree::checkout_difference(&difference, &DirectoryContents(&left), &*into, site.caller)?;
                let lowers = std::iter::once(path).chain(lowers.iter().cloned()).collect();
                Ok(Again { root: (lowers, Upper::Memory { root: root.clone() }), above: Some(above) })
            }
            (Upper::Memory { .. } | Upper::InPlace { .. }, _) => Ok(Again { root: (lowers.clone(), upper.clone()), above: None }),
        }
    }

    /// What the command changed, kept in exactly the form that the difference says, so that a later step sees the same bytes and times
    /// whether this one ran or was cached.
    pub(super) fn changes(
        self,
        site: &Site<'_>,
        run: &Run,
        below: &State,
        tree: &Tree,
        finished: &Finished,
    ) -> Result<Difference, Failure> {
        match self {
            Ground::Overlay { lowers: _, upper: _, scratch } => {
                let upper: Arc<dyn DirectoryHandle> = match finished.upper.path() {
                    Some(path) if site.workplace.has_root_hands() => {
                        Arc::new(LocalDirectory::open(path).map_err(|source| Failure::File { path: path.to_path_buf(), source })?)
                    }
                    Some(_) | None => Arc::new(AgentHandle::of(finished.upper.directory())),
                };
                let above = crate::tree::read_upper(tree, &*upper, site.epoch, &NoneKnown, site.outside.cancel)?.tree;
                let above = without_discarded(run, tree, above, site.epoch)?;
                let difference = difference(site, tree, &above)?;
                if !difference.is_empty() {
                    site.layers.put_difference(&difference)?;
                    keep_upper(site, &difference, &above.root.metadata, &*upper, finished.upper.path(), scratch)?;
                }
                Ok(difference)
            }
            Ground::Private { root, aside: _, parts } => {
                for (at, part, access) in &parts {
                    if *access == Access::ReadOnly
                        && let Some(path) = part.first_change()?
                    {
                        return Err(Failure::WroteToMount { at: at.clone(), path });
                    }
                }
                let handle = root.open()?;
                let found = root.scan(site, tree, &handle)?.tree;
                let above = without_discarded(run, tree, found.settled(tree, site.epoch), site.epoch)?;
                let difference = difference(site, tree, &above)?;
                let state = if difference.is_empty() {
                    below.clone()
                } else {
                    let fingerprint = site.layers.put_difference(&difference)?;
                    keep_copy(site, &difference, &handle, site.outside.store.scratch()?)?;
                    below.with(LayerName::Own(fingerprint))
                };
                root.settle(site, &found, &above, state)?;
                Ok(difference)
            }
        }
    }
}

fn difference(site: &Site<'_>, below: &Tree, above: &Tree) -> Result<Difference, Failure> {
    let difference = Difference::between(below, above).dated(below, site.epoch);
    refuse_reserved(&difference)?;
    Ok(difference)
}

/// Keeps an upper directory as it is where that can be done, else a copy of it.
fn keep_upper(
    site: &Site<'_>,
    difference: &Difference,
    root: &Metadata,
    upper: &dyn DirectoryHandle,
    path: Option<&Path>,
    scratch: Scratch,
) -> Result<(), Failure> {
    let Some(path) = path else { return keep_copy(site, difference, upper, scratch) };
    crate::tree::normalise_upper(upper, difference, root)?;
    let store = site.outside.store;
    store.keep(scratch, path, &site.workplace.shelf(store), &difference.fingerprint().hex())?;
    Ok(())
}

fn keep_copy(site: &Site<'_>, difference: &Difference, from: &dyn DirectoryHandle, scratch: Scratch) -> Result<(), Failure> {
    let store = site.outside.store;
    let path = scratch.path().join("layer");
    let into = make_root(site.workplace, store, &path)?;
    crate::tree::checkout_difference(difference, &DirectoryContents(from), &*into, site.outside.cancel)?;
    store.keep(scratch, &path, &site.workplace.shelf(store), &difference.fingerprint().hex())?;
    Ok(())
}

/// The tree without what the step discards.
fn without_discarded(run: &Run, below: &Tree, above: Tree, epoch: i64) -> Result<Tree, Failure> {
    if run.discard.is_empty() {
        return Ok(above);
    }
    let patterns = Patterns::new(run.discard.iter().map(|pattern| pattern.trim_start_matches('/')))
        .map_err(|source| Failure::Pattern { text: run.discard.join(" "), source })?;
    Ok(above.discarding(below, &patterns).settled(below, epoch))
}
