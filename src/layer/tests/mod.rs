//! Rules that the whole room keeps.

mod golden;
mod hostile;
mod others;
mod packing;
pub(super) mod raw;
mod reading;
pub(super) mod sample;
