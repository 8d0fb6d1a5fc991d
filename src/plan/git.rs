//! A git repository as written → its address and what of it is meant, every word settled; and the commit where it is known.

use super::diagnostics as say;
use super::fill::Scope;
use super::outside::Knowledge;
use super::sink::Sink;
use crate::diagnostic::Span;
use crate::pins::Commit;
use crate::spec;

/// What a repository gives where nothing else is said.
const DEFAULT: &str = "HEAD";

/// The longest address and the longest reference.
const MOST_BYTES: usize = 4096;

/// A git repository at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Git {
    /// Where it is: `https`, `http`, `ssh`, `git` or `file`; no password in it.
    pub url: String,
    /// The branch, tag or commit that was asked for, or `HEAD`: where the commit may be found on servers that give no commit by its name.
    pub reference: String,
    /// The commit.
    pub commit: Commit,
    /// Whether its submodules are fetched too.
    pub submodules: Submodules,
    /// Whether there is a `.git`.
    pub git_directory: GitDirectory,
}

/// Whether submodules are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Submodules {
    /// With all that they have in turn.
    Fetched,
    /// Each is an empty directory.
    Empty,
}

/// Whether files from git come with a `.git`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GitDirectory {
    /// With one that holds the commit.
    Kept,
    /// Without.
    Dropped,
}

/// Whether a branch or tag may have gone on from the commit that is written beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moving {
    /// The commit counts, wherever the reference is.
    Allowed,
    /// The build fails.
    Refused,
}

/// A repository as it is asked for.
pub(super) struct Asked {
    pub(super) url: String,
    pub(super) reference: String,
    pub(super) commit: Option<Commit>,
    pub(super) moving: Moving,
    /// Where the spec says so.
    pub(super) span: Span,
}

impl Asked {
    /// As people write it: the address, and behind `#` what they want of it.
    pub(super) fn name(url: &str, reference: &str) -> String {
        if reference == DEFAULT { url.to_owned() } else { format!("{url}#{reference}") }
    }
}

/// Settles which repository and what of it is meant.
pub(super) fn asked(git: &spec::Git, scope: Scope<'_>, sink: &mut Sink) -> Option<Asked> {
    let spec::Git { url, reference, commit, check_ref, path: _, submodules: _, keep_git: _ } = git;
    let scope = Scope { env: None, ..scope };
    let span = url.span;
    let address = scope.word(url, sink);
    let wanted = match reference {
        Some(text) => scope.word(text, sink).map(|word| (word, text.span)),
        None => Some((String::new(), span)),
    };
    let (url, (reference, at)) = (address?, wanted?);
    if let Some(reason) = invalid_address(&url) {
        sink.push(say::invalid_repository(span, &super::outside::without_credentials(&url), reason));
        return None;
    }
    let reference = if reference.is_empty() { DEFAULT.to_owned() } else { reference };
    if let Some(reason) = invalid_reference(&reference) {
        sink.push(say::invalid_git_reference(at, &reference, reason));
        return None;
    }
    let commit = commit.as_ref().and_then(|commit| Commit::new(&commit.value)).or_else(|| Commit::new(&reference));
    let moving = if check_ref.as_ref().is_some_and(|check| check.value) { Moving::Refused } else { Moving::Allowed };
    Some(Asked { url, reference, commit, moving, span })
}

/// What is wrong with the address of a repository. Whatever comes through is no option of a program and no program to run.
#[must_use]
pub fn invalid_address(url: &str) -> Option<&'static str> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Some("it must begin with `https://`, `http://`, `ssh://`, `git://` or `file://`");
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let (login, host) = authority.rsplit_once('@').map_or((None, authority), |(login, host)| (Some(login), host));
    if url.len() > MOST_BYTES {
        Some("it is too long")
    } else if url.chars().any(|character| character.is_whitespace() || character.is_control()) {
        Some("it has white space in it")
    } else if rest.contains(['#', '?']) {
        Some("what is wanted of the repository stands in `ref` and `path`, not behind `#` or `?`")
    } else {
        match scheme {
            "https" | "http" | "git" if login.is_some() => Some("it has a user or password in it, which would go into the image's history"),
            "ssh" if login.is_some_and(|login| login.contains(':')) => {
                Some("it has a password in it, which would go into the image's history")
            }
            "ssh" if login.is_some_and(|login| login.is_empty() || login.starts_with('-')) => Some("its user is no name"),
            "https" | "http" | "git" | "ssh" if host.is_empty() || host.starts_with('-') => Some("it names no host"),
            "file" if !authority.is_empty() => Some("the path of a repository on this machine is absolute"),
            "https" | "http" | "git" | "ssh" | "file" => None,
            _ => Some("it must begin with `https://`, `http://`, `ssh://`, `git://` or `file://`"),
        }
    }
}

/// What is wrong with a name for a branch, tag or commit; as git-check-ref-format(1).
#[must_use]
pub fn invalid_reference(reference: &str) -> Option<&'static str> {
    let forbidden = |character: char| character.is_whitespace() || character.is_control() || "~^:?*[\\".contains(character);
    if reference.len() > MOST_BYTES {
        Some("it is too long")
    } else if reference.starts_with('-') {
        Some("no branch or tag begins with `-`")
    } else if reference.contains(forbidden) {
        Some("no branch or tag has white space or one of `~^:?*[\\` in it")
    } else if reference.contains("..") || reference.contains("@{") || reference.contains("//") {
        Some("no branch or tag has `..`, `@{` or `//` in it")
    } else if reference.starts_with('/') || reference.ends_with(['/', '.']) || reference.ends_with(".lock") {
        Some("no branch or tag begins with `/` or ends with `/`, `.` or `.lock`")
    } else {
        None
    }
}

impl Knowledge<'_> {
    /// Finds a repository's commit by what the spec says.
    pub(super) fn git(self, git: &spec::Git, scope: Scope<'_>, sink: &mut Sink) -> Option<Git> {
        let Asked { url, reference, commit, moving: _, span } = asked(git, scope, sink)?;
        let commit = match (commit, self) {
            (Some(commit), _) => commit,
            (None, Knowledge::NotYet) => Commit::new(&"0".repeat(40))?,
            (None, Knowledge::Found(found)) => {
                let commit = found.commits.get(&(url.clone(), reference.clone())).cloned();
                if commit.is_none() {
                    sink.push(say::unresolved_commit(span, &Asked::name(&url, &reference)));
                }
                commit?
            }
        };
        let says = |flag: &Option<spec::Spanned<bool>>, unless: bool| flag.as_ref().map_or(unless, |flag| flag.value);
        let submodules = if says(&git.submodules, true) { Submodules::Fetched } else { Submodules::Empty };
        let git_directory = if says(&git.keep_git, false) { GitDirectory::Kept } else { GitDirectory::Dropped };
        Some(Git { url, reference, commit, submodules, git_directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_options_programs_or_secrets_are_refused() {
        for good in
            ["https://example.com/a.git", "http://127.0.0.1:8080/a", "ssh://git@example.com:22/a/b", "git://[::1]/a", "file:///srv/a"]
        {
            assert_eq!(invalid_address(good), None, "{good}");
        }
        for bad in [
            "ext::sh -c true",
            "ext://sh",
            "-u/x",
            "--upload-pack=x",
            "https://u:p@example.com/a",
            "https://u@example.com/a",
            "ssh://-oProxyCommand=x/a",
            "ssh://-l@example.com/a",
            "ssh://git:pw@example.com/a",
            "file://host/a",
            "file:a",
            "https:///a",
            "https://example.com/a#main",
            "https://example.com/a?ref=main",
            "https://example.com/a b",
            "ftp://example.com/a",
        ] {
            assert!(invalid_address(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn references_are_names_that_git_allows() {
        for good in ["HEAD", "main", "v1.0", "feature/x", "refs/pull/7/head", "refs/tags/v1", "a-b_c"] {
            assert_eq!(invalid_reference(good), None, "{good}");
        }
        for bad in ["--upload-pack=x", "-x", "a b", "a..b", "a:b", "a^{}", "a@{1}", "/a", "a/", "a.lock", "a//b", "a\nb"] {
            assert!(invalid_reference(bad).is_some(), "{bad}");
        }
    }
}
