//! What may be asked of a build beside its plan, and what a build tells when it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use super::ahead::SendAhead;
use super::failed::OnFailure;
use super::site::Secrets;
use super::state::State;
use crate::image::Sealed;
use crate::plan::{Image, StageId};
use crate::remote::Shared;

/// What may differ from build to build of the same plan. None of it is in a key.
#[derive(Debug, Clone)]
pub struct Options {
    /// The time of creation in configs and histories, in seconds since 1970; the plan's epoch where it is missing.
    pub created: Option<i64>,
    /// How many steps run at a time, how many threads pack a layer, and at most how many layers of a base are unpacked at a time. With one, nothing
    /// is packed for an image while a step runs.
    pub jobs: NonZeroUsize,
    /// Which steps are done anew, whatever the store holds.
    pub fresh: Fresh,
    /// Values of secrets.
    pub secrets: Secrets,
    /// Sockets of SSH agents, by the names that `ssh` mounts have for them.
    pub agents: BTreeMap<String, PathBuf>,
    /// Proxies by the names of their variables, which steps that use the network see unless they set them.
    pub proxies: BTreeMap<String, String>,
    /// Stages that are read as file systems in the end.
    pub unpacked: BTreeSet<StageId>,
    /// Who looks at the root of a command that failed, before it is thrown away.
    pub on_failure: Option<OnFailure>,
    /// Caches shared with other machines; one value for each build.
    pub shared: Option<Arc<Shared>>,
    /// Who takes blobs of layers while they are written, since the images will be pushed, such as [`crate::output::PushAhead`].
    pub send_ahead: Option<Arc<dyn SendAhead>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            created: None,
            jobs: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            fresh: Fresh::Nothing,
            secrets: Secrets::new(),
            agents: BTreeMap::new(),
            proxies: BTreeMap::new(),
            unpacked: BTreeSet::new(),
            on_failure: None,
            shared: None,
            send_ahead: None,
        }
    }
}

/// Which steps are done anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fresh {
    /// None.
    Nothing,
    /// Those of these stages.
    Stages(BTreeSet<String>),
    /// All.
    Everything,
}

/// What a build came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// The images, in the plan's order.
    pub images: Vec<BuiltImage>,
    /// The stages, in the plan's order.
    pub stages: Vec<BuiltStage>,
}

/// A finished image.
#[derive(Debug, Clone, PartialEq)]
pub struct BuiltImage {
    /// What the plan says of it: its name, its tags.
    pub image: Image,
    /// The image.
    pub sealed: Sealed,
}

/// A stage that is done.
#[derive(Debug, Clone, PartialEq)]
pub struct BuiltStage {
    /// Its name.
    pub name: String,
    /// Its steps, in order.
    pub steps: Vec<StepReport>,
    pub(super) state: State,
}

/// How a step went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepReport {
    /// For people: verb and argument.
    pub label: String,
    /// Whether a record answered it.
    pub cached: bool,
    /// On which rung its command ran, now or when the record was made.
    pub rung: Option<String>,
    /// Whether its result may go to a cache that others read.
    pub shareable: bool,
}
