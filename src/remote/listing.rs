//! A difference ⇄ pages, one for each directory, so that what is in one directory can be known without the rest.
//!
//! A page holds what the difference has directly in its directory, where the pages of the directories in that are, and the texts of the
//! account files. Pages are named by their bytes, and each names those below it, so who knows the name of the first can check all. Pages
//! lie one behind the other, the deeper ones first, each compressed by itself.
//! Source of truth: `cache/FORMAT.md`, "Shared caches".

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use lapstrake_cache::Fingerprint;
use serde::{Deserialize, Serialize};

use super::frame::{frame, take, unframe};
use crate::tree::{Change, Content, Difference, Entry, Links, Name, TreePath};

/// How well pages are compressed: they are small, and made while somebody waits.
const LEVEL: i32 = 3;

/// The most bytes that a page may have when it is expanded.
const PAGE_LIMIT_BYTES: usize = 64 << 20;

/// The directory with the account files, and their names.
const ACCOUNTS: (&[u8], [&[u8]; 2]) = (b"etc", [b"passwd", b"group"]);

/// The most bytes that an account file may have to be in a page.
const TEXT_LIMIT_BYTES: u64 = 256 << 10;

/// Where a page is, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointer {
    /// Its first byte.
    pub offset: u64,
    /// How many bytes it has as it is stored.
    pub length: u32,
    /// The fingerprint of these bytes.
    #[serde(with = "fingerprint_text")]
    pub name: Fingerprint,
}

/// All pages of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The pages.
    pub bytes: Vec<u8>,
    /// The page of the root.
    pub root: Pointer,
}

/// What a difference has directly in one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries by name, as if the directory were a root. Its own metadata are those of the directory.
    pub difference: Difference,
    /// Where the directories go on in which there is more.
    pub below: BTreeMap<Name, Pointer>,
    /// Whether any of the entries has further names somewhere.
    pub links: Linked,
    /// The bytes of account files.
    pub texts: BTreeMap<Name, Vec<u8>>,
}

/// Whether hard links lead out of what a page tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linked {
    /// None of its entries has another name.
    No,
    /// Some have: the page alone does not tell all of them.
    Yes,
}

impl Pointer {
    /// The bytes of the page among those of all.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(u64::from(self.length))
    }
}

impl Listing {
    /// Whether pages tell what is in a file of this path.
    #[must_use]
    pub fn is_told(path: &TreePath) -> bool {
        path.parent().is_some_and(|parent| parent.as_bytes() == ACCOUNTS.0)
            && path.name().is_some_and(|name| ACCOUNTS.1.contains(&name.as_bytes()))
    }

    /// Writes a difference as pages. `text` gives the bytes of an account file where they are at hand. `None` for a difference that is
    /// empty, breaks the rules of one, or is too large.
    pub fn of(difference: &Difference, text: &mut dyn FnMut(&TreePath, &Content) -> Option<Vec<u8>>) -> Option<Listing> {
        difference.check().ok()?;
        let mut directories: BTreeMap<TreePath, Vec<(Name, &Change)>> = BTreeMap::new();
        for (path, change) in &difference.entries {
            if let (Some(parent), Some(name)) = (path.parent(), path.name()) {
                directories.entry(parent).or_default().push((name, change));
            }
        }
        for path in difference.opaque.iter().chain([&TreePath::root()]) {
            directories.entry(path.clone()).or_default();
        }
        let linked: BTreeSet<&TreePath> = difference.links.groups().iter().flatten().collect();
        let mut bytes = Vec::new();
        let mut pointers: BTreeMap<TreePath, Pointer> = BTreeMap::new();
        // A directory stands before those in it, so the other way round all that is in it is written when it is.
        for (directory, entries) in directories.iter().rev() {
            let Some(Change::Put(Entry::Directory(own))) = difference.entries.get(directory) else { return None };
            let mut page = Difference::default();
            page.entries.insert(TreePath::root(), Change::Put(Entry::Directory(own.clone())));
            if difference.opaque.contains(directory) {
                page.opaque.insert(TreePath::root());
            }
            let mut below = BTreeMap::new();
            let mut texts = BTreeMap::new();
            let mut links = Linked::No;
            for (name, change) in entries {
                let at = directory.join(name);
                if linked.contains(&at) {
                    links = Linked::Yes;
                }
                if let Some(pointer) = pointers.remove(&at) {
                    below.insert(name.clone(), pointer);
                }
                if let Change::Put(Entry::File(file)) = change
                    && Listing::is_told(&at)
                    && file.content.size <= TEXT_LIMIT_BYTES
                    && let Some(found) = text(&at, &file.content)
                {
                    texts.insert(name.clone(), found);
                }
                page.entries.insert(TreePath::root().join(name), (*change).clone());
            }
            let stored = Page { difference: page, below, links, texts }.encode()?;
            let length = u32::try_from(stored.len()).ok()?;
            pointers.insert(directory.clone(), Pointer { offset: bytes.len() as u64, length, name: Fingerprint::of(&stored) });
            bytes.extend_from_slice(&stored);
        }
        Some(Listing { bytes, root: pointers.remove(&TreePath::root())? })
    }
}

impl Page {
    /// The page as it is stored: lengths are 32 bits, little end first.
    fn encode(&self) -> Option<Vec<u8>> {
        let Page { difference, below, links, texts } = self;
        let mut out = Vec::new();
        frame(&mut out, &difference.encode())?;
        out.extend_from_slice(&u32::try_from(below.len()).ok()?.to_le_bytes());
        for (name, Pointer { offset, length, name: page }) in below {
            frame(&mut out, name.as_bytes())?;
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(page.as_bytes());
        }
        out.push(match links {
            Linked::No => 0,
            Linked::Yes => 1,
        });
        out.extend_from_slice(&u32::try_from(texts.len()).ok()?.to_le_bytes());
        for (name, text) in texts {
            frame(&mut out, name.as_bytes())?;
            frame(&mut out, text)?;
        }
        if out.len() > PAGE_LIMIT_BYTES {
            return None;
        }
        zstd::bulk::compress(&out, LEVEL).ok()
    }

    /// Reads the stored bytes that a pointer names; `None` for any others.
    #[must_use]
    pub fn read(stored: &[u8], pointer: &Pointer) -> Option<Page> {
        if Fingerprint::of(stored) != pointer.name {
            return None;
        }
        let bytes = zstd::bulk::decompress(stored, PAGE_LIMIT_BYTES).ok()?;
        let mut rest = bytes.as_slice();
        let difference = Difference::decode(unframe(&mut rest)?).ok()?;
        let is_flat = difference.entries.keys().all(|path| path.depth() <= 1);
        if !is_flat || difference.links != Links::default() || difference.opaque.iter().any(|path| !path.is_root()) {
            return None;
        }
        let mut below = BTreeMap::new();
        for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
            let name = Name::new(unframe(&mut rest)?).ok()?;
            let offset = u64::from_le_bytes(take(&mut rest)?);
            let length = u32::from_le_bytes(take(&mut rest)?);
            below.insert(name, Pointer { offset, length, name: Fingerprint::from_bytes(take(&mut rest)?) });
        }
        let links = match take::<1>(&mut rest)? {
            [0] => Linked::No,
            [1] => Linked::Yes,
            [_] => return None,
        };
        let mut texts = BTreeMap::new();
        for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
            let name = Name::new(unframe(&mut rest)?).ok()?;
            texts.insert(name, unframe(&mut rest)?.to_vec());
        }
        rest.is_empty().then_some(Page { difference, below, links, texts })
    }
}

mod fingerprint_text {
    use lapstrake_cache::Fingerprint;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(fingerprint: &Fingerprint, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(fingerprint)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fingerprint, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
