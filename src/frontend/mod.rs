//! Other languages into the same [`Spec`](crate::spec::Spec): what people have today is built by the same plan and the same engine.

pub mod compose;
pub mod convert;
pub mod dockerfile;
mod git_address;

pub use git_address::{GitAddress, UnknownField};
