//! A compressed stream of unknown make in, its bytes out: counted, limited and stopped when asked to.

use std::io::{self, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::reader::ReadError;
use crate::event::Cancel;

/// How a stream is compressed, as its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Gzip, any number of members.
    Gzip,
    /// Zstandard, any number of frames.
    Zstd,
    /// XZ, any number of streams. Not allowed in layers.
    Xz,
    /// Bzip2, any number of streams. Not allowed in layers.
    Bzip2,
    /// Not compressed.
    Plain,
}

impl Encoding {
    /// How many first bytes [`Encoding::detect`] wants to see.
    pub(super) const MAGIC_BYTES: u64 = 6;

    /// Tells the encoding by the stream's first bytes.
    #[must_use]
    pub fn detect(first: &[u8]) -> Encoding {
        match first {
            [0x1f, 0x8b, ..] => Encoding::Gzip,
            // A frame, or a frame to be skipped.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Encoding::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Encoding::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Encoding::Bzip2,
            _ => Encoding::Plain,
        }
    }
}

/// Bounds on what is read from somebody else. What goes beyond one is an error, never cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the stream when decompressed, and bytes of all its files with their holes filled.
    pub expanded_bytes: u64,
    /// How many times longer than the compressed stream the decompressed one may be.
    pub ratio: u64,
    /// Decompressed bytes that are granted whatever the ratio.
    pub ratio_free_bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Bytes of what describes one entry: names, attributes, sparse maps.
    pub metadata_bytes: u64,
    /// Bytes of the names and attributes of all entries, which are held in memory.
    pub total_metadata_bytes: u64,
    /// Bytes of a path.
    pub path_bytes: usize,
    /// Names in a path.
    pub path_names: usize,
}

impl Limits {
    /// Bounds that no image known to be in use comes near.
    pub const GENEROUS: Limits = Limits {
        expanded_bytes: 1 << 40,
        ratio: 200,
        ratio_free_bytes: 8 << 30,
        entries: 4_000_000,
        metadata_bytes: 1 << 20,
        total_metadata_bytes: 1 << 30,
        path_bytes: 4095,
        path_names: 512,
    };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::GENEROUS
    }
}

type Source<'a> = Chain<Cursor<Vec<u8>>, Box<dyn Read + Send + 'a>>;

/// A decompressed stream.
pub(super) struct Decoded<'a> {
    decoder: Decoder<'a>,
    compressed_bytes: Arc<AtomicU64>,
    expanded_bytes: u64,
    limits: Limits,
    cancel: &'a Cancel,
}

enum Decoder<'a> {
    Gzip(Box<flate2::bufread::MultiGzDecoder<BufReader<Counted<Source<'a>>>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<Counted<Source<'a>>>>>),
    Xz(Box<lzma_rust2::XzReader<BufReader<Counted<Source<'a>>>>>),
    Bzip2(Box<bzip2::bufread::MultiBzDecoder<BufReader<Counted<Source<'a>>>>>),
    Plain(BufReader<Counted<Source<'a>>>),
}

/// The memory that one XZ stream may ask for: what level 9 needs, and as much again.
const XZ_MEMORY_KIB: u32 = 128 << 10;
/// Zstandard windows up to 128 MiB, as the command line tool reads without being asked.
const ZSTD_WINDOW_LOG: u32 = 27;
const BUFFER_BYTES: usize = 64 << 10;

impl<'a> Decoded<'a> {
    /// Looks at the first bytes and makes the decoder for them.
    pub(super) fn new(mut source: Box<dyn Read + Send + 'a>, limits: &Limits, cancel: &'a Cancel) -> Result<Decoded<'a>, ReadError> {
        let mut first = Vec::new();
        (&mut source).take(Encoding::MAGIC_BYTES).read_to_end(&mut first)?;
        let encoding = Encoding::detect(&first);
        let compressed_bytes = Arc::new(AtomicU64::new(0));
        let counted = Counted { inner: Cursor::new(first).chain(source), bytes: Arc::clone(&compressed_bytes) };
        let source = BufReader::with_capacity(BUFFER_BYTES, counted);
        let decoder = match encoding {
            Encoding::Gzip => Decoder::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(source))),
            Encoding::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(source)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Decoder::Zstd(Box::new(decoder))
            }
            Encoding::Xz => Decoder::Xz(Box::new(lzma_rust2::XzReader::new_mem_limit(source, true, XZ_MEMORY_KIB))),
            Encoding::Bzip2 => Decoder::Bzip2(Box::new(bzip2::bufread::MultiBzDecoder::new(source))),
            Encoding::Plain => Decoder::Plain(source),
        };
        Ok(Decoded { decoder, compressed_bytes, expanded_bytes: 0, limits: limits.clone(), cancel })
    }

    pub(super) fn encoding(&self) -> Encoding {
        match self.decoder {
            Decoder::Gzip(_) => Encoding::Gzip,
            Decoder::Zstd(_) => Encoding::Zstd,
            Decoder::Xz(_) => Encoding::Xz,
            Decoder::Bzip2(_) => Encoding::Bzip2,
            Decoder::Plain(_) => Encoding::Plain,
        }
    }
}

impl Read for Decoded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other(ReadError::Cancelled));
        }
        let count = match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Zstd(decoder) => decoder.read(buffer),
            Decoder::Xz(decoder) => decoder.read(buffer),
            Decoder::Bzip2(decoder) => decoder.read(buffer),
            Decoder::Plain(source) => source.read(buffer),
        }?;
        self.expanded_bytes += count as u64;
        let Limits { expanded_bytes, ratio, ratio_free_bytes, .. } = self.limits;
        if self.expanded_bytes > expanded_bytes {
            return Err(io::Error::other(ReadError::TooManyBytes { limit: expanded_bytes }));
        }
        let compressed = self.compressed_bytes.load(Ordering::Relaxed);
        if self.expanded_bytes > ratio_free_bytes.max(compressed.saturating_mul(ratio)) {
            return Err(io::Error::other(ReadError::Ratio { limit: ratio }));
        }
        Ok(count)
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The decompressed bytes of a layer, whatever it is compressed with; within limits, and no further once `cancel` is raised.
///
/// # Errors
/// When the first bytes cannot be read. What is wrong later comes from reading.
pub fn expand<'a>(layer: Box<dyn Read + Send + 'a>, limits: &Limits, cancel: &'a Cancel) -> Result<impl Read + use<'a>, ReadError> {
    Decoded::new(layer, limits, cancel)
}
