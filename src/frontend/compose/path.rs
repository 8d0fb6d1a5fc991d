//! Paths as texts with slashes, joined without looking at any disk.

use crate::frontend::GitAddress;

/// Whether a text names no path of this machine but something elsewhere.
pub(super) fn is_remote(text: &str) -> bool {
    text.contains("://") || !matches!(GitAddress::parse(text), Ok(None))
}

/// A path relative to a directory, as short as it can be said without knowing links; `.` for the directory itself.
pub(super) fn join(directory: &str, path: &str) -> String {
    if path.starts_with('/') || path.starts_with('~') || is_remote(path) {
        return path.to_owned();
    }
    let whole = format!("{directory}/{path}");
    let absolute = directory.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            // What is left of `..` at the start climbs out.
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            other => parts.push(other),
        }
    }
    match (absolute, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// The directory that a file is in.
pub(super) fn parent(file: &str) -> String {
    match file.rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((directory, _)) => directory.to_owned(),
        None => ".".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_as_texts() {
        for (directory, path, expected) in [
            (".", "./web", "web"),
            (".", ".", "."),
            ("a/b", "../c", "a/c"),
            ("a", "../../c", "../c"),
            ("..", "../c", "../../c"),
            ("a", "/x", "/x"),
            ("/a", "../../b", "/b"),
            (".", "", "."),
            ("a", "git@example.com:team/b.git#main:c", "git@example.com:team/b.git#main:c"),
            ("a", "https://example.com/b.git", "https://example.com/b.git"),
        ] {
            assert_eq!(join(directory, path), expected, "{directory} {path}");
        }
        assert_eq!((parent("a/b"), parent("b"), parent("/b")), ("a".to_owned(), ".".to_owned(), "/".to_owned()));
    }
}
