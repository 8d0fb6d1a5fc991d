//! The `cache` mounts of a command: their directories, with locks on them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lapstrake_cache::{CacheMount, Fingerprint, Fingerprinter, MountLock};

use crate::build::Failure;
use crate::build::accounts::Owner;
use crate::build::site::Site;
use crate::event::{Event, EventKind, TaskId};
use crate::plan::{MountKind, Run, Sharing};
use crate::tree::{DirectoryHandle, Metadata, NodeKind, TreePath};

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
pub(super) struct Caches(BTreeMap<Identity, (CacheMount, MountLock)>);

/// What makes a cache another one: its name, and its owner and mode as they are said. Two steps that want other owners would each take the
/// other's files away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    id: String,
    owner: Option<String>,
    mode: Option<u16>,
}

impl Identity {
    pub(super) fn new(id: &str, owner: Option<&str>, mode: Option<u16>) -> Identity {
        // What is the same is said in one way, so that no command waits for a cache that it has.
        let owner = owner.filter(|owner| !matches!(*owner, "0" | "0:0")).map(str::to_owned);
        Identity { id: id.to_owned(), owner, mode: mode.filter(|mode| *mode != 0o755) }
    }

    /// The name of its directory in the store: hashed, so that none can leave it.
    fn directory(&self) -> String {
        let Identity { id, owner, mode } = self;
        if owner.is_none() && mode.is_none() {
            return Fingerprint::of(id.as_bytes()).hex();
        }
        let mut hasher = Fingerprinter::new();
        hasher.update_framed(b"lapstrake-cache-mount/1");
        hasher.update_framed(id.as_bytes());
        hasher.update_framed(owner.as_deref().unwrap_or("0:0").as_bytes());
        hasher.update(&mode.unwrap_or(0o755).to_le_bytes());
        hasher.finish().hex()
    }
}

impl Caches {
    /// Takes what the command's mounts name, each once, in the order of names, so that no two steps wait for each other.
    pub(super) fn take(site: &Site<'_>, task: TaskId, run: &Run, crowd: Crowd) -> Result<Caches, Failure> {
        let mut wanted: BTreeMap<Identity, Sharing> = BTreeMap::new();
        for mount in &run.mounts {
            if let MountKind::Cache { id, sharing, owner, mode } = &mount.kind {
                let sharing = match (sharing, crowd) {
                    (Sharing::Shared, Crowd::OneAtATime) => Sharing::Locked,
                    (Sharing::Shared | Sharing::Locked | Sharing::Private, _) => *sharing,
                };
                let known = wanted.entry(Identity::new(id, owner.as_deref(), *mode)).or_insert(sharing);
                *known = stricter(*known, sharing);
            }
        }
        let take = |(identity, sharing): (Identity, Sharing)| {
            let taken = taken(site, task, &identity, sharing)?;
            Ok((identity, taken))
        };
        wanted.into_iter().map(take).collect::<Result<_, Failure>>().map(Caches)
    }

    /// The directory of a cache, with this owner and mode. What is in it is nobody's business but that of the tools that use it.
    pub(super) fn directory(&self, site: &Site<'_>, identity: &Identity, owner: Owner, mode: u16) -> Result<Option<PathBuf>, Failure> {
        let Some((mount, _)) = self.0.get(identity) else { return Ok(None) };
        settle(&*site.workplace.open_fresh(mount.path())?, owner, mode)?;
        Ok(Some(Path::to_path_buf(mount.path())))
    }
}

/// Gives the directory its owner and mode if it has others; others may be at work in it, so it is not touched without need.
fn settle(directory: &dyn DirectoryHandle, owner: Owner, mode: u16) -> Result<(), Failure> {
    let Owner { uid, gid } = owner;
    let found = directory.root_status()?;
    if (found.uid, found.gid, found.mode) != (uid, gid, mode) {
        let metadata = Metadata { mode, uid, gid, mtime: found.modified.seconds, xattrs: BTreeMap::new() };
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
fn taken(site: &Site<'_>, task: TaskId, identity: &Identity, sharing: Sharing) -> Result<(CacheMount, MountLock), Failure> {
    let open = |number: u32| -> Result<CacheMount, Failure> {
        let name = format!("{}-{}-{number}", site.workplace.shelf(site.outside.store).as_str(), identity.directory());
        Ok(site.outside.store.cache_mount(&name)?)
    };
    match sharing {
        Sharing::Shared => {
            let mount = open(0)?;
            let lock = wait(site, task, &identity.id, || Ok(mount.try_lock_shared()?))?;
            Ok((mount, lock))
        }
        Sharing::Locked => {
            let mount = open(0)?;
            let lock = wait(site, task, &identity.id, || Ok(mount.try_lock_exclusive()?))?;
            Ok((mount, lock))
        }
        Sharing::Private => {
            let mut number = 0;
            loop {
                let mount = open(number)?;
                if let Some(lock) = mount.try_lock_exclusive()? {
                    return Ok((mount, lock));
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
    use super::Identity;

    #[test]
    fn another_owner_or_mode_is_another_cache_and_a_plain_one_keeps_its_directory() {
        let of = |owner, mode| Identity::new("pip", owner, mode).directory();
        assert_eq!(of(None, None), lapstrake_cache::Fingerprint::of(b"pip").hex());
        assert_ne!(of(Some("1000"), None), of(None, None));
        assert_ne!(of(Some("1000"), None), of(Some("1001"), None));
        assert_ne!(of(None, Some(0o700)), of(None, None));
        assert_eq!(of(Some("1000"), None), of(Some("1000"), Some(0o755)));
        assert_eq!(of(Some("0:0"), Some(0o755)), of(None, None));
    }
}
