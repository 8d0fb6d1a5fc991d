//! Names and paths inside a tree: bytes, relative to its root, without `.`, `..`, empty names or NUL.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// One name in a directory: not empty, not `.` or `..`, without `/` and NUL. Any other byte may occur.
#[derive(Clone)]
pub struct Name(Bytes);

/// The bytes of a name. Most names are short, and a tree has many: those need no room of their own.
#[derive(Clone)]
enum Bytes {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

/// Bytes of a name that take no more room than where others are.
const SHORT: usize = 22;

/// A path inside a tree, relative to its root. The root itself is the empty path.
///
/// Paths are ordered component by component, so that a directory comes right before what is in it.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Box<[u8]>);

/// The bytes are no name or path inside a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a path inside a tree: {reason}", String::from_utf8_lossy(.path))]
pub struct InvalidPath {
    /// What was given.
    pub path: Vec<u8>,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is empty, `.` or `..`, longer than 255 bytes, or has a slash or NUL in it.
    pub fn new(bytes: &[u8]) -> Result<Name, InvalidPath> {
        let reason = match bytes {
            b"" => "a name is empty",
            b"." | b".." => "`.` and `..` are no names",
            _ if bytes.contains(&b'/') => "a name has a slash in it",
            _ if bytes.contains(&0) => "a name has a NUL byte in it",
            _ if bytes.len() > 255 => "a name is longer than 255 bytes",
            _ => return Ok(Name::made(bytes)),
        };
        Err(InvalidPath { path: bytes.to_vec(), reason })
    }

    /// A name of bytes that were checked.
    fn made(bytes: &[u8]) -> Name {
        let mut short = [0; SHORT];
        Name(match (short.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(bytes);
                Bytes::Short { length, bytes: short }
            }
            (_, _) => Bytes::Long(bytes.into()),
        })
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or(bytes),
            Bytes::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl TreePath {
    /// The root.
    #[must_use]
    pub fn root() -> TreePath {
        TreePath(Box::default())
    }

    /// Checks a path that must already be in normal form: names between single slashes, none at the ends.
    ///
    /// # Errors
    /// When any name in it is not one.
    pub fn new(bytes: &[u8]) -> Result<TreePath, InvalidPath> {
        if !bytes.is_empty() {
            for name in bytes.split(|&byte| byte == b'/') {
                Name::new(name).map_err(|error| InvalidPath { path: bytes.to_vec(), reason: error.reason })?;
            }
        }
        Ok(TreePath(bytes.into()))
    }

    /// Reads a path as people and archives write it: leading and doubled slashes and `.` are dropped. Links are not looked at.
    ///
    /// # Errors
    /// When it has a `..`, a NUL byte or a name of more than 255 bytes.
    pub fn normalised(bytes: &[u8]) -> Result<TreePath, InvalidPath> {
        let mut path = Vec::new();
        for name in bytes.split(|&byte| byte == b'/') {
            if !matches!(name, b"" | b".") {
                let name = Name::new(name).map_err(|error| InvalidPath { path: bytes.to_vec(), reason: error.reason })?;
                append(&mut path, name.as_bytes());
            }
        }
        Ok(TreePath(path.into()))
    }

    /// The bytes, without a leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// How many names it has.
    #[must_use]
    pub fn depth(&self) -> usize {
        if self.is_root() { 0 } else { self.0.iter().filter(|&&byte| byte == b'/').count() + 1 }
    }

    /// Goes one name down.
    pub fn push(&mut self, name: &Name) {
        *self = self.join(name);
    }

    /// The path one name down.
    #[must_use]
    pub fn join(&self, name: &Name) -> TreePath {
        self.joined(name.as_bytes())
    }

    /// The path below this one that `other` names.
    #[must_use]
    pub fn join_path(&self, other: &TreePath) -> TreePath {
        if other.is_root() { self.clone() } else { self.joined(&other.0) }
    }

    fn joined(&self, below: &[u8]) -> TreePath {
        let slash = usize::from(!self.is_root());
        let mut path = Vec::with_capacity(self.0.len() + slash + below.len());
        path.extend_from_slice(&self.0);
        append(&mut path, below);
        TreePath(path.into())
    }

    /// The directory this is in; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<TreePath> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(TreePath(self.0[..end].into()))
    }

    /// The last name; `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<Name> {
        if self.is_root() {
            return None;
        }
        let start = self.0.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        Some(Name::made(&self.0[start..]))
    }

    /// The names from the root down.
    pub fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.0.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).map(Name::made)
    }

    /// Whether this is `ancestor` or below it.
    #[must_use]
    pub fn starts_with(&self, ancestor: &TreePath) -> bool {
        ancestor.is_root() || (self.0.starts_with(&ancestor.0) && (self.0.len() == ancestor.0.len() || self.0[ancestor.0.len()] == b'/'))
    }

    /// What remains of this path below `ancestor`; `None` when it is elsewhere.
    #[must_use]
    pub fn below(&self, ancestor: &TreePath) -> Option<TreePath> {
        if !self.starts_with(ancestor) {
            return None;
        }
        let rest = &self.0[ancestor.0.len()..];
        Some(TreePath(rest.strip_prefix(b"/").unwrap_or(rest).into()))
    }
}

/// Goes down from a path.
fn append(path: &mut Vec<u8>, below: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(below);
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &TreePath) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TreePath {
    fn cmp(&self, other: &TreePath) -> Ordering {
        // Paths that are compared mostly begin alike; whole blocks are compared at once.
        const BLOCK: usize = 32;
        let blocks = self.0.chunks_exact(BLOCK).zip(other.0.chunks_exact(BLOCK)).take_while(|(one, other)| one == other);
        let same = blocks.count() * BLOCK;
        // A slash sorts before every other byte, so that comparing bytes compares component by component.
        let rank = |byte: &u8| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 };
        self.0[same..].iter().map(rank).cmp(other.0[same..].iter().map(rank))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Prints with a leading slash; bytes outside ASCII are escaped unless the whole path is UTF-8.
impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match str::from_utf8(&self.0) {
            Ok(text) if !text.chars().any(char::is_control) => write!(f, "/{text}"),
            Ok(_) | Err(_) => write!(f, "/{}", self.0.escape_ascii()),
        }
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_comes_right_before_what_is_in_it() {
        let mut paths: Vec<TreePath> =
            ["a-b", "a/c", "a", "a.d", "a/b"].iter().map(|path| TreePath::new(path.as_bytes()).unwrap()).collect();
        paths.sort();
        let sorted: Vec<String> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(sorted, ["/a", "/a/b", "/a/c", "/a-b", "/a.d"]);
    }

    #[test]
    fn long_paths_are_ordered_name_by_name_too() {
        let deep = "directory/".repeat(20);
        let path = |end: &str| TreePath::new(format!("{deep}{end}").as_bytes()).unwrap();
        for (less, more) in [("a", "a/b"), ("a/b", "a-b"), ("a/b", "a!"), ("a", "b/a"), ("x/y/z", "x/y0")] {
            assert!(path(less) < path(more), "{less} {more}");
            assert!(path(more) > path(less), "{less} {more}");
        }
    }

    #[test]
    fn climbing_is_refused_and_noise_is_dropped() {
        assert!(TreePath::normalised(b"a/../b").is_err());
        assert_eq!(TreePath::normalised(b"//a/./b/").unwrap(), TreePath::new(b"a/b").unwrap());
        assert!(TreePath::new(b"/a").is_err());
    }
}
