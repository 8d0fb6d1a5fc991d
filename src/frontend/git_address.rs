//! The address of a git repository as Docker writes it where a directory may stand → where it is, and what of it is meant.
//!
//! Docker's documentation, "Build context", sections "URL fragments" and "URL queries".

/// A git repository, and what of it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitAddress {
    /// Where it is, with a scheme. Not checked yet.
    pub url: String,
    /// A branch, tag or commit; empty for the repository's own `HEAD`.
    pub reference: String,
    /// The commit, where it is said besides.
    pub commit: Option<String>,
    /// Which directory of it; empty for all.
    pub path: String,
    /// Whether submodules are left empty.
    pub submodules: Option<bool>,
    /// Whether there is a `.git`.
    pub keep_git: Option<bool>,
}

/// A field behind `?` that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{field}` in the address of a repository is not known; there are `ref`, `tag`, `branch`, `commit`, `subdir`, `submodules` and `keep-git-dir`"
)]
pub struct UnknownField {
    /// Its name.
    pub field: String,
}

impl GitAddress {
    /// Reads an address; `None` where the text is none of a git repository: a path, or the address of a file.
    ///
    /// # Errors
    /// When it asks for something that is not known.
    pub fn parse(text: &str) -> Result<Option<GitAddress>, UnknownField> {
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let url = match address.split_once("://") {
            Some(("http" | "https", _)) if !address.ends_with(".git") => return Ok(None),
            Some(("http" | "https" | "ssh" | "git", _)) => address.to_owned(),
            Some(_) => return Ok(None),
            None => match address.split_once(':') {
                Some((login, path)) if is_login(login) => format!("ssh://{login}/{}", path.trim_start_matches('/')),
                Some(_) | None => return Ok(None),
            },
        };
        let (reference, path) = fragment.split_once(':').unwrap_or((fragment, ""));
        let mut found =
            GitAddress { url, reference: reference.to_owned(), commit: None, path: path.to_owned(), submodules: None, keep_git: None };
        for field in query.split('&').filter(|field| !field.is_empty()) {
            found.field(field)?;
        }
        Ok(Some(found))
    }

    fn field(&mut self, field: &str) -> Result<(), UnknownField> {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        let on = !matches!(value, "0" | "false");
        match key {
            "ref" => self.reference = value.to_owned(),
            "tag" => self.reference = prefixed("refs/tags/", value),
            "branch" => self.reference = prefixed("refs/heads/", value),
            "subdir" => self.path = value.to_owned(),
            "checksum" | "commit" => self.commit = Some(value.to_owned()),
            "submodules" => self.submodules = Some(on),
            "keep-git-dir" => self.keep_git = Some(on),
            _ => return Err(UnknownField { field: key.to_owned() }),
        }
        Ok(())
    }
}

/// `user@host`
fn is_login(text: &str) -> bool {
    let word =
        |text: &str| !text.is_empty() && text.chars().all(|character| character.is_ascii_alphanumeric() || "._-".contains(character));
    text.split_once('@').is_some_and(|(user, host)| word(user) && word(host))
}

fn prefixed(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, String, String)> {
        GitAddress::parse(text).unwrap().map(|address| (address.url, address.reference, address.path))
    }

    #[test]
    fn repositories_are_told_from_paths_and_files_and_say_what_is_meant() {
        for (text, url, reference, path) in [
            ("https://example.com/a.git", "https://example.com/a.git", "", ""),
            ("https://example.com/a.git#main", "https://example.com/a.git", "main", ""),
            ("https://example.com/a.git#v1:docs/x", "https://example.com/a.git", "v1", "docs/x"),
            ("https://example.com/a.git#:docs", "https://example.com/a.git", "", "docs"),
            ("git://example.com/a#x", "git://example.com/a", "x", ""),
            ("git@example.com:team/a.git#x:y", "ssh://git@example.com/team/a.git", "x", "y"),
            ("https://example.com/a.git?tag=v1&subdir=s", "https://example.com/a.git", "refs/tags/v1", "s"),
            ("https://example.com/a.git?branch=b", "https://example.com/a.git", "refs/heads/b", ""),
        ] {
            assert_eq!(parsed(text), Some((url.to_owned(), reference.to_owned(), path.to_owned())), "{text}");
        }
        for text in ["dir", "./a.git", "../a:b", "https://example.com/a.tar.gz", "oci-layout://a", "C:a", "a b@c:d", "@c:d"] {
            assert_eq!(parsed(text), None, "{text}");
        }
        assert!(GitAddress::parse("https://example.com/a.git?depth=1").is_err());
        let address = GitAddress::parse("https://example.com/a.git?submodules=0&keep-git-dir=1&commit=abc").unwrap().unwrap();
        assert_eq!((address.submodules, address.keep_git, address.commit.as_deref()), (Some(false), Some(true), Some("abc")));
    }
}
