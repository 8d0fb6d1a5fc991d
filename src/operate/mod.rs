//! Finished images wherever they are → what there is to know about them.

mod archive;
mod inspect;
mod open;
mod place;

pub use inspect::{Inspected, InspectedLayer};
pub use open::{OpenError, Opened, open};
pub use place::{InvalidPlace, Place};

#[cfg(test)]
mod tests;
