//! An address → the bytes behind it. No credentials are sent, whoever asks; whoever calls knows what the bytes must be and compares.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};

use bytes::Bytes;
use reqwest::header::LOCATION;
use reqwest::{Method, Response, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::client::{Answer, Client, Payload, is_passing, is_transient};
use super::endpoint::lead;
use super::error::Login;
use super::runtime::{LOOK, ended};
use super::{Error, Registry};
use crate::event::Cancel;

/// How many redirects are followed.
const REDIRECTS: usize = 10;
/// How many pieces may wait to be written.
const PIECES: usize = 32;
/// More is not taken: the bytes are in the store before they can be compared.
const LIMIT_BYTES: u64 = 64 << 30;

enum Message {
    Piece(Bytes, OwnedSemaphorePermit),
    End,
    Failed(Error),
}

impl Registry {
    /// Downloads what is behind an http or https address into a sink. `progress` gets the bytes done so far, and all of them where
    /// the server says.
    ///
    /// # Errors
    ///
    /// When the address is none, the server does not give the bytes, or the sink fails; it has then got bytes that must not be believed.
    pub fn fetch(&self, address: &str, sink: &mut dyn Write, progress: &mut dyn FnMut(u64), cancel: &Cancel) -> Result<(), Error> {
        let bad = || Error::Settings { what: format!("`{address}` is no address: expected http:// or https://, a host and a path") };
        let url = Url::parse(address).map_err(|_| bad())?;
        let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")).ok_or_else(bad)?.to_owned();
        let (sender, receiver) = mpsc::channel();
        let client = Arc::clone(&self.client);
        let task = self.runtime.spawn(async move {
            let end = match download(&client, &host, url, &sender).await {
                Ok(()) => Message::End,
                Err(error) => Message::Failed(error),
            };
            // The reader may be gone.
            let _ = sender.send(end);
        });
        let mut done = 0;
        let result = loop {
            if cancel.is_cancelled() {
                break Err(Error::Cancelled);
            }
            match receiver.recv_timeout(LOOK) {
                Ok(Message::Piece(bytes, _room)) => {
                    if let Err(source) = sink.write_all(&bytes) {
                        break Err(Error::FetchSink { address: address.to_owned(), source });
                    }
                    done += bytes.len() as u64;
                    progress(done);
                }
                Ok(Message::End) => return Ok(()),
                Ok(Message::Failed(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break Err(ended()),
            }
        };
        if let Some(task) = task {
            task.abort();
        }
        result
    }
}

async fn download(client: &Client, host: &str, url: Url, messages: &Sender<Message>) -> Result<(), Error> {
    let doing = "a download".to_owned();
    let mut response = answered(client, host, url, &doing).await?;
    let room = Arc::new(Semaphore::new(PIECES));
    let mut received = 0;
    while let Some(bytes) = client.chunk(host, &doing, &mut response).await? {
        received += bytes.len() as u64;
        if received > LIMIT_BYTES {
            return Err(Error::TooLarge { host: host.to_owned(), doing, limit_bytes: LIMIT_BYTES });
        }
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return Err(ended()) };
        if messages.send(Message::Piece(bytes, permit)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The answer with the bytes: asked for again where that may help, along redirects that lead neither from https to http nor from afar to this machine.
async fn answered(client: &Client, host: &str, first: Url, doing: &str) -> Result<Response, Error> {
    let mut failures = 0;
    loop {
        let outcome = follow(client, host, first.clone(), doing).await;
        failures += 1;
        let again = failures < client.settings.patience.attempts;
        match outcome {
            Ok(response) if response.status().is_success() => return Ok(response),
            Ok(response) if again && is_passing(response.status()) => {}
            // A download has neither a name nor a tag to check, as what a registry lacks has.
            Ok(response) if response.status().as_u16() == 404 => {
                return Err(Error::Refused { host: host.to_owned(), doing: doing.to_owned(), status: 404, messages: Vec::new() });
            }
            Ok(response) => return Err(client.refusal(host, doing, Answer { response, login: Login::Nothing }).await),
            Err(error) if again && is_transient(&error) => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(client.settings.patience.wait(failures, None)).await;
    }
}

async fn follow(client: &Client, host: &str, mut url: Url, doing: &str) -> Result<Response, Error> {
    for _ in 0..=REDIRECTS {
        let response = client.head(host, doing, client.request(Method::GET, url.clone())?, &Payload::Nothing).await?;
        let location = response.headers().get(LOCATION).map(|location| String::from_utf8_lossy(location.as_bytes()).into_owned());
        let Some(location) = location.filter(|_| response.status().is_redirection()) else { return Ok(response) };
        url = lead(&url, &location, host, doing)?;
    }
    Err(Error::Protocol { host: host.to_owned(), doing: doing.to_owned(), expected: "an end to its redirects" })
}
