//! What one process leaves for the next: half-sent blobs, and what was learnt of hosts.
//!
//! A directory of small files, for the user alone, since the address of a half-sent blob may be signed. Whatever is damaged, foreign or in
//! use by another process counts as not there, and a directory that cannot be written only forgets: memory saves work and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lapstrake_cache::Digest;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::profile::Learnt;

/// The most that a file may have.
const FILE_LIMIT_BYTES: u64 = 64 << 10;

/// How many half-sent blobs are remembered.
const SESSIONS: usize = 256;

/// The memory of a client.
#[derive(Debug, Default)]
pub(super) struct Memory {
    directory: Option<PathBuf>,
    /// By host; `None` until it is read.
    learnt: Mutex<Option<BTreeMap<String, Learnt>>>,
    /// Repositories that said they had what they did not have.
    doubted: Mutex<BTreeSet<(String, String)>>,
    /// Blobs that a host had with other bytes.
    damaged: Mutex<BTreeSet<(String, Digest)>>,
}

#[derive(Serialize, Deserialize)]
struct HalfSent {
    version: u32,
    host: String,
    repository: String,
    digest: String,
    location: String,
}

#[derive(Serialize, Deserialize)]
struct Hosts {
    version: u32,
    hosts: BTreeMap<String, Learnt>,
}

/// The only version of both forms.
const VERSION: u32 = 1;

impl Memory {
    pub(super) fn new(directory: Option<PathBuf>) -> Memory {
        Memory { directory, ..Memory::default() }
    }

    /// What was learnt of a host.
    pub(super) fn learnt(&self, host: &str) -> Learnt {
        let mut learnt = lock(&self.learnt);
        learnt.get_or_insert_with(|| self.read_hosts()).get(host).copied().unwrap_or_default()
    }

    /// Remembers what was learnt of a host.
    pub(super) fn learn(&self, host: &str, change: impl FnOnce(Learnt) -> Learnt) {
        let mut learnt = lock(&self.learnt);
        // Another process may have learnt of other hosts meanwhile.
        let mut hosts = self.read_hosts();
        hosts.extend(learnt.take().unwrap_or_default());
        let entry = hosts.entry(host.to_owned()).or_default();
        *entry = change(*entry);
        let written = Hosts { version: VERSION, hosts };
        if let Some(directory) = &self.directory
            && let Ok(bytes) = serde_json::to_vec_pretty(&written)
        {
            // Forgotten at worst.
            let _ = replace(directory, "hosts.json", &bytes);
        }
        *learnt = Some(written.hosts);
    }

    fn read_hosts(&self) -> BTreeMap<String, Learnt> {
        let read = self.directory.as_ref().and_then(|directory| {
            let mut bytes = Vec::new();
            File::open(directory.join("hosts.json")).ok()?.take(FILE_LIMIT_BYTES).read_to_end(&mut bytes).ok()?;
            serde_json::from_slice::<Hosts>(&bytes).ok().filter(|hosts| hosts.version == VERSION)
        });
        read.map(|hosts| hosts.hosts).unwrap_or_default()
    }

    /// Takes what is known of a half-sent blob, so that nobody else sends it to the same place at the same time.
    pub(super) fn claim(&self, endpoint: &Endpoint, digest: &Digest) -> Claim {
        let opened = self.directory.as_ref().and_then(|directory| {
            let directory = directory.join("uploads");
            make(&directory).ok()?;
            let name = Digest::of(format!("{}\n{}\n{digest}", endpoint.host, endpoint.repository).as_bytes()).to_string();
            let path = directory.join(format!("{}.json", name.trim_start_matches("sha256:")));
            if !path.exists() {
                make_room(&directory).ok()?;
            }
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).ok()?;
            file.try_lock().ok()?;
            Some((path, file))
        });
        let mut claim = Claim {
            host: endpoint.host.clone(),
            repository: endpoint.repository.clone(),
            digest: digest.to_string(),
            file: opened,
            location: None,
        };
        claim.location = claim.read();
        claim
    }

    /// No longer believes a repository that it has a blob.
    pub(super) fn doubt(&self, endpoint: &Endpoint) {
        lock(&self.doubted).insert((endpoint.host.clone(), endpoint.repository.clone()));
    }

    pub(super) fn is_doubted(&self, endpoint: &Endpoint) -> bool {
        lock(&self.doubted).contains(&(endpoint.host.clone(), endpoint.repository.clone()))
    }

    /// Remembers that a host has other bytes for a blob.
    pub(super) fn note_damage(&self, host: &str, digest: &Digest) {
        lock(&self.damaged).insert((host.to_owned(), *digest));
    }

    pub(super) fn is_damaged(&self, host: &str, digest: &Digest) -> bool {
        lock(&self.damaged).contains(&(host.to_owned(), *digest))
    }
}

/// The right to send a blob on where it was left, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    host: String,
    repository: String,
    digest: String,
    file: Option<(PathBuf, File)>,
    /// Where an earlier process left it.
    location: Option<Url>,
}

impl Claim {
    /// Where an earlier process left the blob; once.
    pub(super) fn left(&mut self) -> Option<Url> {
        self.location.take()
    }

    /// Remembers where the blob is being sent to.
    pub(super) fn remember(&mut self, location: &Url) {
        let half_sent = HalfSent {
            version: VERSION,
            host: self.host.clone(),
            repository: self.repository.clone(),
            digest: self.digest.clone(),
            location: location.to_string(),
        };
        if let Some((_, file)) = &mut self.file
            && let Ok(bytes) = serde_json::to_vec(&half_sent)
        {
            // What is half written is not read back as anything.
            let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(&bytes));
        }
    }

    /// Forgets it: it arrived, or it is lost.
    pub(super) fn forget(&mut self) {
        if let Some((_, file)) = &mut self.file {
            let _ = file.set_len(0);
        }
    }

    fn read(&mut self) -> Option<Url> {
        let (_, file) = self.file.as_mut()?;
        let mut bytes = Vec::new();
        file.rewind().ok()?;
        file.take(FILE_LIMIT_BYTES).read_to_end(&mut bytes).ok()?;
        let half_sent: HalfSent = serde_json::from_slice(&bytes).ok()?;
        let same = half_sent.version == VERSION
            && half_sent.host == self.host
            && half_sent.repository == self.repository
            && half_sent.digest == self.digest;
        same.then(|| Url::parse(&half_sent.location).ok()).flatten()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((path, file)) = &self.file
            && file.metadata().is_ok_and(|metadata| metadata.len() == 0)
        {
            let _ = fs::remove_file(path);
        }
    }
}

fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Removes what was left longest ago where there is too much.
fn make_room(directory: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    if files.len() < SESSIONS {
        return Ok(());
    }
    files.sort();
    for (_, path) in files.iter().take(files.len() + 1 - SESSIONS) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Puts a file in the place of another in one step.
pub(super) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    make(directory)?;
    // Process ids are no names: containers that share a store all begin with 1.
    let fresh = directory.join(format!(".{name}.{:016x}", RandomState::new().hash_one(0_u8)));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).and_then(|mut file| {
        file.write_all(bytes)?;
        fs::rename(&fresh, directory.join(name))
    });
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that panics is done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::registry::Settings;

    fn endpoint(reference: &str) -> Endpoint {
        Endpoint::of(&Settings::default(), &reference.parse().unwrap()).unwrap()
    }

    fn uploads(directory: &Path) -> Vec<PathBuf> {
        fs::read_dir(directory.join("uploads")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_half_sent_blob_is_found_by_the_next_and_by_nobody_at_the_same_time() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (endpoint("r.example.com/a"), endpoint("r.example.com/b"));
        let digest = Digest::of(b"x");
        let location: Url = "https://r.example.com/v2/a/blobs/uploads/1?_state=secret".parse().unwrap();
        let memory = || Memory::new(Some(directory.path().to_owned()));
        let mut claim = memory().claim(&one, &digest);
        assert_eq!(claim.left(), None);
        claim.remember(&location);
        assert_eq!(memory().claim(&one, &digest).left(), None);
        drop(claim);
        assert_eq!(memory().claim(&other, &digest).left(), None);
        assert_eq!(memory().claim(&one, &Digest::of(b"y")).left(), None);
        let mut claim = memory().claim(&one, &digest);
        assert_eq!(claim.left(), Some(location));
        let [file] = &uploads(directory.path())[..] else { panic!("one file") };
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        claim.forget();
        drop(claim);
        assert_eq!(uploads(directory.path()), Vec::<PathBuf>::new());
    }

    #[test]
    fn damage_is_as_good_as_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"x");
        let memory = || Memory::new(Some(directory.path().to_owned()));
        memory().claim(&endpoint("r.example.com/a"), &digest).remember(&"https://r.example.com/x".parse().unwrap());
        let file = uploads(directory.path()).remove(0);
        for text in ["{}", "{\"version\":1", "nonsense", "{\"version\":2}"] {
            fs::write(&file, text).unwrap();
            assert_eq!(memory().claim(&endpoint("r.example.com/a"), &digest).left(), None);
        }
        fs::write(directory.path().join("hosts.json"), "nonsense").unwrap();
        assert_eq!(memory().learnt("a"), Learnt::default());
    }

    #[test]
    fn what_was_learnt_outlasts_the_process_and_what_others_learnt() {
        let directory = tempfile::tempdir().unwrap();
        let memory = || Memory::new(Some(directory.path().join("deep/er")));
        let (one, two) = (memory(), memory());
        assert_eq!(one.learnt("a"), Learnt::default());
        two.learn("b", |learnt| Learnt { chunked: true, ..learnt });
        one.learn("a", |learnt| Learnt { no_mounts: true, ..learnt });
        one.learn("a", |learnt| Learnt { no_chunks: true, ..learnt });
        assert_eq!(memory().learnt("a"), Learnt { no_mounts: true, no_chunks: true, ..Learnt::default() });
        assert_eq!(memory().learnt("b"), Learnt { chunked: true, ..Learnt::default() });
        // Without a directory it is remembered as long as the client lives.
        let forgetful = Memory::new(None);
        forgetful.learn("a", |learnt| Learnt { chunked: true, ..learnt });
        assert!(forgetful.learnt("a").chunked);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::new(Some(directory.path().to_owned()));
        for at in 0..SESSIONS + 10 {
            memory
                .claim(&endpoint("r.example.com/a"), &Digest::of(&at.to_le_bytes()))
                .remember(&"https://r.example.com/x".parse().unwrap());
        }
        assert_eq!(uploads(directory.path()).len(), SESSIONS);
    }
}
