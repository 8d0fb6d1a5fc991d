//! Rules that the whole room keeps.

mod hostile;
mod packing;
pub(super) mod raw;
mod reading;
pub(super) mod sample;
