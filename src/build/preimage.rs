//! What a key is the hash of: named, typed, length-framed fields; and the key itself.
//!
//! The pre-image of each key is kept beside its record, so that `why` can name the field that differs. Changing the encoding changes
//! every key: raise [`FORMAT`].

use std::collections::BTreeMap;

use lapstrake_cache::Fingerprint;

/// First field of every pre-image.
const FORMAT: &[u8] = b"lapstrake-action/1";

/// The fields of one action, in the order in which they were added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preimage {
    fields: Vec<(String, Value)>,
}

/// One field's value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// The field does not apply.
    Absent,
    /// Bytes, usually text.
    Bytes(Vec<u8>),
    /// A number.
    Number(i64),
    /// The name of a tree, state, difference or blob.
    Fingerprint(Fingerprint),
    /// Several values in order.
    List(Vec<Value>),
    /// Several values by name.
    Map(BTreeMap<String, Value>),
}

impl Preimage {
    /// Begins with what is done and in which revision. A revision is raised when a fix changes what the same step yields.
    pub(crate) fn new(kind: &str, revision: u32) -> Preimage {
        Preimage { fields: Vec::new() }.with("kind", Value::text(kind)).with("revision", Value::Number(i64::from(revision)))
    }

    /// Adds a field.
    pub(crate) fn with(mut self, name: &str, value: Value) -> Preimage {
        self.fields.push((name.to_owned(), value));
        self
    }

    /// Adds a field, unless it does not apply: one that came to be known later leaves the keys alone of all that do without it.
    pub(crate) fn with_any(self, name: &str, value: Value) -> Preimage {
        if value == Value::Absent { self } else { self.with(name, value) }
    }

    /// The fields by name.
    #[must_use]
    pub fn fields(&self) -> &[(String, Value)] {
        &self.fields
    }

    /// The key: the hash of [`Preimage::encode`].
    #[must_use]
    pub fn key(&self) -> Fingerprint {
        Fingerprint::of(&self.encode())
    }

    /// The bytes that are hashed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        frame(&mut out, FORMAT);
        for (name, value) in &self.fields {
            frame(&mut out, name.as_bytes());
            value.encode(&mut out);
        }
        out
    }

    /// Reads what [`Preimage::encode`] wrote; `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Preimage> {
        let mut rest = bytes;
        if unframe(&mut rest)? != FORMAT {
            return None;
        }
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let name = String::from_utf8(unframe(&mut rest)?.to_vec()).ok()?;
            fields.push((name, Value::decode(&mut rest, 0)?));
        }
        Some(Preimage { fields })
    }
}

impl Value {
    /// A text.
    pub(crate) fn text(text: &str) -> Value {
        Value::Bytes(text.as_bytes().to_vec())
    }

    /// A text, or nothing.
    pub(crate) fn optional(text: Option<&str>) -> Value {
        text.map_or(Value::Absent, Value::text)
    }

    /// Texts in order.
    pub(crate) fn texts<'a>(texts: impl IntoIterator<Item = &'a String>) -> Value {
        Value::List(texts.into_iter().map(|text| Value::text(text)).collect())
    }

    /// Values by name.
    pub(crate) fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
        Value::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The map with a further value, where there is one.
    pub(crate) fn with_any(self, name: &str, value: Value) -> Value {
        match (self, value) {
            (Value::Map(mut fields), value) if value != Value::Absent => {
                fields.insert(name.to_owned(), value);
                Value::Map(fields)
            }
            (map, _) => map,
        }
    }

    /// The value's bytes, as they are in a pre-image.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Value::Absent => out.push(b'-'),
            Value::Bytes(bytes) => {
                out.push(b'b');
                frame(out, bytes);
            }
            Value::Number(number) => {
                out.push(b'n');
                out.extend_from_slice(&number.to_le_bytes());
            }
            Value::Fingerprint(fingerprint) => {
                out.push(b'f');
                out.extend_from_slice(fingerprint.as_bytes());
            }
            Value::List(values) => {
                out.push(b'l');
                out.extend_from_slice(&(values.len() as u64).to_le_bytes());
                for value in values {
                    value.encode(out);
                }
            }
            Value::Map(values) => {
                out.push(b'm');
                out.extend_from_slice(&(values.len() as u64).to_le_bytes());
                for (name, value) in values {
                    frame(out, name.as_bytes());
                    value.encode(out);
                }
            }
        }
    }

    fn decode(rest: &mut &[u8], depth: u8) -> Option<Value> {
        if depth > 8 {
            return None;
        }
        let [tag] = take::<1>(rest)?;
        Some(match tag {
            b'-' => Value::Absent,
            b'b' => Value::Bytes(unframe(rest)?.to_vec()),
            b'n' => Value::Number(i64::from_le_bytes(take(rest)?)),
            b'f' => Value::Fingerprint(Fingerprint::from_bytes(take(rest)?)),
            b'l' => {
                let mut values = Vec::new();
                for _ in 0..u64::from_le_bytes(take(rest)?) {
                    values.push(Value::decode(rest, depth + 1)?);
                }
                Value::List(values)
            }
            b'm' => {
                let mut values = BTreeMap::new();
                for _ in 0..u64::from_le_bytes(take(rest)?) {
                    let name = String::from_utf8(unframe(rest)?.to_vec()).ok()?;
                    values.insert(name, Value::decode(rest, depth + 1)?);
                }
                Value::Map(values)
            }
            _ => return None,
        })
    }
}

fn frame(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn unframe<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u64::from_le_bytes(take(rest)?)).ok()?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Absent),
            any::<Vec<u8>>().prop_map(Value::Bytes),
            any::<i64>().prop_map(Value::Number),
            any::<[u8; 32]>().prop_map(|bytes| Value::Fingerprint(Fingerprint::from_bytes(bytes))),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                prop::collection::btree_map(".*", inner, 0..4).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_preimage_survives_its_bytes(fields in prop::collection::vec((".*", value()), 0..5)) {
            let preimage = Preimage { fields };
            prop_assert_eq!(Preimage::decode(&preimage.encode()), Some(preimage));
        }

        #[test]
        fn foreign_bytes_are_refused_and_never_panic(bytes in any::<Vec<u8>>()) {
            let mut framed = Vec::new();
            frame(&mut framed, FORMAT);
            framed.extend(bytes);
            let _ = Preimage::decode(&framed);
        }
    }

    #[test]
    fn a_field_cannot_move_into_its_neighbour() {
        let with = |a: &str, b: &str| Preimage::new("x", 1).with("a", Value::text(a)).with("b", Value::text(b)).key();
        assert_ne!(with("1", "2"), with("12", ""));
    }
}
