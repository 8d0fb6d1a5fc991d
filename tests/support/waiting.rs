//! Waiting until something is so, and no longer; whoever waits in vain hears what for.

use std::time::{Duration, Instant};

/// Longer than anything takes on a machine that has other things to do, and shorter than people wait for a run of all tests.
const LIMIT: Duration = Duration::from_secs(180);

/// Looks until it is so. Panics with what was waited for.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    until_some(what, || is_so().then_some(()));
}

/// Looks until there is something: that. Panics with what was waited for.
pub(crate) fn until_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < LIMIT, "waited for {} seconds in vain: {what}", LIMIT.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}
