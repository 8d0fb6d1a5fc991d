//! What a record says ⇄ the text that is stored: signed or not, and bound to the whole pre-image of its key.
//!
//! The text is one word, the signature in base64 or `-`, a space, and the statement in JSON. The signature is over a line that names the
//! format and the bytes of the statement as they stand, so that nothing has to be written anew to be checked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lapstrake_cache::Fingerprint;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys::{PublicKey, SigningKey};

/// The only version of statements and of the names of records.
pub(super) const VERSION: u32 = 1;

/// What a signature is over, before the statement.
const CONTEXT: &[u8] = b"lapstrake shared record 1\n";

/// What begins the name of every record.
const PREFIX: &str = "lapstrake-1-";

/// What a record speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What an action came to, by the action's key.
    Result,
    /// The name of a part of a state, by state and path.
    Part,
    /// What is in a layer of a base, by the state that it ends.
    Base,
    /// What was in the directory of a `cache` mount, by what makes it another one.
    Mount,
}

impl Kind {
    /// Its name in names and statements.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Result => "result",
            Kind::Part => "part",
            Kind::Base => "base",
            Kind::Mount => "mount",
        }
    }
}

/// What a record is found by: kind, key, and who signs. Made of letters, digits and `-`, at most 128 of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordName(String);

impl RecordName {
    /// The name of what this key is known to sign, or of what nobody does. Records of other signers are others: none is in another's way.
    #[must_use]
    pub fn new(kind: Kind, key: &Fingerprint, signer: Option<&PublicKey>) -> RecordName {
        let signer = signer.map_or_else(String::new, |signer| format!("-{}", signer.short()));
        RecordName(format!("{PREFIX}{}-{}{signer}", kind.name(), key.hex()))
    }

    /// Takes a name that a place has told; `None` for what no record is called.
    #[must_use]
    pub fn told(text: &str) -> Option<RecordName> {
        let known = text.starts_with(PREFIX) && text.len() <= 128;
        (known && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')).then(|| RecordName(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A statement as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    kind: String,
    key: String,
    /// In base64.
    preimage: String,
    /// Seconds since 1970.
    written: u64,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renewed: Option<u64>,
    body: Value,
}

/// When something was said, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// When it was found out.
    pub(super) written: u64,
    /// When somebody used it last and said it again.
    pub(super) renewed: Option<u64>,
}

impl Times {
    /// When somebody cared for it last.
    pub(super) fn last(self) -> u64 {
        self.renewed.map_or(self.written, |renewed| renewed.max(self.written))
    }
}

/// A statement that passed every check.
pub(super) struct Said<T> {
    pub(super) times: Times,
    pub(super) body: T,
}

/// Why a record does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it is not signed by a key that is trusted")]
    Signature,
    #[error("it is about something else")]
    Mixed,
    #[error("it cannot be read")]
    Unreadable,
}

/// Says something of a key; `None` where it cannot be signed.
pub(super) fn say<T: Serialize>(
    kind: Kind,
    key: &Fingerprint,
    preimage: &[u8],
    Times { written, renewed }: Times,
    body: &T,
    signer: Option<&SigningKey>,
) -> Option<String> {
    let body = serde_json::to_value(body).ok()?;
    let (kind, preimage) = (kind.name().to_owned(), STANDARD.encode(preimage));
    let written = Written { version: VERSION, kind, key: key.hex(), preimage, written, renewed, body };
    let statement = serde_json::to_string(&written).ok()?;
    let signature = match signer {
        Some(signer) => STANDARD.encode(signer.sign(&message(&statement))?),
        None => "-".to_owned(),
    };
    Some(format!("{signature} {statement}"))
}

/// Reads what was said of a key. `signer` is whose signature it must have, if anybody's.
pub(super) fn hear<T: DeserializeOwned>(
    text: &str,
    kind: Kind,
    key: &Fingerprint,
    preimage: &[u8],
    signer: Option<&PublicKey>,
) -> Result<Said<T>, Refused> {
    let (signature, statement) = text.split_once(' ').ok_or(Refused::Unreadable)?;
    if let Some(signer) = signer {
        let signature = STANDARD.decode(signature).map_err(|_| Refused::Signature)?;
        if !signer.has_signed(&message(statement), &signature) {
            return Err(Refused::Signature);
        }
    }
    let Written { version, kind: said_kind, key: said_key, preimage: said_preimage, written, renewed, body } =
        serde_json::from_str(statement).map_err(|_| Refused::Unreadable)?;
    if version != VERSION || said_kind != kind.name() || said_key != key.hex() || said_preimage != STANDARD.encode(preimage) {
        return Err(Refused::Mixed);
    }
    let body = serde_json::from_value(body).map_err(|_| Refused::Unreadable)?;
    Ok(Said { times: Times { written, renewed }, body })
}

/// The times of a record by its own word; `None` for what is no record.
pub(super) fn times(text: &str) -> Option<Times> {
    let (_, statement) = text.split_once(' ')?;
    let Written { version: _, kind: _, key: _, preimage: _, written, renewed, body: _ } = serde_json::from_str(statement).ok()?;
    Some(Times { written, renewed })
}

fn message(statement: &str) -> Vec<u8> {
    [CONTEXT, statement.as_bytes()].concat()
}
