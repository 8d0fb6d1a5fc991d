//! Which ids of the host a user namespace has: the user database's text in, extents out.

use std::fmt::Write as _;

/// A run of consecutive ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// The first id inside the namespace.
    pub inside: u32,
    /// The first id as the caller sees it.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// How the ids in a namespace are the ids on disk. Directories that a step has seen are only good for steps of the same mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdMapping {
    /// Real root: every id is itself.
    Identity,
    /// An ordinary user with ranges of his own, or root in a namespace that has not all ids.
    Ranges {
        /// Users, ascending inside.
        uids: Vec<Extent>,
        /// Groups, ascending inside.
        gids: Vec<Extent>,
    },
}

impl IdMapping {
    /// A name for directories that are good for this mapping only: `root`, or the extents, such as `1000-100000-65536`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            IdMapping::Identity => "root".to_owned(),
            IdMapping::Ranges { uids, gids } => {
                let mut name = extents_name(uids);
                if uids != gids {
                    let _ = write!(name, "_{}", extents_name(gids));
                }
                name
            }
        }
    }
}

fn extents_name(extents: &[Extent]) -> String {
    let mut name = String::new();
    for extent in extents {
        if !name.is_empty() {
            name.push('-');
        }
        let _ = write!(name, "{}", extent.outside);
        if extent.count != 1 {
            let _ = write!(name, "-{}", extent.count);
        }
    }
    name
}
