//! What can go wrong in a build, with the step it went wrong in.

use std::path::PathBuf;
use std::time::Duration;

use lapstrake_cache::{Digest, Fingerprint};

use super::accounts::AccountError;
use super::agent::Beyond;
use super::steps::StepError;
use super::workplace::NoSandbox;
use crate::diagnostic::Span;
use crate::sandbox::{Exhausted, SandboxError};

/// A build that failed.
#[derive(Debug, thiserror::Error)]
#[error("{}{failure}", .site.as_ref().map_or(String::new(), |site| format!("{site}: ")))]
pub struct Error {
    /// The step, where it was one.
    pub site: Option<FailedStep>,
    /// What happened.
    #[source]
    pub failure: Box<Failure>,
}

impl Error {
    /// What happened outside of any step.
    pub(super) fn of(failure: Failure) -> Error {
        Error { site: None, failure: Box::new(failure) }
    }

    /// What happened in a step.
    pub(super) fn at(site: Option<FailedStep>, failure: Failure) -> Error {
        Error { site, failure: Box::new(failure) }
    }
}

/// The step that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {number} of stage `{stage}`")]
pub struct FailedStep {
    /// The stage.
    pub stage: String,
    /// The step as it is shown, counted from 1.
    pub number: usize,
    /// For people: verb and argument.
    pub label: String,
    /// Where it stands in the spec.
    pub span: Span,
}

/// Who is to blame, which is what the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A step or test failed: 1.
    Step,
    /// The spec or the command line is wrong: 2.
    Spec,
    /// Registry, disk, kernel: 3.
    World,
    /// Our mistake: 70.
    Bug,
    /// Stopped on request: 130.
    Cancelled,
}

impl Class {
    /// The exit code of a process that ends with this.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Class::Step => 1,
            Class::Spec => 2,
            Class::World => 3,
            Class::Bug => 70,
            Class::Cancelled => 130,
        }
    }
}

/// How a command ended that did not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It was killed when its time was up.
    TimedOut(Duration),
    /// It ran into a limit of all commands, and was killed.
    OverLimit(Exhausted),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "the command exited with code {code}"),
            Exit::Signal(9) => write!(f, "the command was killed (signal 9); if nobody did so on purpose, the memory ran out"),
            Exit::Signal(signal) => write!(f, "the command was ended by signal {signal}"),
            Exit::OverLimit(exhausted) => write!(f, "the command was killed: {exhausted}"),
            Exit::TimedOut(limit) => write!(f, "the command was killed after its `timeout` of {} seconds", limit.as_secs()),
        }
    }
}

/// Something that the store should have and does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// A difference or its files.
    Difference(Fingerprint),
    /// A layer of a base.
    BaseLayer(Digest),
    /// The name of a part of a file system, which a cache told and the files do not have.
    Part(Fingerprint),
    /// Something that every build has.
    Nothing,
}

/// What happened.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A command did not end well.
    #[error("{exit}")]
    Command {
        /// How.
        exit: Exit,
        /// The last lines that it wrote.
        output: String,
        /// What commands have elsewhere and it had not, where it ran.
        missing: Option<&'static str>,
        /// What it wanted and could not have there, beginning with `to`: a device, or an id. Elsewhere it might have gone well.
        beyond: Option<String>,
    },
    /// A step's words do not fit the files that are there.
    #[error(transparent)]
    Step(#[from] StepError),
    /// A user or group that the image does not know.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A pattern that is none.
    #[error("`{text}`: {source}")]
    Pattern {
        /// The pattern.
        text: String,
        /// Why.
        source: crate::tree::InvalidPattern,
    },
    /// A secret that nobody gave.
    #[error("the step needs the secret `{id}`; pass `--secret id={id},src=FILE` or `--secret id={id},env=VARIABLE`")]
    NoSecret {
        /// Its name.
        id: String,
    },
    /// An SSH agent that a step needs and the caller did not give.
    #[error("the step needs the SSH agent `{id}`; pass `--ssh {id}=SOCKET`, or `--ssh {id}` for the one in SSH_AUTH_SOCK")]
    NoAgent {
        /// Its name.
        id: String,
    },
    /// Steps cannot be run here.
    #[error(transparent)]
    NoSandbox(#[from] NoSandbox),
    /// A command could not be run.
    #[error(transparent)]
    Sandbox(#[from] crate::sandbox::SandboxError),
    /// An input could not be had.
    #[error(transparent)]
    Input(#[from] crate::input::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] lapstrake_cache::Error),
    /// A directory of the store.
    #[error(transparent)]
    Disk(#[from] crate::tree::DiskError),
    /// What a step left cannot be read, or cannot be in an image.
    #[error(transparent)]
    Scan(#[from] crate::tree::ScanError),
    /// Files could not be written out.
    #[error(transparent)]
    Checkout(#[from] crate::tree::CheckoutError),
    /// A layer could not be packed.
    #[error(transparent)]
    Pack(#[from] crate::layer::PackError),
    /// A layer of a base is refused.
    #[error(transparent)]
    Unpack(#[from] crate::layer::UnpackError),
    /// An archive is refused.
    #[error(transparent)]
    Archive(#[from] crate::layer::ArchiveError),
    /// An image's layer is not what its config says.
    #[error("a layer of `{image}` has the diff id {found}, but the image's config says {expected}")]
    WrongDiffId {
        /// The image.
        image: String,
        /// What the config says.
        expected: Digest,
        /// What was found.
        found: Digest,
    },
    /// A base's layer that the image's format has no name for.
    #[error("the image `{image}` cannot be written in its format: that has no name for {what}; choose another `format` or `compression`")]
    Format {
        /// The image.
        image: String,
        /// What has no name.
        what: String,
    },
    /// A name that means the removal of another in a layer.
    #[error("`{path}` cannot be in an image: names that begin with `.wh.` mark removed files in layers")]
    ReservedName {
        /// Which.
        path: crate::tree::TreePath,
    },
    /// A command wrote to what it may only read, where the sandbox could not keep it from that.
    #[error(
        "the step changed {what}, which is mounted read-only{where_}: a mount of the kernel would have refused that; a mount that is `writable`, `rw` in a Dockerfile, allows it",
        what = if .path.is_root() { format!("`{at}`") } else { format!("`{}{path}`", .at.trim_end_matches('/')) },
        where_ = if .path.is_root() { String::new() } else { format!(" at `{at}`") }
    )]
    WroteToMount {
        /// Where it is mounted.
        at: String,
        /// What was changed, from there.
        path: crate::tree::TreePath,
    },
    /// A time that RFC 3339 cannot write.
    #[error("{seconds} seconds since 1970 is no time that can be written: expected a year from 0 to 9999")]
    Time {
        /// The time.
        seconds: i64,
    },
    /// A file of this machine.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// Something vanished from the store while it was in use.
    #[error("the store has lost {}; run the build again, and `lapstrake cache verify` if it stays so", lost(.0))]
    Lost(Lost),
    /// Stopped on request.
    #[error("cancelled")]
    Cancelled,
}

fn lost(lost: &Lost) -> String {
    match lost {
        Lost::Difference(fingerprint) => format!("the result {fingerprint}"),
        Lost::BaseLayer(diff_id) => format!("the base layer {diff_id}"),
        Lost::Part(name) => format!("the files that are named {name}"),
        Lost::Nothing => "an intermediate result".to_owned(),
    }
}

impl Failure {
    /// Whether the store has lost something that doing the work again brings back.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Failure::Lost(_)) || inner(self).is_some_and(Failure::is_lost)
    }

    /// Whether a command failed by itself. One that was stopped fails otherwise.
    pub(super) fn is_of_a_command(&self) -> bool {
        matches!(self, Failure::Command { .. }) || matches!(self, Failure::Sandbox(error) if error.left_the_root())
    }

    /// What was wanted, beginning with `to`, where it would not have failed if users, owners and devices were a model.
    pub(super) fn beyond(&self) -> Option<String> {
        if let Failure::Sandbox(SandboxError::Beyond { rung: _, wanted }) = self {
            return Some(wanted.clone());
        }
        Beyond::behind(self).map(Beyond::wanted)
    }

    /// Who is to blame.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Failure::Command { beyond: Some(_), .. } => Class::World,
            Failure::Command { beyond: None, .. } | Failure::ReservedName { .. } | Failure::WroteToMount { .. } => Class::Step,
            Failure::Step(error) => step_class(error),
            Failure::Account(error) => account_class(error),
            Failure::Archive(error) => archive_class(error),
            Failure::NoSandbox(NoSandbox::Refused)
            | Failure::Pattern { .. }
            | Failure::NoSecret { .. }
            | Failure::NoAgent { .. }
            | Failure::Format { .. }
            | Failure::Time { .. } => Class::Spec,
            Failure::Sandbox(error) => sandbox_class(error),
            Failure::Scan(error) => scan_class(error),
            Failure::Input(error) => input_class(error),
            Failure::Cancelled => Class::Cancelled,
            Failure::NoSandbox(NoSandbox::Unusable { .. } | NoSandbox::Unlimited(_))
            | Failure::Store(_)
            | Failure::Disk(_)
            | Failure::Checkout(_)
            | Failure::Pack(_)
            | Failure::Unpack(_)
            | Failure::WrongDiffId { .. }
            | Failure::File { .. }
            | Failure::Lost(_) => Class::World,
        }
    }
}

/// What a step left.
fn scan_class(error: &crate::tree::ScanError) -> Class {
    use crate::tree::ScanError as E;
    match error {
        E::WhiteoutName { .. } | E::WhiteoutDevice { .. } | E::TooDeep { .. } => Class::Step,
        E::Cancelled => Class::Cancelled,
        E::Disk(_) | E::Read { .. } | E::Changed { .. } | E::Elsewhere { .. } => Class::World,
    }
}

fn step_class(error: &StepError) -> Class {
    match error {
        // A file that cannot be read because of something that we know better.
        StepError::Read { .. } => inner(error).map_or(Class::World, Failure::class),
        StepError::Changed { .. } => Class::World,
        StepError::ArchiveLink { .. } => Class::Step,
        StepError::NoSource { .. }
        | StepError::Dangling { .. }
        | StepError::NoMatch { .. }
        | StepError::AllExcluded { .. }
        | StepError::InTheWay { .. }
        | StepError::NoArchive { .. }
        | StepError::NoDirectory { .. }
        | StepError::NothingToRemove { .. }
        | StepError::RemovesRoot
        | StepError::Edit(_)
        | StepError::Pattern(_) => Class::Spec,
        StepError::Account(error) => account_class(error),
    }
}

fn account_class(error: &AccountError) -> Class {
    match error {
        AccountError::Unknown { .. } | AccountError::Malformed(_) => Class::Spec,
        AccountError::File { .. } => inner(error).map_or(Class::Step, Failure::class),
    }
}

/// An archive that is refused is a step that fails, unless the disk is to blame.
fn archive_class(error: &crate::layer::ArchiveError) -> Class {
    inner(error).map_or(Class::Step, Failure::class)
}

/// The failure that came through a reader, which can only pass on errors of input and output.
fn inner<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Failure> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(failure) =
            error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref).and_then(|inner| inner.downcast_ref())
        {
            return Some(failure);
        }
        next = error.source();
    }
    None
}

fn sandbox_class(error: &crate::sandbox::SandboxError) -> Class {
    use crate::sandbox::SandboxError as E;
    match error {
        E::Cancelled => Class::Cancelled,
        E::Workdir { .. } | E::User { .. } | E::NotFound { .. } | E::Permission { .. } | E::Interpreter { .. } | E::Format { .. } => {
            Class::Step
        }
        E::Start { .. } | E::Mount { .. } | E::Left { .. } => Class::Step,
        E::InvalidJob { .. } => Class::Spec,
        E::Unusable(_) | E::Beyond { .. } | E::Lost { .. } | E::Processes { .. } | E::Root { .. } => Class::World,
    }
}

/// Who is to blame for an input that could not be had.
#[must_use]
pub fn input_class(error: &crate::input::Error) -> Class {
    use crate::input::Error as E;
    match error {
        E::NoContext { .. } | E::NoPlatform { .. } | E::Pattern { .. } => Class::Spec,
        E::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Class::Spec,
        E::Layout { .. } => Class::Spec,
        E::Cancelled => Class::Cancelled,
        E::Registry(_)
        | E::Git(_)
        | E::Store(_)
        | E::Image { .. }
        | E::Offline { .. }
        | E::File { .. }
        | E::Scan { .. }
        | E::WrongDownload { .. }
        | E::Contradiction { .. } => Class::World,
    }
}
