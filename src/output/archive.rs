//! A sealed image → one tar archive: an OCI layout, or what `docker load` reads.
//!
//! The archive's bytes depend on the image and its name alone.
//! Source of truth: OCI image-spec 1.1, "Image Layout"; Docker image specification 1.3, "Combined Image JSON + Filesystem Changeset Format".

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use lapstrake_cache::{Digest, Fingerprint, Fingerprinter};
use serde_json::json;

use super::WriteError;
use super::blobs::Gathered;
use super::layout;
use super::write::whole;
use crate::image::{Reference, Sealed};
use crate::layer::{self, Limits};
use crate::tree::{Content, Contents, Editor, File, Metadata, Node, Tree, TreePath};

/// Writes the layout as an archive.
pub(super) fn write_oci(sealed: &Sealed, gathered: &Gathered<'_>, path: &Path, tag: Option<&str>) -> Result<(), WriteError> {
    let mut members = Members::default();
    for descriptor in gathered.descriptors() {
        members.blob(gathered, &format!("blobs/sha256/{}", descriptor.digest.hex()), &descriptor.digest)?;
    }
    members.bytes("oci-layout", layout::MARKER.to_vec())?;
    members.bytes("index.json", layout::alone(sealed, tag).to_bytes())?;
    members.write(gathered, path)
}

/// Writes what `docker load` reads: a config, layers that are not compressed, and the list of them.
pub(super) fn write_docker(sealed: &Sealed, gathered: &Gathered<'_>, path: &Path, reference: Option<&str>) -> Result<(), WriteError> {
    let names = match reference {
        Some(text) => {
            let reference: Reference = text.parse()?;
            vec![familiar(&reference)]
        }
        None => Vec::new(),
    };
    let mut members = Members::default();
    let config = format!("{}.json", sealed.config.digest.hex());
    members.bytes(&config, sealed.config_bytes.clone())?;
    let mut layers = Vec::new();
    for layer in &sealed.layers {
        let name = format!("{}.tar", layer.diff_id.hex());
        expand(gathered, &layer.descriptor.digest, &layer.diff_id)?;
        members.blob(gathered, &name, &layer.diff_id)?;
        layers.push(name);
    }
    let list = json!([{ "Config": config, "RepoTags": names, "Layers": layers }]);
    members.bytes("manifest.json", list.to_string().into_bytes())?;
    members.write(gathered, path)
}

/// The name as Docker shows it: without its own registry.
fn familiar(reference: &Reference) -> String {
    let text = reference.to_string();
    let text = text.strip_prefix("docker.io/").unwrap_or(&text);
    text.strip_prefix("library/").unwrap_or(text).to_owned()
}

/// Puts the uncompressed bytes of a layer into the store, under their own digest.
fn expand(gathered: &Gathered<'_>, blob: &Digest, diff_id: &Digest) -> Result<(), WriteError> {
    let outside = gathered.outside();
    if outside.store.blob(diff_id)?.is_some() {
        return Ok(());
    }
    let bytes = Box::new(gathered.open_digest(blob)?);
    let mut plain = layer::expand(bytes, &Limits::GENEROUS, outside.cancel)?;
    let mut sink = outside.store.new_blob()?;
    io::copy(&mut plain, &mut sink).map_err(|source| WriteError::File { path: outside.store.path().to_path_buf(), source })?;
    sink.finish_expecting(diff_id, None)?;
    Ok(())
}

/// The members of an archive, as a tree, so that the one tar writer writes them.
#[derive(Default)]
struct Members {
    files: BTreeMap<TreePath, Member>,
}

enum Member {
    Bytes(Arc<[u8]>, Content),
    Blob(Digest, Content),
}

impl Members {
    fn bytes(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), WriteError> {
        let content = Content { fingerprint: Fingerprint::of(&bytes), size: bytes.len() as u64 };
        self.add(name, Member::Bytes(Arc::from(bytes), content))
    }

    fn blob(&mut self, gathered: &Gathered<'_>, name: &str, digest: &Digest) -> Result<(), WriteError> {
        let mut file = gathered.open_digest(digest)?;
        let mut hasher = Fingerprinter::new();
        let mut size = 0;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let path = || gathered.outside().store.path().to_path_buf();
            match file.read(&mut buffer).map_err(|source| WriteError::File { path: path(), source })? {
                0 => break,
                count => {
                    hasher.update(&buffer[..count]);
                    size += count as u64;
                }
            }
        }
        self.add(name, Member::Blob(*digest, Content { fingerprint: hasher.finish(), size }))
    }

    fn add(&mut self, name: &str, member: Member) -> Result<(), WriteError> {
        self.files.insert(TreePath::new(name.as_bytes())?, member);
        Ok(())
    }

    fn write(&self, gathered: &Gathered<'_>, path: &Path) -> Result<(), WriteError> {
        let metadata = |mode| Metadata { mode, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() };
        let mut editor = Editor::new(&Tree::empty(metadata(0o755)));
        for (path, member) in &self.files {
            let (Member::Bytes(_, content) | Member::Blob(_, content)) = member;
            if let Some(parent) = path.parent() {
                editor.make_directories(&[b"/", parent.as_bytes()].concat(), &metadata(0o755))?;
            }
            editor.put(path, Node::File(File { metadata: metadata(0o644), content: *content }))?;
        }
        let contents = MemberContents { members: self, gathered };
        whole(path, |file| {
            layer::pack_tree(&editor.finish(), &contents, file, gathered.outside().cancel)?;
            Ok(())
        })
    }
}

struct MemberContents<'a> {
    members: &'a Members,
    gathered: &'a Gathered<'a>,
}

impl Contents for MemberContents<'_> {
    fn open(&self, path: &TreePath, _content: &Content) -> io::Result<Box<dyn Read + Send>> {
        match self.members.files.get(path) {
            Some(Member::Bytes(bytes, _)) => Ok(Box::new(io::Cursor::new(Arc::clone(bytes)))),
            Some(Member::Blob(digest, _)) => Ok(Box::new(self.gathered.open_digest(digest).map_err(io::Error::other)?)),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }
}
