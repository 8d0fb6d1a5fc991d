//! Compression profiles: a profile's name in, everything that decides its bytes out.
//!
//! Source of truth: `specs/layers.md`, section "Profiles". A profile never changes: other bytes are another profile.

use std::fmt;
use std::str::FromStr;

use libdeflater::{CompressionLvl, Compressor, Crc};
use zlib_rs::{Deflate, DeflateFlush};

use super::blocks::Rule;

/// How a layer's tar stream becomes a blob. The bytes of the blob depend on the stream and the profile alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// `gzip/1`: one gzip member per block, made by libdeflate 1.26 at level 5.
    Gzip1,
    /// `gzip-single/1`: one gzip member in all, for readers that stop after the first; made by zlib-rs 0.6.8 at level 6.
    GzipSingle1,
    /// `zstd/1`: one frame per block, made by zstd 1.5.7 at level 3.
    Zstd1,
    /// `none`: the tar stream as it is.
    Plain,
}

/// The text names no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no compression profile that this version knows: expected `gzip/1`, `gzip-single/1`, `zstd/1` or `none`")]
pub struct UnknownProfile(pub String);

/// A block could not be compressed; only lack of memory does that.
#[derive(Debug, thiserror::Error)]
#[error("the encoder of profile {profile} failed: {reason}")]
pub struct EncoderFailed {
    /// Which encoder.
    pub profile: Profile,
    /// What it said.
    pub reason: String,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Profile; 4] = [Profile::Gzip1, Profile::GzipSingle1, Profile::Zstd1, Profile::Plain];

    /// The name that stands in pins, keys and the specification.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Gzip1 => "gzip/1",
            Profile::GzipSingle1 => "gzip-single/1",
            Profile::Zstd1 => "zstd/1",
            Profile::Plain => "none",
        }
    }

    /// What follows `application/vnd.oci.image.layer.v1.tar` in the blob's media type.
    #[must_use]
    pub const fn media_type_suffix(self) -> &'static str {
        match self {
            Profile::Gzip1 | Profile::GzipSingle1 => "+gzip",
            Profile::Zstd1 => "+zstd",
            Profile::Plain => "",
        }
    }

    pub(super) const fn rule(self) -> Rule {
        const MIB: u64 = 1 << 20;
        match self {
            Profile::Gzip1 => Rule { target: MIB, maximum: 4 * MIB, cut: MIB },
            Profile::GzipSingle1 | Profile::Zstd1 => Rule { target: 2 * MIB, maximum: 4 * MIB, cut: 4 * MIB },
            // The blocks of a stream that is not compressed leave no trace in it.
            Profile::Plain => Rule { target: MIB, maximum: MIB, cut: MIB },
        }
    }

    /// What compresses this profile's blocks; `None` where nothing does.
    pub(super) fn encoder(self) -> Result<Option<Encoder>, EncoderFailed> {
        match self {
            Profile::Gzip1 => {
                let level = |level| CompressionLvl::new(level).map_err(|error| self.failed(format!("{error:?}")));
                let (full, quick, none) = (Compressor::new(level(5)?), Compressor::new(level(1)?), Compressor::new(level(0)?));
                Ok(Some(Encoder::Gzip(Box::new(Gzip { full, quick, none, sample: Vec::new() }))))
            }
            // Raw: the frame of the member belongs to no block. The window of 32 KiB is the format's largest.
            Profile::GzipSingle1 => Ok(Some(Encoder::Deflate(Box::new(Deflate::new(6, false, 15))))),
            Profile::Zstd1 => {
                let encoder = zstd::bulk::Compressor::new(3).map_err(|error| self.failed(error.to_string()))?;
                Ok(Some(Encoder::Zstd(Box::new(encoder))))
            }
            Profile::Plain => Ok(None),
        }
    }

    /// What stands before and after the blocks; `None` where nothing does.
    pub(super) fn frame(self) -> Option<Frame> {
        match self {
            Profile::GzipSingle1 => Some(Frame { checksum: Crc::new() }),
            Profile::Gzip1 | Profile::Zstd1 | Profile::Plain => None,
        }
    }

    fn failed(self, reason: String) -> EncoderFailed {
        EncoderFailed { profile: self, reason }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Profile, UnknownProfile> {
        Profile::ALL.into_iter().find(|profile| profile.name() == text).ok_or_else(|| UnknownProfile(text.to_owned()))
    }
}

/// RFC 1952: no flags, no time, no hint on the level, operating system unknown.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// The frame of a gzip member that is made of many blocks. It sees the stream before compression, in order.
pub(super) struct Frame {
    checksum: Crc,
}

impl Frame {
    /// What stands before the blocks.
    pub(super) const HEADER: [u8; 10] = HEADER;

    /// Sees a block.
    pub(super) fn update(&mut self, block: &[u8]) {
        self.checksum.update(block);
    }

    /// What stands after the blocks: an empty last block (RFC 1951, 3.2.6), the CRC-32 and the length modulo 2^32 (RFC 1952, 2.3.1).
    pub(super) fn finish(self, length: u64) -> Vec<u8> {
        let [a, b, c, d, ..] = length.to_le_bytes();
        [&[0x03, 0x00][..], &self.checksum.sum().to_le_bytes(), &[a, b, c, d]].concat()
    }
}

/// Compresses blocks, each on its own: what came before never shows.
pub(super) enum Encoder {
    Gzip(Box<Gzip>),
    Deflate(Box<Deflate>),
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

/// What an encoder does with a block; the block alone decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// It is compressed.
    Full,
    /// It is stored, which is quicker than to find it again.
    None,
}

impl Encoder {
    /// What is to be done with a block.
    pub(super) fn effort(&mut self, block: &[u8]) -> Result<Effort, EncoderFailed> {
        match self {
            Encoder::Gzip(encoders) => encoders.effort(block),
            Encoder::Deflate(_) | Encoder::Zstd(_) => Ok(Effort::Full),
        }
    }

    /// Replaces what is in `out` by the compressed block; `effort` is what [`Encoder::effort`] has said of it.
    pub(super) fn compress(&mut self, block: &[u8], effort: Effort, out: &mut Vec<u8>) -> Result<(), EncoderFailed> {
        match self {
            Encoder::Gzip(encoders) => {
                let encoder = match effort {
                    Effort::Full => &mut encoders.full,
                    Effort::None => &mut encoders.none,
                };
                out.resize(encoder.gzip_compress_bound(block.len()), 0);
                let length = encoder.gzip_compress(block, out).map_err(|error| Profile::Gzip1.failed(format!("{error:?}")))?;
                out.truncate(length);
                if let Some(header) = out.get_mut(..HEADER.len()) {
                    header.copy_from_slice(&HEADER);
                }
            }
            Encoder::Deflate(encoder) => {
                encoder.reset();
                // What does not compress is stored, with five bytes for each piece of at most 65535 (RFC 1951, 3.2.4), or of the
                // encoder's own buffer, which is half as long; the flush and a block's head are the rest.
                out.resize(block.len() + block.len() / 1024 + 256, 0);
                // A full flush ends the block at a whole byte and forgets the window, so that the next needs nothing of it.
                encoder
                    .compress(block, out, DeflateFlush::FullFlush)
                    .map_err(|error| Profile::GzipSingle1.failed(error.as_str().to_owned()))?;
                let (taken, made) = (encoder.total_in(), usize::try_from(encoder.total_out()).unwrap_or(usize::MAX));
                if taken != block.len() as u64 || made >= out.len() {
                    return Err(Profile::GzipSingle1.failed(format!("{taken} of {} bytes fitted", block.len())));
                }
                out.truncate(made);
            }
            Encoder::Zstd(encoder) => {
                out.resize(zstd::zstd_safe::compress_bound(block.len()), 0);
                let length =
                    encoder.compress_to_buffer(block, out.as_mut_slice()).map_err(|error| Profile::Zstd1.failed(error.to_string()))?;
                out.truncate(length);
            }
        }
        Ok(())
    }
}

/// Bytes in a sample.
const SAMPLE: usize = 2048;
/// A sample that quick compression makes no shorter than this tells of nothing to compress.
const HARDLY_SHORTER: usize = SAMPLE - SAMPLE / 64;
/// Samples in a block.
const SAMPLES: usize = 16;

/// libdeflate at the levels that `gzip/1` uses.
pub(super) struct Gzip {
    full: Compressor,
    quick: Compressor,
    none: Compressor,
    sample: Vec<u8>,
}

impl Gzip {
    /// What is compressed or encrypted already is stored: trying again costs as much time as text does and gains nothing. What text it
    /// is shows the first sample, nearly always.
    fn effort(&mut self, block: &[u8]) -> Result<Effort, EncoderFailed> {
        if block.len() < SAMPLES * SAMPLE {
            return Ok(Effort::Full);
        }
        self.sample.resize(self.quick.deflate_compress_bound(SAMPLE), 0);
        for sample in block.chunks_exact(block.len() / SAMPLES).take(SAMPLES).filter_map(|part| part.get(..SAMPLE)) {
            let length =
                self.quick.deflate_compress(sample, &mut self.sample).map_err(|error| Profile::Gzip1.failed(format!("{error:?}")))?;
            if length < HARDLY_SHORTER {
                return Ok(Effort::Full);
            }
        }
        Ok(Effort::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compress(encoder: &mut Encoder, block: &[u8], out: &mut Vec<u8>) {
        let effort = encoder.effort(block).unwrap();
        encoder.compress(block, effort, out).unwrap();
    }

    #[test]
    fn a_profile_survives_its_name() {
        for profile in Profile::ALL {
            assert_eq!(profile.name().parse(), Ok(profile));
        }
        assert_eq!("gzip/2".parse::<Profile>(), Err(UnknownProfile("gzip/2".to_owned())));
    }

    #[test]
    fn what_does_not_compress_is_stored_and_what_does_is_not() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(1 << 20)
        .collect();
        let mut mixed = noise.clone();
        mixed[..1 << 17].fill(b'a');
        let compressed = |block: &[u8]| {
            let mut out = Vec::new();
            compress(&mut Profile::Gzip1.encoder().unwrap().unwrap(), block, &mut out);
            out.len()
        };
        // A stored block has five bytes of its own for each 65535 (RFC 1951, 3.2.4), a member eighteen (RFC 1952).
        assert_eq!(compressed(&noise), noise.len() + 17 * 5 + 18);
        assert!(compressed(&mixed) < noise.len() - (1 << 17) + 4096);
    }

    #[test]
    fn a_block_has_the_same_bytes_whatever_was_compressed_before() {
        let blocks: Vec<Vec<u8>> = (1..6_usize).map(|n| (0..n * 70_000).map(|i| (i * n / 7 % 251) as u8).collect()).collect();
        for profile in [Profile::Gzip1, Profile::GzipSingle1, Profile::Zstd1] {
            let mut warm = profile.encoder().unwrap().unwrap();
            for block in &blocks {
                let (mut one, mut other) = (Vec::new(), vec![1; 5]);
                compress(&mut warm, block, &mut one);
                compress(&mut profile.encoder().unwrap().unwrap(), block, &mut other);
                assert_eq!(one, other, "{profile}");
            }
        }
    }
}
