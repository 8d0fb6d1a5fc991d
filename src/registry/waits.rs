//! What a registry asks us to wait → how long we wait, and a word about it to whoever listens.
//!
//! All waits that one host asks for have a bound together: each by itself may be patient where all of them are a build that hangs.
//! Source of truth: RFC 9110, section 10.2.3 (`Retry-After`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Patience;
use crate::event::{Event, EventKind, EventSink, TaskId};

/// Shorter waits are not spoken of.
const WORTH_A_WORD: Duration = Duration::from_secs(5);

/// So many times as long as a host let us work, one part of what it made us wait is forgotten: a client may live for days.
const FORGETS: u32 = 6;

/// The waits of a client.
#[derive(Default)]
pub(super) struct Waits {
    events: Mutex<Option<Arc<dyn EventSink>>>,
    hosts: Mutex<BTreeMap<String, Asked>>,
}

/// What a host asked for.
struct Asked {
    /// The end of the last wait.
    until: Instant,
    /// How long all of them were, several at the same time counted once.
    waited: Duration,
}

impl Waits {
    /// From now on this one is told of waits.
    pub(super) fn tell(&self, events: Arc<dyn EventSink>) {
        *lock(&self.events) = Some(events);
    }

    /// How long to wait after so many failures of what we are doing, given what the host asked for; `None` where that is more than we are
    /// willing to, by itself or together with what it asked for before.
    pub(super) fn after(&self, patience: &Patience, host: &str, doing: &str, failures: u32, asked: Option<Duration>) -> Option<Duration> {
        let wait = patience.wait(failures, asked)?;
        let Some(asked) = asked else { return Some(wait) };
        if self.add(patience, host, asked, Instant::now())? >= WORTH_A_WORD
            && let Some(events) = &*lock(&self.events)
        {
            let message = format!("`{host}` asks for a wait of {} s while {doing}", asked.as_secs());
            events.send(Event { task: TaskId::fresh(), kind: EventKind::Noted { message } });
        }
        Some(wait)
    }

    /// By how much longer we wait for a host; `None` where that would be too long.
    fn add(&self, patience: &Patience, host: &str, asked: Duration, now: Instant) -> Option<Duration> {
        let until = now.checked_add(asked)?;
        let mut hosts = lock(&self.hosts);
        let known = hosts.entry(host.to_owned()).or_insert(Asked { until: now, waited: Duration::ZERO });
        known.waited = known.waited.saturating_sub(now.saturating_duration_since(known.until) / FORGETS);
        known.until = known.until.max(now);
        let more = until.saturating_duration_since(known.until);
        let waited = known.waited.saturating_add(more);
        if waited > patience.longest_asked_wait {
            return None;
        }
        (known.until, known.waited) = (known.until.max(until), waited);
        Some(more)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that panics is done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_of_a_host_have_a_bound_together_and_those_at_the_same_time_count_once() {
        let patience = Patience { longest_asked_wait: Duration::from_secs(100), ..Patience::default() };
        let (waits, begin) = (Waits::default(), Instant::now());
        for (host, at, asked, more) in [
            ("a", 0, 101, None),
            ("a", 0, 50, Some(50)),
            ("a", 0, 50, Some(0)),
            ("a", 10, 30, Some(0)),
            ("a", 20, 40, Some(10)),
            ("a", 60, 41, None),
            ("a", 60, 40, Some(40)),
            ("b", 60, 100, Some(100)),
            ("a", 100, 1, None),
            // In a minute of work ten seconds are forgotten.
            ("a", 160, 11, None),
            ("a", 160, 10, Some(10)),
            ("a", 170 + 600, 100, Some(100)),
        ] {
            let found = waits.add(&patience, host, Duration::from_secs(asked), begin + Duration::from_secs(at));
            assert_eq!(found.map(|more| more.as_secs()), more, "{host} at {at}: {asked}");
        }
    }
}
