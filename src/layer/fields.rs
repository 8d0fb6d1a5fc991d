//! One header block of an untrusted tar in, its fields out.
//!
//! Source of truth: POSIX.1-2017 `pax`, "ustar Interchange Format"; "Basic Tar Format" of the GNU tar manual for base-256 numbers.
//! A field that readers are known to understand differently is an error.

use super::header::BLOCK;
use super::reader::Malformed;

/// The header dialects, as the magic tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// No magic: names of 100 bytes, no extensions.
    V7,
    /// POSIX: the name has a prefix field.
    Ustar,
    /// GNU: the prefix field holds other things.
    Gnu,
}

/// One header block whose checksum is right.
pub(super) struct RawHeader<'a> {
    block: &'a [u8; BLOCK],
    pub(super) dialect: Dialect,
}

impl<'a> RawHeader<'a> {
    /// Checks the block's sum.
    pub(super) fn new(block: &'a [u8; BLOCK]) -> Result<RawHeader<'a>, Malformed> {
        let stated = octal("checksum", &block[148..156])?;
        let sum = |of: fn(u8) -> i64| -> i64 {
            block.iter().enumerate().map(|(at, &byte)| if (148..156).contains(&at) { of(b' ') } else { of(byte) }).sum()
        };
        // Some old writers summed signed bytes.
        if ![sum(i64::from), sum(|byte| i64::from(byte.cast_signed()))].contains(&stated) {
            return Err(Malformed::Checksum);
        }
        let dialect = match &block[257..265] {
            b"ustar  \0" => Dialect::Gnu,
            magic if magic.starts_with(b"ustar\0") => Dialect::Ustar,
            _ => Dialect::V7,
        };
        Ok(RawHeader { block, dialect })
    }

    pub(super) fn flag(&self) -> u8 {
        self.block[156]
    }

    /// The name, with its prefix.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.block[..100]);
        let prefix = if self.dialect == Dialect::Ustar { text(&self.block[345..500]) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn link_target(&self) -> &'a [u8] {
        text(&self.block[157..257])
    }

    pub(super) fn mode(&self) -> Result<u16, Malformed> {
        // File type bits above the twelve are noise that some writers leave.
        Ok(u16::try_from(number("mode", &self.block[100..108])? & 0o7777).unwrap_or(0))
    }

    pub(super) fn uid(&self) -> Result<i64, Malformed> {
        number("uid", &self.block[108..116])
    }

    pub(super) fn gid(&self) -> Result<i64, Malformed> {
        number("gid", &self.block[116..124])
    }

    pub(super) fn size(&self) -> Result<u64, Malformed> {
        size("size", &self.block[124..136])
    }

    pub(super) fn mtime(&self) -> Result<i64, Malformed> {
        number("mtime", &self.block[136..148])
    }

    /// Major and minor number of a device.
    pub(super) fn device(&self) -> Result<(u32, u32), Malformed> {
        if self.dialect == Dialect::V7 {
            return Err(Malformed::Number { field: "devmajor" });
        }
        let part = |field, at| u32::try_from(number(field, &self.block[at..at + 8])?).map_err(|_| Malformed::Number { field });
        Ok((part("devmajor", 329)?, part("devminor", 337)?))
    }

    /// GNU sparse files: the first part of the map, and the size with holes.
    pub(super) fn gnu_sparse(&self) -> Result<(GnuMapPart, u64), Malformed> {
        let part = GnuMapPart { pieces: pieces(&self.block[386..482])?, continues: self.block[482] != 0 };
        Ok((part, size("realsize", &self.block[483..495])?))
    }
}

/// What one block holds of a GNU sparse map.
pub(super) struct GnuMapPart {
    /// Start in the file and length of each stored piece.
    pub(super) pieces: Vec<(u64, u64)>,
    /// Whether another block follows.
    pub(super) continues: bool,
}

impl GnuMapPart {
    /// Reads a block that follows the header.
    pub(super) fn new(block: &[u8; BLOCK]) -> Result<GnuMapPart, Malformed> {
        Ok(GnuMapPart { pieces: pieces(&block[..504])?, continues: block[504] != 0 })
    }
}

fn pieces(bytes: &[u8]) -> Result<Vec<(u64, u64)>, Malformed> {
    let mut pieces = Vec::new();
    for pair in bytes.chunks_exact(24) {
        // An unused place begins with a zero byte.
        if pair[0] == 0 {
            break;
        }
        pieces.push((size("sparse offset", &pair[..12])?, size("sparse length", &pair[12..])?));
    }
    Ok(pieces)
}

/// The bytes up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or(field)
}

fn size(field: &'static str, bytes: &[u8]) -> Result<u64, Malformed> {
    u64::try_from(number(field, bytes)?).map_err(|_| Malformed::Number { field })
}

/// A number in octal digits, or base 256 where the first bit is set.
fn number(field: &'static str, bytes: &[u8]) -> Result<i64, Malformed> {
    match bytes.first() {
        Some(&first) if first & 0x80 != 0 => base256(bytes).ok_or(Malformed::Number { field }),
        _ => octal(field, bytes),
    }
}

/// Two's complement, most significant byte first; the first bit is a mark and the second the sign.
fn base256(bytes: &[u8]) -> Option<i64> {
    let (&first, rest) = bytes.split_first()?;
    let negative = first & 0x40 != 0;
    let mut value = i128::from(first & 0x3f) - if negative { 0x40 } else { 0 };
    for &byte in rest {
        value = value.checked_mul(256)?.checked_add(i128::from(byte))?;
    }
    i64::try_from(value).ok()
}

/// Spaces, then digits, then spaces and NULs; an empty field is zero.
fn octal(field: &'static str, bytes: &[u8]) -> Result<i64, Malformed> {
    let start = bytes.iter().position(|&byte| byte != b' ').unwrap_or(bytes.len());
    let mut value: i64 = 0;
    let mut rest = bytes[start..].iter();
    for &byte in rest.by_ref() {
        match byte {
            b'0'..=b'7' => {
                value =
                    value.checked_mul(8).and_then(|value| value.checked_add(i64::from(byte - b'0'))).ok_or(Malformed::Number { field })?;
            }
            b' ' | 0 => break,
            _ => return Err(Malformed::Number { field }),
        }
    }
    if rest.all(|&byte| matches!(byte, b' ' | 0)) { Ok(value) } else { Err(Malformed::Number { field }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_written_or_refused() {
        let cases: [(&[u8], Option<i64>); 12] = [
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"644     ", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"77777777", Some(0o7777_7777)),
            (b"000064x\0", None),
            (b"64\x0064\0\0\0", None),
            (b"-0000064", None),
            (b"0000648\0", None),
            (b"\x80\0\0\0\0\0\x01\x02", Some(258)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(number("mode", bytes).ok(), expected, "{}", bytes.escape_ascii());
        }
        assert!(number("size", b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err(), "above 63 bits");
    }
}
