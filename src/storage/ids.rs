//! Names for stored bodies: 32 lower-case hexadecimal digits, unique for ever.
//!
//! The first 96 bits are random; the last 32 are the same for every id of one run of the process. So
//! the sweep can tell a body that this run has written, whose record may be about to be committed,
//! from an orphan of an earlier run. Two runs that draw the same 32 bits cost nothing but an orphan
//! that stays until the run after.

use super::BlobId;
use crate::codec::{hex, random};
use std::sync::{Mutex, PoisonError};

const RANDOM_BYTES: usize = 12;
const RUN_BYTES: usize = 4;
/// Random bytes are fetched from the system for this many ids at a time: a system call for each id
/// would cost more than the rest of it.
const IDS_PER_FETCH: usize = 64;

/// A source of ids.
pub struct IdSource {
    run: [u8; RUN_BYTES],
    run_hex: String,
    /// Random bytes and how many of them have been used. Every byte is used once.
    fetched: Mutex<([u8; RANDOM_BYTES * IDS_PER_FETCH], usize)>,
}

impl IdSource {
    /// A source that belongs to this run.
    pub fn new() -> IdSource {
        let run = random::<RUN_BYTES>();
        let fetched = Mutex::new(([0; RANDOM_BYTES * IDS_PER_FETCH], RANDOM_BYTES * IDS_PER_FETCH));
        IdSource { run, run_hex: hex(&run), fetched }
    }

    /// A new id.
    pub fn next(&self) -> BlobId {
        let mut id = [0; RANDOM_BYTES + RUN_BYTES];
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if fetched.1 == fetched.0.len() {
            *fetched = (random(), 0);
        }
        let used = fetched.1;
        id[..RANDOM_BYTES].copy_from_slice(&fetched.0[used..used + RANDOM_BYTES]);
        fetched.1 += RANDOM_BYTES;
        drop(fetched);
        id[RANDOM_BYTES..].copy_from_slice(&self.run);
        BlobId(hex(&id))
    }

    /// Whether this source (or, once in four thousand million, an earlier run's) made the id.
    pub fn made(&self, id: &BlobId) -> bool {
        id.0.ends_with(&self.run_hex)
    }
}

impl Default for IdSource {
    fn default() -> IdSource {
        IdSource::new()
    }
}

/// Whether a text has the form of an id. Nothing else ever becomes part of a path.
pub fn is_id(text: &str) -> bool {
    text.len() == 2 * (RANDOM_BYTES + RUN_BYTES)
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_unique_and_know_their_run() {
        let (this, other) = (IdSource::new(), IdSource::new());
        let ids: HashSet<BlobId> = (0..1000).map(|_| this.next()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| is_id(&id.0) && this.made(id)));
        assert!(this.run == other.run || !ids.iter().any(|id| other.made(id)));
    }

    #[test]
    fn only_thirty_two_lower_case_digits_are_an_id() {
        for text in ["", "0", "../../../../../../../../etc/passw", &"A".repeat(32), &"0".repeat(33)] {
            assert!(!is_id(text), "{text}");
        }
    }
}
