//! Steps in an order in which each comes after all it needs, as many at a time as there are workers.
//!
//! One loop over one closed set of messages; workers own no shared state. After a failure nothing new is begun, what runs is waited for
//! (its owner asks it to stop), and the failure that came first is returned.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};

/// Runs `work` once for each node, after all that it needs. `needs` maps each node to those it needs; every node is a key of it.
///
/// # Errors
/// The first error that `work` returned.
pub(super) fn run<N, E>(
    needs: &BTreeMap<N, BTreeSet<N>>,
    workers: NonZeroUsize,
    work: impl Fn(&N) -> Result<(), E> + Sync,
    failed: impl Fn(),
) -> Result<(), E>
where
    N: Ord + Clone + Send + Sync,
    E: Send,
{
    let mut waiting: BTreeMap<&N, usize> = needs.iter().map(|(node, needed)| (node, needed.len())).collect();
    let mut wanted_by: BTreeMap<&N, Vec<&N>> = BTreeMap::new();
    for (node, needed) in needs {
        for need in needed {
            wanted_by.entry(need).or_default().push(node);
        }
    }
    let mut ready: BTreeSet<&N> = waiting.iter().filter(|(_, count)| **count == 0).map(|(node, _)| *node).collect();
    let (give, take) = mpsc::channel::<&N>();
    let take = Mutex::new(take);
    let (report, reports) = mpsc::channel::<(&N, Result<(), E>)>();
    std::thread::scope(|scope| {
        for _ in 0..workers.get().min(needs.len()) {
            let report = report.clone();
            let (take, work) = (&take, &work);
            scope.spawn(move || {
                loop {
                    // The lock is held only while waiting for the next node, so one idle worker waits and the others queue behind it.
                    let next = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(node) = next else { return };
                    if report.send((node, work(node))).is_err() {
                        return;
                    }
                }
            });
        }
        let mut running = 0;
        let mut result = Ok(());
        loop {
            while result.is_ok() && running < workers.get() {
                let Some(node) = ready.pop_first() else { break };
                if give.send(node).is_err() {
                    break;
                }
                running += 1;
            }
            if running == 0 {
                drop(give);
                return result;
            }
            let Ok((node, outcome)) = reports.recv() else {
                drop(give);
                return result;
            };
            running -= 1;
            match outcome {
                Ok(()) => {
                    for wanting in wanted_by.remove(node).unwrap_or_default() {
                        if let Some(count) = waiting.get_mut(wanting) {
                            *count -= 1;
                            if *count == 0 {
                                ready.insert(wanting);
                            }
                        }
                    }
                }
                Err(error) => {
                    if result.is_ok() {
                        result = Err(error);
                        failed();
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_node_runs_once_and_after_what_it_needs(edges in prop::collection::vec((0_u8..20, 0_u8..20), 0..60), workers in 1_usize..5) {
            let mut needs: BTreeMap<u8, BTreeSet<u8>> = (0..20).map(|node| (node, BTreeSet::new())).collect();
            for (a, b) in edges {
                if a < b {
                    needs.entry(b).or_default().insert(a);
                }
            }
            let done = Mutex::new(Vec::new());
            let result = run(&needs, NonZeroUsize::new(workers).unwrap(), |node| {
                let mut done = done.lock().unwrap();
                let missing = needs[node].iter().any(|need| !done.contains(need));
                done.push(*node);
                if missing { Err(*node) } else { Ok(()) }
            }, || ());
            prop_assert_eq!(result, Ok(()));
            let mut done = done.into_inner().unwrap();
            done.sort_unstable();
            prop_assert_eq!(done, (0..20).collect::<Vec<u8>>());
        }
    }

    #[test]
    fn nothing_begins_after_a_failure() {
        let needs: BTreeMap<u8, BTreeSet<u8>> = (0_u8..10).map(|node| (node, node.checked_sub(1).into_iter().collect())).collect();
        let begun = Mutex::new(Vec::new());
        let result = run(
            &needs,
            NonZeroUsize::new(4).unwrap(),
            |node| {
                begun.lock().unwrap().push(*node);
                if *node == 3 { Err("three") } else { Ok(()) }
            },
            || (),
        );
        assert_eq!(result, Err("three"));
        assert_eq!(*begun.lock().unwrap(), [0, 1, 2, 3]);
    }
}
