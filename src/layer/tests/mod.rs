//! Rules that the whole room keeps.

mod archives;
mod golden;
mod hostile;
mod others;
mod packing;
pub(super) mod raw;
mod reading;
pub(super) mod sample;
