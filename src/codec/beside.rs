//! MD5 of a large body on another core.
//!
//! An upload passes through several digests: MD5 for its ETag, SHA-256 for its signature, a CRC for the client and
//! one for the store. MD5 cannot be spread over lanes and takes about as long as all the others with the copying
//! together, so on a machine with a free core it is computed there, a few chunks behind. The chunks are copied,
//! because the reader's caller owns what it reads into; that costs a thirtieth of the digest.

use super::digest::{MD5_BYTES, Md5Hasher};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

/// Bodies below this many bytes are not worth a thread.
pub const BESIDE_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// What is handed over at a time.
const CHUNK_BYTES: usize = 128 * 1024;
/// Chunks of a body that are filled or wait at most; one more is being hashed.
const CHUNKS_AHEAD: usize = 2;

/// Threads that hash. At most one for each core but the one of the body's own worker.
static RUNNING: AtomicUsize = AtomicUsize::new(0);
static RUNNING_MAX: LazyLock<usize> =
    LazyLock::new(|| thread::available_parallelism().map_or(0, |cores| cores.get() - 1));

/// A hasher in a thread of its own, which ends with it.
pub struct Beside {
    chunk: Vec<u8>,
    full: Sender<Vec<u8>>,
    /// Chunks that have been hashed, to be filled again.
    empty: Receiver<Vec<u8>>,
    thread: JoinHandle<[u8; MD5_BYTES]>,
}

/// A place among the threads that hash.
struct Place;

impl Place {
    fn take() -> Option<Place> {
        let more = |running| (running < *RUNNING_MAX).then_some(running + 1);
        RUNNING.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_| Place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Beside {
    /// Goes on with a digest in another thread. Gives it back when no core or no thread is free.
    ///
    /// # Errors
    /// The hasher, to go on with here.
    pub fn start(hasher: Md5Hasher) -> Result<Beside, Md5Hasher> {
        let Some(place) = Place::take() else { return Err(hasher) };
        let (full, to_hash) = bounded(CHUNKS_AHEAD);
        let (hashed, empty) = bounded(CHUNKS_AHEAD + 1);
        // A copy of its state, because a thread that cannot be had takes what it was given with it.
        let going_on = hasher.clone();
        let run = move || hash(place, going_on, &to_hash, &hashed);
        match thread::Builder::new().name("md5".into()).spawn(run) {
            Ok(thread) => Ok(Beside { chunk: Vec::with_capacity(CHUNK_BYTES), full, empty, thread }),
            Err(_) => Err(hasher),
        }
    }

    /// Adds bytes. Waits while the other thread is too far behind.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            if self.chunk.len() == CHUNK_BYTES {
                self.hand_over();
            }
        }
    }

    fn hand_over(&mut self) {
        let mut next = self.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK_BYTES));
        next.clear();
        // A thread that is gone has panicked, which the end reports.
        let _ = self.full.send(std::mem::replace(&mut self.chunk, next));
    }

    /// The digest; `None` when the thread has panicked.
    pub fn finish(mut self) -> Option<[u8; MD5_BYTES]> {
        self.hand_over();
        drop(self.full);
        self.thread.join().ok()
    }
}

fn hash(
    _place: Place,
    mut hasher: Md5Hasher,
    to_hash: &Receiver<Vec<u8>>,
    hashed: &Sender<Vec<u8>>,
) -> [u8; MD5_BYTES] {
    for chunk in to_hash {
        hasher.update(&chunk);
        // Nobody may be there to fill it again.
        let _ = hashed.try_send(chunk);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::digest::md5;

    #[test]
    fn the_digest_is_the_same_whatever_comes_at_a_time() {
        let body: Vec<u8> = (0..5 * CHUNK_BYTES + 17).map(|at| (at * 31 + at / 251) as u8).collect();
        for step in [1_000, CHUNK_BYTES - 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 5, body.len()] {
            let mut before = Md5Hasher::new();
            before.update(&body[..10]);
            // Without a second core, and while other tests hash, there is no place.
            let Ok(mut beside) = Beside::start(before) else { continue };
            body[10..].chunks(step).for_each(|bytes| beside.update(bytes));
            assert_eq!(beside.finish(), Some(md5(&body)), "{step}");
        }
    }

    #[test]
    fn no_more_threads_hash_than_there_are_other_cores() {
        let places: Vec<Place> = std::iter::from_fn(Place::take).take(*RUNNING_MAX + 1).collect();
        assert!(places.len() <= *RUNNING_MAX);
        assert!(Place::take().is_none() || places.len() < *RUNNING_MAX);
    }
}
