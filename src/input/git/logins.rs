//! Secrets by names that are agreed upon → the header that tells a server of repositories who we are.
//!
//! Docker's documentation, "Build secrets", section "Git authentication for remote contexts". They go over https, and to this machine itself.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::registry::Secret;

/// A secret of this name is a token.
const TOKEN: &str = "GIT_AUTH_TOKEN";
/// A secret of this name is the value of a header as it stands.
const HEADER: &str = "GIT_AUTH_HEADER";

/// Who we are, for servers of repositories.
#[derive(Debug, Clone, Default)]
pub struct GitLogins {
    /// By the name of the secret.
    headers: BTreeMap<String, Secret>,
}

/// A secret that is no header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the secret `{id}` cannot be sent to a server of git: it is empty, or has characters that no header has")]
pub struct InvalidLogin {
    /// The secret's name.
    pub id: String,
}

impl GitLogins {
    /// Whether a secret of this name is one: `GIT_AUTH_TOKEN` or `GIT_AUTH_HEADER`, alone or with a dot and a host behind it.
    #[must_use]
    pub fn is_one(id: &str) -> bool {
        [TOKEN, HEADER]
            .iter()
            .filter_map(|name| id.strip_prefix(name))
            .any(|rest| rest.is_empty() || rest.len() > 1 && rest.starts_with('.'))
    }

    /// Takes a secret for one, if its name says so. White space around it, as files have it at their ends, is no part of it.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn take(&mut self, id: &str, value: &[u8]) -> Result<(), InvalidLogin> {
        if !GitLogins::is_one(id) {
            return Ok(());
        }
        let text = std::str::from_utf8(value).unwrap_or_default().trim();
        if text.is_empty() || !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(InvalidLogin { id: id.to_owned() });
        }
        let value = match id.starts_with(TOKEN) {
            // The user is what Docker says, too; servers look at the token alone.
            true => format!("Basic {}", STANDARD.encode(format!("x-access-token:{text}"))),
            false => text.to_owned(),
        };
        self.headers.insert(id.to_owned(), Secret::new(value));
        Ok(())
    }

    /// The setting of `git` that sends it, as a key and a value; `None` where this server is told nothing.
    ///
    /// `asked` is the address that the spec or the caller has named. A secret that names no host is for that one alone, and not for those
    /// that submodules name.
    pub(super) fn setting(&self, url: &str, asked: &str) -> Option<(String, Secret)> {
        let (scheme, authority) = authority(url)?;
        if scheme != "https" && !is_here(authority) {
            return None;
        }
        let host = host(authority);
        let by_host = |name: &str| self.headers.get(&format!("{name}.{authority}")).or_else(|| self.headers.get(&format!("{name}.{host}")));
        let for_all = |name: &str| self.headers.get(name).filter(|_| self::authority(asked) == Some((scheme, authority)));
        let header = by_host(HEADER).or_else(|| by_host(TOKEN)).or_else(|| for_all(HEADER)).or_else(|| for_all(TOKEN))?;
        Some((format!("http.{scheme}://{authority}/.extraHeader"), Secret::new(format!("Authorization: {}", header.expose()))))
    }
}

/// Scheme and authority of an address with http or https.
fn authority(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    Some((scheme, rest.split('/').next().unwrap_or_default()))
}

fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => authority,
    }
}

/// Whether what is sent there leaves no machine.
fn is_here(authority: &str) -> bool {
    matches!(host(authority), "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(secrets: &[(&str, &str)], url: &str, asked: &str) -> Option<(String, String)> {
        let mut logins = GitLogins::default();
        secrets.iter().for_each(|(id, value)| logins.take(id, value.as_bytes()).unwrap());
        logins.setting(url, asked).map(|(key, value)| (key, value.expose().to_owned()))
    }

    #[test]
    fn a_secret_is_sent_to_the_host_that_it_is_for_and_over_nothing_that_others_read() {
        let token = ("GIT_AUTH_TOKEN", "abc\n");
        let url = "https://example.com/a.git";
        let key = "http.https://example.com/.extraHeader".to_owned();
        let basic = "Authorization: Basic eC1hY2Nlc3MtdG9rZW46YWJj".to_owned();
        assert_eq!(sent(&[token], url, url), Some((key.clone(), basic.clone())));
        assert_eq!(sent(&[token], "https://example.com/deep/b", url), Some((key.clone(), basic.clone())));
        for (other, asked) in [
            ("https://elsewhere.example.com/a.git", url),
            ("https://example.com:8443/a.git", url),
            ("http://example.com/a.git", "http://example.com/a.git"),
            ("ssh://git@example.com/a.git", "ssh://git@example.com/a.git"),
            ("git://example.com/a.git", "git://example.com/a.git"),
        ] {
            assert_eq!(sent(&[token], other, asked), None, "{other}");
        }
        let here = "http://127.0.0.1:8080/a.git";
        assert_eq!(sent(&[token], here, here).unwrap().0, "http.http://127.0.0.1:8080/.extraHeader");

        // One with a host is for that host, whoever names it, and goes before one without.
        let own = ("GIT_AUTH_TOKEN.example.com", "abc");
        assert_eq!(sent(&[own, ("GIT_AUTH_TOKEN", "other")], url, "https://elsewhere.example.com/"), Some((key.clone(), basic)));
        assert_eq!(sent(&[own], "https://elsewhere.example.com/", "https://elsewhere.example.com/"), None);
        let header = ("GIT_AUTH_HEADER", "Bearer abc");
        assert_eq!(sent(&[header, token], url, url), Some((key, "Authorization: Bearer abc".to_owned())));
        assert_eq!(sent(&[("GIT_AUTH_TOKENS", "abc"), ("GIT_AUTH_TOKEN.", "abc")], url, url), None);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for value in [&b""[..], b" \n", b"a\nHost: b", b"a\rb", b"a\0b", b"\xff", "ä".as_bytes()] {
            assert!(GitLogins::default().take("GIT_AUTH_HEADER", value).is_err(), "{value:?}");
            assert!(GitLogins::default().take("other", value).is_ok());
        }
    }
}
