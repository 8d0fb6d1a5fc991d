//! A commit in a repository of ours → what is in it, entry by entry, and the bytes of its objects in the order in which they are asked for.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};

use super::error::GitError;
use super::remote::Repository;
use crate::input::Error;
use crate::tree::{MAXIMUM_DEPTH, TreePath};

/// What sort of entry something is: gitformat-index(5), "mode".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// A directory.
    Tree,
    /// A file that nobody executes.
    Plain,
    /// A file to be executed.
    Program,
    /// A symbolic link.
    Link,
    /// A commit of another repository.
    Submodule,
}

/// One entry of a commit's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) sort: Sort,
    /// The name of its object.
    pub(super) id: String,
    /// Its bytes; 0 for what is no file or link.
    pub(super) size: u64,
    pub(super) path: TreePath,
}

/// What takes an object: its place among those asked for, its size, its bytes.
pub(super) type Take<'t> = &'t mut dyn FnMut(usize, u64, &mut dyn Read) -> Result<(), Error>;

impl Repository<'_> {
    /// Everything in the commit, directories before what is in them; no more than `most` entries, of `limit` in all.
    pub(super) fn list(&self, most: usize, limit: usize) -> Result<Vec<Listed>, Error> {
        let words = ["ls-tree", "-r", "-t", "-z", "-l", "--full-tree", self.commit.as_str()];
        let bytes = self.ask("listing", &words)?;
        // Read, each takes many times the memory that it does here.
        if bytes.iter().filter(|byte| **byte == 0).count() > most {
            return Err(self.unusual(format!("there are more than {limit} files and directories in it")));
        }
        let entries = bytes.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
        entries.map(|entry| parse(entry).map_err(|reason| self.unusual(reason))).collect()
    }

    /// The name of the commit's own tree.
    pub(super) fn root(&self) -> Result<String, Error> {
        let revision = format!("{}^{{tree}}", self.commit.as_str());
        let bytes = self.ask("looking into", &["rev-parse", "--verify", "--end-of-options", &revision])?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Hands the bytes of objects to `take`, with the place of each in `ids` and its size.
    pub(super) fn read(&self, ids: &[&str], take: Take<'_>, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let words = ["cat-file", "--batch"].map(std::ffi::OsStr::new);
        let mut running = self.program.start(self.program.local(Some(&self.path), &words))?;
        let broken = |source: io::Error| Error::from(GitError::File { path: self.path.clone(), source });
        let (Some(mut input), Some(output)) = (running.child.stdin.take(), running.child.stdout.take()) else {
            return Err(broken(io::Error::other("git has no pipes")));
        };
        let asked = ids.join("\n") + "\n";
        // Both pipes are narrow: what is asked for is written while answers are read. It ends with the process.
        let writer = std::thread::spawn(move || input.write_all(asked.as_bytes()));
        let mut output = BufReader::with_capacity(1 << 18, output);
        for (place, id) in ids.iter().enumerate() {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            let mut head = String::new();
            output.by_ref().take(512).read_line(&mut head).map_err(broken)?;
            let mut words = head.split_ascii_whitespace();
            let (named, _, size) = (words.next(), words.next(), words.next().and_then(|size| size.parse::<u64>().ok()));
            let (true, Some(size)) = (named == Some(*id), size) else {
                return Err(self.unusual(format!("the object {id} is not there, or cannot be read")));
            };
            let mut bytes = output.by_ref().take(size);
            take(place, size, &mut bytes)?;
            // What nobody cared for, and the line end.
            io::copy(&mut bytes, &mut io::sink()).map_err(broken)?;
            let mut end = [0];
            output.read_exact(&mut end).map_err(broken)?;
            if end != *b"\n" {
                return Err(self.unusual(format!("the object {id} is longer than it says")));
            }
        }
        // Whether all was written shows in that all was answered.
        drop(writer.join());
        Ok(())
    }
}

/// `MODE TYPE ID SIZE<tab>PATH`
fn parse(entry: &[u8]) -> Result<Listed, String> {
    let odd = || format!("git lists `{}`, which says nothing", String::from_utf8_lossy(entry).escape_debug());
    let tab = entry.iter().position(|byte| *byte == b'\t').ok_or_else(odd)?;
    let (head, path) = entry.split_at(tab);
    let path = path.get(1..).unwrap_or_default();
    let head = std::str::from_utf8(head).map_err(|_| odd())?;
    let mut words = head.split_ascii_whitespace();
    let (Some(mode), Some(_), Some(id), Some(size)) = (words.next(), words.next(), words.next(), words.next()) else { return Err(odd()) };
    let shown = || String::from_utf8_lossy(path).escape_debug().to_string();
    let sort = match mode {
        "040000" => Sort::Tree,
        "100644" | "100664" => Sort::Plain,
        "100755" => Sort::Program,
        "120000" => Sort::Link,
        "160000" => Sort::Submodule,
        other => return Err(format!("`{}` has the mode {other}, which no version of git gives", shown())),
    };
    let path = TreePath::new(path).map_err(|error| error.to_string())?;
    if path.is_root() {
        return Err(odd());
    }
    for (depth, name) in path.names().enumerate() {
        // What a file system might take for `.git` decides what tools in the image do.
        if name.as_bytes().eq_ignore_ascii_case(b".git") {
            return Err(format!("it holds `{}`, and nothing in a repository may be called `.git`", shown()));
        }
        if depth >= MAXIMUM_DEPTH / 2 {
            return Err(format!("`{}` lies too deep", shown()));
        }
    }
    Ok(Listed { sort, id: id.to_owned(), size: size.parse().unwrap_or(0), path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_what_git_prints_and_nothing_that_leaves_the_tree() {
        let id = "0123456789012345678901234567890123456789";
        let good = parse(format!("100755 blob {id}      12\ta b/\tc").as_bytes()).unwrap();
        assert_eq!((good.sort, good.size, good.path.as_bytes()), (Sort::Program, 12, &b"a b/\tc"[..]));
        assert_eq!(parse(format!("160000 commit {id}       -\tsub").as_bytes()).unwrap().sort, Sort::Submodule);
        for path in ["../a", "a/../b", "/a", "a//b", "./a", "", ".git", "a/.GIT/config", ".Git/hooks/x"] {
            assert!(parse(format!("100644 blob {id} 1\t{path}").as_bytes()).is_err(), "{path}");
        }
        for head in ["100600 blob 1 1", "100644", "1 2 3 4", "040755 tree 1 -"] {
            assert!(parse(format!("{head}\ta").as_bytes()).is_err(), "{head}");
        }
    }
}
