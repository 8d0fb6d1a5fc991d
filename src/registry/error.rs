//! What can go wrong between us and a registry, each with what to do about it.
//!
//! No error holds a password, a token, or an address with a query (upload addresses may be signed).

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use lapstrake_cache::Digest;
use serde_json::Value;

use super::CredentialError;
use crate::image::InvalidImage;

/// What can go wrong between us and a registry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("cannot reach `{host}`: {problem}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What is in the way.
        problem: Unreachable,
        /// What the network said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The registry went silent.
    #[error("`{host}` sent and took nothing for {} s while {doing}: check the network between here and there, then run again; what arrived is kept", .limit.as_secs())]
    Stalled {
        /// Host and port.
        host: String,
        /// What we were doing.
        doing: String,
        /// How long we waited.
        limit: Duration,
    },
    /// The connection broke.
    #[error("the connection to `{host}` broke while {doing}: run again; what arrived is kept")]
    Broken {
        /// Host and port.
        host: String,
        /// What we were doing.
        doing: String,
        /// What the network said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Status 401.
    #[error("`{host}` wants to know who we are for {doing}, status 401: {login}{}", told(.messages))]
    Unauthorized {
        /// Host and port.
        host: String,
        /// What we were doing.
        doing: String,
        /// What we had to log in with.
        login: Login,
        /// What the registry said.
        messages: Vec<Message>,
    },
    /// Status 403.
    #[error("`{host}` forbids {doing}, status 403: {login}{}", told(.messages))]
    Denied {
        /// Host and port.
        host: String,
        /// What we were doing.
        doing: String,
        /// What we had to log in with.
        login: Login,
        /// What the registry said.
        messages: Vec<Message>,
    },
    /// Status 404.
    #[error("`{host}` does not have what is needed for {doing}, status 404: check the name and the tag{}", told(.messages))]
    NotFound {
        /// Host and port.
        host: String,
        /// What we were doing.
        doing: String,
        /// What the registry said.
        messages: Vec<Message>,
    },
    /// Status 429, also after waiting as long as we were asked to.
    #[error("`{host}` has had too many requests for {doing}, status 429: wait{}, log in for a higher limit, or set up a mirror{}", asked(*.wait), told(.messages))]
    TooManyRequests {
        /// Host and port.
        host: String,
        /// What we were doing.
        doing: String,
        /// How long it wants us to wait, where it says so.
        wait: Option<Duration>,
        /// What the registry said.
        messages: Vec<Message>,
    },
    /// Any other status that is not a success.
    #[error("`{host}` answered {status} to {doing}: {}{}", remedy(*.status), told(.messages))]
    Refused {
        /// Host and port.
        host: String,
        /// What we were doing.
        doing: String,
        /// The status.
        status: u16,
        /// What the registry said.
        messages: Vec<Message>,
    },
    /// The registry broke the protocol.
    #[error("`{host}` does not answer as a registry should to {doing}: expected {expected}")]
    Protocol {
        /// Host and port.
        host: String,
        /// What we were doing.
        doing: String,
        /// What should have come.
        expected: &'static str,
    },
    /// The registry wants our credentials sent where they must not go.
    #[error(
        "`{host}` asks us to fetch a token from `{realm}`, where credentials could be read by others: a token server must be on https, or be as local as the registry is"
    )]
    UntrustedRealm {
        /// The registry.
        host: String,
        /// The token server, without its query.
        realm: String,
    },
    /// A redirect to a place we do not go to.
    #[error(
        "`{host}` sends us to `{target}` for {doing}: from https to plain http, or from afar to this machine, is not followed; check the registry's external address (`X-Forwarded-Proto` behind a proxy)"
    )]
    UnsafeRedirect {
        /// Who sent us.
        host: String,
        /// Where to, without its query.
        target: String,
        /// What we were doing.
        doing: String,
    },
    /// Downloaded bytes are not those that were asked for. They were not believed.
    #[error(
        "`{host}` sent other bytes than those of `{expected}` for {doing}: they have the digest `{actual}`; the registry, a mirror or a proxy on the way is damaged or lies"
    )]
    DigestMismatch {
        /// Host and port.
        host: String,
        /// What we were doing.
        doing: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// Downloaded bytes are not as many as they should be.
    #[error(
        "`{host}` sent {actual} bytes for {doing} where {expected} were promised: the registry is damaged, or the manifest names a wrong size"
    )]
    SizeMismatch {
        /// Host and port.
        host: String,
        /// What we were doing.
        doing: String,
        /// What was asked for.
        digest: Digest,
        /// How many bytes it should have.
        expected: u64,
        /// How many came before we stopped.
        actual: u64,
    },
    /// The registry stored a manifest under another digest, or says one of its own bytes that is not so.
    #[error(
        "`{host}` says for {doing} that the manifest is `{said}`, and it is `{actual}`: the registry, a mirror or a proxy on the way is damaged or lies"
    )]
    ManifestDigest {
        /// Host and port.
        host: String,
        /// What we were doing.
        doing: String,
        /// What the registry says.
        said: String,
        /// What it is.
        actual: Digest,
    },
    /// A place is named by another digest than that of what is to be pushed there.
    #[error(
        "`{target}` names another digest than what is to be pushed there, which is `{actual}`: leave the digest out, or push what it names"
    )]
    OtherDigest {
        /// The place.
        target: String,
        /// The digest of what is to be pushed.
        actual: Digest,
    },
    /// An answer is longer than we read.
    #[error("`{host}` answers {doing} with more than {limit_bytes} bytes, which nothing honest needs")]
    TooLarge {
        /// Host and port.
        host: String,
        /// What we were doing.
        doing: String,
        /// The most we read.
        limit_bytes: u64,
    },
    /// A manifest or index that is none.
    #[error("what `{host}` gives for {doing} cannot be used")]
    Invalid {
        /// Host and port.
        host: String,
        /// What we were doing.
        doing: String,
        /// What is wrong with it.
        source: InvalidImage,
    },
    /// What is behind an address changed while it was downloaded.
    #[error("what `{host}` has for {doing} changed on the way: run again")]
    Changed {
        /// Host and port.
        host: String,
        /// What we were doing.
        doing: String,
    },
    /// Credentials could not be looked up.
    #[error("cannot find out what to log in with at `{host}`")]
    Credentials {
        /// Host and port.
        host: String,
        /// Why.
        source: CredentialError,
    },
    /// The blob to be pushed cannot be read.
    #[error("cannot read `{digest}` to push it")]
    Source {
        /// Which blob.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// The blob to be pushed does not have as many bytes as it should.
    #[error("`{digest}` should have {expected} bytes to be pushed, and its source has {}", if *.longer { "more" } else { "fewer" })]
    SourceSize {
        /// Which blob.
        digest: Digest,
        /// How many bytes it should have.
        expected: u64,
        /// Whether the source has more than that.
        longer: bool,
    },
    /// What was downloaded cannot be written.
    #[error("cannot write `{digest}`")]
    Sink {
        /// Which blob.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// What was downloaded from an address cannot be written.
    #[error("cannot write what `{address}` gives")]
    FetchSink {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Neither the mirrors nor the registry itself have it.
    #[error("`{reference}` is nowhere to be had: {}", each(.failures))]
    Nowhere {
        /// What was asked for.
        reference: String,
        /// What each said, mirrors first.
        failures: Vec<Error>,
    },
    /// Others move a tag whenever we have.
    #[error("`{reference}` was moved by others each of the {attempts} times it was to be added to: run again when they are done")]
    Contended {
        /// The tag.
        reference: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The settings cannot be used.
    #[error("{what}")]
    Settings {
        /// What is wrong with them.
        what: String,
    },
    /// The system refuses threads or sockets.
    #[error("cannot start the network")]
    Start(#[source] io::Error),
    /// [`crate::event::Cancel`] was used.
    #[error("cancelled")]
    Cancelled,
}

/// What is in the way of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// Nothing listens there.
    Refused,
    /// The name has no address.
    Name,
    /// No agreement on a secure connection.
    Tls,
    /// No answer.
    Timeout,
    /// Something else.
    Other,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unreachable::Refused => "nothing listens there; is it running, and is the port right?",
            Unreachable::Name => "its name cannot be resolved; check the spelling, and the name server of this machine",
            Unreachable::Tls => {
                "no secure connection; if its certificate is your own authority's, add that to the settings; if it speaks plain http, list it there"
            }
            Unreachable::Timeout => "no answer; a firewall or a proxy may be in the way",
            Unreachable::Other => "the connection failed",
        })
    }
}

/// What we had to log in with when a registry refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// Nothing was found.
    Nothing,
    /// Credentials were found and sent.
    Credentials,
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Login::Nothing => "no credentials were found for it; log in with `lapstrake login`, `docker login` or `podman login`, or check the name (what is hidden is answered like this too)",
            Login::Credentials => "the credentials that were found do not suffice; log in again, or ask for access",
        })
    }
}

/// One message of a registry: distribution-spec 1.1, "Error Codes". Cut short, and without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Such as `MANIFEST_UNKNOWN`.
    pub code: String,
    /// For people.
    pub text: String,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.text.as_str()) {
            (code, "") => f.write_str(code),
            ("", text) => f.write_str(text),
            (code, text) => write!(f, "{code}: {text}"),
        }
    }
}

fn told(messages: &[Message]) -> String {
    if messages.is_empty() {
        return String::new();
    }
    let messages: Vec<String> = messages.iter().map(Message::to_string).collect();
    format!(" (it says: {})", messages.join("; "))
}

fn asked(wait: Option<Duration>) -> String {
    wait.map_or_else(String::new, |wait| format!(" {} s as it asks", wait.as_secs()))
}

/// What to do about a status that has no error of its own.
const fn remedy(status: u16) -> &'static str {
    match status {
        405 | 501 => "it does not do this; ask whoever runs it whether it is switched off",
        413 => "that is too large for it or for a proxy before it; raise their limit, or set `chunk_size` for this host",
        300..=399 => "that leads nowhere; check the address",
        400..=499 => "it does not take it as it is",
        _ => "it has trouble of its own; run again later, what arrived is kept",
    }
}

fn each(failures: &[Error]) -> String {
    failures.iter().map(Error::to_string).collect::<Vec<_>>().join("; and ")
}

/// How many messages of one answer are kept.
const MESSAGES: usize = 5;

/// How many characters of a code or text are kept.
const CHARACTERS: usize = 300;

/// Reads the messages in the body of an answer. What is no such body has none.
pub(super) fn messages(body: &[u8]) -> Vec<Message> {
    #[derive(serde::Deserialize)]
    struct Body {
        errors: Vec<One>,
    }
    #[derive(serde::Deserialize)]
    #[serde(default)]
    #[derive(Default)]
    struct One {
        code: Value,
        message: Value,
    }
    let Ok(body) = serde_json::from_slice::<Body>(body) else { return Vec::new() };
    let text = |value: &Value| match value {
        Value::String(text) => clean(text),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => clean(&value.to_string()),
    };
    let messages = body.errors.iter().take(MESSAGES).map(|one| Message { code: text(&one.code), text: text(&one.message) });
    messages.filter(|message| !(message.code.is_empty() && message.text.is_empty())).collect()
}

/// Text from outside, short and on one line.
fn clean(text: &str) -> String {
    text.chars().take(CHARACTERS).map(|character| if character.is_control() { ' ' } else { character }).collect()
}

impl Error {
    /// Whether a registry refused a manifest for want of what it names: then it may have forgotten what it said it has.
    #[must_use]
    pub fn is_about_missing_parts(&self) -> bool {
        matches!(self, Error::Refused { messages, .. } | Error::NotFound { messages, .. }
            if messages.iter().any(|message| matches!(message.code.as_str(), "MANIFEST_BLOB_UNKNOWN" | "BLOB_UNKNOWN")))
    }
}

impl Unreachable {
    /// Finds out from the errors below a failed request. `None` when a connection had been made.
    pub(super) fn of(error: &reqwest::Error) -> Option<Unreachable> {
        if !error.is_connect() {
            return None;
        }
        if error.is_dns() {
            return Some(Unreachable::Name);
        }
        let mut below: Option<&dyn StdError> = error.source();
        let mut tls = false;
        while let Some(error) = below {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                let kind = error.kind();
                if kind == io::ErrorKind::ConnectionRefused {
                    return Some(Unreachable::Refused);
                }
                if kind == io::ErrorKind::TimedOut {
                    return Some(Unreachable::Timeout);
                }
            }
            // The layers below have no types of their own that could be asked.
            let text = error.to_string();
            if text.contains("dns error") || text.contains("invalid dns name") {
                return Some(Unreachable::Name);
            }
            tls |= ["certificate", "fatal alert", "corrupt message", "handshake"].iter().any(|sign| text.contains(sign));
            below = error.source();
        }
        Some(if tls {
            Unreachable::Tls
        } else if error.is_timeout() {
            Unreachable::Timeout
        } else {
            Unreachable::Other
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_read_cut_and_cleaned() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m access","detail":{"secret":1}},{"code":"X"},{},{"message":5}]}"#;
        let texts: Vec<String> = messages(body).iter().map(Message::to_string).collect();
        assert_eq!(texts, ["DENIED: no [31m access", "X", "5"]);
        let long = format!(r#"{{"errors":[{{"code":"A","message":"{}"}}]}}"#, "x".repeat(1000));
        assert_eq!(messages(long.as_bytes())[0].text.len(), CHARACTERS);
        let many = format!(r#"{{"errors":[{}]}}"#, vec![r#"{"code":"A"}"#; 50].join(","));
        assert_eq!(messages(many.as_bytes()).len(), MESSAGES);
        assert_eq!(messages(b"<html>"), []);
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            messages(&body);
        }
    }
}
