//! A file's stored bytes and the map of its holes in, its bytes with the holes filled out.
//!
//! Source of truth: "Storing Sparse Files" of the GNU tar manual: the old GNU format and PAX versions 0.0, 0.1 and 1.0. A map must be in
//! order, inside the file, and account for every stored byte.

use std::io::{self, Read};

use super::fields::{Dialect, GnuMapPart, RawHeader};
use super::header::BLOCK;
use super::pax::{SparseRecords, decimal};
use super::reader::{Malformed, Stop};

/// The stored pieces of a file, and how far they were read.
#[derive(Debug, Default)]
pub(super) struct Segments {
    /// Start in the file and length of each, in order, what was read taken off.
    pieces: std::collections::VecDeque<(u64, u64)>,
    at: u64,
    size: u64,
}

impl Segments {
    fn whole(size: u64) -> Segments {
        Segments { pieces: [(0, size)].into_iter().filter(|&(_, length)| length > 0).collect(), at: 0, size }
    }

    fn checked(pieces: Vec<(u64, u64)>, stored: u64, size: u64) -> Result<Segments, Malformed> {
        let mut end = 0_u64;
        let mut sum = 0_u64;
        for &(start, length) in &pieces {
            if start < end {
                return Err(Malformed::SparseMap);
            }
            end = start.checked_add(length).filter(|&end| end <= size).ok_or(Malformed::SparseMap)?;
            sum += length;
        }
        if sum != stored {
            return Err(Malformed::SparseMap);
        }
        Ok(Segments { pieces: pieces.into_iter().filter(|&(_, length)| length > 0).collect(), at: 0, size })
    }

    /// Bytes of the file, holes included.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of the file that were not read yet.
    pub(super) fn left(&self) -> u64 {
        self.size - self.at
    }

    /// Stored bytes that were not read yet.
    pub(super) fn stored_left(&self) -> u64 {
        self.pieces.iter().map(|&(_, length)| length).sum()
    }

    /// Reads on: how many bytes came, and how many of them from the source.
    pub(super) fn read(&mut self, source: &mut impl Read, buffer: &mut [u8]) -> io::Result<(usize, u64)> {
        let clamp = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(buffer.len());
        let hole = self.pieces.front().map_or(self.size, |&(start, _)| start).saturating_sub(self.at);
        let count = if hole > 0 {
            let count = clamp(hole);
            buffer.iter_mut().take(count).for_each(|byte| *byte = 0);
            self.at += count as u64;
            return Ok((count, 0));
        } else if let Some((start, length)) = self.pieces.front_mut() {
            let count = source.read(buffer.get_mut(..clamp(*length)).unwrap_or_default())?;
            *start += count as u64;
            *length = length.saturating_sub(count as u64);
            count
        } else {
            0
        };
        if self.pieces.front().is_some_and(|&(_, length)| length == 0) {
            self.pieces.pop_front();
        }
        self.at += count as u64;
        Ok((count, count as u64))
    }
}

/// The pieces of the file whose header this is. `more` gives the next block of the stream, told how many bytes of map that makes.
pub(super) fn sparse_segments(
    header: &RawHeader<'_>,
    records: Option<SparseRecords>,
    stored: u64,
    mut more: impl FnMut(u64) -> Result<[u8; BLOCK], Stop>,
) -> Result<Segments, Stop> {
    let gnu = header.flag() == b'S';
    let Some(records) = records else {
        if !gnu {
            return Ok(Segments::whole(stored));
        }
        if header.dialect != Dialect::Gnu {
            return Err(Malformed::SparseVersion.into());
        }
        let (GnuMapPart { mut pieces, mut continues }, size) = header.gnu_sparse()?;
        let mut bytes = 0;
        while continues {
            bytes += BLOCK as u64;
            let part = GnuMapPart::new(&more(bytes)?)?;
            pieces.extend(part.pieces);
            continues = part.continues;
        }
        return Ok(Segments::checked(pieces, stored, size)?);
    };
    if gnu {
        return Err(Malformed::SparseVersion.into());
    }
    let size = records.real_size.ok_or(Malformed::SparseMap)?;
    match (records.major, records.minor) {
        (None, None) | (Some(0), Some(0 | 1)) => {
            let (pairs, rest) = records.map.as_chunks::<2>();
            if !rest.is_empty() {
                return Err(Malformed::SparseMap.into());
            }
            Ok(Segments::checked(pairs.iter().map(|&[start, length]| (start, length)).collect(), stored, size)?)
        }
        (Some(1), Some(0)) => {
            let mut map = MapReader { block: Vec::new(), bytes: 0, more };
            let count = map.number()?;
            let mut pieces = Vec::new();
            for _ in 0..count {
                pieces.push((map.number()?, map.number()?));
            }
            let stored = stored.checked_sub(map.bytes).ok_or(Malformed::SparseMap)?;
            Ok(Segments::checked(pieces, stored, size)?)
        }
        _ => Err(Malformed::SparseVersion.into()),
    }
}

/// The map of version 1.0: decimal numbers, each with a newline after it, in whole blocks before the content.
struct MapReader<F> {
    /// What is left of the last block, the next byte last.
    block: Vec<u8>,
    bytes: u64,
    more: F,
}

impl<F: FnMut(u64) -> Result<[u8; BLOCK], Stop>> MapReader<F> {
    fn number(&mut self) -> Result<u64, Stop> {
        let mut digits = Vec::new();
        loop {
            let byte = match self.block.pop() {
                Some(byte) => byte,
                None => {
                    self.bytes += BLOCK as u64;
                    self.block = (self.more)(self.bytes)?.iter().rev().copied().collect();
                    continue;
                }
            };
            if byte == b'\n' {
                return Ok(decimal(&digits).ok_or(Malformed::SparseMap)?);
            }
            digits.push(byte);
            if digits.len() > 20 {
                return Err(Malformed::SparseMap.into());
            }
        }
    }
}
