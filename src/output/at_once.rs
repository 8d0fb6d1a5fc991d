//! A list of work → all of it done, several things at a time, until the first failure.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::event::Cancel;

/// Does `work` for each of `all`. After a failure nothing new is begun, and what is under way is told to stop; the failure that comes back
/// is one that was not only told so, the first of the list where there are several.
pub(super) fn at_once<T: Sync, E: Send>(
    all: &[T],
    at_a_time: NonZeroUsize,
    cancel: &Cancel,
    was_stopped: impl Fn(&E) -> bool,
    work: impl Fn(&T, &Cancel) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let stop = cancel.child();
    let failures: Mutex<BTreeMap<usize, E>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..at_a_time.get().min(all.len()) {
            let (next, stop, failures, work) = (&next, &stop, &failures, &work);
            scope.spawn(move || {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = all.get(place).filter(|_| !stop.is_cancelled()) else { return };
                    if let Err(error) = work(one, stop) {
                        stop.cancel();
                        failures.lock().unwrap_or_else(PoisonError::into_inner).insert(place, error);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.into_values().min_by_key(|error| was_stopped(error)).map_or(Ok(()), Err)
}
