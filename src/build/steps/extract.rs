//! An archive → the files in it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;

use lapstrake_cache::{Digest, Fingerprint, Fingerprinter};

use super::modes::{self, Sort};
use super::{Edited, Origin, Origins, StepError, made, parents};
use crate::build::Failure;
use crate::build::accounts::{Accounts, Owner};
use crate::build::preimage::Value;
use crate::build::site::Site;
use crate::build::sources::{Source, Sources, open_in, tree_of};
use crate::layer::{ArchiveEntry, ArchiveKind, Limits, is_tar, read_archive};
use crate::plan::{ArchiveSource, Copy, Download, Extract, ModeRule};
use crate::tree::{Content, Directory, Editor, File, LastLink, Metadata, Modes, Node, Sharing, Special, Symlink, Tree, TreePath};

/// An archive whose bytes are known by name.
pub(in crate::build) enum Archive {
    /// A file of a source.
    File { source: Source, at: TreePath, content: Content },
    /// A download.
    Url(Download),
}

impl Archive {
    /// The name of its bytes, for the key.
    pub(in crate::build) fn name(&self) -> Value {
        match self {
            Archive::File { content, .. } => {
                debug_assert!(!content.is_unread(), "nothing is named by what stands for a content");
                Value::Fingerprint(content.fingerprint)
            }
            Archive::Url(download) => Value::Bytes(download.digest.to_string().into_bytes()),
        }
    }
}

/// Finds the archive that a step names.
pub(in crate::build) fn find(site: &Site<'_>, sources: &Sources, extract: &Extract) -> Result<Archive, Failure> {
    match &extract.from {
        ArchiveSource::Url(download) => Ok(Archive::Url(download.clone())),
        ArchiveSource::File { from, path } => {
            let source = sources.source(site, from)?;
            let tree = tree_of(site, &source)?;
            let at = tree.resolve(path.as_bytes(), LastLink::Follow).map_err(StepError::from)?;
            match tree.get(&at) {
                Some(Node::File(file)) => Ok(Archive::File { source, at, content: file.content }),
                Some(Node::Directory(_) | Node::Symlink(_) | Node::Special(_)) => Err(StepError::NoArchive { path: path.clone() }.into()),
                None => Err(super::copy::missing(path, &at, &tree, &crate::build::parts::place(from)).into()),
            }
        }
    }
}

/// Unpacks the archive; missing parents are made, what is there already is replaced, directories are merged.
pub(in crate::build) fn extract(
    site: &Site<'_>,
    extract: &Extract,
    archive: &Archive,
    below: &Tree,
    accounts: &Accounts<'_>,
) -> Result<Edited, Failure> {
    let Extract { from: _named_by_the_archive, to, strip, owner, mode } = extract;
    let owner = owner.as_deref().map_or(Ok(Owner::default()), |owner| accounts.owner(owner))?;
    let file = open(site, archive)?;
    let mut editor = Editor::new(below);
    let target = editor.make_directories(to.as_bytes(), &parents()).map_err(StepError::from)?;
    let mut origins = Origins::default();
    let mut unpacking = Unpacking {
        site,
        editor: &mut editor,
        origins: &mut origins,
        target,
        owner: Some(owner),
        mode,
        blocked: Blocked::Refused,
        sharing: Sharing::default(),
        memory_bytes: MEMORY_BYTES,
    };
    let strip = usize::try_from(*strip).unwrap_or(usize::MAX);
    read_archive::<Failure>(file, strip, &Limits::GENEROUS, site.outside.cancel, &mut |path, entry, content| {
        unpacking.entry(&path, entry, content)
    })?;
    Ok(Edited { above: editor.finish(), origins })
}

/// Unpacks a file of a copy's source into a directory, if it is a tar archive; owners and modes are the archive's where the copy names
/// none. As with Docker's `ADD`, an entry takes the place of whatever is in its way.
pub(in crate::build) fn unpack(
    site: &Site<'_>,
    copy: &Copy,
    (source, at, content): (&Source, &TreePath, &Content),
    to: &[u8],
    accounts: &Accounts<'_>,
    (editor, origins): (&mut Editor, &mut Origins),
) -> Result<bool, Failure> {
    let wrong = |source| Failure::from(StepError::Read { path: at.clone(), source });
    if !is_tar(open_in(site, source, at, content).map_err(wrong)?, site.outside.cancel) {
        return Ok(false);
    }
    let archive = Archive::File { source: source.clone(), at: at.clone(), content: *content };
    let file = open(site, &archive)?;
    let owner = copy.owner.as_deref().map(|owner| accounts.owner(owner)).transpose()?;
    let target = editor.make_directories(to, &made(0o755, owner.unwrap_or_default())).map_err(StepError::from)?;
    // A mode that the step says is for what is no archive.
    let mode = match copy.mode {
        ModeRule::Normal => ModeRule::Normal,
        ModeRule::Keep | ModeRule::Set(_) | ModeRule::Exactly(_) | ModeRule::Symbolic(_) => ModeRule::Keep,
    };
    let mut unpacking = Unpacking {
        site,
        editor,
        origins,
        target,
        owner,
        mode: &mode,
        blocked: Blocked::Replaced,
        sharing: Sharing::default(),
        memory_bytes: MEMORY_BYTES,
    };
    read_archive::<Failure>(file, 0, &Limits::GENEROUS, site.outside.cancel, &mut |path, entry, content| {
        unpacking.entry(&path, entry, content)
    })?;
    Ok(true)
}

/// The archive as a file that can be read from any place.
fn open(site: &Site<'_>, archive: &Archive) -> Result<std::fs::File, Failure> {
    match archive {
        Archive::Url(download) => Ok(site.outside.download(download)?.file),
        Archive::File { source, at, content } => {
            let wrong = |source| Failure::from(StepError::Read { path: at.clone(), source });
            let mut bytes = open_in(site, source, at, content).map_err(wrong)?;
            // The bytes are copied and compared on the way, so that what is unpacked is what the key names.
            let mut blob = site.outside.store.new_blob()?;
            let mut hasher = Fingerprinter::new();
            let mut buffer = vec![0; 1 << 20];
            loop {
                match bytes.read(&mut buffer).map_err(wrong)? {
                    0 => break,
                    count => {
                        hasher.update(&buffer[..count]);
                        blob.write_all(&buffer[..count]).map_err(wrong)?;
                    }
                }
            }
            if hasher.finish() != content.fingerprint {
                return Err(StepError::Changed { path: at.clone() }.into());
            }
            let stored = blob.finish()?;
            opened(site, &stored.digest)
        }
    }
}

fn opened(site: &Site<'_>, digest: &Digest) -> Result<std::fs::File, Failure> {
    match site.outside.store.blob(digest)? {
        Some(blob) => Ok(blob.file),
        None => Err(Failure::Lost(crate::build::Lost::Nothing)),
    }
}

struct Unpacking<'a> {
    site: &'a Site<'a>,
    editor: &'a mut Editor,
    origins: &'a mut Origins,
    target: TreePath,
    /// `None` means the archive's own.
    owner: Option<Owner>,
    mode: &'a ModeRule,
    blocked: Blocked,
    sharing: Sharing,
    /// Bytes of small files that may still be held in memory.
    memory_bytes: u64,
}

/// What becomes of a directory where the archive has something else, and of a file where it has a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blocked {
    /// It stays, and the step fails.
    Refused,
    /// It is removed with all that is in it.
    Replaced,
}

impl Unpacking<'_> {
    fn entry(&mut self, path: &TreePath, entry: ArchiveEntry, content: &mut dyn Read) -> Result<(), Failure> {
        // The archive's own links are followed inside the image, as if its entries had been written there one after the other.
        let full = [b"/", self.target.join_path(path).as_bytes()].concat();
        let at = self.editor.resolve(&full, LastLink::Keep).map_err(StepError::from)?;
        if let Some(parent) = at.parent() {
            self.editor.make_directories(&[b"/", parent.as_bytes()].concat(), &parents()).map_err(StepError::from)?;
        }
        let there = self.editor.get(&at);
        if let (Some(Node::Directory(_)), Blocked::Refused) = (&there, self.blocked)
            && !matches!(entry.kind, ArchiveKind::Directory)
        {
            return Err(StepError::InTheWay { what: "a file", path: at, there: "a directory" }.into());
        }
        let metadata = |mode| self.metadata(&entry.metadata, mode);
        let node = match entry.kind {
            ArchiveKind::Directory => {
                let mode = modes::arriving(self.mode, Modes::Keep, Sort::Directory, entry.metadata.mode);
                if let Some(Node::Directory(_)) = there {
                    self.editor.set_metadata(&at, metadata(mode)).map_err(StepError::from)?;
                    return Ok(());
                }
                Node::Directory(Arc::new(Directory::new(metadata(mode), BTreeMap::new())))
            }
            ArchiveKind::File { size: _ } => {
                let metadata = metadata(self.file_mode(entry.metadata.mode));
                Node::File(File { metadata: self.sharing.share(metadata), content: self.keep(content)? })
            }
            ArchiveKind::Symlink { target } => Node::Symlink(Symlink { metadata: metadata(0o777), target: target.into() }),
            ArchiveKind::Special(kind) => Node::Special(Special { metadata: metadata(self.file_mode(entry.metadata.mode)), kind }),
            ArchiveKind::Link { target } => {
                let existing = [b"/", self.target.join_path(&target).as_bytes()].concat();
                let existing = self.editor.resolve(&existing, LastLink::Keep).map_err(StepError::from)?;
                let wrong = |source| StepError::ArchiveLink { path: path.clone(), source };
                if let Some(Node::File(file)) = self.editor.get(&existing) {
                    self.origins.note_link(&existing, &file.content);
                }
                self.editor.link(&existing, &at).map_err(wrong)?;
                return Ok(());
            }
        };
        self.editor.put(&at, node).map_err(StepError::from)?;
        Ok(())
    }

    fn file_mode(&self, mode: u16) -> u16 {
        modes::arriving(self.mode, Modes::Keep, Sort::File, mode)
    }

    fn metadata(&self, found: &Metadata, mode: u16) -> Metadata {
        let owner = self.owner.unwrap_or(Owner { uid: found.uid, gid: found.gid });
        Metadata { xattrs: found.xattrs.clone(), ..made(mode, owner) }
    }

    /// Copies a file's bytes into the store, where they stay until the layer is written.
    fn keep(&mut self, content: &mut dyn Read) -> Result<Content, Failure> {
        let wrong = |source| Failure::File { path: self.site.outside.store.path().to_path_buf(), source };
        let mut hasher = Fingerprinter::new();
        let mut size = 0;
        let mut head = Vec::new();
        content.take(SMALL_BYTES + 1).read_to_end(&mut head).map_err(wrong)?;
        hasher.update(&head);
        size += head.len() as u64;
        if size <= SMALL_BYTES.min(self.memory_bytes) {
            let fingerprint = hasher.finish();
            self.memory_bytes -= size;
            self.origins.note(fingerprint, Origin::Bytes(Arc::from(head)));
            return Ok(Content { fingerprint, size });
        }
        let mut blob = self.site.outside.store.new_blob()?;
        blob.write_all(&head).map_err(wrong)?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match content.read(&mut buffer).map_err(wrong)? {
                0 => break,
                count => {
                    hasher.update(&buffer[..count]);
                    blob.write_all(&buffer[..count]).map_err(wrong)?;
                    size += count as u64;
                }
            }
        }
        let stored = blob.finish()?;
        let fingerprint: Fingerprint = hasher.finish();
        self.origins.note(fingerprint, Origin::Blob(stored.digest));
        Ok(Content { fingerprint, size })
    }
}

/// Files up to this size stay in memory, so that an archive of many small files makes no blob for each.
const SMALL_BYTES: u64 = 4 << 10;
/// How many bytes of such files are held at most: an archive can have millions of them.
const MEMORY_BYTES: u64 = 32 << 20;
