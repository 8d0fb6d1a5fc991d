//! What can go wrong around a command: typed, with what to do about it.

use std::io;

/// This machine does not let the sandbox work; says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{reason}; {remedy}")]
pub struct Unusable {
    /// What is missing.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
    /// The kernel's answer, where it gave one.
    #[source]
    pub source: Option<io::Error>,
}

/// The file agent could not do something.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The kernel refused an operation.
    #[error("cannot {operation} `{}`", String::from_utf8_lossy(.path))]
    Refused {
        /// A verb: "open", "list", "remove".
        operation: &'static str,
        /// The path, relative to the directory; absolute for directories opened by path.
        path: Vec<u8>,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The helper process is gone.
    #[error("the sandbox's helper process has ended")]
    Lost {
        /// What the connection said.
        #[source]
        source: io::Error,
    },
}

impl AgentError {
    /// The kernel's answer.
    #[must_use]
    pub fn into_io(self) -> io::Error {
        match self {
            AgentError::Refused { source, .. } => source,
            lost @ AgentError::Lost { .. } => io::Error::other(lost),
        }
    }
}

/// A command could not be run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The machine does not let it.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The job contradicts itself.
    #[error("this cannot be run: {reason}")]
    InvalidJob {
        /// What is wrong with it.
        reason: String,
    },
    /// It was stopped by the caller.
    #[error("cancelled")]
    Cancelled,
    /// The helper process ended unexpectedly, or could not be spoken to.
    #[error("the sandbox's helper process has ended while it {doing}")]
    Lost {
        /// What it was about.
        doing: &'static str,
        /// What the connection said.
        #[source]
        source: io::Error,
    },
    /// Namespaces or processes could not be made.
    #[error("cannot {what}")]
    Processes {
        /// What was tried.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The root file system of the step could not be made.
    #[error("cannot make the root of the step: {what}")]
    Root {
        /// What was tried.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Something could not be mounted.
    #[error("cannot mount at `{}`: {what}", String::from_utf8_lossy(.at))]
    Mount {
        /// Where in the root.
        at: Vec<u8>,
        /// What was tried.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The working directory is not there or is no directory.
    #[error("the working directory `{}` cannot be entered", String::from_utf8_lossy(.path))]
    Workdir {
        /// Which.
        path: Vec<u8>,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The user or a group has no number here.
    #[error("cannot become user {uid}, group {gid}: {what}")]
    User {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
        /// What was tried, and what to do.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// There is no such program.
    #[error("there is no program `{program}` in the root{}", if .searched.is_empty() { String::new() } else { format!(" (looked in {})", .searched) })]
    NotFound {
        /// As it was written.
        program: String,
        /// The `PATH` that was searched; empty for a program with a slash.
        searched: String,
    },
    /// The program may not be executed.
    #[error("`{program}` may not be executed: it has no execute bit for this user, or is no regular file")]
    Permission {
        /// As it was written.
        program: String,
    },
    /// The program is there, what it needs to start is not.
    #[error("`{program}` needs `{interpreter}` to start, which is not in the root{hint}")]
    Interpreter {
        /// As it was written.
        program: String,
        /// The interpreter of its first line, or its dynamic loader.
        interpreter: String,
        /// More about it, in front of it a semicolon; may be empty.
        hint: &'static str,
    },
    /// The program is none for this machine.
    #[error("`{program}` is no program that this machine can start: it has neither the format of its processor nor a first line with `#!`")]
    Format {
        /// As it was written.
        program: String,
    },
    /// In a root without mounts, the command did to something that was put there what a mount would have refused.
    #[error(
        "what was put at `{}` for the step cannot be taken back: {what}; a step must leave it where it is (where the machine allows mounts, \
         the command itself would have failed)",
        String::from_utf8_lossy(.at)
    )]
    Left {
        /// Where in the root.
        at: Vec<u8>,
        /// What it did.
        what: String,
    },
    /// The command wanted what it cannot have on its rung, and was ended.
    #[error("the command wants {wanted}, which the rung `{}` cannot give: {}", .rung.name(), instead(*.rung))]
    Beyond {
        /// Where it ran.
        rung: super::Rung,
        /// What, beginning with `to`.
        wanted: String,
    },
    /// The program did not start for another reason.
    #[error("cannot start `{program}`")]
    Start {
        /// As it was written.
        program: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// What to do where a rung cannot give devices, or ids that its namespace has not.
#[must_use]
pub const fn instead(rung: super::Rung) -> &'static str {
    match rung {
        super::Rung::UserNamespace => {
            "build with `--isolation single-id`, where devices and all ids are a model (`auto` goes on there by itself where this machine lets \
             it; `lapstrake doctor` says what that needs)"
        }
        super::Rung::SingleId => "give the step less to do",
        super::Rung::Chroot => {
            "allow the builder user namespaces, so that `--isolation single-id` can be had, where devices and all ids are a model \
             (`lapstrake doctor` says what that needs)"
        }
    }
}

impl SandboxError {
    /// Whether it is the command alone that is to blame, so that another one could be run in the same root.
    #[must_use]
    pub const fn left_the_root(&self) -> bool {
        match self {
            SandboxError::Workdir { .. }
            | SandboxError::NotFound { .. }
            | SandboxError::Permission { .. }
            | SandboxError::Interpreter { .. }
            | SandboxError::Format { .. }
            | SandboxError::Start { .. } => true,
            SandboxError::Unusable(_)
            | SandboxError::InvalidJob { .. }
            | SandboxError::Cancelled
            | SandboxError::Lost { .. }
            | SandboxError::Processes { .. }
            | SandboxError::Root { .. }
            | SandboxError::Mount { .. }
            | SandboxError::User { .. }
            | SandboxError::Left { .. }
            | SandboxError::Beyond { .. } => false,
        }
    }
}
