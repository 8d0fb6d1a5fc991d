//! Work beside a build: given by its steps, done by threads of its own in the order in which it was given.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

/// Where steps leave what is to be done beside them.
#[derive(Debug)]
pub(super) struct Queue<J>(Mutex<Option<Sender<J>>>);

impl<J> Queue<J> {
    /// Takes something; or nothing, where nobody would do it.
    pub(super) fn send(&self, job: J) {
        if let Some(sender) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // Who does the work is only gone when no more is done.
            let _ = sender.send(job);
        }
    }

    /// A queue that takes nothing.
    pub(super) fn none() -> Queue<J> {
        Queue(Mutex::new(None))
    }

    /// A queue, and where what it was sent is taken from; `None` where nothing is `wanted`.
    pub(super) fn open(wanted: bool) -> (Queue<J>, Option<Receiver<J>>) {
        if !wanted {
            return (Queue::none(), None);
        }
        let (sender, receiver) = channel();
        (Queue(Mutex::new(Some(sender))), Some(receiver))
    }

    /// Whether what is sent is done.
    pub(super) fn is_open(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Runs a build with so many threads beside it that do the work which `queue` is sent, and waits for them.
pub(super) fn beside<J: Send, T>(
    queue: &Queue<J>,
    jobs: Option<Receiver<J>>,
    threads: usize,
    work: impl Fn(J) + Sync,
    build: impl FnOnce() -> T,
) -> T {
    let Some(jobs) = jobs else { return build() };
    let jobs = Mutex::new(jobs);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = next else { return };
                    work(job);
                }
            });
        }
        // Also when the build panics: the threads wait for no more.
        let _closing = Closing(queue);
        build()
    })
}

struct Closing<'a, J>(&'a Queue<J>);

impl<J> Drop for Closing<'_, J> {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_sent_is_done_before_the_end_and_in_order_by_one_thread() {
        for threads in 1..3 {
            let (queue, jobs) = Queue::open(true);
            let done = Mutex::new(Vec::new());
            let built = beside(
                &queue,
                jobs,
                threads,
                |job: u32| done.lock().unwrap().push(job),
                || {
                    (0..100).for_each(|job| queue.send(job));
                    "built"
                },
            );
            let mut done = done.into_inner().unwrap();
            if threads > 1 {
                done.sort_unstable();
            }
            assert_eq!((built, done, queue.is_open()), ("built", (0..100).collect(), false));
        }
    }

    #[test]
    fn a_queue_that_nobody_works_on_takes_nothing() {
        let (queue, jobs) = Queue::open(false);
        assert!(!queue.is_open() && jobs.is_none());
        assert_eq!(beside(&queue, jobs, 1, |job: u32| panic!("{job}"), || queue.send(1)), ());
    }
}
