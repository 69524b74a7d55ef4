//! The bytes that have arrived on a connection and were not used yet.
//!
//! A connection owns a buffer only while something is in it: workers lend theirs, so that an idle
//! connection costs no buffer and a half-sent head costs as much as has arrived.

use std::io::{self, Read};

/// Bytes of a buffer that a worker lends, and the least that it reads at once.
const LOAN_BYTES: usize = 16 * 1024;

/// Free space below which a buffer grows before it is read into.
const SPACE_BYTES_MIN: usize = 4 * 1024;

/// A buffer of unused bytes.
#[derive(Debug, Default)]
pub struct Input {
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    /// The unused bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// Whether there are no unused bytes.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops the first `count` unused bytes.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start, "only bytes that are there are used");
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads once and returns how many bytes came. The buffer grows with what arrives, never with what a
    /// client declares; who calls this bounds what may stay unused.
    pub fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        if self.start > 0 && self.data.len() - self.end < SPACE_BYTES_MIN {
            self.data.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.data.len() - self.end < SPACE_BYTES_MIN {
            self.data.resize(self.end + LOAN_BYTES, 0);
        }
        let count = source.read(&mut self.data[self.end..])?;
        self.end += count;
        Ok(count)
    }

    /// Takes a worker's buffer, if this has none of its own.
    pub fn borrow_from(&mut self, loan: &mut Vec<u8>) {
        if self.data.is_empty() {
            std::mem::swap(&mut self.data, loan);
        }
    }

    /// Gives a buffer back to the worker and keeps a copy of what is unused.
    pub fn return_to(&mut self, loan: &mut Vec<u8>) {
        let kept = Input { data: self.bytes().to_vec(), start: 0, end: self.end - self.start };
        let used = std::mem::replace(self, kept).data;
        if loan.is_empty() && used.len() == LOAN_BYTES {
            *loan = used;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_connection_keeps_only_what_is_unused() {
        let mut loan = Vec::new();
        let mut input = Input::default();
        assert_eq!(input.fill(&mut &b"abc"[..]).unwrap(), 3);
        input.consume(1);
        input.return_to(&mut loan);
        assert_eq!((input.bytes(), input.data.len(), loan.len()), (&b"bc"[..], 2, LOAN_BYTES));
        assert_eq!(input.fill(&mut &b"def"[..]).unwrap(), 3);
        assert_eq!(input.bytes(), b"bcdef");
        input.consume(5);
        input.return_to(&mut loan);
        assert!(input.is_empty() && input.data.is_empty());
    }
}
