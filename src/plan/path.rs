//! Paths as people write them → paths in an image.
//!
//! `.` and `..` are worked out in the text, as Docker does for `WORKDIR` and destinations; a path that leaves the root is refused. Links are
//! not looked at here: they are resolved inside the tree when the step is done.

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadPath {
    /// There is nothing.
    Empty,
    /// It leaves the root.
    ClimbsOut,
    /// A name has more than 255 bytes.
    LongName,
    /// A name begins with `.wh.`.
    Reserved,
    /// It is the root.
    Root,
    /// It ends in a slash where a file is meant.
    Slash,
}

const LONGEST_NAME_BYTES: usize = 255;

/// The absolute path without a slash at its end (the root is `/`).
pub(super) fn absolute(workdir: &str, text: &str) -> Result<String, BadPath> {
    if text.is_empty() {
        return Err(BadPath::Empty);
    }
    let mut names: Vec<&str> = Vec::new();
    let before = if text.starts_with('/') { "" } else { workdir };
    for name in before.split('/').chain(text.split('/')) {
        match name {
            "" | "." => {}
            ".." => {
                names.pop().ok_or(BadPath::ClimbsOut)?;
            }
            name if name.len() > LONGEST_NAME_BYTES => return Err(BadPath::LongName),
            name => names.push(name),
        }
    }
    if names.iter().any(|name| is_reserved(name)) { Err(BadPath::Reserved) } else { Ok(format!("/{}", names.join("/"))) }
}

/// The absolute path of something that is not the root.
pub(super) fn below_root(workdir: &str, text: &str) -> Result<String, BadPath> {
    absolute(workdir, text).and_then(|path| if path == "/" { Err(BadPath::Root) } else { Ok(path) })
}

/// The absolute path of a file.
pub(super) fn file(workdir: &str, text: &str) -> Result<String, BadPath> {
    if means_into(text) && !text.is_empty() {
        return Err(BadPath::Slash);
    }
    below_root(workdir, text)
}

/// The absolute path of a destination; a slash at the end is kept, and put there where `.` or `..` ends it: all three mean "into".
pub(super) fn destination(workdir: &str, text: &str) -> Result<String, BadPath> {
    let path = absolute(workdir, text)?;
    Ok(if means_into(text) && path != "/" { path + "/" } else { path })
}

/// Checks a path or pattern in a source, which stays as it was written.
pub(super) fn source(text: &str) -> Result<(), BadPath> {
    if text.is_empty() {
        return Err(BadPath::Empty);
    }
    // Behind a pattern or a link `..` is not what it seems, so it is never let in.
    match text.split('/').find(|name| *name == ".." || name.len() > LONGEST_NAME_BYTES) {
        None => Ok(()),
        Some("..") => Err(BadPath::ClimbsOut),
        Some(_) => Err(BadPath::LongName),
    }
}

/// A path inside a source as names between single slashes; the whole source is empty.
pub(super) fn relative(text: &str) -> Result<String, BadPath> {
    source(text)?;
    Ok(text.split('/').filter(|name| !matches!(*name, "" | ".")).collect::<Vec<_>>().join("/"))
}

/// A path as a pattern that matches it alone.
pub(super) fn literal(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for character in path.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// A path that others wrote, made absolute whatever it is.
pub(super) fn from_config(text: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in text.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

fn means_into(text: &str) -> bool {
    matches!(text.rsplit('/').next(), Some("" | "." | ".."))
}

/// OCI image-spec 1.1, "Representing Changes": names with this prefix are whiteouts in a layer.
fn is_reserved(name: &str) -> bool {
    name.starts_with(".wh.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_and_cleaned_in_the_text() {
        for (workdir, text, result) in [
            ("/app", "x", Ok("/app/x")),
            ("/app", "../x/./y//", Ok("/x/y")),
            ("/app", "/", Ok("/")),
            ("/", "..", Err(BadPath::ClimbsOut)),
            ("/app", "../../x", Err(BadPath::ClimbsOut)),
            ("/app", "/../app", Err(BadPath::ClimbsOut)),
            ("/app", "", Err(BadPath::Empty)),
            ("/app", "a/.wh.b/c", Err(BadPath::Reserved)),
        ] {
            assert_eq!(absolute(workdir, text).as_deref().map_err(|error| *error), result, "{workdir} {text}");
        }
        assert_eq!(absolute("/", &"x".repeat(256)), Err(BadPath::LongName));
        assert!(absolute("/", &"x".repeat(255)).is_ok());
    }

    #[test]
    fn a_slash_or_a_dot_at_the_end_means_into() {
        for (text, result) in [(".", "/src/"), ("a/", "/src/a/"), ("a/.", "/src/a/"), ("a", "/src/a"), ("/", "/"), ("/.", "/"), ("..", "/")]
        {
            assert_eq!(destination("/src", text).as_deref(), Ok(result), "{text}");
        }
        assert_eq!(file("/", "/etc/"), Err(BadPath::Slash));
        assert_eq!(below_root("/a", ".."), Err(BadPath::Root));
    }

    #[test]
    fn sources_never_climb() {
        assert_eq!(source("a/*/../b"), Err(BadPath::ClimbsOut));
        assert_eq!(source("..a/b.."), Ok(()));
        assert_eq!(relative("/wheels//x/."), Ok("wheels/x".to_owned()));
        assert_eq!(relative("."), Ok(String::new()));
    }

    #[test]
    fn what_a_base_says_is_made_absolute() {
        assert_eq!(from_config("../../a//b/../c/"), "/a/c");
        assert_eq!(from_config(""), "/");
    }
}
