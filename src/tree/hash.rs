//! Naming the bytes of files on disk: files in, fingerprints out, on all cores, with a fixed buffer per core.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lapstrake_cache::Fingerprinter;

use super::{Content, DirectoryHandle, FileStamp, ScanError, TreePath};
use crate::event::Cancel;

/// Bytes read at a time.
const BUFFER: usize = 256 * 1024;
/// Below this many bytes in all, starting threads costs more than it saves.
const WORTH_A_THREAD: u64 = 512 * 1024;
/// A file as large as this is begun before others that are read with it, so that it is not what they wait for.
const LARGE: u64 = 4 * 1024 * 1024;

/// How many threads to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// As many as there are cores.
    Cores,
    /// This many.
    #[cfg(test)]
    Exactly(NonZeroUsize),
}

impl Threads {
    pub(super) fn number(self, jobs: usize, bytes: u64) -> usize {
        let wanted = match self {
            Threads::Cores if bytes < WORTH_A_THREAD && jobs < 64 => 1,
            Threads::Cores => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            #[cfg(test)]
            Threads::Exactly(number) => number.get(),
        };
        wanted.min(jobs)
    }
}

/// Does each job with `work` on several threads and gives the results in the order of the jobs. Of several errors, that of the earliest
/// job is given.
pub(super) fn in_parallel<J: Sync, T: Send + Sync, E: Send + Sync>(
    jobs: &[J],
    order: &[usize],
    threads: usize,
    work: impl Fn(&J, &mut Vec<u8>) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let results: Vec<OnceLock<Result<T, E>>> = jobs.iter().map(|_| OnceLock::new()).collect();
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let run = || {
        let mut buffer = vec![0; BUFFER];
        while !failed.load(Ordering::Relaxed)
            && let Some(&number) = order.get(next.fetch_add(1, Ordering::Relaxed))
            && let (Some(job), Some(slot)) = (jobs.get(number), results.get(number))
        {
            let result = work(job, &mut buffer);
            if result.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            // Each number is taken once.
            let _ = slot.set(result);
        }
    };
    if threads <= 1 {
        run();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(run);
            }
        });
    }
    // A slot is empty only when another one has an error.
    results.into_iter().filter_map(OnceLock::into_inner).collect()
}

/// The content of each file, in order, and the state in which it has it: the one in which it was listed, of which is given what stands for
/// the content.
pub(super) fn contents(
    handle: &dyn DirectoryHandle,
    jobs: &[(TreePath, Content)],
    threads: Threads,
    cancel: &Cancel,
) -> Result<Vec<(FileStamp, Content)>, ScanError> {
    let bytes = jobs.iter().fold(0_u64, |sum, (_, listed)| sum.saturating_add(listed.size));
    let (large, small): (Vec<usize>, Vec<usize>) =
        (0..jobs.len()).partition(|number| jobs.get(*number).is_some_and(|(_, listed)| listed.size >= LARGE));
    let order = [large, small].concat();
    in_parallel(jobs, &order, threads.number(jobs.len(), bytes), |(path, listed), buffer| {
        let mut file = handle.open(path)?;
        let found = FileStamp::of(&file).map_err(|source| ScanError::Read { path: path.clone(), source })?;
        if Content::unread(&found) != *listed {
            return Err(ScanError::Changed { path: path.clone() });
        }
        Ok((found, content(&mut file, path, &found, buffer, cancel)?))
    })
}

/// Reads a file that is in this state, which must not change meanwhile.
fn content(file: &mut File, path: &TreePath, state: &FileStamp, buffer: &mut [u8], cancel: &Cancel) -> Result<Content, ScanError> {
    let unreadable = |source| ScanError::Read { path: path.clone(), source };
    let mut hasher = Fingerprinter::new();
    let mut size = 0_u64;
    loop {
        if cancel.is_cancelled() {
            return Err(ScanError::Cancelled);
        }
        match file.read(buffer) {
            Ok(0) => break,
            Ok(length) => {
                hasher.update(buffer.get(..length).unwrap_or_default());
                size = size.saturating_add(length as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    if size != state.size || FileStamp::of(file).map_err(unreadable)? != *state {
        return Err(ScanError::Changed { path: path.clone() });
    }
    Ok(Content { fingerprint: hasher.finish(), size })
}
