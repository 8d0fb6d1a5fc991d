//! Compression profiles: a profile's name in, everything that decides its bytes out.
//!
//! Source of truth: `specs/layers.md`, section "Profiles". A profile never changes: other bytes are another profile.

use std::fmt;
use std::str::FromStr;

use libdeflater::{CompressionLvl, Compressor};

use super::blocks::Rule;

/// How a layer's tar stream becomes a blob. The bytes of the blob depend on the stream and the profile alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// `gzip/1`: one gzip member per block, made by libdeflate 1.26 at level 5.
    Gzip1,
    /// `zstd/1`: one frame per block, made by zstd 1.5.7 at level 3.
    Zstd1,
    /// `none`: the tar stream as it is.
    Plain,
}

/// The text names no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no compression profile that this version knows: expected `gzip/1`, `zstd/1` or `none`")]
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
    pub const ALL: [Profile; 3] = [Profile::Gzip1, Profile::Zstd1, Profile::Plain];

    /// The name that stands in pins, keys and the specification.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Gzip1 => "gzip/1",
            Profile::Zstd1 => "zstd/1",
            Profile::Plain => "none",
        }
    }

    /// What follows `application/vnd.oci.image.layer.v1.tar` in the blob's media type.
    #[must_use]
    pub const fn media_type_suffix(self) -> &'static str {
        match self {
            Profile::Gzip1 => "+gzip",
            Profile::Zstd1 => "+zstd",
            Profile::Plain => "",
        }
    }

    pub(super) const fn rule(self) -> Rule {
        const MIB: u64 = 1 << 20;
        match self {
            Profile::Gzip1 => Rule { target: MIB, maximum: 4 * MIB, cut: MIB },
            Profile::Zstd1 => Rule { target: 2 * MIB, maximum: 4 * MIB, cut: 4 * MIB },
            // The blocks of a stream that is not compressed leave no trace in it.
            Profile::Plain => Rule { target: MIB, maximum: MIB, cut: MIB },
        }
    }

    /// What compresses this profile's blocks; `None` where nothing does.
    pub(super) fn encoder(self) -> Result<Option<Encoder>, EncoderFailed> {
        match self {
            Profile::Gzip1 => {
                let level = CompressionLvl::new(5).map_err(|error| self.failed(format!("{error:?}")))?;
                Ok(Some(Encoder::Gzip(Compressor::new(level))))
            }
            Profile::Zstd1 => {
                let encoder = zstd::bulk::Compressor::new(3).map_err(|error| self.failed(error.to_string()))?;
                Ok(Some(Encoder::Zstd(Box::new(encoder))))
            }
            Profile::Plain => Ok(None),
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

/// Compresses blocks, each on its own: what came before never shows.
pub(super) enum Encoder {
    Gzip(Compressor),
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

impl Encoder {
    /// Replaces what is in `out` by the compressed block.
    pub(super) fn compress(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<(), EncoderFailed> {
        match self {
            Encoder::Gzip(encoder) => {
                out.resize(encoder.gzip_compress_bound(block.len()), 0);
                let length = encoder.gzip_compress(block, out).map_err(|error| Profile::Gzip1.failed(format!("{error:?}")))?;
                out.truncate(length);
                // RFC 1952: no flags, no time, no hint on the level, operating system unknown.
                if let Some(header) = out.get_mut(..10) {
                    header.copy_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_survives_its_name() {
        for profile in Profile::ALL {
            assert_eq!(profile.name().parse(), Ok(profile));
        }
        assert_eq!("gzip/2".parse::<Profile>(), Err(UnknownProfile("gzip/2".to_owned())));
    }

    #[test]
    fn a_block_has_the_same_bytes_whatever_was_compressed_before() {
        let blocks: Vec<Vec<u8>> = (1..6_usize).map(|n| (0..n * 70_000).map(|i| (i * n / 7 % 251) as u8).collect()).collect();
        for profile in [Profile::Gzip1, Profile::Zstd1] {
            let mut warm = profile.encoder().unwrap().unwrap();
            for block in &blocks {
                let (mut one, mut other) = (Vec::new(), vec![1; 5]);
                warm.compress(block, &mut one).unwrap();
                profile.encoder().unwrap().unwrap().compress(block, &mut other).unwrap();
                assert_eq!(one, other, "{profile}");
            }
        }
    }
}
