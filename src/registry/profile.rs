//! A host → how it wants blobs: from the settings, else as it was learnt, else as it is known, else as is usual.

use serde::{Deserialize, Serialize};

use super::{Chunks, Host, Mounts, Streams, Uploads};

/// In what pieces blobs are sent where they are, unless something else is known.
const CHUNK_BYTES: u64 = 16 << 20;

/// The smallest pieces that a registry can teach us.
const LEAST_CHUNK_BYTES: u64 = 256 << 10;

/// How a host wants blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) uploads: Uploads,
    pub(super) chunks: Chunks,
    pub(super) mounts: Mounts,
    pub(super) streams: Streams,
}

/// What was learnt of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Learnt {
    /// It takes blobs in chunks alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) chunked: bool,
    /// It takes no chunks.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) no_chunks: bool,
    /// The largest chunk that it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) chunk_bytes: Option<u64>,
    /// It refused chunks while this process ran, which weighs more than what the settings say of it.
    #[serde(skip)]
    pub(super) refused_chunks: bool,
    /// It knows no mounts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) no_mounts: bool,
    /// It takes no blob without a length.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) no_streams: bool,
}

impl Profile {
    pub(super) fn of(host: &str, settings: Option<&Host>, learnt: Learnt) -> Profile {
        let known = known(host);
        let learnt_uploads = if learnt.chunked { Some(Uploads::Chunked) } else { None };
        let learnt_chunks = match (learnt.no_chunks, learnt.chunk_bytes) {
            (true, _) => Some(Chunks::Refused),
            (false, Some(bytes)) => Some(Chunks::Of { bytes: bytes.max(LEAST_CHUNK_BYTES) }),
            (false, None) => None,
        };
        let learnt_mounts = if learnt.no_mounts { Some(Mounts::Never) } else { None };
        let chunks = match Some(Chunks::Refused)
            .filter(|_| learnt.refused_chunks)
            .or(settings.and_then(|host| host.chunks))
            .or(learnt_chunks)
            .unwrap_or(known.chunks)
        {
            Chunks::Of { bytes } => Chunks::Of { bytes: bytes.max(1) },
            Chunks::Refused => Chunks::Refused,
        };
        let uploads = settings.and_then(|host| host.uploads).or(learnt_uploads).unwrap_or(known.uploads);
        // Whoever takes no chunks gets none, whatever else was said.
        let uploads = if chunks == Chunks::Refused && uploads == Uploads::Chunked { Uploads::Whole } else { uploads };
        let learnt_streams = if learnt.no_streams { Some(Streams::Never) } else { None };
        let streams = settings.and_then(|host| host.streams).or(learnt_streams).unwrap_or(known.streams);
        Profile {
            uploads,
            chunks,
            // A long request of the same kind as a chunk is nothing for who takes no chunks, or nothing that is long, or counts requests.
            streams: if uploads == Uploads::Whole && chunks != Chunks::Refused { streams } else { Streams::Never },
            mounts: settings.and_then(|host| host.mounts).or(learnt_mounts).unwrap_or(known.mounts),
        }
    }
}

/// What is known of registries that many use.
fn known(host: &str) -> Profile {
    let usual =
        Profile { uploads: Uploads::Whole, chunks: Chunks::Of { bytes: CHUNK_BYTES }, mounts: Mounts::From, streams: Streams::WhilePacked };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let amazon = name == "public.ecr.aws"
        || (name.contains(".dkr.ecr") && (name.ends_with(".amazonaws.com") || name.ends_with(".amazonaws.com.cn")));
    if amazon {
        // It answers 201 to every chunk, and forgets all but the first.
        return Profile { chunks: Chunks::Refused, ..usual };
    }
    if name == "ghcr.io" {
        // It answers 416 to chunks above 4 MiB; whole blobs may be of any size.
        return Profile { chunks: Chunks::Of { bytes: 4 << 20 }, ..usual };
    }
    usual
}

impl Learnt {
    /// What is learnt from a chunk that is not taken.
    pub(super) fn without_chunks(self) -> Learnt {
        Learnt { no_chunks: true, refused_chunks: true, chunked: false, ..self }
    }

    /// What is learnt from a chunk of this size being too large; `None` where smaller ones would be absurd.
    pub(super) fn smaller(self, bytes: u64) -> Option<Learnt> {
        (bytes > LEAST_CHUNK_BYTES).then(|| Learnt { chunk_bytes: Some((bytes / 4).max(LEAST_CHUNK_BYTES)), ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_come_first_then_what_was_learnt_then_what_is_known() {
        let learnt = Learnt { chunked: true, chunk_bytes: Some(1 << 20), no_mounts: true, ..Learnt::default() };
        let set = Host {
            uploads: Some(Uploads::SinglePost),
            chunks: Some(Chunks::Of { bytes: 7 }),
            mounts: Some(Mounts::Anywhere),
            ..Host::default()
        };
        for (host, settings, learnt, expected) in [
            ("r.example.com", None, Learnt::default(), (Uploads::Whole, Chunks::Of { bytes: 16 << 20 }, Mounts::From)),
            ("r.example.com", None, learnt, (Uploads::Chunked, Chunks::Of { bytes: 1 << 20 }, Mounts::Never)),
            ("r.example.com", Some(&set), learnt, (Uploads::SinglePost, Chunks::Of { bytes: 7 }, Mounts::Anywhere)),
            ("ghcr.io", None, Learnt::default(), (Uploads::Whole, Chunks::Of { bytes: 4 << 20 }, Mounts::From)),
            ("1.dkr.ecr.eu-west-1.amazonaws.com", None, Learnt::default(), (Uploads::Whole, Chunks::Refused, Mounts::From)),
            (
                "1.dkr.ecr.eu-west-1.amazonaws.com.example.com",
                None,
                Learnt::default(),
                (Uploads::Whole, Chunks::Of { bytes: 16 << 20 }, Mounts::From),
            ),
            ("r.example.com", Some(&set), learnt.without_chunks(), (Uploads::SinglePost, Chunks::Refused, Mounts::Anywhere)),
            (
                "public.ecr.aws",
                None,
                Learnt { chunked: true, no_chunks: true, ..Learnt::default() },
                (Uploads::Whole, Chunks::Refused, Mounts::From),
            ),
        ] {
            let profile = Profile::of(host, settings, learnt);
            assert_eq!((profile.uploads, profile.chunks, profile.mounts), expected, "{host}");
        }
    }

    #[test]
    fn a_chunk_that_is_too_large_teaches_a_smaller_one_to_a_limit() {
        let mut sizes = Vec::new();
        let mut bytes = 16 << 20;
        while let Some(learnt) = Learnt::default().smaller(bytes) {
            bytes = learnt.chunk_bytes.unwrap();
            sizes.push(bytes);
        }
        assert_eq!(sizes, [4 << 20, 1 << 20, 256 << 10]);
    }
}
