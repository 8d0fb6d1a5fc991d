//! Rules that the whole room keeps.

mod packing;
pub(super) mod sample;
