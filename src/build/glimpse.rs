//! The part of a file system that a step looks at: the pages of some directories in, a tree in which all others are empty out.
//!
//! A step that only puts files in place needs to know little of what is below. It is done over a tree in which only some directories are
//! known. Where it changed, entered or replaced any of the others, these are looked up and it is done again; where it fails, or anything
//! cannot be had, it is done over the whole tree. So what comes out is what the whole tree gives: such steps look only at what they put
//! files at or below, and whatever they put is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use super::Failure;
use super::claims::Claim;
use super::layers::Layers;
use super::state::{LayerName, State};
use crate::remote::{Linked, Page, Pointer};
use crate::tree::{Change, Content, Contents, Difference, Entry, Node, Tree, TreePath};

/// How often a step is done before its whole tree is made.
const ROUNDS: usize = 24;

/// How many directories are looked up before the whole tree is cheaper.
const DIRECTORIES: usize = 200;

/// The layers of a state, of which some are known by their pages alone.
pub(super) struct Glimpse<'g> {
    views: Vec<View<'g>>,
    claims: Vec<Claim>,
    pages: Mutex<Pages>,
}

/// Pages by layer and directory; nothing where the layer has nothing in the directory.
type Pages = BTreeMap<(usize, TreePath), Option<Arc<Page>>>;

/// Finds the page that a pointer names; `None` where it cannot be had.
type Find<'g> = dyn Fn(&Pointer) -> Option<Page> + Send + Sync + 'g;

/// One layer.
enum View<'g> {
    /// All of it is at hand.
    Whole(Box<Difference>),
    /// Its pages can be asked for.
    Pages {
        /// The first.
        root: Pointer,
        /// Finds any.
        find: Box<Find<'g>>,
    },
}

impl<'g> Glimpse<'g> {
    /// `None` where the whole tree is at hand, or not even pages are to be had.
    pub(super) fn of(layers: &'g Layers<'_>, state: &State) -> Result<Option<Glimpse<'g>>, Failure> {
        let Some(elsewhere) = layers.elsewhere() else { return Ok(None) };
        let mut views = Vec::new();
        let mut claims = Vec::new();
        let mut is_whole = true;
        for count in 1..=state.layers().len() {
            let state = state.prefix(count);
            if let Some(difference) = layers.local_difference(&state)? {
                views.push(View::Whole(Box::new(difference)));
                continue;
            }
            let known = match state.layers().last() {
                Some(LayerName::Own(fingerprint)) => elsewhere.own_layer(fingerprint),
                Some(LayerName::Foreign(_)) => elsewhere.base_layer(&state),
                None => None,
            };
            match known {
                Some(known) => match known.listing().cloned() {
                    Some((listing, root)) => {
                        is_whole = false;
                        claims.push(Claim::of_pages(count, &known));
                        views.push(View::Pages { root, find: Box::new(move |pointer| elsewhere.page(&known, &listing, pointer)) });
                    }
                    None => match elsewhere.difference(&known) {
                        Some(difference) => {
                            claims.push(Claim::of_difference(count, &known));
                            views.push(View::Whole(Box::new(difference)));
                        }
                        None => return Ok(None),
                    },
                },
                None => return Ok(None),
            }
        }
        Ok((!is_whole).then(|| Glimpse { views, claims, pages: Mutex::default() }))
    }

    /// What only caches have told of the state.
    pub(super) fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// Does a step over as much of the tree as it turns out to need: the tree below, and what `work` makes of it. `None` where the whole
    /// tree is needed.
    pub(super) fn work<T>(
        &self,
        begin_with: &BTreeSet<TreePath>,
        mut work: impl FnMut(&Tree, &dyn Contents) -> Result<(Tree, T), Failure>,
    ) -> Option<(Tree, Tree, T)> {
        let mut known = begin_with.clone();
        known.insert(TreePath::root());
        for _ in 0..ROUNDS {
            let below = self.tree(&known)?;
            // A failure may only be for want of what is not known.
            let (above, made) = work(&below, self).ok()?;
            let touched = touched(&below, &above, &known);
            if touched.is_empty() {
                return Some((below, above, made));
            }
            known.extend(touched);
            if known.len() > DIRECTORIES {
                return None;
            }
        }
        None
    }

    /// The tree in which only these directories are known. The parents of each are among them.
    fn tree(&self, known: &BTreeSet<TreePath>) -> Option<Tree> {
        let mut tree = Layers::nothing();
        for (number, view) in self.views.iter().enumerate() {
            let part = match view {
                View::Whole(difference) => part(difference, known)?,
                View::Pages { .. } => self.part(number, known)?,
            };
            tree = tree.apply(&part);
        }
        Some(tree)
    }

    /// What a layer that is known by its pages has in these directories.
    fn part(&self, number: usize, known: &BTreeSet<TreePath>) -> Option<Difference> {
        let mut part = Difference::default();
        let mut entries = Vec::new();
        for directory in known {
            let Some(page) = self.page(number, directory)? else { continue };
            if page.links == Linked::Yes || page.difference.entries.values().any(strays) {
                return None;
            }
            if !page.difference.opaque.is_empty() {
                part.opaque.insert(directory.clone());
            }
            for (path, change) in &page.difference.entries {
                // What the page of a directory says of it comes behind what its parent's does, and counts.
                entries.push((path.name().map_or_else(|| directory.clone(), |name| directory.join(&name)), change.clone()));
            }
        }
        part.entries = entries.into_iter().collect();
        Some(part)
    }

    /// The page of a directory: `Some(None)` where the layer has nothing in it, `None` where that cannot be found out.
    fn page(&self, number: usize, directory: &TreePath) -> Option<Option<Arc<Page>>> {
        let at = (number, directory.clone());
        if let Some(page) = self.pages().get(&at) {
            return Some(page.clone());
        }
        let Some(View::Pages { root, find }) = self.views.get(number) else { return None };
        let pointer: Option<Pointer> = match (directory.parent(), directory.name()) {
            (Some(parent), Some(name)) => match self.page(number, &parent)? {
                Some(page) => page.below.get(&name).copied(),
                None => None,
            },
            (_, _) => Some(*root),
        };
        let page = match pointer {
            Some(pointer) => Some(Arc::new(find(&pointer)?)),
            None => None,
        };
        self.pages().insert(at, page.clone());
        Some(page)
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a link goes up again from a name: where that leads, what is not known may decide.
fn strays(change: &Change) -> bool {
    let Change::Put(Entry::Symlink(link)) = change else { return false };
    let names = link.target.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    names.skip_while(|name| *name == b"..").any(|name| name == b"..")
}

/// What a layer has in these directories; `None` where hard links lead out of them, or links go where that cannot be seen.
fn part(difference: &Difference, known: &BTreeSet<TreePath>) -> Option<Difference> {
    let is_known = |path: &TreePath| path.parent().is_none_or(|parent| known.contains(&parent));
    if difference.links.groups().iter().flatten().any(is_known) {
        return None;
    }
    if difference.entries.iter().any(|(path, change)| is_known(path) && strays(change)) {
        return None;
    }
    Some(Difference {
        entries: difference
            .entries
            .iter()
            .filter(|(path, _)| is_known(path))
            .map(|(path, change)| (path.clone(), change.clone()))
            .collect(),
        opaque: difference.opaque.iter().filter(|path| known.contains(path)).cloned().collect(),
        ..Difference::default()
    })
}

/// The directories that are not known, and are not what they were.
fn touched(below: &Tree, above: &Tree, known: &BTreeSet<TreePath>) -> BTreeSet<TreePath> {
    let mut touched = BTreeSet::new();
    for directory in known {
        let Some(Node::Directory(found)) = below.get(directory) else { continue };
        for (name, node) in &found.entries {
            let at = directory.join(name);
            if matches!(node, Node::Directory(_)) && !known.contains(&at) && above.get(&at).as_ref() != Some(node) {
                touched.insert(at);
            }
        }
    }
    touched
}

impl Contents for Glimpse<'_> {
    /// Only what pages tell: anything else is a failure, and the whole tree is made.
    fn open(&self, path: &TreePath, content: &Content) -> io::Result<Box<dyn Read + Send>> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no page tells the file `{path}`"));
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return Err(missing()) };
        for (number, view) in self.views.iter().enumerate().rev() {
            match view {
                View::Whole(difference) => {
                    if let Some(Change::Put(Entry::File(_))) = difference.entries.get(path) {
                        return Err(missing());
                    }
                }
                View::Pages { .. } => {
                    let page = self.page(number, &parent).flatten();
                    if let Some(text) = page.as_ref().and_then(|page| page.texts.get(&name))
                        && lapstrake_cache::Fingerprint::of(text) == content.fingerprint
                    {
                        return Ok(Box::new(io::Cursor::new(text.clone())));
                    }
                }
            }
        }
        Err(missing())
    }
}

#[cfg(test)]
mod tests;
