//! Rules of trees: as values, on disk, and through the kernel's overlay.

mod disk;
mod overlay;
mod values;
