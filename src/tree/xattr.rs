//! Extended attributes: which are kept and in what form; and the system calls for them on one inode.

use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::os::fd::BorrowedFd;

use rustix::fs as sys;
use rustix::io::Errno;

use super::Opaque;

const CAPABILITY: &[u8] = b"security.capability";
/// Both spellings of the mark that a directory of an overlay hides what is below.
const OPAQUE: [&[u8]; 2] = [b"user.overlay.opaque", b"trusted.overlay.opaque"];
/// The kernel's limits for a list of names and for a value.
const MAXIMUM_LENGTH: usize = 65536;

/// Extended attributes by name, in order of their bytes.
///
/// Hardly any file has some: none take as little room as can be.
#[derive(Clone, Default, PartialEq, Eq)]
#[expect(clippy::box_collection, reason = "eight bytes in every entry of a tree instead of twenty-four")]
pub struct Xattrs(
    /// Never an empty map.
    Option<Box<BTreeMap<Vec<u8>, Vec<u8>>>>,
);

impl Xattrs {
    /// No attributes.
    #[must_use]
    pub const fn new() -> Xattrs {
        Xattrs(None)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |xattrs| xattrs.len())
    }

    /// The value of one.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Vec<u8>> {
        self.0.as_ref()?.get(name)
    }

    /// The one whose name is last in order, with its value.
    #[must_use]
    pub fn last(&self) -> Option<(&Vec<u8>, &Vec<u8>)> {
        self.0.as_ref()?.last_key_value()
    }

    /// Puts one, in place of one of the same name.
    pub fn insert(&mut self, name: Vec<u8>, value: Vec<u8>) {
        self.0.get_or_insert_default().insert(name, value);
    }

    /// Each with its value, in order of the names.
    #[must_use]
    pub fn iter(&self) -> XattrsIter<'_> {
        XattrsIter(self.0.as_ref().map(|xattrs| xattrs.iter()))
    }
}

/// Extended attributes in order of their names.
#[derive(Debug, Clone)]
pub struct XattrsIter<'a>(Option<btree_map::Iter<'a, Vec<u8>, Vec<u8>>>);

impl<'a> Iterator for XattrsIter<'a> {
    type Item = (&'a Vec<u8>, &'a Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.next()
    }
}

impl<'a> IntoIterator for &'a Xattrs {
    type Item = (&'a Vec<u8>, &'a Vec<u8>);
    type IntoIter = XattrsIter<'a>;

    fn into_iter(self) -> XattrsIter<'a> {
        self.iter()
    }
}

impl From<BTreeMap<Vec<u8>, Vec<u8>>> for Xattrs {
    fn from(xattrs: BTreeMap<Vec<u8>, Vec<u8>>) -> Xattrs {
        Xattrs((!xattrs.is_empty()).then(|| Box::new(xattrs)))
    }
}

impl<const N: usize> From<[(Vec<u8>, Vec<u8>); N]> for Xattrs {
    fn from(xattrs: [(Vec<u8>, Vec<u8>); N]) -> Xattrs {
        BTreeMap::from(xattrs).into()
    }
}

impl fmt::Debug for Xattrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl FromIterator<(Vec<u8>, Vec<u8>)> for Xattrs {
    fn from_iter<I: IntoIterator<Item = (Vec<u8>, Vec<u8>)>>(xattrs: I) -> Xattrs {
        xattrs.into_iter().collect::<BTreeMap<_, _>>().into()
    }
}

/// What is kept of attributes as they are on disk or in another's layer: `security.capability` in its version 2 form, and `user.*`
/// without those of overlay file systems.
#[must_use]
pub fn kept_xattrs(raw: &Xattrs) -> Xattrs {
    let kept = raw.iter().filter_map(|(name, value)| {
        if name == CAPABILITY {
            Some((name.clone(), capability(value)?))
        } else if name.starts_with(b"user.") && !name.starts_with(b"user.overlay.") {
            Some((name.clone(), value.clone()))
        } else {
            None
        }
    });
    kept.collect()
}

/// File capabilities as version 2: version 3 adds the user namespace that they count for, which is nothing of the image; version 1 has
/// only the lower half of the sets. Anything else is no capability.
fn capability(value: &[u8]) -> Option<Vec<u8>> {
    let (magic, sets) = value.split_first_chunk::<4>()?;
    let magic = u32::from_le_bytes(*magic);
    let sets = match (magic >> 24, sets.len()) {
        (1, 8) => [sets, &[0; 8]].concat(),
        (2, 16) => sets.to_vec(),
        (3, 20) => sets.get(..16)?.to_vec(),
        _ => return None,
    };
    Some([&(0x0200_0000 | (magic & 0x00ff_ffff)).to_le_bytes()[..], &sets].concat())
}

/// An inode whose attributes are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Inode<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A path that stands for a descriptor, to be followed to it.
    Located(&'a str),
    /// A path whose last name may be a link that is not to be followed.
    Named(&'a str),
}

impl Inode<'_> {
    /// All `user.*` attributes and `security.capability`, and whether an overlay mark stands there.
    pub(super) fn read(self, buffer: &mut Vec<u8>) -> Result<(Xattrs, Opaque), Errno> {
        let mut xattrs = Xattrs::new();
        let mut opaque = Opaque::No;
        for name in self.names(buffer)? {
            if OPAQUE.contains(&name.as_slice()) {
                if self.get(&name, buffer)?.as_deref() == Some(b"y") {
                    opaque = Opaque::Yes;
                }
            } else if (name == CAPABILITY || name.starts_with(b"user."))
                && let Some(value) = self.get(&name, buffer)?
            {
                xattrs.insert(name, value);
            }
        }
        Ok((xattrs, opaque))
    }

    /// Leaves exactly these attributes of those that could matter: what a later step sees must not depend on how a file came to be.
    pub(super) fn replace(self, wanted: &Xattrs) -> Result<(), Errno> {
        let mut buffer = Vec::new();
        for name in self.names(&mut buffer)? {
            let matters = name == CAPABILITY
                || [&b"user."[..], b"trusted.overlay.", b"system.posix_acl_"].iter().any(|prefix| name.starts_with(prefix));
            if matters && wanted.get(&name).is_none() {
                match self.remove(&name) {
                    Ok(()) | Err(Errno::NODATA) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        for (name, value) in wanted {
            self.set(name, value)?;
        }
        Ok(())
    }

    fn names(self, buffer: &mut Vec<u8>) -> Result<Vec<Vec<u8>>, Errno> {
        buffer.resize(MAXIMUM_LENGTH, 0);
        let length = match self {
            Inode::Open(file) => sys::flistxattr(file, buffer.as_mut_slice()),
            Inode::Located(path) => sys::listxattr(path, buffer.as_mut_slice()),
            Inode::Named(path) => sys::llistxattr(path, buffer.as_mut_slice()),
        };
        match length {
            Ok(length) => {
                let list = buffer.get(..length).unwrap_or_default();
                Ok(list.split(|&byte| byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
            }
            // A file system without attributes.
            Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn get(self, name: &[u8], buffer: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Errno> {
        buffer.resize(MAXIMUM_LENGTH, 0);
        let length = match self {
            Inode::Open(file) => sys::fgetxattr(file, name, buffer.as_mut_slice()),
            Inode::Located(path) => sys::getxattr(path, name, buffer.as_mut_slice()),
            Inode::Named(path) => sys::lgetxattr(path, name, buffer.as_mut_slice()),
        };
        match length {
            Ok(length) => Ok(Some(buffer.get(..length).unwrap_or_default().to_vec())),
            // Taken away meanwhile.
            Err(Errno::NODATA) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn set(self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        let flags = sys::XattrFlags::empty();
        match self {
            Inode::Open(file) => sys::fsetxattr(file, name, value, flags),
            Inode::Located(path) => sys::setxattr(path, name, value, flags),
            Inode::Named(path) => sys::lsetxattr(path, name, value, flags),
        }
    }

    fn remove(self, name: &[u8]) -> Result<(), Errno> {
        match self {
            Inode::Open(file) => sys::fremovexattr(file, name),
            Inode::Located(path) => sys::removexattr(path, name),
            Inode::Named(path) => sys::lremovexattr(path, name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_user_attributes_and_capabilities_are_kept() {
        let raw: Xattrs = [
            (&b"user.a"[..], &b"1"[..]),
            (b"user.overlay.opaque", b"y"),
            (b"trusted.overlay.opaque", b"y"),
            (b"security.selinux", b"x"),
            (b"system.posix_acl_access", b"x"),
        ]
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .into();
        assert_eq!(kept_xattrs(&raw), [(b"user.a".to_vec(), b"1".to_vec())].into());
    }

    #[test]
    fn capabilities_become_version_2() {
        let v2 = [&[1, 0, 0, 2][..], &[7; 8], &[0; 8]].concat();
        let v3 = [&[1, 0, 0, 3][..], &[7; 8], &[0; 8], &[232, 3, 0, 0]].concat();
        let v1 = [&[1, 0, 0, 1][..], &[7; 8]].concat();
        assert_eq!(capability(&v2).unwrap(), v2);
        assert_eq!(capability(&v3).unwrap(), v2);
        assert_eq!(capability(&v1).unwrap(), v2);
        assert_eq!(capability(&v3[..23]), None);
        assert_eq!(capability(b""), None);
    }
}
