//! Running a command in a root made of directories: a [`Job`] in, its exit and its upper directory out.
//!
//! Knows no trees and no digests. One [`Isolation`] owns a user namespace, in which a small helper process serves as *file agent*
//! ([`FileAgent`]) and starts each step. The helper is a program of its own, embedded here and started from a sealed memory file; all
//! `unsafe` code is in it. No descriptor, memory or environment of the builder is in any process that a step can see.
//!
//! What is and is not promised stands in SECURITY.md.

mod agent;
#[cfg(test)]
#[expect(dead_code, unreachable_pub, reason = "the file is a module of the helper, and only tested here")]
#[path = "helper/calls.rs"]
mod calls;
mod connection;
mod console;
#[cfg(test)]
#[expect(dead_code, unreachable_pub, reason = "the file is a module of the helper, and only tested here")]
#[path = "helper/supervisor/credentials.rs"]
mod credentials;
mod error;
#[cfg(test)]
#[expect(unreachable_pub, reason = "the file is a module of the helper, and only tested here")]
#[path = "helper/filter.rs"]
mod filter;
mod isolation;
mod job;
mod limits;
mod mapping;
mod owner;
mod owners;
#[cfg(test)]
#[expect(unreachable_pub, reason = "the file is a module of the helper, and only tested here")]
#[path = "helper/profile.rs"]
mod profile;
mod run;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[expect(unreachable_pub, reason = "the file is a module of the helper, and only tested here")]
#[path = "helper/wanted.rs"]
mod wanted;
#[expect(unreachable_pub, reason = "the file is also a module of the helper, and some of its types are public here")]
#[path = "helper/wire/mod.rs"]
mod wire;

pub use agent::{AgentDirectory, FileAgent};
pub use console::{Console, Output, Signals};
pub use error::{AgentError, SandboxError, Unusable, instead};
pub use isolation::{Isolation, MountApi, Options, Probe, Rung, Sandbox, Start, UpperKind};
pub use job::{Access, Beyond, DirectoryAccess, Exit, Finished, Job, Mount, MountKind, Network, Upper, UpperHandle, User};
pub use limits::{Exhausted, LimitProbe, Limits, Resource};
pub use mapping::{Extent, IdMapping};
pub use wire::{Bytes, EntryKind, EntryMetadata, ListedEntry, Operation, SpecialBelow, SpecialNode};
