//! `.gitmodules` → where each submodule is, and whether that may be asked.

use std::collections::BTreeMap;

use super::error::GitError;
use super::listing::{Listed, Sort};
use super::remote::Repository;
use crate::input::Error;
use crate::plan::invalid_address;

/// What a repository says of a submodule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entry {
    path: Option<Vec<u8>>,
    url: Option<String>,
    update: Option<String>,
}

/// What is to become of a submodule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// It is fetched from here.
    At(String),
    /// Its repository asks for its directory to stay empty.
    Empty,
}

/// What a repository says of its submodules, by path.
#[derive(Debug, Default)]
pub(super) struct Said(BTreeMap<Vec<u8>, Entry>);

impl Repository<'_> {
    /// Reads what the commit says of its submodules.
    pub(super) fn submodules(&self, listed: &[Listed]) -> Result<Said, Error> {
        let is_file = |entry: &&Listed| entry.path.as_bytes() == b".gitmodules" && matches!(entry.sort, Sort::Plain | Sort::Program);
        let Some(file) = listed.iter().find(is_file) else { return Ok(Said::default()) };
        let bytes = self.ask("reading the submodules of", &["config", "--blob", &file.id, "--no-includes", "--list", "-z"])?;
        Ok(Said::parse(&bytes))
    }
}

impl Said {
    fn parse(bytes: &[u8]) -> Said {
        let mut by_name: BTreeMap<String, Entry> = BTreeMap::new();
        for pair in bytes.split(|byte| *byte == 0) {
            let Some(end) = pair.iter().position(|byte| *byte == b'\n') else { continue };
            let (key, value) = pair.split_at(end);
            let value = value.get(1..).unwrap_or_default();
            let key = String::from_utf8_lossy(key).into_owned();
            let Some((name, what)) = key.strip_prefix("submodule.").and_then(|key| key.rsplit_once('.')) else { continue };
            let entry = by_name.entry(name.to_owned()).or_default();
            match what {
                "path" => entry.path = Some(value.to_vec()),
                "url" => entry.url = Some(String::from_utf8_lossy(value).into_owned()),
                "update" => entry.update = Some(String::from_utf8_lossy(value).into_owned()),
                _ => {}
            }
        }
        let by_path = by_name.into_values().filter_map(|entry| Some((entry.path.clone()?, entry)));
        Said(by_path.collect())
    }

    /// Where a submodule of the repository at `parent` is.
    pub(super) fn place(&self, path: &[u8], parent: &str) -> Result<Place, GitError> {
        let refuse = |reason: String| Err(GitError::SubmodulePlace { reason });
        let Some(entry) = self.0.get(path) else {
            return refuse("the repository holds a commit there, and its `.gitmodules` does not say of what".to_owned());
        };
        if entry.update.as_deref() == Some("none") {
            return Ok(Place::Empty);
        }
        let Some(written) = entry.url.as_deref().filter(|url| !url.is_empty()) else {
            return refuse("`.gitmodules` says no `url` for it".to_owned());
        };
        let shown = shown(written);
        let Some(url) = absolute(written, parent) else {
            return refuse(format!("its address `{shown}` goes up further than `{parent}`"));
        };
        if let Some(reason) = invalid_address(&url) {
            return refuse(format!("its address `{shown}` is refused: {reason}"));
        }
        // What comes from elsewhere gets no look at the repositories of this machine.
        if url.starts_with("file://") && !parent.starts_with("file://") {
            return refuse(format!("its address `{shown}` is on this machine, and the repository is not"));
        }
        Ok(Place::At(url))
    }
}

/// An address as gitmodules(5) has it: one with a scheme, `[user@]host:path`, a path, or one relative to the parent's.
fn absolute(written: &str, parent: &str) -> Option<String> {
    if written.starts_with("./") || written.starts_with("../") || matches!(written, "." | "..") {
        return relative(written, parent);
    }
    if written.contains("://") {
        return Some(written.to_owned());
    }
    if written.starts_with('/') {
        return Some(format!("file://{written}"));
    }
    match written.split_once(':') {
        // `ext::COMMAND` and the like stay what they are, and are no address.
        Some((_, path)) if path.starts_with(':') => Some(written.to_owned()),
        Some((host, path)) if !host.contains('/') => Some(format!("ssh://{host}/{}", path.trim_start_matches('/'))),
        Some(_) | None => Some(written.to_owned()),
    }
}

/// `..` takes away a name of the parent's path, never of its host.
fn relative(written: &str, parent: &str) -> Option<String> {
    let (scheme, rest) = parent.split_once("://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    for name in written.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop()?;
            }
            name => names.push(name),
        }
    }
    Some(format!("{scheme}://{host}/{}", names.join("/")))
}

/// Without a user or password, and without what a terminal would obey.
fn shown(url: &str) -> String {
    let plain: String = url.escape_debug().take(200).collect();
    match plain.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            authority.rsplit_once('@').map_or_else(|| plain.clone(), |(_, host)| format!("{scheme}://…@{host}{path}"))
        }
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "https://example.com/team/main.git";

    fn place(url: &str, parent: &str) -> Result<Place, String> {
        let said = Said::parse(format!("submodule.a.b.path\nlib/x\0submodule.a.b.url\n{url}\0other.key\nv\0").as_bytes());
        said.place(b"lib/x", parent).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_are_relative_to_the_repository_or_stand_alone() {
        for (written, expected) in [
            ("../lib.git", "https://example.com/team/lib.git"),
            ("../../other/lib.git", "https://example.com/other/lib.git"),
            ("./sub", "https://example.com/team/main.git/sub"),
            ("https://elsewhere.example/x", "https://elsewhere.example/x"),
            ("git@elsewhere.example:x/y.git", "ssh://git@elsewhere.example/x/y.git"),
        ] {
            assert_eq!(place(written, PARENT), Ok(Place::At(expected.to_owned())), "{written}");
        }
        assert_eq!(place("../b", "file:///srv/a"), Ok(Place::At("file:///srv/b".to_owned())));
        assert_eq!(place("/srv/b", "file:///srv/a"), Ok(Place::At("file:///srv/b".to_owned())));
    }

    #[test]
    fn what_runs_programs_reads_this_machine_or_climbs_is_refused_and_no_password_is_told() {
        for written in [
            "ext::sh -c touch% /tmp/x",
            "-u./payload",
            "--upload-pack=x",
            "file:///etc",
            "/srv/b",
            "../../../../x",
            "ssh://-oProxyCommand=x/y",
            "-oProxyCommand=x:y",
            "fd::17",
            "",
        ] {
            assert!(place(written, PARENT).is_err(), "{written}");
        }
        let said = place("https://user:hunter2@example.com/x", PARENT).unwrap_err();
        assert!(said.contains("https://…@example.com/x") && !said.contains("hunter2"), "{said}");
        assert!(Said::default().place(b"lib/x", PARENT).is_err());
    }
}
