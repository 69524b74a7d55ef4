//! Names for stored bodies: 32 lower-case hexadecimal digits, unique for ever.
//!
//! The first 96 bits are random; the last 32 are the same for every id of one run of the process. So
//! the sweep can tell a body that this run has written, whose record may be about to be committed,
//! from an orphan of an earlier run. Two runs that draw the same 32 bits cost nothing but an orphan
//! that stays until the run after.

use super::BlobId;
use crate::codec::{hex, ids, random};

const RANDOM_BYTES: usize = 12;
const RUN_BYTES: usize = 4;
/// A source of ids.
pub struct IdSource {
    run: [u8; RUN_BYTES],
    run_hex: String,
}

impl IdSource {
    /// A source that belongs to this run.
    pub fn new() -> IdSource {
        let run = random::<RUN_BYTES>();
        IdSource { run, run_hex: hex(&run) }
    }

    /// A new id.
    pub fn next(&self) -> BlobId {
        let mut id = [0; RANDOM_BYTES + RUN_BYTES];
        id[..RANDOM_BYTES].copy_from_slice(&ids::unseeded::<RANDOM_BYTES>());
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
