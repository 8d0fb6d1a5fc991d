//! The root of a command that failed, as it left it: for whoever wants to look around in it before it is thrown away.

use std::ffi::OsString;
use std::sync::Arc;

use super::Failure;
use super::steps::left::Left;
use crate::sandbox::{Console, Exit, Signals};

/// Looks at the roots of commands that failed. Called on the thread of the step, while steps beside it may go on.
pub trait LookAtFailure: Send + Sync {
    /// Looks at one. Whatever is done in it, the build fails afterwards as it would have.
    fn look(&self, failed: &FailedRoot<'_>);
}

/// Who looks at the roots of commands that failed.
#[derive(Clone)]
pub struct OnFailure(Arc<dyn LookAtFailure>);

impl OnFailure {
    /// They are shown to this one.
    #[must_use]
    pub fn new(looks: Arc<dyn LookAtFailure>) -> OnFailure {
        OnFailure(looks)
    }

    pub(super) fn look(&self, failed: &FailedRoot<'_>) {
        self.0.look(failed);
    }
}

impl std::fmt::Debug for OnFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnFailure")
    }
}

/// The root of a command that failed. Commands in it have its environment, working directory, user, network and mounts, secrets included.
pub struct FailedRoot<'l> {
    pub(super) left: &'l Left<'l>,
    pub(super) label: &'l str,
    pub(super) failure: &'l Failure,
}

impl FailedRoot<'_> {
    /// The step, for people: its stage, its number and its words.
    #[must_use]
    pub const fn label(&self) -> &str {
        self.label
    }

    /// What happened.
    #[must_use]
    pub const fn failure(&self) -> &Failure {
        self.failure
    }

    /// The command that failed.
    #[must_use]
    pub fn argv(&self) -> &[OsString] {
        self.left.argv()
    }

    /// Where it ran.
    #[must_use]
    pub fn workdir(&self) -> String {
        self.left.workdir()
    }

    /// User and group that it ran as.
    #[must_use]
    pub fn user(&self) -> (u32, u32) {
        self.left.user()
    }

    /// The best shell for people that is in the root.
    #[must_use]
    pub fn shell(&self) -> Option<&'static str> {
        self.left.shell()
    }

    /// Runs a command there, with these variables besides. What it changes is seen by later ones, and is in no result.
    ///
    /// # Errors
    /// When it cannot be started, or the caller stopped the build.
    pub fn run(&self, argv: &[&str], env: &[(&str, OsString)], console: Console<'_>, signals: &Signals) -> Result<Exit, Box<Failure>> {
        self.left.run(argv, env, console, signals).map_err(Box::new)
    }
}
