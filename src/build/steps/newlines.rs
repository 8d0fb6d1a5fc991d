//! Bytes with CR LF as LF, as a stream.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use lapstrake_cache::Fingerprinter;

use crate::tree::Content;

/// Files with a NUL byte in their first bytes, this many, are no text and are left alone.
const LOOK_BYTES: u64 = 8000;

/// Reads `inner` with CR LF as LF; a CR that stands alone stays.
pub(in crate::build) struct Lf<R> {
    inner: BufReader<Chain<Cursor<Vec<u8>>, R>>,
    text: bool,
}

impl<R: Read> Lf<R> {
    /// Reads as much as decides whether this is text.
    pub(in crate::build) fn new(mut inner: R) -> io::Result<Lf<R>> {
        let mut head = Vec::new();
        inner.by_ref().take(LOOK_BYTES).read_to_end(&mut head)?;
        let text = !head.contains(&0);
        Ok(Lf { inner: BufReader::with_capacity(64 << 10, Cursor::new(head).chain(inner)), text })
    }
}

impl<R: Read> Read for Lf<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let bytes = self.inner.fill_buf()?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let wanted = bytes.len().min(out.len());
        if !self.text {
            out[..wanted].copy_from_slice(&bytes[..wanted]);
            self.inner.consume(wanted);
            return Ok(wanted);
        }
        let (mut taken, mut given) = (0, 0);
        while taken < bytes.len() && given < out.len() {
            match bytes[taken..] {
                [b'\r', b'\n', ..] => {
                    out[given] = b'\n';
                    taken += 2;
                }
                // What follows is not in the buffer: it is looked at once the rest is given out.
                [b'\r'] => break,
                [byte, ..] => {
                    out[given] = byte;
                    taken += 1;
                }
                [] => break,
            }
            given += 1;
        }
        self.inner.consume(taken);
        if given > 0 {
            return Ok(given);
        }
        // The buffer holds a CR alone.
        self.inner.consume(1);
        match self.inner.fill_buf()? {
            [b'\n', ..] => {
                self.inner.consume(1);
                out[0] = b'\n';
            }
            _ => out[0] = b'\r',
        }
        Ok(1)
    }
}

/// Reads `inner` as it is and names what was read.
pub(in crate::build) struct Checked<R> {
    inner: R,
    hasher: Fingerprinter,
    size: u64,
}

impl<R: Read> Checked<R> {
    pub(in crate::build) fn new(inner: R) -> Checked<R> {
        Checked { inner, hasher: Fingerprinter::new(), size: 0 }
    }

    /// The name of all bytes so far.
    pub(in crate::build) fn content(&self) -> Content {
        Content { fingerprint: self.hasher.finish(), size: self.size }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.hasher.update(&out[..count]);
        self.size += count as u64;
        Ok(count)
    }
}

/// The name of the bytes that [`Lf`] gives.
pub(in crate::build) fn content(inner: impl Read) -> io::Result<Content> {
    let mut reader = Lf::new(inner)?;
    let mut hasher = Fingerprinter::new();
    let mut buffer = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(Content { fingerprint: hasher.finish(), size }),
            count => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its bytes in pieces of the given size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(out.len());
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(text in "[a\r\n]{0,40}", piece in 1_usize..5) {
            let mut found = String::new();
            Lf::new(Pieces(text.as_bytes(), piece)).unwrap().read_to_string(&mut found).unwrap();
            prop_assert_eq!(found, text.replace("\r\n", "\n"));
        }
    }

    #[test]
    fn what_is_no_text_stays() {
        let mut found = Vec::new();
        Lf::new(&b"\x00\r\n"[..]).unwrap().read_to_end(&mut found).unwrap();
        assert_eq!(found, b"\x00\r\n");
    }
}
