//! The sequence numbers that order what this process makes: versions, uploads, events.
//!
//! A number is the clock in microseconds, or one more than the last one where the clock would not be
//! newer. Processes that share records tell each other the highest number they know with every call to
//! the metadata daemon, so that what one makes after it has seen something of another's gets a higher
//! number, whatever their clocks say (a hybrid logical clock).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The highest number that this process has handed out or heard of.
static LAST: AtomicU64 = AtomicU64::new(0);

/// A number further than this ahead of the clock, in microseconds, is not believed: an hour. Otherwise
/// one process with a wrong clock, or a stranger, could take all the others' numbers away.
pub const AHEAD_US_MAX: u64 = 3_600_000_000;

/// A new number: higher than all before, and at least this.
pub fn next(at_least: u64) -> u64 {
    let step = |last: u64| at_least.max(last.saturating_add(1));
    let last = LAST.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(step(last)));
    step(last.unwrap_or_default())
}

/// The highest number so far.
pub fn last() -> u64 {
    LAST.load(Ordering::Acquire)
}

/// Takes notice of a number that another process knows.
pub fn observe(seen: u64) {
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    if seen <= now_us.saturating_add(AHEAD_US_MAX) {
        LAST.fetch_max(seen, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_higher_than_what_was_heard_of_unless_that_is_absurd() {
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros() as u64;
        observe(now_us + 60_000_000);
        assert!(next(0) > now_us + 60_000_000);
        observe(u64::MAX - 1);
        assert!(next(0) < u64::MAX / 2 && last() < u64::MAX / 2);
    }
}
