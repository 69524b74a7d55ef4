//! Buffers for bodies in transit, used again and again.
//!
//! A fresh 256 KiB buffer has to be cleared, which costs more than storing a small body; so buffers
//! are kept. At most [`BUFFERS_KEPT_MAX`] idle ones are, so memory follows the number of transfers
//! that run at the same time and falls back afterwards.

use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Idle buffers that a pool keeps; 4 MiB with buffers of 256 KiB.
pub const BUFFERS_KEPT_MAX: usize = 16;

/// A stack of idle buffers of one size. Cloning gives another handle to the same stack.
#[derive(Clone)]
pub struct BufferPool {
    bytes: usize,
    /// Guards the idle buffers only; buffers in use are owned by their users.
    idle: Arc<Mutex<Vec<Box<[u8]>>>>,
}

impl BufferPool {
    /// A pool of buffers of `bytes` bytes each.
    pub fn new(bytes: usize) -> BufferPool {
        BufferPool { bytes, idle: Arc::default() }
    }

    /// A buffer with unspecified content, which goes back when it is dropped.
    pub fn take(&self) -> Buffer {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = idle.unwrap_or_else(|| vec![0; self.bytes].into_boxed_slice());
        Buffer { bytes, pool: self.clone() }
    }
}

/// A buffer on loan.
pub struct Buffer {
    bytes: Box<[u8]>,
    pool: BufferPool,
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < BUFFERS_KEPT_MAX {
            idle.push(bytes);
        }
    }
}

/// Reads until `buffer` is full or `body` ends, and says how many bytes came.
pub fn fill(body: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match body.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
