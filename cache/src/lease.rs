//! Who is alive: each open store holds a lease, a locked file that the kernel unlocks when the process dies. FORMAT.md, "Leases".
//!
//! In goes the store's directory, out comes a private scratch directory and the moment since which everything used is protected.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::Moment;
use crate::error::{At, Error, Existing};
use crate::lock::Lock;

/// The proof that this open store lives.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Unique among the leases that live now.
    id: String,
    /// Everything whose last use is not before this moment is protected while the lease lives.
    start: Moment,
    path: PathBuf,
    scratch: PathBuf,
    _lock: Lock,
    is_left_behind: AtomicBool,
}

impl Lease {
    /// Takes a new lease. The caller holds the entries lock, so that nobody takes the file for a dead one before it is locked.
    pub(crate) fn take(leases: &Path, scratches: &Path) -> Result<Lease, Error> {
        let process = std::process::id();
        let mut counter = 0_u64;
        loop {
            let id = format!("{process}-{counter}");
            counter += 1;
            let path = leases.join(&id);
            let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error).at("create the lease", &path),
            };
            let scratch = scratches.join(&id);
            if fs::symlink_metadata(&scratch).if_exists().at("examine", &scratch)?.is_some() {
                // A dead process left it. Of the file that was made here nobody has died.
                let _ = fs::remove_file(&path);
                continue;
            }
            if let Some((start, lock)) = Lease::start_on(file, &path)? {
                return Ok(Lease { id, start, path, scratch, _lock: lock, is_left_behind: AtomicBool::new(false) });
            }
            // Nobody has died of it.
            let _ = fs::remove_file(&path);
        }
    }

    /// `None` where somebody just looks whether this lease is alive.
    fn start_on(file: File, path: &Path) -> Result<Option<(Moment, Lock)>, Error> {
        Moment::now().set_modified(&file).at("set the time of", path)?;
        // Read back, because the file system may keep coarser times; those of entries lose the same digits.
        let start = Moment::modified(&file.metadata().at("examine", path)?);
        Ok(Lock::try_exclusive_on(file, path)?.map(|lock| (start, lock)))
    }

    /// From its end on it is that of a dead process, which has not told all.
    pub(crate) fn leave_behind(&self) {
        self.is_left_behind.store(true, Ordering::Relaxed);
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn start(&self) -> Moment {
        self.start
    }

    /// The directory for what this process has begun and not finished; made when it is first needed, because on a full disk
    /// a lease must still be had to collect.
    pub(crate) fn scratch(&self) -> Result<&Path, Error> {
        match fs::create_dir(&self.scratch) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error).at("create", &self.scratch),
            Ok(()) | Err(_) => Ok(&self.scratch),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A scratch directory that is not empty stays without a lease, and is swept like a dead one.
        let _ = fs::remove_dir(&self.scratch);
        if !self.is_left_behind.load(Ordering::Relaxed) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What a look at all leases found.
#[derive(Debug)]
pub(crate) struct Census {
    /// The earliest start of a lease that lives.
    pub(crate) earliest_start: Option<Moment>,
    /// The leases whose process is gone.
    pub(crate) dead: Vec<String>,
    /// The leases that live.
    pub(crate) live: Vec<String>,
}

/// Looks at all leases. To act on `dead`, the caller holds the entries lock exclusively.
pub(crate) fn census(leases: &Path) -> Result<Census, Error> {
    let mut census = Census { earliest_start: None, dead: Vec::new(), live: Vec::new() };
    for entry in fs::read_dir(leases).at("list", leases)? {
        let entry = entry.at("list", leases)?;
        let path = entry.path();
        let Ok(id) = entry.file_name().into_string() else { continue };
        let Some(file) = File::open(&path).if_exists().at("open", &path)? else { continue };
        let start = Moment::modified(&file.metadata().at("examine", &path)?);
        if Lock::try_shared_on(file, &path)?.is_some() {
            census.dead.push(id);
        } else {
            census.earliest_start = Some(census.earliest_start.map_or(start, |earliest| earliest.min(start)));
            census.live.push(id);
        }
    }
    Ok(census)
}
