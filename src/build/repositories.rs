//! A git repository at a commit → a state: one layer over nothing, kept by the commit, so that one fetch serves every build that names it.

use lapstrake_cache::{Fingerprint, Fingerprinter, Shelf};

use super::Failure;
use super::once::Once;
use super::site::Site;
use super::sources::keep_tree;
use super::state::{LayerName, State};
use crate::plan::{Git, GitDirectory, Submodules};

/// Differences of repositories over nothing, by the key below.
const SHELF: Shelf = Shelf::named("git-trees");

/// Repositories that were fetched in one build.
#[derive(Debug, Default)]
pub(super) struct Repositories(Once<Fingerprint, State>);

impl Repositories {
    /// The files of a repository, fetched where the store does not have them.
    pub(super) fn state(&self, site: &Site<'_>, git: &Git) -> Result<State, Failure> {
        let key = key(git);
        self.0.get(&key, || {
            let store = site.outside.store;
            let known = store.record(&SHELF, &key)?.and_then(|bytes| Some(Fingerprint::from_bytes(bytes.try_into().ok()?)));
            if let Some(difference) = known
                && site.layers.has_files(&difference)?
            {
                return Ok(State::default().with(LayerName::Own(difference)));
            }
            let files = site.outside.git_files(git)?;
            let state = keep_tree(site, &files.tree, &files)?;
            if let Some(LayerName::Own(difference)) = state.layers().last() {
                store.put_record(&SHELF, &key, difference.as_bytes())?;
            }
            Ok(state)
        })
    }
}

/// What names the files: never where they came from.
fn key(git: &Git) -> Fingerprint {
    let Git { url: _inert_since_the_commit_is_named, reference: _likewise, commit, submodules, git_directory } = git;
    let submodules = match submodules {
        Submodules::Fetched => b"submodules".as_slice(),
        Submodules::Empty => b"empty",
    };
    let git_directory = match git_directory {
        GitDirectory::Kept => b"with .git".as_slice(),
        GitDirectory::Dropped => b"without",
    };
    let mut hasher = Fingerprinter::new();
    for part in [b"lapstrake-git/1", commit.as_str().as_bytes(), submodules, git_directory] {
        hasher.update_framed(part);
    }
    hasher.finish()
}
