//! Ignore files: the lines of a `.dockerignore` in, whether a path is left out out.
//!
//! Patterns count from the root of what is read. A pattern that matches a directory matches all that is in it; the last one that matches
//! decides; `!` before one takes back what others leave out.

use std::collections::BTreeSet;

use super::{Glob, InvalidPattern, Node, Tree, TreePath, editor::Editor};

/// An ordered list of patterns for what to leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    glob: Glob,
    sense: Sense,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sense {
    LeaveOut,
    TakeBack,
}

/// The place of the last pattern that matches a path or what it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Decided(Option<usize>);

impl Patterns {
    /// No patterns: nothing is left out.
    #[must_use]
    pub const fn none() -> Patterns {
        Patterns(Vec::new())
    }

    /// Compiles patterns in order. White space around them, slashes around them, `.` and `..` within them are dropped as Docker does;
    /// empty ones count for nothing.
    ///
    /// # Errors
    /// For the first pattern that is none, or a `!` that stands alone.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Patterns, InvalidPattern> {
        let mut compiled = Vec::new();
        for text in patterns {
            let text = text.trim();
            let (sense, body) = match text.strip_prefix('!') {
                Some(body) => (Sense::TakeBack, body.trim()),
                None => (Sense::LeaveOut, text),
            };
            if body.is_empty() {
                if sense == Sense::TakeBack {
                    return Err(InvalidPattern { pattern: text.to_owned(), reason: "a `!` needs a pattern after it" });
                }
                continue;
            }
            let glob = Glob::new(&cleaned(body)).map_err(|error| InvalidPattern { pattern: text.to_owned(), reason: error.reason })?;
            compiled.push(Pattern { glob, sense });
        }
        Ok(Patterns(compiled))
    }

    /// Reads an ignore file: a pattern per line; lines that begin with `#` are remarks; a byte order mark is dropped.
    ///
    /// # Errors
    /// As [`Patterns::new`].
    pub fn parse_ignore_file(text: &str) -> Result<Patterns, InvalidPattern> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Patterns::new(text.lines().filter(|line| !line.starts_with('#')))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a path is left out. The root never is.
    #[must_use]
    pub fn excluded(&self, path: &TreePath) -> bool {
        self.leaves_out(self.decided(path))
    }

    fn decided(&self, path: &TreePath) -> Decided {
        let mut decided = Decided::default();
        let mut at = TreePath::root();
        for name in path.names() {
            at.push(&name);
            decided = self.decide(decided, &at);
        }
        decided
    }

    /// The tree without what is left out at these paths and below them; the rest of it stays as it is, and is not looked at. A directory
    /// that is left out stays as long as something below it was taken back.
    #[must_use]
    pub fn apply_at(&self, tree: &Tree, paths: &BTreeSet<TreePath>) -> Tree {
        let mut left_out = Vec::new();
        let mut last: Option<&TreePath> = None;
        for path in paths {
            // In this order what is below one comes next.
            if last.is_some_and(|last| path.starts_with(last)) {
                continue;
            }
            last = Some(path);
            if let Some(node) = tree.get(path) {
                let above = path.parent().map(|parent| self.decided(&parent)).unwrap_or_default();
                self.leave_out(above, path, &node, &mut left_out);
            }
        }
        let mut editor = Editor::new(tree);
        for path in left_out {
            editor.remove(&path);
        }
        editor.finish()
    }

    /// Lists what is left out, at a path whose parent has been decided, and below it; whether anything stays.
    fn leave_out(&self, above: Decided, path: &TreePath, node: &Node, left_out: &mut Vec<TreePath>) -> bool {
        let decided = if path.is_root() { above } else { self.decide(above, path) };
        let before = left_out.len();
        let mut stays = !self.leaves_out(decided);
        if let Node::Directory(directory) = node
            && self.may_change_below(decided, path)
        {
            for (name, below) in &directory.entries {
                stays |= self.leave_out(decided, &path.join(name), below, left_out);
            }
        }
        if !stays {
            left_out.truncate(before);
            left_out.push(path.clone());
        }
        stays
    }

    /// Decides about a path whose parent has been decided.
    pub(super) fn decide(&self, parent: Decided, path: &TreePath) -> Decided {
        let from = parent.0.map_or(0, |place| place + 1);
        let later = self.0.get(from..).unwrap_or_default();
        match later.iter().rposition(|pattern| pattern.glob.matches(path)) {
            Some(place) => Decided(Some(from + place)),
            None => parent,
        }
    }

    /// What was decided.
    pub(super) fn leaves_out(&self, decided: Decided) -> bool {
        decided.0.and_then(|place| self.0.get(place)).is_some_and(|pattern| pattern.sense == Sense::LeaveOut)
    }

    /// Whether something below a directory that is left out could be taken back, or below another be left out.
    pub(super) fn may_change_below(&self, decided: Decided, directory: &TreePath) -> bool {
        let from = decided.0.map_or(0, |place| place + 1);
        let later = self.0.get(from..).unwrap_or_default();
        let other = if self.leaves_out(decided) { Sense::TakeBack } else { Sense::LeaveOut };
        later.iter().any(|pattern| pattern.sense == other && pattern.glob.may_match_below(directory))
    }
}

/// The shortest spelling of a pattern, relative to the root, as Go's `path.Clean` has it.
fn cleaned(pattern: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in pattern.split('/') {
        match name {
            "" | "." => {}
            ".." if !pattern.starts_with('/') && names.last().is_none_or(|last| *last == "..") => names.push(name),
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    if names.is_empty() { ".".to_owned() } else { names.join("/") }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::tree::arbitrary::{file, path, plain};

    fn excluded(patterns: &[&str], path: &str) -> bool {
        Patterns::new(patterns.iter().copied()).unwrap().excluded(&TreePath::new(path.as_bytes()).unwrap())
    }

    #[test]
    fn the_last_pattern_that_matches_a_path_or_its_parents_decides() {
        let table: &[(&[&str], &str, bool)] = &[
            (&["docs"], "docs/README.md", true),
            (&["docs/"], "docs/README.md", true),
            (&["/docs"], "docs/README.md", true),
            (&["docs"], "src/docs", false),
            (&["docs", "!docs/README.md"], "docs/README.md", false),
            (&["docs", "!docs/README.md"], "docs/other.md", true),
            (&["!docs/README.md", "docs"], "docs/README.md", true),
            (&["*.md", "!README*.md", "README-secret.md"], "README-secret.md", true),
            (&["*.md", "!README*.md", "README-secret.md"], "README-1.md", false),
            (&["*", "!src"], "src/main.rs", false),
            (&["*", "!src"], "target", true),
            (&["**", "!src/**"], "src/a/b", false),
            (&["**", "!src/**"], "src", true),
            (&["**/*.pyc"], "a/b/c.pyc", true),
            (&["**/__pycache__"], "__pycache__/x", true),
            (&["a/../b"], "b", true),
            (&["./b"], "b", true),
            (&["../b"], "b", false),
            (&["."], "b", false),
            (&["/"], "b", false),
            (&["! docs", "docs "], "docs", true),
            (&["docs", "! docs/x "], "docs/x", false),
            (&["P", "!P/C", "P"], "P/C", true),
            (&[""], "b", false),
        ];
        for (patterns, path, expected) in table {
            assert_eq!(excluded(patterns, path), *expected, "{patterns:?} against {path}");
        }
    }

    #[test]
    fn an_ignore_file_has_remarks_and_blank_lines() {
        let file = "\u{feff}# remark\r\n\r\n  target  \r\n # no remark\n/build\n!/build/keep\n";
        let patterns = Patterns::parse_ignore_file(file).unwrap();
        let path = |text: &str| TreePath::new(text.as_bytes()).unwrap();
        assert!(patterns.excluded(&path("target/x")));
        assert!(patterns.excluded(&path("# no remark")));
        assert!(patterns.excluded(&path("build/x")));
        assert!(!patterns.excluded(&path("build/keep")));
        assert!(!patterns.excluded(&path("# remark")));
    }

    #[test]
    fn a_lone_exclamation_mark_is_refused() {
        assert!(Patterns::parse_ignore_file("a\n!\n").is_err());
        assert!(Patterns::parse_ignore_file("a\n! \n").is_err());
        assert!(Patterns::parse_ignore_file("[\n").is_err());
    }

    #[test]
    fn a_directory_left_out_is_entered_only_for_what_may_be_taken_back() {
        let patterns = Patterns::new(["*", "!a/b/c"]).unwrap();
        let at = |text: &str| {
            let path = TreePath::new(text.as_bytes()).unwrap();
            patterns.may_change_below(patterns.decide(Decided::default(), &path), &path)
        };
        assert!(at("a"));
        assert!(!at("b"));
    }

    /// Each path by itself, as the rule is said: what is left out goes, unless something below it stays.
    fn one_by_one(patterns: &Patterns, tree: &Tree, paths: &BTreeSet<TreePath>) -> Tree {
        let concerns = |path: &TreePath| paths.iter().any(|place| path.starts_with(place));
        let all: Vec<TreePath> = tree.walk().map(|(path, _)| path).collect();
        let stays = |path: &TreePath| path.is_root() || !concerns(path) || !patterns.excluded(path);
        let mut editor = Editor::new(tree);
        for path in &all {
            if !all.iter().any(|below| below.starts_with(path) && stays(below)) {
                editor.remove(path);
            }
        }
        editor.finish()
    }

    fn a_name() -> impl Strategy<Value = &'static str> {
        proptest::sample::select(vec!["a", "b", "ab", "a-b"])
    }

    proptest! {
        #[test]
        fn what_is_left_out_at_some_paths_is_what_each_path_below_them_says(
            files in vec(vec(a_name(), 1..4), 0..12),
            patterns in vec((any::<bool>(), vec(prop_oneof![3 => a_name(), 1 => Just("*"), 1 => Just("**"), 1 => Just("a*")], 1..4)), 0..5),
            places in vec(vec(a_name(), 0..3), 0..4),
        ) {
            let mut editor = Editor::new(&Tree::empty(plain(0o755)));
            for names in files {
                let (name, directories) = names.split_last().unwrap();
                let directory = directories.join("/");
                if editor.make_directories(directory.as_bytes(), &plain(0o755)).is_ok() {
                    let _ = editor.put(&path(format!("{directory}/{name}").trim_start_matches('/')), file(b"text"));
                }
            }
            let tree = editor.finish();
            let lines: Vec<String> = patterns.iter().map(|(back, names)| format!("{}{}", if *back { "!" } else { "" }, names.join("/"))).collect();
            let patterns = Patterns::new(lines.iter().map(String::as_str)).unwrap();
            let places: BTreeSet<TreePath> = places.iter().map(|names| TreePath::normalised(names.join("/").as_bytes()).unwrap()).collect();
            prop_assert_eq!(patterns.apply_at(&tree, &places), one_by_one(&patterns, &tree, &places));
        }
    }
}
