//! Keys as text → those that sign records and those whose signatures count.
//!
//! Source of truth: RFC 8032 (Ed25519); RFC 8410 for keys in PEM, as `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write
//! them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lapstrake_cache::Fingerprint;

/// What precedes the 32 bytes of a public key in DER. RFC 8410, section 4.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What stands before a public key in one word.
const WORD: &str = "ed25519:";

/// A key that signs records. Prints as its public half.
#[derive(Clone)]
pub struct SigningKey {
    pair: Arc<Ed25519KeyPair>,
    public: PublicKey,
}

/// A key whose signatures count. Prints as `ed25519:` and base64.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// The text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not a private key.
    #[error("expected a private Ed25519 key in PEM, as `openssl genpkey -algorithm ed25519` writes it")]
    Private,
    /// Not a public key.
    #[error("expected `ed25519:` and 32 bytes in base64, or a public Ed25519 key in PEM, as `openssl pkey -pubout` writes it")]
    Public,
}

impl SigningKey {
    /// Reads a private key in PEM (PKCS #8, not encrypted).
    ///
    /// # Errors
    /// When it is anything else.
    pub fn from_pem(text: &str) -> Result<SigningKey, InvalidKey> {
        let der = pem(text, "PRIVATE KEY").ok_or(InvalidKey::Private)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| InvalidKey::Private)?;
        let public = <[u8; 32]>::try_from(pair.public_key().as_ref()).map_err(|_| InvalidKey::Private)?;
        Ok(SigningKey { pair: Arc::new(pair), public: PublicKey(public) })
    }

    /// The key that checks what this one signs.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs; `None` where the library cannot.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.pair.try_sign(message).ok().map(|signature| signature.as_ref().to_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public)
    }
}

impl PublicKey {
    /// Reads a public key in PEM.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn from_pem(text: &str) -> Result<PublicKey, InvalidKey> {
        let der = pem(text, "PUBLIC KEY").ok_or(InvalidKey::Public)?;
        let bytes = der.strip_prefix(&SPKI_PREFIX).ok_or(InvalidKey::Public)?;
        bytes.try_into().map(PublicKey).map_err(|_| InvalidKey::Public)
    }

    /// A short name, which decides nothing.
    pub(super) fn short(&self) -> String {
        Fingerprint::of(&self.0).hex().chars().take(16).collect()
    }

    /// Whether the signature over the message is this key's.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<PublicKey, InvalidKey> {
        let word = text.strip_prefix(WORD).ok_or(InvalidKey::Public)?;
        let bytes = STANDARD.decode(word).map_err(|_| InvalidKey::Public)?;
        bytes.as_slice().try_into().map(PublicKey).map_err(|_| InvalidKey::Public)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{WORD}{}", STANDARD.encode(self.0))
    }
}

/// The bytes of the one block of this label.
fn pem(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    STANDARD.decode(body).ok()
}
