//! Messages between the library and its helper: values in, bytes out, and back.
//!
//! Compiled into both. A message is a frame: a header of eight bytes (length of the body and number of descriptors, little endian), to which
//! the descriptors are attached, then the body. Integers are little endian, byte strings and lists have a length of four bytes in front.
//! Both ends are always of the same build, so there is no version.

/// The largest body of a frame that is believed; larger ones are a broken connection.
pub const LARGEST_BODY_BYTES: usize = 1 << 30;
/// The most descriptors that go with one frame.
pub const MOST_DESCRIPTORS: usize = 6;
/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 8;

/// A value that goes over the wire.
pub trait Wire: Sized {
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes the value off the front; `None` when the bytes are not one.
    fn take(from: &mut &[u8]) -> Option<Self>;
}

/// The body of a frame for a value.
pub fn encode<T: Wire>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.put(&mut out);
    out
}

/// The value of a frame's body; `None` when it is not exactly one.
pub fn decode<T: Wire>(mut body: &[u8]) -> Option<T> {
    let value = T::take(&mut body)?;
    body.is_empty().then_some(value)
}

/// The header of a frame.
pub fn header(body_bytes: u32, descriptors: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&body_bytes.to_le_bytes());
    header[4..].copy_from_slice(&descriptors.to_le_bytes());
    header
}

/// The length of the body and the number of descriptors that a header announces; `None` when they are beyond belief.
pub fn parse_header(header: [u8; HEADER_BYTES]) -> Option<(usize, usize)> {
    let mut header = header.as_slice();
    let body = usize::try_from(u32::take(&mut header)?).ok()?;
    let descriptors = usize::try_from(u32::take(&mut header)?).ok()?;
    (body <= LARGEST_BODY_BYTES && descriptors <= MOST_DESCRIPTORS).then_some((body, descriptors))
}

fn take_bytes<'a>(from: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(taken)
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    // A frame is never larger than `LARGEST_BODY_BYTES`: the sender refuses it before the length could be cut.
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(from: &mut &[u8]) -> Option<Self> {
                let bytes = take_bytes(from, size_of::<$type>())?;
                Some(<$type>::from_le_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, i32, i64);

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        match u8::take(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

/// A string of bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes(pub Vec<u8>);

impl Wire for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.0.len(), out);
        out.extend_from_slice(&self.0);
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        let length = usize::try_from(u32::take(from)?).ok()?;
        Some(Bytes(take_bytes(from, length)?.to_vec()))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        for item in self {
            item.put(out);
        }
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        let count = u32::take(from)?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(T::take(from)?);
        }
        Some(items)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.put(out);
            }
        }
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        match u8::take(from)? {
            0 => Some(None),
            1 => Some(Some(T::take(from)?)),
            _ => None,
        }
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        Some((A::take(from)?, B::take(from)?))
    }
}

/// Declares structs and enums together with their form on the wire: fields in order; for an enum its variant's number in front.
macro_rules! wire {
    () => {};
    ($(#[$meta:meta])* struct $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty),* $(,)? } $($rest:tt)*) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type),* }
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let $name { $($field),* } = self;
                $($field.put(out);)*
            }
            fn take(from: &mut &[u8]) -> Option<Self> {
                Some($name { $($field: <$type as Wire>::take(from)?),* })
            }
        }
        wire! { $($rest)* }
    };
    ($(#[$meta:meta])* enum $name:ident {
        $($(#[$vmeta:meta])* $number:literal $variant:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty),* $(,)? }),* $(,)?
    } $($rest:tt)*) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vmeta])* $variant { $($(#[$fmeta])* $field: $type),* }),* }
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $($name::$variant { $($field),* } => {
                        out.push($number);
                        $($field.put(out);)*
                    })*
                }
            }
            fn take(from: &mut &[u8]) -> Option<Self> {
                Some(match u8::take(from)? {
                    $($number => $name::$variant { $($field: <$type as Wire>::take(from)?),* },)*
                    _ => return None,
                })
            }
        }
        wire! { $($rest)* }
    };
}

mod files;
mod steps;

pub use files::*;
pub use steps::*;

wire! {
    /// What the library asks of the owner of the user namespace.
    enum OwnerRequest {
        /// Begin, with these ids. Comes first.
        0 Begin {
            /// Whose ids.
            ids: Ids,
        },
        /// The id maps are written: become their 0:0.
        1 Mapped {
            /// Where files have their owners.
            ownership: Ownership,
        },
        /// Serve file operations on the socket that comes with it, in a process of its own.
        2 Agent {},
        /// Run one job on the socket that comes with it, in a process of its own.
        3 Step {},
    }

    /// Whose ids the owner and its steps have.
    enum Ids {
        /// Those of a user namespace that is made for it.
        0 Namespace {},
        /// The caller's, who is root.
        1 Callers {},
    }

    /// Where it stands whom files belong to.
    enum Ownership {
        /// In their inodes.
        0 Inodes {},
        /// In an attribute of theirs, or in a table: the namespace has one id, 0. Devices are sockets on disk.
        1 Attributes {},
    }

    /// What the owner says while it starts; afterwards it says nothing.
    enum OwnerReply {
        /// The user namespace is there and waits for its id maps.
        0 Unmapped {},
        /// The owner is 0:0 and takes requests.
        1 Ready {},
        /// It came to nothing.
        2 Failed {
            /// What was tried.
            what: Bytes,
            /// The kernel's answer.
            errno: i32,
        },
    }
}
