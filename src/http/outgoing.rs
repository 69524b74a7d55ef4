//! The bytes of an answer on their way to a client that may not take them.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::incoming::{STALLED_SLICE_MAX, Wire, is_timeout};
use super::rate::Rate;
use super::relief::Stall;
use super::transport::Progress;

/// What the system's buffers take of an answer without a client that reads: a head and a small body.
const AT_ONCE_BYTES_MAX: usize = 128 * 1024;

/// How long a write waits before its client counts as one that stands still.
pub const WRITE_SLICE: Duration = Duration::from_millis(50);

/// One answer, with the deadlines held over all of its writes.
pub struct Outgoing<'a> {
    wire: Wire<'a>,
    rate: Rate,
    stall: Stall<'a>,
    /// Whether the socket's time-out is the longer one.
    patient: bool,
    /// What the system took at once at the beginning of the answer.
    at_once: usize,
}

impl<'a> Outgoing<'a> {
    /// An answer of which nothing has been written.
    pub fn new(wire: Wire<'a>) -> Outgoing<'a> {
        let rate = Rate::new(wire.limits.write_rate_min, wire.limits.write_rate_window);
        let stall = Stall::new(wire.relief, wire.limits.stall_pressed);
        Outgoing { wire, rate, stall, patient: false, at_once: 0 }
    }

    /// Writes everything, and returns how much was written when that fails.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), usize> {
        self.write_both(bytes, &[])
    }

    /// Writes one after the other, in one go if the system takes that much, and returns how much of both
    /// together was written when that fails.
    pub fn write_both(&mut self, first: &[u8], second: &[u8]) -> Result<(), usize> {
        let mut progress = Progress::default();
        let mut moved = Instant::now();
        let mut is_first = true;
        let at_once = self.at_once.saturating_add(first.len() + second.len());
        loop {
            let before = progress.carried;
            let goes_on = match self.wire.transport.write([first, second], &mut progress) {
                // Nobody waited for the client, whatever the clock says: this thread may have been.
                Ok(true) if is_first && at_once <= AT_ONCE_BYTES_MAX => {
                    self.at_once = at_once;
                    return Ok(());
                }
                Ok(whole) => {
                    let waited = moved.elapsed();
                    let goes_on = self.moved(progress.carried - before, waited);
                    if whole {
                        return Ok(());
                    }
                    moved += waited;
                    goes_on
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
                Err(error) if is_timeout(&error) => self.waits(moved.elapsed()),
                Err(_) => false,
            };
            if !goes_on {
                return Err(progress.sent);
            }
            is_first = false;
            self.at_once = AT_ONCE_BYTES_MAX;
        }
    }

    /// The client took that many bytes in that time. Whether it may be waited for again.
    fn moved(&mut self, bytes: usize, waited: Duration) -> bool {
        self.set_patient(false);
        let fast = self.rate.note(bytes, waited);
        let slow = self.rate.is_slow(self.wire.limits.stall_pressed);
        fast && self.stall.moved(bytes, waited, slow)
    }

    /// The client has taken nothing for `waited` by now. Whether it may be waited for any longer.
    fn waits(&mut self, waited: Duration) -> bool {
        let limits = self.wire.limits;
        if waited >= limits.write_inactivity || self.wire.abandoned.load(Ordering::Relaxed) {
            return false;
        }
        self.set_patient(true);
        self.stall.hold(waited, self.rate.is_slow(limits.stall_pressed))
    }

    fn set_patient(&mut self, patient: bool) {
        if self.patient != patient {
            self.patient = patient;
            let slice = if patient { STALLED_SLICE_MAX } else { WRITE_SLICE };
            let slice = slice.min(self.wire.limits.write_inactivity);
            // Failure only means wake-ups at other times.
            let _ = self.wire.transport.socket().set_write_timeout(Some(slice));
        }
    }
}

impl Drop for Outgoing<'_> {
    fn drop(&mut self) {
        self.set_patient(false);
    }
}
