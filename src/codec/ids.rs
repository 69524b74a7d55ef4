//! The random part of ids. Keys and nonces never come from here.
//!
//! It comes from the operating system. Those that clients see (request ids, version ids, upload ids) do so unless
//! a test fixture asked for the same ids on each run: then the thread that serves a request is lent a
//! [`SeededIds`] for as long as it does.

use super::random;
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, PoisonError};

/// A sequence of ids that is the same for the same seed and the same order of requests.
#[derive(Debug)]
pub struct SeededIds {
    /// The state of the generator, and the last sequence number that was given to a version or upload.
    state: Mutex<(u64, u64)>,
}

impl SeededIds {
    /// The sequence of a seed, from its beginning.
    pub fn new(seed: u64) -> SeededIds {
        SeededIds { state: Mutex::new((seed, 0)) }
    }

    /// The next 64 bits (SplitMix64, which passes through every state once).
    fn next(&self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = state.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state.0 ^ (state.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn sequence(&self, at_least: u64) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 = at_least.max(state.1.saturating_add(1));
        state.1
    }
}

thread_local! {
    static LENT: RefCell<Option<Arc<SeededIds>>> = const { RefCell::new(None) };
}

/// Takes the ids back from the thread when it goes.
#[derive(Debug)]
pub struct Loan(());

impl Drop for Loan {
    fn drop(&mut self) {
        LENT.with(|lent| lent.borrow_mut().take());
    }
}

/// Has this thread take its ids from `ids` until the loan is dropped; `None` changes nothing.
pub fn lend(ids: Option<Arc<SeededIds>>) -> Option<Loan> {
    let ids = ids?;
    LENT.with(|lent| *lent.borrow_mut() = Some(ids));
    Some(Loan(()))
}

fn lent() -> Option<Arc<SeededIds>> {
    LENT.with(|lent| lent.borrow().clone())
}

/// Eight random bytes for an id that clients see.
pub fn id_bytes() -> [u8; 8] {
    lent().map_or_else(unseeded, |ids| ids.next().to_be_bytes())
}

/// Random bytes that are fetched at a time: a system call for each id would cost more than the rest of it.
const FETCHED_BYTES: usize = 512;

thread_local! {
    /// Random bytes and how many of them have been used. Every byte is used once.
    static FETCHED: Cell<([u8; FETCHED_BYTES], usize)> = const { Cell::new(([0; FETCHED_BYTES], FETCHED_BYTES)) };
}

/// `N` random bytes (at most 512) for an id, from the operating system in any case.
pub fn unseeded<const N: usize>() -> [u8; N] {
    const { assert!(N <= FETCHED_BYTES) };
    FETCHED.with(|fetched| {
        let (mut bytes, mut used) = fetched.get();
        if FETCHED_BYTES - used < N {
            (bytes, used) = (random(), 0);
        }
        let mut id = [0; N];
        id.copy_from_slice(&bytes[used..used + N]);
        fetched.set((bytes, used + N));
        id
    })
}

/// The sequence number of the next id, at least `at_least`, where ids are seeded.
pub fn seeded_sequence(at_least: u64) -> Option<u64> {
    lent().map(|ids| ids.sequence(at_least))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_ids_until_the_loan_ends() {
        let take = |seed| {
            let _loan = lend(Some(Arc::new(SeededIds::new(seed))));
            (id_bytes(), id_bytes(), seeded_sequence(7), seeded_sequence(7))
        };
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
        let (first, second, seventh, eighth) = take(3);
        assert_ne!(first, second);
        assert_eq!((seventh, eighth), (Some(7), Some(8)));
        assert_eq!(seeded_sequence(0), None);
        assert_ne!(id_bytes(), id_bytes());
    }

    #[test]
    fn no_random_bytes_are_used_twice() {
        let take = || (0..1_000).map(|_| unseeded::<12>()).collect::<Vec<_>>();
        let threads = [std::thread::spawn(take), std::thread::spawn(take)];
        let mut all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2_000);
    }
}
