//! Work that several threads may ask for and that is done once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Results by key. The first to ask for a key works, others that ask meanwhile wait for it. A failure is not kept.
#[derive(Debug)]
pub(super) struct Once<K, V> {
    slots: Mutex<BTreeMap<K, Arc<Mutex<Option<V>>>>>,
}

impl<K, V> Default for Once<K, V> {
    fn default() -> Once<K, V> {
        Once { slots: Mutex::new(BTreeMap::new()) }
    }
}

impl<K: Ord + Clone, V: Clone> Once<K, V> {
    /// The result for a key, made by `work` if it is not there yet.
    pub(super) fn get<E>(&self, key: &K, work: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(key.clone()).or_default())
        };
        let mut value = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = &*value {
            return Ok(value.clone());
        }
        let made = work()?;
        *value = Some(made.clone());
        Ok(made)
    }

    /// Whether the result for a key is there; what is being made is not.
    pub(super) fn has(&self, key: &K) -> bool {
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).get(key).map(Arc::clone);
        slot.is_some_and(|slot| slot.try_lock().is_ok_and(|value| value.is_some()))
    }

    /// What was made so far, in the order of keys. What is being made is waited for.
    pub(super) fn made(&self) -> Vec<V> {
        let slots: Vec<_> = self.slots.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect();
        slots.iter().filter_map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn threads_that_ask_at_once_share_one_result_and_failures_are_tried_again() {
        let once = Once::<u8, u32>::default();
        assert!(!once.has(&1));
        assert_eq!(once.get(&1, || Err("not yet")), Err("not yet"));
        assert!(!once.has(&1));
        let made = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let work = || Ok::<_, ()>(made.fetch_add(1, Ordering::SeqCst));
                    assert_eq!(once.get(&1, work), Ok(0));
                });
            }
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
        assert!(once.has(&1) && !once.has(&2));
    }
}
