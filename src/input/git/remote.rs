//! A repository elsewhere: a name of a branch or tag in, a commit out; a commit in, its objects in a bare repository of ours out.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::error::GitError;
use super::program::{Ended, Program};
use crate::diagnostic::nearest;
use crate::input::Error;
use crate::pins::Commit;

/// A repository's references with the objects they name; `NAME^{}` is what an annotated tag leads to.
struct Advertised(Vec<(String, String)>);

impl Advertised {
    fn parse(text: &str) -> Advertised {
        let line = |line: &str| line.split_once('\t').map(|(id, name)| (name.to_owned(), id.to_owned()));
        Advertised(text.lines().filter_map(line).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        let find = |name: &str| self.0.iter().find(|(known, _)| known == name).map(|(_, id)| id.as_str());
        find(&format!("{name}^{{}}")).or_else(|| find(name))
    }

    /// What a name stands for: itself if it is a full one, else a branch, else a tag, else anything below `refs/`.
    fn meant(&self, reference: &str) -> Option<&str> {
        let full = (reference == "HEAD" || reference.starts_with("refs/")).then(|| self.get(reference)).flatten();
        full.or_else(|| ["refs/heads/", "refs/tags/", "refs/"].iter().find_map(|start| self.get(&format!("{start}{reference}"))))
    }

    fn nearest(&self, reference: &str) -> Option<String> {
        let short = |name: &str| {
            let short = ["refs/heads/", "refs/tags/"].iter().find_map(|start| name.strip_prefix(start)).unwrap_or(name);
            short.trim_end_matches("^{}").to_owned()
        };
        let names: Vec<String> = self.0.iter().map(|(name, _)| short(name)).collect();
        nearest(reference, names.iter().map(String::as_str)).map(ToOwned::to_owned)
    }
}

impl Program<'_> {
    /// The commit that a branch, a tag or `HEAD` is today.
    pub(super) fn look_up(&self, url: &str, reference: &str) -> Result<Commit, Error> {
        let peeled = format!("{reference}^{{}}");
        let found = self.advertised(url, &[reference, &peeled])?;
        if let Some(commit) = found.meant(reference).and_then(Commit::new) {
            return Ok(commit);
        }
        let all = self.advertised(url, &[])?;
        if reference == "HEAD" {
            return Err(GitError::Empty { url: url.to_owned() }.into());
        }
        Err(GitError::NoReference { url: url.to_owned(), reference: reference.to_owned(), nearest: all.nearest(reference) }.into())
    }

    fn advertised(&self, url: &str, patterns: &[&str]) -> Result<Advertised, Error> {
        let words: Vec<&str> = ["ls-remote", "--", url].into_iter().chain(patterns.iter().copied()).collect();
        let ended = self.run(self.remote(None, url, &words)?, "asking", url)?;
        match ended.status.success() {
            true => Ok(Advertised::parse(&String::from_utf8_lossy(&ended.out))),
            false => Err(refused("asking", url, &ended).into()),
        }
    }

    /// Fetches a commit into a new bare repository: alone where the server gives it so, else with all branches and tags.
    pub(super) fn fetch(&self, url: &str, reference: &str, commit: &Commit, into: &Path) -> Result<Repository<'_>, Error> {
        let format = if commit.as_str().len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
        let words = ["init", "--quiet", "--bare", "--template=", format, "--"].map(OsStr::new);
        let words: Vec<&OsStr> = words.into_iter().chain([into.as_os_str()]).collect();
        let made = self.run(self.local(None, &words), "making a place for", url)?;
        if !made.status.success() {
            return Err(GitError::Failed { url: url.to_owned(), doing: "making a place for", said: made.said }.into());
        }
        let repository = Repository { program: self, path: into.to_path_buf(), url: url.to_owned(), commit: commit.clone() };
        let alone = self.run(self.fetching(url, into, &["--depth=1"], &[commit.as_str()])?, "fetching", url)?;
        let mut said = alone.said.clone();
        if alone.said.contains("fsck error") {
            return Err(repository.unusual(alone.said));
        }
        if !alone.status.success() || !repository.has()? {
            if let error @ (GitError::Unauthorized { .. }
            | GitError::NoRepository { .. }
            | GitError::Unreachable { .. }
            | GitError::ForeignOwner { .. }) = refused("fetching", url, &alone)
            {
                return Err(error.into());
            }
            // Servers need not give a commit by its name, and servers of plain files cannot leave out what is before it.
            let further = format!("+{reference}:refs/lapstrake/asked");
            let mut wanted = vec!["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
            if reference.starts_with("refs/") {
                wanted.push(&further);
            }
            let all = self.run(self.fetching(url, into, &[], &wanted)?, "fetching", url)?;
            if !all.status.success() && !repository.has()? {
                return Err(refused("fetching", url, &all).into());
            }
            if said.contains("it does not say why") {
                said = all.said;
            }
        }
        match repository.kind()?.as_deref() {
            Some("commit") => Ok(repository),
            Some(kind) => Err(GitError::NotACommit { url: url.to_owned(), id: commit.as_str().to_owned(), kind: kind.to_owned() }.into()),
            None => Err(GitError::NoCommit { url: url.to_owned(), commit: commit.as_str().to_owned(), said }.into()),
        }
    }

    fn fetching(&self, url: &str, into: &Path, options: &[&str], wanted: &[&str]) -> Result<std::process::Command, GitError> {
        // Who counts notices when nobody listens any more: a builder that was killed leaves no git behind that goes on.
        let mut words =
            vec!["fetch", "--progress", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance"];
        words.extend(options);
        words.extend(["--", url]);
        words.extend(wanted);
        self.remote(Some(into), url, &words)
    }
}

/// A bare repository of ours that has a commit.
pub(super) struct Repository<'p> {
    pub(super) program: &'p Program<'p>,
    pub(super) path: PathBuf,
    /// Where it came from.
    pub(super) url: String,
    pub(super) commit: Commit,
}

impl Repository<'_> {
    /// Runs a command in it that has to go well.
    pub(super) fn ask(&self, doing: &'static str, words: &[&str]) -> Result<Vec<u8>, Error> {
        let ended = self.try_asking(doing, words)?;
        match ended.status.success() {
            true => Ok(ended.out),
            false => Err(GitError::Failed { url: self.url.clone(), doing, said: ended.said }.into()),
        }
    }

    fn try_asking(&self, doing: &'static str, words: &[&str]) -> Result<Ended, Error> {
        let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        self.program.run(self.program.local(Some(&self.path), &words), doing, &self.url)
    }

    fn has(&self) -> Result<bool, Error> {
        Ok(self.kind()?.is_some())
    }

    /// What sort of object the commit is; `None` where it is not there.
    fn kind(&self) -> Result<Option<String>, Error> {
        let ended = self.try_asking("looking into", &["cat-file", "-t", self.commit.as_str()])?;
        Ok(ended.status.success().then(|| String::from_utf8_lossy(&ended.out).trim().to_owned()))
    }

    /// Something about the repository that cannot be used.
    pub(super) fn unusual(&self, reason: impl Into<String>) -> Error {
        GitError::Unusual { url: self.url.clone(), commit: self.commit.as_str().to_owned(), reason: reason.into() }.into()
    }
}

/// What is in the way, as far as `git` tells it by what it says.
fn refused(doing: &'static str, url: &str, ended: &Ended) -> GitError {
    let (url, said) = (url.to_owned(), ended.said.clone());
    let lower = said.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&["dubious ownership"]) {
        GitError::ForeignOwner { url }
    } else if says(&[
        "authentication failed",
        "could not read username",
        "could not read password",
        "unable to get password",
        "permission denied",
    ]) || says(&["returned error: 401", "returned error: 403", "terminal prompts disabled"])
    {
        GitError::Unauthorized { url, said }
    } else if says(&["could not resolve", "could not connect", "couldn't connect", "failed to connect", "unable to connect", "timed out"])
        || says(&["connection refused", "connection reset", "network is unreachable", "certificate", "host key verification failed"])
        || says(&["ssl", "low speed", "hung up unexpectedly"])
    {
        GitError::Unreachable { url, said }
    } else if says(&["repository not found", "returned error: 404", "does not appear to be a git repository", "not exported"])
        || says(&["does not exist", "no such file or directory"])
        || (says(&["repository"]) && says(&["not found"]))
    {
        GitError::NoRepository { url, said }
    } else {
        GitError::Failed { url, doing, said }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_goes_before_a_tag_and_a_tag_leads_to_its_commit() {
        let text = "a\tHEAD\nb\trefs/heads/main\nc\trefs/heads/v1\nd\trefs/tags/v1\ne\trefs/tags/v1^{}\nf\trefs/tags/v2\ng\trefs/tags/v2^{}\n\
                    h\trefs/pull/7/head\ni\trefs/heads/deep/main\n";
        let all = Advertised::parse(text);
        for (reference, id) in [
            ("HEAD", Some("a")),
            ("main", Some("b")),
            ("v1", Some("c")),
            ("refs/tags/v1", Some("e")),
            ("v2", Some("g")),
            ("pull/7/head", Some("h")),
            ("deep/main", Some("i")),
            ("mian", None),
        ] {
            assert_eq!(all.meant(reference), id, "{reference}");
        }
        assert_eq!(all.nearest("mian").as_deref(), Some("main"));
    }
}
