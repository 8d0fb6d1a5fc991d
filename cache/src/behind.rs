//! A blob that is still being written → its bytes, read behind the writer.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Reads a blob while it is written: waits where the writer has not come to yet. Its end is where the blob is whole; a blob that is given
/// up is an error. What is read is not verified, and nothing says that the blob will ever be in the store.
#[derive(Debug)]
pub struct BlobBehind {
    file: Arc<File>,
    progress: Arc<Progress>,
    position: u64,
}

impl BlobBehind {
    pub(crate) fn new(file: File, progress: Arc<Progress>) -> BlobBehind {
        BlobBehind { file: Arc::new(file), progress, position: 0 }
    }

    /// The same blob, from its first byte.
    #[must_use]
    pub fn again(&self) -> BlobBehind {
        BlobBehind { file: Arc::clone(&self.file), progress: Arc::clone(&self.progress), position: 0 }
    }
}

impl Read for BlobBehind {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let there = self.progress.beyond(self.position)?.saturating_sub(self.position);
        let most = usize::try_from(there).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let read = self.file.read_at(buffer, self.position)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position = self.position.saturating_add(read as u64);
        Ok(read)
    }
}

/// How far a writer has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Bytes that are in the file.
    written: u64,
    end: End,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Whole,
    GivenUp,
}

impl Progress {
    /// So many bytes are in the file.
    pub(crate) fn reach(&self, written: u64) {
        self.change(|state| state.written = written);
    }

    /// All bytes are in the file.
    pub(crate) fn end(&self, written: u64) {
        self.change(|state| *state = State { written, end: End::Whole });
    }

    /// There will be no more, unless it was whole.
    pub(crate) fn give_up(&self) {
        self.change(|state| {
            if state.end == End::Open {
                state.end = End::GivenUp;
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.moved.notify_all();
    }

    /// Waits until there is more than so many bytes, or the end; how many there are then.
    fn beyond(&self, position: u64) -> io::Result<u64> {
        let waits = |state: &mut State| state.written <= position && state.end == End::Open;
        let state = self.moved.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner);
        match state.end {
            End::GivenUp => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the blob was given up by its writer")),
            End::Open | End::Whole => Ok(state.written),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that panics is done under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
