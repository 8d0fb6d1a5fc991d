//! One entry in, the bytes of its tar header out: POSIX ustar, with a PAX extended header before it only where ustar cannot say it.
//!
//! Source of truth: POSIX.1-2017 `pax`, sections "ustar Interchange Format" and "pax Extended Header", and `specs/layers.md`, section
//! "Tar stream". These bytes are in every diff id: a change here is a change of [`LAYER_FORMAT`](super::LAYER_FORMAT).

use std::collections::BTreeMap;

use crate::tree::Xattrs;

/// The unit of a tar stream, in bytes.
pub(super) const BLOCK: usize = 512;

/// The end of an archive: two blocks of zeros.
pub(super) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The largest number of an octal field of eight bytes: user, group, device.
const SHORT_OCTAL_MAX: u64 = 0o777_7777;
/// The largest number of an octal field of twelve bytes: size, time.
const LONG_OCTAL_MAX: u64 = 0o777_7777_7777;

/// The name of every extended header. It never reaches a disk: readers that do not know PAX are not supported.
const EXTENDED_NAME: &[u8] = b"PaxHeader";

/// What one header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header<'a> {
    /// The name as written: relative, a directory's with a slash at the end.
    pub(super) name: &'a [u8],
    /// The type, and what only that type has.
    pub(super) kind: Kind<'a>,
    /// The twelve permission bits.
    pub(super) mode: u16,
    /// The owner's number.
    pub(super) uid: u32,
    /// The group's number.
    pub(super) gid: u32,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub(super) mtime: i64,
    /// Kept extended attributes.
    pub(super) xattrs: &'a Xattrs,
}

/// The types of entry that are written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind<'a> {
    /// A regular file with so many bytes.
    File { size: u64 },
    /// Another name of an earlier file, named as that was.
    Link { target: &'a [u8] },
    /// A symbolic link.
    Symlink { target: &'a [u8] },
    /// A character device.
    Character { major: u32, minor: u32 },
    /// A block device.
    Block { major: u32, minor: u32 },
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// Tar has no way to say this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// PAX ends a keyword at the first `=`.
    #[error("extended attribute `{}` has `=` in its name, which no tar can hold: remove it", .0.escape_ascii())]
    XattrName(Vec<u8>),
    /// Device numbers have seven octal digits.
    #[error("device number {0} is above {SHORT_OCTAL_MAX}, the largest that a tar can hold")]
    DeviceNumber(u32),
}

impl Header<'_> {
    /// Appends the header's blocks.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) -> Result<(), Unwritable> {
        let (flag, size, target, (major, minor)): (u8, u64, &[u8], (u32, u32)) = match self.kind {
            Kind::File { size } => (b'0', size, b"", (0, 0)),
            Kind::Link { target } => (b'1', 0, target, (0, 0)),
            Kind::Symlink { target } => (b'2', 0, target, (0, 0)),
            Kind::Character { major, minor } => (b'3', 0, b"", (major, minor)),
            Kind::Block { major, minor } => (b'4', 0, b"", (major, minor)),
            Kind::Directory => (b'5', 0, b"", (0, 0)),
            Kind::Fifo => (b'6', 0, b"", (0, 0)),
        };
        if let Some(&number) = [major, minor].iter().find(|&&number| u64::from(number) > SHORT_OCTAL_MAX) {
            return Err(Unwritable::DeviceNumber(number));
        }

        let mut records = Records::default();
        let name = NameFields::of(self.name);
        if name.is_none() {
            records.text("path", self.name);
        }
        if target.len() > 100 {
            records.text("linkpath", target);
        }
        records.number("uid", self.uid.into(), SHORT_OCTAL_MAX);
        records.number("gid", self.gid.into(), SHORT_OCTAL_MAX);
        records.number("size", size.into(), LONG_OCTAL_MAX);
        records.number("mtime", self.mtime.into(), LONG_OCTAL_MAX);
        for (key, value) in self.xattrs {
            if key.contains(&b'=') {
                return Err(Unwritable::XattrName(key.clone()));
            }
            records.0.insert([b"SCHILY.xattr.", key.as_slice()].concat(), value.clone());
        }
        if !records.0.is_empty() {
            let body = records.encode();
            let header =
                Fields { name: NameFields::short(EXTENDED_NAME), mode: 0o644, size: body.len() as u64, flag: b'x', ..Fields::EMPTY };
            header.append_to(out);
            out.extend_from_slice(&body);
            pad(out);
        }

        let fits = |number: u64, max: u64| if number <= max { number } else { 0 };
        Fields {
            name: name.unwrap_or_else(|| NameFields::short(&self.name[..100])),
            mode: self.mode & 0o7777,
            uid: fits(self.uid.into(), SHORT_OCTAL_MAX),
            gid: fits(self.gid.into(), SHORT_OCTAL_MAX),
            size: fits(size, LONG_OCTAL_MAX),
            mtime: u64::try_from(self.mtime).map_or(0, |mtime| fits(mtime, LONG_OCTAL_MAX)),
            flag,
            target: &target[..target.len().min(100)],
            major,
            minor,
        }
        .append_to(out);
        Ok(())
    }
}

/// Fills up to a whole block with zeros.
pub(super) fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// The zeros that follow so many bytes of content.
pub(super) fn padding(size: u64) -> usize {
    // The remainder is below 512.
    let rest = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    if rest == 0 { 0 } else { BLOCK - rest }
}

/// The records of one extended header, in order of their keywords' bytes.
#[derive(Default)]
struct Records(BTreeMap<Vec<u8>, Vec<u8>>);

impl Records {
    fn text(&mut self, keyword: &str, value: &[u8]) {
        if str::from_utf8(value).is_err() {
            // Without this, readers take the bytes for UTF-8. It sorts before the records it is about.
            self.0.insert(b"hdrcharset".to_vec(), b"BINARY".to_vec());
        }
        self.0.insert(keyword.as_bytes().to_vec(), value.to_vec());
    }

    fn number(&mut self, keyword: &str, value: i128, max: u64) {
        if !(0..=i128::from(max)).contains(&value) {
            self.0.insert(keyword.as_bytes().to_vec(), value.to_string().into_bytes());
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (keyword, value) in &self.0 {
            // A record begins with its own length in decimal: a space, an equals sign and a newline besides keyword and value.
            let rest = keyword.len() + value.len() + 3;
            let mut length = rest + 1;
            while rest + digits(length) != length {
                length = rest + digits(length);
            }
            body.extend_from_slice(length.to_string().as_bytes());
            body.push(b' ');
            body.extend_from_slice(keyword);
            body.push(b'=');
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        body
    }
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

/// A name in the two fields that ustar has for it.
#[derive(Clone, Copy)]
struct NameFields<'a> {
    prefix: &'a [u8],
    name: &'a [u8],
}

impl<'a> NameFields<'a> {
    /// The whole name in the first field, else cut at the first slash after which the rest fits; `None` when there is no such slash.
    fn of(name: &'a [u8]) -> Option<NameFields<'a>> {
        if name.len() <= 100 {
            return Some(NameFields::short(name));
        }
        let from = name.len() - 101;
        let slash = from + name[from..name.len() - 1].iter().position(|&byte| byte == b'/')?;
        (1..=155).contains(&slash).then(|| NameFields { prefix: &name[..slash], name: &name[slash + 1..] })
    }

    fn short(name: &'a [u8]) -> NameFields<'a> {
        NameFields { prefix: b"", name }
    }
}

/// The fields of one header block.
struct Fields<'a> {
    name: NameFields<'a>,
    mode: u16,
    uid: u64,
    gid: u64,
    size: u64,
    mtime: u64,
    flag: u8,
    target: &'a [u8],
    major: u32,
    minor: u32,
}

impl Fields<'_> {
    const EMPTY: Fields<'static> = Fields {
        name: NameFields { prefix: b"", name: b"" },
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: 0,
        flag: 0,
        target: b"",
        major: 0,
        minor: 0,
    };

    fn append_to(&self, out: &mut Vec<u8>) {
        let mut block = [0; BLOCK];
        put(&mut block, 0, self.name.name);
        put_octal(&mut block, 100, 7, self.mode.into());
        put_octal(&mut block, 108, 7, self.uid);
        put_octal(&mut block, 116, 7, self.gid);
        put_octal(&mut block, 124, 11, self.size);
        put_octal(&mut block, 136, 11, self.mtime);
        block[156] = self.flag;
        put(&mut block, 157, self.target);
        put(&mut block, 257, b"ustar\x0000");
        put_octal(&mut block, 329, 7, self.major.into());
        put_octal(&mut block, 337, 7, self.minor.into());
        put(&mut block, 345, self.name.prefix);
        // The sum is over the header with spaces in its own field.
        put(&mut block, 148, b"        ");
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        put_octal(&mut block, 148, 6, sum);
        block[154] = 0;
        out.extend_from_slice(&block);
    }
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Writes so many octal digits; what follows them stays zero.
fn put_octal(block: &mut [u8; BLOCK], at: usize, digits: usize, mut number: u64) {
    for place in block[at..at + digits].iter_mut().rev() {
        *place = b'0' + (number & 7) as u8;
        number >>= 3;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(name: &'a [u8], kind: Kind<'a>, xattrs: &'a Xattrs) -> Header<'a> {
        Header { name, kind, mode: 0o644, uid: 0, gid: 0, mtime: 315_619_200, xattrs }
    }

    fn bytes(header: Header<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        header.append_to(&mut out).unwrap();
        assert_eq!(out.len() % BLOCK, 0);
        out
    }

    #[test]
    fn an_ordinary_file_is_one_ustar_block() {
        let none = Xattrs::new();
        let out = bytes(header(b"etc/passwd", Kind::File { size: 5 }, &none));
        assert_eq!(out.len(), BLOCK);
        assert_eq!(&out[..11], b"etc/passwd\0");
        assert_eq!(&out[100..148], b"0000644\x000000000\x000000000\x0000000000005\x0002263773600\x00");
        assert_eq!(&out[257..265], b"ustar\x0000");
        assert_eq!(&out[265..329], &[0; 64], "no user or group name");
    }

    #[test]
    fn names_that_ustar_holds_need_no_extended_header() {
        let none = Xattrs::new();
        let long = [vec![b'a'; 150], vec![b'b'; 100]].join(&b'/');
        let out = bytes(header(&long, Kind::File { size: 0 }, &none));
        assert_eq!(out.len(), BLOCK);
        assert_eq!(&out[..100], &[b'b'; 100]);
        assert_eq!(&out[345..496], &[vec![b'a'; 150], vec![0]].concat()[..]);
        for name in [vec![b'c'; 101], [vec![b'a'; 156], vec![b'b'; 100]].join(&b'/'), [vec![b'd'; 100], vec![]].join(&b'/')] {
            assert_eq!(bytes(header(&name, Kind::Directory, &none)).len(), 3 * BLOCK, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn extended_records_come_sorted_and_count_their_own_length() {
        let xattrs = Xattrs::from([(b"user.b".to_vec(), b"2\n=".to_vec()), (b"user.a".to_vec(), vec![0, 10, 255])]);
        let name = [0xff; 101];
        let header = Header { uid: 0o1000_0000, mtime: -1, ..header(&name, Kind::File { size: 0o1_0000_0000_0000 }, &xattrs) };
        let out = bytes(header);
        let body = &out[BLOCK..out.len() - BLOCK];
        let expected: Vec<u8> = [
            &b"27 SCHILY.xattr.user.a=\0\n\xff\n27 SCHILY.xattr.user.b=2\n=\n21 hdrcharset=BINARY\n12 mtime=-1\n"[..],
            b"111 path=",
            &name,
            b"\n20 size=68719476736\n15 uid=2097152\n",
        ]
        .concat();
        assert_eq!(body[..expected.len()].escape_ascii().to_string(), expected.escape_ascii().to_string());
        assert!(body[expected.len()..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_record_whose_length_gains_a_digit_by_its_own_digits_is_right() {
        for length in 80..130 {
            let mut records = Records::default();
            records.text("path", &vec![b'p'; length]);
            let body = records.encode();
            let stated: usize = str::from_utf8(body.split(|&byte| byte == b' ').next().unwrap()).unwrap().parse().unwrap();
            assert_eq!(stated, body.len());
        }
    }

    #[test]
    fn what_tar_cannot_hold_is_an_error() {
        let odd = Xattrs::from([(b"user.a=b".to_vec(), vec![])]);
        let mut out = Vec::new();
        assert_eq!(header(b"a", Kind::File { size: 0 }, &odd).append_to(&mut out), Err(Unwritable::XattrName(b"user.a=b".to_vec())));
        let none = Xattrs::new();
        let device = Kind::Block { major: 8, minor: u32::MAX };
        assert_eq!(header(b"a", device, &none).append_to(&mut out), Err(Unwritable::DeviceNumber(u32::MAX)));
    }
}
