//! BLAKE3 fingerprints: what lapstrake itself names contents, trees and keys by.

use std::fmt;
use std::str::FromStr;

use crate::digest::{hex, unhex};

/// The BLAKE3 hash of some bytes. Prints as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// The text was not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a fingerprint: expected 64 lower-case hexadecimal digits")]
pub struct InvalidFingerprint(pub String);

impl Fingerprint {
    /// Hashes bytes that are in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Fingerprint {
        Fingerprint(*blake3::hash(bytes).as_bytes())
    }

    /// Takes the 32 bytes of a fingerprint as they are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Fingerprint {
        Fingerprint(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Fingerprint, InvalidFingerprint> {
        unhex(text).map(Fingerprint).ok_or_else(|| InvalidFingerprint(text.to_owned()))
    }
}

/// A running BLAKE3.
#[derive(Debug, Clone, Default)]
pub struct Fingerprinter(Box<blake3::Hasher>);

impl Fingerprinter {
    /// Starts with no bytes.
    #[must_use]
    pub fn new() -> Fingerprinter {
        Fingerprinter::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds the length of the bytes (64 bits, little end first) and the bytes, so that neighbours cannot run together.
    pub fn update_framed(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Ends the hash.
    #[must_use]
    pub fn finish(&self) -> Fingerprint {
        Fingerprint(*self.0.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_of_nothing_is_the_published_one() {
        assert_eq!(Fingerprint::of(b"").hex(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    }

    #[test]
    fn framing_keeps_neighbours_apart() {
        let framed = |parts: [&[u8]; 2]| {
            let mut hasher = Fingerprinter::new();
            for part in parts {
                hasher.update_framed(part);
            }
            hasher.finish()
        };
        assert_ne!(framed([b"ab", b"c"]), framed([b"a", b"bc"]));
    }
}
