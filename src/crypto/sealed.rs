//! The form of an encrypted body, and the two readers that go into it and come out of it.
//!
//! ```text
//! body:   chunk 0, chunk 1, ... chunk n
//! chunk:  up to 65536 encrypted bytes, then a tag of 16 bytes        (only the last may be shorter)
//! nonce:  7 zero bytes, the chunk's number as u32, 1 for the last chunk and 0 for the others
//! key:    HMAC-SHA256(data key, "s3pail piece 1" 00 salt)            (the salt is in the record)
//! ```
//!
//! Because the number and the end are part of what is authenticated, chunks cannot be reordered,
//! dropped, repeated or cut off. A range of the body needs only the chunks that it touches. An empty
//! body has no form: it is not stored at all.

use super::key::{Cipher, Key, SALT_BYTES, TAG_BYTES};
use crate::codec::read_buffered;
use crate::error::Error;
use std::io::{self, BufRead, Read};
use std::ops::Range;

/// The bytes of the body in a chunk: small enough to decrypt for a short range, large enough that tags
/// cost nothing.
pub const CHUNK_BYTES: usize = 64 * 1024;

const SEALED_CHUNK_BYTES: u64 = (CHUNK_BYTES + TAG_BYTES) as u64;

const PIECE: &str = "s3pail piece 1";

/// The key of one stored body.
pub fn piece_cipher(data_key: &Key, salt: &[u8; SALT_BYTES]) -> Cipher {
    data_key.derive(PIECE, salt).cipher()
}

/// How many bytes a body of `size` bytes takes in encrypted form.
pub fn sealed_size(size: u64) -> u64 {
    size.saturating_add(size.div_ceil(CHUNK_BYTES as u64).saturating_mul(TAG_BYTES as u64))
}

/// Which bytes of the encrypted form hold the chunks that a (not empty) range of the body touches.
pub fn sealed_range(size: u64, range: &Range<u64>) -> Range<u64> {
    let first = range.start / CHUNK_BYTES as u64;
    let behind_last = range.end.div_ceil(CHUNK_BYTES as u64);
    first * SEALED_CHUNK_BYTES..(behind_last * SEALED_CHUNK_BYTES).min(sealed_size(size))
}

/// Reads a body and yields its encrypted form. Errors of the body pass through. It reads one byte
/// ahead, to know the last chunk, and always reads the body to its end.
pub struct SealingReader<'r> {
    body: &'r mut dyn Read,
    cipher: Cipher,
    /// A chunk being yielded, with its tag.
    chunk: Vec<u8>,
    yielded: usize,
    /// The byte that was read ahead.
    ahead: Option<u8>,
    number: u32,
    size: u64,
    ended: bool,
    failed: bool,
}

impl<'r> SealingReader<'r> {
    /// Wraps a body. The cipher must not have sealed anything before.
    pub fn new(body: &'r mut dyn Read, cipher: Cipher) -> SealingReader<'r> {
        SealingReader {
            body,
            cipher,
            chunk: Vec::new(),
            yielded: 0,
            ahead: None,
            number: 0,
            size: 0,
            ended: false,
            failed: false,
        }
    }

    /// How many bytes of the body have been read.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        self.chunk.clear();
        self.yielded = 0;
        self.chunk.extend(self.ahead.take());
        let wanted = CHUNK_BYTES + 1 - self.chunk.len();
        let count = self.body.take(wanted as u64).read_to_end(&mut self.chunk)?;
        self.size += count as u64;
        self.ended = count < wanted;
        if self.chunk.is_empty() {
            return Ok(());
        }
        if !self.ended {
            self.ahead = self.chunk.pop();
        }
        let tag = self.cipher.seal(self.number, self.ended, b"", &mut self.chunk);
        self.chunk.extend_from_slice(&tag);
        let too_long = || io::Error::other(Error::internal("a body has too many chunks to encrypt"));
        self.number = self.number.checked_add(1).ok_or_else(too_long)?;
        Ok(())
    }
}

impl Read for SealingReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::other(Error::internal("a body was read on after it failed")));
        }
        if self.yielded == self.chunk.len() && !self.ended {
            self.next_chunk().inspect_err(|_| {
                // What was read of the chunk is not encrypted yet and must not be yielded.
                self.chunk.clear();
                self.failed = true;
            })?;
        }
        let count = buffer.len().min(self.chunk.len() - self.yielded);
        buffer[..count].copy_from_slice(&self.chunk[self.yielded..self.yielded + count]);
        self.yielded += count;
        Ok(count)
    }
}

/// Reads the chunks that a range touches and yields the bytes of the range, each chunk only after it
/// has been authenticated whole.
pub struct OpeningReader {
    sealed: Box<dyn Read + Send>,
    cipher: Cipher,
    /// The size of the whole body.
    size: u64,
    /// What is still to be yielded, in bytes of the body.
    left: Range<u64>,
    /// The opened chunk, whose first byte is the body's byte `chunk_start`.
    chunk: Vec<u8>,
    chunk_start: u64,
}

impl OpeningReader {
    /// Wraps the bytes of [`sealed_range`] for `range` of a body of `size` bytes. Opens the first chunk
    /// at once, so that a body that was tampered with there is refused before anything of it is used.
    ///
    /// # Errors
    /// As reading.
    pub fn open(
        sealed: Box<dyn Read + Send>,
        cipher: Cipher,
        size: u64,
        range: Range<u64>,
    ) -> io::Result<OpeningReader> {
        let chunk_start = range.start;
        let mut reader = OpeningReader { sealed, cipher, size, left: range, chunk: Vec::new(), chunk_start };
        if !reader.left.is_empty() {
            reader.next_chunk()?;
        }
        Ok(reader)
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let number = self.left.start / CHUNK_BYTES as u64;
        self.chunk_start = number * CHUNK_BYTES as u64;
        let length = (self.size - self.chunk_start).min(CHUNK_BYTES as u64) as usize;
        self.chunk.clear();
        (&mut self.sealed).take((length + TAG_BYTES) as u64).read_to_end(&mut self.chunk)?;
        let last = self.chunk_start + length as u64 == self.size;
        let number = u32::try_from(number).map_err(|_| tampered(number))?;
        let Some((bytes, tag)) = self.chunk.split_at_mut_checked(length) else {
            return Err(tampered(number.into()));
        };
        if !self.cipher.open(number, last, b"", bytes, tag) {
            self.chunk.clear();
            return Err(tampered(number.into()));
        }
        self.chunk.truncate(length);
        Ok(())
    }
}

fn tampered(number: u64) -> io::Error {
    io::Error::other(Error::internal(format!("chunk {number} of an encrypted body is not what was stored")))
}

impl Read for OpeningReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

impl BufRead for OpeningReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left.is_empty() {
            return Ok(&[]);
        }
        if self.left.start >= self.chunk_start + self.chunk.len() as u64 {
            self.next_chunk()?;
        }
        let opened = &self.chunk[(self.left.start - self.chunk_start) as usize..];
        let wanted = usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX);
        Ok(&opened[..opened.len().min(wanted)])
    }

    fn consume(&mut self, count: usize) {
        self.left.start += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; SALT_BYTES] = [3; SALT_BYTES];
    const C: usize = CHUNK_BYTES;

    fn body(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at * 31 + at / 251) as u8).collect()
    }

    fn seal(key: &Key, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes;
        let mut reader = SealingReader::new(&mut bytes, piece_cipher(key, &SALT));
        let mut sealed = Vec::new();
        reader.read_to_end(&mut sealed).expect("seals");
        sealed
    }

    fn open(key: &Key, sealed: &[u8], size: u64, range: Range<u64>) -> io::Result<Vec<u8>> {
        let at = sealed_range(size, &range);
        let (start, end) = ((at.start as usize).min(sealed.len()), (at.end as usize).min(sealed.len()));
        let source = Box::new(io::Cursor::new(sealed[start..end].to_vec()));
        let mut reader = OpeningReader::open(source, piece_cipher(key, &SALT), size, range)?;
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn bodies_of_every_shape_come_back_and_have_the_promised_size() {
        let key = Key::random();
        for size in [1, 15, 16, 17, C - 1, C, C + 1, 2 * C - 1, 2 * C, 2 * C + 1, 3 * C + 7] {
            let plain = body(size);
            let sealed = seal(&key, &plain);
            assert_eq!(sealed.len() as u64, sealed_size(size as u64), "{size}");
            assert_eq!(open(&key, &sealed, size as u64, 0..size as u64).expect("opens"), plain, "{size}");
        }
        assert!(seal(&key, b"").is_empty() && sealed_size(0) == 0);
    }

    #[test]
    fn every_range_around_the_chunk_borders_comes_back() {
        let (key, size) = (Key::random(), 2 * C + 100);
        let plain = body(size);
        let sealed = seal(&key, &plain);
        let points = [0, 1, C - 1, C, C + 1, 2 * C - 1, 2 * C, 2 * C + 1, size - 1, size];
        for start in points {
            for end in points.into_iter().filter(|end| *end > start) {
                let found = open(&key, &sealed, size as u64, start as u64..end as u64).expect("opens");
                assert!(found == plain[start..end], "{start}..{end}");
            }
        }
    }

    #[test]
    fn nothing_but_the_stored_bytes_opens() {
        let (key, size) = (Key::random(), 2 * C);
        let plain = body(size);
        let sealed = seal(&key, &plain);
        let whole = |sealed: &[u8], size: usize| open(&key, sealed, size as u64, 0..size as u64);
        for at in [0, C - 1, C, C + TAG_BYTES - 1, C + TAG_BYTES, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 0x80;
            assert!(whole(&changed, size).is_err(), "byte {at}");
        }
        let chunk = SEALED_CHUNK_BYTES as usize;
        assert!(whole(&sealed[..chunk], C).is_err(), "the end cut off");
        assert!(whole(&sealed[..sealed.len() - 1], size).is_err(), "a byte cut off");
        assert!(whole(&sealed[chunk..], C).is_err(), "the beginning cut off");
        assert!(whole(&[&sealed[chunk..], &sealed[..chunk]].concat(), size).is_err(), "reordered");
        assert!(whole(&[&sealed[..chunk], &sealed[..chunk]].concat(), size).is_err(), "repeated");
        assert!(whole(&[], size).is_err(), "gone");
        assert!(whole(&sealed, size + 1).is_err(), "a longer size in the record");
        assert!(whole(&sealed, size - 1).is_err(), "a shorter size in the record");
        assert!(open(&Key::random(), &sealed, size as u64, 0..1).is_err(), "another key");
        // A range that does not touch what was changed is fine.
        let mut changed = sealed.clone();
        changed[chunk] ^= 1;
        assert_eq!(open(&key, &changed, size as u64, 0..5).expect("untouched"), plain[..5]);
    }

    #[test]
    fn an_error_of_the_body_passes_through() {
        struct Failing(usize);
        impl Read for Failing {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if self.0 == 0 {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                let count = buffer.len().min(self.0);
                self.0 -= count;
                Ok(count)
            }
        }
        for size in [0, 10, C + 10] {
            let mut failing = Failing(size);
            let mut reader = SealingReader::new(&mut failing, piece_cipher(&Key::random(), &SALT));
            let error = reader.read_to_end(&mut Vec::new()).expect_err("fails");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    }
}
