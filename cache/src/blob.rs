//! Blobs: bytes in, named by their SHA-256, and an open file out. FORMAT.md, "Blobs".
//!
//! A blob up to 64 KiB is hashed at each opening and never synced; a larger one is synced before it gets its
//! name, and its size is compared at each opening. Either way what is believed is whole.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::behind::{BlobBehind, Progress};
use crate::clock::Moment;
use crate::digest::{Digest, Sha256};
use crate::error::{At, Error, Existing};
use crate::fingerprint::Fingerprint;
use crate::name::Shelf;
use crate::record;
use crate::store::{Place, Store};

/// Hashing this much takes less time than a sync, so smaller blobs are checked in full each time instead of synced once.
const SMALL_BLOB_BYTES: u64 = 64 * 1024;

const BUFFER_BYTES: usize = 128 * 1024;
const SIZES: Shelf = Shelf::named("sizes");

/// A blob of the store, opened for reading at its first byte.
#[derive(Debug)]
pub struct Blob {
    /// The file, positioned at its start. It stays readable even if the blob is collected.
    pub file: File,
    /// The length in bytes.
    pub size: u64,
}

/// A blob that is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlob {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// The length in bytes.
    pub size: u64,
}

impl Store {
    /// Opens a blob and marks it as used; `None` if the store does not have it whole.
    ///
    /// # Errors
    /// Only what the system answers.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Blob>, Error> {
        let path = self.blob_path(digest);
        let (mut file, metadata) = {
            let _using = self.using()?;
            let Some(file) = File::open(&path).if_exists().at("open", &path)? else { return Ok(None) };
            let metadata = file.metadata().at("examine", &path)?;
            if metadata.is_file() {
                self.mark(&file, &metadata, &path)?;
            }
            (file, metadata)
        };
        let size = metadata.len();
        if metadata.is_file() && self.is_whole(digest, &mut file, size, &path)? {
            return Ok(Some(Blob { file, size }));
        }
        self.discard_blob(digest, &metadata)?;
        Ok(None)
    }

    /// Begins a blob whose digest is computed as it is written.
    ///
    /// # Errors
    /// Only what the system answers.
    pub fn new_blob(&self) -> Result<BlobWriter, Error> {
        Ok(BlobWriter { temporary: Temporary::new(self)?, hasher: Sha256::new() })
    }

    /// Begins a blob whose digest the caller computes, so that no byte is hashed twice.
    ///
    /// # Errors
    /// Only what the system answers.
    pub fn new_hashed_blob(&self) -> Result<HashedBlobWriter, Error> {
        Ok(HashedBlobWriter { temporary: Temporary::new(self)? })
    }

    /// Stores bytes that are in memory.
    ///
    /// # Errors
    /// Only what the system answers.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<StoredBlob, Error> {
        let digest = Digest::of(bytes);
        let size = bytes.len() as u64;
        if self.blob(&digest)?.is_none() {
            let mut temporary = Temporary::new(self)?;
            let path = temporary.path.clone();
            temporary.write_all(bytes).at("write", &path)?;
            temporary.install(digest)?;
        }
        Ok(StoredBlob { digest, size })
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.place(Place::Blobs).join(digest.hex())
    }

    fn size_path(&self, digest: &Digest) -> PathBuf {
        self.place(Place::Sizes).join(digest.hex())
    }

    fn is_whole(&self, digest: &Digest, file: &mut File, size: u64, path: &Path) -> Result<bool, Error> {
        if size > SMALL_BLOB_BYTES
            && let Some(expected) = self.recorded_size(digest)?
        {
            return Ok(expected == size);
        }
        let found = hash(file).at("read", path)?;
        file.rewind().at("read", path)?;
        if found == *digest && size > SMALL_BLOB_BYTES {
            self.record_size(digest, size)?;
        }
        Ok(found == *digest)
    }

    fn recorded_size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let path = self.size_path(digest);
        let Some(bytes) = fs::read(&path).if_exists().at("read", &path)? else { return Ok(None) };
        let record = record::decode(&SIZES, &Fingerprint::from_bytes(*digest.as_bytes()), &bytes);
        Ok(record.and_then(|record| Some(u64::from_le_bytes(record.body.try_into().ok()?))))
    }

    fn record_size(&self, digest: &Digest, size: u64) -> Result<(), Error> {
        let key = Fingerprint::from_bytes(*digest.as_bytes());
        let now = Moment::now();
        self.write_whole(&self.size_path(digest), &record::encode(&SIZES, &key, now, &size.to_le_bytes()), now)
    }

    /// Takes a blob away, if it still is the file that was judged; `false` if it was gone or replaced.
    pub(crate) fn discard_blob(&self, digest: &Digest, judged: &fs::Metadata) -> Result<bool, Error> {
        let path = self.blob_path(digest);
        let _alone = self.taking_away()?;
        let Some(found) = fs::symlink_metadata(&path).if_exists().at("examine", &path)? else { return Ok(false) };
        if (found.dev(), found.ino()) != (judged.dev(), judged.ino()) {
            return Ok(false);
        }
        self.to_trash(&path)?;
        self.forget_size(digest)?;
        Ok(true)
    }

    pub(crate) fn forget_size(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.size_path(digest);
        fs::remove_file(&path).if_exists().at("remove", &path)?;
        Ok(())
    }

    /// Makes the recorded size of a blob that was just found whole the right one.
    pub(crate) fn repair_size(&self, digest: &Digest, size: u64) -> Result<(), Error> {
        if size > SMALL_BLOB_BYTES && self.recorded_size(digest)? != Some(size) {
            self.record_size(digest, size)?;
        }
        Ok(())
    }
}

/// A new blob that is hashed while it is written. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    temporary: Temporary,
    hasher: Sha256,
}

impl BlobWriter {
    /// Puts the blob into the store.
    ///
    /// # Errors
    /// [`Error::Incomplete`] if a write had failed, else what the system answers; nothing is kept then.
    pub fn finish(self) -> Result<StoredBlob, Error> {
        self.temporary.install(self.hasher.finish())
    }

    /// Puts the blob into the store if it is the announced one; `size` is in bytes, where it is known.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] or [`Error::DigestMismatch`] if it is not, [`Error::Incomplete`] if a write had failed, else
    /// what the system answers; nothing is kept then.
    pub fn finish_expecting(self, expected: &Digest, size: Option<u64>) -> Result<StoredBlob, Error> {
        self.temporary.check_complete()?;
        if let Some(size) = size
            && size != self.temporary.size
        {
            return Err(Error::SizeMismatch { digest: *expected, expected: size, found: self.temporary.size });
        }
        let found = self.hasher.finish();
        if found != *expected {
            return Err(Error::DigestMismatch { expected: *expected, found });
        }
        self.temporary.install(found)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.temporary.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.flush()
    }
}

/// A new blob that the caller hashes. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub struct HashedBlobWriter {
    temporary: Temporary,
}

impl HashedBlobWriter {
    /// Puts the blob into the store under the digest of exactly the bytes that were written.
    ///
    /// # Errors
    /// [`Error::Incomplete`] if a write had failed, else what the system answers; nothing is kept then.
    pub fn finish_as(self, digest: Digest) -> Result<StoredBlob, Error> {
        self.temporary.install(digest)
    }

    /// Someone who reads the blob from its first byte while it is written.
    ///
    /// # Errors
    /// Only what the system answers.
    pub fn behind(&mut self) -> Result<BlobBehind, Error> {
        self.temporary.behind()
    }
}

impl Write for HashedBlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.flush()
    }
}

/// A file in the scratch directory that is to become a blob.
#[derive(Debug)]
struct Temporary {
    store: Store,
    path: PathBuf,
    file: BufWriter<File>,
    size: u64,
    state: Writing,
    /// Where someone reads behind the writer.
    progress: Option<Arc<Progress>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Whole,
    Failed,
}

impl Temporary {
    fn new(store: &Store) -> Result<Temporary, Error> {
        let path = store.fresh_path()?;
        let file = OpenOptions::new().write(true).create_new(true).open(&path).at("create", &path)?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Temporary { store: store.clone(), path, file, size: 0, state: Writing::Whole, progress: None })
    }

    fn noting<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|source| {
            if source.kind() != io::ErrorKind::Interrupted {
                self.state = Writing::Failed;
            }
            Error::io("write", &self.path, source).into_io()
        })
    }

    fn behind(&mut self) -> Result<BlobBehind, Error> {
        let file = File::open(&self.path).at("open", &self.path)?;
        let progress = Arc::clone(self.progress.get_or_insert_default());
        self.tell();
        Ok(BlobBehind::new(file, progress))
    }

    /// Tells those who read behind how far the file has come.
    fn tell(&self) {
        if let Some(progress) = &self.progress {
            progress.reach(self.size.saturating_sub(self.file.buffer().len() as u64));
        }
    }

    fn check_complete(&self) -> Result<(), Error> {
        match self.state {
            Writing::Whole => Ok(()),
            Writing::Failed => Err(Error::Incomplete { path: self.path.clone() }),
        }
    }

    fn install(mut self, digest: Digest) -> Result<StoredBlob, Error> {
        self.check_complete()?;
        let size = self.size;
        self.file.flush().at("write", &self.path)?;
        if let Some(progress) = &self.progress {
            progress.end(size);
        }
        let file = self.file.get_ref();
        file.set_permissions(Permissions::from_mode(0o444)).at("set the mode of", &self.path)?;
        if size > SMALL_BLOB_BYTES {
            // The same blob may have come from elsewhere meanwhile; then there is nothing to sync.
            if self.store.blob(&digest)?.is_some() {
                return Ok(StoredBlob { digest, size });
            }
            file.sync_data().at("sync", &self.path)?;
            self.store.record_size(&digest, size)?;
        }
        self.store.put_in_place(file, &self.path, &self.store.blob_path(&digest))?;
        Ok(StoredBlob { digest, size })
    }
}

impl Write for Temporary {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.file.write(bytes);
        let written = self.noting(result)?;
        self.size = self.size.saturating_add(written as u64);
        self.tell();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.file.flush();
        self.noting(result)?;
        self.tell();
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(progress) = &self.progress {
            progress.give_up();
        }
        // After `install` the path is gone; else what cannot be removed now is swept with the scratch directory.
        let _ = fs::remove_file(&self.path);
    }
}

/// The digest of the rest of a file.
pub(crate) fn hash(file: &mut File) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => hasher.update(buffer.get(..read).unwrap_or(&buffer)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
