//! One file per step kind. All but `run` turn the tree below and their sources into the tree above, and say where new bytes come from.

mod agents;
mod caches;
pub(super) mod copy;
pub(super) mod extract;
pub(super) mod fetch;
mod ground;
pub(super) mod left;
pub(super) mod link;
pub(super) mod make_directory;
mod modes;
pub(super) mod newlines;
mod origins;
pub(super) mod remove;
pub(super) mod run;
mod specials;
pub(super) mod write;

pub(super) use self::origins::{Noted, Origin, Origins};
use super::accounts::{AccountError, Owner};
use crate::tree::{EditError, InvalidPattern, Metadata, Tree, TreePath, Xattrs};

/// The tree above, and where the bytes are that the tree below does not have.
#[derive(Debug)]
pub(super) struct Edited {
    pub(super) above: Tree,
    pub(super) origins: Origins,
}

/// Why a step's own words do not fit the files that are there.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A source that is not there.
    #[error("`{source_path}` is not in {place}{}", .nearest.as_ref().map_or(String::new(), |nearest| format!("; did you mean `{nearest}`?")))]
    NoSource {
        /// As it was written.
        source_path: String,
        /// Where it was looked for.
        place: String,
        /// The nearest name that is there.
        nearest: Option<String>,
    },
    /// A source that is a link to something that is not there.
    #[error("`{source_path}` is a link to `{target}`, which is not in {place}")]
    Dangling {
        /// As it was written.
        source_path: String,
        /// Where the link leads in the end.
        target: TreePath,
        /// Where it was looked for.
        place: String,
    },
    /// A pattern that nothing matches.
    #[error("nothing in {place} matches `{pattern}`")]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// Where.
        place: String,
    },
    /// A source that is there, but left out by an ignore file or `exclude`.
    #[error("all of `{source_path}` is left out by what is excluded")]
    AllExcluded {
        /// As it was written.
        source_path: String,
    },
    /// A file where a directory has to be, or the other way round.
    #[error("cannot put {what} at `{path}`: {there} is there already")]
    InTheWay {
        /// What was to be put.
        what: &'static str,
        /// Where.
        path: TreePath,
        /// What is there.
        there: &'static str,
    },
    /// An archive that is no file.
    #[error("`{path}` is no file, so it is no archive")]
    NoArchive {
        /// As it was written.
        path: String,
    },
    /// The first contents of a cache that are no directory.
    #[error("`{path}` is no directory, and a cache begins with one")]
    NoDirectory {
        /// As it was written.
        path: String,
    },
    /// A path to be removed that is not there.
    #[error("there is no `{path}` to remove; write `missing = \"ignore\"` if that is all right")]
    NothingToRemove {
        /// As it was written.
        path: String,
    },
    /// The root is to be removed.
    #[error("the root itself cannot be removed; write `/*` to remove all that is in it")]
    RemovesRoot,
    /// A hard link of an archive to something that is not in the image.
    #[error("entry `{path}` of the archive is a hard link, which must lead to a file that is there")]
    ArchiveLink {
        /// The entry.
        path: TreePath,
        /// What is wrong with its target.
        #[source]
        source: EditError,
    },
    /// The target of a hard link that is not there or cannot be linked.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// A pattern that is none.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// An owner that the image does not know.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A source is not what it was when it was read first.
    #[error("`{path}` was changed while it was being copied; try again when nothing writes to it")]
    Changed {
        /// Which file of the source.
        path: TreePath,
    },
    /// The bytes of a source cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// Which file of the source.
        path: TreePath,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
}

/// Metadata of what we make: the step's time is put in when the difference is made.
pub(super) fn made(mode: u16, owner: Owner) -> Metadata {
    Metadata { mode, uid: owner.uid, gid: owner.gid, mtime: 0, xattrs: Xattrs::new() }
}

/// Directories that are made because something is put below them.
pub(super) fn parents() -> Metadata {
    made(0o755, Owner::default())
}

#[cfg(test)]
mod tests;
