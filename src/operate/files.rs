//! A layout or an archive → the files in it, by name or by digest.
//!
//! Source of truth: OCI image-spec 1.1, "Image Layout".

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lapstrake_cache::{Digest, Sha256};

use super::archive;
use super::open::OpenError;
use crate::image::{Blobs, Descriptor, MediaType};

impl Blobs for Files {
    fn open(&self, digest: &Digest) -> io::Result<Option<Box<dyn Read + Send>>> {
        if self.has(digest) { self.open(&self.name(digest)).map(Some) } else { Ok(None) }
    }
}

/// The files of a layout or archive by their names in it.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    /// Place and length of each file in an archive; `None` for a directory.
    archived: Option<BTreeMap<String, (u64, u64)>>,
    /// Blobs that are not where a layout has them.
    pub(super) names: BTreeMap<Digest, String>,
}

impl Files {
    pub(super) fn directory(path: &Path) -> Files {
        Files { path: path.to_owned(), archived: None, names: BTreeMap::new() }
    }

    pub(super) fn archive(path: &Path) -> Result<Files, OpenError> {
        let archived = archive::index(path).map_err(|source| OpenError::Unreadable {
            path: path.to_owned(),
            name: "the archive".to_owned(),
            source,
        })?;
        Ok(Files { path: path.to_owned(), archived: Some(archived), names: BTreeMap::new() })
    }

    pub(super) fn name(&self, digest: &Digest) -> String {
        self.names.get(digest).cloned().unwrap_or_else(|| format!("blobs/sha256/{}", digest.hex()))
    }

    pub(super) fn has(&self, digest: &Digest) -> bool {
        let name = self.name(digest);
        match &self.archived {
            Some(archived) => archived.contains_key(&name),
            None => self.path.join(name).is_file(),
        }
    }

    /// Opens a file. Names in a directory are our own or made of digests, so none leads out of it.
    pub(super) fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        match &self.archived {
            Some(archived) => {
                let place = archived.get(name).ok_or(io::ErrorKind::NotFound)?;
                Ok(Box::new(archive::open(&self.path, *place)?))
            }
            None => Ok(Box::new(File::open(self.path.join(name))?)),
        }
    }

    fn unreadable(&self, name: &str, source: io::Error) -> OpenError {
        OpenError::Unreadable { path: self.path.clone(), name: name.to_owned(), source }
    }

    pub(super) fn read(&self, name: &str, limit_bytes: u64) -> Result<Vec<u8>, OpenError> {
        let mut bytes = Vec::new();
        let read = self.open(name).and_then(|file| file.take(limit_bytes + 1).read_to_end(&mut bytes));
        read.map_err(|source| self.unreadable(name, source))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(self.unreadable(name, io::ErrorKind::FileTooLarge.into()));
        }
        Ok(bytes)
    }

    /// Reads a small blob and checks it.
    pub(super) fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, OpenError> {
        let name = self.name(&descriptor.digest);
        let bytes = self.read(&name, descriptor.size)?;
        if Digest::of(&bytes) != descriptor.digest || bytes.len() as u64 != descriptor.size {
            return Err(OpenError::Damaged { path: self.path.clone(), name, digest: descriptor.digest });
        }
        Ok(bytes)
    }

    /// Describes a layer of a `docker save` archive. A plain one is named by its diff id; a compressed one has to be read for its name.
    pub(super) fn layer(&self, name: &str, diff_id: Digest) -> Result<Descriptor, OpenError> {
        let unreadable = |source| self.unreadable(name, source);
        let mut file = self.open(name).map_err(unreadable)?;
        let mut magic = Vec::new();
        file.by_ref().take(2).read_to_end(&mut magic).map_err(unreadable)?;
        if magic != [0x1f, 0x8b] {
            let size = self.archived.as_ref().and_then(|archived| archived.get(name)).map_or(0, |(_, size)| *size);
            return Ok(Descriptor::new(MediaType::DOCKER_LAYER, diff_id, size));
        }
        let mut hashed = Hashing(Sha256::new());
        hashed.0.update(&magic);
        let rest = io::copy(&mut file, &mut hashed).map_err(unreadable)?;
        Ok(Descriptor::new(MediaType::DOCKER_LAYER_GZIP, hashed.0.finish(), rest + magic.len() as u64))
    }
}

struct Hashing(Sha256);

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
