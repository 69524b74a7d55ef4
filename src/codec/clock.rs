//! The one source of wall-clock time, so that tests and users can freeze and move it.
//!
//! Only dates that S3 shows or compares come from here. Deadlines use [`std::time::Instant`].

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = u64;

/// A clock that can be frozen and moved. The default follows the system's.
#[derive(Debug, Default)]
pub struct Clock {
    /// Added to the system's time, in milliseconds.
    offset_ms: AtomicI64,
    /// The time at which the clock stands still; 0 while it runs.
    frozen_ms: AtomicU64,
}

impl Clone for Clock {
    /// A clock of its own that shows the same time.
    fn clone(&self) -> Clock {
        Clock {
            offset_ms: AtomicI64::new(self.offset_ms.load(Ordering::Acquire)),
            frozen_ms: AtomicU64::new(self.frozen_ms.load(Ordering::Acquire)),
        }
    }
}

impl Clock {
    /// A clock that follows the system's.
    pub fn system() -> Clock {
        Clock::default()
    }

    /// The time now.
    pub fn now(&self) -> Millis {
        match self.frozen_ms.load(Ordering::Acquire) {
            0 => self.running(),
            frozen => frozen,
        }
    }

    fn running(&self) -> Millis {
        let system = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        system.saturating_add_signed(self.offset_ms.load(Ordering::Acquire))
    }

    /// Stops the clock at the present moment.
    pub fn freeze(&self) {
        self.frozen_ms.store(self.now().max(1), Ordering::Release);
    }

    /// Lets a frozen clock run on from where it stands.
    pub fn resume(&self) {
        let frozen = self.frozen_ms.swap(0, Ordering::AcqRel);
        if frozen != 0 {
            self.set(frozen);
        }
    }

    /// Sets the time; a frozen clock stays frozen at the new time.
    pub fn set(&self, now: Millis) {
        if self.frozen_ms.load(Ordering::Acquire) != 0 {
            self.frozen_ms.store(now.max(1), Ordering::Release);
            return;
        }
        let difference = now as i64 - self.running() as i64;
        self.offset_ms.fetch_add(difference, Ordering::AcqRel);
    }

    /// Whether it stands still.
    pub fn is_frozen(&self) -> bool {
        self.frozen_ms.load(Ordering::Acquire) != 0
    }

    /// Whether it was frozen or moved, so that it may differ from the system's.
    pub fn is_moved(&self) -> bool {
        self.is_frozen() || self.offset_ms.load(Ordering::Acquire) != 0
    }

    /// Follows the system's time again.
    pub fn follow_system(&self) {
        self.frozen_ms.store(0, Ordering::Release);
        self.offset_ms.store(0, Ordering::Release);
    }

    /// Moves the time forward.
    pub fn advance(&self, by_ms: u64) {
        self.set(self.now().saturating_add(by_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_clock_stands_still_until_it_is_moved() {
        let clock = Clock::system();
        clock.freeze();
        let then = clock.now();
        clock.advance(86_400_000);
        assert_eq!(clock.now(), then + 86_400_000);
        clock.resume();
        assert!(clock.now() >= then + 86_400_000);
    }
}
