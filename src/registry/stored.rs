//! A blob of a repository → whether it is there, or a part of its bytes.
//!
//! Source of truth: distribution-spec 1.1, "Checking if content exists in the registry", "Pulling blobs"; RFC 9110,
//! section 14 for ranges.

use std::ops::Range;

use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, StatusCode};

use super::client::{Ask, Client, Repeat};
use super::endpoint::{Endpoint, pull};
use super::{Error, Registry};
use crate::event::Cancel;
use crate::image::{Descriptor, Reference};

impl Registry {
    /// Whether a repository has a blob of this digest and size, going by the registry's own word. Mirrors are not asked.
    ///
    /// # Errors
    ///
    /// When the registry cannot be asked or does not say.
    pub fn has_blob(&self, repository: &Reference, blob: &Descriptor, cancel: &Cancel) -> Result<bool, Error> {
        let endpoint = Endpoint::of(&self.client.settings, repository)?;
        let (client, blob) = (std::sync::Arc::clone(&self.client), blob.clone());
        self.runtime.wait(cancel, async move {
            let endpoint = client.settle(endpoint).await;
            has_blob(&client, &endpoint, &blob).await
        })
    }

    /// Some bytes of a blob, no more than `limit_bytes` of them. They are as the registry gives them: whoever asks knows how to tell
    /// whether they are right. A registry that gives no parts is read up to the end of the range.
    ///
    /// # Errors
    ///
    /// When the registry does not have them, or the range is longer than the limit.
    pub fn blob_part(
        &self,
        repository: &Reference,
        blob: &Descriptor,
        range: Range<u64>,
        limit_bytes: u64,
        cancel: &Cancel,
    ) -> Result<Vec<u8>, Error> {
        let endpoint = Endpoint::of(&self.client.settings, repository)?;
        let (client, blob) = (std::sync::Arc::clone(&self.client), blob.clone());
        self.runtime.wait(cancel, async move {
            let endpoint = client.settle(endpoint).await;
            blob_part(&client, &endpoint, &blob, range, limit_bytes).await
        })
    }
}

async fn has_blob(client: &Client, endpoint: &Endpoint, blob: &Descriptor) -> Result<bool, Error> {
    let Descriptor { digest, size, .. } = blob;
    let doing = format!("looking for `{digest}` in `{}`", endpoint.repository);
    let ask = Ask::new(Method::HEAD, endpoint.url(&format!("blobs/{digest}")), pull(&endpoint.repository), &doing);
    let answer = client.send(endpoint, &ask).await?;
    match answer.response.status() {
        // A registry that does not say the size is believed.
        StatusCode::OK => Ok(content_length(&answer.response).is_none_or(|length| length == *size)),
        StatusCode::NOT_FOUND => Ok(false),
        _ => Err(client.refusal(&endpoint.host, &ask.doing, answer).await),
    }
}

/// What the header says: the body of the answer to `HEAD` has no length of its own.
fn content_length(response: &reqwest::Response) -> Option<u64> {
    response.headers().get(reqwest::header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

async fn blob_part(client: &Client, endpoint: &Endpoint, blob: &Descriptor, range: Range<u64>, limit_bytes: u64) -> Result<Vec<u8>, Error> {
    let digest = &blob.digest;
    let doing = format!("pulling a part of `{digest}` of `{}`", endpoint.repository);
    let mut ask = Ask::new(Method::GET, endpoint.url(&format!("blobs/{digest}")), pull(&endpoint.repository), &doing);
    ask.repeat = Repeat::Patiently;
    let wanted = range.end.saturating_sub(range.start);
    if wanted > limit_bytes {
        return Err(Error::TooLarge { host: endpoint.host.clone(), doing: ask.doing, limit_bytes });
    }
    if wanted == 0 {
        return Ok(Vec::new());
    }
    let header = HeaderValue::try_from(format!("bytes={}-{}", range.start, range.end - 1)).map_err(|_| super::runtime::ended())?;
    ask.headers.insert(RANGE, header);
    let answer = client.send(endpoint, &ask).await?;
    let mut skip = match answer.response.status() {
        StatusCode::PARTIAL_CONTENT if starts_at(&answer.response, range.start) => 0,
        StatusCode::OK => range.start,
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            let (host, doing) = (endpoint.host.clone(), ask.doing);
            return Err(Error::Protocol { host, doing, expected: "the range that was asked for" });
        }
        _ => return Err(client.refusal(&endpoint.host, &ask.doing, answer).await),
    };
    let mut response = answer.response;
    let mut bytes = Vec::new();
    while let Some(piece) = client.chunk(&endpoint.host, &ask.doing, &mut response).await? {
        let skipped = skip.min(piece.len() as u64);
        skip -= skipped;
        // Both are lengths of what is in memory.
        let rest = piece.get(usize::try_from(skipped).unwrap_or(piece.len())..).unwrap_or_default();
        let missing = usize::try_from(wanted).unwrap_or(usize::MAX) - bytes.len();
        bytes.extend_from_slice(rest.get(..missing).unwrap_or(rest));
        if bytes.len() as u64 == wanted {
            return Ok(bytes);
        }
    }
    let source = format!("it ended after {} of {wanted} bytes", bytes.len()).into();
    Err(Error::Broken { host: endpoint.host.clone(), doing: ask.doing, source })
}

fn starts_at(response: &reqwest::Response, start: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let first = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
    first == Some(start)
}
