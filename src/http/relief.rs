//! Transfers that stand still, and the workers that stand in for them.
//!
//! A worker that waits for a client's body, or for a client to take its answer, serves nobody else. So it
//! reports here when it has waited a moment, and another worker is started in its place: there are always
//! as many that are not waiting as the engine was asked for. The number of stand-ins is bounded. When it is
//! reached, transfers must give way: one that has stood still for [`Limits::stall_pressed`] is ended, and
//! only as many are as are needed to have the workers back.
//!
//! [`Limits::stall_pressed`]: super::limits::Limits::stall_pressed

use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// A client that takes longer for so many bytes keeps its worker waiting: 13 MB/s. Slower ones are no
/// burden but for the thread, so it is cheap to have another in its place; faster ones are most likely
/// limited by this machine.
const UNIT_BYTES: usize = 64 * 1024;
const UNIT_TIME: Duration = Duration::from_millis(5);

/// When fewer bytes are judged. Longer, because a busy machine keeps a worker waiting as well.
const LESS_TIME: Duration = Duration::from_millis(50);

/// Starts one more worker; false when the system gives no thread.
pub type Recruit = Box<dyn Fn() -> bool + Send + Sync>;

/// Counts workers, and starts others for those that wait for clients.
pub struct Relief {
    workers: usize,
    stalled_max: usize,
    recruit: OnceLock<Recruit>,
    count: Mutex<Count>,
    /// Woken when a worker ends.
    gone: Condvar,
}

#[derive(Default)]
struct Count {
    /// Workers that have not ended.
    alive: usize,
    /// Those of them that wait for a client in the middle of a transfer.
    stalled: usize,
}

impl Relief {
    /// For an engine of that many workers, and that many more at most.
    pub fn new(workers: usize, stalled_max: usize) -> Relief {
        let count = Mutex::new(Count::default());
        Relief { workers, stalled_max, recruit: OnceLock::new(), count, gone: Condvar::new() }
    }

    /// Says how a worker is started. Before that, nobody stands in.
    pub fn set_recruit(&self, recruit: Recruit) {
        // Set once, by the engine that owns this.
        let _ = self.recruit.set(recruit);
    }

    /// Counts a worker that is about to be started.
    pub fn enter(&self) {
        self.count().alive += 1;
    }

    /// A worker has ended, or was not started.
    pub fn leave(&self) {
        self.count().alive -= 1;
        self.gone.notify_all();
    }

    /// Waits until all workers have ended. Whether they have.
    pub fn wait_until_gone(&self, grace: Duration) -> bool {
        let waited = self.gone.wait_timeout_while(self.count(), grace, |count| count.alive > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.alive == 0
    }

    /// The counts are valid between any two statements.
    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a worker waits for its client, and sees to it that another takes its place. Whether none
    /// can.
    fn begin(&self) -> bool {
        self.count().stalled += 1;
        self.relieve()
    }

    /// Starts a worker if there are too few that do not wait. Whether there still are.
    fn relieve(&self) -> bool {
        let mut count = self.count();
        if !self.is_short(&count) {
            return false;
        }
        if count.alive >= self.workers + self.stalled_max {
            return true;
        }
        count.alive += 1;
        drop(count);
        let recruited = self.recruit.get().is_some_and(|recruit| recruit());
        if !recruited {
            self.leave();
        }
        !recruited
    }

    fn is_short(&self, count: &Count) -> bool {
        count.alive - count.stalled < self.workers
    }
}

/// One transfer that may come to stand still, and what it is to do then.
pub struct Stall<'a> {
    relief: &'a Relief,
    /// How long it may stand still while workers are short.
    pressed: Duration,
    begun: bool,
    /// Bytes of the current unit, and how long they were waited for.
    unit: (usize, Duration),
}

impl<'a> Stall<'a> {
    /// A transfer that moves.
    pub fn new(relief: &'a Relief, pressed: Duration) -> Stall<'a> {
        Stall { relief, pressed, begun: false, unit: (0, Duration::ZERO) }
    }

    /// The client kept the worker waiting, for `waited` since it last moved something or the worker came back. False when the transfer must end because
    /// its worker is needed. One that is `slow` altogether ends as soon as it waits again.
    pub fn hold(&mut self, waited: Duration, slow: bool) -> bool {
        if !self.begun {
            self.begun = true;
            let short = self.relief.begin();
            return !(short && slow && self.give_way());
        }
        // A thread that the system did not give may be had by now.
        let short = self.relief.relieve();
        let pressed = slow || waited >= self.pressed;
        !(short && pressed && self.give_way())
    }

    /// The client has moved that many bytes, after `waited`. One that moves a little at a time keeps its
    /// worker as busy as one that stands still, so only one that is fast frees its place. False as for
    /// [`Stall::hold`].
    pub fn moved(&mut self, bytes: usize, waited: Duration, slow: bool) -> bool {
        self.unit.0 += bytes;
        self.unit.1 += waited;
        let (bytes, waited) = self.unit;
        let waits = match u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX) {
            0 => waited >= LESS_TIME,
            units => waited / units >= UNIT_TIME,
        };
        if bytes >= UNIT_BYTES {
            self.unit = (0, Duration::ZERO);
            if !waits {
                self.end();
            }
        }
        if self.begun {
            return !(slow && self.give_way());
        }
        !waits || self.hold(Duration::ZERO, slow)
    }

    /// The client is not waited for any more.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.begun) {
            self.relief.count().stalled -= 1;
        }
    }

    /// Gives the worker back if there are too few. Under one lock, so that no more transfers end than must.
    fn give_way(&mut self) -> bool {
        let mut count = self.relief.count();
        let short = self.relief.is_short(&count);
        if short {
            count.stalled -= 1;
            self.begun = false;
        }
        short
    }
}

impl Drop for Stall<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn relief(workers: usize, stalled_max: usize) -> (Relief, Arc<AtomicUsize>) {
        let relief = Relief::new(workers, stalled_max);
        let started = Arc::new(AtomicUsize::new(0));
        let counter = started.clone();
        relief.set_recruit(Box::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            true
        }));
        (0..workers).for_each(|_| relief.enter());
        (relief, started)
    }

    #[test]
    fn each_stalled_transfer_gets_a_stand_in_up_to_the_bound() {
        let (relief, started) = relief(2, 3);
        let mut stalls: Vec<Stall<'_>> = (0..5).map(|_| Stall::new(&relief, Duration::ZERO)).collect();
        assert!(stalls.iter_mut().all(|stall| stall.hold(Duration::ZERO, false)));
        assert_eq!(started.load(Ordering::Relaxed), 3);
        // Two workers are missing, so two of the five give way and three stay.
        let stayed =
            stalls.iter_mut().filter_map(|stall| stall.hold(Duration::ZERO, false).then_some(())).count();
        assert_eq!(stayed, 3);
    }

    #[test]
    fn a_transfer_that_moves_again_frees_its_place() {
        let (relief, started) = relief(1, 1);
        let mut stall = Stall::new(&relief, Duration::ZERO);
        for _ in 0..3 {
            assert!(stall.hold(Duration::ZERO, false) && stall.hold(Duration::ZERO, false));
            stall.end();
        }
        assert_eq!(started.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_not_counted() {
        let relief = Relief::new(1, 1);
        relief.set_recruit(Box::new(|| false));
        relief.enter();
        let mut stall = Stall::new(&relief, Duration::ZERO);
        assert!(stall.hold(Duration::ZERO, false) && !stall.hold(Duration::ZERO, false));
        drop(stall);
        relief.leave();
        assert!(relief.wait_until_gone(Duration::ZERO));
    }

    #[test]
    fn a_transfer_that_trickles_is_one_that_stands_still() {
        let (relief, started) = relief(1, 1);
        let mut stall = Stall::new(&relief, Duration::ZERO);
        // A millisecond for each byte: short waits, but nothing else.
        assert!((0..100).all(|_| stall.moved(1, Duration::from_millis(1), false)));
        assert_eq!((started.load(Ordering::Relaxed), relief.count().stalled), (1, 1));
        // One fast unit frees the place, which the rest of the slow one does not.
        assert!(stall.moved(UNIT_BYTES, UNIT_TIME, false) && relief.count().stalled == 1);
        assert!(stall.moved(UNIT_BYTES, UNIT_TIME / 2, false) && relief.count().stalled == 0);
        assert!(stall.moved(10 * UNIT_BYTES, UNIT_TIME * 9, false) && relief.count().stalled == 0);
        assert!(stall.moved(10 * UNIT_BYTES, UNIT_TIME * 10, false) && relief.count().stalled == 1);
    }

    #[test]
    fn a_thread_that_was_missing_is_asked_for_again() {
        let relief = Relief::new(1, 1);
        let given = Arc::new(AtomicUsize::new(0));
        let counter = given.clone();
        relief.set_recruit(Box::new(move || counter.fetch_add(1, Ordering::Relaxed) > 0));
        relief.enter();
        let mut stall = Stall::new(&relief, Duration::from_secs(3600));
        assert!(stall.hold(Duration::ZERO, false) && relief.count().alive == 1);
        assert!(stall.hold(Duration::ZERO, false) && relief.count().alive == 2);
    }

    #[test]
    fn a_slow_transfer_gives_way_as_soon_as_it_waits() {
        let (relief, _) = relief(1, 1);
        let long = Duration::from_secs(3600);
        let mut stalls: Vec<Stall<'_>> = (0..3).map(|_| Stall::new(&relief, long)).collect();
        let stayed: Vec<bool> = stalls.iter_mut().map(|stall| stall.hold(Duration::ZERO, true)).collect();
        assert_eq!(stayed, [true, false, false]);
        assert!(stalls[0].hold(Duration::ZERO, true));
    }
}
