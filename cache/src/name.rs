//! Names of things in the store: text in, a safe single file name out.

use std::borrow::Cow;
use std::fmt;

use crate::error::InvalidName;

const LONGEST_NAME_BYTES: usize = 200;

/// The name of a collection of records or kept directories of one kind, such as `actions`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shelf(Cow<'static, str>);

impl Shelf {
    /// A name that the program knows; meant for `const` items, where a bad name does not compile.
    ///
    /// # Panics
    /// If the name is not 1 to 200 of `A-Z a-z 0-9 . _ + -` with a letter or digit first.
    #[must_use]
    pub const fn named(name: &'static str) -> Shelf {
        assert!(is_name(name), "a shelf's name is 1 to 200 of A-Z a-z 0-9 . _ + -, the first a letter or digit");
        Shelf(Cow::Borrowed(name))
    }

    /// A name that is known at run time only.
    ///
    /// # Errors
    /// If the name is not 1 to 200 of `A-Z a-z 0-9 . _ + -` with a letter or digit first.
    pub fn new(name: &str) -> Result<Shelf, InvalidName> {
        check(name)?;
        Ok(Shelf(Cow::Owned(name.to_owned())))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn check(name: &str) -> Result<(), InvalidName> {
    if is_name(name) { Ok(()) } else { Err(InvalidName(name.to_owned())) }
}

const fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > LONGEST_NAME_BYTES || !bytes[0].is_ascii_alphanumeric() {
        return false;
    }
    let mut at = 1;
    while at < bytes.len() {
        if !(bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'.' | b'_' | b'+' | b'-')) {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_plain_file_name() {
        for good in ["actions", "a", "0-1_2.x+y", &"n".repeat(200)] {
            assert_eq!(Shelf::new(good).map(|shelf| shelf.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "/a", "a b", "-x", "ä", "a\0", &"n".repeat(201)] {
            assert_eq!(Shelf::new(bad), Err(InvalidName(bad.to_owned())));
        }
    }
}
