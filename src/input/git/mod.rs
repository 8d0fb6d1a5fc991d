//! A git repository and a commit in it → its files as a tree; a branch or tag → the commit that it is today.
//!
//! The program `git` speaks with the server and keeps the objects in a bare repository of ours that lasts as long as the fetch. Nothing is
//! checked out by it: what is in the commit is listed, and the bytes of its objects are read, so that no hook, filter, attribute, line-end
//! rule or case-folding file system has a say in what a file is.

mod checkout;
mod directory;
mod error;
mod files;
mod listing;
mod logins;
mod program;
mod remote;
mod settings;
mod submodules;

use std::collections::BTreeMap;
use std::io::Read as _;

use self::directory::{GitDirectory, Kind};
use self::files::{Building, Clash, Item, Spool, Stoppable, file, link};
use self::listing::{Listed, Sort};
use self::program::Program;
use self::remote::Repository;
use self::submodules::Place;
use super::{Error, Outside};
use crate::event::{Cancel, Outcome, TaskKind};
use crate::pins::Commit;
use crate::plan::{Git, GitDirectory as Keep, Submodules};
use crate::tree::{Content, TreePath};

pub use checkout::GitCheckout;
pub use error::GitError;
pub use files::GitFiles;
pub use logins::{GitLogins, InvalidLogin};
pub use settings::{GitLimits, GitSettings};

/// The longest target of a link: what a kernel follows.
const LINK_LIMIT_BYTES: u64 = 4096;
/// The largest commit or directory.
const OBJECT_LIMIT_BYTES: u64 = 256 << 20;

impl Outside<'_> {
    /// The commit that a reference of a repository is today.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn find_commit(&self, url: &str, reference: &str) -> Result<Commit, Error> {
        self.may_ask(url, || format!("what `{reference}` of `{url}` stands for"))?;
        self.task(TaskKind::Resolve, format!("{url}#{reference}"), |_| {
            let scratch = self.store.scratch()?;
            let program = Program::find(self.git, url, scratch.path().to_path_buf(), self.cancel)?;
            Ok((program.look_up(url, reference)?, Outcome::Done))
        })
    }

    /// Makes sure that a reference of a repository is still a commit; where the network is refused, the commit is taken at its word.
    ///
    /// # Errors
    /// When it is another, or cannot be had.
    pub fn still_at(&self, url: &str, reference: &str, wanted: &Commit) -> Result<(), Error> {
        if self.network == super::NetworkUse::Refused && !is_here(url) {
            return Ok(());
        }
        let found = match Commit::new(reference) {
            Some(commit) => commit,
            None => self.find_commit(url, reference)?,
        };
        if found == *wanted {
            return Ok(());
        }
        let [wanted, found] = [wanted, &found].map(|commit| commit.as_str().to_owned());
        Err(GitError::Moved { url: url.to_owned(), reference: reference.to_owned(), wanted, found }.into())
    }

    /// The files of a repository at a commit.
    ///
    /// # Errors
    /// When they cannot be had, or are none that an image can hold.
    pub fn git_files(&self, git: &Git) -> Result<GitFiles, Error> {
        let label = format!("{} {}", git.url, git.commit.as_str().get(..12).unwrap_or_default());
        self.task(TaskKind::Pull, label, |_| {
            let scratch = self.store.scratch()?;
            let home = scratch.path().join("home");
            std::fs::create_dir(&home).map_err(|source| Error::File { path: home.clone(), source })?;
            let program = Program::find(self.git, &git.url, home, self.cancel)?;
            let spool = scratch.path().join("bytes");
            let spool = Spool::new(spool.clone()).map_err(|source| Error::File { path: spool, source })?;
            let settings = program.settings().limits;
            let mut fetching = Fetching {
                outside: self,
                program: &program,
                place: scratch.path(),
                spool,
                repositories: 0,
                above: 0,
                entries: settings.entries,
                bytes: settings.bytes,
            };
            let building = fetching.repository(git, 0)?;
            let spool = fetching.spool;
            Ok((GitFiles::new(building, spool, scratch), Outcome::Done))
        })
    }

    /// A repository on this machine is no matter of the network.
    fn may_ask(&self, url: &str, what: impl FnOnce() -> String) -> Result<(), Error> {
        if is_here(url) { Ok(()) } else { self.need_network(what) }
    }
}

/// Whether a repository is on this machine.
fn is_here(url: &str) -> bool {
    url.starts_with("file://")
}

/// How many names deep a repository may be with all that is in it: half of what a tree may be, since it is put somewhere.
const DEPTH: usize = crate::tree::MAXIMUM_DEPTH / 2;

/// How many repositories one may have in it.
const REPOSITORIES: usize = 1000;

/// One fetch with all of its submodules.
struct Fetching<'f> {
    outside: &'f Outside<'f>,
    program: &'f Program<'f>,
    place: &'f std::path::Path,
    spool: Spool,
    repositories: usize,
    /// How many names lead to the repository that is read.
    above: usize,
    /// How many more entries there may be.
    entries: usize,
    /// How many more bytes there may be.
    bytes: u64,
}

impl Fetching<'_> {
    fn repository(&mut self, git: &Git, depth: usize) -> Result<Building, Error> {
        let Git { url, reference, commit, submodules, git_directory } = git;
        self.outside.may_ask(url, || format!("the commit {} of `{url}`", commit.as_str()))?;
        self.repositories += 1;
        if self.repositories > REPOSITORIES {
            return Err(GitError::SubmodulePlace { reason: format!("there are more than {REPOSITORIES} submodules") }.into());
        }
        let path = self.place.join(format!("repository-{}", self.repositories));
        let repository = self.program.fetch(url, reference, commit, &path)?;
        let listed = repository.list(self.entries, self.program.settings().limits.entries)?;
        self.bound(&repository, &listed)?;
        let mut building = Building::default();
        let contents = self.contents(&repository, &listed)?;
        for entry in &listed {
            let item = match (entry.sort, contents.get(entry.id.as_str())) {
                (Sort::Tree | Sort::Submodule, _) => Item::Directory(Building::default()),
                (Sort::Plain, Some(Bytes::Kept(content))) => file(0o644, *content),
                (Sort::Program, Some(Bytes::Kept(content))) => file(0o755, *content),
                (Sort::Link, Some(bytes)) => link(self.target(&repository, entry, bytes)?),
                (Sort::Plain | Sort::Program | Sort::Link, _) => {
                    return Err(repository.unusual(format!("the bytes of `{}` are not there", entry.path)));
                }
            };
            let item = match (entry.sort, submodules) {
                (Sort::Submodule, Submodules::Fetched) => continue,
                (Sort::Submodule, Submodules::Empty) | (Sort::Tree | Sort::Plain | Sort::Program | Sort::Link, _) => item,
            };
            put(&repository, &mut building, &entry.path, item)?;
        }
        if *submodules == Submodules::Fetched {
            self.submodules(&repository, &listed, &mut building, depth)?;
        }
        if *git_directory == Keep::Kept {
            let kept = self.git_directory(&repository, &listed, &contents)?;
            put(&repository, &mut building, &TreePath::root().join(&directory::name()), kept)?;
        }
        Ok(building)
    }

    /// Refuses a commit that holds too much, before any of its bytes are read.
    fn bound(&mut self, repository: &Repository<'_>, listed: &[Listed]) -> Result<(), Error> {
        let limits = self.program.settings().limits;
        if listed.iter().any(|entry| self.above + entry.path.depth() > DEPTH) {
            return Err(repository.unusual(format!("with the repositories around it, it is more than {DEPTH} names deep")));
        }
        self.entries = self.entries.saturating_sub(listed.len());
        let bytes = listed.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.size));
        self.bytes =
            self.bytes.checked_sub(bytes).ok_or_else(|| repository.unusual(format!("its files have more than {} bytes", limits.bytes)))?;
        let long = listed.iter().find(|entry| entry.sort == Sort::Link && entry.size > LINK_LIMIT_BYTES);
        match long {
            Some(entry) => Err(repository.unusual(format!("the link `{}` is longer than any can be", entry.path))),
            None => Ok(()),
        }
    }

    /// Brings the bytes of all files and links into the spool, by object.
    fn contents<'l>(&mut self, repository: &Repository<'_>, listed: &'l [Listed]) -> Result<BTreeMap<&'l str, Bytes>, Error> {
        let mut wanted: BTreeMap<&str, Bytes> = BTreeMap::new();
        let mut ids: Vec<&str> = Vec::new();
        for entry in listed.iter().filter(|entry| matches!(entry.sort, Sort::Plain | Sort::Program | Sort::Link)) {
            if wanted.insert(&entry.id, Bytes::Missing).is_none() {
                ids.push(&entry.id);
            }
        }
        let spool = &mut self.spool;
        let cancel = self.outside.cancel;
        let mut take = |place: usize, _: u64, bytes: &mut dyn std::io::Read| {
            let content = spool.add(&mut Stoppable { from: bytes, cancel }).map_err(|source| stopped(cancel, &spool.path, source))?;
            if let Some(id) = ids.get(place) {
                wanted.insert(id, Bytes::Kept(content));
            }
            Ok(())
        };
        repository.read(&ids, &mut take, &|| cancel.is_cancelled())?;
        Ok(wanted)
    }

    fn target(&self, repository: &Repository<'_>, entry: &Listed, bytes: &Bytes) -> Result<Vec<u8>, Error> {
        let Bytes::Kept(content) = bytes else {
            return Err(repository.unusual(format!("the target of `{}` is not there", entry.path)));
        };
        let mut target = Vec::new();
        let wrong = |source| Error::File { path: self.spool.path.clone(), source };
        self.spool.open(content).and_then(|bytes| bytes.take(LINK_LIMIT_BYTES).read_to_end(&mut target)).map_err(wrong)?;
        if target.is_empty() || target.contains(&0) {
            return Err(repository.unusual(format!("the link `{}` leads nowhere", entry.path)));
        }
        Ok(target)
    }

    fn submodules(&mut self, repository: &Repository<'_>, listed: &[Listed], building: &mut Building, depth: usize) -> Result<(), Error> {
        let modules: Vec<&Listed> = listed.iter().filter(|entry| entry.sort == Sort::Submodule).collect();
        if modules.is_empty() {
            return Ok(());
        }
        let said = repository.submodules(listed)?;
        for entry in modules {
            let failed =
                |source: Error| GitError::Submodule { url: repository.url.clone(), path: entry.path.clone(), source: Box::new(source) };
            let inner = match self.submodule(repository, &said, entry, depth) {
                Ok(inner) => inner,
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(other) => return Err(failed(other).into()),
            };
            put(repository, building, &entry.path, Item::Directory(inner))?;
        }
        Ok(())
    }

    fn submodule(&mut self, repository: &Repository<'_>, said: &submodules::Said, entry: &Listed, depth: usize) -> Result<Building, Error> {
        let url = match said.place(entry.path.as_bytes(), &repository.url)? {
            Place::Empty => return Ok(Building::default()),
            Place::At(url) => url,
        };
        if depth >= self.program.settings().limits.depth {
            return Err(repository.unusual("its submodules lie too deep in one another"));
        }
        let commit = Commit::new(&entry.id).ok_or_else(|| repository.unusual("a submodule has no commit"))?;
        let git = Git {
            url,
            reference: "HEAD".to_owned(),
            commit,
            submodules: Submodules::Fetched,
            // Only the outermost has one: what is below it is no repository of its own.
            git_directory: Keep::Dropped,
        };
        let names = entry.path.depth();
        self.above += names;
        let inner = self.repository(&git, depth + 1);
        self.above -= names;
        inner
    }

    fn git_directory(&mut self, repository: &Repository<'_>, listed: &[Listed], contents: &BTreeMap<&str, Bytes>) -> Result<Item, Error> {
        let commit = repository.commit.as_str();
        let root = repository.root()?;
        let mut trees: Vec<&str> = listed.iter().filter(|entry| entry.sort == Sort::Tree).map(|entry| entry.id.as_str()).collect();
        trees.push(&root);
        trees.sort_unstable();
        trees.dedup();
        let ids: Vec<&str> = std::iter::once(commit).chain(trees).collect();
        let spool_path = self.spool.path.clone();
        let cancel = self.outside.cancel;
        let wrong = |source| stopped(cancel, &spool_path, source);
        let mut made: Option<GitDirectory> = None;
        let spool = &mut self.spool;
        let mut take = |place: usize, size: u64, bytes: &mut dyn std::io::Read| {
            if size > OBJECT_LIMIT_BYTES {
                return Err(repository.unusual("one of its directories is too large"));
            }
            let mut text = Vec::new();
            bytes.read_to_end(&mut text).map_err(wrong)?;
            let kind = if place == 0 { Kind::Commit } else { Kind::Tree };
            let directory = match &mut made {
                Some(directory) => directory,
                None => made.insert(GitDirectory::new(&repository.commit, &text, listed, spool).map_err(wrong)?),
            };
            let id = ids.get(place).copied().unwrap_or_default();
            directory.object(id, kind, size, &mut &*text, spool).map_err(wrong)
        };
        repository.read(&ids, &mut take, &|| cancel.is_cancelled())?;
        let mut directory = made.ok_or_else(|| repository.unusual("the commit is not there"))?;
        for (id, bytes) in contents {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if let Bytes::Kept(content) = bytes {
                let mut plain = Stoppable { from: self.spool.open(content).map_err(wrong)?, cancel };
                directory.object(id, Kind::Blob, content.size, &mut plain, &mut self.spool).map_err(wrong)?;
            }
        }
        Ok(directory.finish())
    }
}

/// What a failure to copy was.
fn stopped(cancel: &Cancel, path: &std::path::Path, source: std::io::Error) -> Error {
    if cancel.is_cancelled() { Error::Cancelled } else { Error::File { path: path.to_path_buf(), source } }
}

/// Where the bytes of an object are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    /// Nowhere yet.
    Missing,
    /// In the spool.
    Kept(Content),
}

fn put(repository: &Repository<'_>, building: &mut Building, path: &TreePath, item: Item) -> Result<(), Error> {
    building.put(path, item).map_err(|Clash| repository.unusual(format!("`{path}` is in it twice, or below what is no directory")))
}
