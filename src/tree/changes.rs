//! Changes by path: what a difference is made of.

use std::iter::Map;
use std::slice::Iter;

use super::{Change, TreePath};

/// Changes in the order of their paths.
///
/// A list, since a difference is mostly made in order and then only read: each change takes the room that it needs and no more. Putting
/// one moves those behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes(
    /// In order; no path is there twice.
    Vec<(TreePath, Change)>,
);

impl Changes {
    /// No changes.
    #[must_use]
    pub const fn new() -> Changes {
        Changes(Vec::new())
    }

    /// How many they are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What happened to a path.
    #[must_use]
    pub fn get(&self, path: &TreePath) -> Option<&Change> {
        self.0.get(self.place(path).ok()?).map(|(_, change)| change)
    }

    /// As [`Changes::get`], to be changed.
    #[must_use]
    pub fn get_mut(&mut self, path: &TreePath) -> Option<&mut Change> {
        let place = self.place(path).ok()?;
        self.0.get_mut(place).map(|(_, change)| change)
    }

    /// Whether anything happened to a path.
    #[must_use]
    pub fn contains_key(&self, path: &TreePath) -> bool {
        self.place(path).is_ok()
    }

    /// Puts a change, in place of one of the same path, which it gives.
    pub fn insert(&mut self, path: TreePath, change: Change) -> Option<Change> {
        match self.place(&path) {
            Ok(place) => self.0.get_mut(place).map(|(_, before)| std::mem::replace(before, change)),
            Err(place) => {
                self.0.insert(place, (path, change));
                None
            }
        }
    }

    /// Each path with what happened to it, in order.
    pub fn iter(&self) -> ChangesIter<'_> {
        self.0.iter().map(|(path, change)| (path, change))
    }

    /// As [`Changes::iter`], the changes to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&TreePath, &mut Change)> {
        self.0.iter_mut().map(|(path, change)| (&*path, change))
    }

    /// The paths, in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &TreePath> + ExactSizeIterator {
        self.0.iter().map(|(path, _)| path)
    }

    /// What happened, in the order of the paths.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Change> + ExactSizeIterator {
        self.0.iter().map(|(_, change)| change)
    }

    pub(super) fn as_slice(&self) -> &[(TreePath, Change)] {
        &self.0
    }

    /// Where a path is, or belongs.
    fn place(&self, path: &TreePath) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(path))
    }
}

/// Of several changes of one path the last counts.
impl FromIterator<(TreePath, Change)> for Changes {
    fn from_iter<I: IntoIterator<Item = (TreePath, Change)>>(changes: I) -> Changes {
        let mut changes: Vec<(TreePath, Change)> = changes.into_iter().collect();
        if !changes.is_sorted_by(|(one, _), (other, _)| one < other) {
            changes.sort_by(|(one, _), (other, _)| one.cmp(other));
            changes.dedup_by(|later, kept| {
                let is_same = later.0 == kept.0;
                if is_same {
                    std::mem::swap(later, kept);
                }
                is_same
            });
        }
        changes.shrink_to_fit();
        Changes(changes)
    }
}

/// Each path with what happened to it, in order.
pub type ChangesIter<'a> = Map<Iter<'a, (TreePath, Change)>, fn(&'a (TreePath, Change)) -> (&'a TreePath, &'a Change)>;

impl<'a> IntoIterator for &'a Changes {
    type Item = (&'a TreePath, &'a Change);
    type IntoIter = ChangesIter<'a>;

    fn into_iter(self) -> ChangesIter<'a> {
        self.iter()
    }
}

impl IntoIterator for Changes {
    type Item = (TreePath, Change);
    type IntoIter = std::vec::IntoIter<(TreePath, Change)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::tree::arbitrary::{file, path};

    proptest! {
        #[test]
        fn changes_are_as_a_map_of_them(puts in prop::collection::vec((0..6_u8, prop::sample::select(vec!["a", "a/b", "a-b", "a.c", "b"]), any::<u8>()), 0..40)) {
            let (mut changes, mut map, mut all) = (Changes::new(), BTreeMap::new(), Vec::new());
            for (act, at, byte) in puts {
                let change = Change::Put(file(&[byte]).entry());
                match act {
                    0 => prop_assert_eq!(changes.get_mut(&path(at)), map.get_mut(&path(at))),
                    _ => prop_assert_eq!(changes.insert(path(at), change.clone()), map.insert(path(at), change.clone())),
                }
                all.push((path(at), change));
                prop_assert_eq!(changes.contains_key(&path(at)), map.contains_key(&path(at)));
                prop_assert_eq!(changes.get(&path(at)), map.get(&path(at)));
                prop_assert_eq!(changes.iter().collect::<Vec<_>>(), map.iter().collect::<Vec<_>>());
                prop_assert_eq!(changes.iter_mut().map(|(path, change)| (path, &*change)).collect::<Vec<_>>(), map.iter().collect::<Vec<_>>());
                prop_assert_eq!(changes.keys().collect::<Vec<_>>(), map.keys().collect::<Vec<_>>());
                prop_assert_eq!(changes.values().collect::<Vec<_>>(), map.values().collect::<Vec<_>>());
                prop_assert_eq!((changes.len(), changes.is_empty()), (map.len(), map.is_empty()));
            }
            let (changes, map): (Changes, BTreeMap<_, _>) = (all.iter().cloned().collect(), all.into_iter().collect());
            prop_assert_eq!(changes.into_iter().collect::<Vec<_>>(), map.into_iter().collect::<Vec<_>>());
        }
    }
}
