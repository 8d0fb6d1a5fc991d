//! Plan → sealed images: keys, records, steps run in order of their needs, layers packed.
//!
//! A step is executed only as an action, all of whose inputs are named by digest; an input that is missing from the key cannot have been
//! used. Results are kept in the store, so that the same action is done once.

mod accounts;
mod agent;
mod ahead;
mod asked;
mod assemble;
mod blocks;
mod claims;
mod elsewhere;
mod engine;
mod error;
mod execute;
mod explain;
mod export;
mod failed;
mod glimpse;
mod import;
mod key;
mod layers;
mod listing;
mod marks;
mod mask;
mod once;
mod order;
mod packed;
mod parts;
mod preimage;
mod private;
mod queue;
mod repositories;
mod schedule;
mod session;
mod site;
mod snapshots;
mod sources;
mod state;
mod steps;
mod taken;
mod turned;
mod wanted;
mod workplace;

pub use accounts::AccountError;
pub use ahead::{SendAhead, WhenNamed};
pub use asked::{Built, BuiltImage, BuiltStage, Fresh, Options, StepReport};
pub use engine::Engine;
pub use error::{Class, Error, Exit, FailedStep, Failure, Lost, input_class};
pub use explain::{Explanation, FieldChange, Reason};
pub use failed::{FailedRoot, LookAtFailure, OnFailure};
pub use listing::{ListedImage, list};
pub use preimage::{Preimage, Value};
pub use session::{Invocation, Root, Volume};
pub use site::Secrets;
pub use steps::StepError;
pub use workplace::{IsolationChoice, NoSandbox};
