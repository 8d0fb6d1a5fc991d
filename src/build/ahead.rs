//! A layer blob while it is written → whoever sends it ahead of the build's end.
//!
//! What a build is to be pushed to is known before it is built; that the blob will be part of an image, and how it is called, only
//! afterwards. So bytes may leave early, and nothing is named anywhere before the build went well.

use std::fmt;
use std::io::{self, Write};

use lapstrake_cache::{BlobBehind, Digest, HashedBlobWriter};

use crate::image::Reference;

/// A blob below this is done before it is worth beginning to send it: asking whether it is there costs less.
const WORTH_SENDING_BYTES: u64 = 4 << 20;

/// Takes blobs of layers while they are written. Must not block, and cannot fail: whatever it could not do is done when the image is
/// pushed.
pub trait SendAhead: Send + Sync + fmt::Debug {
    /// A blob has become worth sending, for images with these tags. The builder says by the answer that it is whole, and in the store, and how it is
    /// called; where that cannot be, the answer is dropped.
    fn begin(&self, tags: &[Reference], blob: BlobBehind) -> WhenNamed;
}

/// What is told the digest and the size in bytes of a blob that was sent ahead.
pub type WhenNamed = Box<dyn FnOnce(&Digest, u64) + Send>;

/// Where a blob may be sent to while it is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ahead<'a> {
    /// Nowhere.
    No,
    /// To images with these tags.
    To(&'a dyn SendAhead, &'a [Reference]),
}

/// A blob's writer that lets others read behind it once that is worth while.
pub(super) struct Followed<'a> {
    writer: HashedBlobWriter,
    ahead: Ahead<'a>,
    written: u64,
    named: Option<WhenNamed>,
}

impl<'a> Followed<'a> {
    pub(super) fn new(writer: HashedBlobWriter, ahead: Ahead<'a>) -> Followed<'a> {
        Followed { writer, ahead, written: 0, named: None }
    }

    /// Puts the blob into the store.
    pub(super) fn finish_as(self, digest: &Digest) -> Result<(), lapstrake_cache::Error> {
        let stored = self.writer.finish_as(*digest)?;
        if let Some(named) = self.named {
            named(&stored.digest, stored.size);
        }
        Ok(())
    }

    fn begin(&mut self) {
        if let Ahead::To(sender, tags) = std::mem::replace(&mut self.ahead, Ahead::No)
            && !tags.is_empty()
            // Who cannot read behind it sends it later.
            && let Ok(behind) = self.writer.behind()
        {
            self.named = Some(sender.begin(tags, behind));
        }
    }
}

impl Write for Followed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.written = self.written.saturating_add(written as u64);
        if self.written >= WORTH_SENDING_BYTES {
            self.begin();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
