//! A commit and its objects → a `.git` that holds them: the same for the same commit, whoever fetched it from where and with which git.
//!
//! It has the commit as a detached `HEAD`, its objects loose and not compressed, an index without times, and `shallow` where the commit has
//! parents; no branches, tags, remotes, hooks or logs. Source of truth: gitrepository-layout(5), gitformat-index(5), RFC 1950, RFC 1951.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::files::{Building, Clash, Item, Spool, file};
use super::listing::{Listed, Sort};
use crate::pins::Commit;
use crate::tree::{Content, Name, TreePath};

/// The most bytes that a stored block of deflate has.
const BLOCK_BYTES: usize = 0xffff;

/// Object names by length: those of SHA-1 and those of SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Sha1,
    Sha256,
}

impl Format {
    fn of(commit: &Commit) -> Format {
        if commit.as_str().len() == 64 { Format::Sha256 } else { Format::Sha1 }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let mut context = Context::new(match self {
            Format::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Format::Sha256 => &SHA256,
        });
        context.update(bytes);
        context.finish().as_ref().to_vec()
    }
}

/// The sorts of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Commit,
    Tree,
    Blob,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Kind::Commit => "commit",
            Kind::Tree => "tree",
            Kind::Blob => "blob",
        }
    }
}

/// A `.git` that is being put together.
pub(super) struct GitDirectory {
    building: Building,
}

impl GitDirectory {
    /// One without objects. `commit_text` is the commit itself.
    pub(super) fn new(commit: &Commit, commit_text: &[u8], listed: &[Listed], spool: &mut Spool) -> io::Result<GitDirectory> {
        let mut made = GitDirectory { building: Building::default() };
        for path in ["objects", "objects/info", "objects/pack", "refs", "refs/heads", "refs/tags"] {
            made.put(path, Item::Directory(Building::default()))?;
        }
        made.text("HEAD", &format!("{}\n", commit.as_str()), spool)?;
        let (version, extension) = match Format::of(commit) {
            Format::Sha1 => (0, ""),
            Format::Sha256 => (1, "[extensions]\n\tobjectformat = sha256\n"),
        };
        let config = format!("[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = false\n{extension}");
        made.text("config", &config, spool)?;
        let has_parents =
            commit_text.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty()).any(|line| line.starts_with(b"parent "));
        if has_parents {
            made.text("shallow", &format!("{}\n", commit.as_str()), spool)?;
        }
        let content = spool.add(&mut Cursor::new(index(Format::of(commit), listed)))?;
        made.put("index", file(0o644, content))?;
        Ok(made)
    }

    /// Adds an object.
    pub(super) fn object(&mut self, id: &str, kind: Kind, size: u64, bytes: &mut dyn Read, spool: &mut Spool) -> io::Result<()> {
        let header = format!("{} {size}\0", kind.name());
        let content = spool.add(&mut Stored::new(Cursor::new(header.into_bytes()).chain(bytes)))?;
        let (directory, name) = id.split_at_checked(2).ok_or_else(|| io::Error::other("an object without a name"))?;
        let directory = format!("objects/{directory}");
        // The first object of a directory makes it.
        let _ = self.put(&directory, Item::Directory(Building::default()));
        self.put(&format!("{directory}/{name}"), file(0o444, content))
    }

    /// All of it.
    pub(super) fn finish(self) -> Item {
        Item::Directory(self.building)
    }

    fn text(&mut self, path: &str, text: &str, spool: &mut Spool) -> io::Result<()> {
        let content: Content = spool.add(&mut text.as_bytes())?;
        self.put(path, file(0o644, content))
    }

    fn put(&mut self, path: &str, item: Item) -> io::Result<()> {
        let path = TreePath::new(path.as_bytes()).map_err(io::Error::other)?;
        self.building.put(&path, item).map_err(|Clash| io::Error::other(format!("two objects are called `{path}`")))
    }
}

/// The name of the directory.
pub(super) fn name() -> Name {
    #[expect(clippy::expect_used, reason = "a constant that is a name")]
    Name::new(b".git").expect("`.git` is a name")
}

/// An index of version 2 in which nothing is known of files but their contents: git looks at each once and then knows.
fn index(format: Format, listed: &[Listed]) -> Vec<u8> {
    let entries: BTreeMap<&[u8], (u32, &str)> = listed
        .iter()
        .filter_map(|entry| {
            let mode = match entry.sort {
                Sort::Tree => return None,
                Sort::Plain => 0o100_644,
                Sort::Program => 0o100_755,
                Sort::Link => 0o120_000,
                Sort::Submodule => 0o160_000,
            };
            Some((entry.path.as_bytes(), (mode, entry.id.as_str())))
        })
        .collect();
    let mut bytes = b"DIRC".to_vec();
    bytes.extend(2_u32.to_be_bytes());
    bytes.extend(u32::try_from(entries.len()).unwrap_or(u32::MAX).to_be_bytes());
    for (path, (mode, id)) in entries {
        let start = bytes.len();
        // Times, device and inode; then owner and size behind the mode.
        bytes.extend([0; 24]);
        bytes.extend(mode.to_be_bytes());
        bytes.extend([0; 12]);
        bytes.extend(raw(id));
        bytes.extend(u16::try_from(path.len().min(0xfff)).unwrap_or(0xfff).to_be_bytes());
        bytes.extend(path);
        let padding = 8 - (bytes.len() - start) % 8;
        bytes.extend(std::iter::repeat_n(0, padding));
    }
    let sum = format.digest(&bytes);
    bytes.extend(sum);
    bytes
}

fn raw(id: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).unwrap_or(0);
    id.as_bytes().chunks_exact(2).map(|pair| (digit(pair[0]) << 4) | digit(pair[1])).collect()
}

/// A stream as zlib has it, in blocks that are not compressed: bytes that no version of a library can change.
struct Stored<R> {
    from: R,
    /// What is to be given out before more is read.
    ready: Cursor<Vec<u8>>,
    sum: (u32, u32),
    next: Next,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Blocks,
    Nothing,
}

impl<R: Read> Stored<R> {
    fn new(from: R) -> Stored<R> {
        // 32 KiB window, the fastest level: RFC 1950, section 2.2.
        Stored { from, ready: Cursor::new(vec![0x78, 0x01]), sum: (1, 0), next: Next::Blocks }
    }

    fn block(&mut self) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(BLOCK_BYTES);
        self.from.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut bytes)?;
        for byte in &bytes {
            self.sum.0 = (self.sum.0 + u32::from(*byte)) % 65521;
            self.sum.1 = (self.sum.1 + self.sum.0) % 65521;
        }
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        let last = bytes.len() < BLOCK_BYTES;
        let mut block = vec![u8::from(last)];
        block.extend(length.to_le_bytes());
        block.extend((!length).to_le_bytes());
        block.append(&mut bytes);
        if last {
            block.extend(((self.sum.1 << 16) | self.sum.0).to_be_bytes());
            self.next = Next::Nothing;
        }
        self.ready = Cursor::new(block);
        Ok(())
    }
}

impl<R: Read> Read for Stored<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.ready.read(buffer)?;
            if count > 0 || self.next == Next::Nothing {
                return Ok(count);
            }
            self.block()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_streams_are_what_zlib_reads() {
        for length in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 5] {
            let plain: Vec<u8> = (0..length).map(|number| (number % 251) as u8).collect();
            let mut stored = Vec::new();
            Stored::new(&*plain).read_to_end(&mut stored).unwrap();
            let mut read = Vec::new();
            flate2::read::ZlibDecoder::new(&*stored).read_to_end(&mut read).unwrap();
            assert_eq!(read, plain, "{length}");
        }
    }
}
