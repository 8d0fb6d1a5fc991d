//! The `cache` mounts of a command: their directories, with locks on them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lapstrake_cache::{BEGINNING, CacheMount, Fingerprint, Fingerprinter, MountLock, Scratch};

use super::StepError;
use super::run::Shown;
use crate::build::accounts::Owner;
use crate::build::layers::make_root;
use crate::build::private::Moved;
use crate::build::site::Site;
use crate::build::snapshots::{self, MountName, Used};
use crate::build::state::State;
use crate::build::{Failure, Lost};
use crate::event::{Event, EventKind, TaskId};
use crate::plan::{CacheAccess, FirstContents, Mount, MountKind, Run, Sharing};
use crate::tree::{DirectoryHandle, LastLink, Metadata, NodeKind, TreePath, Xattrs, checkout_tree};

/// How long a lock that became free, or a wish to stop, may go unnoticed.
const NOTICE_WITHIN: Duration = Duration::from_millis(50);

/// Whether several steps can have one cache at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crowd {
    /// As their mounts say.
    AsShared,
    /// It is moved into the root of the step that has it.
    OneAtATime,
}

/// The cache directories of one command by what makes each another one. The locks last as long as this does.
pub(super) struct Caches {
    taken: BTreeMap<Identity, Taken>,
    /// Those that the command may write to.
    written: BTreeSet<Identity>,
}

/// A cache directory with a lock on it.
struct Taken {
    mount: CacheMount,
    lock: MountLock,
    /// How many of its name were taken by others. What is in the first alone is for other machines.
    number: u32,
}

/// What makes a cache another one: its name, its owner and mode as they are said, and what it begins with. Two steps that want other owners
/// would each take the other's files away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    id: String,
    owner: Option<String>,
    mode: Option<u16>,
    /// The path of what it begins with, and the name of the files there.
    first: Option<(String, Fingerprint)>,
}

/// What a cache begins with: a directory of a state.
type Beginning<'a> = (&'a State, &'a str);

impl Identity {
    fn new(id: &str, owner: Option<&str>, mode: Option<u16>, first: Option<(String, Fingerprint)>) -> Identity {
        // What is the same is said in one way, so that no command waits for a cache that it has. First contents have an owner and a mode of
        // their own, which are the usual ones only if that is said.
        let usual = first.is_none();
        let owner = owner.filter(|owner| !(usual && matches!(*owner, "0" | "0:0"))).map(str::to_owned);
        Identity { id: id.to_owned(), owner, mode: mode.filter(|mode| !usual || *mode != 0o755), first }
    }

    /// That of a mount, with how it is shared; `None` for other mounts.
    fn of(mount: &Mount, shown: &Shown) -> Option<(Identity, Sharing)> {
        match &mount.kind {
            MountKind::Cache { id, sharing, owner, mode, first, access: _no_other_cache } => {
                let files = shown.names.get(&mount.at).copied();
                let first = first.as_ref().zip(files).map(|(first, files)| (first.path.clone(), files));
                Some((Identity::new(id, owner.as_deref(), *mode, first), *sharing))
            }
            MountKind::From { .. }
            | MountKind::Secret { .. }
            | MountKind::SecretEnv { .. }
            | MountKind::Ssh { .. }
            | MountKind::Tmpfs { .. } => None,
        }
    }

    /// Which it is on every machine.
    fn name(&self) -> MountName {
        MountName { id: self.id.clone(), identity: self.directory() }
    }

    /// The name of its directory in the store: hashed, so that none can leave it.
    fn directory(&self) -> String {
        let Identity { id, owner, mode, first } = self;
        if owner.is_none() && mode.is_none() && first.is_none() {
            return Fingerprint::of(id.as_bytes()).hex();
        }
        let mut hasher = Fingerprinter::new();
        hasher.update_framed(b"lapstrake-cache-mount/1");
        hasher.update_framed(id.as_bytes());
        if let Some((path, files)) = first {
            hasher.update_framed(owner.as_deref().unwrap_or_default().as_bytes());
            hasher.update_framed(&mode.map(u16::to_le_bytes).unwrap_or_default());
            hasher.update_framed(path.as_bytes());
            hasher.update_framed(files.as_bytes());
        } else {
            hasher.update_framed(owner.as_deref().unwrap_or("0:0").as_bytes());
            hasher.update(&mode.unwrap_or(0o755).to_le_bytes());
        }
        hasher.finish().hex()
    }
}

impl Caches {
    /// Takes what the command's mounts name, each once, in the order of names, so that no two steps wait for each other.
    pub(super) fn take(site: &Site<'_>, task: TaskId, run: &Run, shown: &Shown, crowd: Crowd) -> Result<Caches, Failure> {
        let mut wanted: BTreeMap<Identity, (Sharing, Option<Beginning<'_>>)> = BTreeMap::new();
        let mut written = BTreeSet::new();
        for mount in &run.mounts {
            let Some((identity, sharing)) = Identity::of(mount, shown) else { continue };
            let sharing = match (sharing, crowd) {
                (Sharing::Shared, Crowd::OneAtATime) => Sharing::Locked,
                (Sharing::Shared | Sharing::Locked | Sharing::Private, _) => sharing,
            };
            let mut beginning = None;
            if let MountKind::Cache { first: Some(FirstContents { source: _, path }), .. } = &mount.kind {
                beginning = Some((shown.states.get(&mount.at).ok_or(Failure::Lost(Lost::Nothing))?, path.as_str()));
            }
            if let MountKind::Cache { access: CacheAccess::Kept, .. } = &mount.kind {
                written.insert(identity.clone());
            }
            let known = wanted.entry(identity).or_insert((sharing, beginning));
            known.0 = stricter(known.0, sharing);
        }
        let take = |(identity, (sharing, beginning)): (Identity, (Sharing, Option<Beginning<'_>>))| {
            let taken = taken(site, task, &identity, sharing, beginning)?;
            Ok((identity, taken))
        };
        let taken = wanted.into_iter().map(take).collect::<Result<_, Failure>>()?;
        Ok(Caches { taken, written })
    }

    /// Gives the locks back; what the command may have changed is for others.
    pub(super) fn give_back(self, site: &Site<'_>) {
        let Caches { taken, written } = self;
        for (identity, Taken { mount, lock, number }) in taken {
            drop(lock);
            if number == 0 && written.contains(&identity) {
                site.mounts.used(Used { name: identity.name(), mount });
            }
        }
    }

    /// The directory of a mount's cache, with this owner and mode: where none is said, those of its first contents, or the usual ones. What is
    /// in it is nobody's business but that of the tools that use it.
    pub(super) fn directory(
        &self,
        site: &Site<'_>,
        mount: &Mount,
        shown: &Shown,
        owner: Option<Owner>,
        mode: Option<u16>,
    ) -> Result<Option<PathBuf>, Failure> {
        let Some((identity, _)) = Identity::of(mount, shown) else { return Ok(None) };
        let Some(Taken { mount, lock: _, number: _ }) = self.taken.get(&identity) else { return Ok(None) };
        let directory = site.workplace.open_fresh(mount.path())?;
        let (owner, mode) = match identity.first {
            Some(_) => {
                let found = directory.root_status()?;
                (owner.unwrap_or(Owner { uid: found.uid, gid: found.gid }), mode.unwrap_or(found.mode))
            }
            None => (owner.unwrap_or_default(), mode.unwrap_or(0o755)),
        };
        settle(&*directory, owner, mode)?;
        Ok(Some(Path::to_path_buf(mount.path())))
    }
}

/// Puts a directory of a state, with all that is in it, into an empty one.
fn begin(site: &Site<'_>, (state, path): Beginning<'_>, into: &dyn DirectoryHandle) -> Result<(), Failure> {
    let tree = site.layers.tree(state)?;
    let at = tree.resolve(path.as_bytes(), LastLink::Follow).map_err(StepError::from)?;
    let part = match at.is_root() {
        true => (*tree).clone(),
        false => tree.subtree(&at).ok_or_else(|| StepError::NoDirectory { path: path.to_owned() })?,
    };
    let contents = Moved { contents: &site.layers.contents(state), from: at, to: TreePath::root() };
    Ok(checkout_tree(&part, &contents, into, site.outside.cancel)?)
}

/// Gives the directory its owner and mode if it has others; others may be at work in it, so it is not touched without need.
fn settle(directory: &dyn DirectoryHandle, owner: Owner, mode: u16) -> Result<(), Failure> {
    let Owner { uid, gid } = owner;
    let found = directory.root_status()?;
    if (found.uid, found.gid, found.mode) != (uid, gid, mode) {
        let metadata = Metadata { mode, uid, gid, mtime: found.modified.seconds, xattrs: Xattrs::new() };
        directory.set_metadata(&TreePath::root(), NodeKind::Directory, &metadata)?;
    }
    Ok(())
}

/// What serves two mounts of one cache in one command.
fn stricter(a: Sharing, b: Sharing) -> Sharing {
    match (a, b) {
        (Sharing::Locked, _) | (_, Sharing::Locked) => Sharing::Locked,
        (Sharing::Private, _) | (_, Sharing::Private) => Sharing::Private,
        (Sharing::Shared, Sharing::Shared) => Sharing::Shared,
    }
}

/// Owners on disk depend on the id mapping, so each mapping has its own.
fn taken(site: &Site<'_>, task: TaskId, identity: &Identity, sharing: Sharing, beginning: Option<Beginning<'_>>) -> Result<Taken, Failure> {
    let store = site.outside.store;
    let open = |number: u32| -> Result<CacheMount, Failure> {
        let name = format!("{}-{}-{number}", site.workplace.shelf(store).as_str(), identity.directory());
        if let Some(mount) = store.find_cache_mount(&name)? {
            return Ok(mount);
        }
        let root = |scratch: &Scratch| make_root(site.workplace, store, &scratch.path().join(BEGINNING));
        if number == 0 {
            site.mounts.looked_for.get(&identity.name(), || -> Result<(), Failure> {
                if let Some(scratch) = snapshots::fetched(site, &identity.name(), root)? {
                    store.begin_cache_mount(scratch, &name)?;
                }
                Ok(())
            })?;
            if let Some(mount) = store.find_cache_mount(&name)? {
                return Ok(mount);
            }
        }
        let Some(beginning) = beginning else { return Ok(store.cache_mount(&name)?) };
        let scratch = store.scratch()?;
        let into = root(&scratch)?;
        begin(site, beginning, &*into)?;
        Ok(store.begin_cache_mount(scratch, &name)?)
    };
    match sharing {
        Sharing::Shared => {
            let mount = open(0)?;
            let lock = wait(site, task, &identity.id, || Ok(mount.try_lock_shared()?))?;
            Ok(Taken { mount, lock, number: 0 })
        }
        Sharing::Locked => {
            let mount = open(0)?;
            let lock = wait(site, task, &identity.id, || Ok(mount.try_lock_exclusive()?))?;
            Ok(Taken { mount, lock, number: 0 })
        }
        Sharing::Private => {
            let mut number = 0;
            loop {
                let mount = open(number)?;
                if let Some(lock) = mount.try_lock_exclusive()? {
                    return Ok(Taken { mount, lock, number });
                }
                number += 1;
            }
        }
    }
}

/// Waits for a lock, but not beyond the wish to stop: a waiting system call would not notice that.
fn wait(site: &Site<'_>, task: TaskId, id: &str, attempt: impl Fn() -> Result<Option<MountLock>, Failure>) -> Result<MountLock, Failure> {
    let mut told = false;
    loop {
        if site.outside.cancel.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        if let Some(lock) = attempt()? {
            return Ok(lock);
        }
        if !told {
            told = true;
            let message = format!("waiting for the cache `{id}`, which another step is using");
            site.outside.events.send(Event { task, kind: EventKind::Noted { message } });
        }
        #[expect(clippy::disallowed_methods, reason = "nothing tells of a lock that another process gives up")]
        std::thread::sleep(NOTICE_WITHIN);
    }
}

#[cfg(test)]
mod tests {
    use lapstrake_cache::Fingerprint;

    use super::Identity;

    #[test]
    fn another_owner_or_mode_is_another_cache_and_a_plain_one_keeps_its_directory() {
        let of = |owner, mode| Identity::new("pip", owner, mode, None).directory();
        assert_eq!(of(None, None), lapstrake_cache::Fingerprint::of(b"pip").hex());
        assert_ne!(of(Some("1000"), None), of(None, None));
        assert_ne!(of(Some("1000"), None), of(Some("1001"), None));
        assert_ne!(of(None, Some(0o700)), of(None, None));
        assert_eq!(of(Some("1000"), None), of(Some("1000"), Some(0o755)));
        assert_eq!(of(Some("0:0"), Some(0o755)), of(None, None));
    }

    #[test]
    fn other_first_contents_are_another_cache() {
        let of = |path: &str, files: &[u8], owner| {
            Identity::new("pip", owner, None, Some((path.to_owned(), Fingerprint::of(files)))).directory()
        };
        assert_ne!(of("a", b"1", None), Identity::new("pip", None, None, None).directory());
        assert_ne!(of("a", b"1", None), of("a", b"2", None));
        assert_ne!(of("a", b"1", None), of("b", b"1", None));
        assert_ne!(of("a", b"1", None), of("a", b"1", Some("0:0")), "files may belong to others");
    }
}
