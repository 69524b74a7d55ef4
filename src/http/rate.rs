//! The minimum rate of a transfer. Only the time in which the server waits for the client counts, so that a
//! slow disk is not held against anybody.

use std::time::Duration;

/// Holds the minimum rate of one transfer, over one window after the other.
pub struct Rate {
    /// Bytes per second that must be reached.
    min: u64,
    /// The waiting time over which the rate is averaged, and before which it is not judged.
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Rate {
    /// A transfer that has not begun.
    pub fn new(min: u64, window: Duration) -> Rate {
        Rate { min, window, waited: Duration::ZERO, bytes: 0 }
    }

    /// Counts bytes and how long they were waited for. False when a window is over and was too slow.
    pub fn note(&mut self, bytes: usize, waited: Duration) -> bool {
        self.bytes += bytes as u64;
        self.waited += waited;
        if self.waited < self.window {
            return true;
        }
        if self.is_below() {
            return false;
        }
        (self.bytes, self.waited) = (0, Duration::ZERO);
        true
    }

    fn is_below(&self) -> bool {
        self.bytes < (self.min as f64 * self.waited.as_secs_f64()) as u64
    }

    /// Whether the transfer would not be waited for if workers were short: it is below the rate, and has
    /// been waited for that long.
    pub fn is_slow(&self, pressed: Duration) -> bool {
        self.waited >= pressed && self.is_below()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate() -> Rate {
        Rate::new(1024, Duration::from_secs(60))
    }

    #[test]
    fn a_slow_transfer_is_judged_after_its_window() {
        let mut slow = rate();
        for _ in 0..5 {
            assert!(slow.note(1, Duration::from_secs(10)));
        }
        assert!(!slow.note(1, Duration::from_secs(10)));
        let mut steady = rate();
        for _ in 0..100 {
            assert!(steady.note(10 * 1024, Duration::from_secs(10)));
        }
    }

    #[test]
    fn one_byte_below_the_rate_is_too_slow() {
        for (bytes, good) in [(60 * 1024, true), (60 * 1024 - 1, false)] {
            assert_eq!(rate().note(bytes, Duration::from_secs(60)), good, "{bytes}");
        }
    }

    #[test]
    fn a_pause_is_made_up_for_by_what_comes_after_it() {
        let mut rate = rate();
        for _ in 0..20 {
            assert!(rate.note(1, Duration::from_secs(29)) && rate.note(64 * 1024, Duration::from_secs(1)));
        }
    }

    #[test]
    fn what_was_sent_before_the_last_window_counts_no_more() {
        let mut rate = rate();
        assert!(rate.note(4 << 20, Duration::from_secs(60)));
        assert!(!rate.note(60, Duration::from_secs(60)));
    }

    #[test]
    fn a_transfer_is_slow_once_it_has_been_waited_for() {
        let pressed = Duration::from_secs(1);
        let mut rate = rate();
        assert!(rate.note(1, Duration::from_millis(999)) && !rate.is_slow(pressed));
        assert!(rate.note(1, Duration::from_millis(1)) && rate.is_slow(pressed));
        assert!(rate.note(5000, Duration::from_millis(1)) && !rate.is_slow(pressed));
    }
}
