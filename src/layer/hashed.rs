//! A reader in, the same bytes out, and in the end their SHA-256.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use lapstrake_cache::{Digest, Sha256};

/// Bytes after which a thread of its own is worth its start.
const FEW: u64 = 1 << 20;
/// Bytes that the thread is given at a time, and how often it may lie behind.
const PIECE: usize = 256 << 10;
const BEHIND: usize = 4;

/// Hashes what is read; once it is much, on a thread of its own, so that whoever reads decompresses and writes meanwhile.
pub(super) struct Hashed<R> {
    inner: R,
    hasher: Hasher,
}

enum Hasher {
    Here { hasher: Sha256, until: u64 },
    Beside(Beside),
}

struct Beside {
    piece: Vec<u8>,
    give: SyncSender<Vec<u8>>,
    /// Buffers that are used again.
    spent: Receiver<Vec<u8>>,
    thread: JoinHandle<Sha256>,
}

impl<R: Read> Hashed<R> {
    pub(super) fn new(inner: R) -> Hashed<R> {
        Hashed { inner, hasher: Hasher::Here { hasher: Sha256::new(), until: FEW } }
    }

    pub(super) fn into_digest(self) -> Digest {
        match self.hasher {
            Hasher::Here { hasher, .. } => hasher.finish(),
            Hasher::Beside(beside) => beside.finish(),
        }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl Hasher {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Here { hasher, until } => {
                hasher.update(bytes);
                *until = until.saturating_sub(bytes.len() as u64);
                if *until == 0 {
                    match Beside::start(hasher.clone()) {
                        Ok(beside) => *self = Hasher::Beside(beside),
                        // Where there can be no more threads, this one does it.
                        Err(_) => *until = u64::MAX,
                    }
                }
            }
            Hasher::Beside(beside) => beside.update(bytes),
        }
    }
}

impl Beside {
    fn start(mut hasher: Sha256) -> io::Result<Beside> {
        let (give, take) = sync_channel::<Vec<u8>>(BEHIND);
        let (give_back, spent) = channel();
        let work = move || {
            for piece in take {
                hasher.update(&piece);
                // Nobody wants it when all was read.
                let _ = give_back.send(piece);
            }
            hasher
        };
        let thread = thread::Builder::new().name("lapstrake-hash".to_owned()).spawn(work)?;
        Ok(Beside { piece: Vec::with_capacity(PIECE), give, spent, thread })
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (fits, more) = bytes.split_at(bytes.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(fits);
            bytes = more;
            if self.piece.len() == PIECE {
                let mut next = self.spent.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE));
                next.clear();
                // That it fails means that the thread panicked, which its end tells.
                let _ = self.give.send(std::mem::replace(&mut self.piece, next));
            }
        }
    }

    fn finish(self) -> Digest {
        let Beside { piece, give, spent: _, thread } = self;
        let _ = give.send(piece);
        drop(give);
        match thread.join() {
            Ok(hasher) => hasher.finish(),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_all_bytes_however_many_they_are_and_however_they_are_read() {
        let bytes: Vec<u8> = (0..3_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let few = usize::try_from(FEW).unwrap();
        for size in [0, 1, few - 1, few, few + 1, few + PIECE - 1, few + PIECE, few + PIECE + 1, bytes.len()] {
            for step in [511, 70_000, bytes.len()] {
                let mut hashed = Hashed::new(&bytes[..size]);
                let mut buffer = vec![0; step];
                let mut read = 0;
                loop {
                    match hashed.read(&mut buffer).unwrap() {
                        0 => break,
                        count => read += count,
                    }
                }
                assert_eq!((read, hashed.into_digest()), (size, Digest::of(&bytes[..size])), "{size} by {step}");
            }
        }
    }
}
