//! The layers of a base beside each other: what is read of a layer needs nothing of those below it, so that several are read at a time;
//! each is finished when all below it are.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use lapstrake_cache::Digest;

use super::Layers;
use super::foreign::{Begun, unpack_label};
use crate::build::Failure;
use crate::build::state::{LayerName, State};
use crate::event::{Cancel, Outcome, TaskKind};
use crate::input::{BaseLayer, Outside};

/// How many layers are fetched, and at most how many are read, at a time.
pub(super) const AT_A_TIME: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

impl Layers<'_> {
    /// Unpacks the layers of a state's base of which nothing is known, here or in a shared cache.
    pub(super) fn unpack_beside(&self, state: &State) -> Result<(), Failure> {
        let count = state.layers().iter().take_while(|layer| matches!(layer, LayerName::Foreign(_))).count();
        if count == 0 {
            return Ok(());
        }
        let base = state.prefix(count);
        self.beside.get(&base, || {
            let unknown = self.unknown(&base)?;
            if unknown.is_empty() {
                return Ok(());
            }
            let (fetching, fetched) = Fetching::of(&unknown);
            let stop = self.outside.cancel.child();
            let outside = Outside { cancel: &stop, ..self.outside.clone() };
            let fetch = || fetching.each(&stop, |diff_id| self.bring(&outside, &self.base_layer(diff_id)?));
            thread::scope(|scope| {
                if thread::Builder::new().spawn_scoped(scope, fetch).is_err() {
                    // Where there can be no more threads, it is done before.
                    fetch();
                }
                // One after another for bases that begin alike: they mostly share more than one layer, which are read once.
                let turn = self.turns.get(&state.prefix(1), || Ok::<_, Failure>(Arc::default()))?;
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                let read = self.unknown(&base).and_then(|unknown| self.read_beside(&unknown, &fetched));
                if read.is_err() {
                    stop.cancel();
                }
                read
            })
        })
    }

    /// The layers of a base that are to be read. Of those that it has twice, one: mostly the other is known then too.
    fn unknown(&self, base: &State) -> Result<Vec<(State, Digest)>, Failure> {
        let states: Vec<(State, Digest)> = base
            .layers()
            .iter()
            .zip(1..)
            .map_while(|(layer, count)| match layer {
                LayerName::Foreign(diff_id) => Some((base.prefix(count), *diff_id)),
                LayerName::Own(_) => None,
            })
            .collect();
        if self.elsewhere.is_some() {
            // What a cache says comes from afar; below it is there.
            let _ = side_by_side(AT_A_TIME, states.len(), |place| {
                let _ = states.get(place).map(|(state, diff_id)| self.is_known(state, diff_id));
                Ok::<_, Infallible>(())
            });
        }
        let (mut unknown, mut diff_ids) = (Vec::new(), BTreeSet::new());
        for (state, diff_id) in states {
            if !self.is_known(&state, &diff_id)? && diff_ids.insert(diff_id) {
                unknown.push((state, diff_id));
            }
        }
        Ok(unknown)
    }

    /// Whether the difference of a base's layer is known, here or in a shared cache.
    fn is_known(&self, state: &State, diff_id: &Digest) -> Result<bool, Failure> {
        let found = self.differences.get(state, || match self.foreign_difference(state, diff_id) {
            Ok(Some(difference)) => Ok(Arc::new(difference)),
            Ok(None) => self.told_difference(state).map(Arc::new).ok_or(None),
            Err(failure) => Err(Some(Box::new(failure))),
        });
        match found {
            Ok(_) => Ok(true),
            Err(None) => Ok(false),
            Err(Some(failure)) => Err(*failure),
        }
    }

    /// Of several failures the lowest layer's is told; what lies above it is thrown away.
    fn read_beside(&self, unknown: &[(State, Digest)], fetched: &Fetched) -> Result<(), Failure> {
        let line = Mutex::new(Line::default());
        side_by_side(self.threads.min(AT_A_TIME), unknown.len(), |number| {
            let Some((_, diff_id)) = unknown.get(number) else { return Ok(()) };
            // Where nothing is said of it, another was not to be had. Should that one be known by now, this one is read when it is needed.
            let Some(fetched) = fetched.wait(diff_id) else { return Ok(()) };
            fetched?;
            let layer = self.base_layer(diff_id)?;
            let begun = self.outside.task(TaskKind::Unpack, unpack_label(&layer), |_| {
                let begun = self.begin_foreign(&layer, self.unpack)?;
                Ok::<_, Failure>((begun, Outcome::Done))
            })?;
            line.lock().unwrap_or_else(PoisonError::into_inner).begun.insert(number, (layer, begun));
            self.finish_line(unknown, &line)
        })
    }

    /// Finishes the layers whose turn it is, unless another thread does.
    fn finish_line(&self, unknown: &[(State, Digest)], line: &Mutex<Line>) -> Result<(), Failure> {
        let lock = || line.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let next = lock().take();
            let Some((number, layer, begun)) = next else { return Ok(()) };
            if let Some((state, _)) = unknown.get(number) {
                let (difference, _) = self.finish_foreign(state, &layer, begun)?;
                self.differences.get(state, || Ok::<_, Failure>(Arc::new(difference)))?;
            }
            lock().finished();
        }
    }
}

/// Layers that were read and wait for those below them.
#[derive(Default)]
struct Line {
    /// The number of the one that is finished next, or now.
    next: usize,
    /// Whether a thread is finishing one. After a failure nothing is finished any more.
    busy: bool,
    begun: BTreeMap<usize, (BaseLayer, Begun)>,
}

impl Line {
    /// The next layer, if it was read and nobody is finishing one.
    fn take(&mut self) -> Option<(usize, BaseLayer, Begun)> {
        let (layer, begun) = if self.busy { None } else { self.begun.remove(&self.next) }?;
        self.busy = true;
        Some((self.next, layer, begun))
    }

    fn finished(&mut self) {
        self.busy = false;
        self.next += 1;
    }
}

/// The layers to fetch, and where it is said how that went.
struct Fetching(Vec<(Digest, Tell)>);

type Tell = Mutex<Option<SyncSender<Result<(), Failure>>>>;

/// Tells once of each layer whether it was fetched.
struct Fetched(BTreeMap<Digest, Mutex<Receiver<Result<(), Failure>>>>);

impl Fetching {
    fn of(layers: &[(State, Digest)]) -> (Fetching, Fetched) {
        let (mut fetching, mut fetched) = (Vec::new(), BTreeMap::new());
        for (_, diff_id) in layers {
            let (tell, told) = sync_channel(1);
            fetching.push((*diff_id, Mutex::new(Some(tell))));
            fetched.insert(*diff_id, Mutex::new(told));
        }
        (Fetching(fetching), Fetched(fetched))
    }

    /// Fetches each, several at a time, begun in order. The first failure stops all others, of which nothing is said then.
    fn each(&self, stop: &Cancel, fetch: impl Fn(&Digest) -> Result<(), Failure> + Sync) {
        let failed = AtomicBool::new(false);
        // Each failure is told where it is waited for.
        let _ = side_by_side(AT_A_TIME, self.0.len(), |place| {
            let Some((diff_id, tell)) = self.0.get(place) else { return Ok(()) };
            let tell = tell.lock().unwrap_or_else(PoisonError::into_inner).take();
            let result = fetch(diff_id);
            let ended = if result.is_ok() { Ok(()) } else { Err(()) };
            // What fails after the first was stopped with it, or would only hide it.
            if result.is_ok() || !failed.swap(true, Ordering::Relaxed) {
                // Nobody listens any more where reading has ended.
                let _ = tell.is_some_and(|tell| tell.send(result).is_ok());
            }
            if ended.is_err() {
                stop.cancel();
            }
            ended
        });
        self.0.iter().for_each(|(_, tell)| drop(tell.lock().unwrap_or_else(PoisonError::into_inner).take()));
    }
}

impl Fetched {
    /// Waits for a layer. `None` where nothing is said of it any more.
    fn wait(&self, diff_id: &Digest) -> Option<Result<(), Failure>> {
        self.0.get(diff_id)?.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }
}

/// Does each piece of work, so many at a time, begun in order; one of the threads is the caller's. After a failure nothing more is begun.
///
/// # Errors
/// Of those that failed, the first in order.
pub(super) fn side_by_side<E: Send>(at_a_time: NonZeroUsize, count: usize, work: impl Fn(usize) -> Result<(), E> + Sync) -> Result<(), E> {
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let first: Mutex<Option<(usize, E)>> = Mutex::default();
    let each = || {
        while !stopped.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            if let Err(error) = work(number) {
                stopped.store(true, Ordering::Relaxed);
                let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                if first.as_ref().is_none_or(|(earlier, _)| number < *earlier) {
                    *first = Some((number, error));
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..at_a_time.get().min(count) {
            // Where there can be no more threads, there are fewer.
            let _ = thread::Builder::new().spawn_scoped(scope, each);
        }
        each();
    });
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;
    use std::time::Duration;

    use super::*;

    #[test]
    fn as_many_pieces_of_work_as_are_asked_for_are_begun_before_any_ends() {
        let (begun, all) = (Mutex::new(0), Condvar::new());
        let work = |_: usize| {
            let mut begun = begun.lock().unwrap();
            *begun += 1;
            all.notify_all();
            let (begun, waited) = all.wait_timeout_while(begun, Duration::from_secs(60), |begun| *begun < AT_A_TIME.get()).unwrap();
            if waited.timed_out() { Err(*begun) } else { Ok(()) }
        };
        assert_eq!(side_by_side(AT_A_TIME, AT_A_TIME.get(), work), Ok(()));
    }

    #[test]
    fn work_is_done_once_each_and_the_first_failure_in_order_is_told() {
        let done = Mutex::new(Vec::new());
        let work = |number: usize| {
            done.lock().unwrap().push(number);
            if number % 10 == 7 { Err(number) } else { Ok(()) }
        };
        assert_eq!(side_by_side(AT_A_TIME, 7, work), Ok(()));
        let mut all = std::mem::take(&mut *done.lock().unwrap());
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(side_by_side(AT_A_TIME, 100, work), Err(7));
        let mut all = std::mem::take(&mut *done.lock().unwrap());
        all.sort_unstable();
        assert!(all.starts_with(&[0, 1, 2, 3, 4, 5, 6, 7]) && all.is_sorted_by(|one, other| one < other), "{all:?}");
    }
}
