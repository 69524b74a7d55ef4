//! Stored bytes that were not what they should be, counted since the start.
//!
//! Bit rot is rare and easily taken for a hiccup of one client. The numbers stand in the deep health answer,
//! and the log has a line for each with the id of the body.

use crate::storage::StorageError;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often reads have met damage.
#[derive(Debug, Default)]
pub struct Damage {
    damaged: AtomicU64,
    missing: AtomicU64,
}

impl Damage {
    /// Counts a failure of a store, if it is damage, and passes it on.
    pub fn note(&self, error: StorageError) -> StorageError {
        if matches!(error, StorageError::Corrupt(_)) {
            self.damaged.fetch_add(1, Ordering::Relaxed);
        }
        error
    }

    /// The same for a reader of a body.
    pub fn note_read(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::InvalidData {
            self.damaged.fetch_add(1, Ordering::Relaxed);
        }
        error
    }

    /// Counts a record whose body is not there.
    pub fn note_missing(&self) {
        self.missing.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads that ended because bytes did not match their checksum.
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Reads that found no body where a record names one.
    pub fn missing(&self) -> u64 {
        self.missing.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.damaged(), self.missing()) {
            (0, 0) => f.write_str("OK"),
            (damaged, missing) => {
                write!(f, "{damaged} reads found damaged bytes, {missing} found no body; run s3pail check")
            }
        }
    }
}
