//! The stored form of a small body that is a record itself.
//!
//! ```text
//! value := body | CRC-32C of the body and its id: u32     (little-endian)
//! ```
//!
//! The database that keeps records does not verify its pages when they are read, so the value has to be
//! able to say by itself that it is what was written, and that it was written under this id.

use super::codec::Result;
use crate::codec::clock::Millis;
use crate::codec::{hex, ids};
use crate::storage::{BlobId, StorageError};

/// Random bytes of an id; the rest of its 16 bytes is the time.
const RANDOM_BYTES: usize = 10;

/// A new id: 32 hexadecimal digits that sort by time, in milliseconds. What is written together then lies
/// together in the database, whose checkpoints write whole pages; with ids in random order every small body
/// would cost a page of its own.
pub fn new_id(now: Millis) -> BlobId {
    BlobId(format!("{:012x}{}", now & 0xffff_ffff_ffff, hex(&ids::unseeded::<RANDOM_BYTES>())))
}

/// Bytes behind the body.
pub const CHECKSUM_BYTES: usize = 4;

/// The value that is stored for a body.
pub fn seal(id: &BlobId, mut body: Vec<u8>) -> Vec<u8> {
    let sum = checksum(id, &body);
    body.extend(sum);
    body
}

/// The body in a stored value.
///
/// # Errors
/// `Corrupt` when the value is not what [`seal`] made for this id of a body of `size` bytes.
pub fn open(id: &BlobId, mut value: Vec<u8>, size: u64) -> Result<Vec<u8>> {
    let corrupt = |what: String| StorageError::Corrupt(format!("body {} {what}", id.0));
    let Some(length) = value.len().checked_sub(CHECKSUM_BYTES).filter(|length| *length as u64 == size) else {
        return Err(corrupt(format!("has {} stored bytes, not {size} and a checksum", value.len())));
    };
    if value[length..] != checksum(id, &value[..length]) {
        return Err(corrupt("is damaged".to_owned()));
    }
    value.truncate(length);
    Ok(value)
}

fn checksum(id: &BlobId, body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(body);
    digest.update(id.0.as_bytes());
    (digest.finalize() as u32).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ids_and_sort_by_time() {
        let (earlier, later) = (new_id(1_000), new_id(1_001));
        assert!(crate::storage::ids::is_id(&earlier.0) && earlier < later);
        assert_ne!(new_id(u64::MAX), new_id(u64::MAX));
    }

    #[test]
    fn a_changed_bit_a_wrong_length_and_a_wrong_id_are_found() {
        let id = BlobId("a".repeat(32));
        for body in [&b""[..], b"x", &[7; 16 * 1024]] {
            let value = seal(&id, body.to_vec());
            let size = body.len() as u64;
            assert_eq!(open(&id, value.clone(), size).unwrap(), body);
            for at in [0, value.len() / 2, value.len() - 1] {
                let mut changed = value.clone();
                changed[at] ^= 0x10;
                assert!(open(&id, changed, size).is_err(), "{at}");
            }
            assert!(open(&BlobId("b".repeat(32)), value.clone(), size).is_err());
            assert!(open(&id, value.clone(), size + 1).is_err());
            assert!(open(&id, value[..value.len() - 1].to_vec(), size).is_err());
        }
    }
}
