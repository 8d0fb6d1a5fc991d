//! The body of a PAX extended header in, what it says about the next entry out.
//!
//! Source of truth: POSIX.1-2017 `pax`, "pax Extended Header" and "pax Extended Header Keyword Precedence"; "PAX Format" of the GNU tar
//! manual for sparse files. Records are cut by their stated lengths, never by newlines. Two records of one keyword are refused, except
//! where a sparse map is made of them: which of the two counts is not the same everywhere.

use std::collections::BTreeMap;

use super::reader::Malformed;

/// What an extended header says, as far as it concerns a layer.
#[derive(Debug, Default, Clone)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_target: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) mtime: Option<i64>,
    /// Names without `SCHILY.xattr.`, in the order of their bytes.
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) sparse: Option<SparseRecords>,
}

/// The `GNU.sparse.*` records.
#[derive(Debug, Default, Clone)]
pub(super) struct SparseRecords {
    /// Major and minor version, where stated.
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    /// The file's real name.
    pub(super) name: Option<Vec<u8>>,
    /// The file's size with holes.
    pub(super) real_size: Option<u64>,
    /// The map of versions 0.0 and 0.1: offsets and lengths in turn.
    pub(super) map: Vec<u64>,
}

impl Extended {
    /// Reads the records of a header that is about one entry.
    pub(super) fn parse(body: &[u8]) -> Result<Extended, Malformed> {
        let mut extended = Extended::default();
        for record in (Records { rest: body }) {
            let (keyword, value) = record?;
            extended.take(keyword, value)?;
        }
        Ok(extended)
    }

    /// Reads the records of a header that is about all entries after it. Docker does not apply these and others do, so that only those
    /// which say nothing about a file are accepted.
    pub(super) fn check_global(body: &[u8]) -> Result<(), Malformed> {
        const HARMLESS: [&[u8]; 6] = [b"comment", b"charset", b"atime", b"ctime", b"uname", b"gname"];
        for record in (Records { rest: body }) {
            let (keyword, _) = record?;
            if !HARMLESS.contains(&keyword) {
                return Err(Malformed::GlobalKeyword(lossy(keyword)));
            }
        }
        Ok(())
    }

    fn take(&mut self, keyword: &[u8], value: &[u8]) -> Result<(), Malformed> {
        if let Some(name) = keyword.strip_prefix(b"SCHILY.xattr.") {
            return match self.xattrs.insert(name.to_vec(), value.to_vec()) {
                None => Ok(()),
                Some(_) => Err(Malformed::RepeatedKeyword(lossy(keyword))),
            };
        }
        if let Some(keyword) = keyword.strip_prefix(b"GNU.sparse.") {
            return self.sparse.get_or_insert_default().take(keyword, value);
        }
        // An empty value takes back what was said before: the header's own field counts.
        match keyword {
            b"path" => set(&mut self.path, keyword, name(keyword, value)?),
            b"linkpath" => set(&mut self.link_target, keyword, name(keyword, value)?),
            b"size" => set(&mut self.size, keyword, unsigned(keyword, value)?),
            b"uid" => set(&mut self.uid, keyword, unsigned(keyword, value)?.map(u64::cast_signed)),
            b"gid" => set(&mut self.gid, keyword, unsigned(keyword, value)?.map(u64::cast_signed)),
            b"mtime" => set(&mut self.mtime, keyword, whole_seconds(keyword, value)?),
            _ => Ok(()),
        }
    }
}

impl SparseRecords {
    fn take(&mut self, keyword: &[u8], value: &[u8]) -> Result<(), Malformed> {
        match keyword {
            b"major" => set(&mut self.major, keyword, unsigned(keyword, value)?),
            b"minor" => set(&mut self.minor, keyword, unsigned(keyword, value)?),
            b"name" => set(&mut self.name, keyword, name(keyword, value)?),
            b"realsize" | b"size" => set(&mut self.real_size, keyword, unsigned(keyword, value)?),
            b"offset" | b"numbytes" => {
                // They come in pairs, the offset first.
                if self.map.len().is_multiple_of(2) != (keyword == b"offset") {
                    return Err(Malformed::SparseMap);
                }
                self.map.push(unsigned(keyword, value)?.ok_or(Malformed::SparseMap)?);
                Ok(())
            }
            b"map" => {
                if !self.map.is_empty() {
                    return Err(Malformed::RepeatedKeyword("GNU.sparse.map".to_owned()));
                }
                for number in value.split(|&byte| byte == b',') {
                    self.map.push(decimal(number).ok_or(Malformed::SparseMap)?);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn set<T>(place: &mut Option<T>, keyword: &[u8], value: Option<T>) -> Result<(), Malformed> {
    if place.is_some() {
        return Err(Malformed::RepeatedKeyword(lossy(keyword)));
    }
    *place = value;
    Ok(())
}

fn name(keyword: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    if value.contains(&0) {
        return Err(Malformed::KeywordValue(lossy(keyword)));
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn unsigned(keyword: &[u8], value: &[u8]) -> Result<Option<u64>, Malformed> {
    if value.is_empty() {
        return Ok(None);
    }
    decimal(value).filter(|&number| i64::try_from(number).is_ok()).map(Some).ok_or_else(|| Malformed::KeywordValue(lossy(keyword)))
}

/// Decimal digits and nothing else.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// The second that a time lies in: fractions are cut towards the past, as file systems count.
fn whole_seconds(keyword: &[u8], value: &[u8]) -> Result<Option<i64>, Malformed> {
    if value.is_empty() {
        return Ok(None);
    }
    let seconds = || {
        let (negative, number) = value.strip_prefix(b"-").map_or((false, value), |number| (true, number));
        let mut parts = number.splitn(2, |&byte| byte == b'.');
        let whole = i64::try_from(decimal(parts.next()?)?).ok()?;
        let fraction = parts.next().unwrap_or(b"");
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let fractional = fraction.iter().any(|&digit| digit != b'0');
        Some(if negative { -whole - i64::from(fractional) } else { whole })
    };
    seconds().map(Some).ok_or_else(|| Malformed::KeywordValue(lossy(keyword)))
}

fn lossy(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Cuts a body into records: `LENGTH KEYWORD=VALUE\n`.
struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = cut(self.rest);
        self.rest = record.as_ref().map_or(&[], |&(_, rest)| rest);
        Some(record.map(|(record, _)| record).ok_or(Malformed::ExtendedRecord))
    }
}

type Record<'a> = (&'a [u8], &'a [u8]);

fn cut(body: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = body.iter().take(20).position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(&body[..space])?).ok()?;
    let (record, rest) = body.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    let (keyword, value) = (&record[..equals], &record[equals + 1..]);
    (!keyword.is_empty()).then_some(((keyword, value), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_cut_by_length_and_may_hold_any_byte() {
        let extended = Extended::parse(b"37 SCHILY.xattr.user.a=\n12 size=99\n\0\n9 path=b\n").unwrap();
        assert_eq!(extended.xattrs[&b"user.a"[..]], b"\n12 size=99\n\0");
        assert_eq!(extended.path.as_deref(), Some(&b"b"[..]));
        assert_eq!(extended.size, None);
    }

    #[test]
    fn records_that_readers_could_cut_differently_are_refused() {
        for body in [
            &b"9 path=bc\n"[..],
            b"11 path=b\n",
            b"9 path=b",
            b" 9 path=b\n",
            b"+9 path=b\n",
            b"09path=b\n",
            b"8 path b\n",
            b"4 =\n",
            b"99999999999999999999 path=b\n",
            b"0 a=b\n",
            b"9 path=b\nx",
        ] {
            assert!(matches!(Extended::parse(body), Err(Malformed::ExtendedRecord)), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn values_that_say_nothing_clear_are_refused() {
        for body in [&b"9 size=x\n"[..], b"11 size=-1\n", b"12 path=a\0b\n", b"11 mtime=a\n", b"13 mtime=1.x\n", b"11 size= 1\n"] {
            assert!(matches!(Extended::parse(body), Err(Malformed::KeywordValue(_))), "{}", body.escape_ascii());
        }
        assert!(matches!(Extended::parse(b"9 path=b\n9 path=b\n"), Err(Malformed::RepeatedKeyword(keyword)) if keyword == "path"));
    }

    #[test]
    fn fractions_of_seconds_are_cut_towards_the_past() {
        let mtime = |value: &[u8]| whole_seconds(b"mtime", value).unwrap();
        assert_eq!(mtime(b"1.999999999"), Some(1));
        assert_eq!(mtime(b"-1.5"), Some(-2));
        assert_eq!(mtime(b"-1.0"), Some(-1));
        assert_eq!(mtime(b""), None);
    }

    #[test]
    fn global_headers_may_hold_comments_only() {
        assert!(Extended::check_global(b"52 comment=0123456789012345678901234567890123456789\n").is_ok());
        assert!(matches!(Extended::check_global(b"9 path=b\n"), Err(Malformed::GlobalKeyword(keyword)) if keyword == "path"));
    }
}
