//! The stored form of object, upload and part records.
//!
//! ```text
//! magic: u8 = 0x53   format: u8 = 1   crc32c of the rest: u32
//! head: fixed fields, strings with a u16 length in front     (what a listing needs)
//! tail: JSON to the end                                       (what only a read of the object needs)
//! ```
//!
//! Integers are little-endian. A listing of a thousand keys decodes a thousand heads and no JSON.

use crate::storage::StorageError;
use crc_fast::CrcAlgorithm::Crc32Iscsi;

const MAGIC: u8 = 0x53;
const FORMAT: u8 = 1;
const PREFIX_BYTES: usize = 6;

/// Builds a record.
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// An empty record.
    pub fn new() -> Encoder {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[MAGIC, FORMAT, 0, 0, 0, 0]);
        Encoder { bytes }
    }

    /// Appends a byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Appends a number.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends raw bytes whose length both sides know.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a string of at most 65535 bytes; a longer one is cut, which no field here can be.
    pub fn text(&mut self, text: &str) {
        let length = text.len().min(usize::from(u16::MAX));
        self.bytes.extend_from_slice(&(length as u16).to_le_bytes());
        self.bytes.extend_from_slice(&text.as_bytes()[..length]);
    }

    /// Appends the JSON tail and closes the record with its checksum.
    pub fn finish(mut self, tail: &impl serde::Serialize) -> Vec<u8> {
        serde_json::to_writer(&mut self.bytes, tail).expect("record tails have string keys only");
        let crc = crc_fast::checksum(Crc32Iscsi, &self.bytes[PREFIX_BYTES..]) as u32;
        self.bytes[2..PREFIX_BYTES].copy_from_slice(&crc.to_le_bytes());
        self.bytes
    }
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

/// Takes a record apart. Every method fails rather than read past the end.
pub struct Decoder<'b> {
    rest: &'b [u8],
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, StorageError>;

impl<'b> Decoder<'b> {
    /// Checks magic, format and checksum.
    pub fn new(bytes: &'b [u8]) -> Result<Decoder<'b>> {
        let (prefix, rest) = bytes.split_at_checked(PREFIX_BYTES).ok_or_else(|| corrupt("too short"))?;
        if prefix[0] != MAGIC {
            return Err(corrupt("not a record"));
        }
        if prefix[1] != FORMAT {
            return Err(StorageError::Corrupt(format!("record format {} is not known", prefix[1])));
        }
        let crc = crc_fast::checksum(Crc32Iscsi, rest) as u32;
        if prefix[2..] != crc.to_le_bytes() {
            return Err(corrupt("checksum mismatch"));
        }
        Ok(Decoder { rest })
    }

    /// Takes raw bytes.
    pub fn raw<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| corrupt("too short"))?;
        self.rest = rest;
        Ok(*head)
    }

    /// Takes a byte.
    pub fn u8(&mut self) -> Result<u8> {
        self.raw::<1>().map(|[byte]| byte)
    }

    /// Takes a number.
    pub fn u64(&mut self) -> Result<u64> {
        self.raw().map(u64::from_le_bytes)
    }

    /// Takes a string.
    pub fn text(&mut self) -> Result<&'b str> {
        let length = usize::from(u16::from_le_bytes(self.raw()?));
        let (text, rest) = self.rest.split_at_checked(length).ok_or_else(|| corrupt("too short"))?;
        self.rest = rest;
        std::str::from_utf8(text).map_err(|_| corrupt("text is not UTF-8"))
    }

    /// Reads the JSON tail.
    pub fn tail<T: serde::de::DeserializeOwned>(self) -> Result<T> {
        serde_json::from_slice(self.rest).map_err(|error| StorageError::Corrupt(format!("record: {error}")))
    }
}

fn corrupt(what: &str) -> StorageError {
    StorageError::Corrupt(format!("record: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_or_cut_is_noticed() {
        let mut encoder = Encoder::new();
        encoder.u64(7);
        encoder.text("abc");
        let bytes = encoder.finish(&vec!["tail"]);
        let mut decoder = Decoder::new(&bytes).expect("whole");
        assert_eq!((decoder.u64().expect("there"), decoder.text().expect("there")), (7, "abc"));
        assert_eq!(decoder.tail::<Vec<String>>().expect("there"), ["tail"]);
        for length in 0..bytes.len() {
            assert!(Decoder::new(&bytes[..length]).is_err(), "cut at {length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Decoder::new(&flipped).is_err(), "bit {bit}");
        }
    }
}
