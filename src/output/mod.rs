//! Finished images → where they are wanted.

mod push;

pub use push::{PushError, PushedTag, TagOutcome, push};
