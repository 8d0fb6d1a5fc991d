//! A future → its result on the calling thread.
//!
//! The network runs on two threads of a runtime that the client owns. The caller waits on a plain channel, so it makes no difference
//! whether it is itself inside an async program; and while it waits it can be cancelled, and does what needs the caller's own borrows.

use std::future::Future;
use std::io::{self, Read};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Error;
use crate::event::Cancel;

/// How often a waiting thread looks whether it was cancelled.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// The bytes of a blob to be pushed, opened.
pub(super) type Source = Box<dyn Read + Send>;

/// What a task on the runtime asks of the thread that waits for it: to open its source, anew, so many bytes from its beginning.
pub(super) struct Opening {
    offset: u64,
    answer: oneshot::Sender<io::Result<Source>>,
}

enum Message<T> {
    Open(Opening),
    Done(Result<T, Error>),
}

/// The runtime. Dropping it waits for nothing, so that it can be dropped inside an async program.
#[derive(Debug)]
pub(super) struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    pub(super) fn new() -> Result<Runtime, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("lapstrake-net")
            .enable_all()
            .build()
            .map_err(Error::Start)?;
        Ok(Runtime(Some(runtime)))
    }

    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Option<tokio::task::AbortHandle> {
        self.0.as_ref().map(|runtime| runtime.spawn(future).abort_handle())
    }

    /// Runs a future and waits for it.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        cancel: &Cancel,
        future: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.drive(cancel, |_| future, &mut |_| Err(io::ErrorKind::Unsupported.into()), &mut || {})
    }

    /// Runs a future and waits for it, opening its source whenever it asks, and calling `look` now and then and at the end.
    pub(super) fn drive<T: Send + 'static, F: Future<Output = Result<T, Error>> + Send + 'static>(
        &self,
        cancel: &Cancel,
        start: impl FnOnce(Opener) -> F,
        open: &mut dyn FnMut(u64) -> io::Result<Source>,
        look: &mut dyn FnMut(),
    ) -> Result<T, Error> {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let (sender, receiver) = mpsc::channel();
        let openings = sender.clone();
        let opener = Opener(Box::new(move |opening| openings.send(Message::Open(opening)).is_ok()));
        let future = start(opener);
        let task = self.spawn(async move {
            // The waiting thread may be gone.
            let _ = sender.send(Message::Done(future.await));
        });
        let result = loop {
            match receiver.recv_timeout(LOOK) {
                Ok(Message::Open(Opening { offset, answer })) => {
                    let _ = answer.send(open(offset));
                }
                Ok(Message::Done(result)) => break result,
                Err(RecvTimeoutError::Timeout) => look(),
                Err(RecvTimeoutError::Disconnected) => break Err(ended()),
            }
            if cancel.is_cancelled() {
                if let Some(task) = task {
                    task.abort();
                }
                return Err(Error::Cancelled);
            }
        };
        look();
        result
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lets a task ask the thread that waits for it to open its source.
pub(super) struct Opener(Box<dyn Fn(Opening) -> bool + Send + Sync>);

impl Opener {
    /// Opens the source so many bytes from its beginning.
    pub(super) async fn open(&self, offset: u64) -> io::Result<Source> {
        let (answer, receiver) = oneshot::channel();
        if !(self.0)(Opening { offset, answer }) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        receiver.await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
    }
}

/// A task can only end without a result when it panicked.
pub(super) fn ended() -> Error {
    Error::Start(io::Error::other("a network task ended without a result"))
}
