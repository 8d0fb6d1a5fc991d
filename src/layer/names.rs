//! A name from an untrusted archive in, what it is a name of out: a path, a whiteout, or something to refuse.
//!
//! Source of truth: OCI image-spec 1.1, "Image Layer Filesystem Changeset", sections "Whiteouts" and "Opaque Whiteout".

use super::decode::Limits;
use super::sequence::WHITEOUT_PREFIX;
use crate::tree::{Name, TreePath};

/// What a name in a layer stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The entry of that path; `None` for the last name means the root.
    Entry { parent: TreePath, name: Option<Name> },
    /// What has this name in lower layers is gone.
    Whiteout { parent: TreePath, name: Name },
    /// Everything that lower layers have in this directory is gone.
    Opaque { directory: TreePath },
    /// What a file system that is no longer in use kept for itself.
    Bookkeeping,
}

/// A name cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// `..` in it.
    #[error("it climbs out with `..`")]
    Climbs,
    /// A NUL, or a name of more than 255 bytes.
    #[error("it has a NUL byte or a name of more than 255 bytes in it")]
    NoName,
    /// Too long or too deep.
    #[error("it is longer or deeper than allowed")]
    TooLong,
    /// A whiteout of nothing, of `.` or of `..`.
    #[error("it is a whiteout of nothing that can be removed")]
    Whiteout,
    /// Something in a directory whose name begins like a whiteout's.
    #[error("it lies in a directory named like a whiteout")]
    InWhiteout,
}

/// Splits a name as archives write it; leading and doubled slashes and `.` say nothing.
pub(super) fn split(raw: &[u8], limits: &Limits) -> Result<Vec<Vec<u8>>, BadName> {
    let mut names = Vec::new();
    for name in raw.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err(BadName::Climbs),
            _ if name.contains(&0) => return Err(BadName::NoName),
            _ => names.push(name.to_vec()),
        }
    }
    // What makes a whiteout is not part of the path, and neither are slashes that say nothing.
    let last = names.last().map_or(0, |last| last.strip_prefix(WHITEOUT_PREFIX).unwrap_or(last).len());
    let bytes: usize = names.iter().rev().skip(1).map(|name| name.len() + 1).sum::<usize>() + last;
    if names.len() > limits.path_names || bytes > limits.path_bytes {
        return Err(BadName::TooLong);
    }
    Ok(names)
}

/// A path as archives write it.
pub(super) fn plain_path(raw: &[u8], limits: &Limits) -> Result<TreePath, BadName> {
    path_of(&split(raw, limits)?)
}

fn path_of(names: &[Vec<u8>]) -> Result<TreePath, BadName> {
    let mut path = TreePath::root();
    for name in names {
        path.push(&Name::new(name).map_err(|_| BadName::NoName)?);
    }
    Ok(path)
}

/// Tells what a name in a layer stands for.
pub(super) fn meaning(raw: &[u8], limits: &Limits) -> Result<Meaning, BadName> {
    let names = split(raw, limits)?;
    let Some((last, directories)) = names.split_last() else {
        return Ok(Meaning::Entry { parent: TreePath::root(), name: None });
    };
    const BOOKKEEPING: [&[u8]; 3] = [b".wh..wh.aufs", b".wh..wh.orph", b".wh..wh.plnk"];
    if names.first().is_some_and(|first| BOOKKEEPING.contains(&first.as_slice())) {
        return Ok(Meaning::Bookkeeping);
    }
    if directories.iter().any(|name| name.starts_with(WHITEOUT_PREFIX)) {
        return Err(BadName::InWhiteout);
    }
    let parent = path_of(directories)?;
    match last.strip_prefix(WHITEOUT_PREFIX) {
        None => Ok(Meaning::Entry { parent, name: Some(Name::new(last).map_err(|_| BadName::NoName)?) }),
        Some(b".wh..opq") => Ok(Meaning::Opaque { directory: parent }),
        Some(rest) if rest.starts_with(WHITEOUT_PREFIX) => Err(BadName::Whiteout),
        Some(rest) => Ok(Meaning::Whiteout { parent, name: Name::new(rest).map_err(|_| BadName::Whiteout)? }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &str) -> Result<String, BadName> {
        meaning(raw.as_bytes(), &Limits::GENEROUS).map(|meaning| match meaning {
            Meaning::Entry { parent, name: Some(name) } => format!("entry {}", parent.join(&name)),
            Meaning::Entry { parent, name: None } => format!("entry {parent}"),
            Meaning::Whiteout { parent, name } => format!("whiteout {}", parent.join(&name)),
            Meaning::Opaque { directory } => format!("opaque {directory}"),
            Meaning::Bookkeeping => "bookkeeping".to_owned(),
        })
    }

    #[test]
    fn names_mean_what_the_specification_says() {
        for (raw, expected) in [
            ("./", "entry /"),
            ("/", "entry /"),
            ("./a//b/", "entry /a/b"),
            ("/etc/passwd", "entry /etc/passwd"),
            ("a/.wh.b", "whiteout /a/b"),
            (".wh..b", "whiteout /.b"),
            ("a/.wh..wh..opq", "opaque /a"),
            (".wh..wh..opq", "opaque /"),
            (".wh..wh.plnk/12.34", "bookkeeping"),
        ] {
            assert_eq!(read(raw).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn names_that_climb_or_remove_nothing_are_refused() {
        for (raw, expected) in [
            ("../a", BadName::Climbs),
            ("a/../b", BadName::Climbs),
            ("/..", BadName::Climbs),
            ("a/.wh.", BadName::Whiteout),
            (".wh..", BadName::Whiteout),
            ("a/.wh...", BadName::Whiteout),
            ("a/.wh..wh.b", BadName::Whiteout),
            ("a/.wh..wh..opq.", BadName::Whiteout),
            ("a/.wh.b/c", BadName::InWhiteout),
            (".wh.b/../../c", BadName::Climbs),
            ("a/.wh..wh..opq/b", BadName::InWhiteout),
            ("a\0b", BadName::NoName),
        ] {
            assert_eq!(read(raw), Err(expected), "{raw}");
        }
        assert_eq!(read(&"a/".repeat(600)), Err(BadName::TooLong));
        assert_eq!(read(&"a".repeat(256)), Err(BadName::NoName));
        assert_eq!(read(&"a/".repeat(3000)), Err(BadName::TooLong));
    }

    #[test]
    fn the_whiteout_of_the_longest_name_is_read() {
        let name = "n".repeat(255);
        assert_eq!(read(&format!("a/.wh.{name}")), Ok(format!("whiteout /a/{name}")));
        let deepest = ("d".repeat(254) + "/").repeat(16) + &"n".repeat(15);
        assert_eq!(deepest.len(), 4095);
        assert!(read(&format!("{deepest}/")).is_ok() && read(&format!("{deepest}n")).is_err());
        assert!(read(&(deepest[..4080].to_owned() + ".wh." + &deepest[4080..])).is_ok());
    }
}
