//! Finished images wherever they are → what there is to know about them, and copies of them.

mod archive;
mod compare;
mod copy;
mod files;
mod files_shown;
mod gather;
mod inspect;
mod layers;
mod open;
mod place;
mod proof;
mod rebase;
mod text;

pub use compare::{Comparison, FieldChange, FileChange, FileSide};
pub use copy::{Copied, CopyError, Hands, Others, Selection, copy, copy_to_all, push_from};
pub use files_shown::Detail;
pub use gather::{Gathered, gather};
pub use inspect::{Inspected, InspectedLayer};
pub use layers::{LayersError, ReadLayer, ReadLayers, read_layers};
pub use open::{OpenError, Opened, open};
pub use place::{InvalidPlace, Place};
pub use rebase::{BASE_DIGEST, BASE_NAME, LeaningStep, RebaseError, Rebased, base_of, rebase};

#[cfg(test)]
mod tests;
