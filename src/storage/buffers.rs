//! Buffers for bodies in transit, used again and again.
//!
//! A fresh 256 KiB buffer has to be cleared, which costs more than storing a small body; so buffers
//! are kept. At most [`BUFFERS_KEPT_MAX`] idle ones are, so memory follows the number of transfers
//! that run at the same time and falls back afterwards.
//!
//! All begin at the same place of a page (`START_IN_PAGE`). Processors copy slowly to an address that lies a few
//! bytes behind that of the source within a page, and that is where a large allocation begins (16 bytes into its
//! first page) when files are read into it, whose pages the kernel copies from their start: 64 KiB took 26 us
//! there, and 3 us anywhere else (AMD EPYC).

use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Idle buffers that a pool keeps; 4 MiB with buffers of 256 KiB.
pub const BUFFERS_KEPT_MAX: usize = 16;

const PAGE_BYTES: usize = 4096;
/// Where in a page a buffer begins: far from where copies from files and to sockets do.
const START_IN_PAGE: usize = 2048;

/// A stack of idle buffers of one size. Cloning gives another handle to the same stack.
#[derive(Clone)]
pub struct BufferPool {
    bytes: usize,
    /// Guards the idle buffers only; buffers in use are owned by their users.
    idle: Arc<Mutex<Vec<Placed>>>,
}

impl BufferPool {
    /// A pool of buffers of `bytes` bytes each.
    pub fn new(bytes: usize) -> BufferPool {
        BufferPool { bytes, idle: Arc::default() }
    }

    /// A buffer with unspecified content, which goes back when it is dropped.
    pub fn take(&self) -> Buffer {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let placed = idle.unwrap_or_else(|| Placed::new(self.bytes));
        Buffer { placed, pool: self.clone() }
    }
}

/// Memory with a page to spare, and where in it a buffer begins.
#[derive(Default)]
struct Placed {
    memory: Box<[u8]>,
    start: usize,
}

impl Placed {
    fn new(bytes: usize) -> Placed {
        let memory = vec![0; bytes + PAGE_BYTES].into_boxed_slice();
        let address = memory.as_ptr() as usize;
        let start = (START_IN_PAGE + PAGE_BYTES - address % PAGE_BYTES) % PAGE_BYTES;
        Placed { memory, start }
    }
}

/// A buffer on loan.
pub struct Buffer {
    placed: Placed,
    pool: BufferPool,
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.placed.memory[self.placed.start..][..self.pool.bytes]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.placed.memory[self.placed.start..][..self.pool.bytes]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let placed = std::mem::take(&mut self.placed);
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < BUFFERS_KEPT_MAX {
            idle.push(placed);
        }
    }
}

/// Reads until `buffer` is full or `body` ends, and says how many bytes came.
pub fn fill(body: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let enough = buffer.len();
    fill_at_least(body, buffer, enough)
}

/// The same, but does not ask once more when `enough` bytes have come.
pub fn fill_at_least(body: &mut dyn Read, buffer: &mut [u8], enough: usize) -> io::Result<usize> {
    let mut filled = 0;
    while filled < enough {
        match body.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_buffer_has_its_bytes_and_begins_at_the_same_place_of_a_page() {
        for bytes in [1, 4_096, 262_169] {
            let pool = BufferPool::new(bytes);
            let mut buffers = [pool.take(), pool.take()];
            for buffer in &mut buffers {
                buffer.fill(7);
                assert_eq!((buffer.len(), buffer.as_ptr() as usize % PAGE_BYTES), (bytes, START_IN_PAGE));
            }
            drop(buffers);
            assert_eq!(pool.take().len(), bytes);
        }
    }
}
