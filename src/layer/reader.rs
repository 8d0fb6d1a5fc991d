//! An untrusted tar stream in, entries that every reader would understand alike out.
//!
//! Source of truth: POSIX.1-2017 `pax`, "ustar Interchange Format" and "pax Extended Header"; "Basic Tar Format" of the GNU tar manual.
//! Formats: v7, ustar, PAX, GNU, each with what real images and archives hold of it. Where two readers in use would see other names,
//! other sizes or other entry boundaries, the archive is refused.

use std::io::{self, Read};

use super::decode::Limits;
use super::fields::{Dialect, RawHeader};
use super::header::{BLOCK, padding};
use super::pax::Extended;
use super::sparse::{Segments, sparse_segments};
use crate::tree::{SpecialKind, Xattrs};

/// An archive could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes did not come, or are not what their compression says.
    #[error("the archive cannot be read or decompressed")]
    Source(#[source] io::Error),
    /// The tar stream is not one that all readers understand alike.
    #[error("the archive is refused at byte {at} of its tar stream")]
    Malformed {
        /// Where in the decompressed stream the entry begins.
        at: u64,
        /// What is wrong there.
        #[source]
        problem: Malformed,
    },
    /// It has more bytes than allowed.
    #[error("the archive holds more than {limit} bytes, the limit")]
    TooManyBytes {
        /// The limit.
        limit: u64,
    },
    /// It grows too much when decompressed.
    #[error("the archive grows to more than {limit} times its size, the limit, when it is decompressed")]
    Ratio {
        /// The limit.
        limit: u64,
    },
    /// It has more entries than allowed.
    #[error("the archive holds more than {limit} entries, the limit")]
    TooManyEntries {
        /// The limit.
        limit: u64,
    },
    /// Its names and attributes are too many to be held.
    #[error("the archive's names and attributes have more than {limit} bytes, the limit")]
    TooMuchMetadata {
        /// The limit.
        limit: u64,
    },
    /// Stopping was asked for.
    #[error("reading the archive was cancelled")]
    Cancelled,
}

impl From<io::Error> for ReadError {
    /// Our own errors come through readers of others inside theirs.
    fn from(error: io::Error) -> ReadError {
        match error.downcast::<ReadError>() {
            Ok(own) => own,
            Err(error) => ReadError::Source(error),
        }
    }
}

/// What is wrong with a tar stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The stream ends inside an entry.
    #[error("the stream ends in the middle of an entry")]
    Truncated,
    /// The stream ends without the two blocks of zeros.
    #[error("the stream has no end marker: it may have been cut off")]
    NoEnd,
    /// Some readers stop at one block of zeros, others go on.
    #[error("a single block of zeros stands between entries")]
    LoneZeroBlock,
    /// Some readers stop at the end marker, others go on.
    #[error("something other than zeros follows the end marker")]
    AfterEnd,
    /// The header's bytes do not add up.
    #[error("a header's checksum is wrong: this is no tar, or it is damaged")]
    Checksum,
    /// A field is no number, or one beyond what a file system can hold.
    #[error("the field `{field}` holds no number in range")]
    Number {
        /// Which field.
        field: &'static str,
    },
    /// There is no such type, or one that no layer can hold.
    #[error("an entry has type `{}`, which is not supported", char::from(*.0).escape_default())]
    Type(u8),
    /// An extension in a header that has no extensions.
    #[error("an extended header has no magic")]
    ExtensionWithoutMagic,
    /// Two extensions of one kind before one entry.
    #[error("two extended headers of one kind stand before one entry")]
    RepeatedExtension,
    /// An extension that is about nothing.
    #[error("an extended header has no entry after it")]
    StrayExtension,
    /// Extensions are too long.
    #[error("an entry is described by more than {limit} bytes, the limit")]
    TooMuchMetadata {
        /// The limit.
        limit: u64,
    },
    /// A record is not `LENGTH KEYWORD=VALUE\n`.
    #[error("an extended header has a record that is none")]
    ExtendedRecord,
    /// The keyword stands twice.
    #[error("an extended header says `{0}` twice")]
    RepeatedKeyword(String),
    /// The value is not of the keyword's kind.
    #[error("an extended header has a bad value for `{0}`")]
    KeywordValue(String),
    /// A global header that readers apply or ignore.
    #[error("a global extended header sets `{0}`, which some readers apply and others ignore")]
    GlobalKeyword(String),
    /// Two sizes for one entry.
    #[error("the header says that an entry has {header} bytes and the extended header {extended}")]
    Sizes {
        /// The header's.
        header: u64,
        /// The extended header's.
        extended: u64,
    },
    /// Two names for one entry.
    #[error("an entry has two different long names")]
    Names,
    /// Bytes after something that is no file: some readers skip them, others read them as headers.
    #[error("an entry that is no file has {0} bytes of content")]
    ContentOfNoFile(u64),
    /// A directory to some readers and a file to others.
    #[error("a file's name ends in a slash")]
    FileWithSlash,
    /// No name.
    #[error("an entry has no name")]
    NoName,
    /// A name with a NUL in it.
    #[error("a name has a NUL byte in it")]
    NulInName,
    /// A link without a target, or with one that is too long.
    #[error("a link has no target, or one that is too long")]
    LinkTarget,
    /// The map of a file with holes is not in order, or does not fit the file.
    #[error("the map of a sparse file is wrong")]
    SparseMap,
    /// A version of sparse files that is not known.
    #[error("a sparse file has an unknown version")]
    SparseVersion,
}

/// One entry, with everything that extensions say applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TarEntry {
    /// The name as written, a slash at the end of a directory's included.
    pub(super) name: Vec<u8>,
    pub(super) kind: TarKind,
    /// The twelve permission bits.
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: i64,
    /// Bytes of content, holes included; zero for all that is no file.
    pub(super) size: u64,
    /// As in the archive: nothing is filtered.
    pub(super) xattrs: Xattrs,
}

/// The types of entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TarKind {
    Directory,
    File,
    Symlink { target: Vec<u8> },
    Link { target: Vec<u8> },
    Special(SpecialKind),
}

impl TarKind {
    fn target_bytes(&self) -> u64 {
        match self {
            TarKind::Symlink { target } | TarKind::Link { target } => target.len() as u64,
            TarKind::Directory | TarKind::File | TarKind::Special(_) => 0,
        }
    }
}

/// Whether an archive may end without its end marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndMarker {
    /// Nothing else tells that the archive is whole.
    Required,
    /// A digest tells that it is whole, and Docker does not look for the marker.
    Optional,
}

/// Reads entries one after the other; as a [`Read`], the content of the last one.
pub(super) struct TarReader<R> {
    source: R,
    end_marker: EndMarker,
    limits: Limits,
    /// Bytes of the stream read so far.
    position: u64,
    /// Where the entry that is being read begins.
    entry_at: u64,
    entries: u64,
    /// Bytes of all names and attributes so far.
    metadata_bytes: u64,
    /// Bytes of all files so far, holes included.
    file_bytes: u64,
    /// Bytes of files that were given out, holes included.
    given_bytes: u64,
    content: Segments,
    /// Zeros after the content.
    padding: u64,
}

/// Extensions that wait for their entry.
#[derive(Default)]
struct Pending {
    extended: Option<Extended>,
    long_name: Option<Vec<u8>>,
    long_target: Option<Vec<u8>>,
    bytes: u64,
}

impl<R: Read> TarReader<R> {
    pub(super) fn new(source: R, end_marker: EndMarker, limits: &Limits) -> TarReader<R> {
        TarReader {
            source,
            end_marker,
            limits: limits.clone(),
            position: 0,
            entry_at: 0,
            entries: 0,
            metadata_bytes: 0,
            file_bytes: 0,
            given_bytes: 0,
            content: Segments::default(),
            padding: 0,
        }
    }

    /// The next entry, what is left of the last one's content skipped; `None` after the end marker, with the rest of the stream read.
    pub(super) fn next(&mut self) -> Result<Option<TarEntry>, ReadError> {
        let result = self.next_entry();
        result.map_err(|problem| match problem {
            Stop::Malformed(problem) => ReadError::Malformed { at: self.entry_at, problem },
            Stop::Read(error) => error,
        })
    }

    /// What is read from, at the end of the stream.
    pub(super) fn into_source(self) -> R {
        self.source
    }

    fn next_entry(&mut self) -> Result<Option<TarEntry>, Stop> {
        self.skip_content()?;
        self.entry_at = self.position;
        let mut pending = Pending::default();
        let mut block = [0; BLOCK];
        loop {
            match self.read_block(&mut block)? {
                Came::Whole if block != [0; BLOCK] => {}
                came @ (Came::Whole | Came::Nothing) => {
                    if pending.bytes != 0 {
                        return Err(Malformed::StrayExtension.into());
                    }
                    return self.end(came).map(|()| None);
                }
            }
            let header = RawHeader::new(&block)?;
            let flag = header.flag();
            if matches!(flag, b'x' | b'g' | b'L' | b'K') {
                if header.dialect == Dialect::V7 {
                    return Err(Malformed::ExtensionWithoutMagic.into());
                }
                let size = header.size()?;
                self.read_extension(flag, size, &mut pending)?;
                continue;
            }
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(ReadError::TooManyEntries { limit: self.limits.entries }.into());
            }
            return self.entry(&header, pending).map(Some);
        }
    }

    /// The end marker, or the end of the stream in its place.
    fn end(&mut self, first: Came) -> Result<(), Stop> {
        let mut block = [0; BLOCK];
        let second = match first {
            Came::Whole => self.read_block(&mut block)?,
            Came::Nothing => Came::Nothing,
        };
        match (second, self.end_marker) {
            (Came::Whole, _) if block != [0; BLOCK] => return Err(Malformed::LoneZeroBlock.into()),
            (Came::Whole, _) | (Came::Nothing, EndMarker::Optional) => {}
            (Came::Nothing, EndMarker::Required) => return Err(Malformed::NoEnd.into()),
        }
        let mut rest = [0; 8 * BLOCK];
        loop {
            match read_some(&mut self.source, &mut rest)? {
                0 => return Ok(()),
                count if rest.iter().take(count).all(|&byte| byte == 0) => {}
                _ => return Err(Malformed::AfterEnd.into()),
            }
        }
    }

    fn read_extension(&mut self, flag: u8, size: u64, pending: &mut Pending) -> Result<(), Stop> {
        // What an extension before it says about a size, some readers apply to this one.
        if let Some(extended) = pending.extended.as_ref().and_then(|extended| extended.size) {
            return Err(Malformed::Sizes { header: size, extended }.into());
        }
        let limit = self.limits.metadata_bytes;
        // A header's own block counts, so that empty extensions come to an end too.
        pending.bytes = pending.bytes.saturating_add(size).saturating_add(BLOCK as u64);
        if pending.bytes > limit.saturating_add(BLOCK as u64) {
            return Err(Malformed::TooMuchMetadata { limit }.into());
        }
        let body = self.read_body(size)?;
        let repeated = match flag {
            b'x' => pending.extended.replace(Extended::parse(&body)?).is_some(),
            b'g' => {
                if pending.extended.is_some() || pending.long_name.is_some() || pending.long_target.is_some() {
                    return Err(Malformed::StrayExtension.into());
                }
                Extended::check_global(&body)?;
                pending.bytes = 0;
                false
            }
            b'L' => pending.long_name.replace(long_name(body)?).is_some(),
            _ => pending.long_target.replace(long_name(body)?).is_some(),
        };
        if repeated { Err(Malformed::RepeatedExtension.into()) } else { Ok(()) }
    }

    fn entry(&mut self, header: &RawHeader<'_>, pending: Pending) -> Result<TarEntry, Stop> {
        let Pending { extended, long_name, long_target, bytes } = pending;
        let extended = extended.unwrap_or_default();
        let size = one_size(header.size()?, extended.size)?;
        let mut name = one_name(extended.path, long_name)?.unwrap_or_else(|| header.name());
        let target = one_name(extended.link_target, long_target)?.unwrap_or_else(|| header.link_target().to_vec());
        if let Some(sparse_name) = extended.sparse.as_ref().and_then(|sparse| sparse.name.clone()) {
            name = sparse_name;
        }
        if name.is_empty() {
            return Err(Malformed::NoName.into());
        }
        let kind = match header.flag() {
            0 if name.ends_with(b"/") => TarKind::Directory,
            b'0' | 0 | b'7' | b'S' => {
                if name.ends_with(b"/") {
                    return Err(Malformed::FileWithSlash.into());
                }
                TarKind::File
            }
            b'1' => TarKind::Link { target: some_target(target)? },
            b'2' => TarKind::Symlink { target: some_target(target)? },
            b'3' => {
                let (major, minor) = header.device()?;
                TarKind::Special(SpecialKind::Character { major, minor })
            }
            b'4' => {
                let (major, minor) = header.device()?;
                TarKind::Special(SpecialKind::Block { major, minor })
            }
            b'5' => TarKind::Directory,
            b'6' => TarKind::Special(SpecialKind::Fifo),
            other => return Err(Malformed::Type(other).into()),
        };
        if kind != TarKind::File && size != 0 {
            return Err(Malformed::ContentOfNoFile(size).into());
        }
        self.padding = padding(size) as u64;
        self.content = if kind == TarKind::File {
            let budget = self.limits.metadata_bytes.saturating_sub(bytes);
            sparse_segments(header, extended.sparse, size, |needed| {
                // The map is read from the stream; it may not be longer than what may describe an entry.
                if needed > budget {
                    return Err(Malformed::TooMuchMetadata { limit: self.limits.metadata_bytes }.into());
                }
                let mut block = [0; BLOCK];
                match self.read_block(&mut block)? {
                    Came::Whole => Ok(block),
                    Came::Nothing => Err(Malformed::Truncated.into()),
                }
            })?
        } else {
            Segments::default()
        };
        let described = name.len() + extended.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        self.metadata_bytes = self.metadata_bytes.saturating_add(described as u64 + kind.target_bytes());
        if self.metadata_bytes > self.limits.total_metadata_bytes {
            return Err(ReadError::TooMuchMetadata { limit: self.limits.total_metadata_bytes }.into());
        }
        let logical = self.content.size();
        self.file_bytes = self.file_bytes.saturating_add(logical);
        if self.file_bytes > self.limits.expanded_bytes {
            return Err(ReadError::TooManyBytes { limit: self.limits.expanded_bytes }.into());
        }
        // Holes cost the archive nothing and whoever fills them a disk.
        self.check_ratio(self.file_bytes, self.position.saturating_add(size))?;
        Ok(TarEntry {
            name,
            kind,
            mode: header.mode()?,
            uid: id("uid", extended.uid.map_or_else(|| header.uid(), Ok)?)?,
            gid: id("gid", extended.gid.map_or_else(|| header.gid(), Ok)?)?,
            mtime: extended.mtime.map_or_else(|| header.mtime(), Ok)?,
            size: logical,
            xattrs: extended.xattrs.into(),
        })
    }

    /// Files may be as much longer than the stream as the stream than its compressed form.
    fn check_ratio(&self, file_bytes: u64, stream_bytes: u64) -> Result<(), ReadError> {
        let Limits { ratio, ratio_free_bytes, .. } = self.limits;
        if file_bytes > ratio_free_bytes.max(stream_bytes.saturating_mul(ratio)) { Err(ReadError::Ratio { limit: ratio }) } else { Ok(()) }
    }

    fn skip_content(&mut self) -> Result<(), Stop> {
        let mut left = self.content.stored_left() + self.padding;
        self.content = Segments::default();
        self.padding = 0;
        let mut buffer = [0; 16 * BLOCK];
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = read_some(&mut self.source, buffer.get_mut(..part).unwrap_or_default())?;
            if count == 0 {
                return Err(Malformed::Truncated.into());
            }
            self.position += count as u64;
            left -= count as u64;
        }
        Ok(())
    }

    fn read_body(&mut self, size: u64) -> Result<Vec<u8>, Stop> {
        let padded = size + padding(size) as u64;
        let mut body = Vec::new();
        let count = (&mut self.source).take(padded).read_to_end(&mut body).map_err(ReadError::from)?;
        self.position += count as u64;
        if count as u64 != padded {
            return Err(Malformed::Truncated.into());
        }
        body.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        Ok(body)
    }

    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<Came, Stop> {
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match read_some(&mut self.source, rest)? {
                0 if filled == 0 => return Ok(Came::Nothing),
                0 => return Err(Malformed::Truncated.into()),
                count => {
                    filled += count;
                    self.position += count as u64;
                }
            }
        }
        Ok(Came::Whole)
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, stored) = self.content.read(&mut self.source, buffer)?;
        self.position += stored;
        self.given_bytes = self.given_bytes.saturating_add(count as u64);
        // What the header promised to store may not be there.
        self.check_ratio(self.given_bytes, self.position).map_err(io::Error::other)?;
        if count == 0 && !buffer.is_empty() && self.content.left() > 0 {
            return Err(io::Error::other(ReadError::Malformed { at: self.entry_at, problem: Malformed::Truncated }));
        }
        Ok(count)
    }
}

/// One read that no signal interrupts.
fn read_some(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, ReadError> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map_err(ReadError::from),
        }
    }
}

/// Whether a block came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Whole,
    Nothing,
}

/// Why an entry was not read; where is added by [`TarReader::next`].
pub(super) enum Stop {
    Malformed(Malformed),
    Read(ReadError),
}

impl From<Malformed> for Stop {
    fn from(problem: Malformed) -> Stop {
        Stop::Malformed(problem)
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Stop {
        Stop::Read(error)
    }
}

/// The size on which every reader agrees. An extended header may state one that the header's field cannot hold; then that is zero.
fn one_size(header: u64, extended: Option<u64>) -> Result<u64, Malformed> {
    const FIELD_MAX: u64 = 0o777_7777_7777;
    match extended {
        None => Ok(header),
        Some(extended) if extended == header || (header == 0 && extended > FIELD_MAX) => Ok(extended),
        Some(extended) => Err(Malformed::Sizes { header, extended }),
    }
}

/// The long name that PAX or GNU gives. Readers differ in which of the two counts.
fn one_name(extended: Option<Vec<u8>>, gnu: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Malformed> {
    match (extended, gnu) {
        (Some(extended), Some(gnu)) if extended != gnu => Err(Malformed::Names),
        (extended, gnu) => Ok(extended.or(gnu)),
    }
}

/// The body of a GNU long name, which ends with NULs.
fn long_name(mut body: Vec<u8>) -> Result<Vec<u8>, Malformed> {
    while body.last() == Some(&0) {
        body.pop();
    }
    if body.contains(&0) { Err(Malformed::NulInName) } else { Ok(body) }
}

fn some_target(target: Vec<u8>) -> Result<Vec<u8>, Malformed> {
    if target.is_empty() || target.len() > 4095 { Err(Malformed::LinkTarget) } else { Ok(target) }
}

/// The largest number means "no change" to the kernel, and nobody can have it.
fn id(field: &'static str, number: i64) -> Result<u32, Malformed> {
    u32::try_from(number).ok().filter(|&id| id != u32::MAX).ok_or(Malformed::Number { field })
}
