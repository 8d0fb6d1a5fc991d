//! What can go wrong with a git repository, each with what to do about it. Addresses in it hold no password.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::tree::TreePath;

/// Why the files of a git repository could not be had.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// No `git`.
    #[error(
        "git repositories are fetched by the program `git`, and there is none in the search path; install it (the package is called `git`)"
    )]
    NoProgram,
    /// `git` cannot be run.
    #[error("cannot run `{}`", .program.display())]
    Unusable {
        /// Which program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A reference that the repository does not have.
    #[error("`{url}` has no branch or tag `{reference}`{}", advice(.reference, .nearest.as_deref()))]
    NoReference {
        /// The repository.
        url: String,
        /// What was asked for.
        reference: String,
        /// The nearest that is there.
        nearest: Option<String>,
    },
    /// A repository without a commit.
    #[error("`{url}` is empty: it has no commit to be `HEAD`; name a branch or tag")]
    Empty {
        /// The repository.
        url: String,
    },
    /// A commit that the repository does not have.
    #[error(
        "`{url}` does not give the commit {commit}: {said}; it may be gone with a branch that was rewritten: look for it there, or name another"
    )]
    NoCommit {
        /// The repository.
        url: String,
        /// The commit.
        commit: String,
        /// What `git` said.
        said: String,
    },
    /// A branch or tag that is another commit than the one that is written beside it.
    #[error(
        "`{reference}` of `{url}` is {found} today, and not {wanted}, as the checksum says; to stay at that commit, name it in place of \
         `{reference}`; to go on, write {found} for the checksum"
    )]
    Moved {
        /// The repository.
        url: String,
        /// The branch or tag.
        reference: String,
        /// The commit that it should be.
        wanted: String,
        /// The commit that it is.
        found: String,
    },
    /// Something else than a commit.
    #[error("{id} in `{url}` is a {kind} and no commit; `git rev-parse {id}^{{commit}}` prints the commit, if it leads to one")]
    NotACommit {
        /// The repository.
        url: String,
        /// What was asked for.
        id: String,
        /// What it is.
        kind: String,
    },
    /// Who we are is asked for, or refused.
    #[error("`{url}` wants to know who we are, or does not let us in: {said}; {}", login(.url))]
    Unauthorized {
        /// The repository.
        url: String,
        /// What `git` said.
        said: String,
    },
    /// There is no such repository.
    #[error("there is no git repository at `{url}`, or none that we may see: {said}")]
    NoRepository {
        /// Where.
        url: String,
        /// What `git` said.
        said: String,
    },
    /// No connection.
    #[error("cannot reach `{url}`: {said}")]
    Unreachable {
        /// The repository.
        url: String,
        /// What `git` said.
        said: String,
    },
    /// A repository on this machine that is another user's.
    #[error(
        "`{url}` belongs to another user, whose settings `git` would have to follow; give it to this one (`chown -R`), or fetch it from a server"
    )]
    ForeignOwner {
        /// The repository.
        url: String,
    },
    /// Anything else that `git` refused.
    #[error("git failed while {doing} `{url}`: {said}")]
    Failed {
        /// The repository.
        url: String,
        /// What it was doing.
        doing: &'static str,
        /// What it said.
        said: String,
    },
    /// Nothing came for too long.
    #[error("nothing came from `{url}` for {} s while {doing} it; look at the network between here and there, then run again", .limit.as_secs())]
    Stalled {
        /// The repository.
        url: String,
        /// What git was doing.
        doing: &'static str,
        /// How long we waited.
        limit: Duration,
    },
    /// A directory that the commit does not have.
    #[error("there is no directory `{path}` in `{url}` at {commit}")]
    NoDirectory {
        /// The repository.
        url: String,
        /// The commit.
        commit: String,
        /// The directory.
        path: String,
    },
    /// Something in the repository that no file system of an image can hold, or that must not get into one.
    #[error("`{url}` at {commit} cannot be used: {reason}")]
    Unusual {
        /// The repository.
        url: String,
        /// The commit.
        commit: String,
        /// What is wrong.
        reason: String,
    },
    /// A submodule that cannot be had.
    #[error("the submodule `{path}` of `{url}` cannot be fetched; `submodules = false` leaves its directory empty")]
    Submodule {
        /// The repository that it is a part of.
        url: String,
        /// Where.
        path: TreePath,
        /// What happened.
        #[source]
        source: Box<super::Error>,
    },
    /// A submodule that nothing says the place of, or a place that is refused.
    #[error("{reason}")]
    SubmodulePlace {
        /// What is wrong.
        reason: String,
    },
    /// Bytes cannot be kept or read again.
    #[error("{}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
}

fn advice(reference: &str, nearest: Option<&str>) -> String {
    let short = (4..40).contains(&reference.len()) && reference.bytes().all(|byte| byte.is_ascii_hexdigit());
    match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None if short => "; a commit is named in full, by 40 or 64 digits".to_owned(),
        None => String::new(),
    }
}

fn login(url: &str) -> &'static str {
    if url.starts_with("ssh://") {
        "give the build an agent that has the key, with `--ssh default`, and the host's key to ~/.ssh/known_hosts"
    } else {
        "give a token over https, as `--secret id=GIT_AUTH_TOKEN,…` or one for that host alone, `--secret id=GIT_AUTH_TOKEN.HOST,…`, or fetch it \
         by ssh, with `--ssh default`"
    }
}
