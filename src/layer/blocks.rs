//! Where the blocks of a compressed layer end: the entries' names and sizes in, the cuts out.
//!
//! Source of truth: `specs/layers.md`, section "Blocks". The rule looks at nothing but the names and sizes of the entries since the last cut,
//! so that an edit leaves the blocks around it as they were, and no thread count can move a cut.

use lapstrake_cache::Fingerprint;

/// How long blocks are, in bytes of the tar stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    /// The mean length of a block of small entries.
    pub(super) target: u64,
    /// No block of small entries grows beyond this.
    pub(super) maximum: u64,
    /// Files with at least so many bytes of content are cut at every multiple of it, counted from the content's start.
    pub(super) cut: u64,
}

/// How one entry lies in the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placement {
    /// Whether the entry begins a block.
    pub(super) begins: bool,
    /// Whether its content is cut at the multiples of [`Rule::cut`].
    pub(super) cuts: bool,
    /// Whether a block ends after it.
    pub(super) ends: bool,
}

impl Rule {
    /// Places an entry: its name as written in the tar, the bytes of its headers and its content, and the bytes in the block so far.
    pub(super) fn place(self, name: &[u8], header_bytes: u64, content_bytes: u64, in_block: u64) -> Placement {
        if content_bytes >= self.cut {
            return Placement { begins: true, cuts: true, ends: true };
        }
        let entry_bytes = header_bytes + content_bytes.next_multiple_of(super::header::BLOCK as u64);
        let ends = u128::from(weight(name)) < (u128::from(entry_bytes) << 64) / u128::from(self.target);
        Placement { begins: in_block + entry_bytes > self.maximum, cuts: false, ends }
    }
}

/// A number that the name alone decides, evenly spread.
fn weight(name: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *Fingerprint::of(name).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
