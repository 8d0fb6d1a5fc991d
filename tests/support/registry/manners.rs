//! How a registry in memory behaves: what real ones do differently, and the network before them.

/// What becomes of a request that carries bytes and breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// What came is kept.
    Bytes,
    /// What earlier requests brought is kept.
    Requests,
    /// The session is lost.
    Nothing,
}

/// What becomes of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkManners {
    Taken,
    /// Those above so many bytes are answered with 416.
    UpTo(usize),
    /// None: 405.
    Refused,
    /// All but the first are answered as if they were taken, and are not.
    FirstOnly,
    /// Only so many bytes of each are taken, as the answer says.
    Partly(usize),
}

/// What becomes of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MountManners {
    Taken,
    /// Also without `from`, of what any repository has.
    TakenFromAnywhere,
    /// Answered with a session.
    Ignored,
    /// 405.
    Refused,
}

/// What becomes of bodies without a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamManners {
    Taken,
    /// 411.
    Refused,
}

/// How a registry behaves.
#[derive(Debug, Clone)]
pub(crate) struct Manners {
    pub(crate) keeping: Keeping,
    pub(crate) chunks: ChunkManners,
    pub(crate) mounts: MountManners,
    pub(crate) streams: StreamManners,
    /// Whether a blob may come with the request that opens a session.
    pub(crate) single_post: bool,
    /// The largest body that the proxy before it lets through.
    pub(crate) largest_body: Option<usize>,
    /// The smallest chunk, as it says.
    pub(crate) chunk_min: Option<usize>,
    /// Whether it knows referrers.
    pub(crate) referrers: bool,
    /// The connection is cut whenever so many bytes of blobs came in.
    pub(crate) cut_up_every: Option<usize>,
    /// The connection is cut when so many bytes of a blob went out.
    pub(crate) cut_down_every: Option<usize>,
    /// The connection is cut once, when so many bytes of blobs came in.
    pub(crate) cut_up_once: Option<usize>,
}

impl Default for Manners {
    fn default() -> Manners {
        Manners {
            keeping: Keeping::Bytes,
            chunks: ChunkManners::Taken,
            mounts: MountManners::Taken,
            streams: StreamManners::Taken,
            single_post: false,
            largest_body: None,
            chunk_min: None,
            referrers: false,
            cut_up_every: None,
            cut_down_every: None,
            cut_up_once: None,
        }
    }
}

/// How many bytes of blobs went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Of blobs to it, as they came.
    pub(crate) arrived: u64,
    /// The same, when their requests had ended.
    pub(crate) up: u64,
    pub(crate) down: u64,
    pub(crate) cuts: usize,
}
