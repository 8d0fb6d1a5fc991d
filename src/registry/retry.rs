//! A failure → whether to try again, and after how long.
//!
//! Half of each wait is left to chance, so that many that failed together do not come back together. No digest depends on it.
//! Source of truth: RFC 9110, sections 10.2.3 (`Retry-After`) and 15.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use super::error::Unreachable;
use super::{Error, Patience};

/// Statuses that may be others a moment later. 501 and 505 say that the server will never do it.
pub(super) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429) || (status.is_server_error() && !matches!(status.as_u16(), 501 | 505))
}

/// Errors that may not come again.
pub(super) fn is_transient(error: &Error) -> bool {
    match error {
        Error::Unreachable { problem, .. } => *problem != Unreachable::Tls,
        Error::Broken { .. } | Error::Stalled { .. } => true,
        Error::Unauthorized { .. }
        | Error::Denied { .. }
        | Error::NotFound { .. }
        | Error::TooManyRequests { .. }
        | Error::Refused { .. }
        | Error::Protocol { .. }
        | Error::UntrustedRealm { .. }
        | Error::UnsafeRedirect { .. }
        | Error::DigestMismatch { .. }
        | Error::SizeMismatch { .. }
        | Error::ManifestDigest { .. }
        | Error::OtherDigest { .. }
        | Error::TooLarge { .. }
        | Error::Invalid { .. }
        | Error::Changed { .. }
        | Error::Credentials { .. }
        | Error::Source { .. }
        | Error::SourceSize { .. }
        | Error::Sink { .. }
        | Error::FetchSink { .. }
        | Error::Nowhere { .. }
        | Error::Contended { .. }
        | Error::Settings { .. }
        | Error::Start(_)
        | Error::Cancelled => false,
    }
}

/// Errors of an answer that may be right when it is asked for once more: damaged or cut on its way.
pub(super) fn is_damage(error: &Error) -> bool {
    matches!(
        error,
        Error::DigestMismatch { .. }
            | Error::SizeMismatch { .. }
            | Error::ManifestDigest { .. }
            | Error::Invalid { .. }
            | Error::Protocol { .. }
            | Error::Broken { .. }
            | Error::Stalled { .. }
    )
}

/// How long a registry wants us to wait: seconds, or a date, which is held against the date of the answer itself since our clock may
/// differ.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let asked = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = headers.get(DATE)?.to_str().ok()?;
    let parser = rfc2822::DateTimeParser::new();
    let (then, now) = (parser.parse_timestamp(asked).ok()?, parser.parse_timestamp(now.trim()).ok()?);
    u64::try_from(then.as_second().checked_sub(now.as_second())?).ok().map(Duration::from_secs)
}

impl Patience {
    /// How long to wait after so many failures; `None` where a registry asks for more than we are willing to.
    pub(super) fn wait(&self, failures: u32, asked: Option<Duration>) -> Option<Duration> {
        if asked.is_some_and(|asked| asked > self.longest_asked_wait) {
            return None;
        }
        let backoff = self.first_wait.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.longest_wait);
        let own = backoff / 2 + backoff.mul_f64(chance() / 2.0);
        Some(asked.map_or(own, |asked| asked + own / 4))
    }

    /// Waits after so many failures.
    pub(super) async fn pause(&self, failures: u32) {
        if let Some(wait) = self.wait(failures, None) {
            tokio::time::sleep(wait).await;
        }
    }
}

/// A number from 0 to 1 that is another one each time: what std seeds its hash tables with.
fn chance() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 32;
    // 32 bits are exact in a float.
    f64::from(u32::try_from(bits).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_nonsense_is_not() {
        let date = "Wed, 21 Oct 2015 07:28:00 GMT";
        for (asked, now, expected) in [
            ("7", None, Some(7)),
            (" 0 ", None, Some(0)),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(date), Some(30)),
            // Without the registry's own clock a date says nothing.
            ("Wed, 21 Oct 2015 07:28:30 GMT", None, None),
            ("Wed, 21 Oct 2015 07:27:30 GMT", Some(date), None),
            ("-1", Some(date), None),
            ("soon", Some(date), None),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some("soon"), None),
            ("99999999999999999999", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, asked.parse().unwrap());
            if let Some(now) = now {
                headers.insert(DATE, now.parse().unwrap());
            }
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{asked}");
        }
    }

    #[test]
    fn waits_grow_differ_and_end() {
        let patience = Patience {
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_millis(400),
            longest_asked_wait: Duration::from_secs(9),
            ..Patience::default()
        };
        for (failures, least, most) in [(1, 50, 100), (2, 100, 200), (3, 200, 400), (4, 200, 400), (u32::MAX, 200, 400)] {
            for _ in 0..100 {
                let wait = patience.wait(failures, None).unwrap();
                assert!((least..=most).contains(&u64::try_from(wait.as_millis()).unwrap()), "{failures}: {wait:?}");
            }
        }
        let waits: std::collections::BTreeSet<Duration> = (0..20).map(|_| patience.wait(1, None).unwrap()).collect();
        assert!(waits.len() > 1);
        assert!(patience.wait(1, Some(Duration::from_secs(9))).is_some_and(|wait| wait >= Duration::from_secs(9)));
        assert_eq!(patience.wait(1, Some(Duration::from_secs(10))), None);
    }

    #[test]
    fn trouble_on_the_servers_side_passes_unless_it_will_never_do_it() {
        for (status, passing) in [(408, true), (425, true), (429, true), (500, true), (502, true), (520, true), (501, false), (404, false)]
        {
            assert_eq!(is_passing(StatusCode::from_u16(status).unwrap()), passing, "{status}");
        }
    }
}
